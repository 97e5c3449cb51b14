//! Texts beyond the limit in windows that overlap, and texts that are the same.

use serde_json::{Value, json};

use crate::arrays::numbers_after;
use crate::desk::Desk;

/// Every one is one token to the model in the binary.
const WORDS: [&str; 12] =
    ["one", "two", "three", "state", "use", "house", "high", "part", "went", "found", "general", "say"];

/// A text of `length` words, none like its neighbours.
fn text(length: usize) -> String {
    (0..length).map(|i| WORDS[(i * i + i / 12) % 12]).collect::<Vec<_>>().join(" ")
}

/// Which window each word is to be taken from, by the rule: the one in which the nearer edge is farthest, the earlier
/// one of two, where the text's own ends are no edges. Windows are in words, \[start, end).
fn best(windows: &[(usize, usize)], words: usize) -> Vec<usize> {
    let context = |(start, end): (usize, usize), word: usize| {
        if word < start || word >= end {
            return None;
        }
        let left = if start == 0 { usize::MAX } else { word - start };
        let right = if end == words { usize::MAX } else { end - 1 - word };
        Some(left.min(right))
    };
    (0..words)
        .map(|word| {
            let contexts: Vec<_> = windows.iter().map(|&window| context(window, word)).collect();
            let most = contexts.iter().max().expect("a window");
            contexts.iter().position(|context| context == most).expect("a window")
        })
        .collect()
}

/// Windows of `room` words that share `stride`, the last one full.
fn windows(words: usize, room: usize, stride: usize) -> Vec<(usize, usize)> {
    let mut windows = Vec::new();
    let mut start = 0;
    while start + room < words {
        windows.push((start, start + room));
        start += room - stride;
    }
    windows.push((words.saturating_sub(room), words));
    windows
}

#[test]
fn each_token_is_that_of_the_window_in_which_it_has_most_context() {
    for (length, max_length, stride) in [(23, 10, 2), (23, 10, 7), (9, 10, 0), (30, 8, 0), (31, 11, 5), (8, 3, 0)] {
        let (desk, room) = (Desk::new(), max_length - 2);
        let job = format!("extract --max-length {max_length} -e token,cls,lasttoken,pooler");
        let words = text(length);
        let ran = desk.types(&format!("{job} --overflow window --stride {stride} '{words}' -o whole")).succeeds();
        let windows = windows(length, room, stride);
        ran.says(&format!("1 of 1 texts are longer than {max_length} tokens"))
            .says(&format!("{} in all", windows.len()));

        let words: Vec<&str> = words.split(' ').collect();
        let alone: String = windows.iter().map(|&(start, end)| words[start..end].join(" ") + "\n").collect();
        desk.types_into(&format!("{job} --overflow error -o alone"), alone).succeeds();
        let owners = best(&windows, length);
        for layer in 0..=4 {
            let file = format!("token/layer_0{layer}.npy");
            let (found, alone) = (desk.npy(&format!("whole/{file}")).rows(), desk.npy(&format!("alone/{file}")).rows());
            assert_eq!(found.len(), length + 2);
            for (word, &window) in owners.iter().enumerate() {
                let row = window * max_length + 1 + word - windows[window].0;
                assert!(found[word + 1] == alone[row], "layer {layer}, word {word}, stride {stride}");
            }
            assert!(found[0] == alone[0], "the first window's [CLS]");
            assert!(found[length + 1] == alone[alone.len() - 1], "the last window's [SEP]");
            let row = |kind: &str| desk.npy(&format!("whole/{kind}/layer_0{layer}.npy")).rows().concat();
            assert!(row("cls") == found[0] && row("lasttoken") == found[length + 1]);
        }
        assert!(desk.npy("whole/pooler.npy").rows()[0] == desk.npy("alone/pooler.npy").rows()[0]);
    }
}

