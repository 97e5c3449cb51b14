//! The curvature of the loss of many classes at a point, from the few classes of each example whose probability is not nearly 0.
//!
//! Of an example x with the probabilities p it is (diag(p) − p · pᵀ) ⊗ x · xᵀ. Once a probe tells most classes apart, a few of
//! hundreds have nearly all of p, and a product with the curvature costs a small part of a pass over all examples and classes.
//! Of unlikely classes, one example stands for several: it has the probability of all that were passed since the last such one.

use std::ops::Range;

use ndarray::{Array1, Array2};
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::linear::LinearModel;
use super::objective::{Examples, Single, parts};
use crate::error::Result;

/// The smallest probability that is kept by example. Those below are summed, class by class, until they come to it.
const LEAST: f32 = 1e-3;
/// Parts of a dot product, whatever the vector width, so that its bits do not depend on it.
const LANES: usize = 16;

/// The curvature of the mean loss at a point, without the penalty.
pub(super) struct Curvature<'a> {
    sample: &'a Examples<'a>,
    /// Those of each chunk of examples.
    likely: Vec<LikelyClasses>,
    /// The mean over the examples of p · (1 − p), (classes).
    pub(super) variances: Array1<f64>,
}

/// The classes that are kept of each example of a chunk, with their probabilities.
#[derive(Default)]
struct LikelyClasses {
    /// Where the likely classes of each example end, and the unlikely ones that it stands for, which come behind them.
    ends: Vec<[usize; 2]>,
    classes: Vec<u32>,
    probabilities: Vec<f32>,
}

/// What is gathered over the chunks of a part.
struct Gathered {
    likely: Vec<LikelyClasses>,
    /// The sum of unlikely probabilities that no example stands for yet, (classes).
    passed: Vec<f32>,
    /// (classes)
    variances: Vec<f64>,
}

impl<'a> Curvature<'a> {
    /// The mean loss of a linear function over the examples, its gradient and its curvature.
    ///
    /// # Errors
    /// Those of reading features.
    pub(super) fn of(sample: &'a Examples<'a>, linear: &LinearModel) -> Result<(f64, LinearModel, Self)> {
        let classes = sample.classes;
        let state = || Gathered { likely: Vec::new(), passed: vec![0.0; classes], variances: vec![0.0; classes] };
        let differentiate = |gathered: &mut Gathered, _: usize, chunk: &Range<usize>, scores: &mut [f32]| {
            let sum = sample.differentiate(chunk, scores);
            gathered.add(sample, chunk, scores);
            sum
        };
        let (loss, gradient, gathered) = sample.sums(linear, state, differentiate)?;
        let mut curvature = Self { sample, likely: Vec::new(), variances: Array1::zeros(classes) };
        let count = sample.count as f64;
        for part in gathered {
            curvature.likely.extend(part.likely);
            curvature.variances.iter_mut().zip(part.variances).for_each(|(sum, of_part)| *sum += of_part / count);
        }
        Ok((loss, gradient, curvature))
    }

    /// Number of classes that are kept of an example, on average.
    pub(super) fn classes_kept(&self) -> f64 {
        self.likely.iter().map(|likely| likely.classes.len()).sum::<usize>() as f64 / self.sample.count as f64
    }

    /// For each class examples that its own curvature can be estimated from, about so many at most, each with the part of the mean
    /// that it stands for.
    pub(super) fn samples(&self, most: usize) -> Vec<Vec<(usize, f32)>> {
        let sample = self.sample;
        let least = self.variances.mapv(|variance| (variance / most as f64) as f32);
        let mut samples = vec![Vec::new(); sample.classes];
        let mut passed = vec![0.0_f32; sample.classes];
        for (chunk, likely) in sample.chunks.iter().zip(&self.likely) {
            let mut first = 0;
            for ((example, &[end_of_likely, end]), weight) in
                chunk.clone().zip(&likely.ends).zip(sample.example_weights(chunk))
            {
                for index in first..end {
                    let (class, probability) = (likely.classes[index] as usize, likely.probabilities[index]);
                    let others = if index < end_of_likely { 1.0 - probability } else { 1.0 };
                    passed[class] += weight * probability * others / sample.count as f32;
                    if passed[class] > least[class] {
                        samples[class].push((example, passed[class]));
                        passed[class] = 0.0;
                    }
                }
                first = end;
            }
        }
        samples
    }

