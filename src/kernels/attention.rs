//! Attention over ragged sequences: no padding, no mask, each text by itself.
//!
//! As in FlashAttention, scores and softmax are computed block by block of the queries while they are in cache; but a row of
//! scores is whole, so that softmax needs no rescaling of what was summed before.
//!
//! In float32 under `--compute bf16` too: it is a small part of the work, and rounding its operands nearly doubles the
//! largest error of all-MiniLM-L6-v2's last layer.

use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::dispatch::Dispatch;
use super::functions::exp;
use super::instruction_set::InstructionSet;
use super::output_tile::Strides;
use super::packed_matrix::{PANEL_WIDTH, PanelRow, push_transposed};
use super::parameters::Parameters;
use super::product::{Product, StridedRows};
use super::reduce::{largest, sum};

/// Queries handled at once, so that their scores stay in cache.
const QUERIES_AT_ONCE: usize = 32;

/// The heads of a layer, and how their queries, keys and values are laid out in panels.
#[derive(Debug, Clone, Copy)]
pub(super) struct Heads {
    pub(super) count: usize,
    pub(super) head_dim: usize,
}

impl Heads {
    /// Panels of one head's queries; as many have its keys, and its values. The last one is filled up with zeros, so that
    /// every head starts with a panel.
    fn panels_of_queries(self) -> usize {
        self.head_dim.div_ceil(PANEL_WIDTH)
    }

    /// Panels of one head's queries, keys and values.
    pub(super) fn panels_per_head(self) -> usize {
        3 * self.panels_of_queries()
    }

    /// Panels of queries, keys and values of all heads.
    pub(super) fn panels(self) -> usize {
        self.count * self.panels_per_head()
    }

    /// The parameters of queries, keys and values as those of one linear layer, whose outputs are (heads, 3, head_dim), with
    /// outputs of zero where head_dim does not fill its panels.
    pub(super) fn fuse<'a, E: 'a>(self, query_key_value: [Parameters<'a, E>; 3]) -> Parameters<'a, E> {
        let filled = self.panels_of_queries() * PANEL_WIDTH;
        let inputs = query_key_value[0].inputs;
        let mut bias = Vec::with_capacity(self.panels() * PANEL_WIDTH);
        for head in 0..self.count {
            for part in &query_key_value {
                bias.extend_from_slice(&part.bias[head * self.head_dim..][..self.head_dim]);
                bias.resize(bias.len().next_multiple_of(filled), 0.0);
            }
        }
        let read = move |rows: Range<usize>, out: &mut Vec<f32>| {
            rows.clone().step_by(PANEL_WIDTH).try_for_each(|first| {
                let (part, i) = (first / filled, first % filled);
                let count = PANEL_WIDTH.min(self.head_dim - i);
                let row = part / 3 * self.head_dim + i;
                (query_key_value[part % 3].read)(row..row + count, out)?;
                out.resize(out.len() + (PANEL_WIDTH - count) * inputs, 0.0);
                Ok(())
            })
        };
        Parameters { inputs, bias, read: Box::new(read) }
    }
}

/// A head's queries, keys and values of some tokens: as panels, so that the values are packed for their product already, and
/// the keys are near each other.
#[derive(Clone, Copy)]
pub(super) struct QueryKeyValue<'a> {
    /// (panels of the queries, the keys and the values, tokens, 16)
    pub(super) panel_rows: &'a [PanelRow<f32>],
    pub(super) tokens: usize,
    pub(super) heads: Heads,
    /// Which head it is.
    pub(super) head: usize,
}

impl<'a> QueryKeyValue<'a> {
    /// The panels (tokens, 16) of the queries, keys or values (part 0, 1, 2) of some tokens.
    fn panels(self, part: usize, tokens: Range<usize>) -> impl Iterator<Item = &'a [PanelRow<f32>]> {
        let count = self.heads.panels_of_queries();
        (part * count..(part + 1) * count)
            .map(move |panel| &self.panel_rows[panel * self.tokens + tokens.start..panel * self.tokens + tokens.end])
    }
}

