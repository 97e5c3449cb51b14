//! The sources of texts, and the formats that file names tell.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

#[cfg(feature = "parquet")]
use super::compressed::decompressed;
use super::compressed::uncompressed_name;
use super::content::content;
use super::entry::{BUFFER, Failed};
#[cfg(feature = "parquet")]
use super::first_bytes::first_bytes;
use super::watched::Watch;
use crate::error::{Error, Result};
use crate::spec::InputFormat;

/// Number of files of a directory that are searched for the one that was meant.
const NEIGHBOURS: usize = 10_000;

/// The first bytes of a Parquet file.
#[cfg(feature = "parquet")]
const PARQUET: &[u8] = b"PAR1";

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
    /// The source that `-i` names: a file, or `-` for standard input.
    pub fn of_path(path: &Path) -> Self {
        if path.as_os_str() == "-" { Source::Stdin } else { Source::File(path.to_owned()) }
    }

    /// The source's name in messages.
    pub fn name(&self) -> String {
        match self {
            Source::Arguments(_) => "arguments".to_owned(),
            Source::File(path) => path.display().to_string(),
            Source::Stdin => "standard input".to_owned(),
        }
    }

    /// The format of a file's extension, after that of a compression; plain text for any other.
    pub fn format(&self) -> InputFormat {
        let Source::File(path) = self else { return InputFormat::Text };
        let name = uncompressed_name(path);
        match Path::new(&name).extension().and_then(|extension| extension.to_str()).unwrap_or_default() {
            "jsonl" | "ndjson" => InputFormat::Jsonl,
            "json" => InputFormat::Json,
            "csv" => InputFormat::Csv,
            "tsv" => InputFormat::Tsv,
            // The test set of WNUT-17 is named `annotated`.
            "conll" | "iob" | "iob2" | "bio" | "annotated" => InputFormat::Conll,
            "conllu" => InputFormat::Conllu,
            "fasta" | "fa" | "faa" | "fas" | "fna" => InputFormat::Fasta,
            "parquet" | "pq" => InputFormat::Parquet,
            "arrow" | "arrows" | "feather" | "ipc" => InputFormat::Arrow,
            _ => InputFormat::Text,
        }
    }

    /// Refuses a source that cannot be read, before anything is read.
    pub(super) fn check(&self) -> Result<()> {
        let Source::File(path) = self else { return Ok(()) };
        let metadata = path.metadata().map_err(|error| Error::io("open", path)(with_neighbour(path, error)))?;
        // A pipe can be opened only once, so it is opened when its turn comes.
        if metadata.is_file() {
            File::open(path).map_err(Error::io("open", path))?;
        }
        Ok(())
    }

    /// Opens the content as it is, with the path and a watch on changes if it is a file.
    pub(super) fn open_raw(&self) -> io::Result<RawContent<'_>> {
        Ok(match self {
            Source::Arguments(texts) => {
                RawContent { reader: Box::new(io::Cursor::new(texts.join("\n"))), path: None, watch: None }
            }
            Source::File(path) => {
                let file = File::open(path)?;
                let watch = Watch::new(path, &file)?;
                RawContent { reader: Box::new(BufReader::with_capacity(BUFFER, file)), path: Some(path), watch }
            }
            Source::Stdin => {
                let reader = Box::new(BufReader::with_capacity(BUFFER, io::stdin()));
                RawContent { reader, path: None, watch: None }
            }
        })
    }

    /// Opens the content as bytes, decompressed, with a watch on changes if it is a regular file.
    #[cfg(feature = "parquet")]
    pub(super) fn open_bytes(&self) -> std::result::Result<(Box<dyn BufRead + Send>, Option<Watch>), Failed> {
        let RawContent { reader, path, watch } = self.open_raw()?;
        Ok((decompressed(reader, path)?, watch))
    }

    /// Opens the content as a file that is read at any place. What is none, or is compressed, is copied to one without a name.
    #[cfg(feature = "parquet")]
    pub(super) fn open_seekable(&self) -> std::result::Result<(File, Option<Watch>), Failed> {
        if let Source::File(path) = self {
            let mut file = File::open(path)?;
            if let Some(watch) = Watch::new(path, &file)?
                && first_bytes(&mut file, PARQUET.len())? == PARQUET
            {
                return Ok((file, Some(watch)));
            }
        }
        let (mut content, watch) = self.open_bytes()?;
        Ok((seekable(&mut content)?, watch))
    }

    /// Opens the content as UTF-8, with a watch on changes if it is a regular file.
    pub(super) fn open(&self) -> std::result::Result<(Box<dyn BufRead + Send>, Option<Watch>), Failed> {
        let RawContent { reader, path, watch } = self.open_raw()?;
        Ok((content(reader, path)?, watch))
    }
}

