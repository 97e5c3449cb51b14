//! A whole encoder layer, blocked so that what a task computes stays in cache.
//!
//! Nothing in a layer reaches beyond a text, and nothing but attention beyond a row. So a task takes a group of whole
//! texts through the layer from beginning to end: attention a head at a time, the feed-forward some columns of the
//! intermediate layer at a time. That way little is held for a row, and weights, which come from the third-level cache or
//! from memory, are read for many rows at once. Where there are too few groups for the threads, one short text above all, each
//! step is spread over the threads by itself.

use std::cell::RefCell;
use std::sync::{Arc, Mutex};

use bytemuck::cast_slice_mut;
use rayon::prelude::*;

use super::attention::{AttentionScratch, Heads, QueryKeyValue, Relative, Scoring};
use super::convolution::Convolution;
use super::feed_forward::{FeedForward, FeedForwardScratch};
use super::instruction_set::InstructionSet;
use super::linear::{ConversionBuffers, PackedLinear, ProductBlock, StridedOutput};
use super::norm::{Norm, add};
use super::output_tile::Strides;
use super::packed_matrix::{PANEL_WIDTH, PanelRow};
use super::parameters::{DisentangledParameters, LayerNorms, LayerParameters, RelativePositions};
use super::relative::Disentangled;
use super::rotary::{RotaryTable, Rotation, rotate};
use super::text_groups::{GROUPS_PER_THREAD, TextGroup, are_even, groups, rows_at_once};
use crate::spec::Compute;

/// An encoder layer: attention and feed-forward network, each with its residual and norms before or after it.
pub struct EncoderLayer {
    norms: LayerNorms,
    /// Queries, keys and values, as [`Heads::fuse`] orders them.
    query_key_value: PackedLinear,
    heads: Heads,
    rotary: Option<Arc<RotaryTable>>,
    scoring: Scoring,
    attention_output: PackedLinear,
    feed_forward: FeedForward,
    convolution: Option<Convolution>,
    instruction_set: InstructionSet,
}

impl EncoderLayer {
    /// Reads and packs the weights, for an instruction set.
    ///
    /// # Errors
    /// Those of reading.
    pub fn load<E: Send>(
        parameters: LayerParameters<'_, E>,
        compute: Compute,
        instruction_set: InstructionSet,
    ) -> std::result::Result<Self, E> {
        let LayerParameters { norms, query_key_value, rotary, window, relative, attention_output, .. } = parameters;
        let heads = Heads {
            count: parameters.heads,
            key_values: parameters.key_value_heads,
            head_dim: attention_output.inputs / parameters.heads,
            pairs: rotary.as_ref().map(|rotary| rotary.pairs()),
        };
        let mut scoring = Scoring { window, ..Scoring::plain(heads.head_dim) };
        match relative {
            RelativePositions::None => {}
            RelativePositions::Bias(bias) => scoring.relative = Relative::Bias(bias),
            RelativePositions::Disentangled(parameters) => {
                // He et al. scale by the number of terms, too.
                let terms = 1 + usize::from(parameters.keys.is_some()) + usize::from(parameters.queries.is_some());
                scoring.scale = 1.0 / ((heads.head_dim * terms) as f64).sqrt();
                scoring.relative = Relative::Disentangled(disentangled(parameters, heads, instruction_set)?);
            }
        }
        Ok(Self {
            norms,
            query_key_value: PackedLinear::load(heads.fuse(query_key_value), None, compute, instruction_set)?,
            heads,
            rotary,
            scoring,
            attention_output: PackedLinear::load(attention_output, None, compute, instruction_set)?,
            feed_forward: FeedForward::load(parameters.feed_forward, compute, instruction_set)?,
            convolution: parameters
                .convolution
                .map(|convolution| Convolution::load(convolution, instruction_set))
                .transpose()?,
            instruction_set,
        })
    }

    /// Numbers of a hidden state.
    pub(super) fn hidden(&self) -> usize {
        self.attention_output.outputs()
    }

