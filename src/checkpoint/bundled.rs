//! The model in the binary: `models/placeholder`, whose weights are generated and mean nothing.

/// Its weights, a safetensors file.
pub(super) const WEIGHTS: &[u8] = include_bytes!("../../models/placeholder/model.safetensors");

/// Its small files by name.
pub(super) fn file(name: &str) -> Option<&'static [u8]> {
    Some(match name {
        "config.json" => include_bytes!("../../models/placeholder/config.json"),
        "tokenizer.json" => include_bytes!("../../models/placeholder/tokenizer.json"),
        "tokenizer_config.json" => include_bytes!("../../models/placeholder/tokenizer_config.json"),
        _ => return None,
    })
}
