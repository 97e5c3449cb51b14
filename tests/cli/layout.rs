//! The output directory: which files there are, what shapes and types they have, and what the manifest says of them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::desk::Desk;
use crate::models::MODELS;

const TEXTS: &str = "The quick brown fox jumps over the lazy dog.\n\nhello world\nDon't stop, river stones!\n";
const EVERYTHING: &str = "token,word,cls,mean,max,mean_sqrt_len,weightedmean,lasttoken,pooler,sentence";
const PER_LAYER: [&str; 8] = ["token", "word", "cls", "mean", "max", "mean_sqrt_len", "weightedmean", "lasttoken"];

/// Rows of each kind, as `texts.jsonl` tells them.
fn rows(desk: &Desk, out: &str, kind: &str) -> usize {
    let texts = desk.json_lines(&format!("{out}/texts.jsonl"));
    let words = |text: &Value| {
        let last = text["word_ids"].as_array().expect("word ids").iter().filter_map(Value::as_u64).max();
        last.map_or(0, |last| last as usize + 1)
    };
    match kind {
        "token" => texts.iter().map(|text| text["tokens"].as_array().expect("tokens").len()).sum(),
        "word" => texts.iter().map(words).sum(),
        _ => texts.len(),
    }
}

#[test]
fn every_kind_of_vector_as_npy() {
    let desk = Desk::with("width64");
    desk.put("texts.txt", TEXTS);
    desk.types(&format!("extract -m width64 -i texts.txt -e {EVERYTHING} -o out")).succeeds();

    let mut expected: BTreeSet<String> = ["manifest.json", "run.json", "texts.jsonl", "pooler.npy", "sentence.npy"]
        .into_iter()
        .chain(["token/offsets.npy", "word/offsets.npy"])
        .map(str::to_owned)
        .collect();
    for kind in PER_LAYER {
        expected.extend((0..=4).map(|layer| format!("{kind}/layer_0{layer}.npy")));
    }
    assert_eq!(desk.file_names("out").into_iter().collect::<BTreeSet<_>>(), expected);

    for (name, array) in desk.npy_arrays("out") {
        let kind = name.split('/').next().expect("a kind");
        if name.ends_with("offsets") {
            assert_eq!((array.dtype.as_str(), array.shape), ("i64", vec![5]), "{name}");
        } else {
            assert_eq!((array.dtype.as_str(), array.shape), ("f32", vec![rows(&desk, "out", kind), 128]), "{name}");
        }
    }
}

#[test]
fn every_kind_of_vector_as_safetensors() {
    let desk = Desk::with("width64");
    desk.put("texts.txt", TEXTS);
    desk.types(&format!("extract -m width64 -i texts.txt -e {EVERYTHING} -o out -f safetensors")).succeeds();

    let mut expected: BTreeSet<String> = ["manifest.json", "run.json", "texts.jsonl"].map(str::to_owned).into();
    expected.extend(EVERYTHING.split(',').map(|kind| format!("{kind}.safetensors")));
    assert_eq!(desk.file_names("out").into_iter().collect::<BTreeSet<_>>(), expected);

    let layers: BTreeSet<String> = (0..=4).map(|layer| format!("layer_0{layer}")).collect();
    for kind in EVERYTHING.split(',') {
        let tensors = desk.safetensors(&format!("out/{kind}.safetensors"));
        let mut expected = match kind {
            "pooler" | "sentence" => BTreeSet::from([kind.to_owned()]),
            _ => layers.clone(),
        };
        if ["token", "word"].contains(&kind) {
            expected.insert("offsets".to_owned());
        }
        assert_eq!(tensors.keys().cloned().collect::<BTreeSet<_>>(), expected, "{kind}");
        for (name, tensor) in tensors {
            let shape = if name == "offsets" { vec![5] } else { vec![rows(&desk, "out", kind), 128] };
            let dtype = if name == "offsets" { "i64" } else { "f32" };
            assert_eq!((tensor.dtype.as_str(), tensor.shape), (dtype, shape), "{kind}: {name}");
        }
    }
}

#[test]
fn the_default_is_the_mean_of_every_layer() {
    for model in MODELS {
        let desk = Desk::with(model);
        desk.types(&format!("extract -m {model} 'hello world' -o out")).succeeds();
        let layers = desk.json(&format!("{model}/config.json"))["num_hidden_layers"].as_u64().expect("a number");
        let mut expected = vec!["manifest.json".to_owned()];
        expected.extend((0..=layers).map(|layer| format!("mean/layer_{layer:02}.npy")));
        expected.extend(["run.json", "texts.jsonl"].map(str::to_owned));
        assert_eq!(desk.file_names("out"), expected, "{model}");
    }
}

