//! Linear layers: a weight packed once, a bias, an activation; and how their rows and columns go to the threads.

use std::ops::Range;

use rayon::prelude::*;

use super::activation::activate;
use super::dispatch::Dispatch;
use super::instruction_set::{InstructionSet, Integers};
use super::int8_element::{GROUP, Int8AsF32};
#[cfg(target_arch = "x86_64")]
use super::int8_element::{Int8Pair, Int8Quad};
use super::operand_element::{Bf16AsF32, Bf16Pair};
use super::output_tile::Strides;
use super::packed_matrix::{PANEL_WIDTH, PackedMatrix, PanelRow};
use super::parameters::Parameters;
use super::product::{Product, StridedRows};
use super::text_groups::rows_per_task;
use crate::spec::{Activation, Compute};

/// A linear layer, `activation(x · weightᵀ + bias)`, with a weight packed for an instruction set.
pub struct PackedLinear {
    /// (inputs, outputs)
    weight: PackedWeight,
    inputs: usize,
    /// (outputs)
    bias: Vec<f32>,
    activation: Option<Activation>,
    instruction_set: InstructionSet,
}

enum PackedWeight {
    F32(PackedMatrix<f32>),
    Bf16Pairs(PackedMatrix<Bf16Pair>),
    Bf16AsF32(PackedMatrix<Bf16AsF32>),
    #[cfg(target_arch = "x86_64")]
    Int8Quads(PackedMatrix<Int8Quad>),
    #[cfg(target_arch = "x86_64")]
    Int8Pairs(PackedMatrix<Int8Pair>),
    Int8AsF32(PackedMatrix<Int8AsF32>),
}

