//! What many threads would do with a job, by the schedule itself in time that is only counted: `cargo bench --bench scaling`.
//!
//! The steps' times are of one thread, by `extract --threads 1 -v` ("encoding" without what "vectors were pooled and written for", by layer
//! and token; the latter by visited layer and token). Threads wait for no memory and no lock in it, so it says what the schedule
//! allows, and not what a machine's memory does.

#![allow(clippy::print_stdout, reason = "a bench is for what it prints")]

use layerwise::kernels::simulated_schedule::{StepTimes, simulate};

/// A job: its name, the encoder's layers, tokens of a text, and the times of steps in nanoseconds a token.
type Job = (&'static str, usize, usize, StepTimes);

fn jobs() -> [Job; 4] {
    let times = |layer, visit| StepTimes { layer, visit, alone: 0.0 };
    [
        ("bundled, mean", 4, 16, times(4000.0, 86.0)),
        ("MiniLM, mean", 6, 57, times(37_500.0, 150.0)),
        ("MiniLM, token", 6, 57, times(37_500.0, 1920.0)),
        ("BERT-base, mean", 12, 57, times(137_500.0, 330.0)),
    ]
}

fn main() {
    println!("| job | threads | threads without work | times one thread |");
    println!("|---|---|---|---|");
    for (name, layers, length, times) in jobs() {
        let batch = |threads: usize| (0..=(1152 * threads).max(4096)).step_by(length).collect::<Vec<_>>();
        let per_token = |threads: usize| {
            let cu_seqlens = batch(threads);
            let batch = simulate(layers, &cu_seqlens, threads, times);
            (batch.time / cu_seqlens[cu_seqlens.len() - 1] as f64, batch.idle)
        };
        for threads in [2, 8, 16, 64, 128] {
            let ((time, idle), (one, _)) = (per_token(threads), per_token(1));
            println!("| {name} | {threads} | {:.1} % | {:.1} |", 100.0 * idle, one / time);
        }
    }
}
