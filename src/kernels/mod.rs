//! The CPU's share of the forward pass, as candle custom ops: embeddings, encoder layers, the pooler's linear layer.
//!
//! Everything here is (tokens, width), tokens of all texts one after the other. No step lets a token see the tokens
//! of another text, and every number is computed by a fixed sequence of operations: see the module `product`.

mod ahead;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod amx;
mod attention;
mod functions;
mod isa;
mod layer;
mod linear;
mod number;
mod packed;
mod place;
mod product;
mod rowwise;
#[doc(hidden)]
pub mod single;
#[cfg(any(test, all(target_arch = "x86_64", target_os = "linux")))]
mod tiles;

use std::ops::Range;

use candle_core::{CpuStorage, CustomOp1, CustomOp3, Layout, Result, Shape, Storage, Tensor, bail};
use rayon::prelude::*;

use self::attention::Heads;
use self::linear::{Dense, rows_per_task};
use self::rowwise::Norm;
use crate::spec::{Activation, Compute};

pub use self::isa::{InstructionSet, VARIABLE};

/// A tensor's numbers, without a copy where it lies in the CPU's memory in order.
fn numbers<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let all = storage.as_slice::<f32>()?;
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&all[start..end]),
        None => bail!("expected a contiguous tensor, found {layout:?}"),
    }
}

/// Calls `take` with the numbers of a contiguous float32 tensor in the CPU's memory, without a copy.
///
/// # Errors
/// When the tensor is not that.
pub fn with_numbers<R>(tensor: &Tensor, take: impl FnOnce(&[f32]) -> R) -> Result<R> {
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => Ok(take(numbers(storage, layout)?)),
        _ => bail!("expected a tensor in the CPU's memory"),
    }
}

/// Where the parameters of a linear layer come from.
pub struct Parameters<'a, E> {
    /// Numbers of a row of the weight, (outputs, inputs).
    pub inputs: usize,
    /// (outputs)
    pub bias: Vec<f32>,
    /// Reads the weight.
    pub read: Box<ReadRows<'a, E>>,
}

/// Appends some rows of a weight to a vector; called from all threads.
pub type ReadRows<'a, E> = dyn Fn(Range<usize>, &mut Vec<f32>) -> std::result::Result<(), E> + Sync + 'a;

/// A linear layer: `activation(x · weightᵀ + bias)`.
pub struct Linear(Dense);

impl Linear {
    /// Reads and packs the weight.
    ///
    /// # Errors
    /// Those of reading.
    pub fn load<E: Send>(
        parameters: Parameters<'_, E>,
        activation: Option<Activation>,
        compute: Compute,
        instruction_set: InstructionSet,
    ) -> std::result::Result<Self, E> {
        Dense::load(parameters, activation, compute, instruction_set).map(Self)
    }

    /// `x` (tokens, inputs) → (tokens, outputs).
    ///
    /// # Errors
    /// When `x` is not float32 and contiguous, or of another width.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        x.apply_op1_no_bwd(&LinearOp(&self.0))
    }
}

struct LinearOp<'a>(&'a Dense);

impl CustomOp1 for LinearOp<'_> {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (tokens, inputs) = layout.shape().dims2()?;
        if inputs != self.0.inputs() {
            bail!("a linear layer of {} inputs was given {inputs}", self.0.inputs());
        }
        let out = self.0.forward(numbers(x, layout)?);
        Ok((CpuStorage::F32(out), (tokens, self.0.outputs()).into()))
    }
}

/// LayerNorm's parameters.
pub struct LayerNorm(Norm);

impl LayerNorm {
    /// From `weight` and `bias`, both (hidden).
    pub fn new(weight: Vec<f32>, bias: Vec<f32>, eps: f64) -> Self {
        Self(Norm { weight, bias, eps })
    }

    /// `weight` and `bias`, both (hidden), and `eps`.
    pub fn parameters(&self) -> (&[f32], &[f32], f64) {
        (&self.0.weight, &self.0.bias, self.0.eps)
    }
}

/// What an [`EncoderLayer`] is made of.
pub struct LayerParameters<'a, E> {
    /// Queries, keys and values, (hidden, hidden) each.
    pub query_key_value: [Parameters<'a, E>; 3],
    /// (hidden, hidden)
    pub attention_output: Parameters<'a, E>,
    /// Over `attention_output` and the layer's input.
    pub attention_norm: LayerNorm,
    /// (intermediate, hidden)
    pub intermediate: Parameters<'a, E>,
    /// (hidden, intermediate)
    pub output: Parameters<'a, E>,
    /// Over `output` and its input.
    pub output_norm: LayerNorm,
    /// Attention heads.
    pub heads: usize,
    /// After `intermediate`.
    pub activation: Activation,
}

