//! The schedule of a batch carried out in time that is only counted, for numbers of threads that no machine at hand has.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::layer_schedule::{LayerSchedule, Step};
use super::text_groups::groups;

/// How long the steps of a batch take, in nanoseconds for each token.
#[derive(Debug, Clone, Copy)]
pub struct StepTimes {
    /// One layer, by one thread.
    pub layer: f64,
    /// A visit of one layer's output, by one thread: pooling and writing.
    pub visit: f64,
    /// What one thread does while the others have no work.
    pub alone: f64,
}

/// What came of a batch.
#[derive(Debug, Clone, Copy)]
pub struct SimulatedBatch {
    /// Nanoseconds from the beginning to the end.
    pub time: f64,
    /// Of the time of all threads, the part in which they have nothing to do.
    pub idle: f64,
}

/// What a thread is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum SimulatedTask {
    Group(usize),
    Visit,
    Help,
}

/// Tokens of a piece of a visit, which one thread takes.
const TOKENS_OF_PIECE: usize = 2048;

/// Takes a batch of texts that end at `cu_seqlens` through `layers` layers on `threads` threads. Threads never wait for memory or for
/// each other's locks here, so this is what the schedule itself costs.
pub fn simulate(layers: usize, cu_seqlens: &[usize], threads: usize, times: StepTimes) -> SimulatedBatch {
    let tokens = cu_seqlens[cu_seqlens.len() - 1];
    let sizes: Vec<usize> = groups(cu_seqlens, threads).iter().map(|group| group.tokens().len()).collect();
    let mut schedule = LayerSchedule::new(layers, sizes.clone());
    let pieces = tokens.div_ceil(TOKENS_OF_PIECE).max(1);
    // Picoseconds, as a heap wants numbers that are ordered.
    let of_group = |group: usize| (1000.0 * times.layer * sizes[group] as f64) as u64;
    let of_piece = (1000.0 * times.visit * tokens as f64 / pieces as f64) as u64;
    let (mut running, mut now, mut busy, mut free) = (BinaryHeap::new(), 0, 0, threads);
    // Pieces of the visit that nobody has taken, and that are not done. The thread that visits takes them one after the other, the others
    // where they would wait.
    let (mut pieces_left, mut pieces_not_done) = (0, 0);
    loop {
        while free > 0 {
            let (cost, task) = match schedule.next() {
                Step::Encode { group, .. } => (of_group(group), SimulatedTask::Group(group)),
                Step::Visit(_) => {
                    (pieces_left, pieces_not_done) = (pieces - 1, pieces);
                    (of_piece, SimulatedTask::Visit)
                }
                Step::Wait if pieces_left > 0 => {
                    pieces_left -= 1;
                    (of_piece, SimulatedTask::Help)
                }
                Step::Wait | Step::End => break,
            };
            free -= 1;
            busy += cost;
            running.push(Reverse((now + cost, task)));
        }
        let Some(Reverse((ends, task))) = running.pop() else { break };
        now = ends;
        if let SimulatedTask::Group(group) = task {
            schedule.encoded(group);
        } else {
            pieces_not_done -= 1;
            if task == SimulatedTask::Visit && pieces_left > 0 {
                (pieces_left, busy) = (pieces_left - 1, busy + of_piece);
                running.push(Reverse((now + of_piece, SimulatedTask::Visit)));
                continue;
            }
            if pieces_not_done == 0 {
                schedule.visited();
            }
        }
        free += 1;
    }
    // The last layer's visit is shared by all.
    let rounds = pieces.div_ceil(threads) as u64;
    let (now, busy) = (now + rounds * of_piece, busy + pieces as u64 * of_piece);
    let alone = times.alone * tokens as f64;
    let time = now as f64 / 1000.0 + alone;
    SimulatedBatch { time, idle: 1.0 - (busy as f64 / 1000.0 + alone) / (time * threads as f64) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(threads: usize, length: usize) -> Vec<usize> {
        (0..=1152 * threads).step_by(length).collect()
    }

    #[test]
    fn the_schedule_leaves_few_threads_without_work() {
        for threads in [1, 2, 8, 16, 64, 128] {
            for length in [16, 24, 72, 144] {
                let times = StepTimes { layer: 36_000.0, visit: 20.0, alone: 0.0 };
                let SimulatedBatch { idle, .. } = simulate(6, &batch(threads, length), threads, times);
                assert!((-1e-6..0.03).contains(&idle), "{threads} threads, texts of {length} tokens: {idle}");
            }
        }
    }

    #[test]
    fn what_one_thread_does_alone_and_visits_that_take_too_long_show() {
        let times = StepTimes { layer: 1000.0, visit: 0.0, alone: 6000.0 };
        let SimulatedBatch { time, idle } = simulate(6, &batch(2, 144), 2, times);
        assert!((time / 2304.0 - 9000.0).abs() < 1.0 && (idle - 1.0 / 3.0).abs() < 1e-3, "{time} {idle}");
    }

    #[test]
    fn threads_that_would_wait_take_pieces_of_visits() {
        let times = StepTimes { layer: 36_000.0, visit: 2000.0, alone: 0.0 };
        let SimulatedBatch { time, idle } = simulate(6, &batch(64, 144), 64, times);
        let alone = 7.0 * 2000.0 * 1152.0 * 64.0;
        assert!(time < alone / 2.0 && idle < 0.1, "one thread would visit for {alone}, and it took {time}; {idle}");
    }
}
