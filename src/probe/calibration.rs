//! Calibrated probabilities: the temperature of predictions for texts that were not learned from.

use serde::{Deserialize, Serialize};

use super::folds::Folds;
use super::predictions::Predictions;

/// How the probabilities of a layer were calibrated.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// What the head's logits were divided by.
    pub temperature: f64,
    /// The expected calibration error of the predictions as they were before.
    pub expected_calibration_error_before: f64,
}

/// Calibrates predictions of cross-validation, those of each fold by the temperature of the other folds. Returns the
/// temperature of all of them.
pub fn across_folds(predicted: &mut Predictions, gold: &[u32], folds: &Folds) -> f64 {
    let temperature = |examples: &[u32]| {
        let gold: Vec<u32> = examples.iter().map(|&example| gold[example as usize]).collect();
        predicted.select(examples).temperature(&gold)
    };
    let of_folds = folds.ranges.iter().map(|range| {
        let others = [&folds.order[..range.start], &folds.order[range.end..]].concat();
        let own = &folds.order[range.clone()];
        let mut cooled = predicted.select(own);
        cooled.cool(temperature(&others));
        (own, cooled)
    });
    let of_folds: Vec<(&[u32], Predictions)> = of_folds.collect();
    let of_all = temperature(&folds.order);
    of_folds.iter().for_each(|(own, cooled)| predicted.put(own, cooled));
    of_all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fold_does_not_calibrate_itself() {
        // Three folds of a hundred examples each, with the odds of 3 to 1 that two of them have right and one, wrong.
        let starts: Vec<usize> = (0..=300).collect();
        let folds = Folds::of_texts(&starts, &[], 3, 0);
        let score = 3.0_f32.ln();
        let mut gold = vec![0; 300];
        for (fold, range) in folds.ranges.iter().enumerate() {
            for (place, &example) in folds.order[range.clone()].iter().enumerate() {
                gold[example as usize] = u32::from((place < 75) == (fold < 2));
            }
        }
        let mut predicted = Predictions::of_scores(&vec![score; 300], 2, true);
        let before = predicted.clone();
        let temperature = across_folds(&mut predicted, &gold, &folds);
        // 175 of 300 are right: odds of 7 to 5.
        assert!((temperature - 3.0_f64.ln() / 1.4_f64.ln()).abs() < 1e-5, "{temperature}");
        let of_fold = |fold: usize| predicted.of[folds.order[folds.ranges[fold].start] as usize];
        assert!((of_fold(2).value - 0.75).abs() < 1e-5, "the others are right as it is");
        assert!((of_fold(0).value - 0.5).abs() < 1e-2, "of one right fold and one wrong one nothing is sure");
        assert!(predicted.of.iter().zip(&before.of).all(|(after, before)| after.class == before.class));
    }
}
