//! The progress of a model's download over all of its files.

use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use crate::observer::{Observer, Progress, Work};

/// The progress of a model's download. It begins with the first file that has to be downloaded.
pub(super) struct DownloadProgress<'a> {
    observer: &'a dyn Observer,
    /// Not set for a model that is in the cache already, of which nothing is reported.
    begun: OnceLock<Box<dyn Progress>>,
}

impl<'a> DownloadProgress<'a> {
    pub(super) fn new(observer: &'a dyn Observer) -> Self {
        Self { observer, begun: OnceLock::new() }
    }

    fn begun(&self) -> &dyn Progress {
        &**self.begun.get_or_init(|| self.observer.begin(Work::Downloading))
    }

    /// Announces files of `bytes` bytes in all.
    pub(super) fn expect(&self, bytes: u64) {
        if bytes > 0 {
            self.begun().expect(bytes);
        }
    }

    /// Reports a pause that the hub asks for.
    pub(super) fn pause(&self, pause: Duration) {
        if pause >= Duration::from_secs(1) {
            self.begun().say(&format!("waiting {} s, as the hub is not ready", pause.as_secs()));
        }
    }

    pub(super) fn waiting(&self, file: &str) {
        if let Some(begun) = self.begun.get() {
            begun.say(&format!("waiting for {file}, which another process downloads"));
        }
    }

    /// Starts a file of `size` bytes, one of several at once.
    pub(super) fn start(&self, file: &str, size: u64) -> FileProgress<'_> {
        let progress = self.begun.get().map(|begun| &**begun);
        progress.iter().for_each(|progress| progress.say(file));
        FileProgress { progress, size, done: Mutex::new(0) }
    }
}

/// The progress of one file.
pub(super) struct FileProgress<'a> {
    progress: Option<&'a dyn Progress>,
    size: u64,
    /// Number of bytes of this file that were reported.
    done: Mutex<u64>,
}

impl FileProgress<'_> {
    /// Reports all of the file as done: it was there already, or the last report was short of it.
    pub(super) fn finish(&self) {
        self.reach(self.size);
    }

    /// Reports that `bytes` bytes of the file are there; fewer than before if its download starts over.
    pub(super) fn reach(&self, bytes: u64) {
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        let now = bytes.min(self.size);
        if let Some(progress) = self.progress {
            progress.advance(now.saturating_sub(*done));
            progress.retreat(done.saturating_sub(now));
        }
        *done = now;
    }
}
