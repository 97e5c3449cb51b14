//! The batch loop: takes tokenized texts through the encoder batch by batch, pools their hidden states and writes to a
//! sink.
//!
//! Each layer's hidden state is pooled and then dropped, so memory grows neither with the input nor with the number of
//! layers.

use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;
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
    /// What is learned of the machine stays in them for the next pass.
    pub(crate) sizes: &'a mut BatchSizes,
    /// The row of the first text in the input, for messages.
    pub(crate) first_row: u64,
    /// The number of texts, including those of `done`, if it is known; for messages.
    pub(crate) texts: u64,
    /// How many texts were encoded before this pass.
    pub(crate) done: u64,
    /// How many tokens went through the encoder before this pass.
    pub(crate) tokens_done: u64,
    /// Texts after which a batch ends in any case, for sinks that close a part there.
    pub(crate) part_texts: Option<u64>,
    /// What running the same command again does after an interruption, for the message.
    pub(crate) way_on: &'static str,
}

/// What an encoding pass did.
#[derive(Debug, Clone, Copy, Default)]
pub struct EncodingStats {
    /// How long the pass took.
    pub time: Duration,
    /// Number of tokens that went through the encoder in that time.
    pub tokens: u64,
    /// Number of tokens that went through it beside the first pass.
    pub tokens_ahead: u64,
    /// Number of texts that shared a batch with a text of the same tokens, and so were not encoded again.
    pub repeated_texts: u64,
    /// How long hidden states were pooled and handed to the sink, by one thread at a time.
    pub visiting: Duration,
    /// How long one thread worked while the others had nothing to do: batches were put together, and the last layers' hidden states
    /// handed on.
    pub alone: Duration,
}

impl EncodingStats {
    /// How many tokens went through the encoder per second.
    pub fn tokens_per_second(&self) -> f64 {
        self.tokens as f64 / self.time.as_secs_f64().max(1e-9)
    }

    /// Adds those of another pass.
    pub(crate) fn add(&mut self, other: &EncodingStats) {
        let Self { time, tokens, tokens_ahead, repeated_texts, visiting, alone } = other;
        self.time += *time;
        self.tokens += tokens;
        self.tokens_ahead += tokens_ahead;
        self.repeated_texts += repeated_texts;
        self.visiting += *visiting;
        self.alone += *alone;
    }
}

