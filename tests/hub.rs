//! Models from a hub on the loopback interface: what is fetched, what the cache holds afterwards, and what happens when
//! the hub, the network or the cache fails. `hub/failures.rs` has the downloads that go wrong.

#![cfg(feature = "hub")]

#[path = "hub/failures.rs"]
mod failures;
#[path = "support/hub_bench.rs"]
mod hub_bench;
#[path = "support/hub_server.rs"]
mod hub_server;
#[path = "hub/limits.rs"]
mod limits;
#[path = "hub/proxy.rs"]
mod proxy;
#[cfg(feature = "cli")]
#[path = "support/word_ids.rs"]
mod word_ids;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use hub_bench::*;
use hub_server::{Fault, Repo, RepoFile};
use layerwise::checkpoint::hub::{HubQuery, HubSettings, Token, snapshot, snapshot_with};

/// A port where nobody listens: the discard service's, which needs root to run.
const NOBODY: &str = "http://127.0.0.1:9";

// What is fetched, and how the cache holds it.

#[test]
fn a_model_comes_into_the_cache_in_the_layout_of_the_python_library() {
    let bench = Bench::new(tiny());
    let snapshot = bench.get().expect("a model");
    assert_eq!((&snapshot.dir, snapshot.commit.as_str()), (&bench.snapshot_dir(), COMMIT));
    assert_eq!(snapshot.notes, Vec::<String>::new());
    assert_eq!(names_below(&snapshot.dir), NEEDED.iter().map(ToString::to_string).collect());
    assert_eq!(bench.ref_of("main").as_deref(), Some(COMMIT));
    for name in NEEDED {
        let repo_file = tiny().files.into_iter().find(|file| file.name == name).expect("a file");
        let up = if name.contains('/') { "../../../blobs" } else { "../../blobs" };
        let link = fs::read_link(snapshot.dir.join(name)).expect("a link");
        assert_eq!(link, Path::new(up).join(repo_file.etag()), "{name}");
        let lock = bench.settings.cache_dir.join(".locks/models--tester--tiny-bert").join(repo_file.etag() + ".lock");
        assert!(lock.is_file(), "{name}");
    }
    let top: BTreeSet<_> =
        fs::read_dir(bench.repo_dir()).expect("a folder").map(|e| e.expect("an entry").file_name()).collect();
    assert_eq!(top, ["blobs", "refs", "snapshots"].map(Into::into).into());
    bench.assert_nothing_half();
}

#[test]
fn a_second_run_downloads_nothing() {
    let bench = Bench::new(tiny());
    let first = bench.get().expect("a model");
    bench.server.forget();
    assert_eq!(bench.get().expect("a model"), first);
    let seen = bench.server.seen();
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert!(seen[0].path.starts_with("/api/models/tester/tiny-bert/revision/main"), "{seen:?}");
}

#[test]
fn only_needed_files_are_fetched_and_safetensors_come_before_pickles() {
    let bench = Bench::new(tiny());
    bench.get().expect("a model");
    for name in ["README.md", "pytorch_model.bin", "onnx/model.onnx", ".gitattributes", "train.py"] {
        assert_eq!(bench.server.count("GET", name) + bench.server.count("HEAD", name), 0, "{name}");
    }
    assert_eq!(bench.server.count("GET", "/storage/"), 1);
}

#[test]
fn a_pickle_serves_where_there_are_no_safetensors() {
    let bench = Bench::new(without(&[WEIGHTS]));
    let snapshot = bench.get().expect("a model");
    assert!(snapshot.dir.join("pytorch_model.bin").is_file());
    assert!(bench.get_offline().is_ok());
}

fn sharded(weight_map: &serde_json::Value) -> Repo {
    let mut repo = without(&[WEIGHTS]);
    repo.files.push(large("model-00001-of-00002.safetensors", 40_000));
    repo.files.push(large("model-00002-of-00002.safetensors.", 1));
    repo.files.push(RepoFile { name: "model-00002-of-00002.safetensors".to_owned(), ..large("another seed", 50_000) });
    repo.files.push(file("model.safetensors.index.json", serde_json::json!({"weight_map": weight_map}).to_string()));
    repo
}

#[test]
fn shards_come_by_their_index() {
    let (one, two) = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors");
    let bench = Bench::new(sharded(&serde_json::json!({"a": one, "b": two, "c": one})));
    let snapshot = bench.get().expect("a model");
    assert!(snapshot.dir.join(one).is_file() && snapshot.dir.join(two).is_file());
    assert_eq!(bench.server.count("GET", "/storage/"), 2);
    assert!(bench.get_offline().is_ok());
    fs::remove_file(snapshot.dir.join(two)).expect("a file");
    assert_says(&told(&bench.get_offline().expect_err("an error")), &[two, "missing from", "--offline"]);
}

