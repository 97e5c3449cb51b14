//! Records read on a thread of their own while others are tokenized.

use std::sync::mpsc::{self, Receiver};
use std::thread;

use super::record::Record;
use crate::error::Result;

/// Records that are read, and tokenized, together.
const RECORDS_PER_PIECE: usize = 4096;
/// Bytes after which a piece is full however few records it holds; see [`LONGEST_TEXT`](super::LONGEST_TEXT) for what they cost.
const BYTES_PER_PIECE: usize = 1 << 18;

/// Records read ahead on a thread of their own, in pieces: enough to keep all threads busy, few enough to hold in memory.
///
/// So whoever takes them can do something else while standard input says nothing: see [`Receiver::recv_timeout`]. The
/// last piece is an error, or empty.
pub fn read_ahead(mut records: impl Iterator<Item = Result<Record>> + Send + 'static) -> Receiver<Result<Vec<Record>>> {
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
    receiver
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
