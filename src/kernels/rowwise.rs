//! What is done row by row: activations, LayerNorm, the sum of embeddings.
//!
//! Sums over a row are taken in float64: it costs little here, and it keeps these steps from adding to the error. They
//! run in [`LANES`] interleaved parts whatever the vector width, so that their bits do not depend on it.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::functions::{gelu, gelu_tanh};
use crate::spec::Activation;

/// Rows one task takes.
const ROWS_PER_TASK: usize = 32;

/// Parts in which a sum is taken.
const LANES: usize = 16;

impl Activation {
    /// The activation of each number.
    pub(super) fn apply(self, values: &mut [f32]) {
        super::arch().dispatch(Apply(self, values));
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

/// LayerNorm of each row of `width` numbers: `(x - mean) / √(variance + eps) · weight + bias`.
///
/// `row(index, sum)` puts row `index`, in float64, into `sum`.
pub(super) fn layer_norm(
    width: usize,
    weight: &[f32],
    bias: &[f32],
    eps: f64,
    out: &mut [f32],
    row: impl Fn(usize, &mut [f64]) + Sync,
) {
    out.par_chunks_mut(ROWS_PER_TASK * width).enumerate().for_each(|(task, out)| {
        let mut x = vec![0.0; width];
        for (i, out) in out.chunks_exact_mut(width).enumerate() {
            row(task * ROWS_PER_TASK + i, &mut x);
            super::arch().dispatch(Norm { x: &x, weight, bias, eps, out });
        }
    });
}

struct Norm<'a> {
    x: &'a [f64],
    weight: &'a [f32],
    bias: &'a [f32],
    eps: f64,
    out: &'a mut [f32],
}

impl WithSimd for Norm<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { x, weight, bias, eps, out } = self;
        let width = x.len() as f64;
        let mean = sum(x, |x| x) / width;
        let variance = sum(x, |x| (x - mean) * (x - mean)) / width;
        let scale = 1.0 / (variance + eps).sqrt();
        for (((out, x), weight), bias) in out.iter_mut().zip(x).zip(weight).zip(bias) {
            *out = ((x - mean) * scale * f64::from(*weight) + f64::from(*bias)) as f32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn activations_at_known_points() {
        let apply = |activation: Activation, x: f32| {
            let mut values = [x];
            activation.apply(&mut values);
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
        layer_norm(5, &[1.0; 5], &[0.0; 5], 0.0, &mut out, |_, x| x.copy_from_slice(&[1.0, 2.0, 3.0, 4.0, 10.0]));
        assert!(out.iter().sum::<f32>().abs() < 1e-6);
        assert!((out.iter().map(|x| x * x).sum::<f32>() / 5.0 - 1.0).abs() < 1e-6);
    }
}
