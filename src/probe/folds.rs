//! Folds for cross-validation, and the order in which examples are processed.

use std::collections::BTreeMap;
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
        Self::in_folds(starts, &fold_of, folds)
    }

    /// Divides texts into `folds` folds at random, each group into one of them. `groups` are the groups of texts, below
    /// `count`. `classes` are those of examples, each of which is spread over the folds as evenly as the groups allow;
    /// empty for examples without classes, of which each fold gets as many as the others.
    pub fn of_groups(
        starts: &[usize],
        classes: &[u32],
        (groups, count): (&[u32], usize),
        folds: usize,
        seed: u64,
    ) -> Self {
        let mut of_group: Vec<BTreeMap<u32, f64>> = vec![BTreeMap::new(); count];
        let mut totals: BTreeMap<u32, f64> = BTreeMap::new();
        for (ends, &group) in starts.windows(2).zip(groups) {
            for example in ends[0]..ends[1] {
                let class = classes.get(example).copied().unwrap_or(0);
                *of_group[group as usize].entry(class).or_default() += 1.0;
                *totals.entry(class).or_default() += 1.0;
            }
        }
        let size = |group: usize| of_group[group].values().sum::<f64>();
        let mut shuffled: Vec<usize> = (0..count).collect();
        shuffled.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
        // Large groups first, as small ones can fill what they leave uneven. The sort is stable, so groups of one size
        // stay in random order.
        shuffled.sort_by(|&a, &b| size(b).total_cmp(&size(a)));
        let mut counts: Vec<BTreeMap<u32, f64>> = vec![BTreeMap::new(); folds];
        let mut sizes = vec![0.0; folds];
        let mut fold_of_group = vec![0; count];
        for group in shuffled {
            // What the group adds to the sum of squared shares of each class, but for a term that all folds have.
            let cost = |fold: usize| -> f64 {
                let share = |(class, add): (&u32, &f64)| counts[fold].get(class).unwrap_or(&0.0) * add / totals[class];
                of_group[group].iter().map(share).sum()
            };
            let costs: Vec<(f64, f64)> = (0..folds).map(|fold| (cost(fold), sizes[fold])).collect();
            let is_less = |a: (f64, f64), b: (f64, f64)| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)).is_lt();
            let best = (0..folds).fold(0, |best, fold| if is_less(costs[fold], costs[best]) { fold } else { best });
            of_group[group].iter().for_each(|(class, add)| *counts[best].entry(*class).or_default() += add);
            sizes[best] += size(group);
            fold_of_group[group] = best;
        }
        let fold_of: Vec<usize> = groups.iter().map(|&group| fold_of_group[group as usize]).collect();
        Self::in_folds(starts, &fold_of, folds)
    }

    /// Folds of texts by the fold of each.
    fn in_folds(starts: &[usize], fold_of: &[usize], folds: usize) -> Self {
        let mut of_fold = vec![Vec::new(); folds];
        fold_of.iter().enumerate().for_each(|(text, &fold)| of_fold[fold].push(text));
        let mut order = Vec::with_capacity(starts[starts.len() - 1]);
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

    /// The chunks of the folds that are wanted, each with whole texts.
    pub fn text_chunks(&self, wanted: impl Fn(usize) -> bool) -> Vec<Range<usize>> {
        let mut chunks = Vec::new();
        for (fold, range) in self.ranges.iter().enumerate().filter(|(fold, _)| wanted(*fold)) {
            let (mut start, mut end) = (range.start, range.start);
            for &text in &self.texts[fold] {
                end += self.lengths[text];
                if end - start >= CHUNK {
                    chunks.push(start..end);
                    start = end;
                }
            }
            if start < end {
                chunks.push(start..end);
            }
        }
        chunks
    }

    /// Where each text ends in `order`.
    pub fn text_ends(&self) -> Vec<usize> {
        self.starts(0..self.ranges.len()).split_off(1)
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
    fn a_group_is_in_one_fold_and_classes_are_even() {
        // Sixty groups of one to six texts; a quarter of them are of the rare class.
        let groups: Vec<u32> = (0..60).flat_map(|group| vec![group; group as usize % 6 + 1]).collect();
        let classes: Vec<u32> = groups.iter().map(|group| u32::from(group % 4 == 0)).collect();
        let starts: Vec<usize> = (0..=groups.len()).collect();
        let folds = Folds::of_groups(&starts, &classes, (&groups, 60), 5, 7);
        let mut all = folds.order.clone();
        all.sort_unstable();
        assert!(all.iter().copied().eq(0..groups.len() as u32));
        let mut seen = std::collections::HashMap::new();
        for (fold, texts) in folds.texts.iter().enumerate() {
            assert!(texts.iter().all(|&text| *seen.entry(groups[text]).or_insert(fold) == fold), "{fold}");
            let rare = texts.iter().filter(|&&text| classes[text] == 1).count();
            assert!((40..=44).contains(&texts.len()) && (9..=12).contains(&rare), "{} {rare}", texts.len());
        }
        assert_ne!(folds.order, Folds::of_groups(&starts, &classes, (&groups, 60), 5, 8).order);
        assert_eq!(folds.order, Folds::of_groups(&starts, &classes, (&groups, 60), 5, 7).order);
        // As many groups as folds, one of them large: each fold has one.
        let groups: Vec<u32> = (0..30).map(|text: u32| text.saturating_sub(26)).collect();
        let folds = Folds::of_groups(&(0..=30).collect::<Vec<_>>(), &[], (&groups, 4), 4, 0);
        assert!(folds.ranges.iter().all(|range| !range.is_empty()), "{:?}", folds.ranges);
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
        let ends = folds.text_ends();
        assert!(ends.len() == 4 && ends.last() == Some(&7), "{ends:?}");
        assert!(folds.text_chunks(|_| true).iter().all(|chunk| ends.contains(&chunk.end)));
        let long = Folds::of_texts(&(0..=100).map(|text| text * 30).collect::<Vec<_>>(), &[], 2, 0);
        let chunks = long.text_chunks(|fold| fold == 1);
        assert_eq!(chunks.iter().map(Range::len).collect::<Vec<_>>(), [540, 540, 420]);
        assert!(chunks.iter().all(|chunk| chunk.start % 30 == 0) && chunks[0].start == 1500);
    }
}
