//! Folders that change one setting of a published model, and what transformers and sentence-transformers make of them
//! (`tests/published/make.py`): the same ids, types and sentence vectors, or a refusal that names the setting.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde_json::json;

use crate::desk::Desk;

/// Of a number of a sentence vector; the goldens are PyTorch's float32, rounded.
const TOLERANCE: f32 = 2e-6;

#[derive(Deserialize)]
struct Cases {
    contents: BTreeMap<String, Content>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Content {
    Text(String),
    Hex(String),
}

#[derive(Deserialize)]
struct Case {
    name: String,
    files: BTreeMap<String, String>,
    tokens: Vec<Tokens>,
    sentences: Vec<Sentence>,
    tokens_refused: Option<Vec<String>>,
    sentence_refused: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Tokens {
    text: String,
    pair: Option<String>,
    ids: Vec<u32>,
    types: Vec<u32>,
}

#[derive(Deserialize)]
struct Sentence {
    text: String,
    vector: Vec<f32>,
}

impl Content {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Content::Text(text) => text.clone().into_bytes(),
            Content::Hex(digits) => {
                let pairs = digits.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).expect("digits"));
                pairs.map(|pair| u8::from_str_radix(pair, 16).expect("hexadecimal digits")).collect()
            }
        }
    }
}

/// What differs in a case, if anything does.
fn problem(case: &Case, contents: &BTreeMap<String, Content>, weights: &[u8]) -> Option<String> {
    let desk = Desk::new();
    for (name, content) in &case.files {
        match contents.get(content) {
            Some(content) => desk.put(&format!("model/{name}"), content.bytes()),
            None => desk.put(&format!("model/{name}"), weights),
        }
    }
    let lines = |rows: Vec<serde_json::Value>| rows.iter().map(|row| format!("{row}\n")).collect::<String>();
    let refused = |ran: &crate::desk::Ran, names: &[String]| {
        let says = ran.stderr();
        let fails =
            matches!(ran.code(), Some(1 | 2)) && (names.is_empty() || names.iter().any(|name| says.contains(name)));
        (!fails).then(|| format!("was to be refused naming one of {names:?}, and says {says}"))
    };

    // Single texts and pairs are jobs of their own.
    for of_pairs in [false, true] {
        let rows: Vec<&Tokens> = case.tokens.iter().filter(|row| row.pair.is_some() == of_pairs).collect();
        let options = if of_pairs { "--pair-column b" } else { "" };
        let job = format!("extract -m model -e token -l -1 --input-format jsonl {options} -i - -o tokens --overwrite");
        if let Some(names) = &case.tokens_refused {
            let ran = desk.types_into(&job, "{\"text\": \"hello\", \"b\": \"boat\"}\n");
            if let Some(problem) = refused(&ran, names) {
                return Some(problem);
            }
            continue;
        }
        if rows.is_empty() {
            continue;
        }
        let ran =
            desk.types_into(&job, lines(rows.iter().map(|row| json!({"text": row.text, "b": row.pair})).collect()));
        if ran.code() != Some(0) {
            return Some(format!("tokens: {}", ran.stderr()));
        }
        for (row, found) in rows.iter().zip(desk.json_lines("tokens/texts.jsonl")) {
            if found["token_ids"] != json!(row.ids) {
                return Some(format!("{:?}: ids {} instead of {:?}", row.text, found["token_ids"], row.ids));
            }
            if of_pairs && found["token_type_ids"] != json!(row.types) {
                return Some(format!("{:?}: types {} instead of {:?}", row.text, found["token_type_ids"], row.types));
            }
        }
    }

    let job = "extract -m model -e sentence --input-format jsonl -i - -o sentences";
    if let Some(names) = &case.sentence_refused {
        return refused(&desk.types_into(job, "{\"text\": \"hello\"}\n"), names);
    }
    if case.sentences.is_empty() {
        return None;
    }
    let ran = desk.types_into(job, lines(case.sentences.iter().map(|row| json!({"text": row.text})).collect()));
    if ran.code() != Some(0) {
        return Some(format!("sentences: {}", ran.stderr()));
    }
    for (row, found) in case.sentences.iter().zip(desk.npy("sentences/sentence.npy").rows()) {
        let scale = row.vector.iter().fold(1.0f32, |largest, number| largest.max(number.abs()));
        let off = found.iter().zip(&row.vector).map(|(found, right)| (found - right).abs()).fold(0.0, f32::max);
        if found.len() != row.vector.len() || off > TOLERANCE * scale {
            return Some(format!("{:?}: {} numbers, off by {off}", row.text, found.len()));
        }
    }
    None
}

#[test]
fn folders_that_change_one_setting_give_what_transformers_gives() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/published");
    let cases: Cases = serde_json::from_slice(&fs::read(folder.join("cases.json")).expect("cases")).expect("JSON");
    let weights = fs::read(folder.join("model.safetensors")).expect("weights");
    assert!(cases.cases.len() > 200, "as many as there were");
    let problems: Vec<String> = cases
        .cases
        .iter()
        .filter_map(|case| Some(format!("{}: {}", case.name, problem(case, &cases.contents, &weights)?)))
        .collect();
    assert!(problems.is_empty(), "{} of {}:\n{}", problems.len(), cases.cases.len(), problems.join("\n"));
}
