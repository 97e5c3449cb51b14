//! Every layer of every family against the float64 reference, on every instruction set, and against company and threads.
//!
//! `tests/golden/README.md` says what the files hold; `tests/golden/families.py` makes them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
#![allow(clippy::print_stdout, reason = "the figures are worth seeing")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use layerwise::batch::{Batch, Tokens};
use layerwise::checkpoint::config::Config;
use layerwise::checkpoint::weights::Weights;
use layerwise::checkpoint::{Checkpoint, ModelLocation};
use layerwise::encoder::{self, Encoder, EncoderSettings, Ops};
use layerwise::family;
use layerwise::kernels::InstructionSet;
use layerwise::spec::Compute;
use safetensors::SafeTensors;
use serde::Deserialize;

/// How much larger than PyTorch's errors those of a tiny model may be by chance: all of a layer's numbers together, and the one
/// that is farthest off. Models of real size are compared without it (`make families`).
const CHANCE: [f64; 2] = [1.25, 2.5];

/// No float32 computation can be asked for less than this root mean square error, for numbers of a size near 1.
const FLOOR: f64 = 5e-8;

#[derive(Deserialize)]
struct Golden {
    texts: Vec<GoldenText>,
    pytorch_float32: Vec<Errors>,
    pytorch_bfloat16: Vec<Errors>,
    pytorch_float32_pooler: Option<Errors>,
}

/// The largest and the root mean square error.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
struct Errors {
    largest: f64,
    rms: f64,
}

impl Errors {
    fn of(pairs: impl Iterator<Item = (f64, f32)>) -> Self {
        let (mut largest, mut squares, mut count) = (0.0f64, 0.0, 0);
        for (truth, found) in pairs {
            let error = (truth - f64::from(found)).abs();
            assert!(error.is_finite());
            (largest, squares, count) = (largest.max(error), squares + error * error, count + 1);
        }
        Self { largest, rms: (squares / f64::from(count.max(1))).sqrt() }
    }

    /// Whether these are no larger than `factor` times a peer's.
    fn are_within(self, factor: f64, peer: Self) -> bool {
        let [of_all, of_largest] = CHANCE;
        self.rms <= (of_all * factor * peer.rms).max(FLOOR)
            && self.largest <= (of_largest * factor * peer.largest).max(10.0 * FLOOR)
    }
}

#[derive(Deserialize)]
struct GoldenText {
    input_ids: Vec<u32>,
    token_type_ids: Vec<u32>,
}

struct Model {
    name: String,
    golden: Golden,
    truth: Vec<u8>,
    config: Config,
    weights: Arc<Weights>,
    texts: Vec<Tokens>,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/families")
}

fn models() -> Vec<Model> {
    let mut names: Vec<String> =
        std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort_unstable();
    assert!(names.len() > 30);
    names.into_iter().map(|name| load(&name)).collect()
}

fn load(name: &str) -> Model {
    let directory = folder().join(name);
    let golden: Golden = serde_json::from_slice(&std::fs::read(directory.join("golden.json")).unwrap()).unwrap();
    let checkpoint = Checkpoint::find(&ModelLocation::local(directory.to_str().unwrap())).unwrap();
    let config = checkpoint.config().unwrap();
    let weights = Arc::new(checkpoint.weights(config.family).unwrap());
    let tokens = |text: &GoldenText| Tokens {
        input_ids: text.input_ids.clone(),
        token_type_ids: text.token_type_ids.clone(),
        ..Tokens::default()
    };
    let texts = golden.texts.iter().map(tokens).collect();
    let truth = std::fs::read(directory.join("golden.safetensors")).unwrap();
    Model { name: name.to_owned(), golden, truth, config, weights, texts }
}

impl Model {
    fn encoder(&self, compute: Compute, ops: Ops, instruction_set: InstructionSet) -> Encoder {
        Encoder::new(self.weights.clone(), self.config.clone(), EncoderSettings { compute, ops, instruction_set })
    }

    fn truth(&self, name: &str) -> Option<Vec<f64>> {
        let tensors = SafeTensors::deserialize(&self.truth).unwrap();
        let tensor = tensors.tensor(name).ok()?;
        Some(tensor.data().as_chunks::<8>().0.iter().map(|&bytes| f64::from_le_bytes(bytes)).collect())
    }

    /// The errors of each layer, over all texts.
    fn errors(&self, layers: &[Vec<Vec<f32>>]) -> Vec<Errors> {
        let of_layer = |layer: usize| {
            let pairs = (0..self.texts.len()).flat_map(|row| {
                let truth = self.truth(&format!("hidden_states.{row}.{layer}")).unwrap();
                assert_eq!(truth.len(), layers[row][layer].len(), "{} layer {layer}", self.name);
                truth.into_iter().zip(layers[row][layer].clone())
            });
            Errors::of(pairs)
        };
        (0..=self.config.num_hidden_layers).map(of_layer).collect()
    }

    /// Asserts that the errors of a run of all texts are no larger than `factor` times a peer's.
    fn assert_within(&self, encoder: &Encoder, factor: f64, peer: &[Errors]) {
        let texts: Vec<&Tokens> = self.texts.iter().collect();
        let errors = self.errors(&run(encoder, &texts));
        assert_eq!(errors.len(), peer.len(), "{}", self.name);
        let ratio = |(own, peer): (&Errors, &Errors)| format!("{:.2}", own.rms / peer.rms.max(f64::MIN_POSITIVE));
        let ratios: Vec<String> = errors.iter().zip(peer).map(ratio).collect();
        println!("{:24} {} of PyTorch's error", self.name, ratios.join(" "));
        for (layer, (own, peer)) in errors.iter().zip(peer).enumerate() {
            assert!(own.are_within(factor, *peer), "{} layer {layer}: {own:?}, PyTorch's {peer:?}", self.name);
        }
    }
}

