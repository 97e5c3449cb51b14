//! The files of the first pass: the lines of `texts.jsonl`, and the tokens for the second pass. Both are flushed and
//! journaled as they grow, so that an interrupted job need not tokenize again.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::sync::Arc;
use std::time::Instant;

use super::flush::{Flusher, INTERVAL};
use super::folder::Folder;
use super::journal::{JournalEntry, TextsDone};
use super::manifest::JobRecord;
use super::names::{AHEAD, NEW_TEXTS, NEW_TOKENS, TEXTS, TEXTS_SO_FAR, TOKENS, UNFINISHED};
use super::plan_record::DirectoryPlan;
use super::texts::{TextLine, WordsSpelled};
use crate::batch::Tokens;
use crate::counts::TextCounts;
use crate::error::{Error, Result};
use crate::input::Record;
use crate::spec::{Format, VectorKind};
use crate::spool;
use crate::tokenize::TokenSink;
use crate::tokens::Encoded;

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
            FileNames::Beside => NEW_TEXTS,
        }
    }

    /// The file of tokens.
    pub(super) fn tokens(self) -> &'static str {
        match self {
            FileNames::Own => TOKENS,
            FileNames::Beside => NEW_TOKENS,
        }
    }
}

/// The files of the first pass in a directory.
pub struct TextFiles {
    folder: Arc<Folder>,
    names: FileNames,
    earlier: TextsDone,
    /// `None` when an earlier process wrote all of it.
    writer: Option<TextFilesWriter>,
    /// How many texts can be read in the file of tokens.
    growing: Arc<spool::Growing>,
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
    growing: Arc<spool::Growing>,
}

/// The texts of a first pass that is going on.
pub struct GrowingTexts {
    folder: Arc<Folder>,
    /// The file of tokens.
    name: &'static str,
    growing: Arc<spool::Growing>,
}

impl GrowingTexts {
    /// The texts from the first one on, as they come.
    ///
    /// # Errors
    /// That of opening the file.
    pub(crate) fn read(&self) -> Result<impl Iterator<Item = io::Result<Tokens>> + Send> {
        let unreadable = || Error::io("read", self.folder.place(self.name));
        let file = self.folder.read_file(self.name).map_err(unreadable())?;
        let spool = spool::SpoolReader::of_file(Arc::new(file), 0).map_err(unreadable())?;
        Ok(self.growing.follow(spool))
    }

    /// Ends all that read them.
    pub(crate) fn end(&self) {
        self.growing.end();
    }

    /// A file in the same folder that vanishes with who holds it.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be created.
    pub(crate) fn create_rows(&self) -> Result<File> {
        let file = self.folder.create_temporary(AHEAD)?;
        self.folder.remove(AHEAD)?;
        Ok(file)
    }
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
    pub(super) fn begin(folder: &Arc<Folder>, job: JobRecord, names: FileNames) -> Result<Self> {
        let create = |name: &str| folder.create_temporary(name).map(Arc::new);
        let files = (create(names.texts())?, create(names.tokens())?);
        let checksum = crc32fast::Hasher::new();
        Self::with(folder, names, job, files, TextsDone::default(), checksum)
    }

