//! The forward pass: one loop over the layers, each hidden state handed to a visitor and then dropped.

mod bert;

use candle_core::Tensor;

use self::bert::{Embeddings, Layer, Pooler};
use crate::batch::Batch;
use crate::checkpoint::config::Config;
use crate::checkpoint::weights::Weights;
use crate::error::Result;

/// A BERT encoder, loaded down to the deepest layer a job needs.
///
/// Devlin et al. 2019, as transformers' `BertModel` computes it in evaluation.
pub struct Encoder {
    embeddings: Embeddings,
    layers: Vec<Layer>,
    pooler: Option<Pooler>,
}

impl Encoder {
    /// Loads layers 0 to `deepest`, and the pooler if it is wanted.
    ///
    /// # Errors
    /// [`Error::Tensor`](crate::error::Error::Tensor) for a parameter that is missing or not as `config` says.
    pub fn load(weights: &Weights, config: &Config, deepest: usize, pooler: bool) -> Result<Self> {
        Ok(Self {
            embeddings: Embeddings::load(weights, config)?,
            layers: (0..deepest).map(|index| Layer::load(weights, config, index)).collect::<Result<_>>()?,
            pooler: if pooler { Some(Pooler::load(weights, config)?) } else { None },
        })
    }

    /// Runs a batch and calls `visit(k, hidden_state)` for k = 0, 1, … up to the deepest layer loaded.
    ///
    /// `hidden_state` is float32 (tokens of the batch, hidden_size), contiguous.
    ///
    /// # Errors
    /// Those of `visit`, and of the tensor library.
    pub fn visit_hidden_states(
        &self,
        batch: &Batch,
        mut visit: impl FnMut(usize, &Tensor) -> Result<()>,
    ) -> Result<()> {
        let mut hidden_state = self.embeddings.forward(batch)?;
        visit(0, &hidden_state)?;
        for (index, layer) in self.layers.iter().enumerate() {
            hidden_state = layer.forward(&hidden_state, batch)?;
            visit(index + 1, &hidden_state)?;
        }
        Ok(())
    }

    /// `pooler_output` (texts, hidden_size) from `first_tokens` (texts, hidden_size), the first token of each text in
    /// the last layer. `None` when the pooler was not loaded.
    ///
    /// # Errors
    /// Those of the tensor library.
    pub fn pooler_output(&self, first_tokens: &Tensor) -> Result<Option<Tensor>> {
        self.pooler.as_ref().map(|pooler| pooler.forward(first_tokens)).transpose()
    }
}

/// Whether a checkpoint has the parameters of a pooler.
pub fn has_pooler(weights: &Weights) -> bool {
    weights.contains(bert::POOLER_WEIGHT)
}

/// Checks names, shapes and types of everything that [`Encoder::load`] will read, without reading it.
///
/// # Errors
/// As [`Encoder::load`].
pub fn check(weights: &Weights, config: &Config, deepest: usize, pooler: bool) -> Result<()> {
    bert::parameters(config, deepest, pooler).iter().try_for_each(|(name, shape)| weights.check(name, shape))
}

/// Numbers in the parameters of the encoder and its pooler, task heads not counted.
pub fn parameter_count(weights: &Weights, config: &Config) -> u64 {
    let parameters = bert::parameters(config, config.num_hidden_layers, has_pooler(weights));
    parameters.iter().map(|(_, shape)| shape.iter().map(|&length| length as u64).product::<u64>()).sum()
}
