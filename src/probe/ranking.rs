//! Scores of an order: the area under the ROC curve, average precision, Spearman's correlation. Examples that are equal
//! share a place, and an example that counts several times does so as if it were there as often.

/// The area under the ROC curve: the probability that a positive example has a larger value than a negative one, where
/// half of the ties count. `order` are the examples by ascending value; `None` without examples of both kinds.
pub(super) fn roc_auc(
    order: &[u32],
    value: impl Fn(u32) -> f32,
    is_positive: impl Fn(u32) -> bool,
    weight: impl Fn(u32) -> f64,
) -> Option<f64> {
    let (mut positives, mut negatives, mut right) = (0.0, 0.0, 0.0);
    for tied in ties(order, &value) {
        let (more, less) = sums(tied, &is_positive, &weight);
        right += more * (negatives + 0.5 * less);
        (positives, negatives) = (positives + more, negatives + less);
    }
    (positives > 0.0 && negatives > 0.0).then(|| right / (positives * negatives))
}

/// Average precision: the mean of the precision at each threshold, weighted by the recall that the threshold adds. `order`
/// are the examples by ascending value; `None` without positive ones.
pub(super) fn average_precision(
    order: &[u32],
    value: impl Fn(u32) -> f32,
    is_positive: impl Fn(u32) -> bool,
    weight: impl Fn(u32) -> f64,
) -> Option<f64> {
    let (mut positives, mut all, mut sum) = (0.0, 0.0, 0.0);
    for tied in ties(order, &value).collect::<Vec<_>>().into_iter().rev() {
        let (more, less) = sums(tied, &is_positive, &weight);
        (positives, all) = (positives + more, all + more + less);
        if more > 0.0 {
            sum += more * positives / all;
        }
    }
    (positives > 0.0).then(|| sum / positives)
}

/// Spearman's correlation of two numbers of each example, given the examples by the first and by the second; 0 if one of
/// them is the same for all.
pub(super) fn spearman(
    (of_first, first): (&[u32], impl Fn(u32) -> f64),
    (of_second, second): (&[u32], impl Fn(u32) -> f64),
    weight: impl Fn(u32) -> f64,
) -> f64 {
    let (first, second) = (ranks(of_first, first, &weight), ranks(of_second, second, &weight));
    let count: f64 = of_first.iter().map(|&example| weight(example)).sum();
    let mean = (count + 1.0) / 2.0;
    let product = |a: &[f64], b: &[f64]| {
        let terms = of_first.iter().map(|&example| {
            let at = example as usize;
            weight(example) * (a[at] - mean) * (b[at] - mean)
        });
        terms.sum::<f64>()
    };
    let both = (product(&first, &first) * product(&second, &second)).sqrt();
    if both > 0.0 { product(&first, &second) / both } else { 0.0 }
}

/// The mean rank of each example among those equal to it, from 1.
fn ranks(order: &[u32], value: impl Fn(u32) -> f64, weight: impl Fn(u32) -> f64) -> Vec<f64> {
    let mut ranks = vec![0.0; order.len()];
    let mut below = 0.0;
    for tied in order.chunk_by(|&a, &b| value(a) == value(b)) {
        let here: f64 = tied.iter().map(|&example| weight(example)).sum();
        tied.iter().for_each(|&example| ranks[example as usize] = below + (here + 1.0) / 2.0);
        below += here;
    }
    ranks
}

/// The examples by ascending number.
pub(super) fn sorted(examples: usize, value: impl Fn(u32) -> f64) -> Vec<u32> {
    let mut order: Vec<u32> = (0..examples as u32).collect();
    order.sort_by(|&a, &b| value(a).total_cmp(&value(b)));
    order
}

fn ties<'o>(order: &'o [u32], value: &impl Fn(u32) -> f32) -> impl Iterator<Item = &'o [u32]> {
    order.chunk_by(move |&a, &b| value(a) == value(b))
}

