//! Texts and their columns out of whatever they come in: arguments, files, standard input.

mod bad_lines;
mod binary;
mod characters;
mod columns;
mod compressed;
mod conll;
mod conllu;
mod content;
mod encoding;
mod ids;
mod json;
mod jsonl;
mod lines;
mod object;
mod record;
mod sentences;
mod separators;
mod source;
mod table;
mod text;
mod watched;

use std::io::{self, BufRead};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::thread;

pub use self::bad_lines::BadLines;
pub use self::columns::Columns;
use self::ids::{Ids, Place};
pub use self::record::{Json, Record, Text};
pub use self::source::Source;
use self::watched::Watched;
use crate::error::{Error, Result};
use crate::spec::InputFormat;

/// The longest text that is taken, in bytes. Tokenizing takes some 200 bytes of memory for each byte of a text, and a
/// model sees a few thousand at most; what is longer is usually a file without line ends.
pub const LONGEST_TEXT: usize = 4 << 20;
/// The longest record that is taken, in bytes of the file: a text, its columns, and what escapes them.
pub const LONGEST_RECORD: usize = 4 * LONGEST_TEXT;

/// Records that are read, and tokenized, together.
const RECORDS_PER_PIECE: usize = 4096;
/// Bytes after which a piece is full however few records it holds; see [`LONGEST_TEXT`] for what they cost.
const BYTES_PER_PIECE: usize = 1 << 18;
/// Bytes of a file that are read together.
const BUFFER: usize = 1 << 16;

/// What is read, and how it is to be taken.
#[derive(Debug, Clone)]
pub struct Input {
    sources: Vec<(Source, InputFormat)>,
    columns: Columns,
}

/// A record of a reader, or what is wrong with it.
#[derive(Debug)]
struct Entry {
    /// Where it begins, counted from 1.
    line: u64,
    record: std::result::Result<Record, String>,
}

/// Why nothing more can be read.
#[derive(Debug)]
struct Failed(String);

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self(format!("cannot be read: {error}"))
    }
}

impl Input {
    /// Sources that are read one after the other, each in the format that its name says unless one is given.
    ///
    /// # Errors
    /// [`Error::Usage`] for columns that a format does not have, [`Error::Io`] and [`Error::Input`] for a file that is
    /// not there or cannot be read.
    pub fn new(sources: Vec<Source>, format: Option<InputFormat>, columns: Columns) -> Result<Self> {
        if sources.iter().filter(|source| **source == Source::Stdin).count() > 1 {
            return Err(Error::Usage("-i - is there twice; standard input can be read once".to_owned()));
        }
        let sources = sources.into_iter().map(|source| {
            let format = format.unwrap_or_else(|| source.format());
            if let (Source::Arguments(_), true) = (&source, format != InputFormat::Text) {
                return Err(Error::Usage(
                    "--input-format is for files and standard input; texts given as arguments are taken as they are"
                        .to_owned(),
                ));
            }
            columns.check(format, &source.name())?;
            Ok((source, format))
        });
        let sources = sources.collect::<Result<Vec<_>>>()?;
        columns.check_delimiter(sources.iter().map(|(_, format)| *format))?;
        sources.iter().try_for_each(|(source, _)| source.check())?;
        let of_words = |(_, format): &(Source, InputFormat)| matches!(format, InputFormat::Conll | InputFormat::Conllu);
        let columns = Columns { pretokenized: columns.pretokenized || sources.iter().all(of_words), ..columns };
        Ok(Self { sources, columns })
    }

    /// The formats, each once.
    pub fn formats(&self) -> Vec<InputFormat> {
        let mut formats = self.sources.iter().map(|(_, format)| *format).collect::<Vec<_>>();
        formats.sort_unstable();
        formats.dedup();
        formats
    }

    /// What the options say of columns.
    pub fn columns(&self) -> &Columns {
        &self.columns
    }

