//! Counts of tokens, words, windows and cuts, of one text and of all texts together.

use std::iter::Sum;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::batch::SPECIAL;
use crate::spec::{RowKind, SpecialTokens, VectorKind};
use crate::tokens::Encoded;
use crate::windows::{Windowing, Windows};

/// The counts of one text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TextCounts {
    /// Tokens, including special tokens.
    pub tokens: u32,
    /// Special tokens among them.
    pub special_tokens: u32,
    /// Words, each of which has a row.
    pub words: u32,
    /// Tokens cut off.
    pub tokens_cut: u32,
    /// Words that lost all or some of their tokens to the cut.
    pub words_cut: u32,
    /// Words of pre-tokenized input for which the tokenizer has no token.
    pub words_deleted: u32,
    /// Unknown tokens (`[UNK]`).
    pub unknown: u32,
    /// Spans, each of which has a row.
    pub spans: u32,
    /// The number, from 1, of the first span that lost tokens to the cut; 0 if none did.
    pub span_cut: u32,
    /// The number, from 1, of the first span without a token; 0 if each has one.
    pub span_without_token: u32,
    /// The start and the end of [`Tokens::longer`].
    pub longer: [u32; 2],
}

impl TextCounts {
    pub(crate) const NUMBERS: usize = 12;
    /// Numbers that a token has in a record of the spool.
    const PER_TOKEN: usize = 3;
    /// Numbers that a span has there.
    const PER_SPAN: usize = 2;

    pub(crate) fn to_numbers(self) -> [u32; Self::NUMBERS] {
        let Self { tokens, special_tokens, words, tokens_cut, words_cut, words_deleted, unknown, .. } = self;
        let Self { spans, span_cut, span_without_token, longer: [start, end], .. } = self;
        let of_tokens = [tokens, special_tokens, words, tokens_cut, words_cut, words_deleted, unknown];
        let of_spans = [spans, span_cut, span_without_token, start, end];
        let mut numbers = [0; Self::NUMBERS];
        numbers[..of_tokens.len()].copy_from_slice(&of_tokens);
        numbers[of_tokens.len()..].copy_from_slice(&of_spans);
        numbers
    }

    pub(crate) fn from_numbers(numbers: [u32; Self::NUMBERS]) -> Self {
        let [tokens, special_tokens, words, tokens_cut, words_cut, words_deleted, unknown, ..] = numbers;
        let [.., spans, span_cut, span_without_token, start, end] = numbers;
        Self {
            tokens,
            special_tokens,
            words,
            tokens_cut,
            words_cut,
            words_deleted,
            unknown,
            spans,
            span_cut,
            span_without_token,
            longer: [start, end],
        }
    }

    /// Counts a text.
    pub fn of(encoded: &Encoded) -> Self {
        let tokens = encoded.tokens.input_ids.len();
        Self {
            tokens: tokens as u32,
            special_tokens: encoded.tokens.words.iter().filter(|&&word| word == SPECIAL).count() as u32,
            words: encoded.tokens.word_count,
            tokens_cut: (encoded.length_before_truncation - tokens) as u32,
            words_cut: encoded.words_truncated,
            words_deleted: encoded.words_deleted,
            unknown: encoded.unknown,
            spans: encoded.tokens.spans.len() as u32,
            span_cut: encoded.span_cut,
            span_without_token: encoded.span_without_token,
            longer: [encoded.tokens.longer.start as u32, encoded.tokens.longer.end as u32],
        }
    }

    /// Tokens before the text is cut, special tokens included.
    pub fn tokens_before_truncation(self) -> usize {
        self.tokens as usize + self.tokens_cut as usize
    }

    /// [`Tokens::longer`], the tokens that are cut into windows.
    pub fn longer(self) -> Range<usize> {
        self.longer[0] as usize..self.longer[1] as usize
    }

    /// Number of rows that the text has in arrays of this kind.
    pub fn rows(self, kind: RowKind, special_tokens: SpecialTokens) -> u32 {
        match (kind, special_tokens) {
            (RowKind::Text, _) => 1,
            (RowKind::Word, _) => self.words,
            (RowKind::Span, _) => self.spans,
            (RowKind::Token, SpecialTokens::Keep) => self.tokens,
            (RowKind::Token, SpecialTokens::Drop) => self.tokens - self.special_tokens,
        }
    }

    /// The windows in which the text goes through the encoder: the whole text, unless it is too long.
    pub fn windows(self, windowing: Option<Windowing>) -> Windows {
        Windows::of(self.tokens as usize, self.longer(), windowing)
    }

