//! The files of the first pass: the lines of `texts.jsonl`, and the tokens for the second pass. Both are flushed and
//! journaled as they grow, so that an interrupted job need not tokenize again.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use super::existing::TEXTS;
use super::flush::{Flusher, INTERVAL};
use super::journal::{JournalEntry, TextsDone, UNFINISHED};
use super::manifest::JobRecord;
use super::texts::TextLine;
use crate::counts::TextCounts;
use crate::error::{Error, Result};
use crate::input::Record;
use crate::plan::Plan;
use crate::spool;
use crate::tokenize::TokenSink;
use crate::tokens::Encoded;

/// `texts.jsonl` while it is written.
pub(super) const TEXTS_SO_FAR: &str = ".layerwise-texts.jsonl";
/// The lines of a shard.
pub(super) const TEXTS_OF_PART: &str = ".layerwise-part.jsonl";
/// The spool of tokens, removed at the end of the job.
pub(super) const TOKENS: &str = ".layerwise-tokens";

/// The names of a first pass's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FileNames {
    /// The names for the directory's own job.
    Own,
    /// Other names, beside the work of another job, which stays until all texts of this one are known. Until then the
    /// journal belongs to that job.
    Beside,
}

impl FileNames {
    /// The file of lines.
    pub(super) fn texts(self) -> &'static str {
        match self {
            FileNames::Own => TEXTS_SO_FAR,
            FileNames::Beside => ".layerwise-new-texts.jsonl",
        }
    }

    /// The file of tokens.
    pub(super) fn tokens(self) -> &'static str {
        match self {
            FileNames::Own => TOKENS,
            FileNames::Beside => ".layerwise-new-tokens",
        }
    }
}

/// The files of the first pass in a directory.
pub struct TextFiles {
    directory: PathBuf,
    names: FileNames,
    earlier: TextsDone,
    /// `None` when an earlier process wrote all of it.
    writer: Option<TextFilesWriter>,
}

struct TextFilesWriter {
    job: JobRecord,
    texts: BufWriter<Arc<File>>,
    tokens: spool::SpoolWriter,
    tokens_file: Arc<File>,
    done: TextsDone,
    checksum: crc32fast::Hasher,
    flusher: Flusher,
    due: Instant,
    journaled: bool,
}

/// The finished first pass, on the disk.
pub struct TokenizedTexts {
    /// The tokens, positioned at the first text.
    pub spool: spool::SpoolReader,
    pub(super) names: FileNames,
    /// crc32 of the lines.
    pub(super) checksum: crc32fast::Hasher,
    /// crc32 of the tokens.
    pub(super) tokens_crc32: u32,
}

