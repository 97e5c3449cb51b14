//! The crate's error type. Each message names the object, what was expected and what helps; `main` prints it and exits.
//!
//! Messages are written with the options of the command line in them, as most readers type; for those who call the library
//! [`Display`](std::fmt::Display) makes fields of them.

mod bad_lines;
mod json;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use unit_prefix::NumberPrefix;

pub use self::bad_lines::BadLines;
pub(crate) use self::json::json_problem;

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a job could not be done.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The request or command line asks for something that does not exist, or for options that exclude each other.
    Usage(String),

    /// An operation on a file failed.
    Io {
        /// The operation as a verb: `read`, `create`, `write`.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },

    /// Input that does not follow its format, or cannot be read.
    Input {
        /// The file, or `standard input`.
        source_name: String,
        /// What is wrong, with the line.
        problem: String,
    },

    /// Lines of the input that do not follow its format.
    BadLines(BadLines),

    /// A file of a model that is missing or damaged.
    Model {
        /// The file or directory.
        path: PathBuf,
        /// What is wrong and what helps.
        problem: String,
    },

    /// A model that asks for a computation that is not supported, or whose configuration is inconsistent.
    Config {
        /// The configuration file.
        path: PathBuf,
        /// The key in it.
        key: String,
        /// What is wrong and what was expected.
        problem: String,
    },

    /// A tensor that is missing, or of another shape or type than the configuration says.
    Tensor {
        /// The weights file.
        path: PathBuf,
        /// The tensor's name in the file.
        name: String,
        /// What is wrong and what was expected.
        problem: String,
    },

    /// Texts beyond the model's limit under `--overflow error`.
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

    /// Texts with a span that the limit cuts off, all or a part of it.
    SpanCut {
        /// Number of such texts.
        count: u64,
        /// Number of all texts.
        texts: u64,
        /// The limit in tokens, special tokens included.
        max_length: usize,
        /// The first few, as `row 3 (span 2)`.
        examples: String,
    },

    /// Texts with a span that no token of the model's overlaps.
    SpanWithoutToken {
        /// Number of such texts.
        count: u64,
        /// Number of all texts.
        texts: u64,
        /// The first few, as `row 3 (span 2)`.
        examples: String,
    },

    /// A token id for which the model has no embedding.
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
    Tokenize {
        /// The row of the text, from 0.
        row: u64,
        /// The message of the tokenizers library.
        message: String,
    },

    /// The hidden state of a text has an infinite number or NaN.
    NotFinite {
        /// The layer.
        layer: usize,
        /// The row of the text, from 0.
        row: u64,
    },

    /// A number that is too large for the type it is to be stored in.
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
    Output {
        /// The directory or a file in it.
        path: PathBuf,
        /// What is wrong and what helps.
        problem: String,
    },

    /// `verify` found damage.
    Damaged {
        /// The directory.
        path: PathBuf,
        /// Number of damages, each of which was printed.
        problems: usize,
        /// What could not be checked because of them, or what was recomputed.
        remark: String,
    },

    /// An unfinished job that was begun with other input; holds the error to report.
    OtherInput(Box<Error>),

    /// A probe could not be fitted.
    Probe(String),

    /// The disk has too little room for the output.
    DiskFull {
        /// The output directory.
        path: PathBuf,
        /// Size of the output in bytes.
        needed: u64,
        /// Free bytes on the disk.
        free: u64,
    },

    /// The disk became full during a job.
    DiskFilledUp {
        /// The output directory.
        path: PathBuf,
        /// Bytes that are still to be written.
        missing: u64,
        /// Free bytes on the disk.
        free: u64,
    },

    /// A model cannot be downloaded from the hub or found in its cache.
    Hub(Box<dyn std::error::Error + Send + Sync>),

    /// The tensor library failed in the forward pass.
    Encoder(Box<dyn std::error::Error + Send + Sync>),

    /// The user pressed Ctrl-C, or the system asked the process to terminate.
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

    /// Lines of a stream that were answered with what is wrong with them.
    BadLinesAnswered {
        /// Their number.
        bad: u64,
        /// Number of all lines that were answered.
        rows: u64,
    },

    /// The reader of standard output went away.
    ClosedPipe,
}

