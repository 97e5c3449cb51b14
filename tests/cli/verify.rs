//! `verify`: a directory that is whole passes, and every damage is named.

use std::fs;

use half::{bf16, f16};
use serde_json::{Value, json};

use crate::desk::{Desk, Ran};

const TEXTS: &str = "hello world\n\nthe river bank\nthe people of the good world\nzqx river hello\n";

/// Jobs of every format and type.
const JOBS: [&str; 6] = [
    "-e token,word,mean,sentence",
    "-e token,cls,pooler --dtype f16 --special-tokens drop",
    "-e word,max --pretokenized --combine concat",
    "-e token,word,mean -f safetensors",
    "-e word,sentence,pooler -f safetensors --dtype f16 --pretokenized --special-tokens drop",
    "-e token,mean -f safetensors --dtype bf16 --combine sum",
];

/// A desk with the output of a job in `out`.
fn desk(job: &str) -> Desk {
    let desk = Desk::with("width64");
    desk.put("texts.txt", TEXTS);
    let layers = if job.contains("-l ") { "" } else { "-l 0,2,4" };
    desk.types(&format!("extract -m width64 -i texts.txt {layers} --max-length 6 {job} -o out")).succeeds();
    desk
}

impl Desk {
    fn edit(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = self.read(name);
        change(&mut bytes);
        self.put(name, bytes);
    }

    fn edit_text(&self, name: &str, from: &str, to: &str) {
        self.edit(name, |bytes| {
            let at = bytes.windows(from.len()).position(|window| window == from.as_bytes());
            let at = at.unwrap_or_else(|| panic!("{from} in {name}"));
            bytes.splice(at..at + from.len(), to.bytes());
        });
    }

    fn edit_manifest(&self, change: impl FnOnce(&mut Value)) {
        let mut manifest = self.json("out/manifest.json");
        change(&mut manifest);
        self.put("out/manifest.json", manifest.to_string());
    }

    /// Gives the manifest the checksum that these bytes have.
    fn fix_checksum(&self, place: &str, bytes: &[u8]) {
        self.edit_manifest(|manifest| manifest["crc32"][place] = json!(format!("{:08x}", crc32fast::hash(bytes))));
    }

    fn verifies(&self) {
        self.types("verify out").succeeds().prints_nothing().says("out is whole");
    }

    /// Each damage, as `place: problem`.
    #[track_caller]
    fn damages(&self) -> Vec<String> {
        let ran: Ran = self.types("verify out").ends_with(1);
        let lines: Vec<String> = ran.stdout().lines().map(str::to_owned).collect();
        let problems = if lines.len() == 1 { "1 problem".to_owned() } else { format!("{} problems", lines.len()) };
        ran.says_all(&["error: out is damaged", &problems, "--overwrite"]);
        assert!(!lines.is_empty());
        lines
    }

    /// Fails unless these are all damages, in this order.
    #[track_caller]
    fn is_damaged(&self, expected: &[&str]) {
        assert_eq!(self.damages(), expected);
    }
}

/// Where the data of a `.npy` file starts.
const NPY_DATA: usize = 128;

/// Numbers that look random and are the same every time: Knuth's linear congruential generator.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }
}

#[test]
fn what_extract_writes_is_whole() {
    for job in JOBS {
        let desk = desk(job);
        desk.verifies();
        assert_eq!(desk.types("verify out --json").succeeds().json(), json!([]), "{job}");
        desk.types("verify out -q").succeeds().says_nothing().prints_nothing();
        let before = desk.files("out");
        desk.types("verify out --progress always").succeeds();
        assert_eq!(desk.files("out"), before, "nothing is written");
    }
    let desk = Desk::new();
    desk.types_into("extract -e token,word,mean -o out", "\n\n").succeeds();
    desk.verifies();
}

#[test]
fn a_byte_changed_anywhere_is_found_and_its_file_named() {
    let mut random = Random(7);
    for job in [JOBS[0], JOBS[5]] {
        let desk = desk(job);
        for (name, bytes) in desk.files("out") {
            if ["manifest.json", "run.json"].contains(&name.as_str()) {
                continue;
            }
            // Every few bytes of the header, and anywhere.
            let beginning = bytes.len().min(136);
            let places = (0..4).map(|_| random.below(beginning)).collect::<Vec<_>>();
            let places = places.into_iter().chain((0..4).map(|_| random.below(bytes.len())).collect::<Vec<_>>());
            for at in places {
                let bit = 1 << random.below(8);
                desk.edit(&format!("out/{name}"), |bytes| bytes[at] ^= bit);
                let damages = desk.damages();
                assert!(
                    damages.iter().any(|line| line.starts_with(&name)),
                    "{name}, byte {at}, bit {bit}: {damages:?}"
                );
                let is_of = |line: &String| line.starts_with(&name) || line.starts_with("manifest.json: counts.");
                let is_of_offsets = |line: &String| line.contains("offsets") && line.contains("by texts.jsonl");
                assert!(
                    damages.iter().all(|line| is_of(line) || is_of_offsets(line)),
                    "{name}, byte {at}: {damages:?}"
                );
                desk.put(&format!("out/{name}"), &bytes);
            }
        }
        desk.verifies();
    }
}

