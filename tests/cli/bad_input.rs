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
    let desk = Desk::new();
    desk.put("data/train.jsonl.gz", "");
    fails(
        &desk,
        "extract -i data/train.jsonl",
        "",
        &["cannot open data/train.jsonl", "did you mean data/train.jsonl.gz?"],
    );
    desk.types("extract -i data/other").fails().does_not_say("did you mean");
}

#[test]
fn a_directory_is_not_a_file() {
    let desk = Desk::new();
    desk.put("texts/a.txt", "hello\n");
    fails(&desk, "extract -i texts", "", &["texts"]);
    let told = "texts: is a directory; expected a file of texts; name the files in it, each with -i";
    fails(&desk, "extract -i texts --input-format csv", "", &[told]);
    #[cfg(unix)]
    fails(
        &desk,
        "extract -i texts",
        "",
        &[
            "texts: is a directory that holds `a.txt`; expected a file of texts, or ",
            "name the files in it, each with -i",
        ],
    );
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
    fails(
        &desk,
        "extract",
        b"ok\n\xed\xa0\x80 a surrogate\n",
        &["line 2 is not Unicode: 0xd800", "half of a surrogate pair"],
    );
    fails(&desk, "extract", b"ok\n\xc0\x80 an overlong nul\n", &["line 2", "not UTF-8"]);
    fails(&desk, "extract", b"cut in the middle \xe4\xb8", &["line 1", "not UTF-8"]);
    let western = "standard input: line 1 is not UTF-8: byte 0xe9 after 3 good bytes; convert the file, with `iconv -f WINDOWS-1252 -t UTF-8` if that byte is to be `é`";
    fails(&desk, "extract", b"caf\xe9\n", &[western]);
    for (encoding, line) in [
        ("WINDOWS-1251", &b"\xef\xf0\xe8\xe2\xe5\xf2\n"[..]),
        ("GBK", b"\xc4\xe3\xba\xc3\n"),
        ("Shift_JIS", b"\x93\xfa\x96{\n"),
        ("Mac Roman", b"caf\x8e\n"),
    ] {
        let ran = desk.types_into("extract", line).fails();
        ran.says_all(&["line 1 is not UTF-8", "iconv -f ENCODING -t UTF-8"]).does_not_say("1252");
        assert!(!encoding.is_empty());
    }
}

/// A text in UTF-16, without a byte order mark.
fn utf16(text: &str, bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
    text.encode_utf16().flat_map(bytes).collect()
}

#[test]
fn utf_16_without_a_byte_order_mark_is_named() {
    let desk = Desk::new();
    for (name, text) in
        [("a.txt", "hello\nworld\n"), ("a.csv", "id,text\r\n1,naïve\r\n"), ("a.jsonl", "{\"text\": \"привет\"}\n")]
    {
        for (encoding, bytes) in [("UTF-16LE", u16::to_le_bytes as fn(u16) -> [u8; 2]), ("UTF-16BE", u16::to_be_bytes)]
        {
            desk.put(name, utf16(text, bytes));
            let way_out = format!(
                "{name}: seems to be {encoding} without a byte order mark; expected UTF-8; convert it with `iconv -f {encoding} -t UTF-8`"
            );
            fails(&desk, &format!("extract -i {name}"), "", &[&way_out]);
            let ran = desk.types_into("extract", utf16(text, bytes)).fails();
            ran.says_all(&["standard input", encoding]).does_not_say("1252");
        }
    }
    let long: Vec<u8> = "hello\n".bytes().flat_map(|byte| u32::from(byte).to_be_bytes()).collect();
    fails(&desk, "extract", long, &["UTF-32BE", "iconv -f UTF-32BE -t UTF-8"]);
}

#[test]
fn damaged_utf_16_is_a_bad_line() {
    let desk = Desk::new();
    let mut input = utf16("\u{feff}fine\nbad é ", u16::to_le_bytes);
    input.extend([0x3d, 0xd8]);
    input.extend(utf16(" and on\nfine\n", u16::to_le_bytes));
    let says = "standard input: line 2 is not Unicode: 0xd83d after 6 good characters is half of a surrogate pair";
    fails(&desk, "extract", &input, &[says]);
    let whole = utf16("\u{feff}hello\nworld\n", u16::to_be_bytes);
    fails(&desk, "extract", &whole[..whole.len() - 1], &["UTF-16BE data end in the middle of a character"]);
}

