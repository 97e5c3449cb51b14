//! From token vectors to word and sentence vectors, layer by layer.
//!
//! Sums are taken in float64, in the order of the tokens, and rounded once, so that pooling adds next to nothing to a
//! layer's error. The definitions are those of sentence-transformers' `Pooling`.
//!
//! A text that is too long may be spread over several batches. Each pooling here therefore takes batch after batch of
//! one layer, and keeps a few vectors of the text that has not ended, however long it is. Where a batch ends changes no
//! number.

use std::borrow::Cow;

use crate::batch::{Batch, SPECIAL, TextSpan};
use crate::spec::{Pooling, SpecialTokens, VectorKind, WordPooling};
use crate::threads::share_map;

/// Makes the rows of one kind of vector from one layer.
pub enum RowPooling {
    /// A row per token.
    Tokens(SpecialTokens),
    /// A row per word.
    WordPooler(WordPooler),
    /// A row per span.
    SpanPooler(SpanPooler),
    /// A row per text.
    TextPooler(TextPooler),
}

impl RowPooling {
    /// The pooling for any kind but `pooler` and `sentence`, which belong to the model rather than to a layer.
    pub fn new(emit: VectorKind, word_pooling: WordPooling, special_tokens: SpecialTokens) -> Self {
        match (emit, emit.pooling()) {
            (VectorKind::Token, _) => RowPooling::Tokens(special_tokens),
            (VectorKind::Word, _) => RowPooling::WordPooler(WordPooler::new(word_pooling)),
            (VectorKind::Span, _) => RowPooling::SpanPooler(SpanPooler::new(word_pooling)),
            (_, Some(pooling)) => RowPooling::TextPooler(TextPooler::new(pooling, special_tokens)),
            (_, None) => unreachable!("{} is not pooled from a layer", emit.name()),
        }
    }

    /// Pools the next batch: `hidden_state` (tokens, width) → (rows whose tokens are all there, width).
    pub fn take<'a>(&mut self, hidden_state: &'a [f32], width: usize, batch: &Batch) -> Cow<'a, [f32]> {
        match self {
            RowPooling::Tokens(special_tokens) => tokens(hidden_state, width, batch, *special_tokens),
            RowPooling::WordPooler(words) => Cow::Owned(take(words, hidden_state, width, batch, NUMBERS_OF_PIECE)),
            RowPooling::SpanPooler(spans) => Cow::Owned(take(spans, hidden_state, width, batch, NUMBERS_OF_PIECE)),
            RowPooling::TextPooler(texts) => Cow::Owned(take(texts, hidden_state, width, batch, NUMBERS_OF_PIECE)),
        }
    }
}

/// A pooling that takes the parts of texts one after another.
trait Pooler: Send + Sync {
    /// The same pooling, before its first text.
    fn fresh(&self) -> Self;

    /// Pools the next parts: `hidden_state` (tokens of the batch, width) → (rows that end with them, width).
    fn take_parts(&mut self, hidden_state: &[f32], width: usize, parts: &[TextSpan]) -> Vec<f32>;
}

/// Pools the next batch, in pieces of some `numbers`, which threads that have nothing else to do share: a pooling knows nothing of a text
/// that has ended, so one that begins there makes the same rows.
fn take<P: Pooler>(pooler: &mut P, hidden_state: &[f32], width: usize, batch: &Batch, numbers: usize) -> Vec<f32> {
    let pieces = pieces(&batch.parts, numbers / width.max(1));
    if pieces.len() < 2 {
        return pooler.take_parts(hidden_state, width, &batch.parts);
    }
    let own = std::mem::replace(pooler, pooler.fresh());
    let mut poolers = vec![own];
    poolers.resize_with(pieces.len(), || pooler.fresh());
    let pieces = poolers.into_iter().zip(pieces).collect();
    let taken = share_map(pieces, |(mut pooler, parts)| {
        let rows = pooler.take_parts(hidden_state, width, parts);
        (pooler, rows)
    });
    let mut out = Vec::with_capacity(taken.iter().map(|(_, rows)| rows.len()).sum());
    for (of_piece, rows) in taken {
        out.extend_from_slice(&rows);
        *pooler = of_piece; // that of the last piece knows of a text that has not ended
    }
    out
}

/// Numbers of a hidden state that a thread pools at a time: half a millisecond.
const NUMBERS_OF_PIECE: usize = 1 << 19;

