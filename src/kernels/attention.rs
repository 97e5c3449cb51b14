//! Attention over ragged sequences: no padding, no mask, each text by itself.
//!
//! As in FlashAttention, scores and softmax are computed block by block of the queries while they are in cache; but a row of
//! scores is whole, so that softmax needs no rescaling of what was summed before.
//!
//! Where a layer has a window, only its keys take part, in stretches that begin where a chain of sums does: so the bits are those of
//! attention over the whole text with weights of zero outside, whichever queries are computed together.
//!
//! In float32 under `--compute bf16` too: it is a small part of the work, and rounding its operands nearly doubles the
//! largest error of all-MiniLM-L6-v2's last layer.

use std::ops::Range;
use std::sync::Arc;

use pulp::{Simd, WithSimd};

use super::dispatch::Dispatch;
use super::functions::exp;
use super::instruction_set::InstructionSet;
use super::output_tile::Strides;
use super::packed_matrix::{PANEL_WIDTH, PanelRow, push_transposed};
use super::parameters::Parameters;
use super::product::{Product, StridedRows};
use super::reduce::{largest, sum};
use super::relative::{Disentangled, DisentangledScratch, DistanceBias};
use super::rotary::PAIRS;
use crate::family::RotaryPairs;

/// Queries handled at once, so that their scores stay in cache.
const QUERIES_AT_ONCE: usize = 32;

/// Keys of a window begin at a multiple of this many tokens: whole chains of the product with the values (see [`Product`]), and
/// whole panels.
const WINDOW_STEP: usize = 32;

/// The heads of a layer, and how their queries, keys and values are laid out in panels.
#[derive(Debug, Clone, Copy)]
pub(super) struct Heads {
    pub(super) count: usize,
    /// Heads of keys and values; each serves as many heads of queries.
    pub(super) key_values: usize,
    pub(super) head_dim: usize,
    /// Which numbers of queries and keys are rotated together, if they are.
    pub(super) pairs: Option<RotaryPairs>,
}

/// How a layer's attention weighs the tokens of a text.
pub(super) struct Scoring {
    /// What products of queries and keys are multiplied by.
    pub(super) scale: f64,
    /// The largest distance between tokens that attend to each other.
    pub(super) window: Option<usize>,
    pub(super) relative: Relative,
}

/// What is added to the products of queries and keys.
pub(super) enum Relative {
    None,
    Bias(Arc<DistanceBias>),
    Disentangled(Disentangled),
}

impl Scoring {
    /// `softmax(q · kᵀ / √head_dim)`, as in BERT.
    pub(super) fn plain(head_dim: usize) -> Self {
        Self { scale: 1.0 / (head_dim as f64).sqrt(), window: None, relative: Relative::None }
    }
}

