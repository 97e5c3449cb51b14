//! The output directory: examines what it holds, decides where a job begins, and cleans up when a job is given up.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::arrays::{self, Arrays};
use super::existing::{Existing, TEXTS, examine, occupied, outputs, remove, remove_leftovers};
use super::journal::{ArraysDone, JournalEntry, TextsDone, UNFINISHED};
use super::layout;
use super::lock::Lock;
use super::manifest::{self, Checksums, Crc32, JobRecord, MANIFEST, Manifest, RUN};
use super::plan_record::DirectoryPlan;
use super::text_files::{
    FileNames, TEXTS_OF_PART, TEXTS_SO_FAR, TOKENS, TextFiles, TokenizedTexts, checksum_of, checksum_of_lines,
    copy_lines,
};
use crate::counts::Counts;
use crate::error::{Error, Result};
use crate::shard::ShardRows;
use crate::spool;

/// A directory for a job's output. It is checked before any work, so that a bad path fails early.
pub struct OutputDirectory {
    path: PathBuf,
    overwrite: bool,
    /// The outermost directory that was created for it, which is removed again if the job leaves nothing behind.
    created: Option<PathBuf>,
    existing: Existing,
    lock: Lock,
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
        examine(path, overwrite)?; // before anything is created
        let created =
            path.ancestors().take_while(|ancestor| !ancestor.as_os_str().is_empty() && !ancestor.exists()).last();
        let created = created.map(Path::to_owned);
        fs::create_dir_all(path).map_err(Error::io("create directory", path))?;
        let prepare = || -> Result<Self> {
            let lock = Lock::take(path)?;
            let existing = examine(path, overwrite)?; // again, now that nobody else can change it
            Ok(Self { path: path.to_owned(), overwrite, created: created.clone(), existing, lock })
        };
        prepare().inspect_err(|_| remove_if_empty(path, created.as_deref()))
    }

    /// The path of the directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Compares a job with the directory's content, and decides where the job begins.
    ///
    /// # Errors
    /// [`Error::Output`] when the directory holds another job, [`Error::Io`] when it cannot be written.
    pub fn start(&self, job: &JobRecord) -> Result<Start> {
        let differences = self.existing.job().map_or_else(Vec::new, |there| job.differences(there));
        if !differences.is_empty() && !self.overwrite {
            return Err(Error::another_job(&self.path, &differences));
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
                    JournalEntry::Merging(_) => false,
                };
                if is_begun {
                    remove_leftovers(&self.path, &[TEXTS_SO_FAR, TOKENS])?;
                    return TextFiles::begin(&self.path, job.clone(), FileNames::Beside).map(Start::Texts);
                }
            }
            Existing::Nothing | Existing::Replaceable => {}
        }
        self.clear_work(job)?;
        TextFiles::begin(&self.path, job.clone(), FileNames::Own).map(Start::Texts)
    }

    /// Where an interrupted job resumes; `None` if nothing of it can be used.
    fn go_on(&self, job: &JobRecord, entry: &JournalEntry) -> Result<Option<Start>> {
        match entry {
            JournalEntry::Texts(_, done) if done.texts > 0 => {
                remove_leftovers(&self.path, &[TEXTS_SO_FAR, TOKENS])?;
                Ok(TextFiles::resume(&self.path, job.clone(), done)?.map(Start::Texts))
            }
            JournalEntry::Texts(..) | JournalEntry::Merging(_) => Ok(None),
            JournalEntry::Arrays(manifest, done) => {
                let Some(earlier) = self.whole_first_pass(manifest, done)? else { return Ok(None) };
                remove_leftovers(&self.path, &[TEXTS_SO_FAR, TOKENS])?;
                let files = TextFiles::done(&self.path, earlier);
                Ok(Some(Start::Arrays(files, done.clone(), Box::new(manifest.clone()))))
            }
        }
    }

    /// Removes the unfinished work of another job, or of an earlier attempt at this one. The new job's journal replaces
    /// the old one, so that the directory is never without a journal.
    fn clear_work(&self, job: &JobRecord) -> Result<()> {
        if self.path.join(UNFINISHED).exists() {
            let entry = JournalEntry::Texts(job.clone(), TextsDone::default());
            manifest::write_json(&self.path, UNFINISHED, &entry.to_json())?;
        }
        remove_leftovers(&self.path, &[])
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

    /// Removes files left by a process that ended just after it had completed this directory.
    ///
    /// # Errors
    /// [`Error::Io`] when the directory cannot be read.
    pub fn tidy(&self) -> Result<()> {
        let _ = fs::remove_file(self.path.join(UNFINISHED));
        remove_leftovers(&self.path, &[])
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
            | Existing::Unfinished(JournalEntry::Arrays(there, _) | JournalEntry::Merging(there)) => {
                manifest.differences(there)
            }
            existing => existing.job().map_or_else(Vec::new, |there| manifest.job.differences(there)),
        };
        if !differences.is_empty() && !self.overwrite {
            return Err(Error::another_job(&self.path, &differences));
        }
        if matches!(self.existing, Existing::Complete(_)) {
            self.tidy()?;
            return Ok(false);
        }
        let old = outputs(&self.path);
        let free = fs4::available_space(&self.path).map_err(Error::io("read", &self.path))?;
        let free = free + old.iter().map(|file| occupied(file)).sum::<u64>();
        if bytes > free {
            return Err(Error::DiskFull { path: self.path.clone(), needed: bytes, free });
        }
        match &self.existing {
            Existing::Nothing => {}
            // A merge always copies everything anew.
            Existing::Unfinished(JournalEntry::Merging(_)) => {}
            _ => check()?,
        }
        let entry = JournalEntry::Merging(manifest.clone());
        manifest::write_json(&self.path, UNFINISHED, &entry.to_json())?;
        remove_leftovers(&self.path, &[])?;
        let old = old.into_iter().filter(|file| !file.ends_with(UNFINISHED)).collect();
        remove(&self.path, old)?;
        Ok(true)
    }

    /// Completes a merged job by writing its manifest.
    ///
    /// # Errors
    /// [`Error::Io`] when the manifest cannot be written.
    pub fn end_merge(self, manifest: &Manifest, run: &Value) -> Result<()> {
        manifest::write_json(&self.path, RUN, run)?;
        manifest::write_json(&self.path, MANIFEST, manifest)?;
        let unfinished = self.path.join(UNFINISHED);
        fs::remove_file(&unfinished).map_err(Error::io("remove", unfinished))
    }

    /// Whether the files of all arrays exist with the size and header that they were created with.
    fn has_arrays(&self, plan: &DirectoryPlan, counts: &Counts) -> bool {
        let files = layout::files(plan, counts, &plan.arrays(), &BTreeMap::new());
        files.is_ok_and(|files| files.iter().all(|file| file.is_there(&self.path)))
    }

    /// The result of the first pass of a job whose arrays were begun; `None` if its files are missing or changed.
    fn whole_first_pass(&self, manifest: &Manifest, done: &ArraysDone) -> Result<Option<TextsDone>> {
        let (tokens, so_far) = (self.path.join(TOKENS), self.path.join(TEXTS_SO_FAR));
        let shard = manifest.job.shard;
        // The lines of a shard have to be cut out of all lines again.
        let is_to_be_cut = shard.is_some() && so_far.is_file();
        let texts = if so_far.is_file() { so_far } else { self.path.join(TEXTS) };
        if !tokens.is_file() || !texts.is_file() || checksum_of(&tokens)?.finalize() != done.tokens_crc32 {
            return Ok(None);
        }
        let texts_crc32 = checksum_of(&texts)?.finalize();
        let of_job = if is_to_be_cut {
            let Some(first) = shard.and_then(|shard| shard.first_row) else { return Ok(None) };
            checksum_of_lines(&texts, first, manifest.counts.texts)?.finalize()
        } else {
            texts_crc32
        };
        if manifest.crc32.get(TEXTS) != Some(&Crc32(of_job)) {
            return Ok(None);
        }
        Ok(Some(TextsDone {
            texts: shard.and_then(|shard| shard.all_texts).unwrap_or(manifest.counts.texts),
            texts_bytes: 0,
            texts_crc32,
            tokens_bytes: fs::metadata(&tokens).map_err(Error::io("read", &tokens))?.len(),
            tokens_crc32: done.tokens_crc32,
            input_sha256: manifest.input.sha256.clone(),
        }))
    }

    /// Gives up the job. Journaled work stays for the next attempt; otherwise the file system is left as it was found.
    pub fn abandon(self) {
        let Self { path, created, lock, .. } = self;
        for name in [FileNames::Beside.texts(), FileNames::Beside.tokens()] {
            let _ = fs::remove_file(path.join(name));
        }
        if !path.join(UNFINISHED).exists() {
            let _ = fs::remove_file(path.join(TEXTS_SO_FAR));
            let _ = fs::remove_file(path.join(TOKENS));
        }
        drop(lock);
        remove_if_empty(&path, created.as_deref());
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
    ) -> Result<(Arrays, spool::SpoolReader)> {
        let counts = &part.counts;
        let done = done.filter(|done| {
            let is_ours = done.texts <= counts.texts && done.crc32.len() == arrays::count(plan);
            is_ours && self.has_arrays(plan, counts)
        });
        let mut old = outputs(&self.path);
        let free = fs4::available_space(&self.path).map_err(Error::io("read", &self.path))?;
        let free = free + old.iter().map(|file| occupied(file)).sum::<u64>();
        let needed = plan.bytes(counts);
        if needed > free {
            let path = self.path.clone();
            self.abandon();
            return Err(Error::DiskFull { path, needed, free });
        }
        let so_far = self.path.join(texts.names.texts());
        let (mut lines, checksum) = if !so_far.exists() {
            (self.path.join(TEXTS), texts.checksum) // of a process before this one
        } else if manifest.job.shard.is_none() {
            (so_far.clone(), texts.checksum)
        } else {
            let part_of_it = self.path.join(TEXTS_OF_PART);
            let checksum = copy_lines(&so_far, &part_of_it, part.first_row, counts.texts)?;
            (part_of_it, checksum)
        };
        let checksum = checksum.finalize();
        if done.is_none() {
            // From here on what is there belongs to this job; without checksums there are no arrays to trust.
            let crc32 = Checksums::from_iter([(TEXTS.to_owned(), Crc32(checksum))]);
            let begun = ArraysDone { tokens_crc32: texts.tokens_crc32, ..ArraysDone::default() };
            let entry = JournalEntry::Arrays(Manifest { crc32, ..manifest.clone() }, begun);
            manifest::write_json(&self.path, UNFINISHED, &entry.to_json())?;
            if texts.names == FileNames::Beside {
                let own = [FileNames::Own.texts(), FileNames::Own.tokens()].map(|name| self.path.join(name));
                let beside = [so_far.clone(), self.path.join(FileNames::Beside.tokens())];
                for (from, to) in beside.iter().zip(&own) {
                    fs::rename(from, to).map_err(Error::io("rename", from))?;
                }
                if lines == so_far {
                    [lines, _] = own;
                }
            }
            old.retain(|file| *file != lines && !file.ends_with(UNFINISHED));
            remove(&self.path, old)?;
        }
        let mut spool = texts.spool;
        let done = done.map(|done| -> Result<_> {
            let mut before = Counts::default();
            for _ in 0..done.texts {
                let counts = spool.skip_text().map_err(Error::io("read", self.path.join(TOKENS)))?;
                counts.into_iter().for_each(|counts| before.add(counts, plan.counting()));
            }
            Ok((done, before))
        });
        let texts = (lines.as_path(), checksum, texts.tokens_crc32);
        let arrays = Arrays::open(&self.path, plan, counts, manifest, texts, done.transpose()?, self.lock)?;
        Ok((arrays, spool))
    }
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