impl EncodePass<'_> {
    /// The same pass for some of its texts, after which others follow.
    pub(crate) fn of_some(&mut self) -> EncodePass<'_> {
        let Self { encoder, plan, first_row, texts, done, tokens_done, part_texts, way_on, .. } = *self;
        EncodePass { encoder, plan, sizes: self.sizes, first_row, texts, done, tokens_done, part_texts, way_on }
    }

    /// Encodes `texts`, which follow those that are done. The observer may end the pass between two layers. Where there are several
    /// batches, a thread of its own puts the next one together, whose texts may wait for others.
    ///
    /// # Errors
    /// Those of `texts`, of the encoder and of the sink; [`Error::Interrupted`] when the observer ends the pass.
    pub(crate) fn run(
        mut self,
        texts: impl Iterator<Item = Result<Tokens>> + Send,
        sink: &mut dyn Sink,
        observer: &dyn Observer,
        progress: &dyn Progress,
    ) -> Result<EncodingStats> {
        let begun = Instant::now();
        let mut vectors = Vectors::new(self.plan);
        let mut stats = EncodingStats::default();
        let of_first = self.sizes.limits();
        let limits = Mutex::new(of_first);
        let mut batches = Batches::new(texts, self.plan.windowing(), of_first);
        batches = batches.in_parts(self.part_texts, self.done);
        let mut next = || {
            batches.set_limits(*limits.lock().unwrap_or_else(PoisonError::into_inner));
            batches.next()
        };
        let mut encode = |batch: Result<Batch>, waited: Duration| -> Result<()> {
            let (batch, before) = (batch?, Instant::now());
            stats.alone += waited;
            self.encode_batch(&batch, &mut vectors, sink, observer, &mut stats)?;
            self.done += batch.texts() as u64;
            stats.tokens += batch.tokens() as u64;
            stats.repeated_texts += batch.repeated_texts;
            progress.advance(batch.tokens() as u64 + batch.repeated_tokens);
            self.sizes.learn(batch.tokens(), before.elapsed());
            *limits.lock().unwrap_or_else(PoisonError::into_inner) = self.sizes.limits();
            Ok(())
        };
        let Some(first) = next() else {
            return Ok(EncodingStats { time: begun.elapsed(), ..EncodingStats::default() });
        };
        let is_last = first.as_ref().is_ok_and(|batch| 2 * batch.tokens() < of_first.tokens);
        if is_last || rayon::current_num_threads() < 2 {
            // Few texts, or nobody to put the next batch together meanwhile.
            let mut batch = Some((first, begun.elapsed()));
            while let Some((held, waited)) = batch {
                encode(held, waited)?;
                let asked = Instant::now();
                batch = next().map(|batch| (batch, asked.elapsed()));
            }
        } else {
            thread::scope(|scope| {
                let (sender, batches) = mpsc::sync_channel(0);
                // Nothing is read behind what cannot be read.
                let gather = move || while next().is_some_and(|batch| batch.is_ok() & sender.send(batch).is_ok()) {};
                let thread = thread::Builder::new().name("batches".to_owned()).spawn_scoped(scope, gather);
                thread.map_err(Error::io("start a thread that makes", "batches"))?;
                encode(first, begun.elapsed())?;
                loop {
                    let asked = Instant::now();
                    let Ok(batch) = batches.recv() else { return Ok::<(), Error>(()) };
                    encode(batch, asked.elapsed())?;
                }
            })?;
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
        stats: &mut EncodingStats,
    ) -> Result<()> {
        let Self { encoder, plan, first_row, texts, done, way_on, .. } = *self;
        let last = plan.num_hidden_layers;
        let mut last_visit = Instant::now();
        encoder.visit_hidden_states(batch, plan.deepest(), |layer, hidden_state| {
            let begun = Instant::now();
            if let Some(signal) = observer.interruption() {
                return Err(Error::Interrupted { signal, done, texts, way_on });
            }
            vectors.take_layer(layer, hidden_state, batch, first_row + done, sink)?;
            stats.visiting += begun.elapsed();
            last_visit = begun;
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
        sink.end_batch(batch)?;
        stats.alone += last_visit.elapsed();
        Ok(())
    }
}

/// How large the batches of a pass are: all alike, or such that each takes less than a second, as a batch is what is lost when
/// a job is killed. No number depends on it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BatchSizes {
    most: Limits,
    /// Tokens of the next batch.
    tokens: usize,
    /// Fewest tokens of a batch that is cut short for the sake of time; `None` where none is.
    fewest: Option<usize>,
}

impl BatchSizes {
    /// How long a batch should take. With the time until the journal is on the disk, it is less than a second.
    const TIME: Duration = Duration::from_millis(800);
    /// Tokens for each thread with which a batch is still worth while: two groups of texts that read the weights once
    /// (`kernels/text_groups.rs`), of which one is always ready for a thread that is done with another.
    const FEWEST_PER_THREAD: usize = 288;
    /// Floating-point operations in a second of one thread on a slow machine, by which the first batch is measured out.
    const SLOW: f64 = 20e9;

    /// Batches as large as they may be.
    pub(crate) fn largest(most: Limits) -> Self {
        Self { most, tokens: most.tokens, fewest: None }
    }

    /// Batches that take less than a second, where a token takes `operations` multiply-adds.
    pub(crate) fn timed(most: Limits, operations: usize, threads: usize) -> Self {
        let per_second = Self::SLOW * threads as f64 / (2 * operations.max(1)) as f64;
        let mut sizes = Self { fewest: Some(Self::FEWEST_PER_THREAD * threads), ..Self::largest(most) };
        sizes.cut_to((per_second * Self::TIME.as_secs_f64()) as usize);
        sizes
    }

    fn cut_to(&mut self, tokens: usize) {
        if let Some(fewest) = self.fewest {
            self.tokens = tokens.max(fewest).min(self.most.tokens);
        }
    }

    /// The limits of the next batch.
    fn limits(&self) -> Limits {
        let Limits { tokens, rows } = self.most;
        Limits { tokens: self.tokens, rows: (rows / tokens.max(1)).max(1) * self.tokens }
    }

    /// Measures out the next batch by how long one of `tokens` tokens took.
    fn learn(&mut self, tokens: usize, time: Duration) {
        // A batch of few tokens says more about what a batch takes in any case than about tokens.
        if 2 * tokens >= self.tokens {
            self.cut_to((tokens as f64 * Self::TIME.as_secs_f64() / time.as_secs_f64().max(1e-9)) as usize);
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::SPECIAL;
    use crate::model::Model;
    use crate::observer::{Unobserved, Unseen};
    use crate::request::Request;

    const MOST: Limits = Limits { tokens: 4096, rows: 4 * 4096 };

    /// Sizes of the batches after one another on a machine that encodes this many tokens a second.
    fn sizes(mut sizes: BatchSizes, per_second: f64) -> Vec<usize> {
        (0..5)
            .map(|_| {
                let limits = sizes.limits();
                assert_eq!(limits.rows, 4 * limits.tokens);
                sizes.learn(limits.tokens, Duration::from_secs_f64(limits.tokens as f64 / per_second));
                limits.tokens
            })
            .collect()
    }

    #[test]
    fn batches_take_less_than_a_second_but_are_not_too_small() {
        // BERT-base has 85 million weights in its layers, the bundled model one.
        let base = BatchSizes::timed(MOST, 85_000_000, 2);
        assert_eq!(sizes(base, 1000.0), [576, 800, 800, 800, 800]);
        assert_eq!(sizes(base, 1e6), [576, 4096, 4096, 4096, 4096]);
        assert_eq!(sizes(base, 50.0), [576; 5], "two groups of texts for each thread");
        let bundled = BatchSizes::timed(MOST, 1_230_000, 1);
        assert_eq!(sizes(bundled, 20_000.0), [4096; 5]);
        assert_eq!(sizes(BatchSizes::largest(MOST), 100.0), [4096; 5]);
        let asked = BatchSizes::timed(Limits { tokens: 64, rows: 256 }, 85_000_000, 2);
        assert_eq!(sizes(asked, 1e6), [64; 5], "--batch-tokens is an upper limit");
    }

    /// Numbers of texts in the batches that come.
    struct TextsOfBatches(Vec<usize>);

    impl Sink for TextsOfBatches {
        fn write(&mut self, _: usize, _: &[f32]) -> Result<()> {
            Ok(())
        }

        fn end_batch(&mut self, batch: &Batch) -> Result<()> {
            self.0.push(batch.texts());
            Ok(())
        }
    }

    #[test]
    #[cfg(feature = "bundled")]
    fn a_pass_measures_out_its_batches() {
        let model = Model::open("bundled").unwrap();
        let plan = model.plan(&Request::default()).unwrap();
        let encoder = model.load(&plan).unwrap();
        let text = |id| Tokens {
            input_ids: vec![101, id, 102],
            token_type_ids: vec![0; 3],
            words: vec![SPECIAL, 0, SPECIAL],
            word_count: 1,
            longer: 1..2,
            spans: Vec::new(),
        };
        let pass = EncodePass {
            encoder: &encoder,
            plan: &plan,
            sizes: &mut BatchSizes { most: MOST, tokens: 6, fewest: Some(6) },
            first_row: 0,
            texts: 100,
            done: 0,
            tokens_done: 0,
            part_texts: None,
            way_on: Error::START_OVER,
        };
        let mut batches = TextsOfBatches(Vec::new());
        pass.run((2000..2100).map(|id| Ok(text(id))), &mut batches, &Unobserved, &Unseen).unwrap();
        assert!(
            batches.0[..2] == [2, 2] && batches.0[2] > 2,
            "the third one, put together after the first was encoded in no time, is larger: {:?}",
            batches.0
        );
        assert_eq!(batches.0.iter().sum::<usize>(), 100);
    }

    #[test]
    fn a_batch_of_few_tokens_says_little() {
        let mut sizes = BatchSizes::timed(MOST, 1_230_000, 1);
        sizes.learn(3, Duration::from_millis(100));
        assert_eq!(sizes.limits(), MOST);
        sizes.learn(4000, Duration::from_secs(4));
        assert_eq!(sizes.limits().tokens, 800);
    }
}