/// The content of a source, neither decompressed nor decoded.
pub(super) struct RawContent<'a> {
    pub(super) reader: Box<dyn BufRead + Send>,
    pub(super) path: Option<&'a Path>,
    /// If it is a regular file.
    pub(super) watch: Option<Watch>,
}

/// A file without a name with this content, at its beginning.
#[cfg(feature = "parquet")]
pub(super) fn seekable(content: &mut dyn io::Read) -> io::Result<File> {
    let mut file = tempfile::tempfile()?;
    io::copy(content, &mut file)?;
    io::Seek::rewind(&mut file)?;
    Ok(file)
}

/// The error of a missing file, with the file beside it that was probably meant.
fn with_neighbour(path: &Path, error: io::Error) -> io::Error {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if error.kind() != io::ErrorKind::NotFound || name.is_empty() {
        return error;
    }
    let neighbours = directory.read_dir().into_iter().flatten().take(NEIGHBOURS).filter_map(std::result::Result::ok);
    let like = neighbours.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let like =
        like.map(|neighbour| (strsim::jaro_winkler(&name, &neighbour), neighbour)).filter(|(like, _)| *like > 0.85);
    match like.max_by(|a, b| a.0.total_cmp(&b.0)) {
        Some((_, neighbour)) => {
            let meant = path.with_file_name(neighbour);
            io::Error::new(error.kind(), format!("{error}; did you mean {}?", meant.display()))
        }
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_file_comes_with_its_neighbour() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("train.jsonl.gz"), "").unwrap();
        std::fs::write(directory.path().join("other.txt"), "").unwrap();
        let told = |path: &Path| Source::File(path.to_owned()).check().unwrap_err().to_string();
        let found = told(&directory.path().join("train.jsonl"));
        assert!(
            found.ends_with(&format!("did you mean {}?", directory.path().join("train.jsonl.gz").display())),
            "{found}"
        );
        for name in ["nothing", "train.jsonl/a", "nowhere/train.jsonl"] {
            let path = directory.path().join(name);
            assert!(!told(&path).contains("did you mean"), "{}", told(&path));
        }
    }

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
            ("a.json", InputFormat::Json),
            ("a.JSON.gz", InputFormat::Json),
            ("a.csv.gz", InputFormat::Csv),
            ("d.csv/a.tsv.zst", InputFormat::Tsv),
            ("a.iob2.xz", InputFormat::Conll),
            ("emerging.test.annotated", InputFormat::Conll),
            ("a.Conllu.GZ", InputFormat::Conllu),
            ("a.fasta", InputFormat::Fasta),
            ("uniprot.FA.gz", InputFormat::Fasta),
            ("a.faa", InputFormat::Fasta),
            ("a.fas.xz", InputFormat::Fasta),
            ("a.fna", InputFormat::Fasta),
            ("a.gz", InputFormat::Text),
            ("part-00000-9f1c.snappy.parquet", InputFormat::Parquet),
        ] {
            assert_eq!(Source::File(name.into()).format(), format, "{name}");
        }
        assert_eq!(Source::Stdin.format(), InputFormat::Text);
    }
}
