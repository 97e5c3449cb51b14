//! `.npy` files at their final size: <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>.

use std::fs::File;
use std::io::{self, Seek, Write};
use std::path::Path;

use half::f16;
use ndarray_npy::npy::header::{Header, Layout};
use ndarray_npy::{WritableElement, WriteDataError, WriteNpyError, write_zeroed_npy};
use py_literal::Value as PyValue;

use crate::error::{Error, Result};
use crate::spec::Dtype;

/// Creates a file of zeros with `shape`, sparse if the file system supports it. Returns where the data starts.
pub(crate) fn create(path: &Path, shape: (u64, u64), dtype: Dtype) -> Result<u64> {
    let shape = (shape.0 as usize, shape.1 as usize);
    create_with(path, |file| match dtype {
        Dtype::F32 => write_zeroed_npy::<f32, _>(file, shape),
        Dtype::F16 => write_zeroed_npy::<Float16, _>(file, shape),
        // Plans refuse this: numpy has no bfloat16.
        Dtype::Bf16 => Err(WriteNpyError::Io(io::Error::new(io::ErrorKind::Unsupported, "numpy has no bfloat16"))),
    })
}

/// Creates a file of `length` int64 zeros. Returns where the data starts.
pub(crate) fn create_offsets(path: &Path, length: u64) -> Result<u64> {
    create_with(path, |file| write_zeroed_npy::<i64, _>(file, length as usize))
}

fn create_with(path: &Path, write: impl FnOnce(&File) -> std::result::Result<(), WriteNpyError>) -> Result<u64> {
    let mut file = File::create(path).map_err(Error::io("create", path))?;
    write(&file)
        .map_err(|error| match error {
            WriteNpyError::Io(error) => error,
            other => io::Error::other(other.to_string()),
        })
        .and_then(|()| file.stream_position())
        .map_err(Error::io("write", path))
}

/// The `descr` of a type in the header; `None` for bfloat16, which numpy does not have.
pub(crate) fn descriptor(dtype: Dtype) -> Option<&'static str> {
    match dtype {
        Dtype::F32 => Some("<f4"),
        Dtype::F16 => Some("<f2"),
        Dtype::Bf16 => None,
    }
}

/// The `descr` of offsets.
pub(crate) const OFFSETS_DESCRIPTOR: &str = "<i8";

/// The header of a file, up to its data.
pub(crate) fn header(descriptor: &str, shape: &[usize]) -> io::Result<Vec<u8>> {
    let type_descriptor = PyValue::String(descriptor.to_owned());
    let header = Header { type_descriptor, layout: Layout::Standard, shape: shape.to_vec() };
    header.to_bytes().map_err(|error| io::Error::other(error.to_string()))
}

/// float16, which ndarray-npy does not know.
struct Float16(f16);

impl WritableElement for Float16 {
    fn type_descriptor() -> PyValue {
        PyValue::String("<f2".to_owned())
    }

    fn write<W: Write>(&self, mut writer: W) -> std::result::Result<(), WriteDataError> {
        Ok(writer.write_all(&self.0.to_le_bytes())?)
    }

    fn write_slice<W: Write>(slice: &[Self], mut writer: W) -> std::result::Result<(), WriteDataError> {
        slice.iter().try_for_each(|element| element.write(&mut writer))
    }
}
