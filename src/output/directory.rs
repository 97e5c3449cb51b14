//! The output directory: what is found there, what a job begins with, how it is given up.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::arrays::{self, Arrays};
use super::existing::{Existing, TEXTS, examine, lost_arrays, occupied, outputs, remove, remove_leftovers};
use super::first_phase::{FirstPhase, TEXTS_SO_FAR, TOKENS, Texts};
use super::journal::{ArraysDone, Progress, TextsDone, UNFINISHED};
use super::lock::Lock;
use super::manifest;
use crate::error::{Error, Result};
use crate::plan::{Counts, Plan};
use crate::spool;

/// A directory that is about to be written: checked to be usable, so that a bad path fails before any work.
pub struct Prepared {
    path: PathBuf,
    overwrite: bool,
    /// The outermost directory that was created for it, to be removed again when nothing comes of the job.
    created: Option<PathBuf>,
    existing: Existing,
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
            Ok(Self { path: path.to_owned(), overwrite, created: created.clone(), existing, lock })
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
            Existing::Complete(manifest) => {
                remove_leftovers(&self.path, &[])?;
                let _ = fs::remove_file(self.path.join(UNFINISHED)); // of a process that ended right after its manifest
                return Ok(Start::Complete(manifest.clone()));
            }
            Existing::Unfinished(entry) if differences.is_empty() => match &entry.progress {
                Progress::Texts(done) => {
                    remove_leftovers(&self.path, &[TEXTS_SO_FAR, TOKENS])?;
                    if let Some(phase) = FirstPhase::resume(&self.path, job.clone(), done)? {
                        return Ok(Start::Texts(phase));
                    }
                }
                Progress::Arrays(done) => {
                    if let Some(earlier) = self.whole_first_phase(&entry.job) {
                        remove_leftovers(&self.path, &[TEXTS_SO_FAR, TOKENS])?;
                        let phase = FirstPhase::done(&self.path, earlier);
                        return Ok(Start::Arrays(phase, done.clone(), entry.job.clone()));
                    }
                }
            },
            Existing::Unfinished(_) | Existing::Nothing | Existing::Replaceable => {}
        }
        // The journal first: what it speaks of goes next.
        match fs::remove_file(self.path.join(UNFINISHED)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::io("remove", self.path.join(UNFINISHED))(error));
            }
            _ => {}
        }
        remove_leftovers(&self.path, &[])?;
        FirstPhase::begin(&self.path, job.clone()).map(Start::Texts)
    }

    /// What the first pass of a job left whose arrays were begun, if it is still there.
    fn whole_first_phase(&self, manifest: &Value) -> Option<TextsDone> {
        let has_texts = [TEXTS_SO_FAR, TEXTS].iter().any(|name| self.path.join(name).is_file());
        let tokens_bytes = fs::metadata(self.path.join(TOKENS)).ok()?.len();
        let input_sha256 = manifest["input"]["sha256"].as_str()?.to_owned();
        let texts = manifest["counts"]["texts"].as_u64()?;
        has_texts.then_some(TextsDone { texts, texts_bytes: 0, tokens_bytes, input_sha256 })
    }

    /// Gives up. What is journaled stays for the next time; otherwise the file system is left as it was found.
    pub fn abandon(self) {
        let Self { path, created, lock, .. } = self;
        if !path.join(UNFINISHED).exists() {
            let _ = fs::remove_file(path.join(TEXTS_SO_FAR));
            let _ = fs::remove_file(path.join(TOKENS));
        }
        drop(lock);
        remove_if_empty(&path, created.as_deref());
    }

    /// Creates the arrays at their final size, or opens those that were begun, where `done` says how much of them is done.
    ///
    /// # Errors
    /// [`Error::DiskFull`] when they do not fit, [`Error::Io`] when they cannot be created.
    pub fn arrays(
        self,
        plan: &Plan,
        counts: &Counts,
        manifest: Value,
        texts: Texts,
        done: Option<ArraysDone>,
    ) -> Result<(Arrays, spool::Reader)> {
        let done = done.filter(|done| {
            let is_ours = done.texts <= counts.texts && done.crc32.len() == arrays::count(plan);
            is_ours && lost_arrays(&self.path, plan, counts).is_none()
        });
        let old = outputs(&self.path);
        let free = fs4::available_space(&self.path).map_err(Error::io("read", &self.path))?;
        let free = free + old.iter().map(|file| occupied(file)).sum::<u64>();
        let needed = plan.bytes(counts);
        if needed > free {
            let path = self.path.clone();
            self.abandon();
            return Err(Error::DiskFull { path, needed, free });
        }
        if done.is_none() {
            let texts = self.path.join(TEXTS); // may be this job's already
            let keep_texts = !self.path.join(TEXTS_SO_FAR).exists();
            remove(&self.path, old.into_iter().filter(|file| !(keep_texts && *file == texts)).collect())?;
        }
        let mut spool = texts.spool;
        let done = done.map(|done| -> Result<_> {
            let mut before = Counts::default();
            for _ in 0..done.texts {
                let counts = spool.skip_text().map_err(Error::io("read", self.path.join(TOKENS)))?;
                counts.into_iter().for_each(|counts| before.add(counts, plan.special_tokens));
            }
            Ok((done, before))
        });
        let arrays =
            Arrays::open(&self.path, plan, counts, manifest, texts.checksum.finalize(), done.transpose()?, self.lock)?;
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
