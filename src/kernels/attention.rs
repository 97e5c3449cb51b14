//! Attention over ragged sequences: no padding, no mask, each text by itself.

use std::ops::Range;

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::functions::exp;
use super::matmul::{Packed, Rows, multiply};
use super::rowwise::sum;

/// Queries handled at once; bounds the scores held in memory to this many rows of a text's length.
const QUERIES_PER_BLOCK: usize = 64;

/// `softmax(q · kᵀ / √width) · v` for each text and head.
///
/// `qkv` is (tokens, 3 · hidden): queries, keys and values side by side, each (heads, width). `bounds[i]..bounds[i + 1]`
/// are the tokens of text i. Returns the contexts, (tokens, hidden).
pub(super) fn attention(qkv: &[f32], bounds: &[usize], heads: usize, width: usize) -> Vec<f32> {
    let hidden = heads * width;
    let tasks: Vec<(Range<usize>, usize)> =
        bounds.windows(2).flat_map(|bound| (0..heads).map(move |head| (bound[0]..bound[1], head))).collect();
    let contexts: Vec<Vec<f32>> =
        tasks.par_iter().map(|(tokens, head)| one_head(qkv, tokens.clone(), *head, hidden, width)).collect();

    let mut out = vec![0.0; qkv.len() / 3];
    for ((tokens, head), context) in tasks.iter().zip(&contexts) {
        for (token, context) in tokens.clone().zip(context.chunks_exact(width)) {
            out[token * hidden + head * width..][..width].copy_from_slice(context);
        }
    }
    out
}

/// One head of one text: (tokens of the text, width).
fn one_head(qkv: &[f32], tokens: Range<usize>, head: usize, hidden: usize, width: usize) -> Vec<f32> {
    let (stride, length) = (3 * hidden, tokens.len());
    // Element (token, i) of queries, keys or values (part 0, 1, 2) of this head.
    let at = |part: usize, token: usize, i: usize| (tokens.start + token) * stride + part * hidden + head * width + i;
    let keys = Packed::new(width, length, |i, token| qkv[at(1, token, i)]);
    let values = Packed::new(length, width, |token, i| qkv[at(2, token, i)]);
    let queries = Rows { data: &qkv[(at(0, 0, 0)).min(qkv.len())..], stride };
    let scale = 1.0 / (width as f64).sqrt();

    let mut out = vec![0.0; length * width];
    let mut scores = vec![0.0; QUERIES_PER_BLOCK.min(length) * length];
    for first in (0..length).step_by(QUERIES_PER_BLOCK) {
        let block = first..(first + QUERIES_PER_BLOCK).min(length);
        multiply(queries, block.clone(), &keys, 0..length.div_ceil(super::matmul::STRIP), |row, column, piece| {
            scores[(row - first) * length + column..][..piece.len()].copy_from_slice(piece);
        });
        let totals: Vec<f64> = scores
            .chunks_exact_mut(length)
            .take(block.len())
            .map(|scores| super::arch().dispatch(Exponentials { scores, scale }))
            .collect();
        let weights = Rows { data: &scores, stride: length };
        multiply(weights, 0..block.len(), &values, 0..width.div_ceil(super::matmul::STRIP), |row, column, piece| {
            for (out, value) in out[(first + row) * width + column..].iter_mut().zip(piece) {
                *out = (f64::from(*value) / totals[row]) as f32;
            }
        });
    }
    out
}

/// Turns scores into exp(scale · (score - largest)) and returns their sum; softmax is one divided by the other.
struct Exponentials<'a> {
    scores: &'a mut [f32],
    scale: f64,
}

impl WithSimd for Exponentials<'_> {
    type Output = f64;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> f64 {
        let Self { scores, scale } = self;
        // A product with the scale as float32 alone, rounded, would be off by 5e-7 at -10, and the weight with it:
        // more than all else in this step. What it lost goes into exp as well.
        let high = scale as f32;
        let low = (scale - f64::from(high)) as f32;
        let mut largest = f32::NEG_INFINITY;
        for score in scores.iter() {
            largest = if *score > largest { *score } else { largest };
        }
        for score in scores.iter_mut() {
            let distance = *score - largest;
            let exponent = distance * high;
            let lost = distance.mul_add(high, -exponent);
            *score = exp(exponent, distance.mul_add(low, lost));
        }
        sum(scores, f64::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Attention by its definition in float64.
    fn reference(qkv: &[f32], bounds: &[usize], heads: usize, width: usize) -> Vec<f64> {
        let hidden = heads * width;
        let mut out = vec![0.0; qkv.len() / 3];
        for bound in bounds.windows(2) {
            for head in 0..heads {
                let at = |part: usize, token: usize, i: usize| {
                    f64::from(qkv[token * 3 * hidden + part * hidden + head * width + i])
                };
                for query in bound[0]..bound[1] {
                    let weights: Vec<f64> = (bound[0]..bound[1])
                        .map(|key| {
                            let dot: f64 = (0..width).map(|i| at(0, query, i) * at(1, key, i)).sum();
                            (dot / (width as f64).sqrt()).exp()
                        })
                        .collect();
                    let total: f64 = weights.iter().sum();
                    for i in 0..width {
                        let sum: f64 = weights.iter().zip(bound[0]..bound[1]).map(|(w, key)| w * at(2, key, i)).sum();
                        out[query * hidden + head * width + i] = sum / total;
                    }
                }
            }
        }
        out
    }

    #[test]
    fn ragged_texts_of_every_head_width() {
        for (heads, width) in [(7, 1), (6, 3), (2, 16), (1, 33), (2, 64)] {
            let bounds = [0, 1, 1, 4, 80, 212]; // one token, none, few, more than a block, two blocks
            let count = 212 * 3 * heads * width;
            let qkv: Vec<f32> = (0..count).map(|i| ((i * 7919) % 1000) as f32 / 500.0 - 1.0).collect();
            let found = attention(&qkv, &bounds, heads, width);
            for (found, truth) in found.iter().zip(reference(&qkv, &bounds, heads, width)) {
                assert!((f64::from(*found) - truth).abs() < 1e-6, "{found} instead of {truth}");
            }
            let alone = attention(&qkv[4 * 3 * heads * width..80 * 3 * heads * width], &[0, 76], heads, width);
            assert_eq!(alone, found[4 * heads * width..80 * heads * width], "a text alone");
        }
    }
}
