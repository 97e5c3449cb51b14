//! A finished directory whose rows can be copied.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::ops::Range;
use std::path::{Path, PathBuf};

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use serde::Deserialize;

use crate::directory::arrays::{kinds_with_offsets, offsets_place};
use crate::directory::contents::{Contents, LARGEST_MANIFEST};
use crate::directory::manifest::{self, JobRecord};
use crate::directory::names::{MANIFEST, TEXTS};
use crate::directory::plan_record::{DirectoryPlan, PlanRecord};
use crate::directory::text_files::checksum;
use crate::error::{Error, Result};
use crate::observer::{Observer, Work};
use crate::plan::{ArrayPlan, Slot};
use crate::positional::read_exact_at;
use crate::regular_file;
use crate::spec::{Dtype, Format, RowKind, VectorKind};
use crate::text_digest::TextDigest;

/// A finished directory, whose arrays are open and have been compared with their checksums.
pub(crate) struct OldDirectory {
    pub(crate) path: PathBuf,
    texts: u64,
    dtype: Dtype,
    /// The arrays that a new job has, in its order.
    arrays: Vec<OldArray>,
    offsets: Vec<OldOffsets>,
}

/// An array in a file.
struct OldArray {
    kind: RowKind,
    file: File,
    place: String,
    start: u64,
    columns: usize,
}

/// Where each text's rows start.
struct OldOffsets {
    kind: RowKind,
    file: File,
    place: String,
    start: u64,
}

/// A line of `texts.jsonl` as far as it is read.
#[derive(Deserialize)]
struct DigestOfLine {
    digest: Option<TextDigest>,
}

impl OldDirectory {
    /// Opens a directory, whose job must give a text the vectors that the new job gives it, and whose content must be what its
    /// manifest says.
    ///
    /// # Errors
    /// [`Error::Output`] for a directory that is unfinished, damaged, of another kind of job, or without an array that the new job
    /// has; [`Error::Io`] when it cannot be read.
    pub(crate) fn open(path: &Path, job: &JobRecord, plan: &DirectoryPlan, observer: &dyn Observer) -> Result<Self> {
        let refused = |problem: String| Error::Output { path: path.to_owned(), problem };
        let Some(manifest) = manifest::read(path)? else {
            return Err(refused(
                "has no manifest.json, so there is no finished job to reuse; finish it by the command that began it, or leave it out of --reuse"
                    .to_owned(),
            ));
        };
        let differences = differences(job, &manifest.job);
        if !differences.is_empty() {
            return Err(refused(format!(
                "cannot be reused, as its vectors are of another kind: it differs in {}; leave it out of --reuse",
                differences.join(", ")
            )));
        }
        if manifest.job.plan.format == Format::Parquet {
            return Err(refused(
                "holds Parquet files, and --reuse copies out of .npy and .safetensors files; leave it out of --reuse"
                    .to_owned(),
            ));
        }
        let bytes = regular_file::read(&path.join(MANIFEST), LARGEST_MANIFEST)
            .map_err(Error::io("read", path.join(MANIFEST)))?;
        let damaged =
            |problem: &dyn std::fmt::Display| refused(format!("is damaged: {problem}; `layerwise verify` says more"));
        let contents = match Contents::parse(&bytes) {
            Some((Some(contents), damages)) if damages.is_empty() => contents,
            Some((_, damages)) if !damages.is_empty() => return Err(damaged(&damages[0])),
            _ => return Err(damaged(&"its manifest.json is none of layerwise")),
        };
        let old = Self {
            path: path.to_owned(),
            texts: contents.counts.texts,
            dtype: contents.plan.dtype,
            arrays: plan.arrays().iter().map(|array| open_array(path, &contents, array)).collect::<Result<_>>()?,
            offsets: kinds_with_offsets(&contents.plan)
                .filter(|kind| plan.has(*kind))
                .map(|kind| open_offsets(path, &contents, kind))
                .collect::<Result<_>>()?,
        };
        old.check(&contents, observer)?;
        Ok(old)
    }