#[test]
fn every_field_of_a_npy_header_is_compared() {
    let desk = desk(JOBS[0]);
    let name = "out/mean/layer_02.npy";
    let bytes = desk.read(name);
    for (from, to, problem) in [
        ("NUMPY\x01", "NUMBY\x01", "is not a .npy file, as it does not begin with \\x93NUMPY"),
        ("NUMPY\x01", "NUMPY\x02", "the header has version 2.0; expected 1.0"),
        ("v\0{", "w\0{", "the header has 119 bytes; expected 118"),
        ("<f4", "<i4", "holds numbers of type '<i4'; expected '<f4'"),
        ("<f4", ">f4", "holds numbers of type '>f4'; expected '<f4'"),
        ("False", "True ", "is in Fortran order; expected C order"),
        ("(5, 128)", "(128, 5)", "has shape [128, 5]; expected [5, 128]"),
        ("(5, 128)", "(5,128) ", "the header means what it should, but byte 63 is not what layerwise writes"),
        ("    \n", "   x\n", "the header cannot be read"),
        ("    \n", "     ", "newline missing at end of header"),
    ] {
        desk.edit_text(name, from, to);
        let damages = desk.damages();
        assert!(damages.len() == 1 && damages[0].starts_with("mean/layer_02.npy: "), "{damages:?}");
        assert!(damages[0].contains(problem), "{damages:?} has not {problem:?}");
        desk.put(name, &bytes);
    }
}

#[test]
fn every_field_of_a_safetensors_header_is_compared() {
    let desk = desk(JOBS[3]);
    let name = "out/token.safetensors";
    let bytes = desk.read(name);
    let header = String::from_utf8_lossy(&bytes[8..]).into_owned();
    let rows = desk.json("out/manifest.json")["counts"]["tokens"].as_u64().expect("a number");
    let shape = format!("[{rows},128]");
    assert!(header.contains(&shape));
    for (from, to, problem) in [
        ("I64", "U64", "tensor offsets is of type U64; expected I64"),
        ("F32", "U32", "tensor layer_00 is of type U32; expected F32"),
        (shape.as_str(), &format!("[128,{rows}]"), "tensor layer_00 has shape"),
        ("[0,48]", "[0,47]", "the header cannot be read"),
        ("layer_02", "layer_03", "has no tensor layer_02"),
        ("layer_02", "layer_03", "has a tensor \"layer_03\", which the manifest does not name"),
        ("layer_02", "layer_00", "the header cannot be read"),
        (" ", "\t", "the header means what it should"),
    ] {
        if from == " " && !header[..400].contains(from) {
            continue; // no room between header and data in this one
        }
        desk.edit_text(name, from, to);
        let damages = desk.damages();
        assert!(damages.iter().all(|line| line.starts_with("token.safetensors")), "{damages:?}");
        assert!(damages.iter().any(|line| line.contains(problem)), "{damages:?} has not {problem:?}");
        desk.put(name, &bytes);
    }
    // The two tensors' names exchanged: the same bytes in all, each tensor in the other's place.
    desk.edit_text(name, "layer_02", "layer_xx");
    desk.edit_text(name, "layer_04", "layer_02");
    desk.edit_text(name, "layer_xx", "layer_04");
    let damages = desk.damages();
    assert!(damages.iter().any(|line| line.contains("tensor layer_02 is at bytes")), "{damages:?}");
    // Another header length, beyond the file and beyond memory.
    for length in [0, 1, u64::MAX, 99_999_999] {
        desk.put(name, &bytes);
        desk.edit(name, |bytes| bytes[..8].copy_from_slice(&length.to_le_bytes()));
        let damages = desk.damages();
        assert_eq!(damages.len(), 1);
        assert!(damages[0].starts_with(&format!("token.safetensors: the header has {length} bytes; expected")));
    }
}

