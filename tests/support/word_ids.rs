//! A tokenizer for the golden families, whose words are token ids.

use serde_json::{Map, Value, json};

/// Its files, by name.
pub(crate) fn tokenizer() -> [(&'static str, String); 2] {
    let words: Map<String, Value> = (0..61).map(|id| (id.to_string(), json!(id))).collect();
    let tokenizer = json!({
        "version": "1.0", "added_tokens": [], "normalizer": null, "pre_tokenizer": {"type": "WhitespaceSplit"},
        "post_processor": null, "decoder": null, "model": {"type": "WordLevel", "vocab": words, "unk_token": "60"}
    });
    let class = r#"{"tokenizer_class": "PreTrainedTokenizerFast"}"#;
    [("tokenizer.json", tokenizer.to_string()), ("tokenizer_config.json", class.to_owned())]
}
