//! Compares a file's header with its manifest.

use std::collections::BTreeMap;

use safetensors::tensor::{Metadata, TensorInfo};

use crate::directory::damage::Findings;
use crate::directory::layout::File;
use crate::directory::npy::{Dictionary, PREFIX_LENGTH};
use crate::error::json_problem;
use crate::spec::Format;

/// Compares the beginning of a file with the expected header. Nothing longer than that is parsed.
pub(super) fn check(found: &[u8], file: &File, findings: &mut Findings) {
    let expected = file.header.as_slice();
    if found == expected {
        return;
    }
    if found.len() < expected.len() {
        findings.add(format!("the header is cut off after {} of {} bytes", found.len(), expected.len()));
        return;
    }
    let before = findings.len();
    match file.format {
        Format::Npy => npy(found, expected, findings),
        Format::Safetensors => tensors(found, expected, findings),
        Format::Parquet => {} // its checksum is that of the whole file
    }
    if findings.len() == before {
        let at = found.iter().zip(expected).take_while(|(a, b)| a == b).count();
        findings.add(format!("the header means what it should, but byte {at} is not what layerwise writes"));
    }
}

fn npy(found: &[u8], expected: &[u8], findings: &mut Findings) {
    if found[..6] != expected[..6] {
        findings.add("is not a .npy file, as it does not begin with \\x93NUMPY");
        return;
    }
    if found[6..8] != expected[6..8] {
        let version = |header: &[u8]| format!("{}.{}", header[6], header[7]);
        findings.add(format!("the header has version {}; expected {}", version(found), version(expected)));
        return;
    }
    let length = |header: &[u8]| u16::from_le_bytes([header[8], header[9]]);
    if length(found) != length(expected) {
        findings.add(format!("the header has {} bytes; expected {}", length(found), length(expected)));
        return;
    }
    debug_assert_eq!(usize::from(length(found)) + PREFIX_LENGTH, found.len());
    let parse = |header: &[u8]| Dictionary::parse(&header[PREFIX_LENGTH..]);
    let (found, expected) = match (parse(found), parse(expected)) {
        (Ok(found), Ok(expected)) => (found, expected),
        (Err(error), _) => return findings.add(format!("the header cannot be read: {}", json_problem(&error))),
        (_, Err(error)) => return findings.add(format!("the header it should have cannot be read: {error}")),
    };
    if found.descr != expected.descr {
        findings.add(format!("holds numbers of type {}; expected {}", found.descr, expected.descr));
    }
    if found.fortran_order != expected.fortran_order {
        findings.add("is in Fortran order; expected C order");
    }
    if found.shape != expected.shape {
        findings.add(format!("has shape {:?}; expected {:?}", found.shape, expected.shape));
    }
}

fn tensors(found: &[u8], expected: &[u8], findings: &mut Findings) {
    if found[..8] != expected[..8] {
        let length = |header: &[u8]| header.first_chunk().map_or(0, |length| u64::from_le_bytes(*length));
        findings.add(format!("the header has {} bytes; expected {}", length(found), length(expected)));
        return;
    }
    let read = |header: &[u8]| serde_json::from_slice::<Metadata>(&header[8..]);
    let (found, expected) = match (read(found), read(expected)) {
        (Ok(found), Ok(expected)) => (found, expected),
        (Err(error), _) => return findings.add(format!("the header cannot be read: {error}")),
        (_, Err(error)) => return findings.add(format!("the header it should have cannot be read: {error}")),
    };
    let sorted = |metadata: &Metadata| -> BTreeMap<String, TensorInfo> {
        metadata.tensors().into_iter().map(|(name, info)| (name, info.clone())).collect()
    };
    let (mut others, expected) = (sorted(&found), sorted(&expected));
    for (name, expected) in &expected {
        let Some(found) = others.remove(name) else {
            findings.add(format!("has no tensor {name}"));
            continue;
        };
        if found.dtype != expected.dtype {
            findings.add(format!("tensor {name} is of type {}; expected {}", found.dtype, expected.dtype));
        }
        if found.shape != expected.shape {
            findings.add(format!("tensor {name} has shape {:?}; expected {:?}", found.shape, expected.shape));
        }
        if found.data_offsets != expected.data_offsets {
            let (found, expected) = (found.data_offsets, expected.data_offsets);
            findings.add(format!("tensor {name} is at bytes {found:?}; expected {expected:?}"));
        }
    }
    for name in others.keys() {
        findings.add(format!("has a tensor {name:?}, which the manifest does not name"));
    }
    if found.metadata().is_some() {
        findings.add("the header has an entry __metadata__, which layerwise does not write");
    }
}
