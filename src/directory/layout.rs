//! The byte layout of a directory's files, by which a directory is verified and an interrupted job resumes.

use std::collections::BTreeMap;
use std::io::{self, Read};

use super::arrays::offsets_place;
use super::folder::Folder;
use super::plan_record::DirectoryPlan;
use super::{npy, parts, safetensors};
use crate::counts::Counts;
use crate::plan::ArrayPlan;
use crate::spec::{Dtype, Format, RowKind, VectorKind};

/// A file of arrays.
#[derive(Debug)]
pub(crate) struct File {
    /// The path relative to the directory, with slashes.
    pub(crate) name: String,
    /// The file's size in bytes; `None` for a Parquet file, whose size depends on what is in it.
    pub(crate) bytes: Option<u64>,
    pub(crate) format: Format,
    /// The header, with which the file begins.
    pub(crate) header: Vec<u8>,
    /// The arrays, one after the other behind the header.
    pub(crate) regions: Vec<Region>,
}

/// An array in a file.
#[derive(Debug, Clone)]
pub(crate) struct Region {
    /// The array's name in the manifest.
    pub(crate) place: String,
    pub(crate) start: u64,
    /// [`TO_THE_END`] for a Parquet file.
    pub(crate) bytes: u64,
    pub(crate) crc32: Option<u32>,
    pub(crate) holds: Holds,
}

/// A number of bytes that no file has.
pub(crate) const TO_THE_END: u64 = u64::MAX;

/// The content of an array.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holds {
    /// Vectors.
    Vectors {
        /// The type of a number.
        dtype: Dtype,
        /// Numbers in a row.
        columns: usize,
    },
    /// Where the rows of each text start.
    Offsets {
        /// The kind of vector.
        emit: VectorKind,
        /// Number of rows of all texts.
        rows: u64,
    },
    /// A part of a kind of vector, with all its columns: a whole Parquet file.
    Part,
}

/// The files of a plan for texts from row `first_row` of the input on; an error names a size that no file can have.
pub(crate) fn files(
    plan: &DirectoryPlan,
    counts: &Counts,
    first_row: u64,
    arrays: &[ArrayPlan],
    checksums: &BTreeMap<String, u32>,
) -> Result<Vec<File>, String> {
    let mut files = Vec::new();
    let layout = Layout { plan, counts, checksums };
    layout.check_sizes(arrays)?;
    for &emit in &plan.kinds {
        let arrays: Vec<ArrayPlan> = arrays.iter().filter(|array| array.kind == emit).copied().collect();
        match plan.format {
            Format::Npy => layout.npy_files(emit, &arrays, &mut files),
            Format::Safetensors => layout.safetensors_file(emit, &arrays).map(|file| files.push(file)),
            Format::Parquet => layout.part_files(emit, first_row, &mut files),
        }
        .map_err(|error| format!("{}: {error}", emit.name()))?;
    }
    Ok(files)
}

impl File {
    /// Whether a directory has this file with the expected size and header.
    pub(crate) fn is_there(&self, folder: &Folder) -> bool {
        let read = || -> io::Result<bool> {
            let mut file = folder.read_file(&self.name)?;
            let mut header = vec![0; self.header.len()];
            file.read_exact(&mut header)?;
            Ok(header == self.header
                && self.bytes.is_none_or(|bytes| file.metadata().is_ok_and(|now| now.len() == bytes)))
        };
        read().unwrap_or(false)
    }
}

struct Layout<'a> {
    plan: &'a DirectoryPlan,
    counts: &'a Counts,
    checksums: &'a BTreeMap<String, u32>,
}

