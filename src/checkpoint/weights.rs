//! Tensors out of a checkpoint: safetensors in one file or several, PyTorch's zip pickles, or bytes in the binary.
//!
//! Tensors are read with plain reads, not mapped: a file that shrinks while it is read is an error instead of a
//! signal, and pages of the file do not count as ours. Every tensor is widened to float32 and checked to
//! be finite before anything is computed with it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};

use candle_core::DType;
use candle_core::pickle::PthTensors;
use half::{bf16, f16};
use safetensors::Dtype;
use safetensors::tensor::Metadata;

use super::foreign::without_panic;
use super::names::canonical_names;
use crate::error::{Error, Result};
use crate::positional::read_exact_at;

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
    File { path: PathBuf, file: File, data_start: u64, metadata: Metadata },
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

    /// Opens the weights of a module beside the encoder: its parameters have the names that the file has for them.
    ///
    /// # Errors
    /// As [`Weights::from_safetensors`].
    pub fn of_module(path: &Path) -> Result<Self> {
        let is_pickle = path.extension().is_some_and(|extension| extension == "bin");
        let shard = if is_pickle { Shard::open_pickle(path)? } else { Shard::open_safetensors(path)? };
        let entries = shard.names().into_iter().map(|name| (name.clone(), (0, name))).collect();
        Ok(Self { shards: vec![shard], entries })
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

    /// Whether they are part of the binary: in memory already, to be read when needed.
    pub fn are_embedded(&self) -> bool {
        self.shards.iter().all(|shard| matches!(shard, Shard::Embedded { .. }))
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
        let mut values = Vec::with_capacity(shape.iter().product());
        self.open(canonical, shape)?.rows(0..shape[0], &mut values)?;
        Ok(values)
    }

    /// Opens one parameter, to read it in parts.
    ///
    /// # Errors
    /// As [`Weights::tensor`].
    pub fn open(&self, canonical: &str, shape: &[usize]) -> Result<TensorReader<'_>> {
        let (shard, name) = self.find(canonical, shape)?;
        let source = shard.source(name).map_err(|problem| shard.problem(name, problem))?;
        Ok(TensorReader { shard, name: name.to_owned(), row: shape[1..].iter().product(), source })
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

/// One parameter of a checkpoint, read a few rows at a time and from any thread.
pub struct TensorReader<'a> {
    shard: &'a Shard,
    name: String,
    /// Numbers of a row.
    row: usize,
    source: Source<'a>,
}

/// Where a tensor's numbers are.
enum Source<'a> {
    /// In a file, from `start` on.
    File { file: &'a File, start: u64, dtype: Dtype },
    /// In memory, as they are stored.
    Bytes { bytes: &'a [u8], dtype: Dtype },
    /// In memory, widened.
    Values(Vec<f32>),
}

impl TensorReader<'_> {
    /// Appends some rows to `out`, as float32.
    ///
    /// # Errors
    /// [`Error::Tensor`] when they cannot be read or are not finite.
    pub fn rows(&self, rows: Range<usize>, out: &mut Vec<f32>) -> Result<()> {
        let (first, numbers) = (out.len(), rows.start * self.row..rows.end * self.row);
        match &self.source {
            Source::Values(values) => {
                values.get(numbers.clone()).map(|values| out.extend_from_slice(values)).ok_or(ABSENT.to_owned())
            }
            Source::Bytes { bytes, dtype } => {
                let size = dtype.bitsize() / 8;
                let bytes = bytes.get(numbers.start * size..numbers.end * size).ok_or(ABSENT.to_owned());
                bytes.and_then(|bytes| widen(*dtype, bytes, out))
            }
            Source::File { file, start, dtype } => {
                let size = dtype.bitsize() / 8;
                let mut bytes = [0; READ_AT_ONCE];
                let (mut at, end) = (start + (numbers.start * size) as u64, start + (numbers.end * size) as u64);
                loop {
                    let count = ((end - at) as usize).min(READ_AT_ONCE);
                    if count == 0 {
                        break Ok(());
                    }
                    let read = read_exact_at(file, &mut bytes[..count], at)
                        .map_err(|error| format!("cannot be read: {error}; did the file change while it was in use?"));
                    if let Err(problem) = read.and_then(|()| widen(*dtype, &bytes[..count], out)) {
                        break Err(problem);
                    }
                    at += count as u64;
                }
            }
        }
        .and_then(|()| match first_not_finite(&out[first..]) {
            None => Ok(()),
            Some(index) => Err(format!(
                "holds {} at index {}; the file is damaged or training diverged",
                out[first + index],
                numbers.start + index
            )),
        })
        .map_err(|problem| self.shard.problem(&self.name, problem))
    }
}

