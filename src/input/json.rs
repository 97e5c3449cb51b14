//! JSON: an array of objects or of strings, or a sequence of objects.
//!
//! Values are cut out of the stream by their brackets and quotes and parsed one by one, so only one of them is in
//! memory.

use std::io::{self, BufRead};
use std::sync::Arc;

use super::characters;
use super::columns::Columns;
use super::entry::{Entry, Failed, LONGEST_RECORD, check_length};
use super::id_search::{LikeIds, LikeIdsReader};
use super::json_value::{self, kind_of};
use super::lines::LineNumber;
use super::object::{self, Object};
use super::record::{Record, Text};

/// The records of a reader.
pub(super) struct JsonRecords<R> {
    reader: R,
    columns: Arc<Columns>,
    like_ids: LikeIdsReader,
    line: LineNumber,
    place: JsonPlace,
    /// Number of values so far.
    count: u64,
}

/// The reader's position in the document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum JsonPlace {
    /// At the beginning, which shows the kind of document.
    Start,
    /// After an object of a sequence.
    Objects,
    /// After the opening bracket of an array, which is on this line.
    Array(u64),
    /// After a value of the array.
    Value(u64),
    /// After a comma of the array.
    Comma(u64),
    /// After the array.
    BehindArray,
    /// Where nothing more is read.
    End,
}

impl<R: BufRead> JsonRecords<R> {
    pub(super) fn new(reader: R, columns: Arc<Columns>) -> Self {
        let like_ids = LikeIdsReader::new(&columns);
        Self { reader, columns, like_ids, line: LineNumber::new(), place: JsonPlace::Start, count: 0 }
    }

    fn next_entry(&mut self) -> Result<Option<Entry>, Failed> {
        while self.place != JsonPlace::End {
            let next = self.skip_space()?;
            let line = self.line.get();
            self.place = match (self.place, next) {
                (JsonPlace::Start | JsonPlace::Objects | JsonPlace::BehindArray, None) => JsonPlace::End,
                (JsonPlace::Start, Some(b'[')) => self.behind(JsonPlace::Array(line)),
                (JsonPlace::Start | JsonPlace::Objects, Some(b'{')) => return self.value(JsonPlace::Objects).map(Some),
                (JsonPlace::Array(_) | JsonPlace::Value(_), Some(b']')) => self.behind(JsonPlace::BehindArray),
                (JsonPlace::Value(begun), Some(b',')) => self.behind(JsonPlace::Comma(begun)),
                (JsonPlace::Array(begun) | JsonPlace::Comma(begun), Some(first)) if !b",:]}".contains(&first) => {
                    return self.value(JsonPlace::Value(begun)).map(Some);
                }
                (place, next) => {
                    self.place = JsonPlace::End;
                    return Ok(Some(Entry::hiding_the_rest(line, unexpected(place, next))));
                }
            };
        }
        Ok(None)
    }

    /// Passes one byte, and is then at `place`.
    fn behind(&mut self, place: JsonPlace) -> JsonPlace {
        self.reader.consume(1);
        place
    }

    /// The byte after all white space; `None` at the end.
    fn skip_space(&mut self) -> io::Result<Option<u8>> {
        loop {
            let input = self.reader.fill_buf()?;
            let next = input.iter().position(|byte| !matches!(byte, b' ' | b'\t' | b'\n' | b'\r'));
            let (found, count) = (next.map(|index| input[index]), next.unwrap_or(input.len()));
            self.line.pass(&input[..count]);
            self.reader.consume(count);
            if found.is_some() || count == 0 {
                return Ok(found);
            }
        }
    }

    /// Reads the value that begins here as a record, and is then at `place`.
    fn value(&mut self, place: JsonPlace) -> Result<Entry, Failed> {
        let line = self.line.get();
        let value = self.read_value()?;
        self.count += 1;
        let count = self.count;
        self.place = if value.is_closed { place } else { JsonPlace::End };
        let is_alone = place == JsonPlace::Objects && count == 1 && self.skip_space()?.is_none();
        let record = value.record(&self.columns, is_alone, &mut self.like_ids).map_err(|problem| match place {
            JsonPlace::Value(_) => format!("{problem} (value {count} of the array)"),
            _ => problem,
        });
        Ok(Entry { hides_the_rest: self.place == JsonPlace::End, ..Entry::with_like_ids(line, record) })
    }

