//! Every format of the input, compressed or not, with its columns.

use std::io::Write;

use serde_json::{Value, json};

use crate::desk::Desk;
use crate::models::golden;

/// Entries of the lines of `texts.jsonl`.
fn column(desk: &Desk, out: &str, name: &str) -> Vec<Value> {
    desk.json_lines(&format!("{out}/texts.jsonl")).into_iter().map(|mut line| line[name].take()).collect()
}

pub(crate) fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(content).expect("memory");
    encoder.finish().expect("memory")
}

/// With a checksum, as the zstd command has it: without one, damage need not show.
fn zstd(content: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 3).expect("memory");
    encoder.include_checksum(true).expect("memory");
    encoder.write_all(content).expect("memory");
    encoder.finish().expect("memory")
}

fn xz(content: &[u8]) -> Vec<u8> {
    let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 3);
    encoder.write_all(content).expect("memory");
    encoder.finish().expect("memory")
}

const CSV: &str =
    "id,text,label,stars\r\na,hello world,good,1\r\nb,\"one, \"\"two\"\"\r\nthree\",bad,05\r\n\r\nc,,good,\r\n";
const TSV: &str =
    "id\ttext\tlabel\tstars\na\thello world\tgood\t1\nb\t\"one, \"\"two\"\"\r\nthree\"\tbad\t05\nc\t\tgood\t\n";
const JSONL: &str = r#"{"text": "hello world", "id": "a", "label": "good", "stars": "1"}
{"id": "b", "stars": "05", "text": "one, \"two\"\r\nthree", "label": "bad", "more": [1]}

{"id": "c", "stars": "", "text": "", "label": "good"}
"#;

#[test]
fn tables_and_json_lines_say_the_same() {
    let desk = Desk::with("width1");
    desk.put("a.csv", CSV);
    desk.put("a.tsv", TSV);
    desk.put("a.jsonl", JSONL);
    desk.put("a.ndjson", JSONL);
    desk.put("lines.json", JSONL);
    let objects: Vec<Value> =
        JSONL.lines().filter(|line| !line.is_empty()).map(|line| serde_json::from_str(line).expect("JSON")).collect();
    desk.put("array.json", json!(objects).to_string());
    desk.put("pretty.json", serde_json::to_string_pretty(&objects).expect("JSON"));
    desk.put("spread.json", objects.iter().map(|object| format!("{object:#}")).collect::<String>());
    let json = ["lines.json", "array.json", "pretty.json", "spread.json"];
    for name in ["a.csv", "a.tsv", "a.jsonl", "a.ndjson"].into_iter().chain(json) {
        let out = format!("out-{name}");
        desk.types(&format!("extract -m width1 -i {name} --carry stars,text -e token -o {out}")).succeeds();
        assert_eq!(column(&desk, &out, "id"), ["a", "b", "c"], "{name}");
        assert_eq!(column(&desk, &out, "label"), ["good", "bad", "good"]);
        assert_eq!(column(&desk, &out, "stars"), ["1", "05", ""]);
        assert_eq!(column(&desk, &out, "text"), ["hello world", "one, \"two\"\r\nthree", ""]);
        assert_eq!(desk.read(&format!("{out}/texts.jsonl")), desk.read("out-a.csv/texts.jsonl"), "{name}");
        assert_eq!(desk.read(&format!("{out}/token/layer_00.npy")), desk.read("out-a.csv/token/layer_00.npy"));
    }
    let format = |out: &str| desk.json(&format!("{out}/manifest.json"))["plan"]["input_format"].clone();
    assert_eq!((format("out-a.tsv"), format("out-array.json")), (json!(["tsv"]), json!(["json"])));
}

#[test]
fn an_array_of_strings_is_texts() {
    let desk = Desk::with("width1");
    desk.put("a.json", "[\"hello world\",\n \"one\\nmore\"]\n");
    desk.types("extract -m width1 -i a.json -e token -o out").succeeds().says("2 texts");
    assert_eq!(column(&desk, "out", "id"), [Value::Null, Value::Null]);
    desk.types_into("extract -m width1 --input-format json -e token -o piped", desk.read("a.json")).succeeds();
    assert_eq!(desk.job("piped"), desk.job("out"));
    desk.types("extract -m width1 -i a.json --pretokenized -e word -o words").succeeds();
    assert_eq!(column(&desk, "words", "words")[0], json!(["hello", "world"]));
}

