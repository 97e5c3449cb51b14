//! Folds for cross-validation, and the order in which examples are processed.

use std::ops::Range;

use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;
use rand::seq::SliceRandom;

/// Number of examples that are processed together: few enough for the cache, many enough for fast products.
const CHUNK: usize = 512;

/// The examples in processing order, fold after fold.
#[derive(Debug, Clone)]
pub struct Folds {
    /// The indices of the examples among the labels. Those of a fold are consecutive, as are those of a text.
    pub order: Vec<u32>,
    /// The range of each fold's examples in `order`.
    pub ranges: Vec<Range<usize>>,
    /// The texts of each fold, in order.
    pub texts: Vec<Vec<usize>>,
    /// Number of examples of each text.
    lengths: Vec<usize>,
}

impl Folds {
    /// A single fold of all examples.
    pub fn one(starts: &[usize]) -> Self {
        Self::of_texts(starts, &[], 1, 0)
    }

    /// Divides texts into `folds` folds at random. `strata` are the classes of texts, each of which is spread over all
    /// folds; empty for texts without classes. The examples of text `i` are `starts[i]..starts[i + 1]`.
    pub fn of_texts(starts: &[usize], strata: &[u32], folds: usize, seed: u64) -> Self {
        let texts = starts.len() - 1;
        let mut shuffled: Vec<usize> = (0..texts).collect();
        shuffled.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
        // The sort is stable, so the order within a class stays random. Texts without examples come last, so that every
        // fold has examples.
        shuffled.sort_by_key(|&text| (starts[text] == starts[text + 1], strata.get(text)));
        let mut fold_of = vec![0; texts];
        shuffled.iter().enumerate().for_each(|(place, &text)| fold_of[text] = place % folds);
        let mut of_fold = vec![Vec::new(); folds];
        fold_of.iter().enumerate().for_each(|(text, &fold)| of_fold[fold].push(text));
        let mut order = Vec::with_capacity(starts[texts]);
        let ranges = of_fold.iter().map(|texts| {
            let first = order.len();
            order.extend(texts.iter().flat_map(|&text| starts[text] as u32..starts[text + 1] as u32));
            first..order.len()
        });
        let ranges = ranges.collect();
        Self { order, ranges, texts: of_fold, lengths: starts.windows(2).map(|ends| ends[1] - ends[0]).collect() }
    }

    /// The start of each text if the examples of some folds are concatenated, followed by their total number.
    pub fn starts(&self, folds: impl IntoIterator<Item = usize>) -> Vec<usize> {
        let lengths = folds.into_iter().flat_map(|fold| &self.texts[fold]).map(|&text| self.lengths[text]);
        let ends = lengths.scan(0, |end, length| {
            *end += length;
            Some(*end)
        });
        [0].into_iter().chain(ends).collect()
    }

    /// The chunks of the folds that are wanted.
    pub fn chunks(&self, wanted: impl Fn(usize) -> bool) -> Vec<Range<usize>> {
        let folds = self.ranges.iter().enumerate().filter(|(fold, _)| wanted(*fold));
        folds
            .flat_map(|(_, range)| range.clone().step_by(CHUNK).map(|start| start..(start + CHUNK).min(range.end)))
            .collect()
    }

    /// Number of examples in the folds that are wanted.
    pub fn count(&self, wanted: impl Fn(usize) -> bool) -> usize {
        self.ranges.iter().enumerate().filter(|(fold, _)| wanted(*fold)).map(|(_, range)| range.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_in_one_fold_and_every_class_in_all() {
        let starts: Vec<usize> = (0..=40).collect();
        let strata: Vec<u32> = (0..40).map(|text| u32::from(text % 4 == 0)).collect();
        let folds = Folds::of_texts(&starts, &strata, 5, 7);
        let mut all = folds.order.clone();
        all.sort_unstable();
        assert!(all.iter().copied().eq(0..40));
        for range in &folds.ranges {
            assert_eq!(range.len(), 8);
            assert_eq!(folds.order[range.clone()].iter().filter(|&&text| strata[text as usize] == 1).count(), 2);
        }
        assert_ne!(folds.order, Folds::of_texts(&starts, &strata, 5, 8).order);
        assert_eq!(folds.order, Folds::of_texts(&starts, &strata, 5, 7).order);
    }

    #[test]
    fn words_of_a_text_stay_together() {
        let folds = Folds::of_texts(&[0, 3, 3, 3, 7], &[], 2, 0);
        let fold_of =
            |example: u32| folds.ranges.iter().position(|range| folds.order[range.clone()].contains(&example));
        assert!((0..3).all(|word| fold_of(word) == fold_of(0)));
        assert!((3..7).all(|word| fold_of(word) == fold_of(3)));
        assert_eq!(folds.starts([0, 1]).len(), 5);
        assert!(folds.ranges.iter().all(|range| !range.is_empty()));
        assert_eq!(folds.chunks(|_| true).iter().map(Range::len).sum::<usize>(), 7);
    }
}
