//! The lock that lets one process at a time write an output directory.

use std::fs::{File, TryLockError};
use std::sync::Arc;

use super::folder::Folder;
use super::names::LOCK;
use crate::error::{Error, Result};

/// The lock on a directory. Dropping it releases the lock and removes its file.
#[derive(Debug)]
pub(super) struct Lock {
    folder: Arc<Folder>,
    file: File,
}

impl Lock {
    /// Takes the lock, or fails if another process has it.
    pub(super) fn take(folder: &Arc<Folder>) -> Result<Self> {
        loop {
            let file = folder.open_or_create(LOCK).map_err(Error::io("write", folder.place(LOCK)))?;
            match file.try_lock() {
                // The previous owner removed this file between the opening and the locking; try again.
                Ok(()) if !folder.is_named(&file, LOCK) => continue,
                Err(TryLockError::WouldBlock) => {
                    return Err(Error::Output {
                        path: folder.path().to_owned(),
                        problem: "is being written by another process; wait for it or choose another directory"
                            .to_owned(),
                    });
                }
                // Where the file system does not support locks, the directory is used without one.
                Ok(()) | Err(TryLockError::Error(_)) => return Ok(Self { folder: Arc::clone(folder), file }),
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // One with something in it is not of layerwise.
        if self.file.metadata().is_ok_and(|metadata| metadata.len() == 0) && self.folder.is_named(&self.file, LOCK) {
            self.folder.remove_if_there(LOCK);
        }
    }
}
