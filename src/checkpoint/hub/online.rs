//! From the hub into the cache: what is lacking is downloaded, checked and given its name.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use super::cache::{Held, RepoCache};
use super::cached_model::{CachedModel, read_index};
use super::choice::{self, ListedWeights};
use super::digest::Digest;
use super::error::HubError;
use super::progress::{DownloadProgress, FileProgress};
use super::query::{Found, HubQuery, Snapshot};
use super::remote::{Hub, Listing, Metadata};
use super::settings::HubSettings;
use super::transport::CONNECTIONS;

/// How often a download that breaks off is gone on with. Requests that get no body at all are repeated on top of that.
const DOWNLOAD_TRIES: u32 = 3;
/// What a try has to bring for not being counted.
const MUCH: u64 = 1 << 20;

/// The model as the hub has it or, where that is out of reach, as the cache has it.
///
/// # Errors
/// As `hub::snapshot`.
pub(super) fn find(
    settings: &HubSettings,
    request: &HubQuery<'_>,
    revision: &str,
    cached: &CachedModel<'_>,
) -> Result<Found, HubError> {
    let progress = DownloadProgress::new(request.observer);
    let hub = Hub::new(settings, request.id, &progress)?;
    match hub.listing(revision, || cached.snapshot().is_ok()) {
        Ok(listing) => {
            let (id, repo) = (request.id, &cached.repo);
            let download = Download { settings, id, hub: &hub, repo, listing: &listing, progress: &progress };
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
                Ok(Found::in_cache(snapshot))
            }
            Err(lack) => Err(hub.error(revision, refusal, &lack.in_short())),
        },
        Err(refusal) => Err(hub.error(revision, refusal, "")),
    }
}

/// The way of one revision's files into the cache.
struct Download<'a> {
    settings: &'a HubSettings,
    id: &'a str,
    hub: &'a Hub<'a>,
    repo: &'a RepoCache,
    listing: &'a Listing,
    progress: &'a DownloadProgress<'a>,
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
        // All are asked about before the first is downloaded: a refusal then costs nothing, and its length is known.
        let weights = match choice.weights {
            ListedWeights::Whole(file) => {
                let weights = self.lacking(&[file], &mut notes)?;
                self.bring(&self.lacking(&small, &mut notes)?)?;
                weights
            }
            ListedWeights::Sharded(index) => {
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
        let promised = lacking.iter().zip(&promises);
        for (file, _) in promised.filter(|(_, promise)| Digest::named_by(&promise.etag).is_none()) {
            notes.push(format!(
                "the hub names no digest of {file}, so of this download its size alone was compared and not its content"
            ));
        }
        self.progress.expect(promises.iter().filter_map(|promise| promise.size).sum());
        Ok(lacking.into_iter().zip(promises).collect())
    }

    fn bring(&self, files: &[(String, Metadata)]) -> Result<(), HubError> {
        side_by_side(files, |(file, promise)| self.bring_one(file, promise)).map(drop)
    }

    fn bring_one(&self, file: &str, promise: &Metadata) -> Result<(), HubError> {
        let etag = &promise.etag;
        let _lock = self.repo.lock(etag, || self.progress.waiting(file))?;
        let progress = self.progress.start(file, promise.size.unwrap_or(0));
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

    /// Downloads `file` to a path in `dir`. What breaks off is gone on with; a try that brings much counts as none.
    fn download(
        &self,
        file: &str,
        promise: &Metadata,
        dir: &Path,
        progress: &FileProgress<'_>,
    ) -> Result<PathBuf, HubError> {
        let path = dir.join(Path::new(file).file_name().unwrap_or_default());
        let held = || fs::metadata(&path).map_or(0, |metadata| metadata.len());
        let mut tries = 1;
        loop {
            let before = held();
            let downloaded = self.hub.download(&self.listing.commit, file, promise.size, &path, progress);
            match downloaded.and_then(|()| self.check(file, &path, promise)) {
                Ok(()) => return Ok(path),
                Err(HubError::BrokenOff { .. }) if held() >= before + MUCH => tries = 1,
                Err(HubError::BrokenOff { .. }) if tries < DOWNLOAD_TRIES => tries += 1,
                // The parts need not be of the same content.
                Err(HubError::WrongContent { .. }) if before > 0 => {
                    fs::remove_file(&path).map_err(HubError::cache("write", &path))?;
                    tries = DOWNLOAD_TRIES;
                }
                Err(error) => return Err(error),
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
