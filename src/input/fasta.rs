//! FASTA: a header, which is a line that begins with `>`, and then a sequence on any number of lines.

use std::io::BufRead;
use std::sync::Arc;

use serde_json::value::to_raw_value;

use super::columns::{Columns, FASTA_COLUMNS, Optional};
use super::entry::{Entry, Failed, LONGEST_TEXT};
use super::lines::{Line, Lines};
use super::record::{Json, Record, Text};

/// The sequences of a reader as records.
pub(super) struct FastaRecords<R> {
    lines: Lines<R>,
    columns: Arc<Columns>,
    place: FastaPlace,
    /// A bad header, whose line ended the record that was given out last.
    bad_header: Option<Entry>,
    ended: bool,
}

/// What the next line belongs to.
enum FastaPlace {
    /// Nothing yet.
    Start,
    Sequence(Sequence),
    /// What was said to be bad.
    Refused,
}

/// A header with the lines below it so far.
struct Sequence {
    line: u64,
    /// The header without its `>`.
    header: String,
    letters: String,
}

impl<R: BufRead> FastaRecords<R> {
    pub(super) fn new(reader: R, columns: Arc<Columns>) -> Self {
        let lines = Lines::new(reader, LONGEST_TEXT);
        Self { lines, columns, place: FastaPlace::Start, bad_header: None, ended: false }
    }

    fn next_entry(&mut self) -> Result<Option<Entry>, Failed> {
        if let Some(bad) = self.bad_header.take() {
            return Ok(Some(bad));
        }
        while !self.ended {
            let entry = match self.lines.next() {
                Some(line) => self.take(line?),
                None => {
                    self.ended = true;
                    self.move_to(FastaPlace::Refused)
                }
            };
            if entry.is_some() {
                return Ok(entry);
            }
        }
        Ok(None)
    }

    /// Reads a line; the entry that it completes, or that it is.
    fn take(&mut self, line: Line) -> Option<Entry> {
        let is_header = line.first == Some(b'>');
        match line.text {
            Err(problem) => {
                let bad = Entry { hides_the_rest: line.is_whole_file, ..Entry::new(line.number, Err(problem)) };
                let before = self.move_to(FastaPlace::Refused).filter(|_| is_header);
                if before.is_some() {
                    self.bad_header = Some(bad);
                    return before;
                }
                Some(bad)
            }
            Ok(text) if is_header => {
                let header = text[1..].to_owned();
                self.move_to(FastaPlace::Sequence(Sequence { line: line.number, header, letters: String::new() }))
            }
            Ok(text) if text.starts_with(';') || text.trim_ascii().is_empty() => None,
            Ok(text) => self.add(line.number, text.trim_ascii()),
        }
    }

    /// Adds a line to the sequence.
    fn add(&mut self, line: u64, text: &str) -> Option<Entry> {
        let (line, problem) = match &mut self.place {
            FastaPlace::Refused => return None,
            FastaPlace::Start => (
                line,
                "stands before the first header; expected a line that begins with >, and the sequence below it"
                    .to_owned(),
            ),
            FastaPlace::Sequence(sequence) if sequence.letters.len() + text.len() <= LONGEST_TEXT => {
                sequence.letters.push_str(text);
                return None;
            }
            FastaPlace::Sequence(sequence) => {
                let longest = LONGEST_TEXT >> 20;
                (sequence.line, format!("begins a sequence longer than {longest} MiB, the longest text that is taken"))
            }
        };
        self.place = FastaPlace::Refused;
        Some(Entry::new(line, Err(problem)))
    }

    /// Goes on to another place; the entry of the sequence that ends there, if there is one.
    fn move_to(&mut self, place: FastaPlace) -> Option<Entry> {
        match std::mem::replace(&mut self.place, place) {
            FastaPlace::Sequence(sequence) => Some(Entry::new(sequence.line, record(sequence, &self.columns))),
            FastaPlace::Start | FastaPlace::Refused => None,
        }
    }
}

