//! Rows of arrays that wait until their texts are complete, for sinks that write a text as a whole.

use std::ops::Range;

use crate::error::Result;
use crate::plan::{ArrayPlan, Plan};
use crate::sink::check_fits;
use crate::spec::{Dtype, RowKind};

/// The rows of all arrays that are not written yet.
pub(crate) struct WaitingRows {
    arrays: Vec<ArrayPlan>,
    /// For each array, rounded to their type; (rows, columns).
    rows: Vec<Vec<f32>>,
    dtype: Dtype,
}

impl WaitingRows {
    /// None of the arrays of a plan.
    pub(crate) fn new(plan: &Plan) -> Self {
        let arrays = plan.arrays();
        Self { rows: vec![Vec::new(); arrays.len()], arrays, dtype: plan.dtype }
    }

    /// The arrays.
    pub(crate) fn arrays(&self) -> &[ArrayPlan] {
        &self.arrays
    }

    /// Takes the next rows of the array at `index`. `row` is that of the first text that waits, for the message.
    ///
    /// # Errors
    /// [`Error::DoesNotFit`](crate::Error::DoesNotFit) for numbers that become infinite in the stored type.
    pub(crate) fn take(&mut self, index: usize, rows: &[f32], row: u64) -> Result<()> {
        let array = &self.arrays[index];
        check_fits(rows, self.dtype, || format!("{} of {}, row {row} or later", array.name(), array.kind.name()))?;
        self.rows[index].extend(rows.iter().map(|&value| self.dtype.round(value)));
        Ok(())
    }

    /// Some rows of the array at `index`, counted from the first that waits.
    pub(crate) fn rows(&self, index: usize, rows: Range<usize>) -> &[f32] {
        let columns = self.arrays[index].columns;
        &self.rows[index][rows.start * columns..rows.end * columns]
    }

    /// Gives up the first rows of each array, so many of each kind, as they are written. Those that remain are of a text that goes on
    /// in the next batch.
    pub(crate) fn give_up(&mut self, rows: impl Fn(RowKind) -> usize) {
        for (array, waiting) in self.arrays.iter().zip(&mut self.rows) {
            waiting.drain(..rows(array.kind.rows()) * array.columns);
        }
    }
}
