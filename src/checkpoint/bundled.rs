//! The model in the binary: `models/bert-4x160`, where the feature `bundled` puts it.

/// A file of the bundled model by name; `None` for a file that it does not have, and for all in a build without the
/// feature.
#[cfg(feature = "bundled")]
pub(super) fn file(name: &str) -> Option<&'static [u8]> {
    Some(match name {
        "model.safetensors" => include_bytes!("../../models/bert-4x160/model.safetensors"),
        "config.json" => include_bytes!("../../models/bert-4x160/config.json"),
        "tokenizer.json" => include_bytes!("../../models/bert-4x160/tokenizer.json"),
        "tokenizer_config.json" => include_bytes!("../../models/bert-4x160/tokenizer_config.json"),
        "modules.json" => include_bytes!("../../models/bert-4x160/modules.json"),
        "1_Pooling/config.json" => include_bytes!("../../models/bert-4x160/1_Pooling/config.json"),
        _ => return None,
    })
}

#[cfg(not(feature = "bundled"))]
pub(super) fn file(_: &str) -> Option<&'static [u8]> {
    None
}
