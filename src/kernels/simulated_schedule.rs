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
    /// A visit of one layer's output: pooling and writing.
    pub visit: f64,
    /// What one thread does while the others have no work: putting the batch together, embeddings, the last visit.
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

/// Takes a batch of texts that end at `cu_seqlens` through `layers` layers on `threads` threads. Threads never wait for memory or for
/// each other's locks here, so this is what the schedule itself costs.
pub fn simulate(layers: usize, cu_seqlens: &[usize], threads: usize, times: StepTimes) -> SimulatedBatch {
    let tokens = cu_seqlens[cu_seqlens.len() - 1] as f64;
    let sizes: Vec<usize> = groups(cu_seqlens, threads).iter().map(|group| group.tokens().len()).collect();
    let mut schedule = LayerSchedule::new(layers, sizes.clone());
    // Picoseconds, as a heap wants numbers that are ordered.
    let cost = |step: Step| match step {
        Step::Encode { group, .. } => (1000.0 * times.layer * sizes[group] as f64) as u64,
        _ => (1000.0 * times.visit * tokens) as u64,
    };
    let (mut running, mut now, mut busy, mut free) = (BinaryHeap::new(), 0, 0, threads);
    loop {
        while free > 0 {
            let step = schedule.next();
            if matches!(step, Step::Wait | Step::End) {
                break;
            }
            free -= 1;
            busy += cost(step);
            running.push(Reverse((
                now + cost(step),
                if let Step::Encode { group, .. } = step { Some(group) } else { None },
            )));
        }
        let Some(Reverse((ends, group))) = running.pop() else { break };
        now = ends;
        free += 1;
        match group {
            Some(group) => schedule.encoded(group),
            None => schedule.visited(),
        }
    }
    let alone = times.alone * tokens;
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
        let times = StepTimes { layer: 1000.0, visit: 500.0, alone: 0.0 };
        let SimulatedBatch { time, .. } = simulate(6, &batch(8, 144), 8, times);
        assert!(time >= 6.0 * 500.0 * 1152.0 * 8.0, "visits are one after the other");
    }
}