#[test]
fn offsets_say_where_the_rows_of_each_text_are() {
    let desk = Desk::with("width64");
    desk.put("texts.txt", TEXTS);
    for special in ["keep", "drop"] {
        let out = format!("out-{special}");
        desk.types(&format!("extract -m width64 -i texts.txt -e token,word --special-tokens {special} -o {out}"))
            .succeeds();
        let texts = desk.json_lines(&format!("{out}/texts.jsonl"));
        let (mut tokens, mut words) = (vec![0], vec![0]);
        for text in &texts {
            let word_ids = text["word_ids"].as_array().expect("word ids");
            tokens.push(tokens[tokens.len() - 1] + word_ids.len() as i64);
            let last = word_ids.iter().filter_map(Value::as_i64).max();
            words.push(words[words.len() - 1] + last.map_or(0, |last| last + 1));
        }
        assert_eq!(desk.npy(&format!("{out}/token/offsets.npy")).integers(), tokens);
        assert_eq!(desk.npy(&format!("{out}/word/offsets.npy")).integers(), words);
    }
}

#[test]
fn a_selection_of_layers_names_its_files_by_their_numbers() {
    let desk = Desk::with("width64");
    for (selection, expected) in [
        ("3", vec![3]),
        ("-1", vec![4]),
        ("0,2,-1", vec![0, 2, 4]),
        ("-1,0,0", vec![0, 4]),
        ("1..3", vec![1, 2, 3]),
        ("-2..", vec![3, 4]),
        ("..1", vec![0, 1]),
        ("all", vec![0, 1, 2, 3, 4]),
    ] {
        let out = format!("out{selection}");
        desk.types(&format!("extract -m width64 hello -l {selection} -e mean,token -o {out}")).succeeds();
        for kind in ["mean", "token"] {
            let mut files: Vec<String> = expected.iter().map(|layer| format!("layer_0{layer}.npy")).collect();
            if kind == "token" {
                files.push("offsets.npy".to_owned());
            }
            assert_eq!(desk.file_names(&format!("{out}/{kind}")), files, "{selection}");
        }
        let manifest = desk.json(&format!("{out}/manifest.json"));
        assert_eq!(manifest["plan"]["layers"], json!(expected));
    }
}

#[test]
fn a_layer_is_the_same_in_any_selection() {
    let desk = Desk::with("width64");
    desk.types("extract -m width64 hello -e token -o all").succeeds();
    desk.types("extract -m width64 hello -e token -l 0,2 -o some").succeeds();
    for layer in ["layer_00", "layer_02"] {
        let file = format!("token/{layer}.npy");
        assert_eq!(desk.read(&format!("some/{file}")), desk.read(&format!("all/{file}")));
    }
}

#[test]
fn combined_layers_make_one_array() {
    let desk = Desk::with("width64");
    for (how, width) in [("concat", 128 * 3), ("mean", 128), ("sum", 128), ("max", 128)] {
        let job = format!("extract -m width64 'hello world' -l 0,2,4 -e token,word,mean,pooler --combine {how}");
        desk.types(&format!("{job} -o {how}")).succeeds();
        let expected = [
            ("mean", vec![format!("{how}.npy")]),
            ("token", vec![format!("{how}.npy"), "offsets.npy".to_owned()]),
            ("word", vec![format!("{how}.npy"), "offsets.npy".to_owned()]),
        ];
        for (kind, mut files) in expected {
            files.sort();
            assert_eq!(desk.file_names(&format!("{how}/{kind}")), files);
        }
        assert!(desk.has(&format!("{how}/pooler.npy")), "a vector of the whole model is not combined");
        assert_eq!(desk.npy(&format!("{how}/mean/{how}.npy")).shape, [1, width]);
        assert_eq!(desk.npy(&format!("{how}/token/{how}.npy")).shape, [4, width]);
        assert_eq!(desk.npy(&format!("{how}/word/{how}.npy")).shape, [2, width]);

        desk.types(&format!("{job} -f safetensors -o {how}-st")).succeeds();
        assert_eq!(desk.safetensors_arrays(&format!("{how}-st")), desk.npy_arrays(how));
    }
}

