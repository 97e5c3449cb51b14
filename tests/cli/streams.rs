//! Streams that end early or take nothing: a closed pipe, a full device, standard error without a reader.

use crate::desk::Desk;

/// Commands that print, each more than a pipe holds or at least a line.
#[cfg(unix)]
const PRINTING: [&str; 4] = ["extract -m width1 hello", "info", "info --json", "completions bash"];

#[cfg(unix)]
#[test]
fn a_reader_that_leaves_ends_the_job_quietly() {
    use std::io::{BufRead, BufReader};
    let desk = Desk::with("width1");
    desk.put("texts.txt", "hello world\n".repeat(20_000));
    let mut running = desk.starts("extract -m width1 -i texts.txt");
    let mut stdout = BufReader::new(running.0.stdout.take().expect("standard output"));
    let mut line = String::new();
    stdout.read_line(&mut line).expect("a line");
    assert!(line.starts_with("{\"row\":0,"), "{line}");
    drop(stdout);
    let (status, stderr) = (running.ends(), running.stderr());
    assert_eq!((status.code(), stderr.as_str()), (Some(0), ""));
}

#[cfg(unix)]
#[test]
fn a_reader_that_was_never_there_is_no_error_either() {
    let desk = Desk::with("width1");
    for line in PRINTING.into_iter().chain(["--help", "--version"]) {
        let mut running = desk.starts(line);
        drop(running.0.stdout.take());
        let (status, stderr) = (running.ends(), running.stderr());
        assert_eq!((status.code(), stderr.contains("error"), stderr.contains("panicked")), (Some(0), false, false));
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_device_that_is_full_is_an_error() {
    let desk = Desk::with("width1");
    for line in PRINTING {
        let ran = desk.types_in_shell("exec >/dev/full;", line);
        ran.fails().says_all(&["cannot write standard output", "No space left"]);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn help_that_cannot_be_printed_is_an_error() {
    for line in ["--help", "extract --help", "--version"] {
        assert_ne!(Desk::new().types_in_shell("exec >/dev/full;", line).code(), Some(0), "{line}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn messages_that_nobody_can_read_do_no_harm() {
    let desk = Desk::with("width1");
    let printed = desk.types("extract -m width1 'hello world'").succeeds().stdout();
    for nowhere in ["exec 2>/dev/full;", "exec 2>&-;"] {
        let ran = desk.types_in_shell(nowhere, "extract -m width1 'hello world'");
        assert_eq!(ran.ends_with(0).stdout(), printed, "{nowhere}");
        desk.types_in_shell(nowhere, "extract -m width1 hello -l 9").ends_with(2);
        desk.types_in_shell(nowhere, "extract -m width1 -i nowhere.txt").ends_with(1);
    }
}

#[cfg(unix)]
#[test]
fn messages_into_a_pipe_without_a_reader_do_no_harm() {
    let desk = Desk::with("width1");
    for (line, code) in [
        ("extract -m width1 'hello world' -o out", 0),
        ("extract -m width1 hello -o other -v", 0),
        ("extract -m width1 hello -l 9", 2),
        ("extract -m width1 hello --no-such-option", 2),
    ] {
        let mut running = desk.starts(line);
        drop(running.0.stderr.take());
        drop(running.0.stdin.take());
        assert_eq!(running.ends().code(), Some(code), "{line}");
    }
    assert!(desk.has("out/manifest.json"));
}

#[cfg(unix)]
#[test]
fn streams_that_were_closed_before_it_began_do_no_harm() {
    let desk = Desk::with("width1");
    desk.types_in_shell("exec >&-;", "extract -m width1 hello -o out").succeeds();
    desk.types_in_shell("exec <&-;", "extract -m width1").ends_with(1).says("standard input");
    desk.types_in_shell("exec <&-;", "extract -m width1 hello").succeeds();
}

/// Vectors are not to be mixed with anything else.
#[test]
fn standard_output_is_for_data_alone() {
    let desk = Desk::new();
    let ran = desk.types("extract 'hello world' '' -v --progress always --max-length 3").succeeds();
    assert_eq!(ran.json_lines().len(), 2);
    desk.types("extract hello -v --progress always -o out").succeeds().prints_nothing();
}

/// Rust's runtime would put `/dev/null` there, and everything would be lost with exit code 0.
#[cfg(unix)]
#[test]
fn without_a_standard_output_nothing_is_lost_in_silence() {
    let desk = Desk::new();
    for command in ["extract hello", "info", "compare a b"] {
        let command_line: Vec<_> = command.split(' ').collect();
        let mut shell = desk.prepared(std::path::Path::new("sh"));
        shell.args(["-c", "exec \"$0\" \"$@\" >&-"]).arg(crate::desk::program()).args(command_line);
        let out = shell.output().expect("a shell");
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(!out.status.success() && said.contains("standard output is closed"), "{command}: {said}");
    }
    let mut shell = desk.prepared(std::path::Path::new("sh"));
    shell.args(["-c", "exec \"$0\" \"$@\" >&-"]).arg(crate::desk::program()).args(["extract", "hello", "-o", "out"]);
    assert!(shell.status().expect("a shell").success());
}
