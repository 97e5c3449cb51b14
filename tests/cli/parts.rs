//! Directories of Parquet files, read back with the Parquet reader and compared with the arrays of the same job.

use std::collections::BTreeMap;
use std::fs;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float16Type, Float32Type, Float64Type, Int64Type};
use arrow_array::{Array, RecordBatch};
use arrow_schema::DataType;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, Encoding};
use serde_json::{Value, json};

use crate::desk::Desk;

/// Texts, ids and labels that other formats trip over.
pub(crate) const NASTY: &str = r#"{"text": "", "id": "", "label": null, "stars": 1, "share": 0.1, "tags": [], "mixed": 1, "ok": true, "big": 9007199254740993}
{"text": "hello \"world\",\nsome\tpeople 😀 é", "id": "a,\"b\"\n", "label": "null", "stars": null, "share": 2, "tags": ["a", null, "é"], "mixed": "1", "ok": null, "big": 1}
{"text": "the river\u0000bank", "id": "NaN", "label": "true", "stars": -5, "share": 1e-3, "tags": ["", "\""], "mixed": [1, {}], "ok": false, "big": -9223372036854775808}
"#;

/// The texts above and many more, with a label for each.
pub(crate) fn many(count: usize) -> String {
    let more = (3..count).map(|row| {
        let line = json!({
            "text": format!("{}the river bank {row}", "some people make a good world ".repeat(row * 7 % 11)),
            "id": row.to_string(), "label": format!("l{}", row % 3),
            "stars": row, "share": row as f64 / 3.0, "tags": ["x"], "mixed": null, "ok": true, "big": 0,
        });
        format!("{line}\n")
    });
    NASTY.to_owned() + &more.collect::<String>()
}

pub(crate) const CARRY: &str = "--carry stars,share,tags,mixed,ok,big";

/// The rows of all parts of a kind of vector, in the order of their names; column → values.
pub(crate) fn table(desk: &Desk, folder: &str) -> BTreeMap<String, Vec<Value>> {
    let mut columns: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for name in desk.file_names(folder) {
        let file = fs::File::open(desk.path(folder).join(name)).expect("a file");
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).expect("a Parquet file");
        for batch in reader.build().expect("a reader") {
            add(&batch.expect("a batch"), &mut columns);
        }
    }
    columns
}

pub(crate) fn add(batch: &RecordBatch, columns: &mut BTreeMap<String, Vec<Value>>) {
    for (field, array) in batch.schema().fields().iter().zip(batch.columns()) {
        columns.entry(field.name().clone()).or_default().extend(values(array));
    }
}

/// The values of an array; numbers of vectors by their bits.
fn values(array: &dyn Array) -> Vec<Value> {
    let value = |at: usize| -> Value {
        if array.is_null(at) {
            return Value::Null;
        }
        match array.data_type() {
            DataType::Utf8 => json!(array.as_string::<i32>().value(at)),
            DataType::Int64 => json!(array.as_primitive::<Int64Type>().value(at)),
            DataType::Float64 => json!(array.as_primitive::<Float64Type>().value(at)),
            DataType::Float32 => json!(array.as_primitive::<Float32Type>().value(at).to_bits()),
            DataType::Float16 => json!(array.as_primitive::<Float16Type>().value(at).to_bits()),
            DataType::Boolean => json!(array.as_boolean().value(at)),
            DataType::List(_) => Value::Array(values(&array.as_list::<i32>().value(at))),
            other => panic!("{other}"),
        }
    };
    (0..array.len()).map(value).collect()
}

/// The rows of a `.npy` file by their bits.
pub(crate) fn bits(desk: &Desk, name: &str) -> Vec<Value> {
    let array = desk.npy(name);
    let numbers: Vec<Value> = match array.dtype.as_str() {
        "f32" => array.bytes.as_chunks::<4>().0.iter().map(|&bytes| json!(u32::from_le_bytes(bytes))).collect(),
        _ => array.bytes.as_chunks::<2>().0.iter().map(|&bytes| json!(u16::from_le_bytes(bytes))).collect(),
    };
    numbers.chunks_exact(array.shape[1]).map(|row| Value::Array(row.to_vec())).collect()
}