/// The left-hand matrix of a product, (rows, inputs), in the elements of the weight.
#[derive(Clone, Copy)]
pub(super) enum LeftOperand<'a> {
    F32(StridedRows<'a, f32>),
    Bf16Pairs(StridedRows<'a, Bf16Pair>),
    Bf16AsF32(StridedRows<'a, Bf16AsF32>),
    #[cfg(target_arch = "x86_64")]
    Int8Quads(StridedRows<'a, Int8Quad>),
    #[cfg(target_arch = "x86_64")]
    Int8Pairs(StridedRows<'a, Int8Pair>),
    Int8AsF32(StridedRows<'a, Int8AsF32>),
}

impl<'a> LeftOperand<'a> {
    /// The rows from `row` on.
    pub(super) fn rows_from(self, row: usize) -> LeftOperand<'a> {
        match self {
            Self::F32(rows) => Self::F32(rows.rows_from(row)),
            Self::Bf16Pairs(rows) => Self::Bf16Pairs(rows.rows_from(row)),
            Self::Bf16AsF32(rows) => Self::Bf16AsF32(rows.rows_from(row)),
            #[cfg(target_arch = "x86_64")]
            Self::Int8Quads(rows) => Self::Int8Quads(rows.rows_from(row)),
            #[cfg(target_arch = "x86_64")]
            Self::Int8Pairs(rows) => Self::Int8Pairs(rows.rows_from(row)),
            Self::Int8AsF32(rows) => Self::Int8AsF32(rows.rows_from(row)),
        }
    }
}

/// Which part of a linear layer's product is computed.
pub(super) struct ProductBlock {
    /// Rows of the left operand, from its first on.
    pub(super) rows: usize,
    /// Panels of the weight.
    pub(super) panels: Range<usize>,
    /// The inputs that the left operand holds. Where they are not all, see [`Product`].
    pub(super) inputs: Range<usize>,
}

/// Where a product is written.
pub(super) struct StridedOutput<'a> {
    /// (rows, outputs), with strides.
    pub(super) numbers: &'a mut [f32],
    pub(super) strides: Strides,
}

/// Memory for converted left operands, kept from one product to the next.
#[derive(Default)]
pub(super) struct ConversionBuffers {
    bf16_pairs: Vec<Bf16Pair>,
    bf16_as_f32: Vec<Bf16AsF32>,
    #[cfg(target_arch = "x86_64")]
    int8_quads: Vec<Int8Quad>,
    #[cfg(target_arch = "x86_64")]
    int8_pairs: Vec<Int8Pair>,
    int8_as_f32: Vec<Int8AsF32>,
}

impl PackedLinear {
    /// Reads and packs the weight, in the elements that the instruction set multiplies.
    ///
    /// # Errors
    /// Those of reading.
    pub fn load<E: Send>(
        parameters: Parameters<'_, E>,
        activation: Option<Activation>,
        compute: Compute,
        instruction_set: InstructionSet,
    ) -> Result<Self, E> {
        let weight = match compute {
            Compute::F32 => PackedWeight::F32(pack_weight(&parameters)?),
            Compute::Bf16 if instruction_set.multiplies_pairs() => PackedWeight::Bf16Pairs(pack_weight(&parameters)?),
            Compute::Bf16 => PackedWeight::Bf16AsF32(pack_weight(&parameters)?),
            Compute::Int8 => match instruction_set.integers() {
                #[cfg(target_arch = "x86_64")]
                Integers::Quads => PackedWeight::Int8Quads(pack_weight(&parameters)?),
                #[cfg(target_arch = "x86_64")]
                Integers::Pairs => PackedWeight::Int8Pairs(pack_weight(&parameters)?),
                Integers::AsF32 => PackedWeight::Int8AsF32(pack_weight(&parameters)?),
            },
        };
        Ok(Self { weight, inputs: parameters.inputs, bias: parameters.bias, activation, instruction_set })
    }

    pub(super) fn outputs(&self) -> usize {
        self.bias.len()
    }

    /// Panels of the weight.
    pub(super) fn panels(&self) -> usize {
        self.outputs().div_ceil(PANEL_WIDTH)
    }

    /// `x` (rows, inputs), of all inputs or some, as the left operand of a product; converted into `buffers` where the weight's
    /// elements are not float32.
    pub(super) fn left_operand<'a>(
        &self,
        x: &'a [f32],
        inputs: usize,
        buffers: &'a mut ConversionBuffers,
    ) -> LeftOperand<'a> {
        let (rows, count) = (StridedRows { elements: x, stride: inputs }, x.len() / inputs);
        let set = self.instruction_set;
        match self.weight {
            PackedWeight::F32(_) => LeftOperand::F32(rows),
            PackedWeight::Bf16Pairs(_) => {
                LeftOperand::Bf16Pairs(Dispatch::convert_rows(set, rows, count, inputs, &mut buffers.bf16_pairs))
            }
            PackedWeight::Bf16AsF32(_) => {
                LeftOperand::Bf16AsF32(Dispatch::convert_rows(set, rows, count, inputs, &mut buffers.bf16_as_f32))
            }
            #[cfg(target_arch = "x86_64")]
            PackedWeight::Int8Quads(_) => {
                LeftOperand::Int8Quads(Dispatch::convert_rows(set, rows, count, inputs, &mut buffers.int8_quads))
            }
            #[cfg(target_arch = "x86_64")]
            PackedWeight::Int8Pairs(_) => {
                LeftOperand::Int8Pairs(Dispatch::convert_rows(set, rows, count, inputs, &mut buffers.int8_pairs))
            }
            PackedWeight::Int8AsF32(_) => {
                LeftOperand::Int8AsF32(Dispatch::convert_rows(set, rows, count, inputs, &mut buffers.int8_as_f32))
            }
        }
    }

    /// Computes a block of the product, on this thread. With the last inputs come the bias, and the activation of all numbers
    /// of `out`.
    pub(super) fn multiply(&self, left: LeftOperand<'_>, block: ProductBlock, out: StridedOutput<'_>) {
        match (&self.weight, left) {
            (PackedWeight::F32(weight), LeftOperand::F32(rows)) => self.multiply_as(weight, rows, block, out),
            (PackedWeight::Bf16Pairs(weight), LeftOperand::Bf16Pairs(rows)) => {
                self.multiply_as(weight, rows, block, out);
            }
            (PackedWeight::Bf16AsF32(weight), LeftOperand::Bf16AsF32(rows)) => {
                self.multiply_as(weight, rows, block, out);
            }
            #[cfg(target_arch = "x86_64")]
            (PackedWeight::Int8Quads(weight), LeftOperand::Int8Quads(rows)) => {
                self.multiply_as(weight, rows, block, out);
            }
            #[cfg(target_arch = "x86_64")]
            (PackedWeight::Int8Pairs(weight), LeftOperand::Int8Pairs(rows)) => {
                self.multiply_as(weight, rows, block, out);
            }
            (PackedWeight::Int8AsF32(weight), LeftOperand::Int8AsF32(rows)) => {
                self.multiply_as(weight, rows, block, out);
            }
            _ => unreachable!("a left operand is made in the elements of the weight it is multiplied by"),
        }
    }

    fn multiply_as<T: Dispatch>(
        &self,
        weight: &PackedMatrix<T>,
        a: StridedRows<'_, T>,
        block: ProductBlock,
        out: StridedOutput<'_>,
    ) {
        let ProductBlock { rows, panels, inputs } = block;
        let columns = panels.start * PANEL_WIDTH..(panels.end * PANEL_WIDTH).min(weight.columns());
        let last = inputs.end == self.inputs;
        debug_assert!(inputs.start.is_multiple_of(GROUP), "parts are whole chains, and whole groups of integers");
        let product = Product {
            a,
            rows,
            b: &weight.panels(panels, T::elements(inputs.start)..T::elements(inputs.end)),
            columns: columns.len(),
            bias: if last { &self.bias[columns] } else { &[] },
            accumulate: inputs.start > 0,
            out: out.numbers,
            strides: out.strides,
        };
        T::multiply(self.instruction_set, product);
        if let Some(activation) = self.activation.filter(|_| last) {
            activate(self.instruction_set, activation, out.numbers);
        }
    }

    /// `x` (rows, inputs) to `out` (rows, outputs), on this thread.
    pub(super) fn rows(&self, x: &[f32], out: &mut [f32], buffers: &mut ConversionBuffers) {
        let out = StridedOutput { numbers: out, strides: Strides::of_rows(self.outputs()) };
        self.rows_to_panels(x, 0..self.panels(), out, buffers);
    }

    /// `x` (rows, inputs) to the outputs of some panels, on this thread.
    pub(super) fn rows_to_panels(
        &self,
        x: &[f32],
        panels: Range<usize>,
        out: StridedOutput<'_>,
        buffers: &mut ConversionBuffers,
    ) {
        let block = ProductBlock { rows: x.len() / self.inputs, panels, inputs: 0..self.inputs };
        self.multiply(self.left_operand(x, self.inputs, buffers), block, out);
    }

    /// As [`PackedLinear::rows`], but on all threads, each computing some of the columns.
    fn rows_by_columns(&self, x: &[f32], out: &mut [f32]) {
        let (outputs, rows) = (self.outputs(), x.len() / self.inputs);
        let panels_per_task = self.panels().div_ceil(rayon::current_num_threads() * 2).next_multiple_of(3);
        let first_panels = (0..self.panels()).step_by(panels_per_task).collect::<Vec<_>>();
        // The columns of a task are not contiguous in `out`, so they are copied there at the end.
        let computed: Vec<(Range<usize>, Vec<f32>)> = first_panels
            .into_par_iter()
            .map_init(ConversionBuffers::default, |buffers, first| {
                let panels = first..(first + panels_per_task).min(self.panels());
                let columns = first * PANEL_WIDTH..(panels.end * PANEL_WIDTH).min(outputs);
                let mut numbers = vec![0.0; rows * columns.len()];
                let out = StridedOutput { numbers: &mut numbers, strides: Strides::of_rows(columns.len()) };
                self.rows_to_panels(x, panels, out, buffers);
                (columns, numbers)
            })
            .collect();
        for (columns, numbers) in computed {
            for (out, numbers) in out.chunks_exact_mut(outputs).zip(numbers.chunks_exact(columns.len())) {
                out[columns.clone()].copy_from_slice(numbers);
            }
        }
    }

    /// `x` (rows, inputs) to (rows, outputs), on all threads.
    pub fn forward(&self, x: &[f32]) -> Vec<f32> {
        let rows = x.len() / self.inputs;
        let mut out = vec![0.0; rows * self.outputs()];
        match rows_per_task(rows) {
            None => self.rows_by_columns(x, &mut out),
            Some(count) => out
                .par_chunks_mut(count * self.outputs())
                .zip(x.par_chunks(count * self.inputs))
                .for_each_init(ConversionBuffers::default, |buffers, (out, x)| self.rows(x, out, buffers)),
        }
        out
    }
}

/// Reads a weight (outputs, inputs) panel by panel on all threads, as a matrix (inputs, outputs).
fn pack_weight<T: Dispatch, E: Send>(parameters: &Parameters<'_, E>) -> Result<PackedMatrix<T>, E> {
    let (inputs, outputs) = (parameters.inputs, parameters.bias.len());
    let panels = (0..outputs.div_ceil(PANEL_WIDTH))
        .into_par_iter()
        .map_init(Vec::new, |rows, panel| {
            let first = panel * PANEL_WIDTH;
            let columns = PANEL_WIDTH.min(outputs - first);
            rows.clear();
            (parameters.read)(first..first + columns, rows)?;
            let mut panel: Vec<PanelRow<T>> = Vec::new();
            T::pack(rows, columns, inputs, &mut panel);
            Ok(panel)
        })
        .collect::<Result<_, E>>()?;
    Ok(PackedMatrix::new(panels, outputs))
}
