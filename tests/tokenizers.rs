//! Tokenizers of every family against transformers: ids, token types, offsets and words of odd texts (tests/tokenizers).

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

#[path = "support/damage.rs"]
mod damage;

use std::fs;
use std::path::{Path, PathBuf};

use damage::{damage, damaged};
use layerwise::batch::SPECIAL;
use layerwise::checkpoint::{Checkpoint, ModelLocation};
use layerwise::input::Text;
use layerwise::tokens::{Encoded, Tokenizer};
use proptest::prelude::*;
use serde::Deserialize;

/// What is given to a tokenizer: a text, a pair, or words one by one.
#[derive(Deserialize, Debug)]
struct Case {
    #[serde(default)]
    text: String,
    pair: Option<String>,
    words: Option<Vec<String>>,
}

/// What transformers made of it.
#[derive(Deserialize)]
struct Expected {
    ids: Option<Vec<u32>>,
    types: Option<Vec<u32>>,
    offsets: Option<Vec<(usize, usize)>>,
    words: Option<Vec<Option<u32>>>,
    error: Option<String>,
}

#[derive(Deserialize)]
struct Answers {
    class: String,
    made: Vec<Expected>,
}

fn open(folder: &Path) -> layerwise::Result<Tokenizer> {
    let checkpoint = Checkpoint::find(&ModelLocation::local(folder.to_str().unwrap()))?;
    Tokenizer::load(&checkpoint, 1 << 30, 1 << 20)
}

/// A text of words that are given one by one, with a space between two.
fn of_words(words: &[String]) -> Text {
    let mut text = String::new();
    let mut places = Vec::new();
    for word in words {
        if !text.is_empty() {
            text.push(' ');
        }
        places.push(text.len()..text.len() + word.len());
        text.push_str(word);
    }
    Text { text, words: Some(places) }
}

fn plain(text: &str) -> Text {
    Text { text: text.to_owned(), words: None }
}

fn encode(tokenizer: &Tokenizer, case: &Case) -> layerwise::Result<Encoded> {
    let text = case.words.as_ref().map_or_else(|| plain(&case.text), |words| of_words(words));
    tokenizer.encode(0, &text, case.pair.as_deref().map(plain).as_ref())
}

/// What differs, if anything does.
fn difference(case: &Case, expected: &Expected, encoded: &Encoded) -> Option<String> {
    let ids = expected.ids.as_ref().unwrap();
    if encoded.tokens.input_ids != *ids {
        return Some(format!("ids {:?} instead of {ids:?} ({:?})", encoded.tokens.input_ids, encoded.strings));
    }
    let types = expected.types.clone().unwrap_or_else(|| vec![0; ids.len()]);
    if encoded.tokens.token_type_ids != types {
        return Some(format!("types {:?} instead of {types:?}", encoded.tokens.token_type_ids));
    }
    // Those of words count from the word's own beginning there.
    let starts: Vec<usize> = case
        .words
        .iter()
        .flatten()
        .scan(0, |at, word| {
            let start = *at;
            *at += word.chars().count() + 1;
            Some(start)
        })
        .collect();
    if let Some(offsets) = &expected.offsets {
        for (index, (own, (start, end))) in encoded.offsets.iter().zip(offsets).enumerate() {
            let word = expected.words.as_ref().and_then(|words| words[index]);
            let before = word.and_then(|word| starts.get(word as usize)).copied().unwrap_or(0);
            if own.is_some_and(|own| own != (before + start, before + end)) || own.is_none() && (*start, *end) != (0, 0)
            {
                return Some(format!(
                    "token {index} ({}) at {own:?} instead of {:?}",
                    encoded.strings[index],
                    (start, end)
                ));
            }
        }
    }
    if let Some(words) = expected.words.as_ref().filter(|_| case.pair.is_none()) {
        let own: Vec<Option<u32>> =
            encoded.tokens.words.iter().map(|&word| (word != SPECIAL).then_some(word)).collect();
        if own != *words {
            return Some(format!("words {own:?} instead of {words:?} ({:?})", encoded.strings));
        }
    }
    None
}

