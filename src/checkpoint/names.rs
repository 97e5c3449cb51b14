//! Parameter names as data: where a checkpoint keeps what BERT calls `embeddings.word_embeddings.weight`.
//!
//! Checkpoints differ in a prefix (`bert.` beside a task head, none for a bare encoder, `0.auto_model.` from
//! sentence-transformers, `module.` and `_orig_mod.` from wrappers, the keys that a checkpoint is nested under) and, if
//! they are old, in the names of LayerNorm's parameters. Both are read off the list of names before any tensor is
//! touched, so that a missing tensor is reported as missing.

use std::collections::BTreeMap;

/// The first parameter of every BERT; what stands before it in a name is the checkpoint's prefix.
const ANCHOR: &str = "embeddings.word_embeddings.weight";

/// Endings of parameter names from TensorFlow's BERT, with their present names.
const RENAMED_ENDINGS: [(&str, &str); 2] =
    [(".LayerNorm.gamma", ".LayerNorm.weight"), (".LayerNorm.beta", ".LayerNorm.bias")];

/// Parts of names that reveal another architecture that calls itself BERT: (part, architecture).
const OTHER_ARCHITECTURES: [(&str, &str); 4] = [
    ("Wqkv", "one product for queries, keys and values, as in MosaicBERT (DNABERT-2) and NomicBERT"),
    ("gated_layers", "gated feed-forward layers, as in MosaicBERT and jina-bert-v2"),
    ("qkv_proj", "one product for queries, keys and values, as in GTE"),
    ("relative_attention_bias", "relative positions, as in MPNet"),
];

/// Finds BERT's parameters among `names`: canonical name (as in transformers' `BertModel`) → name in the checkpoint.
///
/// # Errors
/// A message when there is no encoder, more than one, or one parameter under two names.
pub(super) fn canonical_names<'a>(
    names: impl IntoIterator<Item = &'a str>,
) -> Result<BTreeMap<String, String>, String> {
    let names: Vec<&str> = names.into_iter().collect();
    let mut prefixes: Vec<&str> = names
        .iter()
        .filter_map(|name| name.strip_suffix(ANCHOR))
        .filter(|prefix| prefix.is_empty() || prefix.ends_with('.'))
        .collect();
    prefixes.sort_unstable();
    let prefix = match prefixes[..] {
        [prefix] => prefix,
        [] => {
            let mut examples: Vec<&str> = names.iter().copied().take(3).collect();
            examples.sort_unstable();
            return Err(format!(
                "holds no BERT encoder: none of its {} tensors is named `{ANCHOR}`, with or without a prefix (it has, for example, {})",
                names.len(),
                if examples.is_empty() { "none".to_owned() } else { format!("`{}`", examples.join("`, `")) }
            ));
        }
        _ => {
            return Err(format!(
                "holds more than one encoder, with the prefixes `{}`; save the one you want by itself",
                prefixes.join("`, `")
            ));
        }
    };

    let of_encoder = || names.iter().filter(|name| name.starts_with(prefix));
    for (part, kind) in OTHER_ARCHITECTURES {
        if let Some(name) = of_encoder().find(|name| name.split('.').any(|own| own == part)) {
            return Err(format!("is another architecture than BERT: it has `{name}` ({kind}); choose another model"));
        }
    }

    let mut canonical = BTreeMap::new();
    for name in names {
        let Some(rest) = name.strip_prefix(prefix) else { continue };
        let ours = RENAMED_ENDINGS
            .iter()
            .find_map(|(old, new)| rest.strip_suffix(old).map(|stem| format!("{stem}{new}")))
            .unwrap_or_else(|| rest.to_owned());
        if let Some(other) = canonical.insert(ours, name.to_owned()) {
            return Err(format!("holds one parameter under two names, `{other}` and `{name}`; remove one of them"));
        }
    }
    Ok(canonical)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefix_and_old_names_are_read_off_the_list() {
        let names = [
            "bert.embeddings.word_embeddings.weight",
            "bert.embeddings.LayerNorm.gamma",
            "bert.embeddings.LayerNorm.beta",
            "bert.embeddings.position_ids",
            "cls.predictions.bias",
        ];
        let canonical = canonical_names(names).unwrap();
        assert_eq!(canonical["embeddings.word_embeddings.weight"], names[0]);
        assert_eq!(canonical["embeddings.LayerNorm.weight"], names[1]);
        assert_eq!(canonical["embeddings.LayerNorm.bias"], names[2]);
        assert!(!canonical.contains_key("cls.predictions.bias"), "a task head is not the encoder's");
    }

    #[test]
    fn prefixes_of_wrappers_are_prefixes() {
        for prefix in ["module.bert.", "_orig_mod.", "_orig_mod.module.bert.", "state_dict.model.module.bert."] {
            let names = [ANCHOR, "embeddings.LayerNorm.weight"].map(|name| format!("{prefix}{name}"));
            let canonical = canonical_names(names.iter().map(String::as_str)).unwrap();
            assert_eq!(canonical[ANCHOR], names[0]);
            assert_eq!(canonical["embeddings.LayerNorm.weight"], names[1]);
        }
    }

    #[test]
    fn no_encoder_two_encoders_and_double_names_are_errors() {
        assert!(canonical_names(["wte.weight"]).unwrap_err().contains("no BERT encoder"));
        assert!(canonical_names(["myembeddings.word_embeddings.weight"]).is_err(), "a prefix ends with a dot");
        let two = ["query.embeddings.word_embeddings.weight", "context.embeddings.word_embeddings.weight"];
        assert!(canonical_names(two).unwrap_err().contains("`context.`, `query.`"));
        let fused = [ANCHOR, "encoder.layer.0.attention.self.Wqkv.weight"];
        assert!(canonical_names(fused).unwrap_err().contains("MosaicBERT"));
        let double = [ANCHOR, "embeddings.LayerNorm.gamma", "embeddings.LayerNorm.weight"];
        assert!(canonical_names(double).unwrap_err().contains("two names"));
    }
}
