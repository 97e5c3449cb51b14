//! `texts.jsonl`: tokens, offsets and words, as transformers has them, and the limits on a text's length.

use serde_json::{Value, json};

use crate::desk::Desk;
use crate::models::{MODELS, golden};

/// The golden texts of a model that are no pairs.
fn golden_texts(model: &str, pretokenized: bool) -> Vec<(usize, Value)> {
    let file = std::fs::read(golden(model).join("golden.json")).expect("goldens");
    let mut file: Value = serde_json::from_slice(&file).expect("JSON");
    let texts = file["texts"].as_array_mut().expect("texts").drain(..).enumerate();
    texts.filter(|(_, text)| text["pair"].is_null() && text["words"].is_null() != pretokenized).collect()
}

/// Fails unless a line of `texts.jsonl` says what transformers says of the text.
#[track_caller]
fn assert_golden(line: &Value, golden: &Value, what: &str) {
    assert_eq!(line["n_tokens"], json!(golden["input_ids"].as_array().expect("ids").len()), "{what}");
    for (ours, theirs) in [
        ("tokens", "tokens"),
        ("token_ids", "input_ids"),
        ("word_ids", "word_ids"),
        ("n_tokens_before_truncation", "n_tokens_before_truncation"),
    ] {
        assert_eq!(line[ours], golden[theirs], "{what}: {ours}");
    }
    let text: Vec<char> = golden["text"].as_str().expect("a text").chars().collect();
    let starts = word_starts(golden);
    let places = golden["offsets"].as_array().expect("offsets").iter().zip(golden["word_ids"].as_array().expect("ids"));
    for (index, (offsets, word)) in places.enumerate() {
        let found = &line["offsets"][index];
        match (offsets.as_array(), word.as_u64()) {
            (Some(pair), Some(word)) => {
                let start = starts.get(word as usize).copied().unwrap_or(0);
                let pair: Vec<u64> = pair.iter().map(|end| end.as_u64().expect("a number") + start).collect();
                assert_eq!(*found, json!(pair), "{what}: token {index}");
                assert!(pair[1] as usize <= text.len() && pair[0] <= pair[1], "{what}: token {index}");
            }
            _ => assert!(found.is_null(), "{what}: special token {index} has offsets {found}"),
        }
    }
}

/// Where each given word starts in the text, in characters; none for raw text.
fn word_starts(golden: &Value) -> Vec<u64> {
    let mut at = 0;
    let words = golden["words"].as_array().into_iter().flatten();
    words
        .map(|word| {
            let start = at;
            at += word.as_str().expect("a word").chars().count() as u64 + 1;
            start
        })
        .collect()
}

#[test]
fn tokens_offsets_and_words_are_those_of_transformers() {
    for model in MODELS {
        let desk = Desk::with(model);
        let texts = golden_texts(model, false);
        let on_a_line: Vec<_> =
            texts.iter().filter(|(_, text)| !text["text"].as_str().unwrap().contains(['\n', '\0'])).collect();
        let file: String = on_a_line.iter().map(|(_, text)| format!("{}\n", text["text"].as_str().unwrap())).collect();
        desk.put("texts.txt", file);
        desk.types(&format!("extract -m {model} -i texts.txt -e token -l 0 -o out")).succeeds();
        for (line, (index, golden)) in desk.json_lines("out/texts.jsonl").iter().zip(&on_a_line) {
            assert_golden(line, golden, &format!("{model}, text {index}"));
            assert!(line.get("words").is_none(), "words are given for pre-tokenized text alone");
        }
        for (index, golden) in texts.iter().filter(|(_, text)| text["text"].as_str().unwrap().contains('\n')) {
            let text = golden["text"].as_str().unwrap();
            desk.runs(&["extract", "-m", model, "-e", "token", "-l", "0", "-o", "lines", "--", text], "").succeeds();
            assert_golden(&desk.json_lines("lines/texts.jsonl")[0], golden, &format!("{model}, text {index}"));
        }
        // A NUL is in a text only where JSON spells it.
        for (index, golden) in texts.iter().filter(|(_, text)| text["text"].as_str().unwrap().contains('\0')) {
            let job = format!("extract -m {model} --input-format jsonl -e token -l 0 -o spelled --overwrite");
            desk.types_into(&job, json!({ "text": golden["text"] }).to_string()).succeeds();
            assert_golden(&desk.json_lines("spelled/texts.jsonl")[0], golden, &format!("{model}, text {index}"));
        }
    }
}

#[test]
fn given_words_and_their_tokens_are_those_of_transformers() {
    for model in ["width1", "width3", "width16", "width64"] {
        let desk = Desk::with(model);
        let texts = golden_texts(model, true);
        let file: String = texts.iter().map(|(_, text)| format!("{}\n", text["text"].as_str().unwrap())).collect();
        desk.put("texts.txt", file);
        desk.types(&format!("extract -m {model} -i texts.txt --pretokenized -e token,word -l 0 -o out")).succeeds();
        let lines = desk.json_lines("out/texts.jsonl");
        assert_eq!(lines.len(), texts.len());
        let words: usize = texts.iter().map(|(_, text)| text["words"].as_array().unwrap().len()).sum();
        assert_eq!(desk.npy("out/word/layer_00.npy").shape[0], words, "a row for every word that was given");
        for (line, (index, golden)) in lines.iter().zip(&texts) {
            assert_golden(line, golden, &format!("{model}, text {index}"));
            assert_eq!(line["words"], golden["words"]);
        }
    }
}

