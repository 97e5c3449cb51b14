//! The forward pass: one loop over the layers, each hidden state handed to a visitor and then dropped.

mod bert;
mod settings;
mod tensors;

use std::sync::{Arc, OnceLock};

use candle_core::{Device, Tensor};

use self::bert::{EmbeddingTables, Layer, Pooler, load_layer, load_pooler};
pub use self::settings::{EncoderSettings, Ops};
use crate::batch::Batch;
use crate::checkpoint::config::Config;
use crate::checkpoint::weights::Weights;
use crate::error::Result;

/// A BERT encoder. [`Encoder::load`] and [`Encoder::preload`] keep layers in memory. A layer that is not loaded when
/// its turn comes is read from the checkpoint for that one batch and then dropped.
///
/// Source: Devlin et al. 2019, as transformers' `BertModel` computes it in evaluation mode.
pub struct Encoder {
    weights: Arc<Weights>,
    config: Config,
    settings: EncoderSettings,
    embeddings: OnceLock<EmbeddingTables>,
    layers: Vec<OnceLock<Layer>>,
    pooler: OnceLock<Pooler>,
}

impl Encoder {
    /// An encoder of which nothing is loaded yet.
    pub fn new(weights: Arc<Weights>, config: Config, settings: EncoderSettings) -> Self {
        let layers = (0..config.num_hidden_layers).map(|_| OnceLock::new()).collect();
        Self { weights, config, settings, embeddings: OnceLock::new(), layers, pooler: OnceLock::new() }
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
        for index in 0..deepest {
            if should_stop() {
                break;
            }
            self.load_layer(index)?;
        }
        Ok(())
    }

    /// Loads layers 0 to `deepest`, and the pooler if it is wanted, for many batches. Embeddings that are part of the
    /// binary are not copied.
    ///
    /// # Errors
    /// [`Error::Tensor`](crate::error::Error::Tensor) for a parameter that is missing, damaged, or of another shape
    /// than the configuration says.
    pub fn load(&self, deepest: usize, pooler: bool) -> Result<()> {
        let Self { weights, config, settings, .. } = self;
        self.preload(deepest, || false)?;
        if pooler && self.pooler.get().is_none() {
            let _ = self.pooler.set(load_pooler(weights, config, settings)?);
        }
        if !weights.are_embedded() && self.embeddings.get().is_none() {
            let _ = self.embeddings.set(EmbeddingTables::load(weights, config, settings, None)?);
        }
        Ok(())
    }

    /// Loads a layer without a lock. Should two threads load it at once, one of the two equal copies stays.
    fn load_layer(&self, index: usize) -> Result<()> {
        if self.layers[index].get().is_none() {
            let _ = self.layers[index].set(load_layer(&self.weights, &self.config, &self.settings, index)?);
        }
        Ok(())
    }

    /// Runs a batch and calls `visit(k, hidden_state)` for k = 0, 1, … `deepest`.
    ///
    /// `hidden_state` is float32, (tokens of the batch, hidden_size), contiguous and in the CPU's memory. The next
    /// layer is computed while a layer is visited, so that all threads have work while one of them writes.
    ///
    /// # Errors
    /// Those of `visit`, of the tensor library, and of [`Encoder::load`].
    pub fn visit_hidden_states(
        &self,
        batch: &Batch,
        deepest: usize,
        mut visit: impl FnMut(usize, &Tensor) -> Result<()> + Send,
    ) -> Result<()> {
        let Self { weights, config, settings, .. } = self;
        let mut hidden_state = match self.embeddings.get() {
            Some(embeddings) => embeddings.forward(batch)?,
            None => EmbeddingTables::load(weights, config, settings, Some(batch))?.forward(batch)?,
        };
        for index in 0..deepest {
            let next = || match self.layers[index].get() {
                Some(layer) => layer.forward(&hidden_state, &batch.bounds),
                None => load_layer(weights, config, settings, index)?.forward(&hidden_state, &batch.bounds),
            };
            // Copied before the next layer is queued on the device, as the copy would wait for it.
            let copy = on_cpu(&hidden_state)?;
            let (next, visited) = rayon::join(next, || visit(index, &copy));
            visited?;
            hidden_state = next?;
        }
        visit(deepest, &on_cpu(&hidden_state)?)
    }

    /// `pooler_output` (texts, hidden_size) from `first_tokens` (texts, hidden_size), the first token of each text in
    /// the last layer.
    ///
    /// # Errors
    /// Those of the tensor library, and of [`Encoder::load`].
    pub fn pooler_output(&self, first_tokens: &Tensor) -> Result<Tensor> {
        let first_tokens = first_tokens.to_device(self.settings.ops.device())?;
        let pooled = match self.pooler.get() {
            Some(pooler) => pooler.forward(&first_tokens)?,
            None => load_pooler(&self.weights, &self.config, &self.settings)?.forward(&first_tokens)?,
        };
        on_cpu(&pooled)
    }
}

/// The tensor in the CPU's memory; no copy is made if it is there already.
fn on_cpu(tensor: &Tensor) -> Result<Tensor> {
    let copy = tensor.to_device(&Device::Cpu)?;
    // A device may still be computing it.
    tensor.device().synchronize()?;
    Ok(copy)
}

/// Whether a checkpoint has the parameters of a pooler.
pub fn has_pooler(weights: &Weights) -> bool {
    weights.contains(bert::POOLER_WEIGHT)
}

/// Checks names, shapes and types of everything that [`Encoder::load`] will read, without reading it.
///
/// # Errors
/// Those of [`Encoder::load`].
pub fn check(weights: &Weights, config: &Config, deepest: usize, pooler: bool) -> Result<()> {
    bert::parameters(config, deepest, pooler).iter().try_for_each(|(name, shape)| weights.check(name, shape))
}

/// Number of parameters of the encoder and its pooler, without task heads.
pub fn parameter_count(weights: &Weights, config: &Config) -> u64 {
    let parameters = bert::parameters(config, config.num_hidden_layers, has_pooler(weights));
    parameters.iter().map(|(_, shape)| shape.iter().map(|&length| length as u64).product::<u64>()).sum()
}
