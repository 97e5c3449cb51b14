//! Which of a repository's files make the model.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::names::is_file_name;
use crate::checkpoint::modules::{DEFAULTS, TRANSFORMER_SETTINGS};
use crate::error::json_problem;

const CONFIG: &str = "config.json";
const WEIGHTS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
const PICKLE: &str = "pytorch_model.bin";
/// Either of them makes a tokenizer.
const TOKENIZERS: [&str; 2] = [JSON, "vocab.txt"];
const JSON: &str = "tokenizer.json";
/// Each of these groups makes one too, where there is no tokenizer.json.
const WITHOUT_JSON: [&[&str]; 4] =
    [&["vocab.json", "merges.txt"], &["sentencepiece.bpe.model"], &["spiece.model"], &["spm.model"]];
/// What else changes a model's meaning, beside the weights and the settings of sentence models: the tokenizer's settings.
const EXTRAS: [&str; 4] =
    ["tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "adapter_config.json"];
/// What sentence models have in the folder of the model as a whole.
const OF_SENTENCES: [&str; 2] = ["modules.json", DEFAULTS];
/// What the folder of a module of a sentence model has.
const OF_MODULES: [&str; 3] = [CONFIG, WEIGHTS, PICKLE];
/// Files of weights in the formats of other programs, to tell the user what a repository has instead.
const OTHER_WEIGHTS: [&str; 12] =
    [".safetensors", ".bin", ".index.json", ".h5", ".onnx", ".msgpack", ".pt", ".pth", ".ckpt", ".ot", ".gguf", ".pb"];
/// So many names are listed in an error before "and N more".
const LISTED: usize = 8;

/// The files to fetch.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct FileChoice {
    /// All but the weights.
    pub(super) small: Vec<String>,
    pub(super) weights: ListedWeights,
}

/// How the weights are stored.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ListedWeights {
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
pub(super) fn choose(files: &[String]) -> Result<FileChoice, Lack> {
    let has = |name: &str| files.iter().any(|file| file == name);
    if !has(CONFIG) {
        return Err(Lack::Config);
    }
    // Sentence models of before 2021 have the encoder and its tokenizer in a folder, beside a config.json of another kind.
    let folder = files.iter().find_map(|file| {
        let folder = module_folder(file).filter(|folder| folder.ends_with("_Transformer"))?;
        (has("modules.json") && *file == format!("{folder}/{CONFIG}")).then(|| format!("{folder}/"))
    });
    let of_encoder = |name: &str| format!("{}{name}", folder.as_deref().unwrap_or_default());
    let has_of_encoder = |name: &str| has(&of_encoder(name));
    let weights = if has_of_encoder(WEIGHTS) {
        ListedWeights::Whole(of_encoder(WEIGHTS))
    } else if has_of_encoder(INDEX) {
        ListedWeights::Sharded(of_encoder(INDEX))
    } else if has_of_encoder(PICKLE) {
        ListedWeights::Whole(of_encoder(PICKLE))
    } else {
        let is_weights = |file: &&String| OTHER_WEIGHTS.iter().any(|ending| file.ends_with(ending));
        return Err(Lack::Weights { others: files.iter().filter(is_weights).cloned().collect() });
    };
    let whole_groups = WITHOUT_JSON.iter().filter(|group| group.iter().all(|name| has_of_encoder(name)));
    let whole_groups: Vec<&str> = whole_groups.filter(|_| !has_of_encoder(JSON)).copied().flatten().copied().collect();
    if whole_groups.is_empty() && !TOKENIZERS.iter().any(|name| has_of_encoder(name)) {
        return Err(Lack::Tokenizer);
    }
    let of_tokenizer = TOKENIZERS.into_iter().chain(whole_groups).chain(EXTRAS);
    let of_encoder = [CONFIG].into_iter().chain(of_tokenizer).chain(TRANSFORMER_SETTINGS).map(of_encoder);
    let fixed = [CONFIG].into_iter().chain(OF_SENTENCES).map(str::to_owned).chain(of_encoder);
    let mut small: Vec<String> = Vec::new();
    for name in fixed.filter(|name| has(name)) {
        if !small.contains(&name) {
            small.push(name);
        }
    }
    if has("modules.json") {
        let folders: BTreeSet<&str> = files.iter().filter_map(|file| module_folder(file)).collect();
        let folders = folders.into_iter().filter(|name| folder.as_deref() != Some(&format!("{name}/")));
        small.extend(folders.flat_map(|folder| of_module(files, folder)));
    }
    Ok(FileChoice { small, weights })
}