    fn read_value(&mut self) -> io::Result<Value> {
        let (mut value, mut scanner) = (Value::default(), Scanner::default());
        loop {
            let input = self.reader.fill_buf()?;
            if input.is_empty() {
                value.is_closed = scanner.is_outside();
                return Ok(value);
            }
            let (count, is_closed) = scanner.scan(input);
            self.line.pass(&input[..count]);
            value.push(&input[..count]);
            self.reader.consume(count);
            if is_closed {
                value.is_closed = true;
                return Ok(value);
            }
        }
    }
}

impl<R: BufRead> Iterator for JsonRecords<R> {
    type Item = Result<Entry, Failed>;

    fn next(&mut self) -> Option<Result<Entry, Failed>> {
        self.next_entry().transpose()
    }
}

/// The problem of a byte, or of the end of the file, where something else should follow.
fn unexpected(place: JsonPlace, next: Option<u8>) -> String {
    let found = match next {
        Some(byte @ b' '..=b'~') => format!("`{}`", char::from(byte)),
        Some(byte) => format!("byte 0x{byte:02x}"),
        None => "the end of the file".to_owned(),
    };
    match (place, next) {
        (JsonPlace::Array(begun) | JsonPlace::Value(begun) | JsonPlace::Comma(begun), None) => {
            format!(
                "is the end of the file, but the array that begins on line {begun} is not closed; is the file cut short?"
            )
        }
        (JsonPlace::Array(_) | JsonPlace::Comma(_), _) => format!("has {found} in the array; expected an object"),
        (JsonPlace::Value(_), _) => {
            format!("has {found} behind a value of the array; expected a comma, or ] at its end")
        }
        (JsonPlace::BehindArray, _) => {
            format!("has {found} behind the array; expected the end of the file; several files go with -i each")
        }
        (JsonPlace::Objects, _) => format!(
            "has {found} behind an object; expected another object, or the end; objects with commas between them need [ and ] around them"
        ),
        (JsonPlace::Start | JsonPlace::End, _) => {
            format!(
                "begins with {found}; expected an array of objects, which begins with [, or objects, which begin with {{"
            )
        }
    }
}

/// Finds the end of a value.
#[derive(Default)]
struct Scanner {
    depth: u64,
    in_string: bool,
    escaped: bool,
}

impl Scanner {
    /// The number of the next bytes that belong to the value, and whether the value ends there.
    fn scan(&mut self, bytes: &[u8]) -> (usize, bool) {
        for (index, &byte) in bytes.iter().enumerate() {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' if self.in_string => self.escaped = true,
                b'"' => {
                    self.in_string = !self.in_string;
                    if self.is_outside() {
                        return (index + 1, true);
                    }
                }
                _ if self.in_string => {}
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' | b',' | b' ' | b'\t' | b'\n' | b'\r' if self.depth == 0 => return (index, true),
                b'}' | b']' => {
                    self.depth -= 1;
                    if self.depth == 0 {
                        return (index + 1, true);
                    }
                }
                _ => {}
            }
        }
        (bytes.len(), false)
    }

    fn is_outside(&self) -> bool {
        self.depth == 0 && !self.in_string
    }
}

/// A value as it is spelled in the file.
#[derive(Default)]
struct Value {
    /// Its bytes, or only the first of them if it is longer than accepted.
    bytes: Vec<u8>,
    is_long: bool,
    is_closed: bool,
}

impl Value {
    fn push(&mut self, more: &[u8]) {
        self.is_long |= self.bytes.len() + more.len() > LONGEST_RECORD;
        if !self.is_long {
            self.bytes.extend(more);
        }
    }

    /// The record of the value. `is_alone` tells that the file holds this object alone, for a better message.
    fn record(
        self,
        columns: &Columns,
        is_alone: bool,
        like_ids: &mut LikeIdsReader,
    ) -> Result<(Record, LikeIds), String> {
        if self.is_long || !self.is_closed {
            let of_array = array_in(&self.bytes).filter(|_| is_alone && self.is_closed).map(|key| holds_array(&key));
            return Err(of_array.unwrap_or_else(|| match self.is_long {
                true => format!("begins a value longer than {} MiB, the longest that is taken", LONGEST_RECORD >> 20),
                false => "begins a value that is never closed; is the file cut short, or a quote missing?".to_owned(),
            }));
        }
        let text = characters::text(self.bytes)?;
        match text.as_bytes()[0] {
            b'{' => record(&text, columns, is_alone, like_ids),
            b'"' => record_of_string(&text, columns).map(|record| (record, LikeIds::new())),
            other => Err(format!("has {} as a value; expected an object, or a string", kind_of(other))),
        }
    }
}

