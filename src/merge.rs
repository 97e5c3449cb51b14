//! `merge`: the directories of all shards of a job become the directory that the job would have written by itself, byte for
//! byte. Everything is copied from file to file in pieces and checked on the way, in little memory; and before as well, where
//! something else is given up for it.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Component, Path, PathBuf};
use std::time::SystemTime;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::commands::args::MergeArgs;
use crate::commands::console::Console;
use crate::error::{Error, Result};
use crate::output::directory::Prepared;
use crate::output::existing::TEXTS;
use crate::output::manifest::{self, MANIFEST};
use crate::output::{npy, safetensors};
use crate::plan::Counts;
use crate::spec::Dtype;

/// Bytes that are copied at a time.
const PIECE: usize = 1 << 20;

/// Numbers of an array that nobody has.
const MOST_NUMBERS: u64 = 1 << 48;

/// The directory of a shard.
struct Shard {
    path: PathBuf,
    manifest: Value,
    /// What is needed of the manifest.
    facts: Facts,
}

#[derive(Deserialize)]
struct Facts {
    shard: Option<Position>,
    counts: Counts,
    arrays: Vec<Array>,
    crc32: std::collections::BTreeMap<String, String>,
}

/// Which part of the input a shard holds.
#[derive(Clone, Copy, Deserialize)]
struct Position {
    index: u32,
    of: u32,
    first_row: u64,
    all_texts: u64,
}

/// An array as the manifest describes it.
#[derive(Deserialize)]
struct Array {
    file: PathBuf,
    tensor: Option<String>,
    shape: [u64; 2],
    dtype: Dtype,
    offsets: Option<PathBuf>,
}

/// A stretch of a file: an array, or offsets.
#[derive(Clone, Copy, PartialEq)]
enum Stretch {
    Array(usize),
    Offsets,
}

/// A file of the output and what lies in it, one after the other.
struct Layout {
    file: PathBuf,
    stretches: Vec<Stretch>,
}

/// Joins the shards.
///
/// # Errors
/// [`Error::Usage`] for shards that do not make a whole; [`Error::Output`] for one that is unfinished or damaged;
/// [`Error::Io`], [`Error::DiskFull`].
pub fn run(args: &MergeArgs, console: &Console) -> Result<()> {
    let started = SystemTime::now();
    let shards = args.shards.iter().map(|path| Shard::open(path)).collect::<Result<Vec<_>>>()?;
    let shards = in_order(shards)?;
    let mut merged = merged_manifest(&shards);
    let layouts = layouts(&shards[0]);

    let place = |path: &Path| fs::canonicalize(path).ok();
    if let Some(shard) =
        shards.iter().find(|shard| place(&shard.path).is_some_and(|at| Some(at) == place(&args.output)))
    {
        return Err(Error::Usage(format!(
            "{} is a shard and cannot be the output; name another directory",
            shard.path.display()
        )));
    }
    layouts.iter().try_for_each(|layout| shards.iter().try_for_each(|shard| layout.start(shard).map(drop)))?;
    let directory = Prepared::new(&args.output, args.overwrite)?;
    let bytes: u64 = layouts.iter().flat_map(|layout| layout.bytes(&shards)).sum();
    let texts: u64 = shards.iter().map(|shard| fs::metadata(shard.path.join(TEXTS)).map_or(0, |file| file.len())).sum();
    let is_to_be_done = match directory.begin_merge(&merged, bytes + texts, || check(&shards, &layouts)) {
        Ok(is_to_be_done) => is_to_be_done,
        Err(error) => {
            directory.abandon();
            return Err(error);
        }
    };
    if !is_to_be_done {
        console.summary(&format!("{} already holds this job; nothing to do", args.output.display()));
        return Ok(());
    }
    let mut checksums = vec![copy_texts(&shards, &args.output)?];
    for layout in &layouts {
        checksums.extend(layout.copy(&shards, &args.output)?);
    }
    // In the order in which a job writes them.
    merged["crc32"] = json!({});
    for place in shards[0].manifest["crc32"].as_object().into_iter().flatten().map(|(place, _)| place) {
        let found = checksums.iter().find(|(name, _)| name == place);
        merged["crc32"][place] = json!(found.map(|(_, crc32)| format!("{crc32:08x}")));
    }
    let run = json!({
        "started": humantime::format_rfc3339_seconds(started).to_string(),
        "finished": humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        "merged": shards.iter().map(|shard| shard.path.display().to_string()).collect::<Vec<_>>(),
    });
    directory.end_merge(&merged, &run)?;
    let counts = merged["counts"]["texts"].as_u64().unwrap_or_default();
    console.summary(&format!("{counts} texts of {} shards → {}", shards.len(), args.output.display()));
    Ok(())
}

