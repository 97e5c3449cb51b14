//! One array in a file: created at its final size, filled from the first row to the last.

use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::sync::Arc;

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

use super::folder::Folder;
use crate::error::{Error, Result};
use crate::positional::{WRITES_AT_PLACES, write_all_at};
use crate::sink::check_fits;
use crate::spec::Dtype;
use crate::threads::share_map;

#[cfg(target_endian = "big")]
compile_error!("the file formats are little-endian, and numbers are written as they lie in memory");

/// Bytes that are buffered for each array: a job keeps an array open for each layer and kind.
const BUFFER: usize = 1 << 16;

/// Numbers that a thread writes at a time.
const NUMBERS_OF_PIECE: usize = 1 << 20;

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
    /// The byte of the file at which the array starts.
    start: u64,
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
            start,
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
        if numbers.len() >= 2 * NUMBERS_OF_PIECE && WRITES_AT_PLACES {
            return self.write_pieces(numbers);
        }
        check_fits(numbers, self.dtype, || format!("{} of {}", self.name, self.path.display()))?;
        with_stored(numbers, self.dtype, |bytes| self.write_bytes(bytes))
    }

    /// The same for many numbers, which threads without other work share: rounding, checksums, and the copy to the system.
    fn write_pieces(&mut self, numbers: &[f32]) -> Result<()> {
        let Self { path, name, dtype, bytes, .. } = &*self;
        let (dtype, size) = (*dtype, numbers.len() as u64 * dtype.size());
        let Some(remaining) = self.remaining.checked_sub(size) else { return Err(self.too_many()) };
        let unwritable = || Error::io("write", path);
        let begins = self.start + bytes - self.remaining;
        let file = Arc::clone(self.file.get_ref());
        let pieces = numbers.chunks(NUMBERS_OF_PIECE).enumerate().collect();
        let written = share_map(pieces, |(index, numbers): (usize, &[f32])| -> Result<crc32fast::Hasher> {
            check_fits(numbers, dtype, || format!("{name} of {}", path.display()))?;
            with_stored(numbers, dtype, |bytes| {
                let at = begins + (index * NUMBERS_OF_PIECE) as u64 * dtype.size();
                write_all_at(&file, bytes, at).map_err(unwritable())?;
                let mut checksum = crc32fast::Hasher::new();
                checksum.update(bytes);
                Ok(checksum)
            })
        });
        for checksum in written {
            self.checksum.combine(&checksum?);
        }
        self.remaining = remaining;
        // What is buffered goes to its place first.
        self.file.seek(SeekFrom::Start(begins + size)).map_err(Error::io("write", &self.path))?;
        Ok(())
    }

    /// Appends offsets.
    pub(super) fn write_i64(&mut self, numbers: &[i64]) -> Result<()> {
        self.write_bytes(bytemuck::cast_slice(numbers))
    }

    fn write_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        match self.remaining.checked_sub(bytes.len() as u64) {
            Some(remaining) => self.remaining = remaining,
            None => return Err(self.too_many()),
        }
        self.checksum.update(bytes);
        self.file.write_all(bytes).map_err(Error::io("write", &self.path))
    }

    fn too_many(&self) -> Error {
        Error::Output {
            path: self.path.clone(),
            problem: format!("array {} was given more rows than were counted", self.name),
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_numbers_are_written_as_few_are() {
        let directory = tempfile::tempdir().unwrap();
        let folder = Folder::open(directory.path()).unwrap();
        let numbers: Vec<f32> = (0..2 * NUMBERS_OF_PIECE + 12_345).map(|number| number as f32 / 1000.0 - 7.0).collect();
        for dtype in [Dtype::F32, Dtype::Bf16] {
            let bytes = (numbers.len() + 20) as u64 * dtype.size();
            let written = |name: &str, in_pieces: bool| {
                folder.create_new(name).unwrap().set_len(100 + bytes).unwrap();
                let span = ArraySpan { start: 100, bytes, done: 0, crc32: 0 };
                let mut array = ArrayFile::open(&folder, name, "numbers", dtype, span).unwrap();
                array.write(&numbers[..10]).unwrap();
                if in_pieces {
                    array.write(&numbers).unwrap();
                } else {
                    numbers.chunks(777).for_each(|numbers| array.write(numbers).unwrap());
                }
                array.write(&numbers[..10]).unwrap();
                assert!(matches!(array.write(&numbers), Err(Error::Output { .. })), "more than there is room for");
                let crc32 = array.crc32();
                array.finish().unwrap();
                (crc32, std::fs::read(directory.path().join(name)).unwrap())
            };
            let name = dtype.name();
            assert!(written(&format!("{name}-few"), false) == written(&format!("{name}-many"), true), "{name}");
        }
        let mut bad = numbers;
        bad[NUMBERS_OF_PIECE + 5] = f32::INFINITY;
        folder.create_new("bad").unwrap();
        let span = ArraySpan { start: 0, bytes: 1 << 30, done: 0, crc32: 0 };
        let mut array = ArrayFile::open(&folder, "bad", "numbers", Dtype::F32, span).unwrap();
        assert!(matches!(array.write(&bad), Err(Error::DoesNotFit { .. })));
    }
}
