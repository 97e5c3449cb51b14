//! Attention over ragged sequences: no padding, no mask, each text by itself.
//!
//! In float32 under `--compute bf16` too: it is a small part of the work, and rounding its operands nearly doubles the
//! largest error of all-MiniLM-L6-v2's last layer.

use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::Parameters;
use super::functions::exp;
use super::isa::InstructionSet;
use super::packed::{Line, STRIP, push_transposed};
use super::place::Strides;
use super::product::{Product, Rows};
use super::rowwise::{largest, sum};

/// Queries handled at once, so that their scores stay in cache.
const QUERIES_AT_ONCE: usize = 32;

/// The heads of a layer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Heads {
    pub(super) count: usize,
    /// Numbers of a head.
    pub(super) width: usize,
}

impl Heads {
    /// Strips of a head: its numbers filled up with zeros, so that every head starts with a strip.
    pub(super) fn strips(self) -> usize {
        self.width.div_ceil(STRIP)
    }

    /// Strips of queries, keys and values of all heads.
    pub(super) fn all_strips(self) -> usize {
        self.count * self.strips_of_one()
    }

    /// Strips of one head's queries, keys and values.
    pub(super) fn strips_of_one(self) -> usize {
        3 * self.strips()
    }

    /// The parameters of queries, keys and values as those of one linear layer, head after head, with outputs of zero where
    /// a head is filled up.
    pub(super) fn side_by_side<'a, E: 'a>(self, parts: [Parameters<'a, E>; 3]) -> Parameters<'a, E> {
        let filled = self.strips() * STRIP;
        let inputs = parts[0].inputs;
        let mut bias = Vec::with_capacity(self.all_strips() * STRIP);
        for head in 0..self.count {
            for part in &parts {
                bias.extend_from_slice(&part.bias[head * self.width..][..self.width]);
                bias.resize(bias.len().next_multiple_of(filled), 0.0);
            }
        }
        let read = move |rows: Range<usize>, out: &mut Vec<f32>| {
            rows.clone().step_by(STRIP).try_for_each(|first| {
                let (part, i) = (first / filled, first % filled);
                let count = STRIP.min(self.width - i);
                let row = part / 3 * self.width + i;
                (parts[part % 3].read)(row..row + count, out)?;
                out.resize(out.len() + (STRIP - count) * inputs, 0.0);
                Ok(())
            })
        };
        Parameters { inputs, bias, read: Box::new(read) }
    }
}

/// A head's queries, keys and values of some tokens: (strips, tokens, 16), the strips being those of the queries, the keys
/// and the values. So the values lie as the product wants them, and the keys are near each other.
#[derive(Clone, Copy)]
pub(super) struct QueryKeyValue<'a> {
    pub(super) lines: &'a [Line<f32>],
    pub(super) tokens: usize,
    pub(super) heads: Heads,
    /// Which head.
    pub(super) head: usize,
}

impl<'a> QueryKeyValue<'a> {
    /// Strips of the queries, keys or values (part 0, 1, 2) for some tokens.
    fn strips(self, part: usize, tokens: Range<usize>) -> impl Iterator<Item = &'a [Line<f32>]> {
        let count = self.heads.strips();
        (part * count..(part + 1) * count)
            .map(move |strip| &self.lines[strip * self.tokens + tokens.start..strip * self.tokens + tokens.end])
    }
}

/// Memory that attention needs beside its input and output; kept from one text to the next.
#[derive(Default)]
pub(super) struct Scratch {
    /// (queries at once, head)
    queries: Vec<f32>,
    /// Strips of 16 tokens: (head, 16)
    keys: Vec<Line<f32>>,
    /// (queries at once, tokens, filled up to whole strips)
    scores: Vec<f32>,
    totals: [f64; QUERIES_AT_ONCE],
}

