//! The numbers themselves: against float64 goldens, against each other, and through every way of storing them.

use half::{bf16, f16};
use serde_json::Value;

use crate::arrays::{assert_close, numbers_after};
use crate::desk::Desk;
use crate::models::golden;

const TEXTS: &str = "The quick brown fox jumps over the lazy dog.\n\nhello world\nDon't stop, river stones!\n";

fn desk_with_texts() -> Desk {
    let desk = Desk::with("width64");
    desk.put("texts.txt", TEXTS);
    desk
}

/// The token rows of each text with their word ids, from `OUT/token/layer_0{layer}.npy`.
fn tokens_of(desk: &Desk, out: &str, layer: usize) -> Vec<Vec<(Option<usize>, Vec<f32>)>> {
    let rows = desk.npy(&format!("{out}/token/layer_0{layer}.npy")).rows();
    let offsets = desk.npy(&format!("{out}/token/offsets.npy")).integers();
    desk.json_lines(&format!("{out}/texts.jsonl"))
        .iter()
        .zip(offsets.windows(2))
        .map(|(text, bounds)| {
            let words = text["word_ids"].as_array().expect("word ids").iter();
            let words = words.map(|word| word.as_u64().map(|word| word as usize));
            words.zip(rows[bounds[0] as usize..bounds[1] as usize].iter().cloned()).collect()
        })
        .collect()
}

/// Weighted sum of rows, divided.
fn weighted<'a>(rows: impl Iterator<Item = (f64, &'a Vec<f32>)>, divisor: f64) -> Vec<f32> {
    let mut sum = vec![0.0; 128];
    for (weight, row) in rows {
        sum.iter_mut().zip(row).for_each(|(sum, value)| *sum += weight * f64::from(*value));
    }
    sum.into_iter().map(|sum| (sum / divisor) as f32).collect()
}

/// A text's vector of a kind, by its definition.
fn pooled(kind: &str, rows: &[Vec<f32>]) -> Vec<f32> {
    let n = rows.len() as f64;
    let ones = || rows.iter().map(|row| (1.0, row));
    match kind {
        "cls" => rows[0].clone(),
        "lasttoken" => rows[rows.len() - 1].clone(),
        "mean" => weighted(ones(), n),
        "mean_sqrt_len" => weighted(ones(), n.sqrt()),
        "weightedmean" => weighted(rows.iter().enumerate().map(|(i, row)| (i as f64 + 1.0, row)), n * (n + 1.0) / 2.0),
        "max" => (0..128).map(|i| rows.iter().map(|row| row[i]).fold(f32::NEG_INFINITY, f32::max)).collect(),
        other => panic!("{other}"),
    }
}

const POOLINGS: [&str; 6] = ["cls", "mean", "max", "mean_sqrt_len", "weightedmean", "lasttoken"];

#[test]
fn sentence_vectors_are_poolings_of_the_token_vectors() {
    let desk = desk_with_texts();
    desk.types(&format!("extract -m width64 -i texts.txt -e token,{} -o out", POOLINGS.join(","))).succeeds();
    for layer in 0..=4 {
        for kind in POOLINGS {
            let found = desk.npy(&format!("out/{kind}/layer_0{layer}.npy")).rows();
            for (text, tokens) in tokens_of(&desk, "out", layer).into_iter().enumerate() {
                let rows: Vec<Vec<f32>> = tokens.into_iter().map(|(_, row)| row).collect();
                assert_close(&found[text], &pooled(kind, &rows), &format!("{kind}, layer {layer}, text {text}"));
            }
        }
    }
}

