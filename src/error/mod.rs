//! The crate's error type. Each message names the object, what was expected and what helps; `main` prints it and exits.

mod bad_lines;

use std::io;
use std::path::{Path, PathBuf};

use unit_prefix::NumberPrefix;

pub use self::bad_lines::BadLines;

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a job could not be done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request or command line asks for something that does not exist, or for options that exclude each other.
    #[error("{0}")]
    Usage(String),

    /// An operation on a file failed.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// The operation as a verb: `read`, `create`, `write`.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },

    /// Input that does not follow its format, or cannot be read.
    #[error("{source_name}: {problem}")]
    Input {
        /// The file, or `standard input`.
        source_name: String,
        /// What is wrong, with the line.
        problem: String,
    },

    /// Lines of the input that do not follow its format.
    #[error("{0}")]
    BadLines(BadLines),

    /// A file of a model that is missing or damaged.
    #[error("{}: {problem}", path.display())]
    Model {
        /// The file or directory.
        path: PathBuf,
        /// What is wrong and what helps.
        problem: String,
    },

    /// A model that asks for a computation that is not supported, or whose configuration is inconsistent.
    #[error("{}: {key}: {problem}", path.display())]
    Config {
        /// The configuration file.
        path: PathBuf,
        /// The key in it.
        key: String,
        /// What is wrong and what was expected.
        problem: String,
    },

    /// A tensor that is missing, or of another shape or type than the configuration says.
    #[error("{}: tensor `{name}` {problem}", path.display())]
    Tensor {
        /// The weights file.
        path: PathBuf,
        /// The tensor's name in the file.
        name: String,
        /// What is wrong and what was expected.
        problem: String,
    },

    /// Texts beyond the model's limit under `--overflow error`.
    #[error(
        "{count} of {texts} texts are longer than {max_length} tokens; the first: {examples}; nothing was encoded; \
             shorten them, or choose --overflow truncate or window"
    )]
    TooLong {
        /// Number of texts that are too long.
        count: u64,
        /// Number of all texts.
        texts: u64,
        /// The limit in tokens, special tokens included.
        max_length: usize,
        /// The first few, as `row 3 (612 tokens)`.
        examples: String,
    },

    /// Pairs that leave no room for windows under `--overflow window`.
    #[error(
        "{count} of {texts} texts are pairs that cannot be cut into windows of {max_length} tokens, as each window has the \
             whole shorter text; room for the longer one in the first: {examples}; nothing was encoded; shorten the \
             shorter text, choose a smaller --stride, or choose --overflow truncate"
    )]
    NoRoom {
        /// Number of such pairs.
        count: u64,
        /// Number of all texts.
        texts: u64,
        /// The limit in tokens, special tokens included.
        max_length: usize,
        /// The first few, as `row 3 (2 tokens)`.
        examples: String,
    },

    /// A token id for which the model has no embedding.
    #[error(
        "row {row}: token `{token}` has id {id}, but the model's embedding table has {vocab_size} rows; \
             the tokenizer and the weights do not belong together"
    )]
    TokenOutOfRange {
        /// The row of the text, from 0.
        row: u64,
        /// The token as a string.
        token: String,
        /// Its id.
        id: u32,
        /// Rows of the embedding table.
        vocab_size: usize,
    },

    /// The tokenizer failed on a text.
    #[error("row {row}: the tokenizer failed: {message}")]
    Tokenize {
        /// The row of the text, from 0.
        row: u64,
        /// The message of the tokenizers library.
        message: String,
    },

    /// The hidden state of a text has an infinite number or NaN.
    #[error(
        "layer {layer} of row {row} holds a number that is not finite: the activations of this model overflow float32 on this text; leave it out, or use another model"
    )]
    NotFinite {
        /// The layer.
        layer: usize,
        /// The row of the text, from 0.
        row: u64,
    },

    /// A number that is too large for the type it is to be stored in.
    #[error("{what} holds {value}, which does not fit into {dtype}; {remedy}")]
    DoesNotFit {
        /// The array.
        what: String,
        /// The number.
        value: f32,
        /// The type.
        dtype: &'static str,
        /// What helps.
        remedy: &'static str,
    },

    /// The output directory cannot be used.
    #[error("{}: {problem}", path.display())]
    Output {
        /// The directory or a file in it.
        path: PathBuf,
        /// What is wrong and what helps.
        problem: String,
    },

    /// `verify` found damage.
    #[error("{} is damaged: {problems} problem{}{remark}; copy it again from where it is whole, or do its job anew with \
             extract --overwrite", path.display(), if *problems == 1 { "" } else { "s" })]
    Damaged {
        /// The directory.
        path: PathBuf,
        /// Number of damages, each of which was printed.
        problems: usize,
        /// What could not be checked because of them, or what was recomputed.
        remark: String,
    },

    /// An unfinished job that was begun with other input; holds the error to report.
    #[error(transparent)]
    OtherInput(Box<Error>),

    /// A probe could not be fitted.
    #[error("{0}")]
    Probe(String),

    /// The disk has too little room for the output.
    #[error("{}: the output needs {} and the disk has {} free, {} short; \
             choose another directory, fewer layers (--layers) or --dtype f16",
            path.display(), bytes(*needed), bytes(*free), bytes(needed - free))]
    DiskFull {
        /// The output directory.
        path: PathBuf,
        /// Size of the output in bytes.
        needed: u64,
        /// Free bytes on the disk.
        free: u64,
    },

    /// The disk became full during a job.
    #[error("{}: the disk is full: {} of the output are not written yet, {} are free; make room and run the same command \
             again to go on", path.display(), bytes(*missing), bytes(*free))]
    DiskFilledUp {
        /// The output directory.
        path: PathBuf,
        /// Bytes that are still to be written.
        missing: u64,
        /// Free bytes on the disk.
        free: u64,
    },

    /// A model cannot be downloaded from the hub or found in its cache.
    #[error(transparent)]
    Hub(Box<dyn std::error::Error + Send + Sync>),

    /// The tensor library failed in the forward pass.
    #[error("the encoder failed: {0}")]
    Encoder(#[from] candle_core::Error),

    /// The user pressed Ctrl-C, or the system asked the process to terminate.
    #[error("interrupted after {done} of {texts} texts; run the same command again to {way_on}")]
    Interrupted {
        /// The signal's number.
        signal: u8,
        /// Number of texts that are finished.
        done: u64,
        /// Number of all texts.
        texts: u64,
        /// What running the same command again does: [`Error::GO_ON`] or [`Error::START_OVER`].
        way_on: &'static str,
    },

    /// The reader of standard output went away.
    #[error("standard output was closed")]
    ClosedPipe,
}

