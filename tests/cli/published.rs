//! What stands beside a model's weights: tokenizer settings, prompts, limits, and the modules of sentence-transformers. The
//! right ids and vectors of whole folders are in `tests/published`; here is what a user sees of them.

use std::fs;

use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::json;

use crate::desk::Desk;
use crate::models::Model;

/// The width of `width64`, which has two heads.
const WIDTH: usize = 128;

/// The one row of an array.
fn vector(desk: &Desk, file: &str) -> Vec<f32> {
    desk.npy(file).numbers()
}

fn assert_near(found: &[f32], expected: &[f64], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (index, (&found, &expected)) in found.iter().zip(expected).enumerate() {
        assert!((f64::from(found) - expected).abs() < 1e-6, "{what} [{index}]: {found} instead of {expected}");
    }
}

/// Adds a module to a sentence model: its settings, and its weights by name.
fn module(desk: &Desk, model: Model, class: &str, config: serde_json::Value, weights: &[(&str, Vec<usize>, Vec<f32>)]) {
    let folder = format!("3_{class}");
    model.json("modules.json", |modules| {
        let list = modules.as_array_mut().expect("a list");
        list.truncate(2); // without Normalize
        list.push(
            json!({"idx": 2, "name": "2", "path": folder, "type": format!("sentence_transformers.models.{class}")}),
        );
    });
    desk.put(&format!("width64/{folder}/config.json"), config.to_string());
    let bytes: Vec<Vec<u8>> = weights
        .iter()
        .map(|(_, _, numbers)| numbers.iter().flat_map(|number| number.to_le_bytes()).collect())
        .collect();
    let views = weights.iter().zip(&bytes).map(|((name, shape, _), bytes)| {
        (name.to_string(), TensorView::new(Dtype::F32, shape.clone(), bytes).expect("a tensor"))
    });
    let content = safetensors::serialize(views, None).expect("safetensors");
    desk.put(&format!("width64/{folder}/model.safetensors"), content);
}

/// The mean of a text's token vectors at the last layer, as a sentence model pools them, without what comes after.
fn mean(desk: &Desk) -> Vec<f64> {
    desk.types("extract -m width64 'hello world' -l -1 -o means").succeeds();
    vector(desk, "means/mean/layer_04.npy").into_iter().map(f64::from).collect()
}

/// Numbers that are neither regular nor far from 0.
fn numbers(count: usize) -> Vec<f32> {
    (0..count).map(|index| ((index * 7919 % 1013) as f32 / 1013.0 - 0.5) / 4.0).collect()
}

#[test]
fn a_prompt_stands_before_the_text_and_offsets_and_words_are_the_texts_own() {
    let desk = Desk::with("width64");
    desk.types("extract -m width64 'the quick fox' -e token,word,mean -o plain").succeeds();
    desk.types("extract -m width64 'quick fox' --prompt 'the ' -e token,word,mean -o prompted").succeeds();
    for file in ["token/layer_04.npy", "mean/layer_04.npy"] {
        assert_eq!(desk.read(&format!("plain/{file}")), desk.read(&format!("prompted/{file}")), "{file}");
    }
    let (plain, prompted) =
        (desk.json_lines("plain/texts.jsonl").remove(0), desk.json_lines("prompted/texts.jsonl").remove(0));
    assert_eq!(prompted["token_ids"], plain["token_ids"]);
    assert_eq!(prompted["offsets"][1], json!(null), "the prompt is no part of the text");
    assert_eq!(prompted["offsets"][2], json!([0, 5]));
    assert_eq!(prompted["word_ids"][1], json!(null));
    assert_eq!(prompted["word_ids"][2], json!(0));
    assert_eq!(desk.json("prompted/manifest.json")["counts"]["words"], json!(2));
    let words = desk.npy("plain/word/layer_04.npy").numbers();
    assert_eq!(desk.npy("prompted/word/layer_04.npy").numbers(), words[words.len() / 3..]);

    // Words that are given one by one, and the second text of a pair.
    desk.put("words.jsonl", "{\"text\": [\"quick\", \"fox\"]}\n");
    desk.types("extract -m width64 -i words.jsonl --pretokenized --prompt 'the ' -e word -o words").succeeds();
    assert_eq!(desk.read("words/word/layer_04.npy"), desk.read("prompted/word/layer_04.npy"));
    desk.put("pair.jsonl", "{\"text\": \"quick fox\", \"b\": \"the dog\"}\n");
    desk.types("extract -m width64 -i pair.jsonl --pair-column b --prompt 'the ' -e word -o pair").succeeds();
    let pair = desk.json_lines("pair/texts.jsonl").remove(0);
    assert_eq!(pair["word_ids"], json!([null, null, 0, 1, null, 2, 3, null]));
    desk.types("extract -m width64 'quick fox' --prompt 'a ' -e token,word,mean -o prompted").fails().says("--prompt");
}