fn record(sequence: Sequence, columns: &Columns) -> Result<Record, String> {
    let header = sequence.header.trim_ascii();
    let id = header.split_ascii_whitespace().next().unwrap_or_default();
    let description = header[id.len()..].trim_ascii_start();
    // Other names were refused before anything was read.
    let column = |name: &str| if name == FASTA_COLUMNS[0] { id } else { description };
    let json = |value: &str| -> Result<Json, String> { to_raw_value(value).map_err(|error| error.to_string()) };
    let filled = |name: &str| Some(column(name)).filter(|value| !value.is_empty());
    let id = match columns.id() {
        Optional::No => None,
        Optional::IfThere(name) => filled(name),
        Optional::Named(name) => {
            Some(filled(name).ok_or_else(|| format!("has nothing in column `{name}`; expected an id"))?)
        }
    };
    let label = match columns.label() {
        Optional::Named(name) => filled(name),
        Optional::IfThere(_) | Optional::No => None,
    };
    let carried = columns.carry.iter().map(|name| Ok((columns.carried_name(name), json(column(name))?)));
    let (id, label) = (id.map(str::to_owned), label.map(json).transpose()?);
    let carried = carried.collect::<Result<_, String>>()?;
    Ok(Record { id, label, carried, ..Record::from(Text::of_line(sequence.letters, columns.pretokenized)) })
}

impl<R: BufRead> Iterator for FastaRecords<R> {
    type Item = Result<Entry, Failed>;

