//! Tokenized texts between the two passes: written once while sizes are counted, read back batch by batch.
//!
//! Small jobs stay in memory; larger ones go to a file without a name, which the system removes with the process.

use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};

use tempfile::SpooledTempFile;

use crate::batch::Tokens;

/// Bytes up to which a spool stays in memory.
const IN_MEMORY: usize = 8 << 20;

/// A spool being written.
pub struct Writer {
    file: BufWriter<SpooledTempFile>,
    texts: u64,
}

/// A spool being read, from its first text on.
pub struct Reader {
    file: BufReader<SpooledTempFile>,
    remaining: u64,
}

impl Writer {
    /// A new spool; its file, if it needs one, is in the system's temporary directory, or in `directory`.
    pub fn new(directory: Option<&std::path::Path>) -> Self {
        let file = match directory {
            Some(directory) => tempfile::spooled_tempfile_in(IN_MEMORY, directory),
            None => tempfile::spooled_tempfile(IN_MEMORY),
        };
        Self { file: BufWriter::new(file), texts: 0 }
    }

    /// Appends a text.
    ///
    /// # Errors
    /// Those of writing a file.
    pub fn write(&mut self, tokens: &Tokens) -> io::Result<()> {
        let longer = [tokens.longer.start as u32, tokens.longer.end as u32];
        for number in [tokens.len() as u32, tokens.word_count].into_iter().chain(longer) {
            self.file.write_all(&number.to_le_bytes())?;
        }
        for numbers in [&tokens.input_ids, &tokens.token_type_ids, &tokens.words] {
            self.file.write_all(bytemuck::cast_slice(numbers))?;
        }
        self.texts += 1;
        Ok(())
    }

    /// Ends the writing and goes back to the first text.
    ///
    /// # Errors
    /// Those of writing a file.
    pub fn finish(self) -> io::Result<Reader> {
        let mut file = self.file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.seek(SeekFrom::Start(0))?;
        Ok(Reader { file: BufReader::new(file), remaining: self.texts })
    }
}

impl Reader {
    fn read(&mut self) -> io::Result<Tokens> {
        let mut number = || -> io::Result<u32> {
            let mut number = [0; 4];
            self.file.read_exact(&mut number)?;
            Ok(u32::from_le_bytes(number))
        };
        let (length, word_count) = (number()? as usize, number()?);
        let longer = number()? as usize..number()? as usize;
        let mut numbers = || -> io::Result<Vec<u32>> {
            let mut numbers = vec![0; length];
            self.file.read_exact(bytemuck::cast_slice_mut(&mut numbers))?;
            Ok(numbers)
        };
        Ok(Tokens { input_ids: numbers()?, token_type_ids: numbers()?, words: numbers()?, word_count, longer })
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

    #[test]
    fn what_goes_in_comes_out_from_memory_and_from_a_file() {
        let texts: Vec<Tokens> = (0..3000u32)
            .map(|i| Tokens {
                input_ids: (0..i % 700).collect(),
                token_type_ids: vec![i % 2; (i % 700) as usize],
                words: vec![i; (i % 700) as usize],
                word_count: i,
                longer: (i % 3) as usize..(i % 700) as usize,
            })
            .collect();
        for count in [0, 3, texts.len()] {
            let mut writer = Writer::new(None);
            for tokens in &texts[..count] {
                writer.write(tokens).unwrap();
            }
            let read: Vec<Tokens> = writer.finish().unwrap().map(Result::unwrap).collect();
            assert_eq!(read, texts[..count]);
        }
    }
}
