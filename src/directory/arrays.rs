//! The arrays of a job in its directory. They have their final size from the beginning, and are filled from the first
//! row to the last and journaled meanwhile. The directory is complete once its manifest is written.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use serde_json::Value;

use super::array::{ArrayFile, ArraySpan};
use super::flush::{Flusher, INTERVAL};
use super::folder::Folder;
use super::journal::{ArraysDone, JournalEntry};
use super::lock::Lock;
use super::manifest::{Checksums, Crc32, Manifest};
use super::names::{MANIFEST, ROWS, RUN, TEXTS, TEXTS_SO_FAR, TOKENS, UNFINISHED};
use super::part_rows::Parts;
use super::plan_record::DirectoryPlan;
use super::{npy, safetensors};
use crate::batch::Batch;
use crate::counts::Counts;
use crate::error::{Error, Result};
use crate::plan::ArrayPlan;
use crate::sink::Sink;
use crate::spec::{Format, RowKind, SpecialTokens, VectorKind};

/// The sink that fills the arrays of a directory.
pub struct Arrays {
    folder: Arc<Folder>,
    arrays: Vec<ArrayFile>,
    offsets: Vec<OffsetsFile>,
    /// The parts of a directory of Parquet files; `arrays` are those of the part that is being filled.
    parts: Option<Parts>,
    special_tokens: SpecialTokens,
    manifest: Manifest,
    /// The places of the arrays, in the order of `arrays` and then `offsets`.
    places: Vec<String>,
    /// Number of texts that have all their rows.
    texts: u64,
    /// Tokens of the texts that need not be encoded again.
    tokens_done: u64,
    /// The work that the next journal entry records.
    done: ArraysDone,
    /// `None` while the files of a part are made, and when all are.
    flusher: Option<Flusher>,
    due: Instant,
    lock: Lock,
}

/// The offsets of a kind of vector, where each text's rows start: `offsets.npy`, or the tensor `offsets`.
struct OffsetsFile {
    file: ArrayFile,
    rows: RowKind,
    next: i64,
}

impl Arrays {
    /// Creates the arrays, or opens them after the texts that are done, and renames the file of texts. The manifest
    /// still lacks the checksums of the arrays.
    #[allow(clippy::too_many_arguments, reason = "called from one place, where all of it comes together")]
    pub(super) fn open(
        folder: &Arc<Folder>,
        plan: &DirectoryPlan,
        counts: &Counts,
        mut manifest: Manifest,
        (texts, texts_crc32, tokens_crc32): (&str, u32, u32),
        done: Option<(ArraysDone, Counts)>,
        mut parts: Option<Parts>,
        lock: Lock,
    ) -> Result<Self> {
        let is_new = done.is_none();
        let (mut done, before) = done.unwrap_or_default();
        manifest.crc32 = Checksums::from_iter([(TEXTS.to_owned(), Crc32(texts_crc32))]);
        done.tokens_crc32 = tokens_crc32;
        let tokens_done = before.encoded_tokens();
        let spans = spans(plan, &done, &before);
        let mut files =
            OpenedFiles { folder, plan, counts, before, spans, create: is_new, arrays: vec![], offsets: vec![] };
        for &emit in &plan.kinds {
            match plan.format {
                Format::Npy => files.open_npy(emit)?,
                Format::Safetensors => files.open_safetensors(emit)?,
                Format::Parquet => {}
            }
        }
        let OpenedFiles { mut arrays, mut offsets, .. } = files;
        if let Some(parts) = &mut parts {
            arrays = parts.open(folder, &done.crc32)?;
        }
        if is_new {
            for offsets in &mut offsets {
                offsets.file.write_i64(&[0])?;
            }
            done.crc32 = checksums(&arrays, &offsets);
        }
        if texts != TEXTS {
            folder.rename(texts, TEXTS)?;
        }
        folder.remove_if_there(TEXTS_SO_FAR); // is there if the job is a shard
        let all = arrays.iter().chain(offsets.iter().map(|offsets| &offsets.file));
        let flusher = Flusher::start(folder, all.map(ArrayFile::file).collect())?;
        Ok(Self {
            folder: Arc::clone(folder),
            places: places(plan),
            arrays,
            offsets,
            parts,
            special_tokens: plan.special_tokens,
            manifest,
            texts: done.texts,
            tokens_done,
            done,
            flusher: Some(flusher),
            due: Instant::now() + INTERVAL,
            lock,
        })
    }

