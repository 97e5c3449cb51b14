//! `extract --stream`: lines answered as they come.

use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdin, ChildStdout};

use serde_json::Value;

use crate::desk::Desk;
use crate::running::Running;

/// A worker that runs, and both ends of it.
struct Worker {
    running: Running,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Worker {
    fn starts(desk: &Desk, line: &str) -> Self {
        let mut running = desk.starts(line);
        let (stdin, stdout) = (running.0.stdin.take(), running.0.stdout.take().expect("standard output"));
        Self { running, stdin, stdout: BufReader::new(stdout) }
    }

    fn gets(&mut self, bytes: &str) {
        let stdin = self.stdin.as_mut().expect("standard input");
        stdin.write_all(bytes.as_bytes()).and_then(|()| stdin.flush()).expect("a reader");
    }

    fn answers(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("a line");
        line
    }

    fn ends(&mut self) -> (Option<i32>, String) {
        drop(self.stdin.take());
        (self.running.ends().code(), self.running.stderr())
    }
}

#[test]
fn a_line_is_answered_before_the_next_one_comes() {
    let desk = Desk::with("width1");
    let texts = ["hello world", "", "the cat sat on the mat", "hello world"];
    desk.put("texts.txt", texts.map(|text| format!("{text}\n")).concat());
    let expected = desk.types("extract -m width1 -i texts.txt -e token,mean,cls").succeeds().stdout();
    let mut worker = Worker::starts(&desk, "extract -m width1 --stream -e token,mean,cls");
    for (text, expected) in texts.into_iter().zip(expected.lines()) {
        worker.gets(&format!("{text}\n"));
        assert_eq!(worker.answers().trim_end(), expected);
    }
    // Half a line is no line, until it is whole or the input ends.
    worker.gets("the cat ");
    worker.gets("sat on the mat\nhello");
    let without_row = |line: &str| line.split_once(',').expect("an object").1.trim_end().to_owned();
    assert_eq!(without_row(&worker.answers()), without_row(expected.lines().nth(2).expect("a line")));
    drop(worker.stdin.take());
    assert!(worker.answers().starts_with("{\"row\":5,"));
    let (code, stderr) = worker.ends();
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stderr.contains("6 texts, ") && stderr.contains(" answered in "), "{stderr}");
}

#[test]
fn the_same_lines_as_a_job() {
    let desk = Desk::with("width1");
    let text = |i: usize| ["hello world ", "the cat ", "sat on the mat "][i % 3].repeat(1 + i * 7 % 40);
    let lines =
        (0..300).map(|i| format!("{{\"text\": \"{}\", \"id\": \"t{i}\", \"label\": {i}, \"more\": [{i}]}}\n", text(i)));
    desk.put("texts.jsonl", lines.collect::<String>());
    for options in
        ["-e mean,token --carry more", "-e mean --overflow window --stride 3", "-e mean,pooler --batch-tokens 7"]
    {
        let job = format!("extract -m width1 -i texts.jsonl {options}");
        let expected = desk.types(&job).succeeds().stdout();
        assert!(desk.types(&format!("{job} --stream")).succeeds().stdout() == expected, "{options}");
        let piped = format!("extract -m width1 --input-format jsonl --stream {options}");
        assert!(desk.types_into(&piped, desk.read("texts.jsonl")).succeeds().stdout() == expected, "{options}");
    }
}

#[test]
fn a_bad_line_is_answered_with_its_error_and_the_stream_goes_on() {
    let desk = Desk::with("width1");
    let mut worker =
        Worker::starts(&desk, "extract -m width1 --stream --input-format jsonl --overflow error --max-length 6");
    let mut answer = |line: &str| {
        worker.gets(&format!("{line}\n"));
        serde_json::from_str::<Value>(&worker.answers()).expect("an object")
    };
    assert_eq!(answer("{\"text\": \"hello\"}")["row"], 0);
    for (row, bad, error) in [
        (1, "{\"text\": ", "line 2 is not a JSON object: "),
        (2, "{\"texts\": \"hello\"}", "line 3 has no column `text`"),
        (3, "{\"text\": \"hello world hello world hello world\"}", "the text has 8 tokens, more than 6; shorten it"),
    ] {
        let answer = answer(bad);
        assert_eq!((&answer["row"], &answer["line"]), (&row.into(), &(row + 1).into()));
        assert!(answer["error"].as_str().is_some_and(|told| told.contains(error)), "{answer}");
        assert!(answer.get("layers").is_none());
    }
    let last = answer("{\"text\": \"hello\", \"id\": \"x\"}");
    assert_eq!((&last["row"], &last["id"], last.get("error")), (&4.into(), &"x".into(), None));
    let (code, stderr) = worker.ends();
    assert_eq!(code, Some(1));
    assert!(stderr.contains("3 of 5 lines could not be encoded"), "{stderr}");
}