/// The weights of the positive and of the negative examples.
fn sums(examples: &[u32], is_positive: impl Fn(u32) -> bool, weight: impl Fn(u32) -> f64) -> (f64, f64) {
    examples.iter().fold((0.0, 0.0), |(more, less), &example| {
        let weight = weight(example);
        if is_positive(example) { (more + weight, less) } else { (more, less + weight) }
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn by_hand() {
        // Values 0.1 -, 0.4 -, 0.35 +, 0.8 +: three of four pairs are in order, as in scikit-learn's own example.
        let (values, positive) = ([0.1_f32, 0.4, 0.35, 0.8], [false, false, true, true]);
        let order = sorted(4, |i| f64::from(values[i as usize]));
        assert_eq!(order, [0, 2, 1, 3]);
        let (value, is_positive) = (|i: u32| values[i as usize], |i: u32| positive[i as usize]);
        assert_eq!(roc_auc(&order, value, is_positive, |_| 1.0), Some(0.75));
        // Thresholds 0.8 (precision 1) and 0.35 (2 of 3), each adding half of the recall.
        let found = average_precision(&order, value, is_positive, |_| 1.0).unwrap();
        assert!((found - (0.5 + 0.5 * 2.0 / 3.0)).abs() < 1e-12, "{found}");
        // All equal: a half, and the share of positive ones.
        assert_eq!(roc_auc(&order, |_| 0.5, is_positive, |_| 1.0), Some(0.5));
        assert_eq!(average_precision(&order, |_| 0.5, is_positive, |_| 1.0), Some(0.5));
        assert_eq!(roc_auc(&order, value, |_| true, |_| 1.0), None);
        assert_eq!(average_precision(&order, value, |_| false, |_| 1.0), None);
        // Ranks 1 2 3 4 and 2 1 4 3: 1 - 6 · 4 / (4 · 15).
        let (first, second) = ([1.0, 2.0, 3.0, 4.0], [2.0, 1.0, 40.0, 3.0]);
        let of = |numbers: [f64; 4]| move |i: u32| numbers[i as usize];
        let both = |a: [f64; 4], b: [f64; 4]| spearman((&sorted(4, of(a)), of(a)), (&sorted(4, of(b)), of(b)), |_| 1.0);
        assert!((both(first, second) - 0.6).abs() < 1e-12);
        // Ranks 1.5 1.5 3 4 and 1 2 3 4: by Pearson's formula 4.5 / √(4.5 · 5).
        assert!((both([7.0, 7.0, 8.0, 9.0], first) - 4.5 / 22.5_f64.sqrt()).abs() < 1e-12);
        assert_eq!(both([1.0; 4], first), 0.0);
    }

    proptest! {
        /// An example with weight 2 is two examples, and pairs are counted one by one.
        #[test]
        fn weights_repeat(cases in prop::collection::vec((0_u8..6, any::<bool>(), 0_u32..3, 0_u8..6), 1..24)) {
            let value = |i: u32| f32::from(cases[i as usize].0);
            let order = sorted(cases.len(), |i| f64::from(value(i)));
            let weight = |i: u32| f64::from(cases[i as usize].2);
            let positive = |i: u32| cases[i as usize].1;
            let repeated: Vec<_> = cases.iter().flat_map(|case| vec![*case; case.2 as usize]).collect();
            let of = |i: u32| repeated[i as usize];
            let order_of = sorted(repeated.len(), |i| f64::from(of(i).0));
            let (mut right, mut pairs) = (0.0, 0.0);
            for a in repeated.iter().filter(|case| case.1) {
                for b in repeated.iter().filter(|case| !case.1) {
                    pairs += 1.0;
                    right += if a.0 > b.0 { 1.0 } else if a.0 == b.0 { 0.5 } else { 0.0 };
                }
            }
            let expected = (pairs > 0.0).then(|| right / pairs);
            let close = |a: Option<f64>, b: Option<f64>| match (a, b) {
                (Some(a), Some(b)) => (a - b).abs() < 1e-9,
                (a, b) => a == b,
            };
            prop_assert!(close(roc_auc(&order, value, positive, weight), expected));
            let precision = average_precision(&order, value, positive, weight);
            let plain = average_precision(&order_of, |i| f32::from(of(i).0), |i| of(i).1, |_| 1.0);
            prop_assert!(close(precision, plain), "{precision:?} {plain:?}");
            let second = |i: u32| f64::from(cases[i as usize].3);
            let by_second = sorted(cases.len(), second);
            let found = spearman((&order, |i| f64::from(value(i))), (&by_second, second), weight);
            let by_second = sorted(repeated.len(), |i| f64::from(of(i).3));
            let plain = spearman((&order_of, |i| f64::from(of(i).0)), (&by_second, |i| f64::from(of(i).3)), |_| 1.0);
            prop_assert!((found - plain).abs() < 1e-9, "{found} {plain}");
        }
    }
}
