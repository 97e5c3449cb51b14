//! Tokenization: token ids, the length limit, and the word each token belongs to.

mod byte_level;
mod class;
mod esm;
mod load;
mod patterns;
mod pieces;
mod sentence_piece;
mod settings;
mod template;
mod unigram;
pub mod unknown;
mod word_piece;

use std::borrow::{Borrow, Cow};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::OnceLock;

use rayon::prelude::*;
use tokenizers::utils::truncation::{TruncationDirection, TruncationParams, TruncationStrategy, truncate_encodings};
use tokenizers::{Encoding, InputSequence, Model, PostProcessor, PostProcessorWrapper, Token};

use self::patterns::BacktrackingPatterns;
use self::pieces::{JoinedPieces, LONG, SafeSplits};
use crate::batch::{SPECIAL, Tokens};
use crate::checkpoint::Checkpoint;
use crate::checkpoint::foreign::without_panic;
use crate::checkpoint::sentence::TokenizerArguments;
use crate::error::{Error, Result};
use crate::input::{Record, Span, Text};
use crate::windows::Windowing;

/// Bytes of a text that a tokenizer takes whole. Where each character is a token, it needs half a kilobyte for each.
const LONGEST_WHOLE: usize = 2 << 20;

/// A model's tokenizer with the model's limits.
pub struct Tokenizer {
    /// The tokenizer without its post-processor: texts are cut before special tokens are added.
    inner: tokenizers::Tokenizer,
    post_processor: Option<PostProcessorWrapper>,
    /// The same for words that are given one by one, where it is another one; made once there are such.
    for_words: OnceLock<Option<Box<tokenizers::Tokenizer>>>,
    /// The post-processor for them, if it is another one.
    post_processor_for_words: Option<PostProcessorWrapper>,
    /// The patterns that may give up on a text, if it has any.
    patterns: Option<BacktrackingPatterns>,
    /// Where long texts can be tokenized piece by piece, if they can.
    splits: Option<SafeSplits>,
    vocab_size: usize,
    type_vocab_size: usize,
    max_length: usize,
    /// The end at which texts are cut.
    truncation: TruncationDirection,
    /// Whether the second text of a pair has token type 1; all token types are 0 otherwise.
    token_type_ids: bool,
    /// Whether there is something to put between the texts of a pair.
    takes_pairs: bool,
    /// The limit in tokens that the tokenizer's own settings name.
    model_max_length: Option<usize>,
    /// The unknown token (`[UNK]`), and its id if it is in the vocabulary itself.
    unk_token: Option<(String, Option<u32>)>,
    /// The ids of the special tokens that the settings name (`all_special_ids`).
    special_ids: Vec<u32>,
    /// Text that is put before each text.
    prompt: String,
    notes: Vec<String>,
    /// Whether texts are cut at the limit. If not, they stay whole and are cut into windows later.
    truncates: bool,
    path: PathBuf,
}

/// A tokenized text, with the details that `texts.jsonl` has of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Encoded {
    /// What the encoder and the poolings need.
    pub tokens: Tokens,
    /// The tokens as strings, such as `##ing`.
    pub strings: Vec<String>,
    /// The \[start, end) of each token in Unicode characters of the text; `None` for special tokens.
    pub offsets: Vec<Option<(usize, usize)>>,
    /// Words of the first text of a pair, which come before those of the second; of a text alone, all words.
    pub words_of_first: u32,
    /// Tokens before truncation, special tokens included.
    pub length_before_truncation: usize,
    /// Words that lost all or some of their tokens to the cut.
    pub words_truncated: u32,
    /// Words of pre-tokenized input for which the tokenizer has no token at all.
    pub words_deleted: u32,
    /// Unknown tokens (`[UNK]`).
    pub unknown: u32,
    /// The number, from 1, of the first span that lost tokens to the cut; 0 if none did.
    pub span_cut: u32,
    /// The number, from 1, of the first span without a token; 0 if each has one.
    pub span_without_token: u32,
}

