//! Every family of encoders through every command: what holds for BERT holds for each.

use serde_json::{Value, json};

use crate::desk::Desk;
use crate::models::golden;
use crate::word_ids;

/// One golden model for each kind of block and of embeddings.
const MODELS: [&str; 12] = [
    "albert",
    "bert-generation",
    "deberta-v2-conv",
    "deberta-v3",
    "distilbert",
    "electra",
    "esm2",
    "eurobert",
    "gte-new",
    "modernbert",
    "mpnet",
    "roberta",
];

/// A desk with a model whose tokenizer makes token i of the word `i`, and texts for it: short, long and labelled ones.
fn desk(model: &str) -> Desk {
    let desk = Desk::new();
    let model = desk.model_as(&format!("families/{model}"), "model");
    word_ids::tokenizer().into_iter().fold(model, |model, (name, content)| model.put(name, content));
    let text = |row: usize| -> String {
        let length = 1 + row * 7 % 45;
        (0..length).map(|i| format!("{} ", 5 + (row * 13 + i * 11) % 50)).collect()
    };
    let line = |row: usize| {
        json!({"text": text(row).trim_end(), "label": if row.is_multiple_of(2) { "left" } else { "right" }}).to_string()
            + "\n"
    };
    desk.put("texts.jsonl", (0..40).map(line).collect::<String>());
    desk
}

/// The golden texts that are within the limits of all models, as words, and the numbers of the truth for each layer.
fn golden_texts(model: &str) -> (String, impl Fn(usize) -> Vec<f64>) {
    let file = |name: &str| std::fs::read(golden("families").join(model).join(name)).expect("a file");
    let facts: Value = serde_json::from_slice(&file("golden.json")).expect("JSON");
    let ids = |text: &Value| text["input_ids"].as_array().expect("ids").clone();
    let texts: Vec<Vec<Value>> =
        facts["texts"].as_array().expect("texts").iter().map(ids).take_while(|text| text.len() <= 60).collect();
    assert!(texts.len() > 1);
    let line = |ids: &Vec<Value>| ids.iter().map(Value::to_string).collect::<Vec<_>>().join(" ") + "\n";
    let (lines, rows, bytes) = (texts.iter().map(line).collect(), texts.len(), file("golden.safetensors"));
    let truth = move |layer: usize| {
        let tensors = safetensors::SafeTensors::deserialize(&bytes).expect("safetensors");
        let numbers = |row: usize| {
            let tensor = tensors.tensor(&format!("hidden_states.{row}.{layer}")).expect("a tensor");
            tensor.data().as_chunks::<8>().0.iter().map(|&bytes| f64::from_le_bytes(bytes)).collect::<Vec<_>>()
        };
        (0..rows).flat_map(numbers).collect()
    };
    (lines, truth)
}

#[test]
fn token_vectors_are_those_of_the_reference() {
    // The golden texts of the others have two token types.
    for model in MODELS.into_iter().filter(|model| !["albert", "electra"].contains(model)) {
        let desk = desk(model);
        let (texts, truth) = golden_texts(model);
        desk.put("golden.txt", texts);
        desk.types("extract -m model -i golden.txt -o out -e token --batch-tokens 64").succeeds();
        let manifest = desk.json("out/manifest.json");
        let layers = manifest["model"]["num_hidden_layers"].as_u64().expect("a number") as usize;
        for layer in 0..=layers {
            let found = desk.npy(&format!("out/token/layer_{layer:02}.npy")).numbers();
            let truth = truth(layer);
            assert_eq!(found.len(), truth.len(), "{model}");
            let largest = truth.iter().fold(1.0, |most: f64, number| most.max(number.abs()));
            let error = found.iter().zip(&truth).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max);
            assert!(error < 1e-5 * largest, "{model} layer {layer}: {error:e}");
        }
    }
}

#[test]
fn a_directory_is_the_same_in_parts_and_merged_and_stands_recomputing() {
    for model in MODELS {
        let desk = desk(model);
        let job = "extract -m model -i texts.jsonl -e token,word,mean,cls,max,lasttoken --max-length 32";
        desk.types(&format!("{job} -o whole --threads 1")).succeeds();
        for index in 1..=3 {
            desk.types(&format!("{job} -o part-{index} --shard {index}/3 --batch-tokens 50 --threads 2")).succeeds();
        }
        desk.types("merge merged part-1 part-2 part-3").succeeds();
        assert!(desk.job("merged") == desk.job("whole"), "{model}");
        desk.types("verify merged -i texts.jsonl --recompute 40").succeeds().says("40 texts recomputed");
    }
}

#[test]
fn windows_of_long_texts_are_the_tokens_of_their_windows() {
    for model in MODELS {
        let desk = desk(model);
        desk.types("extract -m model -i texts.jsonl -o out -e token,mean --max-length 16 --overflow window --stride 4")
            .succeeds();
        desk.types("verify out -i texts.jsonl --recompute 40").succeeds();
        // The first tokens of a long text are those of its first window alone, but for those that the next window has.
        let text = desk.json_lines("texts.jsonl")[6]["text"].as_str().expect("a text").to_owned();
        let words: Vec<&str> = text.split(' ').collect();
        assert!(words.len() > 40);
        desk.put("first.txt", words[..16].join(" "));
        desk.types("extract -m model -i first.txt -o first -e token").succeeds();
        let offsets = desk.npy("out/token/offsets.npy").integers();
        let layers = desk.json("out/manifest.json")["model"]["num_hidden_layers"].as_u64().expect("a number");
        let name = format!("token/layer_{layers:02}.npy");
        let (all, first) = (desk.npy(&format!("out/{name}")).rows(), desk.npy(&format!("first/{name}")).rows());
        let start = offsets[6] as usize;
        assert_eq!(all[start..start + 10], first[..10], "{model}");
    }
}

