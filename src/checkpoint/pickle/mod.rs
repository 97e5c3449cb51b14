//! Checkpoints that `torch.save` wrote: tensors by name, found without running any of the pickle's code.
//!
//! Such a file is a pickle of dicts in which tensors are *views* of *storages*: offset, shape and strides on a run of
//! numbers that lies elsewhere in the file. PyTorch 1.6 and later write a zip file ([`archive`]), those before it pickles
//! and numbers one after the other ([`legacy`]). [`machine`] reads a pickle, [`state_dict`] finds the tensors in it, and
//! [`view`] says which numbers of a storage are theirs.
//!
//! Whoever made the file may mean harm. So no count in it is believed: what is allocated is bounded by the file's size
//! or by a constant before it is, and nothing follows the file's nesting with the stack. Checksums of storages
//! are not compared, as they are not for safetensors, which has none: they are read in parts, and PyTorch may
//! leave them out (`set_crc32_options`).

mod archive;
mod legacy;
mod machine;
mod state_dict;
mod storage;
mod view;

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::ops::Range;

use self::storage::{Element, Region};
use self::view::View;
use crate::positional::read_exact_at;

/// Tensors by the path of keys that leads to them. What is wrong with one matters only to who needs it.
pub(super) type Tensors = BTreeMap<String, Result<Tensor, String>>;

/// Why a file cannot be read at all.
#[derive(Debug)]
pub(super) enum Problem {
    /// It is not as PyTorch wrote it.
    Damaged(String),
    /// It is something that is not read; the text says what helps.
    Refused(String),
    /// The system failed.
    Io(io::Error),
}

impl From<io::Error> for Problem {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Problem::Damaged("it ends too early".to_owned()),
            // What an inflater says of bytes that were never deflated.
            io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => Problem::Damaged(error.to_string()),
            _ => Problem::Io(error),
        }
    }
}

/// Finds the tensors of a file that `torch.save` wrote.
pub(super) fn read(file: &File, size: u64) -> Result<Tensors, Problem> {
    let mut start = [0; 512];
    let length = start.len().min(usize::try_from(size).unwrap_or(usize::MAX));
    read_exact_at(file, &mut start[..length], 0)?;
    let start = &start[..length];
    if start.starts_with(b"PK\x03\x04") {
        archive::read(file, size)
    } else if start.starts_with(b"\x80") || start.starts_with(legacy::MAGIC_OF_PROTOCOL_0) {
        legacy::read(file, size)
    } else if start.get(257..262) == Some(b"ustar") {
        Err(Problem::Refused(
            "is a tar file, as the first versions of PyTorch wrote them; if you trust where it comes from, convert it once with Python: \
             `import torch; torch.save(torch.load('pytorch_model.bin', map_location='cpu', weights_only=False), 'pytorch_model.bin')`"
                .to_owned(),
        ))
    } else {
        Err(Problem::Refused(
            "is not a PyTorch checkpoint (a zip file or a pickle); download it again or use the model's model.safetensors"
                .to_owned(),
        ))
    }
}

/// The most bytes that anything may take in memory which the file holds in fewer, deflated or by strides of zero.
fn most_unfolded(file_size: u64) -> u64 {
    file_size.saturating_mul(16).max(1 << 20)
}

/// One tensor: which numbers of which part of the file.
#[derive(Debug)]
pub(super) struct Tensor {
    element: Element,
    view: View,
    region: Region,
}

impl Tensor {
    pub(super) fn shape(&self) -> &[usize] {
        self.view.shape()
    }

    pub(super) fn element(&self) -> Element {
        self.element
    }

    /// Where the first row begins in the file, and how many bytes on each next one does; `None` where the
    /// numbers of a row do not lie one after the other in the file.
    pub(super) fn rows_in_file(&self) -> Option<(u64, u64)> {
        let size = self.element.size as u64;
        let stride = self.view.stride_of_rows()?;
        let start = self.region.stored()? + self.view.span().start * size;
        Some((start, stride * size))
    }

    /// The bytes from its first number to its last, whatever lies between them.
    pub(super) fn read_span(&self, file: &File) -> Result<Vec<u8>, String> {
        let (span, size) = (self.view.span(), self.element.size as u64);
        self.region.read(file, span.start * size..span.end * size)
    }

    /// Places of its numbers in the span, in order, as ranges of bytes.
    pub(super) fn runs(&self) -> impl Iterator<Item = Range<usize>> {
        let size = self.element.size;
        self.view.runs().map(move |run| run.start * size..run.end * size)
    }
}
