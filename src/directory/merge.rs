//! `merge`: joins the directories of all shards of a job into the directory that the whole job would have written, byte
//! for byte. Files are copied in pieces, in little memory, and checked on the way. If the output directory holds a job
//! that will be replaced, the shards are checked before that one is removed.

use std::fs;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde_json::json;

use super::folder::Folder;
use super::manifest::{self, ArrayRecord, Checksums, Crc32, JobRecord, Manifest, ShardRecord, is_inside, timestamp};
use super::names::{MANIFEST, TEXTS};
use super::output_directory::OutputDirectory;
use super::{npy, parts, safetensors};
use crate::counts::Counts;
use crate::error::{Error, Result};
use crate::regular_file;
use crate::spec::Format;

/// Bytes that are copied at once.
const PIECE: usize = 1 << 20;

/// Largest number of numbers in an array that is accepted.
const MOST_NUMBERS: u64 = 1 << 48;

/// The directory of a shard.
struct ShardDirectory {
    path: PathBuf,
    manifest: Manifest,
    shard: ShardRecord,
}

/// The result of a merge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Merged {
    /// Number of texts of the whole job.
    pub texts: u64,
    /// Whether the output directory already held the whole job.
    pub was_there: bool,
}

/// A part of a file that is merged: an array, or offsets.
#[derive(Clone, Copy, PartialEq)]
enum Stretch {
    Array(usize),
    Offsets,
}

/// A file of the output, and the stretches in it in order.
struct MergedFile {
    file: String,
    stretches: Vec<Stretch>,
}

/// Joins the directories of all shards of a job, in any order, into `output`.
///
/// # Errors
/// [`Error::Usage`] for shards that do not make a whole; [`Error::Output`] for a shard that is unfinished or damaged;
/// [`Error::Io`] when a file cannot be read or written; [`Error::DiskFull`] when the output does not fit.
pub fn merge(shards: &[PathBuf], output: &Path, overwrite: bool) -> Result<Merged> {
    let started = SystemTime::now();
    let shards = shards.iter().map(|path| ShardDirectory::open(path)).collect::<Result<Vec<_>>>()?;
    let shards = in_order(shards)?;
    let mut merged = merged_manifest(&shards);
    let texts = merged.counts.texts;
    let parts = part_files(&shards)?;
    // Known before they are copied, as they are copied whole.
    merged.crc32.extend(parts.iter().map(|part| (part.name.clone(), part.crc32)));
    let files = if parts.is_empty() { merged_files(&shards[0]) } else { Vec::new() };

    let place = |path: &Path| fs::canonicalize(path).ok();
    if let Some(shard) = shards.iter().find(|shard| place(&shard.path).is_some_and(|at| Some(at) == place(output))) {
        return Err(Error::Usage(format!(
            "{} is a shard and cannot be the output; name another directory",
            shard.path.display()
        )));
    }
    files.iter().try_for_each(|file| shards.iter().try_for_each(|shard| file.start(shard).map(drop)))?;
    let directory = OutputDirectory::new(output, overwrite)?;
    let of_arrays: u64 = files.iter().flat_map(|file| file.bytes(&shards)).sum();
    let of_parts = parts.iter().map(|part| fs::metadata(&part.path).map_or(0, |file| file.len())).sum::<u64>();
    let of_texts: u64 =
        shards.iter().map(|shard| fs::metadata(shard.path.join(TEXTS)).map_or(0, |file| file.len())).sum();
    let check = || {
        check(&shards, &files)?;
        parts.iter().try_for_each(|part| part.read(|_| Ok(())))
    };
    match directory.begin_merge(&merged, of_arrays + of_parts + of_texts, check) {
        Ok(true) => {}
        Ok(false) => return Ok(Merged { texts, was_there: true }),
        Err(error) => {
            directory.abandon();
            return Err(error);
        }
    }
    let mut checksums = Checksums::from_iter([copy_texts(&shards, directory.folder())?]);
    for file in &files {
        checksums.extend(file.copy(&shards, directory.folder())?);
    }
    for part in &parts {
        part.copy(directory.folder())?;
        checksums.insert(part.name.clone(), part.crc32);
    }
    // The order in which a job writes its files.
    let of_parts = parts.iter().map(|part| &part.name);
    let places = shards[0].manifest.crc32.keys().filter(|place| !files.is_empty() || *place == TEXTS).chain(of_parts);
    merged.crc32 = places.filter_map(|place| checksums.get(place).map(|crc32| (place.clone(), *crc32))).collect();
    let run = json!({
        "started": timestamp(started),
        "finished": timestamp(SystemTime::now()),
        "merged": shards.iter().map(|shard| shard.path.display().to_string()).collect::<Vec<_>>(),
    });
    directory.end_merge(&merged, &run)?;
    Ok(Merged { texts, was_there: false })
}