#[test]
fn an_index_that_leads_astray_is_refused() {
    for (shard, problem) in
        [("../../escape.safetensors", "expected safetensors files"), ("no.safetensors", "does not have")]
    {
        let bench = Bench::new(sharded(&serde_json::json!({"a": shard})));
        assert_says(&bench.error(), &["model.safetensors.index.json", ID, shard, problem]);
    }
}

#[test]
fn a_repository_that_is_no_model_says_what_it_has_instead() {
    let mut repo = without(&[WEIGHTS, "pytorch_model.bin"]);
    repo.files.push(large("tf_model.h5", 10));
    repo.files.push(file("pytorch_model.bin.index.json", "{}"));
    let found = "only onnx/model.onnx, tf_model.h5, pytorch_model.bin.index.json";
    assert_says(&Bench::new(repo).error(), &[ID, "expected model.safetensors", found, "save_pretrained"]);
    let repo = without(&["tokenizer.json", "vocab.txt"]);
    assert_says(&Bench::new(repo).error(), &[ID, "expected tokenizer.json or vocab.txt"]);
    assert_says(&Bench::new(without(&["config.json"])).error(), &[ID, "no config.json"]);
}

/// Each golden family by its id, through the binary: downloaded, computed, and found in the cache without the network.
#[test]
#[cfg(feature = "cli")]
fn a_model_of_every_family_comes_by_its_id() {
    let families = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/families");
    for folder in fs::read_dir(families).expect("families") {
        let folder = folder.expect("a family").path();
        let read = |name: &str| fs::read(folder.join(name)).expect("a file");
        let of_model = [
            file("config.json", read("config.json")),
            RepoFile { name: WEIGHTS.to_owned(), content: read(WEIGHTS), large: true },
        ];
        let files = word_ids::tokenizer().into_iter().map(|(name, content)| file(name, content)).chain(of_model);
        let bench = Bench::new(Repo { files: files.collect(), ..tiny() });
        let run = |offline: &str| {
            let ran = Command::new(env!("CARGO_BIN_EXE_layerwise"))
                .args(["extract", "-m", ID, "5 6 7", "-e", "token"])
                .env("HF_ENDPOINT", bench.server.endpoint())
                .env("HF_HUB_CACHE", &bench.settings.cache_dir)
                .env("HF_HUB_OFFLINE", offline)
                .output()
                .expect("it runs");
            assert!(ran.status.success(), "{}: {}", folder.display(), String::from_utf8_lossy(&ran.stderr));
            ran.stdout
        };
        let first = run("0");
        assert!(first.starts_with(b"{\"row\":0"), "{}", String::from_utf8_lossy(&first));
        assert_eq!(run("1"), first, "{}", folder.display());
    }
}

#[test]
fn a_file_that_xet_has_too_comes_over_http() {
    let bench = Bench::new(Repo { xet: true, ..tiny() });
    bench.assert_gets_all();
    assert_eq!(bench.server.count("GET", "/storage/"), 1);
}

#[test]
fn branches_tags_and_commits_are_revisions() {
    let bench = Bench::new(tiny());
    for revision in ["main", "v1.0", "refs/pr/1", COMMIT] {
        assert_eq!(bench.get_revision(revision).expect("a model").commit, COMMIT);
        let offline = HubQuery { revision: Some(revision), offline: true, ..request() };
        assert_eq!(snapshot_with(&bench.settings, &offline).expect("a model").commit, COMMIT);
    }
    assert_eq!(bench.ref_of("refs/pr/1").as_deref(), Some(COMMIT));
    assert_eq!(bench.ref_of(COMMIT), None);
    assert_eq!(bench.server.count("GET", "/storage/"), 1);
}

#[test]
fn a_branch_that_moves_brings_only_what_changed() {
    let bench = Bench::new(tiny());
    let old = bench.get().expect("a model");
    let moved = "f".repeat(40);
    bench.server.change(|repo| {
        repo.commit.clone_from(&moved);
        repo.files[1].content = b"changed".to_vec();
    });
    bench.server.forget();
    // Half way, the branch still stands for the model that is whole.
    bench.server.fail("GET", "/api/resolve-cache/", 1, Fault::Status(403, "", ""));
    bench.get().expect_err("an error");
    assert_eq!(bench.get_offline().expect("a model").commit, COMMIT);
    let new = bench.get().expect("a model");
    assert_eq!((new.commit.as_str(), bench.ref_of("main")), (moved.as_str(), Some(moved.clone())));
    assert_eq!(bench.server.count("GET", "/storage/"), 0);
    assert!(old.dir.is_dir() && old.dir != new.dir);
    bench.assert_nothing_half();
}