impl Shard {
    fn open(path: &Path) -> Result<Self> {
        let problem = |problem: String| Error::Output { path: path.to_owned(), problem };
        let manifest = manifest::read(path, MANIFEST)?
            .ok_or_else(|| problem("has no manifest.json; expected the directory of a finished shard".to_owned()))?;
        let damaged = |error: &dyn std::fmt::Display| problem(format!("{MANIFEST} is damaged: {error}"));
        let facts = Facts::deserialize(&manifest).map_err(|error| damaged(&error))?;
        for path in facts.arrays.iter().flat_map(|array| [Some(&array.file), array.offsets.as_ref()]).flatten() {
            if !path.components().all(|part| matches!(part, Component::Normal(_))) || path.as_os_str().is_empty() {
                return Err(damaged(&format!("`{}` is not a file in its directory", path.display())));
            }
        }
        manifest::counts(&manifest).map_err(|problem| damaged(&problem))?;
        if facts.shard.is_some_and(|shard| !(1..=shard.of).contains(&shard.index)) {
            return Err(damaged(&"shard: its index is not among its parts"));
        }
        let objects = manifest["arrays"].as_array().is_some_and(|arrays| arrays.iter().all(Value::is_object));
        if !objects || !(manifest["shard"].is_object() || manifest["shard"].is_null()) {
            return Err(damaged(&"arrays and shard are not objects"));
        }
        // So that no sum of them overflows.
        let is_possible = |array: &Array| {
            let [rows, columns] = array.shape;
            rows < MOST_NUMBERS && rows.checked_mul(columns).is_some_and(|numbers| numbers < MOST_NUMBERS)
        };
        if !facts.arrays.iter().all(is_possible) {
            return Err(damaged(&"a shape is larger than any file"));
        }
        Ok(Self { path: path.to_owned(), manifest, facts })
    }

    fn position(&self) -> Result<Position> {
        self.facts.shard.ok_or_else(|| Error::Output {
            path: self.path.clone(),
            problem: "is not a shard: its job was run without --shard".to_owned(),
        })
    }

    /// Bytes of a stretch.
    fn bytes(&self, stretch: Stretch) -> u64 {
        match stretch {
            Stretch::Offsets => (self.facts.counts.texts + 1) * 8,
            Stretch::Array(index) => {
                let Array { shape, dtype, .. } = &self.facts.arrays[index];
                shape[0] * shape[1] * dtype.size()
            }
        }
    }
}

/// The shards from first to last, if they make a whole.
fn in_order(mut shards: Vec<Shard>) -> Result<Vec<Shard>> {
    for shard in &shards {
        shard.position()?;
    }
    shards.sort_by_key(|shard| shard.facts.shard.map(|shard| shard.index));
    let name = |shard: &Shard| shard.path.display().to_string();
    let of = shards[0].position()?.of;
    let (mut next_row, mut all_texts) = (0, 0);
    for (place, shard) in shards.iter().enumerate() {
        let position = shard.position()?;
        let differences: Vec<String> = manifest::differences(&shard.manifest, &shards[0].manifest)
            .into_iter()
            .filter(|what| what != "--shard" || position.of != of)
            .collect();
        if !differences.is_empty() || shard.facts.arrays.len() != shards[0].facts.arrays.len() {
            return Err(Error::Usage(format!(
                "{} and {} are not of one job: they differ in {}",
                name(&shards[0]),
                name(shard),
                differences.join(", ")
            )));
        }
        let expected = place as u32 + 1;
        if position.index != expected {
            return Err(Error::Usage(if position.index < expected {
                format!("{} and {} are both shard {}/{of}", name(&shards[place - 1]), name(shard), position.index)
            } else {
                format!("shard {expected}/{of} is missing; give the directories of all shards")
            }));
        }
        if position.first_row != next_row {
            return Err(Error::Usage(format!(
                "{} begins at row {} where {next_row} was expected: the shards leave a gap or overlap",
                name(shard),
                position.first_row
            )));
        }
        next_row += shard.facts.counts.texts;
        all_texts = position.all_texts;
    }
    if shards.len() < of as usize || next_row != all_texts {
        return Err(Error::Usage(format!(
            "shard {}/{of} is missing; give the directories of all shards",
            shards.len() + 1
        )));
    }
    Ok(shards)
}

