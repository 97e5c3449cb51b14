//! Parquet and Arrow as input: the same texts, ids, labels and words as in JSON Lines. Arrow as output: the same numbers as in arrays.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::builder::{ListBuilder, StringBuilder, StringDictionaryBuilder};
use arrow_array::types::Int32Type;
use arrow_array::{
    ArrayRef, BooleanArray, Float32Array, Float64Array, Int64Array, LargeStringArray, RecordBatch, StringArray,
    StringViewArray, TimestampSecondArray, UInt8Array,
};
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::{FileWriter, StreamWriter};
use arrow_schema::{DataType, Field, Schema};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, GzipLevel, ZstdLevel};
use parquet::file::properties::WriterProperties;
use serde_json::{Value, json};

use crate::desk::Desk;
use crate::formats::gzip;
use crate::parts::{CARRY as CARRY_NASTY, add, bits, many};

const TEXTS: [&str; 4] = ["hello world", "", "the river\n\"bank\" 😀", "some people"];

/// The same rows as `columns` has.
const LINES: &str = r#"{"id":"a","text":"hello world","label":1,"small":0,"share":0.1,"single":0.1,"ok":true,"tags":["x"]}
{"id":"","text":"","label":null,"small":1,"share":null,"single":0.2,"ok":false,"tags":[]}
{"id":"c\"","text":"the river\n\"bank\" 😀","label":-3,"small":2,"share":1e300,"single":0.3,"ok":true,"tags":["y","z"]}
{"id":"d","text":"some people","label":4,"small":255,"share":2.0,"single":0.4,"ok":false,"tags":[]}
"#;

const CARRY: &str = "--carry small,share,single,ok,tags";

pub(crate) fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter(columns).expect("a batch")
}

fn parquet(batch: &RecordBatch, compression: Compression) -> Vec<u8> {
    let properties =
        WriterProperties::builder().set_compression(compression).set_max_row_group_row_count(Some(3)).build();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).expect("a writer");
    writer.write(batch).expect("memory");
    writer.into_inner().expect("memory")
}

pub(crate) fn stream(batch: &RecordBatch) -> Vec<u8> {
    let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema()).expect("a writer");
    writer.write(batch).expect("memory");
    writer.into_inner().expect("memory")
}

fn feather(batch: &RecordBatch) -> Vec<u8> {
    let mut writer = FileWriter::try_new(Vec::new(), &batch.schema()).expect("a writer");
    writer.write(batch).expect("memory");
    writer.into_inner().expect("memory")
}

fn dictionary(texts: &[&str]) -> ArrayRef {
    let mut builder = StringDictionaryBuilder::<Int32Type>::new();
    texts.iter().for_each(|text| builder.append_value(text));
    Arc::new(builder.finish())
}

fn lists(lists: &[&[&str]]) -> ArrayRef {
    let mut builder = ListBuilder::new(StringBuilder::new());
    for list in lists {
        list.iter().for_each(|word| builder.values().append_value(word));
        builder.append(true);
    }
    Arc::new(builder.finish())
}

/// The columns of the texts, whose strings are of this type.
fn columns(strings: &dyn Fn(&[&str]) -> ArrayRef) -> RecordBatch {
    batch(vec![
        ("id", strings(&["a", "", "c\"", "d"])),
        ("text", strings(&TEXTS)),
        ("label", Arc::new(Int64Array::from(vec![Some(1), None, Some(-3), Some(4)]))),
        ("small", Arc::new(UInt8Array::from(vec![0, 1, 2, 255]))),
        ("share", Arc::new(Float64Array::from(vec![Some(0.1), None, Some(1e300), Some(2.0)]))),
        ("single", Arc::new(Float32Array::from(vec![0.1, 0.2, 0.3, 0.4]))),
        ("ok", Arc::new(BooleanArray::from(vec![true, false, true, false]))),
        ("tags", lists(&[&["x"], &[], &["y", "z"], &[]])),
        ("when", Arc::new(TimestampSecondArray::from(vec![1, 2, 3, 4]))), // not asked for
    ])
}

