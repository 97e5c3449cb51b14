//! Ragged batches: token sequences that go through the encoder together, one after the other without padding.
//!
//! A sequence is a text, or a window of a text that is too long. Equal sequences go through once.

use std::ops::Range;
use std::sync::Arc;

use ahash::{AHashMap, RandomState};

use crate::spec::{RowKind, SpecialTokens};
use crate::windows::{Window, Windowing, Windows};

/// The word id of a special token, which belongs to no word.
pub const SPECIAL: u32 = u32::MAX;

/// What the encoder and the poolings need to know of one tokenized text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tokens {
    /// Token ids, special tokens included.
    pub input_ids: Vec<u32>,
    /// 0 for the first text of a pair, 1 for the second.
    pub token_type_ids: Vec<u32>,
    /// The word each token belongs to, or [`SPECIAL`]; the words are ascending.
    pub words: Vec<u32>,
    /// Number of words, each of which has a row; some may have no token.
    pub word_count: u32,
    /// The tokens that are cut into windows if the text is too long: the text without special tokens, or the longer
    /// text of a pair.
    pub longer: Range<usize>,
    /// The tokens of each span, which may overlap and nest; (spans).
    pub spans: Vec<Range<u32>>,
}

impl Tokens {
    /// Number of tokens.
    pub fn len(&self) -> usize {
        self.input_ids.len()
    }

    /// Whether there is no token at all.
    pub fn is_empty(&self) -> bool {
        self.input_ids.is_empty()
    }

    /// Number of rows that the text has in arrays of this kind.
    pub fn rows(&self, kind: RowKind, special_tokens: SpecialTokens) -> usize {
        match kind {
            RowKind::Text => 1,
            RowKind::Word => self.word_count as usize,
            RowKind::Span => self.spans.len(),
            RowKind::Token if special_tokens == SpecialTokens::Keep => self.len(),
            RowKind::Token => self.kept(special_tokens).count(),
        }
    }

    /// The tokens that have rows in arrays of tokens.
    pub fn kept(&self, special_tokens: SpecialTokens) -> impl Iterator<Item = usize> {
        let keeps_all = special_tokens == SpecialTokens::Keep;
        (0..self.len()).filter(move |&token| keeps_all || self.words[token] != SPECIAL)
    }

    /// The windows in which the text goes through the encoder: the whole text, unless it is too long.
    pub fn windows(&self, windowing: Option<Windowing>) -> Windows {
        Windows::of(self.len(), self.longer.clone(), windowing)
    }
}

/// Sequences that go through the encoder together, and the texts that take their vectors from them.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// Token ids, (tokens).
    pub input_ids: Vec<u32>,
    /// Token types, (tokens).
    pub token_type_ids: Vec<u32>,
    /// Sequence `i` is tokens `bounds[i]..bounds[i + 1]`; (sequences + 1).
    pub bounds: Vec<usize>,
    /// The parts of texts that take their vectors from this batch, in input order. The first and the last text may be
    /// there in part.
    pub parts: Vec<TextSpan>,
    /// Number of texts that end here and were not encoded again, as all their sequences were in the batch already.
    pub repeated_texts: u64,
    /// Number of tokens that were not encoded again, as their sequences were in the batch already.
    pub repeated_tokens: u64,
}

/// Consecutive tokens of a text that are consecutive in the batch, too.
#[derive(Debug, Clone)]
pub struct TextSpan {
    /// The text.
    pub text: Arc<Tokens>,
    /// The range of its tokens.
    pub tokens: Range<usize>,
    /// The index of the first of them in the batch.
    pub first: usize,
}

impl TextSpan {
    /// All of a text whose vectors are not in a batch of the encoder.
    pub fn whole(text: Arc<Tokens>) -> Self {
        Self { tokens: 0..text.len(), text, first: 0 }
    }

    /// Whether this is the end of the text.
    pub fn ends_text(&self) -> bool {
        self.tokens.end == self.text.len()
    }

    /// The words of these tokens, (tokens).
    pub fn words(&self) -> &[u32] {
        &self.text.words[self.tokens.clone()]
    }

