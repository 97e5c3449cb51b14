//! Input that is not what it should be: one clear message, exit code 1, nothing written.

use crate::desk::Desk;

/// A job that fails, with and without a directory to write.
fn fails(desk: &Desk, job: &str, stdin: impl AsRef<[u8]>, says: &[&str]) {
    desk.types_into(job, &stdin).fails().says_all(says);
    desk.types_into(&format!("{job} -o out"), &stdin).fails().says_all(says);
    desk.types_into(&format!("{job} -o a/b/c"), &stdin).fails().says_all(says);
    assert!(!desk.has("out") && !desk.has("a"), "directories made for nothing are removed again");
}

#[test]
fn a_missing_file_is_named() {
    fails(&Desk::new(), "extract -i nowhere/texts.txt", "", &["cannot open", "texts.txt"]);
}

#[test]
fn a_directory_is_not_a_file() {
    let desk = Desk::new();
    desk.put("texts/a.txt", "hello\n");
    fails(&desk, "extract -i texts", "", &["texts"]);
    #[cfg(unix)]
    fails(&desk, "extract -i texts", "", &["texts: is a directory; expected a file of texts"]);
}

#[cfg(unix)]
#[test]
fn an_unreadable_file_is_named() {
    use std::os::unix::fs::PermissionsExt;
    let desk = Desk::new();
    desk.put("secret.txt", "hello\n");
    let forbidden = std::fs::Permissions::from_mode(0o000);
    std::fs::set_permissions(desk.path("secret.txt"), forbidden).expect("permissions");
    // Root may read it all the same; this one opens, and nobody can read it at its beginning.
    let readable = std::fs::File::open(desk.path("secret.txt")).is_ok();
    match (readable, std::path::Path::new("/proc/self/mem").exists()) {
        (false, _) => fails(&desk, "extract -i secret.txt", "", &["secret.txt", "denied"]),
        (true, true) => fails(&desk, "extract -i /proc/self/mem", "", &["/proc/self/mem", "cannot be read"]),
        (true, false) => {}
    }
}

#[test]
fn an_empty_file_holds_no_text() {
    let desk = Desk::new();
    desk.put("empty.txt", "");
    fails(&desk, "extract -i empty.txt", "", &["empty.txt", "holds no text", "one text a line"]);
    fails(&desk, "extract", "", &["standard input", "holds no text"]);
    fails(&desk, "extract -i -", "", &["standard input", "holds no text"]);
}

#[test]
fn a_byte_order_mark_alone_is_an_empty_file() {
    let desk = Desk::new();
    desk.put("mark.txt", "\u{feff}");
    fails(&desk, "extract -i mark.txt", "", &["mark.txt", "holds no text"]);
}

#[test]
fn a_line_that_is_not_utf_8_is_named() {
    let desk = Desk::new();
    let input = b"good\nfine\ncaf\xe9 au lait\nbad again \xff\n";
    desk.put("latin1.txt", input);
    let says = ["line 3", "not UTF-8", "0xe9", "convert"];
    fails(&desk, "extract -i latin1.txt", "", &[&says[..], &["latin1.txt"]].concat());
    fails(&desk, "extract", input, &[&says[..], &["standard input"]].concat());
}

#[test]
fn a_bad_line_after_many_good_ones_writes_nothing_either() {
    let desk = Desk::with("width1");
    let mut input = b"hello world\n".repeat(50_000);
    input.extend(b"\xc3\x28\n");
    desk.types_into("extract -m width1 -o out", &input).fails().says("line 50001");
    desk.types_into("extract -m width1", &input).fails().says("line 50001");
    assert!(!desk.has("out"));
}

#[test]
fn other_encodings_are_not_guessed() {
    let desk = Desk::new();
    let utf16: Vec<u8> = "\u{feff}hello\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    fails(&desk, "extract", utf16, &["line 1", "not UTF-8"]);
    fails(&desk, "extract", b"ok\n\xed\xa0\x80 a surrogate\n", &["line 2", "not UTF-8"]);
    fails(&desk, "extract", b"ok\n\xc0\x80 an overlong nul\n", &["line 2", "not UTF-8"]);
    fails(&desk, "extract", b"cut in the middle \xe4\xb8", &["line 1", "not UTF-8"]);
}

#[cfg(unix)]
#[test]
fn an_argument_that_is_not_utf_8_fails_as_wrong_usage() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let arguments = [OsStr::new("extract"), OsStr::from_bytes(b"caf\xe9")];
    Desk::new().runs(&arguments, "").fails_as_wrong_usage().says("UTF-8");
}

/// A hundred megabytes without a line end, refused within a gigabyte of address space.
#[cfg(target_os = "linux")]
#[test]
fn a_line_without_end_does_not_fill_the_memory() {
    use std::io::Write;
    use std::process::Stdio;

    let desk = Desk::with("width1");
    let mut command = std::process::Command::new("sh");
    let limited = "ulimit -v 1000000; exec \"$0\" \"$@\"";
    let program = desk.command();
    command.args(["-c", limited]).arg(program.get_program()).current_dir(desk.path("."));
    command.args(["extract", "-m", "width1", "--threads", "2", "-o", "out"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("a process");
    let mut stdin = child.stdin.take().expect("standard input");
    let megabyte = vec![b'a'; 1 << 20];
    // The program may stop to read before the end.
    let _ = (0..100).try_for_each(|_| stdin.write_all(&megabyte));
    drop(stdin);
    let output = child.wait_with_output().expect("an end");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{stderr}");
    assert!(stderr.contains("standard input: line 1 is longer than"), "{stderr}");
    assert!(stderr.contains("one text on a line"), "{stderr}");
    assert!(!desk.has("out"));
}

#[test]
fn a_long_line_in_the_middle_is_named() {
    let desk = Desk::new();
    let mut input = b"hello\n".to_vec();
    input.extend(b"word ".repeat(4 << 20));
    input.extend(b"\nhello\n");
    desk.put("texts.txt", &input);
    desk.types("extract -i texts.txt -o out").fails().says_all(&["texts.txt", "line 2 is longer than"]);
    assert!(!desk.has("out"));
}

#[test]
fn a_megabyte_of_one_text_is_cut_like_any_other() {
    let desk = Desk::with("width1");
    let input = "river stone ".repeat(90_000);
    desk.types_into("extract -m width1 -o out", &input).succeeds().says("1 of 1 texts are longer than 40 tokens");
    let line = &desk.json_lines("out/texts.jsonl")[0];
    assert_eq!((line["n_tokens"].as_u64(), line["n_tokens_before_truncation"].as_u64()), (Some(40), Some(180_002)));
}
