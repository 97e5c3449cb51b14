//! Reads one array from its first byte to its last, in pieces.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use crate::directory::damage::Findings;
use crate::directory::layout::{Holds, Region};
use crate::spec::Dtype;

/// Bytes read at once, a multiple of every type's size.
pub(super) const PIECE: usize = 1 << 20;

/// Reads until the buffer is full or the file ends.
pub(super) fn read_full(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// The pieces of an array, with the checksum of what was read.
pub(super) struct RegionPieces<'a, R> {
    region: &'a Region,
    file: R,
    remaining: u64,
    checksum: crc32fast::Hasher,
}

impl<'a, R: Read + Seek> RegionPieces<'a, R> {
    pub(super) fn new(mut file: R, region: &'a Region) -> io::Result<Self> {
        file.seek(SeekFrom::Start(region.start))?;
        Ok(Self { region, file, remaining: region.bytes, checksum: crc32fast::Hasher::new() })
    }

    /// The next piece; empty at the end of the array, or of a file that is too short.
    pub(super) fn next<'b>(&mut self, buffer: &'b mut [u8]) -> io::Result<&'b [u8]> {
        let length = self.remaining.min(buffer.len() as u64) as usize;
        let read = read_full(&mut self.file, &mut buffer[..length])?;
        self.remaining -= read as u64;
        self.checksum.update(&buffer[..read]);
        Ok(&buffer[..read])
    }

    /// Whether the whole array was read.
    pub(super) fn is_at_end(&self) -> bool {
        self.remaining == 0
    }

    /// Compares the checksum, if the whole array was there.
    pub(super) fn finish(self, findings: &mut Findings) {
        if self.is_at_end() {
            check_crc32(self.checksum, self.region.crc32, &self.region.place, findings);
        }
    }
}

/// Compares a checksum with the one in the manifest.
pub(super) fn check_crc32(found: crc32fast::Hasher, expected: Option<u32>, place: &str, findings: &mut Findings) {
    let found = found.finalize();
    if let Some(expected) = expected.filter(|&expected| expected != found) {
        findings.add_at(place.to_owned(), format!("its bytes have checksum {found:08x}; expected {expected:08x}"));
    }
}

/// Checks that an array of vectors holds finite numbers and has the right checksum. `told` is called with the number of
/// bytes read.
pub(super) fn check_vectors(
    file: &mut File,
    region: &Region,
    buffer: &mut [u8],
    findings: &mut Findings,
    told: &dyn Fn(u64),
) -> io::Result<()> {
    let Holds::Vectors { dtype, columns } = region.holds else { return Ok(()) };
    let mut pieces = RegionPieces::new(file, region)?;
    let (mut before, mut is_finite) = (0, true);
    loop {
        let piece = pieces.next(buffer)?;
        if piece.is_empty() {
            break;
        }
        if is_finite && let Some(index) = first_not_finite(piece, dtype) {
            let row = (before / dtype.size() + index as u64) / columns.max(1) as u64;
            findings.add_at(region.place.clone(), format!("row {row} is not finite"));
            is_finite = false;
        }
        before += piece.len() as u64;
        told(piece.len() as u64);
    }
    pieces.finish(findings);
    Ok(())
}

/// The index of the first number that is infinite or NaN.
fn first_not_finite(bytes: &[u8], dtype: Dtype) -> Option<usize> {
    // Such numbers have an exponent of ones alone. A block is tested without a branch, which the compiler vectorizes;
    // only a block with a hit is searched again for its place.
    const BLOCK: usize = 4096;
    let blocks = bytes.chunks(BLOCK).enumerate();
    let within = |block: usize, index: usize, size: usize| block * (BLOCK / size) + index;
    match dtype {
        Dtype::F32 => {
            let is_bad = |bytes: &[u8; 4]| u32::from_le_bytes(*bytes) & 0x7f80_0000 == 0x7f80_0000;
            let find = |(index, block): (usize, &[u8])| {
                let numbers = block.as_chunks().0;
                let any = numbers.iter().fold(false, |any, number| any | is_bad(number));
                if any { numbers.iter().position(is_bad).map(|at| within(index, at, 4)) } else { None }
            };
            blocks.into_iter().find_map(find)
        }
        Dtype::F16 | Dtype::Bf16 => {
            let exponent = if dtype == Dtype::F16 { 0x7c00 } else { 0x7f80 };
            let is_bad = |bytes: &[u8; 2]| u16::from_le_bytes(*bytes) & exponent == exponent;
            let find = |(index, block): (usize, &[u8])| {
                let numbers = block.as_chunks().0;
                let any = numbers.iter().fold(false, |any, number| any | is_bad(number));
                if any { numbers.iter().position(is_bad).map(|at| within(index, at, 2)) } else { None }
            };
            blocks.into_iter().find_map(find)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::{bf16, f16};

    #[test]
    fn numbers_that_are_not_finite_are_found_wherever_they_are() {
        for bad in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for at in [0, 1, 1023, 1024, 1025, 4095, 4096, 9999] {
                let mut numbers = vec![-f32::MAX; 10_000];
                numbers[at] = bad;
                let bytes: Vec<u8> = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
                assert_eq!(first_not_finite(&bytes, Dtype::F32), Some(at), "{bad} at {at}");
                numbers[at] = f32::MIN_POSITIVE / 2.0;
                let bytes: Vec<u8> = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
                assert_eq!(first_not_finite(&bytes, Dtype::F32), None);

                let mut halves = vec![f16::MAX; 10_000];
                halves[at] = f16::from_f32(bad);
                let bytes: Vec<u8> = halves.iter().flat_map(|x| x.to_le_bytes()).collect();
                assert_eq!(first_not_finite(&bytes, Dtype::F16), Some(at), "{bad} at {at}");
                let mut halves = vec![bf16::MAX; 10_000];
                halves[at] = bf16::from_f32(bad);
                let bytes: Vec<u8> = halves.iter().flat_map(|x| x.to_le_bytes()).collect();
                assert_eq!(first_not_finite(&bytes, Dtype::Bf16), Some(at), "{bad} at {at}");
            }
        }
    }
}
