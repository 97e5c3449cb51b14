//! From texts to tokens: encoding, the length limit, and which word each token belongs to.

mod load;

use std::ops::Range;
use std::path::PathBuf;

use tokenizers::utils::truncation::{TruncationDirection, TruncationParams, TruncationStrategy, truncate_encodings};
use tokenizers::{Encoding, InputSequence, PostProcessor, PostProcessorWrapper};

use crate::batch::{SPECIAL, Tokens};
use crate::checkpoint::Checkpoint;
use crate::checkpoint::foreign::without_panic;
use crate::error::{Error, Result};
use crate::input::Text;
use crate::windows::Windowing;

/// A model's tokenizer with the model's limits.
pub struct Tokenizer {
    /// Without a post-processor: a text is encoded and cut before special tokens join it.
    inner: tokenizers::Tokenizer,
    post_processor: Option<PostProcessorWrapper>,
    vocab_size: usize,
    max_length: usize,
    /// Whether longer texts are cut at the limit. If not, they are left whole, for windows.
    truncates: bool,
    path: PathBuf,
}

/// A tokenized text, with what `texts.jsonl` says of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Encoded {
    /// For the encoder and the poolings.
    pub tokens: Tokens,
    /// The tokens' texts.
    pub strings: Vec<String>,
    /// \[start, end) in Unicode characters of the text, `None` for special tokens.
    pub offsets: Vec<Option<(usize, usize)>>,
    /// Tokens before truncation, special tokens included.
    pub length_before_truncation: usize,
    /// Words whose tokens were all cut off, or in part.
    pub words_truncated: u32,
    /// Words of pre-tokenized input for which the tokenizer has no token at all.
    pub words_deleted: u32,
}

impl Tokenizer {
    /// Loads a model's tokenizer for an embedding table of `vocab_size` rows and texts of up to `max_length` tokens.
    ///
    /// # Errors
    /// [`Error::Model`] when the model has no tokenizer or it is damaged, [`Error::Usage`] when the limit leaves no
    /// room for text.
    pub fn load(checkpoint: &Checkpoint, vocab_size: usize, max_length: usize) -> Result<Self> {
        let mut inner = load::load(checkpoint)?;
        let post_processor = inner.get_post_processor().cloned();
        inner.with_post_processor(None::<PostProcessorWrapper>);
        let path = checkpoint.path_of("tokenizer.json");
        let tokenizer = Self { inner, post_processor, vocab_size, max_length, truncates: true, path };
        // A text of several kinds of characters, so that a tokenizer that cannot be used is found before the input is read.
        let sample = Text { text: "Aé 中1.\u{1f642} [MASK]".to_owned(), words: None };
        without_panic(|| Ok::<_, String>(tokenizer.encode(0, &sample, None).is_ok()))
            .map_err(|problem| Error::model(&tokenizer.path, format!("cannot be used: {problem}")))?;
        let special = tokenizer.special_tokens(false);
        if max_length <= special {
            return Err(Error::Usage(format!(
                "a limit of {max_length} tokens leaves no room for text, as the tokenizer adds {special} special tokens; see --max-length"
            )));
        }
        Ok(tokenizer)
    }

    /// Leaves texts beyond the limit whole, to be cut into windows.
    ///
    /// # Errors
    /// [`Error::Usage`] when the windows would not come forward.
    pub fn with_windows(self, windowing: Windowing) -> Result<Self> {
        let room = windowing.room(self.special_tokens(false));
        match (windowing.step(room), windowing.stride) {
            (None, Some(stride)) => Err(Error::Usage(format!(
                "--stride {stride} leaves windows of {room} tokens, special tokens aside, no step forward; choose at most {}",
                room.saturating_sub(1)
            ))),
            _ => Ok(Self { truncates: false, ..self }),
        }
    }

    /// Whether upper and lower case are the same to this tokenizer.
    pub fn ignores_case(&self) -> bool {
        let ids = |text: &str| self.inner.encode_fast(text, false).map(|encoding| encoding.get_ids().to_vec()).ok();
        ids("ABCDEFGHIJKLMNOPQRSTUVWXYZ \u{c4}") == ids("abcdefghijklmnopqrstuvwxyz \u{e4}")
    }

    /// A token's text.
    pub fn token(&self, id: u32) -> String {
        self.inner.id_to_token(id).unwrap_or_else(|| format!("<{id}>"))
    }

    /// Special tokens added to a text, or to a pair.
    fn special_tokens(&self, pair: bool) -> usize {
        self.post_processor.as_ref().map_or(0, |processor| processor.added_tokens(pair))
    }