#[test]
fn a_row_for_each_text_has_its_columns_and_the_bits_of_the_arrays() {
    let desk = Desk::with("width3");
    desk.put("texts.jsonl", many(50));
    for options in ["", "--dtype f16", "--combine concat", "--normalize -l 0,-1"] {
        let job = format!("extract -m width3 -i texts.jsonl {CARRY} -e mean,cls,pooler,sentence {options}");
        desk.types(&format!("{job} -o npy --overwrite")).succeeds();
        desk.types(&format!("{job} -f parquet --part-texts 16 -o out --overwrite")).succeeds();
        for kind in ["mean", "cls", "pooler", "sentence"] {
            let names = desk.file_names(&format!("out/{kind}"));
            let expected: Vec<String> = (0..4).map(|part| format!("part-{part:05}.parquet")).collect();
            assert_eq!(names, expected, "{kind} {options}");
            let table = table(&desk, &format!("out/{kind}"));
            assert_eq!(table["row"], (0..50).map(|row| json!(row)).collect::<Vec<_>>());
            let whole = (kind == "pooler" || kind == "sentence").then(|| (kind.to_owned(), format!("npy/{kind}.npy")));
            let of_layers = || {
                let names = desk.file_names("npy/mean").into_iter();
                names.map(|name| (name.replace(".npy", ""), format!("npy/{kind}/{name}"))).collect()
            };
            for (column, file) in whole.map_or_else(of_layers, |whole| vec![whole]) {
                assert_eq!(table[&column], bits(&desk, &file), "{column} of {kind} {options}");
            }
        }
        let table = table(&desk, "out/mean");
        assert_eq!(table["id"][..4], [json!(""), json!("a,\"b\"\n"), json!("NaN"), json!("3")]);
        assert_eq!(table["label"][..4], [json!(null), json!("null"), json!("true"), json!("l0")]);
        assert_eq!(table["stars"][..4], [json!(1), json!(null), json!(-5), json!(3)]);
        assert_eq!(table["share"][..4], [json!(0.1), json!(2.0), json!(0.001), json!(1.0)]);
        assert_eq!(table["tags"][..3], [json!([]), json!(["a", null, "é"]), json!(["", "\""])]);
        assert_eq!(table["mixed"][..4], [json!("1"), json!("\"1\""), json!("[1, {}]"), json!(null)]);
        assert_eq!(table["ok"][..3], [json!(true), json!(null), json!(false)]);
        assert_eq!(table["big"][..3], [json!(9_007_199_254_740_993_i64), json!(1), json!(i64::MIN)]);
        let manifest = desk.json("out/manifest.json");
        let types = json!({ "stars": "int64", "share": "float64", "tags": "list<string>", "mixed": "json", "ok": "bool", "big": "int64" });
        assert_eq!(manifest["columns"], json!({ "label": "string", "word_label": "string", "carried": types }));
        desk.types("verify out").succeeds();
        desk.types("info out").succeeds().prints("mean/part-*.parquet [");
    }
}

