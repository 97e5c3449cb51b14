//! Tokenized texts between the two passes: written once while sizes are counted, read back batch by batch.
//!
//! Small jobs on standard output stay in memory, larger ones go to a file without a name, which the system removes with the
//! process. A job that writes a directory has a file there, so that it can go on after a restart.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::sync::Arc;

use tempfile::SpooledTempFile;

use crate::batch::{SPECIAL, Tokens};
use crate::spec::{RowKind, SpecialTokens};
use crate::tokens::Encoded;
use crate::windows::{Windowing, Windows};

/// Bytes up to which a spool stays in memory.
const IN_MEMORY: usize = 8 << 20;

/// What is counted of a text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TextCounts {
    /// Tokens, special tokens included.
    pub tokens: u32,
    /// Special tokens among them.
    pub special_tokens: u32,
    /// Word rows.
    pub words: u32,
    /// Tokens cut off.
    pub tokens_cut: u32,
    /// Words that lost all or some of their tokens to the cut.
    pub words_cut: u32,
    /// Words of pre-tokenized input for which the tokenizer has no token.
    pub words_deleted: u32,
    /// Tokens that stand for what the vocabulary does not have.
    pub unknown: u32,
    /// Where [`Tokens::longer`] begins and ends.
    pub longer: [u32; 2],
}

impl TextCounts {
    const NUMBERS: usize = 9;
    /// Numbers that a token has in a record.
    const PER_TOKEN: usize = 3;

    fn to_numbers(self) -> [u32; Self::NUMBERS] {
        let Self { tokens, special_tokens, words, tokens_cut, words_cut, words_deleted, unknown, longer } = self;
        [tokens, special_tokens, words, tokens_cut, words_cut, words_deleted, unknown, longer[0], longer[1]]
    }

    fn from_numbers(numbers: [u32; Self::NUMBERS]) -> Self {
        let [tokens, special_tokens, words, tokens_cut, words_cut, words_deleted, unknown, start, end] = numbers;
        Self { tokens, special_tokens, words, tokens_cut, words_cut, words_deleted, unknown, longer: [start, end] }
    }

    /// Counts a text.
    pub fn of(encoded: &Encoded) -> Self {
        let tokens = encoded.tokens.input_ids.len();
        Self {
            tokens: tokens as u32,
            special_tokens: encoded.tokens.words.iter().filter(|&&word| word == SPECIAL).count() as u32,
            words: encoded.tokens.word_count,
            tokens_cut: (encoded.length_before_truncation - tokens) as u32,
            words_cut: encoded.words_truncated,
            words_deleted: encoded.words_deleted,
            unknown: encoded.unknown,
            longer: [encoded.tokens.longer.start as u32, encoded.tokens.longer.end as u32],
        }
    }

    /// [`Tokens::longer`].
    pub fn longer(self) -> Range<usize> {
        self.longer[0] as usize..self.longer[1] as usize
    }

    /// Rows that the text has of a kind.
    pub fn rows(self, kind: RowKind, special_tokens: SpecialTokens) -> u32 {
        match (kind, special_tokens) {
            (RowKind::Text, _) => 1,
            (RowKind::Word, _) => self.words,
            (RowKind::Token, SpecialTokens::Keep) => self.tokens,
            (RowKind::Token, SpecialTokens::Drop) => self.tokens - self.special_tokens,
        }
    }

    /// The windows in which the text goes through the encoder: one, unless it is too long.
    pub fn windows(self, windowing: Option<Windowing>) -> Windows {
        Windows::of(self.tokens as usize, self.longer(), windowing)
    }

    /// Bytes of the text's tokens in the spool.
    fn bytes_of_tokens(self) -> u64 {
        u64::from(self.tokens) * (Self::PER_TOKEN * size_of::<u32>()) as u64
    }

    /// Bytes of the text's record.
    pub fn record_bytes(self) -> u64 {
        (Self::NUMBERS * size_of::<u32>()) as u64 + self.bytes_of_tokens()
    }
}

/// A spool being written.
pub struct Writer {
    file: BufWriter<Storage>,
    texts: u64,
    bytes: u64,
    checksum: crc32fast::Hasher,
}

/// A spool being read, from its first text on.
pub struct Reader {
    file: BufReader<Storage>,
    remaining: u64,
}

/// Where the records are.
enum Storage {
    Temporary(SpooledTempFile),
    Named(Arc<File>),
}

impl Write for Storage {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Storage::Temporary(file) => file.write(bytes),
            Storage::Named(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(()) // neither has a buffer
    }
}

impl Read for Storage {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Storage::Temporary(file) => file.read(bytes),
            Storage::Named(file) => file.read(bytes),
        }
    }
}

impl Seek for Storage {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        match self {
            Storage::Temporary(file) => file.seek(position),
            Storage::Named(file) => file.seek(position),
        }
    }
}

