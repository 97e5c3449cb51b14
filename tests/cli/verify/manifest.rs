//! Damaged manifests.

use serde_json::{Value, json};

use super::desk;

#[test]
fn a_shards_texts_count_from_its_first_row() {
    let desk = desk("-e token -l 0 --shard 2/2");
    desk.verifies();
    let shard = desk.json("out/manifest.json")["shard"].clone();
    let first = shard["first_row"].as_u64().expect("a number");
    assert!(first > 0);
    let with = |key: &str, value: Value, problem: &str| {
        desk.edit_manifest(|manifest| {
            manifest["shard"] = shard.clone();
            manifest["shard"][key] = value;
        });
        let damages = desk.damages();
        assert!(damages[0].contains(problem), "{damages:?} have not {problem:?}");
    };
    with("first_row", json!("x"), "shard.first_row: invalid type");
    with("first_row", json!(5), "beyond shard.all_texts, 5");
    with("first_row", json!(u64::MAX), "beyond shard.all_texts, 5");
    with("index", json!(0), "shard.index is 0 of 2");
    with("index", json!(3), "shard.index is 3 of 2");
    desk.edit_manifest(|manifest| {
        manifest["shard"].as_object_mut().expect("an object").remove("all_texts");
    });
    assert!(desk.damages().contains(&"manifest.json: shard.all_texts is missing".to_owned()));
    desk.edit_manifest(|manifest| manifest["shard"] = json!(7));
    assert!(desk.damages()[0].contains("shard is a number; expected an object"));
    desk.edit_manifest(|manifest| {
        manifest.as_object_mut().expect("an object").remove("shard");
    });
    assert!(desk.damages().contains(&format!("texts.jsonl: line 1: row is {first}; expected 0")));
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
    for (cut, problem) in
        [(0, "is empty"), (1, "is cut off in line 1"), (100, "is cut off in line 1"), (1000, "is cut off")]
    {
        desk.edit("out/manifest.json", |bytes| bytes.truncate(cut));
        let ran = desk.types("verify out").ends_with(1).prints(&format!("manifest.json: {problem}"));
        ran.says("its files could not be checked");
        desk.put("out/manifest.json", whole.to_string());
    }
    desk.put("out/manifest.json", "[".repeat(1_000_000));
    desk.types("verify out")
        .ends_with(1)
        .prints("manifest.json: is not JSON that can be read: it is nested deeper than 127 levels");
}