#[test]
fn the_models_default_prompt_is_for_sentence_jobs_and_can_be_chosen() {
    let desk = Desk::with("width64");
    let prompts = json!({"prompts": {"query": "the ", "passage": "a "}, "default_prompt_name": "query"});
    desk.put("width64/config_sentence_transformers.json", prompts.to_string());
    let sentence = |options: &str, text: &str| {
        desk.types(&format!("extract -m width64 -e sentence -o out --overwrite {options} -- '{text}'")).succeeds();
        vector(&desk, "out/sentence.npy")
    };
    let asked = sentence("", "quick fox");
    assert_eq!(asked, sentence("--prompt ''", "the quick fox"));
    assert_eq!(asked, sentence("--prompt-name query", "quick fox"));
    assert_ne!(asked, sentence("--prompt ''", "quick fox"));
    assert_eq!(sentence("--prompt-name passage", "quick fox"), sentence("--prompt 'a '", "quick fox"));
    assert_eq!(sentence("--prompt-name document", "fox"), sentence("--prompt ''", "fox"), "every model has it");

    desk.types("extract -m width64 -e sentence,mean fox").succeeds().says_all(&["note", "\"the \"", "also for mean"]);
    desk.types("extract -m width64 -e mean fox").succeeds().does_not_say("prompt");
    desk.types("extract -m width64 fox --prompt-name nobody")
        .fails_as_wrong_usage()
        .says_all(&["`passage`", "`query`"]);
    let unknown = json!({"prompts": {}, "default_prompt_name": "other"});
    desk.put("width64/config_sentence_transformers.json", unknown.to_string());
    let ran = desk.types("extract -m width64 -e sentence fox").fails();
    ran.says_all(&["config_sentence_transformers.json", "default_prompt_name", "`other`", "--prompt"]);
}

#[test]
fn a_prompt_may_be_left_out_of_the_pooling() {
    let desk = Desk::with("width64");
    let model = desk.model("width64");
    model.json("1_Pooling/config.json", |config| config["include_prompt"] = json!(false)).json(
        "modules.json",
        |modules| {
            modules.as_array_mut().expect("a list").truncate(2);
        },
    );
    desk.types("extract -m width64 'quick fox' --prompt 'the ' -e token,sentence -l -1 -o out").succeeds();
    let (tokens, width) = (desk.npy("out/token/layer_04.npy").numbers(), vector(&desk, "out/sentence.npy").len());
    let pooled: Vec<&[f32]> = tokens.chunks(width).skip(2).collect(); // without [CLS] and `the`
    let expected: Vec<f64> = (0..width)
        .map(|index| pooled.iter().map(|row| f64::from(row[index])).sum::<f64>() / pooled.len() as f64)
        .collect();
    assert_near(&vector(&desk, "out/sentence.npy"), &expected, "the mean of the rest");
}

#[test]
fn sentence_vectors_keep_the_first_dimensions_and_are_normalized_after() {
    let desk = Desk::with("width64");
    desk.types("extract -m width64 'hello world' -e sentence -o whole").succeeds();
    desk.types("extract -m width64 'hello world' -e sentence --truncate-dim 5 -o cut").succeeds();
    assert_eq!(vector(&desk, "cut/sentence.npy"), vector(&desk, "whole/sentence.npy")[..5]);
    desk.types("verify cut").succeeds();
    desk.types("extract -m width64 'hello world' -e sentence --truncate-dim 5 --normalize -o unit").succeeds();
    let length: f64 = vector(&desk, "unit/sentence.npy").iter().map(|&number| f64::from(number).powi(2)).sum();
    assert!((length - 1.0).abs() < 1e-6, "{length}");
    desk.put("width64/config_sentence_transformers.json", json!({"truncate_dim": 5}).to_string());
    desk.types("extract -m width64 'hello world' -e sentence -o own").succeeds();
    assert_eq!(desk.read("own/sentence.npy"), desk.read("cut/sentence.npy"));
    desk.types("extract -m width64 'hello world' -e sentence --truncate-dim 1000 -o more").succeeds();
    assert_eq!(desk.read("more/sentence.npy"), desk.read("whole/sentence.npy"));
}

