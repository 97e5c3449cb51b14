//! One bar over all the bytes of a model.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hf_hub::progress::{DownloadEvent, Progress, ProgressEvent, ProgressHandler};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

const TEMPLATE: &str =
    "{bar:30} {percent:>3}% {decimal_bytes}/{decimal_total_bytes}, {decimal_bytes_per_sec}, {eta} left, {msg}";

/// A bar on standard error from the moment that there is something to download, or one that shows nothing.
pub(super) struct Bar {
    bar: ProgressBar,
    shown: bool,
}

impl Bar {
    pub(super) fn new(shown: bool) -> Bar {
        let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::hidden());
        // The template is a constant, so the default stands for what cannot happen.
        bar.set_style(ProgressStyle::with_template(TEMPLATE).unwrap_or_else(|_| ProgressStyle::default_bar()));
        Bar { bar, shown }
    }

    /// Lets the bar grow by files that are to come.
    pub(super) fn expect(&self, bytes: u64) {
        if bytes == 0 {
            return;
        }
        self.bar.inc_length(bytes);
        if self.shown && self.bar.is_hidden() {
            self.bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(10));
            self.bar.enable_steady_tick(Duration::from_millis(200));
        }
    }

    pub(super) fn waiting(&self, file: &str) {
        self.bar.set_message(format!("waiting for {file}, which another process downloads"));
    }

    /// Starts a file of `size` bytes, one of several at once.
    pub(super) fn start(&self, file: &str, size: u64) -> FileProgress {
        self.bar.set_message(file.to_owned());
        FileProgress { bar: self.bar.clone(), size, done: Arc::new(Mutex::new(0)) }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// One file's part of the bar.
#[derive(Clone)]
pub(super) struct FileProgress {
    bar: ProgressBar,
    size: u64,
    /// What the bar already shows of this file.
    done: Arc<Mutex<u64>>,
}

impl FileProgress {
    /// As if nothing of the file had come yet.
    pub(super) fn restart(&self) {
        self.reach(0);
    }

    /// As if all of it had come: it was there, or the last report was short of it.
    pub(super) fn finish(&self) {
        self.reach(self.size);
    }

    pub(super) fn handler(&self) -> Progress {
        Progress::new(self.clone())
    }

    fn reach(&self, bytes: u64) {
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        let now = bytes.min(self.size);
        self.bar.inc(now.saturating_sub(*done));
        self.bar.dec(done.saturating_sub(now));
        *done = now;
    }
}

impl ProgressHandler for FileProgress {
    fn on_progress(&self, event: &ProgressEvent) {
        match event {
            ProgressEvent::Download(DownloadEvent::Progress { files }) => {
                self.reach(files.iter().map(|file| file.bytes_completed).sum());
            }
            ProgressEvent::Download(DownloadEvent::AggregateProgress { bytes_completed, .. }) => {
                self.reach(*bytes_completed);
            }
            _ => {}
        }
    }
}
