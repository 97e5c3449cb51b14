//! Reads records on a thread of their own while others are tokenized.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use super::record::Record;
use crate::error::{Error, Result};
use crate::observer::Observer;

/// Number of records that are read, and tokenized, together.
const RECORDS_PER_PIECE: usize = 4096;
/// Size in bytes at which a piece is full however few records it holds; see [`LONGEST_TEXT`](super::LONGEST_TEXT).
const BYTES_PER_PIECE: usize = 1 << 18;

/// Longest time for which a signal goes unnoticed while the input is awaited.
const SIGNAL_LATENCY: Duration = Duration::from_millis(50);

/// Pieces of records that are read ahead on a thread of their own. A piece is large enough to keep all threads busy and
/// small enough to hold in memory.
pub struct Pieces(Receiver<Result<Vec<Record>>>);

impl Pieces {
    /// The next piece; `None` at the end. While waiting for input, the observer is asked repeatedly whether the job
    /// should end.
    ///
    /// # Errors
    /// The error that `interrupted` makes of a signal; those of the input.
    pub fn next(&self, observer: &dyn Observer, interrupted: impl FnOnce(u8) -> Error) -> Result<Option<Vec<Record>>> {
        loop {
            if let Some(signal) = observer.interruption() {
                return Err(interrupted(signal));
            }
            match self.0.recv_timeout(SIGNAL_LATENCY) {
                Ok(piece) => return piece.map(|piece| Some(piece).filter(|piece| !piece.is_empty())),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
            }
        }
    }
}

/// Starts to read ahead. The thread ends with the input, with an error, or when the pieces are no longer taken.
pub(super) fn read_ahead(mut records: impl Iterator<Item = Result<Record>> + Send + 'static) -> Pieces {
    let (sender, receiver) = mpsc::sync_channel(1);
    thread::spawn(move || {
        loop {
            let piece = next_piece(&mut records);
            let ended = piece.as_ref().map_or(true, Vec::is_empty);
            if sender.send(piece).is_err() || ended {
                return;
            }
        }
    });
    Pieces(receiver)
}

fn next_piece(records: &mut impl Iterator<Item = Result<Record>>) -> Result<Vec<Record>> {
    let (mut piece, mut size) = (Vec::new(), 0);
    while piece.len() < RECORDS_PER_PIECE && size < BYTES_PER_PIECE {
        let Some(record) = records.next() else { break };
        let record = record?;
        size += record.size();
        piece.push(record);
    }
    Ok(piece)
}
