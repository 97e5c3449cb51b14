//! Linear layers: a weight packed once, a bias, an activation; and how their rows and columns go to the threads.

use std::ops::Range;

use rayon::prelude::*;

use super::Parameters;
use super::isa::InstructionSet;
use super::number::{Number, Pair, Rounded};
use super::packed::{Line, Packed, STRIP, pack_transposed};
use super::place::Strides;
use super::product::{Product, Rows};
use crate::spec::{Activation, Compute};

/// Rows of a task at most: enough that a strip is used often once it is in cache, few enough that there are tasks for all
/// threads; and whole tiles of 4, 6 or 8 rows.
const MOST_ROWS: usize = 48;

/// Rows of a task at least, where there are several. With fewer each thread would read all weights for little work;
/// then the threads share the columns instead.
const FEWEST_ROWS: usize = 32;

/// How many rows a task takes of `rows`; `None` when they are too few and the columns should be split.
pub(super) fn rows_per_task(rows: usize) -> Option<usize> {
    let threads = rayon::current_num_threads();
    (threads == 1 || rows >= threads * FEWEST_ROWS).then(|| {
        // As many tasks for each thread, as equal as can be.
        let tasks = rows.max(1).div_ceil(MOST_ROWS).next_multiple_of(threads);
        rows.div_ceil(tasks).next_multiple_of(4).clamp(1, MOST_ROWS)
    })
}

/// `activation(x · weightᵀ + bias)`.
pub(super) struct Dense {
    weight: Weight,
    inputs: usize,
    bias: Vec<f32>,
    activation: Option<Activation>,
    instruction_set: InstructionSet,
}

enum Weight {
    Float32(Packed<f32>),
    /// bfloat16, as the machine multiplies it.
    Pairs(Packed<Pair>),
    Rounded(Packed<Rounded>),
}

/// Rows to multiply, as the weight's numbers are.
#[derive(Clone, Copy)]
pub(super) enum Operand<'a> {
    Float32(Rows<'a, f32>),
    Pairs(Rows<'a, Pair>),
    Rounded(Rows<'a, Rounded>),
}

impl<'a> Operand<'a> {
    /// The rows from `row` on.
    pub(super) fn rows_from(self, row: usize) -> Operand<'a> {
        match self {
            Self::Float32(rows) => Self::Float32(rows.rows_from(row)),
            Self::Pairs(rows) => Self::Pairs(rows.rows_from(row)),
            Self::Rounded(rows) => Self::Rounded(rows.rows_from(row)),
        }
    }
}

/// What is computed of a linear layer's output.
pub(super) struct Part {
    /// Rows of the operand, from its first on.
    pub(super) rows: usize,
    /// Strips of the output.
    pub(super) strips: Range<usize>,
    /// The inputs that the operand holds. Where they are not all, see [`Product`].
    pub(super) inputs: Range<usize>,
}

/// Where a product goes.
pub(super) struct Out<'a> {
    pub(super) numbers: &'a mut [f32],
    pub(super) strides: Strides,
}

/// Memory for operands converted, kept from one product to the next.
#[derive(Default)]
pub(super) struct Operands {
    pairs: Vec<Pair>,
    rounded: Vec<Rounded>,
}

impl Dense {
    /// Reads a weight and packs it.
    pub(super) fn load<E: Send>(
        parameters: Parameters<'_, E>,
        activation: Option<Activation>,
        compute: Compute,
        instruction_set: InstructionSet,
    ) -> Result<Self, E> {
        let weight = match compute {
            Compute::F32 => Weight::Float32(pack_weight(&parameters)?),
            Compute::Bf16 if instruction_set.multiplies_pairs() => Weight::Pairs(pack_weight(&parameters)?),
            Compute::Bf16 => Weight::Rounded(pack_weight(&parameters)?),
        };
        Ok(Self { weight, inputs: parameters.inputs, bias: parameters.bias, activation, instruction_set })
    }

    pub(super) fn inputs(&self) -> usize {
        self.inputs
    }

    pub(super) fn outputs(&self) -> usize {
        self.bias.len()
    }

    /// Strips of the weight.
    pub(super) fn strips(&self) -> usize {
        self.outputs().div_ceil(STRIP)
    }

    /// Rows of `width` inputs as something to multiply; converted where need be, in `operands`.
    pub(super) fn operand<'a>(&self, x: &'a [f32], width: usize, operands: &'a mut Operands) -> Operand<'a> {
        let (rows, count) = (Rows { data: x, stride: width }, x.len() / width);
        match self.weight {
            Weight::Float32(_) => Operand::Float32(rows),
            Weight::Pairs(_) => {
                Operand::Pairs(Number::rows(self.instruction_set, rows, count, width, &mut operands.pairs))
            }
            Weight::Rounded(_) => {
                Operand::Rounded(Number::rows(self.instruction_set, rows, count, width, &mut operands.rounded))
            }
        }
    }