#[test]
fn nothing_is_cut_and_what_was_done_is_counted() {
    let desk = Desk::new();
    desk.put("texts.txt", [text(5), text(40), text(8), String::new(), text(9)].join("\n") + "\n");
    let job = "extract -i texts.txt --max-length 10 --overflow window --stride 2 -e token,mean";
    let ran = desk.types(&format!("{job} -o out")).succeeds().does_not_say("warning");
    ran.says("note: 2 of 5 texts are longer than 10 tokens")
        .says("9 in all")
        .says("37 tokens more")
        .says("2 in windows");
    for (line, length) in desk.json_lines("out/texts.jsonl").iter().zip([7, 42, 10, 2, 11]) {
        assert_eq!((&line["n_tokens"], &line["n_tokens_before_truncation"]), (&json!(length), &json!(length)));
    }
    let manifest = desk.json("out/manifest.json");
    assert_eq!((&manifest["plan"]["overflow"], &manifest["plan"]["stride"]), (&json!("window"), &json!(2)));
    for (key, value) in [
        ("tokens", 72),
        ("token_rows", 72),
        ("truncated_texts", 0),
        ("truncated_tokens", 0),
        ("windowed_texts", 2),
        ("windows", 7 + 2),
        ("overlap_tokens", 7 * 10 - 42 + 2 * 10 - 11),
    ] {
        assert_eq!(manifest["counts"][key], value, "{key}");
    }
    // The third text and the first window of the last are the first window of the second, which is there already.
    assert_eq!(desk.json("out/run.json")["tokens_encoded"], 72 + 37 - 2 * 10);
    let plan = desk.types(&format!("{job} -o dry --dry-run")).succeeds();
    plan.prints_all(&["tokens    72 (0 cut off", "windows   9 of 2 texts, 37 tokens to encode", "(72, 160)"]);
}

#[test]
fn half_of_a_windows_text_is_shared_where_nothing_is_said() {
    let desk = Desk::new();
    let job = format!("extract --max-length 11 -e token '{}' --overflow window", text(30));
    desk.types(&format!("{job} -o usual")).succeeds();
    desk.types(&format!("{job} --stride 4 -o four")).succeeds();
    desk.types(&format!("{job} --stride 0 -o none")).succeeds();
    let layer = |out: &str| desk.read(&format!("{out}/token/layer_04.npy"));
    assert!(layer("usual") == layer("four") && layer("usual") != layer("none"));
    assert!(desk.json("usual/manifest.json")["plan"]["stride"].is_null());
    desk.types(&format!("{job} --stride 4 -o usual")).fails().says("--stride");
}

#[test]
fn a_text_that_fits_has_the_bytes_it_always_has() {
    let desk = Desk::with("width16");
    desk.put("texts.txt", ["the river", "", "don't stop the river, stones", "numbering"].join("\n") + "\n");
    let job = "extract -m width16 -i texts.txt -e token,word,mean,max,pooler";
    desk.types(&format!("{job} -o usual")).succeeds();
    desk.types(&format!("{job} --overflow window -o other")).succeeds().does_not_say("window");
    let (mut usual, mut windows) = (desk.job("usual"), desk.job("other"));
    usual.remove("manifest.json");
    windows.remove("manifest.json");
    assert!(usual == windows);
}

#[test]
fn tokens_offsets_and_words_are_those_of_the_whole_text() {
    let desk = Desk::new();
    let texts = "Don't numbering unbelievably stop; the tokenizers' water-mills \u{200b} 世界 forever.\n\nshort one\n";
    for pretokenized in ["", "--pretokenized"] {
        let job = format!("extract {pretokenized} -e token,word -l 0");
        desk.types_into(&format!("{job} -o whole{pretokenized}"), texts).succeeds();
        for stride in 0..5 {
            let out = format!("windows{stride}{pretokenized}");
            let job = format!("{job} --max-length 7 --overflow window --stride {stride} -o {out}");
            desk.types_into(&job, texts).succeeds().says("1 of 3 texts are longer");
            for file in ["texts.jsonl", "token/offsets.npy", "word/offsets.npy"] {
                assert_eq!(desk.read(&format!("{out}/{file}")), desk.read(&format!("whole{pretokenized}/{file}")));
            }
        }
    }
}

/// The rows of text `i` of a kind.
fn rows_of(desk: &Desk, out: &str, kind: &str, layer: usize, text: usize) -> Vec<Vec<f32>> {
    let rows = desk.npy(&format!("{out}/{kind}/layer_0{layer}.npy")).rows();
    let offsets = desk.npy(&format!("{out}/{kind}/offsets.npy")).integers();
    rows[offsets[text] as usize..offsets[text + 1] as usize].to_vec()
}

