//! From token vectors to word and sentence vectors. Pure functions of one layer's hidden state.
//!
//! Sums are taken in float64 and rounded once, so that pooling adds next to nothing to a layer's error. The
//! definitions are those of sentence-transformers' `Pooling`.

use std::borrow::Cow;
use std::ops::Range;

use crate::batch::{Batch, SPECIAL};
use crate::spec::{Emit, Pooling, SpecialTokens, WordPooling};

/// The rows of one kind for a batch: `hidden_state` (tokens, width) → (rows of the kind, width).
///
/// Not for `pooler` and `sentence`, which belong to the model rather than to a layer.
pub fn rows<'a>(
    emit: Emit,
    hidden_state: &'a [f32],
    width: usize,
    batch: &Batch,
    word_pooling: WordPooling,
    special_tokens: SpecialTokens,
) -> Cow<'a, [f32]> {
    match (emit, emit.pooling()) {
        (Emit::Token, _) if special_tokens == SpecialTokens::Keep => Cow::Borrowed(hidden_state),
        (Emit::Token, _) => {
            let rows = hidden_state.chunks_exact(width).zip(&batch.words).filter(|(_, word)| **word != SPECIAL);
            Cow::Owned(rows.flat_map(|(row, _)| row).copied().collect())
        }
        (Emit::Word, _) => Cow::Owned(words(hidden_state, width, batch, word_pooling)),
        (_, Some(pooling)) => Cow::Owned(sentences(hidden_state, width, batch, pooling, special_tokens)),
        (_, None) => unreachable!("{} is not pooled from a layer", emit.name()),
    }
}

/// One vector per text: (tokens, width) → (texts, width). A text of which no token takes part has zeros.
pub fn sentences(
    hidden_state: &[f32],
    width: usize,
    batch: &Batch,
    pooling: Pooling,
    special_tokens: SpecialTokens,
) -> Vec<f32> {
    let mut out = vec![0.0; batch.texts() * width];
    for (bounds, out) in batch.bounds.windows(2).zip(out.chunks_exact_mut(width)) {
        let rows = hidden_state[bounds[0] * width..bounds[1] * width].chunks_exact(width);
        let taking_part = rows
            .clone()
            .zip(&batch.words[bounds[0]..bounds[1]])
            .filter(|(_, word)| special_tokens == SpecialTokens::Keep || **word != SPECIAL)
            .map(|(row, _)| row);
        match pooling {
            Pooling::Cls => copy(rows.clone().next(), out),
            Pooling::Lasttoken => copy(rows.clone().next_back(), out),
            Pooling::Mean => weighted_sum(taking_part, |_| 1.0, |count, _| count, out),
            Pooling::MeanSqrtLen => weighted_sum(taking_part, |_| 1.0, |count, _| count.sqrt(), out),
            Pooling::Weightedmean => weighted_sum(taking_part, |index| index as f64 + 1.0, |_, total| total, out),
            Pooling::Max => {
                for (index, row) in taking_part.enumerate() {
                    for (out, value) in out.iter_mut().zip(row) {
                        *out = if index == 0 { *value } else { out.max(*value) };
                    }
                }
            }
        }
    }
    out
}

/// One vector per word: (tokens, width) → (words, width). A word without tokens has zeros.
fn words(hidden_state: &[f32], width: usize, batch: &Batch, pooling: WordPooling) -> Vec<f32> {
    let count: usize = batch.word_counts.iter().map(|&count| count as usize).sum();
    let mut out = vec![0.0; count * width];
    let mut first_row = 0;
    for (bounds, &count) in batch.bounds.windows(2).zip(&batch.word_counts) {
        for (word, tokens) in word_tokens(&batch.words, bounds[0]..bounds[1]) {
            let out = &mut out[(first_row + word as usize) * width..][..width];
            let row = |token: usize| &hidden_state[token * width..][..width];
            let (first, last) = (tokens.start, tokens.end - 1);
            match pooling {
                WordPooling::First => copy(Some(row(first)), out),
                WordPooling::Last => copy(Some(row(last)), out),
                WordPooling::FirstLast => weighted_sum([row(first), row(last)].into_iter(), |_| 1.0, |n, _| n, out),
                WordPooling::Mean => weighted_sum(tokens.map(row), |_| 1.0, |n, _| n, out),
            }
        }
        first_row += count as usize;
    }
    out
}

/// The words among some tokens, each with its tokens, which stand together.
fn word_tokens(words: &[u32], tokens: Range<usize>) -> impl Iterator<Item = (u32, Range<usize>)> {
    let mut at = tokens.start;
    std::iter::from_fn(move || {
        while at < tokens.end && words[at] == SPECIAL {
            at += 1;
        }
        let word = *words[..tokens.end].get(at)?;
        let start = at;
        while at < tokens.end && words[at] == word {
            at += 1;
        }
        Some((word, start..at))
    })
}

