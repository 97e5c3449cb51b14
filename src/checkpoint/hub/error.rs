//! The errors of getting a model from the hub or its cache.

use std::io;
use std::path::PathBuf;

/// Why a model cannot be downloaded from the hub or found in its cache.
///
/// Every message is fit to print as it is: it names the model or file, says what was expected and how to go on. None
/// holds the token: what a server said is quoted with the token blotted out, and no foreign error is kept as a source
/// that could quote it.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// A name that is no directory here and cannot be a repository there.
    #[error(
        "`{id}` is neither an existing directory nor a hub id: {problem} (expected a directory, `name` or `owner/name`)"
    )]
    NotAnId {
        /// What was asked for.
        id: String,
        /// The rule it breaks.
        problem: &'static str,
    },
    /// This program was built without the feature `hub`.
    #[error(
        "`{id}` is no directory here, and this layerwise was built without the hub: name a directory, build it with the \
         cargo feature `hub`, or ask with --offline for what is in the cache"
    )]
    NoHub {
        /// What was asked for.
        id: String,
    },
    /// A revision that no git repository can have.
    #[error("`{revision}` is no revision: expected the name of a branch or tag, or a commit")]
    NotARevision {
        /// What was asked for.
        revision: String,
    },
    /// An environment variable, or the token file, with a value that cannot be used.
    #[error("{name} {problem}: {remedy}")]
    Setting {
        /// The setting.
        name: &'static str,
        /// What is wrong with it; the token's value is never shown.
        problem: String,
        /// What it should be.
        remedy: &'static str,
    },
    /// 401: the hub wants to know who asks. It answers so for repositories that do not exist, too.
    #[error("{endpoint} wants a login for `{id}` (401{said}): {}", login_remedy(*.token_sent))]
    Unauthorized {
        /// The hub.
        endpoint: String,
        /// The repository.
        id: String,
        /// What the hub added, after a colon.
        said: String,
        /// Whether a token went with the request.
        token_sent: bool,
    },
    /// 403: the hub knows who asks and refuses.
    #[error(
        "{endpoint} refuses access to `{id}` (403{said}): the repository is gated or private; ask for access on its \
         page, then set HF_TOKEN to a token of that account that may read it"
    )]
    Forbidden {
        /// The hub.
        endpoint: String,
        /// The repository.
        id: String,
        /// What the hub added, after a colon.
        said: String,
    },
    /// 404: no such repository, or none that this token may know of.
    #[error(
        "there is no repository `{id}` at {endpoint} (404), and no such directory here: check the spelling; if it is \
         private, set HF_TOKEN to a token that may read it{}",
        owner_hint(id)
    )]
    NoRepository {
        /// The hub.
        endpoint: String,
        /// The repository.
        id: String,
    },
    /// 404: the repository is there, the revision is not.
    #[error("`{id}` has no revision `{revision}` at {endpoint} (404): expected a branch, a tag or a commit")]
    NoRevision {
        /// The hub.
        endpoint: String,
        /// The repository.
        id: String,
        /// The revision.
        revision: String,
    },
    /// 404 without a word on what is missing.
    #[error(
        "there is no `{id}` at revision `{revision}` at {endpoint} (404), and no such directory here: the repository \
         or the revision does not exist, or is private and needs HF_TOKEN{}",
        owner_hint(id)
    )]
    NoRepositoryOrRevision {
        /// The hub.
        endpoint: String,
        /// The repository.
        id: String,
        /// The revision.
        revision: String,
    },
    /// No answer, or one that says the hub is not well, and nothing in the cache to go on with.
    #[error(
        "cannot get `{id}` from {endpoint}: {cause}; {cache}: try again later, check the connection, set HF_ENDPOINT to a hub \
         that can be reached, set HF_HOME to a cache that has the model, or name a folder that holds it{}",
        owner_hint(id)
    )]
    Unreachable {
        /// The hub.
        endpoint: String,
        /// The repository.
        id: String,
        /// What the network said.
        cause: String,
        /// Why the cache is of no help.
        cache: String,
    },
    /// The hub would not hand out a file.
    #[error("could not download {file} of `{id}`: {cause}; run the same command again, what was finished is kept")]
    Download {
        /// The file.
        file: String,
        /// The repository.
        id: String,
        /// What the network or the hub said.
        cause: String,
    },
    /// A file's download ended before the file did. It was thrown away.
    #[error(
        "the download of {file} of `{id}` broke off: {cause}; run the same command again, what was finished is kept"
    )]
    BrokenOff {
        /// The file.
        file: String,
        /// The repository.
        id: String,
        /// What the network said, or how much came.
        cause: String,
    },
    /// A file came with another content than the hub had announced. It was thrown away.
    #[error(
        "the download of {file} of `{id}` is not the file that was announced ({found}; expected {expected}) and was \
         thrown away: run the same command again; if it happens again, something between here and the hub alters it"
    )]
    WrongContent {
        /// The file.
        file: String,
        /// The repository.
        id: String,
        /// What came.
        found: String,
        /// What was announced.
        expected: String,
    },
    /// An answer that does not follow the hub's protocol.
    #[error("{endpoint} does not answer as a hub does for `{id}`: {problem}; check HF_ENDPOINT")]
    Protocol {
        /// The hub.
        endpoint: String,
        /// The repository.
        id: String,
        /// What is missing or odd.
        problem: String,
    },
    /// The repository is no model that can be read.
    #[error("`{id}` {lack}")]
    NotAModel {
        /// The repository.
        id: String,
        /// What it lacks, what it has instead, and the way out.
        lack: String,
    },
    /// The list of a checkpoint's parts cannot be used.
    #[error("{file} of `{id}` is no list of safetensors files: {problem}")]
    Index {
        /// The list.
        file: String,
        /// The repository.
        id: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Offline, and the cache has never seen this revision.
    #[error(
        "`{id}` at revision `{revision}` is not in the cache {}: run once without --offline and HF_HUB_OFFLINE to \
         download it, name a revision that is there, set HF_HOME to a cache that has it, or name a folder that holds \
         the model{}", .cache.display(), owner_hint(id)
    )]
    NotCached {
        /// The repository.
        id: String,
        /// The revision.
        revision: String,
        /// The cache's folder.
        cache: PathBuf,
    },
    /// Offline, and the cache holds the revision in part.
    #[error(
        "`{id}` at revision `{revision}` is in the cache only in part: {missing} missing from {}; run once without \
         --offline and HF_HUB_OFFLINE to download the rest", .dir.display()
    )]
    Incomplete {
        /// The repository.
        id: String,
        /// The revision.
        revision: String,
        /// The missing files, with their verb.
        missing: String,
        /// The snapshot's folder.
        dir: PathBuf,
    },
    /// Offline, and a cached file is not what its name says.
    #[error(
        "{} is damaged: its content is not the one it is named after; run once without --offline and HF_HUB_OFFLINE to \
         download it again", .path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// The cache cannot be read or written.
    #[error(
        "cannot {doing} {}: {source}; make room, see to the permissions, or set HF_HOME to another folder",
        .path.display()
    )]
    Cache {
        /// What was tried.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl HubError {
    /// Wraps an I/O error with what was tried on which path, for `map_err`.
    pub(super) fn cache(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> HubError {
        let path = path.into();
        move |source| HubError::Cache { doing, path, source }
    }

    /// Why a cache is of no help, as a clause of another message.
    pub(super) fn in_short(&self) -> String {
        match self {
            HubError::NotCached { cache, .. } => format!("it is not in the cache {} either", cache.display()),
            HubError::Incomplete { missing, dir, .. } => {
                format!("the cached copy is of no help, {missing} missing from {}", dir.display())
            }
            other => format!("the cached copy is of no help either, {other}"),
        }
    }
}

/// Most models have an owner, whom older programs left out.
fn owner_hint(id: &str) -> &'static str {
    if id.contains('/') {
        ""
    } else {
        "; ids have an owner, as in google-bert/bert-base-uncased or sentence-transformers/all-MiniLM-L6-v2"
    }
}

fn login_remedy(token_sent: bool) -> &'static str {
    if token_sent {
        "the token in HF_TOKEN or the token file is not valid, or the repository does not exist"
    } else {
        "it does not exist, or is private or gated; check the spelling, or set HF_TOKEN to a token that may read it"
    }
}
