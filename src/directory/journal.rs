//! `unfinished.json`, the journal: which job a directory is being written for, and how much of it is safely on the
//! disk.
//!
//! The file is replaced as a whole, so there is never half an entry. It is removed once the manifest is written.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::manifest::{self, JobRecord, Manifest, is_inside};
use super::names::UNFINISHED;
use crate::error::{Error, Result};

/// An entry of the journal.
#[derive(Debug, Clone, PartialEq)]
pub enum JournalEntry {
    /// The first pass: texts are being tokenized.
    Texts(JobRecord, TextsDone),
    /// The second pass: arrays exist at their final size. The manifest has the checksum of `texts.jsonl` alone.
    Arrays(Manifest, ArraysDone),
    /// Shards are being merged, which starts over if it is interrupted.
    Merging(Manifest, ReplacedFiles),
    /// A finished job takes the place of another one (`replacement.rs`).
    Swapping(Manifest, ReplacedFiles),
}

/// The journal's key `progress`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "snake_case", deny_unknown_fields)]
enum Phase {
    Texts(TextsDone),
    Arrays(ArraysDone),
    Merging(ReplacedFiles),
    Swapping(ReplacedFiles),
}

/// The files of what was there before, which are removed after the journal of the new job is written: from then on nothing else
/// says that layerwise made them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplacedFiles {
    /// Their names in the directory.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replaced: Vec<String>,
}

/// The part of the first pass that is on the disk.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TextsDone {
    /// Number of texts.
    pub texts: u64,
    /// Size of their lines in bytes.
    pub texts_bytes: u64,
    /// crc32 of their lines.
    pub texts_crc32: u32,
    /// Size of their tokens in bytes.
    pub tokens_bytes: u64,
    /// crc32 of their tokens.
    pub tokens_crc32: u32,
    /// sha256 of the input up to the last of them.
    pub input_sha256: String,
}

/// The part of the second pass that is on the disk.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArraysDone {
    /// Texts whose rows are in every array.
    pub texts: u64,
    /// crc32 of those rows: of each array in order, then of each kind's offsets. In a directory of Parquet files: of the rows of the
    /// part that is not complete.
    pub crc32: Vec<u32>,
    /// crc32 of the files of complete parts: of each part, of each kind's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<u32>,
    /// crc32 of the tokens of all texts.
    pub tokens_crc32: u32,
    /// In the first entry, what was there before.
    #[serde(default, skip_serializing_if = "ReplacedFiles::is_empty")]
    pub before: ReplacedFiles,
}

impl ReplacedFiles {
    fn is_empty(&self) -> bool {
        self.replaced.is_empty()
    }
}

impl JournalEntry {
    /// The job that the journal belongs to.
    pub fn job(&self) -> &JobRecord {
        match self {
            Self::Texts(job, _) => job,
            Self::Arrays(manifest, _) | Self::Merging(manifest, _) | Self::Swapping(manifest, _) => &manifest.job,
        }
    }

    /// The names of the files that it says are of layerwise: those of its arrays, and those of what was there before.
    pub(super) fn file_names(&self) -> Vec<String> {
        match self {
            Self::Texts(..) => Vec::new(),
            Self::Arrays(manifest, ArraysDone { before, parts, .. }) => {
                // One part more may have got its name.
                let parts = manifest.part_names().take(parts.len() + manifest.job.plan.emit.len());
                manifest.file_names().into_iter().chain(parts).chain(replaced(before)).collect()
            }
            Self::Merging(manifest, before) | Self::Swapping(manifest, before) => {
                manifest.file_names().into_iter().chain(replaced(before)).collect()
            }
        }
    }

    /// The journal as JSON, with its own checksum.
    pub(super) fn to_json(&self) -> Value {
        let (job, progress) = match self {
            Self::Texts(job, done) => (json!(job), Phase::Texts(done.clone())),
            Self::Arrays(manifest, done) => (json!(manifest), Phase::Arrays(done.clone())),
            Self::Merging(manifest, before) => (json!(manifest), Phase::Merging(before.clone())),
            Self::Swapping(manifest, before) => (json!(manifest), Phase::Swapping(before.clone())),
        };
        let mut json = job;
        json["progress"] = json!(progress);
        json["checksum"] = json!(checksum(&json));
        json
    }

    /// Reads a directory's journal; `None` when it has none.
    ///
    /// # Errors
    /// [`Error::Output`] when the journal is damaged or of another version, [`Error::Io`] when it cannot be read.
    pub fn read(directory: &Path) -> Result<Option<Self>> {
        let Some(mut json) = manifest::read_json(directory, UNFINISHED)? else { return Ok(None) };
        let damaged = |problem: String| Error::Output {
            path: directory.join(UNFINISHED),
            problem: format!("is damaged: {problem}; start anew in its directory with --overwrite"),
        };
        let take = |json: &mut Value, key: &str| json.as_object_mut().and_then(|keys| keys.shift_remove(key));
        let written = take(&mut json, "checksum").unwrap_or_default();
        if written != checksum(&json) {
            return Err(damaged("it does not have the checksum that it says".to_owned()));
        }
        let progress = take(&mut json, "progress").unwrap_or_default();
        let progress = serde_json::from_value(progress).map_err(|error| damaged(format!("progress: {error}")))?;
        let entry = match progress {
            Phase::Texts(done) => Self::Texts(manifest::parse(directory, UNFINISHED, json)?, done),
            Phase::Arrays(done) => Self::Arrays(manifest::parse(directory, UNFINISHED, json)?, done),
            Phase::Merging(before) => Self::Merging(manifest::parse(directory, UNFINISHED, json)?, before),
            Phase::Swapping(before) => Self::Swapping(manifest::parse(directory, UNFINISHED, json)?, before),
        };
        Ok(Some(entry))
    }
}

/// The files of what was there before.
fn replaced(before: &ReplacedFiles) -> impl Iterator<Item = String> + '_ {
    before.replaced.iter().filter(|name| is_inside(name)).cloned()
}

/// The checksum of a journal without its checksum, in hexadecimal.
fn checksum(json: &Value) -> String {
    format!("{:08x}", crc32fast::hash(json.to_string().as_bytes()))
}
