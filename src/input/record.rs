//! One text of the input with its columns.

use std::ops::Range;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

/// A JSON value as the input spells it, so that numbers keep all their digits.
pub type Json = Box<RawValue>;

/// One text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// The text, without its line end.
    pub text: String,
    /// For pre-tokenized input, the range of each word in bytes.
    pub words: Option<Vec<Range<usize>>>,
}

impl Text {
    /// A text of given words, joined by spaces.
    pub fn of_words<'a>(words: impl IntoIterator<Item = &'a str>) -> Self {
        let (mut text, mut ranges) = (String::new(), Vec::new());
        for word in words {
            if !ranges.is_empty() {
                text.push(' ');
            }
            ranges.push(text.len()..text.len() + word.len());
            text.push_str(word);
        }
        Self { text, words: Some(ranges) }
    }

    /// A text of one line. If it is pre-tokenized, its words are separated by spaces and tabs.
    pub fn of_line(text: String, pretokenized: bool) -> Self {
        let words = pretokenized.then(|| {
            let start_of = |word: &str| word.as_ptr() as usize - text.as_ptr() as usize;
            text.split([' ', '\t'])
                .filter(|word| !word.is_empty())
                .map(|word| start_of(word)..start_of(word) + word.len())
                .collect()
        });
        Self { text, words }
    }
}

/// A stretch of a text, \[start, end): in Unicode characters, or in words where these are given.
pub type Span = Range<usize>;

/// A text, its columns, and the text it is paired with.
#[derive(Debug, Clone)]
pub struct Record {
    /// The text to encode.
    pub text: Text,
    /// The second text of a pair.
    pub pair: Option<Text>,
    /// The id, which is unique in the input.
    pub id: Option<String>,
    /// The label: a string, a number or a boolean, or a list of them with one for each span, or for each word.
    pub label: Option<Json>,
    /// The spans of the text that have vectors of their own, of an input that has them.
    pub spans: Option<Vec<Span>>,
    /// The columns of `--carry`, in order.
    pub carried: Vec<(String, Json)>,
    /// Where it stands in the input, if bad lines are skipped: then this cannot be told from its row.
    pub line: Option<SourceLine>,
}

/// A place in the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SourceLine {
    /// The number of the file, from 1, where there are several. Their names may be other ones the next time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<u32>,
    /// The line, from 1.
    pub line: u64,
}

impl From<Text> for Record {
    /// A text without columns.
    fn from(text: Text) -> Self {
        Self { text, pair: None, id: None, label: None, spans: None, carried: Vec::new(), line: None }
    }
}

impl Record {
    /// Adds the record to a digest. Every part is preceded by its length, so that different records give different
    /// bytes.
    pub fn digest_into(&self, digest: &mut Sha256) {
        let mut part = |bytes: &[u8]| {
            digest.update((bytes.len() as u64).to_le_bytes());
            digest.update(bytes);
        };
        for text in [Some(&self.text), self.pair.as_ref()] {
            let Some(Text { text, words }) = text else {
                part(b"no pair");
                part(b"");
                continue;
            };
            part(text.as_bytes());
            let ends = words.iter().flatten().flat_map(|word| [word.start as u64, word.end as u64]);
            let ends = ends.flat_map(u64::to_le_bytes).collect::<Vec<u8>>();
            part(if words.is_some() { b"words" } else { b"raw" });
            part(&ends);
        }
        for column in [self.id.as_deref(), self.label.as_ref().map(|label| label.get())] {
            part(&[u8::from(column.is_some())]);
            part(column.unwrap_or_default().as_bytes());
        }
        part(&(self.carried.len() as u64).to_le_bytes());
        for (name, value) in &self.carried {
            part(name.as_bytes());
            part(value.get().as_bytes());
        }
        if let Some(spans) = &self.spans {
            let ends = spans.iter().flat_map(|span| [span.start as u64, span.end as u64]);
            part(b"spans");
            part(&ends.flat_map(u64::to_le_bytes).collect::<Vec<u8>>());
        }
        if let Some(SourceLine { file, line }) = self.line {
            part(&file.unwrap_or_default().to_le_bytes());
            part(&line.to_le_bytes());
        }
    }