    /// Compares the arrays that may be copied with their checksums.
    fn check(&self, contents: &Contents, observer: &dyn Observer) -> Result<()> {
        let of_arrays = self.arrays.iter().map(|array| (&array.place, &array.file));
        let places: Vec<_> =
            of_arrays.chain(self.offsets.iter().map(|offsets| (&offsets.place, &offsets.file))).collect();
        let region = |place: &str| contents.find(place).map(|(_, region)| region);
        let bytes = places.iter().filter_map(|(place, _)| region(place)).map(|region| region.bytes).sum();
        let progress = observer.begin(Work::Reading(bytes));
        for (place, file) in places {
            let Some(region) = region(place) else { continue };
            if let Some(signal) = observer.interruption() {
                return Err(Error::Interrupted { signal, done: 0, texts: self.texts, way_on: Error::START_OVER });
            }
            let read =
                file.try_clone().and_then(|file| checksum(file, region.start, region.bytes, |n| progress.advance(n)));
            let found = read.map_err(Error::io("read", self.path.join(place)))?.finalize();
            if region.crc32 != Some(found) {
                return Err(self.damaged(&format!("{place} does not have its checksum")));
            }
        }
        Ok(())
    }

    fn damaged(&self, problem: &str) -> Error {
        Error::Output {
            path: self.path.clone(),
            problem: format!("is damaged: {problem}; leave it out of --reuse, and see `layerwise verify`"),
        }
    }

    /// Calls `each` with the digest of every text, in order.
    ///
    /// # Errors
    /// [`Error::Output`] for lines that are not those of the manifest, or have no digests; [`Error::Io`] when they cannot be read.
    pub(crate) fn digests(&self, mut each: impl FnMut(TextDigest)) -> Result<()> {
        let place = self.path.join(TEXTS);
        let unreadable = |error: io::Error| Error::io("read", &place)(error);
        let mut checksum = crc32fast::Hasher::new();
        let mut lines = BufReader::with_capacity(1 << 20, regular_file::open(&place).map_err(unreadable)?);
        let (mut line, mut texts) = (Vec::new(), 0);
        loop {
            line.clear();
            if lines.read_until(b'\n', &mut line).map_err(unreadable)? == 0 {
                break;
            }
            checksum.update(&line);
            let parsed: DigestOfLine = serde_json::from_slice(&line)
                .map_err(|error| self.damaged(&format!("line {} of {TEXTS}: {error}", texts + 1)))?;
            let Some(digest) = parsed.digest else {
                return Err(Error::Output {
                    path: self.path.clone(),
                    problem: format!(
                        "was written by a version of layerwise that kept no digests of texts (`digest` in {TEXTS}); leave it out of --reuse"
                    ),
                });
            };
            each(digest);
            texts += 1;
        }
        let expected = manifest::read(&self.path)?.and_then(|manifest| manifest.crc32.get(TEXTS).copied());
        if texts != self.texts || expected.map(|crc32| crc32.0) != Some(checksum.finalize()) {
            return Err(self.damaged(&format!("{TEXTS} does not have its checksum")));
        }
        Ok(())
    }

    /// Appends the rows of texts `texts` in the array at `index` of the new job's, which are `rows` in all.
    ///
    /// # Errors
    /// [`Error::Output`] when the directory has another number of rows of them, [`Error::Io`] when they cannot be read.
    pub(crate) fn read(&self, index: usize, texts: Range<u64>, rows: u64, out: &mut Vec<f32>) -> Result<()> {
        let array = &self.arrays[index];
        let unreadable = |error: io::Error| Error::io("read", self.path.join(&array.place))(error);
        let first = match self.offsets.iter().find(|offsets| offsets.kind == array.kind) {
            None => texts.start,
            Some(offsets) => {
                let at = |text: u64| -> Result<u64> {
                    let mut bytes = [0; 8];
                    read_exact_at(&offsets.file, &mut bytes, offsets.start + 8 * text).map_err(unreadable)?;
                    Ok(u64::from_le_bytes(bytes))
                };
                let (start, end) = (at(texts.start)?, at(texts.end)?);
                if end.checked_sub(start) != Some(rows) {
                    return Err(self.damaged(&format!("{} has other rows of a text than its tokens", offsets.place)));
                }
                start
            }
        };
        let row_bytes = array.columns as u64 * self.dtype.size();
        let mut bytes = vec![0; (rows * row_bytes) as usize];
        read_exact_at(&array.file, &mut bytes, array.start + first * row_bytes).map_err(unreadable)?;
        extend_widened(out, &bytes, self.dtype);
        Ok(())
    }
}

