//! The parts of BERT: embeddings, layers and pooler, and the parameters of each. H is `hidden_size`, I is
//! `intermediate_size`.

use std::borrow::Cow;

use candle_core::Tensor;

use super::settings::{EncoderSettings, Ops};
use super::tensors;
use crate::batch::Batch;
use crate::checkpoint::config::Config;
use crate::checkpoint::weights::Weights;
use crate::error::{Error, Result};
use crate::kernels::{self, EncoderLayer, InstructionSet, LayerNorm, LayerParameters, PackedLinear, Parameters};
use crate::spec::{Activation, Compute};

/// The pooler's weight; a checkpoint without it has no pooler.
pub(super) const POOLER_WEIGHT: &str = "pooler.dense.weight";

const LAYER_MODULES: [&str; 8] = [
    "attention.self.query",
    "attention.self.key",
    "attention.self.value",
    "attention.output.dense",
    "attention.output.LayerNorm",
    "intermediate.dense",
    "output.dense",
    "output.LayerNorm",
];

/// Canonical name and shape of every parameter down to layer `deepest`.
pub(super) fn parameters(config: &Config, deepest: usize, pooler: bool) -> Vec<(String, Vec<usize>)> {
    let Config { hidden_size: hidden, intermediate_size: inner, .. } = *config;
    let mut parameters = Vec::new();
    for (name, rows) in [
        ("word", config.vocab_size),
        ("position", config.max_position_embeddings),
        ("token_type", config.type_vocab_size),
    ] {
        parameters.push((format!("embeddings.{name}_embeddings.weight"), vec![rows, hidden]));
    }
    let mut module = |name: String, weight: Vec<usize>| {
        let bias = weight[..1].to_vec();
        parameters.push((format!("{name}.weight"), weight));
        parameters.push((format!("{name}.bias"), bias));
    };
    module("embeddings.LayerNorm".to_owned(), vec![hidden]);
    for layer in 0..deepest {
        for name in LAYER_MODULES {
            let weight = match name {
                "intermediate.dense" => vec![inner, hidden],
                "output.dense" => vec![hidden, inner],
                name if name.ends_with("LayerNorm") => vec![hidden],
                _ => vec![hidden, hidden],
            };
            module(format!("encoder.layer.{layer}.{name}"), weight);
        }
    }
    if pooler {
        module("pooler.dense".to_owned(), vec![hidden, hidden]);
    }
    parameters
}

/// The embeddings, layer 0: word, position and token type embeddings, summed and normalized by LayerNorm.
pub(super) struct EmbeddingTables {
    word: Table,
    position: Table,
    token_type: Table,
    norm: EmbeddingNorm,
}

enum EmbeddingNorm {
    Kernels(LayerNorm, InstructionSet),
    Tensors(tensors::TensorNorm),
}

/// An encoder layer.
pub(super) enum Layer {
    Kernels(Box<EncoderLayer>),
    Tensors(tensors::TensorLayer),
}

/// The pooler's linear layer.
pub(super) enum Pooler {
    Kernels(PackedLinear),
    Tensors(tensors::TensorLinear),
}

/// An embedding table, whole or with only the rows that a batch needs.
struct Table {
    /// (rows, H)
    weight: Tensor,
    /// The ids of the rows, ascending; `None` for all rows.
    ids: Option<Vec<u32>>,
}

impl EmbeddingTables {
    /// Loads the tables. If a batch is given, only its rows of the word embeddings are read.
    pub(super) fn load(
        weights: &Weights,
        config: &Config,
        settings: &EncoderSettings,
        batch: Option<&Batch>,
    ) -> Result<Self> {
        let device = settings.ops.device();
        let table = |name: &str, rows: usize, ids: Option<&[u32]>| -> Result<Table> {
            let shape = [rows, config.hidden_size];
            let name = format!("embeddings.{name}_embeddings.weight");
            let (ids, values) = match ids {
                None => (None, weights.tensor(&name, &shape)?),
                Some(ids) => {
                    let mut ids = ids.to_vec();
                    ids.sort_unstable();
                    ids.dedup();
                    let reader = weights.open(&name, &shape)?;
                    let mut values = Vec::with_capacity(ids.len() * config.hidden_size);
                    ids.iter().try_for_each(|&id| reader.rows(id as usize..id as usize + 1, &mut values))?;
                    (Some(ids), values)
                }
            };
            let rows = ids.as_ref().map_or(rows, Vec::len);
            Ok(Table { weight: Tensor::from_vec(values, (rows, config.hidden_size), device)?, ids })
        };
        let norm = layer_norm(weights, config, "embeddings.LayerNorm")?;
        let word_ids = batch.map(|batch| &batch.input_ids[..]);
        Ok(Self {
            word: table("word", config.vocab_size, word_ids)?,
            position: table("position", config.max_position_embeddings, None)?,
            token_type: table("token_type", config.type_vocab_size, None)?,
            norm: match &settings.ops {
                Ops::Kernels => EmbeddingNorm::Kernels(norm, settings.instruction_set),
                Ops::Tensors(device) => EmbeddingNorm::Tensors(tensors::TensorNorm::load(&norm, device)?),
            },
        })
    }