impl Tokenizer {
    /// Loads a model's tokenizer for an embedding table of `vocab_size` rows and texts of up to `max_length` tokens.
    ///
    /// # Errors
    /// [`Error::Model`] when the model has no tokenizer or a damaged one, [`Error::Config`] for a setting that is not
    /// supported, [`Error::Usage`] when the limit leaves no room for text.
    pub fn load(checkpoint: &Checkpoint, vocab_size: usize, max_length: usize) -> Result<Self> {
        Self::load_with(checkpoint, vocab_size, max_length, &TokenizerArguments::default())
    }

    /// Like [`Tokenizer::load`], with the arguments that sentence-transformers adds.
    ///
    /// # Errors
    /// Those of [`Tokenizer::load`].
    pub fn load_with(
        checkpoint: &Checkpoint,
        vocab_size: usize,
        max_length: usize,
        arguments: &TokenizerArguments,
    ) -> Result<Self> {
        let mut loaded = load::load(checkpoint, arguments)?;
        // A vocabulary without any of BERT's special tokens does not belong to BERT, however many embeddings there are.
        let has_none = loaded.lacking.len() == 3;
        if let Some((token, _)) = loaded.lacking.iter().find(|(_, id)| has_none || *id as usize >= vocab_size) {
            return Err(Error::model(
                checkpoint.path_of("vocab.txt"),
                format!("has no line `{token}`, which every text needs; is this a BERT vocabulary?"),
            ));
        }
        let post_processor = loaded.tokenizer.get_post_processor().cloned();
        loaded.tokenizer.with_post_processor(None::<PostProcessorWrapper>);
        let path = checkpoint.path_of("tokenizer.json");
        let patterns = BacktrackingPatterns::of(&loaded.tokenizer).map_err(|problem| Error::model(&path, problem))?;
        let splits = SafeSplits::of(&loaded.tokenizer);
        let unk_token = loaded.unk_token.map(|token| {
            let id = loaded.tokenizer.get_model().token_to_id(&token);
            (token, id)
        });
        let tokenizer = Self {
            inner: loaded.tokenizer,
            post_processor_for_words: post_processor.as_ref().and_then(byte_level::processor_for_words),
            post_processor,
            for_words: OnceLock::new(),
            patterns,
            splits,
            vocab_size,
            type_vocab_size: usize::MAX,
            max_length,
            truncation: loaded.truncation,
            token_type_ids: loaded.token_type_ids,
            takes_pairs: loaded.takes_pairs,
            model_max_length: loaded.model_max_length,
            unk_token,
            special_ids: loaded.special_ids,
            prompt: String::new(),
            notes: loaded.notes,
            truncates: true,
            path,
        };
        // Encodes a text of several kinds of characters, to find an unusable tokenizer before the input is read.
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

    /// Puts `prompt` before each text. Its tokens are encoded with the text and belong to none of its words.
    #[must_use]
    pub fn with_prompt(self, prompt: &str) -> Self {
        Self { prompt: prompt.to_owned(), ..self }
    }

    /// Sets the number of token types that the model has embeddings for; pairs of texts are refused if it is less than
    /// 2.
    #[must_use]
    pub fn with_type_vocab_size(self, type_vocab_size: usize) -> Self {
        Self { type_vocab_size, ..self }
    }

    /// Whether the texts of a pair have different token types.
    pub fn has_token_types(&self) -> bool {
        self.token_type_ids
    }

    /// The limit in tokens that the tokenizer's own settings name (`model_max_length`).
    pub fn model_max_length(&self) -> Option<usize> {
        self.model_max_length
    }

    /// Notes for the user on how the tokenizer was loaded.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Whether texts that are too long lose their beginning instead of their end.
    pub fn cuts_the_beginning(&self) -> bool {
        self.truncation == TruncationDirection::Left
    }

    /// Number of tokens that the prompt takes at the beginning of a text, including the special token before it. It is
    /// counted as sentence-transformers does: the tokens of the prompt as a text of its own, without the special token
    /// after it.
    ///
    /// # Errors
    /// Those of [`Tokenizer::encode`].
    pub fn prompt_length(&self) -> Result<usize> {
        if self.prompt.is_empty() {
            return Ok(0);
        }
        let encoded = self.encode(0, &Text { text: String::new(), words: None }, None)?;
        let ends_special = encoded.tokens.input_ids.last().is_some_and(|id| self.special_ids.contains(id));
        Ok(encoded.strings.len() - usize::from(ends_special))
    }

    /// Leaves texts beyond the limit whole, to be cut into windows.
    ///
    /// # Errors
    /// [`Error::Usage`] when the stride leaves windows no step forward.
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

    /// The unknown token (`[UNK]`).
    pub fn unk_token(&self) -> Option<&str> {
        self.unk_token.as_ref().map(|(token, _)| token.as_str())
    }

    /// The pieces of a text that the vocabulary has no token for.
    pub fn unknown_pieces<'a>(&self, encoded: &'a Encoded, text: &'a str) -> impl Iterator<Item = String> + use<'a> {
        let unk = self.unk_token.as_ref().and_then(|(_, id)| *id).filter(|_| encoded.unknown > 0);
        let unknown = encoded.tokens.input_ids.iter().zip(&encoded.offsets).filter(move |(id, _)| Some(**id) == unk);
        unknown
            .filter_map(|(_, offsets)| *offsets)
            .map(|(start, end)| text.chars().skip(start).take(end - start).collect())
    }

    /// Whether the text has no unknown tokens.
    fn knows(&self, text: &str) -> bool {
        let unk = self.unk_token.as_ref().and_then(|(_, id)| *id);
        let encoded = without_panic(|| self.inner.encode_fast(text, false));
        encoded.is_ok_and(|encoded| !encoded.is_empty() && encoded.get_ids().iter().all(|id| Some(*id) != unk))
    }

    /// The string of a token id.
    pub fn token(&self, id: u32) -> String {
        self.inner.id_to_token(id).unwrap_or_else(|| format!("<{id}>"))
    }

    /// Number of special tokens that are added to a text, or to a pair.
    pub(crate) fn special_tokens(&self, pair: bool) -> usize {
        self.post_processor.as_ref().map_or(0, |processor| processor.added_tokens(pair))
    }

    /// Refuses pairs of texts where the model has no embedding for the second one's tokens.
    ///
    /// # Errors
    /// [`Error::Usage`] when the model has no embedding for the second text's token type, or the tokenizer nothing to put
    /// between two texts.
    pub fn check_pairs(&self) -> Result<()> {
        if !self.takes_pairs {
            return Err(Error::Usage(
                "--pair-column: this model's tokenizer has no eos_token, which would stand between two texts (tokenizer_config.json), so it takes no pairs"
                    .to_owned(),
            ));
        }
        if self.type_vocab_size < 2 && self.gives_pairs_two_types() {
            return Err(Error::Usage(
                "--pair-column: this model knows one token type (type_vocab_size is 1), so it takes no pairs"
                    .to_owned(),
            ));
        }
        Ok(())
    }

    /// Whether the tokens of a pair have more than one type. RoBERTa's template has one, also where the tokenizer's class has types.
    fn gives_pairs_two_types(&self) -> bool {
        let text = |type_id| Encoding::from_tokens(vec![Token::new(0, "a".to_owned(), (0, 1))], type_id);
        let joined = || match self.post_processor.as_ref() {
            Some(processor) => processor.process(text(0), Some(text(1)), true),
            None => self.inner.post_process(text(0), Some(text(1)), true),
        };
        // One that fails says so where the pairs are encoded.
        self.token_type_ids && without_panic(joined).is_ok_and(|joined| joined.get_type_ids().iter().any(|&id| id > 0))
    }

    /// Encodes the text of a record, or its pair of texts.
    ///
    /// # Errors
    /// Those of [`Tokenizer::encode`] and [`Tokenizer::check_pairs`].
    pub fn encode_record(&self, row: u64, record: &Record) -> Result<Encoded> {
        if record.pair.is_some() {
            self.check_pairs()?;
        }
        self.encode_with_spans(row, &record.text, record.pair.as_ref(), record.spans.as_deref().unwrap_or_default())
    }

    /// Encodes the texts of several records on all threads of the current pool. `first_row` is the row of the first one, for
    /// messages.
    ///
    /// # Errors
    /// Those of [`Tokenizer::encode_record`], for each text by itself.
    pub fn encode_records<R: Borrow<Record> + Sync>(&self, first_row: u64, records: &[R]) -> Vec<Result<Encoded>> {
        let records = records.par_iter().enumerate();
        records.map(|(index, record)| self.encode_record(first_row + index as u64, record.borrow())).collect()
    }

    /// Encodes one text, or a pair of texts, and cuts what is beyond the limit unless it is left for windows. A text
    /// loses its end, or its beginning if the model says so; of a pair, the longer text is cut first. `row` is for
    /// messages.
    ///
    /// # Errors
    /// [`Error::Tokenize`] when the tokenizers library fails, [`Error::TokenOutOfRange`] for an id without an
    /// embedding.
    pub fn encode(&self, row: u64, text: &Text, pair: Option<&Text>) -> Result<Encoded> {
        self.encode_with_spans(row, text, pair, &[])
    }

    /// Like [`Tokenizer::encode`], with the tokens of spans of the first text.
    fn encode_with_spans(&self, row: u64, text: &Text, pair: Option<&Text>, spans: &[Span]) -> Result<Encoded> {
        let prompted = self.prompted(text);
        let (text, given) = (prompted.as_ref(), text);
        [Some(text), pair].into_iter().flatten().try_for_each(|text| self.check_patterns(row, text))?;
        // The end of a text that is cut is counted and not kept.
        let is_cut =
            self.truncates && pair.is_none() && spans.is_empty() && self.truncation == TruncationDirection::Right;
        let keep = if is_cut { self.max_length } else { usize::MAX };
        let JoinedPieces { encoding: first, tokens_beyond, words_beyond } = self.encode_alone(row, text, keep)?;
        let second = pair.map(|text| self.encode_alone(row, text, usize::MAX)).transpose()?;
        let second = second.map(|joined| joined.encoding);
        let words_of = |text: &Text, encoding: &Encoding| match &text.words {
            Some(words) => words.len() as u32,
            None => encoding.get_word_ids().iter().flatten().max().map_or(0, |&last| last + 1),
        };
        let prompt_words = self.prompt_words(text, given, &first);
        let words_before = [words_of(text, &first), pair.zip(second.as_ref()).map_or(0, |(t, e)| words_of(t, e))];

        let special = self.special_tokens(pair.is_some());
        let length = first.len() + tokens_beyond + second.as_ref().map_or(0, Encoding::len) + special;
        let has_token = [present_words(&first), second.as_ref().map_or_else(Vec::new, present_words)];
        let span_tokens = match spans {
            [] => Vec::new(),
            spans => self.tokens_of_spans(spans, text, given, &self.with_its_offsets(&first)?),
        };
        let length_of_first = first.len();

        let (first, second) = if self.truncates && length > self.max_length {
            let params = TruncationParams {
                max_length: self.max_length.saturating_sub(special),
                strategy: TruncationStrategy::LongestFirst,
                stride: 0,
                direction: self.truncation,
            };
            let (mut first, mut second) =
                truncate_encodings(first, second, &params).map_err(|error| self.failed(row, &error.to_string()))?;
            // Frees the parts that were cut off, which the encoding would otherwise carry along.
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

        // Raw text has only the words of its remaining tokens; pre-tokenized text keeps all of its words.
        let word_counts = [
            if text.words.is_some() { words_before[0] } else { words_of(text, &first) },
            match (pair, &second) {
                (Some(text), Some(second)) if text.words.is_none() => words_of(text, second),
                _ => words_before[1],
            },
        ];
        let mut encoded =
            Encoded { length_before_truncation: length, words_truncated: words_beyond, ..Encoded::default() };
        encoded.set_spans(span_tokens, length_of_first, first.len(), self.truncation);
        encoded.tokens.word_count = word_counts[0] + word_counts[1];
        encoded.words_of_first = word_counts[0];
        let kept = [present_words(&first), second.as_ref().map_or_else(Vec::new, present_words)];
        for (before, kept) in has_token.iter().zip(&kept) {
            encoded.words_truncated += words_cut(before, kept, self.truncation);
        }
        for (text, has_token) in [Some(text), pair].into_iter().zip(&has_token) {
            if let Some(words) = text.and_then(|text| text.words.as_ref()) {
                encoded.words_deleted += (words.len() - has_token.len()) as u32;
            }
        }

        let expected = first.len() + second.as_ref().map_or(0, Encoding::len) + special;
        let of_words = self.post_processor_for_words.as_ref().filter(|_| text.words.is_some());
        // A damaged one may panic on one text and not on another.
        let joined = without_panic(|| match of_words.or(self.post_processor.as_ref()) {
            Some(processor) => processor.process(first, second, true),
            None => self.inner.post_process(first, second, true),
        });
        let joined = joined
            .map_err(|problem| Error::model(&self.path, format!("its post_processor cannot be used: {problem}")))?;
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
        if !self.prompt.is_empty() {
            self.set_prompt_apart(&mut encoded, joined.get_sequence_ids(), prompt_words);
        }
        if let Some(&id) = encoded.tokens.token_type_ids.iter().find(|&&id| id as usize >= self.type_vocab_size) {
            return Err(Error::model(
                &self.path,
                format!(
                    "gives a token the type {id}, but the model has embeddings of {} token types (type_vocab_size); give it single texts instead of pairs",
                    self.type_vocab_size
                ),
            ));
        }
        match encoded.tokens.input_ids.iter().find(|&&id| id as usize >= self.vocab_size) {
            None => Ok(encoded),
            Some(&id) => Err(Error::TokenOutOfRange { row, token: self.token(id), id, vocab_size: self.vocab_size }),
        }
    }

    /// Refuses a text on which a pattern of the tokenizer gives up, and which it would leave whole.
    fn check_patterns(&self, row: u64, text: &Text) -> Result<()> {
        let Some(patterns) = &self.patterns else { return Ok(()) };
        let check = |text: &str| patterns.check(&self.inner, text);
        without_panic(|| match &text.words {
            None => check(&text.text),
            Some(words) => words.iter().try_for_each(|word| check(&text.text[word.clone()])),
        })
        .map_err(|message| Error::Tokenize { row, message })
    }

    /// The error for a text that the tokenizers library cannot encode, with the cause if it is known.
    fn failed(&self, row: u64, problem: &str) -> Error {
        let message = match &self.unk_token {
            Some((token, None)) => format!(
                "a word is not in the vocabulary (vocab.txt or tokenizer.json), and neither is `{token}`, which stands for such words (unk_token of tokenizer_config.json or special_tokens_map.json, else the class's); is this a BERT vocabulary?"
            ),
            _ => problem.to_owned(),
        };
        Error::Tokenize { row, message }
    }

    /// The prompt and the text joined. For pre-tokenized text, the prompt's words are put before the given ones.
    fn prompted<'a>(&self, text: &'a Text) -> Cow<'a, Text> {
        if self.prompt.is_empty() {
            return Cow::Borrowed(text);
        }
        let words = text.words.as_ref().map(|words| {
            let prompt = Text::of_line(self.prompt.clone(), true).words.unwrap_or_default();
            let shifted = words.iter().map(|word| word.start + self.prompt.len()..word.end + self.prompt.len());
            prompt.into_iter().chain(shifted).collect()
        });
        Cow::Owned(Text { text: format!("{}{}", self.prompt, text.text), words })
    }

