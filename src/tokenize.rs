//! The first pass: reads and tokenizes the whole input before any array is written.
//!
//! Bad input is thus found before there is any output, all sizes are known, and `texts.jsonl` can be written. A job that
//! resumes reads its input again, to check that it is the same, and tokenizes the texts that are new.

use sha2::{Digest, Sha256};

use crate::column_types::ColumnTypes;
use crate::counts::{Counts, TextCounts};
use crate::error::{Error, Result};
use crate::input::{Input, InputRecord, Record, Skipped, SourceLine};
use crate::observer::{Observer, Work};
use crate::plan::Plan;
use crate::sha256::hex;
use crate::spec::VectorKind;
use crate::tables::seen::ColumnsSeen;
use crate::text_check::{Named, TextCheck};
use crate::tokens::unknown::UnknownPieces;
use crate::tokens::{Encoded, Tokenizer};

/// Receives tokenized texts, and remembers those that an interrupted pass tokenized before.
pub(crate) trait TokenSink {
    /// Calls `each` with the counts of every text that an interrupted pass tokenized, in order.
    ///
    /// # Errors
    /// Those of reading the counts back.
    fn earlier(&self, _each: &mut dyn FnMut(TextCounts)) -> Result<()> {
        Ok(())
    }

    /// Compares the digest of the input of those texts with the one that was recorded for them.
    ///
    /// # Errors
    /// [`Error::OtherInput`] when it differs.
    fn check_earlier_input(&self, _sha256: &str) -> Result<()> {
        Ok(())
    }

    /// Takes the next text, of row `row`.
    ///
    /// # Errors
    /// Those of the sink.
    fn take(&mut self, row: u64, record: &Record, encoded: &Encoded, counts: TextCounts) -> Result<()>;

    /// Called after each piece of the input; `sha256` computes the digest of the input so far.
    ///
    /// # Errors
    /// Those of the sink.
    fn end_piece(&mut self, _sha256: &dyn Fn() -> String) -> Result<()> {
        Ok(())
    }

    /// What running the same command again does if this pass is interrupted, for the message.
    fn way_on(&self) -> &'static str {
        Error::START_OVER
    }
}

/// Counts texts and keeps nothing else of them.
pub(crate) struct CountOnly;

impl TokenSink for CountOnly {
    fn take(&mut self, _: u64, _: &Record, _: &Encoded, _: TextCounts) -> Result<()> {
        Ok(())
    }
}

/// The result of the first pass.
pub(crate) struct Tokenized {
    pub(crate) counts: Counts,
    pub(crate) input: InputRecord,
    /// Tokens of the longest text, before it is cut.
    pub(crate) longest: usize,
    /// The types of the input's columns.
    pub(crate) types: ColumnTypes,
    /// Some of the pieces of text that the vocabulary does not have.
    unknown: UnknownPieces,
    /// Texts without any word.
    wordless: Named,
}

/// The pass that reads and tokenizes all texts.
#[derive(Clone, Copy)]
pub(crate) struct TokenizePass<'a> {
    pub(crate) input: &'a Input,
    pub(crate) tokenizer: &'a Tokenizer,
    pub(crate) plan: &'a Plan,
    pub(crate) observer: &'a dyn Observer,
}

impl TokenizePass<'_> {
    /// Reads, tokenizes and counts every text, hands it to `sink`, and warns of cuts.
    ///
    /// # Errors
    /// Those of the input, of the tokenizer and of the sink; [`Error::TooLong`] and [`Error::NoRoom`] for texts beyond
    /// the limit that must not or cannot be cut; [`Error::SpanCut`] and [`Error::SpanWithoutToken`] for spans without a vector; [`Error::OtherInput`] if the sink holds texts of another input;
    /// [`Error::Interrupted`] when the observer ends the pass.
    pub(crate) fn run(self, sink: &mut dyn TokenSink) -> Result<Tokenized> {
        let Self { tokenizer, plan, observer, .. } = self;
        let tokenized = self.tokenize(sink)?;
        let Tokenized { counts, longest, unknown, wordless, .. } = &tokenized;
        say_what_was_cut(&CutTexts { counts, longest: *longest, unknown, wordless }, plan, tokenizer, observer);
        Ok(tokenized)
    }

    fn tokenize(self, sink: &mut dyn TokenSink) -> Result<Tokenized> {
        let Self { input, tokenizer, plan, observer } = self;
        let progress = observer.begin(Work::Tokenizing);
        let mut digest = Sha256::new();
        let mut columns = ColumnsSeen::default();
        let mut tally = Tally::new(plan);
        let mut unknown = UnknownPieces::default();
        sink.earlier(&mut |counts| tally.count(counts))?;
        // Number of texts that an interrupted pass tokenized.
        let earlier = tally.counts.texts;
        let mut row = 0;

        let pieces = input.pieces();
        while let Some(piece) = pieces.next(observer, |signal| interrupted(signal, row, sink.way_on()))? {
            let known = earlier.saturating_sub(row).min(piece.len() as u64) as usize;
            piece.iter().for_each(|record| columns.add(record));
            for record in &piece[..known] {
                record.digest_into(&mut digest);
                row += 1;
            }
            if row == earlier && known > 0 {
                sink.check_earlier_input(&hex(&digest.clone().finalize()))?;
            }
            let new = &piece[known..];
            for (record, encoded) in new.iter().zip(tokenizer.encode_records(row, new)) {
                let encoded = encoded.map_err(|error| with_line(error, record))?;
                record.digest_into(&mut digest);
                let counts = TextCounts::of(&encoded);
                tally.count(counts);
                if counts.unknown > 0 && !unknown.is_full() {
                    unknown.extend(tokenizer.unknown_pieces(&encoded, &record.text.text));
                }
                sink.take(row, record, &encoded, counts)?;
                row += 1;
            }
            if row >= earlier {
                sink.end_piece(&|| hex(&digest.clone().finalize()))?;
            }
            progress.reach(row);
        }
        drop(progress);
        if row == 0 {
            return Err(input.is_empty_error());
        }
        pieces.skipped().and_then(Skipped::warning).iter().for_each(|warning| observer.warn(warning));
        let Tally { counts, longest, check, wordless, .. } = tally;
        if row < counts.texts {
            return Err(Error::OtherInput(Box::new(input.is_shorter_error(row, counts.texts))));
        }
        check.finish()?;
        pieces.note_of_id().iter().for_each(|note| observer.note(note));
        let input = InputRecord::new(digest, pieces.skipped());
        Ok(Tokenized { counts, input, longest, types: columns.types(), unknown, wordless })
    }
}

