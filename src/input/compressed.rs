//! Compressed input (gzip, zstd and xz), recognized by its first bytes and compared with the file's name.

use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::Path;

use flate2::bufread::GzDecoder;

use super::entry::{BUFFER, Failed};
use super::first_bytes::first_bytes;

/// The most memory that reading an xz stream may take; `xz -9` needs 65 MiB, zstd's own bound is 128 MiB.
#[cfg(feature = "compressed")]
const XZ_MEMORY: u64 = 256 << 20;

/// A compression format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compression {
    Gzip,
    Zstd,
    Xz,
}

impl Compression {
    fn name(self) -> &'static str {
        match self {
            Compression::Gzip => "gzip",
            Compression::Zstd => "zstd",
            Compression::Xz => "xz",
        }
    }

    fn of_extension(extension: &str) -> Option<Self> {
        match extension {
            "gz" | "gzip" => Some(Compression::Gzip),
            "zst" | "zstd" => Some(Compression::Zstd),
            "xz" => Some(Compression::Xz),
            _ => None,
        }
    }

    /// The compression that the first bytes show. UTF-8 text begins with none of these.
    fn of_content(head: &[u8]) -> Option<Self> {
        match head {
            [0x1f, 0x8b, ..] => Some(Compression::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Compression::Zstd),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Some(Compression::Xz),
            _ => None,
        }
    }
}

/// A file's name in lower case, without the extension of a compression.
pub(super) fn uncompressed_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    match name.rsplit_once('.') {
        Some((rest, extension)) if Compression::of_extension(extension).is_some() => rest.to_owned(),
        _ => name,
    }
}

/// The content of a reader, decompressed as it is read. `path` is that of the file, if the source is one.
///
/// # Errors
/// When the first bytes cannot be read, or do not show the compression that the file's name promises.
pub(super) fn decompressed<'a>(
    mut reader: impl BufRead + Send + 'a,
    path: Option<&Path>,
) -> io::Result<Box<dyn BufRead + Send + 'a>> {
    let head = first_bytes(&mut reader, 6)?;
    let extension = path.and_then(|path| path.extension()).unwrap_or_default().to_string_lossy().to_lowercase();
    let promised = Compression::of_extension(&extension);
    // Only zstd may begin with frames that hold no data, which are told from text by the name alone.
    let skippable = promised == Some(Compression::Zstd)
        && matches!(head[..], [first, 0x2a, 0x4d, 0x18, ..] if first & 0xf0 == 0x50);
    let found = if skippable { promised } else { Compression::of_content(&head) };
    let mismatch = |problem: String| Err(io::Error::new(io::ErrorKind::InvalidData, problem));
    if let Some(promised) = promised
        && found.is_none()
    {
        let (name, empty) = (promised.name(), if head.is_empty() { "it is empty" } else { "it is something else" });
        return mismatch(format!(
            "its name ends in .{extension} but it does not begin as {name} does: {empty}; compress it, or rename it"
        ));
    }
    let reader = Cursor::new(head).chain(reader);
    let Some(compression) = found else { return Ok(Box::new(reader)) };
    let decoder = decoder(compression, reader)?;
    Ok(Box::new(BufReader::with_capacity(BUFFER, Decompressed { decoder, compression })))
}

/// The decompressor of a reader.
#[cfg(feature = "compressed")]
fn decoder<'a>(compression: Compression, reader: impl BufRead + Send + 'a) -> io::Result<Box<dyn Read + Send + 'a>> {
    use liblzma::bufread::XzDecoder;
    use liblzma::stream::{CONCATENATED, Stream};

    Ok(match compression {
        Compression::Gzip => Box::new(GzipMembers::new(reader)),
        Compression::Zstd => Box::new(zstd::Decoder::with_buffer(reader)?),
        Compression::Xz => {
            let stream = Stream::new_stream_decoder(XZ_MEMORY, CONCATENATED).map_err(io::Error::other)?;
            Box::new(XzDecoder::new_stream(reader, stream))
        }
    })
}

