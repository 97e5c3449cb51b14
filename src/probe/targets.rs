//! What is to be predicted of examples, as numbers, and the unit in which numbers are fitted.

use std::borrow::Cow;
use std::ops::Range;

use super::linear::LinearModel;

/// The labels of examples as numbers: classes of a label map, or values.
#[derive(Debug, Clone)]
pub enum Targets {
    /// Classes; those beyond the label map are not in the training texts, and no prediction is ever one of them.
    Classes(Vec<u32>),
    /// Values.
    Numbers(Vec<f64>),
}

impl Targets {
    /// Examples.
    pub fn count(&self) -> usize {
        match self {
            Targets::Classes(classes) => classes.len(),
            Targets::Numbers(numbers) => numbers.len(),
        }
    }

    /// Those of some examples, in their order.
    pub fn select(&self, examples: &[u32]) -> Self {
        match self {
            Targets::Classes(classes) => Targets::Classes(examples.iter().map(|&i| classes[i as usize]).collect()),
            Targets::Numbers(numbers) => Targets::Numbers(examples.iter().map(|&i| numbers[i as usize]).collect()),
        }
    }
}

/// What numbers are measured in: what they are less their mean, divided by their standard deviation, is about 1. A fit then
/// ends where it should, whatever the labels' unit. Classes stay as they are.
#[derive(Debug, Clone, Copy)]
pub struct Unit {
    mean: f64,
    deviation: f64,
}

impl Unit {
    /// Of some examples.
    pub fn of(targets: &Targets, chunks: &[Range<usize>]) -> Self {
        let Targets::Numbers(numbers) = targets else { return Self { mean: 0.0, deviation: 1.0 } };
        let values = || chunks.iter().cloned().flatten().map(|example| numbers[example]);
        let count = values().count().max(1) as f64;
        let mean = values().sum::<f64>() / count;
        let deviation = (values().map(|value| (value - mean).powi(2)).sum::<f64>() / count).sqrt();
        Self { mean, deviation: if deviation > 0.0 { deviation } else { 1.0 } }
    }

    /// All targets in this unit.
    pub fn apply<'t>(&self, targets: &'t Targets) -> Cow<'t, Targets> {
        let Targets::Numbers(numbers) = targets else { return Cow::Borrowed(targets) };
        let scaled = numbers.iter().map(|value| (value - self.mean) / self.deviation);
        Cow::Owned(Targets::Numbers(scaled.collect()))
    }

    /// A function to numbers in this unit, as one to the numbers themselves.
    pub fn undo(&self, linear: &LinearModel) -> LinearModel {
        LinearModel { weights: &linear.weights * self.deviation, bias: &linear.bias * self.deviation + self.mean }
    }

    /// The reverse of [`Unit::undo`].
    pub fn redo(&self, linear: &LinearModel) -> LinearModel {
        LinearModel { weights: &linear.weights / self.deviation, bias: (&linear.bias - self.mean) / self.deviation }
    }

    /// A squared error in this unit, as one of the numbers themselves.
    pub fn undo_square(&self, loss: f64) -> f64 {
        loss * self.deviation * self.deviation
    }
}
