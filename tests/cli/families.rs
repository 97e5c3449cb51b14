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

/// Puts a model to the desk whose tokens are word ids, with nothing around the texts of a pair; the second one has this type.
fn put_model_of_pairs(desk: &Desk, model: &str, second_type: u8) {
    let part = |id: &str, type_id: u8| json!({"Sequence": {"id": id, "type_id": type_id}});
    let model = desk.model_as(&format!("families/{model}"), "ids");
    let model = word_ids::tokenizer().into_iter().fold(model, |model, (name, content)| model.put(name, content));
    model.json("tokenizer.json", |tokenizer| {
        tokenizer["post_processor"] = json!({
            "type": "TemplateProcessing", "single": [part("A", 0)], "pair": [part("A", 0), part("B", second_type)],
            "special_tokens": {}
        });
    });
}

/// The numbers of all layers of a job, one layer after the other.
fn token_vectors(desk: &Desk, out: &str) -> Vec<Vec<f32>> {
    let layers = desk.json(&format!("{out}/manifest.json"))["model"]["num_hidden_layers"].as_u64().expect("a number");
    (0..=layers).map(|layer| desk.npy(&format!("{out}/token/layer_{layer:02}.npy")).numbers()).collect()
}

fn line_of_ids(ids: &[Value]) -> String {
    ids.iter().map(Value::to_string).collect::<Vec<_>>().join(" ")
}

#[test]
fn pairs_have_the_vectors_of_the_reference() {
    for entry in std::fs::read_dir(golden("families")).expect("golden models") {
        let folder = entry.expect("a golden model").path();
        let model = folder.file_name().and_then(|name| name.to_str()).expect("a name").to_owned();
        let json_of = |file: &str| -> Value {
            serde_json::from_slice(&std::fs::read(folder.join(file)).expect("a file")).expect("JSON")
        };
        let bytes = std::fs::read(folder.join("golden.safetensors")).expect("a file");
        let truth = safetensors::SafeTensors::deserialize(&bytes).expect("safetensors");
        // Where a family has no types, those of a pair change nothing; where it knows one, a second one is refused.
        let second_type = u8::from(json_of("config.json")["type_vocab_size"] != json!(1));
        let facts = json_of("golden.json");
        let texts: Vec<(usize, Vec<Value>, usize)> = facts["texts"]
            .as_array()
            .expect("texts")
            .iter()
            .enumerate()
            .map(|(row, text)| {
                let ids = text["input_ids"].as_array().expect("ids").clone();
                let types = text["token_type_ids"].as_array().expect("types");
                let start = types.iter().position(|of_token| *of_token == json!(1)).unwrap_or(ids.len() / 2);
                (row, ids, start)
            })
            .filter(|(_, ids, start)| *start > 0 && ids.len() <= 36)
            .collect();
        assert!(!texts.is_empty(), "{model}");
        let desk = Desk::new();
        put_model_of_pairs(&desk, &model, second_type);
        let line = |(_, ids, start): &(usize, Vec<Value>, usize)| {
            json!({"a": line_of_ids(&ids[..*start]), "b": line_of_ids(&ids[*start..])}).to_string() + "\n"
        };
        desk.put("pairs.jsonl", texts.iter().map(line).collect::<String>());
        let pairs = "-i pairs.jsonl --text-column a --pair-column b";
        desk.types(&format!("extract -m ids {pairs} -e token -o out")).succeeds();
        for (layer, found) in token_vectors(&desk, "out").into_iter().enumerate() {
            let truth: Vec<f64> = texts
                .iter()
                .flat_map(|(row, ..)| {
                    let tensor = truth.tensor(&format!("hidden_states.{row}.{layer}")).expect("a tensor");
                    tensor.data().as_chunks::<8>().0.iter().map(|&bytes| f64::from_le_bytes(bytes)).collect::<Vec<_>>()
                })
                .collect();
            assert_eq!(found.len(), truth.len(), "{model}");
            let largest = truth.iter().fold(1.0, |most: f64, number| most.max(number.abs()));
            let error = found.iter().zip(&truth).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max);
            assert!(error < 1e-5 * largest, "{model} layer {layer}: {error:e}");
        }
    }
}

