//! UTF-8, UTF-16 and UTF-32, recognized by the byte order mark; anything else is read as UTF-8.
//!
//! Without a mark, UTF-16 and UTF-32 are recognized by the text that they would decode to. That is enough to name them
//! in an error, but not enough to read them.

use std::io::{self, BufRead, BufReader, Cursor, Read};

use super::characters::{begins_as_text, controls, is_utf8_so_far, push_beyond_unicode};
use super::entry::{BUFFER, Failed};

/// An encoding in units of several bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TextEncoding {
    /// Size of a unit in bytes: 2 or 4.
    unit: usize,
    is_big_endian: bool,
}

impl TextEncoding {
    /// The longer units come first, as their marks and texts begin like those of the shorter ones.
    const ALL: [Self; 4] = [
        Self { unit: 4, is_big_endian: false },
        Self { unit: 4, is_big_endian: true },
        Self { unit: 2, is_big_endian: false },
        Self { unit: 2, is_big_endian: true },
    ];

    /// The name that iconv has for the encoding.
    fn name(self) -> &'static str {
        match (self.unit, self.is_big_endian) {
            (4, false) => "UTF-32LE",
            (4, true) => "UTF-32BE",
            (_, false) => "UTF-16LE",
            (_, true) => "UTF-16BE",
        }
    }

    fn number(self, unit: &[u8]) -> u32 {
        let add = |number: u32, byte: &u8| number << 8 | u32::from(*byte);
        if self.is_big_endian { unit.iter().fold(0, add) } else { unit.iter().rfold(0, add) }
    }

    fn mark(self) -> &'static [u8] {
        match (self.unit, self.is_big_endian) {
            (4, false) => b"\xff\xfe\0\0",
            (4, true) => b"\0\0\xfe\xff",
            (_, false) => b"\xff\xfe",
            (_, true) => b"\xfe\xff",
        }
    }
}

/// The content of a reader as UTF-8, without its mark; `head` are the bytes that were already read.
///
/// Numbers that are not characters come through as invalid UTF-8, so that their line is reported.
pub(super) fn decoded<'a>(mut head: Vec<u8>, reader: impl BufRead + Send + 'a) -> Box<dyn BufRead + Send + 'a> {
    const MARK: &[u8] = "\u{feff}".as_bytes();
    let encoding = of_mark(&head);
    let mark = encoding.map_or(MARK, TextEncoding::mark);
    if head.starts_with(mark) {
        head.drain(..mark.len());
    }
    let reader = Cursor::new(head).chain(reader);
    match encoding {
        Some(encoding) => Box::new(BufReader::with_capacity(BUFFER, Decoder::new(encoding, reader))),
        None => Box::new(reader),
    }
}

/// The encoding that a byte order mark declares.
pub(super) fn of_mark(head: &[u8]) -> Option<TextEncoding> {
    TextEncoding::ALL.into_iter().find(|encoding| head.starts_with(encoding.mark()))
}

/// Refuses content without a mark that decodes to text in one of these encodings and in no other.
pub(super) fn check(head: &[u8]) -> Result<(), Failed> {
    // Texts in these encodings have NUL bytes, if only in spaces and line ends, or a control character in each letter; and
    // where they give good UTF-8, they have one or the other in all letters.
    let half = 3 * controls(head) >= head.len();
    let is_likely = half || (head.contains(&0) && !is_utf8_so_far(head));
    if !is_likely || begins_as_text(head) {
        return Ok(());
    }
    let readable = TextEncoding::ALL.into_iter().filter_map(|encoding| Some((likeness(head, encoding)?, encoding)));
    match readable.max_by_key(|&(likeness, encoding)| (encoding.unit, likeness)) {
        Some((_, encoding)) => Err(Failed(format!(
            "seems to be {0} without a byte order mark; expected UTF-8; convert it with `iconv -f {0} -t UTF-8`",
            encoding.name()
        ))),
        None => Ok(()),
    }
}

/// Number of characters that occur in all texts, such as spaces, if the bytes are text in this encoding.
fn likeness(head: &[u8], encoding: TextEncoding) -> Option<usize> {
    let units = head.chunks_exact(encoding.unit);
    // In UTF-16 two ASCII letters make one character, so any ASCII text would pass.
    let is_ascii = |unit: &&[u8]| unit.iter().all(|&byte| matches!(byte, b' '..=b'~' | b'\t' | b'\n' | b'\r'));
    let (count, ascii) = (units.len(), units.clone().filter(is_ascii).count());
    if count == 0 || 4 * ascii >= 3 * count {
        return None;
    }
    let numbers = units.map(|unit| encoding.number(unit)).collect::<Vec<_>>();
    let characters: Option<Vec<char>> = if encoding.unit == 4 {
        numbers.into_iter().map(char::from_u32).collect()
    } else {
        let mut characters = char::decode_utf16(numbers.into_iter().map(|number| number as u16)).collect::<Vec<_>>();
        // The end of `head` may have cut a surrogate pair.
        if characters.last().is_some_and(|last| last.as_ref().is_err_and(|half| half.unpaired_surrogate() < 0xdc00)) {
            characters.pop();
        }
        characters.into_iter().map(Result::ok).collect()
    };
    let characters = characters?;
    let is_of_text = |c: &char| {
        let number = u32::from(*c);
        let is_control = c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{1b}' | '\u{85}');
        let is_private = matches!(number, 0xe000..=0xf8ff | 0xf0000..);
        !is_control && !is_private && number & 0xfffe != 0xfffe && !matches!(number, 0xfdd0..=0xfdef)
    };
    if !characters.iter().all(is_of_text) {
        return None;
    }
    let common = characters.iter().filter(|c| c.is_ascii()).count();
    let mut blocks = characters.iter().map(|&c| u32::from(c) >> 8).collect::<Vec<_>>();
    blocks.sort_unstable();
    blocks.dedup();
    // A text has a space or a line end, or is a word in a single script.
    (common > 0 || blocks.len() == 1).then_some(common)
}