impl Layout<'_> {
    /// Checks that the sizes of all arrays and offsets together fit into the size of a file.
    fn check_sizes(&self, arrays: &[ArrayPlan]) -> Result<(), String> {
        const LARGEST: u64 = i64::MAX as u64 / 2; // leaves room for headers
        let of_array = |array: &ArrayPlan| {
            let row = (array.columns as u64).checked_mul(self.plan.dtype.size())?;
            self.counts.rows(array.kind).checked_mul(row)
        };
        let offsets = self.counts.texts.checked_add(1).and_then(|length| length.checked_mul(8 * 2));
        let mut sizes = arrays.iter().map(of_array).chain([offsets]);
        let all = sizes.try_fold(0_u64, |sum, size| sum.checked_add(size?)).filter(|&all| all <= LARGEST);
        let fits = all.is_some_and(|all| usize::try_from(all).is_ok());
        if fits {
            return Ok(());
        }
        Err("counts and model.hidden_size make arrays that no disk has room for".to_owned())
    }

    fn npy_files(&self, emit: VectorKind, arrays: &[ArrayPlan], files: &mut Vec<File>) -> io::Result<()> {
        let rows = self.counts.rows(emit) as usize;
        let no_type =
            || io::Error::other(format!("plan.dtype is {}, which .npy files cannot hold", self.plan.dtype.name()));
        let descriptor = npy::descriptor(self.plan.dtype).ok_or_else(no_type)?;
        let file = |name: String, header: Vec<u8>, bytes: u64, holds: Holds| {
            let region = self.region(name.clone(), header.len() as u64, bytes, holds);
            File { name, bytes: Some(region.start + bytes), format: Format::Npy, header, regions: vec![region] }
        };
        for array in arrays {
            let header = npy::header(descriptor, &[rows, array.columns]);
            let bytes = self.plan.array_bytes(array, self.counts);
            files.push(file(array.file(Format::Npy), header, bytes, self.vectors(array)));
        }
        if emit.rows() != RowKind::Text {
            let length = self.counts.texts + 1;
            let header = npy::header(npy::OFFSETS_DESCRIPTOR, &[length as usize]);
            files.push(file(offsets_place(emit, Format::Npy), header, length * 8, self.offsets(emit)));
        }
        Ok(())
    }

    fn safetensors_file(&self, emit: VectorKind, arrays: &[ArrayPlan]) -> io::Result<File> {
        let entries = safetensors::entries(emit, arrays, self.plan.dtype, self.counts);
        let (header, starts) = safetensors::header(&entries)?;
        let name = format!("{}.safetensors", emit.name());
        let offsets = (emit.rows() != RowKind::Text).then(|| self.offsets(emit));
        let holds = offsets.into_iter().chain(arrays.iter().map(|array| self.vectors(array)));
        let regions: Vec<Region> = entries
            .iter()
            .zip(starts)
            .zip(holds)
            .map(|((entry, start), holds)| {
                self.region(format!("{name} [{}]", entry.name), start, entry.bytes() as u64, holds)
            })
            .collect();
        let bytes = regions.last().map_or(header.len() as u64, |last| last.start + last.bytes);
        Ok(File { name, bytes: Some(bytes), format: Format::Safetensors, header, regions })
    }

    fn part_files(&self, emit: VectorKind, first_row: u64, files: &mut Vec<File>) -> io::Result<()> {
        let numbers = parts::numbers(first_row, self.counts.texts, self.plan.part_texts.unwrap_or(1));
        // Each has a checksum, so that a manifest cannot name more than it has.
        if numbers.end - numbers.start > self.checksums.len() as u64 {
            return Err(io::Error::other("crc32 lacks most of its Parquet files"));
        }
        files.extend(numbers.map(|number| {
            let name = parts::name(emit, number);
            let regions = vec![self.region(name.clone(), 0, TO_THE_END, Holds::Part)];
            File { name, bytes: None, format: Format::Parquet, header: Vec::new(), regions }
        }));
        Ok(())
    }

    fn region(&self, place: String, start: u64, bytes: u64, holds: Holds) -> Region {
        Region { crc32: self.checksums.get(&place).copied(), place, start, bytes, holds }
    }

    fn vectors(&self, array: &ArrayPlan) -> Holds {
        Holds::Vectors { dtype: self.plan.dtype, columns: array.columns }
    }

    fn offsets(&self, emit: VectorKind) -> Holds {
        Holds::Offsets { emit, rows: self.counts.rows(emit) }
    }
}
