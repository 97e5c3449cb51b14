//! Plain text: one text a line, in UTF-8. A byte order mark and CRLF line ends are not part of a text.

use std::io::{BufRead, Read};
use std::ops::Range;

use super::LONGEST_TEXT;
use crate::error::{Error, Result};

/// The lines of a reader, without their ends; the first error is the last item.
pub(super) struct Lines<R> {
    reader: R,
    source_name: String,
    line: u64,
    failed: bool,
}

impl<R: BufRead> Lines<R> {
    pub(super) fn new(reader: R, source_name: String) -> Self {
        Self { reader, source_name, line: 0, failed: false }
    }

    fn next_line(&mut self) -> Result<Option<String>> {
        let problem = |problem: String| Error::Input { source_name: self.source_name.clone(), problem };
        let mut bytes = Vec::new();
        // Read no more than could be taken, so that a file without line ends is refused before it fills the memory.
        let read = self.reader.by_ref().take(LONGEST_TEXT as u64 + 2).read_until(b'\n', &mut bytes);
        self.line += 1;
        if read.map_err(|error| problem(format!("cannot be read: {error}")))? == 0 {
            return Ok(None);
        }
        let ended = bytes.last() == Some(&b'\n');
        if ended {
            bytes.pop();
            if bytes.last() == Some(&b'\r') {
                bytes.pop();
            }
        }
        if bytes.len() > LONGEST_TEXT {
            return Err(problem(format!(
                "line {} is longer than {} MiB, the longest text that is taken; put one text on a line",
                self.line,
                LONGEST_TEXT >> 20
            )));
        }
        let mut text = String::from_utf8(bytes).map_err(|error| {
            let at = error.utf8_error().valid_up_to();
            problem(format!(
                "line {} is not UTF-8: byte 0x{:02x} after {at} good bytes; convert the file, for example with `iconv -f WINDOWS-1252 -t UTF-8`",
                self.line,
                error.as_bytes()[at]
            ))
        })?;
        if self.line == 1 && text.starts_with('\u{feff}') {
            text.drain(..'\u{feff}'.len_utf8());
            if text.is_empty() && !ended {
                return Ok(None); // a file of nothing but a byte order mark
            }
        }
        Ok(Some(text))
    }
}

impl<R: BufRead> Iterator for Lines<R> {
    type Item = Result<String>;

    fn next(&mut self) -> Option<Result<String>> {
        if self.failed {
            return None;
        }
        let line = self.next_line();
        self.failed = line.is_err();
        line.transpose()
    }
}

/// Where the words of a line are whose words are separated by spaces or tabs, in bytes.
pub(super) fn words(line: &str) -> Vec<Range<usize>> {
    let start_of = |word: &str| word.as_ptr() as usize - line.as_ptr() as usize;
    line.split([' ', '\t'])
        .filter(|word| !word.is_empty())
        .map(|word| start_of(word)..start_of(word) + word.len())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lines(bytes: &[u8]) -> Result<Vec<String>> {
        Lines::new(bytes, "test".to_owned()).collect()
    }

    #[test]
    fn line_ends_and_a_byte_order_mark_are_not_text() {
        assert_eq!(lines(b"\xef\xbb\xbfone\r\n\r\n two \r\nthree").unwrap(), ["one", "", " two ", "three"]);
        assert_eq!(lines(b"a\rb\n").unwrap(), ["a\rb"], "a lone carriage return is a character");
        assert_eq!(lines(b"\n\n").unwrap(), ["", ""]);
        assert_eq!(lines(b"").unwrap(), [""; 0]);
        assert_eq!(lines(b"\xef\xbb\xbf").unwrap(), [""; 0]);
        assert_eq!(lines(b"\xef\xbb\xbf\n").unwrap(), [""]);
        assert_eq!(lines("x\n\u{feff}y\n".as_bytes()).unwrap()[1], "\u{feff}y", "only the file's first character");
    }

    #[test]
    fn a_bad_line_is_named_and_ends_the_reading() {
        let mut reader = Lines::new(&b"good\ncaf\xe9 au lait\nmore\n"[..], "menu.txt".to_owned());
        assert_eq!(reader.next().unwrap().unwrap(), "good");
        let message = reader.next().unwrap().unwrap_err().to_string();
        assert!(message.contains("menu.txt: line 2 is not UTF-8: byte 0xe9 after 3"), "{message}");
        assert!(reader.next().is_none());
    }

    #[test]
    fn a_line_may_be_as_long_as_the_limit_and_no_longer() {
        let mut bytes = vec![b'a'; LONGEST_TEXT];
        bytes.extend(b"\r\nb\n");
        assert_eq!(lines(&bytes).unwrap()[0].len(), LONGEST_TEXT);
        bytes.insert(0, b'a');
        assert!(lines(&bytes).unwrap_err().to_string().contains("line 1 is longer than 4 MiB"));
    }

    proptest! {
        #[test]
        fn lines_are_those_of_the_standard_library(text in "[a-zé \r\n]{0,60}") {
            let expected: Vec<&str> = text.lines().collect();
            prop_assert_eq!(lines(text.as_bytes()).unwrap(), expected);
        }

        #[test]
        fn words_are_what_lies_between_spaces(line in "[a-z\u{a0}é \t]{0,40}") {
            let found: Vec<&str> = words(&line).into_iter().map(|word| &line[word]).collect();
            let expected: Vec<&str> = line.split([' ', '\t']).filter(|word| !word.is_empty()).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
