//! Reads at an offset of a file without moving the file position, which other threads use as well.

use std::fs::File;
use std::io;

/// Fills `buffer` with the bytes of a file from `offset` on.
///
/// # Errors
/// The system's error; [`io::ErrorKind::UnexpectedEof`] when the file is too short.
#[cfg(unix)]
pub(crate) fn read_exact_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, buffer, offset)
}

/// Fills `buffer` with the bytes of a file from `offset` on.
///
/// # Errors
/// The system's error; [`io::ErrorKind::UnexpectedEof`] when the file is too short.
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
