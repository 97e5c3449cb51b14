//! The part of a directory of Parquet files that is being filled: its vectors lie in a file of their own, array after array, until
//! it is complete and its Parquet files are made.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::sync::Arc;

use super::array::{ArrayFile, ArraySpan};
use super::folder::Folder;
use super::journal::ArraysDone;
use super::names::{ROWS, TEXTS};
#[cfg(feature = "parquet")]
use super::part_files::CompletePart;
use super::parts::{self, PartRows};
use super::plan_record::DirectoryPlan;
use super::text_files::{checksum, checksum_of};
use crate::column_types::ColumnTypes;
use crate::counts::Counts;
use crate::error::{Error, Result};
use crate::plan::ArrayPlan;
use crate::spec::RowKind;

/// The parts of a job, one of which is being filled.
#[cfg_attr(not(feature = "parquet"), allow(dead_code, reason = "files are made with that feature alone"))]
pub(super) struct Parts {
    plan: DirectoryPlan,
    types: ColumnTypes,
    rows: Vec<PartRows>,
    /// The number of the first part in the whole input.
    first: u64,
    /// The index of the part that is being filled; that behind the last one when all are complete.
    current: usize,
    /// The rows of it that are done.
    done: PartRows,
    /// Where each array begins.
    starts: Vec<u64>,
    /// Where its lines begin in `texts.jsonl`, once that is known.
    lines_at: Option<u64>,
}

impl Parts {
    /// The parts of a job, at the first of them.
    pub(super) fn new(plan: &DirectoryPlan, types: ColumnTypes, rows: Vec<PartRows>, first_row: u64) -> Self {
        let first = parts::numbers(first_row, 0, plan.part_texts.unwrap_or_default()).start;
        let (plan, done) = (plan.clone(), PartRows::default());
        Self { plan, types, rows, first, current: 0, done, starts: Vec::new(), lines_at: None }
    }

    /// Most bytes of vectors that wait beside the Parquet files.
    pub(super) fn bytes_beside(&self) -> u64 {
        self.rows.iter().map(|rows| rows.bytes(&self.plan)).max().unwrap_or_default()
    }

    /// Goes on where a journal says, with the counts of the texts that are done; false if it cannot mean these parts.
    pub(super) fn go_to(&mut self, journaled: &ArraysDone, before: &Counts) -> bool {
        let (mut whole, mut current) = (PartRows::default(), 0);
        for rows in &self.rows {
            if whole.plus(rows).of(RowKind::Text) > journaled.texts {
                break;
            }
            whole = whole.plus(rows);
            current += 1;
        }
        self.current = current;
        self.done = PartRows::of_counts(before).minus(&whole);
        journaled.parts.len() == current * self.plan.kinds.len()
    }

