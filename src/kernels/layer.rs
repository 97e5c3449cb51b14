//! A whole encoder layer, cut so that what a task computes stays in cache.
//!
//! Nothing in a layer reaches beyond a text, and nothing but attention beyond a row. So a task takes a group of whole
//! texts through the layer from beginning to end, with no large temporary at all. Where there are too few groups for the
//! threads, one short text above all, each step is spread over the threads by itself.

use std::ops::Range;
use std::sync::Mutex;

use bytemuck::cast_slice_mut;
use rayon::prelude::*;

use super::EncoderLayer;
use super::attention::{self, QueryKeyValue};
use super::linear::{Dense, MOST_ROWS, Operands};
use super::packed::{Line, STRIP};
use super::rowwise::Norm;

/// Groups for each thread that make it worth while to give each task a group: fewer would end too unevenly.
const GROUPS_PER_THREAD: usize = 4;

/// `hidden_state` (tokens, hidden) of texts, text i being tokens `bounds[i]..bounds[i + 1]`, to the layer's output.
pub(super) fn forward(layer: &EncoderLayer, hidden_state: &[f32], bounds: &[usize]) -> Vec<f32> {
    let mut out = vec![0.0; hidden_state.len()];
    let groups = groups(bounds);
    let threads = rayon::current_num_threads();
    if threads > 1 && groups.len() < threads * GROUPS_PER_THREAD {
        step_by_step(layer, hidden_state, &groups, &mut out);
        return out;
    }
    let hidden = layer.hidden();
    let mut tasks = Vec::with_capacity(groups.len());
    let mut rest = &mut out[..];
    for group in groups {
        let (out, after) = rest.split_at_mut(group.tokens().len() * hidden);
        tasks.push((group, out));
        rest = after;
    }
    // Large ones first, and handed out one by one: so all threads end at about the same time.
    tasks.sort_by_key(|(group, _)| std::cmp::Reverse(group.tokens().len()));
    let tasks = Mutex::new(tasks.into_iter());
    let next = || tasks.lock().unwrap_or_else(std::sync::PoisonError::into_inner).next();
    rayon::broadcast(|_| {
        let mut scratch = Scratch::default();
        while let Some((group, out)) = next() {
            scratch.group(layer, hidden_state, &group, out);
        }
    });
    out
}

/// Texts that follow each other: `bounds` as of a batch, of these texts only.
struct Group<'a> {
    bounds: &'a [usize],
}

impl Group<'_> {
    /// The tokens of the batch that belong to it.
    fn tokens(&self) -> Range<usize> {
        self.bounds[0]..self.bounds[self.bounds.len() - 1]
    }

    /// Each text's tokens, counted from the group's first.
    fn texts(&self) -> impl Iterator<Item = Range<usize>> {
        self.bounds.windows(2).map(|bound| bound[0] - self.bounds[0]..bound[1] - self.bounds[0])
    }
}

/// Groups of at most [`MOST_ROWS`] tokens; a longer text is a group by itself.
fn groups(bounds: &[usize]) -> Vec<Group<'_>> {
    let mut groups = Vec::new();
    let mut first = 0;
    for last in 1..bounds.len() {
        let full = last + 1 == bounds.len() || bounds[last + 1] - bounds[first] > MOST_ROWS;
        if full {
            groups.push(Group { bounds: &bounds[first..=last] });
            first = last;
        }
    }
    groups
}

/// Memory for a group on its way through a layer; kept from one group to the next.
#[derive(Default)]
struct Scratch {
    query_key_value: Vec<Line<f32>>,
    attention: attention::Scratch,
    context: Vec<f32>,
    rows: RowScratch,
    operands: Operands,
}

impl Scratch {
    /// All of a layer for one group.
    fn group(&mut self, layer: &EncoderLayer, hidden_state: &[f32], group: &Group<'_>, out: &mut [f32]) {
        let (hidden, heads) = (layer.hidden(), layer.heads);
        let tokens = group.tokens().len();
        let x = &hidden_state[group.tokens().start * hidden..][..tokens * hidden];
        self.query_key_value.resize(heads.all_strips() * tokens, Line([0.0; STRIP]));
        let numbers = cast_slice_mut(&mut self.query_key_value);
        layer.query_key_value.strips_of_rows(x, 0..heads.all_strips(), numbers, &mut self.operands);
        self.context.resize(tokens * hidden, 0.0);
        let qkv = QueryKeyValue { lines: &self.query_key_value, tokens, heads };
        for text in group.texts() {
            let context = &mut self.context[text.start * hidden..text.end * hidden];
            self.attention.attend(qkv, text.clone(), text, context);
        }
        let rows = MOST_ROWS * hidden;
        for ((out, context), x) in out.chunks_mut(rows).zip(self.context.chunks(rows)).zip(x.chunks(rows)) {
            self.rows.post_attention(layer, context, x, out, &mut self.operands);
        }
    }
}

