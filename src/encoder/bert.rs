//! The parts of BERT: embeddings, layers and pooler, and the parameters of each. H is `hidden_size`, I is
//! `intermediate_size`.

use std::borrow::Cow;

use super::backend::Backend;
use crate::batch::Batch;
use crate::checkpoint::config::Config;
use crate::checkpoint::weights::Weights;
use crate::error::{Error, Result};
use crate::kernels::{LayerNorm, LayerParameters, Parameters};
use crate::spec::Activation;

/// The pooler's weight; a checkpoint without it has no pooler.
pub(super) const POOLER_WEIGHT: &str = "pooler.dense.weight";

/// What the pooler does with the output of its linear layer.
pub(super) const POOLER_ACTIVATION: Activation = Activation::Tanh;

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
pub(super) struct EmbeddingTables<B: Backend> {
    word: Table<B>,
    position: Table<B>,
    token_type: Table<B>,
    norm: B::Norm,
}

/// An embedding table, whole or with only the rows that a batch needs.
struct Table<B: Backend> {
    weight: B::Table,
    /// The ids of the rows, ascending; `None` for all rows.
    ids: Option<Vec<u32>>,
}

impl<B: Backend> EmbeddingTables<B> {
    /// Loads the tables. If a batch is given, only its rows of the word embeddings are read.
    pub(super) fn load(backend: &B, weights: &Weights, config: &Config, batch: Option<&Batch>) -> Result<Self> {
        let table = |name: &str, rows: usize, ids: Option<&[u32]>| -> Result<Table<B>> {
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
            Ok(Table { weight: backend.table(values, config.hidden_size)?, ids })
        };
        let word_ids = batch.map(|batch| &batch.input_ids[..]);
        Ok(Self {
            word: table("word", config.vocab_size, word_ids)?,
            position: table("position", config.max_position_embeddings, None)?,
            token_type: table("token_type", config.type_vocab_size, None)?,
            norm: backend.norm(layer_norm(weights, config, "embeddings.LayerNorm")?)?,
        })
    }

    /// The embedding output, (tokens, H).
    pub(super) fn forward(&self, backend: &B, batch: &Batch) -> Result<B::HiddenState> {
        let rows = [
            self.word.rows(&batch.input_ids),
            self.position.rows(&batch.position_ids),
            self.token_type.rows(&batch.token_type_ids),
        ];
        let tables = [&self.word.weight, &self.position.weight, &self.token_type.weight];
        backend.embed(tables, rows.each_ref().map(|rows| &rows[..]), &self.norm)
    }
}

impl<B: Backend> Table<B> {
    /// The rows of this table that hold `ids`.
    fn rows<'a>(&self, ids: &'a [u32]) -> Cow<'a, [u32]> {
        match &self.ids {
            None => Cow::Borrowed(ids),
            // An id that is not there gets an index beyond the last row, which the lookup refuses.
            Some(own) => ids.iter().map(|id| own.binary_search(id).unwrap_or(own.len()) as u32).collect(),
        }
    }
}

/// The first parameter of encoder layer `index` + 1.
pub(super) fn first_weight_of(index: usize) -> String {
    format!("encoder.layer.{index}.{}.weight", LAYER_MODULES[0])
}

/// The parameters of encoder layer `index` + 1: attention and feed-forward, each followed by residual and LayerNorm.
pub(super) fn layer_parameters<'a>(
    weights: &'a Weights,
    config: &Config,
    index: usize,
) -> Result<LayerParameters<'a, Error>> {
    let (hidden, inner) = (config.hidden_size, config.intermediate_size);
    let name = |module: &str| format!("encoder.layer.{index}.{module}");
    let linear = |module: &str, shape: [usize; 2]| linear(weights, &name(module), shape);
    let [query, key, value, ..] = LAYER_MODULES;
    Ok(LayerParameters {
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
    })
}

/// The parameters of the pooler's linear layer, (texts, H) → (texts, H), to which [`POOLER_ACTIVATION`] belongs.
pub(super) fn pooler_parameters<'a>(weights: &'a Weights, config: &Config) -> Result<Parameters<'a, Error>> {
    linear(weights, "pooler.dense", [config.hidden_size, config.hidden_size])
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
