//! The labels of examples as numbers, and the unit in which regression targets are fitted.

use std::borrow::Cow;
use std::ops::Range;

use super::linear::LinearModel;

/// The labels of examples as numbers: classes of a label map, or values.
#[derive(Debug, Clone)]
pub enum Targets {
    /// Classes. Those beyond the label map do not occur in the training texts, and are never predicted.
    Classes(Vec<u32>),
    /// The values of a regression.
    Numbers(Vec<f64>),
}

impl Targets {
    /// Number of examples.
    pub fn count(&self) -> usize {
        match self {
            Targets::Classes(classes) => classes.len(),
            Targets::Numbers(numbers) => numbers.len(),
        }
    }

    /// The classes; none for numbers.
    pub fn classes(&self) -> &[u32] {
        match self {
            Targets::Classes(classes) => classes,
            Targets::Numbers(_) => &[],
        }
    }

    /// The targets of some examples, in their order.
    pub fn select(&self, examples: &[u32]) -> Self {
        match self {
            Targets::Classes(classes) => Targets::Classes(examples.iter().map(|&i| classes[i as usize]).collect()),
            Targets::Numbers(numbers) => Targets::Numbers(examples.iter().map(|&i| numbers[i as usize]).collect()),
        }
    }
}

/// How much an example of each class counts so that all classes count the same, as scikit-learn's
/// `class_weight="balanced"` has it: examples / (classes · examples of the class). `None` for numbers.
pub fn balanced(targets: &Targets, chunks: &[Range<usize>], classes: usize) -> Option<Vec<f64>> {
    let Targets::Classes(targets) = targets else { return None };
    let mut counts = vec![0.0; classes];
    for example in chunks.iter().cloned().flatten() {
        counts[targets[example] as usize] += 1.0;
    }
    let (all, present) = (counts.iter().sum::<f64>(), counts.iter().filter(|count| **count > 0.0).count() as f64);
    Some(counts.into_iter().map(|count: f64| if count > 0.0 { all / (present * count) } else { 0.0 }).collect())
}

/// The mean and standard deviation by which regression targets are standardized, so that the fit's stopping criteria
/// hold whatever unit the labels have. Classes stay as they are.
#[derive(Debug, Clone, Copy)]
pub struct Unit {
    mean: f64,
    deviation: f64,
}

impl Unit {
    /// The unit of some examples.
    pub fn of(targets: &Targets, chunks: &[Range<usize>]) -> Self {
        let Targets::Numbers(numbers) = targets else { return Self { mean: 0.0, deviation: 1.0 } };
        let values = || chunks.iter().cloned().flatten().map(|example| numbers[example]);
        let count = values().count().max(1) as f64;
        let mean = values().sum::<f64>() / count;
        let deviation = (values().map(|value| (value - mean).powi(2)).sum::<f64>() / count).sqrt();
        Self { mean, deviation: if deviation > 0.0 { deviation } else { 1.0 } }
    }

    /// The targets, standardized.
    pub fn apply<'t>(&self, targets: &'t Targets) -> Cow<'t, Targets> {
        let Targets::Numbers(numbers) = targets else { return Cow::Borrowed(targets) };
        let scaled = numbers.iter().map(|value| (value - self.mean) / self.deviation);
        Cow::Owned(Targets::Numbers(scaled.collect()))
    }

    /// Converts a linear function that predicts standardized targets into one that predicts the targets themselves.
    pub fn undo(&self, linear: &LinearModel) -> LinearModel {
        LinearModel { weights: &linear.weights * self.deviation, bias: &linear.bias * self.deviation + self.mean }
    }

    /// The reverse of [`Unit::undo`].
    pub fn redo(&self, linear: &LinearModel) -> LinearModel {
        LinearModel { weights: &linear.weights / self.deviation, bias: (&linear.bias - self.mean) / self.deviation }
    }

    /// Converts a squared error of standardized targets into one of the targets themselves.
    pub fn undo_square(&self, loss: f64) -> f64 {
        loss * self.deviation * self.deviation
    }
}