#[test]
fn a_line_says_row_id_label_and_lengths_and_no_more_than_the_vectors_need() {
    let desk = Desk::new();
    desk.types("extract 'hello world' '' -o out").succeeds();
    let lines = desk.json_lines("out/texts.jsonl");
    let digest = |row: usize| lines[row]["digest"].as_str().filter(|digest| digest.len() == 32).expect("a digest");
    let line = |row: usize, tokens: u64| json!({"row": row, "id": null, "label": null, "n_tokens": tokens, "n_tokens_before_truncation": tokens, "digest": digest(row)});
    assert_eq!(lines, [line(0, 4), line(1, 2)]);
}

#[test]
fn texts_without_a_word_are_named_and_columns_named_as_ours_get_another_name() {
    let desk = Desk::new();
    let lines =
        ["one", "", " ", "two"].map(|text| format!("{}\n", json!({"text": text, "word": 1, "mean": "x", "id": text})));
    desk.put("texts.jsonl", lines.concat());
    let ran = desk.types("extract -i texts.jsonl --id-column '' --carry word,mean -o out").succeeds();
    ran.says_all(&[
        "2 of 4 texts have no word (row 1, row 2): ",
        "the column `word` is called `input_word` in the output, which has `word` of its own",
    ]);
    let line = &desk.json_lines("out/texts.jsonl")[0];
    assert_eq!((&line["input_word"], &line["input_mean"]), (&json!(1), &json!("x")));
    let printed = desk.types("extract -i texts.jsonl --id-column '' --carry word,mean").succeeds();
    printed.says("2 of 4 texts have no word").prints("\"input_word\":1,\"input_mean\":\"x\"");
    desk.types("extract -i texts.jsonl --id-column '' --stream")
        .succeeds()
        .says("2 of 4 texts have no word (row 1, row 2)");
    desk.types("extract one two").succeeds().does_not_say("no word");
}

#[test]
fn offsets_count_characters_not_bytes() {
    let desk = Desk::with("width16");
    desk.types("extract -m width16 '𝄞 中国 é the' -e token -l 0 -o out").succeeds();
    let line = &desk.json_lines("out/texts.jsonl")[0];
    assert_eq!(line["tokens"], json!(["[CLS]", "[UNK]", "中", "国", "e", "the", "[SEP]"]));
    assert_eq!(line["offsets"], json!([null, [0, 1], [2, 3], [3, 4], [5, 6], [7, 10], null]));
    assert_eq!(line["word_ids"], json!([null, 0, 1, 2, 3, 4, null]));
}

#[test]
fn a_word_that_the_tokenizer_deletes_keeps_a_row_of_zeros_and_is_counted() {
    let desk = Desk::with("width64");
    let ran = desk.types("extract -m width64 'Hello \u{200b} world' --pretokenized -e word,token -o out").succeeds();
    ran.says("1 words");
    for layer in 0..=4 {
        let rows = desk.npy(&format!("out/word/layer_0{layer}.npy")).rows();
        assert_eq!(rows.len(), 3);
        assert!(rows[1].iter().all(|&number| number == 0.0), "layer {layer}");
        assert!(rows[0].iter().any(|&number| number != 0.0) && rows[2].iter().any(|&number| number != 0.0));
    }
    let line = &desk.json_lines("out/texts.jsonl")[0];
    assert_eq!(line["word_ids"], json!([null, 0, 2, null]));
    assert_eq!(line["words"], json!(["Hello", "\u{200b}", "world"]));
    let counts = &desk.json("out/manifest.json")["counts"];
    assert_eq!((&counts["words"], &counts["deleted_words"]), (&json!(3), &json!(1)));
}

#[test]
fn given_words_are_separated_by_any_number_of_spaces() {
    let desk = Desk::new();
    desk.types_into("extract --pretokenized -e word -l 0 -o out", "  hello   world \none\n\n").succeeds();
    let words: Vec<Value> = desk.json_lines("out/texts.jsonl").iter().map(|line| line["words"].clone()).collect();
    assert_eq!(words, [json!(["hello", "world"]), json!(["one"]), json!([])]);
    assert_eq!(desk.npy("out/word/offsets.npy").integers(), [0, 2, 3, 3]);
    let offsets = &desk.json_lines("out/texts.jsonl")[0]["offsets"];
    assert_eq!((&offsets[1], &offsets[2]), (&json!([2, 7]), &json!([10, 15])), "in the line as it stands in the file");
}

// Texts that are too long.

const LONG: &str =
    "one two\none two three state himself few house use\ntwo\nfound thought went say part once general high\n";

