//! Where vectors go: the interface, and what all who take them refuse.

use crate::batch::Batch;
use crate::error::{Error, Result};
use crate::plan::Plan;
use crate::spec::Dtype;
use crate::tokens::Encoded;

/// Takes the vectors of texts, in the order of the texts.
///
/// A directory of arrays, JSON Lines and [`Embeddings`](crate::Embeddings) are sinks; others can be written.
pub trait Sink: Send {
    /// Called once, before anything else, with what is to come: `plan.arrays()` are the arrays.
    ///
    /// # Errors
    /// Those of the sink; they end the job.
    fn begin(&mut self, _plan: &Plan) -> Result<()> {
        Ok(())
    }

    /// The next text, as it was tokenized. Its vectors come later, and those of other texts may come between.
    ///
    /// # Errors
    /// Those of the sink; they end the job.
    fn take_text(&mut self, _text: &Encoded) -> Result<()> {
        Ok(())
    }

    /// The next rows of the array at `index` of [`Plan::arrays`], (rows, columns).
    ///
    /// # Errors
    /// Those of the sink; they end the job.
    fn write(&mut self, index: usize, rows: &[f32]) -> Result<()>;

    /// Called when all arrays have their rows of the texts that end in `batch` ([`Batch::ended_texts`]). Of a text that goes
    /// on, token and word arrays may have some already.
    ///
    /// # Errors
    /// Those of the sink; they end the job.
    fn end_batch(&mut self, batch: &Batch) -> Result<()>;
}

/// Refuses numbers that the stored type cannot hold; `what` names the array.
pub(crate) fn check_fits(numbers: &[f32], dtype: Dtype, what: impl Fn() -> String) -> Result<()> {
    // The fold has no early exit inside a chunk, so that the compiler makes vector instructions of it.
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
