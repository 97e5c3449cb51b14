//! The column of spans: stretches of a text that get vectors of their own.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::json_value::{kind, without_line};
use super::record::{Record, Span, Text};

/// Most spans of a text. Each needs memory until its text ends.
const MOST: usize = 1 << 20;

/// A column's value in JSON.
#[derive(Deserialize)]
#[serde(untagged)]
enum Spelled {
    One([usize; 2]),
    Several(Vec<[usize; 2]>),
}

/// The spans of a value of JSON: `[start, end]`, a list of such, or null for none.
pub(super) fn of_value(value: &RawValue, name: &str, text: &Text) -> Result<Vec<Span>, String> {
    let wrong =
        |what: &str| Err(format!("has {what} as `{name}`; expected [start, end] or a list of such, in {}", unit(text)));
    let spans = match kind(value) {
        "null" => return Ok(Vec::new()),
        "a list" => match serde_json::from_str(value.get()) {
            Ok(Spelled::One(span)) => vec![span],
            Ok(Spelled::Several(spans)) => spans,
            Err(error) if error.is_syntax() => return wrong(&without_line(&error)),
            Err(_) => return wrong("a list of something else"),
        },
        other => return wrong(other),
    };
    checked(spans, name, text)
}

/// The spans of a cell of a table: `start:end`, separated by spaces.
pub(super) fn of_cell(cell: &str, name: &str, text: &Text) -> Result<Vec<Span>, String> {
    let span = |spelled: &str| {
        let ends = spelled.split_once(':').and_then(|(start, end)| Some([start.parse().ok()?, end.parse().ok()?]));
        ends.ok_or_else(|| {
            format!("has `{spelled}` in `{name}`; expected start:end in {}, several separated by spaces", unit(text))
        })
    };
    checked(cell.split_ascii_whitespace().map(span).collect::<Result<_, _>>()?, name, text)
}

impl Record {
    /// The record with spans of its text, for [`VectorKind::Span`](crate::VectorKind::Span).
    ///
    /// # Errors
    /// A message that names the span which does not lie in the text, or is empty.
    pub fn with_spans(self, spans: impl IntoIterator<Item = [usize; 2]>) -> Result<Self, String> {
        let spans = checked(spans.into_iter().collect(), "spans", &self.text)?;
        Ok(Self { spans: Some(spans), ..self })
    }
}

fn unit(text: &Text) -> &'static str {
    if text.words.is_some() { "words" } else { "characters" }
}

/// The spans, which all lie in the text and are not empty.
fn checked(spans: Vec<[usize; 2]>, name: &str, text: &Text) -> Result<Vec<Span>, String> {
    if spans.len() > MOST {
        return Err(format!("has {} spans in `{name}`; expected at most {MOST}", spans.len()));
    }
    let length = match &text.words {
        Some(words) => words.len(),
        None => text.text.chars().count(),
    };
    let span = |[start, end]: [usize; 2]| match start.cmp(&end) {
        _ if end > length => {
            Err(format!("has the span [{start}, {end}] in `{name}`, and the text ends at {length} ({})", unit(text)))
        }
        std::cmp::Ordering::Less => Ok(start..end),
        std::cmp::Ordering::Equal => Err(format!("has the span [{start}, {end}] in `{name}`, which is empty")),
        std::cmp::Ordering::Greater => {
            Err(format!("has the span [{start}, {end}] in `{name}`, which ends before it starts"))
        }
    };
    spans.into_iter().map(span).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of_json(spelled: &str, text: &Text) -> Result<Vec<Span>, String> {
        of_value(&RawValue::from_string(spelled.to_owned()).unwrap(), "at", text)
    }

    #[test]
    fn characters_and_words_are_counted() {
        let raw = Text { text: "é\u{1f642}b".to_owned(), words: None };
        let words = Text::of_words(["New York", "x"]);
        assert_eq!(of_json("[0, 3]", &raw).unwrap(), [0..3]);
        assert_eq!(of_json("[[1, 2], [0,3]]", &raw).unwrap(), [1..2, 0..3]);
        assert!(of_json("[]", &raw).unwrap().is_empty());
        assert!(of_json("null", &raw).unwrap().is_empty());
        assert_eq!(of_cell(" 0:1  1:3 ", "at", &raw).unwrap(), [0..1, 1..3]);
        assert!(of_cell("", "at", &raw).unwrap().is_empty());
        assert_eq!(of_cell("0:2", "at", &words).unwrap(), [0..2]);
        for (spelled, says) in [
            ("[0, 4]", "has the span [0, 4] in `at`, and the text ends at 3 (characters)"),
            ("[[0, 1], [2, 2]]", "has the span [2, 2] in `at`, which is empty"),
            ("[2, 1]", "has the span [2, 1] in `at`, which ends before it starts"),
            ("[-1, 1]", "has a list of something else as `at`; expected [start, end] or a list of such, in characters"),
            ("[0, 1, 2]", "has a list of something else as `at`"),
            ("{\"start\": 0}", "has an object as `at`"),
            ("\"0:1\"", "has a string as `at`"),
        ] {
            assert!(of_json(spelled, &raw).unwrap_err().starts_with(says), "{spelled}: {:?}", of_json(spelled, &raw));
        }
        let wrong = of_json("[0, 3]", &words).unwrap_err();
        assert_eq!(wrong, "has the span [0, 3] in `at`, and the text ends at 2 (words)");
        for spelled in ["0", "0-1", "0:", ":1", "a:b", "0:1,1:2", "-1:2"] {
            assert!(
                of_cell(spelled, "at", &raw).unwrap_err().contains("expected start:end in characters"),
                "{spelled}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_spelling_is_spans_in_the_text_or_an_error(spelled in "[0-9: ]{0,12}", length in 0usize..12) {
            let text = Text { text: "é".repeat(length), words: None };
            if let Ok(spans) = of_cell(&spelled, "at", &text) {
                prop_assert!(spans.iter().all(|span| span.start < span.end && span.end <= length));
            }
        }
    }
}