fn plain(texts: &[&str]) -> ArrayRef {
    Arc::new(StringArray::from(texts.to_vec()))
}

/// Makes a string array of one of the types that Arrow has for it.
type StringArrayOf<'a> = &'a dyn Fn(&[&str]) -> ArrayRef;

#[test]
fn rows_say_what_json_lines_say_in_every_type_of_strings() {
    let desk = Desk::with("width1");
    desk.put("lines.jsonl", LINES);
    desk.types(&format!("extract -m width1 -i lines.jsonl {CARRY} -o lines")).succeeds();
    let strings: [StringArrayOf<'_>; 4] = [
        &plain,
        &|texts| Arc::new(LargeStringArray::from(texts.to_vec())),
        &|texts| Arc::new(StringViewArray::from(texts.to_vec())),
        &dictionary,
    ];
    for strings in strings {
        let batch = columns(strings);
        for (name, content) in [
            ("a.parquet", parquet(&batch, Compression::SNAPPY)),
            ("b.parquet", parquet(&batch, Compression::GZIP(GzipLevel::default()))),
            ("c.pq", parquet(&batch, Compression::ZSTD(ZstdLevel::default()))),
            ("d.parquet", parquet(&batch, Compression::LZ4_RAW)),
            ("e.arrow", stream(&batch)),
            ("f.feather", feather(&batch)),
            ("g.arrow.gz", gzip(&feather(&batch))),
            ("h.parquet.gz", gzip(&parquet(&batch, Compression::UNCOMPRESSED))),
        ] {
            desk.put(name, content);
            desk.types(&format!("extract -m width1 -i {name} {CARRY} -o out --overwrite")).succeeds();
            assert_eq!(desk.read("out/texts.jsonl"), desk.read("lines/texts.jsonl"), "{name}");
            assert_eq!(desk.json("out/manifest.json")["input"], desk.json("lines/manifest.json")["input"], "{name}");
        }
        for (format, content) in [
            ("arrow", stream(&batch)),
            ("arrow", feather(&batch)),
            ("parquet", parquet(&batch, Compression::UNCOMPRESSED)),
        ] {
            let job = format!("extract -m width1 --input-format {format} {CARRY} -o out --overwrite");
            desk.types_into(&job, content).succeeds();
            assert_eq!(desk.read("out/texts.jsonl"), desk.read("lines/texts.jsonl"), "{format}");
        }
    }
    // Several files, and the other commands that read texts.
    desk.types("extract -m width1 -i a.parquet -i e.arrow --id-column '' -o both").succeeds().says("8 texts");
    let two = batch(vec![("text", plain(&["the river", "some people"]))]);
    desk.put("two.parquet", parquet(&two, Compression::SNAPPY));
    desk.types("compare -m width1 -i two.parquet").succeeds().prints("some people");
    desk.types(&format!("extract -m width1 -i a.parquet {CARRY} -o kept")).succeeds();
    desk.types("verify kept --recompute 2 -m width1 -i a.parquet").succeeds();
}

#[test]
fn words_are_lists_of_strings() {
    let desk = Desk::with("width1");
    let words: [&[&str]; 3] = [&["New York", "never"], &[], &["sleeps"]];
    let labels: [&[&str]; 3] = [&["LOC", "O"], &[], &["O"]];
    let table = batch(vec![("text", lists(&words)), ("label", lists(&labels))]);
    desk.put("words.parquet", parquet(&table, Compression::SNAPPY));
    let lines = [
        r#"{"text": ["New York", "never"], "label": ["LOC","O"]}"#,
        r#"{"text": [], "label": []}"#,
        r#"{"text": ["sleeps"], "label": ["O"]}"#,
    ];
    desk.put("words.jsonl", lines.join("\n"));
    for (input, out) in [("words.parquet", "one"), ("words.jsonl", "two")] {
        desk.types(&format!("extract -m width1 -i {input} --pretokenized -e word -o {out}")).succeeds();
    }
    assert_eq!(desk.read("one/texts.jsonl"), desk.read("two/texts.jsonl"));
    desk.types("extract -m width1 -i words.parquet").fails().says_all(&["row 0 has a list", "--pretokenized"]);
}

