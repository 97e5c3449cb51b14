//! The parts of a directory of Parquet files: each kind of vector has a file for every so many texts.
//!
//! A part holds the texts whose rows in the whole input are from `number · part_texts` on, so parts of several shards never
//! share one, and its bytes follow from its texts alone.

use std::io;
use std::ops::Range;

use super::plan_record::DirectoryPlan;
use crate::counts::{Counting, Counts};
use crate::spec::{RowKind, VectorKind};
use crate::spool::SpoolReader;

/// The rows of a part.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct PartRows {
    texts: u64,
    tokens: u64,
    words: u64,
    spans: u64,
}

impl PartRows {
    /// Rows of a file of this kind.
    pub(crate) fn of(&self, kind: RowKind) -> u64 {
        match kind {
            RowKind::Text => self.texts,
            RowKind::Token => self.tokens,
            RowKind::Word => self.words,
            RowKind::Span => self.spans,
        }
    }

    /// The rows of counted texts.
    pub(super) fn of_counts(counts: &Counts) -> Self {
        Self { texts: counts.texts, tokens: counts.token_rows, words: counts.words, spans: counts.spans }
    }

    pub(super) fn plus(&self, more: &Self) -> Self {
        let Self { texts, tokens, words, spans } = more;
        Self {
            texts: self.texts + texts,
            tokens: self.tokens + tokens,
            words: self.words + words,
            spans: self.spans + spans,
        }
    }

    pub(super) fn minus(&self, less: &Self) -> Self {
        let Self { texts, tokens, words, spans } = less;
        let take = u64::saturating_sub;
        Self {
            texts: take(self.texts, *texts),
            tokens: take(self.tokens, *tokens),
            words: take(self.words, *words),
            spans: take(self.spans, *spans),
        }
    }

    /// The bytes of all vectors.
    pub(crate) fn bytes(&self, plan: &DirectoryPlan) -> u64 {
        let of_array = |kind: VectorKind, columns: usize| self.of(kind.rows()) * columns as u64 * plan.dtype.size();
        plan.arrays().iter().map(|array| of_array(array.kind, array.columns)).sum()
    }
}

/// The parts of the texts that are left in a spool, which is read to its end.
///
/// # Errors
/// The error of reading the spool.
pub(crate) fn rows_of_parts(spool: &mut SpoolReader, part_texts: u64, counting: Counting) -> io::Result<Vec<PartRows>> {
    let mut parts: Vec<PartRows> = Vec::new();
    while let Some(text) = spool.skip_text()? {
        if parts.last().is_none_or(|last| last.texts == part_texts) {
            parts.push(PartRows::default());
        }
        if let Some(part) = parts.last_mut() {
            let rows = |kind| u64::from(text.rows(kind, counting.special_tokens));
            part.texts += 1;
            part.tokens += rows(RowKind::Token);
            part.words += rows(RowKind::Word);
            part.spans += rows(RowKind::Span);
        }
    }
    Ok(parts)
}

/// The numbers of the parts that hold `texts` texts from row `first_row` of the input on.
pub(crate) fn numbers(first_row: u64, texts: u64, part_texts: u64) -> Range<u64> {
    let first = first_row / part_texts.max(1);
    first..first + texts.div_ceil(part_texts.max(1))
}

/// The file of a part, relative to the directory.
pub(crate) fn name(kind: VectorKind, number: u64) -> String {
    format!("{}/part-{number:05}.parquet", kind.name())
}

/// Whether a file in the folder of a kind of vector has the name of a part.
pub(crate) fn is_part(name: &str) -> bool {
    let number = name.strip_prefix("part-").and_then(|name| name.strip_suffix(".parquet"));
    number.is_some_and(|number| number.len() >= 5 && number.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_begin_at_multiples_of_the_whole_input() {
        assert_eq!(numbers(0, 0, 16), 0..0);
        assert_eq!(numbers(0, 16, 16), 0..1);
        assert_eq!(numbers(0, 17, 16), 0..2);
        assert_eq!(numbers(32, 17, 16), 2..4);
    }

    #[test]
    fn names_are_told_from_others() {
        for number in [0, 99_999, 123_456] {
            let name = name(VectorKind::Mean, number);
            assert!(is_part(name.strip_prefix("mean/").unwrap()), "{name}");
        }
        for other in ["part-0.parquet", "part-0000a.parquet", "part-00000.parquet.bak", "00000.parquet"] {
            assert!(!is_part(other), "{other}");
        }
    }
}