    /// The encoding of a text with the offsets that its tokens have in the end: RoBERTa's leave out the space before a word.
    fn with_its_offsets(&self, encoding: &Encoding) -> Result<Encoding> {
        let Some(processor) = &self.post_processor else { return Ok(encoding.clone()) };
        let processed = without_panic(|| processor.process(encoding.clone(), None, false))
            .map_err(|problem| Error::model(&self.path, format!("its post_processor cannot be used: {problem}")))?;
        Ok(if processed.len() == encoding.len() { processed } else { encoding.clone() })
    }

    /// The tokens of each span among those of `first`, the prompted text before it is cut: from the first one that overlaps it to
    /// the last one.
    fn tokens_of_spans(&self, spans: &[Span], prompted: &Text, given: &Text, first: &Encoding) -> Vec<Range<usize>> {
        // Where each token begins and ends, in characters, or in words where they are given.
        let places: Vec<(usize, usize)> = match (&prompted.words, &given.words) {
            (Some(_), Some(_)) => {
                let word = |word: &Option<u32>| word.map_or((0, 0), |word| (word as usize, word as usize + 1));
                first.get_word_ids().iter().map(word).collect()
            }
            _ => first.get_offsets().to_vec(),
        };
        let before = match (&prompted.words, &given.words) {
            (Some(prompted), Some(given)) => prompted.len() - given.len(),
            _ => self.prompt.chars().count(),
        };
        // From token to token neither beginnings nor ends fall, unless a normalizer puts characters in another order.
        let is_sorted = places.is_sorted_by(|one, next| one.0 <= next.0 && one.1 <= next.1);
        let tokens = |span: &Span| {
            let (start, end) = (span.start + before, span.end + before);
            let overlaps = |place: &(usize, usize)| place.1 > start && place.0 < end;
            if is_sorted {
                let first = places.partition_point(|place| place.1 <= start);
                first..places.partition_point(|place| place.0 < end).max(first)
            } else {
                let last = places.iter().rposition(overlaps).map_or(0, |last| last + 1);
                places.iter().position(overlaps).unwrap_or(last)..last
            }
        };
        spans.iter().map(tokens).collect()
    }