    /// The vectors of these tokens, (tokens, width), as a part of `hidden_state`.
    pub fn vectors<'a>(&self, hidden_state: &'a [f32], width: usize) -> &'a [f32] {
        &hidden_state[self.first * width..][..self.tokens.len() * width]
    }
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Self {
        Self { bounds: vec![0], ..Self::default() }
    }

    /// Adds a text at the end, as one sequence.
    pub fn push(&mut self, text: &Tokens) {
        let windows = text.windows(None);
        let first = self.tokens();
        self.push_sequence(text, &windows, &windows.get(0));
        self.parts.push(TextSpan { text: Arc::new(text.clone()), tokens: 0..text.len(), first });
    }

    /// Adds a window, with the tokens around it, as a sequence.
    fn push_sequence(&mut self, text: &Tokens, windows: &Windows, window: &Window) {
        let [before, after] = windows.around();
        for range in [before, window.holds.clone(), after] {
            self.input_ids.extend(&text.input_ids[range.clone()]);
            self.token_type_ids.extend(&text.token_type_ids[range]);
        }
        self.bounds.push(self.input_ids.len());
    }

    /// Removes the last sequence.
    fn pop_sequence(&mut self) {
        self.bounds.pop();
        let start = self.bounds[self.bounds.len() - 1];
        self.input_ids.truncate(start);
        self.token_type_ids.truncate(start);
    }

    /// A sequence's token ids and token types, by which sequences are compared.
    fn sequence(&self, index: usize) -> [&[u32]; 2] {
        let tokens = self.bounds[index]..self.bounds[index + 1];
        [&self.input_ids[tokens.clone()], &self.token_type_ids[tokens]]
    }

    /// Number of texts that end in this batch.
    pub fn texts(&self) -> usize {
        self.ended_texts().count()
    }

    /// The texts that end in this batch, in the order of the input.
    pub fn ended_texts(&self) -> impl Iterator<Item = &Tokens> {
        self.parts.iter().filter(|part| part.ends_text()).map(|part| &*part.text)
    }

    /// Number of tokens that go through the encoder.
    pub fn tokens(&self) -> usize {
        self.input_ids.len()
    }

    /// Whether the last text ends in this batch.
    pub fn ends_with_text(&self) -> bool {
        self.parts.last().is_none_or(TextSpan::ends_text)
    }

    /// Whether the parts cover all tokens of the batch in order and once each.
    pub fn is_in_order(&self) -> bool {
        let mut next = 0;
        let in_order = self.parts.iter().all(|part| {
            let follows = part.first == next;
            next = part.first + part.tokens.len();
            follows
        });
        in_order && next == self.tokens()
    }
}

/// The largest size of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most tokens that go through the encoder; a longer sequence has a batch to itself. It is also the largest number
    /// of parts, so that empty texts do not make a batch grow without bound.
    pub tokens: usize,
    /// Most tokens that take vectors from the batch; more than `tokens` if sequences repeat.
    pub rows: usize,
}

/// Groups texts, or their windows, into batches. The windows of one text may be spread over several batches, the last
/// of which ends with it. An interrupted job can resume after any batch that ends with a text.
///
/// Where the cuts fall changes no number: see [`crate::kernels`].
pub struct Batches<I> {
    texts: I,
    windowing: Option<Windowing>,
    limits: Limits,
    current: Option<Current>,
    /// Texts after which a batch ends in any case, counted from the first one.
    part_texts: Option<u64>,
    begun: u64,
}

/// A text that has windows left for later batches.
struct Current {
    text: Arc<Tokens>,
    windows: Windows,
    next: usize,
    /// Whether all windows so far were in their batches already.
    repeated: bool,
}

impl<I, E> Batches<I>
where
    I: Iterator<Item = Result<Tokens, E>>,
{
    /// Batches of `texts`, cut into windows where they are too long.
    pub fn new(texts: I, windowing: Option<Windowing>, limits: Limits) -> Self {
        Self { texts, windowing, limits, current: None, part_texts: None, begun: 0 }
    }

    /// The same with a batch that ends after every `part_texts` texts, where `done` texts were in batches before.
    #[must_use]
    pub fn in_parts(self, part_texts: Option<u64>, done: u64) -> Self {
        Self { part_texts, begun: done, ..self }
    }

    /// Whether a part ends before the next text.
    fn is_at_end_of_part(&self) -> bool {
        self.part_texts.is_some_and(|texts| self.begun.is_multiple_of(texts))
    }

    /// Changes the size of the batches that follow.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    fn begin(&self, text: Tokens) -> Current {
        let windows = text.windows(self.windowing);
        Current { text: Arc::new(text), windows, next: 0, repeated: true }
    }
}

/// A batch that is being filled.
struct Filling {
    batch: Batch,
    limits: Limits,
    /// Sequences by their hash. Of two different ones with the same hash, only the first is kept.
    sequences: AHashMap<u64, usize>,
    hasher: RandomState,
    rows: usize,
}

