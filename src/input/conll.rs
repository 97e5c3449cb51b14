//! CoNLL: one word per line with its tags in columns, separated by tabs or by white space.
//!
//! A line that begins with `#` may be a comment or a word, so the other lines of its sentence decide. In a sentence
//! with tabs it is a comment if it has none. Without tabs, it is a comment if it reads `# key = value` or differs from
//! the others in its number of columns.

use std::sync::Arc;

use serde_json::value::to_raw_value;

use super::columns::{Columns, number};
use super::entry::check_length;
use super::record::{Record, Text};
use super::sentences::{Parse, Sentence, Wrong};

/// Parses sentences of lines with columns.
pub(super) struct Conll {
    columns: Arc<Columns>,
    /// The layout of the first sentence, which all others must have.
    shape: Option<Shape>,
}

/// The layout of a file's columns.
#[derive(Debug, Clone, Copy)]
struct Shape {
    tabs: bool,
    width: usize,
    /// The line that determined it.
    line: u64,
    word: usize,
    label: Option<usize>,
    /// Whether the first column counts the words, as in files that descend from CoNLL-U.
    numbered: bool,
}

impl Conll {
    pub(super) fn new(columns: Arc<Columns>) -> Self {
        Self { columns, shape: None }
    }

    fn shape(&self, sentence: &Sentence) -> Result<Option<Shape>, Wrong> {
        let words = || sentence.iter().filter(|(_, line)| !line.starts_with('#') && !is_document(line));
        // A sentence may consist of hashtags alone.
        let is_tag = |line: &str| line.contains('\t') || (!line.starts_with("# ") && cells(line, false).len() > 1);
        let tags = || sentence.iter().filter(|(_, line)| line.starts_with('#') && is_tag(line));
        let Some((line, first)) = words().next().or_else(|| tags().next()) else { return Ok(None) };
        let tabs = first.contains('\t');
        let width = cells(first, tabs).len();
        let is_count = |(index, (_, line)): (usize, &(u64, String))| cells(line, tabs)[0] == (index + 1).to_string();
        let named = self.columns.text_column.as_deref().and_then(number);
        let numbered = named.is_none() && width > 2 && words().count() > 0 && words().enumerate().all(is_count);
        let (first, last) = if numbered { (1, 2) } else { (0, width - 1) };
        let label = match self.columns.label_column.as_deref() {
            Some("") => None,
            Some(name) => number(name),
            None => Some(last).filter(|_| width > 1),
        };
        let word = named.unwrap_or(first);
        for (option, column) in [("--text-column", Some(word)), ("--label-column", label)] {
            if let Some(column) = column
                && column >= width
            {
                return Err((*line, format!("has {width} columns; {option} asks for column {}", column + 1)));
            }
        }
        Ok(Some(Shape { tabs, width, line: *line, word, label, numbered }))
    }
}

impl Parse for Conll {
    fn record(&mut self, sentence: &Sentence) -> Result<Option<Record>, Vec<Wrong>> {
        if self.shape.is_none() {
            self.shape = self.shape(sentence).map_err(|wrong| vec![wrong])?;
        }
        // A sentence of comments alone.
        let Some(shape) = self.shape else { return Ok(None) };
        let (mut words, mut labels, mut wrong) = (Vec::new(), Vec::new(), Vec::new());
        for (number, line) in sentence {
            if is_document(line) || shape.is_comment(line) {
                continue;
            }
            match shape.word_and_label(line, words.len() + 1) {
                Ok((word, label)) => {
                    words.push(word);
                    labels.extend(label);
                }
                Err(problem) => wrong.push((*number, problem)),
            }
        }
        if !wrong.is_empty() {
            return Err(wrong);
        }
        record(sentence, &words, shape.label.map(|_| labels))
    }
}

/// The record of a sentence; `None` if it has no words.
pub(super) fn record(
    sentence: &Sentence,
    words: &[&str],
    labels: Option<Vec<&str>>,
) -> Result<Option<Record>, Vec<Wrong>> {
    if words.is_empty() {
        return Ok(None);
    }
    let wrong = |problem| vec![(sentence[0].0, problem)];
    let text = Text::of_words(words.iter().copied());
    check_length(&text, "sentence").map_err(wrong)?;
    let label = labels.map(|labels| to_raw_value(&labels)).transpose().map_err(|error| wrong(error.to_string()))?;
    Ok(Some(Record { label, ..Record::from(text) }))
}