    /// Number of words that belong to the prompt alone; `first` is the prompted text, not yet cut.
    fn prompt_words(&self, prompted: &Text, given: &Text, first: &Encoding) -> u32 {
        if let (Some(prompted), Some(given)) = (&prompted.words, &given.words) {
            return (prompted.len() - given.len()) as u32;
        }
        let characters = self.prompt.chars().count();
        let mut words = first.get_word_ids().iter().zip(first.get_offsets());
        let first_of_text = words.find(|(_, (_, end))| *end > characters).and_then(|(word, _)| *word);
        first_of_text.unwrap_or_else(|| first.get_word_ids().iter().flatten().max().map_or(0, |&last| last + 1))
    }

    /// Removes the prompt from offsets and words, which then count from the beginning of the text itself. The prompt's
    /// own tokens get neither.
    fn set_prompt_apart(&self, encoded: &mut Encoded, sequences: Vec<Option<usize>>, prompt_words: u32) {
        let characters = self.prompt.chars().count();
        let words = encoded.tokens.words.iter_mut();
        for ((word, offsets), sequence) in words.zip(&mut encoded.offsets).zip(sequences) {
            match *offsets {
                None => {}
                Some(_) if sequence == Some(1) => *word -= prompt_words,
                Some((start, end)) if end > characters => {
                    *offsets = Some((start.saturating_sub(characters), end - characters));
                    *word = word.saturating_sub(prompt_words);
                }
                Some(_) => {
                    *offsets = None;
                    *word = SPECIAL;
                }
            }
        }
        encoded.tokens.word_count -= prompt_words.min(encoded.tokens.word_count);
        encoded.words_of_first -= prompt_words.min(encoded.words_of_first);
    }

