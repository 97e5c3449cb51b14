//! Where texts come from, and in which format.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use super::BUFFER;
use super::compressed::{decompressed, uncompressed_name};
use super::watched::Watch;
use crate::error::{Error, Result};
use crate::spec::InputFormat;

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
    /// What `-i` names: a file, or `-` for standard input.
    pub fn of_path(path: &Path) -> Self {
        if path.as_os_str() == "-" { Source::Stdin } else { Source::File(path.to_owned()) }
    }

    /// The name in messages.
    pub fn name(&self) -> String {
        match self {
            Source::Arguments(_) => "arguments".to_owned(),
            Source::File(path) => path.display().to_string(),
            Source::Stdin => "standard input".to_owned(),
        }
    }

    /// The format that a file's extension says, that of a compression taken off; else plain text.
    pub fn format(&self) -> InputFormat {
        let Source::File(path) = self else { return InputFormat::Text };
        let name = uncompressed_name(path);
        match Path::new(&name).extension().and_then(|extension| extension.to_str()).unwrap_or_default() {
            "jsonl" | "ndjson" => InputFormat::Jsonl,
            "csv" => InputFormat::Csv,
            "tsv" => InputFormat::Tsv,
            // `annotated` is how the test set of WNUT-17 is called.
            "conll" | "iob" | "iob2" | "bio" | "annotated" => InputFormat::Conll,
            "conllu" => InputFormat::Conllu,
            _ => InputFormat::Text,
        }
    }

    /// Finds what cannot be read before anything is.
    pub(super) fn check(&self) -> Result<()> {
        let Source::File(path) = self else { return Ok(()) };
        let metadata = path.metadata().map_err(Error::io("open", path))?;
        if metadata.is_dir() {
            return Err(Error::Input {
                source_name: self.name(),
                problem: "is a directory; expected a file of texts".to_owned(),
            });
        }
        // A pipe is opened once, when its turn comes.
        if metadata.is_file() {
            File::open(path).map_err(Error::io("open", path))?;
        }
        Ok(())
    }

    /// What is in it, decompressed; with what watches over it while it is read, where it is a regular file.
    pub(super) fn open(&self) -> io::Result<(Box<dyn BufRead + Send>, Option<Watch>)> {
        match self {
            Source::Arguments(texts) => Ok((Box::new(io::Cursor::new(texts.join("\n"))), None)),
            Source::File(path) => {
                let file = File::open(path)?;
                let watch = Watch::new(path, &file)?;
                Ok((decompressed(BufReader::with_capacity(BUFFER, file), Some(path))?, watch))
            }
            Source::Stdin => Ok((decompressed(BufReader::with_capacity(BUFFER, io::stdin()), None)?, None)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_come_from_extensions() {
        for (name, format) in [
            ("a.txt", InputFormat::Text),
            ("a", InputFormat::Text),
            ("csv", InputFormat::Text),
            ("a.csv.txt", InputFormat::Text),
            ("a.b/c", InputFormat::Text),
            ("a.jsonl", InputFormat::Jsonl),
            ("a.NDJSON", InputFormat::Jsonl),
            ("a.csv.gz", InputFormat::Csv),
            ("d.csv/a.tsv.zst", InputFormat::Tsv),
            ("a.iob2.xz", InputFormat::Conll),
            ("emerging.test.annotated", InputFormat::Conll),
            ("a.Conllu.GZ", InputFormat::Conllu),
            ("a.gz", InputFormat::Text),
        ] {
            assert_eq!(Source::File(name.into()).format(), format, "{name}");
        }
        assert_eq!(Source::Stdin.format(), InputFormat::Text);
    }
}
