//! JSON Lines: an object a line. Empty lines are skipped.

use std::fmt;
use std::io::BufRead;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;

use super::columns::{Columns, Optional, missing};
use super::lines::Lines;
use super::{Entry, Failed, Json, LONGEST_RECORD, Record, Text, check_length};

/// The objects of a reader as records.
pub(super) fn records(reader: impl BufRead, columns: Arc<Columns>) -> impl Iterator<Item = Result<Entry, Failed>> {
    Lines::new(reader, LONGEST_RECORD).filter_map(move |line| {
        let entry = line.map_err(Failed::from).map(|line| {
            let record = match line.text.as_deref().map(str::trim_ascii) {
                Ok("") => return None,
                Ok(text) => record(text, &columns),
                Err(problem) => Err(problem.to_owned()),
            };
            Some(Entry { line: line.number, record })
        });
        entry.transpose()
    })
}

fn record(line: &str, columns: &Columns) -> Result<Record, String> {
    let object: Object<'_> = serde_json::from_str(line)
        .map_err(|error| format!("is not a JSON object: {}; expected one object on a line", without_line(&error)))?;
    let text = text(object.get(columns.text(), columns.text_column.is_none())?, columns.text(), columns.pretokenized)?;
    let pair = match &columns.pair_column {
        Some(name) => Some(self::text(object.get(name, false)?, name, columns.pretokenized)?),
        None => None,
    };
    let id = match columns.id() {
        Optional::Named(name) => Some(id(object.get(name, false)?, name)?),
        Optional::IfThere(name) => match object.find(name) {
            Some(value) if value.get() != "null" => Some(id(value, name)?),
            _ => None,
        },
        Optional::No => None,
    };
    let value = match columns.label() {
        Optional::Named(name) => Some((object.get(name, false)?, name)),
        Optional::IfThere(name) => object.find(name).map(|value| (value, name)),
        Optional::No => None,
    };
    let value = value.filter(|(value, _)| value.get() != "null");
    let label = value.map(|(value, name)| label(value, name, &text)).transpose()?;
    let carried = columns.carry.iter().map(|name| Ok((name.clone(), on_one_line(object.get(name, false)?))));
    Ok(Record { text, pair, id, label, carried: carried.collect::<Result<_, String>>()? })
}

fn text(value: &RawValue, name: &str, pretokenized: bool) -> Result<Text, String> {
    let text = match kind(value) {
        "a string" => Text::of_line(string(value, name)?, pretokenized),
        "a list" if pretokenized => {
            let words: Vec<String> = serde_json::from_str(value.get())
                .map_err(|error| format!("has a `{name}` that is no list of words: {}", without_line(&error)))?;
            Text::of_words(words.iter().map(String::as_str))
        }
        "a list" => {
            return Err(format!(
                "has a list as `{name}`; expected a string (a list of words goes with --pretokenized)"
            ));
        }
        other => return Err(format!("has {other} as `{name}`; expected a string")),
    };
    check_length(&text, name)?;
    Ok(text)
}

fn id(value: &RawValue, name: &str) -> Result<String, String> {
    match kind(value) {
        "a string" => string(value, name),
        "a number" => Ok(value.get().to_owned()),
        other => Err(format!("has {other} as `{name}`; expected a string or a number")),
    }
}

fn label(value: &RawValue, name: &str, text: &Text) -> Result<Json, String> {
    let single = |value: &RawValue| !["a list", "an object", "null"].contains(&kind(value));
    match (kind(value), &text.words) {
        ("a list", Some(words)) => {
            let labels: Vec<&RawValue> = serde_json::from_str(value.get()).map_err(|error| without_line(&error))?;
            if let Some(other) = labels.iter().find(|label| !single(label)) {
                return Err(format!("has {} among its `{name}`; expected strings, numbers or booleans", kind(other)));
            }
            if labels.len() != words.len() {
                return Err(format!(
                    "has {} labels in `{name}`; expected one for each of {} words",
                    labels.len(),
                    words.len()
                ));
            }
        }
        ("a list", None) => {
            return Err(format!(
                "has a list as `{name}`; expected a string, a number or a boolean (a label for each word goes with --pretokenized)"
            ));
        }
        ("a string", _) => _ = string(value, name)?,
        _ if single(value) => {}
        (other, _) => return Err(format!("has {other} as `{name}`; expected a string, a number or a boolean")),
    }
    Ok(on_one_line(value))
}

