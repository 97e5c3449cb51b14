//! Reads texts and their columns from arguments, files and standard input.

mod arrivals;
mod binary;
mod characters;
#[cfg(feature = "parquet")]
mod columnar;
mod columns;
mod compressed;
mod conll;
mod conllu;
mod content;
mod encoding;
mod entry;
mod fasta;
mod first_bytes;
mod folder;
mod id_search;
mod identity;
mod ids;
mod json;
mod json_value;
mod jsonl;
mod lines;
mod object;
mod read_ahead;
mod record;
mod records;
mod sentences;
mod separators;
mod skipped;
mod source;
mod spans;
mod table;
mod text;
mod watched;

use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use self::arrivals::{Arrival, Arrivals};
pub use self::columns::Columns;
use self::entry::{Entries, Entry, Failed};
pub use self::entry::{LONGEST_RECORD, LONGEST_TEXT};
pub use self::identity::InputRecord;
pub use self::read_ahead::Pieces;
use self::read_ahead::read_ahead;
pub use self::record::{Json, Record, SourceLine, Span, Text};
pub use self::records::Records;
use self::records::{Open, SourceName};
pub use self::skipped::{Skipped, SkippedLine, SkippedLines};
pub use self::source::Source;
use self::watched::Watched;
use crate::column_types::ColumnTypes;
use crate::error::{Error, Result};
use crate::spec::{InputFormat, OnBadLine};

/// The sources of texts, with their formats and columns.
#[derive(Debug, Clone)]
pub struct Input {
    /// Arguments, files and standard input; the files of folders one by one.
    sources: Vec<(Source, InputFormat)>,
    folders: Vec<PathBuf>,
    columns: Columns,
    on_bad_line: OnBadLine,
}

impl Input {
    /// An input from sources that are read one after the other, each in `format`, or else in the format of its file
    /// name. A folder of Parquet or Arrow files stands for its files, in the order of their names; those that begin with `_` or `.`
    /// are passed over.
    ///
    /// # Errors
    /// [`Error::Usage`] for columns that a format does not have, [`Error::Io`] and [`Error::Input`] for a file that
    /// does not exist or cannot be read, and for a folder that holds anything else.
    pub fn new(sources: Vec<Source>, format: Option<InputFormat>, columns: Columns) -> Result<Self> {
        if sources.iter().filter(|source| **source == Source::Stdin).count() > 1 {
            return Err(Error::Usage("-i - is there twice; standard input can be read once".to_owned()));
        }
        let (sources, folders) = with_files_of_folders(sources, format)?;
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
        Ok(Self { sources, folders, columns, on_bad_line: OnBadLine::Error })
    }

    /// The same input with this done to its bad lines, which are an error otherwise.
    ///
    /// # Errors
    /// [`Error::Usage`] for texts given as arguments, which have none to skip.
    pub fn on_bad_line(self, on_bad_line: OnBadLine) -> Result<Self> {
        let is_of_arguments = self.sources.iter().any(|(source, _)| matches!(source, Source::Arguments(_)));
        if on_bad_line == OnBadLine::Skip && is_of_arguments {
            return Err(Error::Usage(
                "--on-bad-line skip is for files and standard input; texts given as arguments are taken as they are"
                    .to_owned(),
            ));
        }
        Ok(Self { on_bad_line, ..self })
    }

    /// What happens to bad lines.
    pub fn bad_lines(&self) -> OnBadLine {
        self.on_bad_line
    }

    /// An input from files that are read one after the other, each in the format of its name. Formats with columns have
    /// them as `text`, `id` and `label`.
    ///
    /// # Errors
    /// Those of [`Input::new`].
    pub fn of_files<P: AsRef<Path>>(paths: impl IntoIterator<Item = P>) -> Result<Self> {
        let sources = paths.into_iter().map(|path| Source::File(path.as_ref().to_owned()));
        Self::new(sources.collect(), None, Columns::default())
    }

    /// The formats of the sources, each once.
    pub fn formats(&self) -> Vec<InputFormat> {
        let mut formats = self.sources.iter().map(|(_, format)| *format).collect::<Vec<_>>();
        formats.sort_unstable();
        formats.dedup();
        formats
    }

    /// The roles of the input's columns.
    pub fn columns(&self) -> &Columns {
        &self.columns
    }

    /// The records in order. Reading the same input again gives the same records.
    ///
    /// The last item may be an error: [`Error::BadLines`] with everything that is wrong with the input, or
    /// [`Error::Input`] if reading failed.
    pub fn read(&self) -> Records<'static> {
        let columns = Arc::new(self.columns.clone());
        let inputs = self.sources.iter().cloned().map(|(source, format)| {
            let (name, columns) = (SourceName::new(source.name(), format), columns.clone());
            (name, Box::new(move || open(source, format, columns)) as Open<'static>)
        });
        Records::new(inputs.collect(), self.on_bad_line)
    }