impl Scratch {
    /// `softmax(q · kᵀ / √width) · v` of a head, for some queries of a text: into the head's columns of `out`, which is
    /// (queries, hidden).
    ///
    /// `text` and `queries` are places among the tokens of `qkv`.
    pub(super) fn attend(
        &mut self,
        instruction_set: InstructionSet,
        qkv: QueryKeyValue<'_>,
        text: Range<usize>,
        queries: Range<usize>,
        out: &mut [f32],
    ) {
        let Self { queries: query_rows, keys, scores, totals } = self;
        let (Heads { count: heads, width }, head) = (qkv.heads, qkv.head);
        let (hidden, inner, length) = (heads * width, qkv.heads.strips() * STRIP, text.len());
        // Whole strips, so that nothing needs to be done number by number.
        let stride = length.next_multiple_of(STRIP);

        keys.clear();
        for first in text.clone().step_by(STRIP) {
            let tokens = first..text.end.min(first + STRIP);
            let mut square = [Line([0.0; STRIP]); STRIP];
            for lines in qkv.strips(1, tokens) {
                square[..lines.len()].copy_from_slice(lines);
                push_transposed(&square, STRIP, keys);
            }
        }
        let keys: Vec<&[Line<f32>]> = keys.chunks_exact(inner).collect();
        let values: Vec<&[Line<f32>]> = qkv.strips(2, text).collect();

        for first in queries.clone().step_by(QUERIES_AT_ONCE) {
            let count = QUERIES_AT_ONCE.min(queries.end - first);
            query_rows.resize(QUERIES_AT_ONCE * inner, 0.0);
            for (strip, lines) in qkv.strips(0, first..first + count).enumerate() {
                for (row, line) in query_rows.chunks_exact_mut(inner).zip(lines) {
                    row[strip * STRIP..][..STRIP].copy_from_slice(&line.0);
                }
            }
            scores.resize(count * stride, 0.0);
            Product {
                a: Rows { data: query_rows, stride: inner },
                rows: count,
                b: &keys,
                columns: stride,
                bias: &[],
                goes_on: false,
                out: scores,
                strides: Strides::of_rows(stride),
            }
            .run(instruction_set);
            let scale = 1.0 / (width as f64).sqrt();
            instruction_set.run(Exponentials { scores, stride, length, scale, totals });
            let out = &mut out[(first - queries.start) * hidden + head * width..];
            Product {
                a: Rows { data: scores, stride },
                rows: count,
                b: &values,
                columns: width,
                bias: &[],
                goes_on: false,
                out,
                strides: Strides::of_rows(hidden),
            }
            .run(instruction_set);
            instruction_set.run(Divide { out, hidden, width, totals: &totals[..count] });
        }
    }
}

/// Turns rows of scores into exp(scale · (score - the row's largest)), and finds each row's sum; softmax is one divided
/// by the other. What fills up a row is zero then.
struct Exponentials<'a> {
    /// (rows, stride)
    scores: &'a mut [f32],
    /// Of a row: whole strips.
    stride: usize,
    /// Scores of a row.
    length: usize,
    scale: f64,
    totals: &'a mut [f64],
}

impl WithSimd for Exponentials<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { scores, stride, length, scale, totals } = self;
        // A product with the scale as float32 alone, rounded, would be off by 5e-7 at -10, and the weight with it:
        // more than all else in this step. What it lost goes into exp as well.
        let high = scale as f32;
        let low = (scale - f64::from(high)) as f32;
        for (scores, total) in scores.chunks_exact_mut(stride).zip(totals) {
            fill_up(scores, length, scores[0]);
            let largest = largest(scores);
            for strip in scores.as_chunks_mut::<STRIP>().0 {
                for score in strip {
                    let distance = *score - largest;
                    let exponent = distance * high;
                    let lost = distance.mul_add(high, -exponent);
                    *score = exp(exponent, distance.mul_add(low, lost));
                }
            }
            fill_up(scores, length, 0.0);
            *total = sum(scores, f64::from);
        }
    }
}

