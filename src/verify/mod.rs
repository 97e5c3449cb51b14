//! `verify`: checks that a directory still holds, byte for byte, what its manifest describes.
//!
//! What there should be follows from the manifest alone ([`Contents`]), so no size or name found in another file is
//! trusted. Every file is read once, from beginning to end. With `--recompute`, some texts are then encoded again.

mod chosen;
#[cfg(feature = "parquet")]
mod chosen_rows;
mod comparison;
mod file;
mod header;
mod line;
mod offsets;
mod recompute;
mod region;
mod sample;
mod texts;

use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use rayon::prelude::*;

use self::recompute::Recomputation;
pub use self::recompute::RecomputeRequest;
use crate::directory::contents::{Contents, read_manifest};
use crate::directory::damage::{Damage, Findings};
use crate::directory::existing::outputs;
use crate::directory::names::{LOCK, MANIFEST, NEXT, RUN, TEMPORARY, TEXTS, UNFINISHED};
use crate::error::{Error, Result};
use crate::observer::{Observer, Work};

/// The result of verifying a directory.
#[derive(Debug)]
pub struct Verification {
    /// Everything that is wrong with the directory.
    pub damages: Vec<Damage>,
    /// Number of arrays that were read; 0 if the manifest does not tell them.
    pub arrays: usize,
    /// Size of their files in bytes.
    pub bytes: u64,
    /// Time that reading took.
    pub time: Duration,
    /// What else was done or could not be done, as the continuation of a sentence.
    pub remark: String,
}

/// Verifies a directory: the manifest, every file that it names and, on request, the vectors of some texts.
///
/// # Errors
/// [`Error::Output`] when the directory holds no complete output; those of recomputing.
pub fn verify(
    directory: &Path,
    recompute: Option<&RecomputeRequest>,
    observer: &std::sync::Arc<dyn Observer>,
) -> Result<Verification> {
    let manifest = read_manifest(directory)?;
    let (contents, mut damages) = Contents::parse(&manifest).ok_or_else(|| Error::Output {
        path: directory.join(MANIFEST),
        problem: "is not a manifest of layerwise; expected a directory that `layerwise extract` wrote".to_owned(),
    })?;
    // Texts are recomputed only under a sound manifest, as a damaged one may be wrong about the model and the input.
    // Refusals come before the files are read.
    let recomputation = match (&contents, recompute) {
        (Some(contents), Some(request)) if damages.is_empty() => {
            Some(Recomputation::prepare(directory, request, contents, observer)?)
        }
        _ => None,
    };
    let mut remark = match (&contents, recompute, &recomputation) {
        (None, ..) => ", and its files could not be checked by such a manifest".to_owned(),
        (Some(_), Some(_), None) => ", and no text could be recomputed by such a manifest".to_owned(),
        _ => String::new(),
    };
    let started = Instant::now();
    damages.extend(leftovers(directory, contents.as_ref())?);
    if let Some(contents) = &contents {
        damages.extend(check_files(directory, contents, &**observer));
    }
    let time = started.elapsed();
    if let (Some(contents), Some(recomputation)) = (&contents, recomputation) {
        remark = format!(", {} of {} texts recomputed", recomputation.texts(), contents.counts.texts);
        damages.extend(recomputation.compare(directory, contents)?);
    }
    let (arrays, bytes) = contents.map_or((0, 0), |contents| (contents.arrays(), bytes_of_files(directory, &contents)));
    Ok(Verification { damages, arrays, bytes, time, remark })
}

/// Files of layerwise that a complete directory does not have.
fn leftovers(directory: &Path, contents: Option<&Contents>) -> Result<Vec<Damage>> {
    let mut damages = Vec::new();
    let mut add = |place: String, problem: &str| {
        let mut findings = Findings::new(place);
        findings.add(problem);
        damages.extend(findings.into_damages());
    };
    let entries = fs::read_dir(directory).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let entries = entries.map_err(Error::io("read", directory))?;
    let mut names: Vec<String> = entries.iter().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    // What will replace this job is none of its damage, whether it is being written or was killed.
    let is_replaced = names.iter().any(|name| name == NEXT);
    names.retain(|name| name != NEXT && !(is_replaced && name == LOCK));
    for name in names {
        if name == UNFINISHED {
            add(name, "is there beside a manifest: a job in this directory is not finished; run its command again");
        } else if name == LOCK || name.starts_with(TEMPORARY) {
            add(name, "is of a job that is running or was killed; run its command again");
        }
    }
    let Some(contents) = contents else { return Ok(damages) };
    let is_named = |name: &str| {
        [MANIFEST, UNFINISHED, RUN, TEXTS].contains(&name) || contents.files.iter().any(|file| file.name == name)
    };
    for path in outputs(directory) {
        let relative = path.strip_prefix(directory).unwrap_or(&path).to_string_lossy().replace('\\', "/");
        if !is_named(&relative) {
            add(relative, "has a name that layerwise gives, but the manifest does not name it; it is of another job");
        }
    }
    Ok(damages)
}

/// The size of all files of vectors, in bytes; Parquet files are as large as they are.
fn bytes_of_files(directory: &Path, contents: &Contents) -> u64 {
    let parts = contents.files.iter().filter(|file| file.bytes.is_none());
    let of_parts = parts.filter_map(|file| Some(fs::metadata(directory.join(&file.name)).ok()?.len()));
    contents.bytes() + of_parts.sum::<u64>()
}

/// The damages of all files that a manifest names.
fn check_files(directory: &Path, contents: &Contents, observer: &dyn Observer) -> Vec<Damage> {
    let of_texts = fs::metadata(directory.join(TEXTS)).map_or(0, |metadata| metadata.len());
    let progress = observer.begin(Work::Reading(bytes_of_files(directory, contents) + of_texts));
    let told = |bytes: u64| progress.advance(bytes);
    let (mut damages, of_files) = rayon::join(
        || texts::check(directory, contents, &told),
        || -> Vec<Damage> { contents.files.par_iter().flat_map_iter(|f| file::check(directory, f, &told)).collect() },
    );
    damages.extend(of_files);
    damages
}