    /// The records in pieces, which are read ahead on a thread of their own.
    pub fn pieces(&self) -> Pieces {
        read_ahead(self.read())
    }

    /// The lines of the one source as they arrive, or its rows, bad ones among them. Ids are not compared, as all would have to be kept.
    ///
    /// # Errors
    /// [`Error::Usage`] for several sources, and for a format whose records are neither lines nor come in batches.
    pub fn arrivals(&self) -> Result<Arrivals> {
        let [(source, format)] = &self.sources[..] else {
            return Err(Error::Usage("--stream reads one input; name one with -i, or pipe it in".to_owned()));
        };
        let format = *format;
        if !matches!(format, InputFormat::Text | InputFormat::Jsonl | InputFormat::Arrow) {
            return Err(Error::Usage(format!(
                "--stream reads what comes by lines or batches, of --input-format text, jsonl or arrow, and {} is of format {}",
                source.name(),
                format.name()
            )));
        }
        let (source, columns) = (source.clone(), Arc::new(self.columns.clone()));
        let name = SourceName::new(source.name(), format);
        Ok(arrivals::arrivals(name, move |types| {
            if format.is_columnar() {
                return rows_as_they_come(&source, columns, types);
            }
            types(columns.unknown_types());
            entries(arrivals::content_as_it_comes(&source)?, format, columns)
        }))
    }

    /// The files among the sources.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.sources.iter().filter_map(|(source, _)| match source {
            Source::File(path) => Some(path.as_path()),
            Source::Arguments(_) | Source::Stdin => None,
        })
    }

    /// The folders whose files are among the sources.
    pub fn folders(&self) -> impl Iterator<Item = &Path> {
        self.folders.iter().map(PathBuf::as_path)
    }

    /// Whether the input can be read a second time, unlike standard input.
    pub fn can_be_read_again(&self) -> bool {
        self.sources.iter().all(|(source, _)| *source != Source::Stdin)
    }

    /// The error of an input that has fewer records than when the job was begun.
    pub fn is_shorter_error(&self, records: u64, before: u64) -> Error {
        let problem = format!(
            "holds {records} texts, fewer than the {before} that this job has read of it before; put the input back, or start anew with --overwrite"
        );
        Error::Input { source_name: self.names(), problem }
    }

    /// The names of the sources, for messages.
    pub fn names(&self) -> String {
        self.sources.iter().map(|(source, _)| source.name()).collect::<Vec<_>>().join(", ")
    }

    /// The error of an input without records.
    pub fn is_empty_error(&self) -> Error {
        let source_name = self.names();
        let expected = match self.sources.first().map_or(InputFormat::Text, |(_, format)| *format) {
            InputFormat::Text => "one text a line",
            InputFormat::Jsonl => "one JSON object a line",
            InputFormat::Json => "an array of objects, or objects",
            InputFormat::Csv | InputFormat::Tsv if self.columns.no_header => "records",
            InputFormat::Csv | InputFormat::Tsv => "records below a header",
            InputFormat::Conll | InputFormat::Conllu => "a word a line",
            InputFormat::Fasta => "headers that begin with >, each with a sequence below it",
            InputFormat::Parquet | InputFormat::Arrow => "rows",
        };
        Error::Input { source_name, problem: format!("holds no text; expected {expected}") }
    }
}

/// The sources with the files of each folder in its place, and the folders.
fn with_files_of_folders(sources: Vec<Source>, format: Option<InputFormat>) -> Result<(Vec<Source>, Vec<PathBuf>)> {
    let (mut expanded, mut folders) = (Vec::new(), Vec::new());
    for source in sources {
        match source {
            Source::File(path) if path.is_dir() => {
                expanded.extend(folder::files(&path, format)?.into_iter().map(Source::File));
                folders.push(path);
            }
            source => expanded.push(source),
        }
    }
    Ok((expanded, folders))
}

