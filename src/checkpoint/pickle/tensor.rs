//! A tensor in a file, and how its numbers are read.

use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Range;

use super::storage::{Element, LocatedStorage};
use super::view::View;

/// Tensors by the path of keys that leads to them. The problem of a tensor matters only if the tensor is needed.
pub(in crate::checkpoint) type Tensors = BTreeMap<String, Result<Tensor, String>>;

/// A tensor: a view of a part of the file.
#[derive(Debug)]
pub(in crate::checkpoint) struct Tensor {
    pub(super) element: Element,
    pub(super) view: View,
    pub(super) storage: LocatedStorage,
}

impl Tensor {
    pub(in crate::checkpoint) fn shape(&self) -> &[usize] {
        self.view.shape()
    }

    pub(in crate::checkpoint) fn element(&self) -> Element {
        self.element
    }

    /// Compares the checksum of the tensor's storage, where the file gives one.
    pub(in crate::checkpoint) fn check(&self, file: &File) -> Result<(), String> {
        self.storage.checksum.as_ref().map_or(Ok(()), |checksum| checksum.check(file))
    }

    /// Where the first row begins in the file, and the distance between rows in bytes. `None` if the numbers of a row
    /// are not contiguous in the file.
    pub(in crate::checkpoint) fn rows_in_file(&self) -> Option<(u64, u64)> {
        let size = self.element.size as u64;
        let stride = self.view.stride_of_rows()?;
        let start = self.storage.region.stored()? + self.view.span().start * size;
        Some((start, stride * size))
    }

    /// The bytes from the tensor's first number to its last, including any in between that are not part of it.
    pub(in crate::checkpoint) fn read_span(&self, file: &File) -> Result<Vec<u8>, String> {
        let (span, size) = (self.view.span(), self.element.size as u64);
        self.storage.region.read(file, span.start * size..span.end * size)
    }

    /// The tensor's numbers in order, as byte ranges of the span.
    pub(in crate::checkpoint) fn runs(&self) -> impl Iterator<Item = Range<usize>> {
        let size = self.element.size;
        self.view.runs().map(move |run| run.start * size..run.end * size)
    }
}
