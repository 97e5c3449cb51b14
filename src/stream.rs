//! A worker: texts are answered in order as they come, by a model that stays loaded, in JSON Lines or an Arrow stream.
//!
//! What has arrived when the worker is free is one wave: it is tokenized and encoded together, in batches whose answers are printed
//! at once. So a text alone is answered as soon as it is encoded, and many at once are encoded as fast as in a job. Nothing is kept
//! of what was answered, so memory does not grow. A text's vectors are those of any other job, as they do not depend on its company.

use std::io::Write;
use std::sync::Arc;

#[cfg(feature = "parquet")]
use crate::arrow_stream::ArrowStream;
use crate::column_types::ColumnTypes;
use crate::counts::{Counts, TextCounts};
use crate::directory::plan_record::DirectoryPlan;
use crate::encode::{BatchSizes, EncodePass, EncodingStats, limits};
use crate::encoder::{self, Encoder};
use crate::error::{Error, Result};
use crate::input::{Arrival, Input, Record};
use crate::json_lines::JsonLines;
use crate::json_lines::columns::{ColumnsReader, ColumnsWriter};
use crate::model::Model;
use crate::observer::{Observer, Unseen};
use crate::sink::Sink;
use crate::spec::Overflow;
use crate::text_check::Named;
use crate::tokenize::{CutTexts, say_what_was_cut};
use crate::tokens::unknown::UnknownPieces;
use crate::tokens::{Encoded, Tokenizer};

/// A worker with everything resolved.
pub(crate) struct Worker<'a> {
    pub(crate) model: &'a Model,
    pub(crate) plan: &'a DirectoryPlan,
    pub(crate) tokenizer: &'a Tokenizer,
    pub(crate) input: &'a Input,
    pub(crate) batch_tokens: u32,
    pub(crate) observer: &'a dyn Observer,
}

/// What a worker has done.
#[derive(Default)]
pub(crate) struct Answered {
    /// Of the texts that were encoded.
    pub(crate) counts: Counts,
    pub(crate) stats: EncodingStats,
    /// Lines that were answered, among them the bad ones.
    pub(crate) rows: u64,
    /// Lines that were answered with what is wrong with them.
    pub(crate) bad: u64,
}

/// Who prints the answers.
trait Answers: Sink {
    /// Goes on with texts that have these columns.
    fn go_on(&mut self, columns: ColumnsReader);

    /// Answers a line with what is wrong with it.
    fn write_problem(&mut self, line: u64, problem: &str) -> Result<()>;

    /// Ends the answers.
    fn finish(self) -> Result<()>;
}

impl<W: Write + Send> Answers for JsonLines<'_, W> {
    fn go_on(&mut self, columns: ColumnsReader) {
        self.go_on(columns);
    }

    fn write_problem(&mut self, line: u64, problem: &str) -> Result<()> {
        self.write_problem(line, problem)
    }

    fn finish(self) -> Result<()> {
        self.finish()
    }
}

#[cfg(feature = "parquet")]
impl<W: Write + Send> Answers for ArrowStream<'_, W> {
    fn go_on(&mut self, columns: ColumnsReader) {
        self.go_on(columns);
    }

    fn write_problem(&mut self, _: u64, problem: &str) -> Result<()> {
        self.write_problem(problem)
    }

    fn finish(self) -> Result<()> {
        self.finish()
    }
}

/// A worker at its work.
struct Shift<'a, A> {
    worker: &'a Worker<'a>,
    encoder: Arc<Encoder>,
    /// What was learned of the machine from all batches.
    sizes: BatchSizes,
    answers: A,
    answered: Answered,
    told: Told,
}

impl Worker<'_> {
    /// Answers each line of the input with an object on `out`, until the input ends.
    ///
    /// # Errors
    /// Those of reading, encoding and writing, but not what is wrong with a line: that is its answer. [`Error::Interrupted`] when
    /// the observer ends it.
    pub(crate) fn to_json_lines(&self, out: impl Write + Send) -> Result<Answered> {
        self.run(|_| Ok(JsonLines::new(out, self.plan, self.tokenizer, ColumnsWriter::new().finish()?, 0)))
    }

    /// Answers each line of the input with a row of an Arrow stream on `out`, until the input ends.
    ///
    /// # Errors
    /// Those of [`Worker::to_json_lines`].
    #[cfg(feature = "parquet")]
    pub(crate) fn to_arrow(&self, out: impl Write + Send) -> Result<Answered> {
        self.run(|types| ArrowStream::of_worker(out, self.plan, types, self.tokenizer))
    }

    /// Refuses it, in a build without Arrow.
    ///
    /// # Errors
    /// [`Error::Usage`] with the way out.
    #[cfg(not(feature = "parquet"))]
    pub(crate) fn to_arrow(&self, _: impl Write + Send) -> Result<Answered> {
        Err(Error::no_parquet("--format arrow"))
    }

    /// `new` begins the answers, once the types of the columns are known.
    fn run<A: Answers>(&self, new: impl FnOnce(&ColumnTypes) -> Result<A>) -> Result<Answered> {
        let encoder = self.model.load(self.plan)?;
        let arrivals = self.input.arrivals()?;
        let types = arrivals.types(self.observer, |signal| interrupted(signal, 0))?;
        let operations = self.plan.deepest() * encoder::weights_of_layer(self.model.config());
        let mut shift = Shift {
            worker: self,
            encoder,
            sizes: BatchSizes::timed(limits(self.plan, self.batch_tokens, true), operations, self.model.threads()),
            answers: new(&types)?,
            answered: Answered::default(),
            told: Told::default(),
        };
        while let Some(wave) = arrivals.next(self.observer, |signal| interrupted(signal, shift.answered.rows))? {
            shift.answer(wave)?;
        }
        let Shift { answers, answered, told: Told { longest, unknown, wordless, .. }, .. } = shift;
        answers.finish()?;
        let texts = CutTexts { counts: &answered.counts, longest, unknown: &unknown, wordless: &wordless };
        say_what_was_cut(&texts, self.plan, self.tokenizer, self.observer);
        Ok(answered)
    }

    /// Refuses a text beyond the limit that must not or cannot be cut.
    fn check_length(&self, text: &Encoded) -> std::result::Result<(), String> {
        let (length, most) = (text.length_before_truncation, self.plan.max_length);
        if self.plan.overflow == Overflow::Error && length > most {
            return Err(format!(
                "the text has {length} tokens, more than {most}; shorten it, or choose --overflow truncate or window"
            ));
        }
        match self.plan.lacks_room(length, &text.tokens.longer) {
            Some(room) => Err(format!(
                "the pair cannot be cut into windows of {most} tokens, as each has the whole shorter text and {room} are left for the longer one; shorten the shorter text, choose a smaller --stride, or choose --overflow truncate"
            )),
            None => self.check_spans(text),
        }
    }

    /// Refuses a text with a span that would have no vector.
    fn check_spans(&self, text: &Encoded) -> std::result::Result<(), String> {
        match (text.span_cut, text.span_without_token) {
            (0, 0) => Ok(()),
            (0, span) => {
                Err(format!("span {span}, counted from 1, has no token, as if of white space alone; leave it out"))
            }
            (span, _) => Err(format!(
                "span {span}, counted from 1, is cut off at {} tokens; leave it out, or choose --overflow window, which cuts nothing off",
                self.plan.max_length
            )),
        }
    }
}

