//! Linear chains of tags (Lafferty et al. 2001): a tag's score is its own at its word plus that of the step from the tag
//! before; a sequence's is the sum, with a score for the first tag and one for the last.

use ndarray::{Array1, Array2};

/// The scores of steps between tags.
#[derive(Debug, Clone, PartialEq)]
pub struct Steps {
    /// From a tag to the next, (tags, tags).
    pub between: Array2<f64>,
    /// To the first tag of a sequence, (tags).
    pub start: Array1<f64>,
    /// From its last tag, (tags).
    pub end: Array1<f64>,
}

/// The probabilities of a sequence's tags.
pub struct Marginals {
    /// The logarithm of the sum of the exponentials of all sequences' scores.
    pub log_sum: f64,
    /// The probability of each tag at each word, (words, tags).
    pub tags: Vec<f64>,
}

impl Steps {
    /// Steps that all score 0.
    pub fn zeros(tags: usize) -> Self {
        Self { between: Array2::zeros((tags, tags)), start: Array1::zeros(tags), end: Array1::zeros(tags) }
    }

    /// Number of tags.
    pub fn tags(&self) -> usize {
        self.start.len()
    }

    /// All scores, row by row.
    pub fn iter(&self) -> impl Iterator<Item = &f64> {
        self.between.iter().chain(&self.start).chain(&self.end)
    }

    /// All scores, row by row.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut f64> {
        self.between.iter_mut().chain(&mut self.start).chain(&mut self.end)
    }

    /// The score of a sequence of tags; `scores` are those of the tags at each word, (words, tags).
    pub fn score(&self, scores: &[f32], tags: &[u32]) -> f64 {
        let (Some(&first), Some(&last)) = (tags.first(), tags.last()) else { return 0.0 };
        let own =
            tags.iter().zip(scores.chunks_exact(self.tags())).map(|(&tag, scores)| f64::from(scores[tag as usize]));
        let steps = tags.windows(2).map(|pair| self.between[(pair[0] as usize, pair[1] as usize)]);
        own.chain(steps).sum::<f64>() + self.start[first as usize] + self.end[last as usize]
    }
}

/// The steps' factors, and the largest score of a step, by which they are divided.
pub struct Factors {
    between: Vec<f64>,
    start: Vec<f64>,
    end: Vec<f64>,
    /// Largest scores of a step, of a first and of a last tag.
    largest: [f64; 3],
}

impl Factors {
    /// The factors of steps.
    pub fn of(steps: &Steps) -> Self {
        let largest = |scores: &mut dyn Iterator<Item = &f64>| scores.copied().fold(f64::NEG_INFINITY, f64::max);
        let largest =
            [largest(&mut steps.between.iter()), largest(&mut steps.start.iter()), largest(&mut steps.end.iter())];
        let of = |scores: &mut dyn Iterator<Item = &f64>, largest: f64| {
            scores.map(|score| (score - largest).exp()).collect()
        };
        Self {
            between: of(&mut steps.between.iter(), largest[0]),
            start: of(&mut steps.start.iter(), largest[1]),
            end: of(&mut steps.end.iter(), largest[2]),
            largest,
        }
    }

