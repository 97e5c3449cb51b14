//! Where vectors go: a directory of arrays, or JSON Lines.

pub(crate) mod array;
pub mod arrays;
pub mod columns;
pub mod directory;
pub mod existing;
pub mod first_phase;
mod flush;
pub mod journal;
pub mod jsonl;
pub(crate) mod layout;
pub(crate) mod lock;
pub mod manifest;
pub(crate) mod npy;
pub(crate) mod safetensors;
pub mod texts;

use crate::batch::Batch;
use crate::error::{Error, Result};
use crate::spec::Dtype;

/// Takes the rows of a job's arrays, batch by batch, in the order of the input.
pub trait Sink: Send {
    /// The next rows of the array at `index` of [`Plan::arrays`](crate::plan::Plan::arrays), (rows, columns).
    ///
    /// # Errors
    /// Those of writing.
    fn write(&mut self, index: usize, rows: &[f32]) -> Result<()>;

    /// Called when all arrays have their rows of the texts that end in `batch`. Of a text that goes on, token and word
    /// arrays may have some already.
    ///
    /// # Errors
    /// Those of writing.
    fn end_batch(&mut self, batch: &Batch) -> Result<()>;
}

/// Refuses numbers that the stored type cannot hold; `what` names the array.
fn check_fits(numbers: &[f32], dtype: Dtype, what: impl Fn() -> String) -> Result<()> {
    // No early exit inside a chunk: so it is done in vectors.
    let finite = |chunk: &[f32]| chunk.iter().fold(true, |finite, number| finite & number.is_finite());
    if dtype == Dtype::F32 && numbers.chunks(1024).all(finite) {
        return Ok(());
    }
    match numbers.iter().find(|&&number| !dtype.round(number).is_finite()) {
        None => Ok(()),
        Some(&value) => Err(Error::DoesNotFit {
            what: what(),
            value,
            dtype: dtype.name(),
            remedy: match dtype {
                Dtype::F32 => "the sum of these vectors overflows, so choose another --emit or --combine",
                Dtype::F16 => "its largest number is 65504, so choose --dtype f32 or bf16",
                Dtype::Bf16 => "choose --dtype f32",
            },
        }),
    }
}