    /// The records, in order; the same ones whenever the same input is read.
    ///
    /// The last item may be an error: [`Error::BadLines`] with all that is wrong with the input, whatever was read
    /// before; or [`Error::Input`] where reading failed.
    pub fn read(&self) -> impl Iterator<Item = Result<Record>> + Send + use<> {
        let columns = Arc::new(self.columns.clone());
        let inputs = self.sources.iter().cloned().map(|(source, format)| {
            let (name, columns) = (source.name(), columns.clone());
            (name, Box::new(move || open(source, format, columns)) as Open<'static>)
        });
        Records::new(inputs.collect())
    }

    /// Whether it can be read again.
    pub fn can_be_read_again(&self) -> bool {
        self.sources.iter().all(|(source, _)| *source != Source::Stdin)
    }

    /// That it holds fewer records than a job has read of it before.
    pub fn is_shorter_error(&self, records: u64, before: u64) -> Error {
        let problem = format!(
            "holds {records} texts, fewer than the {before} that this job has read of it before; put the input back, or start anew with --overwrite"
        );
        Error::Input { source_name: self.names(), problem }
    }

    /// The names of its sources, for messages.
    pub fn names(&self) -> String {
        self.sources.iter().map(|(source, _)| source.name()).collect::<Vec<_>>().join(", ")
    }

    /// That there is no record in it.
    pub fn is_empty_error(&self) -> Error {
        let source_name = self.names();
        let expected = match self.sources.first().map_or(InputFormat::Text, |(_, format)| *format) {
            InputFormat::Text => "one text a line",
            InputFormat::Jsonl => "one JSON object a line",
            InputFormat::Json => "an array of objects, or objects",
            InputFormat::Csv | InputFormat::Tsv if self.columns.no_header => "records",
            InputFormat::Csv | InputFormat::Tsv => "records below a header",
            InputFormat::Conll | InputFormat::Conllu => "a word a line",
        };
        Error::Input { source_name, problem: format!("holds no text; expected {expected}") }
    }
}

/// The records of `content` as if it were a file of a format.
///
/// # Errors
/// As [`Input::new`]; the items are as [`Input::read`] has them.
pub fn records_of<'a>(
    content: &'a [u8],
    format: InputFormat,
    columns: &Columns,
) -> Result<impl Iterator<Item = Result<Record>> + use<'a>> {
    let name = "the content".to_owned();
    columns.check(format, &name)?;
    columns.check_delimiter([format])?;
    let columns = Arc::new(columns.clone());
    let open = move || entries(content::content(content, None)?, format, columns);
    Ok(Records::new(vec![(name, Box::new(open) as Open<'a>)]))
}

type Entries<'a> = Box<dyn Iterator<Item = std::result::Result<Entry, Failed>> + Send + 'a>;
type Open<'a> = Box<dyn FnOnce() -> std::result::Result<Entries<'a>, Failed> + Send + 'a>;

fn entries<'a>(
    reader: impl BufRead + Send + 'a,
    format: InputFormat,
    columns: Arc<Columns>,
) -> std::result::Result<Entries<'a>, Failed> {
    Ok(match format {
        InputFormat::Text => Box::new(text::texts(reader, columns.pretokenized)),
        InputFormat::Jsonl => Box::new(jsonl::records(reader, columns)),
        InputFormat::Json => Box::new(json::Records::new(reader, columns)),
        InputFormat::Csv => Box::new(table::Records::new(reader, b',', columns)?),
        InputFormat::Tsv => Box::new(table::Records::new(reader, b'\t', columns)?),
        InputFormat::Conll => Box::new(sentences::Records::new(reader, conll::Conll::new(columns))),
        InputFormat::Conllu => Box::new(sentences::Records::new(reader, conllu::Conllu::new(&columns))),
    })
}

fn open(source: Source, format: InputFormat, columns: Arc<Columns>) -> std::result::Result<Entries<'static>, Failed> {
    let Source::Arguments(texts) = source else {
        let (reader, watch) = source.open()?;
        return Ok(Box::new(Watched { entries: entries(reader, format, columns)?, watch }));
    };
    Ok(Box::new(texts.into_iter().zip(1..).map(move |(text, line)| {
        let text = Text::of_line(text, columns.pretokenized);
        Ok(Entry { line, record: Ok(Record::from(text)) })
    })))
}

/// The records of several inputs as one, and what is wrong with them at the end.
struct Records<'a> {
    names: Vec<String>,
    unopened: std::vec::IntoIter<Open<'a>>,
    /// The inputs opened so far, of which the last is read.
    opened: u32,
    entries: Option<Entries<'a>>,
    ids: Ids,
    /// The first bad lines, and how many there are.
    bad: Vec<(Place, String)>,
    bad_count: u64,
    ended: bool,
}

impl<'a> Records<'a> {
    fn new(inputs: Vec<(String, Open<'a>)>) -> Self {
        let (names, unopened): (Vec<_>, Vec<_>) = inputs.into_iter().unzip();
        let unopened = unopened.into_iter();
        Self { names, unopened, opened: 0, entries: None, ids: Ids::new(), bad: Vec::new(), bad_count: 0, ended: false }
    }

    /// The next record; once there is a bad line, the rest of the input is looked through for more of them instead.
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
                            if self.bad.len() < bad_lines::NAMED {
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

    /// Says what was wrong, if anything was.
    fn finish(&mut self) -> Result<()> {
        let (repeated, count) = self.ids.repeated(bad_lines::NAMED);
        self.bad_count += count;
        if self.bad_count == 0 {
            return Ok(());
        }
        let name = |place: Place| &self.names[place.0 as usize];
        let repeated = repeated.into_iter().map(|(place, first)| {
            let file = if place.0 == first.0 { String::new() } else { format!("{}: ", name(first)) };
            if place == first {
                // In JSON, where a line may hold many.
                return (place, "has two records with one id; expected an id of its own for each".to_owned());
            }
            (place, format!("has the id of {file}line {}; expected an id of its own", first.1))
        });
        let mut bad = std::mem::take(&mut self.bad);
        bad.extend(repeated);
        bad.sort();
        let named = bad.into_iter().take(bad_lines::NAMED);
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

/// Refuses a text that is too long to be tokenized; `name` is its column.
fn check_length(text: &Text, name: &str) -> std::result::Result<(), String> {
    match text.text.len() {
        0..=LONGEST_TEXT => Ok(()),
        _ => Err(format!("has a `{name}` longer than {} MiB, the longest text that is taken", LONGEST_TEXT >> 20)),
    }
}

/// Records read ahead on a thread of their own, in pieces: enough to keep all threads busy, few enough to hold in memory.
///
/// So whoever takes them can do something else while standard input says nothing: see [`Receiver::recv_timeout`]. The
/// last piece is an error, or empty.
pub fn read_ahead(mut records: impl Iterator<Item = Result<Record>> + Send + 'static) -> Receiver<Result<Vec<Record>>> {
    let (sender, receiver) = mpsc::sync_channel(1);
    thread::spawn(move || {
        loop {
            let piece = next_piece(&mut records);
            let ended = piece.as_ref().map_or(true, Vec::is_empty);
            if sender.send(piece).is_err() || ended {
                return;
            }
        }
    });
    receiver
}

fn next_piece(records: &mut impl Iterator<Item = Result<Record>>) -> Result<Vec<Record>> {
    let (mut piece, mut size) = (Vec::new(), 0);
    while piece.len() < RECORDS_PER_PIECE && size < BYTES_PER_PIECE {
        let Some(record) = records.next() else { break };
        let record = record?;
        size += record.size();
        piece.push(record);
    }
    Ok(piece)
}
