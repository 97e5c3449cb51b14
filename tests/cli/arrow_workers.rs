//! `extract --stream` with Arrow in, out, or both: batches answered as they come.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::ChildStdin;
use std::sync::Arc;

use arrow_array::builder::{ListBuilder, StringBuilder};
use arrow_array::{
    ArrayRef, BooleanArray, Float32Array, Float64Array, Int32Array, RecordBatch, StringArray, UInt64Array,
};
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::StreamWriter;
use arrow_schema::DataType;
use serde_json::{Value, json};

use crate::columnar::{batch, stream, streamed};
use crate::desk::Desk;
use crate::parts::{add, bits};
use crate::running::Running;

fn strings(values: &[Option<&str>]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

fn texts(values: &[&str]) -> RecordBatch {
    batch(vec![("text", strings(&values.iter().copied().map(Some).collect::<Vec<_>>()))])
}

/// A worker that runs, and an Arrow stream into it, which is begun.
fn begun(desk: &Desk, line: &str, first: &RecordBatch) -> (Running, StreamWriter<ChildStdin>) {
    let mut running = desk.starts(line);
    let stdin = running.0.stdin.take().expect("standard input");
    (running, StreamWriter::try_new(stdin, &first.schema()).expect("a reader"))
}

#[test]
fn a_batch_is_answered_before_the_next_one_comes() {
    let desk = Desk::with("width1");
    let batches = [texts(&["hello world", "", "the cat sat on the mat"]), texts(&[]), texts(&["hello world"])];
    desk.put("texts.txt", "hello world\n\nthe cat sat on the mat\nhello world\n");
    let expected = desk.types("extract -m width1 -i texts.txt -e token,mean").succeeds().stdout();
    let options = "extract -m width1 --stream --input-format arrow -e token,mean";
    let (mut running, mut writer) = begun(&desk, options, &batches[0]);
    let mut answers = BufReader::new(running.0.stdout.take().expect("standard output"));
    let mut expected = expected.lines();
    for batch in &batches {
        writer.write(batch).expect("a reader");
        for expected in expected.by_ref().take(batch.num_rows()) {
            let mut line = String::new();
            answers.read_line(&mut line).expect("a line");
            assert_eq!(line.trim_end(), expected);
        }
    }
    writer.finish().expect("a reader");
    drop(writer);
    assert_eq!(running.ends().code(), Some(0));
    assert!(running.stderr().contains("4 texts, "));
}

#[test]
fn arrow_is_answered_in_arrow_with_the_types_that_came() {
    let desk = Desk::with("width1");
    let mut tags = ListBuilder::new(StringBuilder::new());
    tags.append_value([Some("a"), None]);
    tags.append_value([] as [Option<&str>; 0]);
    let first = batch(vec![
        ("id", strings(&[Some("x"), None])),
        ("text", strings(&[Some("hello world"), Some("the river")])),
        ("label", Arc::new(Int32Array::from(vec![Some(-3), None]))),
        ("share", Arc::new(Float64Array::from(vec![0.1, 2.0]))),
        ("single", Arc::new(Float32Array::from(vec![0.1, 2.0]))),
        ("ok", Arc::new(BooleanArray::from(vec![true, false]))),
        ("large", Arc::new(UInt64Array::from(vec![u64::MAX, 0]))),
        ("tags", Arc::new(tags.finish())),
    ]);
    let options = "-e token,word,mean,pooler --carry share,single,ok,large,tags,text";
    desk.put("texts.arrow", stream(&first));
    desk.types(&format!("extract -m width1 -i texts.arrow {options} -o npy")).succeeds();
    let job = format!("extract -m width1 --stream --input-format arrow -f arrow {options}");
    let (mut running, mut writer) = begun(&desk, &job, &first);
    // The names of the columns come before any text does.
    let mut answers = StreamReader::try_new(running.0.stdout.take().expect("standard output"), None).expect("a stream");
    let schema = answers.schema();
    let of = |name: &str| schema.field_with_name(name).expect("a column").data_type().clone();
    assert_eq!([of("row"), of("label"), of("share")], [DataType::Int64, DataType::Int64, DataType::Float64]);
    assert_eq!([of("single"), of("ok"), of("large")], [DataType::Float64, DataType::Boolean, DataType::Utf8]);
    assert_eq!([of("id"), of("error")], [DataType::Utf8, DataType::Utf8]);
    for round in 0..3 {
        writer.write(&first).expect("a reader");
        let mut columns: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        while columns.get("row").is_none_or(|rows| rows.len() < 2) {
            add(&answers.next().expect("an answer").expect("a batch"), &mut columns);
        }
        assert_eq!(columns["row"], [json!(2 * round), json!(2 * round + 1)]);
        assert_eq!(columns["id"], [json!("x"), json!(null)]);
        assert_eq!(columns["label"], [json!(-3), json!(null)]);
        assert_eq!((&columns["share"], &columns["single"]), (&vec![json!(0.1), json!(2.0)], &columns["share"]));
        assert_eq!(columns["large"], [json!("18446744073709551615"), json!("0")]);
        assert_eq!(columns["tags"], [json!(["a", null]), json!([])]);
        assert_eq!(columns["text"], [json!("hello world"), json!("the river")]);
        assert_eq!(columns["error"], [Value::Null, Value::Null]);
        assert_eq!(columns["tokens"][1], json!(["[CLS]", "the", "river", "[SEP]"]));
        assert_eq!(columns["pooler"], bits(&desk, "npy/pooler.npy"));
        for layer in ["layer_00", "layer_01"] {
            assert_eq!(columns[&format!("mean_{layer}")], bits(&desk, &format!("npy/mean/{layer}.npy")));
            for kind in ["token", "word"] {
                let lists = &columns[&format!("{kind}_{layer}")];
                let flat: Vec<Value> = lists.iter().flat_map(|list| list.as_array().expect("a list").clone()).collect();
                assert_eq!(flat, bits(&desk, &format!("npy/{kind}/{layer}.npy")), "{kind} {layer}");
            }
        }
    }
    drop(writer);
    assert!(answers.next().is_none(), "the stream has its end");
    assert_eq!(running.ends().code(), Some(0), "{}", running.stderr());
}

#[test]
fn a_bad_row_is_answered_with_its_error_and_the_stream_goes_on() {
    let desk = Desk::with("width1");
    let rows = batch(vec![
        ("text", strings(&[Some("hello"), None, Some("hello world hello world hello world"), Some("world")])),
        ("score", Arc::new(Float64Array::from(vec![1.0, 2.0, 3.0, f64::NAN]))),
    ]);
    let last = batch(vec![("text", strings(&[Some("hello")])), ("score", Arc::new(Float64Array::from(vec![5.0])))]);
    let mut writer = StreamWriter::try_new(Vec::new(), &rows.schema()).expect("a writer");
    writer.write(&rows).and_then(|()| writer.write(&last)).expect("memory");
    let bytes = writer.into_inner().expect("memory");
    let job =
        "extract -m width1 --stream --input-format arrow --carry score --overflow error --max-length 6 -e mean,token";
    let errors = [
        (1, "row 1 has null as `text`; expected a string"),
        (2, "the text has 8 tokens, more than 6"),
        (3, "row 3 has NaN, which is no number, in `score`"),
    ];
    let ran = desk.types_into(job, &bytes).ends_with(1).says("3 of 5 lines could not be encoded");
    let answers = ran.json_lines();
    assert_eq!(answers.iter().map(|answer| answer["row"].clone()).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    for (row, says) in errors {
        let answer = &answers[row];
        assert!(answer["error"].as_str().is_some_and(|told| told.contains(says)), "{answer}");
        assert!(answer["line"] == row + 1 && answer.get("layers").is_none(), "{answer}");
    }
    let good = [&answers[0], &answers[4]].map(|answer| answer["layers"].clone());
    assert_eq!(good[0], good[1]);

    let ran = desk.types_into(&format!("{job} -f arrow"), &bytes).ends_with(1);
    let (columns, _) = streamed(&ran.0.get_output().stdout);
    assert_eq!(columns["row"], [0, 1, 2, 3, 4].map(|row| json!(row)));
    assert_eq!(columns["score"], [json!(1.0), json!(null), json!(null), json!(null), json!(5.0)]);
    for name in ["mean_layer_00", "token_layer_01", "tokens"] {
        let nulls: Vec<bool> = columns[name].iter().map(Value::is_null).collect();
        assert_eq!(nulls, [false, true, true, true, false], "{name}");
        assert_eq!(columns[name][0], columns[name][4]);
    }
    assert_eq!([&columns["error"][0], &columns["error"][4]], [&json!(null), &json!(null)]);
    for (row, says) in errors {
        assert!(columns["error"][row].as_str().is_some_and(|told| told.contains(says)), "{}", columns["error"][row]);
    }
}

#[test]
fn lines_are_answered_in_arrow() {
    let desk = Desk::with("width1");
    let line = |row: usize| format!("{{\"text\": \"some {row}\", \"label\": {row}, \"more\": [\"{row}\"]}}\n");
    let lines: String = (0..300).map(|row| if row == 7 { "{}\n".to_owned() } else { line(row) }).collect();
    desk.put("good.jsonl", (0..300).map(line).collect::<String>());
    desk.types("extract -m width1 -i good.jsonl -o npy").succeeds();
    let expected = bits(&desk, "npy/mean/layer_01.npy");
    for batch_tokens in [7, 8192] {
        let job = format!(
            "extract -m width1 --stream --input-format jsonl --carry more -f arrow --batch-tokens {batch_tokens}"
        );
        let ran = desk.types_into(&job, &lines).ends_with(1);
        let (columns, _) = streamed(&ran.0.get_output().stdout);
        // Their types are not known before all have come, so they are spelled as JSON.
        assert_eq!([&columns["label"][3], &columns["more"][3]], [&json!("3"), &json!("[\"3\"]")]);
        for (row, expected) in expected.iter().enumerate().filter(|(row, _)| *row != 7) {
            assert_eq!(&columns["mean_layer_01"][row], expected, "{row}");
        }
        assert!(columns["error"][7].as_str().is_some_and(|told| told.contains("line 8 has no column `text`")));
        assert_eq!(columns["mean_layer_01"][7], json!(null));
    }
    let ran = desk.types_into("extract -m width1 --stream -f arrow", "hello\n").succeeds();
    assert_eq!(streamed(&ran.0.get_output().stdout).0["row"], [json!(0)]);
    for (options, input) in [("", Vec::new()), ("--input-format arrow", stream(&texts(&[])))] {
        let ran = desk.types_into(&format!("extract -m width1 --stream -f arrow {options}"), input).succeeds();
        let columns = streamed(&ran.0.get_output().stdout).0;
        assert!(columns.values().all(Vec::is_empty), "{columns:?}");
    }
}

#[test]
fn many_batches_are_the_same_texts_as_a_job() {
    let desk = Desk::with("width1");
    let all: Vec<String> = (0..500).map(|row| "the cat sat on the mat ".repeat(row * 7 % 11)).collect();
    desk.put("texts.txt", all.iter().map(|text| format!("{}\n", text.trim_end())).collect::<String>());
    let all: Vec<&str> = all.iter().map(|text| text.trim_end()).collect();
    let mut writer = StreamWriter::try_new(Vec::new(), &texts(&[]).schema()).expect("a writer");
    all.chunks(37).for_each(|chunk| writer.write(&texts(chunk)).expect("memory"));
    let bytes = writer.into_inner().expect("memory");
    for options in ["-e mean,token", "-e mean --overflow window --max-length 20 --stride 3"] {
        let expected = desk.types(&format!("extract -m width1 -i texts.txt {options}")).succeeds().stdout();
        let job = format!("extract -m width1 --stream --input-format arrow {options}");
        assert!(desk.types_into(&job, &bytes).succeeds().stdout() == expected, "{options}");
    }
}

#[test]
fn a_stream_that_breaks_off_is_said_behind_the_answers() {
    let desk = Desk::with("width1");
    let mut writer = StreamWriter::try_new(Vec::new(), &texts(&[]).schema()).expect("a writer");
    writer.write(&texts(&["hello", "world"])).expect("memory");
    let whole = writer.get_ref().len();
    writer.write(&texts(&["some", "people"])).expect("memory");
    let bytes = writer.get_ref()[..whole + 100].to_vec();
    let job = "extract -m width1 --stream --input-format arrow";
    let ran = desk.types_into(job, bytes).ends_with(1).says_all(&["standard input", "cannot be read on"]);
    assert_eq!(ran.json_lines().len(), 2);
    for (bytes, told) in
        [(&b"hello\nworld\n"[..], "cannot be read as Arrow"), (b"\x1f\x8b\x08\0\0\0\0\0", "is compressed (gzip)")]
    {
        desk.types_into(job, bytes).fails().says(told);
    }
    let other = batch(vec![("body", strings(&[Some("hello")]))]);
    desk.types_into(job, stream(&other)).fails().says("has no column `text`; it has `body`");
    desk.types_into(&format!("{job} --text-column body"), stream(&other)).succeeds();
}

#[test]
fn what_does_not_go_with_a_stream_is_refused() {
    let desk = Desk::with("width1");
    for (options, told) in [
        ("-f npy", "--stream answers in JSON Lines, or with -f arrow"),
        ("-f parquet", "--stream answers in JSON Lines, or with -f arrow"),
        ("--input-format parquet", "--input-format text, jsonl or arrow, and standard input is of format parquet"),
        ("-f arrow --dtype bf16", "--dtype f16"),
        ("-f arrow --input-format jsonl --carry mean_layer_00", "rename the column"),
    ] {
        desk.types(&format!("extract -m width1 --stream {options}")).ends_with(2).says(told).prints_nothing();
    }
}
