//! Flushes files to the disk in the background while they are written, and then journals how far they are. A killed job
//! resumes from the last entry, and the end of a job need not wait for all data to be flushed.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use super::folder::Folder;
use super::journal::JournalEntry;
use super::names::UNFINISHED;
use crate::error::{Error, Result};

/// Time between journal entries: how long written data may wait to be flushed, and how much work a killed job repeats.
pub(super) const INTERVAL: Duration = Duration::from_millis(250);

/// The thread that flushes files and writes the journal.
pub(super) struct Flusher {
    /// Dropped to stop the thread.
    entries: Sender<JournalEntry>,
    thread: JoinHandle<Result<()>>,
}

impl Flusher {
    /// Starts the thread on files of a directory that other threads write.
    pub(super) fn start(folder: &Arc<Folder>, files: Vec<Arc<File>>) -> Result<Self> {
        let (entries, orders) = channel();
        let to = Arc::clone(folder);
        let thread = std::thread::Builder::new().name("flush".to_owned()).spawn(move || run(&to, &files, &orders));
        let thread = thread.map_err(Error::io("start a thread that writes into", folder.path()))?;
        Ok(Self { entries, thread })
    }

    /// Writes this journal entry once everything written before it is on the disk. Does not wait for that.
    ///
    /// Returns false when the thread has failed; [`finish`](Self::finish) tells why.
    pub(super) fn journal(&self, entry: JournalEntry) -> bool {
        self.entries.send(entry).is_ok()
    }

    /// Stops the thread after the last entry and reports the error that it met, if any.
    pub(super) fn finish(self) -> Result<()> {
        drop(self.entries);
        let panicked = || Error::Output {
            path: PathBuf::from(UNFINISHED),
            problem: "the thread that writes it panicked".to_owned(),
        };
        self.thread.join().unwrap_or_else(|_| Err(panicked()))
    }
}

fn run(folder: &Folder, files: &[Arc<File>], orders: &Receiver<JournalEntry>) -> Result<()> {
    let sync = || files.iter().try_for_each(|file| file.sync_data()).map_err(Error::io("write into", folder.path()));
    loop {
        match orders.recv_timeout(INTERVAL) {
            Err(RecvTimeoutError::Timeout) => sync()?,
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
            Ok(entry) => {
                let newest = orders.try_iter().last().unwrap_or(entry);
                sync()?;
                folder.write_json(UNFINISHED, &newest.to_json())?;
            }
        }
    }
}
