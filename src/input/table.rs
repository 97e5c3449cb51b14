//! Tables: csv and tsv, quoted as in RFC 4180. The first record names the columns, unless there is no header.

use std::io::{self, BufRead, Chain, Cursor, Read};
use std::sync::Arc;

use csv_core::ReadRecordResult;
use serde_json::value::to_raw_value;

use super::characters;
use super::columns::{Columns, Optional, missing, number};
use super::entry::{Entry, Failed, LONGEST_RECORD, check_length};
use super::first_bytes::first_bytes;
use super::id_search::{LikeIds, LikeIdsReader};
use super::lines::LineNumber;
use super::record::{Record, Text};
use super::separators::{self, DECLARATION, Occurrences};
use super::spans;
use crate::spec::Delimiter;

/// What stands behind the last record, so that a quote that is never closed shows: the end is part of a field then. It
/// is not UTF-8, so no good record holds it.
const END: &[u8] = b"\xff\xfe\xfd the end \xff";

/// The records of a table.
pub(super) struct TableRecords<R> {
    reader: R,
    core: csv_core::Reader,
    cells: Cells,
    /// The number of the line that is read next.
    line: LineNumber,
    separator: Separator,
    /// Occurrences of other delimiters, if neither an option nor a header determines the delimiter.
    occurrences: Option<Occurrences>,
    columns: Arc<Columns>,
    like_ids: LikeIdsReader,
    /// The wanted columns; `None` until the header is read.
    places: Option<Places>,
    ended: bool,
}

/// The cells of a record in one buffer, and where each ends.
#[derive(Default)]
struct Cells {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    len: usize,
}

impl Cells {
    fn iter(&self) -> impl Iterator<Item = &[u8]> + Clone {
        let start = |index: usize| if index == 0 { 0 } else { self.ends[index - 1] };
        (0..self.len).map(move |index| &self.bytes[start(index)..self.ends[index]])
    }
}

/// The delimiter of the columns.
#[derive(Clone, Copy)]
struct Separator {
    byte: u8,
    /// Whether an option or the first line determines it; otherwise it follows from the format.
    is_said: bool,
}

/// A table whose first bytes were examined, followed by [`END`].
type Whole<R> = Chain<Chain<Chain<Cursor<Vec<u8>>, R>, &'static [u8]>, &'static [u8]>;

impl<R: BufRead> TableRecords<Whole<R>> {
    /// A table whose columns are separated by `delimiter` unless an option or its first line says otherwise.
    pub(super) fn new(mut reader: R, delimiter: u8, columns: Arc<Columns>) -> io::Result<Self> {
        let mut head = first_bytes(&mut reader, DECLARATION)?;
        let mut line = LineNumber::new();
        let declared = separators::declared(&head).map(|(declared, length)| {
            line.pass(&head[..length]);
            head.drain(..length);
            declared
        });
        let said = columns.delimiter.or(declared);
        let separator = Separator { byte: said.map_or(delimiter, Delimiter::byte), is_said: said.is_some() };
        Ok(Self {
            reader: Cursor::new(head).chain(reader).chain(&b"\n"[..]).chain(END),
            core: csv_core::ReaderBuilder::new().delimiter(separator.byte).build(),
            cells: Cells::default(),
            line,
            separator,
            occurrences: (columns.no_header && !separator.is_said).then(Occurrences::new),
            like_ids: LikeIdsReader::new(&columns),
            columns,
            places: None,
            ended: false,
        })
    }
}

impl<R: BufRead> TableRecords<R> {
    fn next_entry(&mut self) -> Result<Option<Entry>, Failed> {
        loop {
            if self.ended {
                return Ok(None);
            }
            self.skip_line_ends()?;
            let line = self.line.get();
            let wrong = |problem: String| Ok(Some(Entry::hiding_the_rest(line, problem)));
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
                    return self.check_separator().map(|()| None);
                }
                return wrong("begins a record in which a quote is opened and never closed; close it, or write a quote in a field as \"\" and the field in quotes".to_owned());
            }
            let places = match &self.places {
                Some(places) => places,
                None => {
                    let places = Places::find(&self.cells, line, self.separator, &self.columns).map_err(Failed)?;
                    let places = self.places.insert(places);
                    if !self.columns.no_header {
                        continue;
                    }
                    places
                }
            };
            if let Some(occurrences) = &mut self.occurrences {
                occurrences.add(self.cells.iter());
            }
            return Ok(Some(Entry::with_like_ids(line, places.record(&self.cells, &self.columns, &mut self.like_ids))));
        }
    }

    /// Refuses a table whose records all seem to have another delimiter, once it is read to its end.
    fn check_separator(&self) -> Result<(), Failed> {
        let read = self.occurrences.as_ref().zip(self.places.as_ref());
        let other = read.and_then(|(seen, places)| seen.of_all_records(self.separator.byte, places.width));
        other.map_or(Ok(()), |problem| Err(Failed(problem)))
    }

    /// Moves to the first line that is not empty.
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

    /// Reads the next record's cells. Returns whether its length is acceptable.
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