/// Each text's layers, as it goes through in a batch with others.
fn run(encoder: &Encoder, texts: &[&Tokens]) -> Vec<Vec<Vec<f32>>> {
    let width = encoder.config().hidden_size;
    let mut batch = Batch::new();
    texts.iter().for_each(|text| batch.push(text));
    let mut layers = vec![Vec::new(); texts.len()];
    encoder
        .visit_hidden_states(&batch, encoder.config().num_hidden_layers, |_, hidden_state| {
            for (layers, ends) in layers.iter_mut().zip(batch.bounds.windows(2)) {
                layers.push(hidden_state[ends[0] * width..ends[1] * width].to_vec());
            }
            Ok(())
        })
        .unwrap();
    layers
}

#[test]
fn every_layer_is_at_least_as_exact_as_pytorch() {
    for model in models() {
        let set = InstructionSet::from_env(Compute::F32).unwrap();
        let encoder = model.encoder(Compute::F32, Ops::Kernels, set);
        model.assert_within(&encoder, 1.0, &model.golden.pytorch_float32);
    }
}

#[test]
fn bfloat16_is_closer_than_pytorchs() {
    for model in models() {
        let set = InstructionSet::from_env(Compute::Bf16).unwrap();
        let encoder = model.encoder(Compute::Bf16, Ops::Kernels, set);
        // Half of it in models of real size (`make families`); in these the first of two or three layers is a large part.
        model.assert_within(&encoder, 0.7, &model.golden.pytorch_bfloat16);
    }
}

#[test]
fn integers_of_8_bits_are_not_far_from_bfloat16() {
    for model in models() {
        let set = InstructionSet::from_env(Compute::Int8).unwrap();
        let encoder = model.encoder(Compute::Int8, Ops::Kernels, set);
        model.assert_within(&encoder, 3.0, &model.golden.pytorch_bfloat16);
    }
}

#[test]
fn poolers_are_those_of_the_family() {
    for model in models() {
        let set = InstructionSet::from_env(Compute::F32).unwrap();
        let encoder = model.encoder(Compute::F32, Ops::Kernels, set);
        let peer = model.golden.pytorch_float32_pooler;
        assert_eq!(encoder::has_pooler(&model.weights), peer.is_some(), "{}", model.name);
        let Some(peer) = peer else { continue };
        let pairs = model.texts.iter().enumerate().flat_map(|(row, text)| {
            let last = run(&encoder, &[text]).remove(0).pop().unwrap();
            let pooled = encoder.pooler_output(&last[..model.config.hidden_size]).unwrap();
            model.truth(&format!("pooler_output.{row}")).unwrap().into_iter().zip(pooled)
        });
        let own = Errors::of(pairs);
        assert!(own.are_within(1.5, peer), "{}: {own:?}, PyTorch's {peer:?}", model.name);
    }
}

/// Alone and in company, on one thread and several, loaded and read layer by layer, on every instruction set: the same bits.
#[test]
fn the_same_bits_in_any_company_and_on_every_instruction_set() {
    let bits = |layers: &[Vec<f32>]| -> Vec<u32> { layers.iter().flatten().map(|number| number.to_bits()).collect() };
    for model in models() {
        let set = InstructionSet::from_env(Compute::F32).unwrap();
        for compute in [Compute::F32, Compute::Bf16, Compute::Int8] {
            let encoder = model.encoder(compute, Ops::Kernels, set);
            let alone: Vec<Vec<u32>> = model.texts.iter().map(|text| bits(&run(&encoder, &[text])[0])).collect();
            let mut company: Vec<&Tokens> = model.texts.iter().chain(&model.texts).chain(&model.texts).collect();
            company.reverse();
            // Tiles of bfloat16 have bits of their own.
            let tiles = |set: &InstructionSet| compute == Compute::Bf16 && set.name().contains("amx");
            for other in InstructionSet::available().into_iter().filter(|set| !tiles(set)) {
                let encoder = model.encoder(compute, Ops::Kernels, other);
                encoder.load(model.config.num_hidden_layers, false).unwrap();
                for threads in [1, 3] {
                    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                    let found = pool.install(|| run(&encoder, &company));
                    for (i, found) in found.iter().rev().enumerate() {
                        let expected = &alone[i % model.texts.len()];
                        assert!(
                            bits(found) == *expected,
                            "{} in {compute:?} on {}, {threads} threads, text {i}",
                            model.name,
                            other.name()
                        );
                    }
                }
            }
        }
    }
}

/// What `check` asks for is what is read, and every family is there.
#[test]
fn all_families_have_golden_models() {
    let models = models();
    for family in family::FAMILIES {
        let is_there = family.name() == "bert" || models.iter().any(|model| model.config.family == *family);
        assert!(is_there, "{}", family.name());
    }
    for model in &models {
        let pooler = encoder::has_pooler(&model.weights);
        encoder::check(&model.weights, &model.config, model.config.num_hidden_layers, pooler).unwrap();
        assert!(encoder::parameter_count(&model.weights, &model.config) > 3000, "{}", model.name);
    }
}

#[cfg(feature = "tensors")]
#[test]
fn the_tensor_library_computes_the_same() {
    for model in models() {
        let set = InstructionSet::from_env(Compute::F32).unwrap();
        let encoder = model.encoder(Compute::F32, Ops::Tensors(candle_core::Device::Cpu), set);
        model.assert_within(&encoder, 2.0, &model.golden.pytorch_float32);
    }
}
