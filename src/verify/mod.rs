//! `verify`: whether a directory still holds, byte for byte, what its manifest says.
//!
//! The manifest alone says what there should be ([`Contents`]), so no size or name that is found in a file is trusted. Every
//! file is read once, from its beginning to its end. With `--recompute` some texts are then encoded again.

mod comparison;
pub mod contents;
pub mod damage;
mod file;
mod header;
mod keys;
mod line;
mod offsets;
mod recompute;
mod region;
mod sample;
mod texts;

use std::fs;
use std::io::{self, Read, Write};
use std::path::Path;
use std::time::Instant;

use rayon::prelude::*;

use self::contents::Contents;
use self::damage::{Damage, Findings};
use self::recompute::Recomputation;
use crate::commands::args::VerifyArgs;
use crate::commands::console::Console;
use crate::error::{Error, Result, bytes};
use crate::output::existing::{TEXTS, outputs};
use crate::output::journal::UNFINISHED;
use crate::output::lock::LOCK;
use crate::output::manifest::{MANIFEST, RUN, TEMPORARY};

/// A manifest has some hundred bytes for each array; read into values, thirty times that.
const LARGEST_MANIFEST: u64 = 16 << 20;

/// Checks a directory and prints what is wrong with it.
///
/// # Errors
/// [`Error::Damaged`] when anything is, [`Error::Output`] when it holds no complete output; those of recomputing.
pub fn run(args: &VerifyArgs, console: &Console) -> Result<()> {
    let directory = args.directory.as_path();
    let manifest = read_manifest(directory)?;
    let (contents, mut damages) = Contents::parse(&manifest).ok_or_else(|| Error::Output {
        path: directory.join(MANIFEST),
        problem: "is not a manifest of layerwise; expected a directory that `layerwise extract` wrote".to_owned(),
    })?;
    // What a damaged manifest says of the model and the input cannot be relied on. What is refused is refused before the
    // files are read.
    let recomputation = match (&contents, args.recompute) {
        (Some(contents), Some(count)) if damages.is_empty() => {
            Some(Recomputation::prepare(args, count, contents, console)?)
        }
        _ => None,
    };
    let mut remark = match (&contents, args.recompute, &recomputation) {
        (None, ..) => ", and its files could not be checked by such a manifest".to_owned(),
        (Some(_), Some(_), None) => ", and no text could be recomputed by such a manifest".to_owned(),
        _ => String::new(),
    };
    let started = Instant::now();
    damages.extend(leftovers(directory, contents.as_ref())?);
    if let Some(contents) = &contents {
        damages.extend(check_files(directory, contents, console));
    }
    let seconds = started.elapsed().as_secs_f64();
    if let (Some(contents), Some(recomputation)) = (&contents, recomputation) {
        remark = format!(", {} of {} texts recomputed", recomputation.texts(), contents.counts.texts);
        damages.extend(recomputation.compare(directory, contents, console)?);
    }
    print(&damages, args.json)?;
    if !damages.is_empty() {
        return Err(Error::Damaged { path: directory.to_owned(), problems: damages.len(), remark });
    }
    let (arrays, size) = contents.map_or((0, 0), |contents| (contents.arrays(), contents.bytes()));
    let speed = bytes((size as f64 / seconds.max(1e-9)) as u64);
    console.summary(&format!(
        "{} is whole: {arrays} arrays, {} in {seconds:.1} s ({speed}/s){remark}",
        directory.display(),
        bytes(size)
    ));
    Ok(())
}

/// The bytes of the manifest of a complete directory.
pub(crate) fn read_manifest(directory: &Path) -> Result<Vec<u8>> {
    let refuse = |problem: &str| Err(Error::Output { path: directory.to_owned(), problem: problem.to_owned() });
    match fs::metadata(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return refuse("does not exist; expected a directory that `layerwise extract` wrote");
        }
        Err(error) => return Err(Error::io("read", directory)(error)),
        Ok(metadata) if !metadata.is_dir() => {
            return refuse("is a file; expected a directory that `layerwise extract` wrote");
        }
        Ok(_) => {}
    }
    let path = directory.join(MANIFEST);
    if !path.is_file() {
        return refuse(if directory.join(UNFINISHED).exists() {
            "holds an unfinished job; run its command again to finish it"
        } else {
            "has no manifest.json; expected a directory that `layerwise extract` wrote"
        });
    }
    let mut manifest = Vec::new();
    let read = fs::File::open(&path).and_then(|file| file.take(LARGEST_MANIFEST + 1).read_to_end(&mut manifest));
    if read.map_err(Error::io("read", &path))? as u64 > LARGEST_MANIFEST {
        let problem = "is larger than any manifest of layerwise; expected a directory that `layerwise extract` wrote";
        return Err(Error::Output { path, problem: problem.to_owned() });
    }
    Ok(manifest)
}

/// Files of ours that a complete directory does not have.
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

/// Everything that is wrong with the files that a manifest names.
fn check_files(directory: &Path, contents: &Contents, console: &Console) -> Vec<Damage> {
    let of_texts = fs::metadata(directory.join(TEXTS)).map_or(0, |metadata| metadata.len());
    let bar = console.bytes_bar(contents.bytes() + of_texts);
    let told = |bytes: u64| bar.inc(bytes);
    let (mut damages, of_files) = rayon::join(
        || texts::check(directory, contents, &told),
        || -> Vec<Damage> { contents.files.par_iter().flat_map_iter(|f| file::check(directory, f, &told)).collect() },
    );
    bar.finish_and_clear();
    damages.extend(of_files);
    damages
}

/// The damages are data, and go to standard output.
fn print(damages: &[Damage], json: bool) -> Result<()> {
    let text = if json {
        serde_json::to_string_pretty(damages).map_err(|error| Error::stdout(error.into()))? + "\n"
    } else {
        damages.iter().map(|damage| format!("{damage}\n")).collect()
    };
    io::stdout().write_all(text.as_bytes()).map_err(Error::stdout)
}
