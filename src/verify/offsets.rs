//! Where each text's rows start, read text by text.

use std::fs::File;
use std::io;

use super::file::unreadable;
use super::region::RegionPieces;
use crate::directory::damage::{Damage, Findings};
use crate::directory::layout::{Holds, Region};
use crate::spec::VectorKind;

/// Bytes read at once.
const BUFFER: usize = 1 << 16;

/// The offsets of an array, being read.
pub(super) struct OffsetsCheck<'a> {
    /// What the rows are.
    pub(super) emit: VectorKind,
    /// Texts whose rows were told.
    pub(super) texts: u64,
    rows: u64,
    /// `None` where there is nothing more to read.
    pieces: Option<RegionPieces<'a, File>>,
    buffer: Vec<u8>,
    unread: std::ops::Range<usize>,
    last: Option<i64>,
    findings: Findings,
}

impl<'a> OffsetsCheck<'a> {
    /// Of an open file; without one they say nothing.
    pub(super) fn new(file: Option<File>, region: &'a Region) -> Option<Self> {
        let Holds::Offsets { emit, rows } = region.holds else { return None };
        let mut findings = Findings::new(&region.place);
        let pieces = file.map(|file| RegionPieces::new(file, region)).transpose();
        let pieces = pieces.map_err(|error| findings.add(unreadable(&error))).ok().flatten();
        let (buffer, unread) = (vec![0; BUFFER], 0..0);
        let mut offsets = Self { emit, texts: 0, rows, pieces, buffer, unread, last: None, findings };
        offsets.last = offsets.read();
        if let Some(first) = offsets.last.filter(|&first| first != 0) {
            offsets.findings.add(format!("starts at {first}; expected 0"));
        }
        Some(offsets)
    }

    /// Rows of the next text; `None` where they are not told.
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

    /// Says that the text read last has other rows in `texts.jsonl`.
    pub(super) fn disagree(&mut self, rows: u64, expected: u64) {
        let (text, name) = (self.texts - 1, self.emit.name());
        self.findings.add(format!("text {text} has {rows} rows; by texts.jsonl it has {expected} {name}s"));
    }

    /// Reads the rest and tells what was wrong.
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
            let length = piece.map_err(|error| self.findings.add(unreadable(&error)));
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