#[test]
fn a_dense_module_projects_and_activates() {
    let width = WIDTH;
    for (name, activation) in [
        ("Tanh", f64::tanh as fn(f64) -> f64),
        ("Identity", |x| x),
        ("ReLU", |x| x.max(0.0)),
        ("Sigmoid", |x| 1.0 / (1.0 + (-x).exp())),
        ("SiLU", |x| x / (1.0 + (-x).exp())),
    ] {
        let desk = Desk::with("width64");
        let (weight, bias) = (numbers(3 * width), numbers(3));
        let config = json!({
            "in_features": width, "out_features": 3, "bias": true,
            "activation_function": format!("torch.nn.modules.activation.{name}")
        });
        let weights = [("linear.weight", vec![3, width], weight.clone()), ("linear.bias", vec![3], bias.clone())];
        let mean = mean(&desk);
        module(&desk, desk.model("width64"), "Dense", config, &weights);
        desk.types("extract -m width64 'hello world' -e sentence -o out").succeeds();
        let expected: Vec<f64> = (0..3)
            .map(|row| {
                let sum: f64 = (0..width).map(|column| f64::from(weight[row * width + column]) * mean[column]).sum();
                activation(sum + f64::from(bias[row]))
            })
            .collect();
        assert_near(&vector(&desk, "out/sentence.npy"), &expected, name);
        desk.types_into("verify out --recompute 1", "hello world\n").succeeds();
    }
}

#[test]
fn a_dense_module_that_does_not_fit_is_named() {
    let desk = Desk::with("width64");
    let config = |features: usize, activation: &str| json!({"in_features": features, "out_features": 3, "bias": false, "activation_function": activation});
    let tanh = "torch.nn.modules.activation.Tanh";
    let weights = |features| [("linear.weight", vec![3, features], numbers(3 * features))];
    module(&desk, desk.model("width64"), "Dense", config(63, tanh), &weights(63));
    desk.types("extract -m width64 hello -e sentence").fails().says_all(&["modules.json", "63", "128"]);
    module(&desk, desk.model("width64"), "Dense", config(WIDTH, "torch.nn.modules.activation.Mish"), &weights(WIDTH));
    let ran = desk.types("extract -m width64 hello -e sentence").fails();
    ran.says_all(&["3_Dense/config.json", "activation_function", "Mish", "--emit"]);
    fs::remove_file(desk.path("width64/3_Dense/model.safetensors")).expect("weights to remove");
    desk.put("width64/3_Dense/config.json", config(WIDTH, tanh).to_string());
    desk.types("extract -m width64 hello -e sentence").fails().says_all(&["3_Dense/model.safetensors", "is missing"]);
}

