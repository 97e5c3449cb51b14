//! A model's files with bytes changed, cut or added anywhere: an error or the model, never a panic.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

#[path = "support/damage.rs"]
mod damage;

use std::path::Path;
use std::sync::Arc;

use damage::{damage, damaged};
use layerwise::checkpoint::config::Config;
use layerwise::checkpoint::weights::Weights;
use layerwise::checkpoint::{Checkpoint, ModelLocation};
use layerwise::encoder::{self, Encoder, EncoderSettings, Ops};
use layerwise::error::Result;
use layerwise::family;
use layerwise::input::Text;
use layerwise::kernels::InstructionSet;
use layerwise::spec::Compute;
use layerwise::tokens::{Encoded, Tokenizer};
use proptest::prelude::*;

fn golden(file: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(file)).unwrap()
}

/// Opens what the bytes make of a file and reads everything in it that a job would.
fn load(name: &str, bytes: &[u8], model: &str) -> Result<()> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    let weights = if name.ends_with(".bin") {
        Weights::from_pickle(&path, family::bert())?
    } else {
        Weights::from_safetensors(std::slice::from_ref(&path), family::bert())?
    };
    let config = Config::parse(&golden(&format!("{model}/config.json")), Path::new("config.json"))?;
    let (deepest, pooler) = (config.num_hidden_layers, encoder::has_pooler(&weights));
    encoder::check(&weights, &config, deepest, pooler)?;
    let compute = Compute::F32;
    let instruction_set = InstructionSet::from_env(compute)?;
    let settings = EncoderSettings { compute, ops: Ops::Kernels, instruction_set };
    Encoder::new(Arc::new(weights), config, settings).load(deepest, pooler)
}

/// Loads a model whose one file is replaced, and tokenizes a text that goes through every part of a tokenizer.
fn tokenize(file: &str, bytes: &[u8], model: &str) -> Result<Encoded> {
    let directory = tempfile::tempdir().unwrap();
    for name in ["config.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt"] {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(model).join(name);
        if source.exists() {
            std::fs::copy(source, directory.path().join(name)).unwrap();
        }
    }
    std::fs::write(directory.path().join(file), bytes).unwrap();
    let model = directory.path().to_str().unwrap();
    let checkpoint = Checkpoint::find(&ModelLocation::local(model))?;
    let config = checkpoint.config()?;
    let tokenizer = Tokenizer::load(&checkpoint, config.vocab_size, config.max_position_embeddings)?;
    let text = "Hello [MASK] naïve WORLD, 中国 x\0y \u{200b} 🙂 unlitly".repeat(2);
    tokenizer.encode(0, &Text { text, words: None }, None)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn safetensors(damages in proptest::collection::vec(damage(), 1..4), within in prop_oneof![Just(8usize), Just(3000), Just(1 << 20)]) {
        let bytes = damaged(golden("width1/model.safetensors"), &damages, within);
        if let Err(error) = load("model.safetensors", &bytes, "width1") {
            prop_assert!(error.to_string().contains("model.safetensors"), "{error}");
        }
    }

    #[test]
    fn pickles(damages in proptest::collection::vec(damage(), 1..4), within in prop_oneof![Just(200usize), Just(5000), Just(1 << 20)]) {
        let bytes = damaged(golden("width3/pytorch_model.bin"), &damages, within);
        if let Err(error) = load("pytorch_model.bin", &bytes, "width3") {
            prop_assert!(error.to_string().contains("pytorch_model.bin"), "{error}");
        }
    }

    #[test]
    fn pickles_of_all_forms(
        file in proptest::sample::select(&["strided", "nested", "deflated", "before_1_6_strided", "before_1_6_nested"][..]),
        damages in proptest::collection::vec(damage(), 1..4),
        within in prop_oneof![Just(200usize), Just(5000), Just(1 << 20)],
    ) {
        let bytes = damaged(golden(&format!("../pickles/{file}.bin")), &damages, within);
        if let Err(error) = load("pytorch_model.bin", &bytes, "../pickles") {
            prop_assert!(error.to_string().contains("pytorch_model.bin"), "{error}");
        }
    }

    #[test]
    fn tokenizers(
        (file, model) in proptest::sample::select(&[("tokenizer.json", "width32"), ("vocab.txt", "width1"), ("tokenizer_config.json", "width3"), ("config.json", "width16")][..]),
        damages in proptest::collection::vec(damage(), 1..4),
        within in prop_oneof![Just(2000usize), Just(1 << 20)],
    ) {
        let bytes = damaged(golden(&format!("{model}/{file}")), &damages, within);
        if let Err(error) = tokenize(file, &bytes, model) {
            prop_assert!(!error.to_string().is_empty());
        }
    }
}

#[test]
fn undamaged_they_load() {
    tokenize("tokenizer.json", &golden("width32/tokenizer.json"), "width32").map(drop).unwrap();
    tokenize("vocab.txt", &golden("width1/vocab.txt"), "width1").unwrap();
    load("model.safetensors", &golden("width1/model.safetensors"), "width1").unwrap();
    load("pytorch_model.bin", &golden("width3/pytorch_model.bin"), "width3").unwrap();
    load("pytorch_model.bin", &golden("../pickles/before_1_6_nested.bin"), "../pickles").unwrap();
}
