//! Confidence of a score: percentile intervals of the bootstrap (Efron 1979), in which whole texts are drawn with
//! replacement.

use rand::{RngExt, SeedableRng, rngs::ChaCha8Rng};
use rayon::prelude::*;

/// Number of bootstrap samples.
const DRAWS: u64 = 1000;

/// The score of each bootstrap sample. Sample `i` has the same texts for all scores with the same seed and number of
/// texts, so that differences can be taken.
pub fn draws(texts: usize, seed: u64, score: impl Fn(&[u32]) -> f64 + Sync) -> Vec<f64> {
    (0..DRAWS)
        .into_par_iter()
        .map(|draw| {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            random.set_stream(draw + 1);
            let mut weights = vec![0; texts];
            for _ in 0..texts {
                weights[random.random_range(0..texts)] += 1;
            }
            score(&weights)
        })
        .collect()
}

/// The interval of the middle 95 % of the samples' scores.
pub fn interval(draws: &[f64]) -> [f64; 2] {
    let mut sorted = draws.to_vec();
    sorted.sort_by(f64::total_cmp);
    [quantile(&sorted, 0.025), quantile(&sorted, 0.975)]
}

/// Whether the first scores are higher than the second in 97.5 % of the samples.
pub fn is_better(first: &[f64], second: &[f64]) -> bool {
    let differences: Vec<f64> = first.iter().zip(second).map(|(first, second)| first - second).collect();
    interval(&differences)[0] > 0.0
}

fn quantile(sorted: &[f64], at: f64) -> f64 {
    let place = at * (sorted.len() - 1) as f64;
    let (below, share) = (place.floor() as usize, place.fract());
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] * (1.0 - share) + sorted[above] * share
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_as_wide_as_theory_has_it() {
        // The mean of 400 coin flips: 1.96 · 0.5 / 20 to each side.
        let share = |weights: &[u32]| weights.iter().step_by(2).sum::<u32>() as f64 / 400.0;
        let [low, high] = interval(&draws(400, 1, share));
        assert!((low - 0.451).abs() < 0.01 && (high - 0.549).abs() < 0.01, "{low} {high}");
        assert_eq!(draws(400, 1, share), draws(400, 1, share));
        assert_ne!(draws(400, 1, share), draws(400, 2, share));
    }

    #[test]
    fn better_means_better_nearly_always() {
        let first: Vec<f64> = (0..100).map(f64::from).collect();
        let up = |by: f64| first.iter().map(|value| value + by).collect::<Vec<_>>();
        assert!(is_better(&up(1.0), &first) && !is_better(&first, &first) && !is_better(&first, &up(1.0)));
    }
}
