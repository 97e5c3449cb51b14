//! The library as its callers use it: models in the hand, several at once, from many threads.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use layerwise::VectorKind::{Cls, Mean, Pooler, Sentence, Token, Word};
use layerwise::ndarray::ArrayView2;
use layerwise::{
    Batch, Combine, DirectoryOptions, Embeddings, Encoded, Error, Input, Model, Observer, Overflow, Plan, Progress,
    Request, Result, Sink, SpecialTokens, Unobserved, VectorKind, Work,
};

const TEXTS: [&str; 4] = ["a b c", "", "The bank of the river.", "unaffable [MASK] words and words and words"];

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn open(name: &str) -> Model {
    Model::open(golden(name).to_str().unwrap()).unwrap()
}

fn bits(view: ArrayView2<'_, f32>) -> Vec<u32> {
    view.iter().map(|number| number.to_bits()).collect()
}

#[test]
fn a_model_can_be_sent_shared_and_kept() {
    fn assert_send_sync_static<T: Send + Sync + 'static>() {}
    assert_send_sync_static::<Model>();
    assert_send_sync_static::<Embeddings>();
    assert_send_sync_static::<Request>();
    assert_send_sync_static::<Error>();
}

#[test]
fn vectors_have_the_shapes_and_rows_that_their_texts_have() {
    let model = open("width16");
    let kinds = vec![Token, Word, Mean, Cls];
    let out = model.encode(TEXTS, &Request { kinds: kinds.clone(), ..Request::default() }).unwrap();
    assert_eq!((out.len(), out.plan().layers.len()), (4, model.num_hidden_layers() + 1));
    for layer in 0..=model.num_hidden_layers() {
        for kind in [Mean, Cls] {
            assert_eq!(out.get(kind, layer).unwrap().dim(), (4, model.hidden_size()));
        }
        let tokens = out.get(Token, layer).unwrap();
        assert_eq!(tokens.nrows(), out.rows_of(Token, 3).end);
        // A text's mean is that of its tokens, and its cls vector the first of them.
        for text in 0..4 {
            let rows = out.rows_of(Token, text);
            assert_eq!(rows.len(), out.tokens(text).len());
            assert_eq!(tokens.row(rows.start), out.get(Cls, layer).unwrap().row(text));
        }
    }
    assert_eq!(out.tokens(1), ["[CLS]", "[SEP]"]);
    assert_eq!(out.offsets(1), [None, None]);
    let words = out.word_ids(2).into_iter().flatten().max().unwrap() as usize + 1;
    assert_eq!(out.rows_of(Word, 2).len(), words);
    assert_eq!(out.rows_of(Token, 9).len(), 0, "there is no such text");
    let error = out.get(Mean, 77).unwrap_err().to_string();
    assert!(error.contains("layer 77") && error.contains("mean/layer_00"), "{error}");
    assert!(out.whole(Pooler).is_err() && out.get(Pooler, 0).is_err());
}

#[test]
fn a_texts_vectors_do_not_depend_on_its_company_threads_or_instruction_set() {
    let request = Request { kinds: vec![Token, Mean], ..Request::default() };
    let builder = |threads: usize| Model::builder(golden("width64").to_str().unwrap()).threads(threads);
    let models = [
        builder(1).open().unwrap(),
        builder(3).open().unwrap(),
        builder(2).instruction_set("portable").open().unwrap(),
    ];
    assert_eq!((models[0].threads(), models[1].threads(), models[2].instruction_set()), (1, 3, "portable"));
    let alone: Vec<Embeddings> = TEXTS.iter().map(|text| models[0].encode([*text], &request).unwrap()).collect();
    // All models at once, each from two threads.
    let models = Arc::new(models);
    let runs: Vec<_> = (0..6)
        .map(|run| {
            let (models, request) = (Arc::clone(&models), request.clone());
            thread::spawn(move || models[run % 3].encode(TEXTS, &Request { batch_tokens: Some(5), ..request }).unwrap())
        })
        .collect();
    for run in runs {
        let together = run.join().unwrap();
        for (text, alone) in alone.iter().enumerate() {
            for layer in 0..=together.plan().num_hidden_layers {
                for kind in [Token, Mean] {
                    let rows = together.rows_of(kind, text);
                    let mine = together.get(kind, layer).unwrap();
                    let mine = mine.slice(layerwise::ndarray::s![rows, ..]);
                    assert_eq!(bits(mine), bits(alone.get(kind, layer).unwrap()), "text {text}, layer {layer}, {kind}");
                }
            }
        }
    }
}

