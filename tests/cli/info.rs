//! `info`, of models and of output directories, for people and as JSON.

use serde_json::{Value, json};

use crate::desk::Desk;
use crate::models::MODELS;

#[test]
fn the_bundled_model_is_what_info_describes_by_default() {
    let desk = Desk::new();
    let ran = desk.types("info").succeeds().says_nothing();
    ran.prints_all(&["bundled", "distilled from all-MiniLM-L6-v2", "512 tokens"]);
    assert_eq!(desk.types("info bundled").succeeds().stdout(), desk.types("info").succeeds().stdout());
    let facts = desk.types("info --json").succeeds().json();
    for (key, value) in [
        ("model", json!("bundled")),
        ("revision", Value::Null),
        ("num_hidden_layers", json!(4)),
        ("hidden_size", json!(160)),
        ("num_attention_heads", json!(5)),
        ("max_position_embeddings", json!(512)),
        ("vocab_size", json!(30522)),
        ("pooler", json!(true)),
        ("sentence", json!(true)),
        ("bytes_per_token", json!(5 * 160 * 4)),
        ("weights_dtype", json!("f16")),
    ] {
        assert_eq!(facts[key], value, "{key}");
    }
}

#[test]
fn models_in_folders_are_described_by_their_files() {
    for model in MODELS {
        let desk = Desk::with(model);
        let config = desk.json(&format!("{model}/config.json"));
        let facts = desk.types(&format!("info {model} --json")).succeeds().says_nothing().json();
        for key in ["num_hidden_layers", "hidden_size", "num_attention_heads", "intermediate_size", "vocab_size"] {
            assert_eq!(facts[key], config[key], "{model}: {key}");
        }
        assert_eq!(facts["pooler"], json!(model != "width32"));
        assert_eq!(facts["sentence"], json!(true), "without modules.json the mean");
        let dtype = match model {
            "width16" | "width64" => "f16",
            "width32" => "bf16",
            _ => "f32",
        };
        assert_eq!(facts["weights_dtype"], dtype, "{model}");
        let text = desk.types(&format!("info {model}")).succeeds();
        text.prints_all(&[model, dtype, &format!("{} tokens", config["max_position_embeddings"])]);
    }
}

#[test]
fn parameters_are_counted_without_heads() {
    // Embeddings, encoder and pooler by hand: V·H + P·H + T·H + 2H, and a layer 4(H²+H) + 2H·I + I + H + 4H.
    let desk = Desk::with("width1");
    let (v, h, p, t, i, layers) = (desk.json("width1/config.json")["vocab_size"].as_u64().unwrap(), 7, 40, 2, 13, 2);
    let expected = (v + p + t + 2) * h + layers * (4 * (h * h + h) + 2 * h * i + i + h + 4 * h) + h * h + h;
    assert_eq!(desk.types("info width1 --json").succeeds().json()["parameters"], expected);
}

#[test]
fn an_output_directory_is_described_by_its_manifest() {
    let desk = Desk::with("width64");
    desk.put("texts.txt", "hello world\n\nthe river\n");
    desk.types("extract -m width64 -i texts.txt -e token,mean -l 0,4 --max-length 3 -o out").succeeds();
    let ran = desk.types("info out").succeeds().says_nothing();
    let ran = ran
        .prints_all(&["width64", "0 4 of 0 to 4", "texts", "3", "mean/layer_04.npy", "(3, 128) f32"])
        .prints_all(&["truncated", "2 texts"]);
    assert!(!ran.stdout().contains("windows"));

    let facts = desk.types("info out --json").succeeds().json();
    let manifest = desk.json("out/manifest.json");
    for key in ["model", "plan", "counts", "arrays", "format_version"] {
        assert_eq!(facts[key], manifest[key], "{key}");
    }
    assert_eq!(facts["run"], desk.json("out/run.json"));
    desk.types("info out --revision main").fails_as_wrong_usage().says_all(&["--revision", "out"]);

    desk.types("extract -m width64 -i texts.txt -l 0 --max-length 3 --overflow window -o windows").succeeds();
    desk.types("info windows").succeeds().prints("windows    4 of 2 texts");

    desk.types("extract -m width64 -i texts.txt -e token -l 4 -f safetensors --dtype f16 -o st").succeeds();
    desk.types("info st").succeeds().prints_all(&["token.safetensors", "layer_04", "f16"]);
}

