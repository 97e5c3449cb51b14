//! The output directory itself, held open: files in it are made, opened, renamed and removed by their names under it.
//!
//! Nothing outside is ever reached for writing: no symbolic link is followed, whoever put it there, and a directory that was
//! moved while a job runs is still the one that is written, not what has taken its place.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use cap_fs_ext::{DirExt, FollowSymlinks, MetadataExt, OpenOptionsFollowExt};
use cap_std::ambient_authority;
use cap_std::fs::{Dir, Metadata, OpenOptions};
use serde::Serialize;

use super::names::{LOCK, MANIFEST, NEXT, RUN, SO_FAR, TEMPORARIES, TEMPORARY, TEXTS, UNFINISHED};
use crate::error::{Error, Result};
use crate::spec::VectorKind;

/// A directory that is held open. Names are relative to it, with slashes.
#[derive(Debug)]
pub(crate) struct Folder {
    directory: Dir,
    /// Where it was opened, for messages and for what is only read.
    path: PathBuf,
}

impl Folder {
    /// Opens a directory; the path itself may be a symbolic link.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let directory = Dir::open_ambient_dir(path, ambient_authority()).map_err(Error::io("open", path))?;
        Ok(Self { directory, path: path.to_owned() })
    }

    /// Where it was opened.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The path of a file, for messages.
    pub(crate) fn place(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// What is there by this name, not what a link leads to; `None` where there is nothing. What cannot be looked at is an
    /// error, as a file that is taken for missing would be left behind, or made anew.
    fn metadata(&self, name: &str) -> Result<Option<Metadata>> {
        match self.directory.symlink_metadata(name) {
            Ok(metadata) => Ok(Some(metadata)),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
            Err(error) => Err(Error::io("look at", self.place(name))(error)),
        }
    }

    /// Whether there is anything by this name.
    ///
    /// # Errors
    /// [`Error::Io`] when that cannot be found out.
    pub(crate) fn has(&self, name: &str) -> Result<bool> {
        Ok(self.metadata(name)?.is_some())
    }

    /// Whether there is a file by this name, which is no link.
    ///
    /// # Errors
    /// [`Error::Io`] when that cannot be found out.
    pub(crate) fn has_file(&self, name: &str) -> Result<bool> {
        Ok(self.metadata(name)?.is_some_and(|metadata| metadata.is_file()))
    }

    /// The files among some names that are there, each once.
    ///
    /// # Errors
    /// [`Error::Io`] when that cannot be found out.
    pub(crate) fn files_among(&self, names: impl IntoIterator<Item = String>) -> Result<Vec<String>> {
        let mut seen = HashSet::new();
        let mut there = Vec::new();
        for name in names {
            if seen.insert(name.clone()) && self.has_file(&name)? {
                there.push(name);
            }
        }
        Ok(there)
    }

    /// The disk space that removing a file frees; an array that was not filled takes less than its length.
    pub(crate) fn occupied(&self, name: &str) -> u64 {
        #[cfg(unix)]
        let size = |metadata: Metadata| cap_std::fs::MetadataExt::blocks(&metadata) * 512;
        #[cfg(not(unix))]
        let size = |metadata: Metadata| metadata.len();
        self.metadata(name).ok().flatten().map_or(0, size)
    }

    /// Refuses a directory where a name that jobs give is a link, a pipe or a device, so that this is said before any work. The
    /// functions below refuse them as well, whenever they come.
    ///
    /// # Errors
    /// [`Error::Output`] that names it.
    pub(crate) fn check(&self) -> Result<()> {
        let of_kinds = |kind: &VectorKind| [kind.name().to_owned(), format!("{}.safetensors", kind.name())];
        let kinds = VectorKind::ALL.iter().flat_map(of_kinds);
        let fixed = [LOCK, MANIFEST, UNFINISHED, RUN, TEXTS, NEXT].into_iter().chain(TEMPORARIES).map(str::to_owned);
        for name in fixed.chain(kinds) {
            if self.metadata(&name)?.is_some_and(|metadata| !metadata.is_file() && !metadata.is_dir()) {
                return Err(self.foreign(&name));
            }
        }
        Ok(())
    }

    /// The error for what has a name of ours and is not of ours.
    pub(crate) fn foreign(&self, name: &str) -> Error {
        let what = match self.metadata(name).ok().flatten() {
            Some(metadata) if metadata.is_symlink() => "a symbolic link",
            Some(metadata) if metadata.is_dir() => "a directory",
            Some(metadata) if metadata.is_file() => "a file",
            _ => "neither a file nor a directory",
        };
        Error::Output {
            path: self.place(name),
            problem: format!(
                "is {what} that layerwise did not make, and is left alone; move it away, or choose another directory"
            ),
        }
    }

    /// Creates a file that is not there yet.
    ///
    /// # Errors
    /// [`Error::Output`] when something has that name, [`Error::Io`] when it cannot be created.
    pub(crate) fn create_new(&self, name: &str) -> Result<File> {
        // The flag that only creates follows no link.
        match self.directory.open_with(name, OpenOptions::new().read(true).write(true).create_new(true)) {
            Ok(file) => Ok(file.into_std()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(self.foreign(name)),
            Err(error) => Err(Error::io("create", self.place(name))(error)),
        }
    }

    /// Creates a temporary file, in place of one that an earlier process left.
    ///
    /// # Errors
    /// Those of [`Folder::create_new`].
    pub(crate) fn create_temporary(&self, name: &str) -> Result<File> {
        debug_assert!(name.starts_with(TEMPORARY), "{name}");
        if self.has_file(name)? {
            self.remove(name)?;
        }
        self.create_new(name)
    }

    /// Finds out whether anything can be written here.
    ///
    /// # Errors
    /// [`Error::Io`] when nothing can.
    pub(crate) fn try_writing(&self) -> Result<()> {
        self.create_temporary(SO_FAR)?;
        self.remove(SO_FAR)
    }

    /// Opens a file that is there, for reading and writing.
    ///
    /// # Errors
    /// The system's, and that of a link or anything else that is no file.
    pub(crate) fn open_file(&self, name: &str) -> io::Result<File> {
        self.open_with(name, OpenOptions::new().read(true).write(true))
    }

    /// Opens a file that is there, for reading.
    ///
    /// # Errors
    /// Those of [`Folder::open_file`].
    pub(crate) fn read_file(&self, name: &str) -> io::Result<File> {
        self.open_with(name, OpenOptions::new().read(true))
    }

    /// Opens a file, or creates an empty one; what is in it stays.
    ///
    /// # Errors
    /// Those of [`Folder::open_file`].
    pub(crate) fn open_or_create(&self, name: &str) -> io::Result<File> {
        self.open_with(name, OpenOptions::new().read(true).write(true).create(true).truncate(false))
    }

    fn open_with(&self, name: &str, options: &mut OpenOptions) -> io::Result<File> {
        // Looked at first, as opening a pipe would wait for its other end.
        if self.directory.symlink_metadata(name).is_ok_and(|metadata| !metadata.is_file()) {
            return Err(io::Error::other("it is a link, or no file"));
        }
        let file = self.directory.open_with(name, options.follow(FollowSymlinks::No))?.into_std();
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("it is no file"));
        }
        Ok(file)
    }

    /// Creates a directory in this one, if it is not there yet.
    ///
    /// # Errors
    /// [`Error::Output`] when something else has that name, [`Error::Io`] when it cannot be created.
    pub(crate) fn create_directory(&self, name: &str) -> Result<()> {
        match self.directory.create_dir(name) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let is_directory = self.metadata(name)?.is_some_and(|metadata| metadata.is_dir());
                if is_directory { Ok(()) } else { Err(self.foreign(name)) }
            }
            made => made.map_err(Error::io("create directory", self.place(name))),
        }
    }

    /// Removes a directory in this one if it is empty.
    pub(crate) fn remove_empty(&self, name: &str) {
        let _ = self.directory.remove_dir(name); // stays when somebody else's files are in it
    }

    /// Removes a file; a link is removed itself, and not what it leads to.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be removed.
    pub(crate) fn remove(&self, name: &str) -> Result<()> {
        self.directory.remove_file(name).map_err(Error::io("remove", self.place(name)))
    }

    /// Removes a file if it is there.
    pub(crate) fn remove_if_there(&self, name: &str) {
        let _ = self.directory.remove_file(name);
    }

    /// Renames a file.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be renamed.
    pub(crate) fn rename(&self, from: &str, to: &str) -> Result<()> {
        self.directory.rename(from, &self.directory, to).map_err(Error::io("rename", self.place(from)))
    }

    /// Writes a JSON file under a temporary name and then renames it, so that nobody reads half of it.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be written.
    pub(crate) fn write_json(&self, name: &str, value: &impl Serialize) -> Result<()> {
        let mut text =
            serde_json::to_vec_pretty(value).map_err(io::Error::from).map_err(Error::io("write", self.place(name)))?;
        text.push(b'\n');
        self.replace(name, &text)
    }

    /// Writes a file under a temporary name and then renames it.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be written.
    pub(crate) fn replace(&self, name: &str, content: &[u8]) -> Result<()> {
        if self.has(name)? && !self.has_file(name)? {
            return Err(self.foreign(name));
        }
        let mut file = self.create_temporary(SO_FAR)?;
        let mut write = || -> io::Result<()> {
            file.write_all(content)?;
            file.sync_all()?;
            self.directory.rename(SO_FAR, &self.directory, name)?;
            self.sync()
        };
        write().map_err(Error::io("write", self.place(name)))
    }

    /// Flushes the names in the directory to the disk, on systems where that is a separate step.
    fn sync(&self) -> io::Result<()> {
        #[cfg(unix)]
        self.directory.open(".")?.sync_all()?; // the handle itself is only a place, which cannot be flushed
        Ok(())
    }

    /// Flushes the names in directories of this one to the disk, so that a manifest never comes there before what it names.
    ///
    /// # Errors
    /// [`Error::Io`] when they cannot be flushed.
    pub(crate) fn sync_names<'a>(&self, files: impl Iterator<Item = &'a str>) -> Result<()> {
        #[cfg(unix)]
        {
            let mut directories: Vec<_> = files.filter_map(|file| Some(file.rsplit_once('/')?.0)).collect();
            directories.dedup();
            for name in directories {
                let sync = || self.directory.open_dir_nofollow(name)?.open(".")?.sync_all();
                sync().map_err(Error::io("write into", self.place(name)))?;
            }
        }
        #[cfg(not(unix))]
        let _ = files;
        Ok(())
    }

    /// Whether a file that is open is the one of this name.
    pub(crate) fn is_named(&self, file: &File, name: &str) -> bool {
        let open = Metadata::from_file(file).map(|metadata| (metadata.dev(), metadata.ino()));
        let there = self.directory.symlink_metadata(name).map(|metadata| (metadata.dev(), metadata.ino()));
        matches!((open, there), (Ok(open), Ok(there)) if open == there)
    }

    /// Refuses to go on where another directory has taken this one's place.
    ///
    /// # Errors
    /// [`Error::Output`] when its path leads elsewhere by now.
    pub(crate) fn check_place(&self) -> Result<()> {
        let identity = |directory: &Dir| directory.dir_metadata().map(|metadata| (metadata.dev(), metadata.ino()));
        let there = Dir::open_ambient_dir(&self.path, ambient_authority()).and_then(|there| identity(&there));
        match (identity(&self.directory), there) {
            (Ok(ours), Ok(there)) if ours == there => Ok(()),
            _ => Err(Error::Output {
                path: self.path.clone(),
                problem: "is not the directory that this job began in: that one was moved or removed meanwhile; what was done is there, unfinished".to_owned(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_looked_at_is_an_error() {
        let directory = tempfile::tempdir().expect("a directory");
        let folder = Folder::open(directory.path()).expect("a folder");
        assert!(!folder.has("token").expect("nothing is there"));
        assert!(!folder.has_file("token/layer_00.npy").expect("nor in a folder that is not there"));
        std::fs::write(directory.path().join("mean"), "").expect("a file");
        assert!(!folder.has_file("mean/layer_00.npy").expect("nor in a file"));
        assert!(folder.has_file("mean").expect("a file"));
        // A name that no file system takes is one that cannot be looked at.
        let message = folder.has_file(&"x".repeat(5000)).expect_err("an error").to_string();
        assert!(message.contains("cannot look at"), "{message}");
    }
}