impl TextFiles {
    /// Begins with the first text.
    pub(super) fn begin(directory: &Path, job: JobRecord, names: FileNames) -> Result<Self> {
        let create = |name: &str| {
            let path = directory.join(name);
            let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path);
            file.map(Arc::new).map_err(Error::io("create", path))
        };
        let files = (create(names.texts())?, create(names.tokens())?);
        let checksum = crc32fast::Hasher::new();
        Self::with(directory, names, job, files, TextsDone::default(), checksum)
    }

    /// Resumes after the texts that an earlier process flushed to the disk. `None` when the files do not match its
    /// journal.
    pub(super) fn resume(directory: &Path, job: JobRecord, earlier: &TextsDone) -> Result<Option<Self>> {
        let open = |name: &str, bytes: u64| -> io::Result<Arc<File>> {
            let mut file = OpenOptions::new().read(true).write(true).open(directory.join(name))?;
            if file.metadata()?.len() < bytes {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            file.set_len(bytes)?;
            file.seek(SeekFrom::Start(bytes))?;
            Ok(Arc::new(file))
        };
        let (texts, tokens) = (open(TEXTS_SO_FAR, earlier.texts_bytes), open(TOKENS, earlier.tokens_bytes));
        let (Ok(texts), Ok(tokens)) = (texts, tokens) else { return Ok(None) };
        let checksum = checksum_of(&directory.join(TEXTS_SO_FAR))?;
        let of_tokens = checksum_of(&directory.join(TOKENS))?;
        if checksum.clone().finalize() != earlier.texts_crc32 || of_tokens.finalize() != earlier.tokens_crc32 {
            return Ok(None);
        }
        Self::with(directory, FileNames::Own, job, (texts, tokens), earlier.clone(), checksum).map(Some)
    }

    /// The finished first pass of a job whose arrays were begun.
    pub(super) fn done(directory: &Path, earlier: TextsDone) -> Self {
        Self { directory: directory.to_owned(), names: FileNames::Own, earlier, writer: None }
    }

    fn with(
        directory: &Path,
        names: FileNames,
        job: JobRecord,
        (texts, tokens): (Arc<File>, Arc<File>),
        earlier: TextsDone,
        checksum: crc32fast::Hasher,
    ) -> Result<Self> {
        let flusher = Flusher::start(directory, vec![Arc::clone(&texts), Arc::clone(&tokens)])?;
        let writer = TextFilesWriter {
            job,
            texts: BufWriter::with_capacity(1 << 16, texts),
            tokens: spool::SpoolWriter::in_file(
                Arc::clone(&tokens),
                earlier.texts,
                earlier.tokens_bytes,
                crc32fast::Hasher::new_with_initial_len(earlier.tokens_crc32, earlier.tokens_bytes),
            ),
            tokens_file: tokens,
            done: earlier.clone(),
            checksum,
            flusher,
            due: Instant::now() + INTERVAL,
            journaled: earlier.texts > 0,
        };
        Ok(Self { directory: directory.to_owned(), names, earlier, writer: Some(writer) })
    }

    /// A sink for the texts of a plan. Lines get tokens and words if the plan has vectors of them.
    pub fn sink<'a>(&'a mut self, plan: &'a Plan) -> TextFilesSink<'a> {
        TextFilesSink { files: self, plan }
    }

    fn other_input(&self) -> Error {
        Error::OtherInput(Box::new(Error::another_job(&self.directory, &["the input".to_owned()])))
    }

    /// Whether the directory has a journal, so that work done so far survives the end of the process.
    pub fn is_journaled(&self) -> bool {
        self.writer.as_ref().is_none_or(|writer| writer.journaled)
    }

    /// Removes the files of a first pass that is abandoned, unless it resumed earlier work.
    pub fn discard(self) {
        let (directory, names) = (self.directory.clone(), self.names);
        let is_new = self.writer.is_some() && self.earlier.texts == 0;
        self.stop();
        if is_new && names == FileNames::Own {
            let _ = fs::remove_file(directory.join(UNFINISHED));
        }
    }

    /// Ends an incomplete first pass; journaled work stays.
    pub fn stop(self) {
        if let Some(writer) = self.writer {
            let _ = writer.flusher.finish(); // a failure would be the one that is being reported
        }
    }

    /// Ends the first pass.
    ///
    /// # Errors
    /// [`Error::Io`] when files cannot be written, or those written before cannot be read.
    pub fn finish(mut self, input_sha256: &str) -> Result<TokenizedTexts> {
        let Some(mut writer) = self.writer.take() else {
            let so_far = self.directory.join(TEXTS_SO_FAR);
            let path = if so_far.exists() { so_far } else { self.directory.join(TEXTS) };
            return Ok(TokenizedTexts {
                spool: self.spool(self.earlier.texts)?,
                names: self.names,
                checksum: checksum_of(&path)?,
                tokens_crc32: self.earlier.tokens_crc32,
            });
        };
        if writer.journaled {
            writer.journal(&self.directory, input_sha256.to_owned())?;
        }
        writer.flush(&self.directory)?;
        writer.texts.get_ref().sync_all().map_err(Error::io("write", self.directory.join(TEXTS)))?;
        writer.tokens_file.sync_all().map_err(Error::io("write", self.directory.join(TOKENS)))?;
        writer.flusher.finish()?;
        Ok(TokenizedTexts {
            spool: self.spool(writer.done.texts)?,
            names: self.names,
            tokens_crc32: writer.tokens.crc32(),
            checksum: writer.checksum,
        })
    }

    /// Opens the file of tokens again for reading while it is written.
    fn spool(&self, texts: u64) -> Result<spool::SpoolReader> {
        let path = self.directory.join(self.names.tokens());
        let file = File::open(&path).map_err(Error::io("read", &path))?;
        spool::SpoolReader::of_file(Arc::new(file), texts).map_err(Error::io("read", &path))
    }
}

/// The sink for the texts of a first pass.
pub struct TextFilesSink<'a> {
    files: &'a mut TextFiles,
    plan: &'a Plan,
}

