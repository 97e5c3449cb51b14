//! `config.json`: the keys that BERT is computed by, checked; keys that ask for another computation are refused.

use std::path::Path;

use serde_json::{Map, Value};

use crate::error::{Error, Result, json_problem};
use crate::spec::Activation;

/// The configuration of a BERT model, under the names of `config.json`.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Rows of the word embedding table.
    pub vocab_size: usize,
    /// Width of a hidden state.
    pub hidden_size: usize,
    /// Number of encoder layers, N.
    pub num_hidden_layers: usize,
    /// Attention heads of a layer; divides `hidden_size`.
    pub num_attention_heads: usize,
    /// Width between the two matrix products of the feed-forward network.
    pub intermediate_size: usize,
    /// Activation of the feed-forward network.
    pub hidden_act: Activation,
    /// Longest text in tokens, special tokens included.
    pub max_position_embeddings: usize,
    /// Rows of the token type embedding table.
    pub type_vocab_size: usize,
    /// LayerNorm's epsilon.
    pub layer_norm_eps: f64,
}

/// Largest size that is accepted. No BERT comes near it; a larger one means a damaged configuration, and refusing it
/// bounds what is allocated before the weights are compared with it.
const LARGEST: usize = 1 << 24;
/// Largest number of layers that is accepted, for the same reason.
const MOST_LAYERS: usize = 1 << 12;

impl Config {
    /// Reads and checks the text of a `config.json`; `path` is for messages.
    ///
    /// # Errors
    /// [`Error::Model`] for content that is not a JSON object, [`Error::Config`] for a key that is missing, out of
    /// range, or asks for a computation that is not supported.
    pub fn parse(text: &[u8], path: &Path) -> Result<Self> {
        Self::parse_with(text, &Map::new(), path)
    }

    /// Like [`Config::parse`], with keys that override those of the file.
    ///
    /// # Errors
    /// Those of [`Config::parse`].
    pub fn parse_with(text: &[u8], before: &Map<String, Value>, path: &Path) -> Result<Self> {
        let value: Value = serde_json::from_slice(text).map_err(|error| {
            let problem = json_problem(&error);
            Error::model(path, format!("is not JSON that can be read: {problem}; the file is damaged or incomplete"))
        })?;
        let Value::Object(mut keys) = value else {
            return Err(Error::model(path, "is not a JSON object, as a model's configuration is"));
        };
        keys.extend(before.clone());
        let keys = Keys { keys: &keys, path };
        keys.refuse_what_is_not_computed()?;

        // Old configurations leave out some keys, which then have the defaults of transformers' `BertConfig`. Sizes
        // have no default here, as a guess would load another model.
        let hidden_act = keys.text("hidden_act")?.unwrap_or("gelu");
        let config = Config {
            vocab_size: keys.size("vocab_size")?,
            hidden_size: keys.size("hidden_size")?,
            num_hidden_layers: keys.size_up_to("num_hidden_layers", MOST_LAYERS)?,
            num_attention_heads: keys.size("num_attention_heads")?,
            intermediate_size: keys.size("intermediate_size")?,
            hidden_act: Activation::from_name(hidden_act).ok_or_else(|| {
                keys.problem(
                    "hidden_act",
                    format!("activation `{hidden_act}` is not known; expected gelu, gelu_python, gelu_new, gelu_pytorch_tanh, relu or tanh"),
                )
            })?,
            max_position_embeddings: keys.size("max_position_embeddings")?,
            type_vocab_size: if keys.get("type_vocab_size").is_some() { keys.size("type_vocab_size")? } else { 2 },
            layer_norm_eps: keys.epsilon("layer_norm_eps")?,
        };
        if !config.hidden_size.is_multiple_of(config.num_attention_heads) {
            return Err(keys.problem(
                "hidden_size",
                format!(
                    "{} is not divisible by num_attention_heads, {}",
                    config.hidden_size, config.num_attention_heads
                ),
            ));
        }
        Ok(config)
    }
}

/// The keys of one file, with its path for messages.
struct Keys<'a> {
    keys: &'a Map<String, Value>,
    path: &'a Path,
}