    /// Encodes one text without special tokens and without a limit. Of a long text the tokens beyond `keep` may be counted
    /// alone.
    fn encode_alone(&self, row: u64, text: &Text, keep: usize) -> Result<JoinedPieces> {
        let failed = |problem: String| self.failed(row, &problem);
        if text.words.is_none() && text.text.len() > LONG {
            if let Some(splits) = &self.splits {
                return without_panic(|| splits.encode(&self.inner, &text.text, keep)).map_err(failed);
            }
            if text.text.len() > LONGEST_WHOLE {
                let message = format!(
                    "this tokenizer takes a text as a whole, and {} bytes could take more than a gigabyte of memory; split the text into parts of up to {} MiB",
                    text.text.len(),
                    LONGEST_WHOLE >> 20
                );
                return Err(Error::Tokenize { row, message });
            }
        }
        let input: InputSequence<'_> = match &text.words {
            None => text.text.as_str().into(),
            Some(words) => words.iter().map(|word| &text.text[word.clone()]).collect::<Vec<&str>>().into(),
        };
        let tokenizer = match &text.words {
            None => &self.inner,
            Some(_) => self.for_words().unwrap_or(&self.inner),
        };
        // The map of characters of a damaged model makes the library panic on one text and not on another.
        let encoding = without_panic(|| tokenizer.encode_char_offsets(input, false)).map_err(failed)?;
        Ok(JoinedPieces { encoding, tokens_beyond: 0, words_beyond: 0 })
    }

    /// The tokenizer for words that are given one by one, if it is another one.
    fn for_words(&self) -> Option<&tokenizers::Tokenizer> {
        self.for_words.get_or_init(|| byte_level::for_words(&self.inner).map(Box::new)).as_deref()
    }

    /// Copies ids, strings, offsets and words of `joined`, which has its special tokens, into `encoded`.
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
            // Offsets of pre-tokenized input are relative to the start of the word.
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
        let before = first.start as u32;
        let with_tokens = encoded.tokens.spans.iter_mut().filter(|span| span.start < span.end);
        with_tokens.for_each(|span| *span = span.start + before..span.end + before);
        encoded.tokens.longer = if first.len() > second.len() { first } else { second };
        encoded.strings = joined.get_tokens().to_vec();
        encoded.tokens.token_type_ids =
            if self.token_type_ids { joined.get_type_ids().to_vec() } else { vec![0; joined.len()] };
        encoded.tokens.input_ids = joined.get_ids().to_vec();
        if let Some((_, Some(unk))) = &self.unk_token {
            encoded.unknown = encoded.tokens.input_ids.iter().filter(|&id| id == unk).count() as u32;
        }
    }
}