/// The decompressor of a reader, in a build without the libraries written in C.
#[cfg(not(feature = "compressed"))]
fn decoder<'a>(compression: Compression, reader: impl BufRead + Send + 'a) -> io::Result<Box<dyn Read + Send + 'a>> {
    match compression {
        Compression::Gzip => Ok(Box::new(GzipMembers::new(reader))),
        Compression::Zstd | Compression::Xz => Err(io::Error::new(
            io::ErrorKind::Unsupported,
            format!("this build cannot read {} (it was made without the feature `compressed`)", compression.name()),
        )),
    }
}

/// Refuses content that begins as compressed content does.
pub(super) fn check_uncompressed(head: &[u8]) -> Result<(), Failed> {
    match Compression::of_content(head) {
        Some(found) => Err(Failed(format!(
            "is compressed ({}); with --stream it is read as it comes; decompress it on its way, as `zcat` does",
            found.name()
        ))),
        None => Ok(()),
    }
}

/// The members of gzip data one after the other, as gzip reads them: zero bytes behind a member, with which tapes and block
/// devices fill their last block, are passed over. Anything else behind one has to be a member.
struct GzipMembers<R> {
    /// `None` behind the last member.
    member: Option<GzDecoder<R>>,
}

impl<R: BufRead> GzipMembers<R> {
    fn new(reader: R) -> Self {
        Self { member: Some(GzDecoder::new(reader)) }
    }
}

impl<R: BufRead> Read for GzipMembers<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(member) = &mut self.member {
            let count = member.read(buffer)?;
            if count > 0 || buffer.is_empty() {
                return Ok(count);
            }
            // The decoder is taken apart only where another member is sure to follow, so that a read that fails here is
            // tried again and not taken for the end.
            let is_end = loop {
                let rest = member.get_mut().fill_buf()?;
                let (zeros, all) = (rest.iter().take_while(|&&byte| byte == 0).count(), rest.len());
                member.get_mut().consume(zeros);
                if all == 0 || zeros < all {
                    break all == 0;
                }
            };
            self.member = self.member.take().filter(|_| !is_end).map(|member| GzDecoder::new(member.into_inner()));
        }
        Ok(0)
    }
}

/// A decompressor whose errors say what they are about.
struct Decompressed<D> {
    decoder: D,
    compression: Compression,
}

impl<D: Read> Read for Decompressed<D> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.decoder.read(buffer).map_err(|error| {
            // Errors of the operating system concern the file; all others concern its content.
            if error.raw_os_error().is_some() || error.kind() == io::ErrorKind::Interrupted {
                return error;
            }
            let name = self.compression.name();
            let problem = match error.kind() {
                io::ErrorKind::UnexpectedEof => "cut short",
                _ => "damaged",
            };
            let problem = format!("its {name} data are {problem} ({error}); copy or compress the file again");
            io::Error::new(error.kind(), problem)
        })
    }
}

