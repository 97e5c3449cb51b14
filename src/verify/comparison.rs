//! Compares recomputed vectors with those of a directory, bit by bit.

use std::fs;
use std::io::{self, Seek, SeekFrom};
use std::path::Path;

use half::{bf16, f16};

use super::chosen::{Chosen, RowsAt};
#[cfg(feature = "parquet")]
use super::chosen_rows::ChosenRows;
use super::file::open_again;
use super::region::read_full;
use crate::batch::Batch;
use crate::directory::array::with_stored;
use crate::directory::contents::Contents;
use crate::directory::damage::{Damage, Findings};
use crate::directory::layout::{Holds, Region};
use crate::error::{Error, Result};
use crate::plan::{ArrayPlan, Plan};
use crate::sink::Sink;
use crate::spec::{Dtype, Format, RowKind, VectorKind};

/// A sink that compares the vectors of the chosen texts with those of the directory.
pub(super) struct Comparison<'a> {
    texts: &'a [Chosen],
    /// The files; `None` for one that cannot be opened, which is reported where the whole file is checked.
    files: Vec<Option<fs::File>>,
    arrays: Vec<ComparedArray>,
    places: Vec<ChosenPlaces>,
    dtype: Dtype,
    /// A buffer for what is read from a file.
    buffer: Vec<u8>,
}

/// An array, and how far it has been compared.
struct ComparedArray {
    /// Its place in the manifest, and its name there.
    place: String,
    name: String,
    file: usize,
    /// The byte of the file at which it begins.
    start: u64,
    columns: usize,
    kind: VectorKind,
    /// The index, among the chosen texts, of the text whose rows come next.
    next: usize,
    /// Number of its rows that were compared.
    rows: u64,
    findings: Findings,
}

/// Where the rows of the chosen texts begin, in the arrays of a kind.
struct ChosenPlaces {
    kind: VectorKind,
    /// That of each text; `None` if the directory does not tell it, or has another number of rows.
    of_texts: Vec<Option<RowsAt>>,
    findings: Findings,
}

impl<'a> Comparison<'a> {
    /// Compares with the arrays of a directory, which are those of the plan.
    ///
    /// # Errors
    /// [`Error::Io`] when what is compressed cannot be unpacked into temporary files.
    pub(super) fn new(directory: &Path, contents: &Contents, plan: &Plan, texts: &'a [Chosen]) -> Result<Self> {
        let (files, arrays, places, dtype) = (Vec::new(), Vec::new(), Vec::new(), plan.dtype);
        let mut comparison = Self { texts, files, arrays, places, dtype, buffer: Vec::new() };
        if contents.plan.format == Format::Parquet {
            comparison.open_parts(directory, contents)?;
        } else {
            comparison.open(directory, contents);
        }
        Ok(comparison)
    }

    /// Opens arrays that lie in their files as they are.
    fn open(&mut self, directory: &Path, contents: &Contents) {
        let mut planned = contents.planned.iter();
        for described in &contents.files {
            let mut opened = open_again(&directory.join(&described.name));
            for region in &described.regions {
                match region.holds {
                    Holds::Vectors { .. } => {
                        if let Some(array) = planned.next() {
                            self.add(array, region.place.clone(), region.start);
                        }
                    }
                    Holds::Part => {} // of another format
                    Holds::Offsets { emit, .. } => self
                        .places
                        .extend(opened.as_mut().map(|file| ChosenPlaces::read(file, region, emit, self.texts))),
                }
            }
            self.files.push(opened);
        }
    }

    /// Unpacks the rows of the chosen texts from Parquet files.
    #[cfg(feature = "parquet")]
    fn open_parts(&mut self, directory: &Path, contents: &Contents) -> Result<()> {
        for &kind in &contents.plan.kinds {
            let arrays: Vec<ArrayPlan> = contents.planned.iter().filter(|array| array.kind == kind).copied().collect();
            let unwritable = Error::io("write a temporary file into", std::env::temp_dir());
            let unpacked = ChosenRows::unpack(directory, contents, kind, &arrays, self.texts).map_err(unwritable)?;
            let ChosenRows { files, places, findings } = unpacked;
            for (array, file) in arrays.iter().zip(files) {
                self.add(array, array.place(Format::Parquet), 0);
                self.files.push(Some(file));
            }
            self.places.push(ChosenPlaces { kind, of_texts: places, findings });
        }
        Ok(())
    }

    #[cfg(not(feature = "parquet"))]
    fn open_parts(&mut self, directory: &Path, _: &Contents) -> Result<()> {
        Err(Error::no_parquet(&directory.display().to_string()))
    }

    /// Adds an array of the file that is opened next.
    fn add(&mut self, array: &ArrayPlan, place: String, start: u64) {
        let (findings, file) = (Findings::new(&place), self.files.len());
        let (name, kind, columns) = (array.name(), array.kind, array.columns);
        self.arrays.push(ComparedArray { place, name, file, start, columns, kind, next: 0, rows: 0, findings });
    }

