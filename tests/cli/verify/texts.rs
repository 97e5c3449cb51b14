//! Damaged offsets and lines of `texts.jsonl`.

use serde_json::{Value, json};

use super::{NPY_DATA, desk};

#[test]
fn offsets_start_at_0_never_fall_and_agree_with_the_texts() {
    let desk = desk("-e token,word -l 0");
    for (name, rows, unit) in [("token", "token_rows", "tokens"), ("word", "words", "words")] {
        let path = format!("out/{name}/offsets.npy");
        let whole = desk.read(&path);
        let rows = desk.json("out/manifest.json")["counts"][rows].as_i64().expect("a number");
        let offsets = desk.npy(&path).integers();
        let lengths: Vec<i64> = offsets.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let place = format!("{name}/offsets.npy");
        let disagrees = |text: usize, rows: i64| {
            format!("{place}: text {text} has {rows} rows; by texts.jsonl it has {} {unit}", lengths[text])
        };
        let with = |index: usize, value: i64, expected: &[String]| {
            desk.edit(&path, |bytes| {
                let at = NPY_DATA + 8 * index;
                bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
            });
            desk.fix_checksum(&place, &desk.read(&path)[NPY_DATA..]);
            assert_eq!(desk.damages(), expected);
            desk.put(&path, &whole);
        };
        with(0, -3, &[format!("{place}: starts at -3; expected 0"), disagrees(0, lengths[0] + 3)]);
        let fallen = format!("{place}: the rows of text 3 end at -1, before they start at {}", offsets[3]);
        with(4, -1, &[fallen, disagrees(4, offsets[5] + 1)]);
        with(3, offsets[3] - 1, &[disagrees(2, lengths[2] - 1), disagrees(3, lengths[3] + 1)]);
        let last = format!("{place}: ends at {}; expected {rows}, the rows of its arrays", i64::MAX);
        with(5, i64::MAX, &[disagrees(4, i64::MAX - offsets[4]), last]);
        desk.fix_checksum(&place, &whole[NPY_DATA..]);
    }
    desk.verifies();
}

#[test]
fn lines_of_texts_are_one_for_each_text_with_the_keys_they_need() {
    let desk = desk("-e token,word -l 0 --pretokenized");
    let whole = String::from_utf8(desk.read("out/texts.jsonl")).expect("UTF-8");
    let lines: Vec<&str> = whole.lines().collect();
    let with = |lines: &[&str], expected: &[&str]| {
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        desk.put("out/texts.jsonl", &text);
        desk.fix_checksum("texts.jsonl", text.as_bytes());
        let damages = desk.damages();
        assert_eq!(damages.len(), expected.len(), "{damages:?}");
        for (damage, expected) in damages.iter().zip(expected) {
            assert!(damage.starts_with(expected), "{damage} is not {expected}");
        }
    };
    let count = |lines: usize| format!("texts.jsonl: has {lines} lines; expected 5, one for each text");
    with(&lines[..4], &[&count(4)]);
    with(&[lines[0], lines[1], lines[3], lines[4]], &["texts.jsonl: line 3: row is 3; expected 2", &count(4)]);
    with(&lines[1..], &["texts.jsonl: line 1: row is 1; expected 0", &count(4)]);
    let again = [lines[0], lines[1], lines[1], lines[2], lines[3], lines[4]];
    with(&again, &["texts.jsonl: line 3: row is 1; expected 2", &count(6)]);
    let extra = [lines[0], lines[1], lines[2], lines[3], lines[4], "{}"];
    with(&extra, &["texts.jsonl: line 6: missing field `row`", &count(6)]);
    with(&[lines[0], lines[1], lines[2], lines[3], ""], &["texts.jsonl: line 5: EOF while parsing"]);
    let row: Value = serde_json::from_str(lines[3]).expect("an object");
    for key in row.as_object().expect("an object").keys().filter(|key| *key != "words") {
        let mut without = row.clone();
        without.as_object_mut().expect("an object").remove(key);
        let without = without.to_string();
        desk.put("out/texts.jsonl", [lines[0], lines[1], lines[2], &without, lines[4], ""].join("\n"));
        let damages = desk.damages();
        assert!(damages[0].starts_with("texts.jsonl: line 4: ") && damages[0].contains(key.as_str()), "{damages:?}");
        let mut changed = row.clone();
        changed[key] = json!({"a": 1});
        if key != "label" {
            let changed = changed.to_string();
            with(&[lines[0], lines[1], lines[2], &changed, lines[4]], &["texts.jsonl: line 4: invalid type"]);
        }
    }
    for (key, value, problem) in [
        ("row", json!(700), "row is 700; expected 3"),
        ("n_tokens", json!(100), "n_tokens is 100, and n_tokens_before_truncation"),
        ("token_ids", json!([1]), "token_ids has 1 entries and tokens has 6"),
        ("offsets", json!([null, [0, 1], [3, 2], null, null, null]), "offsets 3 to 2 run backward"),
        ("word_ids", json!([null, 0, 90, null, null, null]), "word_ids has word 90; there are 6 words"),
    ] {
        let mut changed = row.clone();
        changed[key] = value;
        let changed = changed.to_string();
        with(&[lines[0], lines[1], lines[2], &changed, lines[4]], &[&format!("texts.jsonl: line 4: {problem}")]);
    }
    // What the lines make together.
    let cut = desk.json("out/manifest.json")["counts"]["truncated_tokens"].as_u64().expect("a number");
    let mut changed = row.clone();
    changed["n_tokens_before_truncation"] = json!(row["n_tokens_before_truncation"].as_u64().expect("a number") + 1);
    let changed = changed.to_string();
    with(
        &[lines[0], lines[1], lines[2], &changed, lines[4]],
        &[&format!("manifest.json: counts.truncated_tokens is {cut}; the lines of texts.jsonl make {}", cut + 1)],
    );
    with(&lines[..0], &[&count(0)]);
    desk.put("out/texts.jsonl", &whole);
    desk.fix_checksum("texts.jsonl", whole.as_bytes());
    desk.verifies();
}

#[test]
fn a_file_of_damaged_lines_is_told_in_short() {
    let desk = desk("-e mean -l 0");
    desk.put("out/texts.jsonl", "x\n".repeat(100_000));
    let damages = desk.damages();
    assert_eq!(damages.len(), 51);
    assert!(damages[50].starts_with("texts.jsonl: and 99952 problems more"), "{}", damages[50]);
}
