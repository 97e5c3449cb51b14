//! The zip file of PyTorch 1.6 and later: `NAME/data.pkl`, and `NAME/data/KEY` for each storage.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::sync::Arc;

use flate2::CrcReader;
use zip::{CompressionMethod, ZipArchive};

use super::limits::most_unfolded;
use super::machine::Pickle;
use super::problem::PickleProblem;
use super::state_dict;
use super::storage::{ByteRange, LocatedStorage, StorageChecksum};
use super::tensor::Tensors;
use crate::checkpoint::foreign::without_panic;

const PICKLE: &str = "data.pkl";
/// The checksum of a file for which PyTorch was told not to compute it (`set_crc32_options`).
const NOT_COMPUTED: u32 = 0;

/// Finds the tensors of a zip file.
pub(super) fn read(file: &File, size: u64) -> Result<Tensors, PickleProblem> {
    let mut archive = Archive::open(file, size)?;
    archive.refuse_big_endian()?;
    let pickle = archive.pickle()?;
    let mut checksums = HashMap::new();
    state_dict::tensors(&pickle, size, |storage| {
        let entry = archive.find(&format!("data/{}", storage.key));
        let entry = entry.map_err(|problem| format!("cannot be read: {problem}"))?;
        let ArchiveMember { region, checksum } = entry.ok_or_else(|| storage.missing())?;
        match storage.element.and_then(|element| storage.numbers.checked_mul(element.size as u64)) {
            Some(expected) if expected != region.size => Err(format!(
                "has a storage of {} bytes; expected {expected}; the file is damaged, so download it again",
                region.size
            )),
            _ => {
                // Tensors may be views of one storage, of which the checksum is compared once.
                let shared = || Arc::new(StorageChecksum::new(storage.key, region, checksum));
                let checksum = (checksum != NOT_COMPUTED)
                    .then(|| Arc::clone(checksums.entry(storage.key.to_owned()).or_insert_with(shared)));
                Ok(LocatedStorage { region, checksum })
            }
        }
    })
}

struct Archive<'a> {
    file: &'a File,
    size: u64,
    zip: ZipArchive<BufReader<&'a File>>,
    /// What names begin with: `pytorch_model/`.
    folder: String,
}

/// A file in the zip file.
struct ArchiveMember {
    region: ByteRange,
    checksum: u32,
}

impl ArchiveMember {
    /// Compares the checksum of what was read with the one that the zip file gives.
    fn check(&self, name: &str, crc32: u32) -> Result<(), PickleProblem> {
        if self.checksum == NOT_COMPUTED || self.checksum == crc32 {
            return Ok(());
        }
        Err(PickleProblem::Damaged(format!("its {name} does not have its checksum")))
    }
}

impl<'a> Archive<'a> {
    fn open(file: &'a File, size: u64) -> Result<Self, PickleProblem> {
        let zip = without_panic(|| ZipArchive::new(BufReader::new(file))).map_err(PickleProblem::Damaged)?;
        // The folder has the name that the file had when it was saved.
        let folder = zip
            .file_names_raw()
            .filter_map(|name| std::str::from_utf8(name).ok()?.strip_suffix(PICKLE))
            .filter(|folder| folder.is_empty() || folder.ends_with('/'))
            .min_by_key(|folder| folder.len())
            .map(str::to_owned);
        match folder {
            Some(folder) => Ok(Self { file, size, zip, folder }),
            None => Err(PickleProblem::Refused(format!(
                "is not a PyTorch checkpoint but another zip file, without {PICKLE}; download it again or use the model's model.safetensors"
            ))),
        }
    }

    fn refuse_big_endian(&mut self) -> Result<(), PickleProblem> {
        let Some(entry) = self.find("byteorder").map_err(PickleProblem::Damaged)? else { return Ok(()) };
        let mut content = CrcReader::new(entry.region.stream(self.file).take(16));
        let mut order = String::new();
        content.read_to_string(&mut order)?;
        entry.check("byteorder", content.crc().sum())?;
        if order == "little" {
            return Ok(());
        }
        Err(PickleProblem::Refused(format!(
            "has the byte order `{order}`; expected `little`; convert it once with Python: \
             `import torch; torch.save(torch.load('pytorch_model.bin', map_location='cpu', weights_only=True), 'pytorch_model.bin')`"
        )))
    }

    fn pickle(&mut self) -> Result<Pickle, PickleProblem> {
        let entry = self.find(PICKLE).map_err(PickleProblem::Damaged)?;
        let entry = entry.ok_or_else(|| PickleProblem::Damaged(format!("its {PICKLE} is missing")))?;
        let mut content = BufReader::new(CrcReader::new(entry.region.stream(self.file)));
        let pickle = Pickle::read(&mut content)?;
        io::copy(&mut content, &mut io::sink())?;
        entry.check(PICKLE, content.get_ref().crc().sum())?;
        Ok(pickle)
    }

    /// Where a file of the checkpoint is, if there is one of the name.
    fn find(&mut self, name: &str) -> Result<Option<ArchiveMember>, String> {
        let Some(index) = self.zip.index_for_name(&format!("{}{name}", self.folder)) else { return Ok(None) };
        let entry = self.zip.by_index_raw(index).map_err(|error| format!("`{name}`: {error}"))?;
        let (packed, size, checksum) = (entry.compressed_size(), entry.size(), entry.crc32());
        let deflated = match entry.compression() {
            _ if entry.encrypted() => return Err(format!("`{name}` is encrypted; save it without a password")),
            CompressionMethod::STORE => None,
            CompressionMethod::DEFLATE => Some(packed),
            method => return Err(format!("`{name}` is compressed by {method}; expected none, or deflate")),
        };
        let start = entry.data_start().unwrap_or(u64::MAX);
        let outside = start.checked_add(packed).is_none_or(|end| end > self.size);
        if outside || deflated.is_none() && packed != size {
            return Err(format!("`{name}` cannot have {size} bytes"));
        }
        if size > most_unfolded(self.size) {
            return Err(format!("`{name}` is deflated from {size} bytes, more than weights can be"));
        }
        Ok(Some(ArchiveMember { region: ByteRange { start, size, deflated }, checksum }))
    }
}