    /// The probabilities of a sequence's tags, by sums forward and backward (Rabiner 1989, with his scaling). `scores` are
    /// those of the tags at each word, (words, tags). The expected number of each step is added to `expected`.
    pub fn marginals(&self, scores: &[f32], expected: Option<&mut Steps>) -> Marginals {
        let tags = self.start.len();
        let words = scores.len() / tags;
        if words == 0 {
            return Marginals { log_sum: 0.0, tags: Vec::new() };
        }
        // At each word, the factors of tags, and the sums of all sequences up to the word by its tag, scaled to add up to 1.
        let (mut factors, mut forward, mut scales) =
            (vec![0.0; scores.len()], vec![0.0; scores.len()], vec![0.0; words]);
        let mut log_sum = self.largest[1] + self.largest[2] + self.largest[0] * (words - 1) as f64;
        for word in 0..words {
            let (before, here) = forward.split_at_mut(word * tags);
            let (here, scores) = (&mut here[..tags], &scores[word * tags..][..tags]);
            if word == 0 {
                here.copy_from_slice(&self.start);
            } else {
                let before = &before[(word - 1) * tags..];
                for (before, row) in before.iter().zip(self.between.chunks_exact(tags)) {
                    here.iter_mut().zip(row).for_each(|(sum, factor)| *sum += before * factor);
                }
            }
            let largest = f64::from(scores.iter().copied().fold(f32::NEG_INFINITY, f32::max));
            for ((factor, &score), here) in factors[word * tags..].iter_mut().zip(scores).zip(here.iter_mut()) {
                *factor = (f64::from(score) - largest).exp();
                *here *= *factor;
            }
            let scale = here.iter().sum::<f64>().max(f64::MIN_POSITIVE);
            here.iter_mut().for_each(|sum| *sum /= scale);
            scales[word] = scale;
            log_sum += largest + scale.ln();
        }
        let last = (words - 1) * tags;
        let ends = forward[last..].iter().zip(&self.end).map(|(sum, factor)| sum * factor);
        let of_end = ends.sum::<f64>().max(f64::MIN_POSITIVE);
        log_sum += of_end.ln();

        let mut backward: Vec<f64> = self.end.iter().map(|factor| factor / of_end).collect();
        let mut of_tags = vec![0.0; scores.len()];
        let mut expected = expected;
        for word in (0..words).rev() {
            let here = word * tags..(word + 1) * tags;
            let sums = forward[here.clone()].iter().zip(&backward);
            of_tags[here.clone()]
                .iter_mut()
                .zip(sums)
                .for_each(|(share, (forward, backward))| *share = forward * backward);
            if word == 0 {
                break;
            }
            // What follows from here on, as seen from the word before.
            backward.iter_mut().zip(&factors[here]).for_each(|(sum, factor)| *sum *= factor / scales[word]);
            if let Some(expected) = &mut expected {
                let before = &forward[(word - 1) * tags..][..tags];
                let rows = expected.between.rows_mut().into_iter().zip(self.between.chunks_exact(tags));
                for ((mut expected, row), before) in rows.zip(before) {
                    let steps = expected.iter_mut().zip(row.iter().zip(&backward));
                    steps.for_each(|(expected, (factor, backward))| *expected += before * factor * backward);
                }
            }
            backward = self
                .between
                .chunks_exact(tags)
                .map(|row| row.iter().zip(&backward).map(|(a, b)| a * b).sum())
                .collect();
        }
        if let Some(expected) = expected {
            expected.start.iter_mut().zip(&of_tags[..tags]).for_each(|(sum, share)| *sum += share);
            expected.end.iter_mut().zip(&of_tags[last..]).for_each(|(sum, share)| *sum += share);
        }
        Marginals { log_sum, tags: of_tags }
    }
}

