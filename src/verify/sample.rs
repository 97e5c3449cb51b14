//! Chooses the texts to recompute: spread over all texts, and the same ones for the same seed.

/// The indices of the chosen texts, ascending: one out of each of equally long stretches.
#[derive(Debug, Clone)]
pub(super) struct Sample {
    count: u64,
    of: u64,
    seed: u64,
    next: u64,
}

impl Sample {
    /// Chooses `count` of `of` texts, or all of them if there are no more.
    pub(super) fn new(count: u64, of: u64, seed: u64) -> Self {
        Self { count: count.min(of), of, seed, next: 0 }
    }
}

impl Iterator for Sample {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        if self.next == self.count {
            return None;
        }
        let bound = |stretch: u64| (u128::from(stretch) * u128::from(self.of) / u128::from(self.count)) as u64;
        let (start, end) = (bound(self.next), bound(self.next + 1));
        let place = (u128::from(hash(self.seed, self.next)) * u128::from(end - start)) >> 64;
        self.next += 1;
        Some(start + place as u64)
    }
}

/// Pseudo-random bits: the finalizer of SplitMix64 (Steele et al. 2014), on a sequence that the seed selects.
fn hash(seed: u64, number: u64) -> u64 {
    let mix = |mut bits: u64| {
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    };
    const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
    mix(mix(seed.wrapping_add(GOLDEN)).wrapping_add(number.wrapping_mul(GOLDEN)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn texts_are_spread_each_once_and_the_same_for_one_seed(count in 0u64..80, of in 0u64..500, seed: u64) {
            let sample: Vec<u64> = Sample::new(count, of, seed).collect();
            prop_assert_eq!(sample.len() as u64, count.min(of));
            prop_assert!(sample.is_sorted_by(|a, b| a < b) && sample.iter().all(|&text| text < of));
            let longest = of.checked_div(count.min(of)).map_or(0, |stretch| 2 * (stretch + 1));
            prop_assert!(sample.windows(2).all(|pair| pair[1] - pair[0] <= longest));
            prop_assert!(Sample::new(count, of, seed).eq(sample));
        }
    }

    #[test]
    fn another_seed_chooses_other_texts_and_every_text_is_chosen_by_some() {
        let sample = |seed| Sample::new(10, 1000, seed).collect::<Vec<_>>();
        assert_ne!(sample(0), sample(1));
        let chosen: std::collections::BTreeSet<u64> = (0..2000).flat_map(sample).collect();
        assert_eq!(chosen.len(), 1000);
        assert_eq!(Sample::new(u64::MAX, u64::MAX, 3).take(3).collect::<Vec<_>>(), [0, 1, 2]);
    }
}