fn record(
    text: &str,
    columns: &Columns,
    is_alone: bool,
    like_ids: &mut LikeIdsReader,
) -> Result<(Record, LikeIds), String> {
    let object: Object<'_> = serde_json::from_str(text).map_err(|error| not_json("an object", &error))?;
    let record = object::record(&object, columns).map_err(|problem| {
        let found = object.find(columns.text()).map(json_value::kind);
        match found {
            None if is_alone => array_in(text.as_bytes()).map_or(problem, |key| holds_array(&key)),
            Some("a list" | "an object") if is_alone => format!(
                "{problem}; the file seems to hold columns where records should be: in Python, pandas.read_json(FILE).to_json('texts.jsonl', orient='records', lines=True) writes those"
            ),
            _ => problem,
        }
    })?;
    Ok((record, object.like_ids(columns, like_ids)))
}

/// The record of a string, which has no columns.
fn record_of_string(text: &str, columns: &Columns) -> Result<Record, String> {
    if let Some((option, name)) = columns.named().first() {
        return Err(format!("is a string, which has no column `{name}`; expected an object, or no {option}"));
    }
    let text: String = serde_json::from_str(text).map_err(|error| not_json("a string", &error))?;
    let text = Text::of_line(text, columns.pretokenized);
    check_length(&text, "string").map(|()| Record::from(text))
}

fn not_json(what: &str, error: &serde_json::Error) -> String {
    let told = json_value::without_line(error);
    match error.line() {
        0 | 1 => format!("begins what is not {what}: {told}"),
        line => format!("begins what is not {what}: {told} of its line {line}"),
    }
}

fn holds_array(key: &str) -> String {
    let is_word = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    let path = if is_word { format!(".{key}") } else { format!("'.[{key:?}]'") };
    format!(
        "begins an object that holds an array, `{key}`; expected an array of objects, or objects; `jq {path} FILE > texts.json` takes it out"
    )
}