#[test]
fn dropped_special_tokens_have_no_rows_and_no_part_in_means() {
    let desk = desk_with_texts();
    let job = format!("extract -m width64 -i texts.txt -e token,word,{}", POOLINGS.join(","));
    desk.types(&format!("{job} -o keep")).succeeds();
    desk.types(&format!("{job} --special-tokens drop -o drop")).succeeds();
    for layer in 0..=4 {
        let kept = tokens_of(&desk, "keep", layer);
        let expected: Vec<Vec<_>> =
            kept.iter().map(|tokens| tokens.iter().filter(|(word, _)| word.is_some()).cloned().collect()).collect();
        assert_eq!(tokens_of(&desk, "drop", layer), expected);
        for kind in ["cls", "lasttoken", "word"] {
            let file = format!("{kind}/layer_0{layer}.npy");
            assert_eq!(desk.read(&format!("drop/{file}")), desk.read(&format!("keep/{file}")), "{kind}");
        }
        for kind in ["mean", "max", "mean_sqrt_len", "weightedmean"] {
            let found = desk.npy(&format!("drop/{kind}/layer_0{layer}.npy")).rows();
            for (text, tokens) in expected.iter().enumerate() {
                let rows: Vec<Vec<f32>> = tokens.iter().map(|(_, row)| row.clone()).collect();
                let expected = if rows.is_empty() { vec![0.0; 128] } else { pooled(kind, &rows) };
                assert_close(&found[text], &expected, &format!("{kind}, layer {layer}, text {text}"));
            }
        }
    }
    for (kept, dropped) in desk.json_lines("keep/texts.jsonl").iter().zip(desk.json_lines("drop/texts.jsonl")) {
        assert_eq!(dropped["n_tokens"], kept["n_tokens"], "as the model saw the text");
        let places: Vec<usize> = (0..kept["word_ids"].as_array().expect("a list").len())
            .filter(|&place| !kept["word_ids"][place].is_null())
            .collect();
        for list in ["tokens", "token_ids", "offsets", "word_ids"] {
            let expected: Value = places.iter().map(|&place| kept[list][place].clone()).collect();
            assert_eq!(dropped[list], expected, "{list}");
        }
    }
}

#[test]
fn word_vectors_are_poolings_of_the_words_tokens() {
    let desk = desk_with_texts();
    for pooling in ["first", "last", "first_last", "mean"] {
        desk.types(&format!("extract -m width64 -i texts.txt -e token,word --word-pooling {pooling} -o {pooling}"))
            .succeeds();
        for layer in [0, 4] {
            let found = desk.npy(&format!("{pooling}/word/layer_0{layer}.npy")).rows();
            let mut next = 0;
            for tokens in tokens_of(&desk, pooling, layer) {
                let words = tokens.iter().filter_map(|(word, _)| *word).max().map_or(0, |last| last + 1);
                for word in 0..words {
                    let rows: Vec<&Vec<f32>> =
                        tokens.iter().filter(|(of, _)| *of == Some(word)).map(|(_, row)| row).collect();
                    let (first, last) = (rows[0], rows[rows.len() - 1]);
                    let expected = match pooling {
                        "first" => first.clone(),
                        "last" => last.clone(),
                        "first_last" => weighted([(1.0, first), (1.0, last)].into_iter(), 2.0),
                        _ => weighted(rows.iter().map(|row| (1.0, *row)), rows.len() as f64),
                    };
                    assert_close(&found[next], &expected, &format!("{pooling}, word row {next}"));
                    next += 1;
                }
            }
            assert_eq!(next, found.len());
        }
    }
}

