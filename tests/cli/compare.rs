//! `compare`: texts, or a word in them, by their cosines at every layer.

use serde_json::{Value, json};

use crate::desk::Desk;

const LEFT: &str = "'She left the house at nine.' 'They left for the station early.' 'Turn LEFT at the next corner.'";

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().expect("a list").iter().map(|number| number.as_f64().expect("a number")).collect()
}

#[test]
fn the_senses_of_a_word_part_layer_by_layer() {
    let desk = Desk::new();
    let ran = desk.types(&format!("compare --word left {LEFT}")).succeeds();
    ran.says_all(&["note", "bundled", "-m google-bert/bert-base-uncased"]).prints_all(&[
        "\"left\" in text 1",
        "3  Turn LEFT at the next corner.",
        "1-2",
        "1-3",
    ]);
    let facts = desk.types(&format!("compare -q --word left --json {LEFT}")).succeeds().says_nothing().json();
    assert_eq!(facts["model"], "bundled");
    let layers = facts["layers"].as_array().expect("a list");
    assert_eq!(layers.len(), 5);
    let parted = |layer: usize| {
        let cosines = numbers(&layers[layer]["cosines"][0]);
        cosines[1] - cosines[2]
    };
    assert!(parted(0).abs() < 1e-5, "layer 0 knows the word and its place, which are the same: {}", parted(0));
    assert!(parted(1) > 0.01 && parted(3) > 0.05 && parted(4) > 0.1, "{} {} {}", parted(1), parted(3), parted(4));
}

#[test]
fn cosines_are_those_of_the_extracted_vectors() {
    let desk = Desk::with("width16");
    for (kind, word) in [("mean", ""), ("word", "--word hello")] {
        let texts = "'hello world' 'well, Hello there' hello";
        let facts = desk.types(&format!("compare -m width16 {word} --json {texts}")).succeeds().says_nothing().json();
        let extracted = desk.types(&format!("extract -m width16 -e {kind} {texts}")).succeeds().json_lines();
        for (layer, compared) in facts["layers"].as_array().expect("a list").iter().enumerate() {
            let vectors: Vec<Vec<f64>> = extracted
                .iter()
                .enumerate()
                .map(|(text, line)| match &line["layers"][layer][kind] {
                    words if kind == "word" => numbers(&words[[0, 2, 0][text]]), // "well", ",", "Hello"
                    mean => numbers(mean),
                })
                .collect();
            let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
            for (i, a) in vectors.iter().enumerate() {
                for (j, b) in vectors.iter().enumerate() {
                    let expected = product(a, b) / (product(a, a) * product(b, b)).sqrt();
                    let found = compared["cosines"][i][j].as_f64().expect("a number");
                    assert!((found - expected).abs() < 1e-6, "{kind}, layer {layer}: {found} {expected}");
                }
            }
        }
    }
}

#[test]
fn the_texts_of_a_file_are_compared_as_those_of_arguments_are() {
    let desk = Desk::with("width16");
    desk.put("texts.txt", "hello world\nthe river bank\nhello\n");
    desk.put("texts.csv", "id;first;second;label\nsame;hello world;x;1\nsame;the river bank;x;\nsame;hello;x;?\n");
    desk.put(
        "words.jsonl",
        "{\"text\": [\"hello\", \"world\"]}\n{\"text\": [\"the river\", \"bank\"]}\n{\"text\": [\"hello\"]}\n",
    );
    let arguments = desk.types("compare -m width16 'hello world' 'the river bank' hello").succeeds().stdout();
    let file = |options: &str| desk.types(&format!("compare -m width16 {options}")).succeeds().says_nothing();
    file("-i texts.txt").prints_exactly(&arguments);
    file("-i texts.csv --delimiter ; --text-column first").prints_exactly(&arguments);
    file("-i words.jsonl --pretokenized").prints_exactly(&arguments);
    desk.types_into("compare -m width16", desk.read("texts.txt")).succeeds().prints_exactly(&arguments);
    let ran = desk.types("compare -m width16 -i words.jsonl --pretokenized --word 'the river'").fails_as_wrong_usage();
    ran.says_all(&["text 1 does not have it, and neither do 1 others: hello world"]);
    desk.put("words.jsonl", "{\"text\": [\"the river\"]}\n{\"text\": [\"old\", \"the river\"]}\n");
    file("-i words.jsonl --pretokenized --word 'the river'").prints("\"the river\" in text 1");
}