#[test]
fn longer_texts_are_cut_and_that_is_said() {
    let desk = Desk::new();
    desk.put("texts.txt", LONG);
    let ran = desk.types("extract -i texts.txt --max-length 6 -e token,mean -o out").succeeds();
    ran.says("warning").says("2 of 4 texts are longer than 6 tokens");
    let lines = desk.json_lines("out/texts.jsonl");
    let counts = &desk.json("out/manifest.json")["counts"];
    assert_eq!(counts["truncated_texts"], 2);
    let mut cut = 0;
    for (line, long) in lines.iter().zip([false, true, false, true]) {
        let (after, before) = (&line["n_tokens"], &line["n_tokens_before_truncation"]);
        let (after, before) = (after.as_u64().expect("a number"), before.as_u64().expect("a number"));
        assert_eq!(before > after, long, "{line}");
        assert!(!long || after == 6);
        cut += before - after;
        let tokens = line["tokens"].as_array().expect("tokens");
        assert_eq!((tokens.len() as u64, &tokens[tokens.len() - 1]), (after, &json!("[SEP]")), "the end is kept");
    }
    assert_eq!(counts["truncated_tokens"], cut);
    assert_eq!(desk.npy("out/mean/layer_00.npy").shape[0], 4);
}

#[test]
fn a_cut_text_is_encoded_as_if_it_ended_there() {
    let desk = Desk::new();
    desk.types("extract 'the small house around' --max-length 4 -e token -o cut").succeeds();
    desk.types("extract 'the small' -e token -o short").succeeds();
    for layer in 0..=2 {
        let file = format!("token/layer_0{layer}.npy");
        assert_eq!(desk.read(&format!("cut/{file}")), desk.read(&format!("short/{file}")));
    }
}

#[test]
fn words_that_are_cut_off_keep_their_rows_when_they_were_given() {
    let desk = Desk::new();
    desk.types("extract 'one two three use' --max-length 4 --pretokenized -e word -o out").succeeds();
    let rows = desk.npy("out/word/layer_02.npy").rows();
    assert_eq!(rows.len(), 4);
    let tokens = desk.json_lines("out/texts.jsonl")[0]["word_ids"].clone();
    for (word, row) in rows.iter().enumerate() {
        let has_token = tokens.as_array().expect("a list").contains(&json!(word));
        assert_eq!(row.iter().any(|&number| number != 0.0), has_token, "word {word}");
    }
    assert!(desk.json("out/manifest.json")["counts"]["truncated_words"].as_u64() >= Some(1));
}

#[test]
fn overflow_error_names_the_rows_and_writes_nothing() {
    let desk = Desk::new();
    desk.put("texts.txt", LONG);
    for output in ["", "-o out", "-o deep/er/out", "--dry-run"] {
        desk.types(&format!("extract -i texts.txt --max-length 6 --overflow error {output}")).fails().says_all(&[
            "2 of 4 texts",
            "6 tokens",
            "row 1 (",
            "row 3 (",
            "--overflow truncate",
        ]);
    }
    assert!(!desk.has("out") && !desk.has("deep"));
}

#[test]
fn overflow_error_names_a_few_rows_of_many() {
    let desk = Desk::new();
    desk.put("texts.txt", "one two three use\n".repeat(5000));
    let ran = desk.types("extract -i texts.txt --max-length 4 --overflow error").fails().says("5000 of 5000 texts");
    assert!(ran.stderr().len() < 1000, "{}", ran.stderr());
}

#[test]
fn overflow_error_does_not_mind_texts_that_fit() {
    let desk = Desk::new();
    let longest = "two ".repeat(510);
    desk.types_into("extract --overflow error -o out", &longest).succeeds().does_not_say("warning");
    assert_eq!(desk.json("out/manifest.json")["counts"]["tokens"], 512);
    desk.types_into("extract --overflow error", longest + "two").fails().says("row 0 (513 tokens)");
}

#[test]
fn lengths_baked_into_a_tokenizer_are_ignored() {
    let desk = Desk::with("width32"); // its tokenizer.json pads and truncates to 12
    desk.types("extract -m width32 'one more line, of twelve words or so, that is over' one -e token -o out")
        .succeeds();
    let lengths: Vec<Value> = desk.json_lines("out/texts.jsonl").iter().map(|line| line["n_tokens"].clone()).collect();
    assert!(lengths[0].as_u64() > Some(12) && lengths[1].as_u64() < Some(12), "{lengths:?}");
}

#[test]
fn words_are_counted_whatever_is_written() {
    let desk = Desk::new();
    for emit in ["mean", "word", "token"] {
        let job = format!("extract --pretokenized 'the river' 'one \u{200b} two' -e {emit} -o {emit}");
        desk.types(&job).succeeds();
        let counts = desk.json(&format!("{emit}/manifest.json"))["counts"].clone();
        assert_eq!((&counts["words"], &counts["deleted_words"]), (&5.into(), &1.into()), "{emit}");
    }
}

/// Quadratic work would take minutes.
#[test]
fn a_line_of_very_many_words() {
    let desk = Desk::new();
    desk.types_into("extract --pretokenized -e word -l 0 -q -o out", "a ".repeat(200_000)).succeeds();
    assert_eq!(desk.json("out/manifest.json")["counts"]["words"], 200_000);
}
