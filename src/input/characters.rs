//! Decodes bytes as UTF-8, and explains bytes that are not.

use std::str;

/// Letters of WINDOWS-1252 that follow each other without one of ASCII; languages written in it have no more.
const LETTERS_TOGETHER: usize = 2;

/// The text of bytes that are UTF-8; otherwise an error with the problem and advice.
pub(super) fn text(bytes: Vec<u8>) -> Result<String, String> {
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        not_utf8(error.as_bytes(), at)
    })?;
    match text.find('\0') {
        None => Ok(text),
        Some(at) => Err(nul(text.as_bytes(), at)),
    }
}

/// Like [`text`], for borrowed bytes.
pub(super) fn checked(bytes: &[u8]) -> Result<&str, String> {
    let text = str::from_utf8(bytes).map_err(|error| not_utf8(bytes, error.valid_up_to()))?;
    match text.find('\0') {
        None => Ok(text),
        Some(at) => Err(nul(bytes, at)),
    }
}

/// Whether bytes are UTF-8, except for a last character that may be cut off.
pub(super) fn is_utf8_so_far(head: &[u8]) -> bool {
    str::from_utf8(head).map_or_else(|error| error.error_len().is_none(), |_| true)
}

/// Number of bytes that are control characters that no text has.
pub(super) fn controls(head: &[u8]) -> usize {
    let is_control = |byte: &u8| byte.is_ascii_control() && !matches!(byte, 0x08..=0x0d | 0x1a | 0x1b);
    head.iter().filter(|byte| is_control(byte)).count()
}

/// Whether there is a first line that is sound text. Later lines are checked by the reader of lines.
pub(super) fn begins_as_text(head: &[u8]) -> bool {
    let line = head.split(|&byte| byte == b'\n').next().unwrap_or_default();
    !line.is_empty() && line.len() < head.len() && controls(line) == 0 && str::from_utf8(line).is_ok()
}

fn nul(bytes: &[u8], at: usize) -> String {
    let places = || (0..bytes.len()).filter(|&index| bytes[index] == 0);
    let every_second = places().count() * 4 >= bytes.len() && places().all(|index| index % 2 == at % 2);
    if every_second && bytes.len() > 3 {
        return "has a NUL byte beside each character, as UTF-16 has, and other lines have not: the file holds two encodings; write all of it as UTF-8".to_owned();
    }
    format!(
        "has a NUL byte after {at} good bytes, which no text has; take it out, or give another file if this one is binary"
    )
}

/// The problem of bytes that are valid UTF-8 up to `at`.
fn not_utf8(bytes: &[u8], at: usize) -> String {
    if let Some(at) = bytes.iter().position(|&byte| byte == 0) {
        return nul(bytes, at);
    }
    if let Some(number) = beyond_unicode(&bytes[at..]) {
        let what = match number {
            0xd800..=0xdfff => "half of a surrogate pair",
            _ => "beyond all characters",
        };
        let before = str::from_utf8(&bytes[..at]).map_or(0, |before| before.chars().count());
        return format!(
            "is not Unicode: 0x{number:x} after {before} good characters is {what}; take it out, or make the file anew where it came from"
        );
    }
    let way_out = match western(bytes, at) {
        Some(character) => {
            format!("convert the file, with `iconv -f WINDOWS-1252 -t UTF-8` if that byte is to be `{character}`")
        }
        None => "convert the file from the encoding that it has with `iconv -f ENCODING -t UTF-8`, or repair the line"
            .to_owned(),
    };
    format!("is not UTF-8: byte 0x{:02x} after {at} good bytes; {way_out}", bytes[at])
}