#[test]
fn words_and_texts_are_pooled_over_all_windows() {
    let desk = Desk::with("width64");
    desk.put("texts.txt", format!("the river\n{}\nstones\n", "don't stop numbering river-stones, the wind ".repeat(6)));
    let mean = |rows: &[&Vec<f32>]| -> Vec<f32> {
        let sum = |i: usize| rows.iter().map(|row| f64::from(row[i])).sum::<f64>();
        (0..128).map(|i| (sum(i) / rows.len() as f64) as f32).collect()
    };
    for (special, batch) in [("keep", 1), ("drop", 20), ("keep", 4096)] {
        let out = format!("{special}{batch}");
        desk.types(&format!(
            "extract -m width64 -i texts.txt -e token,word,mean,sentence --max-length 9 --overflow window --stride 3 \
             --special-tokens {special} --batch-tokens {batch} -o {out}"
        ))
        .succeeds();
        let line = &desk.json_lines(&format!("{out}/texts.jsonl"))[1];
        let ids: Vec<Option<u64>> = line["word_ids"].as_array().expect("a list").iter().map(Value::as_u64).collect();
        for layer in [0, 4] {
            let tokens = rows_of(&desk, &out, "token", layer, 1);
            assert_eq!(tokens.len(), ids.len());
            let all: Vec<&Vec<f32>> = tokens.iter().collect();
            assert_eq!(desk.npy(&format!("{out}/mean/layer_0{layer}.npy")).rows()[1], mean(&all), "{out}");
            for (word, row) in rows_of(&desk, &out, "word", layer, 1).iter().enumerate() {
                let of_word = tokens.iter().zip(&ids).filter(|(_, id)| **id == Some(word as u64));
                assert_eq!(*row, mean(&of_word.map(|(row, _)| row).collect::<Vec<_>>()), "{out}, word {word}");
            }
        }
    }
    let sentence = |out: &str| desk.read(&format!("{out}/sentence.npy"));
    assert!(sentence("keep1") == sentence("keep4096") && sentence("drop20") == sentence("keep1"));
}

#[test]
fn json_lines_of_windows_hold_the_numbers_of_npy() {
    let desk = Desk::new();
    desk.put("texts.txt", [text(3), text(60), text(4)].join("\n") + "\n");
    let job =
        "extract -i texts.txt -l 0,4 -e token,word,mean,pooler --max-length 9 --overflow window --batch-tokens 20";
    desk.types(&format!("{job} -o out")).succeeds();
    let printed = desk.types(job).succeeds().stdout();
    assert_eq!(printed.lines().count(), 3);
    for (row, line) in printed.lines().enumerate() {
        for (place, layer) in [0, 4].into_iter().enumerate() {
            for kind in ["token", "word"] {
                assert!(numbers_after(line, kind, place) == rows_of(&desk, "out", kind, layer, row).concat(), "{kind}");
            }
            let mean = desk.npy(&format!("out/mean/layer_0{layer}.npy")).rows();
            assert_eq!(numbers_after(line, "mean", place), mean[row]);
        }
        assert_eq!(numbers_after(line, "pooler", 0), desk.npy("out/pooler.npy").rows()[row]);
        let parsed: Value = serde_json::from_str(line).expect("JSON");
        assert_eq!(parsed["tokens"], desk.json_lines("out/texts.jsonl")[row]["tokens"]);
    }
}

#[test]
fn strides_that_make_no_sense() {
    let desk = Desk::new();
    let is_wrong = |options: &str, says: &[&str]| {
        desk.types(&format!("extract hello -o out {options}")).fails_as_wrong_usage().says_all(says);
        assert!(!desk.has("out"));
    };
    for overflow in ["", "--overflow truncate", "--overflow error"] {
        is_wrong(&format!("--stride 4 {overflow}"), &["--stride", "--overflow window"]);
    }
    is_wrong("--overflow window --stride 510", &["--stride 510", "windows of 510 tokens", "at most 509"]);
    is_wrong("--overflow window --max-length 10 --stride 9999999", &["windows of 8 tokens", "at most 7"]);
    is_wrong("--overflow window --max-length 2", &["--max-length", "no room"]);
    is_wrong("--overflow window --stride=-1", &["--stride"]);
    is_wrong("--overflow window --stride many", &["--stride"]);
    desk.types("extract hello --overflow window --stride 509 -o out").succeeds();
}