#[test]
fn a_row_for_each_token_and_word() {
    let desk = Desk::with("width3");
    let words = r#"{"text": ["some", "people", "zzz\u0007"], "label": ["A", "B", "C"], "id": "x"}
{"text": [], "label": []}
{"text": ["the", "river"], "label": ["D", "E"]}
"#;
    desk.put("words.jsonl", words.repeat(30).replace("\"id\": \"x\"", "\"id\": null"));
    desk.put("texts.jsonl", many(50));
    for (input, options) in [
        ("words.jsonl", "--pretokenized"),
        ("texts.jsonl", ""),
        ("texts.jsonl", "--special-tokens drop --max-length 9"),
        ("texts.jsonl", "--prompt 'good: ' --max-length 12 --overflow window"),
    ] {
        let job = format!("extract -m width3 -i {input} -e token,word {options}");
        desk.types(&format!("{job} -o npy --overwrite")).succeeds();
        desk.types(&format!("{job} -f parquet --part-texts 16 -o out --overwrite")).succeeds();
        let lines = desk.json_lines("npy/texts.jsonl");
        let list = |line: &Value, key: &str| line[key].as_array().cloned().unwrap_or_default();
        let flat = |key: &str| lines.iter().flat_map(|line| list(line, key)).collect::<Vec<_>>();
        let tokens = table(&desk, "out/token");
        let rows = lines.iter().flat_map(|line| vec![line["row"].clone(); list(line, "tokens").len()]);
        assert_eq!(tokens["row"], rows.collect::<Vec<_>>());
        for (column, key) in [("token", "tokens"), ("token_id", "token_ids"), ("word_id", "word_ids")] {
            assert_eq!(tokens[column], flat(key), "{column} {options}");
        }
        for (column, side) in [("start", 0), ("end", 1)] {
            let expected: Vec<Value> = flat("offsets").iter().map(|offsets| offsets[side].clone()).collect();
            assert_eq!(tokens[column], expected, "{column} {options}");
        }
        let all_words = table(&desk, "out/word");
        for (table, kind) in [(&tokens, "token"), (&all_words, "word")] {
            for layer in ["layer_00", "layer_02"] {
                assert_eq!(table[layer], bits(&desk, &format!("npy/{kind}/{layer}.npy")), "{kind} {options}");
            }
        }
        let given: Vec<Value> = flat("words");
        if input == "words.jsonl" {
            assert_eq!(all_words["word"], given);
            let labels = ["A", "B", "C", "D", "E"].map(|label| json!(label));
            assert_eq!(all_words["label"], (0..30).flat_map(|_| labels.clone()).collect::<Vec<_>>());
        } else {
            // A word is what lies between the offsets of its first token and its last one.
            let texts: Vec<Value> = many(50).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
            for (at, word) in all_words["word"].iter().enumerate() {
                let text = &texts[all_words["row"][at].as_u64().expect("a row") as usize];
                let characters: Vec<char> = text["text"].as_str().expect("a text").chars().collect();
                let [start, end] = ["start", "end"].map(|key| all_words[key][at].as_u64().expect("a place") as usize);
                assert_eq!(*word, json!(characters[start..end].iter().collect::<String>()), "word {at} {options}");
                assert_eq!(all_words["label"][at], text["label"], "the text's own label");
            }
        }
        desk.types("verify out").succeeds();
    }
}

#[test]
fn a_pair_has_the_words_of_both_texts() {
    let desk = Desk::with("width3");
    desk.put("pairs.jsonl", "{\"text\": \"é some people\", \"other\": \"the river\", \"label\": 1}\n");
    desk.types("extract -m width3 -i pairs.jsonl --pair-column other -e word -f parquet -o out").succeeds();
    let table = table(&desk, "out/word");
    assert_eq!(table["word"], ["é", "some", "people", "the", "river"].map(|word| json!(word)));
    assert_eq!(table["start"], [0, 2, 7, 0, 4].map(|start| json!(start)));
    assert_eq!(table["label"], [1; 5].map(|label| json!(label)));
}

#[test]
fn lines_of_the_input_are_columns_where_bad_ones_are_skipped() {
    let desk = Desk::with("width3");
    desk.put("a.jsonl", "{\"text\": \"hello\"}\n{}\n{\"text\": \"world\"}\n");
    desk.types("extract -m width3 -i a.jsonl --on-bad-line skip -f parquet -o out").succeeds();
    let table = table(&desk, "out/mean");
    assert_eq!((&table["line"], &table["file"]), (&vec![json!(1), json!(3)], &vec![json!(null), json!(null)]));
}