    /// Whether the files of complete parts, and the rows of the one that was being filled, have the journal's checksums.
    /// `told` is called with the number of bytes read.
    pub(super) fn are_there(&self, folder: &Folder, journaled: &ArraysDone, told: &dyn Fn(u64)) -> Result<bool> {
        let kinds = &self.plan.kinds;
        for (index, &crc32) in journaled.parts.iter().enumerate() {
            let (number, kind) = (self.first + (index / kinds.len()) as u64, kinds[index % kinds.len()]);
            let name = parts::name(kind, number);
            if !folder.has_file(&name)? || checksum_of(folder, &name)?.finalize() != crc32 {
                return Ok(false);
            }
            told(folder.occupied(&name));
        }
        for (span, &crc32) in self.spans(&[]).iter().zip(&journaled.crc32).filter(|(span, _)| span.done > 0) {
            if !folder.has_file(ROWS)? {
                return Ok(false);
            }
            let read = folder.read_file(ROWS).and_then(|file| checksum(file, span.start, span.done, told));
            if read.map_err(Error::io("read", folder.place(ROWS)))?.finalize() != crc32 {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Goes back to the first part.
    pub(super) fn start_over(&mut self) {
        (self.current, self.done, self.lines_at) = (0, PartRows::default(), None);
    }

    /// The places of the arrays in the file of rows, and what of them is done, with its checksums.
    fn spans(&self, crc32: &[u32]) -> Vec<ArraySpan> {
        let Some(rows) = self.rows.get(self.current) else { return Vec::new() };
        let mut end = 0;
        let mut span = |index: usize, (kind, row): (RowKind, u64)| {
            let (start, bytes) = (end, rows.of(kind) * row);
            end += bytes;
            let crc32 = crc32.get(index).copied().unwrap_or_default();
            ArraySpan { start, bytes, done: self.done.of(kind) * row, crc32 }
        };
        let arrays = self.plan.arrays();
        let sizes = arrays.iter().map(|array| (array.kind.rows(), array.columns as u64 * self.plan.dtype.size()));
        sizes.enumerate().map(|(index, size)| span(index, size)).collect()
    }

    /// Creates the file of rows, or opens it behind those that are done, whose checksums are these. No arrays when all parts are
    /// complete.
    pub(super) fn open(&mut self, folder: &Folder, crc32: &[u32]) -> Result<Vec<ArrayFile>> {
        let spans = self.spans(crc32);
        self.starts = spans.iter().map(|span| span.start).collect();
        if self.done == PartRows::default() && !spans.is_empty() {
            let file = folder.create_temporary(ROWS)?;
            file.set_len(spans.iter().map(|span| span.bytes).sum()).map_err(Error::io("write", folder.place(ROWS)))?;
        }
        let arrays = self.plan.arrays();
        let open = |(array, span): (&ArrayPlan, ArraySpan)| {
            ArrayFile::open(folder, ROWS, &format!("{} of {}", array.name(), array.kind.name()), self.plan.dtype, span)
        };
        arrays.iter().zip(spans).map(open).collect()
    }

    /// Number of texts of the job up to the end of the part that is being filled.
    pub(super) fn end(&self) -> u64 {
        self.rows.iter().take(self.current + 1).map(|rows| rows.of(RowKind::Text)).sum()
    }

    /// Whether all parts are complete.
    pub(super) fn are_complete(&self) -> bool {
        self.current == self.rows.len()
    }

    /// The bytes of the vectors of complete parts.
    pub(super) fn bytes_complete(&self) -> u64 {
        self.rows.iter().take(self.current).map(|rows| rows.bytes(&self.plan)).sum()
    }

    /// Makes the files of the part whose rows are all there, in `vectors`. Returns their checksums. The next part is the one that is
    /// filled then.
    pub(super) fn complete(&mut self, folder: &Folder, vectors: Option<Arc<File>>) -> Result<Vec<u32>> {
        let lines_at = match self.lines_at {
            Some(at) => at,
            None => {
                let before = self.end() - self.rows.get(self.current).map_or(0, |rows| rows.of(RowKind::Text));
                place_of_line(folder, before).map_err(Error::io("read", folder.place(TEXTS)))?
            }
        };
        let (checksums, lines_end) = self.make_files(folder, vectors, lines_at)?;
        self.lines_at = Some(lines_end);
        self.current += 1;
        self.done = PartRows::default();
        Ok(checksums)
    }

    #[cfg(feature = "parquet")]
    fn make_files(&self, folder: &Folder, vectors: Option<Arc<File>>, lines_at: u64) -> Result<(Vec<u32>, u64)> {
        let (Some(&rows), Some(vectors)) = (self.rows.get(self.current), vectors) else {
            return Err(folder.foreign(ROWS));
        };
        let (plan, types, starts) = (&self.plan, &self.types, &self.starts);
        let number = self.first + self.current as u64;
        CompletePart { folder, plan, types, number, rows, vectors, starts, lines_at }.write()
    }

    #[cfg(not(feature = "parquet"))]
    fn make_files(&self, _: &Folder, _: Option<Arc<File>>, _: u64) -> Result<(Vec<u32>, u64)> {
        Err(Error::no_parquet("--format parquet"))
    }

    /// The names of the files that are complete with their checksums, kind by kind.
    pub(super) fn checksums(&self, crc32: &[u32]) -> Vec<(String, u32)> {
        let kinds = &self.plan.kinds;
        let of_kind = |index: usize| {
            let crc32 = crc32.iter().skip(index).step_by(kinds.len());
            crc32.zip(self.first..).map(move |(&crc32, number)| (parts::name(kinds[index], number), crc32))
        };
        (0..kinds.len()).flat_map(of_kind).collect()
    }
}

/// Where the line of this number, from 0, begins in `texts.jsonl`.
fn place_of_line(folder: &Folder, number: u64) -> io::Result<u64> {
    let mut lines = BufReader::with_capacity(1 << 20, folder.read_file(TEXTS)?);
    let mut at = 0;
    for _ in 0..number {
        at += lines.skip_until(b'\n')? as u64;
    }
    Ok(at)
}
