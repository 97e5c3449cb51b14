//! The first pass: everything is read and tokenized before anything is encoded.
//!
//! So bad input is found before any work, sizes are known, and `texts.jsonl` is written.

use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use crate::batch::SPECIAL;
use crate::checkpoint;
use crate::console::Console;
use crate::error::{Error, Result};
use crate::input::{self, Input};
use crate::interrupt::Interrupt;
use crate::output::columns;
use crate::output::directory::Prepared;
use crate::output::texts::TextLine;
use crate::plan::{Counts, Plan};
use crate::spec::{Overflow, SpecialTokens};
use crate::spool;
use crate::tokens::{Encoded, Tokenizer};

/// How long a signal may go unnoticed while input is waited for.
const SIGNAL_LATENCY: Duration = Duration::from_millis(50);
/// Rows an error message names before it only counts.
const NAMED_ROWS: usize = 5;

/// What the first pass finds out.
pub(super) struct Tokenized {
    pub(super) counts: Counts,
    /// Absent in a dry run, which encodes nothing.
    pub(super) spool: Option<spool::Reader>,
    /// Columns for JSON Lines.
    pub(super) columns: Option<columns::Reader>,
    pub(super) input_sha256: String,
    /// Tokens of the longest text before truncation.
    pub(super) longest: usize,
}

/// The first pass: every text read, tokenized, counted and spooled.
pub(super) fn tokenize(
    input: &Input,
    tokenizer: &Tokenizer,
    plan: &Plan,
    mut output: Option<&mut Prepared>,
    dry_run: bool,
    interrupt: &Interrupt,
    console: &Console,
) -> Result<Tokenized> {
    let spinner = console.texts_spinner();
    let mut spool = (!dry_run).then(|| spool::Writer::new(output.as_ref().map(|output| output.path())));
    let spool_directory = output.as_ref().map_or_else(std::env::temp_dir, |output| output.path().to_owned());
    let spool_error = |error| Error::io("write a temporary file into", &spool_directory)(error);
    // texts.jsonl has them in a directory.
    let mut columns = (!dry_run && output.is_none()).then(columns::Writer::new);
    let mut digest = Sha256::new();
    let mut counts = Counts::default();
    let mut longest = 0;
    let mut too_long = Vec::new();

    let pieces = input::read_ahead(input.read());
    loop {
        if let Some(signal) = interrupt.signal() {
            return Err(Error::Interrupted { signal, done: 0, texts: counts.texts });
        }
        let chunk = match pieces.recv_timeout(SIGNAL_LATENCY) {
            Ok(chunk) => chunk?,
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => break,
        };
        let first = counts.texts;
        let encoded: Vec<Result<Encoded>> = chunk
            .par_iter()
            .enumerate()
            .map(|(index, record)| tokenizer.encode(first + index as u64, &record.text, record.pair.as_ref()))
            .collect();
        for (record, encoded) in chunk.iter().zip(encoded) {
            let encoded = encoded?;
            record.digest_into(&mut digest);
            if encoded.length_before_truncation > plan.max_length && too_long.len() < NAMED_ROWS {
                too_long.push(format!("row {} ({} tokens)", counts.texts, encoded.length_before_truncation));
            }
            longest = longest.max(encoded.length_before_truncation);
            if let Some(spool) = &mut spool {
                spool.write(&encoded.tokens).map_err(spool_error)?;
            }
            if let Some(output) = &mut output {
                let line =
                    TextLine::new(counts.texts, record, &encoded, plan.wants_token_details(), plan.special_tokens);
                output.write_text(&line)?;
            }
            if let Some(columns) = &mut columns {
                columns.write(record)?;
            }
            count(&mut counts, &encoded, plan.special_tokens);
        }
        spinner.set_position(counts.texts);
    }
    spinner.finish_and_clear();
    if counts.texts == 0 {
        return Err(input.is_empty_error());
    }
    if plan.overflow == Overflow::Error && counts.truncated_texts > 0 {
        return Err(Error::TooLong {
            count: counts.truncated_texts,
            texts: counts.texts,
            max_length: plan.max_length,
            examples: too_long.join(", "),
        });
    }
    let spool = spool.map(spool::Writer::finish).transpose().map_err(spool_error)?;
    let columns = columns.map(columns::Writer::finish).transpose()?;
    Ok(Tokenized { counts, spool, columns, input_sha256: checkpoint::hex(&digest.finalize()), longest })
}

fn count(counts: &mut Counts, encoded: &Encoded, special_tokens: SpecialTokens) {
    let tokens = encoded.tokens.input_ids.len();
    let special = encoded.tokens.words.iter().filter(|&&word| word == SPECIAL).count();
    let rows = if special_tokens == SpecialTokens::Keep { tokens } else { tokens - special };
    let cut = encoded.length_before_truncation - tokens;
    counts.texts += 1;
    counts.tokens += tokens as u64;
    counts.token_rows += rows as u64;
    counts.words += u64::from(encoded.tokens.word_count);
    counts.truncated_texts += u64::from(cut > 0);
    counts.truncated_tokens += cut as u64;
    counts.truncated_words += u64::from(encoded.words_truncated);
    counts.deleted_words += u64::from(encoded.words_deleted);
    counts.empty_texts += u64::from(rows == 0);
}