#[test]
fn layer_norm_and_weighted_layers_are_computed() {
    let desk = Desk::with("width64");
    let mean = mean(&desk);
    let (weight, bias) = (numbers(WIDTH), numbers(WIDTH));
    let weights = [("norm.weight", vec![WIDTH], weight.clone()), ("norm.bias", vec![WIDTH], bias.clone())];
    module(&desk, desk.model("width64"), "LayerNorm", json!({"dimension": WIDTH}), &weights);
    desk.types("extract -m width64 'hello world' -e sentence -o norm").succeeds();
    let center = mean.iter().sum::<f64>() / WIDTH as f64;
    let variance = mean.iter().map(|value| (value - center).powi(2)).sum::<f64>() / WIDTH as f64;
    let normed = mean.iter().zip(weight.iter().zip(&bias)).map(|(value, (&weight, &bias))| {
        (value - center) / (variance + 1e-5).sqrt() * f64::from(weight) + f64::from(bias)
    });
    assert_near(&vector(&desk, "norm/sentence.npy"), &normed.collect::<Vec<f64>>(), "LayerNorm");

    // The pooling of weighted layers comes before the pooling over tokens, and only where the model is asked for all layers.
    let settings = json!({"word_embedding_dimension": WIDTH, "layer_start": 2, "num_hidden_layers": 4});
    let of_layers = [1.0, 2.0, 0.5];
    module(
        &desk,
        desk.model("width64"),
        "WeightedLayerPooling",
        settings,
        &[("layer_weights", vec![3], of_layers.to_vec())],
    );
    desk.model_as("width64", "plain");
    let text = fs::read_to_string(desk.path("width64/modules.json")).expect("modules");
    let mut modules: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    modules.as_array_mut().expect("a list").swap(1, 2);
    desk.put("width64/modules.json", modules.to_string());
    let without = "extract -m width64 'hello world' -e sentence -o without --overwrite";
    desk.types(without).succeeds();
    assert_near(&vector(&desk, "without/sentence.npy"), &mean, "the last layer alone");
    let text = fs::read_to_string(desk.path("width64/config.json")).expect("a configuration");
    desk.put("width64/config.json", text.replacen('{', "{\"output_hidden_states\": true,", 1));
    desk.types("extract -m width64 'hello world' -e sentence,mean -l 2.. -o layers").succeeds();
    let layers = [2, 3, 4].map(|layer| vector(&desk, &format!("layers/mean/layer_0{layer}.npy")));
    let weighted = |index: usize| {
        let sum: f64 =
            layers.iter().zip(of_layers).map(|(layer, weight)| f64::from(layer[index]) * f64::from(weight)).sum();
        sum / 3.5
    };
    assert_near(
        &vector(&desk, "layers/sentence.npy"),
        &(0..WIDTH).map(weighted).collect::<Vec<f64>>(),
        "weighted layers",
    );
}

#[test]
fn a_model_without_modules_gives_the_mean_and_says_so() {
    let desk = Desk::with("width32");
    desk.types("extract -m width32 'hello world' -e sentence,mean -o out").succeeds().says_all(&[
        "note",
        "modules.json",
        "mean",
    ]);
    assert_eq!(vector(&desk, "out/sentence.npy"), vector(&desk, "out/mean/layer_01.npy"));
}

#[test]
fn the_layout_with_a_folder_for_the_encoder_gives_the_same_bytes() {
    let desk = Desk::with("width64");
    desk.types("extract -m width64 'hello world' -e sentence,token -o new").succeeds();
    for file in
        ["config.json", "model.safetensors", "sentence_bert_config.json", "tokenizer.json", "tokenizer_config.json"]
    {
        desk.put(&format!("old/0_Transformer/{file}"), desk.read(&format!("width64/{file}")));
    }
    desk.put("old/config.json", "{\"__version__\": \"0.3.8\"}");
    desk.put("old/1_Pooling/config.json", desk.read("width64/1_Pooling/config.json"));
    let modules = String::from_utf8(desk.read("width64/modules.json")).expect("UTF-8");
    let mut modules: serde_json::Value = serde_json::from_str(&modules).expect("JSON");
    modules[0]["path"] = json!("0_Transformer");
    desk.put("old/modules.json", modules.to_string());
    desk.types("extract -m old 'hello world' -e sentence,token -o out").succeeds();
    for file in ["sentence.npy", "token/layer_04.npy", "texts.jsonl"] {
        assert_eq!(desk.read(&format!("out/{file}")), desk.read(&format!("new/{file}")), "{file}");
    }
    desk.types("info old").succeeds();
    assert!(desk.json("out/manifest.json")["model"]["sha256"]["0_Transformer/model.safetensors"].is_string());
}

#[test]
fn the_beginning_of_long_texts_is_cut_where_the_model_says_so() {
    let desk = Desk::new();
    desk.model("width1").json("tokenizer_config.json", |config| config["truncation_side"] = json!("left"));
    let ran =
        desk.types("extract -m width1 'the quick brown fox jumps' --max-length 4 -e token,word -o out").succeeds();
    ran.says_all(&["longer than 4 tokens", "their beginning"]);
    let line = desk.json_lines("out/texts.jsonl").remove(0);
    let whole = desk.types("extract -m width1 'the quick brown fox jumps' -e token -o whole");
    whole.succeeds();
    let whole = desk.json_lines("whole/texts.jsonl").remove(0);
    let ids = |line: &serde_json::Value| line["token_ids"].as_array().expect("a list").clone();
    assert_eq!(ids(&line)[1..], ids(&whole)[ids(&whole).len() - 3..], "the end is kept");
    desk.model("width1").json("tokenizer_config.json", |config| config["truncation_side"] = json!("up"));
    desk.types("extract -m width1 hello").fails().says_all(&["tokenizer_config.json", "truncation_side", "up"]);
}