fn string(value: &RawValue, name: &str) -> Result<String, String> {
    serde_json::from_str(value.get())
        .map_err(|error| format!("has a `{name}` that is not a string of Unicode: {}", without_line(&error)))
}

/// A value without white space that some readers take for line ends. In JSON, control characters stand between values only.
fn on_one_line(value: &RawValue) -> Json {
    let spelled = value.get();
    if !spelled.contains(['\r', '\t']) {
        return value.to_owned();
    }
    RawValue::from_string(spelled.replace(['\r', '\t'], " ")).unwrap_or_else(|_| value.to_owned())
}

fn kind(value: &RawValue) -> &'static str {
    match value.get().as_bytes()[0] {
        b'"' => "a string",
        b'[' => "a list",
        b'{' => "an object",
        b'n' => "null",
        b't' | b'f' => "a boolean",
        _ => "a number",
    }
}

/// What is wrong, with the column; the line is known better elsewhere.
fn without_line(error: &serde_json::Error) -> String {
    let told = error.to_string();
    match told.rsplit_once(" at line ") {
        Some((problem, _)) => format!("{problem} at byte {}", error.column()),
        None => told,
    }
}

/// An object's values as they are spelled, in their order.
struct Object<'a>(Vec<(String, &'a RawValue)>);

impl<'a> Object<'a> {
    fn find(&self, name: &str) -> Option<&'a RawValue> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| *value)
    }

    fn get(&self, name: &str, by_default: bool) -> Result<&'a RawValue, String> {
        self.find(name).ok_or_else(|| {
            let advice = if by_default { "; --text-column says which one is the text" } else { "" };
            missing(name, self.0.iter().map(|(key, _)| key.as_str()), advice)
        })
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;

        impl<'de> Visitor<'de> for Pairs {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object<'de>, A::Error> {
                let mut pairs: Vec<(String, &'de RawValue)> = Vec::new();
                while let Some((key, value)) = map.next_entry::<String, &'de RawValue>()? {
                    pairs.push((key, value));
                }
                let mut keys = pairs.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>();
                keys.sort_unstable();
                match keys.windows(2).find(|pair| pair[0] == pair[1]) {
                    Some(pair) => Err(serde::de::Error::custom(format_args!("the key `{}` is there twice", pair[0]))),
                    None => Ok(Object(pairs)),
                }
            }
        }

        deserializer.deserialize_map(Pairs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn read(lines: &str, columns: &Columns) -> Vec<Result<Record, String>> {
        records(lines.as_bytes(), Arc::new(columns.clone())).map(|entry| entry.unwrap().record).collect()
    }

    fn columns(text: &str) -> Columns {
        Columns { text_column: Some(text.to_owned()), ..Columns::default() }
    }

    #[test]
    fn values_are_taken_as_they_are_spelled() {
        let columns = Columns { carry: ["big", "list"].map(str::to_owned).to_vec(), ..Columns::default() };
        let lines = "\n{\"id\": 1e2, \"label\": 1.50, \"text\": \"a\\u00e9\\n\", \"big\": 12345678901234567890123, \"list\": [1,\r\t{}]}\n  \n";
        let record = read(lines, &columns).remove(0).unwrap();
        assert_eq!((record.text.text.as_str(), record.id.as_deref()), ("aé\n", Some("1e2")));
        assert_eq!(record.label.unwrap().get(), "1.50");
        let carried = record.carried.iter().map(|(name, value)| (name.as_str(), value.get())).collect::<Vec<_>>();
        assert_eq!(carried, [("big", "12345678901234567890123"), ("list", "[1,  {}]")]);
        let record = read("{\"text\": \"\", \"id\": null, \"label\": null}", &Columns::default()).remove(0).unwrap();
        assert!(record.id.is_none() && record.label.is_none());
    }

    #[test]
    fn words_and_a_label_for_each() {
        let columns = Columns { pretokenized: true, pair_column: Some("b".to_owned()), ..Columns::default() };
        let record =
            read(r#"{"text": ["New York", "x"], "b": "c  d", "label": ["B", 0]}"#, &columns).remove(0).unwrap();
        assert_eq!(record.text.words.unwrap(), [0..8, 9..10]);
        assert_eq!(record.pair.unwrap().words.unwrap(), [0..1, 3..4]);
        assert_eq!(record.label.unwrap().get(), r#"["B", 0]"#);
    }

    #[test]
    fn what_is_wrong_is_told() {
        let plain = Columns::default();
        let words = Columns { pretokenized: true, ..Columns::default() };
        let named = |id: &str| Columns { id_column: Some(id.to_owned()), ..Columns::default() };
        let carry = Columns { carry: vec!["x".to_owned()], ..Columns::default() };
        for (columns, line, says) in [
            (&plain, "{\"text\": \"a\"", "is not a JSON object: EOF while parsing an object at byte 12"),
            (&plain, "[1]", "invalid type: sequence, expected an object"),
            (&plain, "\"a\"", "expected an object"),
            (&plain, "{\"text\": \"a\"} {}", "trailing characters"),
            (&plain, "{\"text\": \"a\", \"text\": \"b\"}", "the key `text` is there twice"),
            (&plain, "{\"text\": NaN}", "expected value"),
            (
                &plain,
                "{\"texts\": \"a\"}",
                "has no column `text`; it has `texts`; --text-column says which one is the text; did you mean `texts`?",
            ),
            (&plain, "{\"text\": null}", "has null as `text`; expected a string"),
            (&plain, "{\"text\": 5}", "has a number as `text`; expected a string"),
            (
                &plain,
                "{\"text\": [\"a\"]}",
                "has a list as `text`; expected a string (a list of words goes with --pretokenized)",
            ),
            (&plain, "{\"text\": \"\\ud800\"}", "not a string of Unicode"),
            (&plain, "{\"text\": \"a\", \"id\": [1]}", "has a list as `id`; expected a string or a number"),
            (&plain, "{\"text\": \"a\", \"label\": {}}", "has an object as `label`"),
            (&plain, "{\"text\": \"a\", \"label\": [1]}", "a label for each word goes with --pretokenized"),
            (
                &words,
                "{\"text\": \"a b\", \"label\": [1]}",
                "has 1 labels in `label`; expected one for each of 2 words",
            ),
            (&words, "{\"text\": \"a\", \"label\": [null]}", "has null among its `label`"),
            (&words, "{\"text\": [\"a\", 1]}", "no list of words"),
            (&words, "{\"text\": {}}", "has an object as `text`"),
            (&named("id"), "{\"text\": \"a\", \"id\": null}", "has null as `id`"),
            (&named("key"), "{\"text\": \"a\"}", "has no column `key`"),
            (&carry, "{\"text\": \"a\"}", "has no column `x`"),
        ] {
            let problem = read(line, columns).remove(0).expect_err(line);
            assert!(problem.contains(says), "{line}: {problem}");
        }
        let deep = format!("{{\"text\": \"a\", \"x\": {}}}", "[".repeat(500_000) + &"]".repeat(500_000));
        assert!(read(&deep, &plain).remove(0).is_ok(), "what is not asked for may nest as it likes");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(texts in proptest::collection::vec((any::<String>(), any::<String>(), any::<Option<i64>>()), 0..10)) {
            let lines: String = texts.iter().map(|(text, id, n)| format!("{}\n", json!({"t": text, "id": id, "label": n}))).collect();
            let found = read(&lines, &columns("t"));
            prop_assert_eq!(found.len(), texts.len());
            for (found, (text, id, n)) in found.into_iter().zip(&texts) {
                let found = found.unwrap();
                prop_assert_eq!(&found.text.text, text);
                prop_assert_eq!(found.id.as_ref(), Some(id));
                let label = found.label.map(|label| serde_json::from_str::<Value>(label.get()).unwrap());
                prop_assert_eq!(label, n.map(Value::from));
            }
        }

        #[test]
        fn no_line_is_a_surprise(line in r#"[\[\]{}",: a0\\n]{0,40}"#, pretokenized: bool) {
            read(&line, &Columns { pretokenized, ..columns("a") });
        }
    }
}