    /// `hidden_state` (tokens, hidden) of texts to the layer's output, (tokens, hidden), on all threads. Text i is tokens
    /// `cu_seqlens[i]..cu_seqlens[i + 1]`, as FlashAttention names the cumulative lengths of a ragged batch.
    ///
    /// # Panics
    /// When `cu_seqlens` are not those of `hidden_state`.
    pub fn forward(&self, hidden_state: &[f32], cu_seqlens: &[usize]) -> Vec<f32> {
        self.check(hidden_state, cu_seqlens);
        let mut out = vec![0.0; hidden_state.len()];
        self.block(hidden_state, cu_seqlens, &mut out);
        if let Some(convolution) = &self.convolution {
            convolution.join(hidden_state, cu_seqlens, &mut out);
        }
        out
    }

    /// # Panics
    /// When `cu_seqlens` are not those of `hidden_state`.
    pub(super) fn check(&self, hidden_state: &[f32], cu_seqlens: &[usize]) {
        assert!(
            cu_seqlens.is_sorted()
                && cu_seqlens.first() == Some(&0)
                && cu_seqlens.last().map(|tokens| tokens * self.hidden()) == Some(hidden_state.len()),
            "texts of {:?} tokens do not make up {} numbers",
            cu_seqlens.last(),
            hidden_state.len()
        );
    }

    /// Whether a group of texts can be taken through the whole layer by one thread.
    pub(super) fn keeps_texts_apart(&self) -> bool {
        self.convolution.is_none()
    }

    /// The rotations of the longest text's positions.
    pub(super) fn rotations(&self, cu_seqlens: &[usize]) -> Option<Arc<Vec<Rotation>>> {
        let longest = cu_seqlens.windows(2).map(|ends| ends[1] - ends[0]).max().unwrap_or(0);
        self.rotary.as_ref().map(|rotary| rotary.rotations(longest))
    }

    /// Attention and feed-forward network of one group, on this thread: `x` (tokens of the group, hidden) to `out`.
    pub(super) fn encode_group(
        &self,
        x: &[f32],
        group: &TextGroup<'_>,
        rotations: Option<&[Rotation]>,
        out: &mut [f32],
    ) {
        SCRATCH.with_borrow_mut(|scratch| scratch.run(self, x, group, rotations, out));
    }

    /// Attention and feed-forward network.
    fn block(&self, hidden_state: &[f32], cu_seqlens: &[usize], out: &mut [f32]) {
        let rotations = self.rotations(cu_seqlens);
        let rotations = rotations.as_ref().map(|rotations| &rotations[..]);
        let threads = rayon::current_num_threads();
        let groups = groups(cu_seqlens, threads);
        if threads > 1 && groups.len() < threads * GROUPS_PER_THREAD && !are_even(&groups, threads) {
            self.step_by_step(hidden_state, &groups, rotations, out);
            return;
        }
        let hidden = self.hidden();
        let mut tasks = Vec::with_capacity(groups.len());
        let mut rest = out;
        for group in groups {
            let tokens = group.tokens();
            let (out, after) = rest.split_at_mut(tokens.len() * hidden);
            tasks.push((&hidden_state[tokens.start * hidden..tokens.end * hidden], group, out));
            rest = after;
        }
        // Large ones first, and handed out one by one: so all threads end at about the same time.
        tasks.sort_by_key(|(x, ..)| std::cmp::Reverse(x.len()));
        let tasks = Mutex::new(tasks.into_iter());
        let next = || tasks.lock().unwrap_or_else(std::sync::PoisonError::into_inner).next();
        rayon::broadcast(|_| {
            while let Some((x, group, out)) = next() {
                self.encode_group(x, &group, rotations, out);
            }
        });
    }

    /// Rotates some panels of all heads' queries, keys and values, (panels, tokens, 16), of which the first one is `first`; the
    /// panels of values stay.
    fn rotate(
        &self,
        panel_rows: &mut [PanelRow<f32>],
        first: usize,
        group: &TextGroup<'_>,
        rotations: Option<&[Rotation]>,
    ) {
        let Some(rotations) = rotations else { return };
        let per_part = self.heads.panels_of_queries();
        let tokens = group.tokens().len();
        for (panel, panel_rows) in (first..).zip(panel_rows.chunks_exact_mut(tokens)) {
            if panel / per_part % 3 == 2 {
                continue;
            }
            for text in group.texts() {
                rotate(self.instruction_set, &mut panel_rows[text], rotations, panel % per_part, per_part);
            }
        }
    }

