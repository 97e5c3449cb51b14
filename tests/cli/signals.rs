//! Ctrl-C, requests to terminate and terminals that go away: exit codes 130, 143 and 129, what was there is kept, the way on is
//! told.

use std::io::{BufRead, BufReader, Read, Write};
use std::time::Duration;

use crate::desk::Desk;
use crate::running::{Running, wait_until};

/// Some seconds of work for one thread and batches of one text; less than one for all threads and large batches.
fn long_job() -> (Desk, &'static str) {
    let desk = Desk::new();
    desk.put("texts.txt", ("some people make a good world by the house again ".repeat(20) + "\n").repeat(400));
    (desk, "extract -i texts.txt -e token,mean")
}

/// What makes it slow.
const SLOWLY: &str = "--threads 1 --batch-tokens 1";

/// A process that was told to stop does so at once.
const SOON: Duration = Duration::from_secs(20);

fn assert_interrupted(running: &mut Running, code: i32) -> String {
    let status = running.ends_within(SOON);
    let stderr = running.stderr();
    assert_eq!(status.code(), Some(code), "{status}: {stderr}");
    assert!(stderr.contains("error: interrupted") && !stderr.contains("panicked"), "{stderr}");
    stderr
}

/// Starts a long job into `out` and sends it a signal when encoding has begun.
fn stopped(desk: &Desk, job: &str, signal: &str) -> Running {
    let running = desk.starts(&format!("{job} {SLOWLY} -o out"));
    wait_until("encoding has begun", || desk.has("out/token/layer_00.npy"));
    running.gets_signal(signal);
    running
}

#[test]
fn an_interrupted_job_says_how_to_go_on() {
    for (signal, code) in [("INT", 130), ("TERM", 143), ("HUP", 129)] {
        let (desk, job) = long_job();
        let stderr = assert_interrupted(&mut stopped(&desk, job, signal), code);
        assert!(stderr.contains("of 400 texts") && stderr.contains("same command again"), "{stderr}");
        assert!(!desk.has("out/manifest.json"), "the directory is not complete");
        let hidden: Vec<String> =
            desk.file_names("out").into_iter().filter(|name| name.contains(".layerwise")).collect();
        assert_eq!(hidden, [".layerwise-tokens"], "what the same command goes on with");
        desk.types("extract other -o out").fails().says_all(&["holds another job", "--overwrite"]);
    }
}

#[test]
fn a_signal_is_answered_before_the_work_at_hand_is_done() {
    let (desk, job) = long_job();
    for (to, answer) in [("-o out", "finished rows are kept, and the same command goes on"), ("", "starts over")] {
        let mut running = desk.starts(&format!("{job} --threads 1 {to} -v"));
        let stdout = running.0.stdout.take().expect("standard output");
        let reader = std::thread::spawn(move || BufReader::new(stdout).bytes().count());
        let mut stderr = BufReader::new(running.0.stderr.take().expect("standard error"));
        let mut line = String::new();
        while !line.starts_with("model ") {
            line.clear();
            stderr.read_line(&mut line).expect("a line");
        }
        std::thread::sleep(Duration::from_millis(300));
        running.gets_signal("TERM");
        let mut said = String::new();
        stderr.read_to_string(&mut said).expect("UTF-8");
        let lines: Vec<&str> = said.lines().collect();
        let last = lines.len().checked_sub(2).expect("two lines");
        assert!(lines[last].starts_with("stopping; ") && lines[last].contains(answer), "{said}");
        assert!(lines[last + 1].starts_with("error: interrupted"), "{said}");
        assert_eq!(running.ends_within(SOON).code(), Some(143));
        reader.join().expect("a reader");
    }
}

#[test]
fn a_job_that_is_to_outlive_its_terminal_does() {
    let (desk, job) = long_job();
    desk.put("texts.txt", "some people make a good world by the house again\n".repeat(40));
    let mut command = desk.prepared(std::path::Path::new("sh"));
    let script = "trap '' HUP; exec \"$0\" \"$@\"";
    command.args(["-c", script]).arg(crate::desk::program());
    command.args(crate::desk::words(&format!("{job} {SLOWLY} -o out"))).stderr(std::process::Stdio::piped());
    let mut running = Running(command.spawn().expect("a process"));
    wait_until("encoding has begun", || desk.has("out/token/layer_00.npy"));
    running.gets_signal("HUP");
    assert_eq!(running.ends().code(), Some(0), "{}", running.stderr());
}

