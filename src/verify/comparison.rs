//! Compares recomputed vectors with those of a directory, bit by bit.

use std::fs;
use std::io::{self, Seek, SeekFrom};
use std::path::Path;

use half::{bf16, f16};

use super::file::open_again;
use super::region::read_full;
use crate::batch::Batch;
use crate::counts::TextCounts;
use crate::directory::array::with_stored;
use crate::directory::contents::Contents;
use crate::directory::damage::{Damage, Findings};
use crate::directory::layout::{Holds, Region};
use crate::error::{Error, Result};
use crate::plan::Plan;
use crate::sink::Sink;
use crate::spec::{Dtype, RowKind, SpecialTokens, VectorKind};

/// A text that is recomputed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chosen {
    /// Its index among the directory's texts.
    pub(super) text: u64,
    tokens: u32,
    words: u32,
    spans: u32,
}

impl Chosen {
    pub(super) fn new(text: u64, counts: TextCounts, special_tokens: SpecialTokens) -> Self {
        let rows = |kind| counts.rows(kind, special_tokens);
        Self { text, tokens: rows(RowKind::Token), words: rows(RowKind::Word), spans: rows(RowKind::Span) }
    }

    fn rows(&self, kind: RowKind) -> u64 {
        match kind {
            RowKind::Text => 1,
            RowKind::Token => u64::from(self.tokens),
            RowKind::Word => u64::from(self.words),
            RowKind::Span => u64::from(self.spans),
        }
    }
}

/// A sink that compares the vectors of the chosen texts with those of the directory.
pub(super) struct Comparison<'a> {
    texts: &'a [Chosen],
    /// The files; `None` for one that cannot be opened, which is reported where the whole file is checked.
    files: Vec<Option<fs::File>>,
    arrays: Vec<ComparedArray<'a>>,
    offsets: Vec<ChosenOffsets>,
    dtype: Dtype,
    /// A buffer for what is read from a file.
    buffer: Vec<u8>,
}

/// An array, and how far it has been compared.
struct ComparedArray<'a> {
    region: &'a Region,
    file: usize,
    columns: usize,
    kind: RowKind,
    /// The index, among the chosen texts, of the text whose rows come next.
    next: usize,
    /// Number of its rows that were compared.
    rows: u64,
    findings: Findings,
}

/// The rows at which the chosen texts start.
struct ChosenOffsets {
    kind: RowKind,
    /// The start of each text; `None` if the directory does not tell it, or has another number of rows.
    starts: Vec<Option<u64>>,
    findings: Findings,
}

impl<'a> Comparison<'a> {
    /// Compares with the arrays of a directory, which are those of the plan.
    pub(super) fn new(directory: &Path, contents: &'a Contents, plan: &Plan, texts: &'a [Chosen]) -> Self {
        let mut emits = plan.arrays().into_iter().map(|array| array.kind);
        let (mut files, mut arrays, mut offsets) = (Vec::new(), Vec::new(), Vec::new());
        for (file, described) in contents.files.iter().enumerate() {
            let mut opened = open_again(&directory.join(&described.name));
            for region in &described.regions {
                let findings = Findings::new(&region.place);
                match region.holds {
                    Holds::Vectors { columns, .. } => {
                        let kind = emits.next().map_or(RowKind::Text, VectorKind::rows);
                        arrays.push(ComparedArray { region, file, columns, kind, next: 0, rows: 0, findings });
                    }
                    Holds::Part => {} // refused before
                    Holds::Offsets { emit, .. } => offsets.extend(
                        opened.as_mut().map(|file| ChosenOffsets::read(file, region, emit.rows(), texts, findings)),
                    ),
                }
            }
            files.push(opened);
        }
        Self { texts, files, arrays, offsets, dtype: plan.dtype, buffer: Vec::new() }
    }

    /// Compares the next rows of an array in their stored form.
    fn take(&mut self, index: usize, mut bytes: &[u8]) -> Result<()> {
        let array = &mut self.arrays[index];
        let starts = self.offsets.iter().find(|offsets| offsets.kind == array.kind);
        let row_bytes = array.columns * self.dtype.size() as usize;
        while !bytes.is_empty() {
            let Some(text) = self.texts.get(array.next) else { return Err(array.miscounted("more")) };
            let left = text.rows(array.kind) - array.rows;
            if left == 0 {
                (array.next, array.rows) = (array.next + 1, 0);
                continue;
            }
            let count = left.min((bytes.len() / row_bytes) as u64);
            let (made, rest) = bytes.split_at(count as usize * row_bytes);
            let start = match array.kind {
                RowKind::Text => Some(text.text),
                RowKind::Token | RowKind::Word | RowKind::Span => starts.and_then(|offsets| offsets.starts[array.next]),
            };
            if let (Some(start), Some(file)) = (start, &mut self.files[array.file]) {
                self.buffer.resize(made.len(), 0);
                let at = array.region.start + (start + array.rows) * row_bytes as u64;
                match read_at(file, at, &mut self.buffer) {
                    Ok(true) => array.compare(text.text, start + array.rows, &self.buffer, made, self.dtype),
                    Ok(false) => {} // too short, which is told where its size is looked at
                    Err(error) => array.findings.add_unread(&error),
                }
            }
            array.rows += count;
            bytes = rest;
        }
        Ok(())
    }

