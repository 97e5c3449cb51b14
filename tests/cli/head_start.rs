//! Texts that are encoded while later ones are still awaited: the same bytes, and nothing is left of them where the input is bad.

use std::io::Write;
use std::thread::sleep;
use std::time::Duration;

use crate::desk::Desk;
use crate::running::{Running, wait_until};

/// Texts that are read and tokenized together.
const PIECE: usize = 4096;

/// What is told where texts were encoded beside the first pass.
const TOLD: &str = "texts were encoded while others were tokenized";

fn texts(count: usize) -> String {
    (0..count).map(|i| format!("{}the river bank {i}\n", "some good world ".repeat(i % 7))).collect()
}

/// Starts a job that gets texts and then has to wait for more, until the encoder is at work.
fn begins(desk: &Desk, job: &str, first: &str) -> Running {
    let mut running = desk.starts(job);
    let stdin = running.0.stdin.as_mut().expect("standard input");
    let (some, others) = first.split_at(first.lines().take(PIECE).map(|line| line.len() + 1).sum());
    stdin.write_all(some.as_bytes()).expect("a reader");
    sleep(Duration::from_millis(1300));
    // The piece after the first second lets it begin.
    stdin.write_all(others.as_bytes()).expect("a reader");
    sleep(Duration::from_millis(700));
    running
}

#[test]
fn rows_of_texts_that_are_encoded_ahead_are_those_of_any_job() {
    let desk = Desk::with("width1");
    let all = texts(3 * PIECE + 100);
    desk.put("texts.txt", &all);
    let mut jobs = vec![
        "-e token,mean,pooler --batch-tokens 500",
        "-e word,mean -f safetensors --dtype bf16 --max-length 12 --overflow window --stride 4 --batch-tokens 40",
    ];
    if cfg!(feature = "parquet") {
        jobs.push("-e token,mean -f parquet --part-texts 3000");
    }
    for job in jobs {
        desk.types(&format!("extract -m width1 {job} -i texts.txt -o undisturbed --overwrite")).succeeds();
        let job = format!("extract -m width1 {job} -v -o out");
        let first: usize = all.lines().take(2 * PIECE).map(|line| line.len() + 1).sum();
        let mut running = begins(&desk, &job, &all[..first]);
        let mut stdin = running.0.stdin.take().expect("standard input");
        stdin.write_all(all[first..].as_bytes()).expect("a reader");
        drop(stdin);
        assert!(running.ends().success(), "{}", running.stderr());
        let stderr = running.stderr();
        assert!(stderr.contains(TOLD), "{job}: {stderr}");
        assert!(desk.job("out") == desk.job("undisturbed"), "{job}");
        std::fs::remove_dir_all(desk.path("out")).expect("a directory");
    }
}

#[test]
fn bad_input_leaves_nothing_of_what_was_encoded() {
    let desk = Desk::with("width1");
    let mut running = begins(&desk, "extract -m width1 -e token -v -o out", &texts(2 * PIECE));
    let mut stdin = running.0.stdin.take().expect("standard input");
    stdin.write_all(b"fine\n\xff\xfe bad\nfine\n").expect("a reader");
    drop(stdin);
    assert_eq!(running.ends().code(), Some(1));
    let stderr = running.stderr();
    assert!(stderr.contains("line 8194"), "{stderr}");
    assert!(!desk.has("out"), "nothing was there before");
}

#[cfg(unix)]
#[test]
fn a_job_that_is_killed_or_stopped_then_goes_on() {
    let desk = Desk::with("width1");
    let all = texts(2 * PIECE + 50);
    desk.put("texts.txt", &all);
    desk.types("extract -m width1 -e token -i texts.txt -o undisturbed").succeeds();
    for (signal, code) in [("KILL", None), ("TERM", Some(143))] {
        let mut running = begins(&desk, "extract -m width1 -e token -o out", &texts(2 * PIECE));
        wait_until("the first pass is journaled", || desk.has("out/unfinished.json"));
        running.gets_signal(signal);
        assert_eq!(running.ends().code(), code, "{}", running.stderr());
        desk.types("extract -m width1 -e token -i texts.txt -o out").succeeds();
        assert!(desk.job("out") == desk.job("undisturbed"), "{signal}");
        std::fs::remove_dir_all(desk.path("out")).expect("a directory");
    }
}
