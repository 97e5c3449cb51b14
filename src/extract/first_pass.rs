//! The first pass: everything is read and tokenized before anything is encoded.
//!
//! So bad input is found before any work, sizes are known, and `texts.jsonl` is written. A job that goes on reads its input
//! again, to see that it is the same, and tokenizes what is new.

use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use crate::commands::console::Console;
use crate::commands::interrupt::Interrupt;
use crate::error::{Error, Result};
use crate::input::{self, Input};
use crate::output::columns;
use crate::output::first_phase::FirstPhase;
use crate::output::texts::TextLine;
use crate::plan::{Counts, Plan};
use crate::spec::{Emit, Overflow};
use crate::spool::{self, TextCounts};
use crate::tokens::unknown::UnknownPieces;
use crate::tokens::{Encoded, Tokenizer};
use crate::windows::Windowing;

/// How long a signal may go unnoticed while input is waited for.
const SIGNAL_LATENCY: Duration = Duration::from_millis(50);
/// Rows an error message names before it only counts.
const NAMED_ROWS: usize = 5;

/// Where what is made of the texts stays.
pub(super) enum Keep<'a> {
    /// Nowhere: they are counted only.
    Nothing,
    /// Nowhere, and they are not even tokenized: only the input's digest and the number of its texts are wanted.
    DigestOnly,
    /// With this process.
    Spool(&'a mut spool::Writer, &'a mut columns::Writer),
    /// In the output directory, where some of it may be already.
    Directory(&'a mut FirstPhase),
}

/// What the first pass finds out.
pub(super) struct Tokenized {
    pub(super) counts: Counts,
    pub(super) input_sha256: String,
    /// Tokens of the longest text before truncation.
    pub(super) longest: usize,
    /// Some pieces of texts that the vocabulary does not have.
    pub(super) unknown: UnknownPieces,
}

/// What the first pass works with.
#[derive(Clone, Copy)]
pub(super) struct FirstPass<'a> {
    pub(super) input: &'a Input,
    pub(super) tokenizer: &'a Tokenizer,
    pub(super) interrupt: &'a Interrupt,
    pub(super) console: &'a Console,
}

impl FirstPass<'_> {
    /// The first pass: every text read, tokenized, counted and kept.
    pub(super) fn tokenize(self, plan: &Plan, keep: Keep<'_>) -> Result<Tokenized> {
        let FirstPass { tokenizer, console, .. } = self;
        let tokenized = tokenize(self, plan, keep)?;
        say_what_was_cut(&tokenized, plan, tokenizer, console);
        Ok(tokenized)
    }
}

fn tokenize(first_pass: FirstPass<'_>, plan: &Plan, mut keep: Keep<'_>) -> Result<Tokenized> {
    let FirstPass { input, tokenizer, interrupt, console } = first_pass;
    let spinner = console.texts_spinner();
    let mut digest = Sha256::new();
    let mut tally = Tally::new(plan);
    let mut unknown = UnknownPieces::default();
    // Texts that were tokenized before this process began.
    let earlier = match &mut keep {
        Keep::DigestOnly => u64::MAX,
        Keep::Directory(phase) => {
            phase.earlier(|counts| tally.count(counts))?;
            tally.counts.texts
        }
        _ => 0,
    };
    let mut row = 0;

    let pieces = input::read_ahead(input.read());
    loop {
        if let Some(signal) = interrupt.signal() {
            return Err(Error::Interrupted { signal, done: 0, texts: row, way_on: way_on(&keep) });
        }
        let chunk = match pieces.recv_timeout(SIGNAL_LATENCY) {
            Ok(chunk) => chunk?,
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => break,
        };
        let known = earlier.saturating_sub(row).min(chunk.len() as u64) as usize;
        for record in &chunk[..known] {
            record.digest_into(&mut digest);
            row += 1;
        }
        if row == earlier
            && known > 0
            && let Keep::Directory(phase) = &mut keep
        {
            phase.check_earlier_input(&crate::sha256::hex(&digest.clone().finalize()))?;
        }
        let new = &chunk[known..];
        let encoded: Vec<Result<Encoded>> = new
            .par_iter()
            .enumerate()
            .map(|(index, record)| tokenizer.encode(row + index as u64, &record.text, record.pair.as_ref()))
            .collect();
        for (record, encoded) in new.iter().zip(encoded) {
            let encoded = encoded?;
            record.digest_into(&mut digest);
            let counts = TextCounts::of(&encoded);
            tally.count(counts);
            if counts.unknown > 0 && !unknown.is_full() {
                unknown.extend(tokenizer.unknown_pieces(&encoded, &record.text));
            }
            match &mut keep {
                Keep::Spool(spool, columns) => {
                    let written = spool.write(counts, &encoded.tokens);
                    written.map_err(Error::io("write a temporary file into", std::env::temp_dir()))?;
                    columns.write(record)?;
                }
                Keep::Directory(phase) => {
                    let line = TextLine::new(row, record, &encoded, plan.wants_token_details(), plan.special_tokens);
                    phase.write(&line, counts, &encoded.tokens)?;
                }
                Keep::Nothing | Keep::DigestOnly => {}
            }
            row += 1;
        }
        if let Keep::Directory(phase) = &mut keep
            && row >= earlier
        {
            phase.end_piece(|| crate::sha256::hex(&digest.clone().finalize()))?;
        }
        spinner.set_position(row);
    }
    spinner.finish_and_clear();
    if row == 0 {
        return Err(input.is_empty_error());
    }
    let Tally { mut counts, longest, too_long, without_room, rooms, .. } = tally;
    if let Keep::DigestOnly = keep {
        counts.texts = row;
    } else if row < counts.texts {
        return Err(Error::OtherInput(Box::new(input.is_shorter_error(row, counts.texts))));
    }
    if plan.overflow == Overflow::Error && counts.truncated_texts > 0 {
        return Err(Error::TooLong {
            count: counts.truncated_texts,
            texts: counts.texts,
            max_length: plan.max_length,
            examples: too_long.join(", "),
        });
    }
    if without_room > 0 {
        return Err(Error::NoRoom {
            count: without_room,
            texts: counts.texts,
            max_length: plan.max_length,
            examples: rooms.join(", "),
        });
    }
    Ok(Tokenized { counts, input_sha256: crate::sha256::hex(&digest.finalize()), longest, unknown })
}

