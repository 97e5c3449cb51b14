//! One repository in the cache, in the layout of the Python library:
//!
//! ```text
//! models--owner--name/
//!   blobs/<etag>                      a file's content, named by its digest
//!   snapshots/<commit>/<file>         a link to its blob
//!   refs/<branch or tag>              the commit it stood for when it was last asked for
//! .locks/models--owner--name/<etag>.lock
//! ```
//!
//! Nothing gets one of these names before it is whole: contents, links and refs are made beside and then renamed. The
//! locks, which other programs use in the same way, only spare a second download of the same file; on network file
//! systems whose locks hold back nobody, two downloads go on side by side and the later one renames over the other.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use super::choice::module_folder;
use super::digest::Digest;
use super::error::HubError;
use super::names::is_commit;

/// Up to this size a cached file's content is compared with its name before every use. It takes milliseconds, and it
/// catches what another program may have left half-written. Larger files, the weights, are checked when they are
/// published; after that their reader checks that the size fits the header.
const CHECKED_SIZE: u64 = 16 << 20;

/// The end of the name of a folder for a download under way.
const STAGING: &str = ".incomplete.d";
/// A folder for a download that nobody has written to for so long belongs to a process that is no more: a living one
/// gives up much sooner.
const ABANDONED: Duration = Duration::from_secs(600);

/// How long to wait before asking for a lock again.
const LOCK_POLL: Duration = Duration::from_millis(100);

/// What the cache has under a file's name.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Held {
    Nothing,
    Damaged,
    Sound,
}

/// A repository's folder in the cache.
pub(super) struct RepoCache {
    root: PathBuf,
    locks: PathBuf,
}

impl RepoCache {
    /// The folder of the repository `id`, which need not exist yet.
    pub(super) fn new(cache_dir: &Path, id: &str) -> RepoCache {
        let folder = format!("models--{}", id.replace('/', "--"));
        RepoCache { root: cache_dir.join(&folder), locks: cache_dir.join(".locks").join(folder) }
    }

    /// The commit that `revision` stood for when it was last resolved.
    pub(super) fn commit(&self, revision: &str) -> Option<String> {
        if is_commit(revision) {
            return Some(revision.to_owned());
        }
        let commit = fs::read_to_string(self.root.join("refs").join(revision)).ok()?;
        let commit = commit.trim();
        is_commit(commit).then(|| commit.to_owned())
    }

    /// The folder of the files of `commit`.
    pub(super) fn snapshot(&self, commit: &str) -> PathBuf {
        self.root.join("snapshots").join(commit)
    }

    /// The files of `commit` that are there: those at the top, and the configurations of pooling.
    ///
    /// # Errors
    /// If the folder is there and cannot be listed.
    pub(super) fn files(&self, commit: &str) -> Result<Vec<String>, HubError> {
        let dir = self.snapshot(commit);
        let mut files = Vec::new();
        match fs::read_dir(&dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            entries => {
                for entry in entries.map_err(HubError::cache("list", &dir))? {
                    let entry = entry.map_err(HubError::cache("list", &dir))?;
                    let Ok(name) = entry.file_name().into_string() else { continue };
                    if entry.path().is_file() {
                        files.push(name);
                    } else if module_folder(&format!("{name}/config.json")).is_some() {
                        let inner = fs::read_dir(entry.path()).map_err(HubError::cache("list", entry.path()))?;
                        let inner = inner.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
                        files
                            .extend(inner.map(|file| format!("{name}/{file}")).filter(|file| dir.join(file).is_file()));
                    }
                }
            }
        }
        files.sort();
        Ok(files)
    }

    /// Whether `file` of `commit` can be used as it is.
    ///
    /// # Errors
    /// If it is there and cannot be read.
    pub(super) fn held(&self, commit: &str, file: &str) -> Result<Held, HubError> {
        let path = self.snapshot(commit).join(file);
        let size = match fs::metadata(&path) {
            Ok(metadata) if metadata.is_file() => metadata.len(),
            _ => return Ok(Held::Nothing),
        };
        // The link's own target names the digest; what that is a link to in its turn (a store shared by repositories)
        // has another name. A plain file, as on systems without links, is named by nothing.
        let target = fs::read_link(&path).ok();
        let blob_name = target.as_deref().and_then(Path::file_name).and_then(|name| name.to_str());
        match blob_name.and_then(Digest::named_by) {
            Some(digest) if size <= CHECKED_SIZE => {
                let found = digest.same_kind_of(&path).map_err(HubError::cache("read", &path))?;
                Ok(if found == digest { Held::Sound } else { Held::Damaged })
            }
            _ => Ok(Held::Sound),
        }
    }

    /// Where the content named `etag` belongs.
    pub(super) fn blob(&self, etag: &str) -> PathBuf {
        self.root.join("blobs").join(etag)
    }