#[test]
fn every_occurrence_of_a_word_is_compared_or_the_one_that_is_chosen() {
    let desk = Desk::new();
    let texts = "'the bank by the river bank' 'no bank' 'Bank of the river'";
    let facts = desk.types(&format!("compare -q --word bank --json {texts}")).succeeds().json();
    let place = |text: usize, occurrence: usize, span: [usize; 2]| json!({"text": text, "occurrence": occurrence, "span": span});
    assert_eq!(
        facts["occurrences"],
        json!([place(0, 1, [4, 8]), place(0, 2, [22, 26]), place(1, 1, [3, 7]), place(2, 1, [0, 4])])
    );
    let ran = desk.types(&format!("compare -q --word bank {texts}")).succeeds();
    ran.prints_all(&[
        "1  the bank by the river bank  (occurrence 1, at 4 to 8)",
        "2  the bank by the river bank  (occurrence 2, at 22 to 26)",
        "3  no bank\n",
        "1-4",
    ]);
    // The vector of a word is that of `-e word`, whichever occurrence it is.
    desk.types("extract -q 'the bank by the river bank' 'no bank' -e word -o out").succeeds();
    let words = desk.npy("out/word/layer_03.npy").rows();
    let cosine = |a: &[f32], b: &[f32]| {
        let product = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
        product(a, b) / (product(a, a) * product(b, b)).sqrt()
    };
    for (occurrence, word) in [(1, 1), (2, 5)] {
        let others = "'the bank by the river bank' 'no bank of the bank'";
        let job = format!("compare -q --word bank --occurrence {occurrence} --json {others}");
        let facts = desk.types(&job).succeeds().json();
        assert_eq!(facts["occurrences"].as_array().map(Vec::len), Some(2));
        let all = desk.types("compare -q --word bank --json 'the bank by the river bank' 'no bank'").succeeds().json();
        let found = all["layers"][3]["cosines"][occurrence - 1][2].as_f64().expect("a number");
        assert!((found - cosine(&words[word], &words[7])).abs() < 1e-6);
    }
    let ran = desk.types(&format!("compare --word bank --occurrence 2 {texts}")).fails_as_wrong_usage();
    ran.says_all(&["--occurrence 2", "text 2 has it once, and neither do 1 others: no bank"]);
    desk.types("compare --occurrence 2 a b").fails_as_wrong_usage().says("--word");
    for phrase in ["New  york", "well-known", "don''t"] {
        let phrase = phrase.replace("''", "'");
        let first = format!("They say {phrase} twice");
        let ran = desk.runs(&["compare", "-q", "--json", "--word", &phrase.to_uppercase(), &first, &phrase], "");
        assert_eq!(ran.succeeds().json()["occurrences"].as_array().map(Vec::len), Some(2), "{phrase}");
    }
}

#[test]
fn any_vector_of_a_text_is_compared_at_the_layers_asked_for() {
    let desk = Desk::with("width64");
    let texts = "'hello world' 'the river bank' 'hello the people'";
    let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    for kind in ["cls", "max", "mean_sqrt_len", "weightedmean", "lasttoken", "sentence", "pooler"] {
        let is_whole = ["sentence", "pooler"].contains(&kind);
        let layers = if is_whole { "" } else { "-l 0,-1" };
        let options = format!("-q -m width64 -e {kind} {layers} {texts}");
        let facts = desk.types(&format!("compare --json {options}")).succeeds().json();
        assert_eq!(facts["emit"], kind);
        let extracted = desk.types(&format!("extract {options}")).succeeds().json_lines();
        let of_layers = if is_whole { 1 } else { 2 };
        for layer in 0..of_layers {
            let of_layer = &facts["layers"][layer];
            let compared = if is_whole { &facts["cosines"] } else { &of_layer["cosines"] };
            let vectors = extracted.iter().map(|line| {
                if is_whole {
                    return numbers(&line[kind]);
                }
                assert_eq!(of_layer["layer"], line["layers"][layer]["layer"]);
                numbers(&line["layers"][layer][kind])
            });
            let vectors = vectors.collect::<Vec<_>>();
            for (i, j) in [(0, 1), (0, 2), (2, 1), (1, 1)] {
                let (a, b) = (&vectors[i], &vectors[j]);
                let expected = product(a, b) / (product(a, a) * product(b, b)).sqrt();
                let found = compared[i][j].as_f64().expect("a number");
                assert!((found - expected).abs() < 1e-6, "{kind}, {i} and {j}: {found} {expected}");
            }
        }
        let table = desk.types(&format!("compare {options}")).succeeds().stdout();
        assert!(table.contains(&format!("the {kind} vector in text 1")), "{table}");
        let rows = table.lines().rev().take(of_layers).collect::<Vec<_>>();
        let expected = if is_whole { vec!["  all"] } else { vec!["    4", "    0"] };
        assert!(rows.iter().zip(&expected).all(|(row, label)| row.starts_with(label)), "{table}");
    }
}