impl Writer {
    /// A spool that goes with the process, in memory or in the system's temporary directory.
    pub fn temporary() -> Self {
        Self::new(Storage::Temporary(tempfile::spooled_tempfile(IN_MEMORY)), 0, 0, crc32fast::Hasher::new())
    }

    /// A spool in a file that holds `texts` texts, `bytes` bytes with this checksum, and is at its end.
    pub fn in_file(file: Arc<File>, texts: u64, bytes: u64, checksum: crc32fast::Hasher) -> Self {
        Self::new(Storage::Named(file), texts, bytes, checksum)
    }

    fn new(storage: Storage, texts: u64, bytes: u64, checksum: crc32fast::Hasher) -> Self {
        Self { file: BufWriter::with_capacity(1 << 16, storage), texts, bytes, checksum }
    }

    /// The checksum of all bytes so far.
    pub fn crc32(&self) -> u32 {
        self.checksum.clone().finalize()
    }

    /// Appends a text.
    ///
    /// # Errors
    /// Those of writing a file.
    pub fn write(&mut self, counts: TextCounts, tokens: &Tokens) -> io::Result<()> {
        let counted = counts.to_numbers();
        for numbers in [&counted[..], &tokens.input_ids, &tokens.token_type_ids, &tokens.words] {
            let bytes = bytemuck::cast_slice(numbers);
            self.checksum.update(bytes);
            self.file.write_all(bytes)?;
        }
        self.texts += 1;
        self.bytes += counts.record_bytes();
        Ok(())
    }

    /// Bytes written, once they are handed to the system.
    ///
    /// # Errors
    /// Those of writing a file.
    pub fn flush(&mut self) -> io::Result<u64> {
        self.file.flush()?;
        Ok(self.bytes)
    }

    /// Ends the writing and goes back to the first text.
    ///
    /// # Errors
    /// Those of writing a file.
    pub fn finish(self) -> io::Result<Reader> {
        let file = self.file.into_inner().map_err(io::IntoInnerError::into_error)?;
        Reader::new(file, self.texts)
    }
}

impl Reader {
    /// The first `texts` texts of a spool in a file.
    ///
    /// # Errors
    /// Those of reading a file.
    pub fn of_file(file: Arc<File>, texts: u64) -> io::Result<Self> {
        Self::new(Storage::Named(file), texts)
    }

    fn new(mut storage: Storage, texts: u64) -> io::Result<Self> {
        storage.seek(SeekFrom::Start(0))?;
        Ok(Self { file: BufReader::with_capacity(1 << 16, storage), remaining: texts })
    }

    /// Back to the first text of a spool that holds `texts`.
    ///
    /// # Errors
    /// Those of reading a file.
    pub fn rewind(&mut self, texts: u64) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(0))?;
        self.remaining = texts;
        Ok(())
    }

    /// No more than the next `texts` texts.
    pub fn limit(&mut self, texts: u64) {
        self.remaining = self.remaining.min(texts);
    }

    /// What was counted of the next text, whose tokens are passed over. `None` after the last one.
    ///
    /// # Errors
    /// Those of reading a file; it may end too early.
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
        let mut numbers = || -> io::Result<Vec<u32>> {
            let mut numbers = vec![0; counts.tokens as usize];
            self.file.read_exact(bytemuck::cast_slice_mut(&mut numbers))?;
            Ok(numbers)
        };
        Ok(Tokens {
            input_ids: numbers()?,
            token_type_ids: numbers()?,
            words: numbers()?,
            word_count: counts.words,
            longer: counts.longer(),
        })
    }
}

impl Iterator for Reader {
    type Item = io::Result<Tokens>;

    fn next(&mut self) -> Option<io::Result<Tokens>> {
        self.remaining = self.remaining.checked_sub(1)?;
        Some(self.read())
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
                };
                let longer = [i % 3, i % 700];
                let counts =
                    TextCounts { tokens: i % 700, words: i, words_cut: 3 * i, longer, ..TextCounts::default() };
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
                    Writer::in_file(Arc::new(tempfile::tempfile().unwrap()), 0, 0, crc32fast::Hasher::new())
                } else {
                    Writer::temporary()
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
        let mut writer = Writer::in_file(Arc::clone(&file), 0, 0, crc32fast::Hasher::new());
        for (counts, tokens) in &texts {
            writer.write(*counts, tokens).unwrap();
        }
        writer.flush().unwrap();
        let mut reader = Reader::of_file(file, texts.len() as u64).unwrap();
        for (counts, _) in &texts[..2000] {
            assert_eq!(reader.skip_text().unwrap(), Some(*counts));
        }
        reader.limit(500);
        let read: Vec<Tokens> = reader.by_ref().map(Result::unwrap).collect();
        assert!(read.iter().eq(texts[2000..2500].iter().map(|(_, tokens)| tokens)));
        assert_eq!(reader.skip_text().unwrap(), None);
        reader.rewind(1).unwrap();
        assert_eq!(reader.skip_text().unwrap(), Some(texts[0].0));
    }
}
