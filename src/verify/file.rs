//! Checks one file of arrays: its size, its header and its vectors.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

use super::header;
use super::region::{PIECE, check_vectors, read_full};
use crate::directory::damage::{Damage, Findings};
use crate::directory::layout::{File, Holds};

/// Opens a file of a directory; the error says why it cannot be read.
pub(super) fn open(path: &Path) -> Result<(fs::File, u64), String> {
    // Examined before it is opened, as opening a pipe in place of a file would wait for a writer.
    let metadata = fs::metadata(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => "is missing".to_owned(),
        _ => unreadable(&error),
    })?;
    if !metadata.is_file() {
        return Err("is not a file".to_owned());
    }
    Ok((fs::File::open(path).map_err(|error| unreadable(&error))?, metadata.len()))
}

/// The problem of a file that the system does not let us read.
pub(super) fn unreadable(error: &io::Error) -> String {
    format!("cannot be read: {error}")
}

/// Checks a file except for its offsets, which are read together with the texts. `told` is called with the number of
/// bytes read.
pub(super) fn check(directory: &Path, file: &File, told: &dyn Fn(u64)) -> Vec<Damage> {
    let mut findings = Findings::new(&file.name);
    match open(&directory.join(&file.name)) {
        Ok((mut opened, bytes)) => {
            if bytes != file.bytes {
                findings.add(format!("has {bytes} bytes; expected {}", file.bytes));
            }
            if let Err(error) = read(&mut opened, file, &mut findings, told) {
                findings.add(unreadable(&error));
            }
        }
        Err(problem) => findings.add(problem),
    }
    findings.into_damages()
}

fn read(opened: &mut fs::File, file: &File, findings: &mut Findings, told: &dyn Fn(u64)) -> io::Result<()> {
    let mut beginning = vec![0; file.header.len()];
    let length = read_full(opened, &mut beginning)?;
    header::check(&beginning[..length], file, findings);
    // The arrays are read where the manifest implies, whatever the header says.
    let mut buffer = vec![0; PIECE];
    for region in &file.regions {
        if matches!(region.holds, Holds::Vectors { .. }) {
            check_vectors(opened, region, &mut buffer, findings, told)?;
        }
    }
    Ok(())
}