#[test]
fn the_same_command_after_an_interruption_gives_the_same_bytes() {
    let (desk, job) = long_job();
    desk.types(&format!("{job} -o undisturbed")).succeeds();
    for signal in ["INT", "KILL"] {
        stopped(&desk, job, signal).ends_within(SOON);
        desk.types(&format!("{job} -o out")).succeeds();
        assert!(desk.job("out") == desk.job("undisturbed"), "{signal}");
        std::fs::remove_dir_all(desk.path("out")).expect("a directory");
    }
}

#[test]
fn a_job_that_goes_on_is_as_far_as_it_was() {
    let (desk, job) = long_job();
    let mut running = desk.starts(&format!("{job} {SLOWLY} -o out"));
    let encoded = || desk.json("out/unfinished.json")["progress"]["texts"].as_u64().unwrap_or_default();
    wait_until("some texts are encoded", || desk.has("out/token/layer_00.npy") && encoded() > 12);
    running.gets_signal("INT");
    running.ends_within(SOON);
    let percent = encoded() * 100 / 400;
    let ran = desk.types(&format!("{job} -o out --progress always")).succeeds();
    let stderr = ran.stderr();
    let mut lines = stderr.lines().filter(|line| line.starts_with("encoding: "));
    assert!(lines.next().expect("a line").starts_with(&format!("encoding: {percent}% ")), "{percent}%: {stderr}");
    assert!(lines.next_back().expect("a line").starts_with("encoding: 100% "), "{stderr}");
    assert!(!stderr.contains('\r') && !stderr.contains(", 0/s"), "{stderr}");
}

#[test]
fn info_says_that_a_job_is_unfinished() {
    let (desk, job) = long_job();
    stopped(&desk, job, "INT").ends_within(SOON);
    let ran =
        desk.types("info out").fails().says_all(&["out", "unfinished", "model bundled", "of 400 texts are encoded"]);
    ran.says("the command that began it, run again, goes on");
    let dry = desk.types(&format!("{job} -o out --dry-run")).succeeds().prints("goes on   ");
    dry.prints_all(&["of 400 texts are encoded", "are left"]);
    desk.types("extract other -e token,mean -o out --dry-run").fails().says("another job");
    desk.put("texts.txt", "other\n");
    desk.types(&format!("{job} -o out --dry-run")).fails().says_all(&["another job", "the input"]);
    desk.types(&format!("{job} -o out --dry-run --overwrite")).succeeds().prints("texts     1\n");
}

#[test]
fn json_lines_end_with_a_whole_line() {
    let (desk, job) = long_job();
    let mut running = desk.starts(&format!("{job} {SLOWLY}"));
    let mut stdout = BufReader::new(running.0.stdout.take().expect("standard output"));
    let mut printed = String::new();
    stdout.read_line(&mut printed).expect("a line");
    running.gets_signal("INT");
    std::io::Read::read_to_string(&mut stdout, &mut printed).expect("UTF-8");
    assert_interrupted(&mut running, 130);
    assert!(printed.ends_with("}\n") && printed.lines().count() < 400);
}

#[test]
fn a_job_that_waits_for_input_ends_at_once_and_leaves_nothing() {
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        let desk = Desk::with("width1");
        let mut running = desk.starts("extract -m width1 -o out");
        let mut stdin = running.0.stdin.take().expect("standard input");
        stdin.write_all(b"hello\nworld\n").expect("a writer");
        stdin.flush().expect("a writer");
        wait_until("the directory is there", || desk.has("out"));
        std::thread::sleep(Duration::from_millis(50));
        running.gets_signal(signal);
        assert_interrupted(&mut running, code);
        assert!(!desk.has("out"));
        drop(stdin);
    }
}

#[test]
fn a_job_that_prints_and_waits_for_input_ends_at_once_as_well() {
    let desk = Desk::with("width1");
    let mut running = desk.starts("extract -m width1 -v");
    let stdin = running.0.stdin.take().expect("standard input");
    // The first message says that the model is there: from then on it reads.
    let mut line = String::new();
    let mut stderr = BufReader::new(running.0.stderr.take().expect("standard error"));
    stderr.read_line(&mut line).expect("a line");
    std::thread::sleep(Duration::from_millis(100));
    running.gets_signal("INT");
    assert_eq!(running.ends_within(SOON).code(), Some(130));
    drop(stdin);
}
