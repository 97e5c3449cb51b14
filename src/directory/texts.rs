//! `texts.jsonl`: a line per text, in input order.

use std::ops::Range;

use serde::{Serialize, Serializer};

use crate::batch::{SPECIAL, Tokens};
use crate::input::{Json, Record, SourceLine, Span, Text};
use crate::spec::SpecialTokens;
use crate::text_digest::TextDigest;
use crate::tokens::Encoded;

/// A line of `texts.jsonl`.
#[derive(Debug, Serialize)]
pub struct TextLine<'a> {
    row: u64,
    /// Where bad lines are skipped: the text's own line, and its file if there are several.
    #[serde(flatten)]
    line: Option<SourceLine>,
    id: Option<&'a str>,
    label: Option<&'a Json>,
    #[serde(flatten)]
    carried: Carried<'a>,
    n_tokens: usize,
    n_tokens_before_truncation: usize,
    /// By which another job knows the text again.
    digest: TextDigest,
    #[serde(flatten)]
    details: Option<Details<'a>>,
}

/// Details of tokens and words, for directories with token or word vectors.
#[derive(Debug, Serialize)]
struct Details<'a> {
    tokens: Vec<&'a str>,
    token_ids: Vec<u32>,
    offsets: Vec<Option<(usize, usize)>>,
    word_ids: Vec<WordId>,
    /// For pairs: 0 for tokens of the first text, 1 for tokens of the second.
    #[serde(skip_serializing_if = "Option::is_none")]
    token_type_ids: Option<Vec<u32>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    words: Option<Vec<&'a str>>,
    #[serde(flatten)]
    spans: Option<SpansOfText<'a>>,
}

/// The spans of an input that has them.
#[derive(Debug, Serialize)]
struct SpansOfText<'a> {
    #[serde(serialize_with = "pairs")]
    spans: &'a [Span],
    /// The \[start, end) of each span among the tokens of the line.
    span_tokens: Vec<[usize; 2]>,
}

/// Ranges as lists of two numbers.
pub(crate) fn pairs<S: Serializer>(spans: &[Span], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(spans.iter().map(|span| [span.start, span.end]))
}

/// A word's index, `null` for a special token.
#[derive(Debug, Clone, Copy)]
struct WordId(u32);

impl Serialize for WordId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            SPECIAL => serializer.serialize_none(),
            word => serializer.serialize_u32(word),
        }
    }
}

impl<'a> TextLine<'a> {
    /// The line of a text. With `details`, it has tokens and words. Dropped special tokens are left out of the lists,
    /// so that entry `i` of a list belongs to row `i` of the text's token vectors.
    pub fn new(
        row: u64,
        record: &'a Record,
        encoded: &'a Encoded,
        details: Option<WordsSpelled>,
        special_tokens: SpecialTokens,
    ) -> Self {
        let tokens = &encoded.tokens;
        let kept = || tokens.kept(special_tokens);
        Self {
            row,
            line: record.line,
            id: record.id.as_deref(),
            label: record.label.as_ref(),
            carried: Carried(&record.carried),
            n_tokens: tokens.input_ids.len(),
            n_tokens_before_truncation: encoded.length_before_truncation,
            digest: TextDigest::of(tokens),
            details: details.map(|spelled| Details {
                tokens: kept().map(|i| encoded.strings[i].as_str()).collect(),
                token_ids: kept().map(|i| tokens.input_ids[i]).collect(),
                offsets: kept().map(|i| encoded.offsets[i]).collect(),
                word_ids: kept().map(|i| WordId(tokens.words[i])).collect(),
                token_type_ids: record.pair.is_some().then(|| kept().map(|i| tokens.token_type_ids[i]).collect()),
                words: match (&record.text.words, spelled) {
                    (Some(_), _) => Some(words(&record.text).chain(record.pair.iter().flat_map(words)).collect()),
                    (None, WordsSpelled::All) => Some(words_of_tokens(record, encoded)),
                    (None, WordsSpelled::Given) => None,
                },
                spans: record.spans.as_deref().map(|spans| SpansOfText {
                    spans,
                    span_tokens: tokens.spans.iter().map(|span| kept_of(tokens, span, special_tokens)).collect(),
                }),
            }),
        }
    }
}

/// The tokens of a span counted among those that have rows.
fn kept_of(tokens: &Tokens, span: &Range<u32>, special_tokens: SpecialTokens) -> [usize; 2] {
    [span.start, span.end].map(|end| match special_tokens {
        SpecialTokens::Keep => end as usize,
        SpecialTokens::Drop => tokens.words[..end as usize].iter().filter(|&&word| word != SPECIAL).count(),
    })
}

/// Which words a line spells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WordsSpelled {
    /// Those that were given as words; others are stretches of the text that the offsets of their tokens tell.
    Given,
    /// All: a table of words has a row for each.
    All,
}

/// The words of raw text, each from where its first token begins to where its last one ends.
fn words_of_tokens<'a>(record: &'a Record, encoded: &Encoded) -> Vec<&'a str> {
    let mut spans: Vec<Option<(usize, usize)>> = vec![None; encoded.tokens.word_count as usize];
    for (&word, offsets) in encoded.tokens.words.iter().zip(&encoded.offsets) {
        if let (Some(span), Some((start, end))) = (spans.get_mut(word as usize), *offsets) {
            let (first, last) = span.unwrap_or((start, end));
            *span = Some((first.min(start), last.max(end)));
        }
    }
    // Where each character begins, and the last one ends.
    let starts = |text: &Text| text.text.char_indices().map(|(at, _)| at).chain([text.text.len()]).collect::<Vec<_>>();
    let of_first = starts(&record.text);
    let of_second = record.pair.as_ref().map(starts);
    let spell = |(word, span): (usize, Option<(usize, usize)>)| {
        let (start, end) = span?;
        let is_first = (word as u32) < encoded.words_of_first;
        let (text, starts) = match (&record.pair, &of_second) {
            (Some(pair), Some(starts)) if !is_first => (pair, starts),
            _ => (&record.text, &of_first),
        };
        text.text.get(*starts.get(start)?..*starts.get(end)?)
    };
    spans.into_iter().enumerate().map(|word| spell(word).unwrap_or_default()).collect()
}

/// The words of pre-tokenized text.
fn words(text: &Text) -> impl Iterator<Item = &str> {
    text.words.iter().flatten().map(|word| &text.text[word.clone()])
}

/// Carried columns, as keys of the line.
#[derive(Debug, Clone, Copy)]
struct Carried<'a>(&'a [(String, Json)]);

impl Serialize for Carried<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}
