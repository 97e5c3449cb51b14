//! The output directory: examines what it holds, decides where a job begins, and cleans up when a job is given up.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use super::arrays::{self, Arrays};
use super::existing::{Existing, examine, made_here, remove, remove_leftovers};
use super::folder::Folder;
use super::journal::{ArraysDone, JournalEntry, ReplacedFiles, TextsDone};
use super::layout;
use super::lock::Lock;
use super::manifest::{Checksums, Crc32, JobRecord, Manifest};
use super::names::{MANIFEST, PART, ROWS, RUN, TEXTS, TEXTS_OF_PART, TEXTS_SO_FAR, TOKENS, UNFINISHED};
use super::open_files;
use super::part_rows::Parts;
use super::parts::rows_of_parts;
use super::plan_record::DirectoryPlan;
use super::text_files::{FileNames, TextFiles, TokenizedTexts, checksum, checksum_of, checksum_of_lines, copy_lines};
use crate::counts::Counts;
use crate::error::{Error, Result};
use crate::observer::{Observer, Work};
use crate::shard::ShardRows;
use crate::spool;

/// A directory for a job's output. It is checked before any work, so that a bad path fails early.
pub struct OutputDirectory {
    folder: Arc<Folder>,
    overwrite: bool,
    /// The outermost directory that was created for it, which is removed again if the job leaves nothing behind.
    created: Option<PathBuf>,
    existing: Existing,
    /// The files that jobs before this one made.
    made: Vec<String>,
    /// `None` for a complete job where nothing can be written, which needs none.
    lock: Option<Lock>,
}

/// Where a job begins in a directory.
pub enum Start {
    /// At its end: nothing is left to do if the input is that of this manifest.
    Complete(Box<Manifest>),
    /// In the first pass, at its beginning or where it was interrupted.
    Texts(TextFiles),
    /// In the second pass, where it was interrupted, if the input is that of this manifest.
    Arrays(TextFiles, ArraysDone, Box<Manifest>),
}

impl OutputDirectory {
    /// Checks a directory, creates it if it does not exist, and locks it for this process.
    ///
    /// # Errors
    /// [`Error::Output`] when the path is a file, or the directory holds something else or is in use; [`Error::Io`]
    /// when it cannot be created or written.
    pub fn new(path: &Path, overwrite: bool) -> Result<Self> {
        let before = examine(path, overwrite)?; // before anything is created
        let created =
            path.ancestors().take_while(|ancestor| !ancestor.as_os_str().is_empty() && !ancestor.exists()).last();
        let created = created.map(Path::to_owned);
        fs::create_dir_all(path).map_err(Error::io("create directory", path))?;
        let prepare = || -> Result<Self> {
            let folder = Arc::new(Folder::open(path)?);
            folder.check()?;
            let lock = match Lock::take(&folder) {
                Ok(lock) => Some(lock),
                // A job that is done can be found to be so on a disk that is only read.
                Err(Error::Io { source, .. }) if is_read_only(&source) && matches!(before, Existing::Complete(_)) => {
                    None
                }
                Err(error) => return Err(error),
            };
            let existing = examine(path, overwrite)?; // again, now that nobody else can change it
            let made = if existing == Existing::Nothing { Vec::new() } else { made_here(&folder)? };
            Ok(Self { folder, overwrite, created: created.clone(), existing, made, lock })
        };
        prepare().inspect_err(|_| remove_if_empty(path, created.as_deref()))
    }

