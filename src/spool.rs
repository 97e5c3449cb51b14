//! The spool: tokenized texts between the two passes, written once while texts are counted and read back batch by
//! batch.
//!
//! For standard output, small jobs stay in memory and larger ones use an unnamed file, which the system removes with
//! the process. A job that writes a directory keeps its spool there, so that it can resume after a restart.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use tempfile::SpooledTempFile;

use crate::batch::Tokens;
use crate::counts::TextCounts;

/// Size in bytes up to which a temporary spool stays in memory.
const IN_MEMORY: usize = 8 << 20;

/// A spool being written.
pub(crate) struct SpoolWriter {
    file: BufWriter<SpoolFile>,
    texts: u64,
    bytes: u64,
    checksum: crc32fast::Hasher,
}

/// A spool being read from its first text on.
pub struct SpoolReader {
    file: BufReader<SpoolFile>,
    remaining: u64,
}

/// The storage of the records.
enum SpoolFile {
    Temporary(SpooledTempFile),
    Named(Arc<File>),
}

impl Write for SpoolFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            SpoolFile::Temporary(file) => file.write(bytes),
            SpoolFile::Named(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(()) // neither has a buffer
    }
}

impl Read for SpoolFile {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            SpoolFile::Temporary(file) => file.read(bytes),
            SpoolFile::Named(file) => file.read(bytes),
        }
    }
}

impl Seek for SpoolFile {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        match self {
            SpoolFile::Temporary(file) => file.seek(position),
            SpoolFile::Named(file) => file.seek(position),
        }
    }
}

impl SpoolWriter {
    /// A spool that ends with the process, in memory or in the system's temporary directory.
    pub(crate) fn temporary() -> Self {
        Self::new(SpoolFile::Temporary(tempfile::spooled_tempfile(IN_MEMORY)), 0, 0, crc32fast::Hasher::new())
    }

    /// Continues a spool in a file, positioned at its end, that holds `texts` texts in `bytes` bytes with this
    /// checksum.
    pub(crate) fn in_file(file: Arc<File>, texts: u64, bytes: u64, checksum: crc32fast::Hasher) -> Self {
        Self::new(SpoolFile::Named(file), texts, bytes, checksum)
    }

    fn new(storage: SpoolFile, texts: u64, bytes: u64, checksum: crc32fast::Hasher) -> Self {
        Self { file: BufWriter::with_capacity(1 << 16, storage), texts, bytes, checksum }
    }

    /// The crc32 of all bytes so far.
    pub(crate) fn crc32(&self) -> u32 {
        self.checksum.clone().finalize()
    }

    /// Appends a text.
    ///
    /// # Errors
    /// The error of writing the file.
    pub(crate) fn write(&mut self, counts: TextCounts, tokens: &Tokens) -> io::Result<()> {
        let counted = counts.to_numbers();
        let spans: Vec<u32> = tokens.spans.iter().flat_map(|span| [span.start, span.end]).collect();
        for numbers in [&counted[..], &tokens.input_ids, &tokens.token_type_ids, &tokens.words, &spans] {
            let bytes = bytemuck::cast_slice(numbers);
            self.checksum.update(bytes);
            self.file.write_all(bytes)?;
        }
        self.texts += 1;
        self.bytes += counts.record_bytes();
        Ok(())
    }

    /// Hands buffered bytes to the system and returns the number of bytes written.
    ///
    /// # Errors
    /// The error of writing the file.
    pub(crate) fn flush(&mut self) -> io::Result<u64> {
        self.file.flush()?;
        Ok(self.bytes)
    }

    /// Ends the writing, and returns a reader at the first text.
    ///
    /// # Errors
    /// The error of writing the file.
    pub(crate) fn finish(self) -> io::Result<SpoolReader> {
        let file = self.file.into_inner().map_err(io::IntoInnerError::into_error)?;
        SpoolReader::new(file, self.texts)
    }
}

impl SpoolReader {
    /// Reads the first `texts` texts of a spool in a file.
    ///
    /// # Errors
    /// The error of reading the file.
    pub fn of_file(file: Arc<File>, texts: u64) -> io::Result<Self> {
        Self::new(SpoolFile::Named(file), texts)
    }