#[test]
fn bad_rows_are_named_and_skipped() {
    let desk = Desk::with("width1");
    let bad = batch(vec![
        ("id", Arc::new(StringArray::from(vec![Some("a"), Some("b"), Some("a"), None])) as ArrayRef),
        ("text", Arc::new(StringArray::from(vec![Some("one"), None, Some("three"), Some("four")])) as ArrayRef),
        ("score", Arc::new(Float64Array::from(vec![1.0, 2.0, 3.0, f64::NAN])) as ArrayRef),
    ]);
    desk.put("bad.parquet", parquet(&bad, Compression::SNAPPY));
    let ran = desk.types("extract -m width1 -i bad.parquet --carry score").fails();
    ran.says_all(&[
        "bad.parquet: row 1 has null as `text`; expected a string",
        "bad.parquet: row 2 has the id of row 0",
        "bad.parquet: row 3 has NaN, which is no number, in `score`",
    ]);
    let ran = desk.types("extract -m width1 -i bad.parquet --on-bad-line skip -o out").succeeds();
    ran.says_all(&["row 1 has null", "row 2 has the id of row 0", "2 bad lines skipped"]);
    let lines = desk.json_lines("out/texts.jsonl");
    assert_eq!(lines.iter().map(|line| line["line"].as_u64()).collect::<Vec<_>>(), [Some(1), Some(4)]);
    desk.types("verify out").succeeds();
}

#[test]
fn what_cannot_be_taken_is_named() {
    let desk = Desk::with("width1");
    let table = columns(&plain);
    let good = parquet(&table, Compression::SNAPPY);
    desk.put("a.parquet", &good);
    for (options, says) in [
        ("--text-column body", "has no column `body`; it has `id`, `text`"),
        ("--carry when", "in `when`; expected strings"),
        ("--text-column small", "row 0 has a number as `small`; expected a string"),
        ("--text-column ok", "row 0 has a boolean as `ok`"),
        ("--label-column tags", "row 0 has a list as `tags`"),
    ] {
        desk.types(&format!("extract -m width1 -i a.parquet {options}")).fails().says(says);
    }
    desk.types("extract -m width1 -i a.parquet --no-header").fails_as_wrong_usage().says("--no-header");
    let fields = ["text", "text"].map(|name| Field::new(name, DataType::Utf8, false));
    let twice = RecordBatch::try_new(Arc::new(Schema::new(fields.to_vec())), vec![plain(&["a"]), plain(&["b"])]);
    desk.put("twice.arrow", stream(&twice.expect("a batch")));
    desk.types("extract -m width1 -i twice.arrow").fails().says("has the column `text` twice");
    let long = batch(vec![("text", plain(&["a", "b"])), ("note", plain(&["short", &"long ".repeat(4 << 20)]))]);
    desk.put("long.arrow", stream(&long));
    desk.types("extract -m width1 -i long.arrow").succeeds();
    desk.types("extract -m width1 -i long.arrow --carry note").fails().says("row 1 is longer than 16 MiB");
    desk.put("cut.parquet", &good[..good.len() - 20]);
    desk.types("extract -m width1 -i cut.parquet").fails().says_all(&["cut.parquet", "cannot be read as Parquet"]);
    let streamed = stream(&table);
    desk.put("cut.arrow", &streamed[..streamed.len() / 2]);
    desk.types("extract -m width1 -i cut.arrow").fails().says("cut.arrow");
    desk.put("old.feather", b"FEA1 and so on");
    desk.types("extract -m width1 -i old.feather").fails().says("Feather file of old");
    for (name, content, format) in
        [("a.txt", &good, "parquet"), ("b.txt", &streamed, "arrow"), ("c.jsonl", &feather(&table), "arrow")]
    {
        desk.put(name, content);
        desk.types(&format!("extract -m width1 -i {name}")).fails().says(&format!("--input-format {format}"));
        desk.types(&format!("extract -m width1 -i {name} --input-format {format}")).succeeds();
    }
    desk.put("text.parquet", "hello\n");
    desk.types("extract -m width1 -i text.parquet").fails().says("cannot be read as Parquet");
    for (name, content) in [("text.arrow", "hello\n"), ("empty.arrow", "")] {
        desk.put(name, content);
        desk.types(&format!("extract -m width1 -i {name}")).fails().says(name);
    }
}

