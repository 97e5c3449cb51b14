//! Reads at a place of a file, without moving a position that other threads use as well.

use std::fs::File;
use std::io;

/// Fills `buffer` with what a file holds from `offset` on.
///
/// # Errors
/// Those of the system; [`io::ErrorKind::UnexpectedEof`] where the file is too short.
#[cfg(unix)]
pub(crate) fn read_exact_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, buffer, offset)
}

/// Fills `buffer` with what a file holds from `offset` on.
///
/// # Errors
/// Those of the system; [`io::ErrorKind::UnexpectedEof`] where the file is too short.
#[cfg(windows)]
pub(crate) fn read_exact_at(file: &File, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
    use std::os::windows::fs::FileExt;
    while !buffer.is_empty() {
        match file.seek_read(buffer, offset)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => {
                buffer = &mut buffer[count..];
                offset += count as u64;
            }
        }
    }
    Ok(())
}
