//! `probe` and `predict`: from labelled texts to a report, and from the report to labels.

use std::fmt::Write as _;

use serde_json::Value;

use crate::desk::Desk;

const GOOD: [&str; 10] =
    ["wonderful", "great", "lovely", "excellent", "brilliant", "charming", "superb", "delightful", "fine", "moving"];
const BAD: [&str; 10] = ["terrible", "awful", "dull", "bad", "boring", "dreadful", "stupid", "ugly", "poor", "tedious"];
const THINGS: [&str; 8] = ["film", "book", "play", "song", "story", "meal", "hotel", "game"];
const PEOPLE: [&str; 10] = ["Anna", "Peter", "Mary", "John", "Susan", "David", "Laura", "Paul", "Emma", "James"];
const PLACES: [&str; 10] =
    ["London", "Paris", "Berlin", "Rome", "Madrid", "Vienna", "Boston", "Dublin", "Tokyo", "Oslo"];

/// Review sentences with labels, as JSON Lines: every thing with every word, from the words on.
fn reviews(words: std::ops::Range<usize>) -> String {
    let mut lines = String::new();
    for index in words {
        for thing in THINGS {
            for (label, word) in [("good", GOOD[index]), ("bad", BAD[index])] {
                writeln!(lines, r#"{{"text": "The {thing} was {word}.", "label": "{label}"}}"#).unwrap_or_default();
            }
        }
    }
    lines
}

/// Sentences with entity tags.
fn entities(names: std::ops::Range<usize>) -> String {
    let mut lines = String::new();
    for index in names {
        for other in 0..3 {
            let (person, place) = (PEOPLE[index], PLACES[(index + other) % 10]);
            let verb = ["lives in", "went to", "likes"][other];
            let words = format!("{person} Smith {verb} {place} .");
            for word in words.split(' ') {
                let tag = match word {
                    word if word == person => "B-PER",
                    "Smith" => "I-PER",
                    word if word == place => "B-LOC",
                    _ => "O",
                };
                writeln!(lines, "{word}\t{tag}").unwrap_or_default();
            }
            lines.push('\n');
        }
    }
    lines
}

fn desk_of_reviews() -> Desk {
    let desk = Desk::new();
    desk.put("train.jsonl", reviews(0..6));
    desk.put("test.jsonl", reviews(6..10));
    for part in ["train", "test"] {
        desk.types(&format!("extract -q -i {part}.jsonl -o {part}")).succeeds();
    }
    desk
}

fn desk_of_entities() -> Desk {
    let desk = Desk::new();
    for (part, names) in [("train", 0..6), ("dev", 6..8), ("test", 8..10)] {
        desk.put(&format!("{part}.conll"), entities(names));
        desk.types(&format!("extract -q -i {part}.conll -e word -o {part}")).succeeds();
    }
    desk
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

fn best(report: &Value) -> &Value {
    let layers = report["layers"].as_array().expect("a list");
    layers.iter().find(|layer| layer["name"] == report["best"]).expect("the best layer")
}

#[test]
fn a_text_classifier_by_cross_validation() {
    let desk = desk_of_reviews();
    let ran = desk.types("probe train -o report").succeeds();
    ran.says("report → report").prints_all(&[
        "classification of texts",
        "accuracy",
        "selectivity",
        "majority",
        "Best: layer",
    ]);
    let report = desk.json("report/report.json");
    assert_eq!((&report["scored_on"], &report["folds"]), (&"cross-validation".into(), &5.into()));
    assert_eq!(report["classes"], serde_json::json!(["bad", "good"]));
    assert_eq!(report["layers"].as_array().map(Vec::len), Some(5));
    let best = best(&report);
    assert!(number(&best["score"]) > 0.9, "{best}");
    assert!(number(&best["selectivity"]) > 0.2, "{best}");
    assert_eq!(number(&report["baseline"]["score"]), 0.5);
    let [low, high] = [0, 1].map(|end| number(&best["interval"][end]));
    assert!(low <= number(&best["score"]) && number(&best["score"]) <= high && low > 0.8);
    let weights: f64 = report["mix"]["weights"].as_array().expect("a list").iter().map(number).sum();
    assert!((weights - 1.0).abs() < 1e-9);
    assert_eq!(desk.json_lines("report/predictions.jsonl").len(), 96);
    let confusion = String::from_utf8(desk.read("report/confusion.csv")).expect("UTF-8");
    assert!(confusion.starts_with("label \\ predicted,bad,good\nbad,"), "{confusion}");
    assert!(String::from_utf8(desk.read("report/report.svg")).expect("UTF-8").contains("majority"));
    assert_eq!(
        desk.file_names("report"),
        ["confusion.csv", "heads.safetensors", "predictions.jsonl", "report.json", "report.svg"]
    );
}

#[test]
fn the_same_bytes_whatever_threads_and_memory() {
    let desk = desk_of_reviews();
    let first = desk.types("probe train --test test -o report").succeeds();
    let printed = first.stdout();
    for options in ["--threads 1", "--threads 3 --memory 0"] {
        let again = desk.types(&format!("probe train --test test {options} -o report --overwrite")).succeeds();
        assert_eq!(again.stdout(), printed, "{options}");
    }
    let files = desk.files("report");
    desk.types("probe train --test test --memory 0 -o other").succeeds();
    assert_eq!(desk.files("other"), files);
    desk.types("probe train --test test --seed 1 -o third").succeeds();
    assert_ne!(desk.files("third"), files, "another seed");
}

#[test]
fn predict_labels_texts_as_the_probe_did() {
    let desk = desk_of_reviews();
    desk.types("probe -q train --test test -o report").succeeds();
    let told = desk.json_lines("report/predictions.jsonl");
    let predicted = desk.types("predict report -i test.jsonl --json").succeeds().says_nothing().json_lines();
    assert_eq!(predicted.len(), told.len());
    for (told, predicted) in told.iter().zip(&predicted) {
        assert_eq!((&told["row"], &told["predicted"]), (&predicted["row"], &predicted["label"]));
        let probability = number(&predicted["probability"]);
        assert!((number(&told["probability"]) - probability).abs() < 1e-4, "{told} {predicted}");
        let all: f64 = predicted["probabilities"].as_object().expect("an object").values().map(number).sum();
        assert!((all - 1.0).abs() < 1e-5);
    }
    desk.types("predict report 'The film was brilliant.'").succeeds().prints("good\t");
    desk.types_into("predict report", "The film was brilliant.\nThe film was dreadful.\n")
        .succeeds()
        .prints_all(&["good\t", "bad\t"]);
    desk.put("films.csv", "id;text\n1;The film was brilliant.\n2;The film was dreadful.\n");
    desk.types("predict report -i films.csv").fails().says_all(&["separated by `;`", "--delimiter ';'"]);
    desk.types("predict report -i films.csv --delimiter ;").succeeds().prints_all(&["good\t", "bad\t"]);
    let low = desk.types("predict report --layer 1 --json 'The film was brilliant.'").succeeds().json_lines();
    let high = desk.types("predict report --layer -1 --json 'The film was brilliant.'").succeeds().json_lines();
    assert_ne!(low[0]["probability"], high[0]["probability"]);
    desk.types("predict report --layer 1,2 x").fails_as_wrong_usage().says("expected one layer");
    desk.types("predict report --layer 9 x").fails_as_wrong_usage().says("layer 9 does not exist");
}

#[test]
fn named_entities_with_their_places() {
    let desk = desk_of_entities();
    desk.types("probe train --dev dev --test test -o report").succeeds().prints_all(&[
        "named entities (IOB2 tags)",
        "entity F1",
        "scored    on test",
        "precision",
        "LOC",
        "PER",
    ]);
    let report = desk.json("report/report.json");
    assert_eq!((&report["primary"], &report["folds"]), (&"entity_f1".into(), &1.into()));
    assert_eq!(report["task"], serde_json::json!({"tagging": {"scheme": "IOB2"}}));
    let best = best(&report);
    assert!(number(&best["score"]) > 0.9, "{best}");
    assert_eq!(best["entities"][0]["support"], 6);
    let told = &desk.json_lines("report/predictions.jsonl")[0];
    assert_eq!(told["words"].as_array().map(Vec::len), told["labels"].as_array().map(Vec::len));

    let text = "Émile: Mary Smith lives in London.";
    let predicted = desk.runs(&["predict", "report", "--json", text], "").succeeds().json_lines();
    let characters: Vec<char> = text.chars().collect();
    for of in ["words", "entities"] {
        for found in predicted[0][of].as_array().expect("a list") {
            let place = |end: &str| found[end].as_u64().expect("a number") as usize;
            let slice: String = characters[place("start")..place("end")].iter().collect();
            assert_eq!(found["text"], slice.as_str());
        }
    }
    let entities = predicted[0]["entities"].as_array().expect("a list");
    let has =
        |label: &str, text: &str| entities.iter().any(|entity| entity["label"] == label && entity["text"] == text);
    assert!(has("LOC", "London") && has("PER", "Mary Smith"), "{entities:?}");
    desk.runs(&["predict", "report", text], "").succeeds().prints_all(&["LOC", "London", "PER"]);
}

#[test]
fn tags_are_also_scored_as_sequences() {
    let desk = desk_of_entities();
    let ran = desk.types("probe train --dev dev --test test --no-mix -l 0..2 --crf -o report").succeeds();
    ran.prints_all(&["    CRF", "With a CRF: layer"]);
    let report = desk.json("report/report.json");
    let layers = report["layers"].as_array().expect("a list");
    for layer in layers {
        let crf = &layer["crf"];
        assert_eq!((&crf["score"], &crf["converged"]), (&crf["scores"]["entity_f1"], &true.into()), "{layer}");
    }
    let of_best = layers.iter().find(|layer| layer["name"] == report["crf_best"]).expect("the best layer");
    assert!(number(&of_best["crf"]["score"]) > 0.9, "{of_best}");
    // predict decodes it, as the report has it.
    let told = desk.json_lines("report/predictions.jsonl");
    let predicted = desk.types("predict report -i test.conll --json").succeeds().json_lines();
    for (told, predicted) in told.iter().zip(&predicted) {
        let words = predicted["words"].as_array().expect("a list");
        let labels: Vec<&Value> = words.iter().map(|word| &word["label"]).collect();
        assert_eq!(labels, told["predicted"].as_array().expect("a list").iter().collect::<Vec<_>>());
        for (word, share) in words.iter().zip(told["probabilities"].as_array().expect("a list")) {
            assert!((number(&word["probability"]) - number(share)).abs() < 1e-4, "{word} {share}");
        }
    }
    // Without it, nothing else differs.
    desk.types("probe -q train --dev dev --test test --no-mix -l 0..2 -o plain").succeeds();
    let plain = desk.json("plain/report.json");
    assert_eq!((&plain["best"], &plain["layers"][1]["scores"]), (&report["best"], &layers[1]["scores"]));
    // By cross-validation, the same bytes whatever the threads.
    for threads in [1, 3] {
        let options = format!("--folds 3 -l 1 --no-mix --crf --threads {threads}");
        desk.types(&format!("probe -q train {options} -o of-{threads}")).succeeds();
    }
    assert_eq!(desk.files("of-1"), desk.files("of-3"));
    assert!(number(&desk.json("of-1/report.json")["layers"][0]["crf"]["score"]) > 0.8);
    desk.types("probe train --crf --calibrate").fails_as_wrong_usage().says("--crf does not go with --calibrate");
    desk.put("train.jsonl", reviews(0..3));
    desk.types("extract -q -i train.jsonl -o texts").succeeds();
    desk.types("probe texts --crf").fails_as_wrong_usage().says_all(&["--crf is for tags", "classification of texts"]);
}

#[test]
fn layers_are_learned_from_side_by_side() {
    let desk = desk_of_reviews();
    let ran = desk.types("probe train --test test -l 0..2,3+4 --best-set 3 --no-mix --no-control -o report").succeeds();
    ran.prints_all(&["      3+4", " best pair", " best 3 layers"]);
    let report = desk.json("report/report.json");
    let layers = report["layers"].as_array().expect("a list");
    let of_set = &layers[3];
    assert_eq!(
        (layers.len(), &of_set["name"], &of_set["layers"]),
        (4, &"layer_03+layer_04".into(), &serde_json::json!([3, 4]))
    );
    let sets = report["sets"].as_array().expect("a list");
    let sizes: Vec<Option<usize>> = sets.iter().map(|set| set["layers"].as_array().map(Vec::len)).collect();
    assert_eq!(sizes, [Some(2), Some(3)]);
    // The vectors are those of a directory of combined layers.
    for part in ["train", "test"] {
        desk.types(&format!("extract -q -i {part}.jsonl -l 3,4 --combine concat -o combined-{part}")).succeeds();
    }
    desk.types("probe -q combined-train --test combined-test --no-mix --no-control -o combined").succeeds();
    let combined = &desk.json("combined/report.json")["layers"][0];
    for key in ["score", "interval", "scores", "loss", "strength"] {
        assert_eq!(combined[key], of_set[key], "{key}");
    }
    let one = desk.types("predict report --layer 3+4 --json -i test.jsonl").succeeds().json_lines();
    let other = desk.types("predict combined --json -i test.jsonl").succeeds().json_lines();
    for (one, other) in one.iter().zip(&other) {
        assert_eq!(one["label"], other["label"]);
        assert!((number(&one["probability"]) - number(&other["probability"])).abs() < 1e-6, "{one} {other}");
    }
    let pair = sets[0]["layers"].as_array().expect("a list").iter().map(Value::to_string).collect::<Vec<_>>().join("+");
    desk.types(&format!("predict report --layer {pair} 'The film was brilliant.'")).succeeds().prints("good\t");
    desk.types("predict report --layer 1+4 x")
        .fails_as_wrong_usage()
        .says_all(&["--layer 1+4: the report has 0, 1, 2, 3+4"]);
    desk.types("probe train -l 3+9").fails_as_wrong_usage().says("layer 9 does not exist");
    desk.types("probe train -l 1..2+3").fails_as_wrong_usage().says("is not a set of layers");
    desk.types("extract -q -i test.jsonl -l 0..3 -o low").succeeds();
    desk.types("probe train --test low -l 3+4").fails().says("has no layer_04 of mean vectors");
}

#[test]
fn numbers_are_predicted_on_request() {
    let desk = Desk::new();
    let mut lines = String::new();
    for (index, thing) in THINGS.iter().enumerate() {
        for count in 1..=6 {
            let (text, label) =
                (format!("The {thing} was {}good.", "very ".repeat(count)), count as f64 + index as f64 / 100.0);
            writeln!(lines, r#"{{"text": "{text}", "label": {label}}}"#).unwrap_or_default();
        }
    }
    desk.put("texts.jsonl", lines);
    desk.types("extract -q -i texts.jsonl -o out").succeeds();
    desk.types("probe out --task regression -o report").succeeds().prints_all(&["regression", "R²", "Pearson"]);
    let of_best = best(&desk.json("report/report.json")).clone();
    assert!(number(&of_best["score"]) > 0.8 && number(&of_best["scores"]["spearman"]) > 0.8);
    desk.types("probe out --task regression --score spearman -l 4 --no-mix").succeeds().prints("Spearman");
    desk.types("probe out --task regression --score accuracy").fails_as_wrong_usage().says("r2, spearman, pearson");
    for option in ["--class-weight balanced", "--calibrate"] {
        desk.types(&format!("probe out --task regression {option}")).fails_as_wrong_usage().says("is for classes");
    }
    let values = desk
        .types("predict report --json 'The film was very good.' 'The film was very very very very very good.'")
        .succeeds()
        .json_lines();
    assert!(number(&values[0]["value"]) + 1.0 < number(&values[1]["value"]), "{values:?}");
    desk.types("probe out").fails().says("fewer texts than the 5 folds");
}

#[test]
fn numbers_of_words_come_with_their_places() {
    let desk = Desk::new();
    let mut lines = String::new();
    for thing in THINGS {
        for (verb, number) in [("was", 1.5), ("is", -2.5)] {
            writeln!(lines, r#"{{"text": ["The", "{thing}", "{verb}"], "label": [0, 0, {number}]}}"#)
                .unwrap_or_default();
        }
    }
    desk.put("texts.jsonl", lines);
    desk.types("extract -q -i texts.jsonl --pretokenized -e word -o out").succeeds();
    desk.types("probe -q out --task regression -o report").succeeds();
    let predictions = desk.json_lines("report/predictions.jsonl");
    assert_eq!(predictions[1]["word_ids"], serde_json::json!([0, 1, 2]));
    assert_eq!(predictions[1]["labels"], serde_json::json!([0.0, 0.0, -2.5]));
    let found = desk.types("predict report --json 'The film was'").succeeds().json_lines();
    let word = &found[0]["words"][2];
    assert_eq!((&word["text"], &word["start"], &word["end"]), (&"was".into(), &9.into(), &12.into()), "{found:?}");
    assert!((number(&word["value"]) - 1.5).abs() < 0.5, "{found:?}");
}

#[test]
fn pairs_are_learned_from_and_labelled_as_pairs() {
    let desk = Desk::new();
    let mut lines = String::new();
    for thing in THINGS {
        for (label, word) in [("good", GOOD[0]), ("bad", BAD[0])] {
            writeln!(lines, r#"{{"text": "The {thing}", "text_pair": "was {word}.", "label": "{label}"}}"#)
                .unwrap_or_default();
        }
    }
    desk.put("pairs.jsonl", &lines);
    desk.put("single.jsonl", reviews(0..1));
    desk.types("extract -q -i pairs.jsonl --pair-column text_pair -o pairs").succeeds();
    desk.types("extract -q -i single.jsonl -o single").succeeds();
    desk.types("probe pairs --test single").fails().says("--pair-column (pairs of texts, and single texts)");
    desk.types("probe -q pairs -o report --strength 1").succeeds();
    desk.types("predict report 'The film was wonderful.'").fails_as_wrong_usage().says("`text_pair`");
    let labels = desk.types("predict report -i pairs.jsonl --pair-column text_pair --json").succeeds().json_lines();
    assert_eq!(labels[0]["label"], "good");
    desk.types("probe -q single -o alone --strength 1").succeeds();
    desk.types("predict alone -i pairs.jsonl --pair-column text_pair").fails_as_wrong_usage().says("from single texts");
}

#[test]
fn rare_classes_are_not_given_up_for_the_strictest_probe() {
    let desk = Desk::new();
    let mut lines = String::new();
    for index in 0..10 {
        for thing in THINGS {
            writeln!(lines, r#"{{"text": "The {thing} was {}.", "label": "good"}}"#, GOOD[index]).unwrap_or_default();
        }
        writeln!(lines, r#"{{"text": "The {} was {}.", "label": "bad"}}"#, THINGS[index % 8], BAD[index])
            .unwrap_or_default();
    }
    desk.put("texts.jsonl", lines);
    desk.types("extract -q -i texts.jsonl -o out").succeeds();
    let table = desk.types("probe out --no-control -o report");
    table.succeeds().prints("Best:");
    let report = desk.json("report/report.json");
    assert!(number(&best(&report)["score"]) > 0.95, "more than the majority's {}", report["baseline"]["score"]);
    assert!(!report["advice"].as_str().unwrap_or_default().contains("No layer is better"), "{}", report["advice"]);
}

/// Texts of which six say nearly the same, with a label that is drawn for all six: there is nothing to know. As csv.
fn near_copies(groups: std::ops::Range<usize>) -> String {
    let mut lines = "text,note,label,patient\n".to_owned();
    for group in groups {
        // A random number of the group: the steps of splitmix64.
        let draw = |salt: usize| {
            let mixed = |number: u64, by: u32, times: u64| (number ^ (number >> by)).wrapping_mul(times);
            let seed = ((group * 16 + salt + 1) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            (mixed(mixed(seed, 30, 0xbf58_476d_1ce4_e5b9), 27, 0x94d0_49bb_1331_11eb) >> 33) as usize
        };
        let of = |words: &[&'static str], salt: usize| words[draw(salt) % words.len()];
        let (person, place, thing) = (of(&PEOPLE, 1), of(&PLACES, 2), of(&THINGS, 3));
        let (first, second, third) = (of(&GOOD, 4), of(&BAD, 5), of(&THINGS, 6));
        let label = ["yes", "no"][draw(7) % 2];
        for word in ["then", "now", "today", "later", "again", "once"] {
            writeln!(
                lines,
                "{person} of {place} saw the {first} {thing} and {word} the {second} {third} of {}.,,{label},p{group}",
                of(&PEOPLE, 8),
            )
            .unwrap_or_default();
        }
    }
    lines
}

#[test]
fn what_is_remembered_of_a_group_is_no_knowledge() {
    let desk = Desk::new();
    desk.put("notes.csv", near_copies(0..150));
    desk.types("extract -q -i notes.csv --carry patient,note -o notes").succeeds();
    let interval = |report: &Value| [0, 1].map(|end| number(&best(report)["interval"][end]));

    let without = desk.types("probe notes --no-mix -l 1,4 -o without").succeeds();
    without.says_all(&["100 % of the texts have nearly the tokens", "of a text in another fold", "--group"]);
    let report = desk.json("without/report.json");
    assert!(number(&best(&report)["score"]) > 0.8 && interval(&report)[0] > 0.75, "{}", best(&report));
    assert!(number(&report["repeats"]["nearly"]) > 0.9 * number(&report["repeats"]["texts"]), "{}", report["repeats"]);

    let with = desk.types("probe notes --group patient --no-mix -l 1,4 -o with").succeeds();
    with.prints_all(&["900 texts in 150 groups by patient", "1,000 draws of groups"]).does_not_say("remembered");
    let report = desk.json("with/report.json");
    let [low, high] = interval(&report);
    assert!(low < 0.5 && 0.5 < high && high - low > 0.1, "{low} {high}");
    assert_eq!((&report["group"], &report["directories"]["train"]["groups"]), (&"patient".into(), &150.into()));
    assert_eq!(report["repeats"], Value::Null);

    // The same bytes for any number of threads.
    desk.types("probe notes --group patient --no-mix -l 1,4 --threads 1 -o again").succeeds();
    assert_eq!(desk.files("with"), desk.files("again"));
}

#[test]
fn a_group_is_on_one_side() {
    let desk = Desk::new();
    for (part, groups) in [("train", 0..12), ("same", 10..16), ("test", 12..16)] {
        desk.put(&format!("{part}.csv"), near_copies(groups));
        desk.types(&format!("extract -q -i {part}.csv --carry patient,note -o {part}")).succeeds();
    }
    let options = "--group patient --no-mix -l 2 --folds 3";
    let shared = desk.types(&format!("probe train --test same {options}")).fails();
    shared.says_all(&["2 of its 6 groups by patient are in train as well: `p10`, `p11`"]);
    desk.types(&format!("probe train --dev same --test test {options}")).fails_as_wrong_usage();
    let options = "--group patient --no-mix -l 2";
    desk.types(&format!("probe train --dev same --test test {options}")).fails().says("`p10`, `p11`");
    desk.types(&format!("probe train --dev test --test same {options}")).fails().says("are in train as well");
    desk.types(&format!("probe train --test test {options} --folds 3"))
        .succeeds()
        .prints("24 texts in 4 groups by patient");
    // Without groups, test texts that are nearly training texts are seen.
    let seen = desk.types("probe train --test same --no-mix -l 2").succeeds();
    seen.says_all(&["% of the test texts", "of a training text"]);
    // Groups as they cannot be.
    desk.types("probe train --group doctor").fails().says_all(&["none of its texts has a doctor", "--carry doctor"]);
    desk.types("probe train --group note").fails().says("none of its texts has a note");
    desk.types("probe train --group patient --folds 13").fails().says("holds 12 groups, fewer than the 13 folds");
    let some = near_copies(0..2).replacen(",p1\n", ",\n", 2);
    desk.put("some.csv", some);
    desk.types("extract -q -i some.csv --carry patient -o some").succeeds();
    desk.types("probe some --group patient")
        .fails()
        .says("2 of 12 labelled texts have no patient, the first in rows 6, 7");
}

#[test]
fn a_text_without_a_label_is_left_out() {
    let desk = Desk::new();
    let all = reviews(0..6);
    desk.put("whole.jsonl", &all);
    // The same texts in a table, every fifth of them followed by one whose label is blank.
    let mut table = "id,text,feeling,label\n".to_owned();
    for (row, line) in all.lines().enumerate() {
        let line: Value = serde_json::from_str(line).expect("an object");
        let (text, label) = (line["text"].as_str().expect("text"), line["label"].as_str().expect("label"));
        writeln!(table, "{row},{text},{label},{label}").unwrap_or_default();
        if row % 5 == 0 {
            let blank = ["", "  "][row % 2];
            writeln!(table, "x{row},Nobody said what was {row}.,{blank},").unwrap_or_default();
        }
    }
    desk.put("blanks.csv", &table);
    desk.types("extract -q -i whole.jsonl -o whole").succeeds();
    desk.types("extract -q -i blanks.csv -o labelled").succeeds();
    desk.types("extract -q -i blanks.csv --label-column '' --carry feeling -o carried").succeeds();
    desk.types("extract -q -i blanks.csv --label-column feeling -o named").succeeds();
    let probed = |directory: &str, options: &str| {
        let report = format!("{directory}-report");
        // The control is drawn by row, and rows differ.
        let options = format!("{options} --no-mix --no-control -l 1,3");
        let ran = desk.types(&format!("probe {directory} {options} -o {report} --overwrite")).succeeds();
        (ran, desk.json(&format!("{report}/report.json")))
    };
    let (_, expected) = probed("whole", "");
    for (directory, options) in
        [("labelled", ""), ("carried", "--label feeling"), ("named", ""), ("named", "--label feeling")]
    {
        let (ran, report) = probed(directory, options);
        ran.says("20 of 116 texts have no").says("and are left out");
        assert_eq!(report["classes"], serde_json::json!(["bad", "good"]), "{directory} {options}");
        let of = &report["directories"]["train"];
        assert_eq!((&of["texts"], &of["unlabelled"]), (&96.into(), &20.into()));
        // Folds are of the labelled texts, so nothing else differs.
        assert_eq!(report["layers"], expected["layers"], "{directory} {options}");
        let told = desk.json_lines(&format!("{directory}-report/predictions.jsonl"));
        assert_eq!((told.len(), &told[1]["row"], &told[1]["id"]), (96, &2.into(), &"1".into()));
    }
    desk.types("probe carried").fails().says("none of its texts has a label");
    // Numbers, and words.
    let lines = |labels: [&str; 2]| {
        (0..30)
            .map(|row| format!("{{\"text\": [\"a\", \"b{row}\"], \"label\": {}}}\n", labels[row % 2]))
            .collect::<String>()
    };
    desk.put("words.jsonl", lines([r#"["A", "B"]"#, r#"["A", ""]"#]));
    desk.types("extract -q -i words.jsonl --pretokenized -e word -o words").succeeds();
    let (ran, report) = probed("words", "");
    ran.says("15 words have no label, and are left out");
    assert_eq!(
        (&report["classes"], &report["directories"]["train"]["examples"]),
        (&serde_json::json!(["A", "B"]), &45.into())
    );
    desk.put(
        "numbers.csv",
        (0..30).map(|row| format!("{row} times,{}\n", ["", "3", "4.5"][row % 3])).collect::<String>(),
    );
    desk.types("extract -q -i numbers.csv --no-header --text-column 1 --carry 2 -o numbers").succeeds();
    probed("numbers", "--label 2 --task regression").0.says("10 of 30 texts have no 2, and are left out");
}

/// Texts of which one in five is bad, as JSON Lines.
fn few_bad() -> String {
    let mut lines = String::new();
    for (index, thing) in THINGS.iter().enumerate() {
        for (word, other) in GOOD.iter().zip(BAD) {
            let (label, word) = if (index + word.len()) % 5 == 0 { ("bad", other) } else { ("good", *word) };
            writeln!(
                lines,
                r#"{{"text": "The {thing} was rather {word}, said {}.", "label": "{label}"}}"#,
                PEOPLE[index]
            )
            .unwrap_or_default();
        }
    }
    lines
}

#[test]
fn layers_are_chosen_by_the_score_that_is_asked_for() {
    let desk = desk_of_reviews();
    for (name, key, title) in [
        ("roc_auc", "roc_auc", "AUROC"),
        ("f1_macro", "macro_f1", "macro F1"),
        ("neg_log_loss", "neg_log_loss", "-log loss"),
        ("matthews_corrcoef", "matthews_corrcoef", "Matthews"),
    ] {
        let ran = desk.types(&format!("probe train -l 0,3 --no-mix --score {name} -o report --overwrite")).succeeds();
        ran.prints(title);
        let report = desk.json("report/report.json");
        assert_eq!(report["primary"], key);
        for layer in report["layers"].as_array().expect("a list") {
            assert_eq!(layer["score"], layer["scores"][key], "{layer}");
            let [low, high] = [0, 1].map(|end| number(&layer["interval"][end]));
            assert!(low <= number(&layer["score"]) && number(&layer["score"]) <= high, "{layer}");
            let selectivity = number(&layer["score"]) - number(&layer["control"]);
            assert!((selectivity - number(&layer["selectivity"])).abs() < 1e-12);
        }
    }
    let report = desk.json("report/report.json");
    let scores = &best(&report)["scores"];
    for key in ["accuracy", "balanced_accuracy", "average_precision", "expected_calibration_error"] {
        assert!((0.0..=1.0).contains(&number(&scores[key])), "{key}: {scores}");
    }
    assert!(
        number(&best(&report)["classes"][0]["roc_auc"]) > 0.8
            && number(&report["baseline"]["scores"]["roc_auc"]) == 0.5
    );
    let refused = desk.types("probe train --score r2").fails_as_wrong_usage();
    refused.says_all(&["the task is classification of texts", "accuracy, balanced_accuracy, macro_f1"]);
    desk.types("probe train --score entity_f1").fails_as_wrong_usage().says("whose scores are");
    desk.types("probe train --score best").fails_as_wrong_usage().says("matthews_corrcoef");
}

#[test]
fn every_class_has_a_probability() {
    let desk = desk_of_reviews();
    let plain = desk.types("probe train --test test -l 2..4 --no-mix -o plain").succeeds();
    plain.says("report → plain");
    let calibrated = desk.types("probe train --test test -l 2..4 --no-mix --calibrate -o calibrated").succeeds();
    calibrated.prints_all(&["calibrated at temperature", "expected calibration error"]);
    let (before, after) = (desk.json_lines("plain/predictions.jsonl"), desk.json_lines("calibrated/predictions.jsonl"));
    for (before, after) in before.iter().zip(&after) {
        assert_eq!((&before["row"], &before["predicted"]), (&after["row"], &after["predicted"]));
        for line in [before, after] {
            let all = line["probabilities"].as_object().expect("an object");
            assert!((all.values().map(number).sum::<f64>() - 1.0).abs() < 1e-5);
            assert_eq!(all[line["predicted"].as_str().expect("a label")], line["probability"]);
        }
    }
    assert_ne!(before[0]["probability"], after[0]["probability"]);
    let of_best = |report: &str| best(&desk.json(&format!("{report}/report.json"))).clone();
    let calibration = &of_best("calibrated")["calibration"];
    assert!(number(&calibration["temperature"]) > 0.0);
    let error = |report: &str| number(&of_best(report)["scores"]["expected_calibration_error"]);
    assert_eq!(number(&calibration["expected_calibration_error_before"]), error("plain"));
    assert!(error("calibrated") < error("plain"), "{} {}", error("calibrated"), error("plain"));
    // The head is calibrated, too.
    let told = desk.types("predict calibrated -i test.jsonl --json").succeeds().json_lines();
    for (told, after) in told.iter().zip(&after) {
        assert!((number(&told["probability"]) - number(&after["probability"])).abs() < 1e-4, "{told} {after}");
    }
    // By cross-validation, and by a development directory.
    for options in ["", "--dev test"] {
        desk.types(&format!("probe train {options} -l 3 --no-mix --calibrate -o other --overwrite")).succeeds();
        let report = desk.json("other/report.json");
        assert!(number(&best(&report)["calibration"]["temperature"]) < 5.0, "{report}");
    }
    // Words.
    desk.put("train.conll", entities(0..6));
    desk.types("extract -q -i train.conll -e word -o tagged").succeeds();
    desk.types("probe tagged -l 2 --no-mix --calibrate --folds 3 -o tags").succeeds();
    let line = &desk.json_lines("tags/predictions.jsonl")[0];
    let of_first = line["class_probabilities"][0].as_array().expect("a list");
    assert_eq!(Some(of_first.len()), desk.json("tags/report.json")["classes"].as_array().map(Vec::len));
    let highest = of_first.iter().map(number).fold(0.0, f64::max);
    assert_eq!(highest, number(&line["probabilities"][0]));
}

#[test]
fn rare_classes_count_as_much_as_others_on_request() {
    let desk = Desk::new();
    desk.put("texts.jsonl", few_bad());
    desk.types("extract -q -i texts.jsonl -o out").succeeds();
    let recall = |options: &str| {
        desk.types(&format!("probe out -l 1 --strength 0.001 --no-mix {options} -o report --overwrite")).succeeds();
        let report = desk.json("report/report.json");
        let (bad, weight) = (best(&report)["classes"][0].clone(), report["class_weight"].clone());
        assert_eq!(bad["name"], "bad");
        (number(&bad["recall"]), weight)
    };
    let ((plain, none), (balanced, with)) = (recall(""), recall("--class-weight balanced"));
    assert_eq!((none, with), ("none".into(), "balanced".into()));
    assert!(balanced > plain + 0.2, "{plain} {balanced}");
}

#[test]
fn what_cannot_be_learned_is_refused() {
    let desk = Desk::new();
    let refuses = |lines: &str, options: &str, problem: &str| {
        desk.put("texts.jsonl", lines);
        desk.types("extract -q -i texts.jsonl -o out --overwrite").succeeds();
        desk.types(&format!("probe out {options} -o report")).fails().says(problem);
        assert!(!desk.has("report"), "nothing is written");
    };
    let texts = |labels: &[&str]| {
        let lines =
            labels.iter().enumerate().map(|(row, label)| format!("{{\"text\": \"text {row}\", \"label\": {label}}}\n"));
        lines.collect::<String>()
    };
    refuses("{\"text\": \"a\"}\n", "", "none of its texts has a label");
    refuses(&texts(&["\"a\"", "null", "\"b\""]), "", "holds 2 texts, fewer than the 5 folds");
    refuses(&texts(&["\"a\""; 6]), "", "all its labels are `a`; a classifier needs two classes");
    refuses(&texts(&["\"a\"", "\"a\"", "\"a\"", "\"a\"", "\"a\"", "\"b\""]), "", "`b` (1)");
    refuses(&texts(&["1", "2"]), "", "fewer than the 5 folds");
    refuses(&texts(&["\"a\"", "2"]), "--task regression", "regression needs numbers");
}

#[test]
fn lists_of_labels_match_the_words() {
    let desk = Desk::new();
    let first = r#"{"text": ["one", "two"], "label": ["A", "B"]}"#;
    desk.put("texts.jsonl", format!("{first}\n{first}\n"));
    desk.types("extract -q -i texts.jsonl --pretokenized -o means").succeeds();
    desk.types("probe means").fails().says("extract with --emit word");
    desk.types("extract -q -i texts.jsonl --pretokenized -e word -o words").succeeds();
    let lines = String::from_utf8(desk.read("words/texts.jsonl")).expect("UTF-8");
    let longer = lines.replacen(r#"["A", "B"]"#, r#"["A", "B", "A"]"#, 1);
    assert_ne!(lines, longer);
    desk.put("words/texts.jsonl", longer);
    desk.types("probe words").fails().says_all(&["line 1", "3 entries, and the text has 2 words"]);
    desk.put("train.conll", entities(0..6));
    desk.types("extract -q -i train.conll -e word,mean -o train").succeeds();
    desk.types("probe train --emit mean").fails_as_wrong_usage().says("go with word vectors");
    desk.types("probe train --layers 3,9").fails_as_wrong_usage().says("layer 9 does not exist");
    // A text that is cut loses the vectors of its last words.
    desk.put("first.jsonl", format!("{{\"text\": [\"a\"]}}\n{first}\n"));
    desk.types("extract -q -i first.jsonl --pretokenized -e word -o first").succeeds();
    desk.types("probe first").fails().says_all(&["1 of 2 texts have no label", "holds 1 texts with labelled words"]);
    // Texts without words have nothing to learn from.
    desk.put("empty.jsonl", format!("{first}\n{}{first}\n", "{\"text\": [], \"label\": []}\n".repeat(5)));
    desk.types("extract -q -i empty.jsonl --pretokenized -e word -o empty").succeeds();
    desk.types("probe empty").fails().says("holds 2 texts with labelled words, fewer than the 5 folds");
    // A line too many.
    let mut lines = desk.read("train/texts.jsonl");
    lines.extend_from_within(..lines.iter().position(|&byte| byte == b'\n').map_or(0, |end| end + 1));
    desk.put("train/texts.jsonl", lines);
    desk.types("probe train").fails().says("has more than 18 lines; expected 18");
    desk.types("extract -q -i train.conll -e word --max-length 5 -o short").succeeds();
    desk.types("probe short --no-mix --layers 1").succeeds().says("have no vector");
}

#[test]
fn directories_that_do_not_go_together_are_refused() {
    let desk = desk_of_reviews();
    desk.types("extract -q -i test.jsonl --special-tokens drop -o dropped").succeeds();
    desk.types("extract -q -i test.jsonl -l 0..2 -o low").succeeds();
    desk.types("extract -q -i test.jsonl -e cls -o cls").succeeds();
    desk.types("probe train --test dropped").fails().says_all(&["--special-tokens", "extract both with the same"]);
    desk.types("probe train --test low").fails().says("has no layer_03 of mean vectors");
    desk.types("extract -q -i train.jsonl -l 1,2 --combine mean -o merged").succeeds();
    desk.types("extract -q -i test.jsonl -l 3,4 --combine mean -o higher").succeeds();
    desk.types("probe merged --test higher").fails().says("--layers ([1, 2] and [3, 4])");
    desk.types("probe train --emit max").fails().says("holds no max vectors; it has mean");
    desk.types("probe train --test nowhere").fails().says("does not exist");
    desk.put("empty/file", "");
    desk.types("probe empty").fails().says("has no manifest.json");
    desk.put("full/file", "");
    desk.types("probe train --test test -o full").fails().says("something else than a report");
    desk.types("probe -q train --test test --layers 2 --no-mix -o report").succeeds();
    let files = desk.files("report");
    desk.types("probe train --test test -o report").fails().says("--overwrite");
    assert_eq!(desk.files("report"), files);
}

#[test]
fn a_number_that_is_none_is_named() {
    let desk = desk_of_reviews();
    let mut array = desk.read("train/mean/layer_02.npy");
    let at = array.len() - 4;
    array[at..].copy_from_slice(&f32::NAN.to_le_bytes());
    desk.put("train/mean/layer_02.npy", &array);
    desk.types("probe train --test test").fails().says_all(&["mean/layer_02.npy", "checksum", "layerwise verify"]);
    let mut manifest = desk.json("train/manifest.json");
    let start = usize::from(u16::from_le_bytes([array[8], array[9]])) + 10;
    manifest["crc32"]["mean/layer_02.npy"] = format!("{:08x}", crc32fast::hash(&array[start..])).into();
    desk.put("train/manifest.json", manifest.to_string());
    desk.types("probe train --test test").fails().says("row 95 holds a number that is not finite");
    desk.types("probe train --test test --layers 3 --no-mix").succeeds();
    desk.put("train/mean/layer_03.npy", "short");
    desk.types("probe train --test test --layers 3").fails().says("has 5 bytes; expected");
}

#[test]
fn labels_that_were_changed_afterwards_are_noticed() {
    let desk = desk_of_reviews();
    let texts = String::from_utf8(desk.read("train/texts.jsonl")).expect("UTF-8");
    desk.put("train/texts.jsonl", texts.replacen("\"row\":3,", "\"row\": 3,", 1));
    desk.types("probe train --test test").fails().says_all(&["texts.jsonl", "checksum", "layerwise verify"]);
}

#[test]
fn a_report_is_tried_before_the_fit_and_shown_before_it_is_written() {
    let desk = desk_of_reviews();
    let tried = desk.types("probe train --test test -o train/texts.jsonl/report").fails();
    tried.says("train/texts.jsonl/report").prints_nothing();
    // Half of a report, as a disk that is full leaves it.
    desk.types("probe train --test test -o report").succeeds();
    let whole = desk.files("report");
    desk.remove("report/report.json");
    desk.types("probe train --test test -o report").fails().says("something else than a report");
    desk.put("report/.layerwise-report", "");
    desk.types("probe train --test test -o report").succeeds();
    assert_eq!(desk.file_names("report"), whole.keys().cloned().collect::<Vec<_>>());
}

#[cfg(unix)]
#[test]
fn a_report_that_the_disk_has_no_room_for_is_shown_and_written_later() {
    let desk = desk_of_reviews();
    let full = desk.types_in_shell("trap '' XFSZ; ulimit -f 2;", "probe train --test test -o report").ends_with(1);
    full.says("report").prints("layer");
    desk.types("probe train --test test -o report").succeeds();
    assert!(!desk.has("report/.layerwise-report"));
}

#[test]
fn a_report_belongs_to_its_model() {
    let desk = desk_of_reviews();
    desk.types("probe -q train --test test -o report").succeeds();
    let mut report = desk.json("report/report.json");
    desk.types("predict nowhere x").fails().says("has no report.json");
    report["model"]["sha256"]["config.json"] = "0".repeat(64).into();
    desk.put("report/report.json", report.to_string());
    desk.types("predict report x").fails().says_all(&["of another model", "config.json"]);
    desk.put("report/report.json", "{}");
    desk.types("predict report x").fails().says("is not a report of layerwise");
    desk.put("report/report.json", format!("{}{}", "[".repeat(200), "]".repeat(200)));
    let deep =
        "is damaged: it is nested deeper than 127 levels at line 1 column 128, as no file of this kind is; probe anew";
    desk.types("predict report x").fails().says_all(&["report.json", deep]);
}

#[test]
fn other_vectors_and_other_files() {
    let desk = Desk::new();
    desk.put("texts.jsonl", reviews(0..6));
    desk.types("extract -q -i texts.jsonl -e mean,sentence,pooler -f safetensors --dtype f16 -o plain").succeeds();
    desk.types("extract -q -i texts.jsonl -e mean -l 2,4 --combine concat -o combined").succeeds();
    for (from, emit) in [("plain", "mean"), ("plain", "pooler"), ("combined", "mean")] {
        desk.types(&format!("probe {from} --emit {emit} --no-control -o report --overwrite"))
            .succeeds()
            .prints("Best:");
        assert!(number(&best(&desk.json("report/report.json"))["score"]) > 0.8, "{from} {emit}");
        desk.types("predict report 'The film was brilliant.' 'The film was dreadful.'")
            .succeeds()
            .prints_all(&["good\t", "bad\t"]);
    }
}

/// What a probe reads of Parquet files is what it reads of arrays, to the last byte of its report.
#[cfg(feature = "parquet")]
#[test]
fn a_report_does_not_depend_on_the_format() {
    let put = |desk: &Desk| {
        desk.put("train.jsonl", reviews(0..4));
        desk.put("test.jsonl", reviews(6..8));
        desk.put("train.conll", entities(0..4));
        desk.put("test.conll", entities(8..9));
    };
    let desks = [Desk::new(), Desk::new()];
    desks.iter().for_each(put);
    for (input, emit, probe) in [
        ("jsonl", "-e mean,sentence -l 0,-1", "--folds 3"),
        ("jsonl", "-e mean -l 1,2 --dtype f16", "--test test --folds 3"),
        ("conll", "-e word,token -l 2 --overflow window --max-length 8", "--test test --strength 1"),
        ("conll", "-e word -l 1,3", "--test test --strength 1 --memory 0"),
    ] {
        let reports = [("npy", &desks[0]), ("parquet --part-texts 16", &desks[1])].map(|(format, desk)| {
            for part in ["train", "test"] {
                let job = format!("extract -q -i {part}.{input} {emit} -f {format} -o {part} --overwrite");
                desk.types(&job).succeeds();
            }
            let ran = desk.types(&format!("probe train {probe} -o report --overwrite")).succeeds();
            let mut files = desk.files("report");
            let report = String::from_utf8(files.remove("report.json").expect("a report")).expect("UTF-8");
            let mut report: Value = serde_json::from_str(&report).expect("JSON");
            let plan = report["plan"].as_object_mut().expect("a plan");
            plan.shift_remove("part_texts");
            assert!(plan.shift_remove("format").is_some_and(|found| format.starts_with(found.as_str().unwrap_or("?"))));
            without_seconds(&mut report);
            // The plan is in its header as well.
            let heads = files.get_mut("heads.safetensors").expect("heads");
            let header = u64::from_le_bytes(*heads.first_chunk().expect("a length")) as usize;
            heads.drain(..8 + header);
            (ran.stdout(), report, files)
        });
        let [arrays, tables] = &reports;
        assert_eq!(arrays.0, tables.0, "{input} {emit}");
        assert_eq!(arrays.1, tables.1, "{input} {emit}");
        assert!(arrays.2.keys().eq(tables.2.keys()) && arrays.2 == tables.2, "{input} {emit}");
    }
    let [_, desk] = &desks;
    desk.types("predict report 'Anna Smith went to Oslo .' --pretokenized").succeeds().prints("Anna");
    // What is not what the manifest says is refused, and so is what it cannot be.
    let good = desk.read("train/word/part-00000.parquet");
    let mut bad = good.clone();
    bad[100] ^= 1;
    desk.put("train/word/part-00000.parquet", bad);
    desk.types("probe train --test test --strength 1").fails().says_all(&["part-00000.parquet", "checksum"]);
    let other = desk.read("test/word/part-00000.parquet");
    desk.put("train/word/part-00000.parquet", &other);
    let mut manifest = desk.json("train/manifest.json");
    manifest["crc32"]["word/part-00000.parquet"] = format!("{:08x}", crc32fast::hash(&other)).into();
    desk.put("train/manifest.json", manifest.to_string());
    desk.types("probe train --test test --strength 1").fails().says_all(&["the files of word have", "expected"]);
}

/// How long things took is no part of a result.
#[cfg(feature = "parquet")]
fn without_seconds(value: &mut Value) {
    match value {
        Value::Object(entries) => {
            entries.shift_remove("seconds");
            entries.values_mut().for_each(without_seconds);
        }
        Value::Array(entries) => entries.iter_mut().for_each(without_seconds),
        _ => {}
    }
}