    /// The approximate size in memory, in bytes.
    pub(super) fn size(&self) -> usize {
        let text = |text: &Text| text.text.len() + 16 * text.words.as_ref().map_or(0, Vec::len);
        let label = self.label.as_ref().map_or(0, |label| label.get().len());
        let carried = self.carried.iter().map(|(name, value)| name.len() + value.get().len());
        let spans = 16 * self.spans.as_ref().map_or(0, Vec::len);
        text(&self.text) + self.pair.as_ref().map_or(0, text) + label + spans + carried.sum::<usize>()
    }
}

impl From<String> for Record {
    fn from(text: String) -> Self {
        Self::from(Text { text, words: None })
    }
}

impl From<&str> for Record {
    fn from(text: &str) -> Self {
        Self::from(text.to_owned())
    }
}

/// Two texts that are encoded together.
impl From<(&str, &str)> for Record {
    fn from((text, pair): (&str, &str)) -> Self {
        Self { pair: Some(Text { text: pair.to_owned(), words: None }), ..Self::from(text) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn digest(record: &Record) -> Vec<u8> {
        let mut digest = Sha256::new();
        record.digest_into(&mut digest);
        digest.finalize().to_vec()
    }

    #[test]
    fn every_part_is_in_the_digest() {
        let raw = |text: &str| Text { text: text.to_owned(), words: None };
        let json = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
        let plain = Record::from(raw("a b"));
        let records = [
            plain.clone(),
            Record::from(Text::of_line("a b".to_owned(), true)),
            Record::from(Text::of_words(["a b"])),
            Record { pair: Some(raw("")), ..plain.clone() },
            Record { pair: Some(raw("no pair")), ..plain.clone() },
            Record { id: Some(String::new()), ..plain.clone() },
            Record { id: Some("x".to_owned()), ..plain.clone() },
            Record { label: Some(json("1")), ..plain.clone() },
            Record { label: Some(json("1.0")), ..plain.clone() },
            Record { label: Some(json("\"1\"")), ..plain.clone() },
            Record { label: Some(json("null")), ..plain.clone() },
            Record { carried: vec![("a".to_owned(), json("1"))], ..plain.clone() },
            Record { carried: vec![("a".to_owned(), json("1")), ("b".to_owned(), json("1"))], ..plain.clone() },
            Record { spans: Some(Vec::new()), ..plain.clone() },
            Record { spans: Some(vec![0..1]), ..plain.clone() },
            Record { spans: Some(vec![0..1, 1..3]), ..plain.clone() },
            Record { line: Some(SourceLine { file: None, line: 1 }), ..plain.clone() },
            Record { line: Some(SourceLine { file: None, line: 2 }), ..plain.clone() },
            Record { line: Some(SourceLine { file: Some(1), line: 2 }), ..plain.clone() },
        ];
        let digests = records.iter().map(digest).collect::<std::collections::BTreeSet<_>>();
        assert_eq!(digests.len(), records.len());
        assert_eq!(digest(&plain), digest(&plain.clone()));
    }

    #[test]
    fn words_given_one_by_one_may_hold_spaces_or_nothing() {
        let text = Text::of_words(["a b", "", "é"]);
        assert_eq!(text.text, "a b  é");
        assert_eq!(text.words.unwrap(), [0..3, 4..4, 5..7]);
    }

    proptest! {
        #[test]
        fn words_of_a_line_are_what_lies_between_spaces(line in "[a-z\u{a0}é \t]{0,40}") {
            let Text { text, words } = Text::of_line(line.clone(), true);
            let found: Vec<&str> = words.unwrap().into_iter().map(|word| &text[word]).collect();
            let expected: Vec<&str> = line.split([' ', '\t']).filter(|word| !word.is_empty()).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