#[test]
fn many_texts_are_a_table_of_sixty_columns() {
    let desk = Desk::with("width16");
    desk.put("texts.txt", "hello world\nthe river bank\n".repeat(7));
    let table = desk.types("compare -m width16 -l 1 -i texts.txt").succeeds().stdout();
    let same = |index: usize| if index % 2 == 1 { "   1.000" } else { "" };
    assert!(table.lines().all(|line| line.chars().count() <= 60), "{table}");
    let lines = table.lines().collect::<Vec<_>>();
    assert_eq!(lines[2..4], ["   1  hello world", "   2  the river bank"]);
    // 13 others: two tables of six columns, and one of a single column.
    assert_eq!(lines[lines.len() - 2..], ["layer    1-14", lines[lines.len() - 1]]);
    for (first, line) in [(2, lines.len() - 7), (8, lines.len() - 4)] {
        let header = (first..first + 6).map(|index| format!("  {:>6}", format!("1-{index}"))).collect::<String>();
        assert_eq!(lines[line - 1], format!("layer{header}"));
        for index in first..first + 6 {
            let at = 5 + 8 * (index - first);
            assert!(lines[line][at..at + 8].ends_with(same(index).trim_start()), "1-{index}: {table}");
        }
    }
    // Texts beyond what is encoded together have the numbers they have alone.
    desk.put("long.txt", format!("hello world\n{}the river bank\n", "hello the people of the world \n".repeat(900)));
    let long = desk.types("compare -m width16 -l 1 -i long.txt").succeeds().stdout();
    let short = desk.types("compare -m width16 -l 1 'hello world' 'the river bank'").succeeds().stdout();
    assert_eq!(long.split_whitespace().last(), short.split_whitespace().last());
}

#[test]
fn what_cannot_be_compared_is_said() {
    let desk = Desk::with("width1");
    desk.types("compare alone").fails_as_wrong_usage().says_all(&["one text", "two or more"]);
    desk.types_into("compare", "alone\n").fails_as_wrong_usage().says_all(&["one text", "standard input"]);
    desk.types_into("compare", "").fails().says("standard input");
    desk.types_into("compare", "hello\n".repeat(1001)).fails_as_wrong_usage().says_all(&["1000", "head", "extract"]);
    desk.types("compare a b -i texts.txt").fails_as_wrong_usage();
    desk.types("compare a b -e token").fails_as_wrong_usage().says("token");
    desk.types("compare a b -e word").fails_as_wrong_usage().says("--word");
    desk.types("compare a a -e cls --word a").fails_as_wrong_usage().says_all(&["--word a", "-e cls"]);
    desk.types("compare a a -e word --word a").succeeds();
    desk.types("compare a b -l 9").fails_as_wrong_usage().says("layer 9 does not exist");
    desk.types("compare a b -e sentence -l 1").fails_as_wrong_usage().says("--layers");
    let ran = desk.types("compare -m width1 --word bank 'the bank' 'the river'").fails_as_wrong_usage();
    ran.says_all(&["text 2", "bank", "the river"]);
    let long = "hello ".repeat(2000);
    desk.types(&format!("compare -m width1 'hello' '{long}'")).succeeds().says_all(&["text 2", "cut off"]);
}
