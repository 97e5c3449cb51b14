//! The error type of reading a file by `torch.save`.

use std::io;

/// Why a file cannot be read at all.
#[derive(Debug)]
pub(in crate::checkpoint) enum PickleProblem {
    /// The file is not as PyTorch writes it.
    Damaged(String),
    /// The file has a form that is not supported; the text says what helps.
    Refused(String),
    /// The system's error.
    Io(io::Error),
}

impl From<io::Error> for PickleProblem {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => PickleProblem::Damaged("it ends too early".to_owned()),
            // The inflater reports damaged data as these kinds.
            io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => PickleProblem::Damaged(error.to_string()),
            _ => PickleProblem::Io(error),
        }
    }
}
