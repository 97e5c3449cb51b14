//! Brings files to the disk while they are being written, and then writes down how far they are: so a job that is killed
//! goes on from there, and its end need not wait for all of them.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use super::journal::{JournalEntry, UNFINISHED};
use super::manifest;
use crate::error::{Error, Result};

/// How long written data may wait, and how much work a killed job repeats.
pub(super) const INTERVAL: Duration = Duration::from_millis(250);

/// A thread that does nothing but wait for the disk.
pub(super) struct Flusher {
    /// Dropped to stop it.
    entries: Sender<JournalEntry>,
    thread: JoinHandle<Result<()>>,
}

impl Flusher {
    /// Starts it on files of `directory` that are written elsewhere.
    pub(super) fn start(directory: &Path, files: Vec<Arc<File>>) -> Result<Self> {
        let (entries, orders) = channel();
        let to = directory.to_owned();
        let thread = std::thread::Builder::new().name("flush".to_owned()).spawn(move || run(&to, &files, &orders));
        let thread = thread.map_err(Error::io("start a thread that writes into", directory))?;
        Ok(Self { entries, thread })
    }

    /// Has the journal say this, once everything that was written before is on the disk. Does not wait for it.
    ///
    /// Returns false when the thread has failed; [`finish`](Self::finish) tells why.
    pub(super) fn journal(&self, entry: JournalEntry) -> bool {
        self.entries.send(entry).is_ok()
    }

    /// Stops it after the last entry. A failure that it met is reported here and nowhere else.
    pub(super) fn finish(self) -> Result<()> {
        drop(self.entries);
        let panicked = || Error::Output {
            path: PathBuf::from(UNFINISHED),
            problem: "the thread that writes it panicked".to_owned(),
        };
        self.thread.join().unwrap_or_else(|_| Err(panicked()))
    }
}

fn run(directory: &Path, files: &[Arc<File>], orders: &Receiver<JournalEntry>) -> Result<()> {
    let sync = || files.iter().try_for_each(|file| file.sync_data()).map_err(Error::io("write into", directory));
    loop {
        match orders.recv_timeout(INTERVAL) {
            Err(RecvTimeoutError::Timeout) => sync()?,
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
            Ok(entry) => {
                let newest = orders.try_iter().last().unwrap_or(entry);
                sync()?;
                manifest::write_json(directory, UNFINISHED, &newest.to_json())?;
            }
        }
    }
}