/// A file of many row groups, read some rows at a time.
#[test]
fn all_rows_come_in_order() {
    let desk = Desk::with("width1");
    let texts: Vec<String> = (0..2000).map(|row| format!("some {row}")).collect();
    let table = batch(vec![("text", Arc::new(StringArray::from(texts.clone())) as ArrayRef)]);
    desk.put("many.parquet", parquet(&table, Compression::SNAPPY));
    desk.put("many.txt", texts.iter().map(|text| format!("{text}\n")).collect::<String>());
    for input in ["many.parquet", "many.txt"] {
        desk.types(&format!("extract -m width1 -i {input} -o out-{input}")).succeeds();
    }
    assert_eq!(desk.read("out-many.parquet/texts.jsonl"), desk.read("out-many.txt/texts.jsonl"));
    assert_eq!(desk.read("out-many.parquet/mean/layer_01.npy"), desk.read("out-many.txt/mean/layer_01.npy"));
}

/// A table of texts alone, as the content of a Parquet file.
fn texts_as_parquet(texts: &[&str]) -> Vec<u8> {
    parquet(&batch(vec![("text", plain(texts))]), Compression::SNAPPY)
}

#[test]
fn a_folder_is_its_files_one_after_the_other() {
    let desk = Desk::with("width1");
    let parts = [&["hello", "world"][..], &["the river"], &["some", "people", "hello"]];
    let mut files = String::new();
    for (number, texts) in parts.iter().enumerate().rev() {
        let name = format!("table/part-{number:05}-0a1b.c000.snappy.parquet");
        desk.put(&name, texts_as_parquet(texts));
        files = format!(" -i {name}{files}");
        desk.put(&format!("plain/{number:06}_0"), stream(&batch(vec![("text", plain(texts))])));
        let mixed = format!("mixed/{number}.{}", if number == 1 { "arrow" } else { "pq" });
        let content = desk.read(if number == 1 { "plain/000001_0" } else { &name });
        desk.put(&mixed, content);
    }
    // What Spark and Dask put beside the parts of a table.
    for name in ["_SUCCESS", "_metadata", "_common_metadata", ".part-00000.parquet.crc", "_temporary/0/x", ".cache/y"] {
        desk.put(&format!("table/{name}"), "no table");
    }
    desk.types(&format!("extract -m width1 {files} -o files")).succeeds().says("6 texts");
    for (input, format) in [("table", ""), ("table", "parquet"), ("plain", "arrow"), ("mixed", "")] {
        let option = if format.is_empty() { String::new() } else { format!("--input-format {format}") };
        desk.types(&format!("extract -m width1 -i {input} {option} -o out --overwrite")).succeeds();
        assert_eq!(desk.read("out/texts.jsonl"), desk.read("files/texts.jsonl"), "{input}");
        assert_eq!(desk.read("out/mean/layer_01.npy"), desk.read("files/mean/layer_01.npy"), "{input}");
        if input == "table" {
            assert!(desk.job("out") == desk.job("files"), "the same job");
            desk.types("extract -m width1 -i table -o files").succeeds().says("already holds this job");
        }
    }
    desk.types("verify files --recompute 3 -m width1 -i table").succeeds();
    desk.types("compare -m width1 -i table -l 1").succeeds().prints("the river");
    // Bad rows are of the file that has them.
    desk.put("table/part-00001.parquet", parquet(&batch(vec![("text", lists(&[&["a"]]))]), Compression::SNAPPY));
    desk.types("extract -m width1 -i table").fails().says("table/part-00001.parquet: row 0 has a list");
}

