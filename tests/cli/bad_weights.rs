//! Weights that are missing, damaged, of another shape, or not weights at all.

use safetensors::Dtype;

use crate::desk::Desk;
use crate::models::Model;

const QUERY: &str = "bert.encoder.layer.1.attention.self.query.weight";
const SHARD: &str = "model-00002-of-00002.safetensors";
const INDEX: &str = "model.safetensors.index.json";
const POINTER: &str = "version https://git-lfs.github.com/spec/v1\n\
    oid sha256:53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db\nsize 90868376\n";

/// A broken copy of a golden model fails, with and without a directory to write, which is not made.
fn fails(golden: &str, break_it: impl FnOnce(Model) -> Model, says: &[&str]) {
    let desk = Desk::new();
    break_it(desk.model_as(golden, "broken"));
    desk.types("extract -m broken 'hello world' -o out").fails().says("broken").says_all(says);
    desk.types("extract -m broken 'hello world' -e token").fails().says_all(says);
    assert!(!desk.has("out"));
    // A model that cannot be read can be asked what it is, as far as its header tells; it never panics.
    desk.types("info broken").does_not_say("panicked");
}

#[test]
fn a_folder_without_weights() {
    fails("width1", |model| model.without("model.safetensors"), &["holds no weights", "model.safetensors"]);
}

#[test]
fn an_empty_weights_file() {
    fails("width1", |model| model.put("model.safetensors", ""), &["model.safetensors", "is empty", "download"]);
    fails("width3", |model| model.put("pytorch_model.bin", ""), &["pytorch_model.bin", "is empty", "download"]);
}

#[test]
fn weights_cut_short() {
    for keep in [|_| 4, |_| 100, |size| size / 2, |size| size - 1] {
        fails("width1", |model| model.cut("model.safetensors", keep), &["model.safetensors"]);
        fails("width3", |model| model.cut("pytorch_model.bin", keep), &["pytorch_model.bin"]);
    }
    let incomplete = &["incomplete", "download it again"];
    fails("width1", |model| model.cut("model.safetensors", |size| size - 1), incomplete);
    fails("width3", |model| model.cut("pytorch_model.bin", |size| size / 2), incomplete);
    fails("width16", |model| model.cut(SHARD, |size| size / 2), &[SHARD, "incomplete", "download it again"]);
}

#[test]
fn weights_with_something_after_them() {
    let longer = |model: Model| model.tensors(|_| ()).cut("model.safetensors", |size| size);
    let desk = Desk::new();
    longer(desk.model_as("width1", "broken"));
    let mut content = desk.read("broken/model.safetensors");
    content.extend(b"more");
    desk.put("broken/model.safetensors", content);
    desk.types("extract -m broken hello").fails().says_all(&["model.safetensors", "damaged"]);
}

#[test]
fn weights_that_are_something_else() {
    let page = "<!DOCTYPE html><html><body>Sign in</body></html>".repeat(10);
    fails("width1", |model| model.put("model.safetensors", &page), &["model.safetensors", "is not a safetensors file"]);
    fails(
        "width3",
        |model| model.put("pytorch_model.bin", &page),
        &["pytorch_model.bin", "is not a PyTorch checkpoint"],
    );
    let zip = b"PK\x03\x04 and then nothing of the kind".repeat(20);
    fails("width3", |model| model.put("pytorch_model.bin", &zip), &["pytorch_model.bin", "damaged"]);
    let huge = [&u64::MAX.to_le_bytes()[..], b"{}"].concat();
    fails("width1", |model| model.put("model.safetensors", &huge), &["model.safetensors", "is not a safetensors file"]);
    fails("width1", |model| model.directory_for("model.safetensors"), &["model.safetensors"]);
}

#[test]
fn a_git_lfs_pointer() {
    for (golden, file) in [("width1", "model.safetensors"), ("width3", "pytorch_model.bin"), ("width16", SHARD)] {
        fails(golden, |model| model.put(file, POINTER), &[file, "git-lfs pointer", "git lfs pull"]);
    }
}

#[test]
fn a_pickle_of_the_time_before_zip_files() {
    // The magic number, protocol and system that torch.save wrote first, each in a pickle of its own, and then no more.
    let legacy = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}q\x00.".repeat(5);
    fails(
        "width3",
        |model| model.put("pytorch_model.bin", &legacy),
        &["pytorch_model.bin", "damaged or incomplete", "download it again"],
    );
}