#[test]
fn a_delimiter_may_be_any_character() {
    let desk = Desk::with("width1");
    desk.put("a.csv", "id,text,label,stars\na,hello world,good,\"1,5\"\nb,\"one; two\",bad,2\n");
    desk.types("extract -m width1 -i a.csv --carry stars -e token -o plain").succeeds();
    for (name, option, content) in [
        ("semicolons.csv", "--delimiter ;", "id;text;label;stars\na;hello world;good;1,5\nb;\"one; two\";bad;2\n"),
        ("bars.tsv", "--delimiter |", "id|text|label|stars\r\na|hello world|good|1,5\r\nb|one; two|bad|2\r\n"),
        ("tabs.csv", "--delimiter tab", "id\ttext\tlabel\tstars\na\thello world\tgood\t1,5\nb\tone; two\tbad\t2\n"),
        ("tabs.csv", "--delimiter \\t", "id\ttext\tlabel\tstars\na\thello world\tgood\t1,5\nb\tone; two\tbad\t2\n"),
        ("excel.csv", "", "sep=;\r\nid;text;label;stars\r\na;hello world;good;1,5\r\nb;\"one; two\";bad;2\r\n"),
    ] {
        desk.put(name, content);
        desk.types(&format!("extract -m width1 -i {name} {option} --carry stars -e token -o out --overwrite"))
            .succeeds();
        for file in ["texts.jsonl", "token/layer_01.npy"] {
            assert_eq!(desk.read(&format!("out/{file}")), desk.read(&format!("plain/{file}")), "{name} {option}");
        }
        desk.types(&format!("verify out --recompute 2 -i {name} -m width1")).succeeds();
    }
    let plan = |out: &str| desk.json(&format!("{out}/manifest.json"))["plan"]["delimiter"].clone();
    assert_eq!(plan("out"), Value::Null);
    desk.types("extract -m width1 -i semicolons.csv --delimiter ; -o separated").succeeds();
    assert_eq!(plan("separated"), ";");
    // Both ways round it is another job.
    for job in ["-i semicolons.csv --delimiter | --text-column id;text;label;stars", "-i a.csv"] {
        desk.types(&format!("extract -m width1 {job} -o separated")).fails().says_all(&["another job", "--delimiter"]);
    }
    desk.types("extract -m width1 -i a.csv -o plainly").succeeds();
    desk.types("extract -m width1 -i a.csv --delimiter , -o plainly").fails().says_all(&["another job", "--delimiter"]);
}

#[test]
fn encodings_with_a_mark_are_read_in_every_format() {
    let desk = Desk::with("width1");
    for (name, content) in [
        ("a.csv", CSV),
        ("a.tsv", TSV),
        ("a.jsonl", JSONL),
        ("a.json", JSONL),
        ("a.conll", "hello O\nworld B\n\none O\n"),
        ("a.fasta", ">é one\nhel\nlo\n>b\n\n>c\nriver\n"),
    ] {
        desk.put(name, content);
        desk.types(&format!("extract -m width1 -i {name} -e token -o plain --overwrite")).succeeds();
        let marked = format!("\u{feff}{content}");
        let utf16: Vec<u8> = marked.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let utf32: Vec<u8> = marked.chars().flat_map(|c| u32::from(c).to_be_bytes()).collect();
        for (encoding, content) in
            [("utf16", &utf16), ("utf32", &utf32), ("gzip", &gzip(&utf16)), ("zstd", &zstd(&utf16))]
        {
            desk.put(name, content);
            desk.types(&format!("extract -m width1 -i {name} -e token -o {encoding} --overwrite")).succeeds();
            assert_eq!(desk.job(encoding), desk.job("plain"), "{name} in {encoding}");
        }
    }
}