    /// Size in bytes of the text's tokens and spans in the spool.
    pub(crate) fn bytes_of_tokens(self) -> u64 {
        let bytes = |count: u32, numbers: usize| u64::from(count) * (numbers * size_of::<u32>()) as u64;
        bytes(self.tokens, Self::PER_TOKEN) + bytes(self.spans, Self::PER_SPAN)
    }

    /// Size in bytes of the text's record in the spool.
    pub fn record_bytes(self) -> u64 {
        (Self::NUMBERS * size_of::<u32>()) as u64 + self.bytes_of_tokens()
    }
}

/// The counts of all texts, known once the input is tokenized and before any array is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Texts.
    pub texts: u64,
    /// Tokens of the texts, special tokens included, each counted once even where windows overlap.
    pub tokens: u64,
    /// Rows of token vectors: fewer than `tokens` when special tokens are dropped.
    pub token_rows: u64,
    /// Words, each of which has a row.
    pub words: u64,
    /// Texts that were cut.
    pub truncated_texts: u64,
    /// Tokens cut off.
    pub truncated_tokens: u64,
    /// Words that lost all or some of their tokens to a cut.
    pub truncated_words: u64,
    /// Texts that are encoded in windows.
    pub windowed_texts: u64,
    /// The windows of those texts.
    pub windows: u64,
    /// Tokens encoded in addition to `tokens`, as windows overlap and each has its own special tokens.
    pub overlap_tokens: u64,
    /// Words of pre-tokenized input for which the tokenizer has no token; their rows are zeros.
    pub deleted_words: u64,
    /// Texts without a token that takes part in pooling; their rows are zeros.
    pub empty_texts: u64,
    /// Unknown tokens (`[UNK]`).
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unknown_tokens: u64,
    /// Spans, each of which has a row.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub spans: u64,
}

/// Counts that older manifests lack are written only if they are not 0.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands it a reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// The settings that decide how a text's tokens are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counting {
    /// Whether special tokens have rows.
    pub special_tokens: SpecialTokens,
    /// How texts beyond the limit are cut into windows; `None` if they are not.
    pub windowing: Option<Windowing>,
}

impl Sum for Counts {
    fn sum<I: Iterator<Item = Self>>(parts: I) -> Self {
        let mut all = Self::default();
        for part in parts {
            // Every field by its name, so that none is forgotten.
            let Self {
                texts,
                tokens,
                token_rows,
                words,
                truncated_texts,
                truncated_tokens,
                truncated_words,
                windowed_texts,
                windows,
                overlap_tokens,
                deleted_words,
                empty_texts,
                unknown_tokens,
                spans,
            } = part;
            all.texts += texts;
            all.tokens += tokens;
            all.token_rows += token_rows;
            all.words += words;
            all.truncated_texts += truncated_texts;
            all.truncated_tokens += truncated_tokens;
            all.truncated_words += truncated_words;
            all.windowed_texts += windowed_texts;
            all.windows += windows;
            all.overlap_tokens += overlap_tokens;
            all.deleted_words += deleted_words;
            all.empty_texts += empty_texts;
            all.unknown_tokens += unknown_tokens;
            all.spans += spans;
        }
        all
    }
}

impl Counts {
    /// Number of sequences that go through the encoder: texts, and windows of texts.
    pub fn sequences(&self) -> u64 {
        self.texts - self.windowed_texts + self.windows
    }

    /// Number of tokens that go through the encoder if repeated texts are encoded each time.
    pub fn encoded_tokens(&self) -> u64 {
        self.tokens + self.overlap_tokens
    }

    /// Adds the counts of a text.
    pub fn add(&mut self, text: TextCounts, counting: Counting) {
        let rows = text.rows(RowKind::Token, counting.special_tokens);
        let windows = text.windows(counting.windowing);
        if windows.len() > 1 {
            self.windowed_texts += 1;
            self.windows += windows.len() as u64;
            self.overlap_tokens += windows.tokens() as u64 - u64::from(text.tokens);
        }
        self.texts += 1;
        self.tokens += u64::from(text.tokens);
        self.token_rows += u64::from(rows);
        self.words += u64::from(text.words);
        self.truncated_texts += u64::from(text.tokens_cut > 0);
        self.truncated_tokens += u64::from(text.tokens_cut);
        self.truncated_words += u64::from(text.words_cut);
        self.deleted_words += u64::from(text.words_deleted);
        self.unknown_tokens += u64::from(text.unknown);
        self.spans += u64::from(text.spans);
        self.empty_texts += u64::from(rows == 0);
    }

    /// Number of rows of an array of this kind.
    pub fn rows(&self, kind: VectorKind) -> u64 {
        match kind.rows() {
            RowKind::Token => self.token_rows,
            RowKind::Word => self.words,
            RowKind::Span => self.spans,
            RowKind::Text => self.texts,
        }
    }
}
