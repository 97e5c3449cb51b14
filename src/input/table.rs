//! Tables: csv and tsv, quoted as RFC 4180 has it. The first record names the columns, unless there is no header.

use std::io::{self, BufRead, Read};
use std::sync::Arc;

use csv_core::ReadRecordResult;
use serde_json::value::to_raw_value;

use super::columns::{Columns, Optional, missing, number};
use super::lines::LineNumber;
use super::{Entry, Failed, LONGEST_RECORD, Record, Text, characters, check_length};

/// What stands behind the last record, so that a quote that is never closed shows: the end is part of a field then. It
/// is not UTF-8, so no good record holds it.
const END: &[u8] = b"\xff\xfe\xfd the end \xff";

/// The records of a table.
pub(super) struct Records<R> {
    reader: R,
    core: csv_core::Reader,
    cells: Cells,
    /// The line that is read next.
    line: LineNumber,
    columns: Arc<Columns>,
    /// Absent until the header is read.
    places: Option<Places>,
    ended: bool,
}

/// A record's cells, one after the other, and where each ends.
#[derive(Default)]
struct Cells {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    len: usize,
}

impl Cells {
    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let start = |index: usize| if index == 0 { 0 } else { self.ends[index - 1] };
        (0..self.len).map(move |index| &self.bytes[start(index)..self.ends[index]])
    }
}

impl<R: BufRead> Records<io::Chain<io::Chain<R, &'static [u8]>, &'static [u8]>> {
    /// A table whose fields are separated by `delimiter`.
    pub(super) fn new(reader: R, delimiter: u8, columns: Arc<Columns>) -> Self {
        Self {
            reader: reader.chain(&b"\n"[..]).chain(END),
            core: csv_core::ReaderBuilder::new().delimiter(delimiter).build(),
            cells: Cells::default(),
            line: LineNumber::new(),
            columns,
            places: None,
            ended: false,
        }
    }
}

impl<R: BufRead> Records<R> {
    fn next_entry(&mut self) -> Result<Option<Entry>, Failed> {
        loop {
            if self.ended {
                return Ok(None);
            }
            self.skip_line_ends()?;
            let line = self.line.get();
            let wrong = |problem: String| Ok(Some(Entry { line, record: Err(problem) }));
            if !self.read_cells()? {
                self.ended = true;
                return wrong(format!(
                    "begins a record that is longer than {} MiB, the longest that is taken; is a quote not closed?",
                    LONGEST_RECORD >> 20
                ));
            }
            if self.cells.iter().last().is_none_or(|cell| cell.ends_with(END)) {
                self.ended = true;
                if self.cells.len == 1 && self.cells.bytes.starts_with(END) {
                    return Ok(None);
                }
                return wrong("begins a record in which a quote is opened and never closed; close it, or write a quote in a field as \"\" and the field in quotes".to_owned());
            }
            if let Some(places) = &self.places {
                return Ok(Some(Entry { line, record: places.record(&self.cells, &self.columns) }));
            }
            let places = self.places.insert(Places::find(&self.cells, line, &self.columns).map_err(Failed)?);
            if self.columns.no_header {
                return Ok(Some(Entry { line, record: places.record(&self.cells, &self.columns) }));
            }
        }
    }

    /// To the first line that is not empty.
    fn skip_line_ends(&mut self) -> io::Result<()> {
        loop {
            let input = self.reader.fill_buf()?;
            let count = input.iter().take_while(|byte| matches!(byte, b'\n' | b'\r')).count();
            self.line.pass(&input[..count]);
            let all = count > 0 && count == input.len();
            self.reader.consume(count);
            if !all {
                return Ok(());
            }
        }
    }