/// Appends stored numbers, widened.
fn extend_widened(out: &mut Vec<f32>, bytes: &[u8], dtype: Dtype) {
    let pairs = bytes.as_chunks::<2>().0.iter();
    match dtype {
        Dtype::F32 => out.extend(bytes.as_chunks::<4>().0.iter().map(|&bytes| f32::from_le_bytes(bytes))),
        Dtype::F16 => {
            let halves: Vec<f16> = pairs.map(|&bytes| f16::from_le_bytes(bytes)).collect();
            let before = out.len();
            out.resize(before + halves.len(), 0.0);
            halves.convert_to_f32_slice(&mut out[before..]);
        }
        Dtype::Bf16 => out.extend(pairs.map(|&bytes| bf16::from_le_bytes(bytes).to_f32())),
    }
}

/// What of a job's settings would give a text other vectors than those of another job.
fn differences(ours: &JobRecord, theirs: &JobRecord) -> Vec<String> {
    // What decides which texts and vectors there are, and how they are written, may differ.
    let plan = PlanRecord {
        layers: ours.plan.layers.clone(),
        emit: ours.plan.emit.clone(),
        input_format: ours.plan.input_format.clone(),
        columns: ours.plan.columns.clone(),
        on_bad_line: ours.plan.on_bad_line,
        format: ours.plan.format,
        part_texts: ours.plan.part_texts,
        ..theirs.plan.clone()
    };
    let mut differences = ours.differences(&JobRecord { plan, shard: ours.shard, ..theirs.clone() });
    let combines = ours.plan.combine.is_some();
    let lacking: Vec<String> = (ours.plan.layers.iter())
        .filter(|layer| !theirs.plan.layers.contains(layer))
        .map(ToString::to_string)
        .collect();
    if combines && ours.plan.layers != theirs.plan.layers {
        differences.push("--layers, which are combined".to_owned());
    } else if !lacking.is_empty() {
        differences.push(format!("--layers: it lacks {}", lacking.join(", ")));
    }
    let lacking = ours.plan.emit.iter().filter(|kind| !theirs.plan.emit.contains(kind));
    differences.extend(lacking.map(|kind| format!("--emit: it lacks {kind}")));
    differences
}

fn open(path: &Path, name: &str) -> Result<File> {
    regular_file::open(&path.join(name)).map_err(Error::io("open", path.join(name)))
}

/// Opens the array of a directory that holds the vectors of one that a new job has.
fn open_array(path: &Path, contents: &Contents, array: &ArrayPlan) -> Result<OldArray> {
    let is_same = |old: &&ArrayPlan| old.kind == array.kind && old.slot == array.slot && old.columns == array.columns;
    let found = contents.planned.iter().find(is_same).and_then(|old| contents.find(&old.place(contents.plan.format)));
    let Some((file, region)) = found else {
        let of = if array.slot == Slot::Whole {
            array.kind.name().to_owned()
        } else {
            format!("{} {}", array.kind, array.name())
        };
        let problem =
            format!("cannot be reused, as it has no {of} of {} columns; leave it out of --reuse", array.columns);
        return Err(Error::Output { path: path.to_owned(), problem });
    };
    Ok(OldArray {
        kind: array.kind.rows(),
        file: open(path, &file.name)?,
        place: region.place.clone(),
        start: region.start,
        columns: array.columns,
    })
}

fn open_offsets(path: &Path, contents: &Contents, kind: VectorKind) -> Result<OldOffsets> {
    let place = offsets_place(kind, contents.plan.format);
    let Some((file, region)) = contents.find(&place) else {
        return Err(Error::Output { path: path.to_owned(), problem: format!("lacks {place}; see `layerwise verify`") });
    };
    Ok(OldOffsets { kind: kind.rows(), file: open(path, &file.name)?, place, start: region.start })
}
