//! Recognizes files that are not text by their first bytes, and advises how to get text out of them.

use std::str;

use super::characters::{begins_as_text, controls, is_utf8_so_far};
use super::entry::Failed;

/// NUL bytes from which on good UTF-8 is none of text with a few that are too many.
const NULS: usize = 8;

const PICKLE: &str = "write what is in it as JSON Lines, in Python";

/// Where a tar archive has its magic bytes.
const TAR: usize = 257;

/// Refuses known kinds of files that are not text; `head` are the first bytes, decompressed.
pub(super) fn check_kind(head: &[u8]) -> Result<(), Failed> {
    match kind(head) {
        Some((name, way_out)) => Err(Failed(format!("is {name}; expected text; {way_out}"))),
        None => Ok(()),
    }
}

/// Refuses bytes that are so far from text that no single line is worth reporting.
pub(super) fn check_bytes(head: &[u8]) -> Result<(), Failed> {
    let nuls = head.iter().filter(|&&byte| byte == 0).count();
    let (is_utf8, is_noisy) = (is_utf8_so_far(head), 30 * controls(head) >= head.len().max(1));
    let first = match (is_utf8, is_noisy) {
        (true, _) if nuls >= NULS && 10 * nuls >= head.len() && !begins_as_text(head) => {
            head.iter().position(|&byte| byte == 0)
        }
        (false, true) if controls(head) > 0 => str::from_utf8(head).err().map(|error| error.valid_up_to()),
        _ => None,
    };
    match first {
        None => Ok(()),
        Some(at) => Err(Failed(format!(
            "is not text: byte 0x{:02x} at {at}, among control characters; expected UTF-8; give a file of texts, or unpack or convert this one with the program that it is of",
            head[at]
        ))),
    }
}

/// The kind of a file, with its article, and advice.
fn kind(head: &[u8]) -> Option<(&'static str, &'static str)> {
    let text = of_text(head);
    if text.is_some() {
        return text;
    }
    // A text may begin with any word, so the magic bytes below do not apply.
    if is_utf8_so_far(head) && controls(head) == 0 {
        return None;
    }
    zip(head).or_else(|| packed(head)).or_else(|| data(head)).or_else(|| document(head)).or_else(|| media(head))
}

/// Files that are written as text, but whose lines are not texts.
fn of_text(head: &[u8]) -> Option<(&'static str, &'static str)> {
    Some(match head {
        [b'%', b'P', b'D', b'F', b'-', b'0'..=b'9', ..] => {
            ("a PDF document", "take its text out, for example with `pdftotext FILE texts.txt`")
        }
        [b'(', b'l' | b'd' | b't', b'p', b'0' | b'1', b'\n', ..] => ("a pickle of Python", PICKLE),
        _ if head.starts_with(b"{\\rtf") => ("a Rich Text document (RTF)", "save it as plain text, in UTF-8"),
        _ if head.starts_with(b"version https://git-lfs.github.com/spec/") => {
            ("a pointer of Git LFS to a file that is elsewhere", "fetch the file with `git lfs pull`")
        }
        _ => return None,
    })
}

/// Zip archives, and documents that are zip archives.
fn zip(head: &[u8]) -> Option<(&'static str, &'static str)> {
    if !matches!(head, [b'P', b'K', 3, 4, ..] | [b'P', b'K', 5, 6, ..] | [b'P', b'K', 7, 8, ..]) {
        return None;
    }
    let has = |name: &str| head.windows(name.len()).any(|window| window == name.as_bytes());
    Some(if has("word/") {
        ("a Word document", "save it as plain text, in UTF-8")
    } else if has("xl/") {
        ("an Excel workbook", "save its sheet as csv (CSV UTF-8 in Excel)")
    } else if has("ppt/") {
        ("a PowerPoint presentation", "save its text as plain text, in UTF-8")
    } else if has("[Content_Types].xml") {
        ("an Office document, such as of Word or Excel", "save it as plain text or as csv, in UTF-8")
    } else if has("opendocument.spreadsheet") {
        ("an OpenDocument spreadsheet", "save its sheet as csv, in UTF-8")
    } else if has("opendocument") {
        ("an OpenDocument document", "save it as plain text, in UTF-8")
    } else if has("epub") {
        ("an EPUB book", "convert it to plain text, for example with `pandoc -t plain`")
    } else if has("data.pkl") {
        ("a PyTorch file", "write the texts in it as JSON Lines; a model goes with -m")
    } else if has(".npy") {
        ("an archive of NumPy arrays (npz)", "write the texts in it as JSON Lines")
    } else {
        ("a zip archive", "unpack it, and name the files in it")
    })
}