impl Filling {
    fn new(limits: Limits) -> Self {
        let hasher = RandomState::with_seeds(0, 1, 2, 3);
        Self { batch: Batch::new(), limits, sequences: AHashMap::new(), hasher, rows: 0 }
    }

    /// Adds the next window of a text, unless the batch is full.
    fn take(&mut self, current: &mut Current) -> bool {
        let Current { text, windows, next, repeated } = current;
        let Self { batch, limits, .. } = self;
        let window = windows.get(*next);
        let some = !batch.parts.is_empty();
        if some && (batch.parts.len() >= limits.tokens || self.rows + window.gives.len() > limits.rows) {
            return false;
        }
        // The sequence is added first and removed if it is a repetition, as most are new.
        let sequence = batch.bounds.len() - 1;
        batch.push_sequence(text, windows, &window);
        let own = batch.sequence(sequence);
        let length = own[0].len();
        let before = *self.sequences.entry(self.hasher.hash_one(own)).or_insert(sequence);
        let mut start = batch.bounds[sequence];
        if before < sequence && batch.sequence(before) == own {
            start = batch.bounds[before];
            batch.pop_sequence();
            batch.repeated_tokens += length as u64;
        } else if some && batch.tokens() > limits.tokens {
            batch.pop_sequence();
            return false;
        } else {
            *repeated = false;
        }
        let around = windows.around()[0].len();
        let skipped = if *next == 0 { 0 } else { around + window.gives.start - window.holds.start };
        batch.parts.push(TextSpan { text: text.clone(), tokens: window.gives.clone(), first: start + skipped });
        self.rows += window.gives.len();
        *next += 1;
        if *next == windows.len() && *repeated {
            batch.repeated_texts += 1;
        }
        true
    }
}