/// Pieces of at least `tokens` tokens, which end where a text does.
fn pieces(parts: &[TextSpan], tokens: usize) -> Vec<&[TextSpan]> {
    let (mut pieces, mut first, mut held) = (Vec::new(), 0, 0);
    for (index, part) in parts.iter().enumerate() {
        held += part.tokens.len();
        if (held >= tokens && part.ends_text()) || index + 1 == parts.len() {
            pieces.push(&parts[first..=index]);
            (first, held) = (index + 1, 0);
        }
    }
    pieces
}

/// One vector per token. Borrows `hidden_state` if every token of it is a row, in the same order.
fn tokens<'a>(hidden_state: &'a [f32], width: usize, batch: &Batch, special_tokens: SpecialTokens) -> Cow<'a, [f32]> {
    let keep = special_tokens == SpecialTokens::Keep;
    if keep && batch.is_in_order() {
        return Cow::Borrowed(hidden_state);
    }
    let mut out = Vec::new();
    for part in &batch.parts {
        let vectors = part.vectors(hidden_state, width);
        if keep {
            out.extend_from_slice(vectors);
        } else {
            let rows = vectors.chunks_exact(width).zip(part.words()).filter(|(_, word)| **word != SPECIAL);
            rows.for_each(|(row, _)| out.extend_from_slice(row));
        }
    }
    Cow::Owned(out)
}

/// Pools the tokens of each text. A text of which no token takes part gets zeros.
pub struct TextPooler {
    pooling: Pooling,
    special_tokens: SpecialTokens,
    /// Number of tokens at the beginning of each text that take no part, those of a prompt.
    skipped: usize,
    /// Number of tokens of the current text that took part so far.
    count: usize,
    /// The sum so far, (width), for poolings that are sums.
    sums: Vec<f64>,
    /// The sum of the weights so far, for weighted poolings.
    weights: f64,
    /// The row so far, (width), for poolings that are not sums.
    row: Vec<f32>,
}

impl TextPooler {
    /// Pools all tokens of a text, or all but the special ones.
    pub fn new(pooling: Pooling, special_tokens: SpecialTokens) -> Self {
        Self { pooling, special_tokens, skipped: 0, count: 0, sums: Vec::new(), weights: 0.0, row: Vec::new() }
    }

    /// Leaves out the first `skipped` tokens of each text. The others keep the weights of their positions.
    #[must_use]
    pub fn without_first(self, skipped: usize) -> Self {
        Self { skipped, ..self }
    }

    /// Pools the next batch: (tokens, width) → (texts that end in this batch, width).
    pub fn take(&mut self, hidden_state: &[f32], width: usize, batch: &Batch) -> Vec<f32> {
        take(self, hidden_state, width, batch, NUMBERS_OF_PIECE)
    }

    fn add(&mut self, part: &TextSpan, vectors: &[f32], width: usize) {
        let Self { pooling, special_tokens, skipped, count, sums, weights, row } = self;
        let mut rows = vectors.chunks_exact(width);
        let tokens = part.tokens.clone();
        match pooling {
            // A text without a token after the skipped ones gives its own first token.
            Pooling::Cls => {
                let first = if part.text.input_ids.len() > *skipped { *skipped } else { 0 };
                let first = tokens.contains(&first).then(|| first - tokens.start);
                return first
                    .and_then(|first| rows.nth(first))
                    .into_iter()
                    .for_each(|first| row.copy_from_slice(first));
            }
            Pooling::Lasttoken if tokens.end <= *skipped => return,
            Pooling::Lasttoken => return rows.next_back().into_iter().for_each(|last| row.copy_from_slice(last)),
            _ => {}
        }
        for ((vector, &word), token) in rows.zip(part.words()).zip(tokens) {
            if token < *skipped || *special_tokens == SpecialTokens::Drop && word == SPECIAL {
                continue;
            }
            match pooling {
                Pooling::Max if *count == 0 => row.copy_from_slice(vector),
                Pooling::Max => row.iter_mut().zip(vector).for_each(|(row, value)| *row = row.max(*value)),
                Pooling::Weightedmean => {
                    // The positions of skipped tokens count, as in sentence-transformers.
                    let weight = (*count + *skipped) as f64 + 1.0;
                    *weights += weight;
                    add_weighted(sums, weight, vector);
                }
                _ => add_weighted(sums, 1.0, vector),
            }
            *count += 1;
        }
    }