/// Compressed files and archives.
fn packed(head: &[u8]) -> Option<(&'static str, &'static str)> {
    let twice = "decompress it once";
    Some(match head {
        // The content of a file that was decompressed already.
        [0x1f, 0x8b, ..] => ("compressed twice, with gzip within", twice),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => ("compressed twice, with zstd within", twice),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => ("compressed twice, with xz within", twice),
        [b'B', b'Z', b'h', b'1'..=b'9', 0x31, 0x41, 0x59, 0x26, ..]
        | [b'B', b'Z', b'h', b'1'..=b'9', 0x17, 0x72, 0x45, 0x38, ..] => {
            ("compressed with bzip2", "decompress it: `bzip2 -d`; gzip, zstd and xz are decompressed here")
        }
        [0x04, 0x22, 0x4d, 0x18, ..] | [0x02, 0x21, 0x4c, 0x18, ..] => {
            ("compressed with lz4", "decompress it: `lz4 -d`; gzip, zstd and xz are decompressed here")
        }
        [0x1f, 0x9d, ..] => ("compressed with compress (.Z)", "decompress it: `gzip -d` can"),
        [0x5d, 0, 0, _, _, 0xff, 0xff, ..] => ("compressed with lzma", "decompress it: `xz -d --format=lzma`"),
        [b'L', b'Z', b'I', b'P', 0 | 1, ..] => ("compressed with lzip", "decompress it: `lzip -d`"),
        [0x89, b'L', b'Z', b'O', 0, ..] => ("compressed with lzop", "decompress it: `lzop -d`"),
        [0xff, 6, 0, 0, b's', b'N', b'a', b'P', b'p', b'Y', ..] => {
            ("compressed with snappy", "decompress it: `snzip -d`")
        }
        [b'7', b'z', 0xbc, 0xaf, 0x27, 0x1c, ..] => ("a 7z archive", "unpack it with `7z x`, and name the files in it"),
        [b'R', b'a', b'r', b'!', 0x1a, 7, ..] => {
            ("a RAR archive", "unpack it with `unrar x`, and name the files in it")
        }
        _ if head.get(TAR..).is_some_and(|rest| rest.starts_with(b"ustar")) => {
            ("a tar archive", "unpack it with `tar -xf`, and name the files in it")
        }
        _ => return None,
    })
}

/// Tables, arrays and models.
fn data(head: &[u8]) -> Option<(&'static str, &'static str)> {
    const HAS_PARQUET: bool = cfg!(feature = "parquet");
    const PARQUET: &str = if HAS_PARQUET {
        "it is read with --input-format parquet"
    } else {
        "a layerwise that is built with --features parquet reads it; or convert it to JSON Lines, in Python: pandas.read_parquet(FILE).to_json('texts.jsonl', orient='records', lines=True)"
    };
    const ARROW: &str = if HAS_PARQUET {
        "it is read with --input-format arrow"
    } else {
        "a layerwise that is built with --features parquet reads it; or convert it to JSON Lines, in Python: pandas.read_feather(FILE).to_json('texts.jsonl', orient='records', lines=True)"
    };
    const STREAM: &str = if HAS_PARQUET {
        ARROW
    } else {
        "a layerwise that is built with --features parquet reads it; or convert it to JSON Lines, in Python: datasets.Dataset.from_file(FILE).to_json('texts.jsonl')"
    };
    const JSON_LINES: &str = "write its rows as JSON Lines or csv";
    const MODEL: &str = "a model goes with -m";
    Some(match head {
        [b'P', b'A', b'R', b'1' | b'E', ..] => ("a Parquet file", PARQUET),
        [b'A', b'R', b'R', b'O', b'W', b'1', ..] => ("an Arrow file (Feather)", ARROW),
        [b'F', b'E', b'A', b'1', ..] => (
            "a Feather file of old",
            "write it anew, in Python: pandas.read_feather(FILE).to_json('texts.jsonl', orient='records', lines=True)",
        ),
        [0xff, 0xff, 0xff, 0xff, _, _, 0, 0, ..] => ("an Arrow stream, as Hugging Face datasets keep", STREAM),
        [b'O', b'R', b'C', ..] => ("an ORC file", JSON_LINES),
        [b'O', b'b', b'j', 1, ..] => ("an Avro file", JSON_LINES),
        [0x89, b'H', b'D', b'F', ..] => ("an HDF5 file", JSON_LINES),
        _ if head.starts_with(b"SQLite format 3\0") => {
            ("an SQLite database", "write its rows as csv: `sqlite3 -header -csv FILE 'SELECT …' > texts.csv`")
        }
        [0x80, 2..=5, ..] => ("a pickle of Python", PICKLE),
        _ if head.starts_with(b"\x93NUMPY") => ("a NumPy array", "write the texts of which it is, one a line"),
        _ if head.starts_with(b"RDX2\n") || head.starts_with(b"RDX3\n") => {
            ("R data", "write the data frame as csv, in R: write.csv(data, 'texts.csv', row.names = FALSE)")
        }
        [b'X', b'\n', 0, 0, 0, 2 | 3, ..] => {
            ("R data (rds)", "write it as csv, in R: write.csv(readRDS(FILE), 'texts.csv', row.names = FALSE)")
        }
        _ if head.starts_with(b"$FL2") || head.starts_with(b"$FL3") => ("an SPSS file", "save it as csv, in UTF-8"),
        _ if head.starts_with(b"<stata_dta>") => ("a Stata file", "save it as csv, in UTF-8"),
        [b'G', b'G', b'U', b'F', ..] => ("a GGUF file, of a language model's weights", MODEL),
        // The length of the header in eight bytes, followed by the header.
        [_, _, _, _, 0, 0, 0, 0, b'{', b'"', ..] => ("a safetensors file, of tensors", MODEL),
        _ => return None,
    })
}

