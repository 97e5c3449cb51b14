//! `--overwrite` of a finished directory: the new one is written beside the old one's files, in a folder among them, and takes their
//! place once it is complete. So there are old or new vectors at any time but the moment in which files are renamed.
//!
//! That moment begins with an entry in the journal ([`JournalEntry::Swapping`]), by which whoever comes next ends what a killed process
//! began.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::existing::{made_here, remove, remove_leftovers};
use super::folder::Folder;
use super::journal::{JournalEntry, ReplacedFiles};
use super::lock::Lock;
use super::manifest::{self, Manifest};
use super::names::{LOCK, MANIFEST, NEXT, RUN, TEMPORARIES, TEXTS, UNFINISHED};
use crate::error::{Error, Result};
use crate::spec::VectorKind;

/// A finished directory, locked, and the place of the one that will replace it.
pub(crate) struct Replacement {
    folder: Arc<Folder>,
    /// What layerwise made of the old one, the manifest first.
    old: Vec<String>,
    _lock: Lock,
}

impl Replacement {
    /// The replacement of the finished job in a directory; `None` where there is none, and so nothing to keep. Ends a replacement
    /// that was interrupted while files were renamed, also where nothing is to be overwritten.
    ///
    /// # Errors
    /// [`Error::Output`] when the directory is in use, or holds what layerwise did not make under a name that it needs;
    /// [`Error::Io`] when it cannot be read or written.
    pub(crate) fn begin(path: &Path, overwrite: bool) -> Result<Option<Self>> {
        let is_there = |name: &str| path.join(name).symlink_metadata().is_ok();
        let is_swapping = is_there(NEXT) && is_there(UNFINISHED);
        if !is_swapping && !(overwrite && (is_there(MANIFEST) || is_there(NEXT))) {
            return Ok(None);
        }
        let folder = Arc::new(Folder::open(path)?);
        folder.check()?;
        let lock = Lock::take(&folder)?;
        if let Ok(Some(JournalEntry::Swapping(new, before))) = JournalEntry::read(path) {
            swap(&folder, &new, &before.replaced)?;
        }
        if !overwrite {
            return Ok(None);
        }
        let has_next = folder.has(NEXT)? && manifest_or_journal(&path.join(NEXT));
        let is_in_place =
            matches!(JournalEntry::read(path), Ok(Some(JournalEntry::Texts(..) | JournalEntry::Arrays(..))));
        if folder.has(MANIFEST)? || (has_next && !is_in_place) {
            let old = made_here(&folder)?;
            return Ok(Some(Self { folder, old, _lock: lock }));
        }
        Ok(None)
    }

    /// Refuses names of the new directory at which there is something that layerwise did not make.
    ///
    /// # Errors
    /// [`Error::Output`] that names it.
    pub(crate) fn check_names(&self, new: &Manifest) -> Result<()> {
        for name in files_of(new).into_iter().chain(new.part_names()) {
            if self.folder.has(&name)? && !self.old.contains(&name) {
                return Err(self.folder.foreign(&name));
            }
        }
        Ok(())
    }

    /// Where the new directory is written.
    pub(crate) fn next(&self) -> PathBuf {
        self.folder.path().join(NEXT)
    }

    /// The bytes that the old files take.
    pub(crate) fn old_bytes(&self) -> u64 {
        self.old.iter().map(|name| self.folder.occupied(name)).sum()
    }

    /// Removes the old files before the new ones are there, as the disk has no room for both.
    ///
    /// # Errors
    /// [`Error::Io`] when they cannot be removed.
    pub(crate) fn give_up_old(&mut self, new: &Manifest) -> Result<()> {
        let old: Vec<String> = self.old.drain(..).filter(|name| name != UNFINISHED).collect();
        // It names them until they are gone.
        let entry = JournalEntry::Merging(new.clone(), ReplacedFiles { replaced: old.clone() });
        self.folder.write_json(UNFINISHED, &entry.to_json())?;
        self.old.push(UNFINISHED.to_owned());
        remove(&self.folder, &self.folder.files_among(old)?)
    }

    /// Puts the new directory, which is complete, in the place of the old one.
    ///
    /// # Errors
    /// [`Error::Io`] when files cannot be renamed or removed; the same command ends it then.
    pub(crate) fn finish(self) -> Result<()> {
        let next = self.next();
        let Some(new) = manifest::read(&next)? else {
            let problem = "has no manifest.json after its job; run the same command again".to_owned();
            return Err(Error::Output { path: next, problem });
        };
        self.folder.check_place()?;
        self.check_names(&new)?;
        let replaced: Vec<String> = self.old.iter().filter(|name| *name != UNFINISHED).cloned().collect();
        let entry = JournalEntry::Swapping(new.clone(), ReplacedFiles { replaced: replaced.clone() });
        self.folder.write_json(UNFINISHED, &entry.to_json())?;
        swap(&self.folder, &new, &replaced)
    }
}

/// Whether a folder holds a job, finished or not.
fn manifest_or_journal(next: &Path) -> bool {
    [MANIFEST, UNFINISHED].iter().any(|name| next.join(name).is_file())
}

/// All files of a finished job but its manifest.
fn files_of(manifest: &Manifest) -> Vec<String> {
    let mut names = vec![TEXTS.to_owned(), RUN.to_owned()];
    names.extend(manifest.file_names());
    names.sort();
    names.dedup();
    names
}

/// Removes what is old, and gives the new files their names, the manifest last. Done again after a kill, it goes on.
fn swap(folder: &Folder, new: &Manifest, old: &[String]) -> Result<()> {
    let names = files_of(new);
    let next = |name: &str| format!("{NEXT}/{name}");
    if folder.has_file(&next(MANIFEST))? {
        let is_moved = |name: &String| -> Result<bool> { Ok(names.contains(name) && !folder.has_file(&next(name))?) };
        // The manifest first, so that the rest counts as unfinished; what got its name already is new.
        let mut removed = Vec::new();
        for name in old {
            if !is_moved(name)? {
                removed.push(name.clone());
            }
        }
        remove(folder, &folder.files_among(removed)?)?;
        for name in &names {
            if !folder.has_file(&next(name))? {
                continue;
            }
            if let Some((kind, _)) = name.rsplit_once('/') {
                folder.create_directory(kind)?;
            }
            folder.rename(&next(name), name)?;
        }
        folder.sync_names(names.iter().map(String::as_str))?;
        folder.rename(&next(MANIFEST), MANIFEST)?;
        folder.sync_names([MANIFEST].into_iter())?;
    }
    folder.remove_if_there(UNFINISHED);
    remove_leftovers(folder, &[])?;
    // What is left of the folder is empty, or not of layerwise.
    for name in TEMPORARIES.iter().chain(&[LOCK, UNFINISHED]) {
        folder.remove_if_there(&next(name));
    }
    VectorKind::ALL.iter().for_each(|kind| folder.remove_empty(&next(kind.name())));
    folder.remove_empty(NEXT);
    Ok(())
}
