//! What can be typed wrong: exit code 2, what is wrong and what would be right, nothing written.

use crate::desk::Desk;

fn is_wrong(line: &str, says: &[&str]) {
    let desk = Desk::with("width32");
    desk.types(line).fails_as_wrong_usage().says_all(says);
    assert!(!desk.has("out"));
}

#[test]
fn commands_and_options_that_do_not_exist() {
    Desk::new().types("").ends_with(2).prints_nothing().says("Usage: layerwise");
    is_wrong("extrakt hello", &["extrakt", "extract"]);
    is_wrong("extract hello --layer 1", &["--layer", "--layers"]);
    is_wrong("extract hello --colour never", &["--colour"]);
    is_wrong("info bundled more", &["more"]);
    is_wrong("completions tcsh", &["tcsh", "bash"]);
    is_wrong("completions", &["<SHELL>"]);
}

#[test]
fn values_that_do_not_exist_come_with_those_that_do() {
    for (option, value, known) in [
        ("--emit", "means", "mean"),
        ("--emit", "", "mean"),
        ("--emit", "mean,", "mean"),
        ("--word-pooling", "middle", "first_last"),
        ("--special-tokens", "no", "drop"),
        ("--combine", "product", "concat"),
        ("--overflow", "ignore", "truncate"),
        ("--dtype", "f64", "f16"),
        ("--format", "csv", "safetensors"),
        ("--input-format", "xml", "text"),
        ("--progress", "maybe", "always"),
        ("--color", "green", "never"),
        ("--device", "tpu", "cuda:N"),
        ("--device", "cuda:first", "number"),
        ("--compute", "f16", "int8"),
    ] {
        is_wrong(&format!("extract hello {option} '{value}' -o out"), &[option, known]);
    }
}

#[test]
fn numbers_out_of_range() {
    for option in ["--threads", "--batch-tokens"] {
        for value in ["0", "-1", "many", "99999999999"] {
            is_wrong(&format!("extract hello {option}={value} -o out"), &[option]);
        }
    }
    is_wrong("extract hello --max-length=-1 -o out", &["--max-length"]);
    for value in ["0", "1", "2"] {
        is_wrong(&format!("extract hello --max-length {value} -o out"), &["--max-length", "no room", "special tokens"]);
    }
    is_wrong("extract hello --max-length 513 -o out", &["--max-length 513", "limit of 512"]);
    is_wrong("extract hello -m width32 --max-length 41 -o out", &["--max-length 41", "limit of 40"]);
}

#[test]
fn layers_that_do_not_exist() {
    for (layers, says) in [
        ("5", "layer 5 does not exist"),
        ("-6", "layer -6 does not exist"),
        ("0,1,9", "layer 9 does not exist"),
        ("1..8", "layer 8 does not exist"),
        ("2..1", "2..1 is empty"),
        ("-1..0", "-1..0 is empty"),
        ("first", "`first` is not a layer"),
        ("", "is not a layer"),
        ("1,", "is not a layer"),
        ("1-2", "`1-2` is not a layer"),
        ("99999999999999999999", "is not a layer"),
    ] {
        is_wrong(&format!("extract hello -l '{layers}' -o out"), &["--layers", says]);
    }
    is_wrong("extract hello -l 5", &["0 (the embedding output) to 4"]);
    is_wrong("extract hello -m width32 -l 2", &["0 (the embedding output) to 1"]);
}

#[test]
fn vectors_that_a_model_does_not_have() {
    is_wrong("extract hello -m width32 -e pooler -o out", &["--emit pooler", "no pooler", "cls"]);
}

