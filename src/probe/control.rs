//! The control task: random labels that show how much a probe merely memorizes.
//!
//! Hewitt & Liang 2019: each word type gets one random label, drawn by the frequency of labels in the training texts,
//! and keeps it wherever the word stands. Selectivity is the score on the real labels less the score on these. Whole
//! texts have no recurring types, so each text gets a random label of its own, or each group of texts; there the control
//! shows the score of chance.

use rand::{RngExt, SeedableRng, rngs::ChaCha8Rng};
use sha2::{Digest, Sha256};

use super::labels::LabelledTexts;
use super::targets::Targets;

/// Control labels for the examples of texts.
#[derive(Debug)]
pub struct Control {
    /// The labels of the training examples, from which control labels are drawn.
    from: Targets,
    seed: u64,
}

impl Control {
    /// A control task whose labels are as frequent as those of the training examples.
    pub fn new(training: &Targets, seed: u64) -> Self {
        Self { from: training.clone(), seed }
    }

    /// The control label of each example. `which` distinguishes training texts from others.
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
            let of_text = |(text, (row, _)): (usize, &(u64, Option<String>))| match &labels.groups {
                Some(groups) => of(&format!("group {}", groups.names[groups.of_text[text] as usize])),
                None => of(&format!("{which} {row}")),
            };
            let texts = labels.texts.iter().enumerate().zip(labels.starts.windows(2));
            texts.flat_map(|(text, ends)| vec![of_text(text); ends[1] - ends[0]]).collect()
        };
        match &self.from {
            Targets::Classes(classes) => Targets::Classes(chosen.into_iter().map(|example| classes[example]).collect()),
            Targets::Numbers(numbers) => Targets::Numbers(chosen.into_iter().map(|example| numbers[example]).collect()),
        }
    }
}