/// Compares a folder's tokenizer with what is expected of it; the number of texts.
fn compare(folder: &Path, problems: &mut Vec<String>) -> usize {
    let name = folder.file_name().unwrap().to_str().unwrap();
    let read = |file: PathBuf| fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let own = folder.join("texts.json");
    let texts = if own.exists() { own } else { folder.parent().unwrap().join("texts.json") };
    let cases: Vec<Case> = serde_json::from_str(&read(texts)).unwrap();
    let answers: Answers = serde_json::from_str(&read(folder.join("expected.json"))).unwrap();
    assert_eq!(cases.len(), answers.made.len(), "{name}: make.py writes both");
    let tokenizer = match open(folder) {
        Ok(tokenizer) => tokenizer,
        Err(error) => {
            problems.push(format!("{name} ({}): {error}", answers.class));
            return 0;
        }
    };
    for (case, expected) in cases.iter().zip(&answers.made) {
        let problem = match (encode(&tokenizer, case), &expected.error) {
            (Ok(encoded), None) => difference(case, expected, &encoded),
            // Words of a slow tokenizer are joined there, and given one by one here.
            (_, Some(_)) => None,
            (Err(error), None) => Some(error.to_string()),
        };
        problems.extend(problem.map(|problem| format!("{name} ({}): {case:?}: {problem}", answers.class)));
    }
    cases.len()
}

/// All folders with an `expected.json`.
fn compare_all(root: &Path) {
    let mut folders: Vec<PathBuf> = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.retain(|folder| folder.join("expected.json").exists());
    folders.sort_unstable();
    assert!(!folders.is_empty(), "{}: no folder with expected.json", root.display());
    let (mut problems, mut texts) = (Vec::new(), 0);
    for folder in &folders {
        texts += compare(folder, &mut problems);
    }
    assert!(texts > 0);
    let shown: Vec<&String> = problems.iter().take(60).collect();
    assert!(problems.is_empty(), "{} of {texts} differ: {shown:#?}", problems.len());
}

#[test]
fn every_family_has_the_tokens_of_transformers() {
    compare_all(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tokenizers"));
}

/// Real tokenizers (`make tokenizers`).
#[test]
#[ignore = "needs the folder that tests/tokenizers/real.py makes"]
fn real_tokenizers_have_the_tokens_of_transformers() {
    compare_all(Path::new(&std::env::var_os("LAYERWISE_TOKENIZERS").expect("the folder's path")));
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tokenizers").join(name)
}

/// A copy of a folder, to change files in.
fn copied(name: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(fixture(name)).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, directory.path().join(path.file_name().unwrap())).unwrap();
    }
    directory
}

/// Tokens, offsets and words of a text, special tokens left out.
fn seen(folder: &str, text: &Text) -> Vec<(String, (usize, usize), u32)> {
    let encoded = open(&fixture(folder)).unwrap().encode(0, text, None).unwrap();
    let tokens = encoded.strings.into_iter().zip(encoded.offsets).zip(encoded.tokens.words);
    tokens.filter_map(|((token, offsets), word)| Some((token, offsets?, word))).collect()
}

#[test]
fn a_second_space_is_a_word_of_its_own_where_tokens_are_bytes() {
    // RoBERTa's offsets leave white space out, so that such a token has none; ModernBERT's have it.
    let place = |folder| seen(folder, &plain("a  b")).into_iter().map(|(_, offsets, word)| (offsets, word)).collect();
    let (roberta, modernbert): (Vec<_>, Vec<_>) = (place("roberta-json"), place("modernbert-json"));
    assert_eq!(roberta, [((0, 1), 0), ((2, 2), 1), ((3, 4), 2)]);
    assert_eq!(modernbert, [((0, 1), 0), ((1, 2), 1), ((2, 4), 2)]);
}

#[test]
fn words_of_sentence_piece_are_what_is_between_spaces() {
    for folder in ["xlm-roberta-json", "xlm-roberta-json-old", "camembert-spm", "albert-spm", "deberta-v2-json"] {
        let tokens = seen(folder, &plain("hello, world,"));
        assert_eq!(tokens.last().unwrap().2, 1, "{folder}: two words");
        let second = tokens.iter().find(|(_, _, word)| *word == 1).unwrap();
        // The space before a word is part of its first token, unless the text was cut at white space first.
        assert_eq!(second.1.0, if folder.ends_with("old") { 7 } else { 6 }, "{folder}");
    }
    let split = seen("deberta-v2-spm-split", &plain("hello, world,"));
    assert_eq!(split.last().unwrap().2, 3, "with split_by_punct each comma is a word");
}