#[test]
fn bad_lines_among_many_keep_their_places() {
    let desk = Desk::with("width1");
    let mut bytes = Vec::new();
    for i in 0..200 {
        bytes.extend_from_slice(if i % 7 == 3 { b"\xff\n" } else { b"hello world\n" });
    }
    let answers = desk.types_into("extract -m width1 --stream", bytes).ends_with(1).json_lines();
    assert_eq!(answers.len(), 200);
    for (row, answer) in answers.iter().enumerate() {
        assert_eq!((&answer["row"], answer.get("error").is_some()), (&row.into(), row % 7 == 3), "{answer}");
    }
}

#[test]
fn a_cut_is_said_when_it_happens() {
    let desk = Desk::with("width1");
    let mut worker = Worker::starts(&desk, "extract -m width1 --stream --max-length 4 --progress never");
    worker.gets("hello\nhello world hello world\n");
    worker.answers();
    worker.answers();
    let stderr = worker.running.0.stderr.as_mut().expect("standard error");
    let mut told = String::new();
    let mut stderr = BufReader::new(stderr);
    while !told.contains("row 1 is longer than 4 tokens") {
        assert_ne!(stderr.read_line(&mut told).expect("a message"), 0, "{told}");
    }
}

#[test]
fn what_begins_as_no_text_is_refused_and_a_mark_is_passed_over() {
    let desk = Desk::with("width1");
    let plain = desk.types("extract -m width1 hello").succeeds().stdout();
    desk.types_into("extract -m width1 --stream", "\u{feff}hello\n").succeeds().prints_exactly(&plain);
    for (bytes, told) in [
        (&b"\x1f\x8b\x08\0\0\0\0\0"[..], "standard input: is compressed (gzip)"),
        (b"\xff\xfeh\0e\0l\0l\0o\0\n\0", "UTF-8"),
        (b"PK\x03\x04\x14\0\0\0\x08\0", "expected text"),
    ] {
        desk.types_into("extract -m width1 --stream", bytes).fails().says(told).prints_nothing();
    }
}

#[test]
fn options_that_do_not_go_with_a_stream_are_refused() {
    let desk = Desk::with("width1");
    desk.put("texts.csv", "text\nhello\n");
    desk.put("a.txt", "hello\n");
    for (options, told) in [
        ("hello", "cannot be used with"),
        ("-o out", "cannot be used with"),
        ("--dry-run", "cannot be used with"),
        ("--shard 1/2", "cannot be used with"),
        ("--on-bad-line skip", "--on-bad-line skip leaves lines out"),
        ("-i texts.csv", "--input-format text, jsonl or arrow, and texts.csv is of format csv"),
        ("-i a.txt -i a.txt", "--stream reads one input"),
    ] {
        desk.types(&format!("extract -m width1 --stream {options}")).ends_with(2).says(told).prints_nothing();
    }
}

#[cfg(unix)]
#[test]
fn a_worker_ends_with_a_signal_or_its_reader() {
    let desk = Desk::with("width1");
    let mut worker = Worker::starts(&desk, "extract -m width1 --stream");
    worker.gets("hello\n");
    assert!(worker.answers().starts_with("{\"row\":0,"));
    worker.running.gets_signal("TERM");
    assert_eq!(worker.running.ends().code(), Some(143));

    let mut worker = Worker::starts(&desk, "extract -m width1 --stream");
    worker.gets("hello\n");
    worker.answers();
    let Worker { mut running, stdin, stdout } = worker;
    drop(stdout);
    let mut stdin = stdin.expect("standard input");
    let _ = stdin.write_all(b"hello\n");
    assert_eq!((running.ends().code(), running.stderr().as_str()), (Some(0), ""));
}

#[test]
fn an_empty_stream_is_no_error() {
    let desk = Desk::with("width1");
    desk.types_into("extract -m width1 --stream", "").succeeds().prints_nothing();
}
