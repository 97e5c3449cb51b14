//! Files that are not what they seem: links, pipes and devices under names of ours, files of others in the output
//! directory, directories that are moved, files that have changed. Nothing of others is written, truncated or removed.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::{Duration, SystemTime};

use crate::desk::Desk;
use crate::running::wait_until;

const PRECIOUS: &str = "years of work";

/// A desk with something precious outside of the output directory, and a finished job in `out`.
fn desk() -> Desk {
    let desk = Desk::new();
    desk.put("precious/thesis.txt", PRECIOUS);
    desk.put("texts.txt", "the river bank\nthe old bank\n");
    desk
}

fn is_precious_still(desk: &Desk) {
    assert_eq!(desk.file_names("precious"), ["thesis.txt"]);
    assert_eq!(desk.read("precious/thesis.txt"), PRECIOUS.as_bytes());
}

/// Names that a job gives to files, in passing or for good.
const NAMES: [&str; 12] = [
    ".layerwise.lock",
    ".layerwise-texts.jsonl",
    ".layerwise-tokens",
    ".layerwise-new-texts.jsonl",
    ".layerwise-new-tokens",
    ".layerwise-so-far",
    "unfinished.json",
    "manifest.json",
    "run.json",
    "texts.jsonl",
    "mean",
    "mean/layer_01.npy",
];

#[test]
fn no_link_is_followed_out_of_the_output_directory() {
    for name in NAMES {
        let targets = ["../precious/thesis.txt", "../precious/new"];
        let of_folders = ["../precious", "../precious/new"];
        for target in if name == "mean" { of_folders } else { targets } {
            for there in ["nothing", "a job"] {
                let desk = desk();
                desk.model_as("width1", "small"); // the quickest to load
                if there == "a job" {
                    desk.types("extract -m small -i texts.txt -e mean -o out").succeeds();
                }
                let link = desk.path("out").join(name);
                fs::create_dir_all(link.parent().expect("a parent")).expect("a directory");
                let _ = fs::remove_file(&link);
                let _ = fs::remove_dir_all(&link);
                let up = if name.contains('/') { "../" } else { "" };
                symlink(format!("{up}{target}"), &link).expect("a link");
                for job in ["-e mean -o out", "-e token,mean -f safetensors -o out --overwrite"] {
                    let what = format!("{name} → {target}, beside {there}: {job}");
                    let ran = desk.types(&format!("extract -m small -i texts.txt {job}"));
                    assert!([Some(0), Some(1)].contains(&ran.code()), "{what}: {}", ran.stderr());
                    assert!(ran.code() == Some(0) || ran.stderr().contains("error: "), "{what}: {}", ran.stderr());
                    is_precious_still(&desk);
                }
            }
        }
    }
}

#[test]
fn a_link_is_named_and_left_alone() {
    let desk = desk();
    fs::create_dir(desk.path("out")).expect("a directory");
    for name in [".layerwise.lock", "manifest.json", "mean"] {
        symlink("../precious/thesis.txt", desk.path("out").join(name)).expect("a link");
        let said = desk.types("extract hello -o out --overwrite").fails();
        said.says_all(&[name, "a symbolic link that layerwise did not make", "move it away"]);
        assert!(desk.path("out").join(name).is_symlink());
        desk.remove(&format!("out/{name}"));
    }
    is_precious_still(&desk);
}

#[test]
fn overwrite_removes_only_what_layerwise_made() {
    let desk = desk();
    desk.types("extract -i texts.txt -e mean -l 1 -o out").succeeds();
    for name in ["mean/layer_02.npy", "mean/notes.txt", "token.safetensors", "notes.txt", ".layerwise-mine"] {
        desk.put(&format!("out/{name}"), PRECIOUS);
    }
    let before = desk.files("out");
    // One of them has a name that this job would give.
    desk.types("extract -i texts.txt -e mean -o out --overwrite")
        .fails()
        .says_all(&["out/mean/layer_02.npy", "did not make"]);
    desk.types("extract -i texts.txt -e token -f safetensors -o out --overwrite").fails().says("token.safetensors");
    assert!(desk.files("out") == before);
    desk.types("extract -i texts.txt -e cls -l 2 -o out --overwrite").succeeds();
    for name in ["mean/layer_02.npy", "mean/notes.txt", "token.safetensors", "notes.txt", ".layerwise-mine"] {
        assert_eq!(desk.read(&format!("out/{name}")), PRECIOUS.as_bytes(), "{name}");
    }
    assert!(!desk.has("out/mean/layer_01.npy"));
}

#[test]
fn files_that_only_have_the_names_of_ours_are_not_replaced() {
    for (name, content) in [
        ("manifest.json", "{\"name\": \"a web page\"}"),
        ("texts.jsonl", "{\"text\": \"mine\"}\n"),
        ("run.json", "{}"),
        ("unfinished.json", "[]"),
    ] {
        let desk = desk();
        desk.put(&format!("out/{name}"), content);
        desk.types("extract hello -o out --overwrite").fails().says_all(&[name, "did not make"]);
        assert_eq!(desk.file_names("out"), [name]);
        assert_eq!(desk.read(&format!("out/{name}")), content.as_bytes());
    }
}