/// Decodes units into UTF-8.
struct Decoder<R> {
    reader: R,
    encoding: TextEncoding,
    /// The bytes of an incomplete unit.
    begun: Vec<u8>,
    /// The first half of a surrogate pair.
    high: Option<u32>,
    /// Decoded bytes; those from `taken` on are not yet taken.
    out: Vec<u8>,
    taken: usize,
}

impl<R: BufRead> Decoder<R> {
    fn new(encoding: TextEncoding, reader: R) -> Self {
        Self { reader, encoding, begun: Vec::new(), high: None, out: Vec::new(), taken: 0 }
    }

    /// Decodes the bytes at hand; returns whether there were any.
    fn decode(&mut self) -> io::Result<bool> {
        let input = self.reader.fill_buf()?;
        let read = input.len();
        if read == 0 {
            if !self.begun.is_empty() {
                let name = self.encoding.name();
                let problem =
                    format!("its {name} data end in the middle of a character; copy or convert the file again");
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, problem));
            }
            self.high.take().into_iter().for_each(|high| push_beyond_unicode(high, &mut self.out));
            return Ok(!self.out.is_empty());
        }
        let size = self.encoding.unit;
        let mut rest = input;
        if !self.begun.is_empty() {
            let (more, after) = rest.split_at(rest.len().min(size - self.begun.len()));
            self.begun.extend(more);
            rest = after;
            if self.begun.len() == size {
                let number = self.encoding.number(&self.begun);
                self.begun.clear();
                push(number, self.encoding, &mut self.high, &mut self.out);
            }
        }
        let units = rest.chunks_exact(size);
        self.begun.extend(units.remainder());
        for unit in units {
            push(self.encoding.number(unit), self.encoding, &mut self.high, &mut self.out);
        }
        self.reader.consume(read);
        Ok(true)
    }
}

/// Appends a unit as UTF-8, or keeps it until the other half of its surrogate pair comes.
fn push(number: u32, encoding: TextEncoding, high: &mut Option<u32>, out: &mut Vec<u8>) {
    let mut number = number;
    if encoding.unit == 2 {
        match (high.take(), number) {
            (Some(before), 0xdc00..=0xdfff) => number = 0x1_0000 + ((before - 0xd800) << 10) + (number - 0xdc00),
            (Some(before), _) => push_beyond_unicode(before, out),
            (None, _) => {}
        }
        if let 0xd800..=0xdbff = number {
            *high = Some(number);
            return;
        }
    }
    match char::from_u32(number) {
        Some(character) => out.extend(character.encode_utf8(&mut [0; 4]).as_bytes()),
        None => push_beyond_unicode(number, out),
    }
}