/// The number that bytes begin with if they are UTF-8 as it would be without its bounds: halves of surrogate pairs, which
/// some programs write as characters and which the decoder of UTF-16 hands on so, and what no character has.
fn beyond_unicode(bytes: &[u8]) -> Option<u32> {
    let (&lead, rest) = bytes.split_first()?;
    let (more, bits) = match lead {
        0xe0..=0xef => (2, lead & 0x0f),
        0xf0..=0xf7 => (3, lead & 0x07),
        0xf8..=0xfb => (4, lead & 0x03),
        0xfc..=0xfd => (5, lead & 0x01),
        0xfe => (6, 0),
        _ => return None,
    };
    let number = rest.get(..more)?.iter().try_fold(u64::from(bits), |number, &byte| {
        (byte & 0xc0 == 0x80).then_some(number << 6 | u64::from(byte & 0x3f))
    })?;
    u32::try_from(number).ok().filter(|&number| char::from_u32(number).is_none())
}

/// Writes a number that is not a character, in the form that [`beyond_unicode`] finds.
pub(super) fn push_beyond_unicode(number: u32, out: &mut Vec<u8>) {
    let (lead, more) = match number {
        0..=0xffff => (0xe0, 2),
        0x1_0000..=0x1f_ffff => (0xf0, 3),
        0x20_0000..=0x3ff_ffff => (0xf8, 4),
        0x400_0000..=0x7fff_ffff => (0xfc, 5),
        _ => (0xfe, 6),
    };
    out.push(lead | (u64::from(number) >> (6 * more)) as u8);
    out.extend((0..more).rev().map(|index| 0x80 | (number >> (6 * index)) as u8 & 0x3f));
}

/// What the byte at `at` is in WINDOWS-1252, if the line reads as text in it: what conversion makes of any other encoding
/// is other characters, and nobody would see.
fn western(bytes: &[u8], at: usize) -> Option<char> {
    let (mut letters, mut foreign, mut together) = (0, 0, 0);
    for (index, &byte) in bytes.iter().enumerate() {
        let is_letter = |index: usize| bytes.get(index).is_some_and(u8::is_ascii_alphabetic);
        match byte {
            0..=0x7f => {
                letters += usize::from(byte.is_ascii_alphabetic());
                together = 0;
                if byte.is_ascii_control() && byte != b'\t' && byte != b'\r' {
                    return None;
                }
            }
            _ => match windows_1252(byte)? {
                character if character.is_alphabetic() => {
                    foreign += 1;
                    together += 1;
                    if together > LETTERS_TOGETHER {
                        return None;
                    }
                }
                // Within a word, an apostrophe and nothing else is plausible.
                character if character != '’' && index > 0 && is_letter(index - 1) && is_letter(index + 1) => {
                    return None;
                }
                _ => together = 0,
            },
        }
    }
    (letters >= foreign).then(|| windows_1252(bytes[at])).flatten()
}

