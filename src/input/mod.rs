//! Texts out of whatever they come in: arguments, files, standard input.

mod text;

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver};
use std::thread;

use crate::error::{Error, Result};
use crate::spec::InputFormat;

/// The longest text that is taken, in bytes. Tokenizing takes some 200 bytes of memory for each byte of a text, and a
/// model sees a few thousand at most; what is longer is usually a file without line ends.
pub const LONGEST_TEXT: usize = 4 << 20;

/// Texts that are read, and tokenized, together.
const TEXTS_PER_PIECE: usize = 4096;
/// Bytes after which a piece is full however few texts it holds; see [`LONGEST_TEXT`] for what they cost.
const BYTES_PER_PIECE: usize = 1 << 18;

/// Where texts come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Arguments, each a text.
    Arguments(Vec<String>),
    /// A file.
    File(PathBuf),
    /// Standard input.
    Stdin,
}

impl Source {
    /// The name in messages.
    pub fn name(&self) -> String {
        match self {
            Source::Arguments(_) => "arguments".to_owned(),
            Source::File(path) => path.display().to_string(),
            Source::Stdin => "standard input".to_owned(),
        }
    }
}

/// One text of the input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// The text, without its line end.
    pub text: String,
    /// For pre-tokenized input, where its words are, in bytes.
    pub words: Option<Vec<Range<usize>>>,
}

/// The texts of a source, in order.
///
/// # Errors
/// [`Error::Io`] when the source cannot be opened; each text is [`Error::Input`] when it is not UTF-8 or too long.
pub fn read(
    source: &Source,
    format: InputFormat,
    pretokenized: bool,
) -> Result<Box<dyn Iterator<Item = Result<Text>> + Send>> {
    let InputFormat::Text = format;
    let name = source.name();
    let reader: Box<dyn BufRead + Send> = match source {
        Source::Arguments(texts) => {
            let texts = texts.clone();
            return Ok(Box::new(texts.into_iter().map(move |text| Ok(with_words(text, pretokenized)))));
        }
        Source::File(path) => {
            let file = File::open(path).map_err(Error::io("open", path))?;
            if file.metadata().map_err(Error::io("read", path))?.is_dir() {
                return Err(Error::Input {
                    source_name: name,
                    problem: "is a directory; expected a file of texts".to_owned(),
                });
            }
            Box::new(BufReader::with_capacity(1 << 16, file))
        }
        Source::Stdin => Box::new(BufReader::with_capacity(1 << 16, io::stdin())),
    };
    Ok(Box::new(text::Lines::new(reader, name).map(move |line| line.map(|text| with_words(text, pretokenized)))))
}

/// Texts read ahead on a thread of their own, in pieces: enough to keep all threads busy, few enough to hold in memory.
///
/// So whoever takes them can do something else while standard input says nothing: see [`Receiver::recv_timeout`]. The
/// last piece is an error, or shorter than the others.
pub fn read_ahead(mut texts: impl Iterator<Item = Result<Text>> + Send + 'static) -> Receiver<Result<Vec<Text>>> {
    let (sender, receiver) = mpsc::sync_channel(1);
    thread::spawn(move || {
        loop {
            let piece = next_piece(&mut texts);
            let ended = piece.as_ref().map_or(true, Vec::is_empty);
            if sender.send(piece).is_err() || ended {
                return;
            }
        }
    });
    receiver
}

fn next_piece(texts: &mut impl Iterator<Item = Result<Text>>) -> Result<Vec<Text>> {
    let (mut piece, mut size) = (Vec::new(), 0);
    while piece.len() < TEXTS_PER_PIECE && size < BYTES_PER_PIECE {
        let Some(text) = texts.next() else { break };
        let text = text?;
        size += text.text.len();
        piece.push(text);
    }
    Ok(piece)
}

fn with_words(text: String, pretokenized: bool) -> Text {
    let words = pretokenized.then(|| text::words(&text));
    Text { text, words }
}