#[test]
fn options_that_do_not_go_together() {
    is_wrong("extract hello --dtype bf16 -o out", &["bf16", ".npy", "--format safetensors"]);
    is_wrong("extract hello -i texts.txt", &["--input", "TEXT"]);
    is_wrong("extract hello -f safetensors", &["--output"]);
    is_wrong("extract hello --overwrite", &["--output"]);
    is_wrong("extract hello -q -v", &["--quiet", "--verbose"]);
    is_wrong("extract hello -e sentence -l 0", &["--layers", "sentence", "-e sentence,mean"]);
    is_wrong("extract hello --prompt a --prompt-name b", &["--prompt", "--prompt-name"]);
    is_wrong("extract hello --truncate-dim 8", &["--truncate-dim", "--emit sentence"]);
    is_wrong("extract hello -e sentence --truncate-dim 0", &["--truncate-dim", "from 1"]);
    is_wrong("extract hello --prompt-name passage", &["--prompt-name passage", "`query`, `document`", "--prompt"]);
    is_wrong("extract hello --stride 3 -o out", &["--stride", "--overflow window"]);
    is_wrong("extract hello --word-pooling first -o out", &["--word-pooling", "--emit word"]);
    is_wrong("extract hello --word-pooling mean -o out", &["--word-pooling", "--emit word"]);
    is_wrong("extract hello -e sentence --combine sum -o out", &["--combine", "sentence", "--emit mean"]);
    is_wrong("extract hello -e token,word --normalize -o out", &["--normalize", "token and word", "--emit mean"]);
    is_wrong("extract hello -e word,cls --special-tokens drop -o out", &["--special-tokens drop", "word and cls"]);
    is_wrong("extract hello -o -", &["-o -", "standard output", "./-"]);
    is_wrong("extract hello --id-column id", &["--id-column", "arguments"]);
    is_wrong("extract hello --no-header", &["--no-header", "csv and tsv"]);
    is_wrong("extract hello --delimiter ;", &["--delimiter", "csv and tsv"]);
    is_wrong("extract hello --carry a", &["--carry", "arguments"]);
    is_wrong("extract hello --input-format csv", &["--input-format", "arguments"]);
    is_wrong("extract hello --revision main", &["--revision", "`bundled`"]);
    is_wrong("compare a b --revision main", &["--revision", "`bundled`"]);
    is_wrong("probe a --dev b --test c --folds 5", &["--folds", "--dev and --test"]);
    is_wrong("probe a --overwrite", &["--output"]);
    is_wrong("verify a -i texts.txt", &["--recompute"]);
    is_wrong("verify a --seed 1", &["--recompute"]);
    is_wrong("extract hello -l 0 -l 1", &["--layers", "multiple times"]);
}

#[test]
fn usage_is_checked_before_the_input_is_read() {
    // Standard input that never ends would be waited for otherwise.
    is_wrong("extract -i nowhere.txt -l 0..-1..2", &["--layers"]);
    let desk = Desk::new();
    desk.types("extract -i - --dtype bf16 -o out").fails_as_wrong_usage().says("bf16");
}

#[test]
#[cfg(not(any(feature = "cuda", feature = "metal")))]
fn devices_that_this_build_cannot_use() {
    is_wrong("extract hello --device cuda -o out", &["--device cuda", "--features cuda"]);
    is_wrong("extract hello --device cuda:1 -o out", &["--device cuda:1", "--features cuda"]);
    is_wrong("extract hello --device metal -o out", &["--device metal", "--features metal"]);
}

#[test]
fn arithmetic_of_the_cpu_on_another_device() {
    for compute in ["--compute bf16", "--compute int8"] {
        is_wrong(&format!("extract hello --device cuda {compute} -o out"), &[compute, "--device cuda"]);
    }
}

#[test]
#[cfg(not(feature = "parquet"))]
fn what_a_build_lacks_is_named_with_the_way_to_get_it() {
    let desk = Desk::with("width1");
    desk.put("a.parquet", "PAR1");
    desk.put("a.txt", "hello\n");
    for job in ["hello -f parquet -o out", "hello -f arrow", "-i a.parquet", "-i a.txt --input-format arrow"] {
        let ran = desk.types(&format!("extract -m width1 {job}")).fails_as_wrong_usage();
        ran.says_all(&["was built without Parquet and Arrow", "--features parquet"]);
    }
}