#[test]
fn a_renamed_repository_and_an_endpoint_with_a_slash_are_found() {
    let mut bench = Bench::new(tiny());
    bench.settings.endpoint += "/";
    let former = HubQuery { id: "tester/former-name", ..request() };
    let snapshot = snapshot_with(&bench.settings, &former).expect("a model");
    // Under the name that was asked for, as the Python library keeps it.
    assert!(snapshot.dir.starts_with(bench.settings.cache_dir.join("models--tester--former-name")));
    assert!(bench.get().is_ok());
}

#[test]
fn nonsense_is_refused_before_any_request() {
    let bench = Bench::new(tiny());
    for id in ["./nomodel", "a/b/c", "../up", "/root/model", "", "a b"] {
        let error = snapshot_with(&bench.settings, &HubQuery { id, ..request() }).expect_err(id);
        assert_says(&told(&error), &["neither an existing directory nor a hub id", "owner/name"]);
    }
    let error = bench.get_revision("../../main").expect_err("an error");
    assert_says(&told(&error), &["../../main", "branch or tag"]);
    for endpoint in ["huggingface.co", "localhost:80", "file:///tmp", "::"] {
        let settings = HubSettings { endpoint: endpoint.to_owned(), ..bench.settings.clone() };
        let error = snapshot_with(&settings, &request()).expect_err(endpoint);
        assert_says(&told(&error), &["HF_ENDPOINT", endpoint, "https://huggingface.co"]);
    }
    assert_eq!(bench.server.seen().len(), 0);
}

// Refusals.

#[test]
fn refusals_say_what_to_do() {
    let mut bench = Bench::new(tiny());
    bench.server.fail("GET", "/api/models", 1, Fault::Status(401, "", "Invalid username or password."));
    assert_says(&bench.error(), &["login", ID, "401: Invalid username", "private or gated", "set HF_TOKEN"]);
    bench.server.fail("GET", "/api/models", 1, Fault::Status(403, "GatedRepo", "Access is restricted."));
    assert_says(&bench.error(), &["403: Access is restricted.", ID, "gated", "HF_TOKEN"]);
    bench.server.fail("GET", "/api/models", 1, Fault::Status(404, "RepoNotFound", "Repository not found"));
    assert_says(&bench.error(), &["no repository", ID, "404", "HF_TOKEN", "no such directory"]);
    bench.server.fail("GET", "/api/models", 1, Fault::Status(404, "", ""));
    assert_says(&bench.error(), &[ID, "main", "404", "private"]);
    let error = bench.get_revision("nowhere").expect_err("an error");
    assert_says(&told(&error), &[ID, "no revision `nowhere`", "branch, a tag or a commit"]);
    bench.settings.token = Token::new("hf_wrong");
    bench.server.change(|repo| repo.token = Some(TOKEN.to_owned()));
    assert_says(&bench.error(), &["401", "the token in HF_TOKEN or the token file is not valid"]);
    // Anybody may list the files of a gated repository; its first file is refused.
    bench.server.change(|repo| repo.token = None);
    bench.server.fail("HEAD", "config.json", 1, Fault::Status(403, "GatedRepo", "You are not in the list."));
    assert_says(&bench.error(), &["403: You are not in the list.", "gated", "HF_TOKEN"]);
    assert_eq!(files_below(&bench.settings.cache_dir), Vec::<PathBuf>::new());
    bench.assert_recovers();
}

#[test]
fn a_hub_that_stumbles_is_asked_again() {
    for (method, part) in
        [("GET", "/api/models"), ("HEAD", "config.json"), ("HEAD", WEIGHTS), ("GET", "vocab.txt"), ("GET", "/storage/")]
    {
        let bench = Bench::new(tiny());
        bench.server.fail(method, part, 2, Fault::Status(500, "", "Internal error"));
        bench.assert_gets_all();
        assert!(bench.server.count(method, part) >= 3, "{method} {part}");
    }
}

#[test]
fn a_hub_that_stays_down_is_given_up() {
    let bench = Bench::new(tiny());
    bench.server.fail("GET", "/api/models", usize::MAX, Fault::Status(503, "", "Down for repairs"));
    assert_says(&bench.error(), &["503", "Down for repairs", "not in the cache", "try again later"]);
    bench.assert_recovers();
    // With a copy at hand, the copy is used, and that is said.
    bench.server.fail("GET", "/api/models", usize::MAX, Fault::Status(503, "", "Down for repairs"));
    assert_says(&bench.get().expect("a model").notes.join(""), &["Down for repairs", "cached copy", ID, COMMIT]);
}

