//! A whole encoder layer, cut so that what a task computes stays in cache.
//!
//! Nothing in a layer reaches beyond a text, and nothing but attention beyond a row. So a task takes a group of whole
//! texts through the layer from beginning to end: attention a head at a time, the feed-forward some columns of the
//! intermediate layer at a time. That way little is held for a row, and weights, which come from the third-level cache or
//! from memory, pass by for many rows at once. Where there are too few groups for the threads, one short text above all, each
//! step is spread over the threads by itself.

use std::cell::RefCell;
use std::ops::Range;
use std::sync::Mutex;

use bytemuck::cast_slice_mut;
use rayon::prelude::*;

use super::EncoderLayer;
use super::attention::{self, QueryKeyValue};
use super::linear::{Dense, Operands, Out, Part};
use super::packed::{Line, STRIP};
use super::place::Strides;
use super::rowwise::Norm;

/// Groups for each thread that make it worth while to give each task a group: fewer would end too unevenly.
const GROUPS_PER_THREAD: usize = 4;

/// Tokens of a group at most, unless a text alone has more, and rows that pass a weight together.
///
/// With 144 instead of 48 BERT-base's jobs take 4 to 8 % less time on Zen 3 (AVX2, 512 KiB of second-level cache), MiniLM's 0 to
/// 9 %; 96 to 240 are alike.
const MOST_TOKENS: usize = 144;

/// Tokens that a group is never cut short of for the sake of an even end: with fewer, each thread would read all weights for
/// little work.
const FEWEST_TOKENS: usize = 48;

/// Strips of the intermediate layer that are computed together: whole chains of the product that sums them up.
const PIECE: usize = 12;

/// `hidden_state` (tokens, hidden) of texts, text i being tokens `bounds[i]..bounds[i + 1]`, to the layer's output.
pub(super) fn forward(layer: &EncoderLayer, hidden_state: &[f32], bounds: &[usize]) -> Vec<f32> {
    let mut out = vec![0.0; hidden_state.len()];
    let threads = rayon::current_num_threads();
    let groups = groups(bounds, threads);
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
        SCRATCH.with_borrow_mut(|scratch| {
            while let Some((group, out)) = next() {
                scratch.group(layer, hidden_state, &group, out);
            }
        });
    });
    out
}

thread_local! {
    /// Kept from one layer to the next: new memory comes from the system full of zeros, page by page, which costs more than it
    /// takes to use it.
    static SCRATCH: RefCell<Scratch> = RefCell::default();
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

/// Groups of at most [`MOST_TOKENS`] tokens; a longer text is a group by itself. Where several threads take them, the last
/// ones are smaller, so that all threads end at about the same time.
fn groups(bounds: &[usize], threads: usize) -> Vec<Group<'_>> {
    let end = bounds[bounds.len() - 1];
    let limit = |first: usize| match threads {
        1 => MOST_TOKENS,
        _ => ((end - first) / (threads * GROUPS_PER_THREAD)).clamp(FEWEST_TOKENS, MOST_TOKENS),
    };
    let mut groups = Vec::new();
    let (mut first, mut most) = (0, limit(bounds[0]));
    for last in 1..bounds.len() {
        let full = last + 1 == bounds.len() || bounds[last + 1] - bounds[first] > most;
        if full {
            groups.push(Group { bounds: &bounds[first..=last] });
            (first, most) = (last, limit(bounds[last]));
        }
    }
    groups
}

/// Rows that pass a weight together, of a group's: all, or equal parts, of whole tiles of 4, 6 or 8.
fn rows_at_once(rows: usize) -> usize {
    let rows = rows.max(1);
    rows.div_ceil(rows.div_ceil(MOST_TOKENS)).next_multiple_of(24)
}

/// Memory for a group on its way through a layer.
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
        let hidden = layer.hidden();
        let tokens = group.tokens().len();
        let x = &hidden_state[group.tokens().start * hidden..][..tokens * hidden];
        self.context.resize(tokens * hidden, 0.0);
        self.attention(layer, x, group);
        let rows = rows_at_once(tokens) * hidden;
        for ((out, context), x) in out.chunks_mut(rows).zip(self.context.chunks(rows)).zip(x.chunks(rows)) {
            self.rows.post_attention(layer, context, x, out);
        }
    }

    /// Attention, a head at a time, to `self.context`.
    fn attention(&mut self, layer: &EncoderLayer, x: &[f32], group: &Group<'_>) {
        let (hidden, heads, tokens) = (layer.hidden(), layer.heads, group.tokens().len());
        let strips = heads.strips_of_one();
        self.query_key_value.resize(strips * tokens, Line([0.0; STRIP]));
        let operand = layer.query_key_value.operand(x, hidden, &mut self.operands);
        let rows_at_once = rows_at_once(tokens);
        for head in 0..heads.count {
            for first in (0..tokens).step_by(rows_at_once) {
                let part = Part {
                    rows: rows_at_once.min(tokens - first),
                    strips: head * strips..(head + 1) * strips,
                    inputs: 0..hidden,
                };
                let numbers = &mut cast_slice_mut(&mut self.query_key_value)[first * STRIP..];
                let out = Out { numbers, strides: Strides { row: STRIP, strip: tokens * STRIP } };
                layer.query_key_value.multiply(operand.rows_from(first), part, out);
            }
            let qkv = QueryKeyValue { lines: &self.query_key_value, tokens, heads, head };
            for text in group.texts() {
                let context = &mut self.context[text.start * hidden..text.end * hidden];
                self.attention.attend(layer.instruction_set, qkv, text.clone(), text, context);
            }
        }
    }
}

