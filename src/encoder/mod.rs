//! The forward pass: one loop over the layers, each hidden state handed to a visitor and then dropped.

mod backend;
mod cpu;
mod embeddings;
mod forward_pass;
mod parameters;
mod positions;
mod settings;
#[cfg(feature = "tensors")]
mod tensors;

use std::sync::Arc;

use self::cpu::CpuKernels;
use self::forward_pass::{Forward, ForwardPass};
use self::parameters::{ParameterReader, first_weight_of};
pub use self::settings::{EncoderSettings, Ops};
use crate::batch::Batch;
use crate::checkpoint::config::Config;
use crate::checkpoint::weights::Weights;
use crate::error::Result;

/// An encoder of any family that is described. [`Encoder::load`] and [`Encoder::preload`] keep layers in memory. A layer that is not loaded when
/// its turn comes is read from the checkpoint for that one batch and then dropped.
///
/// Source: the class of transformers that the family names as its reference, in evaluation mode.
pub struct Encoder {
    config: Config,
    pass: Box<dyn Forward>,
}

impl Encoder {
    /// An encoder of which nothing is loaded yet.
    pub fn new(weights: Arc<Weights>, config: Config, settings: EncoderSettings) -> Self {
        let EncoderSettings { compute, ops, instruction_set } = settings;
        let pass: Box<dyn Forward> = match ops {
            Ops::Kernels => {
                Box::new(ForwardPass::new(CpuKernels { compute, instruction_set }, weights, config.clone()))
            }
            #[cfg(feature = "tensors")]
            Ops::Tensors(device) => Box::new(ForwardPass::new(tensors::DeviceTensors(device), weights, config.clone())),
        };
        Self { config, pass }
    }

    /// The model's configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Loads layers from the first one on, until `should_stop` returns true or layer `deepest` is loaded.
    ///
    /// # Errors
    /// Those of [`Encoder::load`].
    pub fn preload(&self, deepest: usize, should_stop: impl Fn() -> bool) -> Result<()> {
        self.pass.preload(deepest, &should_stop)
    }

    /// Loads layers 0 to `deepest`, and the pooler if it is wanted, for many batches. Embeddings that are part of the
    /// binary are not copied.
    ///
    /// # Errors
    /// [`Error::Tensor`](crate::error::Error::Tensor) for a parameter that is missing, damaged, or of another shape
    /// than the configuration says.
    pub fn load(&self, deepest: usize, pooler: bool) -> Result<()> {
        self.pass.load(deepest, pooler)
    }

    /// Runs a batch and calls `visit(k, hidden_state)` for k = 0, 1, … `deepest`.
    ///
    /// `hidden_state` is (tokens of the batch, hidden_size), row by row. The next layer is computed while a layer is
    /// visited, so that all threads have work while one of them writes.
    ///
    /// # Errors
    /// Those of `visit`, of the device, and of [`Encoder::load`].
    pub fn visit_hidden_states(
        &self,
        batch: &Batch,
        deepest: usize,
        mut visit: impl FnMut(usize, &[f32]) -> Result<()> + Send,
    ) -> Result<()> {
        self.pass.visit_hidden_states(batch, deepest, &mut visit)
    }

    /// `pooler_output` (texts, hidden_size) from `first_tokens` (texts, hidden_size), the first token of each text in
    /// the last layer.
    ///
    /// # Errors
    /// Those of the device, and of [`Encoder::load`].
    pub fn pooler_output(&self, first_tokens: &[f32]) -> Result<Vec<f32>> {
        self.pass.pooler_output(first_tokens)
    }
}

/// Whether a checkpoint has the parameters of a pooler.
pub fn has_pooler(weights: &Weights) -> bool {
    parameters::has_pooler(weights)
}

/// Number of encoder layers that a checkpoint holds, without a gap from the first one on.
pub fn layers_held(weights: &Weights) -> usize {
    (0..).take_while(|&layer| weights.contains(&first_weight_of(weights, layer))).count()
}

/// Checks names, shapes and types of everything that [`Encoder::load`] will read, without reading it.
///
/// # Errors
/// Those of [`Encoder::load`].
pub fn check(weights: &Weights, config: &Config, deepest: usize, pooler: bool) -> Result<()> {
    let shapes = ParameterReader::shapes(weights, config, deepest, pooler)?;
    shapes.iter().try_for_each(|(name, shape)| weights.check(name, shape))
}

/// Number of weights of a layer's matrix products, each of which a token is multiplied with once.
pub fn weights_of_layer(config: &Config) -> usize {
    let Config { hidden_size, intermediate_size, num_key_value_heads, .. } = *config;
    let key_values = 2 * num_key_value_heads * config.head_dim();
    let of_feed_forward = if config.family.is_gated() { 3 } else { 2 };
    (2 * hidden_size + key_values + of_feed_forward * intermediate_size) * hidden_size
}

/// Number of parameters of the encoder and its pooler, without task heads.
pub fn parameter_count(weights: &Weights, config: &Config) -> u64 {
    let shapes = ParameterReader::shapes(weights, config, config.num_hidden_layers, has_pooler(weights));
    let numbers = |shape: &Vec<usize>| shape.iter().map(|&length| length as u64).product::<u64>();
    shapes.map_or(0, |shapes| shapes.iter().map(|(_, shape)| numbers(shape)).sum())
}