/// Memory that attention needs beside its input and output; kept from one text to the next.
#[derive(Default)]
pub(super) struct AttentionScratch {
    /// (queries at once, head_dim filled up to whole panels)
    queries: Vec<f32>,
    /// (panels of 16 tokens, head_dim filled up to whole panels, 16)
    keys: Vec<PanelRow<f32>>,
    /// (queries at once, tokens filled up to whole panels)
    scores: Vec<f32>,
    /// (queries at once)
    totals: [f64; QUERIES_AT_ONCE],
}

impl AttentionScratch {
    /// `softmax(q · kᵀ / √head_dim) · v` of a head, for some queries of a text: into the head's columns of `out`, which is
    /// (queries, hidden).
    ///
    /// `text` and `queries` are ranges of the tokens of `qkv`.
    pub(super) fn attend(
        &mut self,
        instruction_set: InstructionSet,
        qkv: QueryKeyValue<'_>,
        text: Range<usize>,
        queries: Range<usize>,
        out: &mut [f32],
    ) {
        let Self { queries: query_rows, keys, scores, totals } = self;
        let (Heads { count: heads, head_dim }, head) = (qkv.heads, qkv.head);
        let (hidden, length) = (heads * head_dim, text.len());
        let inner = qkv.heads.panels_of_queries() * PANEL_WIDTH;
        // Whole panels, so that softmax need not treat the last numbers of a row one by one.
        let stride = length.next_multiple_of(PANEL_WIDTH);

        keys.clear();
        for first in text.clone().step_by(PANEL_WIDTH) {
            let tokens = first..text.end.min(first + PANEL_WIDTH);
            let mut square = [PanelRow([0.0; PANEL_WIDTH]); PANEL_WIDTH];
            for panel in qkv.panels(1, tokens) {
                square[..panel.len()].copy_from_slice(panel);
                push_transposed(&square, PANEL_WIDTH, keys);
            }
        }
        let keys: Vec<&[PanelRow<f32>]> = keys.chunks_exact(inner).collect();
        let values: Vec<&[PanelRow<f32>]> = qkv.panels(2, text).collect();

        for first in queries.clone().step_by(QUERIES_AT_ONCE) {
            let count = QUERIES_AT_ONCE.min(queries.end - first);
            query_rows.resize(QUERIES_AT_ONCE * inner, 0.0);
            for (p, panel) in qkv.panels(0, first..first + count).enumerate() {
                for (row, panel_row) in query_rows.chunks_exact_mut(inner).zip(panel) {
                    row[p * PANEL_WIDTH..][..PANEL_WIDTH].copy_from_slice(&panel_row.0);
                }
            }
            scores.resize(count * stride, 0.0);
            let query_key = Product {
                a: StridedRows { elements: query_rows, stride: inner },
                rows: count,
                b: &keys,
                columns: stride,
                bias: &[],
                accumulate: false,
                out: scores,
                strides: Strides::of_rows(stride),
            };
            f32::multiply(instruction_set, query_key);
            let scale = 1.0 / (head_dim as f64).sqrt();
            instruction_set.run(Exponentiate { scores, stride, length, scale, totals });
            let out = &mut out[(first - queries.start) * hidden + head * head_dim..];
            let score_value = Product {
                a: StridedRows { elements: scores, stride },
                rows: count,
                b: &values,
                columns: head_dim,
                bias: &[],
                accumulate: false,
                out,
                strides: Strides::of_rows(hidden),
            };
            f32::multiply(instruction_set, score_value);
            instruction_set.run(DivideByTotals { out, hidden, head_dim, totals: &totals[..count] });
        }
    }
}

/// Turns rows of scores into exp(scale · (score - the row's largest)), and finds each row's sum. Softmax is one divided
/// by the other. The numbers that fill up a row are zero afterwards.
struct Exponentiate<'a> {
    /// (rows, stride)
    scores: &'a mut [f32],
    /// Numbers of a row: whole panels.
    stride: usize,
    /// Scores of a row.
    length: usize,
    scale: f64,
    /// (rows)
    totals: &'a mut [f64],
}