impl<R: BufRead> Iterator for TableRecords<R> {
    type Item = Result<Entry, Failed>;

    fn next(&mut self) -> Option<Result<Entry, Failed>> {
        self.next_entry().transpose()
    }
}

/// The index of each wanted column, and the number of columns.
struct Places {
    width: usize,
    /// What determined the number of columns, for messages: `the header` or `line 1`.
    like: String,
    text: usize,
    pair: Option<usize>,
    id: Option<usize>,
    id_is_needed: bool,
    label: Option<usize>,
    spans: Option<usize>,
    carried: Vec<usize>,
    names: Vec<String>,
}

impl Places {
    fn find(first: &Cells, line: u64, separator: Separator, columns: &Columns) -> Result<Self, String> {
        let (cells, names) = if columns.no_header {
            // What is wrong with a record is said where all bad lines are.
            let cells = first.iter().map(|cell| String::from_utf8_lossy(cell).into_owned()).collect::<Vec<_>>();
            (cells, (1..=first.len).map(|number| number.to_string()).collect::<Vec<_>>())
        } else {
            let cells = first.iter().map(|name| characters::checked(name).map(str::to_owned));
            let cells = cells.collect::<Result<Vec<_>, _>>().map_err(|problem| format!("line {line} {problem}"))?;
            (cells.clone(), cells)
        };
        let other = |has: &dyn Fn(&[&str]) -> bool| separators::of_first_record(&cells, separator.byte, has);
        if let ([only], false, false) = (&names[..], columns.no_header, separator.is_said)
            && columns.text() == only
            && let Some(other) = other(&|_| false)
        {
            let said = Delimiter::new(separator.byte).map_or_else(String::new, Delimiter::typed);
            return Err(format!("line {line} has one column, but {other}; or with --delimiter {said} if it is one"));
        }
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
                let has = |cells: &[&str]| match number(name) {
                    Some(index) if columns.no_header => index < cells.len(),
                    _ => cells.contains(&name),
                };
                let told = match (other(&has), quote(name, &names)) {
                    (Some(other), _) => format!("has no column `{name}`; {other}"),
                    (None, Some(quote)) => format!(
                        "has no column `{name}`, but one in {quote}, which csv takes for part of the name; quote with \" instead"
                    ),
                    (None, None) => missing(name, names.iter().map(String::as_str), advice),
                };
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
            spans: columns.span_column.as_deref().map(|name| needed(name, "")).transpose()?,
            carried: columns.carry.iter().map(|name| needed(name, "")).collect::<Result<_, _>>()?,
            names,
        })
    }

    /// Whether a record is the header of a file that was joined to this one, perhaps with its byte order mark.
    fn is_header_again(&self, cells: &[&str], columns: &Columns) -> bool {
        let first = cells.first().map(|cell| cell.trim_start_matches('\u{feff}'));
        !columns.no_header && self.width > 1 && first.into_iter().chain(cells[1..].iter().copied()).eq(&self.names)
    }

    fn record(
        &self,
        cells: &Cells,
        columns: &Columns,
        like_ids: &mut LikeIdsReader,
    ) -> Result<(Record, LikeIds), String> {
        if cells.len != self.width {
            return Err(format!("has {} columns; expected {}, as {} has", cells.len, self.width, self.like));
        }
        let cells = cells
            .iter()
            .zip(&self.names)
            .map(|(cell, name)| characters::checked(cell).map_err(|problem| format!("{problem} (in column `{name}`)")));
        let cells = cells.collect::<Result<Vec<_>, _>>()?;
        if self.is_header_again(&cells, columns) {
            return Err(
                "is the header again, as in files that were joined; name each file with -i, or take the line out"
                    .to_owned(),
            );
        }
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
        let of_text = text(self.text)?;
        let spans = self.spans.map(|index| spans::of_cell(cells[index], &self.names[index], &of_text)).transpose()?;
        let record = Record {
            text: of_text,
            pair: self.pair.map(text).transpose()?,
            id: id.map(str::to_owned),
            label: label.map(string).transpose()?,
            spans,
            line: None,
            carried: (columns.carry.iter().zip(&self.carried))
                .map(|(name, &index)| Ok((columns.carried_name(name), string(cells[index])?)))
                .collect::<Result<_, String>>()?,
        };
        let named = self.names.iter().map(String::as_str).zip(cells.iter().copied());
        Ok((record, like_ids.take(columns, named, |cell: &str| Some(cell.to_owned()))))
    }
}

