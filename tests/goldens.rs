//! Every layer of the golden models against transformers in float64, and against company, order and threads.
//!
//! `tests/golden/README.md` says what the files hold; `tests/golden/make.py` makes them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use layerwise::batch::{Batch, Batches, Limits, Tokens};
use layerwise::checkpoint::config::Config;
use layerwise::checkpoint::{Checkpoint, ModelLocation};
use layerwise::encoder::{Encoder, EncoderSettings, Ops};
use layerwise::input::Text;
use layerwise::kernels::InstructionSet;
use layerwise::pooling::{self, TextPooler};
use layerwise::spec::{Compute, Pooling, SpecialTokens, VectorKind};
use layerwise::tokens::{Encoded, Tokenizer};
use layerwise::windows::Windowing;
use proptest::prelude::*;
use safetensors::SafeTensors;
use serde::Deserialize;

const MODELS: [&str; 5] = ["width1", "width3", "width16", "width32", "width64"];

/// No float32 computation of these tiny models can be asked to be closer than this.
const FLOOR: f64 = 1e-6;

#[derive(Deserialize)]
struct Golden {
    texts: Vec<GoldenText>,
    pytorch_float32_max_abs_error: PytorchError,
}

#[derive(Deserialize)]
struct PytorchError {
    hidden_states: Vec<f64>,
    pooler_output: Option<f64>,
}

#[derive(Deserialize)]
struct GoldenText {
    text: String,
    pair: Option<String>,
    words: Option<Vec<String>>,
    input_ids: Vec<u32>,
    token_type_ids: Vec<u32>,
    tokens: Vec<String>,
    offsets: Vec<Option<(usize, usize)>>,
    word_ids: Vec<Option<u32>>,
    n_tokens_before_truncation: usize,
}

/// One golden model, loaded, with its texts tokenized.
struct Model {
    golden: Golden,
    truth: BTreeMap<String, Vec<f64>>,
    config: Config,
    encoder: Encoder,
    tokenizer: Tokenizer,
    encoded: Vec<Encoded>,
}

