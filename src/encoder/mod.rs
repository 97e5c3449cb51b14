//! The forward pass: one loop over the layers, each hidden state handed to a visitor and then dropped.

mod bert;
mod tensors;

use candle_core::{Device, Tensor};

use self::bert::{Embeddings, Layer, Pooler, load_layer, load_pooler};
use crate::batch::Batch;
use crate::checkpoint::config::Config;
use crate::checkpoint::weights::Weights;
use crate::error::{Error, Result};
use crate::spec::{Compute, DeviceKind, DeviceSelection};

/// A BERT encoder, down to the deepest layer a job needs.
///
/// Devlin et al. 2019, as transformers' `BertModel` computes it in evaluation.
pub struct Encoder<'a> {
    settings: Settings,
    parts: Parts<'a>,
}

/// How much of a model is computed, and in which arithmetic.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The last layer computed.
    pub deepest: usize,
    /// Whether the pooler is.
    pub pooler: bool,
    /// The arithmetic of the products, where they are the kernels'.
    pub compute: Compute,
    /// What computes.
    pub ops: Ops,
}

/// What computes the steps of the forward pass.
#[derive(Debug, Clone)]
pub enum Ops {
    /// The CPU kernels: exact, and the same bits in any batch.
    Kernels,
    /// The tensor library's own ops, on any of its devices.
    Tensors(Device),
}

impl Ops {
    /// Opens the device that was asked for.
    ///
    /// # Errors
    /// [`Error::Usage`] when this build or this machine does not have it.
    pub fn open(selection: DeviceSelection) -> Result<Self> {
        let (device, feature) = match selection.kind {
            DeviceKind::Cpu => return Ok(Ops::Kernels),
            DeviceKind::Cuda => (Device::new_cuda(selection.index), cfg!(feature = "cuda")),
            DeviceKind::Metal => (Device::new_metal(selection.index), cfg!(feature = "metal")),
        };
        let name = selection.kind.name();
        match device {
            Ok(device) => Ok(Ops::Tensors(device)),
            Err(_) if !feature => Err(Error::Usage(format!(
                "--device {selection}: this build cannot use it; build one that can with `cargo install --features {name}`, or leave the option out"
            ))),
            Err(error) => Err(Error::Usage(format!("--device {selection} cannot be opened: {error}"))),
        }
    }

    /// Where its tensors are.
    fn device(&self) -> &Device {
        match self {
            Ops::Kernels => &Device::Cpu,
            Ops::Tensors(device) => device,
        }
    }
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
    layers: Vec<Layer>,
    pooler: Option<Pooler>,
}

impl Encoder<'static> {
    /// Loads layers 0 to `deepest`, and the pooler if it is wanted.
    ///
    /// # Errors
    /// [`Error::Tensor`] for a parameter that is missing or not as `config` says.
    pub fn load(weights: &Weights, config: &Config, settings: Settings) -> Result<Self> {
        let loaded = Loaded {
            embeddings: Embeddings::load(weights, config, &settings.ops, None)?,
            layers: (0..settings.deepest)
                .map(|index| load_layer(weights, config, &settings, index))
                .collect::<Result<_>>()?,
            pooler: if settings.pooler { Some(load_pooler(weights, config, &settings)?) } else { None },
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
    /// `hidden_state` is float32 (tokens of the batch, hidden_size), contiguous, in the CPU's memory. While a layer is visited the next one
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
            Parts::Fetched { weights, config } => {
                Embeddings::load(weights, config, &self.settings.ops, Some(batch))?.forward(batch)?
            }
        };
        for index in 0..self.settings.deepest {
            let next = || -> Result<Tensor> {
                Ok(match &self.parts {
                    Parts::Loaded(loaded) => loaded.layers[index].forward(&hidden_state, &batch.bounds)?,
                    Parts::Fetched { weights, config } => {
                        let layer = load_layer(weights, config, &self.settings, index)?;
                        layer.forward(&hidden_state, &batch.bounds)?
                    }
                })
            };
            let (next, visited) = rayon::join(next, || visit(index, &hidden_state.to_device(&Device::Cpu)?));
            visited?;
            hidden_state = next?;
        }
        visit(self.settings.deepest, &hidden_state.to_device(&Device::Cpu)?)
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
        let first_tokens = first_tokens.to_device(self.settings.ops.device())?;
        match &self.parts {
            Parts::Loaded(loaded) => loaded.pooler.as_ref().map(|pooler| pooler.forward(&first_tokens)).transpose(),
            Parts::Fetched { weights, config } => {
                load_pooler(weights, config, &self.settings)?.forward(&first_tokens).map(Some)
            }
        }
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