    /// Resumes after the texts that an earlier process flushed to the disk. `None` when the files do not match its
    /// journal.
    pub(super) fn resume(folder: &Arc<Folder>, job: JobRecord, earlier: &TextsDone) -> Result<Option<Self>> {
        let open = |name: &str, bytes: u64| -> io::Result<Arc<File>> {
            let mut file = folder.open_file(name)?;
            if file.metadata()?.len() < bytes {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            file.set_len(bytes)?;
            file.seek(SeekFrom::Start(bytes))?;
            Ok(Arc::new(file))
        };
        let (texts, tokens) = (open(TEXTS_SO_FAR, earlier.texts_bytes), open(TOKENS, earlier.tokens_bytes));
        let (Ok(texts), Ok(tokens)) = (texts, tokens) else { return Ok(None) };
        let checksum = checksum_of(folder, TEXTS_SO_FAR)?;
        let of_tokens = checksum_of(folder, TOKENS)?;
        if checksum.clone().finalize() != earlier.texts_crc32 || of_tokens.finalize() != earlier.tokens_crc32 {
            return Ok(None);
        }
        Self::with(folder, FileNames::Own, job, (texts, tokens), earlier.clone(), checksum).map(Some)
    }

    /// The finished first pass of a job whose arrays were begun.
    pub(super) fn done(folder: &Arc<Folder>, earlier: TextsDone) -> Self {
        Self { folder: Arc::clone(folder), names: FileNames::Own, earlier, writer: None, growing: Arc::default() }
    }

    fn with(
        folder: &Arc<Folder>,
        names: FileNames,
        job: JobRecord,
        (texts, tokens): (Arc<File>, Arc<File>),
        earlier: TextsDone,
        checksum: crc32fast::Hasher,
    ) -> Result<Self> {
        let flusher = Flusher::start(folder, vec![Arc::clone(&texts), Arc::clone(&tokens)])?;
        let growing = Arc::<spool::Growing>::default();
        growing.reach(earlier.texts);
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
            growing: Arc::clone(&growing),
        };
        Ok(Self { folder: Arc::clone(folder), names, earlier, writer: Some(writer), growing })
    }

    /// The texts, for who reads them while they are written. `None` if nothing will be written.
    pub fn growing(&self) -> Option<GrowingTexts> {
        self.writer.as_ref()?;
        let Self { folder, names, growing, .. } = self;
        Some(GrowingTexts { folder: Arc::clone(folder), name: names.tokens(), growing: Arc::clone(growing) })
    }

    /// A sink for the texts of a plan. Lines get tokens and words if the plan has vectors of them.
    pub fn sink<'a>(&'a mut self, plan: &'a DirectoryPlan) -> TextFilesSink<'a> {
        TextFilesSink { files: self, plan }
    }

    fn other_input(&self) -> Error {
        Error::OtherInput(Box::new(Error::another_job(self.folder.path(), &["the input".to_owned()])))
    }

    /// Whether the directory has a journal, so that work done so far survives the end of the process.
    pub fn is_journaled(&self) -> bool {
        self.writer.as_ref().is_none_or(|writer| writer.journaled)
    }

    /// Removes the files of a first pass that is abandoned, unless it resumed earlier work.
    pub fn discard(self) {
        let (folder, names) = (Arc::clone(&self.folder), self.names);
        let is_new = self.writer.is_some() && self.earlier.texts == 0;
        self.stop();
        if is_new && names == FileNames::Own {
            folder.remove_if_there(UNFINISHED);
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
            let name = if self.folder.has_file(TEXTS_SO_FAR)? { TEXTS_SO_FAR } else { TEXTS };
            return Ok(TokenizedTexts {
                spool: self.spool(self.earlier.texts)?,
                names: self.names,
                checksum: checksum_of(&self.folder, name)?,
                tokens_crc32: self.earlier.tokens_crc32,
            });
        };
        if writer.journaled {
            writer.journal(&self.folder, input_sha256.to_owned())?;
        }
        writer.flush(&self.folder)?;
        writer.texts.get_ref().sync_all().map_err(Error::io("write", self.folder.place(TEXTS)))?;
        writer.tokens_file.sync_all().map_err(Error::io("write", self.folder.place(TOKENS)))?;
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
        let name = self.names.tokens();
        let path = self.folder.place(name);
        let file = self.folder.read_file(name).map_err(Error::io("read", &path))?;
        spool::SpoolReader::of_file(Arc::new(file), texts).map_err(Error::io("read", &path))
    }
}

/// The sink for the texts of a first pass.
pub struct TextFilesSink<'a> {
    files: &'a mut TextFiles,
    plan: &'a DirectoryPlan,
}