impl Keys<'_> {
    fn problem(&self, key: &str, problem: impl Into<String>) -> Error {
        Error::Config { path: self.path.to_owned(), key: key.to_owned(), problem: problem.into() }
    }

    /// A key's value; `null` counts as absent, as it does in transformers.
    fn get(&self, key: &str) -> Option<&Value> {
        self.keys.get(key).filter(|value| !value.is_null())
    }

    fn text(&self, key: &str) -> Result<Option<&str>> {
        self.get(key)
            .map(|value| value.as_str().ok_or_else(|| self.problem(key, format!("expected a text, found {value}"))))
            .transpose()
    }

    fn size(&self, key: &str) -> Result<usize> {
        self.size_up_to(key, LARGEST)
    }

    fn size_up_to(&self, key: &str, largest: usize) -> Result<usize> {
        let value = self.get(key).ok_or_else(|| self.problem(key, "is missing; expected a whole number"))?;
        value
            .as_u64()
            .and_then(|size| usize::try_from(size).ok())
            .filter(|size| (1..=largest).contains(size))
            .ok_or_else(|| self.problem(key, format!("expected a whole number from 1 to {largest}, found {value}")))
    }

    fn epsilon(&self, key: &str) -> Result<f64> {
        let Some(value) = self.get(key) else { return Ok(1e-12) };
        value
            .as_f64()
            .filter(|epsilon| epsilon.is_finite() && *epsilon >= 0.0)
            .ok_or_else(|| self.problem(key, format!("expected a number not below 0, found {value}")))
    }

    /// Refuses a model that brings its own code (`auto_map`) in place of BERT's.
    fn refuse_other_code(&self) -> Result<()> {
        if let Some(code) = self.get("auto_map").and_then(|map| map.get("AutoModel")).filter(|code| !code.is_null()) {
            return Err(self.problem(
                "auto_map",
                format!("names code of the model's own as its AutoModel ({code}), which is not run here; use the model in transformers with trust_remote_code=True, or another one"),
            ));
        }
        if let Some(Value::Bool(false)) = self.get("tie_last_hidden_states") {
            return Err(self.problem(
                "tie_last_hidden_states",
                "is false, but only models whose last hidden state is that of the last layer are supported",
            ));
        }
        Ok(())
    }

    fn refuse_what_is_not_computed(&self) -> Result<()> {
        // Configurations of 2018 and 2019 have no model_type; they were all BERT's.
        if let Some(model_type) = self.text("model_type")?.filter(|model_type| *model_type != "bert") {
            return Err(self.problem("model_type", format!("`{model_type}` is not supported; expected `bert`")));
        }
        self.refuse_other_code()?;
        if let Some(kind) = self.text("position_embedding_type")?.filter(|kind| *kind != "absolute") {
            return Err(self.problem(
                "position_embedding_type",
                format!("`{kind}` positions are not supported; expected `absolute`"),
            ));
        }
        // transformers 5 masks later tokens if this is true; version 4 does not know the key.
        match self.get("is_causal") {
            None | Some(Value::Bool(false)) => {}
            Some(value) => {
                return Err(self.problem(
                    "is_causal",
                    format!("is {value}, but only encoders whose tokens see the whole text are supported; set it to false if the model was trained so"),
                ));
            }
        }
        for key in ["is_decoder", "add_cross_attention", "is_encoder_decoder"] {
            match self.get(key) {
                None | Some(Value::Bool(false)) => {}
                Some(value) => {
                    return Err(self.problem(key, format!("is {value}, but only plain encoders are supported")));
                }
            }
        }
        match self.get("pruned_heads") {
            None => {}
            Some(Value::Object(heads)) if heads.is_empty() => {}
            Some(value) => {
                return Err(self.problem("pruned_heads", format!("is {value}, but pruned heads are not supported")));
            }
        }
        if let Some(value) = self.get("quantization_config") {
            let method = value.get("quant_method").and_then(Value::as_str).unwrap_or("unknown");
            return Err(self.problem(
                "quantization_config",
                format!("quantized weights ({method}) are not supported; use the model's float weights"),
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn tiny() -> Value {
        json!({
            "model_type": "bert", "vocab_size": 30, "hidden_size": 12, "num_hidden_layers": 2,
            "num_attention_heads": 3, "intermediate_size": 20, "hidden_act": "gelu",
            "max_position_embeddings": 16, "type_vocab_size": 2
        })
    }

    fn parse(value: &Value) -> Result<Config> {
        Config::parse(value.to_string().as_bytes(), Path::new("config.json"))
    }

    fn with(key: &str, value: Value) -> Value {
        let mut config = tiny();
        config[key] = value;
        config
    }

    #[test]
    fn defaults_are_transformers_own() {
        let config = parse(&tiny()).unwrap();
        assert_eq!(config.layer_norm_eps, 1e-12);
        let mut without = tiny();
        without.as_object_mut().unwrap().remove("model_type");
        without.as_object_mut().unwrap().remove("hidden_act");
        assert_eq!(parse(&without).unwrap().hidden_act, Activation::Gelu);
    }

    #[test]
    fn what_is_not_computed_is_refused_by_name() {
        for (key, value, named) in [
            ("model_type", json!("roberta"), "roberta"),
            ("hidden_act", json!("mish"), "mish"),
            ("position_embedding_type", json!("relative_key"), "relative_key"),
            ("is_decoder", json!(true), "is_decoder"),
            ("add_cross_attention", json!(true), "add_cross_attention"),
            ("pruned_heads", json!({"0": [1]}), "pruned_heads"),
            ("quantization_config", json!({"quant_method": "gptq"}), "gptq"),
            ("hidden_size", json!(13), "not divisible"),
            ("hidden_size", json!(0), "from 1 to"),
            ("hidden_size", json!(-4), "-4"),
            ("hidden_size", json!(1u64 << 60), "from 1 to"),
            ("num_hidden_layers", json!("2"), "num_hidden_layers"),
            ("num_hidden_layers", json!(16_777_216), "from 1 to 4096"),
            ("num_attention_heads", json!(null), "num_attention_heads"),
            ("layer_norm_eps", json!(-1.0), "layer_norm_eps"),
        ] {
            let message = parse(&with(key, value)).unwrap_err().to_string();
            assert!(message.contains(named), "{key}: {message}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Config::parse(&bytes, Path::new("config.json"));
        }
    }
}
