//! Models whose configuration or tokenizer is missing, damaged, or asks for what is not computed.

use serde_json::json;

use crate::desk::Desk;
use crate::models::Model;

/// A broken copy of a golden model fails every command that needs it, and nothing is written.
fn fails(golden: &str, break_it: impl FnOnce(Model) -> Model, says: &[&str]) {
    let desk = Desk::new();
    break_it(desk.model_as(golden, "broken"));
    desk.types("extract -m broken 'hello world' -o out").fails().says("broken").says_all(says);
    desk.types("extract -m broken 'hello world'").fails().says_all(says);
    assert!(!desk.has("out"));
}

/// As [`fails`], where the configuration alone tells, so that `info` fails too.
fn fails_everywhere(golden: &str, break_it: impl Fn(Model) -> Model, says: &[&str]) {
    fails(golden, &break_it, says);
    let desk = Desk::new();
    break_it(desk.model_as(golden, "broken"));
    desk.types("info broken").fails().says_all(says);
    desk.types("info --json broken").fails().says_all(says);
}

#[test]
fn a_folder_without_config_json() {
    fails_everywhere("width1", |model| model.without("config.json"), &["config.json", "is missing", "model folder"]);
    let desk = Desk::new();
    std::fs::create_dir(desk.path("empty")).expect("a directory");
    desk.types("extract -m empty hello").fails().says_all(&["empty", "config.json", "is missing"]);
}

#[test]
fn a_config_that_is_not_json() {
    fails_everywhere("width1", |model| model.put("config.json", "<!doctype html>"), &["config.json", "is not JSON"]);
    fails_everywhere("width1", |model| model.put("config.json", ""), &["config.json", "is not JSON"]);
    fails_everywhere("width1", |model| model.put("config.json", "[]"), &["config.json", "not a JSON object"]);
    fails_everywhere("width1", |model| model.cut("config.json", |size| size / 2), &["config.json", "is not JSON"]);
    fails_everywhere("width1", |model| model.put("config.json", [0xff, 0xfe]), &["config.json", "is not JSON"]);
}

#[test]
fn json_that_is_nested_too_deeply() {
    let deep = |count: usize| format!("{{\"a\": {}{}}}", "[".repeat(count), "]".repeat(count));
    let says = "it is nested deeper than 127 levels at line 1 column";
    fails_everywhere("width1", |model| model.put("config.json", deep(200)), &["config.json", says]);
    fails("width64", |model| model.put("tokenizer_config.json", deep(100_000)), &["tokenizer_config.json", says]);
}

#[test]
fn a_config_that_is_a_directory() {
    fails_everywhere("width1", |model| model.directory_for("config.json"), &["config.json", "cannot read"]);
}

#[test]
fn a_config_that_makes_no_sense() {
    for (key, value, says) in [
        ("num_attention_heads", json!(3), ["hidden_size", "7 is not divisible by num_attention_heads, 3"]),
        ("num_attention_heads", json!(0), ["num_attention_heads", "found 0"]),
        ("hidden_size", json!(-1), ["hidden_size", "found -1"]),
        ("hidden_size", json!("seven"), ["hidden_size", "found \"seven\""]),
        ("hidden_size", json!(null), ["hidden_size", "is missing"]),
        ("num_hidden_layers", json!(1u64 << 40), ["num_hidden_layers", "found 1099511627776"]),
        ("num_hidden_layers", json!(1.5), ["num_hidden_layers", "found 1.5"]),
        ("vocab_size", json!(0), ["vocab_size", "found 0"]),
        ("max_position_embeddings", json!(0), ["max_position_embeddings", "found 0"]),
        ("layer_norm_eps", json!("small"), ["layer_norm_eps", "found \"small\""]),
        ("hidden_act", json!(7), ["hidden_act", "found 7"]),
    ] {
        fails_everywhere("width1", |model| model.config(key, value.clone()), &["config.json", says[0], says[1]]);
    }
}

#[test]
fn a_config_that_asks_for_what_is_not_computed() {
    for (key, value, says) in [
        ("model_type", json!("longformer"), ["`longformer` is not supported", "expected one of bert, roberta"]),
        ("hidden_act", json!("mish"), ["`mish` is not known", "gelu"]),
        ("position_embedding_type", json!("relative_key_query"), ["`relative_key_query`", "expected `absolute`"]),
        ("is_decoder", json!(true), ["is_decoder", "only plain encoders"]),
        ("add_cross_attention", json!(true), ["add_cross_attention", "only plain encoders"]),
        ("pruned_heads", json!({"0": [1]}), ["pruned_heads", "not supported"]),
        ("quantization_config", json!({"quant_method": "awq"}), ["awq", "not supported"]),
    ] {
        fails_everywhere("width1", |model| model.config(key, value.clone()), &["config.json", says[0], says[1]]);
    }
}

