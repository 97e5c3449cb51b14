//! Tensors out of a checkpoint: safetensors in one file or several, what `torch.save` wrote, or bytes in the binary.
//!
//! Tensors are read with plain reads, not mapped: a file that shrinks while it is read causes an error instead of a
//! signal, and its pages do not count as memory of this process. Every tensor is widened to float32 and checked to be
//! finite before it is used.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};

use safetensors::Dtype;
use safetensors::tensor::Metadata;

use super::names::{CanonicalNames, canonical_names};
use super::numbers::{first_not_finite, supported, unsupported_type, widen};
use super::pickle::{self, PickleProblem, Tensors};
use crate::error::{Error, Result, json_problem};
use crate::family::{self, Family, ParameterLayout};
use crate::positional::read_exact_at;
use crate::regular_file;

/// Largest size of a safetensors header in bytes, the format's own limit. A header takes a few hundred bytes for each
/// tensor.
const LARGEST_HEADER: u64 = 100_000_000;

/// The tensors of one checkpoint, by their canonical names: those of the family's layout, without the checkpoint's prefix.
pub struct Weights {
    shards: Vec<WeightsFile>,
    /// Canonical name → (index of the file, name in that file).
    entries: BTreeMap<String, (usize, String)>,
    /// What the family's parameters are called here.
    layout: &'static ParameterLayout,
}

/// One file of a checkpoint, or bytes embedded in the binary.
enum WeightsFile {
    File { path: PathBuf, file: File, data_start: u64, metadata: Metadata },
    Embedded { path: PathBuf, data: &'static [u8], metadata: Metadata },
    Pickle { path: PathBuf, file: File, tensors: Tensors },
}

impl Weights {
    /// Opens safetensors files that together hold one checkpoint.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::Model`] when a file cannot be read, is not a safetensors file, or is shorter than its
    /// header says.
    pub fn from_safetensors(paths: &[PathBuf], family: &'static Family) -> Result<Self> {
        Self::new(paths.iter().map(|path| WeightsFile::open_safetensors(path)).collect::<Result<_>>()?, family)
    }

    /// Opens a `pytorch_model.bin` as `torch.save` writes it, in the zip format of PyTorch 1.6 and later or the older
    /// one. No code in it is executed.
    ///
    /// # Errors
    /// Those of [`Weights::from_safetensors`], and [`Error::Model`] when the file holds no named tensors.
    pub fn from_pickle(path: &Path, family: &'static Family) -> Result<Self> {
        Self::new(vec![WeightsFile::open_pickle(path)?], family)
    }

    /// Opens a safetensors file that is embedded in the binary.
    ///
    /// # Errors
    /// Those of [`Weights::from_safetensors`].
    pub fn from_embedded(name: &str, bytes: &'static [u8], family: &'static Family) -> Result<Self> {
        let path = PathBuf::from(name);
        let (metadata, data_start) = read_header(&mut &bytes[..], bytes.len() as u64, &path)?;
        Self::new(vec![WeightsFile::Embedded { path, data: &bytes[data_start as usize..], metadata }], family)
    }

    /// Opens the weights of a sentence-transformers module, whose parameters keep the names that the file has for them.
    ///
    /// # Errors
    /// Those of [`Weights::from_safetensors`].
    pub fn of_module(path: &Path) -> Result<Self> {
        let is_pickle = path.extension().is_some_and(|extension| extension == "bin");
        let shard = if is_pickle { WeightsFile::open_pickle(path)? } else { WeightsFile::open_safetensors(path)? };
        let entries = shard.names().into_iter().map(|name| (name.clone(), (0, name))).collect();
        Ok(Self { shards: vec![shard], entries, layout: &family::bert().layouts[0] })
    }

    fn new(shards: Vec<WeightsFile>, family: &'static Family) -> Result<Self> {
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
        let CanonicalNames { layout, names } = canonical_names(places.keys().map(String::as_str), family)
            .map_err(|problem| Error::model(first, problem))?;
        let entries = names.into_iter().map(|(canonical, name)| (canonical, (places[&name], name))).collect();
        Ok(Self { shards, entries, layout })
    }

    /// What the family's parameters are called in this checkpoint.
    pub fn layout(&self) -> &'static ParameterLayout {
        self.layout
    }

    /// Whether the checkpoint has this parameter.
    pub fn contains(&self, canonical: &str) -> bool {
        self.entries.contains_key(canonical)
    }

    /// Whether the weights are embedded in the binary, and so need no loading.
    pub fn are_embedded(&self) -> bool {
        self.shards.iter().all(|shard| matches!(shard, WeightsFile::Embedded { .. }))
    }

    /// The stored type of the word embeddings, which tells the type that the checkpoint was saved in; for
    /// [`info`](crate::info).
    pub fn stored_dtype(&self) -> String {
        self.entries
            .get(&format!("{}.weight", self.layout.word_embeddings))
            .and_then(|(shard, name)| self.shards[*shard].shape_and_type(name).ok())
            .map_or_else(|| "unknown".to_owned(), |(_, dtype)| dtype)
    }