impl fmt::Display for Error {
    /// In terms of the library: what is asked for is named by the fields of [`Request`](crate::Request) and the like.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&options_as_fields(&self.as_typed()))
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Io { source, .. } => Some(source),
            Error::Encoder(error) => Some(&**error),
            Error::OtherInput(error) => error.source(),
            Error::Hub(error) => error.source(),
            _ => None,
        }
    }
}

#[cfg(feature = "tensors")]
impl From<candle_core::Error> for Error {
    fn from(error: candle_core::Error) -> Self {
        Error::Encoder(Box::new(error))
    }
}

impl Error {
    /// The message for somebody who typed a command: what was asked for is named by its options, as in `--max-length`.
    pub fn as_typed(&self) -> String {
        match self {
            Error::Usage(problem) => problem.clone(),
            Error::Io { action, path, source } => format!("cannot {action} {}: {source}", path.display()),
            Error::Input { source_name, problem } => format!("{source_name}: {problem}"),
            Error::BadLines(lines) => lines.to_string(),
            Error::Model { path, problem } => format!("{}: {problem}", path.display()),
            Error::Config { path, key, problem } => format!("{}: {key}: {problem}", path.display()),
            Error::Tensor { path, name, problem } => format!("{}: tensor `{name}` {problem}", path.display()),
            Error::TooLong { count, texts, max_length, examples } => format!(
                "{count} of {texts} texts are longer than {max_length} tokens; the first: {examples}; nothing was encoded; \
             shorten them, or choose --overflow truncate or window"
            ),
            Error::NoRoom { count, texts, max_length, examples } => format!(
                "{count} of {texts} texts are pairs that cannot be cut into windows of {max_length} tokens, as each window has the \
             whole shorter text; room for the longer one in the first: {examples}; nothing was encoded; shorten the \
             shorter text, choose a smaller --stride, or choose --overflow truncate"
            ),
            Error::SpanCut { count, texts, max_length, examples } => format!(
                "{count} of {texts} texts have a span that is cut off at {max_length} tokens; the first: {examples}, counted from 1; \
             nothing was encoded; choose --overflow window, which cuts nothing off, or leave those spans out"
            ),
            Error::SpanWithoutToken { count, texts, examples } => format!(
                "{count} of {texts} texts have a span without a token, as of white space alone; the first: {examples}, counted from 1; \
             nothing was encoded; leave those spans out"
            ),
            Error::TokenOutOfRange { row, token, id, vocab_size } => format!(
                "row {row}: token `{token}` has id {id}, but the model's embedding table has {vocab_size} rows; \
             the tokenizer and the weights do not belong together"
            ),
            Error::Tokenize { row, message } => format!("row {row}: the tokenizer failed: {message}"),
            Error::NotFinite { layer, row } => format!(
                "layer {layer} of row {row} holds a number that is not finite: the activations of this model overflow float32 on this text; leave it out, or use another model"
            ),
            Error::DoesNotFit { what, value, dtype, remedy } => {
                format!("{what} holds {value}, which does not fit into {dtype}; {remedy}")
            }
            Error::Output { path, problem } => format!("{}: {problem}", path.display()),
            Error::Damaged { path, problems, remark } => format!(
                "{} is damaged: {problems} problem{}{remark}; copy it again from where it is whole, or do its job anew with \
             extract --overwrite",
                path.display(),
                if *problems == 1 { "" } else { "s" }
            ),
            Error::OtherInput(error) => error.as_typed(),
            Error::Probe(problem) => problem.clone(),
            Error::DiskFull { path, needed, free } => format!(
                "{}: the output needs {} and the disk has {} free, {} short; \
             choose another directory, fewer layers (--layers) or --dtype f16",
                path.display(),
                bytes(*needed),
                bytes(*free),
                bytes(needed - free)
            ),
            Error::DiskFilledUp { path, missing, free } => format!(
                "{}: the disk is full: {} of the output are not written yet, {} are free; make room and run the same command \
             again to go on",
                path.display(),
                bytes(*missing),
                bytes(*free)
            ),
            Error::Hub(error) => error.to_string(),
            Error::Encoder(error) => format!("the encoder failed: {error}"),
            Error::Interrupted { done, texts, way_on, .. } => {
                format!("interrupted after {done} of {texts} texts; run the same command again to {way_on}")
            }
            Error::BadLinesAnswered { bad, rows } => {
                format!("{bad} of {rows} lines could not be encoded; each was answered with an `error` that says why")
            }
            Error::ClosedPipe => "standard output was closed".to_owned(),
        }
    }

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

