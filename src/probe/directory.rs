//! A directory that `extract` wrote, opened to read vectors by row.

use std::collections::HashSet;
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};

use crate::counts::Counts;
use crate::directory::contents::Contents;
use crate::directory::contents::read_manifest;
use crate::directory::manifest::ModelIdentity;
use crate::directory::names::{MANIFEST, TEXTS};
use crate::directory::plan_record::{DirectoryPlan, PlanRecord};
use crate::directory::text_files::checksum;
use crate::error::{Error, Result};
use crate::plan::ArrayPlan;
use crate::positional::read_exact_at;
use crate::regular_file;
use crate::spec::Dtype;
use crate::spec::Format;

/// A directory with its manifest.
#[derive(Debug)]
pub struct Directory {
    /// Its path.
    pub path: PathBuf,
    /// The model that made the vectors.
    pub model: ModelIdentity,
    /// The plan by which they were made.
    pub plan: DirectoryPlan,
    /// The counts of its texts.
    pub counts: Counts,
    contents: Contents,
    /// The places whose bytes have been compared with their checksums.
    checked: Mutex<HashSet<String>>,
}

impl Directory {
    /// Opens a directory and reads its manifest.
    ///
    /// # Errors
    /// [`Error::Output`] when the directory does not exist, is unfinished, or has a damaged manifest.
    pub fn open(path: &Path) -> Result<Self> {
        let bytes = read_manifest(path)?;
        let problem = |problem: String| Error::Output { path: path.join(MANIFEST), problem };
        let not_ours = || {
            problem("is not a manifest of layerwise; expected a directory that `layerwise extract` wrote".to_owned())
        };
        let (contents, damages) = Contents::parse(&bytes).ok_or_else(not_ours)?;
        let contents = match (contents, damages.first()) {
            (Some(contents), None) => contents,
            (_, Some(damage)) => return Err(problem(format!("is damaged: {}; do its job anew", damage.problem))),
            (None, None) => return Err(not_ours()),
        };
        if contents.plan.format == Format::Parquet {
            let problem = "holds Parquet files, and probe reads arrays where they lie; extract the texts with --format npy, or safetensors, and probe that directory";
            return Err(Error::Output { path: path.to_owned(), problem: problem.to_owned() });
        }
        let (model, plan, counts) = (contents.origin.model.clone(), contents.plan.clone(), contents.counts);
        Ok(Self { path: path.to_owned(), model, plan, counts, contents, checked: Mutex::default() })
    }

    /// Opens an array of the directory.
    ///
    /// # Errors
    /// [`Error::Output`] when its file does not exist, or is not of the size that the manifest implies.
    pub fn array(&self, array: &ArrayPlan) -> Result<StoredArray> {
        let place = array.place(self.plan.format);
        let (file, region) = self
            .contents
            .find(&place)
            .ok_or_else(|| Error::Output { path: self.path.clone(), problem: format!("holds no {place}") })?;
        let path = self.path.join(&file.name);
        let opened = regular_file::open(&path).map_err(Error::io("read", &path))?;
        let size = opened.metadata().map_err(Error::io("read", &path))?.len();
        if let Some(expected) = file.bytes.filter(|&expected| expected != size) {
            return Err(Error::Output {
                path,
                problem: format!("has {size} bytes; expected {expected}; see `layerwise verify`"),
            });
        }
        self.compare(&place, &path)?;
        Ok(StoredArray {
            path,
            file: opened,
            start: region.start,
            rows: self.counts.rows(array.kind),
            columns: array.columns,
            dtype: self.plan.dtype,
        })
    }

    /// Compares the bytes of a place with its checksum, the first time that it is asked for.
    ///
    /// # Errors
    /// [`Error::Output`] when they are others.
    pub(super) fn compare(&self, place: &str, path: &Path) -> Result<()> {
        let (start, bytes, crc32) = match self.contents.find(place) {
            Some((_, region)) => (region.start, region.bytes, region.crc32),
            None if place == TEXTS => (0, u64::MAX, self.contents.texts_crc32),
            None => return Ok(()),
        };
        let mut checked = self.checked.lock().unwrap_or_else(PoisonError::into_inner);
        if checked.contains(place) {
            return Ok(());
        }
        let found = regular_file::open(path).and_then(|file| checksum(file, start, bytes, |_| ()));
        if Some(found.map_err(Error::io("read", path))?.finalize()) != crc32 {
            let problem = format!("{place} does not have the checksum that is in {MANIFEST}; see `layerwise verify`");
            return Err(Error::Output { path: path.to_owned(), problem });
        }
        checked.insert(place.to_owned());
        Ok(())
    }

