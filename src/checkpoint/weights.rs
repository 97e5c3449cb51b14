//! Tensors out of a checkpoint: safetensors in one file or several, PyTorch's zip pickles, or bytes in the binary.
//!
//! Tensors are read one at a time with plain reads, not mapped: a file that shrinks while it is read is an error
//! instead of a signal, and pages of the file do not count as ours. Every tensor is widened to float32 and checked to
//! be finite before anything is computed with it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use candle_core::DType;
use candle_core::pickle::PthTensors;
use half::{bf16, f16};
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};

use super::foreign::without_panic;
use super::names::canonical_names;
use crate::error::{Error, Result};

/// A safetensors header is a few hundred bytes a tensor; the format's own limit.
const LARGEST_HEADER: u64 = 100_000_000;

/// The tensors of one checkpoint, by their canonical names (those of transformers' `BertModel`).
pub struct Weights {
    shards: Vec<Shard>,
    /// Canonical name → (shard, name there).
    entries: BTreeMap<String, (usize, String)>,
}

/// One file of a checkpoint, or bytes embedded in the binary.
enum Shard {
    File { path: PathBuf, file: Mutex<File>, data_start: u64, metadata: Metadata },
    Embedded { path: PathBuf, data: &'static [u8], metadata: Metadata },
    Pickle { path: PathBuf, file_size: u64, tensors: PthTensors },
}

impl Weights {
    /// Opens safetensors files that together hold one checkpoint.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::Model`] when a file cannot be read, is no safetensors file, or is shorter than its
    /// header says.
    pub fn from_safetensors(paths: &[PathBuf]) -> Result<Self> {
        Self::new(paths.iter().map(|path| Shard::open_safetensors(path)).collect::<Result<_>>()?)
    }

    /// Opens a `pytorch_model.bin` in the zip format of PyTorch 1.6 and later. No code in it is executed.
    ///
    /// # Errors
    /// As [`Weights::from_safetensors`]; the older format is refused with the way to convert it.
    pub fn from_pickle(path: &Path) -> Result<Self> {
        Self::new(vec![Shard::open_pickle(path)?])
    }

    /// Takes a safetensors file that is part of the binary.
    ///
    /// # Errors
    /// As [`Weights::from_safetensors`].
    pub fn from_embedded(name: &str, bytes: &'static [u8]) -> Result<Self> {
        let path = PathBuf::from(name);
        let (metadata, data_start) = read_header(&mut &bytes[..], bytes.len() as u64, &path)?;
        Self::new(vec![Shard::Embedded { path, data: &bytes[data_start as usize..], metadata }])
    }

    fn new(shards: Vec<Shard>) -> Result<Self> {
        let mut places = BTreeMap::new();
        for (index, shard) in shards.iter().enumerate() {
            for name in shard.names() {
                if let Some(other) = places.insert(name.clone(), index) {
                    let other = shards[other].path().display();
                    return Err(Error::model(shard.path(), format!("holds tensor `{name}`, which {other} holds too")));
                }
            }
        }
        let first = shards.first().map_or_else(PathBuf::new, |shard| shard.path().to_owned());
        let entries = canonical_names(places.keys().map(String::as_str))
            .map_err(|problem| Error::model(first, problem))?
            .into_iter()
            .map(|(canonical, name)| (canonical, (places[&name], name)))
            .collect();
        Ok(Self { shards, entries })
    }

    /// Whether the checkpoint has this parameter.
    pub fn contains(&self, canonical: &str) -> bool {
        self.entries.contains_key(canonical)
    }

    /// The stored type of the word embeddings, for [`info`](crate::info): what the checkpoint was saved as.
    pub fn stored_dtype(&self) -> String {
        self.entries
            .get("embeddings.word_embeddings.weight")
            .and_then(|(shard, name)| self.shards[*shard].shape_and_type(name))
            .map_or_else(|| "unknown".to_owned(), |(_, dtype)| dtype)
    }

    /// Checks that a parameter is there and of `shape`, without reading it.
    ///
    /// # Errors
    /// [`Error::Tensor`] when it is missing or not of `shape`.
    pub fn check(&self, canonical: &str, shape: &[usize]) -> Result<()> {
        self.find(canonical, shape).map(drop)
    }

