//! Another implementation by other people: the last layer of the golden models by candle-transformers' own BertModel.

#![cfg(test)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::bert::{BertModel, Config as CandleConfig};
use layerwise::batch::{Batch, Tokens};
use layerwise::checkpoint::{Checkpoint, ModelLocation};
use layerwise::encoder::{Encoder, EncoderSettings, Ops};
use layerwise::input::Text;
use layerwise::kernels::InstructionSet;
use layerwise::spec::{Activation, Compute};
use layerwise::tokens::Tokenizer;
use serde_json::Value;

fn directory(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../golden").join(name)
}

fn json(name: &str, file: &str) -> Value {
    serde_json::from_slice(&std::fs::read(directory(name).join(file)).unwrap()).unwrap()
}

/// The texts of a golden model, tokenized, and the last layer of each, run as one batch.
fn ours(name: &str) -> (Activation, Vec<Tokens>, Vec<Vec<f32>>) {
    let directory = directory(name);
    let checkpoint = Checkpoint::find(&ModelLocation::local(directory.to_str().unwrap())).unwrap();
    let config = checkpoint.config().unwrap();
    let weights = checkpoint.weights(config.family).unwrap();
    let deepest = config.num_hidden_layers;
    let compute = Compute::F32;
    let instruction_set = InstructionSet::from_env(compute).unwrap();
    let settings = EncoderSettings { compute, ops: Ops::Kernels, instruction_set };
    let encoder = Encoder::new(Arc::new(weights), config.clone(), settings);
    let tokenizer = Tokenizer::load(&checkpoint, config.vocab_size, config.longest_text).unwrap();
    let golden = json(name, "golden.json");
    let texts = golden["texts"].as_array().unwrap().iter().filter(|text| text["words"].is_null());
    let raw = |text: &Value| Text { text: text.as_str().unwrap().to_owned(), words: None };
    let texts: Vec<Tokens> = texts
        .map(|text| {
            let pair = Some(&text["pair"]).filter(|pair| !pair.is_null()).map(raw);
            tokenizer.encode(0, &raw(&text["text"]), pair.as_ref()).unwrap().tokens
        })
        .collect();
    let mut batch = Batch::new();
    texts.iter().for_each(|text| batch.push(text));
    let mut last = Vec::new();
    let take = |layer: usize, hidden: &[f32]| {
        if layer == deepest {
            let bounds = batch.bounds.windows(2).map(|pair| pair[0] * config.hidden_size..pair[1] * config.hidden_size);
            last = bounds.map(|bounds| hidden[bounds].to_vec()).collect();
        }
        Ok(())
    };
    encoder.visit_hidden_states(&batch, deepest, take).unwrap();
    (config.hidden_act, texts, last)
}

#[test]
fn the_last_layer_is_that_of_candle_transformers() {
    for (name, prefix) in [("width1", "bert"), ("width32", ""), ("width64", "")] {
        let (activation, texts, last) = ours(name);
        assert!(texts.len() >= 3, "{name}");
        let mut config = json(name, "config.json");
        // What it has no defaults for.
        let defaults: [(&str, Value); 5] = [
            ("layer_norm_eps", 1e-12.into()),
            ("type_vocab_size", 2.into()),
            ("hidden_dropout_prob", 0.into()),
            ("initializer_range", 0.into()),
            ("pad_token_id", 0.into()),
        ];
        for (key, default) in defaults {
            if config.get(key).is_none_or(Value::is_null) {
                config[key] = default;
            }
        }
        if activation == Activation::GeluTanh {
            config["hidden_act"] = "geluapproximate".into(); // its name for the tanh form
        }
        let config: CandleConfig = serde_json::from_value(config).unwrap();
        let weights = std::fs::read(directory(name).join("model.safetensors")).unwrap();
        let vars = VarBuilder::from_buffered_safetensors(weights, DType::F32, &Device::Cpu).unwrap();
        let vars = if prefix.is_empty() { vars } else { vars.pp(prefix) };
        let bert = BertModel::load(vars, &config).unwrap();
        for (text, (tokens, ours)) in texts.iter().zip(&last).enumerate() {
            let tensor = |ids: &[u32]| Tensor::new(ids, &Device::Cpu).unwrap().unsqueeze(0).unwrap();
            let theirs = bert.forward(&tensor(&tokens.input_ids), &tensor(&tokens.token_type_ids), None).unwrap();
            let theirs: Vec<f32> = theirs.flatten_all().unwrap().to_vec1().unwrap();
            assert_eq!(ours.len(), theirs.len());
            let difference = ours.iter().zip(&theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(difference < 2e-5, "{name}, text {text}: {difference:e}");
        }
    }
}
