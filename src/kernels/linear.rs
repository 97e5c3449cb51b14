//! Linear layers: a weight packed once, a bias, an activation; and how their rows and columns go to the threads.

use std::ops::Range;

use rayon::prelude::*;

use super::Parameters;
use super::number::{Number, Pair, Rounded, has_dot_products};
use super::packed::{Line, Packed, STRIP, pack_transposed};
use super::product::{Product, Rows};
use crate::spec::{Activation, Compute};

/// Rows of a task at most: enough that a strip is used often once it is in cache, few enough that what the task
/// computes stays in the second-level cache; and whole tiles of 4, 6 or 8 rows. With 64 the MiniLM job takes 1.09 to 1.15
/// times as long on Zen 3 (AVX2, 512 KiB), with 32 and 24 about as long; BERT-base shows no difference beyond noise.
pub(super) const MOST_ROWS: usize = 48;

/// Rows of a task at least, where there are several. With fewer each thread would read all weights for little work;
/// then the threads share the columns instead.
const FEWEST_ROWS: usize = 32;

/// How many rows a task takes of `rows`; `None` when they are too few and the columns should be split.
pub(super) fn rows_per_task(rows: usize) -> Option<usize> {
    let threads = rayon::current_num_threads();
    (threads == 1 || rows >= threads * FEWEST_ROWS).then(|| {
        // As many tasks for each thread, as equal as can be.
        let tasks = rows.div_ceil(MOST_ROWS).next_multiple_of(threads);
        rows.div_ceil(tasks).next_multiple_of(4).clamp(1, MOST_ROWS)
    })
}

/// `activation(x · weightᵀ + bias)`.
pub(super) struct Dense {
    weight: Weight,
    inputs: usize,
    bias: Vec<f32>,
    activation: Option<Activation>,
}

enum Weight {
    Float32(Packed<f32>),
    /// bfloat16, as the machine multiplies it.
    Pairs(Packed<Pair>),
    Rounded(Packed<Rounded>),
}

/// Where a product goes: row i of strip s starts at `i * row_stride + s * strip_stride`.
struct Out<'a> {
    numbers: &'a mut [f32],
    row_stride: usize,
    strip_stride: usize,
}

/// Memory for operands converted, kept from one product to the next.
#[derive(Default)]
pub(super) struct Operands {
    float32: Vec<f32>,
    pairs: Vec<Pair>,
    rounded: Vec<Rounded>,
}

impl Dense {
    /// Reads a weight and packs it.
    pub(super) fn load<E: Send>(
        parameters: Parameters<'_, E>,
        activation: Option<Activation>,
        compute: Compute,
    ) -> Result<Self, E> {
        let weight = match compute {
            Compute::F32 => Weight::Float32(pack_weight(&parameters)?),
            Compute::Bf16 if has_dot_products() => Weight::Pairs(pack_weight(&parameters)?),
            Compute::Bf16 => Weight::Rounded(pack_weight(&parameters)?),
        };
        Ok(Self { weight, inputs: parameters.inputs, bias: parameters.bias, activation })
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

    /// Rows of `x` (rows, inputs) to `out` (rows, outputs), on this thread.
    pub(super) fn rows(&self, x: &[f32], out: &mut [f32], operands: &mut Operands) {
        let stride = self.outputs();
        self.some(x, 0..self.strips(), Out { numbers: out, row_stride: stride, strip_stride: STRIP }, operands);
    }

    /// Rows of `x` to some strips of the output, (strips, rows, 16), on this thread.
    pub(super) fn strips_of_rows(&self, x: &[f32], strips: Range<usize>, out: &mut [f32], operands: &mut Operands) {
        let rows = x.len() / self.inputs;
        self.some(x, strips, Out { numbers: out, row_stride: STRIP, strip_stride: rows * STRIP }, operands);
    }

    fn some(&self, x: &[f32], strips: Range<usize>, out: Out<'_>, operands: &mut Operands) {
        match &self.weight {
            Weight::Float32(weight) => self.some_as(weight, x, strips, out, &mut operands.float32),
            Weight::Pairs(weight) => self.some_as(weight, x, strips, out, &mut operands.pairs),
            Weight::Rounded(weight) => self.some_as(weight, x, strips, out, &mut operands.rounded),
        }
    }

    fn some_as<T: Number>(
        &self,
        weight: &Packed<T>,
        x: &[f32],
        strips: Range<usize>,
        Out { numbers: out, row_stride, strip_stride }: Out<'_>,
        operands: &mut Vec<T>,
    ) {
        let inputs = self.inputs;
        let rows = x.len() / inputs;
        let a = T::rows(Rows { data: x, stride: inputs }, rows, inputs, operands);
        let columns = strips.start * STRIP..(strips.end * STRIP).min(weight.columns());
        Product {
            a,
            rows,
            b: &weight.strips()[strips],
            columns: columns.len(),
            bias: &self.bias[columns],
            out,
            row_stride,
            strip_stride,
        }
        .run();
        if let Some(activation) = self.activation {
            activation.apply(out);
        }
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
                let out = Out { numbers: &mut piece, row_stride: columns.len(), strip_stride: STRIP };
                self.some(x, strips, out, operands);
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
