//! The input's columns in the output: checks of their names, and storage until JSON Lines are printed.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, BufWriter, Seek, Write};

use serde::{Deserialize, Serialize};
use tempfile::SpooledTempFile;

use crate::counts::TextCounts;
use crate::error::{Error, Result};
use crate::input::{Json, Record, SourceLine};
use crate::spec::VectorKind;
use crate::spool::SpoolWriter;
use crate::tokenize::TokenSink;
use crate::tokens::Encoded;

/// Bytes held in memory before they go to a temporary file.
const IN_MEMORY: usize = 1 << 20;

/// The keys that layerwise itself writes for a text, in `texts.jsonl` or on standard output.
const OURS: [&str; 16] = [
    "row",
    "id",
    "label",
    "n_tokens",
    "n_tokens_before_truncation",
    "digest",
    "tokens",
    "token_ids",
    "token_type_ids",
    "offsets",
    "word_ids",
    "words",
    "spans",
    "span_tokens",
    "windows",
    "layers",
];

/// The keys that layerwise writes for a text where bad lines are skipped or answered.
const OURS_WITH_LINES: [&str; 3] = ["file", "line", "error"];

/// The names in the output of those carried columns whose own name is one of layerwise's keys there: `input_word` for `word`.
///
/// # Errors
/// [`Error::Usage`] for a column that is given twice, or would have the name of another one.
pub fn carried_names(names: &[String], has_lines: bool) -> Result<BTreeMap<String, String>> {
    let kinds = VectorKind::ALL;
    let is_ours = |name: &str| {
        (has_lines && OURS_WITH_LINES.contains(&name))
            || OURS.contains(&name)
            || kinds.iter().any(|kind| kind.name() == name)
    };
    for (index, name) in names.iter().enumerate() {
        if name.is_empty() || names[..index].contains(name) {
            let problem = if name.is_empty() { "a column has a name" } else { "is there twice" };
            return Err(Error::Usage(format!("--carry {name}: {problem}")));
        }
    }
    let renamed: BTreeMap<String, String> =
        names.iter().filter(|name| is_ours(name)).map(|name| (name.clone(), format!("input_{name}"))).collect();
    match renamed.iter().find(|(_, to)| names.contains(to)) {
        Some((name, to)) => Err(Error::Usage(format!(
            "--carry {name}: the output has `{name}` of its own, and `{to}`, which it would be called, is carried, too; rename one of them in the input"
        ))),
        None => Ok(renamed),
    }
}

/// The columns of one text that are carried from the input to the output.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct ColumnsOfText {
    pub(crate) line: Option<SourceLine>,
    pub(crate) id: Option<String>,
    pub(crate) label: Option<Json>,
    pub(crate) spans: Option<Vec<[usize; 2]>>,
    pub(crate) carried: Vec<(String, Json)>,
}

#[derive(Serialize)]
struct ColumnsOfRecord<'a> {
    line: Option<SourceLine>,
    id: Option<&'a str>,
    label: Option<&'a Json>,
    spans: Option<Vec<[usize; 2]>>,
    carried: &'a [(String, Json)],
}

/// Stores the columns of texts until their vectors are computed.
#[derive(Debug)]
pub struct ColumnsWriter(BufWriter<SpooledTempFile>);

/// Returns the stored columns in the order of the texts.
#[derive(Debug)]
pub struct ColumnsReader(BufReader<SpooledTempFile>);

impl ColumnsWriter {
    /// An empty store, in memory at first and then in a temporary file.
    #[allow(clippy::new_without_default, reason = "a default says nothing of files")]
    pub fn new() -> Self {
        Self(BufWriter::new(SpooledTempFile::new(IN_MEMORY)))
    }

    /// Stores a text's columns.
    ///
    /// # Errors
    /// [`Error::Io`] when the temporary file cannot be written.
    pub fn write(&mut self, record: &Record) -> Result<()> {
        let columns = ColumnsOfRecord {
            line: record.line,
            id: record.id.as_deref(),
            label: record.label.as_ref(),
            spans: record.spans.as_ref().map(|spans| spans.iter().map(|span| [span.start, span.end]).collect()),
            carried: &record.carried,
        };
        let written = serde_json::to_writer(&mut self.0, &columns).map_err(io::Error::from);
        written.and_then(|()| self.0.write_all(b"\n")).map_err(Error::io("write", std::env::temp_dir()))
    }

    /// Ends the writing, and returns a reader at the first text.
    ///
    /// # Errors
    /// [`Error::Io`] when the temporary file cannot be written.
    pub fn finish(self) -> Result<ColumnsReader> {
        let file = self.0.into_inner().map_err(io::IntoInnerError::into_error);
        let file = file.and_then(|mut file| file.rewind().map(|()| file));
        Ok(ColumnsReader(BufReader::new(file.map_err(Error::io("write", std::env::temp_dir()))?)))
    }
}

/// The columns of texts, stored beside the spool of their tokens.
pub(crate) struct SpooledTexts<'a> {
    pub(crate) spool: &'a mut SpoolWriter,
    pub(crate) columns: &'a mut ColumnsWriter,
}

impl TokenSink for SpooledTexts<'_> {
    fn take(&mut self, _: u64, record: &Record, encoded: &Encoded, counts: TextCounts) -> Result<()> {
        let written = self.spool.write(counts, &encoded.tokens);
        written.map_err(Error::io("write a temporary file into", std::env::temp_dir()))?;
        self.columns.write(record)
    }
}

impl ColumnsReader {
    /// Passes over the columns of the next `texts` texts.
    pub(crate) fn skip(&mut self, texts: u64) -> Result<()> {
        let mut skip = || (0..texts).try_for_each(|_| self.0.skip_until(b'\n').map(drop));
        skip().map_err(Error::io("read back a temporary file in", std::env::temp_dir()))
    }

    /// Returns the next text's columns.
    pub(crate) fn next_text(&mut self) -> Result<ColumnsOfText> {
        let mut line = String::new();
        let read = self.0.read_line(&mut line);
        let text = read.and_then(|_| serde_json::from_str(&line).map_err(io::Error::from));
        text.map_err(Error::io("read back a temporary file in", std::env::temp_dir()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_ours_get_another_one() {
        let names_of = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        let names = |names: &[&str]| carried_names(&names_of(names), false);
        assert!(names(&[]).unwrap().is_empty() && names(&["text", "stars", "line"]).unwrap().is_empty());
        for name in ["row", "layers", "mean", "pooler", "word", "words", "spans", "label", "id"] {
            assert_eq!(names(&["a", name]).unwrap()[name], format!("input_{name}"));
        }
        for name in ["line", "file", "error"] {
            assert_eq!(carried_names(&names_of(&[name]), true).unwrap()[name], format!("input_{name}"));
        }
        for twice in [&["a", "b", "a"][..], &[""], &["word", "input_word"]] {
            assert!(matches!(names(twice), Err(Error::Usage(_))), "{twice:?}");
        }
    }
}