/// The row groups of a file with the encodings of a column of vectors.
fn groups(desk: &Desk, name: &str, column: &str) -> Vec<(i64, Vec<Encoding>)> {
    let file = fs::File::open(desk.path(name)).expect("a file");
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).expect("a Parquet file");
    let place = format!("{column}.list.element");
    let groups = builder.metadata().row_groups().iter().map(|group| {
        let column = group.columns().iter().find(|of| of.column_path().string() == place).expect("vectors");
        assert!(matches!(column.compression(), Compression::ZSTD(_)) && column.statistics().is_none());
        (group.num_rows(), column.encodings().collect())
    });
    groups.collect()
}

#[test]
fn vectors_are_split_where_all_readers_take_that_and_row_groups_are_bounded() {
    let desk = Desk::with("width3");
    let lines =
        (0..20).map(|row| json!({ "text": "hello", "note": row.to_string().repeat(1 << 20) }).to_string() + "\n");
    desk.put("texts.jsonl", lines.collect::<String>());
    let job = "extract -m width3 -i texts.jsonl --carry note -f parquet -o out --overwrite";
    desk.types(job).succeeds();
    let found = groups(&desk, "out/mean/part-00000.parquet", "layer_01");
    assert_eq!(found.iter().map(|(rows, _)| rows).sum::<i64>(), 20);
    assert!(found.len() > 1, "16 MiB of other columns are a row group: {found:?}");
    assert!(found.iter().all(|(_, encodings)| encodings.contains(&Encoding::BYTE_STREAM_SPLIT)), "{found:?}");
    desk.types(&format!("{job} --dtype f16")).succeeds();
    let found = groups(&desk, "out/mean/part-00000.parquet", "layer_01");
    assert!(found.iter().all(|(_, encodings)| !encodings.contains(&Encoding::BYTE_STREAM_SPLIT)), "{found:?}");
}

#[test]
fn neither_batches_nor_threads_change_a_byte() {
    let desk = Desk::with("width3");
    desk.put("texts.jsonl", many(100));
    let job = format!("extract -m width3 -i texts.jsonl {CARRY} -e token,mean -f parquet --part-texts 32");
    desk.types(&format!("{job} -o one --threads 1 --batch-tokens 16")).succeeds();
    desk.types(&format!("{job} -o two")).succeeds();
    assert!(desk.job("one") == desk.job("two"));
    desk.types(&format!("{job} -o two")).succeeds().says("already holds this job");
    desk.types(&format!("{job} -o two --part-texts 16")).fails_as_wrong_usage();
    let other = job.replace("--part-texts 32", "--part-texts 16");
    desk.types(&format!("{other} -o two")).fails().says_all(&["another job", "--part-texts (32 there, 16 here)"]);
    desk.types(&format!("{other} -o two --overwrite")).succeeds();
    assert_eq!(desk.file_names("two/mean").len(), 7);
    desk.types("extract -m width3 hello -e cls -o two --overwrite").succeeds();
    assert!(desk.file_names("two").iter().all(|name| !name.ends_with(".parquet")), "{:?}", desk.file_names("two"));
}

#[test]
fn merged_shards_are_the_whole_byte_for_byte() {
    let desk = Desk::with("width3");
    desk.put("texts.jsonl", many(150));
    for (options, of) in [("-e mean", 3), ("-e token,word,mean", 4), ("-e mean", 20)] {
        let job = format!("extract -m width3 -i texts.jsonl {CARRY} {options} -f parquet --part-texts 16");
        let names: Vec<String> = (1..=of).map(|index| format!("shard-{index}")).collect();
        for (index, name) in names.iter().enumerate() {
            desk.types(&format!("{job} --shard {}/{of} -o {name} --overwrite", index + 1)).succeeds();
            desk.types(&format!("verify {name}")).succeeds();
        }
        desk.types(&format!("merge merged {} --overwrite", names.join(" "))).succeeds().says("150 texts");
        desk.types(&format!("{job} -o whole --overwrite")).succeeds();
        assert!(desk.job("merged") == desk.job("whole"), "{options}, {of}");
        desk.types("verify merged").succeeds();
    }
    // What was copied is compared with its checksum.
    let mut bytes = desk.read("shard-1/mean/part-00000.parquet");
    bytes[100] ^= 1;
    desk.put("shard-1/mean/part-00000.parquet", bytes);
    let names: Vec<String> = (1..=20).map(|index| format!("shard-{index}")).collect();
    desk.types(&format!("merge again {}", names.join(" "))).fails().says_all(&["part-00000.parquet", "checksum"]);
}

