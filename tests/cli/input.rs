//! Where texts come from: arguments, files, standard input.

use serde_json::{Value, json};

use crate::desk::Desk;

#[test]
fn texts_come_from_arguments_files_and_standard_input_alike() {
    let desk = Desk::new();
    desk.put("texts.txt", "hello world\none more\n");
    desk.types("extract 'hello world' 'one more' -e token -o arguments").succeeds();
    desk.types("extract -i texts.txt -e token -o file").succeeds();
    desk.types_into("extract -e token -o stdin", "hello world\none more\n").succeeds();
    desk.types_into("extract -i - -e token -o dash", "hello world\none more").succeeds();
    let expected = desk.job("arguments");
    for out in ["file", "stdin", "dash"] {
        assert_eq!(desk.job(out), expected, "{out}");
    }
}

#[test]
fn an_argument_may_hold_line_ends_and_start_with_a_dash() {
    let desk = Desk::new();
    desk.runs(&["extract", "-o", "out", "--", "-5 degrees", "two\nlines", "--help"], "").succeeds();
    assert_eq!(desk.json_lines("out/texts.jsonl").len(), 3);
}

#[test]
fn a_file_may_have_a_name_that_starts_with_a_dash_or_has_spaces() {
    let desk = Desk::new();
    desk.put("my texts.txt", "hello\n");
    desk.put("-", "a file of this name\n");
    desk.types("extract -i 'my texts.txt' -o 'my vectors'").succeeds();
    assert!(desk.has("my vectors/manifest.json"));
    desk.types_into("extract -i ./- -l 0 -o dash", "not this\nnor this\n").succeeds();
    assert_eq!(desk.json_lines("dash/texts.jsonl").len(), 1);
}

#[test]
fn a_blank_line_is_a_text() {
    let desk = Desk::new();
    let ran = desk.types_into("extract -e token -l 0", "one\n\n   \ntwo\n\n").succeeds();
    let tokens: Vec<Value> = ran.json_lines().into_iter().map(|line| line["tokens"].clone()).collect();
    let blank = json!(["[CLS]", "[SEP]"]);
    assert_eq!(tokens.len(), 5);
    assert_eq!([&tokens[1], &tokens[2], &tokens[4]], [&blank; 3]);
    let rows: Vec<Value> = ran.json_lines().into_iter().map(|line| line["row"].clone()).collect();
    assert_eq!(rows, [0, 1, 2, 3, 4]);
}

#[test]
fn only_blank_lines_are_texts_too() {
    let desk = Desk::new();
    desk.types_into("extract -e mean,word,token -o out", "\n\n\n").succeeds().says("3 texts");
    assert_eq!(desk.npy("out/mean/layer_02.npy").shape[0], 3);
    assert_eq!(desk.npy("out/word/layer_02.npy").shape[0], 0);
}

#[test]
fn an_empty_argument_is_a_text() {
    let desk = Desk::new();
    assert_eq!(desk.runs(&["extract", ""], "").succeeds().json_lines().len(), 1);
}

#[test]
fn a_byte_order_mark_and_crlf_are_not_text() {
    let desk = Desk::new();
    desk.put("windows.txt", "\u{feff}hello world\r\n\r\none more\r\n");
    desk.put("unix.txt", "hello world\n\none more\n");
    desk.types("extract -i windows.txt -e token,word -o windows").succeeds();
    desk.types("extract -i unix.txt -e token,word -o unix").succeeds();
    assert_eq!(desk.job("windows"), desk.job("unix"));
}

#[test]
fn utf_16_and_utf_32_are_read_by_their_byte_order_mark() {
    let desk = Desk::new();
    let text = "hello world\r\n\r\nnaïve 🙂 中国\r\n";
    desk.put("utf8.txt", text);
    desk.types("extract -i utf8.txt -e token,word -o utf8").succeeds();
    let marked = format!("\u{feff}{text}");
    let short = |bytes: fn(u16) -> [u8; 2]| marked.encode_utf16().flat_map(bytes).collect::<Vec<_>>();
    let long = |bytes: fn(u32) -> [u8; 4]| marked.chars().flat_map(|c| bytes(c.into())).collect::<Vec<_>>();
    for (name, content) in [
        ("utf16le", short(u16::to_le_bytes)),
        ("utf16be", short(u16::to_be_bytes)),
        ("utf32le", long(u32::to_le_bytes)),
        ("utf32be", long(u32::to_be_bytes)),
    ] {
        desk.put("a.txt", &content);
        desk.types(&format!("extract -i a.txt -e token,word -o {name}")).succeeds();
        assert_eq!(desk.job(name), desk.job("utf8"), "{name}");
        desk.types_into(&format!("extract -e token,word -o {name}-in"), &content).succeeds();
        assert_eq!(desk.job(&format!("{name}-in")), desk.job("utf8"), "{name} on standard input");
    }
    desk.types("extract -i a.txt -e token,word -o utf8").succeeds().says("already holds this job");
}