/// The sequence with the highest score (Viterbi 1967); of equal ones, the one with lower tags from its end on.
pub fn best(scores: &[f32], steps: &Steps) -> Vec<u32> {
    let tags = steps.tags();
    let words = scores.len() / tags;
    if words == 0 {
        return Vec::new();
    }
    let own = |word: usize, tag: usize| f64::from(scores[word * tags + tag]);
    let mut sums: Vec<f64> = (0..tags).map(|tag| steps.start[tag] + own(0, tag)).collect();
    let mut from = vec![0_u32; scores.len()];
    for word in 1..words {
        let next = (0..tags).map(|tag| {
            let sum = |before: usize| sums[before] + steps.between[(before, tag)];
            let best = (1..tags).fold(0, |best, before| if sum(before) > sum(best) { before } else { best });
            from[word * tags + tag] = best as u32;
            sum(best) + own(word, tag)
        });
        sums = next.collect();
    }
    let sum = |tag: usize| sums[tag] + steps.end[tag];
    let mut tag = (1..tags).fold(0, |best, tag| if sum(tag) > sum(best) { tag } else { best });
    let mut path = vec![0; words];
    for word in (0..words).rev() {
        path[word] = tag as u32;
        tag = from[word * tags + tag] as usize;
    }
    path
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Scores of one to five words and steps, for one to three tags.
    fn chains() -> impl Strategy<Value = (Vec<f32>, Steps)> {
        (1..4_usize, 1..6_usize).prop_flat_map(|(tags, words)| {
            let scores = prop::collection::vec(-4.0_f32..4.0, tags * words);
            let steps = prop::collection::vec(-3.0_f64..3.0, tags * (tags + 2));
            (scores, steps).prop_map(move |(scores, numbers)| {
                let mut steps = Steps::zeros(tags);
                steps.iter_mut().zip(numbers).for_each(|(step, number)| *step = number);
                (scores, steps)
            })
        })
    }

    /// All sequences of tags.
    fn all(words: usize, tags: usize) -> Vec<Vec<u32>> {
        let mut all = vec![vec![]];
        for _ in 0..words {
            all = all.iter().flat_map(|path| (0..tags as u32).map(move |tag| [&path[..], &[tag]].concat())).collect();
        }
        all
    }

    #[test]
    fn by_hand() {
        // Two words, two tags: scores 1 0 and 0 2, a step from 0 to 1 costs 3.
        let mut steps = Steps::zeros(2);
        steps.between[(0, 1)] = -3.0;
        let scores = [1.0, 0.0, 0.0, 2.0];
        // 00: 1, 01: 1 - 3 + 2 = 0, 10: 0, 11: 2.
        assert_eq!(best(&scores, &steps), [1, 1]);
        let found = Factors::of(&steps).marginals(&scores, None);
        let sum = 1.0_f64.exp() + 1.0 + 1.0 + 2.0_f64.exp();
        assert!((found.log_sum - sum.ln()).abs() < 1e-12);
        assert!((found.tags[0] - (1.0_f64.exp() + 1.0) / sum).abs() < 1e-12, "{:?}", found.tags);
        assert!((found.tags[3] - (1.0 + 2.0_f64.exp()) / sum).abs() < 1e-12, "{:?}", found.tags);
        steps.end[0] = 2.0;
        assert_eq!(best(&scores, &steps), [0, 0]);
        assert!(best(&[], &steps).is_empty() && Factors::of(&steps).marginals(&[], None).tags.is_empty());
    }

    #[test]
    fn a_long_sequence_of_extreme_scores_stays_finite() {
        let mut steps = Steps::zeros(3);
        steps.between.fill(-800.0);
        steps.between[(0, 0)] = 800.0;
        let scores = [500.0, -500.0, 0.0].repeat(2000);
        let found = Factors::of(&steps).marginals(&scores, None);
        assert!(found.log_sum.is_finite() && found.tags.iter().all(|share| (0.0..=1.0 + 1e-9).contains(share)));
    }

    proptest! {
        /// Sums over all sequences one by one, and the best of them.
        #[test]
        fn as_by_enumeration((scores, steps) in chains()) {
            let tags = steps.tags();
            let words = scores.len() / tags;
            let all = all(words, tags);
            let of: Vec<f64> = all.iter().map(|path| steps.score(&scores, path)).collect();
            let sum: f64 = of.iter().map(|score| score.exp()).sum();
            let mut expected = Steps::zeros(tags);
            let found = Factors::of(&steps).marginals(&scores, Some(&mut expected));
            prop_assert!((found.log_sum - sum.ln()).abs() < 1e-9);
            let share = |is: &dyn Fn(&[u32]) -> f64| -> f64 {
                all.iter().zip(&of).map(|(path, score)| is(path) * score.exp() / sum).sum()
            };
            for word in 0..words {
                for tag in 0..tags {
                    let one = share(&|path| f64::from(u8::from(path[word] as usize == tag)));
                    prop_assert!((found.tags[word * tags + tag] - one).abs() < 1e-9);
                }
            }
            for from in 0..tags as u32 {
                for to in 0..tags as u32 {
                    let steps = share(&|path| path.windows(2).filter(|pair| **pair == [from, to]).count() as f64);
                    prop_assert!((expected.between[(from as usize, to as usize)] - steps).abs() < 1e-9);
                }
                let first = share(&|path| f64::from(u8::from(path[0] == from)));
                let last = share(&|path| f64::from(u8::from(path[words - 1] == from)));
                prop_assert!((expected.start[from as usize] - first).abs() < 1e-9);
                prop_assert!((expected.end[from as usize] - last).abs() < 1e-9);
            }
            let highest = of.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            prop_assert!((steps.score(&scores, &best(&scores, &steps)) - highest).abs() < 1e-9);
        }
    }
}