    /// The next record's cells; whether it is of a length that is taken.
    fn read_cells(&mut self) -> io::Result<bool> {
        let cells = &mut self.cells;
        let (mut read, mut written, mut ended) = (0, 0, 0);
        loop {
            let input = self.reader.fill_buf()?;
            let (result, n_read, n_written, n_ended) =
                self.core.read_record(input, &mut cells.bytes[written..], &mut cells.ends[ended..]);
            self.line.pass(&input[..n_read]);
            self.reader.consume(n_read);
            (read, written, ended) = (read + n_read, written + n_written, ended + n_ended);
            match result {
                _ if read > LONGEST_RECORD => return Ok(false),
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull => cells.bytes.resize((2 * cells.bytes.len()).max(1024), 0),
                ReadRecordResult::OutputEndsFull => cells.ends.resize((2 * cells.ends.len()).max(16), 0),
                ReadRecordResult::Record | ReadRecordResult::End => {
                    cells.len = ended;
                    return Ok(true);
                }
            }
        }
    }
}

impl<R: BufRead> Iterator for Records<R> {
    type Item = Result<Entry, Failed>;

    fn next(&mut self) -> Option<Result<Entry, Failed>> {
        self.next_entry().transpose()
    }
}

/// Where each wanted column is, and how many there are.
struct Places {
    width: usize,
    /// For messages: `the header` or `line 1`.
    like: String,
    text: usize,
    pair: Option<usize>,
    id: Option<usize>,
    id_is_needed: bool,
    label: Option<usize>,
    carried: Vec<usize>,
    names: Vec<String>,
}