    /// Reads the standardized vector of an example.
    ///
    /// # Errors
    /// Those of reading features.
    pub(super) fn read(&self, example: usize, row: &mut [f32]) -> Result<()> {
        row.copy_from_slice(self.sample.features.rows(example..example + 1, &mut Vec::new())?);
        if let Some(standard) = &self.sample.standard {
            standard.apply(row);
        }
        Ok(())
    }

    /// The product of what is kept by example with a direction: how the gradient changes along it.
    ///
    /// # Errors
    /// Those of reading features.
    pub(super) fn times(&self, direction: &LinearModel) -> Result<LinearModel> {
        let sample = self.sample;
        let (outputs, columns) = direction.weights.dim();
        let single = Single::of(&sample.on_stored(direction));
        let chunks: Vec<_> = sample.chunks.iter().zip(&self.likely).collect();
        let of_part = |chunks: &[(&Range<usize>, &LikelyClasses)]| {
            let (mut weights, mut bias) = (vec![0.0_f32; outputs * columns], Array1::zeros(outputs));
            let (mut buffer, mut slopes) = (Vec::new(), Vec::new());
            for &(chunk, likely) in chunks {
                let rows = sample.features.rows(chunk.clone(), &mut buffer)?;
                let example_weights = sample.example_weights(chunk);
                let (weights, bias, slopes) = (&mut weights[..], &mut bias, &mut slopes);
                let direction = &single;
                Arch::new().dispatch(Multiply {
                    rows,
                    columns,
                    likely,
                    example_weights,
                    direction,
                    slopes,
                    weights,
                    bias,
                });
            }
            Ok((weights, bias))
        };
        let per_part = chunks.len().div_ceil(parts(outputs * columns)).max(1);
        let parts = chunks.par_chunks(per_part).map(of_part).collect::<Result<Vec<_>>>()?;
        let mut sums = LinearModel { weights: Array2::zeros((outputs, columns)), bias: Array1::zeros(outputs) };
        for (weights, bias) in parts {
            sums.weights.iter_mut().zip(&weights).for_each(|(sum, &of_part)| *sum += f64::from(of_part));
            sums.bias += &bias;
        }
        Ok(sample.mean_along_standardized(sums))
    }
}

impl Gathered {
    /// Takes the probabilities of the examples of a chunk from the slopes of their losses, (examples, classes).
    fn add(&mut self, sample: &Examples<'_>, chunk: &Range<usize>, slopes: &[f32]) {
        let targets = &sample.targets.classes()[chunk.clone()];
        let (mut likely, mut unlikely) = (LikelyClasses::default(), Vec::new());
        for ((row, &target), weight) in
            slopes.chunks_exact(sample.classes).zip(targets).zip(sample.example_weights(chunk))
        {
            for (class, &slope) in row.iter().enumerate() {
                let probability = slope / weight + f32::from(u8::from(class == target as usize));
                if probability > LEAST {
                    likely.classes.push(class as u32);
                    likely.probabilities.push(probability);
                    self.variances[class] += f64::from(weight * probability * (1.0 - probability));
                } else {
                    self.passed[class] += probability;
                    if self.passed[class] > LEAST {
                        unlikely.push((class as u32, self.passed[class]));
                        self.variances[class] += f64::from(weight * self.passed[class]);
                        self.passed[class] = 0.0;
                    }
                }
            }
            let end_of_likely = likely.classes.len();
            for (class, probability) in unlikely.drain(..) {
                likely.classes.push(class);
                likely.probabilities.push(probability);
            }
            likely.ends.push([end_of_likely, likely.classes.len()]);
        }
        self.likely.push(likely);
    }
}

