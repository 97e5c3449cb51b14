//! A hub, a cache and the settings that join them, and what must hold of the cache whatever happens.

use std::collections::BTreeSet;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use layerwise::Unobserved;
use layerwise::checkpoint::hub::{HubError, HubQuery, HubSettings, Proxies, Snapshot, snapshot_with};
use tempfile::TempDir;

use crate::hub_server::{HubServer, Repo, RepoFile};

pub(crate) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
pub(crate) const ID: &str = "tester/tiny-bert";
pub(crate) const TOKEN: &str = "hf_aVerySecretToken";
pub(crate) const WEIGHTS: &str = "model.safetensors";

/// What a model in one file needs out of the repository of [`tiny`].
pub(crate) const NEEDED: [&str; 9] = [
    "1_Pooling/config.json",
    "config.json",
    WEIGHTS,
    "modules.json",
    "sentence_bert_config.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
];

pub(crate) fn file(name: &str, content: impl Into<Vec<u8>>) -> RepoFile {
    RepoFile { name: name.to_owned(), content: content.into(), large: false }
}

pub(crate) fn large(name: &str, bytes: u32) -> RepoFile {
    // Bytes that differ from file to file.
    let seed = name.len() as u32;
    let content = (0..bytes).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8 ^ seed as u8).collect();
    RepoFile { name: name.to_owned(), content, large: true }
}

pub(crate) fn tiny() -> Repo {
    let small = NEEDED.iter().filter(|name| **name != WEIGHTS).chain(&[".gitattributes", "README.md", "train.py"]);
    let small = small.map(|name| file(name, format!("the content of {name}\n")));
    let large = [large(WEIGHTS, 300_000), large("pytorch_model.bin", 100_001), large("onnx/model.onnx", 5_000)];
    Repo {
        id: ID.to_owned(),
        former_id: "tester/former-name".to_owned(),
        commit: COMMIT.to_owned(),
        revisions: ["main", "v1.0", "refs/pr/1"].map(str::to_owned).to_vec(),
        files: small.chain(large).collect(),
        token: None,
        xet: false,
        ranges: false,
    }
}

pub(crate) fn without(names: &[&str]) -> Repo {
    let mut repo = tiny();
    repo.files.retain(|file| !names.contains(&file.name.as_str()));
    repo
}

/// A hub, a cache and the settings that join them.
pub(crate) struct Bench {
    pub(crate) server: HubServer,
    pub(crate) cache: TempDir,
    pub(crate) settings: HubSettings,
}

impl Bench {
    pub(crate) fn new(repo: Repo) -> Bench {
        let (server, cache) = (HubServer::start(repo), tempfile::tempdir().expect("a temporary folder"));
        let settings = HubSettings {
            cache_dir: cache.path().join("hub"),
            endpoint: server.endpoint(),
            token: None,
            offline: false,
            proxies: Proxies::default(),
            silence_limit: Duration::from_secs(5),
            pace_window: Duration::from_secs(5),
            retry_pause: Duration::from_millis(2),
        };
        Bench { server, cache, settings }
    }

    pub(crate) fn get(&self) -> Result<Snapshot, HubError> {
        self.get_revision("main")
    }

    pub(crate) fn get_revision(&self, revision: &str) -> Result<Snapshot, HubError> {
        let request = HubQuery { id: ID, revision: Some(revision), offline: false, observer: &Unobserved };
        snapshot_with(&self.settings, &request)
    }

    pub(crate) fn get_offline(&self) -> Result<Snapshot, HubError> {
        snapshot_with(
            &HubSettings { offline: true, ..self.settings.clone() },
            &HubQuery { offline: false, ..request() },
        )
    }

    /// The text of the error that must come, its causes and its debug form included.
    pub(crate) fn error(&self) -> String {
        told(&self.get().expect_err("an error"))
    }

    pub(crate) fn repo_dir(&self) -> PathBuf {
        self.settings.cache_dir.join("models--tester--tiny-bert")
    }

    pub(crate) fn snapshot_dir(&self) -> PathBuf {
        self.repo_dir().join("snapshots").join(COMMIT)
    }

    pub(crate) fn ref_of(&self, revision: &str) -> Option<String> {
        fs::read_to_string(self.repo_dir().join("refs").join(revision)).ok()
    }

    /// Asserts that everything visible in the cache is whole, and that nothing else was left.
    pub(crate) fn assert_nothing_half(&self) {
        for path in files_below(&self.repo_dir()) {
            let name = path.strip_prefix(self.repo_dir()).expect("below").to_string_lossy().into_owned();
            assert!(!name.contains("incomplete"), "left over: {name}");
            let content = fs::read(&path).expect("a link to something");
            if let Some(blob) = name.strip_prefix("blobs/") {
                let named = [false, true].map(|large| RepoFile { large, content: content.clone(), ..file("", "") });
                assert!(named.iter().any(|file| file.etag() == blob), "{name} is not what it is named after");
            }
        }
    }

    /// Asserts that the hub, well again, gives the whole model, and that nothing half is left of what was before.
    pub(crate) fn assert_recovers(&self) {
        self.server.recover();
        self.assert_gets_all();
    }

    pub(crate) fn assert_gets_all(&self) {
        let snapshot = self.get().expect("a model");
        for name in NEEDED {
            let wanted = tiny().files.into_iter().find(|file| file.name == name).expect("a file").content;
            assert_eq!(fs::read(snapshot.dir.join(name)).expect(name), wanted, "{name}");
        }
        self.assert_nothing_half();
        assert_eq!(self.ref_of("main").as_deref(), Some(COMMIT));
    }
}

pub(crate) fn request() -> HubQuery<'static> {
    HubQuery { id: ID, revision: None, offline: false, observer: &Unobserved }
}

pub(crate) fn told(error: &HubError) -> String {
    let mut text = format!("{error} / {error:?}");
    let mut cause = error.source();
    while let Some(source) = cause {
        text += &format!(" / {source}");
        cause = source.source();
    }
    assert!(!text.contains(TOKEN), "the token is in {text}");
    text
}

/// All files and links below `dir`; a broken link is in the list.
pub(crate) fn files_below(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

pub(crate) fn names_below(dir: &Path) -> BTreeSet<String> {
    let name = |path: PathBuf| path.strip_prefix(dir).expect("below").to_string_lossy().replace('\\', "/");
    files_below(dir).into_iter().map(name).collect()
}

pub(crate) fn assert_says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no `{part}` in: {text}");
    }
}