    /// One parameter as float32, row-major.
    ///
    /// # Errors
    /// [`Error::Tensor`] when it is missing, not of `shape`, of a type that float32 cannot hold, or not finite.
    pub fn tensor(&self, canonical: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let (shard, name) = self.find(canonical, shape)?;
        let values = shard.read(name).map_err(|problem| shard.problem(name, problem))?;
        match values.iter().position(|value| !value.is_finite()) {
            None => Ok(values),
            Some(index) => {
                let problem =
                    format!("holds {} at index {index}; the file is damaged or training diverged", values[index]);
                Err(shard.problem(name, problem))
            }
        }
    }

    /// The shard that holds a parameter of `shape`, and the parameter's name there.
    fn find(&self, canonical: &str, shape: &[usize]) -> Result<(&Shard, &str)> {
        let Some((shard, name)) = self.entries.get(canonical) else {
            return Err(self.shards[0].problem(
                canonical,
                "is missing; the file is incomplete or belongs to another kind of model".to_owned(),
            ));
        };
        let shard = &self.shards[*shard];
        match shard.shape_and_type(name) {
            Some((found, _)) if found == shape => Ok((shard, name)),
            Some((found, _)) => {
                Err(shard.problem(name, format!("has shape {found:?}, but config.json asks for {shape:?}")))
            }
            None => Err(shard.problem(name, "is not where the file's header says".to_owned())),
        }
    }
}

impl Shard {
    fn open_safetensors(path: &Path) -> Result<Self> {
        let mut file = open_weights(path)?;
        let size = file.metadata().map_err(Error::io("read", path))?.len();
        let (metadata, data_start) = read_header(&mut file, size, path)?;
        Ok(Shard::File { path: path.to_owned(), file: Mutex::new(file), data_start, metadata })
    }

    fn open_pickle(path: &Path) -> Result<Self> {
        let mut file = open_weights(path)?;
        let mut magic = [0; 4];
        let read = file.read(&mut magic).map_err(Error::io("read", path))?;
        if &magic != b"PK\x03\x04" {
            let problem = if magic[..read].starts_with(&[0x80]) {
                "is a pickle in the format of PyTorch before 1.6, which cannot be read without running code; convert it once with Python: \
                 `import torch; from safetensors.torch import save_file; \
                 save_file({k: v.clone().contiguous() for k, v in torch.load('pytorch_model.bin', weights_only=True).items()}, 'model.safetensors')`"
            } else {
                "is not a PyTorch checkpoint (a zip file); download it again or use the model's model.safetensors"
            };
            return Err(Error::model(path, problem));
        }
        let file_size = file.metadata().map_err(Error::io("read", path))?.len();
        let tensors = without_panic(|| PthTensors::new(path, None)).map_err(|problem| {
            Error::model(path, format!("is a damaged or incomplete PyTorch checkpoint: {problem}; download it again"))
        })?;
        Ok(Shard::Pickle { path: path.to_owned(), file_size, tensors })
    }

    fn path(&self) -> &Path {
        match self {
            Shard::File { path, .. } | Shard::Embedded { path, .. } | Shard::Pickle { path, .. } => path,
        }
    }

    fn problem(&self, tensor: &str, problem: String) -> Error {
        Error::Tensor { path: self.path().to_owned(), name: tensor.to_owned(), problem }
    }

    fn names(&self) -> Vec<String> {
        match self {
            Shard::File { metadata, .. } | Shard::Embedded { metadata, .. } => metadata.offset_keys(),
            Shard::Pickle { tensors, .. } => tensors.tensor_infos().keys().cloned().collect(),
        }
    }

    fn shape_and_type(&self, name: &str) -> Option<(Vec<usize>, String)> {
        match self {
            Shard::File { metadata, .. } | Shard::Embedded { metadata, .. } => {
                metadata.info(name).map(|info| (info.shape.clone(), info.dtype.to_string().to_lowercase()))
            }
            Shard::Pickle { tensors, .. } => tensors
                .tensor_infos()
                .get(name)
                .map(|info| (info.layout.dims().to_vec(), info.dtype.as_str().to_owned())),
        }
    }