    /// The path of the directory.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Compares a job with the directory's content, and decides where the job begins.
    ///
    /// # Errors
    /// [`Error::Output`] when the directory holds another job, [`Error::Io`] when it cannot be written.
    pub fn start(&self, job: &JobRecord) -> Result<Start> {
        let differences = self.existing.job().map_or_else(Vec::new, |there| job.differences(there));
        if !differences.is_empty() && !self.overwrite {
            return Err(Error::another_job(self.path(), &differences));
        }
        match &self.existing {
            Existing::Complete(manifest) => return Ok(Start::Complete(Box::new(manifest.clone()))),
            Existing::Unfinished(entry) if differences.is_empty() => {
                if let Some(start) = self.go_on(job, entry)? {
                    return Ok(start);
                }
            }
            Existing::Unfinished(entry) | Existing::OfAnotherJob(entry) => {
                let is_begun = match entry {
                    JournalEntry::Texts(_, done) => done.texts > 0,
                    JournalEntry::Arrays(..) => true,
                    JournalEntry::Merging(..) | JournalEntry::Swapping(..) => false,
                };
                if is_begun {
                    remove_leftovers(&self.folder, &[TEXTS_SO_FAR, TOKENS, ROWS])?;
                    return TextFiles::begin(&self.folder, job.clone(), FileNames::Beside).map(Start::Texts);
                }
            }
            Existing::Nothing | Existing::Replaceable => {}
        }
        self.clear_work(job)?;
        TextFiles::begin(&self.folder, job.clone(), FileNames::Own).map(Start::Texts)
    }

    /// Where an interrupted job resumes; `None` if nothing of it can be used.
    fn go_on(&self, job: &JobRecord, entry: &JournalEntry) -> Result<Option<Start>> {
        match entry {
            JournalEntry::Texts(_, done) if done.texts > 0 => {
                remove_leftovers(&self.folder, &[TEXTS_SO_FAR, TOKENS])?;
                Ok(TextFiles::resume(&self.folder, job.clone(), done)?.map(Start::Texts))
            }
            JournalEntry::Texts(..) | JournalEntry::Merging(..) | JournalEntry::Swapping(..) => Ok(None),
            JournalEntry::Arrays(manifest, done) => {
                let Some(earlier) = self.whole_first_pass(manifest, done)? else { return Ok(None) };
                remove_leftovers(&self.folder, &[TEXTS_SO_FAR, TOKENS, ROWS])?;
                let files = TextFiles::done(&self.folder, earlier);
                Ok(Some(Start::Arrays(files, done.clone(), Box::new(manifest.clone()))))
            }
        }
    }

    /// Removes the unfinished work of another job, or of an earlier attempt at this one. The new job's journal replaces
    /// the old one, so that the directory is never without a journal.
    fn clear_work(&self, job: &JobRecord) -> Result<()> {
        if let Existing::Unfinished(entry) | Existing::OfAnotherJob(entry) = &self.existing {
            // The new journal will not name them.
            remove(&self.folder, &self.folder.files_among(entry.file_names())?)?;
        }
        if self.folder.has(UNFINISHED)? {
            let entry = JournalEntry::Texts(job.clone(), TextsDone::default());
            self.folder.write_json(UNFINISHED, &entry.to_json())?;
        }
        remove_leftovers(&self.folder, &[])
    }

    /// Marks the unfinished job in the directory as a different one. It stays until all texts of the new job are known.
    pub fn is_another(&mut self) {
        if let Existing::Unfinished(entry) = &self.existing {
            self.existing = Existing::OfAnotherJob(entry.clone());
        }
    }

    /// Removes the unfinished job in the directory, so that another one can begin.
    ///
    /// # Errors
    /// [`Error::Io`] when files cannot be removed.
    pub fn give_up_unfinished(&mut self) -> Result<()> {
        if let Existing::Unfinished(entry) = &self.existing {
            self.clear_work(entry.job())?;
            self.existing = Existing::Replaceable;
        }
        Ok(())
    }

    /// Removes files left by a process that ended just after it had completed this directory, where that can be done.
    pub fn tidy(&self) {
        self.folder.remove_if_there(UNFINISHED);
        // What cannot be looked at is not in the way.
        let _ = remove_leftovers(&self.folder, &[]);
    }

