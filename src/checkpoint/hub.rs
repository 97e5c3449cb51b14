//! Models from the Hugging Face hub, in the cache shared with the Python library.
//!
//! [`snapshot`] turns an id into a folder with the files of one commit: it resolves the revision, chooses the files that
//! make the model, and brings those that the cache lacks. Offline, or when the hub is out of reach, the cache alone must
//! do.
//!
//! # No half of a file is ever taken for a model
//!
//! hf-hub can download straight into the cache, but its version 1.0 looks neither at the status nor at the length of the
//! answer there: the page of an error, or what came before a connection broke, gets the name of the model. So:
//!
//! 1. the hub's headers say what the file is: an etag, which is the content's digest, and a size;
//! 2. hf-hub downloads it, checking the status, to a folder beside the blobs that belongs to this process;
//! 3. size and digest are compared with what was announced, by whatever protocol the content came (version 1.0 takes
//!    this way over HTTP alone, later ones may take xet);
//! 4. only then the content is renamed to its place among the blobs, the snapshot gets a link to it, and, once all files
//!    are there, the ref of the branch or tag is written.
//!
//! A process killed anywhere in between leaves at most a folder with a name that nobody reads, which a later run clears
//! away. The weights come last, so that a snapshot with weights has all its other files too. A small file is compared
//! with its digest again before each use, as other programs write to this cache as well.
//!
//! The token goes to the endpoint's own scheme, host and port and nowhere else: redirects to a file's storage are
//! followed without it.

mod cache;
mod choice;
mod digest;
mod error;
mod names;
mod progress;
mod refusal;
mod remote;
mod settings;

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

pub use error::HubError;
pub use settings::{Settings, Token};

use cache::{Held, RepoCache};
use choice::Weights;
use digest::Digest;
use progress::{Bar, FileProgress};
use remote::{Hub, Listing, Metadata};

const DEFAULT_REVISION: &str = "main";

/// How often a download that breaks off is started anew. Requests that get no body at all are repeated on top of that.
const DOWNLOAD_TRIES: u32 = 3;

/// How many files are on their way at once, as in the Python library.
const CONNECTIONS: usize = 8;

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
    let of_cache = |snapshot| Found { snapshot, from_cache: true };
    if request.offline || settings.offline {
        return cached.snapshot().map(of_cache);
    }
    let hub = Hub::new(settings, request.id)?;
    match hub.listing(revision) {
        Ok(listing) => {
            let download = Download {
                settings,
                id: request.id,
                hub: &hub,
                repo: &cached.repo,
                listing: &listing,
                bar: Bar::new(request.show_progress),
            };
            download.snapshot(revision).map(|snapshot| Found { snapshot, from_cache: false })
        }
        Err(refusal) if refusal.is_absence() => match cached.snapshot() {
            Ok(mut snapshot) => {
                snapshot.notes.push(format!(
                    "cannot reach the hub ({}); using the cached copy of `{}`, revision `{revision}`, commit {}",
                    hub.cause(&refusal),
                    request.id,
                    snapshot.commit
                ));
                Ok(of_cache(snapshot))
            }
            Err(lack) => Err(hub.error(revision, refusal, &lack.in_short())),
        },
        Err(refusal) => Err(hub.error(revision, refusal, "")),
    }
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

/// The way of one revision's files into the cache.
struct Download<'a> {
    settings: &'a Settings,
    id: &'a str,
    hub: &'a Hub<'a>,
    repo: &'a RepoCache,
    listing: &'a Listing,
    bar: Bar,
}