impl ShardDirectory {
    fn open(path: &Path) -> Result<Self> {
        let problem = |problem: String| Error::Output { path: path.to_owned(), problem };
        let damaged =
            |what: &str| problem(format!("{MANIFEST} is damaged: {what}; extract this shard anew with --overwrite"));
        let manifest = manifest::read_json(path, MANIFEST)?
            .ok_or_else(|| problem("has no manifest.json; expected the directory of a finished shard".to_owned()))?;
        let manifest: Manifest = serde_json::from_value(manifest).map_err(|error| damaged(&error.to_string()))?;
        for name in manifest.arrays.iter().flat_map(|array| [Some(&array.file), array.offsets.as_ref()]).flatten() {
            if !is_inside(name) {
                return Err(damaged(&format!("`{name}` is not a file in its directory")));
            }
        }
        manifest.sound_counts().map_err(|problem| damaged(&problem))?;
        // Bounds each array so that their sums cannot overflow.
        let is_possible = |array: &ArrayRecord| {
            let [rows, columns] = array.shape;
            rows < MOST_NUMBERS && rows.checked_mul(columns).is_some_and(|numbers| numbers < MOST_NUMBERS)
        };
        if !manifest.arrays.iter().all(is_possible) {
            return Err(damaged("a shape is larger than any file"));
        }
        let shard =
            manifest.job.shard.ok_or_else(|| problem("is not a shard: its job was run without --shard".to_owned()))?;
        if !(1..=shard.of).contains(&shard.index) {
            return Err(damaged("shard: its index is not among its parts"));
        }
        Ok(Self { path: path.to_owned(), manifest, shard })
    }

    fn name(&self) -> String {
        self.path.display().to_string()
    }

    /// Size of a stretch in bytes.
    fn bytes(&self, stretch: Stretch) -> u64 {
        match stretch {
            Stretch::Offsets => (self.manifest.counts.texts + 1) * 8,
            Stretch::Array(index) => {
                let ArrayRecord { shape, dtype, .. } = &self.manifest.arrays[index];
                shape[0] * shape[1] * dtype.size()
            }
        }
    }
}

/// The shards in order, or an error if they do not make a whole.
fn in_order(mut shards: Vec<ShardDirectory>) -> Result<Vec<ShardDirectory>> {
    shards.sort_by_key(|shard| shard.shard.index);
    let of = shards[0].shard.of;
    let (mut next_row, mut all_texts) = (0, 0);
    for (place, shard) in shards.iter().enumerate() {
        let (first, ShardRecord { index, .. }) = (&shards[0], shard.shard);
        // Which part it is may differ, and how many there are may not.
        let as_first = ShardRecord { of: shard.shard.of, ..first.shard };
        let job = JobRecord { shard: Some(as_first), ..shard.manifest.job.clone() };
        let differences = Manifest { job, ..shard.manifest.clone() }.differences(&first.manifest);
        if !differences.is_empty() || shard.manifest.arrays.len() != first.manifest.arrays.len() {
            return Err(Error::Usage(format!(
                "{} and {} are not of one job: they differ in {}",
                first.name(),
                shard.name(),
                differences.join(", ")
            )));
        }
        let expected = place as u32 + 1;
        if index != expected {
            return Err(Error::Usage(if index < expected {
                format!("{} and {} are both shard {index}/{of}", shards[place - 1].name(), shard.name())
            } else {
                format!("shard {expected}/{of} is missing; give the directories of all shards")
            }));
        }
        let first_row = shard.shard.first_row.unwrap_or_default();
        if first_row != next_row {
            let before = place.checked_sub(1).map_or_else(String::new, |place| {
                format!(", and {} (shard {}/{of}) ends before row {next_row}", shards[place].name(), place + 1)
            });
            let what = if first_row < next_row { "overlap" } else { "leave a gap" };
            return Err(Error::Usage(format!(
                "{} (shard {index}/{of}) begins at row {first_row}{before}: the shards {what}; extract the wrong one anew with --overwrite",
                shard.name(),
            )));
        }
        next_row += shard.manifest.counts.texts;
        all_texts = shard.shard.all_texts.unwrap_or_default();
    }
    if shards.len() < of as usize || next_row != all_texts {
        return Err(Error::Usage(format!(
            "shard {}/{of} is missing; give the directories of all shards",
            shards.len() + 1
        )));
    }
    Ok(shards)
}