    /// Prepares the directory for the files of a merged job, `bytes` bytes in all. Returns false when it already holds
    /// them. If the directory holds another job, `check` verifies the new one before the old one is removed.
    ///
    /// # Errors
    /// [`Error::Output`] when the directory holds another job, [`Error::DiskFull`] when the files do not fit,
    /// [`Error::Io`] when it cannot be written; those of `check`.
    pub fn begin_merge(&self, manifest: &Manifest, bytes: u64, check: impl FnOnce() -> Result<()>) -> Result<bool> {
        let differences = match &self.existing {
            Existing::Complete(there)
            | Existing::Unfinished(JournalEntry::Arrays(there, _) | JournalEntry::Merging(there, _)) => {
                manifest.differences(there)
            }
            existing => existing.job().map_or_else(Vec::new, |there| manifest.job.differences(there)),
        };
        if !differences.is_empty() && !self.overwrite {
            return Err(Error::another_job(self.path(), &differences));
        }
        if matches!(self.existing, Existing::Complete(_)) {
            self.tidy();
            return Ok(false);
        }
        let free = self.free()?;
        if bytes > free {
            return Err(Error::DiskFull { path: self.path().to_owned(), needed: bytes, free });
        }
        self.check_names(manifest.file_names().iter().map(String::as_str))?;
        match &self.existing {
            Existing::Nothing => {}
            // A merge always copies everything anew.
            Existing::Unfinished(JournalEntry::Merging(..)) => {}
            _ => check()?,
        }
        let old = self.old(&[UNFINISHED])?;
        let entry = JournalEntry::Merging(manifest.clone(), ReplacedFiles { replaced: old.clone() });
        self.folder.write_json(UNFINISHED, &entry.to_json())?;
        remove_leftovers(&self.folder, &[])?;
        remove(&self.folder, &old)?;
        Ok(true)
    }

    /// The folder, for the files of a merged job.
    pub(super) fn folder(&self) -> &Folder {
        &self.folder
    }

    /// What was made before, but for `kept`, as far as it is there.
    fn old(&self, kept: &[&str]) -> Result<Vec<String>> {
        self.folder.files_among(self.made.iter().filter(|name| !kept.contains(&name.as_str())).cloned())
    }

    /// The room on the disk, with what removing the old files gives.
    fn free(&self) -> Result<u64> {
        let free = fs4::available_space(self.path()).map_err(Error::io("read", self.path()))?;
        Ok(free + self.made.iter().map(|name| self.folder.occupied(name)).sum::<u64>())
    }

