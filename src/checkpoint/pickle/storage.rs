//! Storages: runs of numbers of one type, and where in the file they are.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use flate2::CrcReader;
use flate2::bufread::DeflateDecoder;
use safetensors::Dtype;

use super::machine::{Id, Pickle, PickleValue};
use crate::positional::read_exact_at;

/// The type of a number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::checkpoint) struct Element {
    /// For messages.
    pub(in crate::checkpoint) name: &'static str,
    /// Bytes of one.
    pub(super) size: usize,
    /// The type among those that become float32.
    pub(in crate::checkpoint) dtype: Option<Dtype>,
}

const fn element(name: &'static str, size: usize, dtype: Option<Dtype>) -> Element {
    Element { name, size, dtype }
}

/// PyTorch's storage classes, the types' names under `torch.`, and what is in them.
const ELEMENTS: [(&str, &str, Element); 18] = [
    ("FloatStorage", "float32", element("f32", 4, Some(Dtype::F32))),
    ("HalfStorage", "float16", element("f16", 2, Some(Dtype::F16))),
    ("BFloat16Storage", "bfloat16", element("bf16", 2, Some(Dtype::BF16))),
    ("DoubleStorage", "float64", element("f64", 8, None)),
    ("LongStorage", "int64", element("i64", 8, None)),
    ("IntStorage", "int32", element("i32", 4, None)),
    ("ShortStorage", "int16", element("i16", 2, None)),
    ("CharStorage", "int8", element("i8", 1, None)),
    ("ByteStorage", "uint8", element("u8", 1, None)),
    ("BoolStorage", "bool", element("bool", 1, None)),
    ("ComplexFloatStorage", "complex64", element("complex64", 8, None)),
    ("ComplexDoubleStorage", "complex128", element("complex128", 16, None)),
    ("QInt8Storage", "qint8", element("qint8", 1, None)),
    ("QUInt8Storage", "quint8", element("quint8", 1, None)),
    ("QInt32Storage", "qint32", element("qint32", 4, None)),
    ("QUInt4x2Storage", "quint4x2", element("quint4x2", 1, None)),
    ("QUInt2x4Storage", "quint2x4", element("quint2x4", 1, None)),
    // Bytes, whose type is with each tensor.
    ("UntypedStorage", "", element("bytes", 1, None)),
];

impl Element {
    /// What a storage class holds: `torch.FloatStorage`, `torch.cuda.HalfStorage`.
    pub(super) fn of_storage(class: &str) -> Option<Element> {
        let class = class.strip_prefix("torch.")?.rsplit('.').next()?.trim_start_matches('_');
        ELEMENTS.iter().find(|(storage, ..)| *storage == class).map(|&(.., element)| element)
    }

    /// The type that a tensor names itself: `torch.float32`.
    pub(super) fn of_dtype(name: &str) -> Option<Element> {
        let name = name.strip_prefix("torch.")?;
        ELEMENTS.iter().find(|(_, dtype, _)| !dtype.is_empty() && *dtype == name).map(|&(.., element)| element)
    }
}

/// A storage as a pickle describes it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Storage<'p> {
    pub(super) key: &'p str,
    /// The class, and what it holds where that is known.
    pub(super) class: &'p str,
    pub(super) element: Option<Element>,
    pub(super) numbers: u64,
    /// A part of the storage, first number and count, which PyTorch before 0.4 kept as a storage of its own.
    pub(super) part: Option<(u64, u64)>,
}

impl<'p> Storage<'p> {
    /// Reads `('storage', class, key, location, numbers)`, in old files with the part at its end.
    pub(super) fn of(pickle: &'p Pickle, id: Id) -> Option<Self> {
        let &PickleValue::Persistent(description) = pickle.get(id) else { return None };
        let &[kind, class, key, _location, numbers, ref rest @ ..] = pickle.tuple(description)? else { return None };
        if pickle.text(kind)? != "storage" {
            return None;
        }
        let part = match *rest {
            [part, ..] if *pickle.get(part) != PickleValue::None => {
                let &[_key, first, count] = pickle.tuple(part)? else { return None };
                Some((pickle.count(first)?, pickle.count(count)?))
            }
            _ => None,
        };
        let class = pickle.global(class)?;
        let element = Element::of_storage(class);
        Some(Self { key: pickle.text(key)?, class, element, numbers: pickle.count(numbers)?, part })
    }

