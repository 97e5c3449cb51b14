//! Softmax of many rows of scores at once.

use pulp::{Arch, Simd, WithSimd};

use super::functions::exp;
use super::reduce::{largest, sum};

/// Numbers that are worked on together, which the first-level cache holds. Exponentials of several narrow rows are computed in one
/// go.
const AT_ONCE: usize = 4096;
/// Rows narrower than this are reduced number by number, which is faster there.
const NARROW: usize = 24;

/// Replaces each row of scores, (rows, width), by its softmax. Returns the logarithm of each row's sum of exponentials.
pub(crate) fn softmax_rows(scores: &mut [f32], width: usize) -> Vec<f64> {
    let mut normalizers = vec![0.0; scores.len() / width];
    Arch::new().dispatch(SoftmaxRows { scores, width, normalizers: &mut normalizers });
    normalizers
}

struct SoftmaxRows<'a> {
    /// (rows, width)
    scores: &'a mut [f32],
    width: usize,
    /// (rows)
    normalizers: &'a mut [f64],
}

impl WithSimd for SoftmaxRows<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { scores, width, normalizers } = self;
        let rows = (AT_ONCE / width).max(1);
        // Loops and not closures: what is not inlined is not compiled for the instruction set.
        for (scores, normalizers) in scores.chunks_mut(rows * width).zip(normalizers.chunks_mut(rows)) {
            for (row, normalizer) in scores.chunks_exact_mut(width).zip(normalizers.iter_mut()) {
                let mut most = f32::NEG_INFINITY;
                if width < NARROW {
                    for &score in &*row {
                        most = most.max(score);
                    }
                } else {
                    most = largest(row);
                }
                for score in row {
                    *score -= most;
                }
                *normalizer = f64::from(most);
            }
            for score in &mut *scores {
                *score = exp(*score, 0.0);
            }
            for (row, normalizer) in scores.chunks_exact_mut(width).zip(normalizers.iter_mut()) {
                let mut total = 0.0;
                if width < NARROW {
                    for &share in &*row {
                        total += f64::from(share);
                    }
                } else {
                    total = sum(row, f64::from);
                }
                let divisor = total as f32;
                for share in row {
                    *share /= divisor;
                }
                *normalizer += total.ln();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_softmax_and_their_normalizer() {
        for width in [1, 2, 3, 17, 24, 379, 5000] {
            let number = |i: usize| ((i * 7919) % 1009) as f32 / 40.0 - 12.0;
            let scores: Vec<f32> = (0..width * 5).map(number).collect();
            let mut shares = scores.clone();
            let normalizers = softmax_rows(&mut shares, width);
            for ((row, shares), normalizer) in scores.chunks(width).zip(shares.chunks(width)).zip(normalizers) {
                let expected = row.iter().map(|&score| f64::from(score).exp()).sum::<f64>().ln();
                assert!((normalizer - expected).abs() < 1e-6, "{width}: {normalizer} {expected}");
                for (&score, &share) in row.iter().zip(shares) {
                    let expected = (f64::from(score) - expected).exp();
                    assert!(
                        (f64::from(share) - expected).abs() < 4e-6 * expected + 1e-30,
                        "{width}: {share} {expected}"
                    );
                }
            }
        }
    }
}
