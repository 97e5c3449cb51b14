//! The words these tests are told in: a desk, which is a directory of its own, and commands typed at it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use assert_cmd::assert::Assert;
use assert_cmd::cargo::cargo_bin;
use predicates::prelude::*;
use serde_json::Value;
use tempfile::TempDir;

/// No command here takes a second; one that has not ended after this long hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A temporary directory in which commands run.
pub(crate) struct Desk {
    dir: TempDir,
}

impl Desk {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a temporary directory") }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.path(name).symlink_metadata().is_ok()
    }

    pub(crate) fn put(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
        fs::write(path, content).expect("a file");
    }

    pub(crate) fn remove(&self, name: &str) {
        fs::remove_file(self.path(name)).expect("a file to remove");
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    pub(crate) fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&self.read(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// The objects of a JSON Lines file.
    pub(crate) fn json_lines(&self, name: &str) -> Vec<Value> {
        objects(&String::from_utf8(self.read(name)).expect("UTF-8"))
    }

    /// All files below a directory: path with slashes → content.
    pub(crate) fn files(&self, directory: &str) -> BTreeMap<String, Vec<u8>> {
        let mut files = BTreeMap::new();
        let mut pending = vec![self.path(directory)];
        while let Some(directory_path) = pending.pop() {
            for entry in fs::read_dir(&directory_path).expect("a directory") {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    pending.push(path);
                } else {
                    let name = path.strip_prefix(self.path(directory)).expect("a path below");
                    let name = name.to_str().expect("UTF-8").replace('\\', "/");
                    files.insert(name, fs::read(&path).expect("a file"));
                }
            }
        }
        files
    }

    pub(crate) fn file_names(&self, directory: &str) -> Vec<String> {
        self.files(directory).into_keys().collect()
    }

    /// Everything in a job's directory that must not differ between two runs.
    pub(crate) fn job(&self, directory: &str) -> BTreeMap<String, Vec<u8>> {
        let mut files = self.files(directory);
        files.remove("run.json").expect("run.json");
        files
    }

    /// Types a command, such as `extract 'hello world' -o out`.
    pub(crate) fn types(&self, line: &str) -> Ran {
        self.types_into(line, "")
    }

    /// Types a command that reads `stdin`.
    pub(crate) fn types_into(&self, line: &str, stdin: impl AsRef<[u8]>) -> Ran {
        self.runs(&words(line), stdin)
    }

    /// Runs a command with these arguments as they are.
    pub(crate) fn runs<A: AsRef<std::ffi::OsStr>>(&self, arguments: &[A], stdin: impl AsRef<[u8]>) -> Ran {
        let mut command = assert_cmd::Command::from_std(self.command());
        Ran(command.args(arguments).write_stdin(stdin.as_ref()).timeout(PATIENCE).assert())
    }

    /// As [`Desk::types`], with an environment variable.
    pub(crate) fn types_with(&self, key: &str, value: &str, line: &str) -> Ran {
        let mut command = assert_cmd::Command::from_std(self.command());
        Ran(command.env(key, value).args(words(line)).write_stdin("").timeout(PATIENCE).assert())
    }

    /// The program in this directory, with nothing of the user's settings.
    pub(crate) fn command(&self) -> std::process::Command {
        self.prepared(&program())
    }

    pub(crate) fn prepared(&self, program: &Path) -> std::process::Command {
        let mut command = std::process::Command::new(program);
        for (key, _) in std::env::vars_os() {
            let name = key.to_string_lossy();
            if ["HF_", "LAYERWISE_", "CLICOLOR", "NO_COLOR", "RAYON_"].iter().any(|prefix| name.starts_with(prefix)) {
                command.env_remove(&key);
            }
        }
        command.current_dir(self.dir.path());
        command.env("HF_HUB_OFFLINE", "1").env("HF_HOME", self.path("hf-home")).env("COLUMNS", "100");
        command
    }
}

pub(crate) fn program() -> PathBuf {
    cargo_bin!("layerwise").to_owned()
}

/// A command line's words; what stands between two single quotes is one.
pub(crate) fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (index, part) in line.split('\'').enumerate() {
        if index % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    words
}

fn objects(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

/// A command that has ended, and what is expected of it.
pub(crate) struct Ran(pub(crate) Assert);

impl Ran {
    pub(crate) fn succeeds(self) -> Self {
        self.ends_with(0).does_not_say("error:")
    }

    /// Exit code 1, one error, nothing on standard output.
    pub(crate) fn fails(self) -> Self {
        self.refuses(1)
    }

    /// Exit code 2, one error, nothing on standard output.
    pub(crate) fn fails_as_wrong_usage(self) -> Self {
        self.refuses(2)
    }

    fn refuses(self, code: i32) -> Self {
        let ran = self.ends_with(code).prints_nothing();
        Self(ran.0.stderr(predicate::str::contains("error: ").count(1)))
    }

    pub(crate) fn ends_with(self, code: i32) -> Self {
        Self(self.0.code(code)).does_not_say("panicked").does_not_say("RUST_BACKTRACE")
    }

    #[cfg(unix)]
    pub(crate) fn code(&self) -> Option<i32> {
        self.0.get_output().status.code()
    }

    /// On standard error.
    pub(crate) fn says(self, text: &str) -> Self {
        Self(self.0.stderr(predicate::str::contains(text)))
    }

    pub(crate) fn says_all(self, texts: &[&str]) -> Self {
        texts.iter().fold(self, |ran, text| ran.says(text))
    }

    pub(crate) fn does_not_say(self, text: &str) -> Self {
        Self(self.0.stderr(predicate::str::contains(text).not()))
    }

    pub(crate) fn says_nothing(self) -> Self {
        Self(self.0.stderr(predicate::str::is_empty()))
    }

    /// On standard output.
    pub(crate) fn prints(self, text: &str) -> Self {
        Self(self.0.stdout(predicate::str::contains(text)))
    }

    pub(crate) fn prints_all(self, texts: &[&str]) -> Self {
        texts.iter().fold(self, |ran, text| ran.prints(text))
    }

    pub(crate) fn prints_exactly(self, text: &str) -> Self {
        Self(self.0.stdout(predicate::str::diff(text.to_owned()).normalize()))
    }

    pub(crate) fn prints_nothing(self) -> Self {
        Self(self.0.stdout(predicate::str::is_empty()))
    }

    pub(crate) fn stdout(&self) -> String {
        String::from_utf8(self.0.get_output().stdout.clone()).expect("UTF-8")
    }

    pub(crate) fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.0.get_output().stderr).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout()).unwrap_or_else(|error| panic!("{error}: {}", self.stdout()))
    }

    pub(crate) fn json_lines(&self) -> Vec<Value> {
        objects(&self.stdout())
    }
}
