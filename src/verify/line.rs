//! Parses a line of `texts.jsonl` as far as it is checked. Lists are counted, not kept.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::error::json_problem;
use crate::input::SourceLine;
use crate::text_digest::TextDigest;

/// A line. Other keys are carried columns.
#[derive(Debug, Deserialize)]
pub(super) struct ParsedLine {
    pub(super) row: u64,
    // Where bad lines are an error, these may be carried columns.
    file: Option<Box<RawValue>>,
    line: Option<Box<RawValue>>,
    #[serde(deserialize_with = "present")]
    #[allow(dead_code, reason = "to be there is all that is asked of it")]
    id: Option<Str>,
    #[allow(dead_code, reason = "to be there is all that is asked of it")]
    label: IgnoredAny,
    pub(super) n_tokens: u64,
    pub(super) n_tokens_before_truncation: u64,
    // Older versions did not write it, and there it may be a carried column.
    digest: Option<Box<RawValue>>,
    tokens: Option<Count<Str>>,
    token_ids: Option<Count<u32>>,
    offsets: Option<Count<Option<OffsetPair>>>,
    word_ids: Option<WordIds>,
    token_type_ids: Option<Count<u32>>,
    words: Option<Count<Str>>,
    // Without spans, these may be carried columns of an older version.
    spans: Option<Box<RawValue>>,
    span_tokens: Option<Box<RawValue>>,
}

/// The numbers of rows that the lists of a line imply.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lists {
    /// Number of rows of token vectors.
    pub(super) tokens: u64,
    /// Number of rows of word vectors.
    pub(super) words: u64,
    /// Number of rows of span vectors.
    pub(super) spans: u64,
}

impl ParsedLine {
    /// The text's digest, if it has one.
    pub(super) fn digest(&self) -> Result<Option<TextDigest>, String> {
        let parse = |digest: &RawValue| serde_json::from_str(digest.get()).map_err(|error| json_problem(&error));
        self.digest.as_deref().map(parse).transpose()
    }

    /// The text's own line in the input, of a job that skips bad lines.
    pub(super) fn source_line(&self) -> Result<SourceLine, String> {
        let number = |key: &str, value: &RawValue| {
            let number = value.get().parse::<u64>().ok().filter(|&number| number > 0);
            number.ok_or_else(|| format!("{key} is {}; expected a number from 1", value.get()))
        };
        let line = self.line.as_ref().ok_or_else(|| "line is missing".to_owned())?;
        let file = self.file.as_ref().map(|file| number("file", file)).transpose()?;
        let file = file.map(|file| u32::try_from(file).map_err(|_| format!("file is {file}, which no input has")));
        Ok(SourceLine { file: file.transpose()?, line: number("line", line)? })
    }

    /// The numbers of rows; an error if a list is missing or the lists differ in length.
    pub(super) fn lists(&self, has_spans: bool) -> Result<Lists, String> {
        let missing = |key: &str| format!("{key} is missing");
        let tokens = self.tokens.as_ref().ok_or_else(|| missing("tokens"))?.0;
        let word_ids = self.word_ids.as_ref().ok_or_else(|| missing("word_ids"))?;
        for (key, length) in [
            ("token_ids", self.token_ids.as_ref().map(|list| list.0)),
            ("offsets", self.offsets.as_ref().map(|list| list.0)),
            ("word_ids", Some(word_ids.length)),
            ("token_type_ids", Some(self.token_type_ids.as_ref().map_or(tokens, |list| list.0))), // of pairs alone
        ] {
            match length {
                None => return Err(missing(key)),
                Some(length) if length != tokens => {
                    return Err(format!("{key} has {length} entries and tokens has {tokens}"));
                }
                Some(_) => {}
            }
        }
        // Given words may have no token; otherwise the last word is the last one with a token.
        let words = self.words.as_ref().map_or(word_ids.words, |words| words.0);
        if word_ids.words > words {
            return Err(format!("word_ids has word {}; there are {words} words", word_ids.words - 1));
        }
        Ok(Lists { tokens, words, spans: if has_spans { self.spans(tokens)? } else { 0 } })
    }

    /// The number of spans, each of which has some of the line's tokens.
    fn spans(&self, tokens: u64) -> Result<u64, String> {
        let list = |key: &str, value: &Option<Box<RawValue>>| -> Result<Vec<(u64, u64)>, String> {
            let value = value.as_ref().ok_or_else(|| format!("{key} is missing"))?;
            serde_json::from_str(value.get()).map_err(|_| format!("{key} is no list of [start, end]"))
        };
        let (spans, span_tokens) = (list("spans", &self.spans)?, list("span_tokens", &self.span_tokens)?);
        if spans.len() != span_tokens.len() {
            return Err(format!("span_tokens has {} entries and spans has {}", span_tokens.len(), spans.len()));
        }
        let is_sound = |&(start, end): &(u64, u64)| start < end && end <= tokens;
        match span_tokens.iter().position(|span| !is_sound(span)) {
            None => Ok(spans.len() as u64),
            Some(span) => {
                let (start, end) = span_tokens[span];
                Err(format!("span_tokens has [{start}, {end}] for span {span}, and there are {tokens} tokens"))
            }
        }
    }
}

/// Deserializes a key that may be null but not missing.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    Option::deserialize(deserializer)
}

/// A string.
#[derive(Debug)]
struct Str;

impl<'de> Deserialize<'de> for Str {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyString;
        impl Visitor<'_> for AnyString {
            type Value = Str;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_str<E>(self, _: &str) -> Result<Str, E> {
                Ok(Str)
            }
        }
        deserializer.deserialize_str(AnyString)
    }
}

/// The offsets of a token, \[start, end).
#[derive(Debug)]
struct OffsetPair;

impl<'de> Deserialize<'de> for OffsetPair {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (start, end) = <(u64, u64)>::deserialize(deserializer)?;
        if start > end { Err(D::Error::custom(format!("offsets {start} to {end} run backward"))) } else { Ok(Self) }
    }
}

/// The length of a list.
#[derive(Debug)]
struct Count<T>(u64, PhantomData<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Count<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut count = 0;
        each(deserializer, |_: T| count += 1)?;
        Ok(Self(count, PhantomData))
    }
}

/// The word ids of a line's tokens.
#[derive(Debug)]
struct WordIds {
    length: u64,
    /// One more than the largest word id.
    words: u64,
}

impl<'de> Deserialize<'de> for WordIds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut found = Self { length: 0, words: 0 };
        each(deserializer, |word: Option<u32>| {
            found.length += 1;
            found.words = found.words.max(word.map_or(0, |word| u64::from(word) + 1));
        })?;
        Ok(found)
    }
}

/// Calls `take` with each entry of a list.
fn each<'de, D, T, F>(deserializer: D, take: F) -> Result<(), D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
    F: FnMut(T),
{
    struct List<T, F>(F, PhantomData<T>);
    impl<'de, T: Deserialize<'de>, F: FnMut(T)> Visitor<'de> for List<T, F> {
        type Value = ();

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list")
        }

        fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<(), A::Error> {
            while let Some(entry) = list.next_element()? {
                (self.0)(entry);
            }
            Ok(())
        }
    }
    deserializer.deserialize_seq(List(take, PhantomData))
}
