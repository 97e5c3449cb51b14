//! The beginning of a reader, which tells what it holds.

use std::io::{self, Read};

/// Up to `count` bytes; fewer at the end.
pub(super) fn first_bytes(reader: &mut impl Read, count: usize) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    reader.take(count as u64).read_to_end(&mut head)?;
    Ok(head)
}
