//! What the reader of a format gives out, and the sizes beyond which it refuses.

use std::io;

use super::record::{Record, Text};

/// The longest text that is taken, in bytes. Tokenizing takes some 200 bytes of memory for each byte of a text, and a
/// model sees a few thousand at most; what is longer is usually a file without line ends.
pub const LONGEST_TEXT: usize = 4 << 20;
/// The longest record that is taken, in bytes of the file: a text, its columns, and what escapes them.
pub const LONGEST_RECORD: usize = 4 * LONGEST_TEXT;

/// Bytes of a file that are read together.
pub(super) const BUFFER: usize = 1 << 16;

/// A record of a reader, or what is wrong with it.
#[derive(Debug)]
pub(super) struct Entry {
    /// Where it begins, counted from 1.
    pub(super) line: u64,
    pub(super) record: Result<Record, String>,
}

/// Why nothing more can be read.
#[derive(Debug)]
pub(super) struct Failed(pub(super) String);

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self(format!("cannot be read: {error}"))
    }
}

/// The entries of one input, in order.
pub(super) type Entries<'a> = Box<dyn Iterator<Item = Result<Entry, Failed>> + Send + 'a>;

/// Refuses a text that is too long to be tokenized; `name` is its column.
pub(super) fn check_length(text: &Text, name: &str) -> Result<(), String> {
    match text.text.len() {
        0..=LONGEST_TEXT => Ok(()),
        _ => Err(format!("has a `{name}` longer than {} MiB, the longest text that is taken", LONGEST_TEXT >> 20)),
    }
}