#[test]
fn probes_and_predictions_work_on_all_layers() {
    for model in MODELS {
        let desk = desk(model);
        desk.types("extract -m model -i texts.jsonl -o out -e mean --label-column label").succeeds();
        desk.types("probe out -o report --folds 4 --seed 1").succeeds();
        let told = desk.json_lines("report/predictions.jsonl");
        let predicted = desk.types("predict report -i texts.jsonl --json").succeeds().json_lines();
        assert_eq!((told.len(), predicted.len()), (40, 40), "{model}");
        desk.types("compare -m model \"5 6 7\" \"8 9 10\" \"5 6 8\"").succeeds();
        desk.types("extract -m model -i texts.jsonl -o combined -e mean --combine concat").succeeds();
    }
}

#[test]
fn info_says_what_the_family_is() {
    let says = |model: &str, all: &[&str]| {
        let shown = desk(model).types("info model").succeeds().stdout();
        for part in all {
            assert!(shown.contains(part), "{model}: {part} in\n{shown}");
        }
    };
    says("esm2", &["family", "esm", "behind the final norm", "rotary (base 10000)", "as the model has no limit"]);
    says("modernbert", &["modernbert", "rotary (base 10000, 160000)", "8 tokens to each side", "220 tokens"]);
    says("deberta-v3", &["deberta-v2", "embeddings of distances", "64 tokens"]);
    says("mpnet", &["a table; a number for each head and distance", "218 tokens"]);
    says("roberta", &["roberta", "a table", "218 tokens"]);
    let desk = desk("esm2");
    let facts = desk.types("info model --json").succeeds().json();
    assert_eq!((&facts["family"], &facts["final_norm"]), (&json!("esm"), &json!("layer 3")));
    desk.types("extract -m model -i texts.jsonl -o out -e mean").succeeds();
    let manifest = desk.json("out/manifest.json");
    assert_eq!((&manifest["model"]["family"], &manifest["model"]["final_norm"]), (&json!("esm"), &json!("layer 3")));
}

#[test]
fn what_a_family_does_not_compute_is_refused_by_name() {
    for (model, key, value, named) in [
        ("albert", "inner_group_num", json!(2), "inner_group_num"),
        ("esm2", "is_folding_model", json!(true), "is_folding_model"),
        ("esm2", "mask_token_id", json!(null), "mask_token_id"),
        ("nomic_bert-old", "prenorm", json!(true), "prenorm"),
        ("nomic_bert-old", "rotary_emb_fraction", json!(0.5), "rotary_emb_fraction"),
        ("nomic_bert-old", "rotary_emb_interleaved", json!(true), "rotary_emb_interleaved"),
        ("nomic_bert", "num_experts", json!(8), "num_experts"),
        ("gte-new", "logn_attention_scale", json!(true), "logn_attention_scale"),
        ("gte-new", "rope_scaling", json!({"type": "dynamic", "factor": 2.0}), "dynamic"),
        ("gte-new", "rope_scaling", json!({"type": "ntk", "factor": 2.0, "mixed_b": 1.0}), "mixed_b"),
        ("gte-new", "layer_norm_type", json!("rms_norm"), "layer_norm_type"),
        ("modernbert", "layer_types", json!(["full_attention"]), "layer_types"),
        ("modernbert", "tie_last_hidden_states", json!(false), "tie_last_hidden_states"),
        ("deberta-v3", "pos_att_type", json!("p2p"), "p2p"),
        ("deberta-v3", "talking_head", json!(true), "talking_head"),
        ("deberta-v2-conv", "conv_kernel_size", json!(4), "conv_kernel_size"),
        ("roformer", "rotary_value", json!(true), "rotary_value"),
        ("roberta", "position_embedding_type", json!("relative_key"), "relative_key"),
        ("roberta", "max_position_embeddings", json!(2), "leaves no position"),
        ("eurobert", "num_key_value_heads", json!(3), "num_key_value_heads"),
        ("esm2", "num_attention_heads", json!(8), "an odd number"),
    ] {
        let desk = Desk::new();
        desk.model_as(&format!("families/{model}"), "model").config(key, value);
        desk.types("info model").fails().says(named);
    }
    for model in ["distilbert", "electra", "bert-generation", "modernbert", "deberta-v3"] {
        desk(model).types("extract -m model 5 -e pooler").fails_as_wrong_usage().says("have no pooler");
    }
    let desk = desk("roberta");
    let long = "7 ".repeat(219);
    desk.put("long.txt", long);
    desk.types("extract -m model -i long.txt -e mean --overflow error").fails().says("218");
    desk.types("extract -m model -i long.txt -e mean --max-length 219")
        .fails_as_wrong_usage()
        .says("limit of 218 tokens");
}