/// An encoder layer (`BertLayer` of transformers): attention and feed-forward, each with residual and LayerNorm.
pub struct EncoderLayer {
    query_key_value: Dense,
    heads: Heads,
    attention_output: Dense,
    attention_norm: Norm,
    intermediate: Dense,
    output: Dense,
    output_norm: Norm,
    instruction_set: InstructionSet,
}

impl EncoderLayer {
    /// Reads and packs the weights.
    ///
    /// # Errors
    /// Those of reading.
    pub fn load<E: Send>(
        parameters: LayerParameters<'_, E>,
        compute: Compute,
        instruction_set: InstructionSet,
    ) -> std::result::Result<Self, E> {
        let LayerParameters { query_key_value, attention_output, intermediate, output, activation, .. } = parameters;
        let heads = Heads { count: parameters.heads, width: attention_output.inputs / parameters.heads };
        Ok(Self {
            query_key_value: Dense::load(heads.side_by_side(query_key_value), None, compute, instruction_set)?,
            heads,
            attention_output: Dense::load(attention_output, None, compute, instruction_set)?,
            attention_norm: parameters.attention_norm.0,
            intermediate: Dense::load(intermediate, Some(activation), compute, instruction_set)?,
            output: Dense::load(output, None, compute, instruction_set)?,
            output_norm: parameters.output_norm.0,
            instruction_set,
        })
    }

    fn hidden(&self) -> usize {
        self.attention_output.outputs()
    }

    /// `hidden_state` (tokens, hidden) of texts to the layer's output, (tokens, hidden); `bounds[i]..bounds[i + 1]` is
    /// text i.
    ///
    /// # Errors
    /// When `hidden_state` is not float32, contiguous, and of that shape.
    pub fn forward(&self, hidden_state: &Tensor, bounds: &[usize]) -> Result<Tensor> {
        hidden_state.apply_op1_no_bwd(&LayerOp { layer: self, bounds })
    }
}

struct LayerOp<'a> {
    layer: &'a EncoderLayer,
    bounds: &'a [usize],
}

impl CustomOp1 for LayerOp<'_> {
    fn name(&self) -> &'static str {
        "encoder-layer"
    }

    fn cpu_fwd(&self, hidden_state: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (tokens, hidden) = layout.shape().dims2()?;
        let ordered = self.bounds.is_sorted() && self.bounds.first() == Some(&0);
        if hidden != self.layer.hidden() || self.bounds.last() != Some(&tokens) || !ordered {
            bail!(
                "a layer of width {} over {:?} tokens was given {:?}",
                self.layer.hidden(),
                self.bounds.last(),
                layout.shape()
            );
        }
        let out = layer::forward(self.layer, numbers(hidden_state, layout)?, self.bounds);
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }
}

/// LayerNorm of the sum of one row of each table, per token: the embedding output, (tokens, hidden).
///
/// `tables` are (rows, hidden); `rows` says for each which row each token takes.
///
/// # Errors
/// When a row is not in its table, or a table is not float32 and contiguous.
pub fn embed(
    tables: [&Tensor; 3],
    rows: [&[u32]; 3],
    norm: &LayerNorm,
    instruction_set: InstructionSet,
) -> Result<Tensor> {
    for (table, rows) in tables.iter().zip(rows) {
        let length = table.dim(0)?;
        if let Some(row) = rows.iter().find(|&&row| row as usize >= length) {
            bail!("embedding {row} of a table of {length}");
        }
    }
    tables[0].apply_op3_no_bwd(tables[1], tables[2], &EmbedOp { rows, norm, instruction_set })
}

struct EmbedOp<'a> {
    rows: [&'a [u32]; 3],
    norm: &'a LayerNorm,
    instruction_set: InstructionSet,
}

impl CustomOp3 for EmbedOp<'_> {
    fn name(&self) -> &'static str {
        "embed"
    }

    fn cpu_fwd(
        &self,
        words: &CpuStorage,
        words_layout: &Layout,
        positions: &CpuStorage,
        positions_layout: &Layout,
        types: &CpuStorage,
        types_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let norm = &self.norm.0;
        let tables =
            [numbers(words, words_layout)?, numbers(positions, positions_layout)?, numbers(types, types_layout)?];
        let (tokens, width) = (self.rows[0].len(), norm.weight.len());
        let mut out = vec![0.0; tokens * width];
        let count = rows_per_task(tokens).unwrap_or(tokens.max(1));
        out.par_chunks_mut(count * width).enumerate().for_each_init(
            || vec![0.0; width],
            |sum, (task, out)| {
                for (i, out) in out.chunks_exact_mut(width).enumerate() {
                    let token = task * count + i;
                    let row = |table: usize| &tables[table][self.rows[table][token] as usize * width..][..width];
                    norm.row(self.instruction_set, [row(0), row(1), row(2)], sum, out);
                }
            },
        );
        Ok((CpuStorage::F32(out), (tokens, width).into()))
    }
}