#[test]
fn a_damaged_manifest_of_ours_can_be_written_over() {
    let desk = desk();
    desk.types("extract -i texts.txt -e mean -o out").succeeds();
    let whole = desk.job("out");
    let manifest = desk.read("out/manifest.json");
    desk.put("out/manifest.json", &manifest[..manifest.len() / 2]);
    desk.types("extract -i texts.txt -e mean -o out").fails().says_all(&["manifest.json", "damaged", "--overwrite"]);
    desk.types("extract -i texts.txt -e mean -o out --overwrite").succeeds();
    assert!(desk.job("out") == whole);
}

#[test]
fn what_is_read_may_not_lie_in_the_output_directory() {
    let desk = desk();
    desk.types("extract -i texts.txt -e mean -o out").succeeds();
    let before = desk.files("out");
    let said = desk.types("extract -i out/texts.jsonl --text-column id -o out --overwrite").fails();
    said.says_all(&["the input is", "out/texts.jsonl", "another directory"]);
    assert!(desk.files("out") == before);
    desk.model_as("width1", "model");
    let before = desk.files("model");
    desk.types("extract hello -m model -o model --overwrite").fails().says_all(&["the model is", "another directory"]);
    assert!(desk.files("model") == before);
}

#[test]
fn a_directory_that_is_replaced_meanwhile_is_not_written() {
    let desk = desk();
    let mut running = desk.starts("extract -i - -e mean -o out");
    wait_until("the job has begun", || desk.has("out/.layerwise-texts.jsonl"));
    fs::rename(desk.path("out"), desk.path("moved")).expect("moved");
    fs::create_dir(desk.path("out")).expect("a directory");
    desk.put("out/thesis.txt", PRECIOUS);
    let mut stdin = running.0.stdin.take().expect("standard input");
    std::io::Write::write_all(&mut stdin, b"the river bank\n").expect("written");
    drop(stdin);
    assert_eq!(running.ends().code(), Some(1));
    let said = running.stderr();
    assert!(said.contains("moved or removed meanwhile"), "{said}");
    assert_eq!(desk.file_names("out"), ["thesis.txt"]);
}

#[test]
fn a_complete_job_whose_bytes_have_changed_is_not_done() {
    let desk = desk();
    let job = "extract -i texts.txt -e mean,token -o out";
    desk.types(job).succeeds();
    let date = SystemTime::now() + Duration::from_secs(5);
    let touch = |name: &str| {
        fs::File::options().write(true).open(desk.path(name)).expect("a file").set_modified(date).expect("a date");
    };
    // A later date alone changes nothing.
    touch("out/mean/layer_02.npy");
    touch("out/texts.jsonl");
    desk.types(job).succeeds().says("nothing to do");
    for name in ["out/mean/layer_02.npy", "out/token/offsets.npy", "out/texts.jsonl"] {
        let bytes = desk.read(name);
        let mut other = bytes.clone();
        *other.last_mut().expect("a byte") ^= 1;
        desk.put(name, &other);
        touch(name);
        desk.types(job).fails().says_all(&[name.trim_start_matches("out/"), "changed", "--overwrite"]);
        other.push(0);
        desk.put(name, &other);
        touch(name);
        desk.types(job).fails().says_all(&[name.trim_start_matches("out/"), "--overwrite"]);
        desk.put(name, &bytes);
        touch(name);
        desk.types(job).succeeds().says("nothing to do");
    }
}

#[test]
fn a_complete_job_needs_nothing_written() {
    let desk = desk();
    desk.types("extract -i texts.txt -e mean -o out").succeeds();
    fs::set_permissions(desk.path("out"), fs::Permissions::from_mode(0o555)).expect("permissions");
    if fs::write(desk.path("out/probe"), "").is_ok() {
        // Root writes everywhere.
        desk.remove("out/probe");
    }
    desk.types("extract -i texts.txt -e mean -o out").succeeds().says("nothing to do");
    fs::set_permissions(desk.path("out"), fs::Permissions::from_mode(0o755)).expect("permissions");
}

#[test]
fn more_files_than_the_system_allows_are_asked_for_or_refused() {
    let desk = desk();
    let job = "extract -i texts.txt -e token,word,mean,cls,max,mean_sqrt_len,weightedmean,lasttoken -o out";
    let said = desk.types_in_shell("ulimit -n 80;", job).fails();
    said.says_all(&["open files", "ulimit -n", "--layers"]);
    assert!(!desk.has("out"));
    // A soft limit is raised.
    desk.types_in_shell("ulimit -Sn 80;", job).succeeds();
    desk.types_in_shell("ulimit -n 80;", "extract -i texts.txt -e mean -o out --overwrite").succeeds();
}

#[test]
fn a_pipe_or_a_device_in_place_of_a_models_file_is_named() {
    for name in ["config.json", "tokenizer.json", "model.safetensors", "tokenizer_config.json"] {
        let desk = desk();
        desk.model_as("width1", "model");
        let path = desk.path("model").join(name);
        let _ = fs::remove_file(&path);
        let made = std::process::Command::new("mkfifo").arg(&path).status();
        assert!(made.expect("mkfifo").success());
        desk.types("extract hello -m model").fails().says(name);
        desk.remove(&format!("model/{name}"));
        symlink("/dev/zero", &path).expect("a link");
        desk.types("extract hello -m model").fails().says(name);
    }
}