    /// Appends the current text's row and resets the state for the next text.
    fn end_text(&mut self, out: &mut Vec<f32>) {
        let count = self.count as f64;
        let divisor = match self.pooling {
            Pooling::Cls | Pooling::Lasttoken | Pooling::Max => {
                out.extend_from_slice(&self.row);
                self.row.fill(0.0);
                self.count = 0;
                return;
            }
            Pooling::Mean => count,
            Pooling::MeanSqrtLen => count.sqrt(),
            Pooling::Weightedmean => self.weights,
        };
        push_divided(&self.sums, if self.count > 0 { divisor } else { 1.0 }, out);
        self.sums.fill(0.0);
        self.weights = 0.0;
        self.count = 0;
    }
}

impl Pooler for TextPooler {
    fn fresh(&self) -> Self {
        Self::new(self.pooling, self.special_tokens).without_first(self.skipped)
    }

    fn take_parts(&mut self, hidden_state: &[f32], width: usize, parts: &[TextSpan]) -> Vec<f32> {
        self.sums.resize(width, 0.0);
        self.row.resize(width, 0.0);
        let mut out = Vec::with_capacity(parts.len() * width);
        for part in parts {
            self.add(part, part.vectors(hidden_state, width), width);
            if part.ends_text() {
                self.end_text(&mut out);
            }
        }
        out
    }
}

/// Pools the tokens of one word or span, which come in their order.
#[derive(Default)]
struct TokenRun {
    /// Number of tokens so far.
    count: usize,
    /// Their sum so far, (width).
    sums: Vec<f64>,
    /// The first token, and the last one so far, (width) each.
    first: Vec<f32>,
    last: Vec<f32>,
}

impl TokenRun {
    fn add(&mut self, pooling: WordPooling, vector: &[f32]) {
        if pooling == WordPooling::Mean {
            self.sums.resize(vector.len(), 0.0);
            add_weighted(&mut self.sums, 1.0, vector);
        } else {
            if self.count == 0 {
                self.first.clear();
                self.first.extend_from_slice(vector);
            }
            self.last.clear();
            self.last.extend_from_slice(vector);
        }
        self.count += 1;
    }

    /// Appends the row, (width), zeros without tokens, and makes room for the next word or span.
    fn end(&mut self, pooling: WordPooling, width: usize, out: &mut Vec<f32>) {
        match pooling {
            _ if self.count == 0 => out.resize(out.len() + width, 0.0),
            WordPooling::First => out.extend_from_slice(&self.first),
            WordPooling::Last => out.extend_from_slice(&self.last),
            WordPooling::FirstLast => {
                self.sums.resize(width, 0.0);
                add_weighted(&mut self.sums, 1.0, &self.first);
                add_weighted(&mut self.sums, 1.0, &self.last);
                push_divided(&self.sums, 2.0, out);
            }
            WordPooling::Mean => push_divided(&self.sums, self.count as f64, out),
        }
        self.sums.fill(0.0);
        self.count = 0;
    }
}

/// Pools the tokens of each word. A word without tokens gets zeros.
pub struct WordPooler {
    pooling: WordPooling,
    /// The word whose tokens are being taken.
    current: Option<u32>,
    run: TokenRun,
    /// Number of rows made for the current text.
    done: u32,
}

impl WordPooler {
    /// Pools the tokens of a word by `pooling`.
    pub fn new(pooling: WordPooling) -> Self {
        Self { pooling, current: None, run: TokenRun::default(), done: 0 }
    }

    /// Appends the current word's row.
    fn end_word(&mut self, width: usize, out: &mut Vec<f32>) {
        if self.current.take().is_some() {
            self.run.end(self.pooling, width, out);
            self.done += 1;
        }
    }

    /// Appends rows of zeros for words without tokens, up to `word`.
    fn fill_up(&mut self, word: u32, width: usize, out: &mut Vec<f32>) {
        let missing = word.saturating_sub(self.done);
        out.resize(out.len() + missing as usize * width, 0.0);
        self.done += missing;
    }
}

impl Pooler for WordPooler {
    fn fresh(&self) -> Self {
        Self::new(self.pooling)
    }