impl TokenSink for TextFilesSink<'_> {
    fn earlier(&self, each: &mut dyn FnMut(TextCounts)) -> Result<()> {
        let TextFiles { directory, earlier, .. } = &*self.files;
        if earlier.texts == 0 {
            return Ok(());
        }
        let path = directory.join(TOKENS);
        let damaged = || Error::Output {
            path: path.clone(),
            problem: "is damaged; start anew in its directory with --overwrite".to_owned(),
        };
        let mut spool = self.files.spool(earlier.texts)?;
        let mut bytes = 0;
        while let Some(counts) = spool.skip_text().map_err(|_| damaged())? {
            bytes += counts.record_bytes();
            if bytes > earlier.tokens_bytes {
                return Err(damaged());
            }
            each(counts);
        }
        if bytes == earlier.tokens_bytes { Ok(()) } else { Err(damaged()) }
    }

    fn check_earlier_input(&self, sha256: &str) -> Result<()> {
        if sha256 == self.files.earlier.input_sha256 { Ok(()) } else { Err(self.files.other_input()) }
    }

    fn take(&mut self, row: u64, record: &Record, encoded: &Encoded, counts: TextCounts) -> Result<()> {
        let Self { files, plan } = self;
        let Some(writer) = &mut files.writer else { return Err(files.other_input()) };
        let line = TextLine::new(row, record, encoded, plan.wants_token_details(), plan.special_tokens);
        let unwritable = || Error::io("write", files.directory.join(TEXTS));
        let mut bytes = serde_json::to_vec(&line).map_err(io::Error::from).map_err(unwritable())?;
        bytes.push(b'\n');
        writer.checksum.update(&bytes);
        writer.texts.write_all(&bytes).map_err(unwritable())?;
        writer.tokens.write(counts, &encoded.tokens).map_err(Error::io("write", files.directory.join(TOKENS)))?;
        writer.done.texts += 1;
        writer.done.texts_bytes += bytes.len() as u64;
        Ok(())
    }

    fn end_piece(&mut self, sha256: &dyn Fn() -> String) -> Result<()> {
        let files = &mut *self.files;
        match &mut files.writer {
            Some(writer) if files.names == FileNames::Own && writer.due <= Instant::now() => {
                writer.journal(&files.directory, sha256())
            }
            _ => Ok(()),
        }
    }

    fn way_on(&self) -> &'static str {
        if self.files.is_journaled() { Error::GO_ON } else { Error::START_OVER }
    }
}

impl TextFilesWriter {
    fn flush(&mut self, directory: &Path) -> Result<()> {
        self.texts.flush().map_err(Error::io("write", directory.join(TEXTS)))?;
        self.done.tokens_bytes = self.tokens.flush().map_err(Error::io("write", directory.join(TOKENS)))?;
        Ok(())
    }

    fn journal(&mut self, directory: &Path, input_sha256: String) -> Result<()> {
        self.flush(directory)?;
        self.done.input_sha256 = input_sha256;
        self.done.texts_crc32 = self.checksum.clone().finalize();
        self.done.tokens_crc32 = self.tokens.crc32();
        let entry = JournalEntry::Texts(self.job.clone(), self.done.clone());
        self.due = Instant::now() + INTERVAL;
        self.journaled = true;
        if self.flusher.journal(entry) {
            return Ok(());
        }
        Err(Error::Output {
            path: directory.join(UNFINISHED),
            problem: "cannot be written, or the files beside it cannot; is the disk full?".to_owned(),
        })
    }
}

/// Copies `count` lines of a file, from line `first` on, to another file. Returns the copy's crc32.
pub(super) fn copy_lines(from: &Path, to: &Path, first: u64, count: u64) -> Result<crc32fast::Hasher> {
    let copy = || -> io::Result<crc32fast::Hasher> {
        let mut file = BufWriter::with_capacity(1 << 20, File::create(to)?);
        let checksum = each_line(from, first, count, |line| file.write_all(line))?;
        file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        Ok(checksum)
    };
    copy().map_err(Error::io("write", to))
}

/// The crc32 that the copy by [`copy_lines`] would have.
pub(super) fn checksum_of_lines(from: &Path, first: u64, count: u64) -> Result<crc32fast::Hasher> {
    each_line(from, first, count, |_| Ok(())).map_err(Error::io("read", from))
}

fn each_line(
    from: &Path,
    first: u64,
    count: u64,
    mut take: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<crc32fast::Hasher> {
    let mut checksum = crc32fast::Hasher::new();
    let mut from = BufReader::with_capacity(1 << 20, File::open(from)?);
    for _ in 0..first {
        if from.skip_until(b'\n')? == 0 {
            break;
        }
    }
    let mut line = Vec::new();
    for _ in 0..count {
        line.clear();
        if from.read_until(b'\n', &mut line)? == 0 {
            break; // fewer than there should be, as their checksum says
        }
        checksum.update(&line);
        take(&line)?;
    }
    Ok(checksum)
}

/// The crc32 of a whole file.
pub(super) fn checksum_of(path: &Path) -> Result<crc32fast::Hasher> {
    let mut checksum = crc32fast::Hasher::new();
    let mut read = || -> io::Result<()> {
        let mut file = BufReader::with_capacity(1 << 20, File::open(path)?);
        let mut buffer = vec![0; 1 << 20];
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok(()),
                count => checksum.update(&buffer[..count]),
            }
        }
    };
    read().map_err(Error::io("read", path))?;
    Ok(checksum)
}