impl Heads {
    /// Panels of one head's queries; as many have its keys, and its values. The last one is filled up with zeros, so that
    /// every head starts with a panel.
    pub(super) fn panels_of_queries(self) -> usize {
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

    /// Which row of the weight of queries, keys or values (part 0, 1, 2) is number `lane` of a panel; `None` where head_dim does
    /// not fill it. Rotary positions put the pairs of queries and keys into one panel: eight first numbers, eight second ones.
    fn row(self, head: usize, part: usize, panel: usize, lane: usize) -> Option<usize> {
        let half = self.head_dim / 2;
        let i = match self.pairs.filter(|_| part < 2) {
            None => Some(panel * PANEL_WIDTH + lane).filter(|&i| i < self.head_dim)?,
            Some(pairs) => {
                let pair = Some(panel * PAIRS + lane % PAIRS).filter(|&pair| pair < half)?;
                let second = usize::from(lane >= PAIRS);
                match pairs {
                    RotaryPairs::Halves => pair + second * half,
                    RotaryPairs::Neighbours => 2 * pair + second,
                }
            }
        };
        let head = if part == 0 { head } else { head * self.key_values / self.count };
        Some(head * self.head_dim + i)
    }

    /// The parameters of queries, keys and values as those of one linear layer, whose outputs are (heads, 3, head_dim), with
    /// outputs of zero where head_dim does not fill its panels. Keys and values that serve several heads are there for each.
    pub(super) fn fuse<'a, E: 'a>(self, query_key_value: [Parameters<'a, E>; 3]) -> Parameters<'a, E> {
        let per_part = self.panels_of_queries();
        let inputs = query_key_value[0].inputs;
        // Of an output: the part, and its row there.
        let row = move |output: usize| {
            let (panel, lane) = (output / PANEL_WIDTH, output % PANEL_WIDTH);
            let (part, panel) = (panel / per_part, panel % per_part);
            (part % 3, self.row(part / 3, part % 3, panel, lane))
        };
        let outputs = self.panels() * PANEL_WIDTH;
        let bias = (0..outputs).map(|output| match row(output) {
            (part, Some(row)) => query_key_value[part].bias[row],
            (_, None) => 0.0,
        });
        let bias = bias.collect();
        let read = move |outputs: Range<usize>, out: &mut Vec<f32>| {
            let mut output = outputs.start;
            while output < outputs.end {
                let (part, first) = row(output);
                // Rows that follow each other in one part are read at once.
                let follows = |count: &usize| {
                    let next = first.map(|first| first + count);
                    output + count < outputs.end && row(output + count) == (part, next)
                };
                let count = 1 + (1..).take_while(follows).count();
                match first {
                    Some(first) => (query_key_value[part].read)(first..first + count, out)?,
                    None => out.resize(out.len() + count * inputs, 0.0),
                }
                output += count;
            }
            Ok(())
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

    /// The queries, keys or values (part 0, 1, 2) of some tokens as rows, (tokens, head_dim filled up to whole panels).
    fn copy_rows(self, part: usize, tokens: Range<usize>, rows: &mut [f32]) {
        let inner = self.heads.panels_of_queries() * PANEL_WIDTH;
        for (p, panel) in self.panels(part, tokens).enumerate() {
            for (row, panel_row) in rows.chunks_exact_mut(inner).zip(panel) {
                row[p * PANEL_WIDTH..][..PANEL_WIDTH].copy_from_slice(&panel_row.0);
            }
        }
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
    disentangled: DisentangledScratch,
}

impl AttentionScratch {
    /// `softmax(scale · (q · kᵀ + relative)) · v` of a head, for some queries of a text: into the head's columns of `out`, which
    /// is (queries, hidden).
    ///
    /// `text` and `queries` are ranges of the tokens of `qkv`.
    pub(super) fn attend(
        &mut self,
        instruction_set: InstructionSet,
        scoring: &Scoring,
        qkv: QueryKeyValue<'_>,
        text: Range<usize>,
        queries: Range<usize>,
        out: &mut [f32],
    ) {
        if queries.is_empty() {
            return;
        }
        let Self { queries: query_rows, keys, scores, totals, disentangled } = self;
        let (Heads { count: heads, head_dim, .. }, head) = (qkv.heads, qkv.head);
        let (hidden, all) = (heads * head_dim, text.len());
        let inner = qkv.heads.panels_of_queries() * PANEL_WIDTH;
        // The keys that some queries see, counted from the text's first token.
        let keys_of = |queries: Range<usize>| match scoring.window {
            None => 0..all,
            Some(window) => {
                let first = (queries.start - text.start).saturating_sub(window) / WINDOW_STEP * WINDOW_STEP;
                first..all.min(queries.end - text.start + window)
            }
        };

        // Those of all queries, packed.
        let packed = keys_of(queries.clone());
        keys.clear();
        for first in (text.start + packed.start..text.start + packed.end).step_by(PANEL_WIDTH) {
            let tokens = first..text.end.min(first + PANEL_WIDTH);
            let mut square = [PanelRow([0.0; PANEL_WIDTH]); PANEL_WIDTH];
            for panel in qkv.panels(1, tokens) {
                square[..panel.len()].copy_from_slice(panel);
                push_transposed(&square, PANEL_WIDTH, keys);
            }
        }
        let keys: Vec<&[PanelRow<f32>]> = keys.chunks_exact(inner).collect();
        if let Relative::Disentangled(relative) = &scoring.relative {
            let copy_keys = |rows: &mut [f32]| qkv.copy_rows(1, text.clone(), rows);
            relative.begin(instruction_set, head, all, copy_keys, disentangled);
        }

        for first in queries.clone().step_by(QUERIES_AT_ONCE) {
            let count = QUERIES_AT_ONCE.min(queries.end - first);
            let seen = keys_of(first..first + count);
            let length = seen.len();
            // Whole panels, so that softmax need not treat the last numbers of a row one by one.
            let stride = length.next_multiple_of(PANEL_WIDTH);
            query_rows.resize(QUERIES_AT_ONCE * inner, 0.0);
            qkv.copy_rows(0, first..first + count, query_rows);
            scores.resize(count * stride, 0.0);
            let panels = (seen.start - packed.start) / PANEL_WIDTH..(seen.end - packed.start).div_ceil(PANEL_WIDTH);
            let query_key = Product {
                a: StridedRows { elements: query_rows, stride: inner },
                rows: count,
                b: &keys[panels],
                columns: stride,
                bias: &[],
                accumulate: false,
                out: scores,
                strides: Strides::of_rows(stride),
            };
            f32::multiply(instruction_set, query_key);
            let query = first - text.start;
            match &scoring.relative {
                Relative::None => {}
                Relative::Bias(bias) => {
                    for (i, scores) in scores.chunks_exact_mut(stride).enumerate() {
                        bias.add_to(head, query + i, seen.start, &mut scores[..length]);
                    }
                }
                Relative::Disentangled(relative) => {
                    let query_rows = (&query_rows[..count * inner], query);
                    relative.add_to(instruction_set, head, query_rows, (scores, stride), disentangled);
                }
            }
            let window = scoring.window.map(|window| RowWindow { window, query, first: seen.start });
            instruction_set.run(Exponentiate { scores, stride, length, window, scale: scoring.scale, totals });
            let out = &mut out[(first - queries.start) * hidden + head * head_dim..];
            let values: Vec<_> = qkv.panels(2, text.start + seen.start..text.start + seen.end).collect();
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

/// Which keys the rows of scores see.
#[derive(Clone, Copy)]
struct RowWindow {
    /// The largest distance.
    window: usize,
    /// The token of the first row.
    query: usize,
    /// The token of the first key.
    first: usize,
}

impl RowWindow {
    /// The keys of one row, counted from the first one.
    #[inline(always)]
    fn of(self, row: usize, length: usize) -> Range<usize> {
        let query = self.query + row;
        query.saturating_sub(self.window).saturating_sub(self.first)..(query + self.window + 1 - self.first).min(length)
    }
}

/// Turns rows of scores into exp(scale · (score - the row's largest)), and finds each row's sum. Softmax is one divided
/// by the other. The numbers that fill up a row are zero afterwards, and those outside a window.
struct Exponentiate<'a> {
    /// (rows, stride)
    scores: &'a mut [f32],
    /// Numbers of a row: whole panels.
    stride: usize,
    /// Scores of a row.
    length: usize,
    window: Option<RowWindow>,
    scale: f64,
    /// (rows)
    totals: &'a mut [f64],
}

impl WithSimd for Exponentiate<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { scores, stride, length, window, scale, totals } = self;
        // A product with the scale as float32 alone, rounded, would be off by 5e-7 at -10, and the weight with it:
        // more than all else in this step. What it lost goes into exp as well.
        let high = scale as f32;
        let low = (scale - f64::from(high)) as f32;
        for (row, (scores, total)) in scores.chunks_exact_mut(stride).zip(totals).enumerate() {
            let seen = window.map(|window| window.of(row, length));
            if let Some(Range { start, end }) = seen.clone() {
                let own = scores[start];
                scores[..start].fill(own);
                scores[end..length].fill(own);
            }
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
            if let Some(Range { start, end }) = seen {
                scores[..start].fill(0.0);
                scores[end..].fill(0.0);
            }
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
        let Heads { count, head_dim, .. } = heads;
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
            let (heads, hidden) = (Heads { count, key_values: count, head_dim, pairs: None }, count * head_dim);
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
                            &Scoring::plain(head_dim),
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