    /// Number of texts that need not be encoded again.
    pub fn texts_done(&self) -> u64 {
        self.done.texts
    }

    /// Number of tokens that need not go through the encoder again.
    pub fn tokens_done(&self) -> u64 {
        self.tokens_done
    }

    /// Flushes everything to the disk, and then completes the directory by writing its manifest.
    ///
    /// # Errors
    /// [`Error::Io`] when a file cannot be written.
    pub fn finish(mut self, run: &Value) -> Result<()> {
        if let Some(flusher) = self.flusher.take() {
            flusher.finish()?;
        }
        if let Some(parts) = &self.parts {
            self.folder.remove_if_there(ROWS);
            let checksums = parts.checksums(&self.done.parts);
            self.manifest.crc32.extend(checksums.into_iter().map(|(name, crc32)| (name, Crc32(crc32))));
        } else {
            let checksums = checksums(&self.arrays, &self.offsets).into_iter().map(Crc32);
            self.manifest.crc32.extend(self.places.into_iter().zip(checksums));
        }
        for array in self.arrays.into_iter().chain(self.offsets.into_iter().map(|offsets| offsets.file)) {
            array.finish()?;
        }
        if self.manifest.counts.texts > 0 || self.parts.is_none() {
            self.folder.sync_names(self.manifest.arrays.iter().map(|array| array.file.as_str()))?;
        }
        self.folder.write_json(RUN, run)?;
        self.folder.check_place()?;
        self.folder.write_json(MANIFEST, &self.manifest)?;
        [UNFINISHED, TOKENS].iter().try_for_each(|name| self.folder.remove(name))?;
        drop(self.lock);
        Ok(())
    }

    /// Ends an unfinished job: flushes and journals everything up to the last batch, if the disk allows. Returns the
    /// size in bytes of what is done.
    pub fn stop(mut self) -> u64 {
        let journaled = self.journal();
        let finished = self.flusher.take().map_or(Ok(()), Flusher::finish);
        // The error that ended the job is the one to report, and the journal still has its last entry.
        let _ = journaled.and(finished);
        let complete = self.parts.as_ref().map_or(0, Parts::bytes_complete);
        let of_arrays =
            self.arrays.iter().chain(self.offsets.iter().map(|offsets| &offsets.file)).map(ArrayFile::bytes_written);
        complete + of_arrays.sum::<u64>()
    }

    /// Hands the work done so far to the thread that flushes and journals it.
    fn journal(&mut self) -> Result<()> {
        self.due = Instant::now() + INTERVAL;
        self.arrays.iter_mut().try_for_each(ArrayFile::flush)?;
        self.offsets.iter_mut().try_for_each(|offsets| offsets.file.flush())?;
        let entry = JournalEntry::Arrays(self.manifest.clone(), self.done.clone());
        if self.flusher.as_ref().is_none_or(|flusher| flusher.journal(entry)) {
            return Ok(());
        }
        Err(Error::Output {
            path: self.folder.place(UNFINISHED),
            problem: "cannot be written, or the files beside it cannot; is the disk full?".to_owned(),
        })
    }