    /// Checks that a parameter exists with `shape`, without reading it.
    ///
    /// # Errors
    /// [`Error::Tensor`] when it is missing or of another shape.
    pub fn check(&self, canonical: &str, shape: &[usize]) -> Result<()> {
        self.find(canonical, shape).map(drop)
    }

    /// One parameter as float32, row-major.
    ///
    /// # Errors
    /// [`Error::Tensor`] when it is missing, of another shape, of a type that float32 cannot hold, or not finite.
    pub fn tensor(&self, canonical: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let reader = self.open(canonical, shape)?;
        let mut values = Vec::with_capacity(shape.iter().product());
        reader.rows(0..shape[0], &mut values)?;
        Ok(values)
    }

    /// Opens one parameter, to read it in parts.
    ///
    /// # Errors
    /// Those of [`Weights::tensor`].
    pub fn open(&self, canonical: &str, shape: &[usize]) -> Result<TensorReader<'_>> {
        let (shard, name) = self.find(canonical, shape)?;
        let source = shard.source(name).map_err(|problem| shard.problem(name, problem))?;
        Ok(TensorReader { shard, name: name.to_owned(), row: shape[1..].iter().product(), source })
    }

    /// An error that names a parameter and the file that has it, or should have it.
    pub fn problem(&self, canonical: &str, problem: &str) -> Error {
        match self.entries.get(canonical) {
            Some((shard, name)) => self.shards[*shard].problem(name, problem.to_owned()),
            None => self.shards[0].problem(canonical, problem.to_owned()),
        }
    }

    /// The file that holds a parameter of `shape`, and the parameter's name in that file.
    fn find(&self, canonical: &str, shape: &[usize]) -> Result<(&WeightsFile, &str)> {
        let Some((shard, name)) = self.entries.get(canonical) else {
            return Err(self.shards[0].problem(
                canonical,
                "is missing; the file is incomplete or belongs to another kind of model".to_owned(),
            ));
        };
        let shard = &self.shards[*shard];
        match shard.shape_and_type(name) {
            Ok((found, _)) if found == shape => Ok((shard, name)),
            Ok((found, _)) => {
                Err(shard.problem(name, format!("has shape {found:?}, but config.json asks for {shape:?}")))
            }
            Err(problem) => Err(shard.problem(name, problem)),
        }
    }
}

/// One parameter of a checkpoint, read a few rows at a time and from any thread.
pub struct TensorReader<'a> {
    shard: &'a WeightsFile,
    name: String,
    /// Numbers in a row.
    row: usize,
    source: TensorSource<'a>,
}