/// The manifest of the whole job, without its checksums.
fn merged_manifest(shards: &[ShardDirectory]) -> Manifest {
    let first = &shards[0].manifest;
    let arrays = first.arrays.iter().enumerate().map(|(index, array)| {
        let [_, columns] = array.shape;
        ArrayRecord { shape: [rows(shards, index), columns], ..array.clone() }
    });
    Manifest {
        job: JobRecord { shard: None, ..first.job.clone() },
        counts: shards.iter().map(|shard| shard.manifest.counts).sum::<Counts>(),
        arrays: arrays.collect(),
        crc32: Checksums::new(),
        ..first.clone()
    }
}

/// Number of rows of an array in all shards.
fn rows(shards: &[ShardDirectory], index: usize) -> u64 {
    shards.iter().map(|shard| shard.manifest.arrays[index].shape[0]).sum()
}

/// A Parquet file of a shard, which is one of the whole job as it is.
struct PartFile {
    path: PathBuf,
    name: String,
    crc32: Crc32,
}

/// The Parquet files of all shards, kind by kind; none for other formats.
///
/// # Errors
/// [`Error::Output`] for a shard that begins inside a part, or whose manifest has other files than its counts make.
fn part_files(shards: &[ShardDirectory]) -> Result<Vec<PartFile>> {
    let mut files = Vec::new();
    for &kind in &shards[0].manifest.job.plan.emit {
        for shard in shards {
            let Manifest { job, counts, crc32, .. } = &shard.manifest;
            let Some(part_texts) = job.plan.part_texts.filter(|_| job.plan.format == Format::Parquet) else { continue };
            let first_row = shard.shard.first_row.unwrap_or_default();
            let numbers = parts::numbers(first_row, counts.texts, part_texts);
            let is_sound = part_texts > 0 && (counts.texts == 0 || first_row.is_multiple_of(part_texts));
            if !is_sound || numbers.end - numbers.start > crc32.len() as u64 {
                return Err(damaged(&shard.path.join(MANIFEST), "does not have the Parquet files of its texts"));
            }
            for number in numbers {
                let name = parts::name(kind, number);
                let path = shard.path.join(&name);
                let crc32 =
                    crc32.get(&name).copied().ok_or_else(|| damaged(&path, "has no checksum in its manifest"))?;
                files.push(PartFile { path, name, crc32 });
            }
        }
    }
    Ok(files)
}

impl PartFile {
    /// Reads the file in pieces, and compares its checksum.
    fn read(&self, each: impl FnMut(&mut [u8]) -> Result<()>) -> Result<()> {
        let bytes = fs::metadata(&self.path).map_err(Error::io("read", &self.path))?.len();
        read_checked(&self.path, 0, bytes, Some(&self.crc32), each)
    }

    fn copy(&self, output: &Folder) -> Result<()> {
        if let Some((folder, _)) = self.name.rsplit_once('/') {
            output.create_directory(folder)?;
        }
        let path = output.place(&self.name);
        let mut to = output.create_new(&self.name)?;
        self.read(|piece| to.write_all(piece).map_err(Error::io("write", &path)))?;
        to.sync_all().map_err(Error::io("write", &path))
    }
}

/// The files of a job, in the order of its manifest.
fn merged_files(shard: &ShardDirectory) -> Vec<MergedFile> {
    let mut files: Vec<MergedFile> = Vec::new();
    for (index, array) in shard.manifest.arrays.iter().enumerate() {
        if let (Some(offsets), None) = (&array.offsets, &array.tensor)
            && !files.iter().any(|file| file.file == *offsets)
        {
            files.push(MergedFile { file: offsets.clone(), stretches: vec![Stretch::Offsets] });
        }
        match files.iter_mut().find(|file| file.file == array.file) {
            Some(file) => file.stretches.push(Stretch::Array(index)),
            None => {
                // In safetensors files, offsets come first.
                let offsets = (array.offsets.is_some() && array.tensor.is_some()).then_some(Stretch::Offsets);
                let stretches = offsets.into_iter().chain([Stretch::Array(index)]).collect();
                files.push(MergedFile { file: array.file.clone(), stretches });
            }
        }
    }
    files
}