#[test]
fn pairs_have_the_special_tokens_and_types_of_their_family() {
    let lines = |tokens: &[&str]| tokens.iter().map(|token| format!("{token}\n")).collect::<String>();
    let letters: Vec<String> = ["<s>", "<pad>", "</s>", "<unk>", "a", "b", "c", "<mask>"].map(str::to_owned).into();
    let vocabulary: serde_json::Map<String, Value> =
        letters.iter().enumerate().map(|(id, token)| (token.clone(), json!(id))).collect();
    let of_bytes = [("vocab.json", Value::from(vocabulary).to_string()), ("merges.txt", "#version: 0.2\n".to_owned())];
    let of_bert = [("vocab.txt", lines(&["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "c"]))];
    let of_mpnet = [("vocab.txt", lines(&["<s>", "<pad>", "</s>", "<unk>", "[UNK]", "a", "b", "c", "<mask>"]))];
    let of_esm = [("vocab.txt", lines(&["<cls>", "<pad>", "<eos>", "<unk>", "a", "b", "c", "<mask>"]))];
    let (alike, two): (&[u8], &[u8]) = (&[0; 8], &[0, 0, 0, 0, 1, 1, 1]);
    for (model, files, text, pair, tokens, types) in [
        ("roberta", &of_bytes[..], "ab", "ca", "<s> a b </s> </s> c a </s>", alike),
        ("mpnet", &of_mpnet, "a b", "c a", "<s> a b </s> </s> c a </s>", alike),
        ("esm1b", &of_esm, "ab", "ca", "<cls> a b <eos> c a <eos>", &alike[..7]),
        ("distilbert", &of_bert, "a b", "c a", "[CLS] a b [SEP] c a [SEP]", &alike[..7]),
        ("electra", &of_bert, "a b", "c a", "[CLS] a b [SEP] c a [SEP]", two),
        ("ernie", &of_bert, "a b", "c a", "[CLS] a b [SEP] c a [SEP]", two),
    ] {
        let desk = Desk::new();
        let own = desk.model_as(&format!("families/{model}"), "model");
        files.iter().fold(own, |own, (name, content)| own.put(name, content));
        desk.put("pairs.jsonl", json!({"a": text, "b": pair}).to_string());
        let pairs = "-i pairs.jsonl --text-column a --pair-column b";
        desk.types(&format!("extract -m model {pairs} -e token -o out")).succeeds();
        let line = &desk.json_lines("out/texts.jsonl")[0];
        assert_eq!(line["tokens"], json!(tokens.split(' ').collect::<Vec<_>>()), "{model}");
        assert_eq!(line["token_type_ids"], json!(types), "{model}");
        // The vectors are those of these ids and types.
        let ids = line["token_ids"].as_array().expect("ids");
        let second_type = types[types.len() - 1];
        put_model_of_pairs(&desk, model, second_type);
        let (first, second) = ids.split_at(4);
        desk.put("pairs.jsonl", json!({"a": line_of_ids(first), "b": line_of_ids(second)}).to_string());
        desk.types(&format!("extract -m ids {pairs} -e token -o by-ids")).succeeds();
        assert!(token_vectors(&desk, "out") == token_vectors(&desk, "by-ids"), "{model}");
    }
}

#[test]
fn heads_of_keys_are_read_for_the_families_that_have_them() {
    // Others ignore the key, as transformers does; where it counts, the weights say otherwise.
    for model in ["roberta", "nomic_bert", "gte-new", "jina_embeddings_v3", "roformer"] {
        let desk = desk(model);
        desk.types("extract -m model \"5 6 7\" -e mean -o out").succeeds();
        desk.model_as(&format!("families/{model}"), "model").config("num_key_value_heads", json!(1));
        desk.types("extract -m model \"5 6 7\" -e mean -o stated").succeeds();
        assert_eq!(desk.files("out/mean"), desk.files("stated/mean"), "{model}");
    }
    let desk = desk("eurobert");
    desk.model_as("families/eurobert", "model").config("num_key_value_heads", json!(1));
    desk.types("extract -m model \"5 6 7\" -e mean").fails().says("k_proj");
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

#[test]
fn a_span_that_ends_in_a_space_has_no_token_of_the_next_word() {
    let tokens = ["<s>", "<pad>", "</s>", "<unk>", "a", "b", "c", "<mask>", "\u{120}", "\u{120}a"];
    let vocabulary: serde_json::Map<String, Value> =
        tokens.iter().enumerate().map(|(id, token)| ((*token).to_owned(), json!(id))).collect();
    let desk = Desk::new();
    desk.model_as("families/roberta", "model")
        .put("vocab.json", Value::from(vocabulary).to_string())
        .put("merges.txt", "#version: 0.2\n\u{120} a\n");
    desk.put("texts.jsonl", json!({"text": "b ac", "at": [[0, 2], [0, 3], [2, 4], [3, 4]]}).to_string());
    desk.types("extract -m model -i texts.jsonl --span-column at -e span -o out").succeeds();
    let line = &desk.json_lines("out/texts.jsonl")[0];
    assert_eq!(line["offsets"], json!([null, [0, 1], [2, 3], [3, 4], null]));
    assert_eq!(line["span_tokens"], json!([[1, 2], [1, 3], [2, 4], [3, 4]]));
    desk.put("space.jsonl", json!({"text": "b ac", "at": [[1, 2]]}).to_string());
    desk.types("extract -m model -i space.jsonl --span-column at -e span").fails().says("a span without a token");
}