    /// A part of the output, on this thread. With the last inputs come the bias, and the activation of all numbers of `out`.
    pub(super) fn multiply(&self, operand: Operand<'_>, part: Part, out: Out<'_>) {
        match (&self.weight, operand) {
            (Weight::Float32(weight), Operand::Float32(rows)) => self.multiply_as(weight, rows, part, out),
            (Weight::Pairs(weight), Operand::Pairs(rows)) => self.multiply_as(weight, rows, part, out),
            (Weight::Rounded(weight), Operand::Rounded(rows)) => self.multiply_as(weight, rows, part, out),
            _ => unreachable!("all weights of a model are held as the same kind of number"),
        }
    }

    fn multiply_as<T: Number>(&self, weight: &Packed<T>, a: Rows<'_, T>, part: Part, out: Out<'_>) {
        let Part { rows, strips, inputs } = part;
        let columns = strips.start * STRIP..(strips.end * STRIP).min(weight.columns());
        let last = inputs.end == self.inputs;
        debug_assert!(inputs.start.is_multiple_of(32), "parts are whole chains");
        Product {
            a,
            rows,
            b: &weight.strips(strips, inputs.start / T::STEP..inputs.end.div_ceil(T::STEP)),
            columns: columns.len(),
            bias: if last { &self.bias[columns] } else { &[] },
            goes_on: inputs.start > 0,
            out: out.numbers,
            strides: out.strides,
        }
        .run(self.instruction_set);
        if let Some(activation) = self.activation.filter(|_| last) {
            activation.apply(self.instruction_set, out.numbers);
        }
    }

    /// Rows of `x` (rows, inputs) to `out` (rows, outputs), on this thread.
    pub(super) fn rows(&self, x: &[f32], out: &mut [f32], operands: &mut Operands) {
        let out = Out { numbers: out, strides: Strides::of_rows(self.outputs()) };
        self.strips_of_rows(x, 0..self.strips(), out, operands);
    }

    /// Rows of `x` (rows, inputs) to some strips of the output, on this thread.
    pub(super) fn strips_of_rows(&self, x: &[f32], strips: Range<usize>, out: Out<'_>, operands: &mut Operands) {
        let part = Part { rows: x.len() / self.inputs, strips, inputs: 0..self.inputs };
        self.multiply(self.operand(x, self.inputs, operands), part, out);
    }

    /// As [`Dense::rows`], each thread computing some of the columns.
    fn columns(&self, x: &[f32], out: &mut [f32]) {
        let (outputs, rows) = (self.outputs(), x.len() / self.inputs);
        let strips_per_task = self.strips().div_ceil(rayon::current_num_threads() * 2).next_multiple_of(3);
        let first_strips = (0..self.strips()).step_by(strips_per_task).collect::<Vec<_>>();
        // The pieces of a row lie apart in `out`, so they are put in after.
        let pieces: Vec<(Range<usize>, Vec<f32>)> = first_strips
            .into_par_iter()
            .map_init(Operands::default, |operands, first| {
                let strips = first..(first + strips_per_task).min(self.strips());
                let columns = first * STRIP..(strips.end * STRIP).min(outputs);
                let mut piece = vec![0.0; rows * columns.len()];
                let out = Out { numbers: &mut piece, strides: Strides::of_rows(columns.len()) };
                self.strips_of_rows(x, strips, out, operands);
                (columns, piece)
            })
            .collect();
        for (columns, piece) in pieces {
            for (out, piece) in out.chunks_exact_mut(outputs).zip(piece.chunks_exact(columns.len())) {
                out[columns.clone()].copy_from_slice(piece);
            }
        }
    }

    /// All rows of `x` (rows, inputs), on all threads: (rows, outputs).
    pub(super) fn forward(&self, x: &[f32]) -> Vec<f32> {
        let rows = x.len() / self.inputs;
        let mut out = vec![0.0; rows * self.outputs()];
        match rows_per_task(rows) {
            None => self.columns(x, &mut out),
            Some(count) => out
                .par_chunks_mut(count * self.outputs())
                .zip(x.par_chunks(count * self.inputs))
                .for_each_init(Operands::default, |operands, (out, x)| self.rows(x, out, operands)),
        }
        out
    }
}

fn pack_weight<T: Number, E: Send>(parameters: &Parameters<'_, E>) -> Result<Packed<T>, E> {
    let (inputs, outputs) = (parameters.inputs, parameters.bias.len());
    let strips = (0..outputs.div_ceil(STRIP))
        .into_par_iter()
        .map_init(Vec::new, |rows, strip| {
            let first = strip * STRIP;
            let columns = STRIP.min(outputs - first);
            rows.clear();
            (parameters.read)(first..first + columns, rows)?;
            let mut lines: Vec<Line<T>> = Vec::new();
            pack_transposed(rows, columns, inputs, &mut lines);
            Ok(lines)
        })
        .collect::<Result<_, E>>()?;
    Ok(Packed::new(strips, outputs))
}
