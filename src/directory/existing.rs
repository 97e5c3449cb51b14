//! Examines what an output directory already holds: nothing, a job, or other files; and which files may be removed.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::folder::Folder;
use super::journal::JournalEntry;
use super::layout;
use super::manifest::{self, JobRecord, Manifest};
use super::names::{LOCK, MANIFEST, RUN, TEMPORARIES, TEMPORARY, TEXTS, UNFINISHED};
use super::parts;
use super::plan_record::DirectoryPlan;
use super::text_files::checksum;
use crate::counts::Counts;
use crate::error::{Error, Result};
use crate::observer::{Observer, Work};
use crate::regular_file;
use crate::spec::{Combine, RowKind, VectorKind};

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
    let is_ours_in_passing = |name: &str| name == LOCK || name.starts_with(TEMPORARY);
    if entries.all(|entry| entry.is_ok_and(|entry| is_ours_in_passing(&entry.file_name().to_string_lossy()))) {
        return Ok(Existing::Nothing);
    }
    if overwrite {
        // The unfinished job may be the interrupted replacement of the rest.
        let manifest = path.join(MANIFEST);
        let is_complete = manifest.try_exists().map_err(Error::io("look at", &manifest))?;
        let is_later = |entry: &JournalEntry| matches!(entry, JournalEntry::Texts(..)) || !is_complete;
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
///
/// # Errors
/// [`Error::Io`] when it cannot be found out whether they are there.
pub(super) fn remove_leftovers(folder: &Folder, but: &[&str]) -> Result<()> {
    for name in TEMPORARIES.into_iter().filter(|name| !but.contains(name)) {
        if folder.has_file(name)? {
            folder.remove_if_there(name);
        }
    }
    Ok(())
}

/// The names of the files that layerwise made in a directory, the manifest first: those that its manifest and its journal
/// name. Where one of them is ours and damaged, so that it names none, it is whatever has a name that layerwise gives.
///
/// # Errors
/// [`Error::Output`] when a file has a name that every job gives, and nothing says that it is of layerwise; [`Error::Io`] when it
/// cannot be found out what is there.
pub(super) fn made_here(folder: &Folder) -> Result<Vec<String>> {
    let fixed = [MANIFEST, UNFINISHED, RUN, TEXTS];
    let mut named = Vec::new();
    let mut is_damaged = false;
    for name in [MANIFEST, UNFINISHED] {
        if !folder.has_file(name)? {
            continue;
        }
        match manifest_in(folder, name)? {
            Described::As(names) => named.extend(names),
            Described::Damaged => is_damaged = true,
            Described::Foreign if name == UNFINISHED || !folder.has(UNFINISHED)? => return Err(folder.foreign(name)),
            Described::Foreign => {}
        }
    }
    let is_ours = is_damaged || folder.has(MANIFEST)? || folder.has(UNFINISHED)?;
    for name in [RUN, TEXTS] {
        if !is_ours && folder.has(name)? {
            return Err(folder.foreign(name));
        }
    }
    if is_damaged {
        let found = outputs(folder.path()).into_iter().filter_map(|path| {
            let name = path.strip_prefix(folder.path()).ok()?.to_str()?;
            Some(name.replace('\\', "/"))
        });
        named.extend(found);
    }
    named.sort();
    folder.files_among(fixed.map(str::to_owned).into_iter().chain(named))
}

/// The bytes that the files take which layerwise made in a directory, if it exists; refuses what a job would refuse there.
///
/// # Errors
/// Those of [`Folder::check`] and [`made_here`].
pub(crate) fn size_of_old(path: &Path) -> Result<u64> {
    if !path.is_dir() {
        return Ok(0);
    }
    let folder = Folder::open(path)?;
    folder.check()?;
    Ok(made_here(&folder)?.iter().map(|name| folder.occupied(name)).sum())
}

/// What a manifest or journal says of the directory.
enum Described {
    /// It names these files beside those that every job has.
    As(Vec<String>),
    /// It is of layerwise, and does not say what there is.
    Damaged,
    Foreign,
}

fn manifest_in(folder: &Folder, name: &str) -> Result<Described> {
    let names = if name == UNFINISHED {
        JournalEntry::read(folder.path()).map(|entry| entry.map(|entry| entry.file_names()))
    } else {
        manifest::read(folder.path()).map(|manifest| manifest.map(|manifest| manifest.file_names()))
    };
    if let Ok(Some(names)) = names {
        return Ok(Described::As(names));
    }
    let read = || serde_json::from_reader(io::BufReader::new(folder.read_file(name).ok()?)).ok();
    Ok(match read() {
        Some(serde_json::Value::Object(keys)) if keys.contains_key("format_version") => Described::Damaged,
        // A file that is no JSON may be half of ours, where others of ours are beside it.
        None if folder.has_file(TEXTS)? || folder.has_file(RUN)? => Described::Damaged,
        _ => Described::Foreign,
    })
}

/// The files in a directory that layerwise writes, the manifest first.
pub(crate) fn outputs(directory: &Path) -> Vec<PathBuf> {
    let mut files = [MANIFEST, UNFINISHED, RUN, TEXTS].map(|name| directory.join(name)).to_vec();
    for emit in VectorKind::ALL {
        let folder = directory.join(emit.name());
        files.push(folder.with_extension("safetensors"));
        if !emit.per_layer() {
            files.push(folder.with_extension("npy"));
        }
        if let Ok(entries) = fs::read_dir(&folder) {
            let entries = entries.filter_map(std::result::Result::ok);
            files.extend(entries.filter(|entry| is_array(*emit, &entry.file_name())).map(|entry| entry.path()));
        }
    }
    files.retain(|file| file.is_file());
    files
}

/// Removes files, the manifest first so that the rest counts as unfinished, and then the empty folders. The names are gone from the
/// disk then, before a journal that no longer speaks of them can be there.
pub(super) fn remove(folder: &Folder, names: &[String]) -> Result<()> {
    names.iter().try_for_each(|name| folder.remove(name))?;
    folder.sync_names(names.iter().map(String::as_str))?;
    VectorKind::ALL.iter().for_each(|kind| folder.remove_empty(kind.name()));
    Ok(())
}

/// What is wrong with a directory that held a complete job; `None` when all is as it was. Sizes and dates are looked at;
/// checksums are compared of what was written after the manifest, which is a job's last file.
///
/// # Errors
/// [`Error::Io`] when a file that is there cannot be read.
pub fn changed(
    directory: &Path,
    plan: &DirectoryPlan,
    counts: &Counts,
    manifest: &Manifest,
    observer: &dyn Observer,
) -> Result<Option<String>> {
    let checksums = manifest.crc32.iter().map(|(place, crc32)| (place.clone(), crc32.0)).collect();
    let problem = |problem| Error::Output { path: directory.join(MANIFEST), problem };
    let files = layout::files(plan, counts, manifest.first_row(), &plan.arrays(), &checksums).map_err(problem)?;
    let date = |name: &str| -> io::Result<_> {
        let metadata = fs::metadata(directory.join(name))?;
        Ok((metadata.len(), metadata.modified()?))
    };
    let completed = date(MANIFEST).map_err(Error::io("read", directory.join(MANIFEST)))?.1;
    let mut later = Vec::new();
    let of_texts = (TEXTS.to_owned(), None, vec![(TEXTS.to_owned(), 0, u64::MAX)]);
    let of_arrays = files.iter().map(|file| {
        let regions = file.regions.iter().map(|region| (region.place.clone(), region.start, region.bytes)).collect();
        (file.name.clone(), file.bytes, regions)
    });
    for (name, expected, regions) in std::iter::once(of_texts).chain(of_arrays) {
        match date(&name) {
            Err(_) => return Ok(Some(format!("{name} is missing"))),
            Ok((length, _)) if expected.is_some_and(|expected| expected != length) => {
                return Ok(Some(format!("{name} has {length} bytes instead of {}", expected.unwrap_or_default())));
            }
            Ok((length, modified)) if modified > completed => later.push((name, length, regions)),
            Ok(_) => {}
        }
    }
    if later.is_empty() {
        return Ok(None);
    }
    let progress = observer.begin(Work::Reading(later.iter().map(|(_, length, _)| length).sum()));
    for (name, _, regions) in later {
        let path = directory.join(&name);
        for (place, start, bytes) in regions {
            let found =
                regular_file::open(&path).and_then(|file| checksum(file, start, bytes, |read| progress.advance(read)));
            let found = found.map_err(Error::io("read", &path))?.finalize();
            if checksums.get(&place) != Some(&found) {
                return Ok(Some(format!("{name} has changed since: {place} does not have its checksum")));
            }
        }
    }
    Ok(None)
}

/// Whether a file in the folder of a kind of vector has the name of an array.
fn is_array(emit: VectorKind, name: &OsStr) -> bool {
    if name.to_str().is_some_and(parts::is_part) {
        return true;
    }
    let Some(name) = name.to_str().and_then(|name| name.strip_suffix(".npy")).filter(|_| emit.per_layer()) else {
        return false;
    };
    let digits =
        name.strip_prefix("layer_").is_some_and(|layer| layer.len() >= 2 && layer.bytes().all(|b| b.is_ascii_digit()));
    let combined = Combine::ALL.iter().any(|combine| combine.name() == name);
    digits || combined || (name == "offsets" && emit.rows() != RowKind::Text)
}