#[test]
fn models_come_and_go() {
    for _ in 0..20 {
        let first = open("width3");
        let second = open("width16");
        drop(first);
        assert_eq!(second.encode(["a"], &Request::default()).unwrap().len(), 1);
    }
}

#[test]
fn all_layers_are_one_array_that_can_be_moved_out() {
    let model = open("width16");
    let layers = model.num_hidden_layers() + 1;
    let kinds = vec![Token, Mean, Pooler];
    let request = Request { kinds: kinds.clone(), ..Request::default() };
    let texts: Vec<String> = (0..2500).map(|number| format!("{}{number}", "a ".repeat(number % 7))).collect();
    let mut out = model.encode(texts.iter().map(String::as_str), &request).unwrap();
    // As a sink they learn of texts piece by piece, and make room as they go.
    let mut grown = Embeddings::new();
    model.encode_into(texts.iter().map(String::as_str), &request, &mut grown).unwrap();
    for kind in kinds {
        let all = out.all(kind).unwrap();
        let rows = out.rows_of(kind, texts.len() - 1).end;
        assert_eq!(all.dim(), (if kind == Pooler { 1 } else { layers }, rows, model.hidden_size()));
        assert_eq!(grown.all(kind).unwrap(), all);
        for (layer, of_layer) in all.outer_iter().enumerate().take(if kind == Pooler { 0 } else { layers }) {
            assert_eq!(of_layer, out.get(kind, layer).unwrap());
        }
        let (held, address) = (all.to_owned(), all.as_ptr());
        let taken = out.take(kind).unwrap();
        assert_eq!((taken.as_ptr(), taken.is_standard_layout()), (address, true), "nothing is copied, nor wasted");
        assert_eq!(grown.take(kind).unwrap(), taken);
        assert_eq!(taken, held);
        assert!(out.take(kind).unwrap_err().to_string().contains(&format!("no {kind} vectors")));
    }
    assert_eq!(out.tokens(1)[0], "[CLS]", "what is known of the texts stays");
}

/// Ends what it observes at a question of this number, from 1 on.
#[derive(Default)]
struct EndsAt {
    number: usize,
    asked: AtomicUsize,
    /// Whether encoding began.
    begun: AtomicBool,
}