/// The characters of WINDOWS-1252 that Western European texts have.
fn windows_1252(byte: u8) -> Option<char> {
    Some(match byte {
        0x80 => '€',
        0x85 => '…',
        0x8c => 'Œ',
        0x91 => '‘',
        0x92 => '’',
        0x93 => '“',
        0x94 => '”',
        0x95 => '•',
        0x96 => '–',
        0x97 => '—',
        0x99 => '™',
        0x9c => 'œ',
        0xa0 | 0xa1 | 0xa3 | 0xa7 | 0xa9 | 0xab | 0xae | 0xb0 | 0xb2..=0xb4 | 0xb7 | 0xba | 0xbb | 0xbf => {
            char::from(byte)
        }
        // Without Ð, ×, Ý, Þ, ð, ÷, ý, þ and ÿ, which are letters of others in the encodings beside it.
        0xc0..=0xfe if !matches!(byte, 0xd0 | 0xd7 | 0xdd | 0xde | 0xf0 | 0xf7 | 0xfd | 0xfe) => char::from(byte),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn problem(bytes: &[u8]) -> String {
        let problem = text(bytes.to_vec()).expect_err("bad bytes");
        assert_eq!(checked(bytes).expect_err("bad bytes"), problem);
        problem
    }

    #[test]
    fn western_text_is_told_with_the_character_that_it_would_be() {
        for (line, character) in [
            (&b"caf\xe9 au lait"[..], 'é'),
            (b"caf\xe9", 'é'),
            (b"Gr\xf6\xdfe", 'ö'),
            (b"\xabL\x92\xe9t\xe9\xa0\xbb", '«'),
            (b"\x93quoted\x94 \x96 it\x92s", '“'),
            (b"p\xe4\xe4t\xf6s \x80 5", 'ä'),
        ] {
            let told = problem(line);
            let says =
                format!("convert the file, with `iconv -f WINDOWS-1252 -t UTF-8` if that byte is to be `{character}`");
            assert!(told.ends_with(&says), "{told}");
        }
        assert!(problem(b"caf\xe9").starts_with("is not UTF-8: byte 0xe9 after 3 good bytes; convert"));
    }

    #[test]
    fn what_is_not_western_is_not_advised_so() {
        for (name, line) in [
            ("WINDOWS-1251", &b"\xef\xf0\xe8\xe2\xe5\xf2 world"[..]),
            ("KOI8-R", b"hello \xd0\xd2\xc9\xd7\xc5\xd4"),
            ("Shift_JIS", b"\x93\xfa\x96{\x8c\xea"),
            ("GBK", b"\xc4\xe3\xba\xc3"),
            ("EUC-JP", b"\xc6\xfc\xcb\xdc\xb8\xec"),
            ("code page 850", b"caf\x82"),
            ("code page 437, a quote in a word", b"sch\x94n"),
            ("Mac Roman", b"caf\x8e"),
            ("UTF-8, damaged", b"na\xc3\xafve \xff"),
            ("UTF-8, cut", b"hello \xe4\xb8"),
            ("noise", b"\x01a\xe9b"),
            ("nothing but letters of another script", b"\xe9"),
        ] {
            let told = problem(line);
            assert!(!told.contains("1252") && told.contains("iconv -f ENCODING"), "{name}: {told}");
        }
    }

    #[test]
    fn numbers_that_are_no_characters_are_named() {
        assert!(
            problem(b"a\xc3\xa9\xed\xa0\x80")
                .starts_with("is not Unicode: 0xd800 after 2 good characters is half of a surrogate pair; take it out")
        );
        assert!(problem(b"\xf4\x90\x80\x80").contains("0x110000 after 0 good characters is beyond all characters"));
        for number in [0xd800, 0xdfff, 0x11_0000, 0x1f_ffff, 0x20_0000, 0x400_0000, 0x8000_0000, u32::MAX] {
            let mut bytes = Vec::new();
            push_beyond_unicode(number, &mut bytes);
            assert_eq!(beyond_unicode(&bytes), Some(number), "{number:x}");
            assert!(problem(&bytes).contains(&format!("0x{number:x} ")));
        }
        assert!(problem(b"\xc0\x80").contains("is not UTF-8: byte 0xc0"), "an overlong form is none");
    }

    #[test]
    fn nul_is_no_text() {
        assert!(
            problem(b"hello\0world").starts_with("has a NUL byte after 5 good bytes, which no text has; take it out")
        );
        assert!(problem(b"caf\xe9 \0").contains("NUL byte after 5"), "whatever else is wrong");
        assert!(problem(b"\0h\0e\0l\0l\0o").contains("UTF-16"));
        assert!(problem(b"\0").contains("take it out"));
    }

    proptest! {
        #[test]
        fn good_text_stays_what_it_is(line in any::<String>()) {
            match text(line.clone().into_bytes()) {
                Ok(found) => prop_assert_eq!(found, line),
                Err(_) => prop_assert!(line.contains('\0')),
            }
        }

        #[test]
        fn no_bytes_are_a_surprise(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let found = text(bytes.clone());
            prop_assert_eq!(checked(&bytes).map(str::to_owned), found);
        }
    }
}
