//! The fuzz targets on their corpus: what fuzzing found once stays found, without a fuzzer.

#![allow(clippy::expect_used, reason = "a test that cannot go on should stop")]

use std::fs;
use std::path::Path;

#[path = "../fuzz/targets.rs"]
mod targets;

fn replay(target: &str, run: fn(&[u8])) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut count = 0;
    for entry in fs::read_dir(&corpus).expect("a corpus") {
        let path = entry.expect("an entry").path();
        run(&fs::read(&path).expect("a file"));
        count += 1;
    }
    assert!(count > 0, "{target} has a corpus");
}

#[test]
fn readers() {
    replay("readers", targets::readers);
}

#[test]
fn config() {
    replay("config", targets::config);
}

#[test]
fn tokenizer() {
    replay("tokenizer", targets::tokenizer);
}

#[test]
fn sentence_piece() {
    replay("sentence_piece", targets::sentence_piece);
}

#[test]
fn safetensors() {
    replay("safetensors", targets::safetensors);
}

#[test]
fn pickle() {
    replay("pickle", targets::pickle);
}

#[test]
fn index() {
    replay("index", targets::index);
}

#[test]
fn journal() {
    replay("journal", targets::journal);
}

#[test]
fn manifest() {
    replay("manifest", targets::manifest);
}
