//! Reads the offsets of an array, where each text's rows start, text by text.

use std::fs::File;
use std::io;

use super::region::RegionPieces;
use crate::directory::damage::{Damage, Findings};
use crate::directory::layout::{Holds, Region};
use crate::spec::VectorKind;

/// Bytes read at once.
const BUFFER: usize = 1 << 16;

/// The offsets of an array while they are read.
pub(super) struct OffsetsCheck<'a> {
    /// The kind of vector.
    pub(super) emit: VectorKind,
    /// Number of texts whose offsets were read.
    pub(super) texts: u64,
    rows: u64,
    /// `None` once nothing more can be read.
    pieces: Option<RegionPieces<'a, File>>,
    buffer: Vec<u8>,
    unread: std::ops::Range<usize>,
    last: Option<i64>,
    findings: Findings,
}

impl<'a> OffsetsCheck<'a> {
    /// Reads the offsets of an open file; without a file there are none.
    pub(super) fn new(file: Option<File>, region: &'a Region) -> Option<Self> {
        let Holds::Offsets { emit, rows } = region.holds else { return None };
        let mut findings = Findings::new(&region.place);
        let pieces = file.map(|file| RegionPieces::new(file, region)).transpose();
        let pieces = pieces.map_err(|error| findings.add_unread(&error)).ok().flatten();
        let (buffer, unread) = (vec![0; BUFFER], 0..0);
        let mut offsets = Self { emit, texts: 0, rows, pieces, buffer, unread, last: None, findings };
        offsets.last = offsets.read();
        if let Some(first) = offsets.last.filter(|&first| first != 0) {
            offsets.findings.add(format!("starts at {first}; expected 0"));
        }
        Some(offsets)
    }

    /// Number of rows of the next text; `None` if the offsets do not tell.
    pub(super) fn next_text(&mut self) -> Option<u64> {
        let (start, end) = (self.last?, self.read()?);
        self.last = Some(end);
        self.texts += 1;
        if end < start {
            let text = self.texts - 1;
            self.findings.add(format!("the rows of text {text} end at {end}, before they start at {start}"));
            return None;
        }
        Some(end.abs_diff(start))
    }

    /// Adds the finding that the last text has another number of rows in `texts.jsonl`.
    pub(super) fn disagree(&mut self, rows: u64, expected: u64) {
        let (text, name) = (self.texts - 1, self.emit.name());
        self.findings.add(format!("text {text} has {rows} rows; by texts.jsonl it has {expected} {name}s"));
    }

    /// Reads the rest and returns the findings.
    pub(super) fn finish(mut self) -> Vec<Damage> {
        while self.pieces.is_some() && self.last.is_some() {
            let texts = self.texts;
            self.next_text();
            if self.texts == texts {
                break;
            }
        }
        if let Some(pieces) = self.pieces {
            let is_whole = pieces.is_at_end();
            pieces.finish(&mut self.findings);
            if let Some(last) = self.last.filter(|&last| is_whole && u64::try_from(last) != Ok(self.rows)) {
                self.findings.add(format!("ends at {last}; expected {}, the rows of its arrays", self.rows));
            }
        }
        self.findings.into_damages()
    }

    fn read(&mut self) -> Option<i64> {
        if self.unread.is_empty() {
            let piece = self.fill();
            let length = piece.map_err(|error| self.findings.add_unread(&error));
            self.unread = 0..length.unwrap_or(0);
        }
        let number = self.buffer[self.unread.clone()].first_chunk().map(|bytes| i64::from_le_bytes(*bytes));
        self.unread.start = (self.unread.start + 8).min(self.unread.end);
        number
    }

    fn fill(&mut self) -> io::Result<usize> {
        match &mut self.pieces {
            Some(pieces) => pieces.next(&mut self.buffer).map(<[u8]>::len),
            None => Ok(0),
        }
    }
}