/// Ids of transformers 4.57.6: the map's plain text takes back the `single_word` of the object in the settings.
#[test]
fn of_a_marker_that_is_declared_twice_the_map_of_special_tokens_has_the_last_word() {
    let desk = Desk::new();
    let marker = json!({"__type": "AddedToken", "content": "[E1]", "single_word": true, "normalized": false});
    let vocabulary = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\n[\n##e\n##1\n]\n[E1]\ne\n1\n";
    desk.model("width1").put("vocab.txt", vocabulary).json("tokenizer_config.json", |config| {
        config["additional_special_tokens"] = json!([marker]);
    });
    let ids = || {
        desk.types("extract -m width1 'a[E1]' -e token -l 0 -o out --overwrite").succeeds();
        desk.json_lines("out/texts.jsonl").remove(0)["token_ids"].clone()
    };
    assert_ne!(ids(), json!([2, 5, 10, 3]), "not inside a word");
    desk.put("width1/special_tokens_map.json", json!({"additional_special_tokens": ["[E1]"]}).to_string());
    assert_eq!(ids(), json!([2, 5, 10, 3]));
}

#[test]
fn texts_that_make_no_sense_for_a_vocabulary_are_told() {
    let desk = Desk::with("width64");
    let ran = desk.types("extract -m width64 '\u{65e5}\u{672c} \u{8a9e}' -o out").succeeds();
    ran.says_all(&["warning", "[UNK]", "language"]);
    assert!(desk.json("out/manifest.json")["counts"]["unknown_tokens"].as_u64() > Some(1));
    desk.types("extract -m width64 'the quick brown fox' -o good").succeeds().does_not_say("[UNK]");
    desk.types("compare -m width64 hello '\u{65e5}\u{672c}\u{8a9e}'").succeeds().says("[UNK]");

    let cased = |model: Model| model.json("tokenizer_config.json", |config| config["do_lower_case"] = json!(false));
    cased(desk.model("width64"));
    desk.types("extract -m width64 'THE QUICK DOG'").succeeds().says_all(&["`THE`", "do_lower_case"]);

    let proteins = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nL\nA\nG\nV\n";
    let model = cased(desk.model_as("width1", "proteins"));
    model.put("vocab.txt", proteins);
    desk.types("extract -m proteins LAGVLAGV").succeeds().says_all(&["single letters", "space"]);
    desk.types("extract -m proteins 'L A G V'").succeeds().does_not_say("single letters");
}

#[test]
fn info_names_what_a_folder_has_beyond_the_table() {
    let desk = Desk::with("width64");
    desk.types("info -v width64").succeeds().says("every file and key of this model is known");
    desk.model("width64").config("flux_capacitor", 88).put("extra.json", "{}");
    let ran = desk.types("info -v width64").succeeds();
    ran.says_all(&["config.json: flux_capacitor", "extra.json: is not read"]);
    desk.types("info width64").succeeds().says_nothing();
}

#[test]
fn code_of_a_models_own_and_folders_of_other_kinds_are_named() {
    let desk = Desk::with("width1");
    let code = json!({"AutoConfig": "configuration.Config", "AutoModel": "modeling.BertModel"});
    desk.model_as("width1", "own").config("auto_map", code);
    desk.types("extract -m own hello").fails().says_all(&["config.json", "auto_map", "modeling.BertModel", "not run"]);
    let head = json!({"AutoModelForMaskedLM": "modeling.BertForMaskedLM"});
    desk.model_as("width1", "head").config("auto_map", head);
    desk.types("extract -m head hello").succeeds();
    for (key, value) in [("is_causal", json!(true)), ("tie_last_hidden_states", json!(false))] {
        desk.model_as("width1", "other").config(key, value);
        desk.types("extract -m other hello").fails().says_all(&["config.json", key]);
    }
    desk.put("llama/model-q4.gguf", "GGUF");
    desk.types("extract -m ./llama hello").fails().says_all(&["config.json", "is missing", "GGUF"]);
    desk.put("org/full/notes.txt", "");
    let ran = desk.types("extract -m org/full hello").fails();
    ran.says_all(&["config.json", "local folder", "hub"]);
    desk.model_as("width1", "adapter").put("adapter_config.json", "{}");
    desk.types("extract -m adapter hello").fails().says_all(&["adapter_config.json", "merge"]);
}