/// What `-f parquet` writes is a table like others.
#[test]
fn a_folder_of_our_own_is_read() {
    let desk = Desk::with("width1");
    let lines: String = (0..40).map(|row| format!("{{\"body\": \"some {row}\", \"id\": \"{row}\"}}\n")).collect();
    desk.put("texts.jsonl", &lines);
    let job = "extract -m width1 -i texts.jsonl --text-column body";
    desk.types(&format!("{job} --carry body -f parquet --part-texts 16 -o tables")).succeeds();
    desk.types(&format!("{job} -o npy")).succeeds();
    desk.types("extract -m width1 -i tables/mean --text-column body -o again").succeeds().says("40 texts");
    assert_eq!(desk.read("again/texts.jsonl"), desk.read("npy/texts.jsonl"));
    assert_eq!(desk.read("again/mean/layer_01.npy"), desk.read("npy/mean/layer_01.npy"));
}

#[test]
fn a_folder_of_anything_else_is_refused_with_the_way_out() {
    let desk = Desk::with("width1");
    let good = texts_as_parquet(&["hello"]);
    for (name, content) in [
        ("other/a.parquet", &good[..]),
        ("other/notes.txt", b"hello\n"),
        ("hive/language=en/a.parquet", &good),
        ("delta/_delta_log/0.json", b"{}"),
        ("delta/a.parquet", &good),
        ("hidden/_SUCCESS", b""),
        ("bare/000000_0", &good),
        ("good/a.parquet", &good),
    ] {
        desk.put(name, content);
    }
    std::fs::create_dir(desk.path("empty")).expect("a directory");
    for (options, says) in [
        ("-i other", &["other: is a directory that holds `notes.txt`", "Parquet or Arrow", "each with -i"][..]),
        ("-i other --input-format parquet", &["`notes.txt`", "all `parquet` by their names"]),
        ("-i good --input-format arrow", &["`a.parquet`", "all `arrow` by their names"]),
        ("-i hive", &["hive: is a directory that holds another, `language=en`", "-i hive/language=en"]),
        ("-i delta", &["delta: is a Delta table", "a folder of its own"]),
        ("-i hidden", &["without a file to read", "_ or ."]),
        ("-i empty", &["without a file to read"]),
        ("-i bare", &["holds `000000_0`"]),
        ("-i good --input-format jsonl", &["good: is a directory; expected a file of texts"]),
        ("-i good -o good", &["good: lies in good, whose files are the input", "another directory"]),
        ("-i good -o good/new/out", &["lies in good"]),
    ] {
        desk.types(&format!("extract -m width1 {options}")).fails().says_all(says);
    }
    desk.types("extract -m width1 --stream --input-format arrow -i good").fails().says("good");
    assert!(!desk.has("good/new"));
}

/// The columns of a stream, and the number of its batches.
pub(crate) fn streamed(bytes: &[u8]) -> (BTreeMap<String, Vec<Value>>, usize) {
    let mut columns = BTreeMap::new();
    let reader = StreamReader::try_new(bytes, None).expect("a stream");
    let batches = reader.map(|batch| add(&batch.expect("a batch"), &mut columns)).count();
    (columns, batches)
}