    /// Makes the files of a part whose rows are all there, and begins the next one. The journal speaks of the files before the rows
    /// they were made of are gone.
    fn end_part(&mut self) -> Result<()> {
        let Some(parts) = &mut self.parts else { return Ok(()) };
        self.arrays.iter_mut().try_for_each(ArrayFile::flush)?;
        if let Some(flusher) = self.flusher.take() {
            flusher.finish()?;
        }
        let rows = self.arrays.first().map(ArrayFile::file);
        self.done.parts.extend(parts.complete(&self.folder, rows)?);
        self.done.texts = self.texts;
        self.done.crc32.fill(0);
        let entry = JournalEntry::Arrays(self.manifest.clone(), self.done.clone());
        self.folder.write_json(UNFINISHED, &entry.to_json())?;
        self.arrays.clear(); // closes the file that the next one takes the place of
        self.arrays = parts.open(&self.folder, &[])?;
        if !parts.are_complete() {
            let files = self.arrays.iter().map(ArrayFile::file).collect();
            self.flusher = Some(Flusher::start(&self.folder, files)?);
        }
        Ok(())
    }
}

/// Number of arrays of a job, including offsets.
pub(super) fn count(plan: &DirectoryPlan) -> usize {
    places(plan).len()
}

/// The crc32 of each array, then of each kind's offsets.
fn checksums(arrays: &[ArrayFile], offsets: &[OffsetsFile]) -> Vec<u32> {
    arrays.iter().chain(offsets.iter().map(|offsets| &offsets.file)).map(ArrayFile::crc32).collect()
}

/// The places of all arrays, then of the offsets: the file, and the tensor if the file holds several.
fn places(plan: &DirectoryPlan) -> Vec<String> {
    let arrays = plan.arrays().into_iter().map(|array| array.place(plan.format));
    arrays.chain(kinds_with_offsets(plan).map(|emit| offsets_place(emit, plan.format))).collect()
}

/// The kinds of vectors that have offsets beside them: in Parquet files, each row says its text's.
pub(crate) fn kinds_with_offsets(plan: &DirectoryPlan) -> impl Iterator<Item = VectorKind> + '_ {
    let kinds = plan.kinds.iter().copied().filter(|_| plan.format != Format::Parquet);
    kinds.filter(|kind| kind.rows() != RowKind::Text)
}

/// How much of each array is done once some texts are, and its crc32, by place.
pub(super) fn spans(plan: &DirectoryPlan, done: &ArraysDone, before: &Counts) -> BTreeMap<String, RowsDone> {
    let of_arrays = plan.arrays().into_iter().map(|array| plan.array_bytes(&array, before));
    let sizes = of_arrays.chain(kinds_with_offsets(plan).map(|_| (before.texts + 1) * 8));
    // There are no checksums before anything is done.
    let rows = sizes.zip(&done.crc32).map(|(bytes, &crc32)| RowsDone { bytes, crc32 });
    places(plan).into_iter().zip(rows).collect()
}

/// The part of an array that is done.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct RowsDone {
    /// Its size in bytes.
    pub(super) bytes: u64,
    pub(super) crc32: u32,
}

/// The place of the offsets of a kind of vector.
pub(crate) fn offsets_place(emit: VectorKind, format: Format) -> String {
    match format {
        Format::Npy | Format::Parquet => format!("{}/offsets.npy", emit.name()),
        Format::Safetensors => format!("{}.safetensors [offsets]", emit.name()),
    }
}

/// The files of the arrays, being created or opened.
struct OpenedFiles<'a> {
    folder: &'a Folder,
    plan: &'a DirectoryPlan,
    counts: &'a Counts,
    /// The counts of the texts that are done.
    before: Counts,
    /// What of each array they fill, by place.
    spans: BTreeMap<String, RowsDone>,
    create: bool,
    arrays: Vec<ArrayFile>,
    offsets: Vec<OffsetsFile>,
}