#[test]
fn every_changed_byte_is_found() {
    let desk = Desk::with("width3");
    desk.put("texts.jsonl", many(40));
    desk.types("extract -m width3 -i texts.jsonl -e mean,token -f parquet --part-texts 16 -o out").succeeds();
    for name in ["out/mean/part-00001.parquet", "out/token/part-00002.parquet"] {
        let good = desk.read(name);
        for at in [0, good.len() / 2, good.len() - 1] {
            let mut bad = good.clone();
            bad[at] ^= 1;
            desk.put(name, &bad);
            desk.types("verify out").ends_with(1).prints(name.strip_prefix("out/").expect("a name"));
        }
        desk.put(name, &good[..good.len() - 1]);
        desk.types("verify out").ends_with(1).prints("checksum");
        desk.remove(name);
        desk.types("verify out").ends_with(1).prints("is missing");
        desk.put(name, &good);
    }
    desk.types("verify out").succeeds();
    desk.put("out/mean/part-00009.parquet", "");
    desk.types("verify out").ends_with(1).prints("part-00009.parquet");
    fs::remove_file(desk.path("out/mean/part-00009.parquet")).expect("a file");
    let manifest = String::from_utf8(desk.read("out/manifest.json")).expect("UTF-8");
    for (from, to, says) in [
        ("\"part_texts\": 16", "\"part_texts\": 20", "crc32 has"),
        ("\"part_texts\": 16", "\"part_texts\": 0", "part_texts"),
        ("\"part_texts\": 16", "\"part_texts\": 1", "crc32 lacks"),
        ("\"texts\": 40", "\"texts\": 281474976710655", "crc32 lacks"),
    ] {
        assert!(manifest.contains(from), "{from}");
        desk.put("out/manifest.json", manifest.replacen(from, to, 1));
        desk.types("verify out").ends_with(1).prints(says);
    }
}

#[test]
fn what_parquet_cannot_do_is_refused_with_the_way_out() {
    let desk = Desk::with("width3");
    desk.put("a.jsonl", "{\"text\": \"hello\", \"layer_00\": 1}\n");
    let job = "extract -m width3 -i a.jsonl -f parquet -o out";
    desk.types(&format!("{job} --dtype bf16")).fails_as_wrong_usage().says_all(&["Parquet", "--dtype f16"]);
    desk.types(&format!("{job} --carry layer_00")).fails_as_wrong_usage().says_all(&["--carry layer_00", "rename"]);
    desk.types("extract -m width3 hello --part-texts 100 -o out").fails_as_wrong_usage().says("--format parquet");
    assert!(!desk.has("out"));
    desk.types(job).succeeds();
}

#[test]
fn a_rehearsal_says_what_a_job_needs() {
    let desk = Desk::with("width3");
    desk.put("texts.jsonl", many(50));
    let ran = desk.types("extract -m width3 -i texts.jsonl -f parquet --part-texts 16 -o out --dry-run").succeeds();
    ran.prints_all(&["parts     4 of up to 16 texts", "before they are compressed", "mean/part-*.parquet [layer_00]"]);
    assert!(!desk.has("out"));
}

/// A file that is not of a job stays.
#[test]
fn a_file_of_somebody_else_is_left_alone() {
    let desk = Desk::with("width3");
    desk.put("texts.jsonl", many(50));
    desk.put("out/mean/part-00003.parquet", "mine");
    let ran = desk.types("extract -m width3 -i texts.jsonl -f parquet --part-texts 16 -o out --overwrite").fails();
    ran.says_all(&["part-00003.parquet", "left alone"]);
    assert_eq!(desk.read("out/mean/part-00003.parquet"), b"mine");
}
