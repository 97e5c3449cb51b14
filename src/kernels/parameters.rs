//! The parameters that linear layers and encoder layers are made of, as a checkpoint gives them.

use std::ops::Range;

use super::layer_norm::LayerNorm;
use crate::spec::Activation;

/// Where the parameters of a linear layer come from.
pub struct Parameters<'a, E> {
    /// Inputs of the layer; the weight is (outputs, inputs).
    pub inputs: usize,
    /// (outputs)
    pub bias: Vec<f32>,
    /// Reads rows of the weight.
    pub read: Box<ReadRows<'a, E>>,
}

/// Appends some rows of a weight to a vector; called from all threads.
pub type ReadRows<'a, E> = dyn Fn(Range<usize>, &mut Vec<f32>) -> std::result::Result<(), E> + Sync + 'a;

/// The parameters of an [`EncoderLayer`](super::EncoderLayer).
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
    /// Number of attention heads.
    pub heads: usize,
    /// After `intermediate`.
    pub activation: Activation,
}