    /// The file of a place, such as `word/offsets.npy`, and the byte at which the place begins in it.
    pub fn find(&self, place: &str) -> Option<(PathBuf, u64)> {
        let (file, region) = self.contents.find(place)?;
        Some((self.path.join(&file.name), region.start))
    }

    /// The arrays of a kind of vector, one for each layer or one in all; `hidden_size` numbers wide but for combined ones.
    pub fn arrays(&self) -> &[ArrayPlan] {
        &self.contents.planned
    }

    /// The differences in how the vectors of two directories were made.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let keys =
            ["word_pooling", "special_tokens", "combine", "normalize", "max_length", "overflow", "stride", "compute"];
        let (ours, theirs) = (self.recipe(), other.recipe());
        let options = keys
            .into_iter()
            .filter(|key| ours[key] != theirs[key])
            .map(|key| format!("--{} ({} and {})", key.replace('_', "-"), ours[key], theirs[key]));
        let pairs = |directory: &Self| directory.plan.columns.pair_column.is_some();
        let paired =
            (pairs(self) != pairs(other)).then(|| "--pair-column (pairs of texts, and single texts)".to_owned());
        let merged = (self.plan.combine.is_some() && self.plan.layers != other.plan.layers)
            .then(|| format!("--layers ({:?} and {:?})", self.plan.layers, other.plan.layers));
        let model = (self.model.sha256 != other.model.sha256)
            .then(|| format!("the model ({} and {})", self.model.id, other.model.id));
        model.into_iter().chain(options).chain(merged).chain(paired).collect()
    }

    /// The settings that decide how a text becomes vectors, for the report.
    pub fn recipe(&self) -> Value {
        json!(PlanRecord::from(&self.plan))
    }
}

/// An array of vectors in a file, (rows, columns).
#[derive(Debug)]
pub struct StoredArray {
    path: PathBuf,
    file: File,
    /// The byte at which the first row begins.
    start: u64,
    rows: u64,
    /// Width of a row.
    pub columns: usize,
    dtype: Dtype,
}

impl StoredArray {
    /// A temporary file of float32 numbers, (rows, columns).
    #[cfg(test)]
    pub(super) fn of(numbers: &[f32], columns: usize) -> Self {
        use std::io::Write;

        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytemuck::cast_slice(numbers)).unwrap();
        let rows = (numbers.len() / columns) as u64;
        Self { file, path: "test".into(), start: 0, rows, columns, dtype: Dtype::F32 }
    }

    /// Number of rows.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Reads consecutive rows into `out`, which has exactly their size.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be read, and [`Error::Output`] for a number that is not finite, with its row.
    pub fn read(&self, rows: Range<u64>, out: &mut [f32]) -> Result<()> {
        let size = self.dtype.size();
        let row_bytes = self.columns as u64 * size;
        let at = self.start + rows.start * row_bytes;
        let failed = Error::io("read", &self.path);
        if self.dtype == Dtype::F32 && cfg!(target_endian = "little") {
            read_exact_at(&self.file, bytemuck::cast_slice_mut(out), at).map_err(failed)?;
        } else {
            let mut bytes = vec![0; out.len() * size as usize];
            read_exact_at(&self.file, &mut bytes, at).map_err(failed)?;
            widen(self.dtype, &bytes, out);
        }
        match out.chunks(self.columns).position(|row| !row.iter().all(|value| value.is_finite())) {
            None => Ok(()),
            Some(row) => Err(Error::Output {
                path: self.path.clone(),
                problem: format!(
                    "row {} holds a number that is not finite; do the job of its directory anew",
                    rows.start + row as u64
                ),
            }),
        }
    }
}

/// Converts little-endian numbers to float32.
fn widen(dtype: Dtype, bytes: &[u8], out: &mut [f32]) {
    let halves = || bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
    match dtype {
        Dtype::F32 => {
            for (out, four) in out.iter_mut().zip(bytes.chunks_exact(4)) {
                *out = f32::from_le_bytes([four[0], four[1], four[2], four[3]]);
            }
        }
        Dtype::F16 => out.iter_mut().zip(halves()).for_each(|(out, bits)| *out = half::f16::from_bits(bits).to_f32()),
        Dtype::Bf16 => out.iter_mut().zip(halves()).for_each(|(out, bits)| *out = half::bf16::from_bits(bits).to_f32()),
    }
}
