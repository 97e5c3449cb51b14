//! What identifies an input, whatever its files are called.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::skipped::{Skipped, SkippedLines};
use crate::sha256::hex;

/// The identity of an input that was read to its end; the manifest's key `input`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputRecord {
    /// sha256 of all records in order.
    pub sha256: String,
    /// What was left out; `None`, and absent, where bad lines are an error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skipped: Option<SkippedLines>,
}

impl InputRecord {
    /// The identity by the digest of all records, and what was left out between them.
    pub(crate) fn new(digest: Sha256, skipped: Option<&Skipped>) -> Self {
        Self { sha256: hex(&digest.finalize()), skipped: skipped.map(Skipped::lines) }
    }

    /// Number of lines that were left out.
    pub fn skipped(&self) -> u64 {
        self.skipped.as_ref().map_or(0, |skipped| skipped.count)
    }
}
