//! Finds a model in the cache alone, for `--offline` and for a hub that is out of reach.

use std::fs;
use std::path::Path;

use super::cache::{Held, RepoCache};
use super::choice::{self, ListedWeights};
use super::error::HubError;
use super::query::Snapshot;

/// A model in the cache.
pub(super) struct CachedModel<'a> {
    pub(super) id: &'a str,
    pub(super) revision: &'a str,
    pub(super) cache_dir: &'a Path,
    pub(super) repo: RepoCache,
}

impl CachedModel<'_> {
    pub(super) fn snapshot(&self) -> Result<Snapshot, HubError> {
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
            ListedWeights::Whole(file) => needed.push(file),
            ListedWeights::Sharded(index) => {
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

/// The shards that the index file `index` in `dir` names.
pub(super) fn read_index(id: &str, dir: &Path, index: &str) -> Result<Vec<String>, HubError> {
    let path = dir.join(index);
    let content = fs::read(&path).map_err(HubError::cache("read", path))?;
    choice::shards(&content).map_err(|problem| HubError::Index { file: index.to_owned(), id: id.to_owned(), problem })
}