#[test]
fn a_stream_has_the_columns_and_the_bits_of_the_arrays() {
    let desk = Desk::with("width3");
    desk.put("texts.jsonl", many(60));
    for options in ["", "--dtype f16", "--combine mean", "--special-tokens drop --max-length 9 --overflow window"] {
        let job = format!("extract -m width3 -i texts.jsonl {CARRY_NASTY} -e token,word,mean,pooler {options}");
        desk.types(&format!("{job} -o npy --overwrite")).succeeds();
        let ran = desk.types(&format!("{job} -f arrow --batch-tokens 64")).succeeds();
        let (columns, batches) = streamed(&ran.0.get_output().stdout);
        assert!(batches > 3, "{batches} batches");
        assert_eq!(columns["row"], (0..60).map(|row| json!(row)).collect::<Vec<_>>());
        assert_eq!(columns["id"][..3], [json!(""), json!("a,\"b\"\n"), json!("NaN")]);
        assert_eq!(columns["share"][..3], [json!(0.1), json!(2.0), json!(0.001)]);
        assert_eq!(columns["mixed"][..3], [json!("1"), json!("\"1\""), json!("[1, {}]")]);
        let lines = desk.json_lines("npy/texts.jsonl");
        assert_eq!(columns["tokens"], lines.iter().map(|line| line["tokens"].clone()).collect::<Vec<_>>());
        assert_eq!(columns["pooler"], bits(&desk, "npy/pooler.npy"));
        for name in desk.file_names("npy/mean") {
            let layer = name.replace(".npy", "");
            assert_eq!(columns[&format!("mean_{layer}")], bits(&desk, &format!("npy/mean/{name}")), "{options}");
            for kind in ["token", "word"] {
                let lists = &columns[&format!("{kind}_{layer}")];
                let flat: Vec<Value> = lists.iter().flat_map(|list| list.as_array().expect("a list").clone()).collect();
                assert_eq!(flat, bits(&desk, &format!("npy/{kind}/{name}")), "{kind} {layer} {options}");
            }
        }
    }
    // Shards are parts of it, and a stream is read back as texts.
    let rows = |shard: &str| {
        let ran = desk.types(&format!("extract -m width3 -i texts.jsonl --carry text -f arrow {shard}")).succeeds();
        let stdout = ran.0.get_output().stdout.clone();
        (streamed(&stdout).0["row"].clone(), stdout)
    };
    assert_eq!([rows("--shard 1/2").0, rows("--shard 2/2").0].concat(), rows("").0);
    desk.types_into("extract -m width3 --input-format arrow -o again", rows("").1).succeeds().says("60 texts");
}

#[test]
fn a_stream_that_cannot_be_is_refused() {
    let desk = Desk::with("width1");
    for (options, says) in [
        ("-f arrow -o out", "leave one of them out"),
        ("-f npy", "-o"),
        ("-f parquet", "-o"),
        ("-f arrow --dtype bf16", "--dtype f16"),
    ] {
        desk.types(&format!("extract -m width1 hello {options}")).fails_as_wrong_usage().says(says);
    }
    desk.put("a.jsonl", "{\"text\": \"hello\", \"mean_layer_00\": 1}\n");
    desk.types("extract -m width1 -i a.jsonl --carry mean_layer_00 -f arrow").fails_as_wrong_usage().says("rename");
}

#[test]
fn a_column_that_could_be_the_id_is_told_also_where_it_is_not_read() {
    let desk = Desk::new();
    let rows = 1200;
    let said = |ids: ArrayRef, texts: &str| {
        let text: ArrayRef = Arc::new(StringArray::from(vec!["a text"; rows]));
        let blank: ArrayRef = Arc::new(StringArray::from(vec![None::<&str>; rows]));
        let table = batch(vec![("blank_id", blank), ("text", text), ("Note_ID", ids)]);
        desk.put("notes.parquet", parquet(&table, Compression::UNCOMPRESSED));
        desk.put("notes.arrow", stream(&table));
        for name in ["notes.parquet", "notes.arrow"] {
            let ran = desk.types(&format!("extract -i {name} --dry-run")).succeeds();
            match texts {
                "" => ran.does_not_say("--id-column"),
                texts => ran.says(&format!("the column `Note_ID` has another value in {texts} and")),
            };
            desk.types(&format!("extract -i {name} --id-column Note_ID --dry-run")).does_not_say("can be the id");
        }
    };
    let strings = |id: &dyn Fn(usize) -> usize| (0..rows).map(|row| format!("n{}", id(row))).collect::<Vec<_>>();
    said(Arc::new(StringArray::from(strings(&|row| row))), "each of the first 1000 texts");
    said(Arc::new(Int64Array::from_iter_values(0..rows as i64)), "each of the first 1000 texts");
    let spelled = strings(&|row| row);
    said(dictionary(&spelled.iter().map(String::as_str).collect::<Vec<_>>()), "each of the first 1000 texts");
    said(Arc::new(StringArray::from(strings(&|row| row.min(998)))), "");
    said(Arc::new(Int64Array::from_iter((0..rows as i64).map(|row| (row != 500).then_some(row)))), "");
    said(Arc::new(Float64Array::from_iter_values((0..rows).map(|row| row as f64 / 3.0))), "");
}
