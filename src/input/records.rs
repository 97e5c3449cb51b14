//! Concatenates the records of several inputs.

use super::entry::{Entries, Entry, Failed};
use super::id_search::IdSearch;
use super::ids::{FirstPlaces, Ids, RecordPlace};
use super::record::{Record, SourceLine};
use super::skipped::Skipped;
use crate::error::{BadLines, Error, Result};
use crate::spec::{InputFormat, OnBadLine};

/// Opens an input when its turn comes.
pub(super) type Open<'a> = Box<dyn FnOnce() -> std::result::Result<Entries<'a>, Failed> + Send + 'a>;

/// The name of an input, and what its records are.
#[derive(Debug, Clone)]
pub(super) struct SourceName {
    name: String,
    has_rows: bool,
}

impl SourceName {
    pub(super) fn new(name: String, format: InputFormat) -> Self {
        Self { name, has_rows: format.is_columnar() }
    }

    pub(super) fn name(&self) -> String {
        self.name.clone()
    }

    /// A place for messages: lines are counted from 1, and rows from 0, as in the output.
    pub(super) fn place(&self, line: u64) -> String {
        if self.has_rows { format!("row {}", line.saturating_sub(1)) } else { format!("line {line}") }
    }
}

/// The records of several inputs. Bad lines are left out, or an error with all of them follows the records.
pub struct Records<'a> {
    names: Vec<SourceName>,
    unopened: std::vec::IntoIter<Open<'a>>,
    /// Number of inputs opened so far; the last one is being read.
    opened: u32,
    entries: Option<Entries<'a>>,
    bad: BadOnes,
    id_search: IdSearch,
    ended: bool,
}

/// The bad lines so far, and what is done with them.
enum BadOnes {
    /// The first of them are named in the error at the end, which counts all.
    Gathered { ids: Ids, named: Vec<(RecordPlace, String)>, count: u64 },
    /// They are left out.
    Skipped { ids: FirstPlaces, skipped: Skipped, is_any_kept: bool },
}

impl<'a> Records<'a> {
    pub(super) fn new(inputs: Vec<(SourceName, Open<'a>)>, on_bad_line: OnBadLine) -> Self {
        let (names, unopened): (Vec<_>, Vec<_>) = inputs.into_iter().unzip();
        let bad = match on_bad_line {
            OnBadLine::Error => BadOnes::Gathered { ids: Ids::new(), named: Vec::new(), count: 0 },
            OnBadLine::Skip => {
                BadOnes::Skipped { ids: FirstPlaces::new(), skipped: Skipped::default(), is_any_kept: false }
            }
        };
        Self {
            names,
            unopened: unopened.into_iter(),
            opened: 0,
            entries: None,
            bad,
            id_search: IdSearch::default(),
            ended: false,
        }
    }

    /// What was left out so far; `None` where bad lines are an error.
    pub fn skipped(&self) -> Option<&Skipped> {
        match &self.bad {
            BadOnes::Gathered { .. } => None,
            BadOnes::Skipped { skipped, .. } => Some(skipped),
        }
    }

    /// The note on a column that could be the id, by the records so far.
    pub(super) fn note_of_id(&self) -> Option<String> {
        self.id_search.note()
    }

    /// The next record. After a bad line that is an error, the rest of the input is only searched for further ones.
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
                Some(Ok(entry)) => {
                    if let Some(record) = self.take(entry)? {
                        return Ok(Some(record));
                    }
                }
            }
        }
    }

    /// The record of an entry, if it is to be given out.
    fn take(&mut self, entry: Entry) -> Result<Option<Record>> {
        let Entry { line, record, like_ids, hides_the_rest } = entry;
        let place = (self.opened - 1, line);
        match &mut self.bad {
            BadOnes::Gathered { ids, named, count } => match record {
                Ok(record) => {
                    record.id.iter().for_each(|id| ids.add(id, place));
                    self.id_search.add(&record, like_ids);
                    Ok(Some(record).filter(|_| *count == 0))
                }
                Err(problem) => {
                    *count += 1;
                    if named.len() < BadLines::NAMED {
                        named.push((place, problem));
                    }
                    Ok(None)
                }
            },
            BadOnes::Skipped { ids, skipped, is_any_kept } => {
                let file = (self.names.len() > 1).then_some(self.opened);
                let source_line = SourceLine { file, line };
                let names = &self.names;
                let own = &names[place.0 as usize];
                let named = |problem: &str| format!("{}: {} {problem}", own.name, own.place(line));
                match record {
                    Ok(record) => {
                        let first = record.id.as_ref().and_then(|id| ids.earlier(id, place));
                        let Some(first) = first else {
                            *is_any_kept = true;
                            self.id_search.add(&record, like_ids);
                            return Ok(Some(Record { line: Some(source_line), ..record }));
                        };
                        let of_first = names[first.0 as usize].place(first.1);
                        let problem = repeated(place, first, &of_first, |file| format!("file {}, ", file + 1));
                        let in_message = || named(&repeated(place, first, &of_first, |file| in_file(names, file)));
                        skipped.add(source_line, &problem, in_message);
                        Ok(None)
                    }
                    Err(problem) if hides_the_rest => {
                        let place = own.place(line);
                        let problem = format!(
                            "{place} {problem}; what follows it cannot be told apart, so it is not skipped either"
                        );
                        Err(self.failed(Failed(problem)))
                    }
                    Err(problem) => {
                        skipped.add(source_line, &problem, || named(&problem));
                        Ok(None)
                    }
                }
            }
        }
    }

    fn failed(&self, Failed(problem): Failed) -> Error {
        Error::Input { source_name: self.names[self.opened as usize - 1].name.clone(), problem }
    }

    /// Fails with everything that was wrong, if that is an error.
    fn finish(&mut self) -> Result<()> {
        let (ids, named, count) = match &mut self.bad {
            BadOnes::Gathered { ids, named, count } => (ids, named, count),
            BadOnes::Skipped { skipped, is_any_kept: false, .. } if skipped.count() > 0 => {
                return Err(Error::BadLines(skipped.as_error()));
            }
            BadOnes::Skipped { .. } => return Ok(()),
        };
        let (again, count_again) = ids.repeated(BadLines::NAMED);
        *count += count_again;
        if *count == 0 {
            return Ok(());
        }
        let names = &self.names;
        let mut bad = std::mem::take(named);
        bad.extend(again.into_iter().map(|(place, first)| {
            let of_first = names[first.0 as usize].place(first.1);
            (place, repeated(place, first, &of_first, |file| in_file(names, file)))
        }));
        bad.sort();
        let named = bad.into_iter().take(BadLines::NAMED);
        let named = named.map(|(place, problem)| {
            let own = &names[place.0 as usize];
            format!("{}: {} {problem}", own.name, own.place(place.1))
        });
        Err(Error::BadLines(BadLines { named: named.collect(), count: *count }))
    }
}

/// The problem of a record whose id an earlier one has, at `of_first`. `in_file` says in which file that one is, if it is another.
fn repeated(place: RecordPlace, first: RecordPlace, of_first: &str, in_file: impl Fn(u32) -> String) -> String {
    if place == first {
        // In JSON, several records may begin on one line.
        return "has two records with one id; expected an id of its own for each (--id-column '' reads none)"
            .to_owned();
    }
    let file = if place.0 == first.0 { String::new() } else { in_file(first.0) };
    format!("has the id of {file}{of_first}; expected an id of its own (--id-column '' reads none)")
}

/// The beginning of a line's name in a message.
fn in_file(names: &[SourceName], file: u32) -> String {
    format!("{}: ", names[file as usize].name)
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