impl WithSimd for Exponentiate<'_> {
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
            for chunk in scores.as_chunks_mut::<PANEL_WIDTH>().0 {
                for score in chunk {
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

/// Sets the numbers after the first `length`, which fill up the last panel.
#[inline(always)]
fn fill_up(scores: &mut [f32], length: usize, value: f32) {
    let count = length % PANEL_WIDTH;
    // Chosen number by number, which becomes a vector: a call of `memset` would take as long as 16 exponentials.
    if count > 0
        && let Some(last) = scores.last_chunk_mut::<PANEL_WIDTH>()
    {
        for (i, score) in last.iter_mut().enumerate() {
            *score = if i < count { *score } else { value };
        }
    }
}

/// Divides the first `head_dim` numbers of each row by the row's total.
struct DivideByTotals<'a> {
    /// (rows, hidden)
    out: &'a mut [f32],
    hidden: usize,
    head_dim: usize,
    /// (rows)
    totals: &'a [f64],
}

impl WithSimd for DivideByTotals<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for (row, total) in self.out.chunks_mut(self.hidden).zip(self.totals) {
            let reciprocal = 1.0 / total;
            for value in &mut row[..self.head_dim] {
                *value = (f64::from(*value) * reciprocal) as f32;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// (tokens, 3 · hidden) as panels, head after head.
    fn panels(qkv: &[f32], tokens: usize, heads: Heads) -> Vec<PanelRow<f32>> {
        let mut panel_rows = vec![PanelRow([0.0; PANEL_WIDTH]); heads.panels() * tokens];
        for part in 0..3 {
            for head in 0..heads.count {
                for token in 0..tokens {
                    for i in 0..heads.head_dim {
                        let panel = (head * 3 + part) * heads.panels_of_queries() + i / PANEL_WIDTH;
                        let from = ((token * 3 + part) * heads.count + head) * heads.head_dim + i;
                        panel_rows[panel * tokens + token].0[i % PANEL_WIDTH] = qkv[from];
                    }
                }
            }
        }
        panel_rows
    }

    /// Attention of one text by its definition in float64: (tokens, hidden).
    fn reference(qkv: &[f32], tokens: usize, heads: Heads) -> Vec<f64> {
        let Heads { count, head_dim } = heads;
        let at = |part: usize, token: usize, head: usize, i: usize| {
            f64::from(qkv[((token * 3 + part) * count + head) * head_dim + i])
        };
        let mut out = Vec::new();
        for query in 0..tokens {
            for head in 0..count {
                let weights: Vec<f64> = (0..tokens)
                    .map(|key| {
                        let dot: f64 = (0..head_dim).map(|i| at(0, query, head, i) * at(1, key, head, i)).sum();
                        (dot / (head_dim as f64).sqrt()).exp()
                    })
                    .collect();
                let total: f64 = weights.iter().sum();
                out.extend(
                    (0..head_dim)
                        .map(|i| (0..tokens).map(|key| weights[key] * at(2, key, head, i)).sum::<f64>() / total),
                );
            }
        }
        out
    }

    #[test]
    fn texts_of_every_head_dim_whole_and_in_parts() {
        for (count, head_dim) in [(7, 1), (6, 3), (2, 16), (1, 33), (2, 64)] {
            let (heads, hidden) = (Heads { count, head_dim }, count * head_dim);
            for tokens in [1, 3, 16, 76, 132] {
                let qkv: Vec<f32> =
                    (0..tokens * 3 * hidden).map(|i| ((i * 7919) % 1000) as f32 / 500.0 - 1.0).collect();
                let panel_rows = panels(&qkv, tokens, heads);
                let attend = |queries: Range<usize>| {
                    let mut out = vec![f32::NAN; queries.len() * hidden];
                    for (head, panel_rows) in panel_rows.chunks_exact(heads.panels_per_head() * tokens).enumerate() {
                        let qkv = QueryKeyValue { panel_rows, tokens, heads, head };
                        AttentionScratch::default().attend(
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