/// The error of a text that the tokenizer refuses, with its line where that cannot be told from its row.
fn with_line(error: Error, record: &Record) -> Error {
    match (error, record.line) {
        (Error::Tokenize { row, message }, Some(SourceLine { file, line })) => {
            let file = file.map_or_else(String::new, |file| format!(" of file {file}"));
            Error::Tokenize { row, message: format!("{message} (line {line}{file})") }
        }
        (error, _) => error,
    }
}

/// The identity of an input and its number of texts, without tokenizing them.
///
/// # Errors
/// Those of the input; [`Error::Interrupted`] when the observer ends the pass.
pub(crate) fn identify(input: &Input, observer: &dyn Observer) -> Result<(InputRecord, u64)> {
    let progress = observer.begin(Work::Tokenizing);
    let (mut digest, mut row) = (Sha256::new(), 0);
    let pieces = input.pieces();
    while let Some(piece) = pieces.next(observer, |signal| interrupted(signal, row, Error::START_OVER))? {
        piece.iter().for_each(|record| record.digest_into(&mut digest));
        row += piece.len() as u64;
        progress.reach(row);
    }
    if row == 0 { Err(input.is_empty_error()) } else { Ok((InputRecord::new(digest, pieces.skipped()), row)) }
}

fn interrupted(signal: u8, texts: u64, way_on: &'static str) -> Error {
    Error::Interrupted { signal, done: 0, texts, way_on }
}

/// What is counted over all texts.
struct Tally<'a> {
    plan: &'a Plan,
    counts: Counts,
    longest: usize,
    check: TextCheck<'a>,
    wordless: Named,
}

impl<'a> Tally<'a> {
    fn new(plan: &'a Plan) -> Self {
        Self { plan, counts: Counts::default(), longest: 0, check: TextCheck::new(plan), wordless: Named::default() }
    }

    fn count(&mut self, text: TextCounts) {
        self.check.take(self.counts.texts, text);
        self.wordless.add_if_wordless(self.counts.texts, text);
        self.longest = self.longest.max(text.tokens_before_truncation());
        self.counts.add(text, self.plan.counting());
    }
}

/// What is told of texts once all are tokenized.
pub(crate) struct CutTexts<'a> {
    pub(crate) counts: &'a Counts,
    /// Tokens of the longest text, before it is cut.
    pub(crate) longest: usize,
    /// Some of the pieces of text that the vocabulary does not have.
    pub(crate) unknown: &'a UnknownPieces,
    /// Texts without any word.
    pub(crate) wordless: &'a Named,
}

/// Warns of every kind of cut or loss, so that none is silent.
pub(crate) fn say_what_was_cut(texts: &CutTexts<'_>, plan: &Plan, tokenizer: &Tokenizer, observer: &dyn Observer) {
    let cuts_the_beginning = tokenizer.cuts_the_beginning();
    let &CutTexts { counts, longest, unknown, wordless } = texts;
    wordless.note_of_wordless(counts.texts).iter().for_each(|note| observer.note(note));
    if counts.truncated_texts > 0 {
        observer.warn(&format!(
            "{} of {} texts are longer than {} tokens; {}, {} tokens in all, is cut off; --overflow window keeps all of it",
            counts.truncated_texts,
            counts.texts,
            plan.max_length,
            if cuts_the_beginning { "their beginning" } else { "what lies beyond" },
            counts.truncated_tokens
        ));
    }
    if counts.windowed_texts > 0 {
        observer.note(&format!(
            "{} of {} texts are longer than {} tokens and are encoded in windows, {} in all; as windows overlap, that is {} tokens more, {:.2} times those of the texts; a smaller --stride costs less",
            counts.windowed_texts,
            counts.texts,
            plan.max_length,
            counts.windows,
            counts.overlap_tokens,
            counts.encoded_tokens() as f64 / counts.tokens.max(1) as f64
        ));
    }
    if let Some(warning) = unknown.warning(counts.unknown_tokens, counts.tokens, tokenizer) {
        observer.warn(&warning);
    }
    if counts.deleted_words > 0 && plan.has(VectorKind::Word) {
        observer.note(&format!(
            "{} words have no token in this model's vocabulary and get a row of zeros each",
            counts.deleted_words
        ));
    }
    if let Some(limit) = tokenizer.model_max_length()
        && plan.sentence.is_none()
        && limit < plan.max_length.min(longest)
    {
        observer.note(&format!(
            "the tokenizer's settings name a limit of {limit} tokens (model_max_length), where transformers cuts with truncation=True; add --max-length {limit} for the same"
        ));
    }
    if let Some(limit) = plan.sentence.as_ref().and_then(|recipe| recipe.max_seq_length)
        && limit < plan.max_length.min(longest)
    {
        observer.note(&format!(
            "sentence-transformers cuts texts for this model at {limit} tokens; for the same vectors of longer ones add --max-length {limit}"
        ));
    }
}