    /// Waits until no other process is downloading `etag`, calling `waiting` each time it has to. The lock is given up
    /// when the file is dropped or the process ends, however it ends; none if the file system has no locks.
    ///
    /// # Errors
    /// If the lock's file cannot be made.
    pub(super) fn lock(&self, etag: &str, waiting: impl Fn()) -> Result<Option<File>, HubError> {
        let path = self.locks.join(format!("{etag}.lock"));
        fs::create_dir_all(&self.locks).map_err(HubError::cache("create", &self.locks))?;
        let file = File::create(&path).map_err(HubError::cache("create", &path))?;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Some(file)),
                Err(TryLockError::Error(_)) => return Ok(None),
                Err(TryLockError::WouldBlock) => {
                    waiting();
                    thread::sleep(LOCK_POLL);
                }
            }
        }
    }

    /// An empty folder of this process alone, on the file system of the blobs, that goes when dropped.
    ///
    /// # Errors
    /// If the cache cannot be written.
    pub(super) fn staging(&self, etag: &str) -> Result<TempDir, HubError> {
        let blobs = self.root.join("blobs");
        fs::create_dir_all(&blobs).map_err(HubError::cache("create", &blobs))?;
        let made = tempfile::Builder::new().prefix(&format!("{etag}.")).suffix(STAGING).tempdir_in(&blobs);
        made.map_err(HubError::cache("write in", blobs))
    }

    /// Clears away what killed downloads left behind. That it cannot is no reason to stop.
    pub(super) fn sweep(&self) {
        for entry in fs::read_dir(self.root.join("blobs")).into_iter().flatten().flatten() {
            let is_staging = entry.file_name().to_str().is_some_and(|name| name.ends_with(STAGING));
            if is_staging && last_written(&entry.path()).is_some_and(|age| age > ABANDONED) {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }

    /// Gives the checked content at `staged` its name.
    ///
    /// # Errors
    /// If the cache cannot be written.
    pub(super) fn publish(&self, staged: &Path, etag: &str) -> Result<(), HubError> {
        // On the disk before it has its name: a crash must not leave the name on less.
        let synced = File::options().write(true).open(staged).and_then(|file| file.sync_all());
        synced.map_err(HubError::cache("write", staged))?;
        let blob = self.blob(etag);
        fs::rename(staged, &blob).map_err(HubError::cache("write", blob))
    }

    /// Makes `file` of `commit` a link to the blob `etag`, or a copy of it where there are no links.
    ///
    /// # Errors
    /// If the cache cannot be written.
    pub(super) fn point(&self, commit: &str, file: &str, etag: &str) -> Result<(), HubError> {
        let pointer = self.snapshot(commit).join(file);
        // Relative, so that the cache can be moved: up from the file's folder to the repository's, down to the blob.
        let up = Path::new(file).components().count() + 1;
        let mut target: PathBuf = std::iter::repeat_n("..", up).collect();
        target.extend(["blobs", etag]);
        if fs::read_link(&pointer).is_ok_and(|current| current == target) {
            return Ok(());
        }
        let dir = pointer.parent().unwrap_or(&self.root);
        let made = fs::create_dir_all(dir).and_then(|()| {
            let beside = TempDir::with_prefix_in(".", dir)?;
            let link = beside.path().join("link");
            symlink(&target, &link).or_else(|_| fs::copy(self.blob(etag), &link).map(drop))?;
            fs::rename(&link, &pointer)
        });
        made.map_err(HubError::cache("write", pointer))
    }

    /// Notes that `revision` stands for `commit`.
    ///
    /// # Errors
    /// If the cache cannot be written.
    pub(super) fn write_ref(&self, revision: &str, commit: &str) -> Result<(), HubError> {
        if self.commit(revision).as_deref() == Some(commit) {
            return Ok(());
        }
        let path = self.root.join("refs").join(revision);
        let dir = path.parent().unwrap_or(&self.root);
        let written = fs::create_dir_all(dir).and_then(|()| {
            let beside = TempDir::with_prefix_in(".", &self.root)?;
            let file = beside.path().join("ref");
            fs::write(&file, commit)?;
            fs::rename(&file, &path)
        });
        written.map_err(HubError::cache("write", path))
    }
}

/// How long ago something was last written in `dir` or to one of its files.
fn last_written(dir: &Path) -> Option<Duration> {
    let files = fs::read_dir(dir).ok()?.flatten().map(|entry| entry.path());
    let ages = files.chain([dir.to_owned()]).map(|path| fs::metadata(path).ok()?.modified().ok()?.elapsed().ok());
    // One age that cannot be told, a time in the future included, leaves the whole alone.
    ages.min().flatten()
}

#[cfg(unix)]
fn symlink(target: &Path, link: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, link)
}

#[cfg(windows)]
fn symlink(target: &Path, link: &Path) -> io::Result<()> {
    std::os::windows::fs::symlink_file(target, link)
}

#[cfg(not(any(unix, windows)))]
fn symlink(_target: &Path, _link: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