#[test]
fn returns_alone_are_no_line_ends() {
    let desk = Desk::new();
    let says = ["line 1 has returns (\\r) and no line end", "tr '\\r' '\\n'"];
    desk.types_into("extract -o out", "one\rtwo\rthree").fails().says_all(&says);
    assert!(!desk.has("out"));
    assert_eq!(desk.types_into("extract -l 0", "one\rtwo\nthree\r").succeeds().json_lines().len(), 2);
}

#[test]
fn the_last_line_needs_no_end() {
    let desk = Desk::new();
    for (input, texts) in [("a", 1), ("a\n", 1), ("a\nb", 2), ("a\n\n", 2), ("a\r\nb\r", 2)] {
        assert_eq!(desk.types_into("extract -l 0", input).succeeds().json_lines().len(), texts, "{input:?}");
    }
}

#[test]
fn control_characters_are_texts_like_others() {
    let desk = Desk::new();
    let input = b"\x01\x02\x03\n\x08\n\x7f\x1b[31m\n\x0b\x0c\n\xc2\x85\n\xe2\x80\xa8\nhello\x1aworld\n";
    let ran = desk.types_into("extract -e token,word -l 0", input).succeeds();
    assert_eq!(ran.json_lines().len(), 7, "lines end at \\n alone");
    desk.types_into("extract --pretokenized -e token,word -o out", input).succeeds();
    assert_eq!(desk.json_lines("out/texts.jsonl").len(), 7);
}

#[test]
fn characters_of_every_plane_go_through() {
    let desk = Desk::with("width16");
    let strange: String =
        ["\u{10ffff}", "\u{1f468}\u{200d}\u{1f469}", "\u{202e}abc", "e\u{301}\u{302}\u{303}", "\u{e0001}"]
            .map(|text| format!("{text}\n"))
            .concat();
    desk.types_into("extract -m width16 -e token,word -o out", &strange).succeeds();
    assert_eq!(desk.json_lines("out/texts.jsonl").len(), 5);
}

#[test]
fn the_model_comes_from_the_environment_and_the_option_goes_before() {
    let desk = Desk::with("width1");
    desk.types_with("LAYERWISE_MODEL", "width1", "extract hello -o out").succeeds();
    assert_eq!(desk.json("out/manifest.json")["model"]["id"], "width1");
    desk.types_with("LAYERWISE_MODEL", "width1", "extract hello -m bundled -o bundled").succeeds();
    assert_eq!(desk.json("bundled/manifest.json")["model"]["id"], "bundled");
    desk.types_with("LAYERWISE_MODEL", "width1", "info").succeeds().prints("width1");
}

#[test]
fn a_folder_may_be_called_bundled() {
    let desk = Desk::new();
    desk.model_as("width1", "bundled");
    desk.types("extract -m ./bundled hello -o folder").succeeds();
    desk.types("extract -m bundled hello -o built-in").succeeds();
    assert_eq!(desk.json("folder/manifest.json")["model"]["hidden_size"], 7);
    assert_eq!(desk.json("built-in/manifest.json")["model"]["hidden_size"], 160);
}

#[test]
fn kinds_may_be_listed_in_any_way() {
    let desk = Desk::new();
    desk.types("extract hello -e token,mean -o list").succeeds();
    for (number, emit) in ["-e mean,token", "-e mean -e token", "-e mean,mean,token,mean"].iter().enumerate() {
        desk.types(&format!("extract hello {emit} -o {number}/")).succeeds();
        assert_eq!(desk.job(&number.to_string()), desk.job("list"), "{emit}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_file_may_be_a_stream() {
    let desk = Desk::new();
    assert_eq!(desk.types_into("extract -i /dev/stdin", "hello\nworld\n").succeeds().json_lines().len(), 2);
}

#[test]
fn many_texts_come_out_in_their_order() {
    let desk = Desk::with("width1");
    let lines: Vec<String> = (0..20_000).map(|i| format!("{}{}{}", i / 100, "a".repeat(i % 5), i % 100)).collect();
    desk.put("texts.txt", lines.join("\n"));
    desk.types("extract -m width1 -i texts.txt -e token -l 0 -o out").succeeds().says("20000 texts");
    let texts = desk.json_lines("out/texts.jsonl");
    assert_eq!(texts.len(), lines.len());
    for (row, (text, line)) in texts.iter().zip(&lines).enumerate() {
        assert_eq!(text["row"], row);
        let tokens = text["tokens"].as_array().expect("tokens");
        let spelled: String = tokens[1..tokens.len() - 1]
            .iter()
            .map(|token| token.as_str().expect("a token").trim_start_matches("##").to_owned())
            .collect();
        assert_eq!(spelled, *line);
    }
}