#[test]
fn a_file_that_is_too_short_or_too_long_is_named_with_its_sizes() {
    for (job, name) in [(JOBS[0], "token/layer_04.npy"), (JOBS[0], "token/offsets.npy"), (JOBS[5], "mean.safetensors")]
    {
        let desk = desk(job);
        let path = format!("out/{name}");
        let bytes = desk.read(&path);
        for length in [0, 5, 40, bytes.len() - 1, bytes.len() + 1, bytes.len() + 5000] {
            desk.edit(&path, |bytes| bytes.resize(length, 0));
            let damages = desk.damages();
            assert!(damages.contains(&format!("{name}: has {length} bytes; expected {}", bytes.len())), "{damages:?}");
            assert!(damages.iter().all(|line| line.starts_with(name)), "{damages:?}");
            let is_cut = length <= 40;
            assert_eq!(damages.len(), 1 + usize::from(is_cut), "{damages:?}");
            desk.put(&path, &bytes);
        }
        desk.edit("out/texts.jsonl", |bytes| bytes.truncate(bytes.len() / 2));
        let damages = desk.damages();
        assert!(damages.iter().any(|line| line.starts_with("texts.jsonl: has ")), "{damages:?}");
    }
}

#[test]
fn files_that_are_missing_are_all_named() {
    let desk = desk(JOBS[0]);
    for name in ["texts.jsonl", "token/layer_00.npy", "word/offsets.npy", "sentence.npy"] {
        desk.remove(&format!("out/{name}"));
    }
    fs::create_dir(desk.path("out/sentence.npy")).expect("a directory");
    desk.is_damaged(&[
        "texts.jsonl: is missing",
        "token/layer_00.npy: is missing",
        "word/offsets.npy: is missing",
        "sentence.npy: is not a file",
    ]);
    fs::remove_dir_all(desk.path("out/token")).expect("a directory");
    assert!(desk.damages().contains(&"token/layer_02.npy: is missing".to_owned()));
}

#[cfg(unix)]
#[test]
fn a_pipe_under_the_name_of_a_file_is_not_waited_for() {
    let desk = desk(JOBS[0]);
    desk.remove("out/sentence.npy");
    let made = std::process::Command::new("mkfifo").arg(desk.path("out/sentence.npy")).status();
    assert!(made.is_ok_and(|status| status.success()), "a pipe");
    desk.is_damaged(&["sentence.npy: is not a file"]);
}

#[test]
fn array_files_that_were_exchanged_are_both_named() {
    let desk = desk(JOBS[0]);
    let (a, b) = (desk.read("out/mean/layer_00.npy"), desk.read("out/mean/layer_04.npy"));
    desk.put("out/mean/layer_00.npy", b);
    desk.put("out/mean/layer_04.npy", a);
    let damages = desk.damages();
    assert_eq!(damages.len(), 2, "{damages:?}");
    assert!(damages[0].starts_with("mean/layer_00.npy: its bytes have checksum "), "{damages:?}");
    assert!(damages[1].starts_with("mean/layer_04.npy: its bytes have checksum "), "{damages:?}");
}

#[test]
fn numbers_that_are_not_finite_are_named_by_their_row_even_if_the_checksum_is_right() {
    let desk = desk("-e mean,token -l 2");
    let name = "out/mean/layer_02.npy";
    for (row, column, number) in [(0, 0, f32::NAN), (3, 127, f32::INFINITY), (4, 5, f32::NEG_INFINITY)] {
        let whole = desk.read(name);
        desk.edit(name, |bytes| {
            // A later row as well, which the first one speaks for.
            for row in row..5 {
                let at = NPY_DATA + 4 * (128 * row + column);
                bytes[at..at + 4].copy_from_slice(&number.to_le_bytes());
            }
        });
        desk.fix_checksum("mean/layer_02.npy", &desk.read(name)[NPY_DATA..]);
        desk.is_damaged(&[&format!("mean/layer_02.npy: row {row} is not finite")]);
        desk.put(name, &whole);
    }
    for (dtype, nan) in [("f16", f16::NAN.to_le_bytes()), ("bf16", bf16::NEG_INFINITY.to_le_bytes())] {
        desk.types(&format!("extract -m width64 -i texts.txt -f safetensors --dtype {dtype} --overwrite -o out"))
            .succeeds();
        desk.verifies();
        let bytes = desk.read("out/mean.safetensors");
        let start = bytes.len() - 5 * 128 * 2;
        desk.edit("out/mean.safetensors", |bytes| bytes[start + 1000..start + 1002].copy_from_slice(&nan));
        desk.fix_checksum("mean.safetensors [layer_04]", &desk.read("out/mean.safetensors")[start..]);
        desk.is_damaged(&["mean.safetensors [layer_04]: row 3 is not finite"]);
    }
}

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

