//! Parameter names as data: where a checkpoint keeps what its family's layout calls `embeddings.word_embeddings.weight`.
//!
//! Checkpoints differ in a prefix (`bert.` beside a task head, none for a bare encoder, `0.auto_model.` from
//! sentence-transformers, `module.` and `_orig_mod.` from wrappers, the keys that a checkpoint is nested under), in the layout
//! of their names, and, if they are old, in the names of LayerNorm's parameters. All are read off the list of names before any
//! tensor is touched, so that a missing tensor is reported as missing.

use std::collections::BTreeMap;

use crate::family::{Family, FeedForwardNames, ParameterLayout, ProjectionNames};

/// Endings of parameter names from TensorFlow's BERT, with their present names.
const RENAMED_ENDINGS: [(&str, &str); 2] =
    [("LayerNorm.gamma", "LayerNorm.weight"), ("LayerNorm.beta", "LayerNorm.bias")];

/// The parameters of an encoder: in which layout, and canonical name (that of the layout, below the prefix) → name in the
/// checkpoint.
#[derive(Debug)]
pub(super) struct CanonicalNames {
    pub(super) layout: &'static ParameterLayout,
    pub(super) names: BTreeMap<String, String>,
}

/// Finds the parameters of a family among `names`.
///
/// # Errors
/// A message when there is no encoder, more than one, one of another architecture, or one parameter under two names.
pub(super) fn canonical_names<'a>(
    names: impl IntoIterator<Item = &'a str>,
    family: &'static Family,
) -> Result<CanonicalNames, String> {
    let names: Vec<&str> = names.into_iter().collect();
    let anchor = format!("{}.weight", family.layouts[0].word_embeddings);
    let mut prefixes: Vec<&str> = names
        .iter()
        .filter_map(|name| name.strip_suffix(anchor.as_str()))
        .filter(|prefix| prefix.is_empty() || prefix.ends_with('.'))
        .collect();
    prefixes.sort_unstable();
    let prefix = match prefixes[..] {
        [prefix] => prefix,
        [] => {
            let mut examples: Vec<&str> = names.iter().copied().take(3).collect();
            examples.sort_unstable();
            return Err(format!(
                "holds no encoder of the family `{}`: none of its {} tensors is named `{anchor}`, with or without a prefix (it has, for example, {})",
                family.name(),
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

    let mut canonical = BTreeMap::new();
    for name in names {
        let Some(rest) = name.strip_prefix(prefix) else { continue };
        let ours = RENAMED_ENDINGS
            .iter()
            .find_map(|(old, new)| {
                let stem = rest.strip_suffix(old)?;
                (stem.is_empty() || stem.ends_with('.')).then(|| format!("{stem}{new}"))
            })
            .unwrap_or_else(|| rest.to_owned());
        if let Some(other) = canonical.insert(ours, name.to_owned()) {
            return Err(format!("holds one parameter under two names, `{other}` and `{name}`; remove one of them"));
        }
    }
    let layout = family.layouts.iter().find(|layout| canonical.contains_key(layout.marker));
    let layout = layout.unwrap_or(&family.layouts[0]);
    if let Some(name) = foreign_parameter(&canonical, layout) {
        return Err(format!(
            "is another architecture than `{}`: it has `{name}`, which that family does not have; choose another model",
            family.name()
        ));
    }
    Ok(CanonicalNames { layout, names: canonical })
}

/// A parameter of the embeddings or a layer that the layout does not have: what it does would be left out silently.
fn foreign_parameter<'a>(names: &'a BTreeMap<String, String>, layout: &ParameterLayout) -> Option<&'a str> {
    let (before, after) = layout.layer.split_once("{}").unwrap_or((layout.layer, ""));
    let of_layer = |name: &str| {
        let (index, rest) = name.strip_prefix(before)?.split_once('.')?;
        // `*` stands for all layers, in files that transformers 5 has written of ESM.
        (index == "*" || index.bytes().all(|byte| byte.is_ascii_digit())).then(|| rest.to_owned())
    };
    let after = after.strip_prefix('.').unwrap_or(after);
    let modules = modules_of_layer(layout);
    let is_known = |name: &str| {
        let module = name.strip_suffix(".weight").or_else(|| name.strip_suffix(".bias")).unwrap_or(name);
        if layout.unused.iter().any(|unused| name == *unused || name.ends_with(&format!(".{unused}"))) {
            return true;
        }
        if let Some(rest) = of_layer(name) {
            let module = rest.strip_suffix(".weight").or_else(|| rest.strip_suffix(".bias"));
            return module
                .is_some_and(|module| module.strip_prefix(after).is_some_and(|module| modules.contains(&module)));
        }
        !name.starts_with("embeddings.") || modules_of_embeddings(layout).contains(&module)
    };
    names.iter().find(|(name, _)| !is_known(name)).map(|(_, name)| name.as_str())
}

fn modules_of_embeddings(layout: &ParameterLayout) -> [&'static str; 6] {
    [
        layout.word_embeddings,
        layout.position_embeddings,
        layout.token_type_embeddings,
        layout.task_type_embeddings,
        layout.embedding_norm,
        layout.embedding_projection,
    ]
}

fn modules_of_layer(layout: &ParameterLayout) -> Vec<&'static str> {
    let norms = [
        layout.norms.before_attention,
        layout.norms.after_attention,
        layout.norms.before_feed_forward,
        layout.norms.after_feed_forward,
    ];
    let mut modules: Vec<&'static str> = norms.into_iter().flatten().collect();
    match layout.query_key_value {
        ProjectionNames::Separate(names) => modules.extend(names),
        ProjectionNames::Fused(name) => modules.push(name),
    }
    modules.push(layout.attention_output);
    match layout.feed_forward {
        FeedForwardNames::Plain { up, down } => modules.extend([up, down]),
        FeedForwardNames::Gated { gate, up, down } => modules.extend([gate, up, down]),
        FeedForwardNames::GatedFused { both, down, .. } => modules.extend([both, down]),
    }
    modules.extend(layout.of_positions);
    modules
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::family;

    const ANCHOR: &str = "embeddings.word_embeddings.weight";

    #[test]
    fn prefix_and_old_names_are_read_off_the_list() {
        let names = [
            "bert.embeddings.word_embeddings.weight",
            "bert.embeddings.LayerNorm.gamma",
            "bert.embeddings.LayerNorm.beta",
            "bert.embeddings.position_ids",
            "cls.predictions.bias",
        ];
        let canonical = canonical_names(names, family::bert()).unwrap().names;
        assert_eq!(canonical["embeddings.word_embeddings.weight"], names[0]);
        assert_eq!(canonical["embeddings.LayerNorm.weight"], names[1]);
        assert_eq!(canonical["embeddings.LayerNorm.bias"], names[2]);
        assert!(!canonical.contains_key("cls.predictions.bias"), "a task head is not the encoder's");
    }

    #[test]
    fn prefixes_of_wrappers_are_prefixes() {
        for prefix in ["module.bert.", "_orig_mod.", "_orig_mod.module.bert.", "state_dict.model.module.bert."] {
            let names = [ANCHOR, "embeddings.LayerNorm.weight"].map(|name| format!("{prefix}{name}"));
            let canonical = canonical_names(names.iter().map(String::as_str), family::bert()).unwrap().names;
            assert_eq!(canonical[ANCHOR], names[0]);
            assert_eq!(canonical["embeddings.LayerNorm.weight"], names[1]);
        }
    }

    #[test]
    fn no_encoder_two_encoders_and_double_names_are_errors() {
        assert!(
            canonical_names(["wte.weight"], family::bert()).unwrap_err().contains("no encoder of the family `bert`")
        );
        assert!(
            canonical_names(["myembeddings.word_embeddings.weight"], family::bert()).is_err(),
            "a prefix ends with a dot"
        );
        let two = ["query.embeddings.word_embeddings.weight", "context.embeddings.word_embeddings.weight"];
        assert!(canonical_names(two, family::bert()).unwrap_err().contains("`context.`, `query.`"));
        let fused = [ANCHOR, "encoder.layer.0.attention.self.Wqkv.weight"];
        assert!(canonical_names(fused, family::bert()).unwrap_err().contains("another architecture"));
        let double = [ANCHOR, "embeddings.LayerNorm.gamma", "embeddings.LayerNorm.weight"];
        assert!(canonical_names(double, family::bert()).unwrap_err().contains("two names"));
    }
}