impl Error {
    /// The same command resumes a job that keeps its finished work.
    pub const GO_ON: &str = "go on";
    /// The same command begins any other job anew.
    pub const START_OVER: &str = "start over";

    /// For `map_err`: an I/O error, with the operation and the file.
    pub fn io(action: &'static str, path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Error {
        move |source| Error::Io { action, path: path.as_ref().to_owned(), source }
    }

    /// For `map_err`: an error of standard output. A reader that closed the pipe is not a failure.
    pub fn stdout(source: io::Error) -> Error {
        match source.kind() {
            io::ErrorKind::BrokenPipe => Error::ClosedPipe,
            _ => Error::io("write", "standard output")(source),
        }
    }

    /// The error of a directory that holds another job, with the differences.
    pub fn another_job(directory: &Path, differences: &[String]) -> Error {
        Error::Output {
            path: directory.to_owned(),
            problem: format!(
                "holds another job, which differs in {}; choose another directory, or start anew in this one with --overwrite",
                differences.join(", ")
            ),
        }
    }

    /// Whether the input is the cause.
    pub fn is_of_input(&self) -> bool {
        use Error::{BadLines, Input, NoRoom, TokenOutOfRange, Tokenize, TooLong};
        matches!(
            self,
            BadLines(..) | Input { .. } | TooLong { .. } | NoRoom { .. } | TokenOutOfRange { .. } | Tokenize { .. }
        )
    }

    /// The error itself, or a more helpful one if the disk of `directory` is full.
    pub fn or_disk_full(self, directory: &Path, missing: impl FnOnce() -> u64) -> Error {
        use io::ErrorKind::{QuotaExceeded, StorageFull};
        match self {
            Error::Io { source, .. } if matches!(source.kind(), StorageFull | QuotaExceeded) => Error::DiskFilledUp {
                path: directory.to_owned(),
                missing: missing(),
                free: fs4::available_space(directory).unwrap_or_default(),
            },
            error => error,
        }
    }

    /// The error of a damaged or unusable file of a model.
    pub fn model(path: impl AsRef<Path>, problem: impl Into<String>) -> Error {
        Error::Model { path: path.as_ref().to_owned(), problem: problem.into() }
    }

    /// The exit code: 1 failed, 2 wrong usage, 130 for Ctrl-C and 143 for a request to terminate, 0 for a closed pipe.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Usage(_) => 2,
            Error::Interrupted { signal, .. } => 128 + signal,
            Error::ClosedPipe => 0,
            _ => 1,
        }
    }
}

/// A number of bytes for people: `1.5 GB`, in powers of 1000 as disks are sold.
pub fn bytes(n: u64) -> String {
    match NumberPrefix::decimal(n as f64) {
        NumberPrefix::Standalone(number) => format!("{number:.0} B"),
        NumberPrefix::Prefixed(prefix, number) => format!("{number:.2} {prefix}B"),
    }
}
