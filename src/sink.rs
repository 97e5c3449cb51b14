//! The [`Sink`] trait: where vectors go once they are computed.

use crate::batch::Batch;
use crate::error::{Error, Result};
use crate::plan::Plan;
use crate::spec::Dtype;
use crate::tokens::Encoded;

/// Receives the vectors of texts, in the order of the texts.
///
/// Directories of arrays, JSON Lines and [`Embeddings`](crate::Embeddings) are sinks; callers can implement others. An
/// error that a method returns ends the job.
pub trait Sink: Send {
    /// Called once, before anything else, with the plan; [`Plan::arrays`] are the arrays that will be written.
    ///
    /// # Errors
    /// Those of the sink.
    fn begin(&mut self, _plan: &Plan) -> Result<()> {
        Ok(())
    }

    /// Called with each text as it was tokenized. Its vectors come later, possibly after those of earlier texts.
    ///
    /// # Errors
    /// Those of the sink.
    fn take_text(&mut self, _text: &Encoded) -> Result<()> {
        Ok(())
    }

    /// Called with the next rows of the array at `index` of [`Plan::arrays`], (rows, columns).
    ///
    /// # Errors
    /// Those of the sink.
    fn write(&mut self, index: usize, rows: &[f32]) -> Result<()>;

    /// Called when every array has its rows of the texts that end in `batch` ([`Batch::ended_texts`]). If the batch
    /// ends inside a text, token and word arrays may already hold some rows of it.
    ///
    /// # Errors
    /// Those of the sink.
    fn end_batch(&mut self, batch: &Batch) -> Result<()>;
}

/// Refuses numbers that become infinite in the stored type; `what` names the array in the message.
pub(crate) fn check_fits(numbers: &[f32], dtype: Dtype, what: impl Fn() -> String) -> Result<()> {
    // The fold has no early exit inside a chunk, so the compiler can vectorize it.
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
