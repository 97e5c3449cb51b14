//! The items that the readers of all formats produce, and the limits on their size.

use std::io;

use super::id_search::LikeIds;
use super::record::{Record, Text};

/// Longest text that is accepted, in bytes. Tokenizing takes some 200 bytes of memory for each byte of a text, and a
/// model sees a few thousand at most; a longer text is usually a file without line ends.
pub const LONGEST_TEXT: usize = 4 << 20;
/// Longest record that is accepted, in bytes of the file: a text, its columns, and their escapes.
pub const LONGEST_RECORD: usize = 4 * LONGEST_TEXT;

/// Bytes of a file that are read at once.
pub(super) const BUFFER: usize = 1 << 16;

/// A record, or the problem with it.
#[derive(Debug)]
pub(super) struct Entry {
    /// The line on which it begins, from 1.
    pub(super) line: u64,
    pub(super) record: Result<Record, String>,
    /// What it has in columns that could be the id.
    pub(super) like_ids: LikeIds,
    /// Whether the problem hides all that follows it in the file, so that it cannot be skipped.
    pub(super) hides_the_rest: bool,
}

impl Entry {
    pub(super) fn new(line: u64, record: Result<Record, String>) -> Self {
        Self { line, record, like_ids: LikeIds::new(), hides_the_rest: false }
    }

    /// A record that was read together with what could be its id.
    pub(super) fn with_like_ids(line: u64, read: Result<(Record, LikeIds), String>) -> Self {
        match read {
            Ok((record, like_ids)) => Self { like_ids, ..Self::new(line, Ok(record)) },
            Err(problem) => Self::new(line, Err(problem)),
        }
    }

    /// The last entry of a file, behind whose problem no record can be told apart.
    pub(super) fn hiding_the_rest(line: u64, problem: String) -> Self {
        Self { hides_the_rest: true, ..Self::new(line, Err(problem)) }
    }
}

/// The reason why reading cannot continue.
#[derive(Debug)]
pub(super) struct Failed(pub(super) String);

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self(format!("cannot be read: {error}"))
    }
}

/// The entries of one input, in order.
pub(super) type Entries<'a> = Box<dyn Iterator<Item = Result<Entry, Failed>> + Send + 'a>;

/// Refuses a text beyond [`LONGEST_TEXT`]; `name` is its column.
pub(super) fn check_length(text: &Text, name: &str) -> Result<(), String> {
    match text.text.len() {
        0..=LONGEST_TEXT => Ok(()),
        _ => Err(format!("has a `{name}` longer than {} MiB, the longest text that is taken", LONGEST_TEXT >> 20)),
    }
}
