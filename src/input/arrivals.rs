//! Records as they arrive, for a worker: each is there as soon as its line, or its Arrow batch, is whole, and a bad one is among them.

use std::io::BufRead;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::compressed::check_uncompressed;
use super::entry::{Entry, Failed};
use super::record::Record;
use super::records::SourceName;
use super::source::Source;
use super::{binary, encoding};
use crate::column_types::ColumnTypes;
use crate::error::{Error, Result};
use crate::observer::Observer;

/// Bytes of records that wait to be taken, after which no further one is read before some were taken.
const MOST_BYTES: usize = 1 << 20;

/// Records that wait, at most.
const MOST_RECORDS: usize = 4096;

/// How soon an interruption is seen while nothing arrives.
const SIGNAL_LATENCY: Duration = Duration::from_millis(50);

/// A line of a stream, or a row of its tables.
#[derive(Debug)]
pub struct Arrival {
    /// The number of the line, from 1.
    pub line: u64,
    /// The record, or which line is bad and why.
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
    /// The types of the columns, once they are known.
    types: Option<ColumnTypes>,
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

    fn tell_types(&self, types: ColumnTypes) {
        self.lock().types = Some(types);
        self.changed.notify_all();
    }

    fn end(&self, end: Result<()>) {
        self.lock().end = Some(end);
        self.changed.notify_all();
    }
}

impl Arrivals {
    /// The types of the columns, which are known before anything arrives; they are waited for.
    ///
    /// # Errors
    /// Those of [`Arrivals::next`].
    pub fn types(&self, observer: &dyn Observer, interrupted: impl FnOnce(u8) -> Error) -> Result<ColumnTypes> {
        let types = self.wait(observer, interrupted, |waiting| waiting.types.clone())?;
        Ok(types.unwrap_or_default())
    }

    /// Those that have arrived by now; if there is none, the next one is waited for. `None` at the end of the stream.
    ///
    /// # Errors
    /// [`Error::Input`] when reading fails; `interrupted` when the observer ends the wait.
    pub fn next(&self, observer: &dyn Observer, interrupted: impl FnOnce(u8) -> Error) -> Result<Option<Vec<Arrival>>> {
        self.wait(observer, interrupted, |waiting| {
            let some = !waiting.arrivals.is_empty();
            some.then(|| {
                waiting.bytes = 0;
                self.0.changed.notify_all();
                std::mem::take(&mut waiting.arrivals)
            })
        })
    }

    /// Waits for what `there` finds; `None` at the end of the stream.
    fn wait<T>(
        &self,
        observer: &dyn Observer,
        interrupted: impl FnOnce(u8) -> Error,
        there: impl Fn(&mut Waiting) -> Option<T>,
    ) -> Result<Option<T>> {
        let mut waiting = self.0.lock();
        loop {
            if let Some(signal) = observer.interruption() {
                return Err(interrupted(signal));
            }
            if let Some(there) = there(&mut waiting) {
                return Ok(Some(there));
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

/// Reads the entries that `open` gives on a thread of their own, which it tells the types of their columns; `name` is that of their
/// source.
pub(super) fn arrivals<E>(
    name: SourceName,
    open: impl FnOnce(&dyn Fn(ColumnTypes)) -> std::result::Result<E, Failed> + Send + 'static,
) -> Arrivals
where
    E: Iterator<Item = std::result::Result<Entry, Failed>>,
{
    let shared = Arc::new(ArrivalQueue { waiting: Mutex::default(), changed: Condvar::new() });
    let arrivals = Arrivals(Arc::clone(&shared));
    thread::spawn(move || {
        let read = || {
            for entry in open(&|types| shared.tell_types(types))? {
                let Entry { line, record, .. } = entry?;
                let record = record.map_err(|problem| format!("{} {problem}", name.place(line)));
                if !shared.add(Arrival { line, record }) {
                    break;
                }
            }
            Ok(())
        };
        let end = read().map_err(|Failed(problem)| Error::Input { source_name: name.name(), problem });
        shared.end(end);
    });
    arrivals
}

/// The content of a source as it comes: UTF-8, nothing of which is waited for before a line is taken. So only what came first says
/// what it is, and it is neither decompressed nor decoded.
pub(super) fn content_as_it_comes(source: &Source) -> std::result::Result<Box<dyn BufRead + Send>, Failed> {
    let mut reader = bytes_as_they_come(source)?;
    let head = reader.fill_buf()?;
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

/// The bytes of a source as they come, which are not decompressed either.
pub(super) fn bytes_as_they_come(source: &Source) -> std::result::Result<Box<dyn BufRead + Send>, Failed> {
    let mut reader = source.open_raw()?.reader;
    check_uncompressed(reader.fill_buf()?)?;
    Ok(reader)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Instant;

    use super::super::Text;
    use super::*;
    use crate::observer::Unobserved;
    use crate::spec::InputFormat;

    /// Lines without end, which count themselves as they are read.
    fn endless(text: String, read: &Arc<AtomicUsize>) -> Arrivals {
        let read = Arc::clone(read);
        arrivals(SourceName::new("a test".to_owned(), InputFormat::Text), move |_| {
            Ok((1..).map(move |line| {
                read.fetch_add(1, Ordering::Relaxed);
                Ok(Entry::new(line, Ok(Record::from(Text::of_line(text.clone(), false)))))
            }))
        })
    }

    fn next(arrivals: &Arrivals) -> Vec<Arrival> {
        arrivals.next(&Unobserved, |_| Error::ClosedPipe).unwrap().unwrap()
    }

    /// How many were read once no more are.
    fn settled(read: &AtomicUsize) -> usize {
        let begun = Instant::now();
        let mut before = usize::MAX;
        while begun.elapsed() < Duration::from_secs(20) {
            let now = read.load(Ordering::Relaxed);
            if now == before && now > 0 {
                return now;
            }
            before = now;
            thread::sleep(Duration::from_millis(100));
        }
        panic!("lines are read on and on: {before}");
    }

    #[test]
    fn what_waits_is_bounded_in_number_and_size() {
        for (text, most) in [("a", MOST_RECORDS + 1), (&"a".repeat(MOST_BYTES / 3), 5)] {
            let read = Arc::default();
            let arrivals = endless(text.to_owned(), &read);
            assert!((2..=most).contains(&settled(&read)), "{}", settled(&read));
            let mut line = 0;
            for _ in 0..3 {
                settled(&read);
                for arrival in next(&arrivals) {
                    line += 1;
                    assert_eq!(arrival.line, line);
                }
            }
            assert!(line as usize >= 2 * (most - 3), "what is taken makes room: {line}");
        }
    }

    #[test]
    fn reading_ends_when_nobody_waits_any_more() {
        let read = Arc::default();
        drop(endless("a".to_owned(), &read));
        let begun = Instant::now();
        while Arc::strong_count(&read) > 1 {
            assert!(begun.elapsed() < Duration::from_secs(20), "its thread still runs");
            thread::sleep(Duration::from_millis(5));
        }
    }
}
