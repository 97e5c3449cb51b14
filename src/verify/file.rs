//! Checks one file of arrays: its size, its header and its vectors.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

use super::header;
use super::region::{PIECE, check_crc32, check_vectors, read_full};
use crate::directory::contents::missing;
use crate::directory::damage::{Damage, Findings};
use crate::directory::layout::{File, Holds, Region};
use crate::regular_file;

/// Opens a file of a directory. Why it cannot be read is among the findings.
pub(super) fn open(path: &Path, findings: &mut Findings) -> Option<(fs::File, u64)> {
    // Examined before it is opened, as opening a pipe in place of a file would wait for a writer.
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => match fs::File::open(path) {
            Ok(file) => return Some((file, metadata.len())),
            Err(error) => findings.add_unread(&error),
        },
        Ok(metadata) => findings.add(format!("is {}; expected a file", regular_file::what(metadata.file_type()))),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            findings.add(if path.is_symlink() { missing(path) } else { "is missing" });
        }
        Err(error) if error.kind() == ErrorKind::NotADirectory => findings.add("is missing: its folder is no folder"),
        Err(error) => findings.add_unread(&error),
    }
    None
}

/// Opens a file that is checked elsewhere, where it is also told why it cannot be opened.
pub(super) fn open_again(path: &Path) -> Option<fs::File> {
    open(path, &mut Findings::new("")).map(|(file, _)| file)
}

/// Checks a file except for its offsets, which are read together with the texts. `told` is called with the number of
/// bytes read.
pub(super) fn check(directory: &Path, file: &File, told: &dyn Fn(u64)) -> Vec<Damage> {
    let mut findings = Findings::new(&file.name);
    if let Some((mut opened, bytes)) = open(&directory.join(&file.name), &mut findings) {
        if let Some(expected) = file.bytes.filter(|&expected| expected != bytes) {
            findings.add(format!("has {bytes} bytes; expected {expected}"));
        }
        if let Err(error) = read(&mut opened, file, &mut findings, told) {
            findings.add_unread(&error);
        }
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
        match region.holds {
            Holds::Vectors { .. } => check_vectors(opened, region, &mut buffer, findings, told)?,
            Holds::Part => check_part(opened, region, &mut buffer, findings, told)?,
            Holds::Offsets { .. } => {}
        }
    }
    Ok(())
}

/// Compares a whole Parquet file with its checksum. What is in it is not looked at: it has the bytes that were written, or it is
/// damaged.
fn check_part(
    opened: &mut fs::File,
    region: &Region,
    buffer: &mut [u8],
    findings: &mut Findings,
    told: &dyn Fn(u64),
) -> io::Result<()> {
    let mut checksum = crc32fast::Hasher::new();
    loop {
        match read_full(opened, buffer)? {
            0 => break,
            length => {
                checksum.update(&buffer[..length]);
                told(length as u64);
            }
        }
    }
    check_crc32(checksum, region.crc32, &region.place, findings);
    Ok(())
}
