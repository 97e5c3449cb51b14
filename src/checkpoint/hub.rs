//! Models from the Hugging Face hub, in the cache shared with the Python library.
//!
//! [`snapshot`] turns an id into a folder with the files of one commit: it resolves the revision, chooses the files that
//! make the model, and brings those that the cache lacks. Offline, or when the hub is out of reach, the cache alone must
//! do.
//!
//! # No half of a file is ever taken for a model
//!
//! 1. the hub's headers say what the file is: an etag, which is the content's digest, and a size;
//! 2. it is downloaded to a folder beside the blobs that belongs to this process, and never more of it than announced;
//! 3. size and digest are compared with what was announced;
//! 4. only then the content is renamed to its place among the blobs, the snapshot gets a link to it, and, once all files
//!    are there, the ref of the branch or tag is written.
//!
//! A process killed anywhere in between leaves at most a folder with a name that nobody reads, which a later run clears
//! away. The weights come last, so that a snapshot with weights has all its other files too. A small file is compared
//! with its digest again before each use, as other programs write to this cache as well.
//!
//! The token goes to the endpoint's own scheme, host and port and nowhere else: redirects to a file's storage are
//! followed without it. `transport` has the limits of time, size and redirects that hold for everything a server does.
//!
//! Without the cargo feature `hub` there are the settings and the cache, for `--offline`, and no network.

#![cfg_attr(not(feature = "hub"), allow(dead_code, reason = "the cache is only read then"))]

mod cache;
mod choice;
mod digest;
mod error;
mod names;
#[cfg(feature = "hub")]
mod online;
#[cfg(feature = "hub")]
mod progress;
#[cfg(feature = "hub")]
mod proxies;
#[cfg(feature = "hub")]
mod refusal;
#[cfg(feature = "hub")]
mod remote;
mod settings;
#[cfg(feature = "hub")]
mod transport;
#[cfg(feature = "hub")]
mod url;

use std::fs;
use std::path::{Path, PathBuf};

pub use error::HubError;
#[cfg(feature = "hub")]
pub use proxies::Proxies;
pub use settings::{Settings, Token};

use cache::{Held, RepoCache};
use choice::Weights;

const DEFAULT_REVISION: &str = "main";

/// Whether a model's name could be an id on the hub: `owner/name`.
pub(super) fn is_id(model: &str) -> bool {
    model.matches('/').count() == 1 && names::check_id(model).is_ok()
}

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
pub(super) struct Found {
    pub(super) snapshot: Snapshot,
    pub(super) from_cache: bool,
}

impl Found {
    fn in_cache(snapshot: Snapshot) -> Found {
        Found { snapshot, from_cache: true }
    }
}

/// Which model, and how to get it.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// `name` or `owner/name`.
    pub id: &'a str,
    /// A branch, tag or commit; `main` if there is none.
    pub revision: Option<&'a str>,
    /// Never touch the network; `HF_HUB_OFFLINE` asks for the same.
    pub offline: bool,
    /// Show a bar on standard error while downloading.
    pub show_progress: bool,
}

/// Brings a model's files into the cache, where they are not there yet, under the settings of the environment.
///
/// # Errors
/// `HubError`, whose messages say what was expected and how to go on.
pub fn snapshot(request: &Request<'_>) -> Result<Snapshot, HubError> {
    snapshot_with(&Settings::from_env()?, request)
}

/// [`snapshot`], and how it was found.
///
/// # Errors
/// As [`snapshot`].
pub(super) fn find(request: &Request<'_>) -> Result<Found, HubError> {
    find_with(&Settings::from_env()?, request)
}

/// [`snapshot`] under settings of the caller's own.
///
/// # Errors
/// As [`snapshot`].
pub fn snapshot_with(settings: &Settings, request: &Request<'_>) -> Result<Snapshot, HubError> {
    find_with(settings, request).map(|found| found.snapshot)
}

fn find_with(settings: &Settings, request: &Request<'_>) -> Result<Found, HubError> {
    let revision = request.revision.unwrap_or(DEFAULT_REVISION);
    names::check_id(request.id)?;
    names::check_revision(revision)?;
    let cached = CachedModel {
        id: request.id,
        revision,
        cache_dir: &settings.cache_dir,
        repo: RepoCache::new(&settings.cache_dir, request.id),
    };
    if request.offline || settings.offline {
        return cached.snapshot().map(Found::in_cache);
    }
    #[cfg(feature = "hub")]
    return online::find(settings, request, revision, &cached);
    #[cfg(not(feature = "hub"))]
    Err(HubError::NoHub { id: request.id.to_owned() })
}

/// A model as the cache alone has it.
struct CachedModel<'a> {
    id: &'a str,
    revision: &'a str,
    cache_dir: &'a Path,
    repo: RepoCache,
}

impl CachedModel<'_> {
    fn snapshot(&self) -> Result<Snapshot, HubError> {
        let not_cached = || HubError::NotCached {
            id: self.id.to_owned(),
            revision: self.revision.to_owned(),
            cache: self.cache_dir.to_owned(),
        };
        let commit = self.repo.commit(self.revision).ok_or_else(not_cached)?;
        let dir = self.repo.snapshot(&commit);
        let files = self.repo.files(&commit)?;
        if files.is_empty() {
            return Err(not_cached());
        }
        let incomplete = |missing: String| HubError::Incomplete {
            id: self.id.to_owned(),
            revision: self.revision.to_owned(),
            missing,
            dir: dir.clone(),
        };
        let choice = choice::choose(&files).map_err(|lack| incomplete(lack.in_cache().to_owned()))?;
        let mut needed = choice.small;
        match choice.weights {
            Weights::Whole(file) => needed.push(file),
            Weights::Sharded(index) => {
                needed.extend(read_index(self.id, &dir, &index)?);
                needed.push(index);
            }
        }
        for file in &needed {
            match self.repo.held(&commit, file)? {
                Held::Sound => {}
                Held::Nothing => return Err(incomplete(format!("{file} is"))),
                Held::Damaged => return Err(HubError::Damaged { path: dir.join(file) }),
            }
        }
        Ok(Snapshot { dir, commit, notes: Vec::new() })
    }
}

/// The shards that the `index` in `dir` names.
fn read_index(id: &str, dir: &Path, index: &str) -> Result<Vec<String>, HubError> {
    let path = dir.join(index);
    let content = fs::read(&path).map_err(HubError::cache("read", path))?;
    choice::shards(&content).map_err(|problem| HubError::Index { file: index.to_owned(), id: id.to_owned(), problem })
}

#[cfg(all(test, not(feature = "hub")))]
mod tests {
    use super::*;

    #[test]
    fn without_the_feature_an_id_is_refused_by_its_name() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let home = dir.path().as_os_str().to_owned();
        let settings = Settings::from_lookup(&|name| (name == "HF_HOME").then(|| home.clone())).expect("settings");
        let request = Request { id: "owner/name", revision: None, offline: false, show_progress: false };
        let error = snapshot_with(&settings, &request).expect_err("an error").to_string();
        assert!(error.contains("`owner/name`") && error.contains("cargo feature `hub`"), "{error}");
        let error = snapshot_with(&settings, &Request { offline: true, ..request }).expect_err("an error").to_string();
        assert!(error.contains("not in the cache"), "{error}");
    }
}
