//! Reads records on a thread of their own while others are tokenized.

use std::sync::OnceLock;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use super::record::Record;
use super::records::Records;
use super::skipped::Skipped;
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
pub struct Pieces {
    receiver: Receiver<Result<Piece>>,
    /// Known once the input is read.
    skipped: OnceLock<Skipped>,
    /// Known once the input is read.
    note_of_id: OnceLock<String>,
}

enum Piece {
    Records(Vec<Record>),
    /// The end of the input, with what was left out of it, and the note on a column that could be the id.
    End(Option<Skipped>, Option<String>),
}

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
            match self.receiver.recv_timeout(SIGNAL_LATENCY) {
                Ok(Ok(Piece::Records(records))) => return Ok(Some(records)),
                Ok(Ok(Piece::End(skipped, note_of_id))) => {
                    note_of_id.into_iter().for_each(|note| drop(self.note_of_id.set(note)));
                    skipped.into_iter().for_each(|skipped| drop(self.skipped.set(skipped)));
                    return Ok(None);
                }
                Ok(Err(error)) => return Err(error),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
            }
        }
    }

    /// What was left out of the input, once it is read to its end; `None` where bad lines are an error.
    pub fn skipped(&self) -> Option<&Skipped> {
        self.skipped.get()
    }

    /// What the user should know of a column that could be the id, once the input is read to its end.
    pub fn note_of_id(&self) -> Option<&str> {
        self.note_of_id.get().map(String::as_str)
    }
}

/// Starts to read ahead. The thread ends with the input, with an error, or when the pieces are no longer taken.
pub(super) fn read_ahead(mut records: Records<'static>) -> Pieces {
    let (sender, receiver) = mpsc::sync_channel(1);
    thread::spawn(move || {
        loop {
            let piece = next_piece(&mut records);
            let ended = !matches!(piece, Ok(Piece::Records(_)));
            if sender.send(piece).is_err() || ended {
                return;
            }
        }
    });
    Pieces { receiver, skipped: OnceLock::new(), note_of_id: OnceLock::new() }
}

fn next_piece(records: &mut Records<'_>) -> Result<Piece> {
    let (mut piece, mut size) = (Vec::new(), 0);
    while piece.len() < RECORDS_PER_PIECE && size < BYTES_PER_PIECE {
        let Some(record) = records.next() else { break };
        let record = record?;
        size += record.size();
        piece.push(record);
    }
    Ok(if piece.is_empty() {
        Piece::End(records.skipped().cloned(), records.note_of_id())
    } else {
        Piece::Records(piece)
    })
}
