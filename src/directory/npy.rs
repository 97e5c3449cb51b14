//! `.npy` files at their final size: <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>.

use std::io::Write;

use super::folder::Folder;
use crate::error::{Error, Result};
use crate::spec::Dtype;

/// Magic bytes, version 1.0 and the length of the dictionary, which follows.
pub(crate) const PREFIX_LENGTH: usize = 10;

/// numpy begins the data at a multiple of this.
const ALIGNMENT: usize = 64;

/// Creates a file of zeros with `shape`, sparse if the file system supports it. Returns where the data starts.
pub(crate) fn create(folder: &Folder, name: &str, shape: (u64, u64), dtype: Dtype) -> Result<u64> {
    let Some(descriptor) = descriptor(dtype) else {
        // Plans refuse this.
        return Err(Error::Usage(format!("{}: numpy has no {}", folder.place(name).display(), dtype.name())));
    };
    create_zeros(folder, name, descriptor, &[shape.0 as usize, shape.1 as usize], dtype.size())
}

/// Creates a file of `length` int64 zeros. Returns where the data starts.
pub(crate) fn create_offsets(folder: &Folder, name: &str, length: u64) -> Result<u64> {
    create_zeros(folder, name, OFFSETS_DESCRIPTOR, &[length as usize], size_of::<i64>() as u64)
}

fn create_zeros(folder: &Folder, name: &str, descriptor: &str, shape: &[usize], size: u64) -> Result<u64> {
    let header = header(descriptor, shape);
    let data = shape.iter().map(|&length| length as u64).product::<u64>() * size;
    let start = header.len() as u64;
    let mut file = folder.create_new(name)?;
    let written = file.write_all(&header).and_then(|()| file.set_len(start + data));
    written.map_err(Error::io("write", folder.place(name)))?;
    Ok(start)
}

/// The `descr` of a type in the header; `None` for bfloat16, which numpy does not have.
pub(crate) fn descriptor(dtype: Dtype) -> Option<&'static str> {
    match dtype {
        Dtype::F32 => Some("<f4"),
        Dtype::F16 => Some("<f2"),
        Dtype::Bf16 => None,
    }
}

/// The `descr` of offsets.
pub(crate) const OFFSETS_DESCRIPTOR: &str = "<i8";

/// The header of a file, up to its data: format version 1.0, in C order.
pub(crate) fn header(descriptor: &str, shape: &[usize]) -> Vec<u8> {
    let lengths: Vec<_> = shape.iter().map(usize::to_string).collect();
    // As Python writes a tuple of one.
    let comma = if shape.len() == 1 { "," } else { "" };
    let shape = format!("({}{comma})", lengths.join(", "));
    let dictionary = format!("{{'descr': '{descriptor}', 'fortran_order': False, 'shape': {shape}}}");
    // Spaces, then the line's end.
    let length = (PREFIX_LENGTH + dictionary.len() + 1).next_multiple_of(ALIGNMENT) - PREFIX_LENGTH;
    let mut header = b"\x93NUMPY\x01\x00".to_vec();
    header.extend((length as u16).to_le_bytes());
    header.extend(format!("{dictionary:width$}\n", width = length - 1).into_bytes());
    header
}

/// What the dictionary of a header says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Dictionary {
    /// The type, in quotes where it is a plain one.
    pub(crate) descr: String,
    pub(crate) fortran_order: bool,
    pub(crate) shape: Vec<usize>,
}

impl Dictionary {
    /// Reads what follows the prefix of a header: the three keys that numpy writes, in any order and with any spaces.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn parse(bytes: &[u8]) -> std::result::Result<Self, String> {
        let text = str::from_utf8(bytes).map_err(|_| "it is not text")?;
        let text = text.strip_suffix('\n').ok_or("newline missing at end of header")?;
        let inner = text.trim().strip_prefix('{').and_then(|text| text.strip_suffix('}'));
        let mut rest = inner.ok_or_else(|| format!("{:?} is not a dictionary", text.trim()))?.trim();
        let (mut descr, mut fortran_order, mut shape) = (None, None, None);
        while !rest.is_empty() {
            let (key, after) = rest.split_once(':').ok_or_else(|| format!("{rest:?} has no value"))?;
            let end = end_of_value(after);
            let value = after[..end].trim();
            match key.trim() {
                "'descr'" => descr = Some(value.to_owned()),
                "'fortran_order'" => {
                    fortran_order = Some(match value {
                        "True" => true,
                        "False" => false,
                        _ => return Err(format!("fortran_order is {value}")),
                    });
                }
                "'shape'" => {
                    let lengths = value.strip_prefix('(').and_then(|value| value.strip_suffix(')'));
                    let lengths = lengths.map(|lengths| lengths.split(',').map(str::trim));
                    let parse = |length: &str| length.parse().ok();
                    let numbers =
                        lengths.and_then(|lengths| lengths.filter(|length| !length.is_empty()).map(parse).collect());
                    shape = Some(numbers.ok_or_else(|| format!("shape is {value}"))?);
                }
                key => return Err(format!("it has a key {key}")),
            }
            rest = after[end..].trim_start_matches(',').trim();
        }
        match (descr, fortran_order, shape) {
            (Some(descr), Some(fortran_order), Some(shape)) => Ok(Self { descr, fortran_order, shape }),
            _ => Err("it has not all of descr, fortran_order and shape".to_owned()),
        }
    }
}

/// Where a value ends: at the next comma that is in no brackets, or at the end.
fn end_of_value(text: &str) -> usize {
    let mut depth = 0;
    for (at, character) in text.char_indices() {
        match character {
            '(' | '[' => depth += 1,
            ')' | ']' => depth -= 1,
            ',' if depth <= 0 => return at,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Byte for byte what `numpy.lib.format.write_array_header_1_0` makes of the same dictionary, but for the order of keys and
    /// the comma behind the last one, on which the format does not insist.
    #[test]
    fn a_header() {
        let header = header("<f4", &[2, 160]);
        assert_eq!(header.len(), 128);
        assert_eq!(header[..10], *b"\x93NUMPY\x01\x00\x76\x00");
        let text = str::from_utf8(&header[10..]).unwrap();
        assert_eq!(text.trim_end_matches([' ', '\n']), "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 160)}");
        assert!(text.ends_with(" \n"));
    }

    proptest! {
        #[test]
        fn headers_are_read_as_they_were_written(shape in proptest::collection::vec(any::<usize>(), 0..5)) {
            let header = header("<i8", &shape);
            prop_assert_eq!(header.len() % ALIGNMENT, 0);
            prop_assert_eq!(usize::from(u16::from_le_bytes([header[8], header[9]])), header.len() - PREFIX_LENGTH);
            let expected = Dictionary { descr: "'<i8'".to_owned(), fortran_order: false, shape };
            prop_assert_eq!(Dictionary::parse(&header[PREFIX_LENGTH..]), Ok(expected));
        }

        #[test]
        fn no_bytes_make_the_reader_panic(bytes: Vec<u8>, text in "[{}'(),: a-z0-9\\[\\]]{0,60}\n") {
            let _ = Dictionary::parse(&bytes);
            let _ = Dictionary::parse(text.as_bytes());
        }
    }
}
