//! What computes the steps of the forward pass: the CPU's kernels, or a tensor library on another device.

use std::borrow::Cow;

use crate::error::{Error, Result};
use crate::kernels::{LayerParameters, Norm, Parameters, VisitLayer};
use crate::spec::Activation;

/// An implementation of the steps of the forward pass. H is `hidden_size`; the tokens of all texts of a batch lie one after
/// the other.
pub(super) trait Backend: Send + Sync + Sized {
    /// A hidden state, (tokens, H), where this backend computes.
    type HiddenState: Send + Sync;
    /// An embedding table, (rows, H).
    type Table: Send + Sync;
    /// The norm of the embeddings.
    type Norm: Send + Sync;
    /// An encoder layer.
    type Layer: Send + Sync;
    /// A linear layer with an activation.
    type Linear: Send + Sync;

    /// Whether the first layer computes otherwise than the others, so that it is loaded apart where layers share parameters.
    fn first_layer_differs(&self) -> bool;

    /// Takes over an embedding table, whose rows are `width` numbers each.
    fn table(&self, rows: Vec<f32>, width: usize) -> Result<Self::Table>;

    /// Takes over the norm of the embeddings.
    fn norm(&self, norm: Norm) -> Result<Self::Norm>;

    /// Reads the parameters of encoder layer `index` + 1.
    fn layer(&self, index: usize, parameters: LayerParameters<'_, Error>) -> Result<Self::Layer>;

    /// Reads the parameters of a linear layer.
    fn linear(&self, parameters: Parameters<'_, Error>, activation: Option<Activation>) -> Result<Self::Linear>;

    /// The sum of one row of each table, per token, and its norm: (tokens, width).
    ///
    /// # Errors
    /// [`Error::Encoder`] when a row is not in its table.
    fn embed(
        &self,
        lookups: &[TableRows<'_, Self>],
        width: usize,
        norm: Option<&Self::Norm>,
    ) -> Result<Self::HiddenState>;

    /// A linear layer's output: (tokens, inputs) → (tokens, outputs).
    fn project(&self, linear: &Self::Linear, hidden_state: &Self::HiddenState) -> Result<Self::HiddenState>;

    /// The norm of each row.
    fn normalize(&self, norm: &Self::Norm, hidden_state: &Self::HiddenState) -> Result<Self::HiddenState>;

    /// A layer's output. Text i is tokens `cu_seqlens[i]..cu_seqlens[i + 1]`.
    fn encode(
        &self,
        layer: &Self::Layer,
        hidden_state: &Self::HiddenState,
        cu_seqlens: &[usize],
    ) -> Result<Self::HiddenState>;

    /// The output of the last of `layers`, one after another, where this backend has a way to take a batch through them without a
    /// stop after each; `None` otherwise. `visit(k, hidden_state)` is called for k = 0 (`hidden_state` itself), 1, … but for the
    /// last layer.
    ///
    /// # Errors
    /// Those of `visit`.
    fn encode_all(
        &self,
        _layers: &[&Self::Layer],
        _hidden_state: &Self::HiddenState,
        _cu_seqlens: &[usize],
        _visit: &mut VisitLayer<'_, Error>,
    ) -> Result<Option<Self::HiddenState>> {
        Ok(None)
    }

    /// A linear layer's output: `x` (rows, inputs) → (rows, outputs).
    fn apply(&self, linear: &Self::Linear, x: &[f32]) -> Result<Vec<f32>>;

    /// The numbers of a hidden state in the CPU's memory; no copy is made where they are there already.
    fn numbers<'a>(&self, hidden_state: &'a Self::HiddenState) -> Result<Cow<'a, [f32]>>;
}

/// An embedding table, and which row of it each token takes.
pub(super) struct TableRows<'a, B: Backend> {
    pub(super) table: &'a B::Table,
    /// (tokens)
    pub(super) rows: &'a [u32],
    /// What each token's row is multiplied by, (tokens); 1 without it.
    pub(super) factors: Option<&'a [f64]>,
}
