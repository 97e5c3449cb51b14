//! [`Embeddings`]: the vectors of some texts in memory.

use std::borrow::Cow;
use std::ops::Range;

use ndarray::{Array3, ArrayView2, ArrayView3, Axis, Slice, s};

use crate::batch::{Batch, SPECIAL};
use crate::error::{Error, Result};
use crate::plan::{ArrayPlan, Plan, Slot};
use crate::sink::{Sink, check_fits};
use crate::spec::{RowKind, VectorKind};
use crate::tokens::Encoded;

/// The vectors of some texts, layer by layer, with the tokens they belong to. [`Model::encode`](crate::Model::encode)
/// returns them; they are also a sink for [`Model::encode_into`](crate::Model::encode_into).
#[derive(Debug, Clone, Default)]
pub struct Embeddings {
    plan: Plan,
    stacks: Vec<Stack>,
    /// The number of rows that the texts so far will have, by [`RowKind`].
    rows_known: [usize; RowKind::ALL.len()],
    /// The row at which each text begins, followed by the number of all rows: (texts + 1).
    token_rows: Vec<usize>,
    word_rows: Vec<usize>,
    span_rows: Vec<usize>,
    texts: Vec<Encoded>,
}

/// All arrays of one kind of vector. They lie in one piece of memory, so that they can be handed on as one array.
#[derive(Debug, Clone)]
struct Stack {
    arrays: Vec<ArrayPlan>,
    /// (arrays, room, columns): in each array there is room for more rows than are filled.
    numbers: Array3<f32>,
    /// The number of rows that are filled in each array.
    filled: Vec<usize>,
}

impl Stack {
    fn of(arrays: Vec<ArrayPlan>) -> Self {
        let columns = arrays.first().map_or(0, |array| array.columns);
        Self { numbers: Array3::zeros((arrays.len(), 0, columns)), filled: vec![0; arrays.len()], arrays }
    }

    fn kind(&self) -> Option<VectorKind> {
        self.arrays.first().map(|array| array.kind)
    }

    /// The rows that are filled in the array at `index`, (rows, columns).
    fn array(&self, index: usize) -> ArrayView2<'_, f32> {
        self.numbers.slice(s![index, ..self.filled[index], ..])
    }

    /// Makes room for so many rows. Where more texts come than were known, the room is doubled.
    fn reserve(&mut self, rows: usize) {
        let (arrays, room, columns) = self.numbers.dim();
        if rows <= room {
            return;
        }
        let mut numbers = Array3::zeros((arrays, rows.max(2 * room), columns));
        numbers.slice_mut(s![.., ..room, ..]).assign(&self.numbers);
        self.numbers = numbers;
    }
}

impl Embeddings {
    /// Embeddings of no text.
    pub fn new() -> Self {
        Self { token_rows: vec![0], word_rows: vec![0], span_rows: vec![0], ..Self::default() }
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

    /// The vectors of all layers that were asked for, (layers, rows, hidden_size), in the order of [`Plan::layers`]; of
    /// vectors that belong to no single layer, (1, rows, columns).
    ///
    /// # Errors
    /// [`Error::Usage`] for a kind of vector that was not asked for.
    pub fn all(&self, kind: VectorKind) -> Result<ArrayView3<'_, f32>> {
        let stack = &self.stacks[self.stack_of(kind)?];
        Ok(stack.numbers.slice(s![.., ..stack.filled.iter().copied().min().unwrap_or(0), ..]))
    }

    /// Like [`Embeddings::all`], but moves the vectors out, without a copy. After that they are not held any more.
    ///
    /// # Errors
    /// [`Error::Usage`] for a kind of vector that was not asked for, or was moved out before.
    pub fn take(&mut self, kind: VectorKind) -> Result<Array3<f32>> {
        let Stack { mut numbers, filled, .. } = self.stacks.remove(self.stack_of(kind)?);
        numbers.slice_axis_inplace(Axis(1), Slice::from(..filled.into_iter().min().unwrap_or(0)));
        Ok(numbers)
    }

    fn stack_of(&self, kind: VectorKind) -> Result<usize> {
        self.stacks
            .iter()
            .position(|stack| stack.kind() == Some(kind))
            .ok_or_else(|| Error::Usage(format!("there are no {kind} vectors; there are {}", self.held())))
    }