impl OpenedFiles<'_> {
    fn open_npy(&mut self, emit: VectorKind) -> Result<()> {
        let (rows, texts) = (self.counts.rows(emit), self.counts.texts);
        if emit.per_layer() && self.create {
            self.folder.create_directory(emit.name())?;
        }
        for array in self.plan.arrays().iter().filter(|array| array.kind == emit) {
            let name = array.file(self.plan.format);
            let bytes = self.plan.array_bytes(array, self.counts);
            let start = if self.create {
                npy::create(self.folder, &name, (rows, array.columns as u64), self.plan.dtype)?
            } else {
                start_of_data(self.folder, &name, bytes)?
            };
            self.add_array(&name, array, start, bytes)?;
        }
        if emit.rows() != RowKind::Text {
            let name = offsets_place(emit, Format::Npy);
            let bytes = (texts + 1) * 8;
            let start = if self.create {
                npy::create_offsets(self.folder, &name, texts + 1)?
            } else {
                start_of_data(self.folder, &name, bytes)?
            };
            self.add_offsets(&name, emit, start, bytes)?;
        }
        Ok(())
    }

    fn open_safetensors(&mut self, emit: VectorKind) -> Result<()> {
        let name = format!("{}.safetensors", emit.name());
        let arrays: Vec<_> = self.plan.arrays().into_iter().filter(|array| array.kind == emit).collect();
        let has_offsets = emit.rows() != RowKind::Text;
        let entries = safetensors::entries(emit, &arrays, self.plan.dtype, self.counts);
        let bytes: Vec<u64> = entries.iter().map(|entry| entry.bytes() as u64).collect();
        let starts = if self.create {
            safetensors::create(self.folder, &name, &entries)?
        } else {
            let mut end = start_of_data(self.folder, &name, bytes.iter().sum())?;
            let start = |bytes: &u64| {
                end += bytes;
                end - bytes
            };
            bytes.iter().map(start).collect()
        };
        let mut places = starts.into_iter().zip(bytes);
        if has_offsets && let Some((start, bytes)) = places.next() {
            self.add_offsets(&name, emit, start, bytes)?;
        }
        for (array, (start, bytes)) in arrays.iter().zip(places) {
            self.add_array(&name, array, start, bytes)?;
        }
        Ok(())
    }

    /// An array of `bytes` bytes from `start` on, with what of it is done.
    fn region(&self, place: &str, start: u64, bytes: u64) -> ArraySpan {
        let RowsDone { bytes: done, crc32 } = self.spans.get(place).copied().unwrap_or_default();
        ArraySpan { start, bytes, done, crc32 }
    }

    fn add_array(&mut self, name: &str, array: &ArrayPlan, start: u64, bytes: u64) -> Result<()> {
        let region = self.region(&array.place(self.plan.format), start, bytes);
        self.arrays.push(ArrayFile::open(self.folder, name, &array.name(), self.plan.dtype, region)?);
        Ok(())
    }

    fn add_offsets(&mut self, name: &str, emit: VectorKind, start: u64, bytes: u64) -> Result<()> {
        let region = self.region(&offsets_place(emit, self.plan.format), start, bytes);
        let file = ArrayFile::open(self.folder, name, "offsets", self.plan.dtype, region)?;
        self.offsets.push(OffsetsFile { file, rows: emit.rows(), next: self.before.rows(emit) as i64 });
        Ok(())
    }
}

/// Where the data starts in a file that ends with `bytes` bytes of data.
fn start_of_data(folder: &Folder, name: &str, bytes: u64) -> Result<u64> {
    let length =
        folder.read_file(name).and_then(|file| file.metadata()).map_err(Error::io("read", folder.place(name)))?;
    let length = length.len();
    length.checked_sub(bytes).ok_or_else(|| Error::Output {
        path: folder.place(name),
        problem: format!(
            "has {length} bytes instead of {bytes} and more; start anew in its directory with --overwrite"
        ),
    })
}

impl Sink for Arrays {
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
        self.texts += batch.texts() as u64;
        if !batch.ends_with_text() {
            return Ok(()); // there are rows of a text that has not ended: nowhere to go on from
        }
        if self.parts.as_ref().is_some_and(|parts| parts.end() == self.texts) {
            return self.end_part();
        }
        self.done.texts = self.texts;
        self.done.crc32 = checksums(&self.arrays, &self.offsets);
        if self.due <= Instant::now() { self.journal() } else { Ok(()) }
    }
}