impl Shape {
    fn is_comment(self, line: &str) -> bool {
        if !line.starts_with('#') || line.contains('\t') {
            return false;
        }
        let cells = cells(line, false);
        self.tabs || cells.len() != self.width || (cells[0] == "#" && cells.get(2) == Some(&"="))
    }

    fn word_and_label(self, line: &str, count: usize) -> Result<(&str, Option<&str>), String> {
        let cells = cells(line, self.tabs);
        if cells.len() != self.width {
            let separator = if self.tabs { "tabs" } else { "white space" };
            return Err(format!(
                "has {} columns separated by {separator}; expected {}, as line {} has",
                cells.len(),
                self.width,
                self.line
            ));
        }
        if self.numbered && cells[0] != count.to_string() {
            return Err(format!(
                "has `{}` in its first column; expected {count}, the word's number, as that column counts words so far; --text-column says which one has the words",
                cells[0]
            ));
        }
        match cells[self.word] {
            "" => Err(format!("has nothing in column {}; expected a word", self.word + 1)),
            word => Ok((word, self.label.map(|label| cells[label]))),
        }
    }
}

/// Whether a line begins a document and is not a word.
fn is_document(line: &str) -> bool {
    line.starts_with("-DOCSTART-")
}

fn cells(line: &str, tabs: bool) -> Vec<&str> {
    if tabs { line.split('\t').collect() } else { line.split_ascii_whitespace().collect() }
}

#[cfg(test)]
mod tests {
    use super::super::sentences::SentenceRecords;
    use super::*;
    use proptest::prelude::*;

    type Read = Vec<(u64, Result<(Vec<String>, Option<String>), String>)>;

    fn read(file: &[u8], columns: &Columns) -> Read {
        let told = |record: Record| {
            let Text { text, words } = record.text;
            let words = words.unwrap().into_iter().map(|word| text[word].to_owned()).collect();
            (words, record.label.map(|label| label.get().to_owned()))
        };
        let entries = SentenceRecords::new(file, Conll::new(Arc::new(columns.clone()))).map(|entry| entry.unwrap());
        entries.map(|entry| (entry.line, entry.record.map(told))).collect()
    }

    fn good(file: &str, columns: &Columns) -> Vec<(String, String)> {
        let read = read(file.as_bytes(), columns).into_iter().map(|(_, record)| record.unwrap());
        read.map(|(words, label)| (words.join("|"), label.unwrap_or_default())).collect()
    }

    fn pair(words: &str, labels: &str) -> (String, String) {
        (words.to_owned(), labels.to_owned())
    }