#[test]
fn pickles_of_something_else() {
    let pickle = |file: &str| {
        let content = std::fs::read(crate::models::golden("../pickles").join(file)).expect("a pickle");
        move |model: Model| model.put("pytorch_model.bin", content)
    };
    fails("width3", pickle("whole_object.bin"), &["one object, `torch.nn.modules.linear.Linear`", "state_dict()"]);
    fails("width3", pickle("numbers_by_name.bin"), &["the keys `epoch`, `net`", "state_dict()"]);
    fails("width3", pickle("big_endian.bin"), &["byte order `big`", "torch.load"]);
    // A BERT, but another one.
    fails("width3", pickle("before_1_6.bin"), &["word_embeddings", "has shape [9, 6]"]);
}

#[test]
fn a_tensor_that_is_missing() {
    let without = |name: &'static str| move |model: Model| model.tensors(|tensors| drop(tensors.remove(name)));
    for name in [QUERY, "bert.embeddings.LayerNorm.bias", "bert.embeddings.token_type_embeddings.weight"] {
        let short = name.trim_start_matches("bert.");
        fails("width1", without(name), &["model.safetensors", short, "is missing"]);
    }
    fails("width1", |model| model.tensors(std::collections::BTreeMap::clear), &["model.safetensors"]);
}

#[test]
fn a_pooler_that_is_missing_matters_when_it_is_asked_for() {
    let desk = Desk::new();
    desk.model("width1").tensors(|tensors| tensors.retain(|name, _| !name.contains("pooler")));
    desk.types("extract -m width1 hello -e mean").succeeds();
    desk.types("extract -m width1 hello -e mean,pooler -o out").fails_as_wrong_usage().says_all(&["pooler", "cls"]);
    assert!(!desk.has("out"));
}

#[test]
fn a_tensor_of_another_shape() {
    let turned = |model: Model| {
        model.tensors(|tensors| {
            let table = tensors.get_mut("bert.embeddings.word_embeddings.weight").expect("the table");
            table.shape.reverse();
        })
    };
    fails("width1", turned, &["model.safetensors", "word_embeddings", "has shape [7, "]);
    let flat = |model: Model| model.tensors(|tensors| tensors.get_mut(QUERY).expect("a tensor").shape = vec![49]);
    fails("width1", flat, &["model.safetensors", QUERY, "has shape [49]", "[7, 7]"]);
}

#[test]
fn a_tensor_of_another_type() {
    let integers = |model: Model| model.tensors(|tensors| tensors.get_mut(QUERY).expect("a tensor").dtype = Dtype::I32);
    fails("width1", integers, &["model.safetensors", QUERY, "i32", "float32, float16 or bfloat16"]);
}

#[test]
fn a_number_that_is_not_finite() {
    for (value, name) in [(f32::NAN, "NaN"), (f32::INFINITY, "inf"), (f32::NEG_INFINITY, "-inf")] {
        let poisoned = |model: Model| model.tensors(|tensors| tensors.get_mut(QUERY).expect("a tensor").set(9, value));
        fails("width1", poisoned, &["model.safetensors", QUERY, name, "index 9"]);
    }
}

#[test]
fn what_the_encoder_does_not_need_may_be_anything() {
    let desk = Desk::new();
    desk.model("width1").tensors(|tensors| tensors.get_mut("classifier.weight").expect("a head").set(0, f32::NAN));
    desk.types("extract -m width1 hello").succeeds();
}

#[test]
fn activations_beyond_float32_name_the_layer_and_the_row() {
    let desk = Desk::new();
    desk.model("width1").tensors(|tensors| {
        tensors.get_mut("bert.encoder.layer.0.output.LayerNorm.weight").expect("a tensor").fill(3e38);
        tensors.get_mut("bert.encoder.layer.0.output.LayerNorm.bias").expect("a tensor").fill(3e38);
    });
    desk.types("extract -m width1 hello world -o out").fails().says_all(&["layer 1", "row 0", "not finite"]);
    desk.types("extract -m width1 hello world -l 0").succeeds();
}