impl MergedFile {
    /// Size of each stretch in the output, in bytes.
    fn bytes<'a>(&'a self, shards: &'a [ShardDirectory]) -> impl Iterator<Item = u64> + 'a {
        let shared = |stretch: Stretch| if stretch == Stretch::Offsets { 8 * (shards.len() as u64 - 1) } else { 0 };
        self.stretches
            .iter()
            .map(move |&stretch| shards.iter().map(|shard| shard.bytes(stretch)).sum::<u64>() - shared(stretch))
    }

    /// The name of a stretch among the manifest's checksums.
    fn place(&self, shard: &ShardDirectory, stretch: Stretch) -> String {
        let file = &self.file;
        let tensor = match stretch {
            Stretch::Array(index) => shard.manifest.arrays[index].tensor.clone(),
            Stretch::Offsets => (!file.ends_with(".npy")).then(|| "offsets".to_owned()),
        };
        tensor.map_or_else(|| file.clone(), |tensor| format!("{file} [{tensor}]"))
    }

    /// Writes the file. Returns the place and checksum of each stretch.
    fn copy(&self, shards: &[ShardDirectory], output: &Folder) -> Result<Vec<(String, Crc32)>> {
        let path = output.place(&self.file);
        if let Some((folder, _)) = self.file.rsplit_once('/') {
            output.create_directory(folder)?;
        }
        let starts = self.create(shards, output)?;
        let file = output.open_file(&self.file).map_err(Error::io("open", &path))?;
        let mut to = BufWriter::with_capacity(PIECE, file);
        let mut checksums = Vec::new();
        for (&stretch, start) in self.stretches.iter().zip(starts) {
            to.seek(SeekFrom::Start(start)).map_err(Error::io("write", &path))?;
            let mut checksum = crc32fast::Hasher::new();
            let mut rows_before = 0;
            for (place, shard) in shards.iter().enumerate() {
                let mut last = 0;
                // A shard's first offset repeats the last one of the shard before.
                let mut repeated = if stretch == Stretch::Offsets && place > 0 { 8 } else { 0 };
                self.read(shard, stretch, |piece| {
                    if stretch == Stretch::Offsets {
                        for number in piece.chunks_exact_mut(8) {
                            last = i64::from_le_bytes(number.try_into().unwrap_or_default());
                            number.copy_from_slice(&last.wrapping_add(rows_before).to_le_bytes());
                        }
                    }
                    let new = &piece[std::mem::take(&mut repeated)..];
                    checksum.update(new);
                    to.write_all(new).map_err(Error::io("write", &path))
                })?;
                rows_before += last;
            }
            checksums.push((self.place(&shards[0], stretch), Crc32(checksum.finalize())));
        }
        let file = to.into_inner().map_err(io::IntoInnerError::into_error).map_err(Error::io("write", &path))?;
        file.sync_all().map_err(Error::io("write", &path))?;
        Ok(checksums)
    }

    /// Creates the file at its final size. Returns where each stretch starts.
    fn create(&self, shards: &[ShardDirectory], output: &Folder) -> Result<Vec<u64>> {
        let texts: u64 = shards.iter().map(|shard| shard.manifest.counts.texts).sum();
        let arrays = &shards[0].manifest.arrays;
        if let [stretch] = self.stretches[..]
            && self.file.ends_with(".npy")
        {
            let start = match stretch {
                Stretch::Offsets => npy::create_offsets(output, &self.file, texts + 1)?,
                Stretch::Array(index) => {
                    let shape = (rows(shards, index), arrays[index].shape[1]);
                    npy::create(output, &self.file, shape, arrays[index].dtype)?
                }
            };
            return Ok(vec![start]);
        }
        let entries: Vec<safetensors::TensorEntry> = self
            .stretches
            .iter()
            .map(|&stretch| match stretch {
                Stretch::Offsets => safetensors::TensorEntry {
                    name: "offsets".to_owned(),
                    dtype: ::safetensors::Dtype::I64,
                    shape: vec![texts as usize + 1],
                },
                Stretch::Array(index) => safetensors::TensorEntry {
                    name: arrays[index].tensor.clone().unwrap_or_default(),
                    dtype: safetensors::dtype(arrays[index].dtype),
                    shape: vec![rows(shards, index) as usize, arrays[index].shape[1] as usize],
                },
            })
            .collect();
        safetensors::create(output, &self.file, &entries)
    }

