//! The texts that are recomputed, and where their rows are.

use crate::counts::TextCounts;
use crate::spec::{RowKind, SpecialTokens};

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

    pub(super) fn rows(&self, kind: RowKind) -> u64 {
        match kind {
            RowKind::Text => 1,
            RowKind::Token => u64::from(self.tokens),
            RowKind::Word => u64::from(self.words),
            RowKind::Span => u64::from(self.spans),
        }
    }
}

/// Where the rows of a chosen text begin.
#[derive(Debug, Clone)]
pub(super) struct RowsAt {
    /// The row in the file that is read.
    pub(super) at: u64,
    /// The row for messages: in the array, or in its Parquet file.
    pub(super) row: u64,
    /// That Parquet file.
    pub(super) file: Option<String>,
}

impl RowsAt {
    pub(super) fn of_array(row: u64) -> Self {
        Self { at: row, row, file: None }
    }
}