    /// The error of a build that knows neither Parquet nor Arrow; `what` is the option or the file that asks for it.
    pub(crate) fn no_parquet(what: &str) -> Error {
        Error::Usage(format!(
            "{what}: this layerwise was built without Parquet and Arrow; `cargo install layerwise --features parquet`, or in its source `cargo build --release --features parquet`, builds one with them"
        ))
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
        use Error::{BadLines, Input, NoRoom, SpanCut, SpanWithoutToken, TokenOutOfRange, Tokenize, TooLong};
        matches!(
            self,
            BadLines(..)
                | Input { .. }
                | TooLong { .. }
                | NoRoom { .. }
                | SpanCut { .. }
                | SpanWithoutToken { .. }
                | TokenOutOfRange { .. }
                | Tokenize { .. }
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

    /// The exit code: 1 failed, 2 wrong usage, 130 for Ctrl-C, 143 for a request to terminate and 129 for a terminal that went away, 0 for a closed pipe.
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

/// Names the fields of a request where a message names the options of the command line: `` `max_length` `` for `--max-length`.
fn options_as_fields(message: &str) -> String {
    let mut out = String::with_capacity(message.len());
    let mut rest = message;
    while let Some(at) = rest.find('-') {
        let (before, from) = rest.split_at(at);
        let stands_alone = before.chars().next_back().or(out.chars().next_back()).is_none_or(|c| " (`".contains(c));
        let dashes = from.bytes().take_while(|&byte| byte == b'-').count();
        let end =
            from[dashes..].find(|c: char| !c.is_ascii_lowercase() && c != '-').map_or(from.len(), |end| dashes + end);
        let name = from[dashes..end].trim_end_matches('-');
        let field = match (dashes, name) {
            (2, "emit") | (1, "e") => "kinds",
            (1, "l") => "layers",
            (1, "m") => "model",
            (1, "i") => "input",
            (1, "o") => "output",
            (2, name) => name,
            _ => "",
        };
        out.push_str(before);
        if stands_alone && !field.is_empty() {
            let quote = if before.ends_with('`') { "" } else { "`" };
            out.push_str(&format!("{quote}{}{quote}", field.replace('-', "_")));
            rest = &from[dashes + name.len()..];
        } else {
            out.push_str(&from[..dashes.max(1)]);
            rest = &from[dashes.max(1)..];
        }
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_name_fields_to_callers_and_options_to_those_who_type() {
        for (typed, called) in [
            ("--max-length 600 is beyond the limit", "`max_length` 600 is beyond the limit"),
            ("goes with --overflow window only", "goes with `overflow` window only"),
            ("fewer layers (--layers) or --dtype f16", "fewer layers (`layers`) or `dtype` f16"),
            ("such as -e sentence,mean", "such as `kinds` sentence,mean"),
            ("choose --emit token", "choose `kinds` token"),
            ("a well-known all-MiniLM-L6-v2 - or none --", "a well-known all-MiniLM-L6-v2 - or none --"),
            ("layer -1 of 5", "layer -1 of 5"),
        ] {
            let error = Error::Usage(typed.to_owned());
            assert_eq!((error.to_string(), error.as_typed()), (called.to_owned(), typed.to_owned()));
        }
    }
}
