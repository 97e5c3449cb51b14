//! The kernels as candle custom ops, from tensor to tensor.

use candle_core::{CpuStorage, CustomOp1, CustomOp3, Layout, Result, Shape, Storage, Tensor, bail};
use rayon::prelude::*;

use super::encoder_layer::EncoderLayer;
use super::instruction_set::InstructionSet;
use super::layer_norm::LayerNorm;
use super::linear::{PackedLinear, rows_per_task};

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

impl PackedLinear {
    /// `x` (tokens, inputs) → (tokens, outputs).
    ///
    /// # Errors
    /// When `x` is not float32 and contiguous, or of another width.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        x.apply_op1_no_bwd(&LinearOp(self))
    }
}

struct LinearOp<'a>(&'a PackedLinear);

impl CustomOp1 for LinearOp<'_> {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (tokens, inputs) = layout.shape().dims2()?;
        if inputs != self.0.inputs() {
            bail!("a linear layer of {} inputs was given {inputs}", self.0.inputs());
        }
        let out = self.0.compute(numbers(x, layout)?);
        Ok((CpuStorage::F32(out), (tokens, self.0.outputs()).into()))
    }
}

impl EncoderLayer {
    /// `hidden_state` (tokens, hidden) of texts to the layer's output, (tokens, hidden). Text i is tokens
    /// `cu_seqlens[i]..cu_seqlens[i + 1]`, as FlashAttention names the cumulative lengths of a ragged batch.
    ///
    /// # Errors
    /// When `hidden_state` is not float32, contiguous, and of that shape.
    pub fn forward(&self, hidden_state: &Tensor, cu_seqlens: &[usize]) -> Result<Tensor> {
        hidden_state.apply_op1_no_bwd(&LayerOp { layer: self, cu_seqlens })
    }
}

struct LayerOp<'a> {
    layer: &'a EncoderLayer,
    cu_seqlens: &'a [usize],
}

impl CustomOp1 for LayerOp<'_> {
    fn name(&self) -> &'static str {
        "encoder-layer"
    }

    fn cpu_fwd(&self, hidden_state: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (tokens, hidden) = layout.shape().dims2()?;
        let ordered = self.cu_seqlens.is_sorted() && self.cu_seqlens.first() == Some(&0);
        if hidden != self.layer.hidden() || self.cu_seqlens.last() != Some(&tokens) || !ordered {
            bail!(
                "a layer of width {} over {:?} tokens was given {:?}",
                self.layer.hidden(),
                self.cu_seqlens.last(),
                layout.shape()
            );
        }
        let out = self.layer.compute(numbers(hidden_state, layout)?, self.cu_seqlens);
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
    /// Of each table, (tokens).
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
        let tables =
            [numbers(words, words_layout)?, numbers(positions, positions_layout)?, numbers(types, types_layout)?];
        let (tokens, hidden) = (self.rows[0].len(), self.norm.hidden());
        let mut out = vec![0.0; tokens * hidden];
        let count = rows_per_task(tokens).unwrap_or(tokens.max(1));
        out.par_chunks_mut(count * hidden).enumerate().for_each_init(
            || vec![0.0; hidden],
            |buffer, (task, out)| {
                for (i, out) in out.chunks_exact_mut(hidden).enumerate() {
                    let token = task * count + i;
                    let row = |table: usize| &tables[table][self.rows[table][token] as usize * hidden..][..hidden];
                    self.norm.row(self.instruction_set, [row(0), row(1), row(2)], buffer, out);
                }
            },
        );
        Ok((CpuStorage::F32(out), (tokens, hidden).into()))
    }
}
