//! Why a file cannot be read.

use std::io;

/// Why a file cannot be read at all.
#[derive(Debug)]
pub(in crate::checkpoint) enum PickleProblem {
    /// It is not as PyTorch wrote it.
    Damaged(String),
    /// It is something that is not read; the text says what helps.
    Refused(String),
    /// The system failed.
    Io(io::Error),
}

impl From<io::Error> for PickleProblem {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => PickleProblem::Damaged("it ends too early".to_owned()),
            // What an inflater says of bytes that were never deflated.
            io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => PickleProblem::Damaged(error.to_string()),
            _ => PickleProblem::Io(error),
        }
    }
}