impl EndsAt {
    fn question(number: usize) -> Self {
        Self { number, ..Self::default() }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

impl Observer for EndsAt {
    fn begin(&self, work: Work) -> Box<dyn Progress> {
        assert!(matches!(work, Work::Encoding { tokens: 10.., done: 0 }), "{work:?}");
        self.begun.store(true, Ordering::Relaxed);
        Unobserved.begin(work)
    }

    fn interruption(&self) -> Option<u8> {
        (self.asked.fetch_add(1, Ordering::Relaxed) + 1 >= self.number).then_some(2)
    }
}

#[test]
fn an_encoding_can_be_ended_alone_and_within_a_layer() {
    let model = open("width16");
    let request = Request { batch_tokens: Some(8), ..Request::default() };
    let whole = EndsAt::question(usize::MAX);
    assert_eq!(model.encode_observed(TEXTS, &request, &whole).unwrap().len(), 4);
    assert!(whole.asked() > 2 * (model.num_hidden_layers() + 1), "each layer of each batch asks");
    for number in [1, 2, whole.asked()] {
        let observer = EndsAt::question(number);
        let error = model.encode_observed(TEXTS, &request, &observer).unwrap_err();
        assert!(matches!(error, Error::Interrupted { signal: 2, texts: 4, .. }), "{error}");
        assert_eq!(observer.asked(), number, "it goes no further");
        assert_eq!(observer.begun.into_inner(), number > 1, "the first question comes before texts are tokenized");
    }
    assert_eq!(model.encode(TEXTS, &request).unwrap().len(), 4);
}

#[test]
fn all_texts_that_are_too_long_are_counted_before_any_is_encoded() {
    let model = open("width16");
    let request = Request { max_length: Some(4), overflow: Overflow::Error, ..Request::default() };
    let texts = ["a", "a b c d e", "b", "a b c d e f", "c"];
    let error = model.encode_observed(texts, &request, &EndsAt::question(2)).unwrap_err().to_string();
    assert!(error.contains("2 of 5 texts") && error.contains("row 1 (7 tokens), row 3 (8 tokens)"), "{error}");
}

#[test]
fn what_is_asked_for_is_what_is_made() {
    let model = open("width16");
    let last = model.num_hidden_layers();
    let request = Request {
        kinds: vec![Mean, Pooler],
        layers: Some("-2..".parse().unwrap()),
        combine: Some(Combine::Concat),
        special_tokens: SpecialTokens::Drop,
        normalize: true,
        ..Request::default()
    };
    let out = model.encode(TEXTS, &request).unwrap();
    assert_eq!(out.plan().layers, [last - 1, last]);
    assert_eq!(out.whole(Mean).unwrap().dim(), (4, 2 * model.hidden_size()));
    assert_eq!(out.whole(Pooler).unwrap().dim(), (4, model.hidden_size()));
    // Without special tokens there is nothing of an empty text.
    assert!(out.whole(Mean).unwrap().row(1).iter().all(|number| *number == 0.0));
    let sentence = Request { kinds: vec![Sentence], ..Request::default() };
    let out = Model::open("bundled").unwrap().encode(TEXTS, &sentence).unwrap();
    assert_eq!(out.whole(Sentence).unwrap().nrows(), 4);
}

#[test]
fn pairs_and_given_words_are_texts_too() {
    let model = open("width16");
    let request = Request { kinds: vec![Token, Word], ..Request::default() };
    let pair = model.encode([("a b", "c")], &request).unwrap();
    let single = model.encode(["a b"], &request).unwrap();
    assert!(pair.tokens(0).len() > single.tokens(0).len());
    let words = layerwise::Text::of_words(["unaffable", "", "words"]);
    assert_eq!(model.encode([words], &request).unwrap().rows_of(Word, 0).len(), 3);
}

#[test]
fn refusals_name_the_fields_of_a_request() {
    let model = open("width16");
    let says = |request: Request, parts: &[&str]| {
        let error = model.encode(TEXTS, &request).unwrap_err().to_string();
        assert!(!error.contains("--") && parts.iter().all(|part| error.contains(part)), "{error}");
    };
    let all = Request::default;
    says(Request { layers: Some(99.into()), ..all() }, &["`layers`", "layer 99 does not exist"]);
    says(Request { max_length: Some(100_000), ..all() }, &["`max_length` 100000"]);
    says(Request { stride: Some(1), ..all() }, &["`stride`", "`overflow`"]);
    says(Request { kinds: vec![], ..all() }, &["`kinds`"]);
    says(Request { kinds: vec![Sentence], truncate_dim: Some(2), layers: Some(0.into()), ..all() }, &["`layers`"]);
    says(Request { max_length: Some(4), overflow: Overflow::Error, ..all() }, &["row 0", "`overflow`"]);
    let error = Model::open("/no/such/folder").unwrap_err();
    assert!(!error.to_string().is_empty());
    let deep = Model::builder(golden("width16").to_str().unwrap()).deepest(0).open().unwrap();
    assert!(deep.encode(["a"], &Request::default()).is_err());
    assert!(deep.encode(["a"], &Request { layers: Some(0.into()), ..Request::default() }).is_ok());
}

/// Keeps the order in which it was told things.
#[derive(Default)]
struct Diary {
    arrays: usize,
    texts: usize,
    rows: Vec<usize>,
    ended: usize,
}

impl Sink for Diary {
    fn begin(&mut self, plan: &Plan) -> Result<()> {
        self.arrays = plan.arrays().len();
        self.rows = plan.arrays().iter().map(|_| 0).collect();
        Ok(())
    }

    fn take_text(&mut self, _: &Encoded) -> Result<()> {
        self.texts += 1;
        Ok(())
    }

    fn write(&mut self, index: usize, rows: &[f32]) -> Result<()> {
        self.rows[index] += rows.len();
        Ok(())
    }

    fn end_batch(&mut self, batch: &Batch) -> Result<()> {
        self.ended += batch.ended_texts().count();
        assert!(self.ended <= self.texts, "a text is told before its vectors");
        Ok(())
    }
}

#[test]
fn any_number_of_texts_goes_into_a_sink() {
    let model = open("width3");
    let mut diary = Diary::default();
    let texts = (0..3000).map(|number| format!("a b {number}"));
    model.encode_into(texts, &Request::default(), &mut diary).unwrap();
    assert_eq!((diary.texts, diary.ended, diary.arrays), (3000, 3000, model.num_hidden_layers() + 1));
    assert!(diary.rows.iter().all(|&numbers| numbers == 3000 * model.hidden_size()));
}

/// A sink that fails ends the job with its error.
struct Full;

impl Sink for Full {
    fn write(&mut self, _: usize, _: &[f32]) -> Result<()> {
        Err(Error::Usage("no more".to_owned()))
    }

    fn end_batch(&mut self, _: &Batch) -> Result<()> {
        Ok(())
    }
}

#[test]
fn a_sink_may_refuse() {
    let error = open("width3").encode_into(TEXTS, &Request::default(), &mut Full).unwrap_err();
    assert_eq!(error.to_string(), "no more");
}

/// Writes down what it is told.
#[derive(Default)]
struct Listener(Mutex<Vec<String>>);

impl Observer for Listener {
    fn note(&self, message: &str) {
        self.0.lock().unwrap().push(message.to_owned());
    }

    fn warn(&self, message: &str) {
        self.note(message);
    }
}

#[test]
fn a_directory_holds_what_memory_holds() {
    let folder = tempfile::tempdir().unwrap();
    let (file, out) = (folder.path().join("texts.txt"), folder.path().join("out"));
    fs::write(&file, TEXTS.map(|text| format!("{text}\n")).concat()).unwrap();
    let listener = Arc::new(Listener::default());
    let model =
        Model::builder(golden("width16").to_str().unwrap()).observer(Arc::clone(&listener) as _).open().unwrap();
    let request = Request { kinds: vec![Mean, Token], max_length: Some(6), ..Request::default() };
    let input = Input::of_files([&file]).unwrap();
    for _ in 0..2 {
        // The second time there is nothing to do.
        model.encode_to_directory(&input, &request, &out, DirectoryOptions::default()).unwrap();
    }
    assert!(listener.0.lock().unwrap().iter().any(|message| message.contains("cut off")));
    let embeddings = model.encode(TEXTS, &request).unwrap();
    assert!(embeddings.truncated(3) > 0);
    for kind in [Mean, Token] {
        for layer in 0..=model.num_hidden_layers() {
            let bytes = fs::read(out.join(format!("{kind}/layer_{layer:02}.npy"))).unwrap();
            let numbers = bits(embeddings.get(kind, layer).unwrap());
            let expected: Vec<u8> = numbers.iter().flat_map(|bits| bits.to_le_bytes()).collect();
            assert!(bytes.ends_with(&expected), "{kind}, layer {layer}");
        }
    }
    assert!(out.join("manifest.json").is_file());
    let other = Request { kinds: vec![VectorKind::Max], ..Request::default() };
    let error = model.encode_to_directory(&input, &other, &out, DirectoryOptions::default()).unwrap_err();
    assert!(error.to_string().contains("another job"), "{error}");
}
