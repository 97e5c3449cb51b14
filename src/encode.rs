//! The batch loop: takes tokenized texts through the encoder batch by batch, pools their hidden states and writes to a
//! sink.
//!
//! Each layer's hidden state is pooled and then dropped, so memory grows neither with the input nor with the number of
//! layers.

use std::time::{Duration, Instant};

use crate::batch::{Batch, Batches, Limits, Tokens};
use crate::encoder::Encoder;
use crate::error::{Error, Result};
use crate::observer::{Observer, Progress};
use crate::plan::Plan;
use crate::sink::Sink;
use crate::spec::{Combine, VectorKind};
use crate::vectors::Vectors;

/// One pass of tokenized texts through the encoder.
pub(crate) struct EncodePass<'a> {
    pub(crate) encoder: &'a Encoder,
    pub(crate) plan: &'a Plan,
    pub(crate) limits: Limits,
    /// The row of the first text in the input, for messages.
    pub(crate) first_row: u64,
    /// The number of texts, including those of `done`, if it is known; for messages.
    pub(crate) texts: u64,
    /// How many texts were encoded before this pass.
    pub(crate) done: u64,
    /// How many tokens went through the encoder before this pass.
    pub(crate) tokens_done: u64,
    /// What running the same command again does after an interruption, for the message.
    pub(crate) way_on: &'static str,
}

/// What an encoding pass did.
#[derive(Debug, Clone, Copy, Default)]
pub struct EncodingStats {
    /// How long the pass took.
    pub time: Duration,
    /// Number of tokens that went through the encoder.
    pub tokens: u64,
    /// Number of texts that shared a batch with a text of the same tokens, and so were not encoded again.
    pub repeated_texts: u64,
}

impl EncodingStats {
    /// How many tokens went through the encoder per second.
    pub fn tokens_per_second(&self) -> f64 {
        self.tokens as f64 / self.time.as_secs_f64().max(1e-9)
    }
}

impl EncodePass<'_> {
    /// Encodes `texts`, which follow those that are done. The observer may end the pass between two layers.
    ///
    /// # Errors
    /// Those of `texts`, of the encoder and of the sink; [`Error::Interrupted`] when the observer ends the pass.
    pub(crate) fn run(
        mut self,
        texts: impl Iterator<Item = Result<Tokens>>,
        sink: &mut dyn Sink,
        observer: &dyn Observer,
        progress: &dyn Progress,
    ) -> Result<EncodingStats> {
        let begun = Instant::now();
        let mut vectors = Vectors::new(self.plan);
        let mut stats = EncodingStats::default();
        for batch in Batches::new(texts, self.plan.windowing(), self.limits) {
            let batch = batch?;
            self.encode_batch(&batch, &mut vectors, sink, observer)?;
            self.done += batch.texts() as u64;
            stats.tokens += batch.tokens() as u64;
            stats.repeated_texts += batch.repeated_texts;
            progress.advance(batch.tokens() as u64 + batch.repeated_tokens);
        }
        stats.time = begun.elapsed();
        Ok(stats)
    }

    fn encode_batch(
        &self,
        batch: &Batch,
        vectors: &mut Vectors<'_>,
        sink: &mut dyn Sink,
        observer: &dyn Observer,
    ) -> Result<()> {
        let Self { encoder, plan, first_row, texts, done, way_on, .. } = *self;
        let last = plan.num_hidden_layers;
        encoder.visit_hidden_states(batch, plan.deepest(), |layer, hidden_state| {
            if let Some(signal) = observer.interruption() {
                return Err(Error::Interrupted { signal, done, texts, way_on });
            }
            vectors.take_layer(layer, hidden_state, batch, first_row + done, sink)?;
            if layer < last {
                return Ok(());
            }
            vectors.take_sentence(hidden_state, batch, sink)?;
            if !plan.has(VectorKind::Pooler) {
                return Ok(());
            }
            let first_tokens = vectors.first_tokens(hidden_state, batch);
            if first_tokens.is_empty() {
                return Ok(());
            }
            vectors.take_pooler(encoder.pooler_output(&first_tokens)?, batch, sink)
        })?;
        sink.end_batch(batch)
    }
}

/// The limits of a batch: the number of tokens `asked` for, or fewer if all layers of a batch are held until they can
/// be written. Repeated texts may bring a batch to a few times as many rows, unless rows are held.
pub(crate) fn limits(plan: &Plan, asked: u32, holds_rows: bool) -> Limits {
    const MOST_NUMBERS_HELD: usize = 16 << 20;
    const MOST_ROWS_OF_A_TOKEN: usize = 4;
    let asked = (asked as usize).max(1);
    let holds_all_layers = holds_rows || plan.combine == Some(Combine::Concat);
    if !holds_all_layers {
        let times = if plan.combine.is_none() { MOST_ROWS_OF_A_TOKEN } else { 1 };
        return Limits { tokens: asked, rows: asked * times };
    }
    let per_token = plan.arrays().iter().map(|array| array.columns).sum::<usize>();
    let tokens = asked.min(MOST_NUMBERS_HELD / per_token.max(1)).max(1);
    Limits { tokens, rows: tokens }
}