#[test]
fn a_config_that_promises_other_layers_than_the_weights_have() {
    fails("width1", |model| model.config("num_hidden_layers", 3), &["model.safetensors", "layer.2", "is missing"]);
    fails(
        "width1",
        |model| model.config("intermediate_size", 14),
        &["model.safetensors", "has shape [13, 7]", "[14, 7]"],
    );
    fails(
        "width1",
        |model| model.config("max_position_embeddings", 41),
        &["position_embeddings", "[40, 7]", "[41, 7]"],
    );
}

#[test]
fn a_config_that_promises_fewer_layers_than_the_weights_have() {
    let desk = Desk::new();
    desk.model_as("width1", "whole");
    desk.model_as("width1", "short").config("num_hidden_layers", 1);
    let says = "config.json of short has num_hidden_layers 1, but its weights hold 2 encoder layers; those after layer 1 are not used";
    desk.types("extract -m short hello").succeeds().says(says);
    desk.types("info short").succeeds().says(says);
    desk.types("extract -m short hello -q").succeeds().says_nothing();
    desk.types("extract -m whole hello").succeeds().does_not_say("num_hidden_layers");
}

#[test]
fn a_pattern_that_gives_up_on_a_text() {
    let desk = Desk::new();
    let split = json!({"type": "Split", "pattern": {"Regex": "(a+a+)+(?>b)"}, "behavior": "Isolated", "invert": false});
    desk.model_as("width64", "broken").json("tokenizer.json", |json| json["pre_tokenizer"] = split);
    desk.put("texts.txt", format!("aaab\n{}c\n", "a".repeat(60)));
    desk.types("extract -m broken aaab").succeeds();
    let says =
        ["row 1: ", "the pattern `(a+a+)+(?>b)` of its pre_tokenizer (tokenizer.json) gives up", "split the text"];
    desk.types("extract -m broken -i texts.txt -e token -o out").fails().says_all(&says);
    assert!(!desk.has("out"));
    desk.put("words.txt", format!("aaab\naab {}c\n", "a".repeat(60)));
    desk.types("extract -m broken --pretokenized -i words.txt").fails().says_all(&says);
}

#[test]
fn a_line_of_one_token_a_character_is_counted_exactly() {
    let desk = Desk::new();
    desk.model("width64");
    let split = json!({"type": "WhitespaceSplit"});
    desk.model_as("width64", "whole").json("tokenizer.json", |json| json["pre_tokenizer"] = split);
    for (part, tokens) in [(".", 1), ("a ", 1), ("\u{4e2d}", 1), (". a\u{4e2d}", 3)] {
        let count = (3 << 20) / part.len();
        desk.put("long.txt", part.repeat(count));
        desk.types("extract -m width64 -i long.txt -e mean -o out --overwrite").succeeds();
        let text = &desk.json_lines("out/texts.jsonl")[0];
        assert_eq!(text["n_tokens_before_truncation"], count * tokens + 2, "{part}");
        desk.types("extract -m whole -i long.txt").fails().says_all(&[
            "row 0",
            "takes a text as a whole",
            "up to 2 MiB",
        ]);
    }
}

#[test]
fn a_model_that_is_a_file_or_nowhere() {
    let desk = Desk::with("width1");
    desk.types("extract -m width1/config.json hello").fails().says_all(&["width1/config.json", "is a file", "folder"]);
    for missing in
        ["./nowhere", "../nowhere", "/nowhere", "/nowhere/at/all", "nowhere/", "a/b/c", "~/nowhere", "..\\nowhere"]
    {
        for command in ["extract hello -m", "info"] {
            let ran = desk.types(&format!("{command} {missing}")).fails();
            ran.says_all(&[missing, "does not exist", "folder"]).does_not_say("HF_");
        }
    }
    desk.types("extract hello -m ''").fails().says("neither an existing directory nor");
    desk.types("info ''").fails().says("neither an existing directory nor");
    desk.types("extract -m nobody/nothing hello").fails().says_all(&[
        "nobody/nothing",
        "HF_HUB_OFFLINE",
        "HF_HOME",
        "folder",
    ]);
    desk.types("info nobody/nothing --offline").fails().says_all(&["nobody/nothing", "--offline"]);
}

#[test]
fn a_revision_of_what_has_none() {
    let desk = Desk::with("width1");
    desk.types("extract hello --revision main").fails_as_wrong_usage().says_all(&["--revision", "`bundled`"]);
    desk.types("extract hello -m width1 --revision v1.0").fails_as_wrong_usage().says_all(&["--revision", "`width1`"]);
}

// Tokenizers.

#[test]
fn a_model_without_a_tokenizer() {
    fails("width1", |model| model.without("vocab.txt"), &["tokenizer.json", "is missing", "vocab.txt"]);
}

#[test]
fn a_vocabulary_without_the_tokens_every_text_needs() {
    for token in ["[UNK]", "[CLS]", "[SEP]"] {
        let without = |text: String| text.replace(&format!("{token}\n"), "nothing\n");
        fails("width1", |model| model.text("vocab.txt", without), &["vocab.txt", token, "is this a BERT vocabulary?"]);
    }
    // A name of the settings' own is, as in transformers, one that only texts with unknown words need.
    let desk = Desk::new();
    desk.model_as("width1", "other").json("tokenizer_config.json", |config| config["unk_token"] = json!("[NEW]"));
    desk.types("extract -m other hello").succeeds();
    desk.types("extract -m other 'hello \u{65e5}'").fails().says_all(&["row 0", "[NEW]", "unk_token"]);
    fails("width1", |model| model.put("vocab.txt", ""), &["vocab.txt", "[UNK]"]);
    fails("width1", |model| model.put("vocab.txt", b"[PAD]\n[UNK]\n\xff\n"), &["vocab.txt", "is not UTF-8"]);
}