#[test]
fn a_directory_without_its_run_json_is_described_all_the_same() {
    let desk = Desk::new();
    desk.types("extract hello -o out").succeeds();
    desk.remove("out/run.json");
    assert_eq!(desk.types("info out --json").succeeds().json()["run"], Value::Null);
    desk.types("info out").succeeds();
}

#[test]
fn what_is_neither_model_nor_output_is_said_to_be_so() {
    let desk = Desk::new();
    desk.put("stuff/letter.txt", "dear");
    desk.types("info stuff").fails().says("stuff");
    desk.put("file.txt", "dear");
    desk.types("info file.txt").fails().says_all(&["file.txt", "is a file"]);
}

// `--dry-run`.

#[test]
fn a_dry_run_prints_the_plan_and_writes_nothing() {
    let desk = Desk::with("width64");
    desk.put("texts.txt", "hello world\n\nthe river\n");
    let job = "extract -m width64 -i texts.txt -e token,mean,pooler -l 0,4 --max-length 3 --dry-run";
    let ran = desk.types(&format!("{job} -o new/out")).succeeds();
    ran.prints_all(&["width64", "0 4", "token mean pooler", "token/layer_00.npy", "token/layer_04.npy"])
        .prints_all(&["mean/layer_04.npy", "pooler.npy", "(3, 128) f32", "(8, 128) f32", "free", "memory"])
        .prints(&format!("{} of arrays", "12.83 kB"));
    assert!(!desk.has("new"));
    let ran = desk.types(&format!("{job} -f safetensors --dtype bf16 -o out")).succeeds();
    ran.prints_all(&["token.safetensors", "layer_00", "bf16"]);
    desk.types(job).succeeds().prints("JSON Lines on standard output");
    assert!(!desk.has("out"));
}

#[test]
fn a_dry_run_finds_bad_input() {
    let desk = Desk::new();
    desk.types_into("extract --dry-run -o out", b"\xff\n").fails().says("line 1");
    desk.types("extract hello --dry-run -l 7 -o out").fails_as_wrong_usage();
    assert!(!desk.has("out"));
}

#[test]
fn a_dry_run_refuses_what_the_job_refuses() {
    let desk = Desk::with("width1");
    desk.put("home/letter.txt", "dear");
    desk.types("extract hello --dry-run -o home").fails().says_all(&["not empty", "--overwrite"]);
    desk.types("extract hello --dry-run -o home --overwrite").succeeds().prints("home");
    desk.types("extract hello --dry-run -o home/letter.txt").fails().says("is a file");
    desk.types("extract -m width1 hello -o out").succeeds();
    let before = desk.files("out");
    for (job, says) in [
        ("-m width1 hello -l 0", &["another job", "--layers"][..]),
        ("-m width1 hello --shard 1/2", &["another job", "--shard"]),
        ("hello", &["another job", "the model"]),
        ("-m width1 goodbye", &["another job", "the input"]),
    ] {
        desk.types(&format!("extract {job} --dry-run -o out")).fails().says_all(says);
        desk.types(&format!("extract {job} --dry-run -o out --overwrite")).succeeds();
    }
    desk.types("extract -m width1 hello --dry-run -o out").succeeds().prints("already holds this job");
    assert!(desk.files("out") == before);
    desk.remove("out/mean/layer_00.npy");
    desk.types("extract -m width1 hello --dry-run -o out")
        .fails()
        .says_all(&["layer_00.npy is missing", "--overwrite"]);
}

#[test]
#[cfg(target_os = "linux")]
fn a_dry_run_finds_that_the_disk_is_too_small() {
    // A file system without room.
    Desk::new().types("extract hello --dry-run -o /proc/out").fails().says_all(&[
        "/proc/out",
        "the disk has 0 B free",
        "short",
    ]);
}

#[test]
fn a_dry_run_counts_its_shard_alone() {
    let desk = Desk::with("width1");
    desk.put("texts.txt", "hello world\n".repeat(300));
    let job = "extract -m width1 -i texts.txt -e token -l 0 --shard 2/3";
    for output in ["", "-o out"] {
        let ran = desk.types(&format!("{job} --dry-run {output}")).succeeds();
        ran.prints_all(&["shard     2/3: rows 100 to 199 of 300", "texts     100\n", "tokens    400 ("]);
    }
    desk.types(&format!("{job} --dry-run -o out")).succeeds().prints("(400, 7) f32");
    desk.types("extract -m width1 a b --shard 3/3 --dry-run").succeeds().prints("shard     3/3: no rows of 2");
}
