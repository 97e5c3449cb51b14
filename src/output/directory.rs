//! The output directory: arrays at their final size, filled in place, complete once its manifest is there.

use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::NamedTempFile;

use super::array::ArrayFile;
use super::existing::{Existing, TEXTS, UNFINISHED, examine, occupied, outputs, remove, remove_leftovers};
use super::flush::Flusher;
use super::lock::Lock;
use super::manifest::{self, MANIFEST, RUN};
use super::texts::TextLine;
use super::{Sink, npy, safetensors};
use crate::batch::Batch;
use crate::error::{Error, Result};
use crate::plan::{Counts, Plan};
use crate::spec::{Emit, Format, RowKind, SpecialTokens};

/// A directory that is about to be written: checked to be usable, so that a bad path fails before any work.
pub struct Prepared {
    path: PathBuf,
    /// The outermost directory that was created for it, to be removed again when nothing comes of the job.
    created: Option<PathBuf>,
    texts: BufWriter<NamedTempFile>,
    existing: Existing,
    lock: Lock,
}

impl Prepared {
    /// Checks a directory, creating it when it does not exist, and takes it for this process.
    ///
    /// # Errors
    /// [`Error::Output`] when it is a file, holds something else or is in use, [`Error::Io`] when it cannot be created
    /// or written.
    pub fn new(path: &Path, overwrite: bool) -> Result<Self> {
        examine(path, overwrite)?; // before anything is created
        let created =
            path.ancestors().take_while(|ancestor| !ancestor.as_os_str().is_empty() && !ancestor.exists()).last();
        let created = created.map(Path::to_owned);
        fs::create_dir_all(path).map_err(Error::io("create directory", path))?;
        let prepare = || -> Result<Self> {
            let lock = Lock::take(path)?;
            let existing = examine(path, overwrite)?; // again, now that nobody else can change it
            remove_leftovers(path, &existing)?;
            let texts = manifest::temporary_file(path).map_err(Error::io("write into", path))?;
            let texts = BufWriter::with_capacity(1 << 16, texts);
            Ok(Self { path: path.to_owned(), created: created.clone(), texts, existing, lock })
        };
        prepare().inspect_err(|_| remove_if_empty(path, created.as_deref()))
    }

    /// What was there before.
    pub fn existing(&self) -> &Existing {
        &self.existing
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends a line to `texts.jsonl`, which appears under its name when the arrays are created.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be written.
    pub fn write_text(&mut self, line: &TextLine<'_>) -> Result<()> {
        serde_json::to_writer(&mut self.texts, line)
            .map_err(io::Error::from)
            .and_then(|()| self.texts.write_all(b"\n"))
            .map_err(Error::io("write", self.path.join(TEXTS)))
    }

    /// Gives up: leaves the file system as it was found.
    pub fn abandon(self) {
        let Self { path, created, texts, lock, .. } = self;
        drop(texts.into_parts().0); // removes the temporary file
        drop(lock);
        remove_if_empty(&path, created.as_deref());
    }

    /// Creates the arrays at their final size.
    ///
    /// # Errors
    /// [`Error::DiskFull`] when they do not fit, [`Error::Io`] when they cannot be created.
    pub fn create(self, plan: &Plan, counts: &Counts, manifest: &Value) -> Result<DirectoryWriter> {
        let old = outputs(&self.path);
        let free = fs4::available_space(&self.path).map_err(Error::io("read", &self.path))?;
        let free = free + old.iter().map(|file| occupied(file)).sum::<u64>();
        let needed = plan.bytes(counts);
        if needed > free {
            let path = self.path.clone();
            self.abandon();
            return Err(Error::DiskFull { path, needed, free });
        }
        remove(&self.path, old)?;
        manifest::write_json(&self.path, UNFINISHED, manifest)?;
        let path = self.path.join(TEXTS);
        let texts = self.texts.into_inner().map_err(io::IntoInnerError::into_error);
        let texts = texts.map_err(Error::io("write", &path))?;
        texts.as_file().sync_all().map_err(Error::io("write", &path))?;
        texts.persist(&path).map_err(|error| Error::io("write", &path)(error.error))?;
        DirectoryWriter::create(&self.path, plan, counts, self.lock)
    }
}

/// Removes an empty directory that was created for a job, and the empty ones around it that were.
fn remove_if_empty(path: &Path, created: Option<&Path>) {
    let Some(outermost) = created else { return };
    for directory in path.ancestors().take_while(|directory| directory.starts_with(outermost)) {
        if fs::remove_dir(directory).is_err() {
            break; // something else is in it by now, and stays
        }
    }
}

/// Fills the arrays of a directory.
pub struct DirectoryWriter {
    path: PathBuf,
    arrays: Vec<ArrayFile>,
    offsets: Vec<Offsets>,
    special_tokens: SpecialTokens,
    flusher: Flusher,
    lock: Lock,
}

/// Where each text's rows start: `offsets.npy`, or the tensor `offsets`.
struct Offsets {
    file: ArrayFile,
    rows: RowKind,
    next: i64,
}

impl DirectoryWriter {
    fn create(path: &Path, plan: &Plan, counts: &Counts, lock: Lock) -> Result<Self> {
        let mut files = Files::default();
        for &emit in &plan.emit {
            match plan.format {
                Format::Npy => files.create_npy(path, emit, plan, counts)?,
                Format::Safetensors => files.create_safetensors(path, emit, plan, counts)?,
            }
        }
        let Files { arrays, mut offsets } = files;
        for offsets in &mut offsets {
            offsets.file.write_i64(&[0])?;
        }
        let flusher = Flusher::start(arrays.iter().map(ArrayFile::file).collect());
        let flusher = flusher.map_err(Error::io("start a thread that writes into", path))?;
        Ok(Self { path: path.to_owned(), arrays, offsets, special_tokens: plan.special_tokens, flusher, lock })
    }

