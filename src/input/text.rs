//! Plain text: one text per line.

use std::io::BufRead;

use super::entry::{Entry, Failed, LONGEST_TEXT};
use super::lines::Lines;
use super::record::{Record, Text};

/// The lines of a reader as texts.
pub(super) fn texts(reader: impl BufRead, pretokenized: bool) -> impl Iterator<Item = Result<Entry, Failed>> {
    Lines::new(reader, LONGEST_TEXT).map(move |line| {
        let line = line?;
        let record = line.text.map(|text| Record::from(Text::of_line(text, pretokenized)));
        let record = record.map_err(|problem| {
            if problem.starts_with("is longer") { format!("{problem}; put one text on a line") } else { problem }
        });
        Ok(Entry { hides_the_rest: line.is_whole_file, ..Entry::new(line.number, record) })
    })
}
