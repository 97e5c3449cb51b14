//! `-e span`: vectors of the spans of a column.

use serde_json::{Value, json};

use crate::desk::Desk;

const TEXT: &str = "the café state went on, one house at a time";

/// Texts with spans, of which some nest and overlap, and one has none.
fn lines() -> Vec<Value> {
    vec![
        json!({"text": TEXT, "at": [[4, 8], [9, 14], [4, 14], [0, 43], [12, 17]], "id": "a"}),
        json!({"text": "one two", "at": [4, 7], "id": "b"}),
        json!({"text": "no span", "at": [], "id": "c"}),
        json!({"text": "", "at": null, "id": "d"}),
        json!({"text": "two three", "at": [[0, 3]], "id": "e"}),
    ]
}

fn jsonl(lines: &[Value]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// The mean of rows as the program rounds it: the sum in float64, divided and rounded once.
fn mean(rows: &[Vec<f32>]) -> Vec<f32> {
    let sum = |column: usize| rows.iter().map(|row| f64::from(row[column])).sum::<f64>();
    (0..rows[0].len()).map(|column| (sum(column) / rows.len() as f64) as f32).collect()
}

/// Compares the vectors of all spans with those of their tokens, found anew by their offsets.
fn compare(desk: &Desk, out: &str, pooled: impl Fn(&[Vec<f32>]) -> Vec<f32>) {
    let texts = desk.json_lines(&format!("{out}/texts.jsonl"));
    let token_starts = desk.npy(&format!("{out}/token/offsets.npy")).integers();
    let span_starts = desk.npy(&format!("{out}/span/offsets.npy")).integers();
    assert_eq!(span_starts.len(), texts.len() + 1);
    for layer in 0..=4 {
        let tokens = desk.npy(&format!("{out}/token/layer_0{layer}.npy")).rows();
        let found = desk.npy(&format!("{out}/span/layer_0{layer}.npy")).rows();
        for (index, text) in texts.iter().enumerate() {
            let spans = text["spans"].as_array().expect("spans");
            assert_eq!(span_starts[index + 1] - span_starts[index], spans.len() as i64);
            for (number, span) in spans.iter().enumerate() {
                let (start, end) = (span[0].as_u64().expect("a number"), span[1].as_u64().expect("a number"));
                let offsets = text["offsets"].as_array().expect("a list").iter().enumerate();
                let is_of_first = |token: usize| text["token_type_ids"][token] != json!(1);
                let overlapping = offsets.filter(|(token, at)| {
                    !at.is_null()
                        && is_of_first(*token)
                        && at[0].as_u64().expect("a number") < end
                        && at[1].as_u64().expect("a number") > start
                });
                let overlapping: Vec<usize> = overlapping.map(|(token, _)| token).collect();
                let told = &text["span_tokens"][number];
                assert_eq!(*told, json!([overlapping[0], overlapping[overlapping.len() - 1] + 1]), "{text}");
                let of_span: Vec<Vec<f32>> =
                    overlapping.iter().map(|token| tokens[token_starts[index] as usize + token].clone()).collect();
                let row = span_starts[index] as usize + number;
                assert!(found[row] == pooled(&of_span), "layer {layer}, text {index}, span {number}");
            }
        }
    }
}

#[test]
fn spans_are_pooled_over_the_tokens_that_overlap_them() {
    let desk = Desk::new();
    desk.put("texts.jsonl", jsonl(&lines()));
    for (options, pooled) in [
        ("", mean as fn(&[Vec<f32>]) -> Vec<f32>),
        ("--word-pooling first", |rows| rows[0].clone()),
        ("--word-pooling last", |rows| rows[rows.len() - 1].clone()),
        ("--word-pooling first_last", |rows| mean(&[rows[0].clone(), rows[rows.len() - 1].clone()])),
        ("--special-tokens drop", mean),
    ] {
        let job = format!("extract -i texts.jsonl --span-column at -e span,token {options} -o out --overwrite");
        desk.types(&job).succeeds();
        compare(&desk, "out", pooled);
        desk.types("verify out").succeeds();
    }
    let counts = desk.json("out/manifest.json")["counts"].clone();
    assert_eq!(counts["spans"], json!(7));
}

#[test]
fn long_texts_have_spans_in_windows() {
    let desk = Desk::new();
    let words = ["one", "two", "three", "state", "use", "house"];
    let text = (0..60).map(|i| words[i * i % 6]).collect::<Vec<_>>().join(" ");
    let line = json!({"text": text, "at": [[0, text.len()], [10, 200], [100, 103], [text.len() - 20, text.len()]]});
    desk.put("long.jsonl", jsonl(&[line]));
    let job = "extract -i long.jsonl --span-column at --max-length 12";
    for options in ["--batch-tokens 5", "--batch-tokens 13", "", "--stride 3"] {
        let out = format!("{job} -e span,token --overflow window {options} -o out --overwrite");
        desk.types(&out).succeeds();
        compare(&desk, "out", mean);
    }
    let refused = desk.types(&format!("{job} -e span -o cut")).fails();
    refused
        .says("1 of 1 texts have a span that is cut off at 12 tokens")
        .says("row 0 (span 1)")
        .says("--overflow window");
    assert!(!desk.has("cut"));
}

#[test]
fn the_same_in_all_forms_of_output_and_input() {
    let desk = Desk::new();
    desk.put("texts.jsonl", jsonl(&lines()));
    desk.put(
        "texts.csv",
        format!("text,at,id\n\"{TEXT}\",4:8 9:14 4:14 0:43 12:17,a\none two,4:7,b\nno span,,c\n,,d\ntwo three,0:3,e\n"),
    );
    let job = "--span-column at -e span,mean";
    desk.types(&format!("extract -i texts.jsonl {job} -o out")).succeeds();
    desk.types(&format!("extract -i texts.csv {job} -o csv")).succeeds();
    desk.types(&format!("extract -i texts.jsonl {job} -o tensors -f safetensors")).succeeds();
    let printed = desk.types(&format!("extract -i texts.jsonl {job}")).succeeds().stdout();
    let streamed = desk.types(&format!("extract -i texts.jsonl {job} --stream")).succeeds().stdout();
    assert!(printed == streamed);
    let starts = desk.npy("out/span/offsets.npy").integers();
    for layer in 0..=4 {
        let name = format!("span/layer_0{layer}.npy");
        let expected = desk.npy(&format!("out/{name}"));
        assert!(desk.npy(&format!("csv/{name}")) == expected);
        assert!(desk.safetensors("tensors/span.safetensors")[&format!("layer_0{layer}")] == expected);
        let rows = expected.rows();
        for (line, bounds) in printed.lines().zip(starts.windows(2)) {
            let line: Value = serde_json::from_str(line).expect("JSON");
            let vectors = line["layers"][layer]["span"].as_array().expect("vectors");
            assert_eq!(vectors.len() as i64, bounds[1] - bounds[0]);
            assert_eq!(line["spans"].as_array().map(Vec::len), Some(vectors.len()));
            for (vector, row) in vectors.iter().zip(&rows[bounds[0] as usize..]) {
                let numbers: Vec<f32> =
                    vector.as_array().expect("a list").iter().map(|n| n.as_f64().expect("a number") as f32).collect();
                assert!(numbers == *row);
            }
        }
    }
}

#[test]
fn spans_of_given_words_count_words() {
    let desk = Desk::new();
    let lines = [
        json!({"text": ["New York", "house", "of", "one"], "at": [[0, 1], [1, 4]], "label": ["place", "rest"]}),
        json!({"text": ["one"], "at": [0, 1], "label": "x"}),
    ];
    desk.put("words.jsonl", jsonl(&lines));
    desk.types("extract -i words.jsonl --pretokenized --span-column at -e span,word,token -o out").succeeds();
    let texts = desk.json_lines("out/texts.jsonl");
    assert_eq!(texts[0]["label"], json!(["place", "rest"]));
    let word_ids = texts[0]["word_ids"].as_array().expect("words");
    let first: Vec<usize> = (0..word_ids.len()).filter(|&token| word_ids[token] == json!(0)).collect();
    assert_eq!(texts[0]["span_tokens"][0], json!([first[0], first[first.len() - 1] + 1]));
    assert_eq!(texts[0]["span_tokens"][1][1], json!(word_ids.len() - 1));
    for layer in 0..=4 {
        let rows = |kind: &str| desk.npy(&format!("out/{kind}/layer_0{layer}.npy")).rows();
        assert!(rows("span")[0] == rows("word")[0] && rows("span")[2] == rows("word")[4]);
    }
}

#[test]
fn prompts_and_pairs_move_no_span() {
    let desk = Desk::new();
    let lines = [json!({"text": TEXT, "second": "the second state", "at": [[9, 14], [4, 8]]})];
    desk.put("texts.jsonl", jsonl(&lines));
    for options in ["--prompt 'query: one two '", "--pair-column second", "--pair-column second --prompt x"] {
        desk.types(&format!("extract -i texts.jsonl --span-column at -e span,token {options} -o out --overwrite"))
            .succeeds();
        compare(&desk, "out", mean);
        let text = &desk.json_lines("out/texts.jsonl")[0];
        let tokens = &text["span_tokens"][0];
        assert_eq!(text["tokens"][tokens[0].as_u64().expect("a number") as usize], json!("state"), "{options}");
    }
}

#[test]
fn what_is_wrong_with_a_span_is_said_before_anything_is_written() {
    let desk = Desk::new();
    let bad = [
        (
            json!({"text": "one", "at": [0, 4]}),
            "line 1 has the span [0, 4] in `at`, and the text ends at 3 (characters)",
        ),
        (json!({"text": "one", "at": [1, 1]}), "line 1 has the span [1, 1] in `at`, which is empty"),
        (json!({"text": "one", "at": "0:1"}), "line 1 has a string as `at`; expected [start, end]"),
        (json!({"text": "one"}), "has no column `at`"),
        (json!({"text": "one  two", "at": [[0, 3], [3, 5]]}), "1 of 1 texts have a span without a token"),
        (json!({"text": "one two", "at": [[0, 3], [4, 7]], "label": ["a"]}), "expected one for each of 2 spans"),
    ];
    for (line, says) in bad {
        desk.put("bad.jsonl", jsonl(&[line]));
        desk.types("extract -i bad.jsonl --span-column at -e span -o out").fails().says(says);
        assert!(!desk.has("out"));
        let answered = desk.types("extract -i bad.jsonl --span-column at -e span --stream").ends_with(1);
        assert!(
            answered.json()["error"].as_str().is_some_and(|error| error.contains("span") || error.contains("`at`"))
        );
    }
    desk.types("extract -e span one").fails_as_wrong_usage().says("--span-column");
    desk.types("extract -i bad.jsonl --span-column at").fails_as_wrong_usage().says("--emit span");
    desk.put("a.txt", "one\n");
    desk.types("extract -i a.txt --span-column at -e span").fails_as_wrong_usage().says("--span-column");
}

#[test]
fn shards_and_restarts_make_the_same_bytes() {
    let desk = Desk::new();
    let lines: Vec<Value> = (0..90)
        .map(|i| {
            let text = ["one", "two three", "state use house"][i % 3].repeat(1 + i % 7);
            let half = text.len() / 2 - 1;
            json!({"text": text, "at": (0..i % 4).map(|k| json!([k, half + k + 1])).collect::<Vec<_>>(), "label": i % 2})
        })
        .collect();
    desk.put("texts.jsonl", jsonl(&lines));
    let job = "extract -i texts.jsonl --span-column at -e span,mean -l 1,-1";
    desk.types(&format!("{job} -o whole")).succeeds();
    let whole = desk.job("whole");
    for shard in 1..=3 {
        desk.types(&format!("{job} --shard {shard}/3 -o part{shard} --threads 1")).succeeds();
    }
    desk.types("merge merged part3 part1 part2").succeeds();
    assert!(desk.job("merged") == whole);
    desk.types("verify whole --recompute 20 -i texts.jsonl").succeeds();
}

/// Sentences with a colour and a number each, which are their spans.
fn typed(count: usize) -> String {
    let (colours, numbers) = (["red", "blue", "green", "black"], ["one", "two", "three", "four"]);
    let line = |i: usize| {
        let (colour, number) = (colours[i % 4], numbers[i / 4 % 4]);
        let text = format!("the {colour} house has {number} rooms");
        let at = |word: &str| text.find(word).map(|start| [start, start + word.len()]).expect("the word");
        let spans = if i.is_multiple_of(2) { [at(colour), at(number)] } else { [at(number), at(colour)] };
        let labels = if i.is_multiple_of(2) { ["colour", "number"] } else { ["number", "colour"] };
        format!("{}\n", json!({"text": text, "at": spans, "label": labels, "id": format!("t{i}")}))
    };
    (0..count).map(line).collect()
}

#[test]
fn labels_of_spans_are_learned_and_predicted() {
    let desk = Desk::new();
    desk.put("train.jsonl", typed(32));
    desk.types("extract -i train.jsonl --span-column at -e span,word -o train").succeeds();
    let job = "probe train --strength 0.1,1 --no-mix -o report";
    let ran = desk.types(job).succeeds().prints("classification of spans on span vectors");
    drop(ran);
    let report = desk.json("report/report.json");
    assert_eq!(report["emit"], json!("span"));
    let line = &desk.json_lines("report/predictions.jsonl")[0];
    assert_eq!(line["spans"], json!(["red", "one"]));
    assert_eq!(line["labels"], json!(["colour", "number"]));
    assert_eq!(line["span_ids"], json!([0, 1]));
    desk.put("new.jsonl", typed(5));
    let predicted = desk.types("predict report -i new.jsonl --span-column at --json").succeeds().json_lines();
    assert_eq!(predicted.len(), 5);
    let first = &predicted[1]["spans"];
    assert_eq!((&first[0]["text"], &first[0]["label"]), (&json!("one"), &json!("number")));
    assert_eq!((&first[1]["start"], &first[1]["end"]), (&json!(4), &json!(8)));
    desk.types("predict report -i new.jsonl").fails_as_wrong_usage().says("--span-column");
    desk.types("probe train -e word").fails_as_wrong_usage().says_all(&["--emit word", "one for each span"]);
    desk.types("probe train --crf").fails_as_wrong_usage().says("classification of spans");
    // Sets that are asked for twice, or are also the best ones, are there once.
    desk.types("probe train -l 3,4,3+4,4+3 --best-set 2 --no-control -o twice").succeeds();
    desk.types("predict twice --layer 3+4 -i new.jsonl --span-column at").succeeds();
    // A single label is that of a single span.
    let lines =
        (0..12).map(|i| json!({"text": "red one", "at": if i % 2 == 0 { [0, 3] } else { [4, 7] }, "label": i % 2}));
    desk.put("one.jsonl", lines.map(|line| format!("{line}\n")).collect::<String>());
    desk.types("extract -i one.jsonl --span-column at -e span,mean -o one").succeeds();
    desk.types("probe one -e span --folds 3 --no-mix --json").succeeds().prints("\"emit\": \"span\"");
    desk.types("probe one --folds 3 --no-mix --json").succeeds().prints("\"emit\": \"mean\"");
}

#[test]
fn a_group_is_the_column_that_was_carried_whatever_its_name_is_in_the_output() {
    let desk = Desk::new();
    let line = |i: usize| json!({"text": format!("{} {i}", ["red", "two"][i % 2]), "label": i % 2, "sid": format!("s{i}"), "id": format!("p{}", i / 4)});
    desk.put("notes.jsonl", (0..40).map(|i| format!("{}\n", line(i))).collect::<String>());
    desk.types("extract -i notes.jsonl --id-column sid --carry id -o notes").succeeds().says("`input_id`");
    desk.types("probe notes --group id --no-mix").succeeds().prints("in 10 groups by id");
}
