//! Records as they arrive, for a worker: each is there as soon as its line is whole, and a bad line is one of them.

use std::io::BufRead;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::compressed::check_uncompressed;
use super::entry::{Entry, Failed};
use super::record::Record;
use super::source::Source;
use super::{binary, encoding};
use crate::error::{Error, Result};
use crate::observer::Observer;

/// Bytes of records that wait to be taken, after which no further one is read before some were taken.
const MOST_BYTES: usize = 1 << 20;

/// Records that wait, at most.
const MOST_RECORDS: usize = 4096;

/// How soon an interruption is seen while nothing arrives.
const SIGNAL_LATENCY: Duration = Duration::from_millis(50);

/// A line of a stream.
#[derive(Debug)]
pub struct Arrival {
    /// The number of the line, from 1.
    pub line: u64,
    /// The record, or what is wrong with the line, as a predicate.
    pub record: std::result::Result<Record, String>,
}

impl Arrival {
    fn size(&self) -> usize {
        self.record.as_ref().map_or(0, Record::size)
    }
}

/// The lines of a stream, read on a thread of their own.
pub struct Arrivals(Arc<ArrivalQueue>);

struct ArrivalQueue {
    waiting: Mutex<Waiting>,
    /// Something arrived, or was taken.
    changed: Condvar,
}

#[derive(Default)]
struct Waiting {
    arrivals: Vec<Arrival>,
    bytes: usize,
    /// Why nothing more arrives: the end, or a failure to read.
    end: Option<Result<()>>,
    /// Whether nobody waits for them any more.
    is_abandoned: bool,
}

impl ArrivalQueue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an arrival, once there is room for it; returns whether anyone waits for more.
    fn add(&self, arrival: Arrival) -> bool {
        let mut waiting = self.lock();
        while !waiting.is_abandoned && (waiting.bytes >= MOST_BYTES || waiting.arrivals.len() >= MOST_RECORDS) {
            waiting = self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        waiting.bytes += arrival.size();
        waiting.arrivals.push(arrival);
        self.changed.notify_all();
        !waiting.is_abandoned
    }

    fn end(&self, end: Result<()>) {
        self.lock().end = Some(end);
        self.changed.notify_all();
    }
}

impl Arrivals {
    /// Those that have arrived by now; if there is none, the next one is waited for. `None` at the end of the stream.
    ///
    /// # Errors
    /// [`Error::Input`] when reading fails; `interrupted` when the observer ends the wait.
    pub fn next(&self, observer: &dyn Observer, interrupted: impl FnOnce(u8) -> Error) -> Result<Option<Vec<Arrival>>> {
        let mut waiting = self.0.lock();
        loop {
            if let Some(signal) = observer.interruption() {
                return Err(interrupted(signal));
            }
            if !waiting.arrivals.is_empty() {
                waiting.bytes = 0;
                let arrivals = std::mem::take(&mut waiting.arrivals);
                self.0.changed.notify_all();
                return Ok(Some(arrivals));
            }
            if let Some(end) = waiting.end.take() {
                // Asked again, it is at its end.
                waiting.end = Some(Ok(()));
                return end.map(|()| None);
            }
            let wait = self.0.changed.wait_timeout(waiting, SIGNAL_LATENCY);
            waiting = wait.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Drop for Arrivals {
    fn drop(&mut self) {
        self.0.lock().is_abandoned = true;
        self.0.changed.notify_all();
    }
}

/// Reads the entries that `open` gives on a thread of their own; `name` is that of their source.
pub(super) fn arrivals<E>(
    name: String,
    open: impl FnOnce() -> std::result::Result<E, Failed> + Send + 'static,
) -> Arrivals
where
    E: Iterator<Item = std::result::Result<Entry, Failed>>,
{
    let shared = Arc::new(ArrivalQueue { waiting: Mutex::default(), changed: Condvar::new() });
    let arrivals = Arrivals(Arc::clone(&shared));
    thread::spawn(move || {
        let read = || {
            for entry in open()? {
                let Entry { line, record, .. } = entry?;
                if !shared.add(Arrival { line, record }) {
                    break;
                }
            }
            Ok(())
        };
        let end = read().map_err(|Failed(problem)| Error::Input { source_name: name, problem });
        shared.end(end);
    });
    arrivals
}

/// The content of a source as it comes: UTF-8, nothing of which is waited for before a line is taken. So only what came first says
/// what it is, and it is neither decompressed nor decoded.
pub(super) fn content_as_it_comes(source: &Source) -> std::result::Result<Box<dyn BufRead + Send>, Failed> {
    let mut reader = source.open_raw()?.reader;
    let head = reader.fill_buf()?;
    check_uncompressed(head)?;
    if encoding::of_mark(head).is_some() {
        return Err(Failed("begins as UTF-16 or UTF-32 does; with --stream it has to be UTF-8".to_owned()));
    }
    binary::check_kind(head)?;
    binary::check_bytes(head)?;
    if head.starts_with("\u{feff}".as_bytes()) {
        reader.consume("\u{feff}".len());
    }
    Ok(reader)
}