    /// Encodes one text, or a pair of texts, cutting what is beyond the limit: off the end, of a pair off the longer
    /// text first; unless it is left for windows. `row` is for messages.
    ///
    /// # Errors
    /// [`Error::Tokenize`] when the library fails, [`Error::TokenOutOfRange`] for an id without an embedding.
    pub fn encode(&self, row: u64, text: &Text, pair: Option<&Text>) -> Result<Encoded> {
        let failed = |error: tokenizers::Error| Error::Tokenize { row, message: error.to_string() };
        let first = self.encode_alone(text).map_err(failed)?;
        let second = pair.map(|text| self.encode_alone(text)).transpose().map_err(failed)?;
        let words_of = |text: &Text, encoding: &Encoding| match &text.words {
            Some(words) => words.len() as u32,
            None => encoding.get_word_ids().iter().flatten().max().map_or(0, |&last| last + 1),
        };
        let words_before = [words_of(text, &first), pair.zip(second.as_ref()).map_or(0, |(t, e)| words_of(t, e))];

        let special = self.special_tokens(pair.is_some());
        let length = first.len() + second.as_ref().map_or(0, Encoding::len) + special;
        let has_token = [present_words(&first), second.as_ref().map_or_else(Vec::new, present_words)];

        let (first, second) = if self.truncates && length > self.max_length {
            let params = TruncationParams {
                max_length: self.max_length.saturating_sub(special),
                strategy: TruncationStrategy::LongestFirst,
                stride: 0,
                direction: TruncationDirection::Right,
            };
            let (mut first, mut second) = truncate_encodings(first, second, &params).map_err(failed)?;
            // The parts cut off would be carried along.
            first.take_overflowing();
            if let Some(second) = &mut second {
                second.take_overflowing();
            }
            (first, second)
        } else {
            (first, second)
        };
        let second = second.map(|mut encoding| {
            encoding.set_type_ids(vec![1; encoding.len()]);
            encoding
        });

        // Raw text has the words its kept tokens belong to; pre-tokenized text keeps all of its words.
        let word_counts = [
            if text.words.is_some() { words_before[0] } else { words_of(text, &first) },
            match (pair, &second) {
                (Some(text), Some(second)) if text.words.is_none() => words_of(text, second),
                _ => words_before[1],
            },
        ];
        let mut encoded = Encoded { length_before_truncation: length, ..Encoded::default() };
        encoded.tokens.word_count = word_counts[0] + word_counts[1];
        let kept = [present_words(&first), second.as_ref().map_or_else(Vec::new, present_words)];
        for (before, kept) in has_token.iter().zip(&kept) {
            encoded.words_truncated += words_cut(before, kept);
        }
        for (text, has_token) in [Some(text), pair].into_iter().zip(&has_token) {
            if let Some(words) = text.and_then(|text| text.words.as_ref()) {
                encoded.words_deleted += (words.len() - has_token.len()) as u32;
            }
        }

        let expected = first.len() + second.as_ref().map_or(0, Encoding::len) + special;
        let joined = match &self.post_processor {
            Some(processor) => processor.process(first, second, true),
            None => self.inner.post_process(first, second, true),
        };
        let joined = joined.map_err(failed)?;
        if joined.len() != expected {
            return Err(Error::model(
                &self.path,
                format!(
                    "its post_processor makes {} tokens where the text and special tokens are {expected}; expected a template that holds each text once",
                    joined.len()
                ),
            ));
        }
        self.fill(&mut encoded, &joined, [Some(text), pair], word_counts[0]);
        match encoded.tokens.input_ids.iter().find(|&&id| id as usize >= self.vocab_size) {
            None => Ok(encoded),
            Some(&id) => Err(Error::TokenOutOfRange { row, token: self.token(id), id, vocab_size: self.vocab_size }),
        }
    }

    /// One text without special tokens and without a limit.
    fn encode_alone(&self, text: &Text) -> tokenizers::Result<Encoding> {
        let input: InputSequence<'_> = match &text.words {
            None => text.text.as_str().into(),
            Some(words) => words.iter().map(|word| &text.text[word.clone()]).collect::<Vec<&str>>().into(),
        };
        self.inner.encode_char_offsets(input, false)
    }

    /// Takes over what the library says of the tokens, special tokens added.
    fn fill(&self, encoded: &mut Encoded, joined: &Encoding, texts: [Option<&Text>; 2], first_words: u32) {
        let sequences = joined.get_sequence_ids();
        let starts = texts.map(|text| text.map_or_else(Vec::new, word_starts));
        for (index, &mask) in joined.get_special_tokens_mask().iter().enumerate() {
            let word = joined.get_word_ids()[index];
            if mask == 1 {
                encoded.tokens.words.push(SPECIAL);
                encoded.offsets.push(None);
                continue;
            }
            let second = sequences[index] == Some(1);
            encoded.tokens.words.push(word.unwrap_or(0) + if second { first_words } else { 0 });
            // Offsets of pre-tokenized input count from the start of the word.
            let starts = &starts[usize::from(second)];
            let start = word.and_then(|word| starts.get(word as usize)).copied().unwrap_or(0);
            let (from, to) = joined.get_offsets()[index];
            encoded.offsets.push(Some((start + from, start + to)));
        }
        let places = |side: usize| -> Range<usize> {
            let first = sequences.iter().position(|&of| of == Some(side));
            let last = sequences.iter().rposition(|&of| of == Some(side));
            first.zip(last).map_or(0..0, |(first, last)| first..last + 1)
        };
        let [first, second] = [places(0), places(1)];
        encoded.tokens.longer = if first.len() > second.len() { first } else { second };
        encoded.strings = joined.get_tokens().to_vec();
        encoded.tokens.token_type_ids = joined.get_type_ids().to_vec();
        encoded.tokens.input_ids = joined.get_ids().to_vec();
    }
}

/// The words that have tokens, ascending, each with the number of its tokens.
fn present_words(encoding: &Encoding) -> Vec<(u32, usize)> {
    let mut words: Vec<(u32, usize)> = Vec::new();
    for &word in encoding.get_word_ids().iter().flatten() {
        match words.last_mut() {
            Some((last, count)) if *last == word => *count += 1,
            _ => words.push((word, 1)),
        }
    }
    words
}

/// Words that lost tokens between `before` and `kept`, a prefix of it.
fn words_cut(before: &[(u32, usize)], kept: &[(u32, usize)]) -> u32 {
    before.iter().enumerate().filter(|(index, word)| kept.get(*index) != Some(word)).count() as u32
}

/// Where each word of pre-tokenized input starts, in characters.
fn word_starts(text: &Text) -> Vec<usize> {
    let Some(words) = &text.words else { return Vec::new() };
    let (mut at_byte, mut at_char) = (0, 0);
    words
        .iter()
        .map(|Range { start, .. }| {
            at_char += text.text[at_byte..*start].chars().count();
            at_byte = *start;
            at_char
        })
        .collect()
}