/// The records of `content`, read as a file of a format.
///
/// # Errors
/// Those of [`Input::new`]; the items are those of [`Input::read`].
pub fn records_of<'a>(
    content: &'a [u8],
    format: InputFormat,
    columns: &Columns,
    on_bad_line: OnBadLine,
) -> Result<Records<'a>> {
    let name = "the content".to_owned();
    columns.check(format, &name)?;
    columns.check_delimiter([format])?;
    let columns = Arc::new(columns.clone());
    let open = move || {
        if format.is_columnar() {
            return rows_of(content, format, columns);
        }
        entries(content::content(content, None)?, format, columns)
    };
    let name = SourceName::new(name, format);
    Ok(Records::new(vec![(name, Box::new(open) as Open<'a>)], on_bad_line))
}

/// The rows of a content that is Parquet or Arrow.
#[cfg(feature = "parquet")]
fn rows_of<'a>(
    mut content: &'a [u8],
    format: InputFormat,
    columns: Arc<Columns>,
) -> std::result::Result<Entries<'a>, Failed> {
    Ok(match format {
        InputFormat::Parquet => Box::new(columnar::Rows::of_parquet(source::seekable(&mut content)?, columns)?),
        _ => Box::new(columnar::Rows::of_arrow(Box::new(std::io::Cursor::new(content.to_vec())), columns)?),
    })
}

#[cfg(not(feature = "parquet"))]
fn rows_of<'a>(_: &'a [u8], _: InputFormat, _: Arc<Columns>) -> std::result::Result<Entries<'a>, Failed> {
    Err(Failed(Error::no_parquet("it").to_string()))
}

/// The rows of a source that is Parquet or Arrow, with a watch on changes.
#[cfg(feature = "parquet")]
fn open_rows(
    source: &Source,
    format: InputFormat,
    columns: Arc<Columns>,
) -> std::result::Result<Entries<'static>, Failed> {
    let (rows, watch) = match format {
        InputFormat::Parquet => {
            let (file, watch) = source.open_seekable()?;
            (columnar::Rows::of_parquet(file, columns)?, watch)
        }
        _ => {
            let (content, watch) = source.open_bytes()?;
            (columnar::Rows::of_arrow(content, columns)?, watch)
        }
    };
    Ok(Box::new(Watched { entries: Box::new(rows), watch }))
}

#[cfg(not(feature = "parquet"))]
fn open_rows(source: &Source, _: InputFormat, _: Arc<Columns>) -> std::result::Result<Entries<'static>, Failed> {
    Err(Failed(Error::no_parquet(&source.name()).to_string()))
}

/// The rows of a source that is an Arrow stream, whose types are told as soon as they have come.
#[cfg(feature = "parquet")]
fn rows_as_they_come(
    source: &Source,
    columns: Arc<Columns>,
    types: &dyn Fn(ColumnTypes),
) -> std::result::Result<Entries<'static>, Failed> {
    let rows = columnar::Rows::of_arrow(arrivals::bytes_as_they_come(source)?, columns)?;
    types(rows.types().clone());
    Ok(Box::new(rows))
}

#[cfg(not(feature = "parquet"))]
fn rows_as_they_come(
    source: &Source,
    _: Arc<Columns>,
    _: &dyn Fn(ColumnTypes),
) -> std::result::Result<Entries<'static>, Failed> {
    Err(Failed(Error::no_parquet(&source.name()).to_string()))
}

fn entries<'a>(
    reader: impl BufRead + Send + 'a,
    format: InputFormat,
    columns: Arc<Columns>,
) -> std::result::Result<Entries<'a>, Failed> {
    Ok(match format {
        InputFormat::Text => Box::new(text::texts(reader, columns.pretokenized)),
        InputFormat::Jsonl => Box::new(jsonl::records(reader, columns)),
        InputFormat::Json => Box::new(json::JsonRecords::new(reader, columns)),
        InputFormat::Csv => Box::new(table::TableRecords::new(reader, b',', columns)?),
        InputFormat::Tsv => Box::new(table::TableRecords::new(reader, b'\t', columns)?),
        InputFormat::Conll => Box::new(sentences::SentenceRecords::new(reader, conll::Conll::new(columns))),
        InputFormat::Conllu => Box::new(sentences::SentenceRecords::new(reader, conllu::Conllu::new(&columns))),
        InputFormat::Fasta => Box::new(fasta::FastaRecords::new(reader, columns)),
        // They are no text, and read as bytes.
        InputFormat::Parquet | InputFormat::Arrow => return Err(Failed("is not text".to_owned())),
    })
}

fn open(source: Source, format: InputFormat, columns: Arc<Columns>) -> std::result::Result<Entries<'static>, Failed> {
    if format.is_columnar() {
        return open_rows(&source, format, columns);
    }
    let Source::Arguments(texts) = source else {
        let (reader, watch) = source.open()?;
        return Ok(Box::new(Watched { entries: entries(reader, format, columns)?, watch }));
    };
    Ok(Box::new(texts.into_iter().zip(1..).map(move |(text, line)| {
        let text = Text::of_line(text, columns.pretokenized);
        Ok(Entry::new(line, Ok(Record::from(text))))
    })))
}
