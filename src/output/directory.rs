//! The output directory: what is found there, what a job begins with, how it is given up.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::arrays::{self, Arrays};
use super::existing::{Existing, TEXTS, examine, occupied, outputs, remove, remove_leftovers};
use super::first_phase::{
    FirstPhase, Names, TEXTS_OF_PART, TEXTS_SO_FAR, TOKENS, Texts, checksum_of, checksum_of_lines, copy_lines,
};
use super::journal::{ArraysDone, Entry, Progress, TextsDone, UNFINISHED};
use super::layout;
use super::lock::Lock;
use super::manifest::{self, MANIFEST, RUN};
use crate::error::{Error, Result};
use crate::plan::{Counts, Plan};
use crate::shard::Part;
use crate::spool;

/// A directory that is about to be written: checked to be usable, so that a bad path fails before any work.
pub struct Prepared {
    path: PathBuf,
    overwrite: bool,
    /// The outermost directory that was created for it, to be removed again when nothing comes of the job.
    created: Option<PathBuf>,
    existing: Existing,
    /// Whether the unfinished job that is there is known to be another one.
    is_another: bool,
    lock: Lock,
}

/// How a job begins in a directory.
pub enum Start {
    /// There is nothing to do if the input is that of this manifest.
    Complete(Value),
    /// With the first pass, or with what is left of it.
    Texts(FirstPhase),
    /// With what is left of the second pass, if the input is that of this manifest.
    Arrays(FirstPhase, ArraysDone, Value),
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
            Ok(Self { path: path.to_owned(), overwrite, created: created.clone(), existing, is_another: false, lock })
        };
        prepare().inspect_err(|_| remove_if_empty(path, created.as_deref()))
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Compares a job with what is there, and finds where to begin.
    ///
    /// # Errors
    /// [`Error::Output`] when another job is there, [`Error::Io`] when the directory cannot be written.
    pub fn start(&self, job: &Value) -> Result<Start> {
        let differences = match &self.existing {
            Existing::Complete(manifest) => manifest::differences(job, manifest),
            Existing::Unfinished(entry) => manifest::differences(job, &entry.job),
            Existing::Nothing | Existing::Replaceable => Vec::new(),
        };
        if !differences.is_empty() && !self.overwrite {
            return Err(Error::another_job(&self.path, &differences));
        }
        match &self.existing {
            Existing::Complete(manifest) => return Ok(Start::Complete(manifest.clone())),
            Existing::Unfinished(entry) if self.is_another || !differences.is_empty() => {
                let is_begun = match &entry.progress {
                    Progress::Texts(done) => done.texts > 0,
                    Progress::Arrays(_) => true,
                    Progress::Merging => false,
                };
                if is_begun {
                    remove_leftovers(&self.path, &[TEXTS_SO_FAR, TOKENS])?;
                    return FirstPhase::begin(&self.path, job.clone(), Names::Beside).map(Start::Texts);
                }
            }
            Existing::Unfinished(entry) => match &entry.progress {
                Progress::Texts(done) if done.texts > 0 => {
                    remove_leftovers(&self.path, &[TEXTS_SO_FAR, TOKENS])?;
                    if let Some(phase) = FirstPhase::resume(&self.path, job.clone(), done)? {
                        return Ok(Start::Texts(phase));
                    }
                }
                Progress::Texts(_) | Progress::Merging => {}
                Progress::Arrays(done) => {
                    if let Some(earlier) = self.whole_first_phase(&entry.job, done)? {
                        remove_leftovers(&self.path, &[TEXTS_SO_FAR, TOKENS])?;
                        let phase = FirstPhase::done(&self.path, earlier);
                        return Ok(Start::Arrays(phase, done.clone(), entry.job.clone()));
                    }
                }
            },
            Existing::Nothing | Existing::Replaceable => {}
        }
        self.clear_work(job)?;
        FirstPhase::begin(&self.path, job.clone(), Names::Own).map(Start::Texts)
    }

    /// Removes what another job, or a try at this one, left of its work. The directory never is without a journal meanwhile:
    /// the new job's takes the place of the old one's.
    fn clear_work(&self, job: &Value) -> Result<()> {
        if self.path.join(UNFINISHED).exists() {
            let entry = Entry { job: job.clone(), progress: Progress::Texts(TextsDone::default()) };
            manifest::write_json(&self.path, UNFINISHED, &entry.to_json())?;
        }
        remove_leftovers(&self.path, &[])
    }

    /// Says that the unfinished job that is there is another one. It stays until all texts of the new one are known.
    pub fn is_another(&mut self) {
        self.is_another = true;
    }

    /// Gives up the unfinished job that is there, so that another one can begin.
    ///
    /// # Errors
    /// [`Error::Io`] when its files cannot be removed.
    pub fn give_up_unfinished(&mut self) -> Result<()> {
        if let Existing::Unfinished(entry) = &self.existing {
            self.clear_work(&entry.job)?;
            self.existing = Existing::Replaceable;
        }
        Ok(())
    }

    /// Removes what a process left that ended right after it had completed this directory.
    ///
    /// # Errors
    /// [`Error::Io`] when the directory cannot be read.
    pub fn tidy(&self) -> Result<()> {
        let _ = fs::remove_file(self.path.join(UNFINISHED));
        remove_leftovers(&self.path, &[])
    }

    /// Makes the directory ready for the files of a merged job, `bytes` bytes in all. False when it holds them already. Before
    /// another job that is there is given up, `check` says whether the new one can be done.
    ///
    /// # Errors
    /// [`Error::Output`] when another job is there, [`Error::DiskFull`] when they do not fit, [`Error::Io`]; those of `check`.
    pub fn begin_merge(&self, manifest: &Value, bytes: u64, check: impl FnOnce() -> Result<()>) -> Result<bool> {
        let there = match &self.existing {
            Existing::Complete(there) => Some(there),
            Existing::Unfinished(entry) => Some(&entry.job),
            Existing::Nothing | Existing::Replaceable => None,
        };
        let differences = there.map_or_else(Vec::new, |there| manifest::differences(manifest, there));
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
            // What it has copied is copied again in any case.
            Existing::Unfinished(entry) if entry.progress == Progress::Merging => {}
            Existing::Complete(_) | Existing::Unfinished(_) | Existing::Replaceable => check()?,
        }
        let entry = Entry { job: manifest.clone(), progress: Progress::Merging };
        manifest::write_json(&self.path, UNFINISHED, &entry.to_json())?;
        remove_leftovers(&self.path, &[])?;
        let old = old.into_iter().filter(|file| !file.ends_with(UNFINISHED)).collect();
        remove(&self.path, old)?;
        Ok(true)
    }

    /// Makes a merged job complete.
    ///
    /// # Errors
    /// [`Error::Io`] when that fails.
    pub fn end_merge(self, manifest: &Value, run: &Value) -> Result<()> {
        manifest::write_json(&self.path, RUN, run)?;
        manifest::write_json(&self.path, MANIFEST, manifest)?;
        let unfinished = self.path.join(UNFINISHED);
        fs::remove_file(&unfinished).map_err(Error::io("remove", unfinished))
    }

    /// Whether the files of all arrays are there, as they were created.
    fn has_arrays(&self, plan: &Plan, counts: &Counts) -> bool {
        let files = layout::files(plan, counts, &plan.arrays(), &BTreeMap::new());
        files.is_ok_and(|files| files.iter().all(|file| file.is_there(&self.path)))
    }

    /// What the first pass of a job left whose arrays were begun, if it is still there and as it was.
    fn whole_first_phase(&self, manifest: &Value, done: &ArraysDone) -> Result<Option<TextsDone>> {
        let (tokens, so_far) = (self.path.join(TOKENS), self.path.join(TEXTS_SO_FAR));
        let is_shard = !manifest["shard"].is_null();
        // A shard's lines are cut out of all lines once more.
        let is_to_be_cut = is_shard && so_far.is_file();
        let texts = if so_far.is_file() { so_far } else { self.path.join(TEXTS) };
        if !tokens.is_file() || !texts.is_file() || checksum_of(&tokens)?.finalize() != done.tokens_crc32 {
            return Ok(None);
        }
        let texts_crc32 = checksum_of(&texts)?.finalize();
        let of_job = if is_to_be_cut {
            let (first, count) = (manifest["shard"]["first_row"].as_u64(), manifest["counts"]["texts"].as_u64());
            let (Some(first), Some(count)) = (first, count) else { return Ok(None) };
            checksum_of_lines(&texts, first, count)?.finalize()
        } else {
            texts_crc32
        };
        if manifest["crc32"][TEXTS] != format!("{of_job:08x}") {
            return Ok(None);
        }
        let count = manifest["shard"]["all_texts"].as_u64().or(manifest["counts"]["texts"].as_u64());
        let (Some(texts), Some(input_sha256)) = (count, manifest["input"]["sha256"].as_str()) else { return Ok(None) };
        Ok(Some(TextsDone {
            texts,
            texts_bytes: 0,
            texts_crc32,
            tokens_bytes: fs::metadata(&tokens).map_err(Error::io("read", &tokens))?.len(),
            tokens_crc32: done.tokens_crc32,
            input_sha256: input_sha256.to_owned(),
        }))
    }

    /// Gives up. What is journaled stays for the next time; otherwise the file system is left as it was found.
    pub fn abandon(self) {
        let Self { path, created, lock, .. } = self;
        for name in [Names::Beside.texts(), Names::Beside.tokens()] {
            let _ = fs::remove_file(path.join(name));
        }
        if !path.join(UNFINISHED).exists() {
            let _ = fs::remove_file(path.join(TEXTS_SO_FAR));
            let _ = fs::remove_file(path.join(TOKENS));
        }
        drop(lock);
        remove_if_empty(&path, created.as_deref());
    }

    /// Creates the arrays of a part at their final size, or opens those that were begun, where `done` says how much of them
    /// is done. The spool that is returned is at the first text to encode.
    ///
    /// # Errors
    /// [`Error::DiskFull`] when they do not fit, [`Error::Io`] when they cannot be created.
    pub fn arrays(
        self,
        plan: &Plan,
        part: &Part,
        manifest: Value,
        texts: Texts,
        done: Option<ArraysDone>,
    ) -> Result<(Arrays, spool::Reader)> {
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
        } else if manifest["shard"].is_null() {
            (so_far.clone(), texts.checksum)
        } else {
            let part_of_it = self.path.join(TEXTS_OF_PART);
            let checksum = copy_lines(&so_far, &part_of_it, part.first_row, counts.texts)?;
            (part_of_it, checksum)
        };
        let checksum = checksum.finalize();
        if done.is_none() {
            // From here on what is there belongs to this job; without checksums there are no arrays to trust.
            let mut job = manifest.clone();
            job["crc32"] = json!({ TEXTS: format!("{checksum:08x}") });
            let begun = ArraysDone { tokens_crc32: texts.tokens_crc32, ..ArraysDone::default() };
            let entry = Entry { job, progress: Progress::Arrays(begun) };
            manifest::write_json(&self.path, UNFINISHED, &entry.to_json())?;
            if texts.names == Names::Beside {
                let own = [Names::Own.texts(), Names::Own.tokens()].map(|name| self.path.join(name));
                let beside = [so_far.clone(), self.path.join(Names::Beside.tokens())];
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

/// Removes an empty directory that was created for a job, and the empty ones around it that were.
fn remove_if_empty(path: &Path, created: Option<&Path>) {
    let Some(outermost) = created else { return };
    for directory in path.ancestors().take_while(|directory| directory.starts_with(outermost)) {
        if fs::remove_dir(directory).is_err() {
            break; // something else is in it by now, and stays
        }
    }
}
