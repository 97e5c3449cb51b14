//! One array in a file: created at its final size, filled from the first row to the last.

use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::sync::Arc;

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

use super::folder::Folder;
use crate::error::{Error, Result};
use crate::sink::check_fits;
use crate::spec::Dtype;

#[cfg(target_endian = "big")]
compile_error!("the file formats are little-endian, and numbers are written as they lie in memory");

/// Bytes that are buffered for each array: a job keeps an array open for each layer and kind.
const BUFFER: usize = 1 << 16;

/// Calls `take` with numbers rounded to a type, as the bytes that are stored.
pub(crate) fn with_stored<R>(numbers: &[f32], dtype: Dtype, take: impl FnOnce(&[u8]) -> R) -> R {
    match dtype {
        Dtype::F32 => take(bytemuck::cast_slice(numbers)),
        Dtype::F16 => {
            let mut rounded = vec![f16::ZERO; numbers.len()];
            rounded.convert_from_f32_slice(numbers);
            take(bytemuck::cast_slice(rounded.as_slice()))
        }
        Dtype::Bf16 => {
            let mut rounded = vec![bf16::ZERO; numbers.len()];
            rounded.convert_from_f32_slice(numbers);
            take(bytemuck::cast_slice(rounded.as_slice()))
        }
    }
}

/// A region of a file that holds one array.
pub(super) struct ArrayFile {
    file: BufWriter<Arc<File>>,
    path: PathBuf,
    name: String,
    dtype: Dtype,
    bytes: u64,
    remaining: u64,
    checksum: crc32fast::Hasher,
}

/// The place of an array in its file, and how much of it is written.
#[derive(Debug, Clone, Copy)]
pub(super) struct ArraySpan {
    /// The byte at which the array starts.
    pub(super) start: u64,
    /// Size of the array in bytes.
    pub(super) bytes: u64,
    /// Number of bytes that were written before.
    pub(super) done: u64,
    /// crc32 of those bytes.
    pub(super) crc32: u32,
}

impl ArrayFile {
    /// Opens an array in an existing file, to append what is missing.
    pub(super) fn open(folder: &Folder, file_name: &str, name: &str, dtype: Dtype, region: ArraySpan) -> Result<Self> {
        let ArraySpan { start, bytes, done, crc32 } = region;
        let path = folder.place(file_name);
        let mut file = folder.open_file(file_name).map_err(Error::io("open", &path))?;
        file.seek(SeekFrom::Start(start + done)).map_err(Error::io("write", &path))?;
        Ok(Self {
            file: BufWriter::with_capacity(BUFFER, Arc::new(file)),
            path,
            name: name.to_owned(),
            dtype,
            bytes,
            remaining: bytes - done,
            checksum: crc32fast::Hasher::new_with_initial_len(crc32, done),
        })
    }

    /// Number of bytes of the array written so far.
    pub(super) fn bytes_written(&self) -> u64 {
        self.bytes - self.remaining
    }

    /// The crc32 of the array so far.
    pub(super) fn crc32(&self) -> u32 {
        self.checksum.clone().finalize()
    }

    /// Hands buffered bytes to the system.
    pub(super) fn flush(&mut self) -> Result<()> {
        self.file.flush().map_err(Error::io("write", &self.path))
    }

    /// The file, for a thread that flushes it to the disk.
    pub(super) fn file(&self) -> Arc<File> {
        self.file.get_ref().clone()
    }

    /// Appends numbers, rounded to the array's type.
    pub(super) fn write(&mut self, numbers: &[f32]) -> Result<()> {
        check_fits(numbers, self.dtype, || format!("{} of {}", self.name, self.path.display()))?;
        with_stored(numbers, self.dtype, |bytes| self.write_bytes(bytes))
    }

    /// Appends offsets.
    pub(super) fn write_i64(&mut self, numbers: &[i64]) -> Result<()> {
        self.write_bytes(bytemuck::cast_slice(numbers))
    }

    fn write_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        match self.remaining.checked_sub(bytes.len() as u64) {
            Some(remaining) => self.remaining = remaining,
            None => {
                return Err(Error::Output {
                    path: self.path.clone(),
                    problem: format!("array {} was given more rows than were counted", self.name),
                });
            }
        }
        self.checksum.update(bytes);
        self.file.write_all(bytes).map_err(Error::io("write", &self.path))
    }

    /// Flushes everything to the disk; the array must be full.
    pub(super) fn finish(self) -> Result<()> {
        if self.remaining > 0 {
            return Err(Error::Output {
                path: self.path,
                problem: format!("array {} was given fewer rows than were counted", self.name),
            });
        }
        let path = self.path;
        self.file
            .into_inner()
            .map_err(io::IntoInnerError::into_error)
            .and_then(|file| file.sync_all())
            .map_err(Error::io("write", path))
    }
}
