//! The file of PyTorch before 1.6: four pickles (a magic number, the protocol, the system, the object), one of the
//! storages' keys, and then for each key a count and the numbers.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Seek, SeekFrom};

use super::machine::{Pickle, PickleValue};
use super::problem::PickleProblem;
use super::state_dict;
use super::storage::{ByteRange, LocatedStorage, Storage};
use super::tensor::Tensors;
use crate::positional::read_exact_at;

/// 0x1950a86a20f9469cfc6c, as a pickle has it.
const MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
/// How a file begins that was written in protocol 0 or 1, which spell numbers out.
pub(super) const MAGIC_OF_PROTOCOL_0: &[u8] = b"L119547037146038801333356L\n";
const PROTOCOL: i64 = 1001;

/// Finds the tensors of such a file.
pub(super) fn read(file: &File, size: u64) -> Result<Tensors, PickleProblem> {
    let mut reader = BufReader::new(file);
    reader.seek(SeekFrom::Start(0))?;
    let magic = Pickle::read(&mut reader)?;
    match magic.get(magic.root()) {
        PickleValue::LongInt(bytes) if **bytes == MAGIC => {}
        // Digits of that length are not read as a number.
        PickleValue::Opaque => {}
        _ => {
            return Err(PickleProblem::Refused(
                "is a pickle, but not one that torch.save wrote; save it with \
                 `torch.save(model.state_dict(), 'pytorch_model.bin')`"
                    .to_owned(),
            ));
        }
    }
    let protocol = Pickle::read(&mut reader)?;
    match protocol.get(protocol.root()) {
        PickleValue::Int(PROTOCOL) => {}
        _ => return Err(PickleProblem::Damaged(format!("its protocol is not {PROTOCOL}"))),
    }
    // The byte order that is noted here is the machine's; numbers are little-endian in any case.
    let _system = Pickle::read(&mut reader)?;
    let object = Pickle::read(&mut reader)?;
    let keys = Pickle::read(&mut reader)?;
    let regions = regions(file, size, reader.stream_position()?, &object, &keys)?;
    state_dict::tensors(&object, size, |storage| {
        let &region = regions.get(storage.key).ok_or_else(|| storage.missing())?;
        // This format has no checksums.
        Ok(LocatedStorage { region, checksum: None })
    })
}

/// Where each storage is, by its key, from the end of the pickles on.
fn regions<'p>(
    file: &File,
    size: u64,
    mut at: u64,
    object: &'p Pickle,
    keys: &'p Pickle,
) -> Result<HashMap<&'p str, ByteRange>, PickleProblem> {
    let storages = object.ids().filter_map(|id| Storage::of(object, id));
    let storages: HashMap<&str, Storage<'_>> = storages.map(|storage| (storage.key, storage)).collect();
    let keys = keys.sequence(keys.root()).and_then(|list| list.iter().map(|&key| keys.text(key)).collect());
    let keys: Vec<&str> = keys.ok_or_else(|| PickleProblem::Damaged("its list of storages is none".to_owned()))?;
    let mut regions = HashMap::new();
    for key in keys {
        let Some(storage) = storages.get(key) else {
            return Err(PickleProblem::Damaged(format!("nothing in it is stored as `{key}`")));
        };
        let Some(element) = storage.element else {
            return Err(PickleProblem::Refused(format!(
                "holds numbers of the type `{}`, which is not known; convert the checkpoint to float32",
                storage.class
            )));
        };
        let mut count = [0; 8];
        read_exact_at(file, &mut count, at)?;
        let count = u64::from_le_bytes(count);
        if count != storage.numbers {
            return Err(PickleProblem::Damaged(format!(
                "its storage `{key}` has {count} numbers; expected {}",
                storage.numbers
            )));
        }
        let start = at + 8;
        let end = count.checked_mul(element.size as u64).and_then(|bytes| start.checked_add(bytes));
        let Some(end) = end.filter(|&end| end <= size) else {
            return Err(PickleProblem::Damaged(format!("it ends within its storage `{key}`")));
        };
        regions.insert(key, ByteRange { start, size: end - start, deflated: None });
        at = end;
    }
    Ok(regions)
}
