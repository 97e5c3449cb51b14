//! Confidence of a score: percentile intervals of the bootstrap (Efron 1979), in which whole texts are drawn with
//! replacement, or whole groups of them.

use rand::{RngExt, SeedableRng, rngs::ChaCha8Rng};
use rayon::prelude::*;

/// Number of bootstrap samples.
const DRAWS: u64 = 1000;

/// What is drawn: texts, or groups of texts.
#[derive(Debug, Clone, Copy)]
pub struct Drawn<'a> {
    /// Number of texts.
    pub texts: usize,
    /// The group of each text, and the number of groups, if whole groups are drawn.
    pub groups: Option<(&'a [u32], usize)>,
}

impl Drawn<'_> {
    /// The number of times that each text counts in a sample.
    fn weights(&self, random: &mut ChaCha8Rng) -> Vec<u32> {
        let units = self.groups.map_or(self.texts, |(_, groups)| groups);
        let mut weights = vec![0; units];
        for _ in 0..units {
            weights[random.random_range(0..units)] += 1;
        }
        match self.groups {
            Some((of_text, _)) => of_text.iter().map(|&group| weights[group as usize]).collect(),
            None => weights,
        }
    }
}

/// The score of each bootstrap sample, from the number of times that each text counts. Sample `i` has the same texts for
/// all scores with the same seed and the same texts, so that differences can be taken.
pub fn draws(drawn: Drawn<'_>, seed: u64, score: impl Fn(&[u32]) -> f64 + Sync) -> Vec<f64> {
    (0..DRAWS)
        .into_par_iter()
        .map(|draw| {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            random.set_stream(draw + 1);
            score(&drawn.weights(&mut random))
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
        let texts = Drawn { texts: 400, groups: None };
        let [low, high] = interval(&draws(texts, 1, share));
        assert!((low - 0.451).abs() < 0.01 && (high - 0.549).abs() < 0.01, "{low} {high}");
        assert_eq!(draws(texts, 1, share), draws(texts, 1, share));
        assert_ne!(draws(texts, 1, share), draws(texts, 2, share));
    }

    #[test]
    fn groups_are_drawn_whole() {
        // Forty groups of ten texts that are all alike: 1.96 · 0.5 / √40 to each side, as of forty texts.
        let groups: Vec<u32> = (0..400).map(|text| text / 10).collect();
        let drawn = Drawn { texts: 400, groups: Some((&groups, 40)) };
        let of_first = |weights: &[u32]| {
            assert!(weights.chunks(10).all(|group| group.iter().all(|&weight| weight == group[0])), "{weights:?}");
            let right: u32 = weights.iter().zip(&groups).map(|(weight, group)| weight * (group % 2)).sum();
            f64::from(right) / f64::from(weights.iter().sum::<u32>())
        };
        let [low, high] = interval(&draws(drawn, 1, of_first));
        assert!((low - 0.345).abs() < 0.03 && (high - 0.655).abs() < 0.03, "{low} {high}");
    }

    #[test]
    fn better_means_better_nearly_always() {
        let first: Vec<f64> = (0..100).map(f64::from).collect();
        let up = |by: f64| first.iter().map(|value| value + by).collect::<Vec<_>>();
        assert!(is_better(&up(1.0), &first) && !is_better(&first, &first) && !is_better(&first, &up(1.0)));
    }
}