impl TokenSink for TextFilesSink<'_> {
    fn earlier(&self, each: &mut dyn FnMut(TextCounts)) -> Result<()> {
        let TextFiles { folder, earlier, .. } = &*self.files;
        if earlier.texts == 0 {
            return Ok(());
        }
        let path = folder.place(TOKENS);
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
        let is_table_of_words = plan.format == Format::Parquet && plan.has(VectorKind::Word);
        let spelled = if is_table_of_words { WordsSpelled::All } else { WordsSpelled::Given };
        let details = plan.wants_token_details().then_some(spelled);
        let line = TextLine::new(row, record, encoded, details, plan.special_tokens);
        let unwritable = || Error::io("write", files.folder.place(TEXTS));
        let mut bytes = serde_json::to_vec(&line).map_err(io::Error::from).map_err(unwritable())?;
        bytes.push(b'\n');
        writer.checksum.update(&bytes);
        writer.texts.write_all(&bytes).map_err(unwritable())?;
        writer.tokens.write(counts, &encoded.tokens).map_err(Error::io("write", files.folder.place(TOKENS)))?;
        writer.done.texts += 1;
        writer.done.texts_bytes += bytes.len() as u64;
        Ok(())
    }

    fn end_piece(&mut self, sha256: &dyn Fn() -> String) -> Result<()> {
        let files = &mut *self.files;
        match &mut files.writer {
            Some(writer) if writer.due <= Instant::now() => match files.names {
                FileNames::Own => writer.journal(&files.folder, sha256()),
                FileNames::Beside => {
                    writer.due = Instant::now() + INTERVAL;
                    writer.flush(&files.folder)
                }
            },
            _ => Ok(()),
        }
    }

    fn way_on(&self) -> &'static str {
        if self.files.is_journaled() { Error::GO_ON } else { Error::START_OVER }
    }
}

impl TextFilesWriter {
    fn flush(&mut self, folder: &Folder) -> Result<()> {
        self.texts.flush().map_err(Error::io("write", folder.place(TEXTS)))?;
        self.done.tokens_bytes = self.tokens.flush().map_err(Error::io("write", folder.place(TOKENS)))?;
        self.growing.reach(self.done.texts);
        Ok(())
    }

    fn journal(&mut self, folder: &Folder, input_sha256: String) -> Result<()> {
        self.flush(folder)?;
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
            path: folder.place(UNFINISHED),
            problem: "cannot be written, or the files beside it cannot; is the disk full?".to_owned(),
        })
    }
}

/// Copies `count` lines of a file, from line `first` on, to a temporary file. Returns the copy's crc32.
pub(super) fn copy_lines(folder: &Folder, from: &str, to: &str, first: u64, count: u64) -> Result<crc32fast::Hasher> {
    let mut file = BufWriter::with_capacity(1 << 20, folder.create_temporary(to)?);
    let mut copy = || -> io::Result<crc32fast::Hasher> {
        let checksum = each_line(folder, from, first, count, |line| file.write_all(line))?;
        file.flush()?;
        file.get_ref().sync_all()?;
        Ok(checksum)
    };
    copy().map_err(Error::io("write", folder.place(to)))
}

/// The crc32 that the copy by [`copy_lines`] would have.
pub(super) fn checksum_of_lines(folder: &Folder, from: &str, first: u64, count: u64) -> Result<crc32fast::Hasher> {
    each_line(folder, from, first, count, |_| Ok(())).map_err(Error::io("read", folder.place(from)))
}

fn each_line(
    folder: &Folder,
    from: &str,
    first: u64,
    count: u64,
    mut take: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<crc32fast::Hasher> {
    let mut checksum = crc32fast::Hasher::new();
    let mut from = BufReader::with_capacity(1 << 20, folder.read_file(from)?);
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
pub(super) fn checksum_of(folder: &Folder, name: &str) -> Result<crc32fast::Hasher> {
    let read = || folder.read_file(name).and_then(|file| checksum(file, 0, u64::MAX, |_| ()));
    read().map_err(Error::io("read", folder.place(name)))
}

/// The crc32 of `length` bytes of a file from `start` on, or of as many as there are. `each` is told how many were read.
pub(crate) fn checksum(
    mut file: File,
    start: u64,
    length: u64,
    mut each: impl FnMut(u64),
) -> io::Result<crc32fast::Hasher> {
    let mut checksum = crc32fast::Hasher::new();
    file.seek(SeekFrom::Start(start))?;
    let mut file = file.take(length);
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(checksum),
            count => {
                checksum.update(&buffer[..count]);
                each(count as u64);
            }
        }
    }
}