#[test]
fn pairs_without_room_for_windows_are_named_before_any_encoding() {
    let desk = Desk::new();
    let pair = |text: usize, pair: usize| format!("{}\n", json!({"text": self::text(text), "pair": self::text(pair)}));
    desk.put("pairs.jsonl", pair(3, 4) + &pair(30, 4) + &pair(9, 8) + &pair(4, 30) + &pair(7, 8));
    let job = "extract -i pairs.jsonl --pair-column pair -e token --max-length 10 --overflow window";
    for output in ["", "-o out", "--dry-run"] {
        desk.types(&format!("{job} {output}")).fails().says_all(&[
            "2 of 5 texts are pairs",
            "windows of 10 tokens",
            "row 2 (0 tokens), row 4 (0 tokens)",
            "nothing was encoded",
            "--overflow truncate",
        ]);
        desk.types(&format!("{job} {output} --stride 3")).fails().says("4 of 5 texts").says("row 1 (3 tokens)");
        assert!(!desk.has("out"));
    }
    desk.put("pairs.jsonl", pair(3, 4) + &pair(30, 4) + &pair(4, 30));
    desk.types(&format!("{job} --stride 2 -o out")).succeeds().says("2 of 3 texts");
    let line = &desk.json_lines("out/texts.jsonl")[2];
    assert_eq!(
        (&line["n_tokens"], &line["token_type_ids"][5], &line["token_type_ids"][6]),
        (&json!(37), &json!(0), &json!(1))
    );
    assert_eq!(desk.json("out/manifest.json")["counts"]["windows"], 2 * 28);
}

#[test]
fn shards_have_the_rows_of_the_whole() {
    let desk = Desk::new();
    let texts: Vec<String> = (0..20).map(|i| text((i * 7) % 40)).collect();
    desk.put("texts.txt", texts.join("\n") + "\n");
    let job = "extract -i texts.txt -e token,mean --max-length 9 --overflow window";
    desk.types(&format!("{job} -o whole")).succeeds();
    for part in 1..=3 {
        desk.types(&format!("{job} --shard {part}/3 -o {part}")).succeeds();
    }
    for kind in ["token", "mean"] {
        let file = format!("{kind}/layer_04.npy");
        let parts: Vec<Vec<f32>> = (1..=3).flat_map(|part| desk.npy(&format!("{part}/{file}")).rows()).collect();
        assert!(parts == desk.npy(&format!("whole/{file}")).rows(), "{kind}");
    }
    let windows =
        |out: &str| desk.json(&format!("{out}/manifest.json"))["counts"]["windows"].as_u64().expect("a number");
    assert_eq!(windows("1") + windows("2") + windows("3"), windows("whole"));
}

/// Its windows fill hundreds of batches.
#[test]
fn a_very_long_text() {
    let desk = Desk::with("width16");
    let words = ["the", "river", "stone's", "light", "quick", "numbering", "don't", "世界", "wind"];
    let long: String = (0..30_000).map(|i| words[(i * i + i / 7) % 9].to_owned() + " ").collect();
    desk.put("texts.txt", format!("the river\n{long}\nthe wind\n"));
    let job = "extract -m width16 -i texts.txt -e token,word,mean,pooler --overflow window";
    desk.types(&format!("{job} --batch-tokens 500 -o out")).succeeds();
    desk.types(&format!("{job} --batch-tokens 100000 -o few")).succeeds();
    assert!(desk.job("out") == desk.job("few"));
    let lines = desk.json_lines("out/texts.jsonl");
    let [first, long] = [0, 1].map(|row: usize| lines[row]["n_tokens"].as_i64().expect("a number"));
    assert!(long > 30_000);
    assert_eq!(desk.npy("out/token/offsets.npy").integers()[..3], [0, first, first + long]);
    assert_eq!(desk.json("out/manifest.json")["counts"]["windowed_texts"], 1);
}

// Texts that are the same.

#[test]
fn texts_that_are_the_same_are_encoded_once_and_counted() {
    let desk = Desk::new();
    let texts: Vec<String> = (0..60).map(|i| text([4, 9, 0, 9, 30][i % 5])).collect();
    desk.put("texts.txt", texts.join("\n") + "\n");
    let job = "extract -i texts.txt -e token,word,mean,pooler,sentence --max-length 20";
    for (overflow, encoded) in [("truncate", 6 + 11 + 2 + 20), ("window --stride 3", 6 + 11 + 2 + 2 * 20)] {
        let job = format!("{job} --overflow {overflow}");
        let out = &overflow[..6];
        desk.types(&format!("{job} --batch-tokens 1 -o {out}-alone")).succeeds().does_not_say("once");
        desk.types(&format!("{job} -o {out}")).succeeds().says("56 encoded once with others");
        assert!(desk.job(out) == desk.job(&format!("{out}-alone")), "{overflow}");
        let run = desk.json(&format!("{out}/run.json"));
        assert_eq!((&run["repeated_texts"], &run["tokens_encoded"]), (&json!(56), &json!(encoded)), "{overflow}");
        assert_eq!(desk.json(&format!("{out}-alone/run.json"))["repeated_texts"], 0);
    }
}