#[test]
fn a_shards_texts_count_from_its_first_row() {
    let desk = desk("-e token -l 0");
    let text: String = (desk.json_lines("out/texts.jsonl").into_iter())
        .map(|mut line| {
            line["row"] = json!(line["row"].as_u64().expect("a number") + 1000);
            format!("{line}\n")
        })
        .collect();
    desk.put("out/texts.jsonl", &text);
    desk.fix_checksum("texts.jsonl", text.as_bytes());
    desk.is_damaged(&["texts.jsonl: line 1: row is 1000; expected 0"]);
    desk.edit_manifest(|manifest| manifest["shard"] = json!({"index": 2, "of": 3, "first_row": 1000}));
    desk.verifies();
    for (shard, problem) in [
        (json!({}), "shard.first_row is missing"),
        (json!({"first_row": "x"}), "shard.first_row: invalid type"),
        (json!(7), "shard is a number; expected an object"),
    ] {
        desk.edit_manifest(|manifest| manifest["shard"] = shard);
        assert!(desk.damages()[0].contains(problem), "{problem}");
    }
}

/// The JSON pointers of all keys of objects in a value.
fn keys(value: &Value, pointer: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(entries) => {
            for (key, value) in entries {
                let pointer = format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1"));
                found.push(pointer.clone());
                keys(value, &pointer, found);
            }
        }
        Value::Array(list) => {
            list.iter().enumerate().for_each(|(index, value)| keys(value, &format!("{pointer}/{index}"), found));
        }
        _ => {}
    }
}

#[test]
fn every_key_of_the_manifest_that_is_missing_or_of_another_type_is_named() {
    for job in ["-e token,sentence -l 0,2", "-e mean -l 2 -f safetensors"] {
        let desk = desk(job);
        let manifest = desk.json("out/manifest.json");
        let mut pointers = Vec::new();
        keys(&manifest, "", &mut pointers);
        assert!(pointers.len() > 40);
        for pointer in pointers {
            let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
            let key = key.replace("~1", "/").replace("~0", "~");
            let named = |damages: &[String]| {
                let of_files = pointer.starts_with("/model/sha256/");
                let key = if of_files { "sha256" } else { key.as_str() };
                let is_it = |line: &String| line.starts_with("manifest.json: ") && line.contains(key);
                assert!(damages.iter().any(is_it), "{pointer}: {damages:?}");
            };
            if !pointer.starts_with("/model/sha256/") {
                let mut without = manifest.clone();
                let parent = without.pointer_mut(parent).and_then(Value::as_object_mut).expect("an object");
                parent.remove(&key);
                desk.put("out/manifest.json", without.to_string());
                named(&desk.damages());
            }
            let mut changed = manifest.clone();
            let value = changed.pointer_mut(&pointer).expect("a value");
            *value = match value {
                Value::Number(_) => json!("seven"),
                Value::Object(_) => json!([3]),
                Value::Null => json!([]),
                _ => json!(7),
            };
            desk.put("out/manifest.json", changed.to_string());
            named(&desk.damages());
        }
    }
}

