//! Turns hidden states into the rows of a plan's arrays: pools, combines layers, normalizes, and writes to the sink.

use crate::batch::Batch;
use crate::error::{Error, Result};
use crate::plan::{ArrayPlan, Plan, Slot};
use crate::pooling::{self, RowPooling, TextPooler};
use crate::sentence::SentenceEmbedding;
use crate::sink::Sink;
use crate::spec::{Combine, Pooling, RowKind, SpecialTokens, VectorKind};
use crate::threads::share_map;

/// Makes the rows of all arrays of a plan, batch by batch. A row is made once all of its tokens have been encoded.
pub(crate) struct Vectors<'a> {
    plan: &'a Plan,
    arrays: Vec<ArrayPlan>,
    /// The poolings of each array: one for each layer in it, as each keeps its own state of an unfinished text.
    rows: Vec<Vec<RowPooling>>,
    combined: Vec<(usize, Combined)>,
    /// The model's own sentence embedding, if it is asked for.
    sentence: Option<SentenceEmbedding<'a>>,
    first_token: TextPooler,
}

/// The layers of one array that were combined so far, for the texts of the current batch.
struct Combined {
    combine: Combine,
    /// Index of the next layer among the selected ones.
    next: usize,
    /// The rows so far, (rows, columns of the array), in float64 so that sums are rounded once.
    numbers: Vec<f64>,
}

impl<'a> Vectors<'a> {
    /// Pooling for all arrays of `plan`.
    pub(crate) fn new(plan: &'a Plan) -> Self {
        let arrays = plan.arrays();
        let combined = arrays
            .iter()
            .enumerate()
            .filter_map(|(index, array)| match array.slot {
                Slot::Combined(combine) => Some((index, Combined { combine, next: 0, numbers: Vec::new() })),
                _ => None,
            })
            .collect();
        let rows = |array: &ArrayPlan| -> Vec<RowPooling> {
            let layers = match array.slot {
                Slot::Layer(_) => 1,
                Slot::Combined(_) => plan.layers.len(),
                Slot::Whole => 0,
            };
            (0..layers).map(|_| RowPooling::new(array.kind, plan.word_pooling, plan.special_tokens)).collect()
        };
        let rows = arrays.iter().map(rows).collect();
        let recipe = plan.sentence.as_ref().filter(|_| plan.has(VectorKind::Sentence));
        let sentence = recipe.map(|recipe| SentenceEmbedding::new(recipe, plan.prompt_tokens));
        let first_token = TextPooler::new(Pooling::Cls, SpecialTokens::Keep);
        Self { plan, arrays, rows, combined, sentence, first_token }
    }

    /// Takes the hidden state of layer `layer`, (tokens, hidden_size). `first_row` is the input row of the text that
    /// the batch's first part belongs to.
    ///
    /// # Errors
    /// [`Error::NotFinite`] when the hidden state overflowed, and those of the sink.
    pub(crate) fn take_layer(
        &mut self,
        layer: usize,
        hidden_state: &[f32],
        batch: &Batch,
        first_row: u64,
        sink: &mut dyn Sink,
    ) -> Result<()> {
        let width = self.plan.hidden_size;
        check_finite(layer, hidden_state, width, batch, first_row)?;
        if let Some(sentence) = &mut self.sentence {
            sentence.take_layer(layer, hidden_state);
        }
        let Ok(selected) = self.plan.layers.binary_search(&layer) else { return Ok(()) };
        for index in 0..self.arrays.len() {
            let ArrayPlan { kind, slot, columns } = self.arrays[index];
            let place = match slot {
                Slot::Layer(own) if own == layer => 0,
                Slot::Combined(_) => selected,
                Slot::Layer(_) | Slot::Whole => continue,
            };
            let mut rows = self.rows[index][place].take(hidden_state, width, batch);
            if let Some((_, combined)) = self.combined.iter_mut().find(|(of, _)| *of == index) {
                combined.add(&rows, width, columns);
                if combined.next == self.plan.layers.len() {
                    let mut rows = combined.take();
                    self.normalize(kind, &mut rows, columns);
                    sink.write(index, &rows)?;
                }
            } else {
                if self.normalizes(kind) {
                    self.normalize(kind, rows.to_mut(), columns);
                }
                sink.write(index, &rows)?;
            }
        }
        Ok(())
    }