/// Documents and programs.
fn document(head: &[u8]) -> Option<(&'static str, &'static str)> {
    Some(match head {
        [0xd0, 0xcf, 0x11, 0xe0, 0xa1, 0xb1, 0x1a, 0xe1, ..] => {
            ("an Office document of old, such as .doc or .xls", "save it as plain text or as csv, in UTF-8")
        }
        [0x7f, b'E', b'L', b'F', ..] => ("a program", "give a file of texts"),
        _ if head.starts_with(b"bplist0") => ("a property list", "give a file of texts"),
        _ => return None,
    })
}

/// Images and sound.
fn media(head: &[u8]) -> Option<(&'static str, &'static str)> {
    const IMAGE: &str = "a text in it is to be read by a program for that (OCR)";
    const SOUND: &str = "speech in it is to be written down by a program for that";
    Some(match head {
        [0x89, b'P', b'N', b'G', ..] => ("a PNG image", IMAGE),
        [0xff, 0xd8, 0xff, ..] => ("a JPEG image", IMAGE),
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => ("a GIF image", IMAGE),
        [b'I', b'I', b'*', 0, ..] | [b'M', b'M', 0, b'*', ..] => ("a TIFF image", IMAGE),
        [b'B', b'M', _, _, _, _, 0, 0, 0, 0, ..] => ("a BMP image", IMAGE),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => ("a WebP image", IMAGE),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'A', b'V', b'E', ..] => ("sound (WAV)", SOUND),
        [b'I', b'D', b'3', 2..=4, ..] => ("sound (MP3)", SOUND),
        [b'O', b'g', b'g', b'S', 0, ..] => ("sound (Ogg)", SOUND),
        [b'f', b'L', b'a', b'C', ..] => ("sound (FLAC)", SOUND),
        [_, _, _, _, b'f', b't', b'y', b'p', ..] => ("a video or an image (MP4, HEIC)", "give a file of texts"),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn told(head: &[u8]) -> Option<String> {
        check_kind(head).and_then(|()| check_bytes(head)).err().map(|Failed(problem)| problem)
    }

    #[test]
    fn files_are_named_as_what_they_are() {
        let tar = [&[b'a'][..], &[0; 256], b"ustar\x0000"].concat();
        let word = b"PK\x03\x04\x14\0\x06\0[Content_Types].xml and so on PK\x03\x04 word/document.xml";
        for (head, says) in [
            (&b"PAR1\x15\x04\x15\x10"[..], "is a Parquet file; expected text; "),
            (b"ARROW1\0\0", "is an Arrow file"),
            (b"\xff\xff\xff\xff\x88\x02\0\0\x10\0\0\0", "is an Arrow stream"),
            (b"ORC\n\x0b\x08\0", "is an ORC file"),
            (b"Obj\x01\x04\x14avro.codec", "is an Avro file"),
            (b"\x89HDF\r\n\x1a\n", "is an HDF5 file"),
            (b"SQLite format 3\0\x10\0", "is an SQLite database"),
            (b"\x80\x04\x95\x0b\0\0\0", "is a pickle"),
            (b"(lp0\n(dp1\nVtext\n", "is a pickle"),
            (b"\x93NUMPY\x01\0v\0{'descr'", "is a NumPy array"),
            (b"RDX3\nX\n\0\0\0\x03", "is R data"),
            (b"X\n\0\0\0\x03\0\x04", "is R data (rds)"),
            (b"GGUF\x03\0\0\0", "is a GGUF file"),
            (b"\x40\0\0\0\0\0\0\0{\"a\":", "is a safetensors file"),
            (b"BZh91AY&SY\xff", "is compressed with bzip2; expected text; decompress it"),
            (b"BZh9\x17rE8P\x90\0\0", "bzip2"),
            (b"\x04\x22\x4d\x18\x64\x40\xa7", "is compressed with lz4"),
            (b"\x1f\x9d\x90\x68", "is compressed with compress"),
            (b"\x5d\0\0\x80\0\xff\xff\xff", "lzma"),
            (b"7z\xbc\xaf\x27\x1c\0\x04", "is a 7z archive"),
            (b"Rar!\x1a\x07\x01\0", "is a RAR archive"),
            (b"\x1f\x8b\x08\0", "is compressed twice"),
            (&tar, "is a tar archive"),
            (word, "is a Word document"),
            (b"PK\x03\x04\x14\0\x06\0[Content_Types].xml\0", "is an Office document"),
            (b"PK\x03\x04\x14\0xl/workbook.xml", "is an Excel workbook"),
            (b"PK\x03\x04\x14\0mimetypeapplication/vnd.oasis.opendocument.text", "is an OpenDocument document"),
            (b"PK\x03\x04\0\0archive/data.pkl", "is a PyTorch file"),
            (b"PK\x03\x04\x14\0a.txt", "is a zip archive; expected text; unpack it, and name the files in it"),
            (b"PK\x05\x06\0\0", "is a zip archive"),
            (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1\0", "is an Office document of old"),
            (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "is a PDF document; expected text; take its text out"),
            (b"{\\rtf1\\ansi hello}", "is a Rich Text document"),
            (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "is a pointer of Git LFS"),
            (b"\x89PNG\r\n\x1a\n\0", "is a PNG image"),
            (b"\xff\xd8\xff\xe0\0\x10JFIF\0", "is a JPEG image"),
            (b"GIF89a\x01\0\x01\0", "is a GIF image"),
            (b"RIFF\x24\0\0\0WEBPVP8 ", "is a WebP image"),
            (b"II*\0\x08\0", "is a TIFF image"),
            (b"\x7fELF\x02\x01\x01\0", "is a program"),
        ] {
            let told = told(head).unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(head)));
            assert!(told.contains(says), "{}: {told}", String::from_utf8_lossy(head));
        }
    }

    #[test]
    fn other_bytes_are_named_with_the_first_that_is_wrong() {
        let noise = (0..400u32).map(|i| (i * i * 7 + i / 3) as u8).collect::<Vec<_>>();
        let at = std::str::from_utf8(&noise).unwrap_err().valid_up_to();
        let says = format!("is not text: byte 0x{:02x} at {at}, among control characters; expected UTF-8;", noise[at]);
        assert!(told(&noise).unwrap().starts_with(&says), "{:?}", told(&noise));
        assert!(told(&[1, 0, 0, 0].repeat(10)).unwrap().starts_with("is not text: byte 0x00 at 1,"));
    }

    #[test]
    fn texts_may_begin_with_any_word_and_have_bad_lines() {
        for text in [
            &b""[..],
            b"PAR1 is a gene\n",
            b"ORC is short\n",
            b"GGUF\n",
            b"BM\n",
            b"BZh9 and so on\n",
            b"ID3, GIF89a and RIFF\n",
            b"(lp) and (dp0)\n",
            b"PK\n",
            b"%PDF is none\n",
            b"caf\xe9\n",
            b"hello\0world\n",
            b"one\0two\0three\0",
            b"\xff\n",
            b"one\ntwo\nt\0h\0r\0e\0e\0\n\0f\0o\0u\0r\0\n\0",
            b"\x01\x02\x03\n\x7f\x1b[31m\n",
            "中国\n".as_bytes(),
            &"中国\n".as_bytes()[..5],
        ] {
            assert_eq!(told(text), None, "{}", String::from_utf8_lossy(text));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_are_a_surprise(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = told(&bytes);
        }

        #[test]
        fn no_text_is_refused(text in "[^\\p{Cc}]{0,80}") {
            let is_marked = of_text(text.as_bytes()).is_some();
            prop_assert_eq!(told(text.as_bytes()).is_some(), is_marked);
        }
    }
}
