//! The names of files in an output directory that are the same for every job.

/// The manifest. A directory is complete once it has this file.
pub const MANIFEST: &str = "manifest.json";

/// Everything that may differ between two runs of a job.
pub const RUN: &str = "run.json";

/// A line for each text.
pub const TEXTS: &str = "texts.jsonl";

/// The journal of an unfinished job.
pub const UNFINISHED: &str = "unfinished.json";

/// The report of a probe, which has a directory of its own.
pub const REPORT: &str = "report.json";

/// The file that is locked while a process writes the directory.
pub(crate) const LOCK: &str = ".layerwise.lock";

/// The prefix of the names of files that only a running or killed job has: those of [`TEMPORARIES`].
pub(crate) const TEMPORARY: &str = ".layerwise-";

/// `texts.jsonl` while it is written.
pub(super) const TEXTS_SO_FAR: &str = ".layerwise-texts.jsonl";

/// The lines of a shard.
pub(super) const TEXTS_OF_PART: &str = ".layerwise-part.jsonl";

/// The spool of tokens, removed at the end of the job.
pub(super) const TOKENS: &str = ".layerwise-tokens";

/// The lines of a job that will replace another one.
pub(super) const NEW_TEXTS: &str = ".layerwise-new-texts.jsonl";

/// The tokens of a job that will replace another one.
pub(super) const NEW_TOKENS: &str = ".layerwise-new-tokens";

/// The folder of a finished job's replacement while that is written.
pub(crate) const NEXT: &str = ".layerwise-next";

/// A small file before it gets its own name.
pub(super) const SO_FAR: &str = ".layerwise-so-far";

/// The vectors of a part of a directory of Parquet files, until it is complete.
pub(super) const ROWS: &str = ".layerwise-rows";

/// Vectors of texts that were encoded beside the first pass. It has the name for the moment in which it is created.
pub(super) const AHEAD: &str = ".layerwise-ahead";

/// A Parquet file before it gets its own name.
pub(super) const PART: &str = ".layerwise-part";

/// All of them.
pub(super) const TEMPORARIES: [&str; 9] =
    [TEXTS_SO_FAR, TEXTS_OF_PART, TOKENS, NEW_TEXTS, NEW_TOKENS, SO_FAR, ROWS, AHEAD, PART];