/// The key under which an object, which may be cut off, holds an array: the first array of objects, else of strings.
fn array_in(object: &[u8]) -> Option<String> {
    let (mut depth, mut string, mut escaped) = (0_u64, None, false);
    // The last string of the object itself, and the last byte that is not white space.
    let (mut key, mut last, mut of_strings) = (None, 0, None);
    for (index, &byte) in object.iter().enumerate() {
        match (byte, string) {
            _ if escaped => escaped = false,
            (b'\\', Some(_)) => escaped = true,
            (b'"', Some(start)) => {
                string = None;
                key = if depth == 1 { object.get(start..=index) } else { key };
            }
            (b'"', None) => string = Some(index),
            (_, Some(_)) | (b' ' | b'\t' | b'\n' | b'\r', _) => continue,
            (b'[', None) if depth == 1 && last == b':' => {
                depth += 1;
                let first = object[index + 1..].iter().find(|byte| !byte.is_ascii_whitespace());
                match (first, key) {
                    (Some(b'{'), Some(key)) => return serde_json::from_slice(key).ok(),
                    (Some(b'"'), Some(key)) => of_strings = of_strings.or_else(|| serde_json::from_slice(key).ok()),
                    _ => {}
                }
            }
            (b'{' | b'[', None) => depth += 1,
            (b'}' | b']', None) => depth = depth.saturating_sub(1),
            _ => {}
        }
        last = byte;
    }
    of_strings
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn read(json: &[u8], columns: &Columns) -> Vec<(u64, Result<Record, String>)> {
        let reader = io::BufReader::with_capacity(7, json);
        let entries = JsonRecords::new(reader, Arc::new(columns.clone())).map(|entry| entry.unwrap());
        entries.map(|entry| (entry.line, entry.record)).collect()
    }

    /// The lines and texts of what is good.
    fn good(json: &str) -> Vec<(u64, String)> {
        let found = read(json.as_bytes(), &Columns::default());
        found.into_iter().map(|(line, record)| (line, record.unwrap().text.text)).collect()
    }

    fn told(json: &str) -> Vec<String> {
        let found = read(json.as_bytes(), &Columns::default());
        found.into_iter().filter_map(|(line, record)| Some(format!("line {line} {}", record.err()?))).collect()
    }

    fn texts(texts: &[(u64, &str)]) -> Vec<(u64, String)> {
        texts.iter().map(|&(line, text)| (line, text.to_owned())).collect()
    }

    #[test]
    fn arrays_and_objects_are_told_by_how_they_begin() {
        let expected = texts(&[(1, "a"), (2, "b"), (3, "}],[\"")]);
        assert_eq!(good("[{\"text\": \"a\"},\n{\"text\": \"b\", \"x\": [{}]},\n{\"text\": \"}],[\\\"\"}]\n"), expected);
        assert_eq!(good("{\"text\": \"a\"}\n{\"text\": \"b\"}\r\n{\"text\": \"}],[\\\"\"}"), expected);
        assert_eq!(good("[\"a\",\n\"b\"\n,\"}],[\\\"\" ]"), expected);
        let pretty = "\n{\n  \"text\": \"a\"\n}\n\n{\n  \"text\":\n\"b\" }{\"text\":\"c\"}";
        assert_eq!(good(pretty), texts(&[(2, "a"), (6, "b"), (8, "c")]));
        assert_eq!(good("[\n  {\n    \"text\": \"a\"\n  },\n  {\"text\": \"b\"}\n]"), texts(&[(2, "a"), (5, "b")]));
        for nothing in ["", " \n", "[]", "[\n]\n"] {
            assert_eq!(good(nothing), []);
        }
    }

    #[test]
    fn columns_are_those_of_json_lines() {
        let columns = Columns { carry: vec!["n".to_owned()], ..Columns::default() };
        let found =
            read(b"[{\"n\": 1.50, \"text\": \"a\", \"id\": 7, \"label\": true}]", &columns).remove(0).1.unwrap();
        assert_eq!(
            (found.id.as_deref(), found.label.unwrap().get(), found.carried[0].1.get()),
            (Some("7"), "true", "1.50")
        );
    }

    #[test]
    fn what_is_wrong_is_told_with_the_line() {
        for (json, says) in [
            ("[\n{\"text\": \"a\"},\n{\"texts\": 1}]", "line 3 has no column `text`; it has `texts`"),
            ("[\n{\"text\": \"a\"},\n{\"texts\": 1}]", "(value 2 of the array)"),
            ("[{\"text\": \"a\"}, 5, null]", "line 1 has a number as a value; expected an object, or a string"),
            ("[[\"a\"]]", "line 1 has a list as a value"),
            ("{\n\"text\": \"a\",\n}", "line 1 begins what is not an object: trailing comma at byte 1 of its line 3"),
            ("[{\"text\": \"a\"}\n{\"text\": \"b\"}]", "line 2 has `{` behind a value of the array; expected a comma"),
            ("[{\"text\": \"a\"},\n]", "line 2 has `]` in the array; expected an object"),
            ("[{\"text\": \"a\"}", "line 1 is the end of the file, but the array that begins on line 1 is not closed"),
            ("[\n{\"text\": \"a", "line 2 begins a value that is never closed; is the file cut short"),
            ("[{\"text\": \"a\"}]\n[]", "line 2 has `[` behind the array; expected the end of the file"),
            ("{\"text\": \"a\"},\n{\"text\": \"b\"}", "line 1 has `,` behind an object; expected another object"),
            ("hello", "line 1 begins with `h`; expected an array of objects, which begins with [, or objects"),
            ("\n\"hello\"", "line 2 begins with `\"`; expected an array"),
            ("é", "line 1 begins with byte 0xc3;"),
            ("{\"text\": \"a\"}\n{\"text\": \"\0\"}", "line 2 has a NUL byte"),
            ("{\"text\": [\"a\"]}", "columns where records should be: in Python, pandas.read_json"),
            ("{\"text\": {\"0\": \"a\"}}", "columns where records should be"),
        ] {
            let told = told(json);
            assert!(told.iter().any(|told| told.contains(says)), "{json}: {told:?}");
        }
        assert!(!told("{\"text\": [\"a\"]} {\"text\": \"a\"}")[0].contains("pandas"), "several are records");
        assert_eq!(told("[5, {\"text\": 1}, {\"text\": \"a\"}]").len(), 2, "all of them");
    }

    #[test]
    fn an_array_within_an_object_is_named() {
        for (json, says) in [
            (
                "{\"version\": \"1\", \"data\": [{\"text\": \"a\"}]}",
                "holds an array, `data`; expected an array of objects",
            ),
            ("{\"version\": \"1\", \"data\": [{\"text\": \"a\"}]}", "`jq .data FILE > texts.json` takes it out"),
            ("{\"tags\": [\"x\"], \"my \\\"rows\\\"\": [ {}]}", r#"`jq '.["my \"rows\""]' FILE"#),
            ("{\"lines\" :\n[\"x\"], \"deep\": {\"data\": [{}]}}", "`jq .lines "),
        ] {
            let told = told(json);
            assert!(told[0].starts_with("line 1 begins an object that") && told[0].contains(says), "{json}: {told:?}");
        }
        for json in
            ["{\"sentence\": \"a\", \"tags\": [\"x\"]}\n{\"sentence\": \"b\"}", "{\"a\": \": [{\"}", "{\"a\": [1]}"]
        {
            assert!(told(json)[0].contains("has no column `text`"), "{json}");
        }
        let long = format!("{{\"data\": [{}{{}}]}}", "{\"text\": \"hello\"}, ".repeat(1_000_000));
        let told = told(&long);
        assert!(told.len() == 1 && told[0].contains("`jq .data"), "{told:?}");
    }

    #[test]
    fn strings_are_texts_without_columns() {
        let words = Columns { pretokenized: true, ..Columns::default() };
        assert_eq!(read(b"[\"a b\"]", &words).remove(0).1.unwrap().text.words.unwrap().len(), 2);
        let named = Columns { text_column: Some("x".to_owned()), ..Columns::default() };
        let told = read(b"[\"a\"]", &named).remove(0).1.unwrap_err();
        assert!(
            told.starts_with("is a string, which has no column `x`; expected an object, or no --text-column"),
            "{told}"
        );
        assert!(read(b"[\"\\ud800\"]", &Columns::default()).remove(0).1.is_err());
    }

    #[test]
    fn a_value_that_is_too_long_is_not_held_and_the_next_one_read() {
        let long = format!("[\n{{\"text\": \"{}\"}},\n{{\"text\": \"b\"}}]", "a".repeat(LONGEST_RECORD));
        let found = read(long.as_bytes(), &Columns::default());
        assert!(found[0].1.as_ref().unwrap_err().contains("longer than 16 MiB"));
        assert_eq!((found.len(), found[1].0, found[1].1.is_ok()), (2, 3, true));
        let deep = format!("[{{\"text\": \"a\", \"x\": {}}}]", "[".repeat(500_000) + &"]".repeat(500_000));
        assert_eq!(good(&deep), texts(&[(1, "a")]));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(list in proptest::collection::vec((any::<String>(), any::<String>(), any::<Option<i64>>()), 0..8), form in 0usize..4) {
            let values = list.iter().map(|(text, id, n)| json!({"text": text, "id": id, "label": n})).collect::<Vec<_>>();
            let written = match form {
                0 => json!(values).to_string(),
                1 => serde_json::to_string_pretty(&values).unwrap(),
                2 => values.iter().map(|value| format!("{value}\n")).collect(),
                _ => values.iter().map(|value| serde_json::to_string_pretty(value).unwrap()).collect(),
            };
            let found = read(written.as_bytes(), &Columns::default());
            prop_assert_eq!(found.len(), list.len());
            for ((_, record), (text, id, n)) in found.into_iter().zip(&list) {
                let record = record.unwrap();
                prop_assert_eq!(&record.text.text, text);
                prop_assert_eq!(record.id.as_ref(), Some(id));
                prop_assert_eq!(record.label.map(|label| label.get().to_owned()), n.map(|n| n.to_string()));
            }
        }

        #[test]
        fn no_bytes_are_a_surprise(json in r#"[\[\]{}",: a0\\n\n]{0,40}"#, raw in proptest::collection::vec(any::<u8>(), 0..10)) {
            read(&[json.as_bytes(), &raw].concat(), &Columns { text_column: Some("a".to_owned()), ..Columns::default() });
        }
    }
}
