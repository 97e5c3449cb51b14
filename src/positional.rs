//! Reads and writes at an offset of a file without moving the file position, which other threads use as well.

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

/// Whether [`write_all_at`] leaves the file position alone.
pub(crate) const WRITES_AT_PLACES: bool = cfg!(unix);

/// Writes all bytes to a file from `offset` on.
///
/// # Errors
/// The system's error.
#[cfg(unix)]
pub(crate) fn write_all_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, offset)
}

/// Windows moves the position, so this is not there.
///
/// # Errors
/// Always.
#[cfg(windows)]
pub(crate) fn write_all_at(_: &File, _: &[u8], _: u64) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