#[test]
fn numbers_too_large_for_the_type_they_are_stored_in() {
    let desk = Desk::new();
    desk.model("width1").tensors(|tensors| {
        tensors.get_mut("bert.encoder.layer.1.output.LayerNorm.weight").expect("a tensor").fill(1e6);
    });
    desk.types("extract -m width1 hello -o f32").succeeds();
    let says = ["layer_02", "does not fit into f16", "65504"];
    desk.types("extract -m width1 hello --dtype f16 -o f16").fails().says_all(&says).says("mean/layer_02.npy");
    desk.types("extract -m width1 hello --dtype f16").fails().says_all(&says).says("row 0");
    assert!(!desk.has("f16/manifest.json"));
    desk.types("extract -m width1 hello --dtype bf16 -f safetensors -o bf16").succeeds();
}

#[test]
fn sums_beyond_float32_are_an_error_and_no_infinity() {
    let desk = Desk::new();
    desk.model("width1").tensors(|tensors| {
        for tensor in ["weight", "bias"] {
            let name = format!("bert.encoder.layer.1.output.LayerNorm.{tensor}");
            tensors.get_mut(&name).expect("a tensor").fill(if tensor == "weight" { 1e37 } else { 2e38 });
        }
    });
    desk.types("extract -m width1 'hello world' -e mean -l 2 -o mean").succeeds();
    for format in ["npy", "safetensors"] {
        let job = format!("extract -m width1 'hello world' -e mean_sqrt_len -l 2 -f {format}");
        desk.types(&format!("{job} -o {format}")).fails().says("does not fit into f32");
    }
    let ran = desk.types("extract -m width1 'hello world' -e mean_sqrt_len -l 2").fails();
    ran.says("does not fit into f32").does_not_say("65504").does_not_say("store f32");
}

// Shards.

#[test]
fn a_shard_that_is_missing_or_outside_or_double() {
    fails("width16", |model| model.without(SHARD), &[SHARD, "is missing", INDEX]);
    for outside in ["../model.safetensors", "/etc/passwd", "a/../../b.safetensors"] {
        let lead =
            |model: Model| model.json(INDEX, |index| index["weight_map"]["embeddings.LayerNorm.bias"] = outside.into());
        fails("width16", lead, &[INDEX, outside, "outside the model's folder"]);
    }
    fails("width16", |model| model.put(INDEX, "{}"), &[INDEX, "is damaged"]);
    fails("width16", |model| model.put(INDEX, r#"{"weight_map": {}}"#), &[INDEX, "names no weights file"]);
    let desk = Desk::new();
    let double = std::fs::read(crate::models::golden("width16").join("model-00001-of-00002.safetensors"));
    desk.model("width16").put(SHARD, double.expect("a shard"));
    desk.types("extract -m width16 hello").fails().says_all(&["width16", "holds tensor", "too"]);
}

#[test]
fn a_hostile_pickle_is_one_line_with_or_without_quiet() {
    // In the format before PyTorch 1.6: the magic number, the protocol, the system, and then the object.
    let head = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}.";
    let nested = [b"]".repeat(1_000_000), b"a".repeat(999_999)].concat();
    let doubled = [&b")"[..], &b"2\x86".repeat(100_000)].concat();
    let printed = b"cbuiltins\nprint\nX\x05\x00\x00\x00hello\x85R".to_vec();
    let exits = b"csys\nexit\nK\x00\x85R".to_vec();
    let appended = [&b"]"[..], &b"Na".repeat((1 << 23) + 1)].concat();
    for (object, says) in [
        (nested, "holds no tensors by name"),
        (doubled, "holds no tensors by name"),
        (printed, "one object, `builtins.print`"),
        (exits, "one object, `sys.exit`"),
        (appended, "has a pickle of more than"),
    ] {
        let file = [&head[..], b"\x80\x02", &object, b".\x80\x02]."].concat();
        let desk = Desk::new();
        desk.model_as("width3", "broken").put("pytorch_model.bin", file);
        for line in ["extract -q -m broken hello", "extract -m broken hello -o out"] {
            let ran = desk.types(line).fails().says_all(&["pytorch_model.bin", says]);
            assert_eq!(ran.stderr().lines().count(), 1, "{}", ran.stderr());
        }
        assert!(!desk.has("out"));
    }
}