fn directory(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn load(name: &str) -> Model {
    load_with(name, Ops::Kernels)
}

fn load_with(name: &str, ops: Ops) -> Model {
    let directory = directory(name);
    let golden: Golden = serde_json::from_slice(&std::fs::read(directory.join("golden.json")).unwrap()).unwrap();
    let bytes = std::fs::read(directory.join("golden.safetensors")).unwrap();
    let truth = SafeTensors::deserialize(&bytes)
        .unwrap()
        .iter()
        .map(|(key, tensor)| {
            assert_eq!(tensor.dtype(), safetensors::Dtype::F64);
            let numbers = tensor.data().as_chunks::<8>().0.iter().map(|&bytes| f64::from_le_bytes(bytes)).collect();
            (key.to_owned(), numbers)
        })
        .collect();
    let checkpoint = Checkpoint::find(&ModelLocation::local(directory.to_str().unwrap())).unwrap();
    let config = checkpoint.config().unwrap();
    let weights = Arc::new(checkpoint.weights(config.family).unwrap());
    let pooler = golden.pytorch_float32_max_abs_error.pooler_output.is_some();
    assert_eq!(layerwise::encoder::has_pooler(&weights), pooler);
    let compute = Compute::F32;
    let instruction_set = InstructionSet::from_env(compute).unwrap();
    let encoder = Encoder::new(weights, config.clone(), EncoderSettings { compute, ops, instruction_set });
    encoder.load(config.num_hidden_layers, pooler).unwrap();
    let tokenizer = Tokenizer::load(&checkpoint, config.vocab_size, config.longest_text).unwrap();
    let encoded = golden
        .texts
        .iter()
        .map(|golden| tokenizer.encode(0, &text_of(golden), golden.pair.clone().map(raw).as_ref()).unwrap())
        .collect();
    Model { golden, truth, config, encoder, tokenizer, encoded }
}

fn raw(text: String) -> Text {
    Text { text, words: None }
}

fn text_of(golden: &GoldenText) -> Text {
    let words = golden.words.as_ref().map(|words| {
        let mut start = 0;
        words
            .iter()
            .map(|word| {
                let range = start..start + word.len();
                start = range.end + 1;
                range
            })
            .collect()
    });
    Text { text: golden.text.clone(), words }
}

/// The hidden states of all layers for the texts at `order`, run as one batch: [place in order][layer].
fn hidden_states(model: &Model, order: &[usize]) -> Vec<Vec<Vec<f32>>> {
    let texts: Vec<Tokens> = order.iter().map(|&text| model.encoded[text].tokens.clone()).collect();
    states_of(model, &texts)
}

/// The hidden states of all layers for texts run as one batch, each as one sequence: [text][layer].
fn states_of(model: &Model, texts: &[Tokens]) -> Vec<Vec<Vec<f32>>> {
    let mut batch = Batch::new();
    texts.iter().for_each(|text| batch.push(text));
    let width = model.config.hidden_size;
    let mut states = vec![Vec::new(); texts.len()];
    model
        .encoder
        .visit_hidden_states(&batch, model.config.num_hidden_layers, |layer, hidden| {
            for (text, bounds) in batch.bounds.windows(2).enumerate() {
                assert_eq!(states[text].len(), layer, "layers come in order");
                states[text].push(hidden[bounds[0] * width..bounds[1] * width].to_vec());
            }
            Ok(())
        })
        .unwrap();
    states
}

fn error(found: &[f32], truth: &[f64]) -> f64 {
    assert_eq!(found.len(), truth.len());
    found.iter().zip(truth).map(|(found, truth)| (f64::from(*found) - truth).abs()).fold(0.0, f64::max)
}

#[test]
fn tokens_are_those_of_transformers() {
    for name in MODELS {
        let model = load(name);
        for (golden, encoded) in model.golden.texts.iter().zip(&model.encoded) {
            let what = format!("{name}: {:?}", golden.text);
            assert_eq!(encoded.tokens.input_ids, golden.input_ids, "{what}");
            assert_eq!(encoded.tokens.token_type_ids, golden.token_type_ids, "{what}");
            assert_eq!(encoded.strings, golden.tokens, "{what}");
            assert_eq!(encoded.length_before_truncation, golden.n_tokens_before_truncation, "{what}");
            // Word ids count on in the second text of a pair, and offsets are those of the whole text.
            let first_words = golden
                .word_ids
                .iter()
                .zip(&golden.token_type_ids)
                .filter(|(_, token_type)| **token_type == 0)
                .filter_map(|(word, _)| *word)
                .max()
                .map_or(0, |last| last + 1);
            let words = text_of(golden).words;
            for (i, word) in golden.word_ids.iter().enumerate() {
                let second = golden.token_type_ids[i] == 1;
                let expected = word.map(|word| if second { word + first_words } else { word });
                let found = encoded.tokens.words[i];
                assert_eq!((found != layerwise::batch::SPECIAL).then_some(found), expected, "{what}: token {i}");
                let start = match (&words, word) {
                    (Some(words), Some(word)) => golden.text[..words[*word as usize].start].chars().count(),
                    _ => 0,
                };
                let expected = golden.offsets[i].map(|(from, to)| (from + start, to + start));
                assert_eq!(encoded.offsets[i], expected, "{what}: token {i}");
            }
        }
    }
}

/// The largest error of each layer, all texts run as one batch.
fn errors_by_layer(model: &Model) -> Vec<f64> {
    let order: Vec<usize> = (0..model.encoded.len()).collect();
    let states = hidden_states(model, &order);
    let mut errors = vec![0.0f64; model.config.num_hidden_layers + 1];
    for (text, layers) in states.iter().enumerate() {
        for (layer, state) in layers.iter().enumerate() {
            let truth = &model.truth[&format!("{text}.hidden_states.{layer}")];
            errors[layer] = errors[layer].max(error(state, truth));
        }
    }
    errors
}

#[cfg(feature = "tensors")]
#[test]
fn every_layer_in_candles_own_ops_is_about_as_close_as_pytorch_float32() {
    // The path of CUDA and Metal, here on the CPU; its sums are the library's, so the bar has a margin.
    for name in MODELS {
        let model = load_with(name, Ops::Tensors(candle_core::Device::Cpu));
        let bounds = &model.golden.pytorch_float32_max_abs_error.hidden_states;
        for (layer, (ours, pytorch)) in errors_by_layer(&model).iter().zip(bounds).enumerate() {
            assert!(*ours <= 3.0 * pytorch.max(FLOOR), "{name}, layer {layer}: {ours:e}, PyTorch {pytorch:e}");
        }
    }
}

#[test]
fn every_layer_is_at_least_as_close_to_float64_as_pytorch_float32() {
    for name in MODELS {
        let model = load(name);
        let errors = errors_by_layer(&model);
        let bounds = &model.golden.pytorch_float32_max_abs_error.hidden_states;
        assert_eq!(bounds.len(), errors.len());
        for (layer, (ours, pytorch)) in errors.iter().zip(bounds).enumerate() {
            assert!(*ours <= pytorch.max(FLOOR), "{name}, layer {layer}: {ours:e}, PyTorch {pytorch:e}");
        }
    }
}

#[test]
fn pooled_vectors_are_those_of_sentence_transformers() {
    let kinds = [
        VectorKind::Cls,
        VectorKind::Mean,
        VectorKind::Max,
        VectorKind::MeanSqrtLen,
        VectorKind::Weightedmean,
        VectorKind::Lasttoken,
    ];
    for name in MODELS {
        let model = load(name);
        let order: Vec<usize> = (0..model.encoded.len()).collect();
        let (mut compared, width) = (0, model.config.hidden_size);
        for (text, layers) in hidden_states(&model, &order).iter().enumerate() {
            let mut batch = Batch::new();
            batch.push(&model.encoded[text].tokens);
            for (layer, state) in layers.iter().enumerate() {
                for kind in kinds {
                    let Some(truth) = model.truth.get(&format!("{text}.{}.{layer}", kind.name())) else { continue };
                    let pooled =
                        TextPooler::new(kind.pooling().unwrap(), SpecialTokens::Keep).take(state, width, &batch);
                    // A sum over √n may be larger than its terms by that factor, and its error with it.
                    let growth = if kind == VectorKind::MeanSqrtLen { (batch.tokens() as f64).sqrt() } else { 1.0 };
                    let bound = growth * model.golden.pytorch_float32_max_abs_error.hidden_states[layer].max(FLOOR);
                    let found = error(&pooled, truth);
                    assert!(found <= bound, "{name}: {} of layer {layer}: {found:e} > {bound:e}", kind.name());
                    compared += 1;
                }
            }
            if let Some(truth) = model.truth.get(&format!("{text}.sentence")) {
                let last = layers.last().unwrap();
                let mut sentence = TextPooler::new(Pooling::Mean, SpecialTokens::Keep).take(last, width, &batch);
                pooling::normalize(&mut sentence, width);
                assert!(error(&sentence, truth) <= FLOOR);
                compared += 1;
            }
            if let Some(truth) = model.truth.get(&format!("{text}.pooler_output")) {
                let cls =
                    TextPooler::new(Pooling::Cls, SpecialTokens::Keep).take(layers.last().unwrap(), width, &batch);
                let pooled = model.encoder.pooler_output(&cls).unwrap();
                // One row a text: so few numbers that chance decides which of two equally good computations has the
                // larger error. On real weights `make parity` holds the pooler to PyTorch's error itself.
                let bound = 1.25 * model.golden.pytorch_float32_max_abs_error.pooler_output.unwrap().max(FLOOR);
                let found = error(&pooled, truth);
                assert!(found <= bound, "{name}: pooler_output: {found:e} > {bound:e}");
                compared += 1;
            }
        }
        assert!(compared >= 3 * 6 * (model.config.num_hidden_layers + 1), "{name}: only {compared} compared");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// The same bits alone, in any company, in any order, on any number of threads.
    #[test]
    fn a_text_does_not_notice_its_company(
        name in proptest::sample::select(&MODELS[..]),
        order in proptest::collection::vec(any::<proptest::sample::Index>(), 1..40),
        threads in proptest::sample::select(&[1usize, 2, 3, 8][..]),
    ) {
        let model = load(name);
        let order: Vec<usize> = order.iter().map(|index| index.index(model.encoded.len())).collect();
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let together = pool.install(|| hidden_states(&model, &order));
        for (&text, states) in order.iter().zip(&together) {
            prop_assert_eq!(&hidden_states(&model, &[text])[0], states, "{} text {}", name, text);
        }
    }
}

/// A text's vectors at every layer, put together out of windows: [layer].
fn merged(model: &Model, text: &Tokens, windowing: Windowing, batch_tokens: usize) -> Vec<Vec<f32>> {
    let width = model.config.hidden_size;
    let mut states = vec![Vec::new(); model.config.num_hidden_layers + 1];
    let texts = [Ok::<_, std::convert::Infallible>(text.clone())];
    let mut next = 0;
    for batch in Batches::new(texts.into_iter(), Some(windowing), Limits { tokens: batch_tokens, rows: 1000 }) {
        let batch = batch.unwrap();
        for part in &batch.parts {
            assert_eq!((part.tokens.start, &*part.text), (next, text));
            next = part.tokens.end;
        }
        model
            .encoder
            .visit_hidden_states(&batch, model.config.num_hidden_layers, |layer, hidden| {
                batch.parts.iter().for_each(|part| states[layer].extend_from_slice(part.vectors(hidden, width)));
                Ok(())
            })
            .unwrap();
    }
    assert_eq!(next, text.len());
    states
}

/// The longer text of a pair is cut, the first or the second, and each window has the whole shorter one.
#[test]
fn windows_of_pairs_are_pairs() {
    let (long, short) =
        ("The quick brown fox jumps over the lazy dog. Don't stop, river stones! ".repeat(2), "hello world");
    let max_length = 16;
    for (name, stride) in [("width16", None), ("width64", Some(4)), ("width64", Some(0))] {
        let windowing = Windowing { max_length, stride };
        let mut model = load(name);
        model.tokenizer = model.tokenizer.with_windows(windowing).unwrap();
        let alone = model.tokenizer.encode(0, &raw(short.to_owned()), None).unwrap().tokens.len() - 2;
        for (first, second) in [(long.as_str(), short), (short, long.as_str())] {
            let encoded = model.tokenizer.encode(0, &raw(first.to_owned()), Some(&raw(second.to_owned()))).unwrap();
            let text = &encoded.tokens;
            assert_eq!((text.len(), encoded.offsets.len()), (encoded.length_before_truncation, text.words.len()));
            let longer = if first.len() > second.len() { 1..text.len() - alone - 2 } else { alone + 2..text.len() - 1 };
            assert_eq!(text.longer, longer);

            // By the letter of the documentation.
            let room = max_length - alone - 3;
            let step = room - stride.unwrap_or(room / 2);
            let last = longer.end - room;
            let mut starts: Vec<usize> = (longer.start..last).step_by(step).collect();
            starts.push(last);
            let window = |start: &usize| {
                let places = || (0..longer.start).chain(*start..start + room).chain(longer.end..text.len());
                Tokens {
                    input_ids: places().map(|place| text.input_ids[place]).collect(),
                    token_type_ids: places().map(|place| text.token_type_ids[place]).collect(),
                    words: places().map(|place| text.words[place]).collect(),
                    word_count: text.word_count,
                    longer: 0..0,
                    spans: Vec::new(),
                }
            };
            let windows: Vec<Tokens> = starts.iter().map(window).collect();
            assert!(windows.iter().all(|window| window.len() == max_length) && windows.len() > 2);
            let states = states_of(&model, &windows);
            for batch_tokens in [1, 40, 1000] {
                let found = merged(&model, text, windowing, batch_tokens);
                for (layer, found) in found.iter().enumerate() {
                    let width = model.config.hidden_size;
                    for (token, row) in found.chunks_exact(width).enumerate() {
                        let (window, place) = if token < longer.start {
                            (0, token)
                        } else if token >= longer.end {
                            (starts.len() - 1, max_length - (text.len() - token))
                        } else {
                            let context = |start: usize| -> Option<usize> {
                                let left = token.checked_sub(start)?;
                                let right = (start + room).checked_sub(token + 1)?;
                                let left = if start == longer.start { usize::MAX } else { left };
                                Some(left.min(if start == last { usize::MAX } else { right }))
                            };
                            let most = starts.iter().map(|&start| context(start)).max().unwrap();
                            let window = starts.iter().position(|&start| context(start) == most).unwrap();
                            (window, longer.start + token - starts[window])
                        };
                        let expected = &states[window][layer][place * width..][..width];
                        assert!(row == expected, "{name}, {stride:?}, layer {layer}, token {token}");
                    }
                }
            }
        }
    }
}

#[test]
fn pairs_without_room_for_windows_are_told_from_those_that_fit() {
    let windowing = Windowing { max_length: 9, stride: None };
    let tokenizer = load("width64").tokenizer.with_windows(windowing).unwrap();
    let room = |first: &str, second: &str| {
        let pair = tokenizer.encode(0, &raw(first.to_owned()), Some(&raw(second.to_owned()))).unwrap();
        windowing.lacks_room(pair.tokens.len(), &pair.tokens.longer)
    };
    assert_eq!(room("the the the", "the the the"), None, "nine tokens");
    assert_eq!(room("the the the the", "the the the"), None, "room for three");
    assert_eq!(room(&"the ".repeat(6), &"the ".repeat(5)), None, "room for one");
    assert_eq!(room(&"the ".repeat(6), &"the ".repeat(6)), Some(0));
    let strict = Windowing { stride: Some(3), ..windowing };
    let pair = tokenizer.encode(0, &raw("the ".repeat(5)), Some(&raw("the the the".to_owned()))).unwrap();
    let lacks_room = |windowing: Windowing| windowing.lacks_room(pair.tokens.len(), &pair.tokens.longer);
    assert_eq!((lacks_room(strict), lacks_room(windowing)), (Some(3), None));
}
