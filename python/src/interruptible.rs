//! Long work without the interpreter's lock, which Ctrl-C ends all the same.

use std::panic;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use layerwise::{Observer, Result};
use pyo3::prelude::*;

use crate::errors::exception;

/// How often Python is asked whether a signal has come. A question takes a few microseconds.
const PERIOD: Duration = Duration::from_millis(20);

/// SIGINT.
const CTRL_C: u8 = 2;

/// Watches work: hands messages to Python's logging, under the name `layerwise`, and ends the work when it is told to.
#[derive(Default)]
pub(crate) struct Watch {
    is_over: AtomicBool,
}

impl Watch {
    /// Begins anew, for the next work.
    pub(crate) fn reset(&self) {
        self.is_over.store(false, Ordering::Relaxed);
    }
}

impl Observer for Watch {
    fn note(&self, message: &str) {
        log("info", message);
    }

    fn warn(&self, message: &str) {
        log("warning", message);
    }

    fn detail(&self, message: &str) {
        log("debug", message);
    }

    fn interruption(&self) -> Option<u8> {
        self.is_over.load(Ordering::Relaxed).then_some(CTRL_C)
    }
}

/// A message that cannot be logged is lost, and not the work that it is about.
fn log(level: &str, message: &str) {
    Python::attach(|py| {
        let logged = py.import("logging").and_then(|logging| {
            logging.call_method1("getLogger", ("layerwise",))?.call_method1(level, ("%s", message)).map(drop)
        });
        if let Err(error) = logged {
            error.write_unraisable(py, None);
        }
    });
}

/// Runs `work` on a thread of its own and without the interpreter's lock, while this one looks for signals, whose handlers run
/// on Python's main thread alone. What a handler raises, such as `KeyboardInterrupt`, ends the work by way of `watch`, and is
/// the result.
///
/// # Errors
/// What a handler raised; else the work's error.
pub(crate) fn interruptible<T: Send>(
    py: Python<'_>,
    watch: &Watch,
    work: impl FnOnce() -> Result<T> + Send,
) -> PyResult<T> {
    let (result, raised) = py.detach(|| {
        thread::scope(|scope| {
            let (sender, done) = sync_channel::<()>(1);
            let worker = scope.spawn(move || {
                let result = work();
                drop(sender);
                result
            });
            let mut raised = None;
            while raised.is_none() && done.recv_timeout(PERIOD) == Err(RecvTimeoutError::Timeout) {
                raised = Python::attach(|py| py.check_signals().err());
            }
            if raised.is_some() {
                watch.is_over.store(true, Ordering::Relaxed);
            }
            (worker.join().unwrap_or_else(|panicked| panic::resume_unwind(panicked)), raised)
        })
    });
    match raised {
        Some(raised) => Err(raised),
        None => result.map_err(|error| exception(&error)),
    }
}