    /// The layer for few groups: each step is spread over all threads, its columns where its rows are too few.
    fn step_by_step(
        &self,
        hidden_state: &[f32],
        groups: &[TextGroup<'_>],
        rotations: Option<&[Rotation]>,
        out: &mut [f32],
    ) {
        let (hidden, heads) = (self.hidden(), self.heads);
        let normed = self.norms.before_attention.as_ref().map(|norm| norm.forward(self.instruction_set, hidden_state));
        let x = normed.as_deref().unwrap_or(hidden_state);
        let threads = rayon::current_num_threads();

        // Queries, keys and values: some panels of each group in a task.
        let panels = heads.panels();
        let panels_per_task = panels.div_ceil((threads * GROUPS_PER_THREAD).div_ceil(groups.len().max(1)));
        let panels_per_task = panels_per_task.next_multiple_of(3);
        let mut query_key_value: Vec<Vec<PanelRow<f32>>> =
            groups.iter().map(|group| vec![PanelRow([0.0; PANEL_WIDTH]); panels * group.tokens().len()]).collect();
        let parts = query_key_value.iter_mut().zip(groups).flat_map(|(panel_rows, group)| {
            let length = (panels_per_task * group.tokens().len()).max(1);
            panel_rows
                .chunks_mut(length)
                .enumerate()
                .map(move |(part, panel_rows)| (group, part * panels_per_task, panel_rows))
        });
        parts.collect::<Vec<_>>().into_par_iter().for_each_init(
            ConversionBuffers::default,
            |buffers, (group, first, panel_rows)| {
                let tokens = group.tokens();
                let x = &x[tokens.start * hidden..tokens.end * hidden];
                let panels = first..first + panel_rows.len() / tokens.len();
                let strides = Strides { row: PANEL_WIDTH, panel: tokens.len() * PANEL_WIDTH };
                let out = StridedOutput { numbers: cast_slice_mut(panel_rows), strides };
                self.query_key_value.rows_to_panels(x, panels, out, buffers);
                self.rotate(panel_rows, first, group, rotations);
            },
        );

        // Attention: some queries of a text in a task.
        let mut context = vec![0.0; out.len()];
        let queries_per_task = (out.len() / hidden).div_ceil(threads * GROUPS_PER_THREAD).max(1).next_multiple_of(4);
        // Disentangled attention prepares all keys of a text for each task.
        let is_disentangled = matches!(self.scoring.relative, Relative::Disentangled(_));
        let tasks_per_text = if is_disentangled { threads } else { usize::MAX };
        let mut tasks = Vec::new();
        let mut rest = &mut context[..];
        for (group, panel_rows) in groups.iter().zip(&query_key_value) {
            let tokens = group.tokens().len();
            for text in group.texts() {
                let queries_per_task = queries_per_task.max(text.len().div_ceil(tasks_per_text)).max(1);
                for first in text.clone().step_by(queries_per_task) {
                    let queries = first..text.end.min(first + queries_per_task);
                    let (out, after) = rest.split_at_mut(queries.len() * hidden);
                    tasks.push((panel_rows, tokens, text.clone(), queries, out));
                    rest = after;
                }
            }
        }
        tasks.into_par_iter().for_each_init(
            AttentionScratch::default,
            |scratch, (panel_rows, tokens, text, queries, out)| {
                for (head, panel_rows) in panel_rows.chunks_exact(heads.panels_per_head() * tokens).enumerate() {
                    let qkv = QueryKeyValue { panel_rows, tokens, heads, head };
                    scratch.attend(self.instruction_set, &self.scoring, qkv, text.clone(), queries.clone(), out);
                }
            },
        );

        // The rest, by rows or by columns.
        let mut attended = vec![0.0; out.len()];
        let projected = self.attention_output.forward(&context);
        self.join(self.norms.after_attention.as_ref(), &projected, hidden_state, &mut attended);
        let normed = self.norms.before_feed_forward.as_ref().map(|norm| norm.forward(self.instruction_set, &attended));
        let projected = self.feed_forward.forward(normed.as_deref().unwrap_or(&attended));
        self.join(self.norms.after_feed_forward.as_ref(), &projected, &attended, out);
    }

    /// `out = x + residual`, normalized if there is a norm; all are (rows, hidden).
    fn join(&self, norm: Option<&Norm>, x: &[f32], residual: &[f32], out: &mut [f32]) {
        match norm {
            Some(norm) => norm.rows(self.instruction_set, x, Some(residual), out),
            None => add(x, residual, out),
        }
    }
}

/// The embeddings of distances, made keys and queries of; in float32 whatever the arithmetic of the other products.
fn disentangled<E: Send>(
    parameters: DisentangledParameters<'_, E>,
    heads: Heads,
    instruction_set: InstructionSet,
) -> std::result::Result<Disentangled, E> {
    let DisentangledParameters { buckets, embeddings, keys, queries } = parameters;
    let project = |parameters| {
        let linear = PackedLinear::load(parameters, None, Compute::F32, instruction_set)?;
        Ok(linear.forward(&embeddings))
    };
    let (keys, queries) = (keys.map(project).transpose()?, queries.map(project).transpose()?);
    Ok(Disentangled::new(buckets, heads.count, heads.head_dim, keys.as_deref(), queries.as_deref()))
}

thread_local! {
    /// Kept from one layer to the next: new memory comes from the system full of zeros, page by page, which costs more than
    /// using it.
    static SCRATCH: RefCell<GroupScratch> = RefCell::default();
}

/// Memory for a group on its way through a layer.
#[derive(Default)]
struct GroupScratch {
    /// Of one head: (panels, tokens, 16)
    query_key_value: Vec<PanelRow<f32>>,
    attention: AttentionScratch,
    /// (tokens, hidden), where there is a norm before attention.
    normed: Vec<f32>,
    /// (tokens, hidden)
    context: Vec<f32>,
    rows: RowScratch,
    buffers: ConversionBuffers,
}

impl GroupScratch {
    /// Takes one group through all of a layer: `x` and `out` are the group's, (tokens, hidden).
    fn run(
        &mut self,
        layer: &EncoderLayer,
        x: &[f32],
        group: &TextGroup<'_>,
        rotations: Option<&[Rotation]>,
        out: &mut [f32],
    ) {
        let hidden = layer.hidden();
        let tokens = group.tokens().len();
        self.context.resize(tokens * hidden, 0.0);
        self.attention(layer, x, group, rotations);
        let rows = rows_at_once(tokens) * hidden;
        for ((out, context), x) in out.chunks_mut(rows).zip(self.context.chunks(rows)).zip(x.chunks(rows)) {
            self.rows.post_attention(layer, context, x, out);
        }
    }

