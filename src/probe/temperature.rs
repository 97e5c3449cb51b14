//! Temperature scaling (Guo et al. 2017): one number by which all logits are divided, so that a probability of 0.8 is right
//! four times in five. It changes no class.

use rayon::prelude::*;

/// Number of examples whose sums are made at once.
const PIECE: usize = 1024;
/// The temperature is within 1/LIMIT and LIMIT.
const LIMIT: f64 = 100.0;
/// Number of bins of the expected calibration error.
const BINS: usize = 15;

/// The temperature with the least mean loss on examples of known classes. `logits` are (examples, classes); examples of
/// classes beyond count for nothing.
pub(super) fn best(logits: &[f32], classes: usize, gold: &[u32]) -> f64 {
    // By 1 / temperature the loss is convex, so the zero of its slope is sought.
    let slope = |inverse: f64| {
        let of_piece = |(logits, gold): (&[f32], &[u32])| {
            let examples = logits.chunks_exact(classes).zip(gold).filter(|(_, gold)| (**gold as usize) < classes);
            let of = examples.map(|(logits, &gold)| {
                let largest = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
                let (mut sum, mut mean) = (0.0, 0.0);
                for &logit in logits {
                    let below = f64::from(logit) - largest;
                    let share = (below * inverse).exp();
                    sum += share;
                    mean += share * below;
                }
                mean / sum - (f64::from(logits[gold as usize]) - largest)
            });
            of.sum::<f64>()
        };
        let pieces: Vec<_> = logits.chunks(PIECE * classes).zip(gold.chunks(PIECE)).collect();
        // Collected in order, so that the sum does not depend on the number of threads.
        pieces.into_par_iter().map(of_piece).collect::<Vec<f64>>().into_iter().sum::<f64>()
    };
    let (mut low, mut high) = (-LIMIT.ln(), LIMIT.ln());
    for _ in 0..50 {
        let middle = 0.5 * (low + high);
        // Where all is right, sums may underflow to 0: as sure as can be.
        if slope(middle.exp()) <= 0.0 { low = middle } else { high = middle }
    }
    (-0.5 * (low + high)).exp()
}

/// The expected calibration error: how far the share of right predictions is from their mean probability, in bins of equal
/// width, weighted by the predictions in each. An example is (probability of the prediction, whether it is right, weight).
pub(super) fn expected_calibration_error(examples: impl Iterator<Item = (f32, bool, f64)>) -> f64 {
    let mut bins = [(0.0, 0.0); BINS];
    let mut all = 0.0;
    for (probability, is_right, weight) in examples {
        // Bins are open below, as a bin with its upper end is customary.
        let bin = ((f64::from(probability) * BINS as f64).ceil() as usize).clamp(1, BINS) - 1;
        bins[bin].0 += weight * f64::from(probability);
        bins[bin].1 += weight * f64::from(u8::from(is_right));
        all += weight;
    }
    if all > 0.0 { bins.iter().map(|(sure, right)| f64::abs(sure - right)).sum::<f64>() / all } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logits_that_are_twice_too_sure_have_temperature_2() {
        // Of a hundred examples with odds of 3 to 1 seventy-five are right; the logits say 9 to 1.
        let logits = [2.0 * 3.0_f32.ln(), 0.0].repeat(100);
        let gold: Vec<u32> = (0..100).map(|i| u32::from(i >= 75)).collect();
        assert!((best(&logits, 2, &gold) - 2.0).abs() < 1e-6);
        let cooled: Vec<f32> = logits.iter().map(|logit| logit / 2.0).collect();
        assert!((best(&cooled, 2, &gold) - 1.0).abs() < 1e-6);
        assert!(best(&logits, 2, &[0; 100]) < 1.001 / LIMIT, "always right");
        // Classes beyond the logits count for nothing.
        let more = [&gold[..], &[7]].concat();
        assert!((best(&[&logits[..], &[9.0, 9.0]].concat(), 2, &more) - 2.0).abs() < 1e-6);
    }

    #[test]
    fn the_error_is_that_of_bins() {
        // Four at 0.9 of which two are right, and one at 0.6 that is: (4 · 0.4 + 1 · 0.4) / 5.
        let examples = [(0.9, true, 1.0), (0.9, false, 2.0), (0.9, true, 1.0), (0.6, true, 1.0)];
        assert!((expected_calibration_error(examples.into_iter()) - 0.4).abs() < 1e-6);
        assert_eq!(expected_calibration_error([(1.0, true, 3.0)].into_iter()), 0.0);
        assert_eq!(expected_calibration_error([].into_iter()), 0.0);
    }
}
