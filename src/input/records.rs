//! Concatenates the records of several inputs.

use super::entry::{Entries, Entry, Failed};
use super::ids::{Ids, RecordPlace};
use super::record::Record;
use crate::error::{BadLines, Error, Result};

/// Opens an input when its turn comes.
pub(super) type Open<'a> = Box<dyn FnOnce() -> std::result::Result<Entries<'a>, Failed> + Send + 'a>;

/// The records of several inputs, followed by an error with everything that is wrong with them.
pub(super) struct Records<'a> {
    names: Vec<String>,
    unopened: std::vec::IntoIter<Open<'a>>,
    /// Number of inputs opened so far; the last one is being read.
    opened: u32,
    entries: Option<Entries<'a>>,
    ids: Ids,
    /// The first bad lines; `bad_count` counts all of them.
    bad: Vec<(RecordPlace, String)>,
    bad_count: u64,
    ended: bool,
}

impl<'a> Records<'a> {
    pub(super) fn new(inputs: Vec<(String, Open<'a>)>) -> Self {
        let (names, unopened): (Vec<_>, Vec<_>) = inputs.into_iter().unzip();
        let unopened = unopened.into_iter();
        Self { names, unopened, opened: 0, entries: None, ids: Ids::new(), bad: Vec::new(), bad_count: 0, ended: false }
    }

    /// The next record. After a bad line, the rest of the input is only searched for further bad lines.
    fn next_record(&mut self) -> Result<Option<Record>> {
        loop {
            let entry = match &mut self.entries {
                Some(entries) => entries.next(),
                None => match self.unopened.next() {
                    Some(open) => {
                        self.opened += 1;
                        self.entries = Some(open().map_err(|failed| self.failed(failed))?);
                        continue;
                    }
                    None => return self.finish().map(|()| None),
                },
            };
            match entry {
                None => self.entries = None,
                Some(Err(failed)) => return Err(self.failed(failed)),
                Some(Ok(Entry { line, record })) => {
                    let place = (self.opened - 1, line);
                    match record {
                        Ok(record) => {
                            record.id.iter().for_each(|id| self.ids.add(id, place));
                            if self.bad_count == 0 {
                                return Ok(Some(record));
                            }
                        }
                        Err(problem) => {
                            self.bad_count += 1;
                            if self.bad.len() < BadLines::NAMED {
                                self.bad.push((place, problem));
                            }
                        }
                    }
                }
            }
        }
    }

    fn failed(&self, Failed(problem): Failed) -> Error {
        Error::Input { source_name: self.names[self.opened as usize - 1].clone(), problem }
    }

    /// Fails with everything that was wrong.
    fn finish(&mut self) -> Result<()> {
        let (repeated, count) = self.ids.repeated(BadLines::NAMED);
        self.bad_count += count;
        if self.bad_count == 0 {
            return Ok(());
        }
        let name = |place: RecordPlace| &self.names[place.0 as usize];
        let repeated = repeated.into_iter().map(|(place, first)| {
            let file = if place.0 == first.0 { String::new() } else { format!("{}: ", name(first)) };
            if place == first {
                // In JSON, several records may begin on one line.
                return (
                    place,
                    "has two records with one id; expected an id of its own for each (--id-column '' reads none)"
                        .to_owned(),
                );
            }
            (
                place,
                format!("has the id of {file}line {}; expected an id of its own (--id-column '' reads none)", first.1),
            )
        });
        let mut bad = std::mem::take(&mut self.bad);
        bad.extend(repeated);
        bad.sort();
        let named = bad.into_iter().take(BadLines::NAMED);
        let named = named.map(|(place, problem)| format!("{}: line {} {problem}", name(place), place.1));
        Err(Error::BadLines(BadLines { named: named.collect(), count: self.bad_count }))
    }
}

impl Iterator for Records<'_> {
    type Item = Result<Record>;

    fn next(&mut self) -> Option<Result<Record>> {
        if self.ended {
            return None;
        }
        let record = self.next_record();
        self.ended = !matches!(record, Ok(Some(_)));
        record.transpose()
    }
}
