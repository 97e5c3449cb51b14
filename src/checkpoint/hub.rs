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
mod cached_model;
mod choice;
mod digest;
mod error;
mod names;
#[cfg(feature = "hub")]
mod online;
#[cfg(feature = "hub")]
mod passing;
#[cfg(feature = "hub")]
mod progress;
#[cfg(feature = "hub")]
mod proxies;
mod query;
#[cfg(feature = "hub")]
mod refusal;
#[cfg(feature = "hub")]
mod remote;
mod settings;
#[cfg(feature = "hub")]
mod transport;
#[cfg(feature = "hub")]
mod url;

pub use self::error::HubError;
#[cfg(feature = "hub")]
pub use self::proxies::Proxies;
pub(super) use self::query::Found;
pub use self::query::{HubQuery, Snapshot};
pub use self::settings::{HubSettings, Token};

use self::cache::RepoCache;
use self::cached_model::CachedModel;

const DEFAULT_REVISION: &str = "main";

/// Whether a model's name could be an id on the hub: `owner/name`.
pub(super) fn is_id(model: &str) -> bool {
    model.matches('/').count() == 1 && names::check_id(model).is_ok()
}

/// Brings a model's files into the cache, where they are not there yet, under the settings of the environment.
///
/// # Errors
/// `HubError`, whose messages say what was expected and how to go on.
pub fn snapshot(request: &HubQuery<'_>) -> Result<Snapshot, HubError> {
    snapshot_with(&HubSettings::from_env()?, request)
}

/// [`snapshot`], and how it was found.
///
/// # Errors
/// As [`snapshot`].
pub(super) fn find(request: &HubQuery<'_>) -> Result<Found, HubError> {
    find_with(&HubSettings::from_env()?, request)
}

/// [`snapshot`] under settings of the caller's own.
///
/// # Errors
/// As [`snapshot`].
pub fn snapshot_with(settings: &HubSettings, request: &HubQuery<'_>) -> Result<Snapshot, HubError> {
    find_with(settings, request).map(|found| found.snapshot)
}

fn find_with(settings: &HubSettings, request: &HubQuery<'_>) -> Result<Found, HubError> {
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

#[cfg(all(test, not(feature = "hub")))]
mod tests {
    use super::*;
    use crate::observer::Unobserved;

    #[test]
    fn without_the_feature_an_id_is_refused_by_its_name() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let home = dir.path().as_os_str().to_owned();
        let settings = HubSettings::from_lookup(&|name| (name == "HF_HOME").then(|| home.clone())).expect("settings");
        let request = HubQuery { id: "owner/name", revision: None, offline: false, observer: &Unobserved };
        let error = snapshot_with(&settings, &request).expect_err("an error").to_string();
        assert!(error.contains("`owner/name`") && error.contains("cargo feature `hub`"), "{error}");
        let error = snapshot_with(&settings, &HubQuery { offline: true, ..request }).expect_err("an error").to_string();
        assert!(error.contains("not in the cache"), "{error}");
    }
}