    /// Compares the next rows of an array in their stored form.
    fn take(&mut self, index: usize, mut bytes: &[u8]) -> Result<()> {
        let array = &mut self.arrays[index];
        let places = self.places.iter().find(|places| places.kind == array.kind);
        let row_bytes = array.columns * self.dtype.size() as usize;
        while !bytes.is_empty() {
            let Some(text) = self.texts.get(array.next) else { return Err(array.miscounted("more")) };
            let left = text.rows(array.kind.rows()) - array.rows;
            if left == 0 {
                (array.next, array.rows) = (array.next + 1, 0);
                continue;
            }
            let count = left.min((bytes.len() / row_bytes) as u64);
            let (made, rest) = bytes.split_at(count as usize * row_bytes);
            let place = match places {
                Some(places) => places.of_texts[array.next].clone(),
                None => Some(RowsAt::of_array(text.text)).filter(|_| array.kind.rows() == RowKind::Text),
            };
            if let (Some(place), Some(file)) = (place, &mut self.files[array.file]) {
                self.buffer.resize(made.len(), 0);
                let at = array.start + (place.at + array.rows) * row_bytes as u64;
                match read_at(file, at, &mut self.buffer) {
                    Ok(true) => array.compare(text.text, &place, &self.buffer, made, self.dtype),
                    Ok(false) => {} // too short, which is told where its size is looked at
                    Err(error) => array.findings.add_unread(&error),
                }
            }
            array.rows += count;
            bytes = rest;
        }
        Ok(())
    }

    /// The damages that were found.
    ///
    /// # Errors
    /// [`Error::Output`] when some rows of the chosen texts were not computed.
    pub(super) fn finish(self) -> Result<Vec<Damage>> {
        for array in &self.arrays {
            let more = self.texts.iter().skip(array.next).map(|text| text.rows(array.kind.rows())).sum::<u64>();
            if more > array.rows {
                return Err(array.miscounted("fewer"));
            }
        }
        let findings = self.places.into_iter().map(|places| places.findings);
        let findings = findings.chain(self.arrays.into_iter().map(|array| array.findings));
        Ok(findings.flat_map(Findings::into_damages).collect())
    }
}

impl Sink for Comparison<'_> {
    fn write(&mut self, index: usize, rows: &[f32]) -> Result<()> {
        let dtype = self.dtype;
        with_stored(rows, dtype, |bytes| self.take(index, bytes))
    }

    fn end_batch(&mut self, _: &Batch) -> Result<()> {
        Ok(())
    }
}

impl ComparedArray {
    /// Compares the next rows of a text that begins at `place`.
    fn compare(&mut self, text: u64, place: &RowsAt, found: &[u8], made: &[u8], dtype: Dtype) {
        if found == made {
            return;
        }
        let size = dtype.size() as usize;
        let rows = found.chunks_exact(self.columns * size).zip(made.chunks_exact(self.columns * size));
        for (row, (found, made)) in rows.enumerate().filter(|(_, (found, made))| found != made) {
            let numbers = found.chunks_exact(size).zip(made.chunks_exact(size)).enumerate();
            let mut differing = numbers.filter(|(_, (found, made))| found != made);
            let Some((column, (found, made))) = differing.next() else { continue };
            let count = 1 + differing.count();
            let part = match self.kind.rows() {
                RowKind::Text if place.file.is_some() => format!(" (text {text})"),
                RowKind::Text => String::new(),
                RowKind::Token => format!(" (token {} of text {text})", self.rows + row as u64),
                RowKind::Word => format!(" (word {} of text {text})", self.rows + row as u64),
                RowKind::Span => format!(" (span {} of text {text})", self.rows + row as u64),
            };
            let reported = match &place.file {
                Some(file) => format!("{file} [{}]", self.name),
                None => self.place.clone(),
            };
            self.findings.add_at(reported, format!(
                "row {}{part} differs from what the model gives: {count} of {} numbers, the first in column {column}: {:?} instead of {:?}",
                place.row + self.rows + row as u64,
                self.columns,
                number(found, dtype),
                number(made, dtype),
            ));
        }
    }

    fn miscounted(&self, how: &str) -> Error {
        let problem = format!("was recomputed with {how} rows than the input has");
        Error::Output { path: self.place.clone().into(), problem }
    }
}

impl ChosenPlaces {
    /// Reads the rows at which the chosen texts start from a file of offsets.
    fn read(file: &mut fs::File, region: &Region, kind: VectorKind, texts: &[Chosen]) -> Self {
        let mut findings = Findings::new(&region.place);
        let mut look_up = |chosen: &Chosen| {
            let mut bytes = [0; 16];
            match read_at(file, region.start + 8 * chosen.text, &mut bytes) {
                Ok(true) => {}
                Ok(false) => return None, // told where all of it is looked at, as is what makes no sense
                Err(error) => {
                    findings.add_unread(&error);
                    return None;
                }
            }
            let [start, end] = [0, 8].map(|at| bytes[at..].first_chunk().map_or(0, |bytes| i64::from_le_bytes(*bytes)));
            let Holds::Offsets { rows: all, .. } = region.holds else { return None };
            let (start, end) = (u64::try_from(start).ok()?, u64::try_from(end).ok()?);
            let found = end.checked_sub(start).filter(|_| end <= all)?;
            let rows = chosen.rows(kind.rows());
            if found != rows {
                findings.add(format!("text {} has {found} rows; what the tokenizer gives has {rows}", chosen.text));
                return None;
            }
            Some(RowsAt::of_array(start))
        };
        let of_texts = texts.iter().map(&mut look_up).collect();
        Self { kind, of_texts, findings }
    }
}

/// Reads from offset `at` of a file. False when the file ends before the buffer is full.
fn read_at(file: &mut fs::File, at: u64, buffer: &mut [u8]) -> io::Result<bool> {
    file.seek(SeekFrom::Start(at))?;
    Ok(read_full(file, buffer)? == buffer.len())
}

/// A stored number, for messages.
fn number(bytes: &[u8], dtype: Dtype) -> f32 {
    let pair = || bytes.first_chunk().copied().unwrap_or_default();
    match dtype {
        Dtype::F32 => f32::from_le_bytes(bytes.first_chunk().copied().unwrap_or_default()),
        Dtype::F16 => f16::from_le_bytes(pair()).to_f32(),
        Dtype::Bf16 => bf16::from_le_bytes(pair()).to_f32(),
    }
}
