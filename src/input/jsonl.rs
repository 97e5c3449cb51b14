//! JSON Lines: one object per line. Empty lines are skipped.

use std::io::BufRead;
use std::sync::Arc;

use super::columns::Columns;
use super::entry::{Entry, Failed, LONGEST_RECORD};
use super::id_search::{LikeIds, LikeIdsReader};
use super::json_value::without_line;
use super::lines::Lines;
use super::object::{self, Object};
use super::record::Record;

/// The objects of a reader as records.
pub(super) fn records(reader: impl BufRead, columns: Arc<Columns>) -> impl Iterator<Item = Result<Entry, Failed>> {
    let mut like_ids = LikeIdsReader::new(&columns);
    Lines::new(reader, LONGEST_RECORD).filter_map(move |line| {
        let entry = line.map_err(Failed::from).map(|line| {
            let record = match line.text.as_deref().map(str::trim_ascii) {
                Ok("") => return None,
                Ok(text) => record(text, &columns, &mut like_ids),
                Err(problem) => Err(problem.to_owned()),
            };
            Some(Entry { hides_the_rest: line.is_whole_file, ..Entry::with_like_ids(line.number, record) })
        });
        entry.transpose()
    })
}

fn record(line: &str, columns: &Columns, like_ids: &mut LikeIdsReader) -> Result<(Record, LikeIds), String> {
    let object: Object<'_> = serde_json::from_str(line).map_err(|error| {
        let way_out = match line.as_bytes() {
            [b'[', ..] => "; an array of objects is read with --input-format json",
            [b'{', ..] if error.is_eof() => "; objects over several lines are read with --input-format json",
            _ if line.starts_with('\u{feff}') => {
                "; it begins with a byte order mark, as files have that were joined: take it out, or name each with -i"
            }
            _ => "",
        };
        format!("is not a JSON object: {}; expected one object on a line{way_out}", without_line(&error))
    })?;
    Ok((object::record(&object, columns)?, object.like_ids(columns, like_ids)))
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
            (
                &plain,
                "{",
                "EOF while parsing an object at byte 1; expected one object on a line; objects over several lines",
            ),
            (&plain, "[1]", "invalid type: sequence, expected an object"),
            (&plain, "[{\"text\": \"a\"}]", "an array of objects is read with --input-format json"),
            (&plain, "\u{feff}{\"text\": \"a\"}", "begins with a byte order mark"),
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
