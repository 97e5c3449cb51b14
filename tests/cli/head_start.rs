//! Texts that are encoded while later ones are still awaited: the same bytes, and nothing is left of them where the input is bad.

use std::io::{Read, Write};
use std::process::ExitStatus;
use std::sync::{Arc, Mutex};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

use crate::desk::Desk;
use crate::running::{Running, wait_until};

/// Texts that are read and tokenized together, at most.
const PIECE: usize = 4096;

/// What is told when texts are encoded beside the first pass, and when rows of them were written.
const BEGINS: &str = "texts are encoded while others are tokenized";
const WRITTEN: &str = "texts were encoded while others were tokenized";

/// A job that reads its texts from a pipe, and what it says.
struct Job {
    running: Running,
    texts: String,
    told: Arc<Mutex<String>>,
    reader: JoinHandle<()>,
}

impl Job {
    /// Starts a job that gets texts and then has to wait for more, until the encoder is at work.
    fn begins(desk: &Desk, job: &str) -> Self {
        let mut running = desk.starts(&format!("extract -m width1 {job} -v -o out"));
        let mut stderr = running.0.stderr.take().expect("standard error");
        let told = Arc::new(Mutex::new(String::new()));
        let reader = spawn({
            let told = Arc::clone(&told);
            move || {
                let mut bytes = [0; 1 << 10];
                while let Ok(count @ 1..) = stderr.read(&mut bytes) {
                    *told.lock().expect("no panic") += &String::from_utf8_lossy(&bytes[..count]);
                }
            }
        });
        let mut job = Self { running, texts: String::new(), told, reader };
        let begun = Instant::now();
        // The first piece after a second lets it begin.
        while !job.told.lock().expect("no panic").contains(BEGINS) {
            assert!(begun.elapsed() < Duration::from_secs(60), "{}", job.told.lock().expect("no panic"));
            let first = job.texts.lines().count();
            let texts =
                (first..first + PIECE).map(|i| format!("{}the river bank {i}\n", "some good world ".repeat(i % 7)));
            job.gets(&texts.collect::<String>());
            sleep(Duration::from_millis(400));
        }
        sleep(Duration::from_millis(300));
        job
    }

    /// Sends it texts.
    fn gets(&mut self, texts: &str) {
        let stdin = self.running.0.stdin.as_mut().expect("standard input");
        stdin.write_all(texts.as_bytes()).expect("a reader");
        self.texts += texts;
    }

    /// Waits for its end, and returns what it said.
    fn ends(mut self) -> (ExitStatus, String, String) {
        drop(self.running.0.stdin.take());
        let status = self.running.ends();
        self.reader.join().expect("no panic");
        let told = self.told.lock().expect("no panic").clone();
        (status, told, self.texts)
    }
}

#[test]
fn rows_of_texts_that_are_encoded_ahead_are_those_of_any_job() {
    let desk = Desk::with("width1");
    let mut jobs = vec![
        "-e token,mean,pooler --batch-tokens 500",
        "-e word,mean -f safetensors --dtype bf16 --max-length 12 --overflow window --stride 4 --batch-tokens 40",
    ];
    if cfg!(feature = "parquet") {
        jobs.push("-e token,mean -f parquet --part-texts 3000");
    }
    for options in jobs {
        let mut job = Job::begins(&desk, options);
        job.gets("the last text of all\n");
        let (status, told, texts) = job.ends();
        assert!(status.success() && told.contains(WRITTEN), "{options}: {told}");
        desk.put("texts.txt", texts);
        desk.types(&format!("extract -m width1 {options} -i texts.txt -o undisturbed --overwrite")).succeeds();
        assert!(desk.job("out") == desk.job("undisturbed"), "{options}");
        std::fs::remove_dir_all(desk.path("out")).expect("a directory");
    }
}

#[test]
fn bad_input_leaves_nothing_of_what_was_encoded() {
    let desk = Desk::with("width1");
    let mut job = Job::begins(&desk, "-e token");
    let line = job.texts.lines().count() + 2;
    job.running.0.stdin.as_mut().expect("standard input").write_all(b"fine\n\xff\xfe bad\nfine\n").expect("a reader");
    let (status, told, _) = job.ends();
    assert_eq!(status.code(), Some(1));
    assert!(told.contains(&format!("line {line}")) && !told.contains(WRITTEN), "{told}");
    assert!(!desk.has("out"), "nothing was there before");
}

/// A text that cannot be cut into windows is refused when all texts are known; the encoder must not have met it before.
#[test]
fn a_pair_without_room_for_windows_is_refused_as_ever() {
    let desk = Desk::with("width1");
    let options = "--input-format jsonl --pair-column pair -e mean --max-length 12 --overflow window --stride 2";
    let mut running = desk.starts(&format!("extract -m width1 {options} -v -o out"));
    let mut stdin = running.0.stdin.take().expect("standard input");
    let long = "river bank ".repeat(20);
    let mut lines = format!("{{\"text\": \"{long}\", \"pair\": \"{long}\"}}\n");
    lines += &"{\"text\": \"the river\", \"pair\": \"a bank\"}\n".repeat(PIECE - 1);
    for _ in 0..5 {
        stdin.write_all(lines.as_bytes()).expect("a reader");
        sleep(Duration::from_millis(400));
    }
    drop(stdin);
    assert_eq!(running.ends().code(), Some(1));
    let told = running.stderr();
    assert!(told.contains(BEGINS) && told.contains("cannot be cut into windows"), "{told}");
    assert!(!desk.has("out"), "nothing was there before");
}

#[cfg(unix)]
#[test]
fn a_job_that_is_killed_or_stopped_then_goes_on() {
    let desk = Desk::with("width1");
    for (signal, code) in [("KILL", None), ("TERM", Some(143))] {
        let job = Job::begins(&desk, "-e token");
        wait_until("the first pass is journaled", || desk.has("out/unfinished.json"));
        job.running.gets_signal(signal);
        // Its end is awaited with standard input open, as nobody closes it then.
        let Job { mut running, texts, reader, .. } = job;
        assert_eq!(running.ends().code(), code);
        reader.join().expect("no panic");
        desk.put("texts.txt", texts);
        for output in ["out", "undisturbed --overwrite"] {
            desk.types(&format!("extract -m width1 -e token -i texts.txt -o {output}")).succeeds();
        }
        assert!(desk.job("out") == desk.job("undisturbed"), "{signal}");
        std::fs::remove_dir_all(desk.path("out")).expect("a directory");
    }
}