/// The folder of a file that a module of a sentence model needs, by the names that sentence-transformers gives such
/// folders: `1_Pooling`, with any number.
pub(super) fn module_folder(file: &str) -> Option<&str> {
    let (folder, name) = file.split_once('/')?;
    let (number, class) = folder.split_once('_')?;
    let is_number = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    (is_number && !class.is_empty() && !name.contains('/')).then_some(folder)
}

/// The files of a module in its folder: its settings, and its weights in one format.
pub(super) fn of_module(files: &[String], folder: &str) -> Vec<String> {
    let has = |name: &str| files.iter().any(|file| *file == format!("{folder}/{name}"));
    let names = OF_MODULES.into_iter().filter(|name| has(name) && !(*name == PICKLE && has(WEIGHTS)));
    names.map(|name| format!("{folder}/{name}")).collect()
}

/// The folders of the modules that a `modules.json` names, but for that of the model itself.
pub(super) fn folders_named(modules: &[u8]) -> Vec<String> {
    #[derive(Deserialize)]
    struct ListedModule {
        #[serde(default)]
        path: String,
    }
    let modules: Vec<ListedModule> = serde_json::from_slice(modules).unwrap_or_default(); // whoever reads it says what is wrong
    modules.into_iter().map(|module| module.path).filter(|path| is_file_name(path)).collect()
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
    let index: Index = serde_json::from_slice(index).map_err(|error| json_problem(&error))?;
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
            Lack::Tokenizer => "has no tokenizer that can be read: expected tokenizer.json or vocab.txt, vocab.json with \
                                merges.txt, or a model of SentencePiece; save it with the tokenizers library, or choose another model or --revision"
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
            "2_Dense/pytorch_model.bin",
            "2_Dense/model.safetensors",
            "x_Pooling/config.json",
            "data/1_Pooling/config.json",
        ]);
        let choice = choose(&files).expect("a model");
        let small = names(&[
            "config.json",
            "modules.json",
            "tokenizer.json",
            "vocab.txt",
            "1_Pooling/config.json",
            "2_Dense/config.json",
            "2_Dense/model.safetensors",
        ]);
        assert_eq!(choice, FileChoice { small, weights: ListedWeights::Whole("model.safetensors".to_owned()) });
    }

    #[test]
    fn other_tokenizers_are_chosen_where_there_is_no_tokenizer_json() {
        let small = |extra: &[&str]| {
            choose(&names(&[&["config.json", "model.safetensors"], extra].concat())).map(|choice| choice.small)
        };
        for files in
            [&["vocab.json", "merges.txt"][..], &["sentencepiece.bpe.model"], &["spiece.model"], &["spm.model"]]
        {
            assert_eq!(small(files), Ok(names(&[&["config.json"], files].concat())));
            let beside_json = [&["tokenizer.json"], files].concat();
            assert_eq!(small(&beside_json), Ok(names(&["config.json", "tokenizer.json"])));
        }
        assert_eq!(small(&["vocab.json"]), Err(Lack::Tokenizer), "merges.txt is a part of it");
    }

    #[test]
    fn an_encoder_in_a_folder_of_its_own_is_taken_from_there() {
        let files = names(&[
            "config.json",
            "modules.json",
            "0_Transformer/config.json",
            "0_Transformer/pytorch_model.bin",
            "0_Transformer/vocab.txt",
            "0_Transformer/sentence_bert_config.json",
            "1_Pooling/config.json",
        ]);
        let choice = choose(&files).expect("a model");
        assert_eq!(choice.weights, ListedWeights::Whole("0_Transformer/pytorch_model.bin".to_owned()));
        for file in &files {
            assert!(choice.small.contains(file) != file.ends_with(".bin"), "{file}");
        }
        assert_eq!(folders_named(br#"[{"path": ""}, {"path": "1_Pooling"}, {"path": "../x"}]"#), ["1_Pooling"]);
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
