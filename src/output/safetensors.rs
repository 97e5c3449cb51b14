//! `.safetensors` files at their final size: <https://github.com/huggingface/safetensors#format>.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use safetensors::Dtype as StDtype;
use safetensors::tensor::{Metadata, TensorInfo};

use crate::error::{Error, Result};
use crate::spec::Dtype;

/// A tensor of a file: its name, type and shape.
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) dtype: StDtype,
    pub(crate) shape: Vec<usize>,
}

impl Entry {
    /// Bytes of the tensor's data.
    pub(crate) fn bytes(&self) -> usize {
        self.shape.iter().product::<usize>() * self.dtype.bitsize() / 8
    }
}

/// The format's name for a type.
pub(crate) fn dtype(dtype: Dtype) -> StDtype {
    match dtype {
        Dtype::F32 => StDtype::F32,
        Dtype::F16 => StDtype::F16,
        Dtype::Bf16 => StDtype::BF16,
    }
}

/// Creates a file of zeros with these tensors, one after the other. Returns where each tensor's data starts.
pub(crate) fn create(path: &Path, entries: &[Entry]) -> Result<Vec<u64>> {
    let mut end = 0;
    let tensors: Vec<(String, TensorInfo)> = entries
        .iter()
        .map(|entry| {
            let start = end;
            end += entry.bytes();
            let info = TensorInfo { dtype: entry.dtype, shape: entry.shape.clone(), data_offsets: (start, end) };
            (entry.name.clone(), info)
        })
        .collect();
    let starts: Vec<usize> = tensors.iter().map(|(_, info)| info.data_offsets.0).collect();
    let metadata = Metadata::new(None, tensors).map_err(|error| io::Error::other(error.to_string()));
    let header = metadata
        .and_then(|metadata| serde_json::to_string(&metadata).map_err(io::Error::other))
        .map_err(Error::io("write", path))?;
    // The format wants the data aligned to 8 bytes; spaces after the header are part of it.
    let length = header.len().next_multiple_of(8);

    let mut file = File::create(path).map_err(Error::io("create", path))?;
    file.write_all(&(length as u64).to_le_bytes())
        .and_then(|()| file.write_all(format!("{header:length$}").as_bytes()))
        .and_then(|()| file.set_len((8 + length + end) as u64))
        .map_err(Error::io("write", path))?;
    Ok(starts.into_iter().map(|start| (8 + length + start) as u64).collect())
}