#[cfg(test)]
#[cfg(feature = "compressed")]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write;

    fn read(bytes: &[u8], name: &str) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        decompressed(bytes, Some(Path::new(name)))?.read_to_end(&mut content)?;
        Ok(content)
    }

    fn compressed(compression: Compression, content: &[u8]) -> Vec<u8> {
        match compression {
            Compression::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
                encoder.write_all(content).unwrap();
                encoder.finish().unwrap()
            }
            Compression::Zstd => {
                let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
                encoder.include_checksum(true).unwrap();
                encoder.write_all(content).unwrap();
                encoder.finish().unwrap()
            }
            Compression::Xz => {
                let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 3);
                encoder.write_all(content).unwrap();
                encoder.finish().unwrap()
            }
        }
    }

    const ALL: [(Compression, &str); 3] =
        [(Compression::Gzip, "a.txt.gz"), (Compression::Zstd, "a.txt.zst"), (Compression::Xz, "a.txt.xz")];

    #[test]
    fn by_name_and_by_first_bytes() {
        for (compression, name) in ALL {
            let bytes = compressed(compression, b"hello\nworld\n");
            for name in [name, "a.txt", "a", "A.TXT.GZ"] {
                assert_eq!(read(&bytes, name).unwrap(), b"hello\nworld\n", "{name}");
            }
            let error = read(b"hello\n", name).unwrap_err().to_string();
            assert!(error.contains(&format!("does not begin as {} does", compression.name())), "{error}");
            assert!(read(b"", name).unwrap_err().to_string().contains("empty"));
        }
        assert_eq!(read(b"", "a.txt").unwrap(), b"");
        assert_eq!(read(b"\xef\xbb", "a.txt").unwrap(), b"\xef\xbb");
    }

    #[test]
    fn streams_one_after_the_other_are_one() {
        for (compression, name) in ALL {
            let mut bytes = compressed(compression, b"one\n");
            bytes.extend(compressed(compression, b""));
            bytes.extend(compressed(compression, b"two\n"));
            assert_eq!(read(&bytes, name).unwrap(), b"one\ntwo\n", "{name}");
        }
        let mut parallel = b"\x50\x2a\x4d\x18\x04\0\0\0abcd".to_vec();
        parallel.extend(compressed(Compression::Zstd, b"one\n"));
        assert_eq!(read(&parallel, "a.zst").unwrap(), b"one\n");
    }

    #[test]
    fn zeros_behind_a_stream_are_padding() {
        for (compression, name, zeros) in [
            (Compression::Gzip, "a.gz", 1),
            (Compression::Gzip, "a.gz", 511),
            (Compression::Gzip, "a.gz", 3 * BUFFER),
            (Compression::Xz, "a.xz", 4),
            (Compression::Xz, "a.xz", 512),
        ] {
            let one = [compressed(compression, b"one\n"), vec![0; zeros]].concat();
            assert_eq!(read(&one, name).unwrap(), b"one\n", "{name} with {zeros} zeros");
            let two = [&one[..], &compressed(compression, b"two\n"), &vec![0; zeros]].concat();
            assert_eq!(read(&two, name).unwrap(), b"one\ntwo\n", "{name} with {zeros} zeros");
            for rest in [&b"\x01"[..], b"\x1f", b"\x1f\x8b", b"two\n"] {
                let error = read(&[&one[..], rest].concat(), name).expect_err(name).to_string();
                assert!(error.contains(compression.name()), "{error}");
            }
        }
        // Nothing but zeros is no padding.
        assert!(read(&[0; 512], "a.gz").is_err());
    }

    #[test]
    fn a_stream_cut_anywhere_is_an_error() {
        let content: Vec<u8> = (0..9000u32).flat_map(|i| (i * i).to_le_bytes()).collect();
        for (compression, name) in ALL {
            let bytes = compressed(compression, &content);
            for length in (1..bytes.len()).step_by(bytes.len() / 60).chain([bytes.len() - 1]) {
                let error = read(&bytes[..length], name).expect_err(name).to_string();
                assert!(error.contains("cut short") || length < 6, "{name} of {length} bytes: {error}");
            }
        }
    }

    #[test]
    fn damage_is_found() {
        let content = b"some text that is long enough to be compressed ".repeat(50);
        for (compression, name) in ALL {
            let bytes = compressed(compression, &content);
            for at in 6..bytes.len() {
                let mut bytes = bytes.clone();
                bytes[at] ^= 0x55;
                // gzip's header holds a time and a system that nothing depends on.
                match read(&bytes, name) {
                    Ok(read) => assert_eq!(read, content, "{name}, byte {at}"),
                    Err(error) => assert!(error.to_string().contains(compression.name()), "{error}"),
                }
            }
        }
    }

    proptest! {
        #[test]
        fn no_bytes_are_a_surprise(start in 0usize..4, bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let magic = [&b"\x1f\x8b\x08\0"[..], b"\x28\xb5\x2f\xfd", b"\xfd7zXZ\0\0\x04", b""][start];
            let _ = read(&[magic, &bytes].concat(), "a");
        }
    }
}