/// Sets what is after `length` in the last strip.
#[inline(always)]
fn fill_up(scores: &mut [f32], length: usize, value: f32) {
    let count = length % STRIP;
    // Numbers chosen in a vector: a call of `memset` would take as long as a strip's exponentials.
    if count > 0
        && let Some(last) = scores.last_chunk_mut::<STRIP>()
    {
        for (i, score) in last.iter_mut().enumerate() {
            *score = if i < count { *score } else { value };
        }
    }
}

/// Divides the first `width` numbers of each row of `hidden` by the row's total.
struct Divide<'a> {
    out: &'a mut [f32],
    hidden: usize,
    width: usize,
    totals: &'a [f64],
}

impl WithSimd for Divide<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for (row, total) in self.out.chunks_mut(self.hidden).zip(self.totals) {
            let reciprocal = 1.0 / total;
            for value in &mut row[..self.width] {
                *value = (f64::from(*value) * reciprocal) as f32;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// (tokens, 3 · hidden) as strips, head after head.
    fn strips(qkv: &[f32], tokens: usize, heads: Heads) -> Vec<Line<f32>> {
        let mut lines = vec![Line([0.0; STRIP]); heads.all_strips() * tokens];
        for part in 0..3 {
            for head in 0..heads.count {
                for token in 0..tokens {
                    for i in 0..heads.width {
                        let strip = (head * 3 + part) * heads.strips() + i / STRIP;
                        let from = ((token * 3 + part) * heads.count + head) * heads.width + i;
                        lines[strip * tokens + token].0[i % STRIP] = qkv[from];
                    }
                }
            }
        }
        lines
    }

    /// Attention of one text by its definition in float64: (tokens, hidden).
    fn reference(qkv: &[f32], tokens: usize, heads: Heads) -> Vec<f64> {
        let Heads { count, width } = heads;
        let at = |part: usize, token: usize, head: usize, i: usize| {
            f64::from(qkv[((token * 3 + part) * count + head) * width + i])
        };
        let mut out = Vec::new();
        for query in 0..tokens {
            for head in 0..count {
                let weights: Vec<f64> = (0..tokens)
                    .map(|key| {
                        let dot: f64 = (0..width).map(|i| at(0, query, head, i) * at(1, key, head, i)).sum();
                        (dot / (width as f64).sqrt()).exp()
                    })
                    .collect();
                let total: f64 = weights.iter().sum();
                out.extend(
                    (0..width).map(|i| (0..tokens).map(|key| weights[key] * at(2, key, head, i)).sum::<f64>() / total),
                );
            }
        }
        out
    }

    #[test]
    fn texts_of_every_head_width_whole_and_in_parts() {
        for (count, width) in [(7, 1), (6, 3), (2, 16), (1, 33), (2, 64)] {
            let (heads, hidden) = (Heads { count, width }, count * width);
            for tokens in [1, 3, 16, 76, 132] {
                let qkv: Vec<f32> =
                    (0..tokens * 3 * hidden).map(|i| ((i * 7919) % 1000) as f32 / 500.0 - 1.0).collect();
                let lines = strips(&qkv, tokens, heads);
                let attend = |queries: Range<usize>| {
                    let mut out = vec![f32::NAN; queries.len() * hidden];
                    for (head, lines) in lines.chunks_exact(heads.strips_of_one() * tokens).enumerate() {
                        let qkv = QueryKeyValue { lines, tokens, heads, head };
                        Scratch::default().attend(
                            InstructionSet::available()[0],
                            qkv,
                            0..tokens,
                            queries.clone(),
                            &mut out,
                        );
                    }
                    out
                };
                let found = attend(0..tokens);
                for (found, truth) in found.iter().zip(reference(&qkv, tokens, heads)) {
                    assert!((f64::from(*found) - truth).abs() < 1e-6, "{found} instead of {truth}");
                }
                let half = tokens / 2;
                assert_eq!(attend(half..tokens), found[half * hidden..], "a part of the queries");
            }
        }
    }
}