impl Download<'_> {
    fn snapshot(&self, revision: &str) -> Result<Snapshot, HubError> {
        let Listing { commit, files } = self.listing;
        self.repo.sweep();
        let choice = choice::choose(files)
            .map_err(|lack| HubError::NotAModel { id: self.id.to_owned(), lack: lack.in_repository() })?;
        let dir = self.repo.snapshot(commit);
        let mut notes = Vec::new();
        let mut small = choice.small;
        // Modules may be in folders of any name, which modules.json tells.
        let mut of_modules = Vec::new();
        // All are asked about before the first is downloaded: a refusal then costs nothing, and the bar knows its end.
        let weights = match choice.weights {
            Weights::Whole(file) => {
                let weights = self.lacking(&[file], &mut notes)?;
                self.bring(&self.lacking(&small, &mut notes)?)?;
                weights
            }
            Weights::Sharded(index) => {
                small.push(index.clone());
                self.bring(&self.lacking(&small, &mut notes)?)?;
                self.lacking(&self.shards(&dir, index)?, &mut notes)?
            }
        };
        if let Ok(modules) = fs::read(dir.join("modules.json")) {
            let named = choice::folders_named(&modules);
            of_modules.extend(named.iter().flat_map(|folder| choice::of_module(files, folder)));
        }
        self.bring(&self.lacking(&of_modules, &mut notes)?)?;
        self.bring(&weights)?;
        // Last, so that until now the revision stood for the files that were complete before. A cache that can only be
        // read serves as well.
        if let Err(error) = self.repo.write_ref(revision, commit) {
            notes.push(format!("{error}; --offline will not find revision `{revision}`"));
        }
        Ok(Snapshot { dir, commit: commit.clone(), notes })
    }

    /// The shards that the `index` in `dir` names, all of which the repository has.
    fn shards(&self, dir: &Path, index: String) -> Result<Vec<String>, HubError> {
        let shards = read_index(self.id, dir, &index)?;
        match shards.iter().find(|shard| !self.listing.files.contains(shard)) {
            None => Ok(shards),
            Some(shard) => {
                let problem = format!("it names {shard}, which the repository does not have");
                Err(HubError::Index { file: index, id: self.id.to_owned(), problem })
            }
        }
    }

    /// Those of `files` that the cache lacks, with what the hub promises about them.
    fn lacking(&self, files: &[String], notes: &mut Vec<String>) -> Result<Vec<(String, Metadata)>, HubError> {
        let commit = &self.listing.commit;
        let mut lacking = Vec::new();
        for file in files {
            match self.repo.held(commit, file)? {
                Held::Sound => continue,
                Held::Damaged => notes.push(format!("{file} was damaged in the cache and has been downloaded again")),
                Held::Nothing => {}
            }
            lacking.push(file.clone());
        }
        let promises = side_by_side(&lacking, |file| self.hub.metadata(commit, file))?;
        self.bar.expect(promises.iter().filter_map(|promise| promise.size).sum());
        Ok(lacking.into_iter().zip(promises).collect())
    }

    fn bring(&self, files: &[(String, Metadata)]) -> Result<(), HubError> {
        side_by_side(files, |(file, promise)| self.bring_one(file, promise)).map(drop)
    }

    fn bring_one(&self, file: &str, promise: &Metadata) -> Result<(), HubError> {
        let etag = &promise.etag;
        let _lock = self.repo.lock(etag, || self.bar.waiting(file))?;
        let progress = self.bar.start(file, promise.size.unwrap_or(0));
        // The content may be there under another commit's name for it, or another process has just brought it.
        let blob = self.repo.blob(etag);
        if !blob.is_file() || self.check(file, &blob, promise).is_err() {
            let staging = self.repo.staging(etag)?;
            let staged = self.download(file, promise, staging.path(), &progress)?;
            self.repo.publish(&staged, etag)?;
        }
        progress.finish();
        self.repo.point(&self.listing.commit, file, etag)
    }

    fn download(
        &self,
        file: &str,
        promise: &Metadata,
        dir: &Path,
        progress: &FileProgress,
    ) -> Result<PathBuf, HubError> {
        let mut tries = 1;
        loop {
            let downloaded = self.hub.download(&self.listing.commit, file, dir, progress);
            match downloaded.and_then(|path| self.check(file, &path, promise).map(|()| path)) {
                Err(HubError::BrokenOff { .. }) if tries < DOWNLOAD_TRIES => tries += 1,
                done => return done,
            }
            thread::sleep(self.settings.retry_pause);
        }
    }

    /// Compares the content at `path` with what the hub promised. The digest decides; the size alone only where the
    /// etag is none, as some mirrors have it.
    fn check(&self, file: &str, path: &Path, promise: &Metadata) -> Result<(), HubError> {
        let size = fs::metadata(path).map_err(HubError::cache("read", path))?.len();
        let wrong = |found: String, expected: String| {
            Err(HubError::WrongContent { file: file.to_owned(), id: self.id.to_owned(), found, expected })
        };
        match promise.size {
            Some(expected) if size < expected => {
                return Err(self.hub.broken_off(file, format!("{size} of {expected} bytes came")));
            }
            Some(expected) if size > expected => return wrong(format!("{size} bytes"), expected.to_string()),
            _ => {}
        }
        match Digest::named_by(&promise.etag) {
            Some(expected) => {
                let found = expected.same_kind_of(path).map_err(HubError::cache("read", path))?;
                if found == expected { Ok(()) } else { wrong(found.to_string(), expected.to_string()) }
            }
            None => Ok(()),
        }
    }
}

/// Does `work` on several items at once, since most of it is waiting for answers. The first item's error counts.
fn side_by_side<T: Sync, R: Send>(
    items: &[T],
    work: impl Fn(&T) -> Result<R, HubError> + Sync,
) -> Result<Vec<R>, HubError> {
    let mut results = Vec::new();
    for some in items.chunks(CONNECTIONS) {
        thread::scope(|scope| {
            let runs: Vec<_> = some.iter().map(|item| scope.spawn(|| work(item))).collect();
            for run in runs {
                results.push(run.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
            }
            Ok(())
        })?;
    }
    Ok(results)
}

/// The shards that the `index` in `dir` names.
fn read_index(id: &str, dir: &Path, index: &str) -> Result<Vec<String>, HubError> {
    let path = dir.join(index);
    let content = fs::read(&path).map_err(HubError::cache("read", path))?;
    choice::shards(&content).map_err(|problem| HubError::Index { file: index.to_owned(), id: id.to_owned(), problem })
}
