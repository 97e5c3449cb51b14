//! What is done row by row: activations, LayerNorm, the sum of embeddings.
//!
//! Sums over a row are taken in float64: it costs little here, and it keeps these steps from adding to the error.

use rayon::prelude::*;

use crate::checkpoint::config::Activation;

/// Rows one task takes.
const ROWS_PER_TASK: usize = 32;

impl Activation {
    /// The activation of one number, computed in float64 and rounded once.
    pub(super) fn apply(self, x: f32) -> f32 {
        let x64 = f64::from(x);
        match self {
            // x · Φ(x) = x · erfc(-x / √2) / 2: no cancellation for negative x.
            Activation::Gelu => (0.5 * x64 * libm::erfc(-x64 * std::f64::consts::FRAC_1_SQRT_2)) as f32,
            Activation::GeluTanh => {
                let inner = (2.0 / std::f64::consts::PI).sqrt() * (x64 + 0.044715 * x64 * x64 * x64);
                (0.5 * x64 * (1.0 + libm::tanh(inner))) as f32
            }
            Activation::Relu => x.max(0.0),
            Activation::Tanh => libm::tanh(x64) as f32,
        }
    }
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
            let mean = x.iter().sum::<f64>() / width as f64;
            let variance = x.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / width as f64;
            let scale = 1.0 / (variance + eps).sqrt();
            for (((out, x), weight), bias) in out.iter_mut().zip(&x).zip(weight).zip(bias) {
                *out = ((x - mean) * scale * f64::from(*weight) + f64::from(*bias)) as f32;
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn activations_at_known_points() {
        // Φ(1) = 0.8413447460685429; the tanh form at 1 is 0.8411919906082768.
        assert_eq!(Activation::Gelu.apply(1.0), 0.841_344_7);
        assert_eq!(Activation::Gelu.apply(-1.0), -0.158_655_26);
        assert_eq!(Activation::GeluTanh.apply(1.0), 0.841_192);
        assert_eq!(Activation::Relu.apply(-2.0), 0.0);
        for activation in [Activation::Gelu, Activation::GeluTanh, Activation::Relu] {
            assert_eq!(activation.apply(0.0), 0.0);
            assert_eq!(activation.apply(50.0), 50.0);
            assert_eq!(activation.apply(-50.0), 0.0);
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
