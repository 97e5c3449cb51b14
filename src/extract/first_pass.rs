//! The first pass: everything is read and tokenized before anything is encoded.
//!
//! So bad input is found before any work, sizes are known, and `texts.jsonl` is written.

use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use crate::checkpoint;
use crate::console::Console;
use crate::error::{Error, Result};
use crate::input::{self, Source, Text};
use crate::interrupt::Interrupt;
use crate::output::directory::Prepared;
use crate::output::texts::TextLine;
use crate::plan::{Counts, Plan};
use crate::spec::{Overflow, RowKind};
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
    pub(super) input_sha256: String,
    /// Tokens of the longest text before truncation.
    pub(super) longest: usize,
}

/// The first pass: every text read, tokenized, counted and spooled.
#[allow(clippy::too_many_arguments, reason = "the ends of the pipeline meet here")]
pub(super) fn tokenize(
    texts: impl Iterator<Item = Result<Text>> + Send + 'static,
    tokenizer: &Tokenizer,
    plan: &Plan,
    source: &Source,
    mut output: Option<&mut Prepared>,
    dry_run: bool,
    interrupt: &Interrupt,
    console: &Console,
) -> Result<Tokenized> {
    let spinner = console.texts_spinner();
    let mut spool = (!dry_run).then(|| spool::Writer::new(output.as_ref().map(|output| output.path())));
    let spool_directory = output.as_ref().map_or_else(std::env::temp_dir, |output| output.path().to_owned());
    let spool_error = |error| Error::io("write a temporary file into", &spool_directory)(error);
    let mut digest = Sha256::new();
    let mut counts = Counts::default();
    let mut longest = 0;
    let mut too_long = Vec::new();
    let (mut without_room, mut rooms) = (0, Vec::new());

    let pieces = input::read_ahead(texts);
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
            .map(|(index, text)| tokenizer.encode(first + index as u64, text, None))
            .collect();
        for (text, encoded) in chunk.iter().zip(encoded) {
            let encoded = encoded?;
            digest.update((text.text.len() as u64).to_le_bytes());
            digest.update(text.text.as_bytes());
            if encoded.length_before_truncation > plan.max_length && too_long.len() < NAMED_ROWS {
                too_long.push(format!("row {} ({} tokens)", counts.texts, encoded.length_before_truncation));
            }
            longest = longest.max(encoded.length_before_truncation);
            if let Some(room) = plan.windowing().and_then(|windowing| encoded.tokens.lacks_room(windowing)) {
                without_room += 1;
                if rooms.len() < NAMED_ROWS {
                    rooms.push(format!("row {} ({room} tokens)", counts.texts));
                }
            }
            if let Some(spool) = &mut spool {
                spool.write(&encoded.tokens).map_err(spool_error)?;
            }
            if let Some(output) = &mut output {
                let line = TextLine::new(counts.texts, text, &encoded, plan.wants_token_details(), plan.special_tokens);
                output.write_text(&line)?;
            }
            count(&mut counts, &encoded, plan);
        }
        spinner.set_position(counts.texts);
    }
    spinner.finish_and_clear();
    if counts.texts == 0 {
        return Err(Error::Input {
            source_name: source.name(),
            problem: "holds no text; expected one text a line".to_owned(),
        });
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
    let spool = spool.map(spool::Writer::finish).transpose().map_err(spool_error)?;
    Ok(Tokenized { counts, spool, input_sha256: checkpoint::hex(&digest.finalize()), longest })
}

fn count(counts: &mut Counts, encoded: &Encoded, plan: &Plan) {
    let tokens = &encoded.tokens;
    let rows = tokens.rows(RowKind::Token, plan.special_tokens);
    let cut = encoded.length_before_truncation - tokens.len();
    let windows = tokens.windows(plan.windowing());
    counts.texts += 1;
    counts.tokens += tokens.len() as u64;
    counts.token_rows += rows as u64;
    counts.words += u64::from(tokens.word_count);
    counts.truncated_texts += u64::from(cut > 0);
    counts.truncated_tokens += cut as u64;
    counts.truncated_words += u64::from(encoded.words_truncated);
    if windows.len() > 1 {
        counts.windowed_texts += 1;
        counts.windows += windows.len() as u64;
        counts.overlap_tokens += (windows.tokens() - tokens.len()) as u64;
    }
    counts.deleted_words += u64::from(encoded.words_deleted);
    counts.empty_texts += u64::from(rows == 0);
}
