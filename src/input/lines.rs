//! Lines of UTF-8, of a bounded length.

use std::io::{self, BufRead, Read};

use super::characters;

/// A line without its end (`\n` or `\r\n`), or the problem with it.
pub(super) struct Line {
    /// The line's number, from 1.
    pub(super) number: u64,
    pub(super) text: Result<String, String>,
    /// The first byte, also of a line that cannot be read; `None` for an empty line.
    pub(super) first: Option<u8>,
    /// Whether the problem is that of the file as a whole, which has no lines.
    pub(super) is_whole_file: bool,
}

/// The current line number, for readers that work on bytes: lines end at `\n`, `\r\n` or `\r`.
pub(super) struct LineNumber {
    number: u64,
    after_return: bool,
}

impl LineNumber {
    pub(super) fn new() -> Self {
        Self { number: 1, after_return: false }
    }

    pub(super) fn get(&self) -> u64 {
        self.number
    }

    /// Counts the line ends in `bytes`.
    pub(super) fn pass(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.number += u64::from(byte == b'\r' || (byte == b'\n' && !self.after_return));
            self.after_return = byte == b'\r';
        }
    }
}

/// The lines of a reader. They end after a failure to read.
pub(super) struct Lines<R> {
    reader: R,
    longest: usize,
    number: u64,
    failed: bool,
}

impl<R: BufRead> Lines<R> {
    /// Lines of at most `longest` bytes. Longer ones are skipped without being held in memory.
    pub(super) fn new(reader: R, longest: usize) -> Self {
        Self { reader, longest, number: 0, failed: false }
    }

    fn next_line(&mut self) -> io::Result<Option<Line>> {
        let mut bytes = Vec::new();
        if self.reader.by_ref().take(self.longest as u64 + 2).read_until(b'\n', &mut bytes)? == 0 {
            return Ok(None);
        }
        self.number += 1;
        let ended = bytes.last() == Some(&b'\n');
        if ended {
            bytes.pop();
            if bytes.last() == Some(&b'\r') {
                bytes.pop();
            }
        }
        let (number, first) = (self.number, bytes.first().copied());
        let is_long = bytes.len() > self.longest;
        // The only line of a file whose lines end with carriage returns alone.
        let is_of_returns = self.number == 1 && !ended && bytes[..bytes.len() - 1].contains(&b'\r');
        if !is_long && !is_of_returns {
            let text = characters::text(bytes);
            return Ok(Some(Line { number, text, first, is_whole_file: false }));
        }
        if !ended {
            self.reader.skip_until(b'\n')?;
        }
        let problem = if is_of_returns {
            "has returns (\\r) and no line end (\\n), as files of old Macs have; make lines of it with `tr '\\r' '\\n'`"
                .to_owned()
        } else {
            format!("is longer than {} MiB, the longest that is taken", self.longest >> 20)
        };
        Ok(Some(Line { number, text: Err(problem), first, is_whole_file: is_of_returns }))
    }
}

impl<R: BufRead> Iterator for Lines<R> {
    type Item = io::Result<Line>;

    fn next(&mut self) -> Option<io::Result<Line>> {
        if self.failed {
            return None;
        }
        let line = self.next_line();
        self.failed = line.is_err();
        line.transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lines(bytes: &[u8], longest: usize) -> Vec<Result<String, String>> {
        Lines::new(bytes, longest).map(|line| line.unwrap().text).collect()
    }

    fn good(bytes: &[u8]) -> Vec<String> {
        lines(bytes, 1 << 20).into_iter().map(Result::unwrap).collect()
    }

    #[test]
    fn line_ends_are_not_text() {
        assert_eq!(good(b"one\r\n\r\n two \r\nthree"), ["one", "", " two ", "three"]);
        assert_eq!(good(b"a\rb\n"), ["a\rb"], "a lone carriage return is a character");
        assert_eq!(good(b"a\n\rb"), ["a", "\rb"]);
        assert_eq!(good(b"a\r"), ["a\r"]);
        assert_eq!(good(b"\n\n"), ["", ""]);
        assert_eq!(good(b""), [""; 0]);
    }

    #[test]
    fn bad_lines_are_told_and_the_next_ones_read() {
        let mut bytes = vec![b'a'; 3 << 20];
        bytes.extend(b"\r\ncaf\xe9 au lait\nb\n");
        let found = lines(&bytes, 3 << 20);
        assert_eq!(found[0].as_ref().unwrap().len(), 3 << 20);
        assert!(found[1].as_ref().unwrap_err().starts_with("is not UTF-8: byte 0xe9 after 3 good bytes; convert"));
        bytes.insert(0, b'a');
        let found = lines(&bytes, 3 << 20);
        assert!(found[0].as_ref().unwrap_err().starts_with("is longer than 3 MiB"));
        assert_eq!((found.len(), found[2].as_deref()), (3, Ok("b")));
        let found = lines(&vec![b'a'; 4 << 20], 3 << 20);
        assert!(found[0].is_err() && found.len() == 1, "without an end");
    }

    #[test]
    fn a_file_whose_lines_end_with_returns_alone_is_named() {
        for (bytes, longest) in
            [(&b"one\rtwo\rthree\r"[..], 1 << 20), (b"one\rtwo", 1 << 20), (b"one\rtwo and more", 5)]
        {
            let found = lines(bytes, longest);
            assert_eq!(found.len(), 1);
            assert!(found[0].as_ref().unwrap_err().contains("tr '\\r' '\\n'"), "{found:?}");
        }
    }

    proptest! {
        #[test]
        fn lines_are_those_of_the_standard_library(text in "[a-zé \r\n]{0,60}") {
            prop_assume!(text.contains('\n') || !text.contains('\r'));
            let expected: Vec<&str> = text.lines().collect();
            prop_assert_eq!(good(text.as_bytes()), expected);
        }

        #[test]
        fn short_lines_are_read_whatever_stands_between(text in "[a-z\n]{0,60}", longest in 1usize..6) {
            let found = lines(text.as_bytes(), longest);
            prop_assert_eq!(found.len(), text.lines().count());
            for (found, line) in found.iter().zip(text.lines()) {
                prop_assert_eq!(found.as_deref().ok(), (line.len() <= longest).then_some(line));
            }
        }
    }
}
