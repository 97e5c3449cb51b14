//! A directory that `extract` wrote, in whatever format, opened to read vectors by row.

use std::collections::HashSet;
use std::fs::File;
#[cfg(feature = "parquet")]
use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};

use super::arrays::offsets_place;
use super::contents::{Contents, read_manifest};
use super::manifest::ModelIdentity;
use super::names::{MANIFEST, TEXTS};
use super::plan_record::{DirectoryPlan, PlanRecord};
use super::text_files::checksum;
use crate::counts::Counts;
use crate::error::{Error, Result};
use crate::plan::ArrayPlan;
use crate::positional::read_exact_at;
use crate::regular_file;
use crate::spec::{Dtype, Format, VectorKind};
#[cfg(feature = "parquet")]
use crate::tables::stored_table::{StoredPiece, StoredTable};

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
        if contents.plan.format == Format::Parquet && !cfg!(feature = "parquet") {
            return Err(Error::no_parquet(&path.display().to_string()));
        }
        let (model, plan, counts) = (contents.origin.model.clone(), contents.plan.clone(), contents.counts);
        Ok(Self { path: path.to_owned(), model, plan, counts, contents, checked: Mutex::default() })
    }

    /// Opens an array of the directory. Out of Parquet files it is first unpacked, some rows at a time, into a file without a name in
    /// the system's folder for temporary files.
    ///
    /// # Errors
    /// [`Error::Output`] when its file does not exist, or is not of the size that the manifest implies.
    pub fn array(&self, array: &ArrayPlan) -> Result<StoredArray> {
        #[cfg(feature = "parquet")]
        if self.plan.format == Format::Parquet {
            return self.unpacked(array);
        }
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
    pub(crate) fn compare(&self, place: &str, path: &Path) -> Result<()> {
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

    /// The row at which each text begins in the arrays of a kind of vector of tokens or words, and their number; (texts + 1).
    ///
    /// # Errors
    /// [`Error::Output`] when they are missing or make no sense, [`Error::Io`] when they cannot be read.
    pub fn offsets(&self, kind: VectorKind) -> Result<Vec<u64>> {
        #[cfg(feature = "parquet")]
        if self.plan.format == Format::Parquet {
            return self.offsets_of_parts(kind);
        }
        let place = offsets_place(kind, self.plan.format);
        let (file, region) = self
            .contents
            .find(&place)
            .ok_or_else(|| Error::Output { path: self.path.clone(), problem: format!("holds no {place}") })?;
        let path = self.path.join(&file.name);
        self.compare(&place, &path)?;
        let mut bytes = vec![0; 8 * (self.counts.texts as usize + 1)];
        let read = regular_file::open(&path).and_then(|file| read_exact_at(&file, &mut bytes, region.start));
        read.map_err(Error::io("read", &path))?;
        let offsets: Vec<u64> = bytes
            .chunks_exact(8)
            .map(|eight| eight.iter().rev().fold(0, |sum, &byte| sum << 8 | u64::from(byte)))
            .collect();
        if offsets.is_sorted() && offsets[0] == 0 && offsets.last() == Some(&self.counts.rows(kind)) {
            return Ok(offsets);
        }
        Err(Error::Output { path: self.path.clone(), problem: format!("{place} is damaged; see `layerwise verify`") })
    }

    #[cfg(feature = "parquet")]
    fn unpacked(&self, array: &ArrayPlan) -> Result<StoredArray> {
        let unwritable = |error| Error::io("write a temporary file into", std::env::temp_dir())(error);
        let mut file = tempfile::tempfile().map_err(unwritable)?;
        self.read_parts(array.kind, Some(array), &mut |piece| file.write_all(piece.bytes(0)).map_err(unwritable))?;
        let path = self.path.join(array.file(Format::Parquet));
        let (rows, columns, dtype) = (self.counts.rows(array.kind), array.columns, self.plan.dtype);
        Ok(StoredArray { path, file, start: 0, rows, columns, dtype })
    }

    #[cfg(feature = "parquet")]
    fn offsets_of_parts(&self, kind: VectorKind) -> Result<Vec<u64>> {
        let texts = self.counts.texts as usize;
        let mut offsets = vec![0_u64; texts + 1];
        let mut latest = 0;
        self.read_parts(kind, None, &mut |piece| {
            for &row in &piece.texts {
                let text = u64::try_from(row).ok().and_then(|row| row.checked_sub(self.contents.first_row));
                let text = text.map_or(usize::MAX, |text| text as usize);
                if text < latest || text >= texts {
                    let problem =
                        format!("{} has rows of text {row} out of place; see `layerwise verify`", kind.name());
                    return Err(Error::Output { path: self.path.clone(), problem });
                }
                latest = text;
                offsets[text + 1] += 1;
            }
            Ok(())
        })?;
        let mut sum = 0;
        for offset in &mut offsets {
            sum += *offset;
            *offset = sum;
        }
        Ok(offsets)
    }

    /// Reads the Parquet files of a kind of vector one after the other, with the vectors of `array` if it is named.
    #[cfg(feature = "parquet")]
    fn read_parts(
        &self,
        kind: VectorKind,
        array: Option<&ArrayPlan>,
        take: &mut dyn FnMut(&StoredPiece) -> Result<()>,
    ) -> Result<()> {
        let mut rows = 0;
        for (name, _) in self.contents.parts(kind) {
            let path = self.path.join(&name);
            self.compare(&name, &path)?;
            let damaged = |problem: String| Error::Output { path: path.clone(), problem };
            let file = regular_file::open(&path).map_err(Error::io("read", &path))?;
            let vectors = array.iter().map(|array| (array.name(), array.columns)).collect();
            for piece in StoredTable::open(file, vectors, self.plan.dtype, None).map_err(damaged)? {
                let piece = piece.map_err(damaged)?;
                rows += piece.texts.len() as u64;
                take(&piece)?;
            }
        }
        let expected = self.counts.rows(kind);
        if rows == expected {
            return Ok(());
        }
        let problem =
            format!("the files of {} have {rows} rows; expected {expected}; see `layerwise verify`", kind.name());
        Err(Error::Output { path: self.path.clone(), problem })
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
    pub(crate) fn of(numbers: &[f32], columns: usize) -> Self {
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

    /// Reads consecutive rows as they are stored into `out`, which has exactly their size.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be read.
    pub fn read_stored(&self, rows: Range<u64>, out: &mut [u8]) -> Result<()> {
        let at = self.start + rows.start * self.columns as u64 * self.dtype.size();
        read_exact_at(&self.file, out, at).map_err(Error::io("read", &self.path))
    }

    /// Reads consecutive rows into `out`, which has exactly their size.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be read, and [`Error::Output`] for a number that is not finite, with its row.
    pub fn read(&self, rows: Range<u64>, out: &mut [f32]) -> Result<()> {
        if self.dtype == Dtype::F32 && cfg!(target_endian = "little") {
            self.read_stored(rows.clone(), bytemuck::cast_slice_mut(out))?;
        } else {
            let mut bytes = vec![0; out.len() * self.dtype.size() as usize];
            self.read_stored(rows.clone(), &mut bytes)?;
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