#[test]
fn a_nul_byte_is_a_bad_line() {
    let desk = Desk::new();
    let says = "line 2 has a NUL byte after 5 good bytes, which no text has; take it out";
    fails(&desk, "extract", b"fine\nhello\0world\n", &[says, "binary"]);
    desk.put("a.csv", b"id,text\n1,hello\0world\n");
    fails(&desk, "extract -i a.csv", "", &["a.csv: ", says]);
    desk.put("a.jsonl", b"{\"text\": \"fine\"}\n{\"te\0xt\": 1}\n");
    fails(&desk, "extract -i a.jsonl", "", &["a.jsonl: line 2 has a NUL byte after 4 good bytes"]);
    let appended = [b"one\ntwo\n", &utf16("three\nfour\n", u16::to_le_bytes)[..]].concat();
    fails(&desk, "extract", appended, &["line 3 has a NUL byte beside each character, as UTF-16 has", "two encodings"]);
    // In JSON a NUL may be spelled.
    desk.put("a.jsonl", b"{\"text\": \"hello\\u0000world\"}\n");
    desk.types("extract -i a.jsonl").succeeds();
}

#[test]
fn files_that_are_no_text_are_named() {
    let desk = Desk::new();
    let noise: Vec<u8> = (0..4000u32).map(|i| (i * i * 7 + i / 3) as u8).collect();
    let tar = [&b"a.txt"[..], &[0; 252], b"ustar\0", &[0; 249]].concat();
    let docx = b"PK\x03\x04\x14\0\x06\0\x08\0\0\0!\0[Content_Types].xml PK\x03\x04\x14\0word/document.xml";
    let (parquet, arrow) = if cfg!(feature = "parquet") {
        ("--input-format parquet", "--input-format arrow")
    } else {
        ("--features parquet", "read_feather")
    };
    for (content, says) in [
        (&b"PAR1\x15\x04\x15\x10\x15\x14"[..], &["is a Parquet file", "expected text", parquet][..]),
        (b"ARROW1\0\0\xff\xff\xff\xff", &["is an Arrow file", arrow]),
        (b"BZh91AY&SY\x12\xef", &["compressed with bzip2", "bzip2 -d"]),
        (b"\x04\x22\x4d\x18\x64\x40", &["compressed with lz4", "lz4 -d"]),
        (b"7z\xbc\xaf\x27\x1c\0\x04", &["is a 7z archive", "7z x"]),
        (b"Rar!\x1a\x07\x01\0", &["is a RAR archive", "unrar x"]),
        (b"\x1f\x9d\x90\x68\xca", &["compress (.Z)", "gzip -d"]),
        (b"PK\x03\x04\x14\0\0\0a.txt", &["is a zip archive", "unpack it"]),
        (docx, &["is a Word document", "plain text"]),
        (&tar, &["is a tar archive", "tar -xf"]),
        (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", &["is a PDF document", "pdftotext"]),
        (b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR", &["is a PNG image"]),
        (b"SQLite format 3\0\x10\0", &["is an SQLite database", "sqlite3 -header -csv"]),
        (b"\x80\x04\x95\x0b\0\0\0\0\0\0\0", &["is a pickle of Python"]),
        (b"\x93NUMPY\x01\0v\0{'descr'", &["is a NumPy array"]),
        (b"\x40\0\0\0\0\0\0\0{\"a\":{", &["is a safetensors file", "-m"]),
        (b"GGUF\x03\0\0\0\x01", &["is a GGUF file"]),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", &["is a pointer of Git LFS", "git lfs pull"]),
        (&noise, &["is not text: byte 0x", "expected UTF-8"]),
    ] {
        for name in ["a.txt", "a.csv", "a.jsonl", "a.json"] {
            desk.put(name, content);
            let file = format!("{name}: is ");
            let ran = desk.types(&format!("extract -i {name} -o out")).fails();
            ran.says_all(says).says(&file).does_not_say("1252").does_not_say("line 1");
        }
        desk.types_into("extract", content).fails().says_all(says).says("standard input: is ");
        assert!(!desk.has("out"));
    }
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