    fn take_parts(&mut self, hidden_state: &[f32], width: usize, parts: &[TextSpan]) -> Vec<f32> {
        let mut out = Vec::new();
        for part in parts {
            for (vector, &word) in part.vectors(hidden_state, width).chunks_exact(width).zip(part.words()) {
                if word == SPECIAL {
                    continue;
                }
                if self.current != Some(word) {
                    self.end_word(width, &mut out);
                    self.fill_up(word, width, &mut out);
                    self.current = Some(word);
                }
                self.run.add(self.pooling, vector);
            }
            if part.ends_text() {
                self.end_word(width, &mut out);
                self.fill_up(part.text.word_count, width, &mut out);
                self.done = 0;
            }
        }
        out
    }
}

/// Pools the tokens of each span as those of a word. Spans may overlap and nest, and the rows of a text's spans are made where the
/// text ends, in the order in which they were given.
pub struct SpanPooler {
    pooling: WordPooling,
    /// The spans of the current text, and further ones that are kept for their memory.
    runs: Vec<TokenRun>,
}

impl SpanPooler {
    /// Pools the tokens of a span by `pooling`.
    pub fn new(pooling: WordPooling) -> Self {
        Self { pooling, runs: Vec::new() }
    }
}

impl Pooler for SpanPooler {
    fn fresh(&self) -> Self {
        Self::new(self.pooling)
    }

    fn take_parts(&mut self, hidden_state: &[f32], width: usize, parts: &[TextSpan]) -> Vec<f32> {
        let mut out = Vec::new();
        for part in parts {
            let (vectors, spans) = (part.vectors(hidden_state, width), &part.text.spans);
            if self.runs.len() < spans.len() {
                self.runs.resize_with(spans.len(), TokenRun::default);
            }
            for (run, span) in self.runs.iter_mut().zip(spans) {
                let tokens = part.tokens.clone();
                let held = tokens.start.max(span.start as usize)..tokens.end.min(span.end as usize);
                for token in held {
                    run.add(self.pooling, &vectors[(token - tokens.start) * width..][..width]);
                }
                if part.ends_text() {
                    run.end(self.pooling, width, &mut out);
                }
            }
        }
        out
    }
}

/// `sums += weight · vector`
fn add_weighted(sums: &mut [f64], weight: f64, vector: &[f32]) {
    for (sum, value) in sums.iter_mut().zip(vector) {
        *sum += weight * f64::from(*value);
    }
}

fn push_divided(sums: &[f64], divisor: f64, out: &mut Vec<f32>) {
    out.extend(sums.iter().map(|sum| (sum / divisor) as f32));
}