#[test]
fn combined_layers_are_what_their_name_says() {
    let desk = desk_with_texts();
    desk.types("extract -m width64 -i texts.txt -l 1..3 -e mean,token -o layers").succeeds();
    for how in ["concat", "mean", "sum", "max"] {
        desk.types(&format!("extract -m width64 -i texts.txt -l 1..3 -e mean,token --combine {how} -o {how}"))
            .succeeds();
        for kind in ["mean", "token"] {
            let layers: Vec<_> =
                (1..=3).map(|layer| desk.npy(&format!("layers/{kind}/layer_0{layer}.npy")).rows()).collect();
            for (index, found) in desk.npy(&format!("{how}/{kind}/{how}.npy")).rows().iter().enumerate() {
                let rows: Vec<&Vec<f32>> = layers.iter().map(|layer| &layer[index]).collect();
                let ones = || rows.iter().map(|row| (1.0, *row));
                match how {
                    "concat" => assert_eq!(*found, rows.into_iter().flatten().copied().collect::<Vec<_>>()),
                    "mean" => assert_close(found, &weighted(ones(), 3.0), how),
                    "sum" => assert_close(found, &weighted(ones(), 1.0), how),
                    _ => assert_eq!(*found, pooled("max", &rows.into_iter().cloned().collect::<Vec<_>>())),
                }
            }
        }
    }
}

#[test]
fn normalized_sentence_vectors_have_length_one() {
    let desk = desk_with_texts();
    let job = "extract -m width64 -i texts.txt -l 0,4 -e token,mean,cls,pooler,sentence";
    desk.types(&format!("{job} -o plain")).succeeds();
    desk.types(&format!("{job} --normalize -o unit")).succeeds();
    let length = |row: &[f32]| row.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
    for file in ["mean/layer_00", "mean/layer_04", "cls/layer_04", "pooler", "sentence"] {
        let plain = desk.npy(&format!("plain/{file}.npy")).rows();
        for (unit, plain) in desk.npy(&format!("unit/{file}.npy")).rows().iter().zip(plain) {
            assert!((length(unit) - 1.0).abs() < 1e-6, "{file}");
            let expected: Vec<f32> = plain.iter().map(|value| (f64::from(*value) / length(&plain)) as f32).collect();
            assert_close(unit, &expected, file);
        }
    }
    for file in ["token/layer_00.npy", "token/layer_04.npy"] {
        let (unit, plain) = (desk.read(&format!("unit/{file}")), desk.read(&format!("plain/{file}")));
        assert_eq!(unit, plain, "token vectors are left as they are");
    }
}

#[test]
fn the_models_own_sentence_embedding_is_the_golden_one() {
    let desk = Desk::with("width64");
    desk.types("extract -m width64 'hello world' -e sentence,pooler,mean -o out").succeeds();
    let golden = std::fs::read(golden("width64").join("golden.safetensors")).expect("goldens");
    let golden = safetensors::SafeTensors::deserialize(&golden).expect("safetensors");
    let truth = |name: &str| -> Vec<f32> {
        let tensor = golden.tensor(name).expect("a golden tensor");
        tensor.data().as_chunks::<8>().0.iter().map(|&bytes| f64::from_le_bytes(bytes) as f32).collect()
    };
    assert_close(&desk.npy("out/sentence.npy").numbers(), &truth("0.sentence"), "sentence");
    for layer in 0..=4 {
        let mean = desk.npy(&format!("out/mean/layer_0{layer}.npy")).numbers();
        let truth = truth(&format!("0.mean.{layer}"));
        let error = mean.iter().zip(&truth).map(|(mean, truth)| (mean - truth).abs()).fold(0.0, f32::max);
        assert!(error < 1e-5, "layer {layer}: {error:e}");
    }
}