    /// Makes the model's own sentence embedding from the last layer's hidden state, (tokens, hidden_size), and writes
    /// it.
    ///
    /// # Errors
    /// Those of the sink.
    pub(crate) fn take_sentence(
        &mut self,
        last_hidden_state: &[f32],
        batch: &Batch,
        sink: &mut dyn Sink,
    ) -> Result<()> {
        let Some(sentence) = &mut self.sentence else { return Ok(()) };
        let (mut rows, mut columns) = sentence.take(last_hidden_state, self.plan.hidden_size, batch);
        if let Some(kept) = self.plan.truncate_dim.filter(|&kept| kept < columns) {
            rows = rows.chunks_exact(columns).flat_map(|row| &row[..kept]).copied().collect();
            columns = kept;
        }
        if self.plan.normalize {
            pooling::normalize(&mut rows, columns);
        }
        self.write_whole(VectorKind::Sentence, &rows, sink)
    }

    /// The pooler's input: the first token of each text that ends in the batch, (texts, hidden_size), from the last
    /// layer.
    pub(crate) fn first_tokens(&mut self, last_hidden_state: &[f32], batch: &Batch) -> Vec<f32> {
        self.first_token.take(last_hidden_state, self.plan.hidden_size, batch)
    }

    /// Writes a batch's `pooler_output`, (texts, hidden_size).
    ///
    /// # Errors
    /// Those of the sink.
    pub(crate) fn take_pooler(&mut self, mut rows: Vec<f32>, batch: &Batch, sink: &mut dyn Sink) -> Result<()> {
        let width = self.plan.hidden_size;
        for (row, text) in rows.chunks_exact_mut(width).zip(batch.ended_texts()) {
            if text.is_empty() {
                row.fill(0.0); // no first token to pool
            }
        }
        self.normalize(VectorKind::Pooler, &mut rows, width);
        self.write_whole(VectorKind::Pooler, &rows, sink)
    }

    fn write_whole(&self, kind: VectorKind, rows: &[f32], sink: &mut dyn Sink) -> Result<()> {
        match self.arrays.iter().position(|array| array.kind == kind) {
            Some(index) => sink.write(index, rows),
            None => Ok(()),
        }
    }

    fn normalizes(&self, kind: VectorKind) -> bool {
        self.plan.normalize && kind.rows() == RowKind::Text
    }

    fn normalize(&self, kind: VectorKind, rows: &mut [f32], columns: usize) {
        if self.normalizes(kind) {
            pooling::normalize(rows, columns);
        }
    }
}

impl Combined {
    /// Combines the next selected layer, (rows, width), with those before it.
    fn add(&mut self, rows: &[f32], width: usize, columns: usize) {
        if self.next == 0 {
            let start = if self.combine == Combine::Max { f64::NEG_INFINITY } else { 0.0 };
            self.numbers = vec![start; rows.len() / width * columns];
        }
        let at = if self.combine == Combine::Concat { self.next * width } else { 0 };
        for (merged, row) in self.numbers.chunks_exact_mut(columns).zip(rows.chunks_exact(width)) {
            for (merged, value) in merged[at..at + width].iter_mut().zip(row) {
                let value = f64::from(*value);
                *merged = if self.combine == Combine::Max { merged.max(value) } else { *merged + value };
            }
        }
        self.next += 1;
    }

