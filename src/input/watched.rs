//! Detects files that change while they are read.
//!
//! A file that is appended to, cut or replaced meanwhile would be read partly in its old and partly in its new state.
//! That shows in its metadata before and after.

use std::fs::{self, File, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::entry::{Entries, Entry, Failed};

/// The metadata by which a change is detected.
#[derive(Debug, Clone, PartialEq, Eq)]
struct State {
    /// Device and inode, on systems that have them.
    identity: Option<(u64, u64)>,
    bytes: u64,
    modified: Option<SystemTime>,
}

impl State {
    fn of(metadata: &Metadata) -> Self {
        #[cfg(unix)]
        let identity = {
            use std::os::unix::fs::MetadataExt;
            Some((metadata.dev(), metadata.ino()))
        };
        #[cfg(not(unix))]
        let identity = None;
        Self { identity, bytes: metadata.len(), modified: metadata.modified().ok() }
    }

    /// The difference between this state and the present one.
    fn change(&self, now: &Self) -> Option<String> {
        let (before, after) = (self.bytes, now.bytes);
        if self.identity != now.identity {
            Some("it is another file now".to_owned())
        } else if before != after {
            Some(format!("it had {before} bytes and has {after} now"))
        } else if self.modified != now.modified {
            Some("it was written to".to_owned())
        } else {
            None
        }
    }
}

/// A regular file that is being read.
#[derive(Debug)]
pub(super) struct Watch {
    path: PathBuf,
    before: State,
}

impl Watch {
    /// Watches a file that was just opened. `None` for pipes and devices, which do not have the same content twice.
    pub(super) fn new(path: &Path, file: &File) -> io::Result<Option<Self>> {
        let metadata = file.metadata()?;
        Ok(metadata.is_file().then(|| Self { path: path.to_owned(), before: State::of(&metadata) }))
    }

    /// Fails with what has changed since the file was opened.
    fn check(&self) -> Result<(), Failed> {
        let changed = match fs::metadata(&self.path) {
            Ok(metadata) => self.before.change(&State::of(&metadata)),
            Err(error) => Some(format!("it cannot be found any more, {error}")),
        };
        match changed {
            None => Ok(()),
            Some(change) => Err(Failed(format!(
                "changed while it was read: {change}; nothing was encoded; run the command again when the file is as it is to be, or read a copy of it"
            ))),
        }
    }
}

/// The entries of a file, followed by an error if the file has changed meanwhile.
pub(super) struct Watched<'a> {
    pub(super) entries: Entries<'a>,
    pub(super) watch: Option<Watch>,
}

impl Iterator for Watched<'_> {
    type Item = Result<Entry, Failed>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.entries.next() {
            // Data that looks damaged may be a mixture of two states of the file.
            None | Some(Err(_)) if let Some(Err(changed)) = self.watch.take().map(|watch| watch.check()) => {
                Some(Err(changed))
            }
            next => next,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::time::Duration;

    use super::*;
    use crate::error::{Error, Result};
    use crate::input::{Columns, Input, Record, Source};

    /// Reads a file of a million texts' bytes, changing it after the first text; what the reading ends with.
    fn read(name: &str, change: impl FnOnce(&Path)) -> Result<Vec<Record>> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(name);
        fs::write(&path, "{\"text\": \"hello world\"}\n".repeat(40_000)).unwrap();
        let input = Input::new(vec![Source::File(path.clone())], None, Columns::default()).unwrap();
        let mut records = input.read();
        let first = records.next().unwrap()?;
        change(&path);
        std::iter::once(Ok(first)).chain(records).collect()
    }

    #[track_caller]
    fn is_refused(change: impl Fn(&Path), says: &str) {
        for name in ["texts.txt", "texts.jsonl"] {
            let error = read(name, &change).expect_err("a change");
            assert!(error.is_of_input() && matches!(error, Error::Input { .. }), "{error:?}");
            let error = error.to_string();
            assert!(error.contains("changed while it was read") && error.contains("again"), "{error}");
            assert!(error.contains(says) && error.contains(name), "{error} does not say {says}");
        }
    }

    fn append(path: &Path, text: &str) {
        fs::OpenOptions::new().append(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
    }

    #[test]
    fn a_file_that_stays_is_read() {
        assert_eq!(read("texts.txt", |_| {}).unwrap().len(), 40_000);
        // Who looks at it does not change it.
        assert_eq!(read("texts.txt", |path| drop(fs::read(path).unwrap())).unwrap().len(), 40_000);
    }

    #[test]
    fn a_file_that_changes_while_it_is_read_is_refused() {
        let bytes = 40_000 * 24;
        is_refused(|path| append(path, "{\"text\": 1}\n"), &format!("it had {bytes} bytes and has {} now", bytes + 12));
        is_refused(|path| append(path, "{"), "bytes");
        is_refused(
            |path| fs::OpenOptions::new().write(true).open(path).unwrap().set_len(100_000).unwrap(),
            "has 100000 now",
        );
        is_refused(
            |path| {
                let file = fs::OpenOptions::new().write(true).open(path).unwrap();
                let before = file.metadata().unwrap().modified().unwrap();
                file.set_modified(before + Duration::from_secs(2)).unwrap();
            },
            "it was written to",
        );
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_is_replaced_or_removed_while_it_is_read_is_refused() {
        is_refused(|path| fs::remove_file(path).unwrap(), "cannot be found any more");
        is_refused(
            |path| {
                let other = path.with_extension("new");
                fs::copy(path, &other).unwrap();
                fs::rename(other, path).unwrap();
            },
            "it is another file now",
        );
    }
}