#[test]
fn smaller_types_hold_the_rounded_numbers() {
    let desk = desk_with_texts();
    let job = "extract -m width64 -i texts.txt -e token,word,mean,pooler";
    desk.types(&format!("{job} -o f32")).succeeds();
    desk.types(&format!("{job} --dtype f16 -o f16")).succeeds();
    desk.types(&format!("{job} --dtype f16 -f safetensors -o f16-st")).succeeds();
    desk.types(&format!("{job} --dtype bf16 -f safetensors -o bf16-st")).succeeds();
    let (halves, brains) = (desk.npy_arrays("f16"), desk.safetensors_arrays("bf16-st"));
    assert_eq!(halves, desk.safetensors_arrays("f16-st"));
    for (name, full) in desk.npy_arrays("f32") {
        if name.ends_with("offsets") {
            assert_eq!((&halves[&name], &brains[&name]), (&full, &full));
            continue;
        }
        assert_eq!((halves[&name].dtype.as_str(), &halves[&name].shape), ("f16", &full.shape));
        assert_eq!((brains[&name].dtype.as_str(), &brains[&name].shape), ("bf16", &full.shape));
        let round = |to: fn(f32) -> f32| full.numbers().into_iter().map(to).collect::<Vec<_>>();
        assert_eq!(halves[&name].numbers(), round(|number| f16::from_f32(number).to_f32()), "{name}");
        assert_eq!(brains[&name].numbers(), round(|number| bf16::from_f32(number).to_f32()), "{name}");
    }
}

#[test]
fn safetensors_hold_the_numbers_of_npy() {
    let desk = desk_with_texts();
    let job = "extract -m width64 -i texts.txt -e token,word,mean,max,pooler,sentence";
    desk.types(&format!("{job} -o npy")).succeeds();
    desk.types(&format!("{job} -f safetensors -o st")).succeeds();
    assert_eq!(desk.safetensors_arrays("st"), desk.npy_arrays("npy"));
    assert_eq!(desk.read("st/texts.jsonl"), desk.read("npy/texts.jsonl"));
}

#[test]
fn json_lines_hold_the_numbers_of_npy() {
    let desk = desk_with_texts();
    for special in ["keep", "drop"] {
        let job = format!("extract -m width64 -i texts.txt -e token,word,mean,pooler --special-tokens {special}");
        let out = format!("out-{special}");
        desk.types(&format!("{job} -o {out}")).succeeds();
        let printed = desk.types(&job).succeeds().stdout();
        let lines: Vec<&str> = printed.lines().collect();
        let texts = desk.json_lines(&format!("{out}/texts.jsonl"));
        assert_eq!(lines.len(), texts.len());
        let pooler = desk.npy(&format!("{out}/pooler.npy")).rows();
        for (row, line) in lines.iter().enumerate() {
            let parsed: Value = serde_json::from_str(line).expect("JSON");
            assert_eq!((&parsed["row"], &parsed["id"]), (&row.into(), &Value::Null));
            assert_eq!(parsed["tokens"], texts[row]["tokens"]);
            assert_eq!(parsed["layers"].as_array().map(Vec::len), Some(5));
            assert_eq!(numbers_after(line, "pooler", 0), pooler[row]);
            for layer in 0..=4 {
                assert_eq!(parsed["layers"][layer]["layer"], layer);
                for kind in ["token", "word", "mean"] {
                    let rows = desk.npy(&format!("{out}/{kind}/layer_0{layer}.npy")).rows();
                    let bounds = match kind {
                        "mean" => row..row + 1,
                        _ => {
                            let offsets = desk.npy(&format!("{out}/{kind}/offsets.npy")).integers();
                            offsets[row] as usize..offsets[row + 1] as usize
                        }
                    };
                    assert_eq!(numbers_after(line, kind, layer), rows[bounds].concat(), "{kind}, layer {layer}");
                }
            }
        }
    }
}

#[test]
fn json_lines_of_combined_layers_and_of_smaller_types() {
    let desk = desk_with_texts();
    let job = "extract -m width64 -i texts.txt -e mean --combine max --dtype f16";
    desk.types(&format!("{job} -o out")).succeeds();
    let printed = desk.types(job).succeeds();
    let rows = desk.npy("out/mean/max.npy").rows();
    for (line, row) in printed.stdout().lines().zip(rows) {
        assert_eq!(numbers_after(line, "mean", 0), row);
    }
    assert_eq!(printed.json_lines()[0]["layers"][0]["layer"], "max");
    assert_eq!(printed.json_lines()[0]["layers"].as_array().map(Vec::len), Some(1));
}