#[test]
fn residues_are_words() {
    let words: Vec<u32> = seen("esm", &plain("MKT <mask>A")).into_iter().map(|(_, _, word)| word).collect();
    assert_eq!(words, [0, 1, 2, 3, 4]);
    let unknown = seen("esm", &plain("MKJJT mk"));
    let tokens: Vec<&str> = unknown.iter().map(|(token, ..)| token.as_str()).collect();
    assert_eq!(tokens, ["M", "K", "<unk>", "T", "<unk>"]);
    assert_eq!(unknown[2].1, (2, 4), "what no token is in is one unknown token");
}

#[test]
fn words_given_one_by_one_have_the_space_before_them() {
    let words = |words: &[&str]| of_words(&words.iter().map(ToString::to_string).collect::<Vec<_>>());
    for folder in ["roberta-json", "roberta-files", "modernbert-json", "eurobert-json"] {
        let tokens = seen(folder, &words(&["The", "boat"]));
        for word in [0, 1] {
            let of_word: Vec<_> = tokens.iter().filter(|token| token.2 == word).collect();
            assert!(
                of_word[0].0.starts_with('Ġ') && of_word[1..].iter().all(|token| !token.0.starts_with('Ġ')),
                "{tokens:?}"
            );
        }
        assert_eq!(tokens.last().unwrap().1.1, 8, "{folder}: offsets are those of the text");
        // The text itself keeps its beginning without a space.
        assert!(!seen(folder, &plain("The boat"))[0].0.starts_with('Ġ'), "{folder}");
    }
}

#[test]
fn pairs_need_something_between_them() {
    let without = open(&fixture("esm-without-eos")).unwrap();
    let error = without.check_pairs().unwrap_err().to_string();
    assert!(error.contains("eos_token") && error.contains("takes no pairs"), "{error}");
    open(&fixture("esm")).unwrap().check_pairs().unwrap();
    // Types of a family that has them do no harm to a model that ignores them.
    let deberta = open(&fixture("deberta-v2-json")).unwrap().with_type_vocab_size(usize::MAX);
    deberta.check_pairs().unwrap();
    assert!(deberta.has_token_types());
    assert!(!open(&fixture("roberta-json")).unwrap().has_token_types());
}

#[test]
fn nothing_stands_around_a_text_of_bert_generation() {
    let tokenizer = open(&fixture("bert-generation-spm")).unwrap();
    let encoded = tokenizer.encode(0, &plain("the boat"), None).unwrap();
    assert!(encoded.offsets.iter().all(Option::is_some), "no special token around a text");
    // So that a text may have no token at all; its rows are zeros, as of any text of which no token takes part.
    assert_eq!(tokenizer.encode(0, &plain(" "), None).unwrap(), Encoded::default());
}

/// The error of a folder in which a file has this content, or is missing.
fn error_with(folder: &str, file: &str, content: Option<&[u8]>) -> String {
    let copy = copied(folder);
    let path = copy.path().join(file);
    match content {
        Some(content) => fs::write(path, content).unwrap(),
        None => fs::remove_file(path).unwrap(),
    }
    open(copy.path()).err().expect("an error").to_string()
}

