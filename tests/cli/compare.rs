//! `compare`: texts, or a word in them, by their cosines at every layer.

use serde_json::Value;

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
fn what_cannot_be_compared_is_said() {
    let desk = Desk::with("width1");
    desk.types("compare alone").fails_as_wrong_usage();
    let ran = desk.types("compare -m width1 --word bank 'the bank' 'the river'").fails_as_wrong_usage();
    ran.says_all(&["text 2", "bank", "the river"]);
    let long = "hello ".repeat(2000);
    desk.types(&format!("compare -m width1 'hello' '{long}'")).succeeds().says_all(&["text 2", "cut off"]);
}