impl<I, E> Iterator for Batches<I>
where
    I: Iterator<Item = Result<Tokens, E>>,
{
    type Item = Result<Batch, E>;

    fn next(&mut self) -> Option<Result<Batch, E>> {
        let mut filling = Filling::new(self.limits);
        let continues_text = self.current.as_ref().is_some_and(|current| current.next > 0);
        loop {
            let mut current = match self.current.take() {
                Some(current) => current,
                None if !filling.batch.parts.is_empty() && self.is_at_end_of_part() => break,
                None => match self.texts.next() {
                    None => break,
                    Some(Err(error)) => return Some(Err(error)),
                    Some(Ok(text)) => {
                        self.begun += 1;
                        self.begin(text)
                    }
                },
            };
            let mut full = false;
            while current.next < current.windows.len() && !full {
                full = !filling.take(&mut current);
            }
            if full {
                self.current = Some(current);
            }
            if full || continues_text {
                break;
            }
        }
        (!filling.batch.parts.is_empty()).then_some(Ok(filling.batch))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::convert::Infallible;

    /// A text of `length` tokens between two special ones; texts of the same kind and length are the same.
    fn text(kind: u32, length: usize) -> Tokens {
        let tokens = length + 2;
        Tokens {
            input_ids: (0..tokens as u32).map(|i| i + 1000 * kind).collect(),
            token_type_ids: vec![0; tokens],
            words: (0..tokens).map(|i| if i == 0 || i > length { SPECIAL } else { i as u32 - 1 }).collect(),
            word_count: length as u32,
            longer: 1..length + 1,
            spans: Vec::new(),
        }
    }

    fn batches(texts: &[Tokens], windowing: Option<Windowing>, limits: Limits) -> Vec<Batch> {
        let texts = texts.iter().cloned().map(Ok::<_, Infallible>);
        Batches::new(texts, windowing, limits).map(Result::unwrap).collect()
    }

    proptest! {
        #[test]
        fn every_token_once_in_order_and_no_batch_too_large(
            shapes in proptest::collection::vec((0u32..3, 0usize..30), 0..50),
            tokens in 1usize..60,
            factor in 1usize..4,
            room in proptest::option::of(1usize..12),
        ) {
            let texts: Vec<Tokens> = shapes.iter().map(|&(kind, length)| text(kind, length)).collect();
            let windowing = room.map(|room| Windowing { max_length: room + 2, stride: None });
            let limits = Limits { tokens, rows: tokens * factor };
            let (mut ended, mut at) = (0, 0);
            let (mut encoded, mut repeated, mut all) = (0, 0, 0);
            for batch in batches(&texts, windowing, limits) {
                prop_assert!(!batch.parts.is_empty() && batch.parts.len() <= tokens);
                prop_assert!(at == 0 || batch.texts() == 0 || batch.ends_with_text(), "a text that goes on ends its batch");
                prop_assert!(batch.tokens() <= tokens || batch.bounds.len() == 2);
                let rows: usize = batch.parts.iter().map(|part| part.tokens.len()).sum();
                prop_assert!(rows <= limits.rows || batch.parts.len() == 1);
                for part in &batch.parts {
                    prop_assert_eq!((&*part.text, part.tokens.start), (&texts[ended], at));
                    let in_batch = part.first..part.first + part.tokens.len();
                    prop_assert_eq!(&batch.input_ids[in_batch], &part.text.input_ids[part.tokens.clone()]);
                    at = part.tokens.end;
                    if part.ends_text() {
                        (ended, at) = (ended + 1, 0);
                    }
                }
                for (index, bounds) in batch.bounds.windows(2).enumerate() {
                    let sequence = bounds[0]..bounds[1];
                    prop_assert!((0..index).all(|other| batch.sequence(other) != batch.sequence(index)), "each once");
                    prop_assert!(windowing.is_none_or(|windowing| sequence.len() <= windowing.max_length));
                }
                encoded += batch.tokens();
                repeated += batch.repeated_tokens as usize;
            }
            prop_assert_eq!((ended, at), (texts.len(), 0));
            for text in &texts {
                all += text.windows(windowing).tokens();
            }
            prop_assert_eq!(encoded + repeated, all);
        }
    }

    #[test]
    fn the_same_text_goes_through_once_and_does_not_fill_the_batch() {
        let texts = [text(1, 3), text(2, 3), text(1, 3), text(1, 3), text(2, 3), text(3, 3)];
        let batches = batches(&texts, None, Limits { tokens: 10, rows: 25 });
        let counts = |batch: &Batch| (batch.tokens(), batch.texts(), batch.repeated_texts, batch.repeated_tokens);
        assert_eq!(batches.iter().map(counts).collect::<Vec<_>>(), [(10, 5, 3, 15), (5, 1, 0, 0)]);
        assert_eq!(batches[0].parts.iter().map(|part| part.first).collect::<Vec<_>>(), [0, 5, 0, 0, 5]);
        assert!(!batches[0].is_in_order() && batches[1].is_in_order());
    }

    #[test]
    fn a_batch_ends_with_its_part() {
        let texts: Vec<Tokens> = (0..9).map(|kind| text(kind, 2)).collect();
        for (done, expected) in [(0, vec![4, 4, 1]), (3, vec![1, 4, 4]), (8, vec![4, 4, 1])] {
            let texts = texts.iter().cloned().map(Ok::<_, Infallible>);
            let batches = Batches::new(texts, None, Limits { tokens: 100, rows: 100 }).in_parts(Some(4), done);
            assert_eq!(batches.map(|batch| batch.unwrap().texts()).collect::<Vec<_>>(), expected, "{done}");
        }
    }

    #[test]
    fn token_types_tell_texts_apart() {
        let pair = Tokens { token_type_ids: vec![0, 0, 0, 1, 1], ..text(1, 3) };
        let batches = batches(&[text(1, 3), pair], None, Limits { tokens: 10, rows: 10 });
        assert_eq!((batches.len(), batches[0].bounds.len(), batches[0].repeated_texts), (1, 3, 0));
    }

    #[test]
    fn the_windows_of_a_text_may_be_spread_over_batches() {
        let windowing = Windowing { max_length: 6, stride: Some(2) };
        let batches = batches(&[text(1, 9), text(2, 1)], Some(windowing), Limits { tokens: 12, rows: 48 });
        let parts =
            |batch: &Batch| batch.parts.iter().map(|part| (part.tokens.clone(), part.first)).collect::<Vec<_>>();
        assert_eq!(
            batches.iter().map(parts).collect::<Vec<_>>(),
            [vec![(0..4, 0), (4..6, 6 + 2)], vec![(6..8, 2), (8..11, 6 + 3)], vec![(0..3, 0)],]
        );
        assert_eq!(batches.iter().map(Batch::texts).collect::<Vec<_>>(), [0, 1, 1]);
        let ids: Vec<u32> = [0, 3, 4, 5, 6, 10].iter().map(|id| id + 1000).collect();
        assert_eq!(batches[0].input_ids[6..], ids, "special tokens stand around every window");
    }
}