fn copy(row: Option<&[f32]>, out: &mut [f32]) {
    if let Some(row) = row {
        out.copy_from_slice(row);
    }
}

/// `Σ weight(i) · rowᵢ / divisor(number of rows, Σ weight(i))`, in float64; zeros when there are no rows.
fn weighted_sum<'a>(
    rows: impl Iterator<Item = &'a [f32]>,
    weight: impl Fn(usize) -> f64,
    divisor: impl Fn(f64, f64) -> f64,
    out: &mut [f32],
) {
    let mut sums = vec![0.0; out.len()];
    let (mut count, mut total) = (0.0, 0.0);
    for (index, row) in rows.enumerate() {
        let weight = weight(index);
        (count, total) = (count + 1.0, total + weight);
        for (sum, value) in sums.iter_mut().zip(row) {
            *sum += weight * f64::from(*value);
        }
    }
    if count > 0.0 {
        let divisor = divisor(count, total);
        for (out, sum) in out.iter_mut().zip(&sums) {
            *out = (sum / divisor) as f32;
        }
    }
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
    use super::*;
    use crate::batch::Tokens;

    /// Two texts: [CLS] a ##b c [SEP] (word 1 has no token), and nothing at all.
    fn batch() -> (Batch, Vec<f32>) {
        let mut batch = Batch::new();
        batch.push(&Tokens {
            input_ids: vec![0; 5],
            token_type_ids: vec![0; 5],
            words: vec![SPECIAL, 0, 0, 2, SPECIAL],
            word_count: 3,
        });
        batch.push(&Tokens::default());
        (batch, vec![10.0, -1.0, 1.0, 2.0, 3.0, 4.0, 5.0, -6.0, 20.0, 0.0])
    }

    fn pooled(emit: Emit, special: SpecialTokens, word_pooling: WordPooling) -> Vec<f32> {
        let (batch, hidden) = batch();
        rows(emit, &hidden, 2, &batch, word_pooling, special).into_owned()
    }

    #[test]
    fn sentence_poolings_by_their_definitions() {
        use SpecialTokens::{Drop, Keep};
        let text = |emit, special| pooled(emit, special, WordPooling::Mean)[..2].to_vec();
        assert_eq!(text(Emit::Cls, Drop), [10.0, -1.0]);
        assert_eq!(text(Emit::Lasttoken, Keep), [20.0, 0.0]);
        assert_eq!(text(Emit::Mean, Keep), [39.0 / 5.0, -1.0 / 5.0]);
        assert_eq!(text(Emit::Mean, Drop), [3.0, 0.0]);
        assert_eq!(text(Emit::Max, Keep), [20.0, 4.0]);
        assert_eq!(text(Emit::Max, Drop), [5.0, 4.0]);
        assert_eq!(text(Emit::MeanSqrtLen, Drop), [(9.0 / 3f64.sqrt()) as f32, 0.0]);
        assert_eq!(text(Emit::Weightedmean, Drop), [(1.0 + 6.0 + 15.0) / 6.0, (2.0 + 8.0 - 18.0) / 6.0]);
    }

    #[test]
    fn a_text_without_tokens_has_zeros() {
        for emit in [Emit::Cls, Emit::Mean, Emit::Max, Emit::MeanSqrtLen, Emit::Weightedmean, Emit::Lasttoken] {
            assert_eq!(pooled(emit, SpecialTokens::Keep, WordPooling::Mean)[2..], [0.0, 0.0], "{emit:?}");
        }
    }

    #[test]
    fn words_keep_their_rows_even_without_tokens() {
        let word = |pooling| pooled(Emit::Word, SpecialTokens::Keep, pooling);
        assert_eq!(word(WordPooling::Mean), [2.0, 3.0, 0.0, 0.0, 5.0, -6.0]);
        assert_eq!(word(WordPooling::First), [1.0, 2.0, 0.0, 0.0, 5.0, -6.0]);
        assert_eq!(word(WordPooling::Last), [3.0, 4.0, 0.0, 0.0, 5.0, -6.0]);
        assert_eq!(word(WordPooling::FirstLast), [2.0, 3.0, 0.0, 0.0, 5.0, -6.0]);
    }

    #[test]
    fn token_rows_with_and_without_special_tokens() {
        let (_, hidden) = batch();
        assert_eq!(pooled(Emit::Token, SpecialTokens::Keep, WordPooling::Mean), hidden);
        assert_eq!(pooled(Emit::Token, SpecialTokens::Drop, WordPooling::Mean), hidden[2..8]);
    }

    #[test]
    fn normalized_rows_have_length_one() {
        let mut rows = [3.0, 4.0, 0.0, 0.0];
        normalize(&mut rows, 2);
        assert_eq!(rows, [0.6, 0.8, 0.0, 0.0]);
    }
}
