//! The forward pass: one loop over the layers, each hidden state handed to a visitor and then dropped.

mod bert;
mod tensors;

use candle_core::{Device, Tensor};

use self::bert::{Embeddings, Layer, Pooler, load_layer, load_pooler};
use crate::batch::Batch;
use crate::checkpoint::config::Config;
use crate::checkpoint::weights::Weights;
use crate::error::{Error, Result};
use crate::kernels::InstructionSet;
use crate::spec::{Compute, DeviceKind, DeviceSelection};

/// A BERT encoder, down to the deepest layer a job needs.
///
/// Parts that are not in memory are read from the checkpoint when their turn comes, and dropped after.
///
/// Devlin et al. 2019, as transformers' `BertModel` computes it in evaluation.
pub struct Encoder<'a> {
    weights: &'a Weights,
    config: &'a Config,
    settings: Settings,
    embeddings: Option<Embeddings>,
    /// From the first one on.
    layers: Vec<Layer>,
    pooler: Option<Pooler>,
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
    /// The instruction set of the kernels.
    pub instruction_set: InstructionSet,
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
            // With a stream of its own: `new_cuda` takes each thread's, and what one thread has queued is then not in
            // order with what another copies.
            DeviceKind::Cuda => (Device::new_cuda_with_stream(selection.index), cfg!(feature = "cuda")),
            DeviceKind::Metal => (Device::new_metal(selection.index), cfg!(feature = "metal")),
        };
        let name = selection.kind.name();
        match device {
            Ok(device) => Ok(Ops::Tensors(device)),
            Err(_) if !feature => Err(Error::Usage(format!(
                "--device {selection}: this build cannot use it; build one that can with `cargo install --path . --features {name}`, or leave the option out"
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

/// The first encoder layers, loaded while something else was waited for.
#[derive(Default)]
pub struct Ahead(Vec<Layer>);

impl Ahead {
    /// Loads layers from the first one on until `enough` or all are there.
    ///
    /// # Errors
    /// As [`Encoder::load`].
    pub fn load(weights: &Weights, config: &Config, settings: &Settings, enough: impl Fn() -> bool) -> Result<Self> {
        let wanted = (0..settings.deepest).take_while(|_| !enough());
        wanted.map(|index| load_layer(weights, config, settings, index)).collect::<Result<_>>().map(Self)
    }
}

impl<'a> Encoder<'a> {
    /// Loads layers 0 to `deepest`, and the pooler if it is wanted. Embeddings that are in memory as they are, in the
    /// binary, are not copied.
    ///
    /// # Errors
    /// [`Error::Tensor`] for a parameter that is missing or not as `config` says.
    pub fn load(weights: &'a Weights, config: &'a Config, settings: Settings) -> Result<Self> {
        Self::for_one_batch(weights, config, settings, Ahead::default()).load_rest()
    }

    /// An encoder for one batch, which reads each part when it needs it: less memory, and no embeddings read but those
    /// of the batch. Computes the same bits. `ahead` was made with the same settings.
    pub fn for_one_batch(weights: &'a Weights, config: &'a Config, settings: Settings, ahead: Ahead) -> Self {
        Self { weights, config, settings, embeddings: None, layers: ahead.0, pooler: None }
    }

    /// Loads what it would read later, for many batches.
    ///
    /// # Errors
    /// As [`Encoder::load`].
    pub fn load_rest(mut self) -> Result<Self> {
        let Self { weights, config, .. } = self;
        for index in self.layers.len()..self.settings.deepest {
            self.layers.push(load_layer(weights, config, &self.settings, index)?);
        }
        if self.settings.pooler {
            self.pooler = Some(load_pooler(weights, config, &self.settings)?);
        }
        if !weights.are_embedded() {
            self.embeddings = Some(Embeddings::load(weights, config, &self.settings, None)?);
        }
        Ok(self)
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
        let Self { weights, config, settings, .. } = self;
        let mut hidden_state = match &self.embeddings {
            Some(embeddings) => embeddings.forward(batch)?,
            None => Embeddings::load(weights, config, settings, Some(batch))?.forward(batch)?,
        };
        for index in 0..settings.deepest {
            let next = || match self.layers.get(index) {
                Some(layer) => layer.forward(&hidden_state, &batch.bounds),
                None => load_layer(weights, config, settings, index)?.forward(&hidden_state, &batch.bounds),
            };
            // Copied before the next layer is queued, as the copy would wait for that.
            let copy = on_cpu(&hidden_state)?;
            let (next, visited) = rayon::join(next, || visit(index, &copy));
            visited?;
            hidden_state = next?;
        }
        visit(self.settings.deepest, &on_cpu(&hidden_state)?)
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
        let pooled = match &self.pooler {
            Some(pooler) => pooler.forward(&first_tokens)?,
            None => load_pooler(self.weights, self.config, &self.settings)?.forward(&first_tokens)?,
        };
        on_cpu(&pooled).map(Some)
    }
}

/// A tensor in the CPU's memory, where it may be already.
fn on_cpu(tensor: &Tensor) -> Result<Tensor> {
    let copy = tensor.to_device(&Device::Cpu)?;
    // A device may still be at it.
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
/// As [`Encoder::load`].
pub fn check(weights: &Weights, config: &Config, deepest: usize, pooler: bool) -> Result<()> {
    bert::parameters(config, deepest, pooler).iter().try_for_each(|(name, shape)| weights.check(name, shape))
}

/// Numbers in the parameters of the encoder and its pooler, task heads not counted.
pub fn parameter_count(weights: &Weights, config: &Config) -> u64 {
    let parameters = bert::parameters(config, config.num_hidden_layers, has_pooler(weights));
    parameters.iter().map(|(_, shape)| shape.iter().map(|&length| length as u64).product::<u64>()).sum()
}