    /// Where the data of a shard's file starts: the file's size less that of its data, as only the header precedes it.
    fn start(&self, shard: &ShardDirectory) -> Result<u64> {
        let path = shard.path.join(&self.file);
        let length = fs::metadata(&path).map_err(Error::io("read", &path))?.len();
        let bytes = self.stretches.iter().map(|&stretch| shard.bytes(stretch)).sum();
        length.checked_sub(bytes).ok_or_else(|| damaged(&path, "is too short"))
    }

    /// Reads a stretch of a shard in pieces, and compares its checksum with that in the manifest.
    fn read(&self, shard: &ShardDirectory, stretch: Stretch, each: impl FnMut(&mut [u8]) -> Result<()>) -> Result<()> {
        let path = shard.path.join(&self.file);
        let sizes: Vec<u64> = self.stretches.iter().map(|&stretch| shard.bytes(stretch)).collect();
        let place = self.stretches.iter().position(|other| *other == stretch).unwrap_or_default();
        let start = self.start(shard)? + sizes[..place].iter().sum::<u64>();
        let name = self.place(shard, stretch);
        read_checked(&path, start, sizes[place], shard.manifest.crc32.get(&name), each)
    }
}

/// Reads everything that will be copied and compares checksums, without copying.
fn check(shards: &[ShardDirectory], files: &[MergedFile]) -> Result<()> {
    for shard in shards {
        read_texts(shard, |_| Ok(()))?;
        for file in files {
            file.stretches.iter().try_for_each(|&stretch| file.read(shard, stretch, |_| Ok(())))?;
        }
    }
    Ok(())
}

/// Reads the `texts.jsonl` of a shard in pieces, and compares its checksum with that in the manifest.
fn read_texts(shard: &ShardDirectory, each: impl FnMut(&mut [u8]) -> Result<()>) -> Result<()> {
    let path = shard.path.join(TEXTS);
    let bytes = fs::metadata(&path).map_err(Error::io("read", &path))?.len();
    read_checked(&path, 0, bytes, shard.manifest.crc32.get(TEXTS), each)
}

/// Reads a part of a file in pieces. A wrong checksum is found only after the last piece was given to `each`.
fn read_checked(
    path: &Path,
    start: u64,
    bytes: u64,
    crc32: Option<&Crc32>,
    mut each: impl FnMut(&mut [u8]) -> Result<()>,
) -> Result<()> {
    let mut file = regular_file::open(path).map_err(Error::io("read", path))?;
    file.seek(SeekFrom::Start(start)).map_err(Error::io("read", path))?;
    let mut checksum = crc32fast::Hasher::new();
    let mut piece = vec![0; PIECE];
    let mut left = bytes;
    while left > 0 {
        let piece = &mut piece[..left.min(PIECE as u64) as usize];
        file.read_exact(piece).map_err(Error::io("read", path))?;
        checksum.update(piece);
        each(piece)?;
        left -= piece.len() as u64;
    }
    if crc32 == Some(&Crc32(checksum.finalize())) {
        return Ok(());
    }
    Err(damaged(path, "does not have the checksum that its manifest has"))
}

fn damaged(path: &Path, what: &str) -> Error {
    Error::Output { path: path.to_owned(), problem: format!("{what}; extract this shard anew with --overwrite") }
}

/// Writes `texts.jsonl`. Returns its name and checksum.
fn copy_texts(shards: &[ShardDirectory], output: &Folder) -> Result<(String, Crc32)> {
    let path = output.place(TEXTS);
    let file = output.create_new(TEXTS)?;
    let mut to = BufWriter::with_capacity(PIECE, file);
    let mut checksum = crc32fast::Hasher::new();
    for shard in shards {
        read_texts(shard, |piece| {
            checksum.update(piece);
            to.write_all(piece).map_err(Error::io("write", &path))
        })?;
    }
    let file = to.into_inner().map_err(io::IntoInnerError::into_error).map_err(Error::io("write", &path))?;
    file.sync_all().map_err(Error::io("write", &path))?;
    Ok((TEXTS.to_owned(), Crc32(checksum.finalize())))
}
