//! A query for a model on the hub, and its result.

use std::path::PathBuf;

use crate::observer::Observer;

/// A model repository's files at one commit, in the cache shared with the Python library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The folder with the files.
    pub dir: PathBuf,
    /// The commit, as 40 hexadecimal digits.
    pub commit: String,
    /// Notes for the user, such as that a cached copy is used because the hub is out of reach.
    pub notes: Vec<String>,
}

/// A snapshot, and whether only the cache was searched, which may lack files that the hub has.
pub(in crate::checkpoint) struct Found {
    pub(in crate::checkpoint) snapshot: Snapshot,
    pub(in crate::checkpoint) from_cache: bool,
}

impl Found {
    pub(super) fn in_cache(snapshot: Snapshot) -> Found {
        Found { snapshot, from_cache: true }
    }
}

/// A query for a model.
#[derive(Clone, Copy, Debug)]
pub struct HubQuery<'a> {
    /// `name` or `owner/name`.
    pub id: &'a str,
    /// A branch, tag or commit; `main` if there is none.
    pub revision: Option<&'a str>,
    /// Whether to work without the network, as `HF_HUB_OFFLINE` also asks.
    pub offline: bool,
    /// The observer that is told of downloads.
    pub observer: &'a dyn Observer,
}
