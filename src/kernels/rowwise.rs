//! What is done row by row: activations, LayerNorm, the sum of embeddings.
//!
//! Sums over a row are taken in float64: it costs little here, and it keeps these steps from adding to the error. They
//! run in [`LANES`] interleaved parts whatever the vector width, so that their bits do not depend on it.

use pulp::{Simd, WithSimd};

use super::functions::{gelu, gelu_tanh};
use super::isa::InstructionSet;
use crate::spec::Activation;

/// Parts in which a sum is taken.
const LANES: usize = 16;

impl Activation {
    /// The activation of each number.
    pub(super) fn apply(self, instruction_set: InstructionSet, values: &mut [f32]) {
        instruction_set.run(Apply(self, values));
    }
}

struct Apply<'a>(Activation, &'a mut [f32]);

impl WithSimd for Apply<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self(activation, values) = self;
        // Loops and not closures: what is called in them must be inlined to be compiled for the instruction set.
        match activation {
            Activation::Gelu => {
                for x in values {
                    *x = gelu(*x);
                }
            }
            Activation::GeluTanh => {
                for x in values {
                    *x = gelu_tanh(*x);
                }
            }
            Activation::Relu => {
                for x in values {
                    *x = if *x < 0.0 { 0.0 } else { *x }; // as a comparison, so that a NaN stays one
                }
            }
            // The pooler's: one row a text.
            Activation::Tanh => {
                for x in values {
                    *x = libm::tanh(f64::from(*x)) as f32;
                }
            }
        }
    }
}

/// Σ term(x), in interleaved parts.
#[inline(always)]
pub(super) fn sum<T: Copy>(values: &[T], term: impl Fn(T) -> f64) -> f64 {
    let (chunks, rest) = values.as_chunks::<LANES>();
    let mut parts = [0.0; LANES];
    for chunk in chunks {
        for (part, &value) in parts.iter_mut().zip(chunk) {
            *part += term(value);
        }
    }
    for (part, &value) in parts.iter_mut().zip(rest) {
        *part += term(value);
    }
    parts.iter().sum()
}

/// The largest of some numbers.
#[inline(always)]
pub(super) fn largest(values: &[f32]) -> f32 {
    // `f32::max`, as a comparison would become stores under a mask where there is no AVX-512.
    let (chunks, rest) = values.as_chunks::<LANES>();
    let mut parts = [f32::NEG_INFINITY; LANES];
    for chunk in chunks {
        for (part, &value) in parts.iter_mut().zip(chunk) {
            *part = part.max(value);
        }
    }
    for (part, &value) in parts.iter_mut().zip(rest) {
        *part = part.max(value);
    }
    let mut most = f32::NEG_INFINITY;
    for part in parts {
        most = most.max(part);
    }
    most
}

/// LayerNorm's parameters, as a layer of width `weight.len()` has them.
pub(super) struct Norm {
    pub(super) weight: Vec<f32>,
    pub(super) bias: Vec<f32>,
    pub(super) eps: f64,
}

impl Norm {
    /// `out = (x - mean) / √(variance + eps) · weight + bias` with x the sum of `terms`, for one row.
    ///
    /// `sum` is scratch of the row's width.
    pub(super) fn row<const N: usize>(
        &self,
        instruction_set: InstructionSet,
        terms: [&[f32]; N],
        sum: &mut [f64],
        out: &mut [f32],
    ) {
        instruction_set.run(NormRow { norm: self, terms, sum, out });
    }

    /// The same for rows one after the other, x being `x + residual`.
    pub(super) fn rows(&self, instruction_set: InstructionSet, x: &[f32], residual: &[f32], out: &mut [f32]) {
        let width = self.weight.len();
        let mut sum = vec![0.0; width];
        let terms = x.chunks_exact(width).zip(residual.chunks_exact(width));
        for (out, (x, residual)) in out.chunks_exact_mut(width).zip(terms) {
            self.row(instruction_set, [x, residual], &mut sum, out);
        }
    }
}

struct NormRow<'a, const N: usize> {
    norm: &'a Norm,
    terms: [&'a [f32]; N],
    sum: &'a mut [f64],
    out: &'a mut [f32],
}

impl<const N: usize> WithSimd for NormRow<'_, N> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { norm: Norm { weight, bias, eps }, terms, sum: x, out } = self;
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

    fn best() -> InstructionSet {
        InstructionSet::available()[0]
    }

    #[test]
    fn activations_at_known_points() {
        let apply = |activation: Activation, x: f32| {
            let mut values = [x];
            activation.apply(best(), &mut values);
            values[0]
        };
        // Φ(1) = 0.8413447460685429; the tanh form at 1 is 0.8411919906082768.
        assert_eq!(apply(Activation::Gelu, 1.0), 0.841_344_7);
        assert_eq!(apply(Activation::GeluTanh, 1.0), 0.841_192);
        assert_eq!(apply(Activation::Relu, -2.0), 0.0);
        assert_eq!(apply(Activation::Tanh, 0.5), 0.462_117_16);
        for activation in [Activation::Gelu, Activation::GeluTanh, Activation::Relu] {
            assert_eq!(apply(activation, 0.0), 0.0);
            assert_eq!(apply(activation, 50.0), 50.0);
            assert_eq!(apply(activation, -50.0), 0.0);
            assert!(apply(activation, f32::NAN).is_nan());
        }
    }

    #[test]
    fn a_normed_row_has_mean_zero_and_variance_one() {
        let mut out = [0.0; 5];
        let norm = Norm { weight: vec![1.0; 5], bias: vec![0.0; 5], eps: 0.0 };
        norm.rows(best(), &[1.0, 2.0, 3.0, 4.0, 5.0], &[0.0, 0.0, 0.0, 0.0, 5.0], &mut out);
        assert!(out.iter().sum::<f32>().abs() < 1e-6);
        assert!((out.iter().map(|x| x * x).sum::<f32>() / 5.0 - 1.0).abs() < 1e-6);
    }
}