#[test]
fn a_manifest_that_contradicts_itself_is_damaged() {
    let desk = desk("-e token,mean -l 0,2");
    let whole = desk.json("out/manifest.json");
    for (pointer, value, problem) in [
        ("/format_version", json!(2), "format_version is 2; this layerwise knows version 1"),
        ("/model/hidden_size", json!(0), "model.hidden_size is 0"),
        ("/model/hidden_size", json!(u64::MAX), "model.hidden_size is 18446744073709551615"),
        ("/model/hidden_size", json!(u64::MAX / 64), "no disk has room for"),
        ("/model/hidden_size", json!(64), "arrays[0].shape is [24,128]; expected [24,64]"),
        ("/model/num_hidden_layers", json!(1), "plan.layers has a layer beyond 1"),
        ("/model/sha256", json!({}), "model.sha256 names no file"),
        ("/model/id", json!(""), "model.id is empty"),
        ("/plan/layers", json!([]), "plan.layers is empty"),
        ("/plan/layers", json!([2, 0]), "plan.layers are not ascending"),
        ("/plan/layers", json!([0, 1]), "layers.layer_01 is missing; expected 1"),
        ("/plan/emit", json!([]), "plan.emit is empty"),
        ("/plan/emit", json!(["mean", "mean"]), "plan.emit are not in the order"),
        ("/plan/emit", json!(["token", "nonsense"]), "plan.emit: unknown variant `nonsense`"),
        ("/plan/dtype", json!("bf16"), "plan.dtype is bf16, which .npy files cannot hold"),
        ("/plan/max_length", json!(0), "plan.max_length is 0"),
        ("/counts/texts", json!(u64::MAX), "no disk has room for"),
        ("/counts/texts", json!(4), "arrays[2].shape is [5,128]; expected [4,128]"),
        ("/counts/texts", json!(-1), "counts.texts: invalid value"),
        ("/counts/token_rows", json!(10), "counts.token_rows is 10 with 24 tokens"),
        ("/counts/truncated_texts", json!(9), "counts.truncated_texts is 9 of 5 texts"),
        ("/counts/empty_texts", json!(1), "counts.empty_texts is 1; the lines of texts.jsonl make 0"),
        ("/input/sha256", json!("abc"), "input.sha256 is not a sha256"),
        ("/layers/layer_00", json!(1), "layers.layer_00 is 1; expected 0"),
        ("/arrays/3/file", json!("../../secret"), "arrays[3].file is \"../../secret\"; expected"),
        ("/arrays/3", json!(null), "arrays[3] is null; expected an object"),
        ("/arrays", json!([]), "arrays lacks token/layer_00.npy, which the plan has"),
        ("/crc32/texts.jsonl", json!("12345"), "crc32 of texts.jsonl is \"12345\"; expected a string of 8"),
        ("/crc32", json!({"../x": "00000000"}), "crc32 has \"../x\", which the plan has not"),
    ] {
        desk.edit_manifest(|manifest| *manifest.pointer_mut(pointer).expect("a value") = value);
        let damages = desk.damages();
        let is_it = |line: &String| line.starts_with("manifest.json: ") && line.contains(problem);
        assert!(damages.iter().any(is_it), "{pointer}: {damages:?} have not {problem:?}");
        desk.put("out/manifest.json", whole.to_string());
    }
    for cut in [0, 1, 100, 1000] {
        desk.edit("out/manifest.json", |bytes| bytes.truncate(cut));
        let ran = desk.types("verify out").ends_with(1).prints("manifest.json: is not JSON: ");
        ran.says("its files could not be checked");
        desk.put("out/manifest.json", whole.to_string());
    }
    desk.put("out/manifest.json", "[".repeat(1_000_000));
    desk.types("verify out").ends_with(1).prints("manifest.json: is not JSON: recursion limit");
}

#[test]
fn what_other_jobs_left_is_named() {
    let desk = desk("-e mean -l 0,2");
    desk.put("out/notes.txt", "mine");
    desk.put("out/mean/umap.npy", "mine");
    desk.verifies();
    desk.put("out/unfinished.json", "{}");
    desk.put("out/.layerwise-tokens", "");
    desk.put("out/mean/layer_07.npy", "");
    desk.put("out/token.safetensors", "");
    let damages = desk.damages();
    assert_eq!(damages.len(), 4, "{damages:?}");
    assert!(damages[0].starts_with(".layerwise-tokens: is of a job that is running or was killed"), "{damages:?}");
    assert!(damages[1].starts_with("unfinished.json: is there beside a manifest"), "{damages:?}");
    for name in ["mean/layer_07.npy: has a name that layerwise gives", "token.safetensors: has a name"] {
        assert!(damages[2..].iter().any(|line| line.starts_with(name)), "{damages:?}");
    }
}

#[test]
fn damages_are_a_list_for_programs() {
    let desk = desk("-e mean -l 0,2");
    desk.remove("out/mean/layer_02.npy");
    desk.edit("out/mean/layer_00.npy", |bytes| bytes.truncate(200));
    let ran = desk.types("verify --json out").ends_with(1);
    assert_eq!(
        ran.json(),
        json!([
            {"place": "mean/layer_00.npy", "problem": "has 200 bytes; expected 2688"},
            {"place": "mean/layer_02.npy", "problem": "is missing"},
        ])
    );
    ran.says("out is damaged: 2 problems");
}

#[test]
fn what_is_no_complete_output_is_refused() {
    let desk = desk("-e mean -l 0");
    let is_refused =
        |target: &str, texts: &[&str]| drop(desk.types(&format!("verify {target}")).fails().says_all(texts));
    is_refused("nowhere", &["nowhere: does not exist", "layerwise extract"]);
    is_refused("texts.txt", &["texts.txt: is a file", "layerwise extract"]);
    is_refused("width64", &["width64: has no manifest.json", "layerwise extract"]);
    desk.put("web/manifest.json", "{\"name\": \"a web page\"}");
    is_refused("web", &["web", "manifest.json: is not a manifest of layerwise"]);
    fs::rename(desk.path("out/manifest.json"), desk.path("out/unfinished.json")).expect("a file");
    is_refused("out", &["out: holds an unfinished job", "run its command again"]);
    desk.types("verify").fails_as_wrong_usage();
}