/// Adds the product of the curvature of some examples with a direction.
struct Multiply<'a, W> {
    /// (examples, columns)
    rows: &'a [f32],
    columns: usize,
    likely: &'a LikelyClasses,
    /// (examples)
    example_weights: W,
    direction: &'a Single,
    slopes: &'a mut Vec<f32>,
    /// (outputs, columns)
    weights: &'a mut [f32],
    /// (outputs)
    bias: &'a mut Array1<f64>,
}

impl<W: Iterator<Item = f32>> WithSimd for Multiply<'_, W> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { rows, columns, likely, example_weights, direction, slopes, weights, bias } = self;
        let mut first = 0;
        // Loops and not closures: what is not inlined is not compiled for the instruction set.
        for ((row, &[end_of_likely, end]), weight) in rows.chunks_exact(columns).zip(&likely.ends).zip(example_weights)
        {
            let (classes, probabilities) = (&likely.classes[first..end], &likely.probabilities[first..end]);
            let count_of_likely = end_of_likely - first;
            first = end;
            slopes.clear();
            for &class in classes {
                let class = class as usize;
                let slope = dot(row, &direction.weights[class * columns..][..columns]) + direction.bias[class];
                slopes.push(slope);
            }
            let (mut mean, mut whole) = (0.0, 0.0);
            for (&probability, &slope) in probabilities[..count_of_likely].iter().zip(slopes.iter()) {
                mean += probability * slope;
                whole += probability;
            }
            // Of very many classes none may be likely.
            let whole = whole.max(LEAST);
            mean /= whole;
            // What unlikely classes add to the mean's place, so that a change of all scores alike is none.
            let mut of_unlikely = 0.0;
            for (&probability, &slope) in probabilities[count_of_likely..].iter().zip(&slopes[count_of_likely..]) {
                of_unlikely += probability * (slope - mean);
            }
            of_unlikely /= whole;
            for (index, (&class, &probability)) in classes.iter().zip(probabilities).enumerate() {
                let class = class as usize;
                let back = if index < count_of_likely { of_unlikely } else { 0.0 };
                let change = weight * probability * (slopes[index] - mean - back);
                let sums = &mut weights[class * columns..][..columns];
                for (sum, value) in sums.iter_mut().zip(row) {
                    *sum += change * value;
                }
                bias[class] += f64::from(change);
            }
        }
    }
}