impl Encoded {
    /// Takes the tokens of each span, of a text of `length` tokens of which `kept` remain behind the cut at one of its ends.
    fn set_spans(&mut self, spans: Vec<Range<usize>>, length: usize, kept: usize, truncation: TruncationDirection) {
        let kept = match truncation {
            TruncationDirection::Right => 0..kept,
            TruncationDirection::Left => length - kept..length,
        };
        for (span, number) in spans.into_iter().zip(1..) {
            let is_cut = !span.is_empty() && (span.start < kept.start || span.end > kept.end);
            let lost = if is_cut { &mut self.span_cut } else { &mut self.span_without_token };
            if (is_cut || span.is_empty()) && *lost == 0 {
                *lost = number;
            }
            let held = span.start.clamp(kept.start, kept.end)..span.end.clamp(kept.start, kept.end);
            self.tokens.spans.push((held.start - kept.start) as u32..(held.end - kept.start) as u32);
        }
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

/// Number of words that lost tokens between `before` and `kept`, the part of it that remains after truncation.
fn words_cut(before: &[(u32, usize)], kept: &[(u32, usize)], truncation: TruncationDirection) -> u32 {
    let whole = match truncation {
        TruncationDirection::Right => before.iter().zip(kept).filter(|(before, kept)| before == kept).count(),
        TruncationDirection::Left => {
            before.iter().rev().zip(kept.iter().rev()).filter(|(before, kept)| before == kept).count()
        }
    };
    (before.len() - whole) as u32
}

/// The start of each word of pre-tokenized input, in characters.
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