/// Bytes of a file read at once: small enough to stay in the first-level cache until they are widened.
const READ_AT_ONCE: usize = 1 << 14;

/// Where the first number is that is infinite or not a number.
fn first_not_finite(values: &[f32]) -> Option<usize> {
    // No early exit inside a chunk: so it is done in vectors.
    let finite = |chunk: &[f32]| chunk.iter().fold(true, |finite, value| finite & value.is_finite());
    let chunk = values.chunks(1024).position(|chunk| !finite(chunk))? * 1024;
    values[chunk..].iter().position(|value| !value.is_finite()).map(|index| chunk + index)
}

/// What is wrong when a header and what it describes do not go together.
const ABSENT: &str = "is not where the file's header says";

impl Shard {
    fn open_safetensors(path: &Path) -> Result<Self> {
        let mut file = open_weights(path)?;
        let size = file.metadata().map_err(Error::io("read", path))?.len();
        let (metadata, data_start) = read_header(&mut file, size, path)?;
        Ok(Shard::File { path: path.to_owned(), file, data_start, metadata })
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

    /// Where a tensor's numbers are, or what is wrong with it.
    fn source(&self, name: &str) -> std::result::Result<Source<'_>, String> {
        match self {
            Shard::File { file, data_start, metadata, .. } => {
                let info = metadata.info(name).ok_or(ABSENT)?;
                let dtype = supported(info.dtype)?;
                Ok(Source::File { file, start: data_start + info.data_offsets.0 as u64, dtype })
            }
            Shard::Embedded { data, metadata, .. } => {
                let info = metadata.info(name).ok_or(ABSENT)?;
                let (start, end) = info.data_offsets;
                Ok(Source::Bytes { bytes: data.get(start..end).ok_or(ABSENT)?, dtype: supported(info.dtype)? })
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
                tensor.map(Source::Values).map_err(|problem| format!("cannot be read: {problem}"))
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

/// Appends stored numbers as float32.
fn widen(dtype: Dtype, bytes: &[u8], out: &mut Vec<f32>) -> std::result::Result<(), String> {
    let halves = || bytes.as_chunks::<2>().0.iter();
    match dtype {
        Dtype::F32 => out.extend(bytes.as_chunks::<4>().0.iter().map(|&b| f32::from_le_bytes(b))),
        Dtype::F16 => out.extend(halves().map(|&b| f16::from_le_bytes(b).to_f32())),
        Dtype::BF16 => out.extend(halves().map(|&b| bf16::from_le_bytes(b).to_f32())),
        other => return Err(unsupported_type(&other.to_string())),
    }
    Ok(())
}

/// Refuses a type whose numbers float32 cannot hold.
fn supported(dtype: Dtype) -> std::result::Result<Dtype, String> {
    match dtype {
        Dtype::F32 | Dtype::F16 | Dtype::BF16 => Ok(dtype),
        other => Err(unsupported_type(&other.to_string())),
    }
}

fn unsupported_type(dtype: &str) -> String {
    format!(
        "has type {}; expected float32, float16 or bfloat16, so convert the checkpoint to one of them",
        dtype.to_lowercase()
    )
}
