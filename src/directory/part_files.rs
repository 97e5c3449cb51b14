//! Makes the Parquet files of a part out of its rows, which wait in a file of their own, and its lines of `texts.jsonl`.
//!
//! A file's row groups end after so many rows, or so many bytes of lines, and never hold more than that in memory.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Seek, SeekFrom, Write};
use std::ops::Range;
use std::sync::Arc;

use arrow_array::ArrayRef;
use arrow_schema::FieldRef;
use indexmap::IndexMap;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::folder::Folder;
use super::names::{PART, TEXTS};
use super::parts::{PartRows, name};
use super::plan_record::DirectoryPlan;
use crate::column_types::{ColumnType, ColumnTypes, ScalarType};
use crate::error::{Error, Result};
use crate::plan::ArrayPlan;
use crate::positional::read_exact_at;
use crate::spec::{OnBadLine, RowKind, VectorKind};
use crate::tables::columns::{ColumnBuilder, StoredRows};
use crate::tables::parquet_file::ParquetFile;

/// Bytes of a row group's vectors, and of its other columns, before compression.
const GROUP_BYTES: usize = 16 << 20;

/// Most rows of a row group.
const GROUP_ROWS: usize = 1 << 16;

/// A part whose rows are complete.
pub(super) struct CompletePart<'a> {
    pub(super) folder: &'a Folder,
    pub(super) plan: &'a DirectoryPlan,
    pub(super) types: &'a ColumnTypes,
    /// The number of the part in the whole input.
    pub(super) number: u64,
    pub(super) rows: PartRows,
    /// The vectors, and where each array begins.
    pub(super) vectors: Arc<File>,
    pub(super) starts: &'a [u64],
    /// Where the part's lines begin in `texts.jsonl`.
    pub(super) lines_at: u64,
}

impl CompletePart<'_> {
    /// Writes a file for each kind of vector. Returns their checksums, and where the next part's lines begin.
    ///
    /// # Errors
    /// [`Error::Io`] when a file cannot be written, or what it is made of cannot be read.
    pub(super) fn write(&self) -> Result<(Vec<u32>, u64)> {
        let mut lines_at = self.lines_at;
        let mut checksums = Vec::new();
        for &kind in &self.plan.kinds {
            let name = name(kind, self.number);
            self.folder.create_directory(kind.name())?;
            let file = self.folder.create_temporary(PART)?;
            let written = self.write_kind(kind, file);
            let (checksum, end) = written.map_err(Error::io("write", self.folder.place(&name)))?;
            self.folder.rename(PART, &name)?;
            lines_at = end;
            checksums.push(checksum);
        }
        let names: Vec<String> = self.plan.kinds.iter().map(|&kind| name(kind, self.number)).collect();
        self.folder.sync_names(names.iter().map(String::as_str))?;
        Ok((checksums, lines_at))
    }

    fn write_kind(&self, kind: VectorKind, file: File) -> io::Result<(u32, u64)> {
        let arrays = self.plan.arrays().into_iter().zip(self.starts.iter().copied());
        let arrays: Vec<(ArrayPlan, u64)> = arrays.filter(|(array, _)| array.kind == kind).collect();
        let names = arrays.iter().map(|(array, _)| array.name()).collect();
        let to =
            ChecksummedWriter { file: BufWriter::with_capacity(1 << 20, file), checksum: crc32fast::Hasher::new() };
        let mut file = ParquetFile::new(to, names, self.plan.dtype);
        let mut columns = RowColumns::new(kind.rows(), self.plan, self.types);
        let row_bytes = arrays.iter().map(|(array, _)| array.columns).sum::<usize>() * self.plan.dtype.size() as usize;
        let group_rows = (GROUP_BYTES / row_bytes.max(1)).clamp(1, GROUP_ROWS);
        let mut done = 0;
        let mut end_group = |columns: &mut RowColumns| -> io::Result<()> {
            let rows = done..done + columns.rows as u64;
            done = rows.end;
            let mut group = columns.finish();
            for (array, start) in &arrays {
                group.push(self.vectors_of(array, *start, rows.clone())?);
            }
            file.write(group)
        };
        let mut lines = BufReader::with_capacity(1 << 18, self.folder.read_file(TEXTS)?);
        lines.seek(SeekFrom::Start(self.lines_at))?;
        let mut line = Vec::new();
        for _ in 0..self.rows.of(RowKind::Text) {
            line.clear();
            lines.read_until(b'\n', &mut line)?;
            let of_text = ColumnsOfLine::parse(&line, self.plan.columns.span_column.is_some())?;
            let mut at = 0;
            while columns.push(&of_text, at)? {
                at += 1;
                if columns.rows >= group_rows || columns.bytes() >= GROUP_BYTES {
                    end_group(&mut columns)?;
                }
            }
        }
        if columns.rows > 0 || self.rows.of(kind.rows()) == 0 {
            end_group(&mut columns)?;
        }
        if done != self.rows.of(kind.rows()) {
            let problem = format!("{TEXTS} has {done} rows for it where {} were counted", self.rows.of(kind.rows()));
            return Err(io::Error::other(problem));
        }
        let ChecksummedWriter { mut file, checksum } = file.finish()?;
        file.flush()?;
        file.get_ref().sync_all()?;
        Ok((checksum.finalize(), lines.stream_position()?))
    }

    /// Some rows of an array.
    fn vectors_of(&self, array: &ArrayPlan, start: u64, rows: Range<u64>) -> io::Result<(FieldRef, ArrayRef)> {
        let mut stored = StoredRows::new((rows.end - rows.start) as usize, array.columns, self.plan.dtype)?;
        let at = start + rows.start * array.columns as u64 * self.plan.dtype.size();
        read_exact_at(&self.vectors, stored.bytes_mut(), at)?;
        Ok(stored.into_lists(&array.name()))
    }
}