    /// Returns the combined rows, (rows, columns), and resets this for the next batch.
    fn take(&mut self) -> Vec<f32> {
        let divisor = if self.combine == Combine::Mean { self.next as f64 } else { 1.0 };
        self.next = 0;
        std::mem::take(&mut self.numbers).into_iter().map(|number| (number / divisor) as f32).collect()
    }
}

/// Numbers that a thread looks at at a time.
const NUMBERS_OF_PIECE: usize = 1 << 20;

fn check_finite(layer: usize, hidden_state: &[f32], width: usize, batch: &Batch, first_row: u64) -> Result<()> {
    // The fold has no early exit inside a row, so the compiler can vectorize it.
    let finite = |row: &[f32]| row.iter().fold(true, |finite, value| finite & value.is_finite());
    let rows_of_piece = (NUMBERS_OF_PIECE / width.max(1)).max(1);
    let pieces = hidden_state.chunks(rows_of_piece * width).collect();
    let bad = share_map(pieces, |piece: &[f32]| piece.chunks_exact(width).position(|row| !finite(row)));
    let first = bad.into_iter().enumerate().find_map(|(piece, row)| Some(piece * rows_of_piece + row?));
    match first {
        None => Ok(()),
        Some(token) => {
            let sequence = batch.bounds.partition_point(|&bound| bound <= token) - 1;
            let sequence = batch.bounds[sequence]..batch.bounds[sequence + 1];
            let before =
                batch.parts.iter().take_while(|part| part.tokens.is_empty() || !sequence.contains(&part.first));
            let text = before.filter(|part| part.ends_text()).count();
            Err(Error::NotFinite { layer, row: first_row + text as u64 })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Tokens;

    fn combined(combine: Combine, columns: usize) -> Vec<f32> {
        let mut combined = Combined { combine, next: 0, numbers: Vec::new() };
        combined.add(&[1.0, -2.0, 3.0, 4.0], 2, columns);
        combined.add(&[5.0, -6.0, -7.0, 8.0], 2, columns);
        combined.take()
    }

    #[test]
    fn layers_are_combined_row_by_row() {
        assert_eq!(combined(Combine::Concat, 4), [1.0, -2.0, 5.0, -6.0, 3.0, 4.0, -7.0, 8.0]);
        assert_eq!(combined(Combine::Sum, 2), [6.0, -8.0, -4.0, 12.0]);
        assert_eq!(combined(Combine::Mean, 2), [3.0, -4.0, -2.0, 6.0]);
        assert_eq!(combined(Combine::Max, 2), [5.0, -2.0, 3.0, 8.0]);
    }

    #[test]
    fn the_text_of_a_number_that_is_not_finite_is_named() {
        let mut batch = Batch::new();
        for tokens in [1, 0, 2] {
            let zeros = || vec![0; tokens];
            let text = Tokens { input_ids: zeros(), token_type_ids: zeros(), words: zeros(), ..Tokens::default() };
            batch.push(&text);
        }
        let error = check_finite(4, &[0.0, 1.0, 2.0, 3.0, f32::NAN, 5.0], 2, &batch, 10).unwrap_err();
        assert!(matches!(error, Error::NotFinite { layer: 4, row: 12 }), "{error}");
        // In the second piece of two rows.
        let (width, mut batch) = (NUMBERS_OF_PIECE / 2, Batch::new());
        for _ in 0..5 {
            batch.push(&Tokens { input_ids: vec![0], token_type_ids: vec![0], words: vec![0], ..Tokens::default() });
        }
        let mut hidden_state = vec![1.0; 5 * width];
        assert!(check_finite(4, &hidden_state, width, &batch, 10).is_ok());
        hidden_state[3 * width + 7] = f32::INFINITY;
        hidden_state[4 * width] = f32::NAN;
        let error = check_finite(4, &hidden_state, width, &batch, 10).unwrap_err();
        assert!(matches!(error, Error::NotFinite { layer: 4, row: 13 }), "{error}");
    }
}
