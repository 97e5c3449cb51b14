//! Reads the first bytes of a source, by which its content is recognized.

use std::io::{self, Read};

/// Reads up to `count` bytes; fewer if the content is shorter.
pub(super) fn first_bytes(reader: &mut impl Read, count: usize) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    reader.take(count as u64).read_to_end(&mut head)?;
    Ok(head)
}