    fn new(mut storage: SpoolFile, texts: u64) -> io::Result<Self> {
        storage.seek(SeekFrom::Start(0))?;
        Ok(Self { file: BufReader::with_capacity(1 << 16, storage), remaining: texts })
    }

    /// Goes back to the first text of a spool that holds `texts` texts.
    ///
    /// # Errors
    /// The error of reading the file.
    pub fn rewind(&mut self, texts: u64) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(0))?;
        self.remaining = texts;
        Ok(())
    }

    /// Continues with `count` texts from text `first` on.
    ///
    /// # Errors
    /// The error of reading the file, also when it ends too early.
    pub fn select(&mut self, first: u64, count: u64) -> io::Result<()> {
        self.rewind(first + count)?;
        for _ in 0..first {
            self.skip_text()?;
        }
        Ok(())
    }

    /// Passes over the next text's tokens and returns its counts; `None` after the last text.
    ///
    /// # Errors
    /// The error of reading the file, also when it ends too early.
    pub fn skip_text(&mut self) -> io::Result<Option<TextCounts>> {
        let Some(remaining) = self.remaining.checked_sub(1) else { return Ok(None) };
        self.remaining = remaining;
        let counts = self.read_counts()?;
        self.file.seek_relative(counts.bytes_of_tokens() as i64)?;
        Ok(Some(counts))
    }

    fn read_counts(&mut self) -> io::Result<TextCounts> {
        let mut numbers = [0u32; TextCounts::NUMBERS];
        self.file.read_exact(bytemuck::cast_slice_mut(&mut numbers))?;
        Ok(TextCounts::from_numbers(numbers))
    }

    fn read(&mut self) -> io::Result<Tokens> {
        let counts = self.read_counts()?;
        let mut numbers = |count: u32| -> io::Result<Vec<u32>> {
            let mut numbers = vec![0; count as usize];
            self.file.read_exact(bytemuck::cast_slice_mut(&mut numbers))?;
            Ok(numbers)
        };
        let [input_ids, token_type_ids, words] =
            [numbers(counts.tokens)?, numbers(counts.tokens)?, numbers(counts.tokens)?];
        let spans = numbers(counts.spans.saturating_mul(2))?;
        let spans = spans.as_chunks().0.iter().map(|&[start, end]| start..end).collect();
        Ok(Tokens { input_ids, token_type_ids, words, spans, word_count: counts.words, longer: counts.longer() })
    }
}

impl Iterator for SpoolReader {
    type Item = io::Result<Tokens>;

    fn next(&mut self) -> Option<io::Result<Tokens>> {
        self.remaining = self.remaining.checked_sub(1)?;
        Some(self.read())
    }
}

/// How far a spool in a file can be read while it is still being written.
#[derive(Debug, Default)]
pub(crate) struct Growing {
    state: Mutex<Growth>,
    changed: Condvar,
}

#[derive(Debug, Clone, Copy, Default)]
struct Growth {
    /// Texts that are in the file.
    texts: u64,
    /// Whether nobody waits for more.
    is_over: bool,
}

impl Growing {
    /// `texts` texts are in the file.
    pub(crate) fn reach(&self, texts: u64) {
        self.change(|state| state.texts = texts);
    }

    /// Ends all readers that follow, whatever they have read.
    pub(crate) fn end(&self) {
        self.change(|state| state.is_over = true);
    }

