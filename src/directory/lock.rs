//! The lock that lets one process at a time write an output directory.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// The lock file's name.
pub(crate) const LOCK: &str = ".layerwise.lock";

/// The lock on a directory. Dropping it releases the lock and removes its file.
pub(super) struct Lock {
    path: PathBuf,
    _file: Option<File>,
}

impl Lock {
    /// Takes the lock, or fails if another process has it.
    pub(super) fn take(directory: &Path) -> Result<Self> {
        let path = directory.join(LOCK);
        loop {
            let file = File::create(&path).map_err(Error::io("write into", directory))?;
            match file.try_lock() {
                // The previous owner removed this file between the opening and the locking; try again.
                Ok(()) if !is_at(&file, &path) => {}
                Ok(()) => return Ok(Self { path, _file: Some(file) }),
                Err(TryLockError::WouldBlock) => {
                    return Err(Error::Output {
                        path: directory.to_owned(),
                        problem: "is being written by another process; wait for it or choose another directory"
                            .to_owned(),
                    });
                }
                // The file system does not support locks, so the directory is used without one.
                Err(TryLockError::Error(_)) => return Ok(Self { path, _file: None }),
            }
        }
    }
}

/// Whether an open file is the one that the path names.
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