impl<R: BufRead> Read for Decoder<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.taken == self.out.len() {
            self.out.clear();
            self.taken = 0;
            if !self.decode()? {
                return Ok(0);
            }
        }
        let read = (&self.out[self.taken..]).read(buffer)?;
        self.taken += read;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A text in an encoding, without a mark.
    fn encoded(text: &str, encoding: TextEncoding) -> Vec<u8> {
        let bytes = |number: u32| {
            let mut bytes = number.to_be_bytes()[4 - encoding.unit..].to_vec();
            if !encoding.is_big_endian {
                bytes.reverse();
            }
            bytes
        };
        match encoding.unit {
            4 => text.chars().flat_map(|c| bytes(c.into())).collect(),
            _ => text.encode_utf16().flat_map(|unit| bytes(unit.into())).collect(),
        }
    }

    fn read(bytes: &[u8], head: usize) -> io::Result<Vec<u8>> {
        let mut found = Vec::new();
        let (head, rest) = bytes.split_at(head.min(bytes.len()));
        decoded(head.to_vec(), rest).read_to_end(&mut found)?;
        Ok(found)
    }

    fn told(bytes: &[u8]) -> Option<String> {
        check(bytes).err().map(|Failed(problem)| problem)
    }

    #[test]
    fn a_text_is_the_same_in_every_encoding() {
        let text = "id,text\r\n1,\"naïve 中国 🙂\"\n";
        for encoding in TextEncoding::ALL {
            let bytes = [encoding.mark(), &encoded(text, encoding)].concat();
            assert_eq!(of_mark(&bytes), Some(encoding));
            assert_eq!(read(&bytes, 8).unwrap(), text.as_bytes(), "{encoding:?}");
            assert_eq!(read(encoding.mark(), 8).unwrap(), b"", "a mark alone");
        }
        assert_eq!(read("\u{feff}a\u{feff}".as_bytes(), 8).unwrap(), "a\u{feff}".as_bytes());
        assert_eq!(read(b"\xef\xbb", 8).unwrap(), b"\xef\xbb");
    }

    #[test]
    fn what_is_no_character_comes_through_as_such() {
        let [long, _, short, _] = TextEncoding::ALL;
        for (encoding, units, expected) in [
            (short, &[0x61, 0xd800, 0x62][..], &b"a\xed\xa0\x80b"[..]),
            (short, &[0xdc00, 0x0a], b"\xed\xb0\x80\n"),
            (short, &[0xd83d, 0xd83d, 0xde42], b"\xed\xa0\xbd\xf0\x9f\x99\x82"),
            (short, &[0x61, 0xd83d], b"a\xed\xa0\xbd"),
            (long, &[0xd800, 0x11_0000, 0x0a], b"\xed\xa0\x80\xf4\x90\x80\x80\n"),
        ] {
            let mut bytes = encoding.mark().to_vec();
            units.iter().for_each(|unit: &u32| bytes.extend(&unit.to_le_bytes()[..encoding.unit]));
            assert_eq!(read(&bytes, 8).unwrap(), expected, "{units:x?}");
        }
    }

    #[test]
    fn an_end_within_a_character_is_an_error() {
        for encoding in TextEncoding::ALL {
            let bytes = [encoding.mark(), &encoded("ab", encoding)].concat();
            let error = read(&bytes[..bytes.len() - 1], 8).unwrap_err().to_string();
            assert!(error.contains(encoding.name()) && error.contains("in the middle of a character"), "{error}");
        }
    }

    #[test]
    fn without_a_mark_it_is_named() {
        for text in
            ["hello\nworld\n", "naïve café", "привет мир\n", "привет", "你好，世界\n中文", "a", "id;text\r\n1;🙂\r\n"]
        {
            for encoding in TextEncoding::ALL {
                let told = told(&encoded(text, encoding)).unwrap_or_else(|| panic!("{text:?} in {encoding:?}"));
                assert!(told.contains(&format!("`iconv -f {} -t UTF-8`", encoding.name())), "{text:?}: {told}");
            }
        }
        let cut = encoded(&"🙂 ".repeat(10), TextEncoding::ALL[2]);
        assert!(told(&cut[..2]).is_none() && told(&cut[..cut.len() - 4]).is_some());
    }

    #[test]
    fn other_bytes_are_not_taken_for_it() {
        for bytes in [
            &b""[..],
            b"\0",
            b"a",
            b"hello world\n",
            b"hello\0 world\n",
            b"one\0two\0three\0four\0five\0",
            b"caf\xe9 au lait\0",
            "中国 в мире\n".as_bytes(),
            b"\x01\x02\x03\n\x00\n\x7f\x1b[31m\n\x0b\x0c\n",
            b"\xff\n",
            b"one\ntwo\nt\0h\0r\0e\0e\0\n\0f\0o\0u\0r\0\n\0",
        ] {
            assert_eq!(told(bytes), None, "{bytes:x?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_the_same_in_every_encoding(text: String, which in 0usize..4, head in 0usize..12) {
            let encoding = TextEncoding::ALL[which];
            // A NUL behind the mark of UTF-16LE makes it that of UTF-32LE.
            prop_assume!(!text.starts_with('\0'));
            let bytes = [encoding.mark(), &encoded(&text, encoding)].concat();
            prop_assert_eq!(read(&bytes, head.max(4)).unwrap(), text.as_bytes());
        }

        #[test]
        fn no_bytes_are_a_surprise(bytes in proptest::collection::vec(any::<u8>(), 0..60), which in 0usize..5) {
            let mark = TextEncoding::ALL.get(which).map_or(&b""[..], |encoding| encoding.mark());
            let bytes = [mark, &bytes].concat();
            let _ = told(&bytes);
            if let Ok(found) = read(&bytes, 8) {
                prop_assert!(which == 4 || found.len() <= 4 * bytes.len());
            }
        }

        #[test]
        fn pieces_of_any_size_give_the_same(text in "[a-c🙂é\n]{1,20}", which in 0usize..4, size in 1usize..9) {
            let encoding = TextEncoding::ALL[which];
            let bytes = encoded(&text, encoding);
            let reader = BufReader::with_capacity(size, &bytes[..]);
            let mut found = Vec::new();
            Decoder::new(encoding, reader).read_to_end(&mut found).unwrap();
            prop_assert_eq!(found, text.as_bytes());
        }
    }
}
