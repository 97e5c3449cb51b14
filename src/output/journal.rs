//! `unfinished.json`: which job a directory is being written for, and how much of it is finished and on the disk.
//!
//! A file that is replaced as a whole, so that there is never half an entry. It goes when the manifest is there.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::manifest;
use crate::error::{Error, Result};

/// The journal's name.
pub const UNFINISHED: &str = "unfinished.json";

/// What the journal says.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The job: a manifest, as far as it is known.
    pub job: Value,
    /// How far it is.
    pub progress: Progress,
}

/// How far a job is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "snake_case", deny_unknown_fields)]
pub enum Progress {
    /// The first pass: texts are tokenized.
    Texts(TextsDone),
    /// The second pass: arrays exist at their final size.
    Arrays(ArraysDone),
    /// Shards are merged, which begins anew if it is stopped.
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

impl Entry {
    /// As it is written.
    pub(super) fn to_json(&self) -> Value {
        let mut json = self.job.clone();
        json["progress"] = json!(self.progress);
        json["checksum"] = json!(checksum(&json));
        json
    }

    /// Reads a directory's journal; `None` when there is none.
    ///
    /// # Errors
    /// [`Error::Output`] when it is damaged or of another version, [`Error::Io`] when it cannot be read.
    pub fn read(directory: &Path) -> Result<Option<Self>> {
        let Some(mut job) = manifest::read(directory, UNFINISHED)? else { return Ok(None) };
        let damaged = |problem: String| Error::Output {
            path: directory.join(UNFINISHED),
            problem: format!("is damaged: {problem}; start anew in its directory with --overwrite"),
        };
        let mut take = |key: &str| job.as_object_mut().and_then(|job| job.shift_remove(key)).unwrap_or_default();
        let (written, progress) = (take("checksum"), take("progress"));
        let parsed = serde_json::from_value(progress).map_err(|error| damaged(format!("progress: {error}")))?;
        let entry = Self { job, progress: parsed };
        if entry.to_json()["checksum"] != written {
            return Err(damaged("it does not have the checksum that it says".to_owned()));
        }
        Ok(Some(entry))
    }
}

/// Of a journal without its checksum, in hexadecimal.
fn checksum(json: &Value) -> String {
    format!("{:08x}", crc32fast::hash(json.to_string().as_bytes()))
}