#[inline(always)]
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let mut parts = [0.0; LANES];
    for (a, b) in a.iter().zip(b) {
        for ((part, a), b) in parts.iter_mut().zip(a).zip(b) {
            *part += a * b;
        }
    }
    for (part, (a, b)) in parts.iter_mut().zip(a_rest.iter().zip(b_rest)) {
        *part += a * b;
    }
    let mut sum = 0.0;
    for part in parts {
        sum += part;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::features::Features;
    use crate::probe::targets::{Targets, balanced};

    const EXAMPLES: usize = 700;
    const COLUMNS: usize = 19;
    const CLASSES: usize = 5;

    fn number(i: usize) -> f64 {
        ((i * 7919) % 1009) as f64 / 504.0 - 1.0
    }

    fn features() -> Features {
        let numbers: Vec<f32> = (0..EXAMPLES * COLUMNS).map(|i| number(i * 31 + i / 7) as f32).collect();
        Features::of(&numbers, COLUMNS)
    }

    fn function(scale: f64, offset: usize) -> LinearModel {
        let mut linear = LinearModel::zeros(CLASSES, COLUMNS);
        linear.weights.iter_mut().chain(&mut linear.bias).zip(offset..).for_each(|(to, i)| *to = scale * number(i));
        linear
    }

    #[test]
    fn a_product_is_how_the_gradient_changes() {
        let features = features();
        let targets = Targets::Classes((0..EXAMPLES).map(|i| (i * i % CLASSES) as u32).collect());
        let chunks = vec![0..300, 300..EXAMPLES];
        for (is_balanced, is_part) in [(false, false), (true, true)] {
            let sample = Examples {
                features: &features,
                targets: &targets,
                standard: is_part.then(|| features.moments(&chunks[..1]).unwrap().standard()),
                count: EXAMPLES,
                classes: CLASSES,
                class_weights: if is_balanced { balanced(&targets, &chunks, CLASSES) } else { None },
                chunks: chunks.clone(),
            };
            // No probability is small at the first.
            let (at, direction) = (function(0.05, 3), function(0.3, 500));
            let (loss, gradient, curvature) = Curvature::of(&sample, &at).unwrap();
            assert_eq!(
                (loss, &gradient),
                (sample.loss_and_gradient(&at).unwrap().0, &sample.loss_and_gradient(&at).unwrap().1)
            );
            assert_eq!(curvature.classes_kept(), CLASSES as f64);
            let found = curvature.times(&direction).unwrap();
            let step = 2e-2; // the gradient is of float32 products
            let beside = |by: f64| {
                let moved = LinearModel {
                    weights: &at.weights + &(&direction.weights * by),
                    bias: &at.bias + &(&direction.bias * by),
                };
                sample.loss_and_gradient(&moved).unwrap().1
            };
            let (after, before) = (beside(step), beside(-step));
            let expected = (after.weights - before.weights) / (2.0 * step);
            let furthest = (found.weights - &expected).iter().fold(0.0, |most: f64, value| most.max(value.abs()));
            let largest = expected.iter().fold(0.0, |most: f64, value| most.max(value.abs()));
            assert!(furthest < 1e-3 * largest, "{furthest} of {largest}");
            let furthest = (found.bias - (after.bias - before.bias) / (2.0 * step))
                .iter()
                .fold(0.0, |most: f64, value| most.max(value.abs()));
            assert!(furthest < 1e-4, "{furthest}");
        }
    }

    #[test]
    fn an_example_stands_for_unlikely_classes_of_several() {
        let features = features();
        let targets = Targets::Classes(vec![0; EXAMPLES]);
        let sample = Examples {
            features: &features,
            targets: &targets,
            chunks: vec![0..EXAMPLES],
            standard: None,
            count: EXAMPLES,
            classes: CLASSES,
            class_weights: None,
        };
        let mut linear = LinearModel::zeros(CLASSES, COLUMNS);
        // Probabilities of about 0.5, 0.5 and three times exp(-9).
        linear.bias.iter_mut().skip(2).for_each(|bias| *bias = -9.0);
        let (_, _, curvature) = Curvature::of(&sample, &linear).unwrap();
        let unlikely = (-9.0_f64).exp() / (2.0 + 3.0 * (-9.0_f64).exp());
        let kept = curvature.classes_kept();
        assert!(kept > 2.0 && kept < 2.5, "{kept}");
        for (class, &variance) in curvature.variances.iter().enumerate() {
            let expected = if class < 2 { 0.25 } else { unlikely };
            assert!((variance - expected).abs() < 0.02 * expected, "{class}: {variance} {expected}");
        }
        // The same added to all scores changes nothing.
        let mut alike = LinearModel::zeros(CLASSES, COLUMNS);
        alike.bias.fill(1.0);
        alike.weights.fill(0.1);
        let product = curvature.times(&alike).unwrap();
        assert!(product.weights.iter().chain(&product.bias).all(|value| value.abs() < 1e-6));
        // Along the bias of an unlikely class, its own curvature is that of all its probability.
        let mut along = LinearModel::zeros(CLASSES, COLUMNS);
        along.bias[3] = 1.0;
        let product = curvature.times(&along).unwrap();
        assert!((product.bias[3] - unlikely).abs() < 0.02 * unlikely && product.bias.sum().abs() < 1e-9);
    }
}
