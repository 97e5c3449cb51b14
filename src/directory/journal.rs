//! `unfinished.json`: which job a directory is being written for, and how much of it is finished and on the disk.
//!
//! A file that is replaced as a whole, so that there is never half an entry. It goes when the manifest is there.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::manifest::{self, JobRecord, Manifest};
use crate::error::{Error, Result};

/// The journal's name.
pub const UNFINISHED: &str = "unfinished.json";

/// What the journal says: which job, and how far it is.
#[derive(Debug, Clone, PartialEq)]
pub enum JournalEntry {
    /// The first pass: texts are tokenized.
    Texts(JobRecord, TextsDone),
    /// The second pass: arrays exist at their final size. Of the manifest's checksums there is that of the texts alone.
    Arrays(Manifest, ArraysDone),
    /// Shards are merged, which begins anew if it is stopped.
    Merging(Manifest),
}

/// The key `progress` of the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "snake_case", deny_unknown_fields)]
enum Phase {
    Texts(TextsDone),
    Arrays(ArraysDone),
    Merging,
}

/// What of the first pass is on the disk.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TextsDone {
    /// Texts.
    pub texts: u64,
    /// Bytes of their lines.
    pub texts_bytes: u64,
    /// Checksum of those.
    pub texts_crc32: u32,
    /// Bytes of their tokens.
    pub tokens_bytes: u64,
    /// Checksum of those.
    pub tokens_crc32: u32,
    /// Of the input up to there.
    pub input_sha256: String,
}

/// What of the second pass is on the disk.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArraysDone {
    /// Texts whose rows are in every array.
    pub texts: u64,
    /// Checksums of those rows, in the order of the arrays; offsets come after the arrays.
    pub crc32: Vec<u32>,
    /// Checksum of the tokens of all texts.
    pub tokens_crc32: u32,
}

impl JournalEntry {
    /// The job, as far as it is known before its input is read.
    pub fn job(&self) -> &JobRecord {
        match self {
            Self::Texts(job, _) => job,
            Self::Arrays(manifest, _) | Self::Merging(manifest) => &manifest.job,
        }
    }

    /// As it is written.
    pub(super) fn to_json(&self) -> Value {
        let (job, progress) = match self {
            Self::Texts(job, done) => (json!(job), Phase::Texts(done.clone())),
            Self::Arrays(manifest, done) => (json!(manifest), Phase::Arrays(done.clone())),
            Self::Merging(manifest) => (json!(manifest), Phase::Merging),
        };
        let mut json = job;
        json["progress"] = json!(progress);
        json["checksum"] = json!(checksum(&json));
        json
    }

    /// Reads a directory's journal; `None` when there is none.
    ///
    /// # Errors
    /// [`Error::Output`] when it is damaged or of another version, [`Error::Io`] when it cannot be read.
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
            Phase::Merging => Self::Merging(manifest::parse(directory, UNFINISHED, json)?),
        };
        Ok(Some(entry))
    }
}

/// Of a journal without its checksum, in hexadecimal.
fn checksum(json: &Value) -> String {
    format!("{:08x}", crc32fast::hash(json.to_string().as_bytes()))
}