    fn find(&self, kind: VectorKind, is_wanted: impl Fn(Slot) -> bool) -> Option<ArrayView2<'_, f32>> {
        let stack = self.stacks.iter().find(|stack| stack.kind() == Some(kind))?;
        Some(stack.array(stack.arrays.iter().position(|array| is_wanted(array.slot))?))
    }

    /// Names of all arrays, for messages.
    fn held(&self) -> String {
        let arrays = self.stacks.iter().flat_map(|stack| &stack.arrays);
        let names: Vec<String> = arrays.map(|array| format!("{}/{}", array.kind, array.name())).collect();
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    }

    /// The rows that belong to a text in arrays of this kind; empty beyond the last text.
    pub fn rows_of(&self, kind: VectorKind, text: usize) -> Range<usize> {
        let starts = match kind.rows() {
            RowKind::Text => return text.min(self.len())..(text + 1).min(self.len()),
            RowKind::Token => &self.token_rows,
            RowKind::Word => &self.word_rows,
            RowKind::Span => &self.span_rows,
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

    /// The id of each of these tokens in the vocabulary.
    ///
    /// # Panics
    /// When there is no such text.
    pub fn token_ids(&self, text: usize) -> Vec<u32> {
        let ids = &self.texts[text].tokens.input_ids;
        self.kept(text).map(|token| ids[token]).collect()
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

    /// \[start, end) of each span among the tokens of the text, special ones included.
    ///
    /// # Panics
    /// When there is no such text.
    pub fn span_tokens(&self, text: usize) -> Vec<Range<usize>> {
        let spans = &self.texts[text].tokens.spans;
        spans.iter().map(|span| span.start as usize..span.end as usize).collect()
    }

    /// How many tokens of a text were cut off at the limit.
    ///
    /// # Panics
    /// When there is no such text.
    pub fn truncated(&self, text: usize) -> usize {
        let encoded = &self.texts[text];
        encoded.length_before_truncation - encoded.tokens.len()
    }

    /// The numbers of all arrays of the first kind, row by row, those of one row side by side.
    pub(crate) fn side_by_side(&self) -> Cow<'_, [f32]> {
        let Some(stack) = self.stacks.first() else { return Cow::Borrowed(&[]) };
        match (stack.arrays.len(), stack.array(0).to_slice()) {
            (1, Some(numbers)) => Cow::Borrowed(numbers),
            (count, _) => {
                let arrays: Vec<_> = (0..count).map(|index| stack.array(index)).collect();
                let rows = (0..stack.filled[0]).flat_map(|row| arrays.iter().map(move |array| array.row(row).to_vec()));
                Cow::Owned(rows.flatten().collect())
            }
        }
    }

    /// A text as it was tokenized.
    pub(crate) fn text(&self, text: usize) -> &Encoded {
        &self.texts[text]
    }

    /// The tokens that have rows.
    fn kept(&self, text: usize) -> impl Iterator<Item = usize> {
        self.texts[text].tokens.kept(self.plan.special_tokens)
    }
}

impl Sink for Embeddings {
    fn begin(&mut self, plan: &Plan) -> Result<()> {
        let arrays = plan.arrays();
        let stacks = arrays.chunk_by(|one, next| one.kind == next.kind).map(|arrays| Stack::of(arrays.to_vec()));
        *self = Self { plan: plan.clone(), stacks: stacks.collect(), ..Self::new() };
        Ok(())
    }

    fn take_text(&mut self, text: &Encoded) -> Result<()> {
        for (known, kind) in self.rows_known.iter_mut().zip(RowKind::ALL) {
            *known += text.tokens.rows(kind, self.plan.special_tokens);
        }
        self.texts.push(text.clone());
        Ok(())
    }

    fn write(&mut self, index: usize, rows: &[f32]) -> Result<()> {
        let (mut of_stack, mut stacks) = (index, self.stacks.iter_mut());
        let stack = loop {
            // The arrays of a plan lie one after the other, by kind.
            let Some(stack) = stacks.next() else { return Ok(()) };
            if of_stack < stack.arrays.len() {
                break stack;
            }
            of_stack -= stack.arrays.len();
        };
        let (array, dtype) = (stack.arrays[of_stack], self.plan.dtype);
        check_fits(rows, dtype, || format!("{} of {}", array.name(), array.kind))?;
        let first = stack.filled[of_stack];
        let end = first + rows.len() / array.columns.max(1);
        stack.reserve(end.max(self.rows_known[array.kind.rows() as usize]));
        let mut place = stack.numbers.slice_mut(s![of_stack, first..end, ..]);
        place.iter_mut().zip(rows).for_each(|(place, &number)| *place = dtype.round(number));
        stack.filled[of_stack] = end;
        Ok(())
    }

    fn end_batch(&mut self, batch: &Batch) -> Result<()> {
        for text in batch.ended_texts() {
            for (kind, starts) in [
                (RowKind::Token, &mut self.token_rows),
                (RowKind::Word, &mut self.word_rows),
                (RowKind::Span, &mut self.span_rows),
            ] {
                let next = starts.last().copied().unwrap_or(0) + text.rows(kind, self.plan.special_tokens);
                starts.push(next);
            }
        }
        Ok(())
    }
}