impl Places {
    fn find(first: &Cells, line: u64, columns: &Columns) -> Result<Self, String> {
        let names = if columns.no_header {
            (1..=first.len).map(|number| number.to_string()).collect::<Vec<_>>()
        } else {
            let names =
                first.iter().map(|name| characters::checked(name).map(str::to_owned)).collect::<Result<Vec<_>, _>>();
            names.map_err(|problem| format!("line {line} {problem}"))?
        };
        let index = |name: &str| match number(name) {
            Some(index) if columns.no_header => Ok(Some(index).filter(|&index| index < names.len())),
            _ => {
                let mut found = names.iter().enumerate().filter(|(_, known)| *known == name).map(|(index, _)| index);
                match (found.next(), found.next()) {
                    (Some(_), Some(_)) => Err(format!("line {line} has the column `{name}` twice; rename one of them")),
                    (index, _) => Ok(index),
                }
            }
        };
        let needed = |name: &str, advice: &str| {
            index(name)?.ok_or_else(|| {
                let told = missing(name, names.iter().map(String::as_str), advice);
                format!("line {line} {told}")
            })
        };
        let optional = |column: Optional<'_>| match column {
            Optional::Named(name) => needed(name, "").map(Some),
            Optional::IfThere(name) => index(name),
            Optional::No => Ok(None),
        };
        let advice = "; --text-column says which one is the text, --no-header that the first line is a record";
        Ok(Self {
            width: names.len(),
            like: if columns.no_header { format!("line {line}") } else { "the header".to_owned() },
            text: needed(columns.text(), if columns.text_column.is_none() { advice } else { "" })?,
            pair: columns.pair_column.as_deref().map(|name| needed(name, "")).transpose()?,
            id: optional(columns.id())?,
            id_is_needed: matches!(columns.id(), Optional::Named(_)),
            label: optional(columns.label())?,
            carried: columns.carry.iter().map(|name| needed(name, "")).collect::<Result<_, _>>()?,
            names,
        })
    }

    fn record(&self, cells: &Cells, columns: &Columns) -> Result<Record, String> {
        if cells.len != self.width {
            return Err(format!("has {} columns; expected {}, as {} has", cells.len, self.width, self.like));
        }
        let cells = cells
            .iter()
            .zip(&self.names)
            .map(|(cell, name)| characters::checked(cell).map_err(|problem| format!("{problem} (in column `{name}`)")));
        let cells = cells.collect::<Result<Vec<_>, _>>()?;
        let text = |index: usize| {
            let text = Text::of_line(cells[index].to_owned(), columns.pretokenized);
            check_length(&text, &self.names[index]).map(|()| text)
        };
        let string = |cell: &str| to_raw_value(cell).map_err(|error| error.to_string());
        let id = self.id.map(|index| cells[index]).filter(|id| !id.is_empty());
        if let (None, Some(index), true) = (id, self.id, self.id_is_needed) {
            return Err(format!("has nothing in column `{}`; expected an id", self.names[index]));
        }
        let label = self.label.map(|index| cells[index]).filter(|label| !label.is_empty());
        Ok(Record {
            text: text(self.text)?,
            pair: self.pair.map(text).transpose()?,
            id: id.map(str::to_owned),
            label: label.map(string).transpose()?,
            carried: (columns.carry.iter().zip(&self.carried))
                .map(|(name, &index)| Ok((name.clone(), string(cells[index])?)))
                .collect::<Result<_, String>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entries(table: &[u8], columns: &Columns) -> Vec<Result<Entry, Failed>> {
        Records::new(table, b',', Arc::new(columns.clone())).collect()
    }

    fn read(table: &str, columns: &Columns) -> Vec<(u64, Result<Record, String>)> {
        entries(table.as_bytes(), columns).into_iter().map(|entry| entry.unwrap()).map(|e| (e.line, e.record)).collect()
    }

    fn problem(table: &[u8], columns: &Columns) -> String {
        match entries(table, columns).into_iter().find(|entry| !matches!(entry, Ok(Entry { record: Ok(_), .. }))) {
            Some(Ok(Entry { line, record: Err(problem) })) => format!("line {line} {problem}"),
            Some(Err(Failed(problem))) => format!("fatal: {problem}"),
            _ => panic!("{} is good", String::from_utf8_lossy(table)),
        }
    }

    #[test]
    fn quotes_and_line_ends_in_them() {
        let columns = Columns { carry: vec!["n".to_owned()], ..Columns::default() };
        let table = "text,id,n,label\r\n\"a \"\"b\"\"\r\nc\",1,x,\r\n\n\"\",,\"1,5\",no\r\nplain \"quoted\",3,,\"y\"";
        let found = read(table, &columns);
        let of = |i: usize| {
            let record = found[i].1.as_ref().unwrap();
            let json = |value: &super::super::Json| value.get().to_owned();
            let carried = record.carried[0].1.get().to_owned();
            (found[i].0, record.text.text.clone(), record.id.clone(), record.label.as_ref().map(json), carried)
        };
        let s = |text: &str| text.to_owned();
        assert_eq!(of(0), (2, s("a \"b\"\r\nc"), Some(s("1")), None, s("\"x\"")));
        assert_eq!(of(1), (5, s(""), None, Some(s("\"no\"")), s("\"1,5\"")));
        assert_eq!(of(2), (6, s("plain \"quoted\""), Some(s("3")), Some(s("\"y\"")), s("\"\"")));
        assert_eq!(found.len(), 3);
    }

    #[test]
    fn numbered_columns_without_a_header() {
        let some = |name: &str| Some(name.to_owned());
        let columns = Columns {
            text_column: some("2"),
            pair_column: some("1"),
            id_column: some("3"),
            no_header: true,
            carry: vec!["3".to_owned()],
            ..Columns::default()
        };
        let record = read("a,b,c\nd,e,f\n", &columns).remove(0).1.unwrap();
        assert_eq!(
            (record.text.text.as_str(), record.pair.unwrap().text.as_str(), record.id.as_deref()),
            ("b", "a", Some("c"))
        );
        assert_eq!((record.carried[0].0.as_str(), record.carried[0].1.get()), ("3", "\"c\""));
        assert_eq!(problem(b"a,b\n", &columns), "fatal: line 1 has no column `3`; it has `1`, `2`");
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        let plain = Columns::default();
        let id = Columns { id_column: Some("key".to_owned()), ..Columns::default() };
        for (columns, table, says) in [
            (&plain, &b"text,a\nx,1\ny\n"[..], "line 3 has 1 columns; expected 2, as the header has"),
            (&plain, b"text,a\n\"x\n\n\",1\ny,1,2\n", "line 5 has 3 columns; expected 2"),
            (&plain, b"text\nx\ncaf\xe9\n", "line 3 is not UTF-8: byte 0xe9 after 3 good bytes"),
            (&plain, b"text\nx\n\"abc\ndef\n", "line 3 begins a record in which a quote is opened and never closed"),
            (&plain, b"\"text\nx\n", "line 1 begins a record in which a quote is opened"),
            (
                &plain,
                b"sentence,label\nx,1\n",
                "fatal: line 1 has no column `text`; it has `sentence`, `label`; --text-column",
            ),
            (&plain, b"text,text\nx,1\n", "fatal: line 1 has the column `text` twice"),
            (&plain, b"te\xff\nx\n", "fatal: line 1 is not UTF-8"),
            (&id, b"text,key\nx,\n", "line 2 has nothing in column `key`; expected an id"),
            (&id, b"text,keys\nx,\n", "did you mean `keys`?"),
            (&plain, b"text,a\nx\0,1\n", "line 2 has a NUL byte after 1 good bytes"),
            (&plain, b"text,a\rx,1\ry\r", "line 3 has 1 columns; expected 2"),
        ] {
            let found = problem(table, columns);
            assert!(found.contains(says), "{}: {found}", String::from_utf8_lossy(table));
        }
        assert!(
            entries(b"", &plain).is_empty()
                && entries(b"\n\n", &plain).is_empty()
                && entries(b"text\n", &plain).is_empty()
        );
    }

    #[test]
    fn a_record_without_end_is_refused_unread() {
        struct Endless;
        impl Read for Endless {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                buffer.fill(b'a');
                Ok(buffer.len())
            }
        }
        let reader = io::BufReader::new(b"text\nx\n\"".chain(Endless));
        let columns = Columns::default();
        let found = Records::new(reader, b',', Arc::default()).map(|entry| entry.unwrap()).collect::<Vec<_>>();
        assert_eq!(found.len(), 2);
        assert!(found[1].record.as_ref().unwrap_err().contains("longer than 16 MiB"));
        let long = format!("text\n{}\n{0}\n", "a".repeat(super::super::LONGEST_TEXT));
        assert!(read(&long, &columns).iter().all(|(_, record)| record.is_ok()));
        let longer = format!("text\n{}\nx\n", "a".repeat(super::super::LONGEST_TEXT + 1));
        assert!(problem(longer.as_bytes(), &columns).contains("line 2 has a `text` longer than 4 MiB"));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(texts in proptest::collection::vec((any::<String>(), any::<String>()), 0..10), delimiter in prop_oneof![Just(b','), Just(b'\t')]) {
            let mut writer = csv::WriterBuilder::new().delimiter(delimiter).from_writer(Vec::new());
            writer.write_record(["label", "text"]).unwrap();
            texts.iter().for_each(|(label, text)| writer.write_record([label, text]).unwrap());
            let table = writer.into_inner().unwrap();
            let found = Records::new(&table[..], delimiter, Arc::default()).map(|entry| entry.unwrap().record.unwrap()).collect::<Vec<_>>();
            prop_assert_eq!(found.len(), texts.len());
            for (found, (label, text)) in found.iter().zip(&texts) {
                prop_assert_eq!(&found.text.text, text);
                let found = found.label.as_ref().map(|label| serde_json::from_str::<String>(label.get()).unwrap());
                prop_assert_eq!(&found.unwrap_or_default(), label);
            }
        }

        #[test]
        fn no_bytes_are_a_surprise(bytes in proptest::collection::vec(prop_oneof![Just(b','), Just(b'"'), Just(b'\n'), Just(b'\r'), any::<u8>()], 0..80), no_header: bool) {
            let columns = Columns { no_header, text_column: Some("1".to_owned()), ..Columns::default() };
            entries(&[&b"1,2\n"[..], &bytes].concat(), &columns);
        }
    }
}
