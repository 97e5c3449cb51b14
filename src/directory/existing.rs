//! Examines what an output directory already holds: nothing, a job, or other files; and which files may be removed.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::journal::{JournalEntry, UNFINISHED};
use super::lock::LOCK;
use super::manifest::{self, JobRecord, MANIFEST, Manifest, RUN};
use super::plan_record::DirectoryPlan;
use crate::counts::Counts;
use crate::error::{Error, Result};
use crate::spec::{Combine, Format, RowKind, VectorKind};

/// The file that has a line for each text.
pub const TEXTS: &str = "texts.jsonl";

/// What a directory held before the job.
#[derive(Debug, PartialEq)]
pub enum Existing {
    /// Nothing; or the directory does not exist.
    Nothing,
    /// A complete job with this manifest.
    Complete(Manifest),
    /// An unfinished job, which may be the same as the new one.
    Unfinished(JournalEntry),
    /// An unfinished job that is known to differ from the new one. It stays until all texts of the new one are known.
    OfAnotherJob(JournalEntry),
    /// Content that `--overwrite` allows to be replaced.
    Replaceable,
}

impl Existing {
    /// The job in the directory, as far as it is known before its input is read.
    pub(super) fn job(&self) -> Option<&JobRecord> {
        match self {
            Self::Complete(manifest) => Some(&manifest.job),
            Self::Unfinished(entry) | Self::OfAnotherJob(entry) => Some(entry.job()),
            Self::Nothing | Self::Replaceable => None,
        }
    }
}

/// Examines a directory and checks that a job may use it, without changing anything.
///
/// # Errors
/// [`Error::Output`] when the path is a file, or the directory holds something that may not be replaced unasked;
/// [`Error::Io`] when it cannot be read.
pub fn examine(path: &Path, overwrite: bool) -> Result<Existing> {
    let mut entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Existing::Nothing),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            return Err(Error::Output { path: path.to_owned(), problem: "is a file; expected a directory".to_owned() });
        }
        Err(error) => return Err(Error::io("read", path)(error)),
    };
    let is_ours_in_passing = |name: &str| name == LOCK || name.starts_with(manifest::TEMPORARY);
    if entries.all(|entry| entry.is_ok_and(|entry| is_ours_in_passing(&entry.file_name().to_string_lossy()))) {
        return Ok(Existing::Nothing);
    }
    if overwrite {
        // The unfinished job may be the interrupted replacement of the rest.
        let is_later = |entry: &JournalEntry| matches!(entry, JournalEntry::Texts(..)) || !path.join(MANIFEST).exists();
        let journal = JournalEntry::read(path).ok().flatten().filter(is_later);
        return Ok(journal.map_or(Existing::Replaceable, Existing::Unfinished));
    }
    if let Some(manifest) = manifest::read(path)? {
        return Ok(Existing::Complete(manifest));
    }
    if let Some(entry) = JournalEntry::read(path)? {
        return Ok(Existing::Unfinished(entry));
    }
    Err(Error::Output {
        path: path.to_owned(),
        problem: "is not empty and holds no job of layerwise; choose another directory, or use this one with --overwrite, which replaces only files that layerwise writes"
            .to_owned(),
    })
}

/// Removes temporary files that killed processes left behind, except those in `but`. Finished files never have such
/// names.
pub(super) fn remove_leftovers(path: &Path, but: &[&str]) -> Result<()> {
    for entry in fs::read_dir(path).map_err(Error::io("read", path))? {
        let entry = entry.map_err(Error::io("read", path))?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(manifest::TEMPORARY) && !but.contains(&&*name) {
            let _ = fs::remove_file(entry.path());
        }
    }
    Ok(())
}

/// The files in a directory that layerwise writes, the manifest first.
pub(crate) fn outputs(directory: &Path) -> Vec<PathBuf> {
    let mut files = [MANIFEST, UNFINISHED, RUN, TEXTS].map(|name| directory.join(name)).to_vec();
    for emit in VectorKind::ALL {
        let folder = directory.join(emit.name());
        files.push(folder.with_extension("safetensors"));
        if !emit.per_layer() {
            files.push(folder.with_extension("npy"));
        } else if let Ok(entries) = fs::read_dir(&folder) {
            let entries = entries.filter_map(std::result::Result::ok);
            files.extend(entries.filter(|entry| is_array(*emit, &entry.file_name())).map(|entry| entry.path()));
        }
    }
    files.retain(|file| file.is_file());
    files
}

/// Removes files, the manifest first so that the rest counts as unfinished, and then the empty folders.
pub(super) fn remove(directory: &Path, files: Vec<PathBuf>) -> Result<()> {
    for file in files {
        fs::remove_file(&file).map_err(Error::io("remove", file))?;
    }
    for emit in VectorKind::ALL {
        let _ = fs::remove_dir(directory.join(emit.name())); // stays when somebody else's files are in it
    }
    Ok(())
}

/// The disk space that removing a file frees; an array that was not filled takes less than its length.
pub(super) fn occupied(file: &Path) -> u64 {
    #[cfg(unix)]
    let size = |metadata: fs::Metadata| std::os::unix::fs::MetadataExt::blocks(&metadata) * 512;
    #[cfg(not(unix))]
    let size = |metadata: fs::Metadata| metadata.len();
    fs::metadata(file).map(size).unwrap_or(0)
}

/// What is missing from a directory that held a complete job; `None` when all files have their sizes.
pub fn lost(directory: &Path, plan: &DirectoryPlan, counts: &Counts) -> Option<String> {
    let texts = (!directory.join(TEXTS).is_file()).then(|| format!("{TEXTS} is missing"));
    texts.or_else(|| lost_arrays(directory, plan, counts))
}

/// As [`lost`], for arrays alone. Only sizes are checked; headers are checked by `verify`.
fn lost_arrays(directory: &Path, plan: &DirectoryPlan, counts: &Counts) -> Option<String> {
    let mut expected = BTreeMap::new();
    for array in plan.arrays() {
        *expected.entry(array.file(plan.format)).or_default() += plan.array_bytes(&array, counts);
        if array.kind.rows() != RowKind::Text && plan.format == Format::Npy {
            expected.insert(format!("{}/offsets.npy", array.kind.name()), 8 * (counts.texts + 1));
        }
    }
    expected.into_iter().find_map(|(name, bytes)| match fs::metadata(directory.join(&name)) {
        Err(_) => Some(format!("{name} is missing")),
        Ok(metadata) if metadata.len() < bytes => {
            Some(format!("{name} has {} bytes instead of {bytes} and more", metadata.len()))
        }
        Ok(_) => None,
    })
}

/// Whether a file in the folder of a kind of vector has the name of an array.
fn is_array(emit: VectorKind, name: &OsStr) -> bool {
    let Some(name) = name.to_str().and_then(|name| name.strip_suffix(".npy")) else { return false };
    let digits =
        name.strip_prefix("layer_").is_some_and(|layer| layer.len() >= 2 && layer.bytes().all(|b| b.is_ascii_digit()));
    let combined = Combine::ALL.iter().any(|combine| combine.name() == name);
    digits || combined || (name == "offsets" && emit.rows() != RowKind::Text)
}