#[test]
fn a_damaged_tokenizer() {
    fails("width64", |model| model.cut("tokenizer.json", |size| size / 2), &["tokenizer.json", "is damaged"]);
    fails("width64", |model| model.put("tokenizer.json", "{}"), &["tokenizer.json", "is damaged"]);
    fails("width1", |model| model.put("tokenizer_config.json", "{"), &["tokenizer_config.json", "is damaged"]);
}

#[test]
fn a_tokenizer_of_another_kind() {
    let class = |name: &str| json!({ "tokenizer_class": name }).to_string();
    fails(
        "width1",
        |model| model.put("tokenizer_config.json", class("RobertaTokenizer")),
        &["tokenizer_class", "`RobertaTokenizer`", "tokenizer.json"],
    );
}

#[test]
fn an_id_without_an_embedding_is_an_error_when_a_text_uses_it() {
    let desk = Desk::new();
    // The last entries of the vocabulary have no row in the table any more.
    let keep = 200;
    desk.model_as("width1", "small").config("vocab_size", keep).tensors(|tensors| {
        let table = tensors.get_mut("bert.embeddings.word_embeddings.weight").expect("the table");
        table.shape[0] = keep;
        table.bytes.truncate(keep * 7 * 4);
    });
    let vocabulary = String::from_utf8(desk.read("small/vocab.txt")).expect("UTF-8");
    let word = vocabulary.lines().nth(keep).expect("a word beyond the table").trim_start_matches("##");
    desk.types("extract -m small a 'b c' -o out").succeeds();
    desk.put("texts.txt", format!("a\nb\nhello{word} {word}\n"));
    desk.types("extract -m small -i texts.txt -o other").fails().says_all(&[
        "row 2",
        &format!("has id {keep}"),
        "200 rows",
        "do not belong together",
    ]);
    assert!(!desk.has("other"));
}

// What `--emit sentence` and `pooler` need.

#[test]
fn modules_that_make_no_sentence_embedding() {
    let desk = Desk::new();
    let job = |model: &str| format!("extract -m {model} hello -e sentence");
    for class in ["sentence_transformers.models.WordWeights", "modeling.Normalize", "sentence_transformers.models.LSTM"]
    {
        desk.model_as("width64", "other").json("modules.json", |modules| modules[2]["type"] = class.into());
        desk.types(&job("other")).fails().says_all(&["modules.json", class, "--emit"]);
    }
    desk.types("extract -m other hello -e mean").succeeds();
    desk.types("info other").succeeds();
    desk.model_as("width64", "dense").json("modules.json", |modules| {
        modules[2]["type"] = "sentence_transformers.models.Dense".into();
    });
    desk.types(&job("dense")).fails().says_all(&["2_Normalize/config.json", "is missing", "modules.json"]);

    desk.model_as("width64", "outside").json("modules.json", |modules| modules[1]["path"] = "../elsewhere".into());
    desk.types(&job("outside")).fails().says_all(&["modules.json", "../elsewhere", "outside"]);

    desk.model_as("width64", "lacking").without("1_Pooling/config.json");
    desk.types(&job("lacking")).fails().says_all(&["1_Pooling", "is missing", "modules.json"]);

    desk.model_as("width64", "odd").json("1_Pooling/config.json", |config| config["pooling_mode"] = "sorted".into());
    desk.types(&job("odd")).fails().says_all(&["1_Pooling", "sorted"]);
}

#[test]
fn more_layers_than_any_model_has_are_refused_at_once() {
    let desk = Desk::new();
    desk.model_as("width1", "deep").json("config.json", |config| config["num_hidden_layers"] = 16_777_216.into());
    for command in ["info deep", "extract -m deep hello"] {
        desk.types(command).fails().says_all(&["config.json", "num_hidden_layers", "16777216"]);
    }
}

/// A template that holds the text twice, or not at all, would make counts and rows false.
#[test]
fn a_template_that_does_not_hold_the_text_once() {
    let desk = Desk::new();
    let sequence = |id: &str| serde_json::json!({"Sequence": {"id": id, "type_id": 0}});
    for (name, single) in [("twice", vec![sequence("A"), sequence("A")]), ("never", vec![])] {
        desk.model_as("width32", name).json("tokenizer.json", |tokenizer| {
            tokenizer["post_processor"] = serde_json::json!({
                "type": "TemplateProcessing", "single": single, "pair": [sequence("A"), sequence("B")], "special_tokens": {}
            });
        });
        desk.types(&format!("extract -m {name} 'hello world'")).fails().says_all(&["tokenizer.json", "post_processor"]);
    }
}
