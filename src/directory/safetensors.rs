//! `.safetensors` files at their final size: <https://github.com/huggingface/safetensors#format>.

use std::io::{self, Write};

use safetensors::Dtype as StDtype;
use safetensors::tensor::{Metadata, TensorInfo};

use super::folder::Folder;
use crate::counts::Counts;
use crate::error::{Error, Result};
use crate::plan::ArrayPlan;
use crate::spec::{Dtype, RowKind, VectorKind};

/// A tensor in a file: its name, type and shape.
pub(crate) struct TensorEntry {
    pub(crate) name: String,
    pub(crate) dtype: StDtype,
    pub(crate) shape: Vec<usize>,
}

impl TensorEntry {
    /// Size of the tensor's data in bytes.
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

/// The tensors of a kind of vector. Offsets come first, as their 8-byte numbers have to be aligned.
pub(crate) fn entries(emit: VectorKind, arrays: &[ArrayPlan], dtype: Dtype, counts: &Counts) -> Vec<TensorEntry> {
    let offsets = (emit.rows() != RowKind::Text).then(|| TensorEntry {
        name: "offsets".to_owned(),
        dtype: StDtype::I64,
        shape: vec![counts.texts as usize + 1],
    });
    let arrays = arrays.iter().map(|array| TensorEntry {
        name: array.name(),
        dtype: self::dtype(dtype),
        shape: vec![counts.rows(emit) as usize, array.columns],
    });
    offsets.into_iter().chain(arrays).collect()
}

/// The header of a file with these tensors, and where in the file each tensor's data starts.
pub(crate) fn header(entries: &[TensorEntry]) -> io::Result<(Vec<u8>, Vec<u64>)> {
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
    let metadata = Metadata::new(None, tensors).map_err(|error| io::Error::other(error.to_string()))?;
    let json = serde_json::to_string(&metadata).map_err(io::Error::other)?;
    // The format aligns the data to 8 bytes by padding the header with spaces.
    let length = json.len().next_multiple_of(8);
    let mut header = (length as u64).to_le_bytes().to_vec();
    header.extend_from_slice(format!("{json:length$}").as_bytes());
    let starts = starts.into_iter().map(|start| (header.len() + start) as u64).collect();
    Ok((header, starts))
}

/// Creates a file of zeros with these tensors. Returns where each tensor's data starts.
pub(crate) fn create(folder: &Folder, name: &str, entries: &[TensorEntry]) -> Result<Vec<u64>> {
    let path = folder.place(name);
    let (header, starts) = header(entries).map_err(Error::io("write", &path))?;
    let bytes = header.len() + entries.iter().map(TensorEntry::bytes).sum::<usize>();
    let mut file = folder.create_new(name)?;
    file.write_all(&header).and_then(|()| file.set_len(bytes as u64)).map_err(Error::io("write", path))?;
    Ok(starts)
}
