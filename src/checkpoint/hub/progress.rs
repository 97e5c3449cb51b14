//! One bar over all the bytes of a model.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

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
        self.show();
    }

    /// Tells of a pause that the hub asks for.
    pub(super) fn pause(&self, pause: Duration) {
        if pause >= Duration::from_secs(1) {
            self.bar.set_message(format!("waiting {} s, as the hub is not ready", pause.as_secs()));
            self.show();
        }
    }

    fn show(&self) {
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
        FileProgress { bar: self.bar.clone(), size, done: Mutex::new(0) }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// One file's part of the bar.
pub(super) struct FileProgress {
    bar: ProgressBar,
    size: u64,
    /// What the bar already shows of this file.
    done: Mutex<u64>,
}

impl FileProgress {
    /// As if all of it had come: it was there, or the last report was short of it.
    pub(super) fn finish(&self) {
        self.reach(self.size);
    }

    /// So much of the file is there.
    pub(super) fn reach(&self, bytes: u64) {
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        let now = bytes.min(self.size);
        self.bar.inc(now.saturating_sub(*done));
        self.bar.dec(done.saturating_sub(now));
        *done = now;
    }
}
