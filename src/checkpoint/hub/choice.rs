//! Which of a repository's files make the model.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::names::is_file_name;

const CONFIG: &str = "config.json";
const WEIGHTS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
const PICKLE: &str = "pytorch_model.bin";
/// Either of them makes a tokenizer.
const TOKENIZERS: [&str; 2] = ["tokenizer.json", "vocab.txt"];
/// What else changes a model's meaning: the tokenizer's settings, and how a sentence model pools.
const EXTRAS: [&str; 5] = [
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "modules.json",
    "sentence_bert_config.json",
];
/// Files of weights in the formats of other programs, to tell the user what a repository has instead.
const OTHER_WEIGHTS: [&str; 12] =
    [".safetensors", ".bin", ".index.json", ".h5", ".onnx", ".msgpack", ".pt", ".pth", ".ckpt", ".ot", ".gguf", ".pb"];
/// So many names are listed in an error before "and N more".
const LISTED: usize = 8;

/// The files to fetch.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Choice {
    /// All but the weights.
    pub(super) small: Vec<String>,
    pub(super) weights: Weights,
}

/// How the weights are stored.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Weights {
    /// In one file.
    Whole(String),
    /// In several, named by this index.
    Sharded(String),
}

/// What a repository lacks to be a model.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Lack {
    Config,
    Tokenizer,
    Weights {
        /// Weights that are there, in formats that cannot be read.
        others: Vec<String>,
    },
}

/// Chooses among a repository's `files`: only what the model needs, and safetensors before pickles.
///
/// # Errors
/// The first thing lacking.
pub(super) fn choose(files: &[String]) -> Result<Choice, Lack> {
    let has = |name: &str| files.iter().any(|file| file == name);
    if !has(CONFIG) {
        return Err(Lack::Config);
    }
    let weights = if has(WEIGHTS) {
        Weights::Whole(WEIGHTS.to_owned())
    } else if has(INDEX) {
        Weights::Sharded(INDEX.to_owned())
    } else if has(PICKLE) {
        Weights::Whole(PICKLE.to_owned())
    } else {
        let is_weights = |file: &&String| OTHER_WEIGHTS.iter().any(|ending| file.ends_with(ending));
        return Err(Lack::Weights { others: files.iter().filter(is_weights).cloned().collect() });
    };
    if !TOKENIZERS.iter().any(|name| has(name)) {
        return Err(Lack::Tokenizer);
    }
    let fixed = [CONFIG].into_iter().chain(TOKENIZERS).chain(EXTRAS).filter(|name| has(name)).map(str::to_owned);
    let pooling = files.iter().filter(|file| is_pooling_config(file)).cloned();
    Ok(Choice { small: fixed.chain(pooling).collect(), weights })
}

/// `1_Pooling/config.json`, with any number: where sentence-transformers keeps how a model pools.
pub(super) fn is_pooling_config(file: &str) -> bool {
    let number = file.strip_suffix("_Pooling/config.json");
    number.is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
}

/// The safetensors files that an index's `weight_map` names, each once, in order.
///
/// # Errors
/// A description of what is wrong with the index.
pub(super) fn shards(index: &[u8]) -> Result<Vec<String>, String> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let index: Index = serde_json::from_slice(index).map_err(|error| error.to_string())?;
    let files: BTreeSet<String> = index.weight_map.into_values().collect();
    match files.iter().find(|file| !is_file_name(file) || !file.ends_with(".safetensors")) {
        Some(odd) => Err(format!("it names {odd:?}, expected safetensors files beside it")),
        None if files.is_empty() => Err("its weight_map is empty".to_owned()),
        None => Ok(files.into_iter().collect()),
    }
}

impl Lack {
    /// What to tell about a repository on the hub, following its id.
    pub(super) fn in_repository(&self) -> String {
        match self {
            Lack::Config => "has no config.json: expected a BERT model in the layout of the transformers library; \
                             choose another model or --revision"
                .to_owned(),
            Lack::Tokenizer => "has no tokenizer that can be read: expected tokenizer.json or vocab.txt; save it with \
                                the tokenizers library, or choose another model or --revision"
                .to_owned(),
            Lack::Weights { others } => {
                let instead = if others.is_empty() { "and none of another kind".to_owned() } else { list(others) };
                format!(
                    "has no weights that can be read: expected {WEIGHTS} (whole or in shards with an index) or {PICKLE}, \
                     found {instead}; convert them with the transformers library's save_pretrained, or choose another \
                     model or --revision"
                )
            }
        }
    }

    /// What to tell about a snapshot that may be there in part.
    pub(super) fn in_cache(&self) -> &'static str {
        match self {
            Lack::Config => "config.json is",
            Lack::Tokenizer => "a tokenizer (tokenizer.json or vocab.txt) is",
            Lack::Weights { .. } => "the weights (model.safetensors, its shards and index, or pytorch_model.bin) are",
        }
    }
}

fn list(names: &[String]) -> String {
    let shown = names.iter().take(LISTED).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(LISTED) {
        0 => format!("only {shown}"),
        more => format!("only {shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(files: &[&str]) -> Vec<String> {
        files.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn only_what_the_model_needs_is_chosen() {
        let files = names(&[
            ".gitattributes",
            "README.md",
            "config.json",
            "model.safetensors",
            "pytorch_model.bin",
            "tf_model.h5",
            "onnx/model.onnx",
            "tokenizer.json",
            "vocab.txt",
            "modules.json",
            "1_Pooling/config.json",
            "2_Dense/config.json",
            "x_Pooling/config.json",
            "data/1_Pooling/config.json",
        ]);
        let choice = choose(&files).expect("a model");
        let small = names(&["config.json", "tokenizer.json", "vocab.txt", "modules.json", "1_Pooling/config.json"]);
        assert_eq!(choice, Choice { small, weights: Weights::Whole("model.safetensors".to_owned()) });
    }

    #[test]
    fn a_lack_of_weights_names_what_there_is() {
        let with = |extra: &[&str]| choose(&names(&[&["config.json", "vocab.txt"], extra].concat()));
        let lack = with(&["tf_model.h5", "onnx/model.onnx", "pytorch_model.bin.index.json"]).expect_err("no weights");
        let text = lack.in_repository();
        assert!(text.contains("only tf_model.h5, onnx/model.onnx, pytorch_model.bin.index.json"), "{text}");
        assert!(with(&[]).expect_err("no weights").in_repository().contains("none of another kind"));
        assert_eq!(choose(&names(&["config.json", "model.safetensors"])), Err(Lack::Tokenizer));
        assert_eq!(choose(&names(&["vocab.txt", "model.safetensors"])), Err(Lack::Config));
    }

    #[test]
    fn an_index_cannot_lead_out_of_the_folder() {
        let index = |file: &str| serde_json::json!({"weight_map": {"a": file, "b": "m-1.safetensors"}}).to_string();
        assert_eq!(shards(index("m-1.safetensors").as_bytes()), Ok(names(&["m-1.safetensors"])));
        for file in ["../m.safetensors", "/m.safetensors", "a\\..\\m.safetensors", "config.json", ""] {
            assert!(shards(index(file).as_bytes()).is_err(), "{file}");
        }
        for index in ["{}", "[]", "{\"weight_map\": {}}", "not JSON"] {
            assert!(shards(index.as_bytes()).is_err(), "{index}");
        }
    }
}
