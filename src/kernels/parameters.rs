//! The parameters that linear layers and encoder layers are made of, as a checkpoint gives them.

use std::ops::Range;
use std::sync::Arc;

use super::norm::Norm;
use super::relative::{DistanceBias, DistanceBuckets};
use super::rotary::RotaryTable;
use crate::spec::Activation;

/// Where the parameters of a linear layer come from.
pub struct Parameters<'a, E> {
    /// Inputs of the layer; the weight is (outputs, inputs).
    pub inputs: usize,
    /// (outputs); zeros where the layer has none.
    pub bias: Vec<f32>,
    /// Reads rows of the weight.
    pub read: Box<ReadRows<'a, E>>,
}

/// Appends some rows of a weight to a vector; called from all threads.
pub type ReadRows<'a, E> = dyn Fn(Range<usize>, &mut Vec<f32>) -> std::result::Result<(), E> + Sync + 'a;

/// The parameters of an [`EncoderLayer`](super::EncoderLayer).
pub struct LayerParameters<'a, E> {
    /// The norms, each there or not.
    pub norms: LayerNorms,
    /// Queries (hidden, hidden), keys and values (key_value_heads · head_dim, hidden).
    pub query_key_value: [Parameters<'a, E>; 3],
    /// Number of attention heads.
    pub heads: usize,
    /// Number of heads of keys and values, which divides `heads`.
    pub key_value_heads: usize,
    /// Rotary positions of queries and keys.
    pub rotary: Option<Arc<RotaryTable>>,
    /// The largest distance between tokens that attend to each other.
    pub window: Option<usize>,
    /// What is added to the scores of attention.
    pub relative: RelativePositions<'a, E>,
    /// (hidden, hidden)
    pub attention_output: Parameters<'a, E>,
    /// The feed-forward network.
    pub feed_forward: FeedForwardParameters<'a, E>,
    /// What joins the layer's output.
    pub convolution: Option<ConvolutionParameters<'a, E>>,
}

/// The norms of a layer: post-norm layers (BERT) have those after, pre-norm layers (ESM) those before. The norm after the last
/// layer of a pre-norm encoder is that layer's `after_feed_forward`.
#[derive(Default)]
pub struct LayerNorms {
    /// Of the layer's input.
    pub before_attention: Option<Norm>,
    /// Of the sum of attention and the layer's input.
    pub after_attention: Option<Norm>,
    /// Of that sum, for the feed-forward network.
    pub before_feed_forward: Option<Norm>,
    /// Of the sum of the feed-forward network and what was before its norm.
    pub after_feed_forward: Option<Norm>,
}

/// `down(act(up(x)))`, or with a gate `down(act(gate(x)) · up(x))` (Shazeer 2020).
pub struct FeedForwardParameters<'a, E> {
    /// (intermediate, hidden)
    pub gate: Option<Parameters<'a, E>>,
    /// (intermediate, hidden)
    pub up: Parameters<'a, E>,
    /// (hidden, intermediate)
    pub down: Parameters<'a, E>,
    /// After `gate`, or after `up` without one.
    pub activation: Activation,
}

/// Positions that are added to the scores of attention.
pub enum RelativePositions<'a, E> {
    /// None.
    None,
    /// A number for each head and distance (MPNet).
    Bias(Arc<DistanceBias>),
    /// Disentangled attention (DeBERTa).
    Disentangled(DisentangledParameters<'a, E>),
}

/// Disentangled attention, He et al. 2021.
pub struct DisentangledParameters<'a, E> {
    /// Which embedding a distance has.
    pub buckets: DistanceBuckets,
    /// The embeddings of distances, (distances, hidden).
    pub embeddings: Arc<Vec<f32>>,
    /// What makes keys of them, to which queries attend; (hidden, hidden).
    pub keys: Option<Parameters<'a, E>>,
    /// What makes queries of them, which attend to keys; (hidden, hidden).
    pub queries: Option<Parameters<'a, E>>,
}

/// `out = norm(out + act(convolution(x)))`, x being the layer's input: DeBERTa-v2's first layer.
pub struct ConvolutionParameters<'a, E> {
    /// Tokens that each output is made of; odd.
    pub kernel_size: usize,
    /// (hidden, kernel_size · hidden): the inputs are those of the tokens, one after the other.
    pub weight: Parameters<'a, E>,
    /// After the convolution.
    pub activation: Activation,
    /// Of the sum.
    pub norm: Norm,
}