    /// The damages that were found.
    ///
    /// # Errors
    /// [`Error::Output`] when some rows of the chosen texts were not computed.
    pub(super) fn finish(self) -> Result<Vec<Damage>> {
        for array in &self.arrays {
            let more = self.texts.iter().skip(array.next).map(|text| text.rows(array.kind)).sum::<u64>();
            if more > array.rows {
                return Err(array.miscounted("fewer"));
            }
        }
        let findings = self.offsets.into_iter().map(|offsets| offsets.findings);
        let findings = findings.chain(self.arrays.into_iter().map(|array| array.findings));
        Ok(findings.flat_map(Findings::into_damages).collect())
    }
}

impl Sink for Comparison<'_> {
    fn write(&mut self, index: usize, rows: &[f32]) -> Result<()> {
        let dtype = self.dtype;
        with_stored(rows, dtype, |bytes| self.take(index, bytes))
    }

    fn end_batch(&mut self, _: &Batch) -> Result<()> {
        Ok(())
    }
}

impl ComparedArray<'_> {
    /// Compares rows of a text; `first` is the index of the first one in the array.
    fn compare(&mut self, text: u64, first: u64, found: &[u8], made: &[u8], dtype: Dtype) {
        if found == made {
            return;
        }
        let size = dtype.size() as usize;
        let rows = found.chunks_exact(self.columns * size).zip(made.chunks_exact(self.columns * size));
        for (row, (found, made)) in rows.enumerate().filter(|(_, (found, made))| found != made) {
            let numbers = found.chunks_exact(size).zip(made.chunks_exact(size)).enumerate();
            let mut differing = numbers.filter(|(_, (found, made))| found != made);
            let Some((column, (found, made))) = differing.next() else { continue };
            let count = 1 + differing.count();
            let part = match self.kind {
                RowKind::Text => String::new(),
                RowKind::Token => format!(" (token {} of text {text})", self.rows + row as u64),
                RowKind::Word => format!(" (word {} of text {text})", self.rows + row as u64),
                RowKind::Span => format!(" (span {} of text {text})", self.rows + row as u64),
            };
            self.findings.add(format!(
                "row {}{part} differs from what the model gives: {count} of {} numbers, the first in column {column}: {:?} instead of {:?}",
                first + row as u64,
                self.columns,
                number(found, dtype),
                number(made, dtype),
            ));
        }
    }

    fn miscounted(&self, how: &str) -> Error {
        let problem = format!("was recomputed with {how} rows than the input has");
        Error::Output { path: self.region.place.clone().into(), problem }
    }
}

impl ChosenOffsets {
    /// Reads the rows at which the chosen texts start from a file of offsets.
    fn read(file: &mut fs::File, region: &Region, kind: RowKind, texts: &[Chosen], mut findings: Findings) -> Self {
        let mut look_up = |chosen: &Chosen| {
            let mut bytes = [0; 16];
            match read_at(file, region.start + 8 * chosen.text, &mut bytes) {
                Ok(true) => {}
                Ok(false) => return None, // told where all of it is looked at, as is what makes no sense
                Err(error) => {
                    findings.add_unread(&error);
                    return None;
                }
            }
            let [start, end] = [0, 8].map(|at| bytes[at..].first_chunk().map_or(0, |bytes| i64::from_le_bytes(*bytes)));
            let Holds::Offsets { rows: all, .. } = region.holds else { return None };
            let (start, end) = (u64::try_from(start).ok()?, u64::try_from(end).ok()?);
            let found = end.checked_sub(start).filter(|_| end <= all)?;
            let rows = chosen.rows(kind);
            if found != rows {
                findings.add(format!("text {} has {found} rows; what the tokenizer gives has {rows}", chosen.text));
                return None;
            }
            Some(start)
        };
        let starts = texts.iter().map(&mut look_up).collect();
        Self { kind, starts, findings }
    }
}

/// Reads from offset `at` of a file. False when the file ends before the buffer is full.
fn read_at(file: &mut fs::File, at: u64, buffer: &mut [u8]) -> io::Result<bool> {
    file.seek(SeekFrom::Start(at))?;
    Ok(read_full(file, buffer)? == buffer.len())
}

/// A stored number, for messages.
fn number(bytes: &[u8], dtype: Dtype) -> f32 {
    let pair = || bytes.first_chunk().copied().unwrap_or_default();
    match dtype {
        Dtype::F32 => f32::from_le_bytes(bytes.first_chunk().copied().unwrap_or_default()),
        Dtype::F16 => f16::from_le_bytes(pair()).to_f32(),
        Dtype::Bf16 => bf16::from_le_bytes(pair()).to_f32(),
    }
}