/// What goes through it, with its checksum.
struct ChecksummedWriter<W> {
    file: W,
    checksum: crc32fast::Hasher,
}

impl<W: Write> Write for ChecksummedWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.checksum.update(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// A line of `texts.jsonl` as far as columns are made of it.
struct ColumnsOfLine<'a> {
    row: i64,
    label: Option<&'a RawValue>,
    /// All keys, those of the columns of texts among them.
    keys: IndexMap<String, &'a RawValue>,
    details: Option<TokensOfLine>,
}

/// The tokens and words of a text.
#[derive(Default)]
struct TokensOfLine {
    tokens: Vec<String>,
    token_ids: Vec<i64>,
    offsets: Vec<Option<(i64, i64)>>,
    word_ids: Vec<Option<usize>>,
    words: Vec<String>,
    /// For each word, from where to where its tokens reach.
    spans: Vec<Option<(i64, i64)>>,
    /// The spans of the text that were asked for.
    given_spans: Vec<[i64; 2]>,
    /// A label for each word or span, or the same for all.
    labels: Vec<Box<RawValue>>,
    is_label_of_all: bool,
}

impl<'a> ColumnsOfLine<'a> {
    fn parse(line: &'a [u8], has_spans: bool) -> io::Result<Self> {
        let keys: IndexMap<String, &'a RawValue> = serde_json::from_slice(line)?;
        let label = keys.get("label").copied().filter(|label| label.get() != "null");
        let mut of_line = Self {
            row: serde_json::from_str(keys.get("row").map_or("null", |row| row.get()))?,
            label,
            details: None,
            keys,
        };
        if of_line.keys.contains_key("tokens") {
            of_line.details = Some(TokensOfLine::of(&of_line, has_spans)?);
        }
        Ok(of_line)
    }
}

impl TokensOfLine {
    fn of(line: &ColumnsOfLine<'_>, has_spans: bool) -> io::Result<Self> {
        fn list<'b, T: Deserialize<'b>>(line: &ColumnsOfLine<'b>, key: &str) -> io::Result<Vec<T>> {
            Ok(line.keys.get(key).map_or(Ok(Vec::new()), |value| serde_json::from_str(value.get()))?)
        }
        let mut details = Self {
            tokens: list(line, "tokens")?,
            token_ids: list(line, "token_ids")?,
            offsets: list(line, "offsets")?,
            word_ids: list(line, "word_ids")?,
            words: list(line, "words")?,
            given_spans: if has_spans { list(line, "spans")? } else { Vec::new() },
            ..Self::default()
        };
        details.spans = vec![None; details.words.len()];
        for (word, offsets) in details.word_ids.iter().zip(&details.offsets) {
            if let (Some(word), Some((start, end))) = (word, offsets)
                && let Some(span) = details.spans.get_mut(*word)
            {
                let (first, last) = span.unwrap_or((*start, *end));
                *span = Some((first.min(*start), last.max(*end)));
            }
        }
        if let Some(label) = line.label {
            details.is_label_of_all = !label.get().starts_with('[');
            details.labels =
                if details.is_label_of_all { vec![label.to_owned()] } else { serde_json::from_str(label.get())? };
        }
        Ok(details)
    }

