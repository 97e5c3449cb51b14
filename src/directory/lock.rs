//! One process at a time in an output directory.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// The file whose lock says that a process is writing here.
pub(crate) const LOCK: &str = ".layerwise.lock";

/// The right to write a directory, for one process at a time; given back, and its file removed, when dropped.
pub(super) struct Lock {
    path: PathBuf,
    _file: Option<File>,
}

impl Lock {
    /// Takes it, or says that another process has it.
    pub(super) fn take(directory: &Path) -> Result<Self> {
        let path = directory.join(LOCK);
        loop {
            let file = File::create(&path).map_err(Error::io("write into", directory))?;
            match file.try_lock() {
                // The process that had it before may have removed its file in between.
                Ok(()) if !is_at(&file, &path) => {}
                Ok(()) => return Ok(Self { path, _file: Some(file) }),
                Err(TryLockError::WouldBlock) => {
                    return Err(Error::Output {
                        path: directory.to_owned(),
                        problem: "is being written by another process; wait for it or choose another directory"
                            .to_owned(),
                    });
                }
                // A file system without locks: the same as having none.
                Err(TryLockError::Error(_)) => return Ok(Self { path, _file: None }),
            }
        }
    }
}

/// Whether an open file is the one that a path leads to.
fn is_at(file: &File, path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let identity = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
        match (file.metadata(), fs::metadata(path)) {
            (Ok(open), Ok(there)) => identity(open) == identity(there),
            _ => false,
        }
    }
    #[cfg(not(unix))]
    {
        let _ = file;
        path.exists() // an open file cannot be removed there
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}
