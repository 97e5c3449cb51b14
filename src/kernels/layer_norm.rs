//! LayerNorm of sums of rows: of a residual, of embeddings.

use pulp::{Simd, WithSimd};

use super::instruction_set::InstructionSet;
use super::reduce::sum;

/// LayerNorm's parameters.
pub struct LayerNorm {
    /// (hidden)
    weight: Vec<f32>,
    /// (hidden)
    bias: Vec<f32>,
    eps: f64,
}

impl LayerNorm {
    /// From `weight` and `bias`, both (hidden).
    pub fn new(weight: Vec<f32>, bias: Vec<f32>, eps: f64) -> Self {
        Self { weight, bias, eps }
    }

    /// `weight` and `bias`, both (hidden), and `eps`.
    pub fn parameters(&self) -> (&[f32], &[f32], f64) {
        (&self.weight, &self.bias, self.eps)
    }

    /// Numbers of a row.
    pub(super) fn hidden(&self) -> usize {
        self.weight.len()
    }

    /// `out = (x - mean) / √(variance + eps) · weight + bias` for one row, x being the sum of `terms`; all are (hidden).
    ///
    /// x is computed in `buffer`, (hidden), in float64.
    pub(super) fn row<const N: usize>(
        &self,
        instruction_set: InstructionSet,
        terms: [&[f32]; N],
        buffer: &mut [f64],
        out: &mut [f32],
    ) {
        instruction_set.run(NormRow { norm: self, terms, buffer, out });
    }

    /// The same for all rows of `x + residual`, each (rows, hidden).
    pub(super) fn rows(&self, instruction_set: InstructionSet, x: &[f32], residual: &[f32], out: &mut [f32]) {
        let hidden = self.hidden();
        let mut buffer = vec![0.0; hidden];
        let terms = x.chunks_exact(hidden).zip(residual.chunks_exact(hidden));
        for (out, (x, residual)) in out.chunks_exact_mut(hidden).zip(terms) {
            self.row(instruction_set, [x, residual], &mut buffer, out);
        }
    }
}

struct NormRow<'a, const N: usize> {
    norm: &'a LayerNorm,
    terms: [&'a [f32]; N],
    buffer: &'a mut [f64],
    out: &'a mut [f32],
}

impl<const N: usize> WithSimd for NormRow<'_, N> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { norm: LayerNorm { weight, bias, eps }, terms, buffer: x, out } = self;
        x.fill(0.0);
        for term in terms {
            for (x, term) in x.iter_mut().zip(term) {
                *x += f64::from(*term);
            }
        }
        let width = x.len() as f64;
        let mean = sum(x, |x| x) / width;
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
        let norm = LayerNorm::new(vec![1.0; 5], vec![0.0; 5], 0.0);
        norm.rows(InstructionSet::available()[0], &[1.0, 2.0, 3.0, 4.0, 5.0], &[0.0, 0.0, 0.0, 0.0, 5.0], &mut out);
        assert!(out.iter().sum::<f32>().abs() < 1e-6);
        assert!((out.iter().map(|x| x * x).sum::<f32>() / 5.0 - 1.0).abs() < 1e-6);
    }
}