#[test]
fn standard_output_has_the_columns_too() {
    let desk = Desk::with("width1");
    desk.put("a.jsonl", "{\"t\": \"hello\", \"id\": 7, \"label\": true, \"x\": {\"deep\": [1.50, null]}}\n{\"t\": \"\", \"x\": 12345678901234567890123}\n");
    let ran = desk.types("extract -m width1 -i a.jsonl --text-column t --carry x -l 0").succeeds();
    let (first, second) = (&ran.json_lines()[0], &ran.json_lines()[1]);
    assert_eq!((&first["id"], &first["label"]), (&json!("7"), &json!(true)));
    assert!(ran.stdout().contains(r#""x":{"deep": [1.50, null]}"#), "values as they are spelled: {}", ran.stdout());
    assert!(ran.stdout().contains(r#""x":12345678901234567890123,"#));
    assert_eq!((&second["id"], second.get("label")), (&Value::Null, None));
    desk.types("extract -m width1 -i a.jsonl --text-column t --carry x -o out").succeeds();
    let texts = String::from_utf8(desk.read("out/texts.jsonl")).expect("UTF-8");
    assert!(texts.contains(r#""id":"7","label":true,"x":{"deep": [1.50, null]},"n_tokens""#), "{texts}");
}

#[test]
fn columns_wait_in_a_file_when_there_are_many() {
    let desk = Desk::with("width1");
    let lines: String =
        (0..3000).map(|i| format!("{{\"text\": \"a\", \"id\": {i}, \"x\": \"{}\"}}\n", "y".repeat(i % 900))).collect();
    desk.put("a.jsonl", lines);
    let ran = desk.types("extract -m width1 -i a.jsonl --carry x -l 0").succeeds();
    for (i, line) in ran.json_lines().iter().enumerate() {
        assert_eq!((line["id"].as_str(), line["x"].as_str().map(str::len)), (Some(&*i.to_string()), Some(i % 900)));
    }
}

#[test]
fn tables_without_a_header_have_numbers() {
    let desk = Desk::with("width1");
    desk.put("a.csv", "7,hello world,x\n8,one more,y\n");
    let job = "extract -m width1 -i a.csv --no-header --text-column 2 --id-column 1 --label-column 3 --carry 3 -o out";
    desk.types(job).succeeds();
    assert_eq!(column(&desk, "out", "id"), ["7", "8"]);
    assert_eq!(column(&desk, "out", "label"), ["x", "y"]);
    assert_eq!(column(&desk, "out", "3"), ["x", "y"]);
}

#[test]
fn a_column_may_be_left_out() {
    let desk = Desk::with("width1");
    desk.put("a.csv", "text,id,label\nhello,1,x\nworld,1,\n");
    desk.runs(&["extract", "-m", "width1", "-i", "a.csv", "--id-column", "", "--label-column=", "-o", "out"], "")
        .succeeds();
    assert_eq!(column(&desk, "out", "id"), [Value::Null, Value::Null]);
    assert_eq!(column(&desk, "out", "label"), [Value::Null, Value::Null]);
}

#[test]
fn conll_has_words_and_a_tag_for_each() {
    let desk = Desk::with("width1");
    let file = "-DOCSTART- -X- O O\n\nriver NN B-NP O\nstone NN I-NP B-X\n \t\none CD B-NP O\n";
    desk.put("a.conll", file);
    desk.types("extract -m width1 -i a.conll -e word -o out").succeeds().says("2 texts");
    assert_eq!(column(&desk, "out", "label"), [json!(["O", "B-X"]), json!(["O"])]);
    assert_eq!(column(&desk, "out", "words"), [json!(["river", "stone"]), json!(["one"])]);
    assert_eq!(desk.npy("out/word/offsets.npy").integers(), [0, 2, 3]);
    assert_eq!(desk.json("out/manifest.json")["plan"]["pretokenized"], true);
    desk.types("extract -m width1 -i a.conll -e word --pretokenized -o out").succeeds().says("already holds this job");
    desk.types("extract -m width1 -i a.conll --text-column 2 --label-column 3 -e word -o other").succeeds();
    assert_eq!(column(&desk, "other", "words")[0], json!(["NN", "NN"]));
    assert_eq!(column(&desk, "other", "label")[0], json!(["B-NP", "I-NP"]));
    desk.types_into("extract -m width1 --input-format conll -e word -o piped", file).succeeds();
    assert_eq!(desk.read("piped/texts.jsonl"), desk.read("out/texts.jsonl"));
}

#[test]
fn conllu_has_parts_of_speech_and_sentence_ids() {
    let desk = Desk::with("width1");
    let word = |id: &str, form: &str, upos: &str| format!("{id}\t{form}\t_\t{upos}\tX\t_\t0\troot\t_\t_\n");
    let file = format!(
        "# sent_id = s-1\n# text = ones more\n{}{}{}{}\n# sent_id = s-2\n{}",
        word("1-2", "ones", "_"),
        word("1", "one", "NUM"),
        word("2", "s", "PART"),
        word("2.1", "more", "ADV"),
        word("1", "New York", "PROPN"),
    );
    desk.put("a.conllu", file);
    desk.types("extract -m width1 -i a.conllu -e word -o out").succeeds();
    assert_eq!(column(&desk, "out", "id"), ["s-1", "s-2"]);
    assert_eq!(column(&desk, "out", "words"), [json!(["one", "s"]), json!(["New York"])]);
    assert_eq!(column(&desk, "out", "label"), [json!(["NUM", "PART"]), json!(["PROPN"])]);
    desk.types("extract -m width1 -i a.conllu --label-column xpos -e word -o xpos").succeeds();
    assert_eq!(column(&desk, "xpos", "label")[1], json!(["X"]));
}

#[test]
fn fasta_has_a_sequence_below_each_header() {
    let desk = Desk::with("width1");
    let fasta = "; proteins\n>p1 the first  one\nhello \n\nworld*\n>p2\n>p3\tlast\nRiver\n";
    desk.put("a.fasta", fasta);
    desk.types("extract -m width1 -i a.fasta --carry description -e token,mean -o out").succeeds().says("3 texts");
    assert_eq!(column(&desk, "out", "id"), ["p1", "p2", "p3"]);
    assert_eq!(column(&desk, "out", "description"), ["the first  one", "", "last"]);
    assert_eq!(column(&desk, "out", "label"), [Value::Null, Value::Null, Value::Null]);
    // Lines are joined, and the tokenizer gets the letters as they are.
    desk.types_into("extract -m width1 -e token,mean -o lines", "helloworld*\n\nRiver\n").succeeds();
    assert_eq!(column(&desk, "out", "tokens"), column(&desk, "lines", "tokens"));
    for array in ["token/layer_01.npy", "mean/layer_00.npy"] {
        assert_eq!(desk.read(&format!("out/{array}")), desk.read(&format!("lines/{array}")), "{array}");
    }
    desk.types("verify out --recompute 3 -i a.fasta").succeeds().says("3 of 3 texts recomputed");
    let manifest = desk.json("out/manifest.json");
    assert_eq!((&manifest["plan"]["input_format"], &manifest["counts"]["texts"]), (&json!(["fasta"]), &json!(3)));

    let texts = desk.read("out/texts.jsonl");
    let job = "extract -m width1 --carry description -e token,mean -o same --overwrite";
    let bytes = fasta.as_bytes();
    for (name, content) in [
        ("a.fa", fasta.replace('\n', "\r\n").into_bytes()),
        ("a.faa", [b"\xef\xbb\xbf", bytes].concat()),
        ("a.fas.gz", gzip(bytes)),
        ("a.fna.xz", xz(bytes)),
        ("A.FASTA.zst", zstd(bytes)),
    ] {
        desk.put(name, content);
        desk.types(&format!("{job} -i {name}")).succeeds();
        assert_eq!(desk.read("same/texts.jsonl"), texts, "{name}");
    }
    desk.types_into(&format!("{job} --input-format fasta"), fasta).succeeds();
    assert_eq!(desk.read("same/texts.jsonl"), texts);
    desk.types("extract -m width1 -i a.fasta --dry-run").succeeds().prints("texts     3\n");
    desk.types("extract -m width1 -i a.fasta --id-column '' --label-column description -o labelled").succeeds();
    assert_eq!(column(&desk, "labelled", "id"), [Value::Null, Value::Null, Value::Null]);
    assert_eq!(column(&desk, "labelled", "label"), [json!("the first  one"), Value::Null, json!("last")]);
    for part in 1..=2 {
        desk.types(&format!("{job} -i a.fasta --shard {part}/2").replace("-o same", &format!("-o part-{part}")))
            .succeeds();
    }
    desk.types("merge merged part-1 part-2").succeeds();
    assert!(desk.job("merged") == desk.job("out"));
}

#[test]
fn json_lines_may_list_words_and_their_labels() {
    let desk = Desk::with("width1");
    desk.put("a.jsonl", "{\"text\": [\"river\", \"two words\"], \"label\": [0, 1]}\n{\"text\": \"one  more\", \"label\": [\"A\", \"B\"]}\n");
    desk.types("extract -m width1 -i a.jsonl --pretokenized -e word,token -o out").succeeds();
    assert_eq!(column(&desk, "out", "words"), [json!(["river", "two words"]), json!(["one", "more"])]);
    assert_eq!(column(&desk, "out", "label"), [json!([0, 1]), json!(["A", "B"])]);
    assert_eq!(desk.npy("out/word/offsets.npy").integers(), [0, 2, 4]);
}

#[test]
fn pairs_are_encoded_as_transformers_does() {
    let goldens: Value =
        serde_json::from_slice(&std::fs::read(golden("width64").join("golden.json")).expect("goldens")).expect("JSON");
    let pairs: Vec<&Value> =
        goldens["texts"].as_array().expect("texts").iter().filter(|text| text["pair"].is_string()).collect();
    assert!(pairs.len() > 1);
    let desk = Desk::with("width64");
    let lines = pairs.iter().map(|text| format!("{}\n", json!({"text": text["text"], "b": text["pair"]})));
    desk.put("pairs.jsonl", lines.collect::<String>());
    desk.types("extract -m width64 -i pairs.jsonl --pair-column b -e token,word -o out").succeeds();
    for (line, golden) in desk.json_lines("out/texts.jsonl").iter().zip(&pairs) {
        for (ours, theirs) in [
            ("tokens", "tokens"),
            ("token_ids", "input_ids"),
            ("token_type_ids", "token_type_ids"),
            ("offsets", "offsets"),
            ("n_tokens_before_truncation", "n_tokens_before_truncation"),
        ] {
            assert_eq!(line[ours], golden[theirs], "{ours}");
        }
    }
    let truth = std::fs::read(golden("width64").join("golden.safetensors")).expect("goldens");
    let truth = safetensors::SafeTensors::deserialize(&truth).expect("safetensors");
    let first = goldens["texts"].as_array().expect("texts").iter().position(|text| text["pair"].is_string());
    for layer in 0..=4 {
        let name = format!("{}.hidden_states.{layer}", first.expect("a pair"));
        let truth = truth.tensor(&name).expect("a golden tensor").data().as_chunks::<8>().0;
        let truth = truth.iter().map(|&bytes| f64::from_le_bytes(bytes) as f32);
        let found = desk.npy(&format!("out/token/layer_0{layer}.npy")).numbers();
        let error = found.iter().zip(truth).map(|(found, truth)| (found - truth).abs()).fold(0.0, f32::max);
        assert!(error < 1e-5, "layer {layer}: {error:e}");
    }
    // Words count on in the second text.
    let words = column(&desk, "out", "word_ids").remove(0);
    assert_eq!(words, json!([null, 0, 1, null, 2, 3, 4, 5, null]));
    desk.types("extract -m width64 -i pairs.jsonl -e token -o first").succeeds();
    assert!(column(&desk, "first", "token_type_ids")[0].is_null(), "for pairs alone");
    let row = |out: &str| desk.npy(&format!("{out}/token/layer_04.npy")).rows()[0].clone();
    assert_ne!(row("out"), row("first"), "the second text is looked at");
}

#[test]
fn words_of_a_pair_are_those_of_both_texts() {
    let desk = Desk::new();
    desk.put("a.csv", "text,more\nthe river,one two three\n");
    desk.types("extract -i a.csv --pair-column more --pretokenized -e word,token -l 0 -o out").succeeds();
    assert_eq!(column(&desk, "out", "words")[0], json!(["the", "river", "one", "two", "three"]));
    assert_eq!(desk.npy("out/word/layer_00.npy").shape[0], 5);
}

#[test]
fn compressed_files_are_read_as_what_is_in_them() {
    let desk = Desk::with("width1");
    desk.put("a.csv", CSV);
    desk.types("extract -m width1 -i a.csv -e token -o plain").succeeds();
    for (name, content) in
        [("a.csv.gz", gzip(CSV.as_bytes())), ("a.csv.zst", zstd(CSV.as_bytes())), ("a.csv.xz", xz(CSV.as_bytes()))]
    {
        desk.put(name, &content);
        desk.types(&format!("extract -m width1 -i {name} -e token -o {name}-out")).succeeds();
        assert_eq!(desk.job(&format!("{name}-out")), desk.job("plain"), "{name}");
        desk.types_into(&format!("extract -m width1 -i - --input-format csv -e token -o {name}-in"), &content)
            .succeeds();
        assert_eq!(desk.job(&format!("{name}-in")), desk.job("plain"), "{name} on standard input");
        // Whatever it is called.
        desk.put("b.csv", &content);
        desk.types(&format!("extract -m width1 -i b.csv -e token -o {name}-b")).succeeds();
        assert_eq!(desk.job(&format!("{name}-b")), desk.job("plain"), "{name} under another name");
    }
    desk.put("two.txt.gz", [gzip(b"hello\n"), gzip(b"world\n")].concat());
    desk.types("extract -m width1 -i two.txt.gz -o two").succeeds().says("2 texts");
}

#[test]
fn damaged_compression_ends_the_job() {
    let desk = Desk::with("width1");
    let text = (0..20_000).map(|i| format!("line {}\n", i * i)).collect::<String>();
    for (name, content) in
        [("a.gz", gzip(text.as_bytes())), ("a.zst", zstd(text.as_bytes())), ("a.xz", xz(text.as_bytes()))]
    {
        desk.put(name, &content[..content.len() - 20]);
        desk.types(&format!("extract -m width1 -i {name} -o out")).fails().says_all(&[name, "cut short", "again"]);
        let mut damaged = content.clone();
        let middle = damaged.len() / 2;
        damaged[middle..middle + 8].iter_mut().for_each(|byte| *byte ^= 0xff);
        desk.put(name, &damaged);
        desk.types(&format!("extract -m width1 -i {name} -o out")).fails().says_all(&[name, "damaged"]);
        desk.put(name, "not compressed\n");
        desk.types(&format!("extract -m width1 -i {name} -o out")).fails().says_all(&[name, "does not begin as"]);
    }
    desk.put("a.zip", b"PK\x03\x04and so on");
    desk.types("extract -m width1 -i a.zip -o out").fails().says_all(&["a.zip", "zip archive", "unpack"]);
    assert!(!desk.has("out"));
}

/// A gigabyte of spaces in a file of a kilobyte or a megabyte, read within a gigabyte of address space.
#[cfg(target_os = "linux")]
#[test]
fn a_bomb_is_read_in_pieces() {
    let desk = Desk::with("width1");
    let bomb = zstd::encode_all(std::io::Read::take(std::io::repeat(b' '), 1 << 30), 1).expect("memory");
    desk.put("bomb.zst", bomb);
    let limited = "ulimit -v 1000000; exec \"$0\" \"$@\"";
    let mut command = std::process::Command::new("sh");
    command.args(["-c", limited]).arg(desk.command().get_program()).current_dir(desk.path("."));
    command.args(["extract", "-m", "width1", "--threads", "2", "-i", "bomb.zst", "-o", "out"]);
    let output = command.output().expect("a process");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("bomb.zst: line 1 is longer than 4 MiB"), "{stderr}");
}

#[test]
fn several_files_are_one_input() {
    let desk = Desk::with("width1");
    desk.put("a.txt", "hello\n");
    desk.put("b.jsonl", "{\"text\": \"world\", \"label\": \"x\"}\n");
    desk.put("empty.csv.gz", gzip(b""));
    desk.put("c.csv.gz", gzip(b"text\none\ntwo\n"));
    desk.types_into("extract -m width1 -i a.txt -i b.jsonl -i empty.csv.gz -i c.csv.gz -i - -o out", "three")
        .succeeds()
        .says("5 texts");
    assert_eq!(desk.json("out/manifest.json")["plan"]["input_format"], json!(["text", "jsonl", "csv"]));
    desk.types_into("extract -m width1 -i - -o joined", "hello\nworld\none\ntwo\nthree\n").succeeds();
    assert_eq!(desk.read("out/mean/layer_00.npy"), desk.read("joined/mean/layer_00.npy"));
    desk.types("extract -m width1 -i a.txt -i a.txt -o twice").succeeds().says("2 texts");
}

#[test]
fn other_columns_are_another_job() {
    let desk = Desk::with("width1");
    desk.put("a.csv", "text,id,label,more\nhello,1,x,hello\n");
    desk.types("extract -m width1 -i a.csv -o out").succeeds();
    for (option, differs) in [
        ("--text-column more", "--text-column"),
        ("--pair-column more", "--pair-column"),
        ("--id-column more", "--id-column"),
        ("--label-column more", "--label-column"),
        ("--carry more", "--carry"),
        ("--pretokenized", "--pretokenized"),
        ("--no-header --text-column 1", "--no-header"),
        ("--delimiter ,", "--delimiter"),
        ("--input-format text", "--input-format"),
    ] {
        desk.types(&format!("extract -m width1 -i a.csv {option} -o out")).fails().says_all(&["another job", differs]);
    }
    for (content, same) in [
        ("text,id,label,more\nhello,1,x,other\n", true),
        ("text,id,label,more\nhello,1,y,hello\n", false),
        ("text,id,label,more\nhello,2,x,hello\n", false),
    ] {
        desk.put("a.csv", content);
        let ran = desk.types("extract -m width1 -i a.csv -o out");
        let _ = if same {
            ran.succeeds().says("already holds")
        } else {
            ran.fails().says_all(&["another job", "the input"])
        };
    }
}