#[test]
fn the_manifest_describes_the_job() {
    let desk = Desk::with("width64");
    let long = "stone ".repeat(40);
    desk.put("texts.txt", format!("hello world\n\n{long}\n"));
    desk.types("extract -m width64 -i texts.txt -e mean,token -l 0,-1 --normalize -o out").succeeds();
    let manifest = desk.json("out/manifest.json");

    assert_eq!(manifest["format_version"], 1);
    assert_eq!(manifest["layerwise"], env!("CARGO_PKG_VERSION"));
    assert!(manifest["instruction_set"].is_string());
    let model = &manifest["model"];
    assert_eq!((&model["id"], &model["revision"]), (&json!("width64"), &Value::Null));
    assert_eq!((&model["num_hidden_layers"], &model["hidden_size"]), (&json!(4), &json!(128)));
    for file in ["config.json", "model.safetensors", "tokenizer.json", "modules.json", "1_Pooling/config.json"] {
        let digest = sha256(&desk.read(&format!("width64/{file}")));
        assert_eq!(model["sha256"][file], digest, "{file}");
    }

    let plan = &manifest["plan"];
    assert_eq!(plan["layers"], json!([0, 4]));
    assert_eq!(plan["emit"], json!(["token", "mean"]));
    for (key, value) in [
        ("word_pooling", json!("mean")),
        ("special_tokens", json!("keep")),
        ("combine", Value::Null),
        ("normalize", json!(true)),
        ("max_length", json!(27)),
        ("overflow", json!("truncate")),
        ("format", json!("npy")),
        ("dtype", json!("f32")),
        ("pretokenized", json!(false)),
    ] {
        assert_eq!(plan[key], value, "{key}");
    }
    for (key, value) in [("texts", 3), ("tokens", 4 + 2 + 27), ("truncated_texts", 1), ("truncated_tokens", 15)] {
        assert_eq!(manifest["counts"][key], value, "{key}");
    }
    assert_eq!(manifest["layers"], json!({"layer_00": 0, "layer_04": 4}));

    let arrays: BTreeMap<&str, (Value, Value)> = manifest["arrays"]
        .as_array()
        .expect("arrays")
        .iter()
        .map(|array| (array["file"].as_str().expect("a file"), (array["shape"].clone(), array["dtype"].clone())))
        .collect();
    let described = |rows: usize| (json!([rows, 128]), json!("f32"));
    let expected = [
        ("mean/layer_00.npy", described(3)),
        ("mean/layer_04.npy", described(3)),
        ("token/layer_00.npy", described(33)),
        ("token/layer_04.npy", described(33)),
    ];
    assert_eq!(arrays, expected.into());
    for file in arrays.keys() {
        assert_eq!(json!(desk.npy(&format!("out/{file}")).shape), arrays[file].0);
    }
}

#[test]
fn run_json_holds_what_differs_between_two_runs() {
    let desk = Desk::new();
    desk.types("extract 'hello world' --threads 2 --batch-tokens 17 -o out").succeeds();
    let run = desk.json("out/run.json");
    for key in ["started", "finished", "host", "os", "arch"] {
        assert!(run[key].as_str().is_some_and(|value| !value.is_empty()), "{key}: {run}");
    }
    for key in ["seconds", "seconds_encoding", "tokens_per_second"] {
        assert!(run[key].as_f64().is_some_and(|value| value >= 0.0), "{key}: {run}");
    }
    assert_eq!((&run["threads"], &run["batch_tokens"]), (&json!(2), &json!(17)));
}

#[test]
fn texts_without_tokens_or_words_make_arrays_without_rows() {
    let desk = Desk::with("width3");
    desk.put("blank.txt", "\n\n\n");
    desk.types("extract -m width3 -i blank.txt --special-tokens drop -e token,word,mean,cls -o out").succeeds();
    for kind in ["token", "word"] {
        assert_eq!(desk.npy(&format!("out/{kind}/layer_03.npy")).shape, [0, 18]);
        assert_eq!(desk.npy(&format!("out/{kind}/offsets.npy")).integers(), [0; 4]);
    }
    assert!(desk.npy("out/mean/layer_03.npy").numbers().iter().all(|&number| number == 0.0));
    assert!(desk.npy("out/cls/layer_03.npy").numbers().iter().all(|&number| number != 0.0), "[CLS] is still there");
    assert_eq!(desk.json("out/manifest.json")["counts"]["empty_texts"], 3);

    desk.types("extract -m width3 -i blank.txt --special-tokens drop -e token,word -f safetensors -o st").succeeds();
    assert_eq!(desk.safetensors("st/token.safetensors")["layer_00"].shape, [0, 18]);
}

#[cfg(unix)]
#[test]
fn others_may_read_the_files_as_far_as_the_users_settings_allow() {
    use std::os::unix::fs::PermissionsExt;
    let desk = Desk::new();
    desk.types_in_shell("umask 027;", "extract hello -e token -o out").succeeds();
    for name in desk.file_names("out") {
        let mode = std::fs::metadata(desk.path(&format!("out/{name}"))).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o640, "{name}");
    }
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
