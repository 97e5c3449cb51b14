//! Which model is wanted, and what is found.

use std::path::PathBuf;

use crate::observer::Observer;

/// A model repository's files at one commit, in the cache shared with the Python library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The folder with the files.
    pub dir: PathBuf,
    /// The commit, as 40 hexadecimal digits.
    pub commit: String,
    /// What the user should know: a copy used because the hub is out of reach, a damaged file brought anew.
    pub notes: Vec<String>,
}

/// A snapshot, and whether the cache alone was looked at, which may lack files that the hub has.
pub(in crate::checkpoint) struct Found {
    pub(in crate::checkpoint) snapshot: Snapshot,
    pub(in crate::checkpoint) from_cache: bool,
}

impl Found {
    pub(super) fn in_cache(snapshot: Snapshot) -> Found {
        Found { snapshot, from_cache: true }
    }
}

/// Which model, and how to get it.
#[derive(Clone, Copy, Debug)]
pub struct HubQuery<'a> {
    /// `name` or `owner/name`.
    pub id: &'a str,
    /// A branch, tag or commit; `main` if there is none.
    pub revision: Option<&'a str>,
    /// Never touch the network; `HF_HUB_OFFLINE` asks for the same.
    pub offline: bool,
    /// Who is told how far downloads are.
    pub observer: &'a dyn Observer,
}