/// The manifest of the whole, but for its checksums.
fn merged_manifest(shards: &[Shard]) -> Value {
    let mut merged = shards[0].manifest.clone();
    if let Some(merged) = merged.as_object_mut() {
        merged.shift_remove("shard");
        merged.shift_remove("crc32");
    }
    let counts = merged["counts"].as_object().map(|counts| counts.keys().cloned().collect()).unwrap_or_default();
    let counts: Vec<String> = counts;
    for key in counts {
        let sum: u64 = shards.iter().filter_map(|shard| shard.manifest["counts"][&key].as_u64()).sum();
        merged["counts"][&key] = json!(sum);
    }
    for index in 0..shards[0].facts.arrays.len() {
        merged["arrays"][index]["shape"][0] = json!(rows(shards, index));
    }
    merged
}

/// Rows of an array in all shards.
fn rows(shards: &[Shard], index: usize) -> u64 {
    shards.iter().map(|shard| shard.facts.arrays[index].shape[0]).sum()
}

/// The files of a job, as its manifest lists them.
fn layouts(shard: &Shard) -> Vec<Layout> {
    let mut layouts: Vec<Layout> = Vec::new();
    for (index, array) in shard.facts.arrays.iter().enumerate() {
        if let (Some(offsets), None) = (&array.offsets, &array.tensor)
            && !layouts.iter().any(|layout| layout.file == *offsets)
        {
            layouts.push(Layout { file: offsets.clone(), stretches: vec![Stretch::Offsets] });
        }
        match layouts.iter_mut().find(|layout| layout.file == array.file) {
            Some(layout) => layout.stretches.push(Stretch::Array(index)),
            None => {
                // In a file of tensors offsets come first.
                let offsets = (array.offsets.is_some() && array.tensor.is_some()).then_some(Stretch::Offsets);
                let stretches = offsets.into_iter().chain([Stretch::Array(index)]).collect();
                layouts.push(Layout { file: array.file.clone(), stretches });
            }
        }
    }
    layouts
}

impl Layout {
    /// Bytes of each stretch in the output.
    fn bytes<'a>(&'a self, shards: &'a [Shard]) -> impl Iterator<Item = u64> + 'a {
        let shared = |stretch: Stretch| if stretch == Stretch::Offsets { 8 * (shards.len() as u64 - 1) } else { 0 };
        self.stretches
            .iter()
            .map(move |&stretch| shards.iter().map(|shard| shard.bytes(stretch)).sum::<u64>() - shared(stretch))
    }

    /// The name that a stretch has among the checksums.
    fn place(&self, shard: &Shard, stretch: Stretch) -> String {
        // Files are named with slashes everywhere.
        let file = self.file.iter().map(|part| part.to_string_lossy()).collect::<Vec<_>>().join("/");
        let tensor = match stretch {
            Stretch::Array(index) => shard.facts.arrays[index].tensor.clone(),
            Stretch::Offsets => (!file.ends_with(".npy")).then(|| "offsets".to_owned()),
        };
        tensor.map_or_else(|| file.clone(), |tensor| format!("{file} [{tensor}]"))
    }

    /// Writes the file; returns the checksum of each stretch with its place.
    fn copy(&self, shards: &[Shard], output: &Path) -> Result<Vec<(String, u32)>> {
        let path = output.join(&self.file);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(Error::io("create directory", folder))?;
        }
        let starts = self.create(shards, &path)?;
        let file = fs::OpenOptions::new().write(true).open(&path).map_err(Error::io("open", &path))?;
        let mut to = BufWriter::with_capacity(PIECE, file);
        let mut checksums = Vec::new();
        for (&stretch, start) in self.stretches.iter().zip(starts) {
            to.seek(SeekFrom::Start(start)).map_err(Error::io("write", &path))?;
            let mut checksum = crc32fast::Hasher::new();
            let mut rows_before = 0;
            for (place, shard) in shards.iter().enumerate() {
                let mut last = 0;
                // Each shard's offsets begin where those before end.
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
            checksums.push((self.place(&shards[0], stretch), checksum.finalize()));
        }
        let file = to.into_inner().map_err(io::IntoInnerError::into_error).map_err(Error::io("write", &path))?;
        file.sync_all().map_err(Error::io("write", &path))?;
        Ok(checksums)
    }