// The token.

#[test]
fn the_token_goes_to_the_hub_alone() {
    let mut bench = Bench::new(Repo { token: Some(TOKEN.to_owned()), ..tiny() });
    bench.settings.token = Token::new(&format!(" {TOKEN}\n"));
    bench.get().expect("a model");
    let seen = bench.server.seen();
    assert!(seen.iter().any(|seen| seen.storage));
    for seen in &seen {
        assert_eq!(seen.authorization.is_some(), !seen.storage, "{seen:?}");
    }
    for path in files_below(bench.cache.path()) {
        let content = fs::read(&path).expect("a file");
        assert!(!content.windows(TOKEN.len()).any(|part| part == TOKEN.as_bytes()), "{}", path.display());
    }
    assert!(!format!("{:?}", bench.settings).contains(TOKEN));
}

#[test]
fn a_server_that_repeats_the_token_is_not_quoted_with_it() {
    let mut bench = Bench::new(tiny());
    bench.settings.token = Token::new(TOKEN);
    let telling = "no access with hf_aVerySecretToken, sorry";
    for (method, part) in [("GET", "/api/models"), ("HEAD", "config.json"), ("GET", "/storage/")] {
        for status in [401, 403, 404, 418, 500] {
            bench.server.fail(method, part, usize::MAX, Fault::Status(status, telling, telling));
            bench.error();
            bench.server.recover();
        }
    }
    // A note of a copy used instead quotes the server, too.
    bench.get().expect("a model");
    bench.server.fail("GET", "/api/models", usize::MAX, Fault::Status(500, telling, telling));
    let notes = bench.get().expect("a model").notes.join("");
    assert!(notes.contains("no access with …, sorry") && !notes.contains(TOKEN), "{notes}");
}

#[test]
fn a_token_that_is_none_is_refused_without_being_shown() {
    let mut bench = Bench::new(tiny());
    bench.settings.token = Token::new(&format!("{TOKEN} ü"));
    assert_says(&bench.error(), &["HF_TOKEN", "hf_"]);
    assert_eq!(bench.server.seen().len(), 0);
}

// Without the network.

#[test]
fn offline_touches_no_network() {
    let bench = Bench::new(tiny());
    let error = told(&bench.get_offline().expect_err("an error"));
    assert_says(&error, &[ID, "`main`", "not in the cache", "run once without --offline and HF_HUB_OFFLINE"]);
    assert_eq!(files_below(bench.cache.path()), Vec::<PathBuf>::new());
    let snapshot = bench.get().expect("a model");
    bench.server.forget();
    assert_eq!(bench.get_offline().expect("a model"), snapshot);
    let error = snapshot_with(&bench.settings, &HubQuery { offline: true, revision: Some("v9"), ..request() });
    assert_says(&told(&error.expect_err("an error")), &["`v9`", "not in the cache"]);
    for (name, says) in
        [("vocab.txt", ""), ("tokenizer.json", "tokenizer"), (WEIGHTS, "weights"), ("config.json", "config.json is")]
    {
        fs::remove_file(bench.snapshot_dir().join(name)).expect("a file");
        if !says.is_empty() {
            let error = told(&bench.get_offline().expect_err("an error"));
            assert_says(&error, &[says, "missing from", COMMIT, "without --offline"]);
        }
    }
    assert_eq!(bench.server.seen().len(), 0);
}

#[test]
fn out_of_reach_the_cache_is_used_and_that_is_said() {
    let mut bench = Bench::new(tiny());
    let endpoint = std::mem::replace(&mut bench.settings.endpoint, NOBODY.to_owned());
    assert_says(
        &bench.error(),
        &[NOBODY, "cannot get", ID, "refused", "not in the cache", "HF_ENDPOINT", "HF_HOME", "folder"],
    );
    bench.settings.endpoint = endpoint;
    let online = bench.get().expect("a model");
    bench.settings.endpoint = NOBODY.to_owned();
    let offline = bench.get().expect("a model");
    assert_eq!((online.dir, online.commit), (offline.dir, offline.commit));
    assert_says(&offline.notes.join(""), &["cannot reach the hub", "refused", "cached copy", ID, "`main`", COMMIT]);
}

#[test]
fn a_login_page_instead_of_the_hub_is_no_hub() {
    let bench = Bench::new(tiny());
    bench.server.fail("GET", "/api/models", 1, Fault::Instead(b"<html>Welcome to our Wi-Fi</html>".to_vec()));
    assert_says(&bench.error(), &["cannot get", "does not answer as a hub does"]);
}

