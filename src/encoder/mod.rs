//! The forward pass: one loop over the layers, each hidden state handed to a visitor and then dropped.

mod bert;

use candle_core::Tensor;

use self::bert::{Embeddings, load_layer, load_pooler};
use crate::batch::Batch;
use crate::checkpoint::config::Config;
use crate::checkpoint::weights::Weights;
use crate::error::Result;
use crate::kernels::{EncoderLayer, Linear};
use crate::spec::Compute;

/// A BERT encoder, down to the deepest layer a job needs.
///
/// Devlin et al. 2019, as transformers' `BertModel` computes it in evaluation.
pub struct Encoder<'a> {
    settings: Settings,
    parts: Parts<'a>,
}

/// How much of a model is computed, and in which arithmetic.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// The last layer computed.
    pub deepest: usize,
    /// Whether the pooler is.
    pub pooler: bool,
    /// The arithmetic of the products.
    pub compute: Compute,
}

/// What of it is in memory.
enum Parts<'a> {
    /// Everything: for many batches.
    Loaded(Box<Loaded>),
    /// Nothing; each part is loaded when its turn comes, and dropped after: for a single batch.
    Fetched { weights: &'a Weights, config: &'a Config },
}

struct Loaded {
    embeddings: Embeddings,
    layers: Vec<EncoderLayer>,
    pooler: Option<Linear>,
}

impl Encoder<'static> {
    /// Loads layers 0 to `deepest`, and the pooler if it is wanted.
    ///
    /// # Errors
    /// [`Error::Tensor`](crate::error::Error::Tensor) for a parameter that is missing or not as `config` says.
    pub fn load(weights: &Weights, config: &Config, settings: Settings) -> Result<Self> {
        let Settings { deepest, pooler, compute } = settings;
        let loaded = Loaded {
            embeddings: Embeddings::load(weights, config, None)?,
            layers: (0..deepest).map(|index| load_layer(weights, config, compute, index)).collect::<Result<_>>()?,
            pooler: if pooler { Some(load_pooler(weights, config, compute)?) } else { None },
        };
        Ok(Self { settings, parts: Parts::Loaded(Box::new(loaded)) })
    }
}

impl<'a> Encoder<'a> {
    /// An encoder for one batch, which reads each layer when it needs it: less memory, and no embeddings read but those
    /// of the batch. Computes the same bits.
    pub fn for_one_batch(weights: &'a Weights, config: &'a Config, settings: Settings) -> Self {
        Self { settings, parts: Parts::Fetched { weights, config } }
    }

    /// Runs a batch and calls `visit(k, hidden_state)` for k = 0, 1, … up to the deepest layer.
    ///
    /// `hidden_state` is float32 (tokens of the batch, hidden_size), contiguous. While a layer is visited the next one
    /// is computed, so that threads have work while one of them writes.
    ///
    /// # Errors
    /// Those of `visit`, of the tensor library, and of [`Encoder::load`].
    pub fn visit_hidden_states(
        &self,
        batch: &Batch,
        mut visit: impl FnMut(usize, &Tensor) -> Result<()> + Send,
    ) -> Result<()> {
        let mut hidden_state = match &self.parts {
            Parts::Loaded(loaded) => loaded.embeddings.forward(batch)?,
            Parts::Fetched { weights, config } => Embeddings::load(weights, config, Some(batch))?.forward(batch)?,
        };
        for index in 0..self.settings.deepest {
            let next = || -> Result<Tensor> {
                Ok(match &self.parts {
                    Parts::Loaded(loaded) => loaded.layers[index].forward(&hidden_state, &batch.bounds)?,
                    Parts::Fetched { weights, config } => {
                        let layer = load_layer(weights, config, self.settings.compute, index)?;
                        layer.forward(&hidden_state, &batch.bounds)?
                    }
                })
            };
            let (next, visited) = rayon::join(next, || visit(index, &hidden_state));
            visited?;
            hidden_state = next?;
        }
        visit(self.settings.deepest, &hidden_state)
    }

    /// `pooler_output` (texts, hidden_size) from `first_tokens` (texts, hidden_size), the first token of each text in
    /// the last layer. `None` when the pooler was not asked for.
    ///
    /// # Errors
    /// Those of the tensor library, and of [`Encoder::load`].
    pub fn pooler_output(&self, first_tokens: &Tensor) -> Result<Option<Tensor>> {
        if !self.settings.pooler {
            return Ok(None);
        }
        let pooled = match &self.parts {
            Parts::Loaded(loaded) => loaded.pooler.as_ref().map(|pooler| pooler.forward(first_tokens)),
            Parts::Fetched { weights, config } => {
                Some(load_pooler(weights, config, self.settings.compute)?.forward(first_tokens))
            }
        };
        Ok(pooled.transpose()?)
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