    /// Refuses names at which there is something that layerwise did not make.
    fn check_names<'a>(&self, names: impl Iterator<Item = &'a str>) -> Result<()> {
        for name in names {
            if self.folder.has(name)? && !self.made.iter().any(|made| made == name) {
                return Err(self.folder.foreign(name));
            }
        }
        Ok(())
    }

    /// Completes a merged job by writing its manifest.
    ///
    /// # Errors
    /// [`Error::Io`] when the manifest cannot be written.
    pub fn end_merge(self, manifest: &Manifest, run: &Value) -> Result<()> {
        self.folder.sync_names(manifest.file_names().iter().map(String::as_str))?;
        self.folder.write_json(RUN, run)?;
        self.folder.check_place()?;
        self.folder.write_json(MANIFEST, manifest)?;
        self.folder.remove(UNFINISHED)
    }

    /// Whether the files of all arrays exist with the size and header that they were created with.
    fn has_arrays(&self, plan: &DirectoryPlan, counts: &Counts) -> bool {
        let files = layout::files(plan, counts, 0, &plan.arrays(), &BTreeMap::new());
        files.is_ok_and(|files| files.iter().all(|file| file.is_there(&self.folder)))
    }

    /// The result of the first pass of a job whose arrays were begun; `None` if its files are missing or changed.
    fn whole_first_pass(&self, manifest: &Manifest, done: &ArraysDone) -> Result<Option<TextsDone>> {
        let shard = manifest.job.shard;
        // The lines of a shard have to be cut out of all lines again.
        let is_so_far = self.folder.has_file(TEXTS_SO_FAR)?;
        let is_to_be_cut = shard.is_some() && is_so_far;
        let texts = if is_so_far { TEXTS_SO_FAR } else { TEXTS };
        if !self.folder.has_file(TOKENS)?
            || !self.folder.has_file(texts)?
            || checksum_of(&self.folder, TOKENS)?.finalize() != done.tokens_crc32
        {
            return Ok(None);
        }
        let texts_crc32 = checksum_of(&self.folder, texts)?.finalize();
        let of_job = if is_to_be_cut {
            let Some(first) = shard.and_then(|shard| shard.first_row) else { return Ok(None) };
            checksum_of_lines(&self.folder, texts, first, manifest.counts.texts)?.finalize()
        } else {
            texts_crc32
        };
        if manifest.crc32.get(TEXTS) != Some(&Crc32(of_job)) {
            return Ok(None);
        }
        let tokens = self.folder.read_file(TOKENS).and_then(|file| file.metadata());
        Ok(Some(TextsDone {
            texts: shard.and_then(|shard| shard.all_texts).unwrap_or(manifest.counts.texts),
            texts_bytes: 0,
            texts_crc32,
            tokens_bytes: tokens.map_err(Error::io("read", self.folder.place(TOKENS)))?.len(),
            tokens_crc32: done.tokens_crc32,
            input_sha256: manifest.input.sha256.clone(),
        }))
    }

    /// Gives up the job. Journaled work stays for the next attempt; otherwise the file system is left as it was found.
    pub fn abandon(self) {
        let Self { folder, created, lock, .. } = self;
        for name in [FileNames::Beside.texts(), FileNames::Beside.tokens()] {
            folder.remove_if_there(name);
        }
        // What cannot be looked at may be there.
        if matches!(folder.has(UNFINISHED), Ok(false)) {
            folder.remove_if_there(TEXTS_SO_FAR);
            folder.remove_if_there(TOKENS);
        }
        drop(lock);
        remove_if_empty(folder.path(), created.as_deref());
    }

    /// Whether the rows of the texts that are done are still those whose checksums are in the journal.
    fn has_rows(
        &self,
        plan: &DirectoryPlan,
        counts: &Counts,
        (done, before): (&ArraysDone, &Counts),
        observer: &dyn Observer,
    ) -> Result<bool> {
        let files = layout::files(plan, counts, 0, &plan.arrays(), &BTreeMap::new());
        let Ok(files) = files else { return Ok(false) };
        let regions: Vec<_> =
            files.iter().flat_map(|file| file.regions.iter().map(move |region| (file, region))).collect();
        let spans = arrays::spans(plan, done, before);
        let bytes = spans.values().map(|span| span.bytes).sum();
        let progress = observer.begin(Work::Reading(bytes));
        for (file, region) in regions {
            let Some(span) = spans.get(&region.place) else { return Ok(false) };
            let read = self.folder.read_file(&file.name);
            let read = read.and_then(|open| checksum(open, region.start, span.bytes, |bytes| progress.advance(bytes)));
            if read.map_err(Error::io("read", self.folder.place(&file.name)))?.finalize() != span.crc32 {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether the parts that are done, and the rows of the one that was being filled, are still as the journal has them.
    fn has_parts(&self, parts: &Parts, done: &ArraysDone, observer: &dyn Observer) -> Result<bool> {
        let progress = observer.begin(Work::Reading(parts.bytes_complete()));
        parts.are_there(&self.folder, done, &|bytes| progress.advance(bytes))
    }

    /// Creates the arrays of a part at their final size, or opens those that were begun, where `done` says how far they
    /// are. The returned spool is at the first text to encode.
    ///
    /// # Errors
    /// [`Error::DiskFull`] when the arrays do not fit, [`Error::Io`] when they cannot be created.
    pub fn arrays(
        self,
        plan: &DirectoryPlan,
        part: &ShardRows,
        manifest: Manifest,
        texts: TokenizedTexts,
        done: Option<ArraysDone>,
        observer: &dyn Observer,
    ) -> Result<(Arrays, spool::SpoolReader)> {
        let counts = &part.counts;
        let mut spool = texts.spool;
        let unreadable = |error| Error::io("read", self.folder.place(TOKENS))(error);
        let mut parts = None;
        if let Some(part_texts) = plan.part_texts {
            let rows = rows_of_parts(&mut spool, part_texts, plan.counting()).map_err(unreadable)?;
            let types = manifest.columns.clone().unwrap_or_default();
            parts = Some(Parts::new(plan, types, rows, part.first_row));
            spool.select(part.first_row, counts.texts).map_err(unreadable)?;
        }
        let done = done.filter(|done| {
            let is_ours = done.texts <= counts.texts && done.crc32.len() == arrays::count(plan);
            is_ours && (plan.part_texts.is_some() || self.has_arrays(plan, counts))
        });
        let done = match done {
            None => None,
            Some(done) => {
                let mut before = Counts::default();
                for _ in 0..done.texts {
                    let counts = spool.skip_text().map_err(unreadable)?;
                    counts.into_iter().for_each(|counts| before.add(counts, plan.counting()));
                }
                let has_rows = match &mut parts {
                    None => self.has_rows(plan, counts, (&done, &before), observer)?,
                    Some(parts) => parts.go_to(&done, &before) && self.has_parts(parts, &done, observer)?,
                };
                if has_rows {
                    Some((done, before))
                } else {
                    parts.iter_mut().for_each(Parts::start_over);
                    observer.warn(&format!(
                        "{} holds other rows than were written there; all texts are encoded again",
                        self.path().display()
                    ));
                    spool.select(part.first_row, counts.texts).map_err(unreadable)?;
                    None
                }
            }
        };
        let is_possible = || -> Result<()> {
            let beside = parts.as_ref().map_or(0, Parts::bytes_beside);
            let (free, needed) = (self.free()? + self.folder.occupied(ROWS), plan.bytes(counts) + beside);
            if needed > free {
                return Err(Error::DiskFull { path: self.path().to_owned(), needed, free });
            }
            if done.is_none() {
                self.check_names(manifest.file_names().iter().map(String::as_str))?;
                manifest.part_names().try_for_each(|name| self.check_names([name.as_str()].into_iter()))?;
            }
            open_files::allow(arrays::count(plan), self.path())
        };
        if let Err(error) = is_possible() {
            self.abandon();
            return Err(error);
        }
        let so_far = texts.names.texts();
        let (mut lines, checksum) = if !self.folder.has_file(so_far)? {
            (TEXTS, texts.checksum) // of a process before this one
        } else if manifest.job.shard.is_none() {
            (so_far, texts.checksum)
        } else {
            (TEXTS_OF_PART, copy_lines(&self.folder, so_far, TEXTS_OF_PART, part.first_row, counts.texts)?)
        };
        let checksum = checksum.finalize();
        if done.is_none() {
            // From here on what is there belongs to this job; without checksums there are no arrays to trust.
            let crc32 = Checksums::from_iter([(TEXTS.to_owned(), Crc32(checksum))]);
            let old = self.old(&[lines, UNFINISHED])?;
            let before = ReplacedFiles { replaced: old.clone() };
            let begun = ArraysDone { tokens_crc32: texts.tokens_crc32, before, ..ArraysDone::default() };
            let entry = JournalEntry::Arrays(Manifest { crc32, ..manifest.clone() }, begun);
            self.folder.write_json(UNFINISHED, &entry.to_json())?;
            if texts.names == FileNames::Beside {
                let own = [FileNames::Own.texts(), FileNames::Own.tokens()];
                let beside = [so_far, FileNames::Beside.tokens()];
                beside.iter().zip(own).try_for_each(|(from, to)| self.folder.rename(from, to))?;
                if lines == so_far {
                    [lines, _] = own;
                }
            }
            remove(&self.folder, &old)?;
            [ROWS, PART].iter().for_each(|name| self.folder.remove_if_there(name)); // of the old job
        }
        let Some(lock) = self.lock else { return Err(self.folder.foreign(MANIFEST)) };
        let texts = (lines, checksum, texts.tokens_crc32);
        let arrays = Arrays::open(&self.folder, plan, counts, manifest, texts, done, parts, lock)?;
        Ok((arrays, spool))
    }
}

/// Whether the system's error is that nothing can be written there.
fn is_read_only(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied)
}

/// Removes an empty directory that was created for a job, and the empty parents that were created with it.
fn remove_if_empty(path: &Path, created: Option<&Path>) {
    let Some(outermost) = created else { return };
    for directory in path.ancestors().take_while(|directory| directory.starts_with(outermost)) {
        if fs::remove_dir(directory).is_err() {
            break; // something else is in it by now, and stays
        }
    }
}