    /// The label of a word or span.
    fn label(&self, word: usize) -> Option<&RawValue> {
        self.labels.get(if self.is_label_of_all { 0 } else { word }).map(|label| &**label)
    }
}

/// The columns of a row group, but for its vectors.
struct RowColumns {
    kind: RowKind,
    row: ColumnBuilder,
    others: Vec<ColumnBuilder>,
    /// Their names, which for texts are keys of `texts.jsonl`.
    keys: Vec<String>,
    rows: usize,
    has_spans: bool,
}

impl RowColumns {
    fn new(kind: RowKind, plan: &DirectoryPlan, types: &ColumnTypes) -> Self {
        let integer = |name: &str| (name.to_owned(), ColumnType::Scalar(ScalarType::Int64));
        let string = |name: &str| (name.to_owned(), ColumnType::Scalar(ScalarType::String));
        let carried = types.carried.iter().map(|(name, column)| (name.clone(), *column));
        let label = |column: ColumnType| ("label".to_owned(), column);
        let columns: Vec<(String, ColumnType)> = match kind {
            RowKind::Text => {
                let of_lines: &[&str] = if plan.on_bad_line == OnBadLine::Skip { &["file", "line"] } else { &[] };
                let of_lines = of_lines.iter().map(|name| integer(name));
                of_lines.chain([string("id"), label(types.label)]).chain(carried).collect()
            }
            RowKind::Token => {
                vec![string("token"), integer("token_id"), integer("start"), integer("end"), integer("word_id")]
            }
            RowKind::Word => {
                vec![integer("word_id"), string("word"), integer("start"), integer("end"), label(types.word_label)]
            }
            RowKind::Span => vec![integer("span"), integer("start"), integer("end"), label(types.word_label)],
        };
        let others = columns.iter().map(|(name, column)| ColumnBuilder::new(name, *column)).collect();
        let keys = columns.into_iter().map(|(name, _)| name).collect();
        Self {
            kind,
            row: ColumnBuilder::of_integers("row"),
            others,
            keys,
            rows: 0,
            has_spans: plan.columns.span_column.is_some(),
        }
    }

    fn bytes(&self) -> usize {
        self.others.iter().map(ColumnBuilder::bytes).sum()
    }

    /// Appends row number `at` of a text; false if it has none.
    fn push(&mut self, text: &ColumnsOfLine<'_>, at: usize) -> io::Result<bool> {
        match (self.kind, &mut self.others[..], &text.details) {
            (RowKind::Text, others, _) if at == 0 => {
                for (column, key) in others.iter_mut().zip(&self.keys) {
                    column.push(text.keys.get(key).copied())?;
                }
            }
            (RowKind::Token, [token, token_id, start, end, word_id], Some(of)) if at < of.tokens.len() => {
                let offsets = of.offsets.get(at).copied().flatten();
                token.push_string(Some(&of.tokens[at]));
                token_id.push_integer(of.token_ids.get(at).copied());
                start.push_integer(offsets.map(|(start, _)| start));
                end.push_integer(offsets.map(|(_, end)| end));
                word_id.push_integer(of.word_ids.get(at).copied().flatten().map(|word| word as i64));
            }
            (RowKind::Word, [word_id, word, start, end, label], Some(of)) if at < of.words.len() => {
                let span = of.spans[at];
                word_id.push_integer(Some(at as i64));
                word.push_string(Some(&of.words[at]));
                start.push_integer(span.map(|(start, _)| start));
                end.push_integer(span.map(|(_, end)| end));
                // A list of labels is that of the spans where there are such.
                let is_of_spans = self.has_spans && !of.is_label_of_all;
                label.push(of.label(at).filter(|_| !is_of_spans))?;
            }
            (RowKind::Span, [span, start, end, label], Some(of)) if at < of.given_spans.len() => {
                let [from, to] = of.given_spans[at];
                span.push_integer(Some(at as i64));
                start.push_integer(Some(from));
                end.push_integer(Some(to));
                label.push(of.label(at))?;
            }
            _ => return Ok(false),
        }
        self.row.push_integer(Some(text.row));
        self.rows += 1;
        Ok(true)
    }

    /// The columns as arrays; they are empty then.
    fn finish(&mut self) -> Vec<(FieldRef, ArrayRef)> {
        self.rows = 0;
        std::iter::once(&mut self.row).chain(&mut self.others).map(ColumnBuilder::finish).collect()
    }
}