fn way_on(keep: &Keep<'_>) -> &'static str {
    match keep {
        Keep::Directory(phase) if phase.is_journaled() => Error::GO_ON,
        _ => Error::START_OVER,
    }
}

/// What is counted over all texts.
struct Tally<'a> {
    plan: &'a Plan,
    counts: Counts,
    longest: usize,
    /// The first few texts beyond the limit.
    too_long: Vec<String>,
    /// Texts that have no windows though they are too long.
    without_room: u64,
    /// The first few of them.
    rooms: Vec<String>,
}

impl<'a> Tally<'a> {
    fn new(plan: &'a Plan) -> Self {
        let counts = Counts::default();
        Self { plan, counts, longest: 0, too_long: Vec::new(), without_room: 0, rooms: Vec::new() }
    }

    fn count(&mut self, text: TextCounts) {
        let length = text.tokens as usize + text.tokens_cut as usize;
        if length > self.plan.max_length && self.too_long.len() < NAMED_ROWS {
            self.too_long.push(format!("row {} ({length} tokens)", self.counts.texts));
        }
        let lacks_room = |windowing: Windowing| windowing.lacks_room(length, &text.longer());
        if let Some(room) = self.plan.windowing().and_then(lacks_room) {
            self.without_room += 1;
            if self.rooms.len() < NAMED_ROWS {
                self.rooms.push(format!("row {} ({room} tokens)", self.counts.texts));
            }
        }
        self.longest = self.longest.max(length);
        self.counts.add(text, self.plan.counting());
    }
}

/// Nothing is cut or lost silently.
fn say_what_was_cut(tokenized: &Tokenized, plan: &Plan, tokenizer: &Tokenizer, console: &Console) {
    let cuts_the_beginning = tokenizer.cuts_the_beginning();
    let counts = &tokenized.counts;
    if counts.truncated_texts > 0 {
        console.warn(&format!(
            "{} of {} texts are longer than {} tokens; {}, {} tokens in all, is cut off",
            counts.truncated_texts,
            counts.texts,
            plan.max_length,
            if cuts_the_beginning { "their beginning" } else { "what lies beyond" },
            counts.truncated_tokens
        ));
    }
    if counts.windowed_texts > 0 {
        console.note(&format!(
            "{} of {} texts are longer than {} tokens and are encoded in windows, {} in all; as windows overlap, that is {} tokens more",
            counts.windowed_texts, counts.texts, plan.max_length, counts.windows, counts.overlap_tokens
        ));
    }
    if let Some(warning) = tokenized.unknown.warning(counts.unknown_tokens, counts.tokens, tokenizer) {
        console.warn(&warning);
    }
    if counts.deleted_words > 0 && plan.emits(Emit::Word) {
        console.note(&format!(
            "{} words have no token in this model's vocabulary and get a row of zeros each",
            counts.deleted_words
        ));
    }
    if let Some(limit) = tokenizer.model_max_length()
        && plan.sentence.is_none()
        && limit < plan.max_length.min(tokenized.longest)
    {
        console.note(&format!(
            "the tokenizer's settings name a limit of {limit} tokens (model_max_length), where transformers cuts with truncation=True; add --max-length {limit} for the same"
        ));
    }
    if let Some(limit) = plan.sentence.as_ref().and_then(|recipe| recipe.max_seq_length)
        && limit < plan.max_length.min(tokenized.longest)
    {
        console.note(&format!(
            "sentence-transformers cuts texts for this model at {limit} tokens; for the same vectors of longer ones add --max-length {limit}"
        ));
    }
}