// Several processes, and ends in the middle.

#[test]
fn two_at_once_download_once() {
    let bench = Bench::new(tiny());
    thread::scope(|scope| {
        let runs: Vec<_> = (0..4).map(|_| scope.spawn(|| bench.get().expect("a model"))).collect();
        let snapshots: Vec<_> = runs.into_iter().map(|run| run.join().expect("a run")).collect();
        assert!(snapshots.windows(2).all(|pair| pair[0] == pair[1]));
    });
    assert_eq!(bench.server.count("GET", "/storage/"), 1);
    bench.assert_nothing_half();
}

#[test]
fn a_killed_download_leaves_nothing_in_the_way() {
    let bench = Bench::new(tiny());
    bench.server.fail("GET", "/storage/", usize::MAX, Fault::Stall);
    let mut child = child_process(&bench).spawn().expect("a process");
    let left = || {
        let blobs = files_below(&bench.repo_dir().join("blobs"));
        blobs.into_iter().find(|path| path.to_string_lossy().contains("incomplete") && path.ends_with(WEIGHTS))
    };
    let started = Instant::now();
    while left().is_none() && started.elapsed() < Duration::from_secs(20) {
        thread::sleep(Duration::from_millis(10));
    }
    child.kill().expect("a running process");
    child.wait().expect("an ended process");
    assert_eq!(bench.ref_of("main"), None);
    assert_says(&told(&bench.get_offline().expect_err("an error")), &["not in the cache"]);
    bench.server.recover();
    // What was left might be another process's; when nobody has written to it for long it is cleared away.
    bench.get().expect("a model");
    let left_file = left().expect("what was left");
    for path in [left_file.as_path(), left_file.parent().expect("its folder")] {
        let long_ago = SystemTime::now() - Duration::from_secs(3600);
        File::open(path).and_then(|file| file.set_modified(long_ago)).expect("a change of its time");
    }
    bench.assert_recovers();
    assert_eq!(left(), None);
}

/// A process of its own, with an environment of its own, in which [`in_a_child_process`] runs.
fn child_process(bench: &Bench) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(["--exact", "in_a_child_process", "--ignored", "--nocapture"]).env_clear();
    command.env("LAYERWISE_TEST_CHILD", "1").env("HOME", bench.cache.path().join("home"));
    command.env("HF_HOME", bench.cache.path()).env("HF_ENDPOINT", bench.server.endpoint());
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

/// What a process says about `snapshot`, which reads its environment.
fn output(command: &mut Command) -> String {
    String::from_utf8_lossy(&command.output().expect("a process").stdout).into_owned()
}

#[test]
#[ignore = "the other half of the tests that start a process"]
#[expect(clippy::print_stdout, reason = "the tests that start this process read it")]
fn in_a_child_process() {
    match std::env::var("LAYERWISE_TEST_CHILD").as_deref() {
        Ok("no token") => {
            let settings = HubSettings { token: None, ..HubSettings::from_env().expect("settings") };
            println!("{:?}", snapshot_with(&settings, &request()));
        }
        Ok(_) => println!("{:?}", snapshot(&request())),
        Err(_) => {}
    }
}

#[test]
fn the_environment_is_read_as_by_the_python_library() {
    let bench = Bench::new(Repo { token: Some(TOKEN.to_owned()), ..tiny() });
    let mut command = child_process(&bench);
    assert_says(&output(&mut command), &["Unauthorized", "token_sent: false"]);
    assert_says(&output(command.env("HF_TOKEN", "").env("HF_HUB_OFFLINE", "0")), &["Unauthorized"]);
    assert_says(&output(command.env("HF_HUB_OFFLINE", "True")), &["NotCached"]);
    assert_says(&output(command.env("HF_HUB_OFFLINE", "").env("HF_TOKEN", TOKEN)), &["Ok(Snapshot", COMMIT]);
    assert!(bench.snapshot_dir().is_dir(), "HF_HOME/hub is the cache");
    assert_says(&output(command.env("HF_HUB_CACHE", "~/elsewhere")), &["Ok(Snapshot", "home/elsewhere/models--"]);
    // Settings without a token send none, whatever else is in the environment.
    bench.server.change(|repo| repo.token = None);
    bench.server.forget();
    assert_says(
        &output(command.env("LAYERWISE_TEST_CHILD", "no token").env("HF_HUB_CACHE", "$HOME/fresh")),
        &["home/fresh/"],
    );
    let seen = bench.server.seen();
    assert!(!seen.is_empty() && seen.iter().all(|seen| seen.authorization.is_none()), "{seen:?}");
}