    fn change(&self, change: impl FnOnce(&mut Growth)) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_all();
    }

    /// Waits until there are more than `texts`, and returns how many there are; `None` once it is over.
    fn more_than(&self, texts: u64) -> Option<u64> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let waits = |state: &mut Growth| !state.is_over && state.texts <= texts;
        let state = self.changed.wait_while(state, waits).unwrap_or_else(PoisonError::into_inner);
        (!state.is_over).then_some(state.texts)
    }

    /// Reads a spool from its first text on, and waits for those that are not there yet, until it is over.
    pub(crate) fn follow(&self, mut spool: SpoolReader) -> impl Iterator<Item = io::Result<Tokens>> {
        let mut read = 0;
        std::iter::from_fn(move || {
            spool.remaining = self.more_than(read)? - read;
            read += 1;
            spool.next()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts() -> Vec<(TextCounts, Tokens)> {
        (0..3000u32)
            .map(|i| {
                let tokens = Tokens {
                    input_ids: (0..i % 700).collect(),
                    token_type_ids: vec![i % 2; (i % 700) as usize],
                    words: vec![i; (i % 700) as usize],
                    word_count: i,
                    longer: (i % 3) as usize..(i % 700) as usize,
                    spans: (0..i % 5).map(|start| start..start + i % 3).collect(),
                };
                let longer = [i % 3, i % 700];
                let counts = TextCounts {
                    tokens: i % 700,
                    words: i,
                    words_cut: 3 * i,
                    spans: i % 5,
                    longer,
                    ..TextCounts::default()
                };
                (counts, tokens)
            })
            .collect()
    }

    #[test]
    fn what_goes_in_comes_out_from_memory_and_from_a_file() {
        let texts = texts();
        for count in [0, 3, texts.len()] {
            for named in [false, true] {
                let mut writer = if named {
                    SpoolWriter::in_file(Arc::new(tempfile::tempfile().unwrap()), 0, 0, crc32fast::Hasher::new())
                } else {
                    SpoolWriter::temporary()
                };
                for (counts, tokens) in &texts[..count] {
                    writer.write(*counts, tokens).unwrap();
                }
                let bytes: u64 = texts[..count].iter().map(|(counts, _)| counts.record_bytes()).sum();
                assert_eq!(writer.flush().unwrap(), bytes);
                let read: Vec<Tokens> = writer.finish().unwrap().map(Result::unwrap).collect();
                assert!(read.iter().eq(texts[..count].iter().map(|(_, tokens)| tokens)));
            }
        }
    }

    #[test]
    fn texts_are_skipped_with_what_was_counted_of_them() {
        let texts = texts();
        let file = Arc::new(tempfile::tempfile().unwrap());
        let mut writer = SpoolWriter::in_file(Arc::clone(&file), 0, 0, crc32fast::Hasher::new());
        for (counts, tokens) in &texts {
            writer.write(*counts, tokens).unwrap();
        }
        writer.flush().unwrap();
        let mut reader = SpoolReader::of_file(file, texts.len() as u64).unwrap();
        for (counts, _) in &texts[..2000] {
            assert_eq!(reader.skip_text().unwrap(), Some(*counts));
        }
        reader.select(2000, 500).unwrap();
        let read: Vec<Tokens> = reader.by_ref().map(Result::unwrap).collect();
        assert!(read.iter().eq(texts[2000..2500].iter().map(|(_, tokens)| tokens)));
        assert_eq!(reader.skip_text().unwrap(), None);
        reader.rewind(1).unwrap();
        assert_eq!(reader.skip_text().unwrap(), Some(texts[0].0));
    }

    #[test]
    fn a_reader_follows_a_spool_that_grows_until_it_is_over() {
        let texts = texts();
        let file = tempfile::NamedTempFile::new().unwrap();
        let written = Arc::new(file.reopen().unwrap());
        let mut writer = SpoolWriter::in_file(written, 0, 0, crc32fast::Hasher::new());
        let (growing, read) = (Growing::default(), Mutex::new(0));
        std::thread::scope(|scope| {
            let follower = scope.spawn(|| {
                let reader = SpoolReader::of_file(Arc::new(file.reopen().unwrap()), 0).unwrap();
                for (text, (_, expected)) in growing.follow(reader).zip(&texts) {
                    assert_eq!(&text.unwrap(), expected);
                    *read.lock().unwrap() += 1;
                }
            });
            for (index, (counts, tokens)) in texts[..2500].iter().enumerate() {
                writer.write(*counts, tokens).unwrap();
                if index % 400 == 399 {
                    writer.flush().unwrap();
                    growing.reach(index as u64 + 1);
                }
            }
            while *read.lock().unwrap() < 2400 {
                std::thread::yield_now();
            }
            growing.end();
            follower.join().unwrap();
        });
        assert_eq!(read.into_inner().unwrap(), 2400, "texts that may still be in a buffer are not read");
    }
}