    /// Creates the file at its final size; returns where each stretch starts.
    fn create(&self, shards: &[Shard], path: &Path) -> Result<Vec<u64>> {
        let texts: u64 = shards.iter().map(|shard| shard.facts.counts.texts).sum();
        let arrays = &shards[0].facts.arrays;
        if let [stretch] = self.stretches[..]
            && path.extension().is_some_and(|extension| extension == "npy")
        {
            let start = match stretch {
                Stretch::Offsets => npy::create_offsets(path, texts + 1)?,
                Stretch::Array(index) => {
                    npy::create(path, (rows(shards, index), arrays[index].shape[1]), arrays[index].dtype)?
                }
            };
            return Ok(vec![start]);
        }
        let entries: Vec<safetensors::Entry> = self
            .stretches
            .iter()
            .map(|&stretch| match stretch {
                Stretch::Offsets => safetensors::Entry {
                    name: "offsets".to_owned(),
                    dtype: ::safetensors::Dtype::I64,
                    shape: vec![texts as usize + 1],
                },
                Stretch::Array(index) => safetensors::Entry {
                    name: arrays[index].tensor.clone().unwrap_or_default(),
                    dtype: safetensors::dtype(arrays[index].dtype),
                    shape: vec![rows(shards, index) as usize, arrays[index].shape[1] as usize],
                },
            })
            .collect();
        safetensors::create(path, &entries)
    }

    /// Where the data of a shard's file starts: what is not data is the header, at the beginning.
    fn start(&self, shard: &Shard) -> Result<u64> {
        let path = shard.path.join(&self.file);
        let length = fs::metadata(&path).map_err(Error::io("read", &path))?.len();
        let bytes = self.stretches.iter().map(|&stretch| shard.bytes(stretch)).sum();
        length.checked_sub(bytes).ok_or_else(|| damaged(&path, "is too short"))
    }

    /// Reads a stretch of a shard in pieces and compares its checksum with the manifest's.
    fn read(&self, shard: &Shard, stretch: Stretch, each: impl FnMut(&mut [u8]) -> Result<()>) -> Result<()> {
        let path = shard.path.join(&self.file);
        let sizes: Vec<u64> = self.stretches.iter().map(|&stretch| shard.bytes(stretch)).collect();
        let place = self.stretches.iter().position(|other| *other == stretch).unwrap_or_default();
        let start = self.start(shard)? + sizes[..place].iter().sum::<u64>();
        let name = self.place(shard, stretch);
        read_checked(&path, start, sizes[place], shard.facts.crc32.get(&name), each)
    }
}

/// Reads all that is copied of the shards and compares its checksums, without copying it.
fn check(shards: &[Shard], layouts: &[Layout]) -> Result<()> {
    for shard in shards {
        read_texts(shard, |_| Ok(()))?;
        for layout in layouts {
            layout.stretches.iter().try_for_each(|&stretch| layout.read(shard, stretch, |_| Ok(())))?;
        }
    }
    Ok(())
}

/// Reads the `texts.jsonl` of a shard in pieces and compares its checksum with the manifest's.
fn read_texts(shard: &Shard, each: impl FnMut(&mut [u8]) -> Result<()>) -> Result<()> {
    let path = shard.path.join(TEXTS);
    let bytes = fs::metadata(&path).map_err(Error::io("read", &path))?.len();
    read_checked(&path, 0, bytes, shard.facts.crc32.get(TEXTS), each)
}

/// Reads a part of a file in pieces; the last of them has been given to `each` when a wrong checksum is found.
fn read_checked(
    path: &Path,
    start: u64,
    bytes: u64,
    crc32: Option<&String>,
    mut each: impl FnMut(&mut [u8]) -> Result<()>,
) -> Result<()> {
    let mut file = File::open(path).map_err(Error::io("read", path))?;
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
    if crc32.is_some_and(|crc32| *crc32 == format!("{:08x}", checksum.finalize())) {
        return Ok(());
    }
    Err(damaged(path, "does not have the checksum that its manifest has"))
}

fn damaged(path: &Path, what: &str) -> Error {
    Error::Output { path: path.to_owned(), problem: format!("{what}; extract this shard anew with --overwrite") }
}

/// Writes `texts.jsonl`; returns its checksum with its name.
fn copy_texts(shards: &[Shard], output: &Path) -> Result<(String, u32)> {
    let path = output.join(TEXTS);
    let file = File::create(&path).map_err(Error::io("create", &path))?;
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
    Ok((TEXTS.to_owned(), checksum.finalize()))
}
