//! What computes the steps of the forward pass: the CPU's kernels, or a tensor library on another device.

use std::borrow::Cow;

use crate::error::{Error, Result};
use crate::kernels::{LayerNorm, LayerParameters, Parameters};
use crate::spec::Activation;

/// An implementation of the steps of the forward pass. H is `hidden_size`; the tokens of all texts of a batch lie one after
/// the other.
pub(super) trait Backend: Send + Sync {
    /// A hidden state, (tokens, H), where this backend computes.
    type HiddenState: Send + Sync;
    /// An embedding table, (rows, H).
    type Table: Send + Sync;
    /// The LayerNorm of the embeddings.
    type Norm: Send + Sync;
    /// An encoder layer.
    type Layer: Send + Sync;
    /// A linear layer with an activation.
    type Linear: Send + Sync;

    /// Takes over an embedding table, whose rows are H numbers each.
    fn table(&self, rows: Vec<f32>, hidden_size: usize) -> Result<Self::Table>;

    /// Takes over the LayerNorm of the embeddings.
    fn norm(&self, norm: LayerNorm) -> Result<Self::Norm>;

    /// Reads the parameters of encoder layer `index` + 1.
    fn layer(&self, index: usize, parameters: LayerParameters<'_, Error>) -> Result<Self::Layer>;

    /// Reads the parameters of a linear layer.
    fn linear(&self, parameters: Parameters<'_, Error>, activation: Activation) -> Result<Self::Linear>;

    /// LayerNorm of the sum of one row of each table, per token. `rows` says for each table which row each token takes.
    ///
    /// # Errors
    /// [`Error::Encoder`] when a row is not in its table.
    fn embed(&self, tables: [&Self::Table; 3], rows: [&[u32]; 3], norm: &Self::Norm) -> Result<Self::HiddenState>;

    /// A layer's output. Text i is tokens `cu_seqlens[i]..cu_seqlens[i + 1]`.
    fn encode(
        &self,
        layer: &Self::Layer,
        hidden_state: &Self::HiddenState,
        cu_seqlens: &[usize],
    ) -> Result<Self::HiddenState>;

    /// A linear layer's output: `x` (rows, inputs) → (rows, outputs).
    fn apply(&self, linear: &Self::Linear, x: &[f32]) -> Result<Vec<f32>>;

    /// The numbers of a hidden state in the CPU's memory; no copy is made where they are there already.
    fn numbers<'a>(&self, hidden_state: &'a Self::HiddenState) -> Result<Cow<'a, [f32]>>;
}
