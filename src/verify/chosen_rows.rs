//! The rows of chosen texts in Parquet files, which are unpacked into files without a name, so that they can be read at any place.

use std::fs;
use std::io::{self, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::Path;

use super::chosen::{Chosen, RowsAt};
use super::file::open_again;
use crate::directory::contents::Contents;
use crate::directory::damage::Findings;
use crate::plan::ArrayPlan;
use crate::spec::VectorKind;
use crate::tables::stored_table::StoredTable;

/// The rows of chosen texts in the arrays of a kind of vector.
pub(super) struct ChosenRows {
    /// A file for each array, with the rows of the texts one after the other.
    pub(super) files: Vec<fs::File>,
    /// Where the rows of each text begin; `None` if they are not there.
    pub(super) places: Vec<Option<RowsAt>>,
    /// What is wrong with the Parquet files.
    pub(super) findings: Findings,
}

impl ChosenRows {
    /// Unpacks the rows of `texts`, which are ascending, in the arrays of a kind.
    ///
    /// # Errors
    /// That of writing a temporary file; damage is among the findings.
    pub(super) fn unpack(
        directory: &Path,
        contents: &Contents,
        kind: VectorKind,
        arrays: &[ArrayPlan],
        texts: &[Chosen],
    ) -> io::Result<Self> {
        let files = arrays.iter().map(|_| tempfile::tempfile()).collect::<io::Result<_>>()?;
        let findings = Findings::new(kind.name());
        let mut chosen = Self { files, places: Vec::new(), findings };
        let mut rows_before = 0;
        for (name, of_part) in contents.parts(kind) {
            let first = chosen.places.len();
            let texts = &texts[first..];
            let texts = &texts[..texts.partition_point(|chosen| chosen.text < of_part.end)];
            chosen.places.resize(first + texts.len(), None);
            let path = directory.join(&name);
            // A file that cannot be opened is told where its checksum is looked at.
            if texts.is_empty() || !path.is_file() {
                continue;
            }
            let part = PartOfTexts { path: &path, contents, kind, texts };
            match part.unpack(&name, arrays, rows_before, &mut chosen)? {
                Ok((places, rows)) => {
                    chosen.places[first..].clone_from_slice(&places);
                    rows_before += rows;
                }
                Err(problem) => chosen.findings.add_at(name, problem),
            }
        }
        chosen.places.resize(texts.len(), None);
        Ok(chosen)
    }
}

/// A Parquet file with some of its texts.
struct PartOfTexts<'a> {
    path: &'a Path,
    contents: &'a Contents,
    kind: VectorKind,
    texts: &'a [Chosen],
}

/// What of a Parquet file was unpacked: the places of its texts, and how many rows; or what is wrong with it.
type Unpacked = Result<(Vec<Option<RowsAt>>, u64), String>;

impl PartOfTexts<'_> {
    /// Writes the rows of the texts behind `rows_before` others.
    fn unpack(
        &self,
        name: &str,
        arrays: &[ArrayPlan],
        rows_before: u64,
        chosen: &mut ChosenRows,
    ) -> io::Result<Unpacked> {
        let ranges = match self.ranges() {
            Ok(ranges) => ranges,
            Err(problem) => return Ok(Err(problem)),
        };
        let (mut places, mut at) = (Vec::new(), rows_before);
        let mut wanted: Vec<Range<usize>> = Vec::new();
        for (text, range) in self.texts.iter().zip(ranges) {
            let (found, expected) = (range.len() as u64, text.rows(self.kind.rows()));
            if found != expected {
                let problem = format!("text {} has {found} rows; what the tokenizer gives has {expected}", text.text);
                chosen.findings.add_at(name.to_owned(), problem);
                places.push(None);
                continue;
            }
            places.push(Some(RowsAt { at, row: range.start as u64, file: Some(name.to_owned()) }));
            at += found;
            wanted.extend(Some(range).filter(|range| range.start < range.end));
        }
        let dtype = self.contents.plan.dtype;
        let vectors = arrays.iter().map(|array| (array.name(), array.columns)).collect();
        let table = match self.open(vectors, Some(wanted)) {
            Ok(table) => table,
            Err(problem) => return Ok(Err(problem)),
        };
        for (file, array) in chosen.files.iter_mut().zip(arrays) {
            file.seek(SeekFrom::Start(rows_before * array.columns as u64 * dtype.size()))?;
        }
        let mut rows = 0;
        for piece in table {
            let piece = match piece {
                Ok(piece) => piece,
                Err(problem) => return Ok(Err(problem)),
            };
            rows += piece.texts.len() as u64;
            for (index, file) in chosen.files.iter_mut().enumerate() {
                file.write_all(piece.bytes(index))?;
            }
        }
        let expected = at - rows_before;
        Ok(if rows == expected {
            Ok((places, rows))
        } else {
            Err(format!("has {rows} rows where {expected} were found"))
        })
    }

    /// The rows of each text in the file.
    fn ranges(&self) -> Result<Vec<Range<usize>>, String> {
        let mut ranges = vec![0..0; self.texts.len()];
        let mut row = 0;
        for piece in self.open(Vec::new(), None)? {
            for text in piece?.texts {
                let text = u64::try_from(text).ok().and_then(|text| text.checked_sub(self.contents.first_row));
                let found = text.and_then(|text| self.texts.binary_search_by_key(&text, |chosen| chosen.text).ok());
                if let Some(range) = found.map(|found| &mut ranges[found]) {
                    if range.start == range.end {
                        range.start = row;
                    } else if range.end != row {
                        return Err("has rows of one text in two places".to_owned());
                    }
                    range.end = row + 1;
                }
                row += 1;
            }
        }
        Ok(ranges)
    }

    fn open(&self, vectors: Vec<(String, usize)>, rows: Option<Vec<Range<usize>>>) -> Result<StoredTable, String> {
        let file = open_again(self.path).ok_or("cannot be opened")?;
        StoredTable::open(file, vectors, self.contents.plan.dtype, rows)
    }
}
