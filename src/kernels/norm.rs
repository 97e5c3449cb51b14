//! LayerNorm and RMSNorm of rows and of sums of rows: of a residual, of embeddings.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::instruction_set::InstructionSet;
use super::reduce::sum;
use super::text_groups::rows_per_task;
use crate::family::NormKind;

/// The parameters of a norm.
#[derive(Clone)]
pub struct Norm {
    kind: NormKind,
    /// (hidden)
    weight: Vec<f32>,
    /// (hidden); zeros where the norm has none, which changes no bit.
    bias: Vec<f32>,
    eps: f64,
}

impl Norm {
    /// From `weight` and, if the norm has one, `bias`, both (hidden).
    pub fn new(kind: NormKind, weight: Vec<f32>, bias: Option<Vec<f32>>, eps: f64) -> Self {
        let bias = bias.unwrap_or_else(|| vec![0.0; weight.len()]);
        Self { kind, weight, bias, eps }
    }

    /// The kind, `weight` and `bias`, both (hidden), and `eps`.
    pub fn parameters(&self) -> (NormKind, &[f32], &[f32], f64) {
        (self.kind, &self.weight, &self.bias, self.eps)
    }

    /// Numbers of a row.
    pub(super) fn hidden(&self) -> usize {
        self.weight.len()
    }

    /// `out = (x - mean) / √(variance + eps) · weight + bias` for one row, x being the sum of `terms`; all are (hidden). RMSNorm
    /// takes 0 for the mean.
    ///
    /// x is computed in `buffer`, (hidden), in float64.
    pub(super) fn row<const N: usize>(
        &self,
        instruction_set: InstructionSet,
        terms: [&[f32]; N],
        buffer: &mut [f64],
        out: &mut [f32],
    ) {
        row(instruction_set, Some(self), terms.map(Term::from), buffer, out);
    }

    /// The norm of each row of `x`, (rows, hidden), on all threads.
    pub fn forward(&self, instruction_set: InstructionSet, x: &[f32]) -> Vec<f32> {
        let mut out = vec![0.0; x.len()];
        let numbers = rows_per_task(x.len() / self.hidden()).unwrap_or(1) * self.hidden();
        out.par_chunks_mut(numbers)
            .zip(x.par_chunks(numbers))
            .for_each(|(out, x)| self.rows(instruction_set, x, None, out));
        out
    }

    /// The norm of all rows of `x`, or of `x + residual`, each (rows, hidden).
    pub(super) fn rows(&self, instruction_set: InstructionSet, x: &[f32], residual: Option<&[f32]>, out: &mut [f32]) {
        let hidden = self.hidden();
        let mut buffer = vec![0.0; hidden];
        match residual {
            Some(residual) => {
                let terms = x.chunks_exact(hidden).zip(residual.chunks_exact(hidden));
                for (out, (x, residual)) in out.chunks_exact_mut(hidden).zip(terms) {
                    self.row(instruction_set, [x, residual], &mut buffer, out);
                }
            }
            None => {
                for (out, x) in out.chunks_exact_mut(hidden).zip(x.chunks_exact(hidden)) {
                    self.row(instruction_set, [x], &mut buffer, out);
                }
            }
        }
    }
}

/// `out = x + y`, number by number.
pub(super) fn add(x: &[f32], y: &[f32], out: &mut [f32]) {
    for (out, (x, y)) in out.iter_mut().zip(x.iter().zip(y)) {
        *out = x + y;
    }
}

/// One row of [`Norm::row`], or of the sum alone, rounded once.
pub(super) fn row<const N: usize>(
    instruction_set: InstructionSet,
    norm: Option<&Norm>,
    terms: [Term<'_>; N],
    buffer: &mut [f64],
    out: &mut [f32],
) {
    instruction_set.run(NormRow { norm, terms, buffer, out });
}

/// A row that is a term of a sum, and what it is multiplied by.
#[derive(Clone, Copy)]
pub(super) struct Term<'a> {
    pub(super) row: &'a [f32],
    pub(super) factor: f64,
}

impl<'a> From<&'a [f32]> for Term<'a> {
    fn from(row: &'a [f32]) -> Self {
        Self { row, factor: 1.0 }
    }
}

struct NormRow<'a, const N: usize> {
    norm: Option<&'a Norm>,
    terms: [Term<'a>; N],
    buffer: &'a mut [f64],
    out: &'a mut [f32],
}

impl<const N: usize> WithSimd for NormRow<'_, N> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { norm, terms, buffer: x, out } = self;
        x.fill(0.0);
        for Term { row, factor } in terms {
            for (x, term) in x.iter_mut().zip(row) {
                *x += f64::from(*term) * factor;
            }
        }
        let Some(Norm { kind, weight, bias, eps }) = norm else {
            for (out, x) in out.iter_mut().zip(x) {
                *out = *x as f32;
            }
            return;
        };
        let width = x.len() as f64;
        let mean = match kind {
            NormKind::LayerNorm => sum(x, |x| x) / width,
            NormKind::RmsNorm => 0.0,
        };
        let variance = sum(x, |x| (x - mean) * (x - mean)) / width;
        let scale = 1.0 / (variance + eps).sqrt();
        for (((out, x), weight), bias) in out.iter_mut().zip(x).zip(weight).zip(bias) {
            *out = ((*x - mean) * scale * f64::from(*weight) + f64::from(*bias)) as f32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_normed_row_has_mean_zero_and_variance_one() {
        let mut out = [0.0; 5];
        let norm = Norm::new(NormKind::LayerNorm, vec![1.0; 5], None, 0.0);
        let set = InstructionSet::available()[0];
        norm.rows(set, &[1.0, 2.0, 3.0, 4.0, 5.0], Some(&[0.0, 0.0, 0.0, 0.0, 5.0]), &mut out);
        assert!(out.iter().sum::<f32>().abs() < 1e-6);
        assert!((out.iter().map(|x| x * x).sum::<f32>() / 5.0 - 1.0).abs() < 1e-6);
        let norm = Norm::new(NormKind::RmsNorm, vec![1.0; 5], Some(vec![0.5; 5]), 0.0);
        norm.rows(set, &[1.0, 2.0, 3.0, 4.0, 10.0], None, &mut out);
        assert!((out[0] - (1.0 / 26.0f32.sqrt() + 0.5)).abs() < 1e-6);
    }
}