    /// Brings everything to the disk, then makes the directory complete by writing its manifest.
    ///
    /// # Errors
    /// [`Error::Io`] when that fails.
    pub fn finish(self, manifest: &Value, run: &Value) -> Result<()> {
        self.flusher.finish().map_err(Error::io("write into", &self.path))?;
        for array in self.arrays.into_iter().chain(self.offsets.into_iter().map(|offsets| offsets.file)) {
            array.finish()?;
        }
        manifest::write_json(&self.path, RUN, run)?;
        manifest::write_json(&self.path, MANIFEST, manifest)?;
        let unfinished = self.path.join(UNFINISHED);
        fs::remove_file(&unfinished).map_err(Error::io("remove", unfinished))?;
        drop(self.lock);
        Ok(())
    }
}

/// The files of the arrays.
#[derive(Default)]
struct Files {
    arrays: Vec<ArrayFile>,
    offsets: Vec<Offsets>,
}

impl Files {
    fn create_npy(&mut self, path: &Path, emit: Emit, plan: &Plan, counts: &Counts) -> Result<()> {
        if emit.per_layer() {
            let folder = path.join(emit.name());
            fs::create_dir_all(&folder).map_err(Error::io("create directory", &folder))?;
        }
        if emit.rows() != RowKind::Text {
            let path = path.join(emit.name()).join("offsets.npy");
            let start = npy::create_offsets(&path, counts.texts + 1)?;
            let file = ArrayFile::open(&path, "offsets", plan.dtype, start, (counts.texts + 1) * 8)?;
            self.offsets.push(Offsets { file, rows: emit.rows(), next: 0 });
        }
        let rows = counts.rows(emit);
        for array in plan.arrays().iter().filter(|array| array.emit == emit) {
            let path = path.join(array.file(plan.format));
            let start = npy::create(&path, (rows, array.columns as u64), plan.dtype)?;
            let bytes = plan.array_bytes(array, counts);
            self.arrays.push(ArrayFile::open(&path, &array.name(), plan.dtype, start, bytes)?);
        }
        Ok(())
    }

    fn create_safetensors(&mut self, path: &Path, emit: Emit, plan: &Plan, counts: &Counts) -> Result<()> {
        let path = path.join(format!("{}.safetensors", emit.name()));
        let rows = counts.rows(emit) as usize;
        let arrays: Vec<_> = plan.arrays().into_iter().filter(|array| array.emit == emit).collect();
        let mut entries = Vec::new();
        // Offsets come first: their 8-byte numbers want to be aligned.
        if emit.rows() != RowKind::Text {
            entries.push(safetensors::Entry {
                name: "offsets".to_owned(),
                dtype: ::safetensors::Dtype::I64,
                shape: vec![counts.texts as usize + 1],
            });
        }
        entries.extend(arrays.iter().map(|array| safetensors::Entry {
            name: array.name(),
            dtype: safetensors::dtype(plan.dtype),
            shape: vec![rows, array.columns],
        }));
        for (start, entry) in safetensors::create(&path, &entries)?.into_iter().zip(&entries) {
            let file = ArrayFile::open(&path, &entry.name, plan.dtype, start, entry.bytes() as u64)?;
            if entry.name == "offsets" {
                self.offsets.push(Offsets { file, rows: emit.rows(), next: 0 });
            } else {
                self.arrays.push(file);
            }
        }
        Ok(())
    }
}

impl Sink for DirectoryWriter {
    fn write(&mut self, index: usize, rows: &[f32]) -> Result<()> {
        self.arrays[index].write(rows)
    }

    fn end_batch(&mut self, batch: &Batch) -> Result<()> {
        for offsets in &mut self.offsets {
            let ends: Vec<i64> = batch
                .ended_texts()
                .map(|text| {
                    offsets.next += text.rows(offsets.rows, self.special_tokens) as i64;
                    offsets.next
                })
                .collect();
            offsets.file.write_i64(&ends)?;
        }
        Ok(())
    }
}