    /// What is wrong with a tensor whose storage is nowhere.
    pub(super) fn missing(&self) -> String {
        format!("is stored as `{}`, which the file does not hold; download it again", self.key)
    }
}

/// Where a storage is, and the checksum that its bytes must have where the file gives one.
#[derive(Debug, Clone)]
pub(super) struct LocatedStorage {
    pub(super) region: ByteRange,
    pub(super) checksum: Option<Arc<StorageChecksum>>,
}

/// The checksum of a storage, shared by all tensors that are views of it.
#[derive(Debug)]
pub(super) struct StorageChecksum {
    key: String,
    region: ByteRange,
    crc32: u32,
    /// What the comparison gave, once it was made.
    compared: OnceLock<Result<(), String>>,
}

impl StorageChecksum {
    pub(super) fn new(key: &str, region: ByteRange, crc32: u32) -> Self {
        Self { key: key.to_owned(), region, crc32, compared: OnceLock::new() }
    }

    /// Reads the storage and compares its checksum, the first time that one of its tensors is needed. A tensor may be read in
    /// parts and in any order, so this is a pass of its own over all bytes; it is a small part of the time that reading
    /// takes, as they are in the system's cache afterwards.
    pub(super) fn check(&self, file: &File) -> Result<(), String> {
        let compare = || {
            let mut bytes = CrcReader::new(self.region.stream(file));
            let count = io::copy(&mut bytes, &mut io::sink()).map_err(|error| {
                format!("cannot be read: {error}; is the file damaged, or did it change while it was in use?")
            })?;
            if count == self.region.size && bytes.crc().sum() == self.crc32 {
                return Ok(());
            }
            Err(format!(
                "is stored as `{}`, which does not have the checksum that the file gives for it; the file is damaged, so download it again",
                self.key
            ))
        };
        self.compared.get_or_init(compare).clone()
    }
}

/// A part of the file that holds a storage.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct ByteRange {
    /// Where it begins in the file.
    pub(super) start: u64,
    /// Bytes of the storage.
    pub(super) size: u64,
    /// Bytes in the file where these are deflated.
    pub(super) deflated: Option<u64>,
}

impl ByteRange {
    /// Where its bytes begin in the file if they lie there as they are.
    pub(super) fn stored(&self) -> Option<u64> {
        self.deflated.is_none().then_some(self.start)
    }

    /// All of its bytes in order.
    pub(super) fn stream<'a>(&self, file: &'a File) -> Box<dyn BufRead + 'a> {
        let Self { start, size, deflated } = *self;
        match deflated {
            None => Box::new(BufReader::with_capacity(PIECE, At { file, at: start, end: start + size })),
            Some(length) => Box::new(BufReader::new(inflate(file, start, length).take(size))),
        }
    }

    /// Some of its bytes.
    pub(super) fn read(&self, file: &File, range: Range<u64>) -> Result<Vec<u8>, String> {
        let mut bytes = vec![0; (range.end - range.start) as usize];
        match self.deflated {
            None => read_exact_at(file, &mut bytes, self.start + range.start),
            Some(length) => {
                let mut inflated = inflate(file, self.start, length);
                io::copy(&mut (&mut inflated).take(range.start), &mut io::sink())
                    .and_then(|_| inflated.read_exact(&mut bytes))
            }
        }
        .map_err(|error| {
            format!("cannot be read: {error}; is the file damaged, or did it change while it was in use?")
        })?;
        Ok(bytes)
    }
}

/// Bytes that are read at once where all of a storage is.
const PIECE: usize = 1 << 16;

/// Reads `length` bytes from `start` on as deflated ones.
pub(super) fn inflate(file: &File, start: u64, length: u64) -> DeflateDecoder<BufReader<At<'_>>> {
    DeflateDecoder::new(BufReader::new(At { file, at: start, end: start.saturating_add(length) }))
}

/// A stretch of a file as a stream, without moving the position that others use.
pub(super) struct At<'a> {
    pub(super) file: &'a File,
    pub(super) at: u64,
    pub(super) end: u64,
}

impl Read for At<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = buffer.len().min(usize::try_from(self.end.saturating_sub(self.at)).unwrap_or(usize::MAX));
        read_exact_at(self.file, &mut buffer[..count], self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}
