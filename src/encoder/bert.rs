//! BERT's own parts: embeddings, a layer, the pooler. H is `hidden_size`, I `intermediate_size`.

use candle_core::{Device, Tensor};

use crate::batch::Batch;
use crate::checkpoint::config::Config;
use crate::checkpoint::weights::Weights;
use crate::error::Result;
use crate::kernels::{self, LayerNorm, Linear};
use crate::spec::Activation;

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

/// Word, position and token type embeddings, summed and normed: layer 0.
pub(super) struct Embeddings {
    word: Tensor,       // (vocab_size, H)
    position: Tensor,   // (max_position_embeddings, H)
    token_type: Tensor, // (type_vocab_size, H)
    norm: LayerNorm,
}

impl Embeddings {
    pub(super) fn load(weights: &Weights, config: &Config) -> Result<Self> {
        let table = |name: &str, rows: usize| -> Result<Tensor> {
            let shape = [rows, config.hidden_size];
            let values = weights.tensor(&format!("embeddings.{name}_embeddings.weight"), &shape)?;
            Ok(Tensor::from_vec(values, &shape[..], &Device::Cpu)?)
        };
        Ok(Self {
            word: table("word", config.vocab_size)?,
            position: table("position", config.max_position_embeddings)?,
            token_type: table("token_type", config.type_vocab_size)?,
            norm: layer_norm(weights, config, "embeddings.LayerNorm")?,
        })
    }

    /// (tokens, H)
    pub(super) fn forward(&self, batch: &Batch) -> Result<Tensor> {
        let tables = [
            (&self.word, &batch.input_ids[..]),
            (&self.position, &batch.position_ids[..]),
            (&self.token_type, &batch.token_type_ids[..]),
        ];
        Ok(kernels::embed(tables, &self.norm)?)
    }
}

/// One encoder layer: attention and feed-forward, each followed by residual and LayerNorm.
pub(super) struct Layer {
    query_key_value: Linear,  // (H, 3 H)
    attention_output: Linear, // (H, H)
    attention_norm: LayerNorm,
    intermediate: Linear, // (H, I), with the activation
    output: Linear,       // (I, H)
    output_norm: LayerNorm,
    heads: usize,
}

impl Layer {
    pub(super) fn load(weights: &Weights, config: &Config, index: usize) -> Result<Self> {
        let (hidden, inner) = (config.hidden_size, config.intermediate_size);
        let name = |module: &str| format!("encoder.layer.{index}.{module}");
        let dense = |module: &str, inputs: usize, outputs: usize, activation: Option<Activation>| -> Result<Linear> {
            let (weight, bias) = weight_and_bias(weights, &name(module), &[outputs, inputs])?;
            Ok(Linear::new(&weight, bias, activation))
        };
        // One product for all three: the input is read once.
        let (mut stacked_weight, mut stacked_bias) = (Vec::new(), Vec::new());
        for module in &LAYER_MODULES[..3] {
            let (weight, bias) = weight_and_bias(weights, &name(module), &[hidden, hidden])?;
            stacked_weight.extend(weight);
            stacked_bias.extend(bias);
        }
        Ok(Self {
            query_key_value: Linear::new(&stacked_weight, stacked_bias, None),
            attention_output: dense("attention.output.dense", hidden, hidden, None)?,
            attention_norm: layer_norm(weights, config, &name("attention.output.LayerNorm"))?,
            intermediate: dense("intermediate.dense", hidden, inner, Some(config.hidden_act))?,
            output: dense("output.dense", inner, hidden, None)?,
            output_norm: layer_norm(weights, config, &name("output.LayerNorm"))?,
            heads: config.num_attention_heads,
        })
    }

    /// (tokens, H) → (tokens, H)
    pub(super) fn forward(&self, hidden_state: &Tensor, batch: &Batch) -> Result<Tensor> {
        let query_key_value = self.query_key_value.forward(hidden_state)?; // (tokens, 3 H)
        let context = kernels::attention(&query_key_value, &batch.bounds, self.heads)?; // (tokens, H)
        let attended = self.attention_norm.forward(&self.attention_output.forward(&context)?, hidden_state)?;
        let intermediate = self.intermediate.forward(&attended)?; // (tokens, I)
        Ok(self.output_norm.forward(&self.output.forward(&intermediate)?, &attended)?)
    }
}

/// `tanh(dense(first token))`.
pub(super) struct Pooler {
    dense: Linear, // (H, H)
}

impl Pooler {
    pub(super) fn load(weights: &Weights, config: &Config) -> Result<Self> {
        let (weight, bias) = weight_and_bias(weights, "pooler.dense", &[config.hidden_size, config.hidden_size])?;
        Ok(Self { dense: Linear::new(&weight, bias, Some(Activation::Tanh)) })
    }

    /// (texts, H) → (texts, H)
    pub(super) fn forward(&self, first_tokens: &Tensor) -> Result<Tensor> {
        Ok(self.dense.forward(first_tokens)?)
    }
}

fn weight_and_bias(weights: &Weights, module: &str, shape: &[usize]) -> Result<(Vec<f32>, Vec<f32>)> {
    let weight = weights.tensor(&format!("{module}.weight"), shape)?;
    let bias = weights.tensor(&format!("{module}.bias"), &shape[..1])?;
    Ok((weight, bias))
}

fn layer_norm(weights: &Weights, config: &Config, module: &str) -> Result<LayerNorm> {
    let (weight, bias) = weight_and_bias(weights, module, &[config.hidden_size])?;
    Ok(LayerNorm::new(weight, bias, config.layer_norm_eps))
}