    /// Attention, a head at a time, from `x` (tokens, hidden) to `self.context`.
    fn attention(&mut self, layer: &EncoderLayer, x: &[f32], group: &TextGroup<'_>, rotations: Option<&[Rotation]>) {
        let (hidden, heads, tokens) = (layer.hidden(), layer.heads, group.tokens().len());
        let x = match &layer.norms.before_attention {
            None => x,
            Some(norm) => {
                self.normed.resize(x.len(), 0.0);
                norm.rows(layer.instruction_set, x, None, &mut self.normed);
                &self.normed
            }
        };
        let panels = heads.panels_per_head();
        self.query_key_value.resize(panels * tokens, PanelRow([0.0; PANEL_WIDTH]));
        let left = layer.query_key_value.left_operand(x, hidden, &mut self.buffers);
        let rows_at_once = rows_at_once(tokens);
        for head in 0..heads.count {
            for first in (0..tokens).step_by(rows_at_once) {
                let block = ProductBlock {
                    rows: rows_at_once.min(tokens - first),
                    panels: head * panels..(head + 1) * panels,
                    inputs: 0..hidden,
                };
                let numbers = &mut cast_slice_mut(&mut self.query_key_value)[first * PANEL_WIDTH..];
                let out = StridedOutput { numbers, strides: Strides { row: PANEL_WIDTH, panel: tokens * PANEL_WIDTH } };
                layer.query_key_value.multiply(left.rows_from(first), block, out);
            }
            layer.rotate(&mut self.query_key_value, head * panels, group, rotations);
            let qkv = QueryKeyValue { panel_rows: &self.query_key_value, tokens, heads, head };
            for text in group.texts() {
                let context = &mut self.context[text.start * hidden..text.end * hidden];
                self.attention.attend(layer.instruction_set, &layer.scoring, qkv, text.clone(), text, context);
            }
        }
    }
}

/// Memory for some rows on their way through what comes after attention.
#[derive(Default)]
struct RowScratch {
    /// Of the output projection, then of the feed-forward: (rows, hidden)
    projected: Vec<f32>,
    /// (rows, hidden)
    attended: Vec<f32>,
    /// (rows, hidden), where there is a norm before the feed-forward network.
    normed: Vec<f32>,
    /// Of the attention's output.
    buffers: ConversionBuffers,
    feed_forward: FeedForwardScratch,
}

impl RowScratch {
    /// Output projection, residual, feed-forward, residual, and the norms between them, for some rows, on this thread; all
    /// arguments are (rows, hidden).
    fn post_attention(&mut self, layer: &EncoderLayer, context: &[f32], residual: &[f32], out: &mut [f32]) {
        let Self { projected, attended, normed, buffers, feed_forward } = self;
        projected.resize(context.len(), 0.0);
        attended.resize(context.len(), 0.0);
        layer.attention_output.rows(context, projected, buffers);
        layer.join(layer.norms.after_attention.as_ref(), projected, residual, attended);
        let x = match &layer.norms.before_feed_forward {
            None => &attended[..],
            Some(norm) => {
                normed.resize(context.len(), 0.0);
                norm.rows(layer.instruction_set, attended, None, normed);
                normed
            }
        };
        layer.feed_forward.rows(x, projected, feed_forward);
        layer.join(layer.norms.after_feed_forward.as_ref(), projected, attended, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::testing::{layer, numbers};

    /// By heads and pieces, or each step whole; texts shorter and longer than a group; widths that fill panels or do not.
    #[test]
    fn in_parts_the_same_bits_as_step_by_step() {
        let lengths = [1, 5, 0, 140, 30, 145, 300, 2, 0];
        let cu_seqlens = lengths.iter().scan(0, |end, length| {
            *end += length;
            Some(*end)
        });
        let cu_seqlens: Vec<usize> = std::iter::once(0).chain(cu_seqlens).collect();
        let tokens = cu_seqlens[cu_seqlens.len() - 1];
        for (hidden, heads, intermediate) in [(32, 2, 501), (48, 3, 192), (36, 3, 400), (2, 2, 37)] {
            for compute in [Compute::F32, Compute::Bf16, Compute::Int8] {
                let layer = layer(hidden, heads, intermediate, compute, InstructionSet::available()[0]);
                let x = numbers(tokens * hidden, 17);
                let groups = groups(&cu_seqlens, 1);
                let (mut by_group, mut by_step) = (vec![f32::NAN; x.len()], vec![f32::NAN; x.len()]);
                let mut scratch = GroupScratch::default();
                for group in &groups {
                    let numbers = group.tokens().start * hidden..group.tokens().end * hidden;
                    scratch.run(&layer, &x[numbers.clone()], group, None, &mut by_group[numbers]);
                }
                layer.step_by_step(&x, &groups, None, &mut by_step);
                assert!(by_group.iter().all(|number| number.is_finite()));
                let bits = |numbers: &[f32]| numbers.iter().map(|number| number.to_bits()).collect::<Vec<_>>();
                assert!(bits(&by_group) == bits(&by_step), "hidden {hidden}, intermediate {intermediate}, {compute:?}");
            }
        }
    }

    /// Two models on different instruction sets, side by side in pools of their own: one's choice is not the other's.
    #[test]
    fn layers_on_different_instruction_sets_in_one_process() {
        let (hidden, heads, intermediate) = (48, 3, 192);
        let cu_seqlens = [0, 5, 5, 40, 200];
        let x = numbers(200 * hidden, 17);
        let bits =
            |layer: &EncoderLayer| layer.forward(&x, &cu_seqlens).into_iter().map(f32::to_bits).collect::<Vec<_>>();
        for compute in [Compute::F32, Compute::Bf16, Compute::Int8] {
            let tiles = |instruction_set: InstructionSet| compute == Compute::Bf16 && instruction_set.has_tiles();
            let sets: Vec<_> = InstructionSet::available().into_iter().filter(|&set| !tiles(set)).collect();
            let layers: Vec<_> = sets.iter().map(|&set| layer(hidden, heads, intermediate, compute, set)).collect();
            let expected = bits(&layers[0]);
            std::thread::scope(|scope| {
                for (threads, (set, layer)) in (1..).zip(sets.iter().zip(&layers)) {
                    let (bits, expected) = (&bits, &expected);
                    scope.spawn(move || {
                        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
                        for _ in 0..3 {
                            assert!(pool.install(|| bits(layer)) == *expected, "{} in {compute:?}", set.name());
                        }
                    });
                }
            });
        }
    }
}