/// Where a tensor's numbers are stored.
enum TensorSource<'a> {
    /// In a file, from byte `start` on. Rows begin `stride` bytes after one another; without a stride they are
    /// contiguous.
    File { file: &'a File, start: u64, stride: Option<u64>, dtype: Dtype },
    /// In memory, in the stored type.
    Bytes { bytes: &'a [u8], dtype: Dtype },
    /// In memory, as float32.
    Values(Vec<f32>),
}

impl TensorReader<'_> {
    /// Appends some rows to `out` as float32.
    ///
    /// # Errors
    /// [`Error::Tensor`] when they cannot be read or are not finite.
    pub fn rows(&self, rows: Range<usize>, out: &mut Vec<f32>) -> Result<()> {
        let (first, numbers) = (out.len(), rows.start * self.row..rows.end * self.row);
        match &self.source {
            TensorSource::Values(values) => {
                values.get(numbers.clone()).map(|values| out.extend_from_slice(values)).ok_or(ABSENT.to_owned())
            }
            TensorSource::Bytes { bytes, dtype } => {
                let size = dtype.bitsize() / 8;
                let bytes = bytes.get(numbers.start * size..numbers.end * size).ok_or(ABSENT.to_owned());
                bytes.and_then(|bytes| widen(*dtype, bytes, out))
            }
            TensorSource::File { file, start, stride, dtype } => {
                let row = (self.row * dtype.bitsize() / 8) as u64;
                let stride = stride.unwrap_or(row);
                let start_of = |index: usize| start + index as u64 * stride;
                if stride == row {
                    widen_from(file, start_of(rows.start)..start_of(rows.end), *dtype, out)
                } else {
                    let mut rows = rows.map(start_of);
                    rows.try_for_each(|start| widen_from(file, start..start + row, *dtype, out))
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

/// Appends the numbers in a byte range of a file as float32.
fn widen_from(file: &File, stretch: Range<u64>, dtype: Dtype, out: &mut Vec<f32>) -> std::result::Result<(), String> {
    let read = |bytes: &mut [u8], at: u64| {
        read_exact_at(file, bytes, at)
            .map_err(|error| format!("cannot be read: {error}; did the file change while it was in use?"))
    };
    let mut bytes = [0; READ_AT_ONCE];
    let mut at = stretch.start;
    while at < stretch.end {
        let count = usize::try_from(stretch.end - at).unwrap_or(usize::MAX).min(READ_AT_ONCE);
        if dtype == Dtype::F32 && cfg!(target_endian = "little") {
            // As they lie; zeros that are still in the cache are written over.
            let first = out.len();
            out.resize(first + count / size_of::<f32>(), 0.0);
            read(bytemuck::cast_slice_mut(&mut out[first..]), at)?;
        } else {
            read(&mut bytes[..count], at)?;
            widen(dtype, &bytes[..count], out)?;
        }
        at += count as u64;
    }
    Ok(())
}

/// Bytes read from a file at once: few enough to stay in the first-level cache until they are widened.
const READ_AT_ONCE: usize = 1 << 14;

/// The problem of a header that does not match its data.
const ABSENT: &str = "is not where the file's header says";

impl WeightsFile {
    fn open_safetensors(path: &Path) -> Result<Self> {
        let mut file = open_weights(path)?;
        let size = file.metadata().map_err(Error::io("read", path))?.len();
        let (metadata, data_start) = read_header(&mut file, size, path)?;
        Ok(WeightsFile::File { path: path.to_owned(), file, data_start, metadata })
    }

    fn open_pickle(path: &Path) -> Result<Self> {
        let file = open_weights(path)?;
        let size = file.metadata().map_err(Error::io("read", path))?.len();
        match pickle::read(&file, size) {
            Ok(tensors) => Ok(WeightsFile::Pickle { path: path.to_owned(), file, tensors }),
            Err(PickleProblem::Refused(problem)) => Err(Error::model(path, problem)),
            Err(PickleProblem::Damaged(problem)) => Err(Error::model(
                path,
                format!("is a damaged or incomplete PyTorch checkpoint: {problem}; download it again"),
            )),
            Err(PickleProblem::Io(error)) => Err(Error::io("read", path)(error)),
        }
    }

    fn path(&self) -> &Path {
        match self {
            WeightsFile::File { path, .. } | WeightsFile::Embedded { path, .. } | WeightsFile::Pickle { path, .. } => {
                path
            }
        }
    }

    fn problem(&self, tensor: &str, problem: String) -> Error {
        Error::Tensor { path: self.path().to_owned(), name: tensor.to_owned(), problem }
    }

    fn names(&self) -> Vec<String> {
        match self {
            WeightsFile::File { metadata, .. } | WeightsFile::Embedded { metadata, .. } => metadata.offset_keys(),
            WeightsFile::Pickle { tensors, .. } => tensors.keys().cloned().collect(),
        }
    }

    /// A tensor's shape and the name of its type, or the problem with it.
    fn shape_and_type(&self, name: &str) -> std::result::Result<(Vec<usize>, String), String> {
        match self {
            WeightsFile::File { metadata, .. } | WeightsFile::Embedded { metadata, .. } => {
                let info = metadata.info(name).ok_or(ABSENT)?;
                Ok((info.shape.clone(), info.dtype.to_string().to_lowercase()))
            }
            WeightsFile::Pickle { tensors, .. } => {
                let tensor = found(tensors, name)?;
                Ok((tensor.shape().to_vec(), tensor.element().name.to_owned()))
            }
        }
    }

    /// Where a tensor's numbers are stored, or the problem with it.
    fn source(&self, name: &str) -> std::result::Result<TensorSource<'_>, String> {
        match self {
            WeightsFile::File { file, data_start, metadata, .. } => {
                let info = metadata.info(name).ok_or(ABSENT)?;
                let dtype = supported(info.dtype)?;
                Ok(TensorSource::File { file, start: data_start + info.data_offsets.0 as u64, stride: None, dtype })
            }
            WeightsFile::Embedded { data, metadata, .. } => {
                let info = metadata.info(name).ok_or(ABSENT)?;
                let (start, end) = info.data_offsets;
                Ok(TensorSource::Bytes { bytes: data.get(start..end).ok_or(ABSENT)?, dtype: supported(info.dtype)? })
            }
            WeightsFile::Pickle { tensors, file, .. } => {
                let tensor = found(tensors, name)?;
                let dtype = tensor.element().dtype.ok_or_else(|| unsupported_type(tensor.element().name))?;
                tensor.check(file)?;
                if let Some((start, stride)) = tensor.rows_in_file() {
                    return Ok(TensorSource::File { file, start, stride: Some(stride), dtype });
                }
                let (bytes, mut values) = (tensor.read_span(file)?, Vec::new());
                for run in tensor.runs() {
                    widen(dtype, bytes.get(run).ok_or(ABSENT)?, &mut values)?;
                }
                Ok(TensorSource::Values(values))
            }
        }
    }
}

/// A tensor of a pickle, or the problem with it.
fn found<'a>(tensors: &'a Tensors, name: &str) -> std::result::Result<&'a pickle::Tensor, String> {
    tensors.get(name).ok_or(ABSENT)?.as_ref().map_err(Clone::clone)
}

/// Opens a weights file. Refuses a Git LFS pointer in its place.
fn open_weights(path: &Path) -> Result<File> {
    let mut file = regular_file::open(path).map_err(Error::io("open", path))?;
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

/// Reads a safetensors header, and checks that the file is as long as the header says. Returns the header and where the
/// data starts.
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
    let metadata: Metadata = serde_json::from_slice(&header)
        .map_err(|error| damaged(format!("its header is damaged: {}", json_problem(&error))))?;
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