impl<A: Answers> Shift<'_, A> {
    fn answer(&mut self, wave: Vec<Arrival>) -> Result<()> {
        let worker = self.worker;
        let records: Vec<&Record> = wave.iter().filter_map(|arrival| arrival.record.as_ref().ok()).collect();
        let mut encoded = worker.tokenizer.encode_records(self.answered.rows, &records).into_iter();
        let mut texts: Vec<(&Record, Encoded)> = Vec::new();
        for Arrival { line, record } in &wave {
            let row = self.answered.rows + texts.len() as u64;
            let text = match record {
                Err(problem) => Err(problem.clone()),
                Ok(record) => match encoded.next() {
                    Some(Ok(text)) => worker.check_length(&text).map(|()| (record, text)),
                    Some(Err(error)) => Err(of_row(error, row).to_string()),
                    None => break,
                },
            };
            match text {
                Ok((record, text)) => {
                    let counts = TextCounts::of(&text);
                    self.told.take(row, record, &text, counts, worker);
                    self.answered.counts.add(counts, worker.plan.counting());
                    texts.push((record, text));
                }
                Err(problem) => {
                    self.encode(&mut texts)?;
                    self.answers.write_problem(*line, &problem)?;
                    self.answered.rows += 1;
                    self.answered.bad += 1;
                }
            }
        }
        self.encode(&mut texts)
    }

    /// Encodes texts, whose rows follow those that were answered, and prints their answers.
    fn encode(&mut self, texts: &mut Vec<(&Record, Encoded)>) -> Result<()> {
        if texts.is_empty() {
            return Ok(());
        }
        let Self { worker, encoder, sizes, answers, answered, .. } = self;
        let mut columns = ColumnsWriter::new();
        texts.iter().try_for_each(|(record, _)| columns.write(record))?;
        answers.go_on(columns.finish()?);
        let count = texts.len() as u64;
        let pass = EncodePass {
            encoder,
            plan: worker.plan,
            sizes,
            first_row: answered.rows,
            texts: answered.rows + count,
            part_texts: None,
            done: 0,
            tokens_done: 0,
            way_on: Error::START_OVER,
        };
        let tokens = texts.drain(..).map(|(_, text)| Ok(text.tokens));
        let stats = pass.run(tokens, answers, worker.observer, &Unseen)?;
        answered.rows += count;
        answered.stats.add(&stats);
        Ok(())
    }
}

/// What was told of the texts so far, and what is told at the end.
#[derive(Default)]
struct Told {
    longest: usize,
    unknown: UnknownPieces,
    wordless: Named,
    is_cut: bool,
}

impl Told {
    /// Takes note of a text. The first one that is cut is told at once, as the end may be far.
    fn take(&mut self, row: u64, record: &Record, text: &Encoded, counts: TextCounts, worker: &Worker<'_>) {
        self.longest = self.longest.max(text.length_before_truncation);
        self.wordless.add_if_wordless(row, counts);
        if counts.unknown > 0 && !self.unknown.is_full() {
            self.unknown.extend(worker.tokenizer.unknown_pieces(text, &record.text.text));
        }
        if counts.tokens_cut > 0 && !self.is_cut {
            self.is_cut = true;
            worker.observer.warn(&format!(
                "row {row} is longer than {} tokens and is cut; all that are will be counted at the end",
                worker.plan.max_length
            ));
        }
    }
}

/// The error of a text with the row that it has in the stream.
fn of_row(error: Error, row: u64) -> Error {
    match error {
        Error::Tokenize { message, .. } => Error::Tokenize { row, message },
        Error::TokenOutOfRange { token, id, vocab_size, .. } => Error::TokenOutOfRange { row, token, id, vocab_size },
        error => error,
    }
}

fn interrupted(signal: u8, rows: u64) -> Error {
    Error::Interrupted { signal, done: rows, texts: rows, way_on: Error::START_OVER }
}
