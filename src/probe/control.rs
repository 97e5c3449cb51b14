//! The control task: labels that say nothing, to see what a probe merely memorizes.
//!
//! Hewitt & Liang 2019: each word type gets one label at random, by how often labels are in the training texts, and keeps
//! it wherever the word stands. What a probe scores on real labels beyond what it scores on these is its selectivity.
//! Whole texts have no types that come again, so each gets a label of its own at random; there the control says what
//! chance gives.

use rand::{RngExt, SeedableRng, rngs::ChaCha8Rng};
use sha2::{Digest, Sha256};

use super::labels::LabelledTexts;
use super::targets::Targets;

/// Control labels for the examples of texts.
#[derive(Debug)]
pub struct Control {
    /// Labels of the training examples.
    from: Targets,
    seed: u64,
}

impl Control {
    /// With labels as frequent as they are in training.
    pub fn new(training: &Targets, seed: u64) -> Self {
        Self { from: training.clone(), seed }
    }

    /// A label for each example. `which` tells training texts from others.
    pub fn labels(&self, labels: &LabelledTexts, which: &str) -> Targets {
        let of = |name: &str| -> usize {
            let digest = Sha256::new().chain_update(self.seed.to_le_bytes()).chain_update(name.as_bytes()).finalize();
            let mut seed = [0; 32];
            seed.copy_from_slice(&digest);
            ChaCha8Rng::from_seed(seed).random_range(0..self.from.count())
        };
        let chosen: Vec<usize> = if labels.of_words {
            let by_word: Vec<usize> = labels.vocabulary.iter().map(|word| of(word)).collect();
            labels.words.iter().map(|&word| by_word[word as usize]).collect()
        } else {
            labels.texts.iter().map(|(row, _)| of(&format!("{which} {row}"))).collect()
        };
        match &self.from {
            Targets::Classes(classes) => Targets::Classes(chosen.into_iter().map(|example| classes[example]).collect()),
            Targets::Numbers(numbers) => Targets::Numbers(chosen.into_iter().map(|example| numbers[example]).collect()),
        }
    }
}