/// Memory for some rows on their way through what comes after attention.
#[derive(Default)]
struct RowScratch {
    dense: Vec<f32>,
    attended: Vec<f32>,
    intermediate: Vec<f32>,
    /// Of the first operand, and of `intermediate`.
    operands: [Operands; 2],
}

impl RowScratch {
    /// Output projection, residual, LayerNorm, feed-forward, residual, LayerNorm, for some rows on this thread.
    fn post_attention(&mut self, layer: &EncoderLayer, context: &[f32], residual: &[f32], out: &mut [f32]) {
        self.dense.resize(context.len(), 0.0);
        self.attended.resize(context.len(), 0.0);
        layer.attention_output.rows(context, &mut self.dense, &mut self.operands[0]);
        layer.attention_norm.rows(layer.instruction_set, &self.dense, residual, &mut self.attended);
        self.feed_forward(layer);
        layer.output_norm.rows(layer.instruction_set, &self.dense, &self.attended, out);
    }

    /// From `self.attended` to `self.dense`, [`PIECE`] strips of the intermediate layer at a time: the sums go on from
    /// piece to piece, in the same order as all at once.
    fn feed_forward(&mut self, layer: &EncoderLayer) {
        let Self { dense, attended, intermediate, operands: [operands, piece_operands] } = self;
        let (hidden, columns) = (layer.hidden(), layer.intermediate.outputs());
        let rows = attended.len() / hidden;
        let operand = layer.intermediate.operand(attended, hidden, operands);
        for first in (0..columns).step_by(PIECE * STRIP) {
            let piece = first..columns.min(first + PIECE * STRIP);
            intermediate.resize(rows * piece.len(), 0.0);
            layer.intermediate.multiply(
                operand,
                Part { rows, strips: first / STRIP..piece.end.div_ceil(STRIP), inputs: 0..hidden },
                Out { numbers: intermediate, strides: Strides::of_rows(piece.len()) },
            );
            layer.output.multiply(
                layer.output.operand(intermediate, piece.len(), piece_operands),
                Part { rows, strips: 0..layer.output.strips(), inputs: piece },
                Out { numbers: dense, strides: Strides::of_rows(hidden) },
            );
        }
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
        let out = Out { numbers: cast_slice_mut(lines), strides: Strides { row: STRIP, strip: tokens.len() * STRIP } };
        layer.query_key_value.strips_of_rows(x, strips, out, operands);
    });

    // Attention: parts of the queries of each text.
    let mut context = vec![0.0; out.len()];
    let queries_per_task = (out.len() / hidden).div_ceil(threads * GROUPS_PER_THREAD).max(1).next_multiple_of(4);
    let mut tasks = Vec::new();
    let mut rest = &mut context[..];
    for (group, lines) in groups.iter().zip(&buffers) {
        let tokens = group.tokens().len();
        for text in group.texts() {
            for first in text.clone().step_by(queries_per_task) {
                let queries = first..text.end.min(first + queries_per_task);
                let (out, after) = rest.split_at_mut(queries.len() * hidden);
                tasks.push((lines, tokens, text.clone(), queries, out));
                rest = after;
            }
        }
    }
    tasks.into_par_iter().for_each_init(attention::Scratch::default, |scratch, (lines, tokens, text, queries, out)| {
        for (head, lines) in lines.chunks_exact(heads.strips_of_one() * tokens).enumerate() {
            scratch.attend(
                layer.instruction_set,
                QueryKeyValue { lines, tokens, heads, head },
                text.clone(),
                queries.clone(),
                out,
            );
        }
    });

    // The rest, by rows or by columns.
    let norm =
        |norm: &Norm, x: &[f32], residual: &[f32], out: &mut [f32]| norm.rows(layer.instruction_set, x, residual, out);
    let dense = |dense: &Dense, x: &[f32]| dense.forward(x);
    let mut attended = vec![0.0; out.len()];
    norm(&layer.attention_norm, &dense(&layer.attention_output, &context), hidden_state, &mut attended);
    let intermediate = dense(&layer.intermediate, &attended);
    norm(&layer.output_norm, &dense(&layer.output, &intermediate), &attended, out);
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use candle_core::{Device, Tensor};

    use super::super::{LayerNorm, LayerParameters, Parameters};
    use super::*;
    use crate::kernels::InstructionSet;
    use crate::spec::{Activation, Compute};

    fn numbers(count: usize, seed: usize) -> Vec<f32> {
        (0..count).map(|i| ((i * 7919 + seed * 104_729) % 2003) as f32 / 1001.0 - 1.0).collect()
    }

    fn layer(
        hidden: usize,
        heads: usize,
        intermediate: usize,
        compute: Compute,
        instruction_set: InstructionSet,
    ) -> EncoderLayer {
        let linear = |inputs: usize, outputs: usize, seed: usize| {
            let weight = numbers(inputs * outputs, seed);
            let read = move |rows: Range<usize>, out: &mut Vec<f32>| {
                out.extend_from_slice(&weight[rows.start * inputs..rows.end * inputs]);
                Ok::<_, Infallible>(())
            };
            Parameters { inputs, bias: numbers(outputs, seed + 1), read: Box::new(read) }
        };
        let norm = |seed: usize| LayerNorm::new(numbers(hidden, seed), numbers(hidden, seed + 1), 1e-12);
        let Ok(layer) = EncoderLayer::load(
            LayerParameters {
                query_key_value: [1, 3, 5].map(|seed| linear(hidden, hidden, seed)),
                attention_output: linear(hidden, hidden, 7),
                attention_norm: norm(9),
                intermediate: linear(hidden, intermediate, 11),
                output: linear(intermediate, hidden, 13),
                output_norm: norm(15),
                heads,
                activation: Activation::Gelu,
            },
            compute,
            instruction_set,
        );
        layer
    }

    /// By heads and pieces, or each step whole; texts shorter and longer than a group; widths that fill strips or do not.
    #[test]
    fn in_parts_the_same_bits_as_step_by_step() {
        let lengths = [1, 5, 0, 140, 30, 145, 300, 2, 0];
        let bounds = lengths.iter().scan(0, |end, length| {
            *end += length;
            Some(*end)
        });
        let bounds: Vec<usize> = std::iter::once(0).chain(bounds).collect();
        let tokens = bounds[bounds.len() - 1];
        for (hidden, heads, intermediate) in [(32, 2, 501), (48, 3, 192), (36, 3, 400), (2, 2, 37)] {
            for compute in [Compute::F32, Compute::Bf16] {
                let layer = layer(hidden, heads, intermediate, compute, InstructionSet::available()[0]);
                let x = numbers(tokens * hidden, 17);
                let groups = groups(&bounds, 1);
                let (mut by_group, mut by_step) = (vec![f32::NAN; x.len()], vec![f32::NAN; x.len()]);
                let mut scratch = Scratch::default();
                for group in &groups {
                    let numbers = group.tokens().start * hidden..group.tokens().end * hidden;
                    scratch.group(&layer, &x, group, &mut by_group[numbers]);
                }
                step_by_step(&layer, &x, &groups, &mut by_step);
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
        let x = Tensor::from_vec(numbers(200 * hidden, 17), (200, hidden), &Device::Cpu).expect("a tensor");
        let bits = |layer: &EncoderLayer| {
            let out = layer.forward(&x, &cu_seqlens).expect("a tensor").flatten_all().expect("a tensor");
            out.to_vec1::<f32>().expect("float32").into_iter().map(f32::to_bits).collect::<Vec<_>>()
        };
        for compute in [Compute::F32, Compute::Bf16] {
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

    #[test]
    fn groups_are_all_texts_once_and_smaller_towards_the_end() {
        let lengths = [10, 144, 1, 143, 1, 500, 20, 20, 20, 20, 20, 20, 20, 20, 20];
        let mut bounds = vec![0];
        for length in lengths.iter().cycle().take(100) {
            bounds.push(bounds[bounds.len() - 1] + length);
        }
        let groups = groups(&bounds, 2);
        let mut next = 0;
        for group in &groups {
            assert_eq!(group.tokens().start, next);
            next = group.tokens().end;
            assert!(group.tokens().len() <= MOST_TOKENS || group.texts().count() == 1);
        }
        assert_eq!(next, bounds[bounds.len() - 1]);
        assert!(groups.last().is_some_and(|group| group.tokens().len() <= FEWEST_TOKENS));
    }
}