/// Scales each row to length 1; a row of zeros stays as it is.
pub fn normalize(rows: &mut [f32], width: usize) {
    for row in rows.chunks_exact_mut(width) {
        let length = row.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
        if length > 0.0 {
            for value in row {
                *value = (f64::from(*value) / length) as f32;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ops::Range;
    use std::sync::Arc;

    use super::*;
    use crate::batch::Tokens;
    use proptest::prelude::*;

    /// Two texts: [CLS] a ##b c [SEP] (word 1 has no token), and nothing at all.
    fn batch() -> (Batch, Vec<f32>) {
        let mut batch = Batch::new();
        batch.push(&Tokens {
            input_ids: vec![0; 5],
            token_type_ids: vec![0; 5],
            words: vec![SPECIAL, 0, 0, 2, SPECIAL],
            word_count: 3,
            longer: 1..4,
            spans: vec![1..4, 2..3, 0..0],
        });
        batch.push(&Tokens::default());
        (batch, vec![10.0, -1.0, 1.0, 2.0, 3.0, 4.0, 5.0, -6.0, 20.0, 0.0])
    }

    fn pooled(emit: VectorKind, special: SpecialTokens, word_pooling: WordPooling) -> Vec<f32> {
        let (batch, hidden) = batch();
        RowPooling::new(emit, word_pooling, special).take(&hidden, 2, &batch).into_owned()
    }

    #[test]
    fn sentence_poolings_by_their_definitions() {
        use SpecialTokens::{Drop, Keep};
        let text = |emit, special| pooled(emit, special, WordPooling::Mean)[..2].to_vec();
        assert_eq!(text(VectorKind::Cls, Drop), [10.0, -1.0]);
        assert_eq!(text(VectorKind::Lasttoken, Keep), [20.0, 0.0]);
        assert_eq!(text(VectorKind::Mean, Keep), [39.0 / 5.0, -1.0 / 5.0]);
        assert_eq!(text(VectorKind::Mean, Drop), [3.0, 0.0]);
        assert_eq!(text(VectorKind::Max, Keep), [20.0, 4.0]);
        assert_eq!(text(VectorKind::Max, Drop), [5.0, 4.0]);
        assert_eq!(text(VectorKind::MeanSqrtLen, Drop), [(9.0 / 3f64.sqrt()) as f32, 0.0]);
        assert_eq!(text(VectorKind::Weightedmean, Drop), [(1.0 + 6.0 + 15.0) / 6.0, (2.0 + 8.0 - 18.0) / 6.0]);
    }

    #[test]
    fn a_text_without_tokens_has_zeros() {
        for emit in [
            VectorKind::Cls,
            VectorKind::Mean,
            VectorKind::Max,
            VectorKind::MeanSqrtLen,
            VectorKind::Weightedmean,
            VectorKind::Lasttoken,
        ] {
            assert_eq!(pooled(emit, SpecialTokens::Keep, WordPooling::Mean)[2..], [0.0, 0.0], "{emit:?}");
        }
    }

    #[test]
    fn words_keep_their_rows_even_without_tokens() {
        let word = |pooling| pooled(VectorKind::Word, SpecialTokens::Keep, pooling);
        assert_eq!(word(WordPooling::Mean), [2.0, 3.0, 0.0, 0.0, 5.0, -6.0]);
        assert_eq!(word(WordPooling::First), [1.0, 2.0, 0.0, 0.0, 5.0, -6.0]);
        assert_eq!(word(WordPooling::Last), [3.0, 4.0, 0.0, 0.0, 5.0, -6.0]);
        assert_eq!(word(WordPooling::FirstLast), [2.0, 3.0, 0.0, 0.0, 5.0, -6.0]);
    }

    #[test]
    fn spans_overlap_and_nest() {
        let span = |pooling| pooled(VectorKind::Span, SpecialTokens::Drop, pooling);
        assert_eq!(span(WordPooling::Mean), [3.0, 0.0, 3.0, 4.0, 0.0, 0.0]);
        assert_eq!(span(WordPooling::First), [1.0, 2.0, 3.0, 4.0, 0.0, 0.0]);
        assert_eq!(span(WordPooling::Last), [5.0, -6.0, 3.0, 4.0, 0.0, 0.0]);
        assert_eq!(span(WordPooling::FirstLast), [3.0, -2.0, 3.0, 4.0, 0.0, 0.0]);
    }

    #[test]
    fn token_rows_with_and_without_special_tokens() {
        let (_, hidden) = batch();
        assert_eq!(pooled(VectorKind::Token, SpecialTokens::Keep, WordPooling::Mean), hidden);
        assert_eq!(pooled(VectorKind::Token, SpecialTokens::Drop, WordPooling::Mean), hidden[2..8]);
    }

    proptest! {
        /// The same bits however a text is spread over batches, and wherever its vectors are in them.
        #[test]
        fn where_a_batch_ends_does_not_show(
            lengths in proptest::collection::vec(1usize..4, 0..8), // tokens of each word; every third word has none
            cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..4),
            seed in any::<u64>(),
        ) {
            let words = lengths.iter().enumerate().filter(|(word, _)| word % 3 != 1);
            let words = words.flat_map(|(word, &length)| vec![word as u32; length]);
            let words: Vec<u32> = [SPECIAL].into_iter().chain(words).chain([SPECIAL]).collect();
            let tokens = words.len();
            let ids: Vec<u32> = (0..tokens as u32).collect();
            let text = Tokens {
                input_ids: ids.clone(),
                token_type_ids: ids,
                words,
                word_count: lengths.len() as u32,
                longer: 1..tokens - 1,
                spans: (0..tokens as u32).map(|start| start..tokens.min(start as usize * 2 + 1) as u32).collect(),
            };
            let hidden: Vec<f32> = (0..tokens as u64 * 2)
                .map(|i| (seed ^ i).wrapping_mul(0x9e37_79b9_7f4a_7c15) as f32 / 1e18 - 9.0)
                .collect();
            let mut whole = Batch::new();
            whole.push(&text);
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| 1 + cut.index(tokens - 1)).collect();
            cuts.extend([0, tokens]);
            cuts.sort_unstable();
            cuts.dedup();
            let text = Arc::new(text);
            let kinds = [VectorKind::Token, VectorKind::Word, VectorKind::Span, VectorKind::Cls, VectorKind::Mean, VectorKind::Max, VectorKind::MeanSqrtLen, VectorKind::Weightedmean, VectorKind::Lasttoken];
            let ways = [WordPooling::First, WordPooling::Last, WordPooling::FirstLast, WordPooling::Mean];
            for (kind, way, special) in kinds.iter().flat_map(|&kind| {
                ways.iter().flat_map(move |&way| [(kind, way, SpecialTokens::Keep), (kind, way, SpecialTokens::Drop)])
            }) {
                let expected = RowPooling::new(kind, way, special).take(&hidden, 2, &whole).into_owned();
                let mut rows = RowPooling::new(kind, way, special);
                for _ in 0..2 { // twice, as nothing of a text may be left when it has ended
                    let mut found = Vec::new();
                    for cut in cuts.windows(2) {
                        let part = TextSpan { text: text.clone(), tokens: cut[0]..cut[1], first: 3 };
                        let batch = Batch { input_ids: vec![0; 3 + cut[1] - cut[0]], parts: vec![part], ..Batch::new() };
                        let in_batch = [&[f32::NAN; 6][..], &hidden[cut[0] * 2..cut[1] * 2]].concat();
                        found.extend_from_slice(&rows.take(&in_batch, 2, &batch));
                    }
                    prop_assert_eq!(&found, &expected, "{:?}, {:?}, {:?}", kind, way, special);
                }
            }
        }
    }

    /// Pieces of a batch that begins and ends inside a text, one for each of its texts.
    #[test]
    fn pieces_of_a_batch_give_the_rows_of_the_whole() {
        fn check<P: Pooler>(new: impl Fn() -> P) {
            let text = |tokens: u32| {
                let words = (0..tokens).map(|token| if token % 4 == 3 { SPECIAL } else { token / 2 }).collect();
                let spans = vec![0..tokens, 1..tokens.min(3)];
                let ids = vec![0; tokens as usize];
                Arc::new(Tokens { input_ids: ids, words, word_count: tokens.div_ceil(2), spans, ..Tokens::default() })
            };
            let texts: Vec<_> = [5, 3, 0, 9, 4, 6].map(text).into();
            let parts_of = |ranges: &[(usize, Range<usize>)]| {
                let mut first = 0;
                let part = |&(index, ref tokens): &(usize, Range<usize>)| {
                    let part = TextSpan { text: Arc::clone(&texts[index]), tokens: tokens.clone(), first };
                    first += tokens.len();
                    part
                };
                Batch { parts: ranges.iter().map(part).collect(), ..Batch::new() }
            };
            let batches = [
                parts_of(&[(0, 0..2)]),
                parts_of(&[(0, 2..5), (1, 0..3), (2, 0..0), (3, 0..4), (3, 4..9), (4, 0..4), (5, 0..5)]),
                parts_of(&[(5, 5..6)]),
            ];
            let pieces_of_second = pieces(&batches[1].parts, 1);
            assert_eq!(pieces_of_second.iter().map(|piece| piece.len()).collect::<Vec<_>>(), [1, 1, 3, 1, 1]);
            let rows = |numbers: usize| -> Vec<Vec<u32>> {
                let (mut pooler, mut seed) = (new(), 1u64);
                let mut of_batch = |batch: &Batch| {
                    let tokens: usize = batch.parts.iter().map(|part| part.tokens.len()).sum();
                    let hidden: Vec<f32> = (0..tokens * 3)
                        .map(|_| {
                            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                            (seed >> 40) as f32 / 1e6 - 8.0
                        })
                        .collect();
                    take(&mut pooler, &hidden, 3, batch, numbers).iter().map(|value| value.to_bits()).collect()
                };
                batches.iter().map(&mut of_batch).collect()
            };
            assert_eq!(rows(1), rows(usize::MAX));
            assert_eq!(rows(15), rows(usize::MAX));
        }
        for pooling in [Pooling::Cls, Pooling::Mean, Pooling::Max, Pooling::Weightedmean, Pooling::Lasttoken] {
            check(|| TextPooler::new(pooling, SpecialTokens::Drop).without_first(1));
        }
        for pooling in [WordPooling::First, WordPooling::Last, WordPooling::FirstLast, WordPooling::Mean] {
            check(|| WordPooler::new(pooling));
            check(|| SpanPooler::new(pooling));
        }
    }

    #[test]
    fn normalized_rows_have_length_one() {
        let mut rows = [3.0, 4.0, 0.0, 0.0];
        normalize(&mut rows, 2);
        assert_eq!(rows, [0.6, 0.8, 0.0, 0.0]);
    }
}
