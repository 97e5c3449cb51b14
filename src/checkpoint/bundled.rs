//! The model in the binary: `models/bert-6x128`, where the feature `bundled` puts it.

/// Its files by name; `None` for one that it does not have, and for all in a build without the feature.
#[cfg(feature = "bundled")]
pub(super) fn file(name: &str) -> Option<&'static [u8]> {
    Some(match name {
        "model.safetensors" => include_bytes!("../../models/bert-6x128/model.safetensors"),
        "config.json" => include_bytes!("../../models/bert-6x128/config.json"),
        "tokenizer.json" => include_bytes!("../../models/bert-6x128/tokenizer.json"),
        "tokenizer_config.json" => include_bytes!("../../models/bert-6x128/tokenizer_config.json"),
        "modules.json" => include_bytes!("../../models/bert-6x128/modules.json"),
        "1_Pooling/config.json" => include_bytes!("../../models/bert-6x128/1_Pooling/config.json"),
        _ => return None,
    })
}

#[cfg(not(feature = "bundled"))]
pub(super) fn file(_: &str) -> Option<&'static [u8]> {
    None
}
