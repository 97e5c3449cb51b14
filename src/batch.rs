//! Ragged batches: the tokens of several texts one after the other, without padding.

/// A token that belongs to no word because it is special.
pub const SPECIAL: u32 = u32::MAX;

/// What the encoder and the poolings need of one tokenized text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tokens {
    /// Ids, special tokens included.
    pub input_ids: Vec<u32>,
    /// 0 for the first text of a pair, 1 for the second.
    pub token_type_ids: Vec<u32>,
    /// The word each token belongs to, or [`SPECIAL`]; ascending where it is a word.
    pub words: Vec<u32>,
    /// Word rows of the text; some may have no token.
    pub word_count: u32,
}

/// Texts that go through the encoder together.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// (tokens)
    pub input_ids: Vec<u32>,
    /// (tokens), counted from 0 in each text.
    pub position_ids: Vec<u32>,
    /// (tokens)
    pub token_type_ids: Vec<u32>,
    /// (tokens), as in [`Tokens::words`].
    pub words: Vec<u32>,
    /// (texts + 1): text i is tokens `bounds[i]..bounds[i + 1]`.
    pub bounds: Vec<usize>,
    /// (texts)
    pub word_counts: Vec<u32>,
}

impl Batch {
    /// A batch of nothing.
    pub fn new() -> Self {
        Self { bounds: vec![0], ..Self::default() }
    }

    /// Adds a text at the end.
    pub fn push(&mut self, tokens: &Tokens) {
        self.input_ids.extend(&tokens.input_ids);
        self.position_ids.extend(0..tokens.input_ids.len() as u32);
        self.token_type_ids.extend(&tokens.token_type_ids);
        self.words.extend(&tokens.words);
        self.bounds.push(self.input_ids.len());
        self.word_counts.push(tokens.word_count);
    }

    /// Number of texts.
    pub fn texts(&self) -> usize {
        self.word_counts.len()
    }

    /// Number of tokens.
    pub fn tokens(&self) -> usize {
        self.input_ids.len()
    }
}

/// Groups texts into batches of at most `batch_tokens` tokens; a longer text is a batch by itself.
///
/// Where the cuts fall never changes a number: see [`crate::kernels`].
pub struct Batches<I> {
    texts: I,
    batch_tokens: usize,
    pending: Option<Tokens>,
}

impl<I, E> Batches<I>
where
    I: Iterator<Item = Result<Tokens, E>>,
{
    /// Batches of `texts`.
    pub fn new(texts: I, batch_tokens: usize) -> Self {
        Self { texts, batch_tokens, pending: None }
    }
}

impl<I, E> Iterator for Batches<I>
where
    I: Iterator<Item = Result<Tokens, E>>,
{
    type Item = Result<Batch, E>;

    fn next(&mut self) -> Option<Result<Batch, E>> {
        let mut batch = Batch::new();
        loop {
            let tokens = match self.pending.take().map(Ok).or_else(|| self.texts.next()) {
                None => break,
                Some(Err(error)) => return Some(Err(error)),
                Some(Ok(tokens)) => tokens,
            };
            // Texts without tokens must not let a batch grow without bound, so texts count as well.
            let full =
                batch.tokens() + tokens.input_ids.len() > self.batch_tokens || batch.texts() >= self.batch_tokens;
            if full && batch.texts() > 0 {
                self.pending = Some(tokens);
                break;
            }
            batch.push(&tokens);
        }
        (batch.texts() > 0).then_some(Ok(batch))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::convert::Infallible;

    proptest! {
        #[test]
        fn every_text_once_in_order_and_no_batch_too_large(lengths in proptest::collection::vec(0usize..20, 0..50), limit in 1usize..40) {
            let texts = lengths.iter().enumerate().map(|(i, &length)| Ok::<_, Infallible>(Tokens {
                input_ids: vec![i as u32; length],
                token_type_ids: vec![0; length],
                words: vec![SPECIAL; length],
                word_count: 0,
            }));
            let batches: Vec<Batch> = Batches::new(texts, limit).map(Result::unwrap).collect();
            let mut next = 0;
            for batch in &batches {
                prop_assert!(batch.tokens() <= limit || batch.texts() == 1);
                prop_assert!(batch.texts() > 0);
                for bounds in batch.bounds.windows(2) {
                    let ids = &batch.input_ids[bounds[0]..bounds[1]];
                    prop_assert_eq!(ids.len(), lengths[next]);
                    prop_assert!(ids.iter().all(|&id| id as usize == next));
                    prop_assert!(batch.position_ids[bounds[0]..bounds[1]].iter().copied().eq(0..ids.len() as u32));
                    next += 1;
                }
            }
            prop_assert_eq!(next, lengths.len());
        }
    }
}