    #[test]
    fn sentences_are_separated_by_lines_of_white_space() {
        let file = "\n-DOCSTART- -X- O\n\na B-PER\nb O\n\t\nc O\n \n\r\n\nd\u{a0}e O";
        let expected = [pair("a|b", r#"["B-PER","O"]"#), pair("c", r#"["O"]"#), pair("d\u{a0}e", r#"["O"]"#)];
        assert_eq!(good(file, &Columns::default()), expected);
        assert_eq!(good("", &Columns::default()), []);
        assert_eq!(good("a\nb\n", &Columns::default()), [pair("a|b", "")], "words alone have no labels");
    }

    #[test]
    fn columns_are_chosen_by_number() {
        let columns = |text: Option<&str>, label: Option<&str>| Columns {
            text_column: text.map(str::to_owned),
            label_column: label.map(str::to_owned),
            ..Columns::default()
        };
        let file = "EU NNP B-NP B-ORG\nrejects VBZ B-VP O\n";
        assert_eq!(good(file, &columns(None, None)), [pair("EU|rejects", r#"["B-ORG","O"]"#)]);
        assert_eq!(good(file, &columns(Some("2"), Some("1"))), [pair("NNP|VBZ", r#"["EU","rejects"]"#)]);
        assert_eq!(good(file, &columns(None, Some(""))), [pair("EU|rejects", "")]);
        let numbered = "# sent_id = x\n# text = a b\n1\ta\tO\t-\t-\n2\tb\tB-LOC\t-\tme\n\n1\tc\tO\t-\t-\n";
        let expected = [pair("a|b", r#"["O","B-LOC"]"#), pair("c", r#"["O"]"#)];
        assert_eq!(good(numbered, &columns(None, None)), expected);
        assert_eq!(good(numbered, &columns(Some("2"), Some("3"))), expected);
        assert_eq!(good(numbered, &columns(Some("1"), None))[0], pair("1|2", r#"["-","me"]"#));
        let (line, problem) = read(file.as_bytes(), &columns(Some("5"), None)).remove(0);
        assert_eq!((line, problem.unwrap_err().as_str()), (1, "has 4 columns; --text-column asks for column 5"));
    }

    #[test]
    fn a_hash_may_be_a_word() {
        let columns = Columns::default();
        assert_eq!(good("a\tO\n#\tO\n#tag\tB-X\n# a comment\n#\n", &columns), [pair("a|#|#tag", r#"["O","O","B-X"]"#)]);
        assert_eq!(
            good("# O\na O\n#tag O\n# k = v\n# a longer comment\n", &columns),
            [pair("#|a|#tag", r#"["O","O","O"]"#)]
        );
        assert_eq!(
            good("# global.columns = a\n\na O\n\n# O\n", &columns),
            [pair("a", r#"["O"]"#), pair("#", r#"["O"]"#)]
        );
        assert_eq!(good("# text = x\na 1 2 3\n", &columns), [pair("a", r#"["3"]"#)]);
        assert_eq!(good("#tag O\n", &columns), [pair("#tag", r#"["O"]"#)]);
        assert_eq!(good("#\tO\n\na\tO", &columns), [pair("#", r#"["O"]"#), pair("a", r#"["O"]"#)]);
        assert_eq!(good("# nothing but\n# comments\n", &columns), []);
    }

    #[test]
    fn every_ragged_line_is_told() {
        let found = read(b"a\tO\nb\n\nc\tO\tO\nd\tO\n\te\n\tO\n\nf\tO\n\xff\ng\n", &Columns::default());
        let told = found
            .into_iter()
            .map(|(line, record)| format!("{line} {}", record.expect_err("a bad line")))
            .collect::<Vec<_>>();
        let expected = [
            "2 has 1 columns separated by tabs; expected 2, as line 1 has",
            "4 has 3 columns separated by tabs; expected 2, as line 1 has",
            "6 has nothing in column 1; expected a word",
            "7 has nothing in column 1; expected a word",
            "10 is not UTF-8",
        ];
        assert_eq!(told.len(), expected.len(), "{told:#?}");
        told.iter().zip(expected).for_each(|(told, expected)| assert!(told.starts_with(expected), "{told}"));
    }

    #[test]
    fn a_sentence_without_end_is_refused_and_the_next_one_read() {
        let mut file = b"word O\n".repeat(600_000);
        file.extend(b"\nnext O\n");
        let found = read(&file, &Columns::default());
        assert!(found[0].1.as_ref().unwrap_err().contains("longer than 16 MiB"));
        assert_eq!((found.len(), found[0].0, found[1].0), (2, 1, 600_002));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(sentences in proptest::collection::vec(proptest::collection::vec(("[a-z#é.-]{1,5}", "[A-Z-]{1,3}"), 1..6), 0..6), tab: bool) {
            let line = |(word, tag): &(String, String)| format!("{word}{}{tag}\n", if tab { '\t' } else { ' ' });
            let file: String = sentences.iter().map(|words| words.iter().map(line).collect::<String>() + "\n").collect();
            // Whether a line is a word or a comment shows in those that begin with no hash.
            prop_assume!(sentences.first().is_none_or(|words| words.iter().any(|(word, _)| !word.starts_with('#'))));
            let expected: Vec<Vec<&str>> = sentences.iter().map(|words| words.iter().map(|(word, _)| word.as_str()).collect()).collect();
            let found: Vec<Vec<String>> = read(file.as_bytes(), &Columns::default()).into_iter().map(|(_, record)| record.unwrap().0).collect();
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn no_bytes_are_a_surprise(file in "[1#a \t\r\n=-]{0,60}", raw in proptest::collection::vec(any::<u8>(), 0..20)) {
            read(&[file.as_bytes(), &raw].concat(), &Columns::default());
        }
    }
}
