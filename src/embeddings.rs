//! [`Embeddings`]: the vectors of some texts in memory.

use std::ops::Range;

use ndarray::ArrayView2;

use crate::batch::{Batch, SPECIAL};
use crate::error::{Error, Result};
use crate::plan::{ArrayPlan, Plan, Slot};
use crate::sink::{Sink, check_fits};
use crate::spec::{RowKind, SpecialTokens, VectorKind};
use crate::tokens::Encoded;

/// The vectors of some texts, layer by layer, with the tokens they belong to. [`Model::encode`](crate::Model::encode)
/// returns them; they are also a sink for [`Model::encode_into`](crate::Model::encode_into).
#[derive(Debug, Clone, Default)]
pub struct Embeddings {
    plan: Plan,
    arrays: Vec<ArrayPlan>,
    /// The numbers of each array, (rows, columns).
    numbers: Vec<Vec<f32>>,
    /// The row at which each text begins, followed by the number of all rows: (texts + 1).
    token_rows: Vec<usize>,
    word_rows: Vec<usize>,
    texts: Vec<Encoded>,
}

impl Embeddings {
    /// Embeddings of no text.
    pub fn new() -> Self {
        Self { token_rows: vec![0], word_rows: vec![0], ..Self::default() }
    }

    /// Number of texts.
    pub fn len(&self) -> usize {
        self.texts.len()
    }

    /// Whether there is no text.
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    /// The plan that the vectors were computed by: layers, kinds, limits.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The vectors of one layer, (rows, hidden_size). There is a row for each text, or for each token or word of all
    /// texts; [`Embeddings::rows_of`] gives those of one text.
    ///
    /// # Errors
    /// [`Error::Usage`] for a layer or a kind of vector that was not asked for.
    pub fn get(&self, kind: VectorKind, layer: usize) -> Result<ArrayView2<'_, f32>> {
        self.find(kind, |slot| slot == Slot::Layer(layer)).ok_or_else(|| {
            Error::Usage(format!("there are no {kind} vectors of layer {layer}; there are {}", self.held()))
        })
    }

    /// The vectors that belong to no single layer, (rows, columns): [`VectorKind::Pooler`], [`VectorKind::Sentence`],
    /// and combined layers.
    ///
    /// # Errors
    /// [`Error::Usage`] for a kind of vector that was not asked for, or has a vector for each layer.
    pub fn whole(&self, kind: VectorKind) -> Result<ArrayView2<'_, f32>> {
        self.find(kind, |slot| !matches!(slot, Slot::Layer(_))).ok_or_else(|| {
            Error::Usage(format!("there are no {kind} vectors of the model as a whole; there are {}", self.held()))
        })
    }

    fn find(&self, kind: VectorKind, is_wanted: impl Fn(Slot) -> bool) -> Option<ArrayView2<'_, f32>> {
        let index = self.arrays.iter().position(|array| array.kind == kind && is_wanted(array.slot))?;
        let columns = self.arrays[index].columns;
        let numbers = &self.numbers[index];
        ArrayView2::from_shape((numbers.len() / columns.max(1), columns), numbers).ok()
    }

    /// Names of all arrays, for messages.
    fn held(&self) -> String {
        let names: Vec<String> = self.arrays.iter().map(|array| format!("{}/{}", array.kind, array.name())).collect();
        names.join(", ")
    }

    /// The rows that belong to a text in arrays of this kind; empty beyond the last text.
    pub fn rows_of(&self, kind: VectorKind, text: usize) -> Range<usize> {
        let starts = match kind.rows() {
            RowKind::Text => return text.min(self.len())..(text + 1).min(self.len()),
            RowKind::Token => &self.token_rows,
            RowKind::Word => &self.word_rows,
        };
        let at = |index: usize| starts.get(index).or(starts.last()).copied().unwrap_or(0);
        at(text)..at(text + 1)
    }

    /// The tokens of a text, one for each row of its token vectors.
    ///
    /// # Panics
    /// When there is no such text.
    pub fn tokens(&self, text: usize) -> Vec<&str> {
        let encoded = &self.texts[text];
        self.kept(text).map(|token| encoded.strings[token].as_str()).collect()
    }

    /// \[start, end) of each of these tokens in Unicode characters of the text; `None` for special tokens.
    ///
    /// # Panics
    /// When there is no such text.
    pub fn offsets(&self, text: usize) -> Vec<Option<(usize, usize)>> {
        let encoded = &self.texts[text];
        self.kept(text).map(|token| encoded.offsets[token]).collect()
    }

    /// The word that each of these tokens belongs to, an index into the text's rows of word vectors (`word_ids` in
    /// transformers); `None` for special tokens.
    ///
    /// # Panics
    /// When there is no such text.
    pub fn word_ids(&self, text: usize) -> Vec<Option<u32>> {
        let words = &self.texts[text].tokens.words;
        self.kept(text).map(|token| Some(words[token]).filter(|word| *word != SPECIAL)).collect()
    }

    /// How many tokens of a text were cut off at the limit.
    ///
    /// # Panics
    /// When there is no such text.
    pub fn truncated(&self, text: usize) -> usize {
        let encoded = &self.texts[text];
        encoded.length_before_truncation - encoded.tokens.len()
    }

    /// The numbers of the first array, row by row.
    pub(crate) fn only_array(&self) -> &[f32] {
        self.numbers.first().map_or(&[], Vec::as_slice)
    }

    /// A text as it was tokenized.
    pub(crate) fn text(&self, text: usize) -> &Encoded {
        &self.texts[text]
    }

    /// The tokens that have rows.
    fn kept(&self, text: usize) -> impl Iterator<Item = usize> {
        let keeps = self.plan.special_tokens == SpecialTokens::Keep;
        let words = &self.texts[text].tokens.words;
        (0..words.len()).filter(move |&token| keeps || words[token] != SPECIAL)
    }
}

impl Sink for Embeddings {
    fn begin(&mut self, plan: &Plan) -> Result<()> {
        *self = Self { plan: plan.clone(), arrays: plan.arrays(), ..Self::new() };
        self.numbers = vec![Vec::new(); self.arrays.len()];
        Ok(())
    }

    fn take_text(&mut self, text: &Encoded) -> Result<()> {
        self.texts.push(text.clone());
        Ok(())
    }

    fn write(&mut self, index: usize, rows: &[f32]) -> Result<()> {
        let (array, dtype) = (&self.arrays[index], self.plan.dtype);
        check_fits(rows, dtype, || format!("{} of {}", array.name(), array.kind))?;
        self.numbers[index].extend(rows.iter().map(|&number| dtype.round(number)));
        Ok(())
    }

    fn end_batch(&mut self, batch: &Batch) -> Result<()> {
        for text in batch.ended_texts() {
            for (kind, starts) in [(RowKind::Token, &mut self.token_rows), (RowKind::Word, &mut self.word_rows)] {
                let next = starts.last().copied().unwrap_or(0) + text.rows(kind, self.plan.special_tokens);
                starts.push(next);
            }
        }
        Ok(())
    }
}