    /// A tensor's numbers as float32, or what is wrong with it.
    fn read(&self, name: &str) -> std::result::Result<Vec<f32>, String> {
        const ABSENT: &str = "is not where the file's header says";
        match self {
            Shard::File { file, data_start, metadata, .. } => {
                let info = metadata.info(name).ok_or(ABSENT)?;
                let (start, end) = info.data_offsets;
                let mut bytes = vec![0; end - start];
                // A poisoned lock only means that another read failed; the file itself is as good as before.
                let mut file = file.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                file.seek(SeekFrom::Start(data_start + start as u64))
                    .and_then(|_| file.read_exact(&mut bytes))
                    .map_err(|error| format!("cannot be read: {error}; did the file change while it was in use?"))?;
                widen(info, &bytes)
            }
            Shard::Embedded { data, metadata, .. } => {
                let info = metadata.info(name).ok_or(ABSENT)?;
                let (start, end) = info.data_offsets;
                widen(info, data.get(start..end).ok_or(ABSENT)?)
            }
            Shard::Pickle { tensors, file_size, .. } => {
                let info = tensors.tensor_infos().get(name).ok_or(ABSENT)?;
                // The shape comes from the pickle: bound the allocation by what the file can hold.
                let bytes = info
                    .layout
                    .dims()
                    .iter()
                    .try_fold(info.dtype.size_in_bytes() as u64, |size, &dim| size.checked_mul(dim as u64));
                if bytes.is_none_or(|bytes| bytes > *file_size) {
                    return Err(format!("of shape {:?} is larger than the file", info.layout.dims()));
                }
                if !matches!(info.dtype, DType::F32 | DType::F16 | DType::BF16) {
                    return Err(unsupported_type(info.dtype.as_str()));
                }
                let tensor = without_panic(|| {
                    let tensor = tensors.get(name)?.ok_or_else(|| candle_core::Error::Msg(ABSENT.to_owned()))?;
                    tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()
                });
                tensor.map_err(|problem| format!("cannot be read: {problem}"))
            }
        }
    }
}

/// Opens a weights file and refuses what is only a pointer to one.
fn open_weights(path: &Path) -> Result<File> {
    let mut file = File::open(path).map_err(Error::io("open", path))?;
    let mut start = Vec::new();
    (&mut file).take(64).read_to_end(&mut start).map_err(Error::io("read", path))?;
    if start.starts_with(b"version https://git-lfs.github.com/spec/") {
        return Err(Error::model(
            path,
            "is a git-lfs pointer, not the weights themselves; run `git lfs pull` in the model's folder",
        ));
    }
    if start.is_empty() {
        return Err(Error::model(path, "is empty; download the weights again"));
    }
    file.seek(SeekFrom::Start(0)).map_err(Error::io("read", path))?;
    Ok(file)
}

/// Reads a safetensors header and checks that the file has the length it promises: (header, where the data starts).
fn read_header(reader: &mut impl Read, file_size: u64, path: &Path) -> Result<(Metadata, u64)> {
    let damaged = |problem: String| Error::model(path, format!("is not a safetensors file: {problem}"));
    let mut length = [0; 8];
    reader.read_exact(&mut length).map_err(|_| damaged(format!("it has only {file_size} bytes")))?;
    let length = u64::from_le_bytes(length);
    if length > LARGEST_HEADER || length + 8 > file_size {
        return Err(damaged(format!("its header of {length} bytes does not fit into its {file_size} bytes")));
    }
    let mut header = vec![0; length as usize];
    reader.read_exact(&mut header).map_err(Error::io("read", path))?;
    let metadata: Metadata =
        serde_json::from_slice(&header).map_err(|error| damaged(format!("its header is damaged: {error}")))?;
    let (expected, found) = (metadata.data_len() as u64, file_size - 8 - length);
    if expected != found {
        return Err(Error::model(
            path,
            format!(
                "is incomplete or damaged: its header describes {expected} bytes of tensors, the file holds {found}; download it again"
            ),
        ));
    }
    Ok((metadata, 8 + length))
}

fn widen(info: &TensorInfo, bytes: &[u8]) -> std::result::Result<Vec<f32>, String> {
    let halves = || bytes.as_chunks::<2>().0.iter();
    match info.dtype {
        Dtype::F32 => Ok(bytes.as_chunks::<4>().0.iter().map(|&b| f32::from_le_bytes(b)).collect()),
        Dtype::F16 => Ok(halves().map(|&b| f16::from_le_bytes(b).to_f32()).collect()),
        Dtype::BF16 => Ok(halves().map(|&b| bf16::from_le_bytes(b).to_f32()).collect()),
        other => Err(unsupported_type(&other.to_string())),
    }
}

fn unsupported_type(dtype: &str) -> String {
    format!(
        "has type {}; expected float32, float16 or bfloat16, so convert the checkpoint to one of them",
        dtype.to_lowercase()
    )
}