    fn next(&mut self) -> Option<Result<Entry, Failed>> {
        self.next_entry().transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(file: &[u8], columns: &Columns) -> Vec<(u64, Result<Record, String>)> {
        let entries = FastaRecords::new(file, Arc::new(columns.clone())).map(|entry| entry.unwrap());
        entries.map(|entry| (entry.line, entry.record)).collect()
    }

    /// The lines, ids and sequences of what is good.
    fn good(file: &str) -> Vec<(u64, Option<String>, String)> {
        let found = read(file.as_bytes(), &Columns::default());
        found
            .into_iter()
            .map(|(line, record)| {
                let record = record.unwrap();
                (line, record.id, record.text.text)
            })
            .collect()
    }

    /// What is wrong with the bad ones, and the sequences of the good ones.
    fn told(file: &[u8]) -> Vec<String> {
        let found = read(file, &Columns::default());
        let told = |(line, record): (u64, Result<Record, String>)| match record {
            Ok(record) => format!("{line}: {}", record.text.text),
            Err(problem) => format!("{line} {}", &problem[..problem.len().min(30)]),
        };
        found.into_iter().map(told).collect()
    }

    #[test]
    fn the_lines_of_a_sequence_are_joined() {
        let file = ">a first\r\nMKV \r\n\r\n  Lia*\t\r\n;a comment\n>b\n>\tc\td\nA C>G\n> \nT";
        let expected = [(1, "a", "MKVLia*"), (6, "b", ""), (7, "c", "A C>G"), (9, "", "T")];
        let expected =
            expected.map(|(line, id, text)| (line, Some(id.to_owned()).filter(|id| !id.is_empty()), text.to_owned()));
        assert_eq!(good(file), expected);
        assert_eq!(good(";nothing\n\n"), []);
        assert_eq!(good(">"), [(1, None, String::new())]);
    }

    #[test]
    fn a_header_has_an_id_and_a_description() {
        let some = |name: &str| Some(name.to_owned());
        let file = b">sp|P1  a protein  OS=x \nM\n>q\nK\n";
        let columns = Columns { carry: vec!["description".to_owned()], ..Columns::default() };
        let records: Vec<Record> = read(file, &columns).into_iter().map(|(_, record)| record.unwrap()).collect();
        let columns_of = |record: &Record| (record.id.clone(), record.carried[0].1.get().to_owned());
        assert_eq!(columns_of(&records[0]), (some("sp|P1"), "\"a protein  OS=x\"".to_owned()));
        assert_eq!(columns_of(&records[1]), (some("q"), "\"\"".to_owned()));
        assert!(records[0].label.is_none());
        let columns = Columns { id_column: some(""), label_column: some("description"), ..Columns::default() };
        let records: Vec<Record> = read(file, &columns).into_iter().map(|(_, record)| record.unwrap()).collect();
        assert_eq!((records[0].id.clone(), records[0].label.as_ref().unwrap().get()), (None, "\"a protein  OS=x\""));
        assert!(records[1].label.is_none());
        let columns = Columns { id_column: some("description"), ..Columns::default() };
        let problem = read(file, &columns).remove(1).1.unwrap_err();
        assert_eq!(problem, "has nothing in column `description`; expected an id");
    }

    #[test]
    fn what_is_wrong_is_told_and_the_next_sequence_read() {
        assert_eq!(told(b"ACGT\nACGT\n\n>a\nA\n"), ["1 stands before the first header", "4: A"]);
        assert_eq!(
            told(b">a\nA\n\xff\nC\nT\0\n>b\nG\n"),
            ["3 is not UTF-8: byte 0xff after ", "5 has a NUL byte after 1 good by", "6: G"]
        );
        // A header that cannot be read ends the sequence before it, and has its own below it.
        assert_eq!(told(b">a\nA\n>b\xff\nC\n>c\nG\n"), ["1: A", "3 is not UTF-8: byte 0xff after ", "5: G"]);
        assert_eq!(told(b">\xff\nC\n>c\nG"), ["1 is not UTF-8: byte 0xff after ", "3: G"]);
        assert_eq!(told(b">a\nA\n>\xff"), ["1: A", "3 is not UTF-8: byte 0xff after "]);
    }

    #[test]
    fn a_sequence_that_is_too_long_is_not_held() {
        let line = "ACGT".repeat(1 << 18) + "\n";
        let file = format!(">a\n{}>b\n{}>c\nA\n", line.repeat(5), line.repeat(4));
        let found = read(file.as_bytes(), &Columns::default());
        let problem = found[0].1.as_ref().unwrap_err();
        assert_eq!(problem, "begins a sequence longer than 4 MiB, the longest text that is taken");
        assert_eq!(found.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [1, 7, 12]);
        assert_eq!(found[1].1.as_ref().unwrap().text.text.len(), LONGEST_TEXT);
        let one_line = format!(">a\n{}>b\nA", "ACGT".repeat((1 << 20) + 1) + "\n");
        assert_eq!(told(one_line.as_bytes()), ["2 is longer than 4 MiB, the long", "3: A"]);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            sequences in proptest::collection::vec(("[!-~é]{1,8}", "[ -~]{0,9}", "[A-Za-z*-]{0,40}"), 0..8), width in 1usize..9,
        ) {
            let lines = |letters: &str| letters.as_bytes().chunks(width).map(|line| String::from_utf8_lossy(line).into_owned() + "\n").collect::<String>();
            let file: String = sequences.iter().map(|(id, rest, letters)| format!(">{id} {rest}\n{}", lines(letters))).collect();
            let columns = Columns { carry: vec!["description".to_owned()], ..Columns::default() };
            let found = read(file.as_bytes(), &columns);
            prop_assert_eq!(found.len(), sequences.len());
            for ((_, record), (id, rest, letters)) in found.into_iter().zip(&sequences) {
                let record = record.unwrap();
                prop_assert_eq!(record.id.as_ref(), Some(id));
                prop_assert_eq!(&record.text.text, letters);
                let description: String = serde_json::from_str(record.carried[0].1.get()).unwrap();
                prop_assert_eq!(&description, rest.trim());
            }
        }

        #[test]
        fn no_bytes_are_a_surprise(file in "[>;a \t\r\n*]{0,60}", raw in proptest::collection::vec(any::<u8>(), 0..20), pretokenized: bool) {
            let columns = Columns { pretokenized, ..Columns::default() };
            read(&[file.as_bytes(), &raw, file.as_bytes()].concat(), &columns);
        }
    }
}