/// The character that a name is quoted with, if it is not the quote of tables.
fn quote(name: &str, names: &[String]) -> Option<char> {
    const QUOTES: [char; 7] = ['\'', '`', '‘', '’', '“', '”', '„'];
    let quoted = names.iter().find(|known| known.trim_matches(|c| QUOTES.contains(&c)) == name && *known != name)?;
    quoted.chars().next()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entries(table: &[u8], columns: &Columns) -> Vec<Result<Entry, Failed>> {
        TableRecords::new(table, b',', Arc::new(columns.clone())).unwrap().collect()
    }

    fn read(table: &str, columns: &Columns) -> Vec<(u64, Result<Record, String>)> {
        entries(table.as_bytes(), columns).into_iter().map(|entry| entry.unwrap()).map(|e| (e.line, e.record)).collect()
    }

    fn problem(table: &[u8], columns: &Columns) -> String {
        match entries(table, columns).into_iter().find(|entry| !matches!(entry, Ok(Entry { record: Ok(_), .. }))) {
            Some(Ok(Entry { line, record: Err(problem), .. })) => format!("line {line} {problem}"),
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
    fn a_delimiter_is_that_of_the_option_or_of_the_first_line() {
        let some = Delimiter::new(b';');
        let separated = Columns { delimiter: some, carry: vec!["n".to_owned()], ..Columns::default() };
        let plain = Columns { delimiter: None, ..separated.clone() };
        let table = "id;n;text\r\n1;0,5;\"a;b\"\r\n";
        for (columns, table) in [
            (&separated, table.to_owned()),
            (&separated, format!("sep=|\r\n{table}")),
            (&plain, format!("sep=;\r\n{table}")),
            (&plain, format!("\"sep=;\"\n{table}")),
        ] {
            let (line, record) = read(&table, columns).remove(0);
            let record = record.unwrap();
            assert_eq!((record.text.text.as_str(), record.carried[0].1.get()), ("a;b", "\"0,5\""));
            assert_eq!(line, if table.contains("sep=") { 3 } else { 2 });
        }
        let numbered = Columns { no_header: true, text_column: Some("2".to_owned()), ..Columns::default() };
        assert_eq!(read("sep=\t\na\tb\n", &numbered)[0].1.as_ref().unwrap().text.text, "b");
    }

    #[test]
    fn whole_rows_are_never_texts() {
        let some = |name: &str| Some(name.to_owned());
        let named = Columns { text_column: some("id;text"), ..Columns::default() };
        let told = problem(b"id;text\n1;a\n", &named);
        assert!(told.contains("line 1 has one column, but its columns seem to be separated by `;`"), "{told}");
        assert!(told.ends_with("or with --delimiter , if it is one"), "{told}");
        let said = Columns { delimiter: Delimiter::new(b','), ..named };
        assert_eq!(read("id;text\n1;a\n", &said)[0].1.as_ref().unwrap().text.text, "1;a");
        let first = Columns { no_header: true, text_column: some("1"), ..Columns::default() };
        let rows = "1;hello world;a\n2;one more;b\n";
        let told = problem(rows.as_bytes(), &first);
        assert!(
            told.starts_with("fatal: its columns seem to be separated by `;`, which each record has 2 times"),
            "{told}"
        );
        assert_eq!(read("one; two\nthree\n", &first).len(), 2, "a mark in some texts");
        let said = Columns { delimiter: Delimiter::new(b','), ..first };
        assert_eq!(read(rows, &said).len(), 2);
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
            (
                &plain,
                b"a,text\n1,x\na,text\n",
                "line 3 is the header again, as in files that were joined; name each file",
            ),
            (&plain, b"a,text\n1,x\n\xef\xbb\xbfa,text\n", "line 3 is the header again"),
            (&plain, b"text,a\nx\0,1\n", "line 2 has a NUL byte after 1 good bytes"),
            (&plain, b"text,a\rx,1\ry\r", "line 3 has 1 columns; expected 2"),
            (
                &plain,
                b"'id','text'\n",
                "line 1 has no column `text`, but one in ', which csv takes for part of the name",
            ),
            (
                &plain,
                b"id;text;label\n1;hello world;a\n",
                "fatal: line 1 has no column `text`; its columns seem to be separated by `;` (`id`, `text`, `label`); read it with --delimiter ';'",
            ),
            (&plain, b"sep=|\nid;text\n", "line 2 has no column `text`; its columns seem to be separated by `;`"),
        ] {
            let found = problem(table, columns);
            assert!(found.contains(says), "{}: {found}", String::from_utf8_lossy(table));
        }
        assert_eq!(read("text\ntext\n", &plain).len(), 1, "one column is a text");
        let first = Columns { no_header: true, text_column: Some("1".to_owned()), ..Columns::default() };
        let bad =
            entries(b"\xff,1\n\xfe,2\n", &first).into_iter().filter(|entry| entry.as_ref().unwrap().record.is_err());
        assert_eq!(bad.count(), 2, "all bad lines without a header");
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
        let found =
            TableRecords::new(reader, b',', Arc::default()).unwrap().map(|entry| entry.unwrap()).collect::<Vec<_>>();
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
            let found = TableRecords::new(&table[..], delimiter, Arc::default()).unwrap().map(|entry| entry.unwrap().record.unwrap()).collect::<Vec<_>>();
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
