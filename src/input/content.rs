//! The content of a source as UTF-8: decompressed, decoded, without a byte order mark. Content that is not text is
//! refused here by its first bytes, before a format tries to read it.

use std::io::BufRead;
use std::path::Path;

use super::compressed::decompressed;
use super::entry::Failed;
use super::first_bytes::first_bytes;
use super::{binary, encoding};

/// Number of bytes that are examined: enough for a document's first entries and some lines of text.
const HEAD: usize = 4096;

/// The content of a reader. `path` is that of the file, if the source is one.
pub(super) fn content<'a>(
    reader: impl BufRead + Send + 'a,
    path: Option<&Path>,
) -> Result<Box<dyn BufRead + Send + 'a>, Failed> {
    let mut reader = decompressed(reader, path)?;
    let head = first_bytes(&mut reader, HEAD)?;
    if encoding::of_mark(&head).is_none() {
        binary::check_kind(&head)?;
        encoding::check(&head)?;
        binary::check_bytes(&head)?;
    }
    Ok(encoding::decoded(head, reader))
}

#[cfg(test)]
mod tests {
    use super::super::{Columns, records_of};
    use crate::spec::{InputFormat, OnBadLine};
    use proptest::prelude::*;
    use sha2::{Digest, Sha256};

    /// Beginnings that decide how the rest is read.
    const STARTS: [&[u8]; 10] = [
        b"",
        b"text,b\n",
        b"[{\"text\":",
        b"\xff\xfe",
        b"\xfe\xff",
        b"\xff\xfe\0\0",
        b"\xef\xbb\xbf",
        b"sep=;\n",
        b"\x1f\x8b\x08\0",
        b"PK\x03\x04",
    ];

    /// The digests of a content's records, and what is said of it, if anything is.
    fn read(content: &[u8], format: InputFormat) -> Vec<Result<Vec<u8>, String>> {
        let records = records_of(content, format, &Columns::default(), OnBadLine::Error).unwrap();
        let digest = records.map(|record| {
            let mut digest = Sha256::new();
            record.map_err(|error| error.to_string())?.digest_into(&mut digest);
            Ok(digest.finalize().to_vec())
        });
        digest.collect()
    }

    fn utf16(text: &str, bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
        text.encode_utf16().flat_map(bytes).collect()
    }

    fn utf32(text: &str, bytes: fn(u32) -> [u8; 4]) -> Vec<u8> {
        text.chars().flat_map(|c| bytes(c.into())).collect()
    }

    proptest! {
        #[test]
        fn records_do_not_depend_on_the_encoding(
            header in prop_oneof![Just(""), Just("text,b\n"), Just("text\tb\n"), Just("[{\"text\":\"a"), Just("{\"text\": \"a\"}\n"), Just(">a b\n")],
            text in r#"[\[\]{}",:;a0é🙂中 \\\n\r\t]{0,60}"#,
        ) {
            let text = format!("{header}{text}");
            let marked = format!("\u{feff}{text}");
            for &format in InputFormat::ALL.iter().filter(|format| !format.is_columnar()) {
                let expected = read(text.as_bytes(), format);
                for content in [
                    marked.clone().into_bytes(),
                    utf16(&marked, u16::to_le_bytes),
                    utf16(&marked, u16::to_be_bytes),
                    utf32(&marked, u32::to_le_bytes),
                    utf32(&marked, u32::to_be_bytes),
                ] {
                    prop_assert_eq!(&read(&content, format), &expected, "{:?}", format);
                }
            }
        }

        #[test]
        fn no_bytes_are_a_surprise(
            start in 0..STARTS.len(),
            bytes in proptest::collection::vec(any::<u8>(), 0..120),
        ) {
            for &format in InputFormat::ALL.iter().filter(|format| cfg!(feature = "parquet") || !format.is_columnar()) {
                read(&[STARTS[start], &bytes].concat(), format);
            }
        }
    }
}
