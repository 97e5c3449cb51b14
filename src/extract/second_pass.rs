//! The second pass: batch by batch through the encoder and into the sink.
//!
//! Each layer's hidden state goes to the writers and is dropped, so memory grows neither with the input nor with the
//! number of layers.

use std::io;
use std::time::{Instant, SystemTime};

use candle_core::{Device, Tensor};

use crate::batch::{Batch, Batches, Limits};
use crate::checkpoint::config::Config;
use crate::checkpoint::weights::Weights;
use crate::commands::args::ExtractArgs;
use crate::commands::console::Console;
use crate::commands::interrupt::Interrupt;
use crate::encoder::{Ahead, Encoder, Settings};
use crate::error::{Error, Result};
use crate::kernels;
use crate::output::Sink;
use crate::output::manifest::Encoding;
use crate::plan::{Counts, Plan};
use crate::shard::{Part, Shard};
use crate::spec::Combine;
use crate::spool;
use crate::vectors::Vectors;

/// What the second pass needs to know.
pub(super) struct Job<'a> {
    pub(super) args: &'a ExtractArgs,
    pub(super) plan: &'a Plan,
    pub(super) shard: Option<Shard>,
    pub(super) config: &'a Config,
    pub(super) weights: &'a Weights,
    pub(super) settings: Settings,
    pub(super) threads: usize,
    pub(super) started: SystemTime,
}

impl<'a> Job<'a> {
    /// The part of all texts that is this job's; the spool is moved to its first text.
    pub(super) fn part(&self, spool: &mut spool::Reader, all: Counts) -> io::Result<Part> {
        match self.shard {
            None => Ok(Part { first_row: 0, counts: all }),
            Some(shard) => shard.cut(spool, &all, self.plan.counting()),
        }
    }

    /// The model, as deep as the plan needs it. It is loaded now, so that damaged weights are found before anything is
    /// written and digests can be taken meanwhile; but for a single batch on standard output each layer is read when
    /// its turn comes.
    pub(super) fn load(&self, counts: &Counts, ahead: Ahead) -> Result<Encoder<'a>> {
        let encoder = Encoder::for_one_batch(self.weights, self.config, self.settings.clone(), ahead);
        let one_batch = counts.encoded_tokens().max(counts.sequences()) <= self.limits().tokens as u64;
        if one_batch && self.args.output.is_none() { Ok(encoder) } else { encoder.load_rest() }
    }

    fn limits(&self) -> Limits {
        limits(self.plan, self.args.batch_tokens as usize, self.args.output.is_none())
    }

    /// The second pass: batch by batch through the encoder and into the sink. Says how it went.
    ///
    /// `spool` is at the first text that is not `done` yet.
    #[allow(clippy::too_many_arguments, reason = "the ends of the pipeline meet here")]
    pub(super) fn encode(
        &self,
        encoder: &Encoder<'_>,
        spool: spool::Reader,
        part: &Part,
        mut done: u64,
        sink: &mut dyn Sink,
        interrupt: &Interrupt,
        console: &Console,
    ) -> Result<Encoding> {
        let begun = Instant::now();
        let counts = &part.counts;
        let bar = console.tokens_bar(counts.encoded_tokens());
        let mut vectors = Vectors::new(self.plan);
        let way_on = if self.args.output.is_some() { Error::GO_ON } else { Error::START_OVER };
        let mut encoding = Encoding::default();
        for batch in Batches::new(spool, self.plan.windowing(), self.limits()) {
            let batch = batch.map_err(Error::io("read", "back the temporary file of tokenized texts"))?;
            let uninterrupted = || match interrupt.signal() {
                Some(signal) => Err(Error::Interrupted { signal, done, texts: counts.texts, way_on }),
                None => Ok(()),
            };
            encode_batch(encoder, &batch, &mut vectors, part.first_row + done, sink, uninterrupted)?;
            done += batch.texts() as u64;
            encoding.tokens += batch.tokens() as u64;
            encoding.repeated_texts += batch.repeated_texts;
            bar.inc(batch.tokens() as u64 + batch.repeated_tokens);
        }
        bar.finish_and_clear();
        encoding.time = begun.elapsed();
        Ok(encoding)
    }

    pub(super) fn summarize(&self, counts: &Counts, encoding: &Encoding, console: &Console) {
        let some = |count: u64, what: &str| if count > 0 { format!(", {count} {what}") } else { String::new() };
        let notes = [
            some(counts.truncated_texts, "truncated"),
            some(counts.windowed_texts, "in windows"),
            some(encoding.repeated_texts, "encoded once with others"),
        ];
        let place = self.args.output.as_ref().map(|path| format!(" → {}", path.display())).unwrap_or_default();
        let whole = self.started.elapsed().unwrap_or_default();
        console.summary(&format!(
            "{}, {} in {:.1} s ({:.0} tokens/s encoding, {}){}{place}",
            counted(counts.texts, "text"),
            counted(counts.tokens, "token"),
            whole.as_secs_f64(),
            encoding.tokens_per_second(),
            counted(self.threads as u64, "thread"),
            notes.concat(),
        ));
    }
}

/// Tokens of a batch: as asked for, or fewer where all layers of a batch are held until they can be written. Texts that are
/// the same may have a few times as many, unless their rows are held.
pub(crate) fn limits(plan: &Plan, asked: usize, holds_rows: bool) -> Limits {
    const MOST_NUMBERS_HELD: usize = 16 << 20;
    const MOST_ROWS_OF_A_TOKEN: usize = 4;
    let holds_all_layers = holds_rows || plan.combine == Some(Combine::Concat);
    if !holds_all_layers {
        let times = if plan.combine.is_none() { MOST_ROWS_OF_A_TOKEN } else { 1 };
        return Limits { tokens: asked, rows: asked * times };
    }
    let per_token = plan.arrays().iter().map(|array| array.columns).sum::<usize>();
    let tokens = asked.min(MOST_NUMBERS_HELD / per_token.max(1)).max(1);
    Limits { tokens, rows: tokens }
}

/// Puts a batch through the encoder and all its vectors into the sink. `first_row` is the row of the text that its first part
/// belongs to; `go_on` is asked before each layer.
///
/// # Errors
/// Those of the encoder, of the sink and of `go_on`.
pub(crate) fn encode_batch(
    encoder: &Encoder<'_>,
    batch: &Batch,
    vectors: &mut Vectors<'_>,
    first_row: u64,
    sink: &mut dyn Sink,
    go_on: impl Fn() -> Result<()> + Sync,
) -> Result<()> {
    let (width, last) = (vectors.plan().hidden_size, vectors.plan().num_hidden_layers);
    encoder.visit_hidden_states(batch, |layer, hidden_state| {
        go_on()?;
        kernels::with_numbers(hidden_state, |numbers| {
            vectors.take_layer(layer, numbers, batch, first_row, sink)?;
            if layer < last {
                return Ok(());
            }
            vectors.take_sentence(numbers, batch, sink)?;
            let first_tokens = vectors.first_tokens(numbers, batch);
            if first_tokens.is_empty() {
                return Ok(());
            }
            let first_tokens = Tensor::from_vec(first_tokens, ((), width), &Device::Cpu)?;
            match encoder.pooler_output(&first_tokens)? {
                Some(pooled) => vectors.take_pooler(pooled.flatten_all()?.to_vec1()?, batch, sink),
                None => Ok(()),
            }
        })?
    })?;
    sink.end_batch(batch)
}

/// `1 text`, `2 texts`.
fn counted(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}
