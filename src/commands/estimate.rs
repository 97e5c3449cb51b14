//! How long a job will take, measured here for a moment on texts of its length.

use std::time::Duration;

use crate::batch::{Batch, Tokens};
use crate::counts::Counts;
use crate::encode::{BatchSizes, EncodePass, limits};
use crate::error::{Error, Result};
use crate::job::Job;
use crate::observer::Unseen;
use crate::sink::Sink;

/// How long is measured, at least; one batch takes longer with a large model.
const MEASURED: Duration = Duration::from_millis(500);
/// Tokens that are encoded at a time, for each thread.
const TOKENS_PER_THREAD: usize = 576;

/// Tokens that a job encodes in a second, by encoding random tokens in texts as long as the job's are on average. Nothing is
/// written meanwhile, so a job that writes much is slower.
///
/// # Errors
/// Those of reading the model's weights and of encoding; [`Error::Interrupted`].
pub(super) fn tokens_per_second(job: &Job<'_>, counts: &Counts) -> Result<f64> {
    let config = job.model.config();
    let length = (counts.encoded_tokens() / counts.sequences().max(1)).clamp(1, job.plan.max_length as u64) as usize;
    let encoder = job.model.load(job.plan)?;
    let together = TOKENS_PER_THREAD * job.model.threads();
    // Numbers of a linear congruential generator (Knuth), so that no two texts are the same.
    let mut random = 1_u64;
    let mut token = || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((random >> 33) % config.vocab_size.max(1) as u64) as u32
    };
    let mut text = || Tokens {
        input_ids: (0..length).map(|_| token()).collect(),
        token_type_ids: vec![0; length],
        words: (0..length as u32).collect(),
        word_count: length as u32,
        longer: 0..length,
        spans: Vec::new(),
    };
    let (mut tokens, mut time) = (0, Duration::ZERO);
    // The first round reads the weights.
    for round in 0.. {
        let texts = (together / length).max(1);
        let pass = EncodePass {
            encoder: &encoder,
            plan: job.plan,
            sizes: &mut BatchSizes::largest(limits(job.plan, job.batch_tokens, false)),
            first_row: 0,
            texts: texts as u64,
            done: 0,
            tokens_done: 0,
            part_texts: None,
            way_on: Error::START_OVER,
        };
        let stats = pass.run((0..texts).map(|_| Ok(text())), &mut Nowhere, job.observer, &Unseen)?;
        if round > 0 {
            (tokens, time) = (tokens + stats.tokens, time + stats.time);
        }
        if time >= MEASURED || (round > 0 && stats.time >= MEASURED) {
            break;
        }
    }
    Ok(tokens as f64 / time.as_secs_f64().max(1e-9))
}

/// A sink for vectors that nobody wants.
struct Nowhere;

impl Sink for Nowhere {
    fn write(&mut self, _: usize, _: &[f32]) -> Result<()> {
        Ok(())
    }

    fn end_batch(&mut self, _: &Batch) -> Result<()> {
        Ok(())
    }
}
