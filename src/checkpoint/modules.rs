//! The parts of a sentence-transformers model: the files with its settings, and the entries of `modules.json`.

use serde::Deserialize;

/// The settings of the model as a whole.
pub const DEFAULTS: &str = "config_sentence_transformers.json";

/// The settings of the Transformer module under all names that they have had; the first file with content counts.
pub const TRANSFORMER_SETTINGS: [&str; 7] = [
    "sentence_bert_config.json",
    "sentence_roberta_config.json",
    "sentence_distilbert_config.json",
    "sentence_camembert_config.json",
    "sentence_albert_config.json",
    "sentence_xlm-roberta_config.json",
    "sentence_xlnet_config.json",
];

/// An entry of sentence-transformers' `modules.json`.
#[derive(Debug, Clone, Deserialize)]
pub struct Module {
    /// Its folder, relative to the model's; empty for that of the model itself.
    #[serde(default)]
    pub path: String,
    /// The Python class, such as `sentence_transformers.models.Pooling`.
    #[serde(rename = "type")]
    pub class: String,
}

/// The folder of the Transformer module, if it is not that of the model itself.
pub(super) fn encoder_folder(modules: &[Module]) -> Option<&str> {
    let first = modules.first().filter(|module| module.class.rsplit('.').next() == Some("Transformer"))?;
    Some(first.path.as_str()).filter(|path| !path.is_empty())
}