    /// The embedding output, (tokens, H).
    pub(super) fn forward(&self, batch: &Batch) -> Result<Tensor> {
        let rows = [
            self.word.rows(&batch.input_ids),
            self.position.rows(&batch.position_ids),
            self.token_type.rows(&batch.token_type_ids),
        ];
        let tables = [&self.word.weight, &self.position.weight, &self.token_type.weight];
        let rows = rows.each_ref().map(|rows| &rows[..]);
        Ok(match &self.norm {
            EmbeddingNorm::Kernels(norm, instruction_set) => kernels::embed(tables, rows, norm, *instruction_set)?,
            EmbeddingNorm::Tensors(norm) => tensors::embed(tables, rows, norm)?,
        })
    }
}

impl Table {
    /// The rows of this table that hold `ids`.
    fn rows<'a>(&self, ids: &'a [u32]) -> Cow<'a, [u32]> {
        match &self.ids {
            None => Cow::Borrowed(ids),
            // An id that is not there gets an index beyond the last row, which the lookup refuses.
            Some(own) => ids.iter().map(|id| own.binary_search(id).unwrap_or(own.len()) as u32).collect(),
        }
    }
}

/// Loads encoder layer `index` + 1: attention and feed-forward, each followed by residual and LayerNorm.
///
/// The first layer always computes in float32, because its rounding errors pass through all others. On all-MiniLM-L6-v2
/// that takes a sixth off the largest errors, for a sixth of the time at most; nothing else tried came near that.
pub(super) fn load_layer(
    weights: &Weights,
    config: &Config,
    settings: &EncoderSettings,
    index: usize,
) -> Result<Layer> {
    let (hidden, inner) = (config.hidden_size, config.intermediate_size);
    let name = |module: &str| format!("encoder.layer.{index}.{module}");
    let linear = |module: &str, shape: [usize; 2]| linear(weights, &name(module), shape);
    let [query, key, value, ..] = LAYER_MODULES;
    let parameters = LayerParameters {
        query_key_value: [
            linear(query, [hidden, hidden])?,
            linear(key, [hidden, hidden])?,
            linear(value, [hidden, hidden])?,
        ],
        attention_output: linear("attention.output.dense", [hidden, hidden])?,
        attention_norm: layer_norm(weights, config, &name("attention.output.LayerNorm"))?,
        intermediate: linear("intermediate.dense", [inner, hidden])?,
        output: linear("output.dense", [hidden, inner])?,
        output_norm: layer_norm(weights, config, &name("output.LayerNorm"))?,
        heads: config.num_attention_heads,
        activation: config.hidden_act,
    };
    Ok(match &settings.ops {
        Ops::Kernels => {
            let compute = if index == 0 { Compute::F32 } else { settings.compute };
            Layer::Kernels(Box::new(EncoderLayer::load(parameters, compute, settings.instruction_set)?))
        }
        Ops::Tensors(device) => Layer::Tensors(tensors::TensorLayer::load(parameters, device)?),
    })
}

impl Layer {
    /// `hidden_state` (tokens, H) → the layer's output (tokens, H); text `i` is tokens `bounds[i]..bounds[i + 1]`.
    pub(super) fn forward(&self, hidden_state: &Tensor, bounds: &[usize]) -> Result<Tensor> {
        Ok(match self {
            Layer::Kernels(layer) => layer.forward(hidden_state, bounds)?,
            Layer::Tensors(layer) => layer.forward(hidden_state, bounds)?,
        })
    }
}

impl Pooler {
    /// (texts, H) → (texts, H)
    pub(super) fn forward(&self, first_tokens: &Tensor) -> Result<Tensor> {
        Ok(match self {
            Pooler::Kernels(linear) => linear.forward(first_tokens)?,
            Pooler::Tensors(linear) => linear.forward(first_tokens)?,
        })
    }
}

/// Loads `tanh(dense(first token))`, (texts, H) → (texts, H).
pub(super) fn load_pooler(weights: &Weights, config: &Config, settings: &EncoderSettings) -> Result<Pooler> {
    let dense = linear(weights, "pooler.dense", [config.hidden_size, config.hidden_size])?;
    Ok(match &settings.ops {
        Ops::Kernels => Pooler::Kernels(PackedLinear::load(
            dense,
            Some(Activation::Tanh),
            settings.compute,
            settings.instruction_set,
        )?),
        Ops::Tensors(device) => Pooler::Tensors(tensors::TensorLinear::load(dense, Some(Activation::Tanh), device)?),
    })
}

/// The parameters of a linear layer; the weight, (outputs, inputs), is read when it is packed.
fn linear<'a>(weights: &'a Weights, module: &str, shape: [usize; 2]) -> Result<Parameters<'a, Error>> {
    let reader = weights.open(&format!("{module}.weight"), &shape)?;
    Ok(Parameters {
        inputs: shape[1],
        bias: weights.tensor(&format!("{module}.bias"), &shape[..1])?,
        read: Box::new(move |rows, out| reader.rows(rows, out)),
    })
}

fn layer_norm(weights: &Weights, config: &Config, module: &str) -> Result<LayerNorm> {
    let parameter = |name: &str| weights.tensor(&format!("{module}.{name}"), &[config.hidden_size]);
    Ok(LayerNorm::new(parameter("weight")?, parameter("bias")?, config.layer_norm_eps))
}
