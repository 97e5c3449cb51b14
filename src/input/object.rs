//! JSON objects as records, for JSON Lines and JSON.

use std::fmt;

use serde::Deserialize;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;

use super::columns::{Columns, Optional, missing};
use super::entry::check_length;
use super::id_search::{LikeIds, LikeIdsReader};
use super::json_value::{kind, without_line};
use super::record::{Json, Record, Text};
use super::spans;

/// The record of an object.
pub(super) fn record(object: &Object<'_>, columns: &Columns) -> Result<Record, String> {
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
    let spans = match &columns.span_column {
        Some(name) => Some(spans::of_value(object.get(name, false)?, name, &text)?),
        None => None,
    };
    let parts = match (&spans, &text.words) {
        (Some(spans), _) => Some((spans.len(), "span")),
        (None, Some(words)) => Some((words.len(), "word")),
        (None, None) => None,
    };
    let label = value.map(|(value, name)| label(value, name, parts)).transpose()?;
    let carried =
        columns.carry.iter().map(|name| Ok((columns.carried_name(name), on_one_line(object.get(name, false)?))));
    Ok(Record { text, pair, id, label, spans, line: None, carried: carried.collect::<Result<_, String>>()? })
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

/// The id that a JSON value spells, if it does.
#[cfg(feature = "parquet")]
pub(super) fn id_of(spelled: &str) -> Option<String> {
    id(serde_json::from_str(spelled).ok()?, "id").ok()
}

/// A label, or a list of them for the parts of a text: so many, of that kind.
fn label(value: &RawValue, name: &str, parts: Option<(usize, &str)>) -> Result<Json, String> {
    let single = |value: &RawValue| !["a list", "an object", "null"].contains(&kind(value));
    match (kind(value), parts) {
        ("a list", Some((parts, part))) => {
            let labels: Vec<&RawValue> = serde_json::from_str(value.get()).map_err(|error| without_line(&error))?;
            if let Some(other) = labels.iter().find(|label| !single(label)) {
                return Err(format!("has {} among its `{name}`; expected strings, numbers or booleans", kind(other)));
            }
            if labels.len() != parts {
                return Err(format!(
                    "has {} labels in `{name}`; expected one for each of {parts} {part}s",
                    labels.len()
                ));
            }
        }
        ("a list", None) => {
            return Err(format!(
                "has a list as `{name}`; expected a string, a number or a boolean (a label for each word goes with --pretokenized, one for each span with --span-column)"
            ));
        }
        ("a string", _) => _ = string(value, name)?,
        _ if single(value) => {}
        (other, _) => return Err(format!("has {other} as `{name}`; expected a string, a number or a boolean")),
    }
    Ok(on_one_line(value))
}

/// The text of a JSON string.
pub(super) fn string(value: &RawValue, name: &str) -> Result<String, String> {
    serde_json::from_str(value.get())
        .map_err(|error| format!("has a `{name}` that is not a string of Unicode: {}", without_line(&error)))
}

/// A value without line breaks and similar white space. In valid JSON, control characters stand only between values.
fn on_one_line(value: &RawValue) -> Json {
    let spelled = value.get();
    if !spelled.contains(['\r', '\t']) {
        return value.to_owned();
    }
    RawValue::from_string(spelled.replace(['\r', '\t'], " ")).unwrap_or_else(|_| value.to_owned())
}

/// The values of an object in order, as they are spelled.
pub(super) struct Object<'a>(Vec<(String, &'a RawValue)>);

impl<'a> Object<'a> {
    pub(super) fn find(&self, name: &str) -> Option<&'a RawValue> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| *value)
    }

    /// What it has in columns that could be the id.
    pub(super) fn like_ids(&self, columns: &Columns, reader: &mut LikeIdsReader) -> LikeIds {
        let cells = self.0.iter().map(|(name, value)| (name.as_str(), *value));
        reader.take(columns, cells, |value| id(value, "id").ok())
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