#[test]
fn what_cannot_be_read_is_named_with_the_way_out() {
    let config = |settings: &str| error_with("roberta-json", "tokenizer_config.json", Some(settings.as_bytes()));
    for (error, parts) in [
        (error_with("esm", "config.json", Some(br#"{"model_type": "roformer"}"#)), ["RoFormerTokenizer", "jieba"]),
        (config(r#"{"tokenizer_class": "RoFormerTokenizer"}"#), ["tokenizer_config.json", "jieba"]),
        (config(r#"{"tokenizer_class": "BartphoTokenizer"}"#), ["BartphoTokenizer", "tokenizer_object"]),
        (config(r#"{"trim_offsets": 1}"#), ["trim_offsets", "true or false"]),
        (error_with("esm", "vocab.txt", None), ["vocab.txt", "EsmTokenizer"]),
        (error_with("roberta-files", "merges.txt", None), ["merges.txt", "vocab.json and merges.txt"]),
        (error_with("roberta-files", "merges.txt", Some(b"#version\na b c\n")), ["merges.txt", "line 2"]),
        (error_with("roberta-files", "merges.txt", Some(b"#version\nxx yy\n")), ["merges.txt", "`xx`"]),
        (error_with("roberta-files", "vocab.json", Some(b"[1]")), ["vocab.json", "is damaged"]),
        (error_with("albert-spm", "spiece.model", Some(b"no protocol buffer")), ["spiece.model", "SentencePiece"]),
        (error_with("albert-spm", "spiece.model", Some(b"")), ["spiece.model", "no pieces"]),
        (
            error_with("albert-spm", "config.json", Some(br#"{"model_type": "bert"}"#)),
            ["spiece.model", "tokenizer_class"],
        ),
        (error_with("esm", "tokenizer_config.json", Some(br#"{"cls_token": null}"#)), ["cls_token", "name a token"]),
        (
            error_with("bert-generation-spm", "tokenizer_config.json", Some(br#"{"sp_model_kwargs": {"alpha": 1}}"#)),
            ["sp_model_kwargs", "not supported"],
        ),
    ] {
        assert!(parts.iter().all(|part| error.contains(part)), "{parts:?}: {error}");
    }
}

#[test]
fn the_files_of_a_class_are_digested_where_they_are_read() {
    let copy = copied("albert-spm");
    fs::write(copy.path().join("model.safetensors"), b"weights").unwrap();
    let digested = || {
        let checkpoint = Checkpoint::find(&ModelLocation::local(copy.path().to_str().unwrap())).unwrap();
        checkpoint.digests().unwrap().contains_key("spiece.model")
    };
    assert!(digested());
    fs::copy(fixture("albert-json/tokenizer.json"), copy.path().join("tokenizer.json")).unwrap();
    assert!(!digested(), "beside tokenizer.json it decides nothing");
}

#[test]
fn a_map_of_characters_that_leads_nowhere_is_an_error_of_the_text() {
    // Leaves of its tree are numbers with the highest bit set: places in what characters are replaced by.
    let mut bytes = fs::read(fixture("albert-spm/spiece.model")).unwrap();
    for at in 0..bytes.len() - 3 {
        if bytes[at + 2..at + 4] == [0, 0x80] {
            bytes[at..at + 3].fill(0xff);
        }
    }
    let copy = copied("albert-spm");
    fs::write(copy.path().join("spiece.model"), bytes).unwrap();
    let tokenizer = open(copy.path()).unwrap();
    tokenizer.encode(0, &plain("the boat"), None).unwrap();
    let error = tokenizer.encode(0, &plain("the\tboat"), None).unwrap_err().to_string();
    assert!(error.contains("makes no sense"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    /// An error or tokens, never a panic.
    #[test]
    fn damaged_files_do_no_harm(
        (folder, file) in proptest::sample::select(&[
            ("xlm-roberta-spm", "sentencepiece.bpe.model"), ("xlm-roberta-spm-bpe", "sentencepiece.bpe.model"),
            ("camembert-spm-5", "sentencepiece.bpe.model"), ("albert-spm", "spiece.model"), ("deberta-v2-spm", "spm.model"),
            ("bert-generation-spm", "spiece.model"), ("roberta-files", "vocab.json"), ("roberta-files", "merges.txt"),
            ("xlm-roberta-json", "tokenizer.json"), ("roberta-json-5", "tokenizer.json"), ("esm", "vocab.txt"),
        ][..]),
        damages in proptest::collection::vec(damage(), 1..4),
        within in prop_oneof![Just(64usize), Just(3000), Just(1 << 20)],
    ) {
        let copy = copied(folder);
        let path = copy.path().join(file);
        fs::write(&path, damaged(fs::read(&path).unwrap(), &damages, within)).unwrap();
        let text = plain("Hello <mask> naïve WORLD, 中国 ﬁx\0y \u{200b} 🙂 ｆｕｌｌ 1,23,").text.repeat(2);
        match open(copy.path()) {
            Err(error) => prop_assert!(!error.to_string().is_empty()),
            Ok(tokenizer) => {
                if let Err(error) = tokenizer.encode(0, &plain(&text), None) {
                    prop_assert!(!error.to_string().is_empty());
                }
            }
        }
    }
}
