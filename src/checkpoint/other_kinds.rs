//! Recognizes folders that hold a model in another format, or something else.

use std::fs;
use std::path::Path;

/// Endings of file names, what they tell, and advice.
const KINDS: [(&str, &str, &str); 14] = [
    (".gguf", "a GGUF model, as llama.cpp has it", FROM_ORIGINAL),
    ("bert_config.json", "a checkpoint of Google's TensorFlow BERT", FROM_TENSORFLOW),
    (".ckpt.index", "a checkpoint of TensorFlow", FROM_TENSORFLOW),
    ("saved_model.pb", "a TensorFlow SavedModel", FROM_TENSORFLOW),
    ("tf_model.h5", "a TensorFlow model", FROM_TENSORFLOW),
    (
        "flax_model.msgpack",
        "a Flax model",
        "load it in transformers 4 with from_flax=True and save it with save_pretrained",
    ),
    (".onnx", "an ONNX model", FROM_ORIGINAL),
    ("openvino_model.xml", "an OpenVINO model", FROM_ORIGINAL),
    (".tflite", "a TensorFlow Lite model", FROM_ORIGINAL),
    (".mlpackage", "a Core ML model", FROM_ORIGINAL),
    ("rust_model.ot", "a model of rust-bert", FROM_ORIGINAL),
    ("adapter_config.json", "an adapter of another model (PEFT)", "merge it with peft's merge_and_unload and save it"),
    (".ckpt", "a PyTorch checkpoint under another name", RENAME),
    (".pt", "PyTorch weights under another name", RENAME),
];

const FROM_ORIGINAL: &str = "take the model that it was made from, in the layout of transformers";
const FROM_TENSORFLOW: &str = "load it in transformers 4 with from_tf=True and save it with save_pretrained";
const RENAME: &str = "rename it to pytorch_model.bin";

/// What a folder holds, with advice, as the object of `holds`; `None` if nothing is recognized.
pub(super) fn describe(folder: &Path) -> Option<String> {
    let entries = fs::read_dir(folder).ok()?;
    let mut names: Vec<String> =
        entries.filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned())).collect();
    names.sort_unstable();
    if names.is_empty() {
        return Some("nothing".to_owned());
    }
    if let Ok(inner) = fs::read_dir(folder.join("onnx")) {
        names.extend(inner.filter_map(|entry| Some(format!("onnx/{}", entry.ok()?.file_name().to_string_lossy()))));
    }
    if names.iter().any(|name| name == "manifest.json") && names.iter().any(|name| name == "texts.jsonl") {
        return Some("vectors that layerwise wrote; -m takes the model they were made with".to_owned());
    }
    KINDS.iter().find_map(|(ending, kind, way_out)| {
        let name = names.iter().find(|name| name.ends_with(ending))?;
        Some(format!("{kind} ({name}), which is not read here: {way_out}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_named_as_what_they_are() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(describe(folder.path()).unwrap(), "nothing");
        for (name, says) in
            [("notes.txt", None), ("model-q4.gguf", Some("GGUF")), ("bert_model.ckpt.index", Some("GGUF"))]
        {
            fs::write(folder.path().join(name), "").unwrap();
            assert_eq!(describe(folder.path()).is_some(), says.is_some(), "{name}");
            assert!(says.is_none_or(|says| describe(folder.path()).unwrap().contains(says)));
        }
        fs::remove_file(folder.path().join("model-q4.gguf")).unwrap();
        assert!(describe(folder.path()).unwrap().contains("TensorFlow"));
        assert_eq!(describe(Path::new("/nowhere/at/all")), None);
    }
}