/// Memory for some rows on their way through what comes after attention.
#[derive(Default)]
struct RowScratch {
    dense: Vec<f32>,
    attended: Vec<f32>,
    intermediate: Vec<f32>,
}

impl RowScratch {
    /// Output projection, residual, LayerNorm, feed-forward, residual, LayerNorm, for some rows on this thread.
    fn post_attention(
        &mut self,
        layer: &EncoderLayer,
        context: &[f32],
        residual: &[f32],
        out: &mut [f32],
        operands: &mut Operands,
    ) {
        let Self { dense, attended, intermediate } = self;
        let rows = context.len() / layer.hidden();
        dense.resize(context.len(), 0.0);
        attended.resize(context.len(), 0.0);
        intermediate.resize(rows * layer.intermediate.outputs(), 0.0);
        layer.attention_output.rows(context, dense, operands);
        layer.attention_norm.rows(dense, residual, attended);
        layer.intermediate.rows(attended, intermediate, operands);
        layer.output.rows(intermediate, dense, operands);
        layer.output_norm.rows(dense, attended, out);
    }
}

/// Few groups: each step spread over all threads, its columns where its rows are too few.
fn step_by_step(layer: &EncoderLayer, hidden_state: &[f32], groups: &[Group<'_>], out: &mut [f32]) {
    let (hidden, heads) = (layer.hidden(), layer.heads);
    let threads = rayon::current_num_threads();

    // Queries, keys and values: parts of the strips of each group.
    let strips = heads.all_strips();
    let strips_per_task = strips.div_ceil((threads * GROUPS_PER_THREAD).div_ceil(groups.len().max(1)));
    let strips_per_task = strips_per_task.next_multiple_of(3);
    let mut buffers: Vec<Vec<Line<f32>>> =
        groups.iter().map(|group| vec![Line([0.0; STRIP]); strips * group.tokens().len()]).collect();
    let parts = buffers.iter_mut().zip(groups).flat_map(|(buffer, group)| {
        let length = (strips_per_task * group.tokens().len()).max(1);
        buffer.chunks_mut(length).enumerate().map(move |(part, lines)| (group, part * strips_per_task, lines))
    });
    parts.collect::<Vec<_>>().into_par_iter().for_each_init(Operands::default, |operands, (group, first, lines)| {
        let tokens = group.tokens();
        let x = &hidden_state[tokens.start * hidden..tokens.end * hidden];
        let strips = first..first + lines.len() / tokens.len();
        layer.query_key_value.strips_of_rows(x, strips, cast_slice_mut(lines), operands);
    });

    // Attention: parts of the queries of each text.
    let mut context = vec![0.0; out.len()];
    let queries_per_task = (out.len() / hidden).div_ceil(threads * GROUPS_PER_THREAD).next_multiple_of(4);
    let mut tasks = Vec::new();
    let mut rest = &mut context[..];
    for (group, lines) in groups.iter().zip(&buffers) {
        let qkv = QueryKeyValue { lines, tokens: group.tokens().len(), heads };
        for text in group.texts() {
            for first in text.clone().step_by(queries_per_task) {
                let queries = first..text.end.min(first + queries_per_task);
                let (out, after) = rest.split_at_mut(queries.len() * hidden);
                tasks.push((qkv, text.clone(), queries, out));
                rest = after;
            }
        }
    }
    tasks.into_par_iter().for_each_init(attention::Scratch::default, |scratch, (qkv, text, queries, out)| {
        scratch.attend(qkv, text, queries, out);
    });

    // The rest, by rows or by columns.
    let norm = |norm: &Norm, x: &[f32], residual: &[f32], out: &mut [f32]| norm.rows(x, residual, out);
    let dense = |dense: &Dense, x: &[f32]| dense.forward(x);
    let mut attended = vec![0.0; out.len()];
    norm(&layer.attention_norm, &dense(&layer.attention_output, &context), hidden_state, &mut attended);
    let intermediate = dense(&layer.intermediate, &attended);
    norm(&layer.output_norm, &dense(&layer.output, &intermediate), &attended, out);
}
