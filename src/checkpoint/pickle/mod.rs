//! Checkpoints that `torch.save` wrote: tensors by name, found without running any of the pickle's code.
//!
//! Such a file is a pickle of dicts in which tensors are *views* of *storages*: offset, shape and strides on a run of
//! numbers that lies elsewhere in the file. PyTorch 1.6 and later write a zip file ([`archive`]), those before it pickles
//! and numbers one after the other ([`legacy`]). [`machine`] reads a pickle, [`state_dict`] finds the tensors in it, and
//! [`view`] says which numbers of a storage are theirs.
//!
//! Whoever made the file may mean harm. So no count in it is believed: what is allocated is bounded by the file's size
//! or by a constant before it is, and nothing follows the file's nesting with the stack. What is read of a
//! zip file must have the checksum that stands there, a storage before the first of its numbers is taken, but where PyTorch
//! was told to leave them out (`set_crc32_options`).

mod archive;
mod legacy;
mod limits;
mod machine;
mod problem;
mod state_dict;
mod storage;
mod tensor;
mod view;

use std::fs::File;

pub(super) use self::problem::PickleProblem;
pub(super) use self::tensor::{Tensor, Tensors};
use crate::positional::read_exact_at;

/// Finds the tensors of a file that `torch.save` wrote.
pub(super) fn read(file: &File, size: u64) -> Result<Tensors, PickleProblem> {
    let mut start = [0; 512];
    let length = start.len().min(usize::try_from(size).unwrap_or(usize::MAX));
    read_exact_at(file, &mut start[..length], 0)?;
    let start = &start[..length];
    if start.starts_with(b"PK\x03\x04") {
        archive::read(file, size)
    } else if start.starts_with(b"\x80") || start.starts_with(legacy::MAGIC_OF_PROTOCOL_0) {
        legacy::read(file, size)
    } else if start.get(257..262) == Some(b"ustar") {
        Err(PickleProblem::Refused(
            "is a tar file, as the first versions of PyTorch wrote them; if you trust where it comes from, convert it once with Python: \
             `import torch; torch.save(torch.load('pytorch_model.bin', map_location='cpu', weights_only=False), 'pytorch_model.bin')`"
                .to_owned(),
        ))
    } else {
        Err(PickleProblem::Refused(
            "is not a PyTorch checkpoint (a zip file or a pickle); download it again or use the model's model.safetensors"
                .to_owned(),
        ))
    }
}
