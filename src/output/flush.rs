//! Brings files to the disk while they are being written, so that the end of a job need not wait for all of them.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long written data may wait.
const INTERVAL: Duration = Duration::from_millis(250);

/// A thread that does nothing but wait for the disk.
pub(super) struct Flusher {
    /// Dropped to stop it.
    running: Sender<()>,
    thread: JoinHandle<io::Result<()>>,
}

impl Flusher {
    /// Starts it on files that are written elsewhere.
    pub(super) fn start(files: Vec<Arc<File>>) -> io::Result<Self> {
        let (running, stopped) = channel();
        let thread = std::thread::Builder::new().name("flush".to_owned()).spawn(move || {
            while stopped.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
                files.iter().try_for_each(|file| file.sync_data())?;
            }
            Ok(())
        })?;
        Ok(Self { running, thread })
    }

    /// Stops it. A failure to write that it met is reported here and nowhere else.
    pub(super) fn finish(self) -> io::Result<()> {
        drop(self.running);
        self.thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread that flushes files panicked")))
    }
}
