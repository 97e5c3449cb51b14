//! Where vectors go: a directory of arrays, or JSON Lines.

mod array;
pub mod directory;
pub mod jsonl;
pub mod manifest;
mod npy;
mod safetensors;
pub mod texts;

use crate::batch::Batch;
use crate::error::Result;

/// Takes the rows of a job's arrays, batch by batch, in the order of the input.
pub trait Sink {
    /// The next rows of the array at `index` of [`Plan::arrays`](crate::plan::Plan::arrays), (rows, columns).
    ///
    /// # Errors
    /// Those of writing.
    fn write(&mut self, index: usize, rows: &[f32]) -> Result<()>;

    /// Called when all arrays have their rows of `batch`.
    ///
    /// # Errors
    /// Those of writing.
    fn end_batch(&mut self, batch: &Batch) -> Result<()>;
}
