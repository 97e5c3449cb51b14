//! What a linear probe minimizes, over all examples, exactly: the mean loss and its gradient.
//!
//! Multinomial logistic regression (two classes: binary), as scikit-learn's `LogisticRegression` has it, or least squares.
//! Products are float32 within a chunk of examples; all sums over chunks are float64, in an order that does not depend on
//! the number of threads.

use std::ops::Range;

use ndarray::{Array1, Array2};
use rayon::prelude::*;

use super::features::{Features, Standard};
use super::linear::LinearModel;
use super::predictions::{Predictions, logistic, outputs};
use super::products;
use super::targets::Targets;
use crate::error::Result;
use crate::kernels::softmax_rows;

/// The number of partial sums for `numbers` numbers. It depends on the size alone, so that the result is the same with
/// any number of threads, and it bounds the memory that they take.
pub(super) fn parts(numbers: usize) -> usize {
    const MOST_BYTES: usize = 32 << 20;
    (MOST_BYTES / (8 * numbers.max(1))).clamp(4, 64)
}

/// Examples to fit a probe on, or to evaluate it on.
#[derive(Debug, Clone)]
pub struct Examples<'a> {
    /// The vectors of all examples.
    pub features: &'a Features,
    /// The targets, in the order of the vectors.
    pub targets: &'a Targets,
    /// The ranges of examples that belong to the sample.
    pub chunks: Vec<Range<usize>>,
    /// A standardization applied to the vectors: that of the examples the probe is fitted on, if these are not all
    /// examples.
    pub standard: Option<Standard>,
    /// Number of examples in the sample.
    pub count: usize,
    /// Number of classes that can be predicted; 0 for regression.
    pub classes: usize,
    /// How much an example of each class counts, (classes); `None` for the same.
    pub class_weights: Option<Vec<f64>>,
}

/// A linear function in float32, for the matrix products.
pub(super) struct Single {
    /// (outputs, columns)
    pub(super) weights: Vec<f32>,
    /// (outputs)
    pub(super) bias: Vec<f32>,
    columns: usize,
}

impl Single {
    pub(super) fn of(linear: &LinearModel) -> Self {
        Self {
            weights: linear.weights.iter().map(|&weight| weight as f32).collect(),
            bias: linear.bias.iter().map(|&bias| bias as f32).collect(),
            columns: linear.weights.ncols(),
        }
    }

    /// `rows` (examples, columns) → (examples, outputs).
    pub(super) fn forward(&self, rows: &[f32]) -> Vec<f32> {
        let mut out = products::scores(rows, &self.weights, self.columns);
        for row in out.chunks_exact_mut(self.bias.len()) {
            row.iter_mut().zip(&self.bias).for_each(|(value, bias)| *value += bias);
        }
        out
    }
}

/// Sums over examples of losses and of their gradient.
struct LossSums {
    loss: f64,
    weights: Array2<f64>,
    bias: Array1<f64>,
}

impl Examples<'_> {
    /// The mean loss of a linear function over the examples, and its gradient.
    ///
    /// # Errors
    /// Those of reading features.
    pub fn loss_and_gradient(&self, linear: &LinearModel) -> Result<(f64, LinearModel)> {
        let differentiate =
            |(): &mut (), _: usize, chunk: &Range<usize>, scores: &mut [f32]| self.differentiate(chunk, scores);
        self.sums(linear, || (), differentiate).map(|(loss, gradient, _)| (loss, gradient))
    }

    /// The mean over the examples of what `differentiate` makes of the scores of a linear function, and the gradient by its
    /// weights. `differentiate` is called once for each chunk, with the chunk's number, its examples, and their scores,
    /// (examples, outputs), which it replaces by slopes; it returns the sum of losses. What it keeps in a state is returned,
    /// a state for each of several parts, in order.
    pub(super) fn sums<S: Send>(
        &self,
        linear: &LinearModel,
        state: impl Fn() -> S + Sync,
        differentiate: impl Fn(&mut S, usize, &Range<usize>, &mut [f32]) -> f64 + Sync,
    ) -> Result<(f64, LinearModel, Vec<S>)> {
        let (outputs, columns) = linear.weights.dim();
        let single = Single::of(&self.on_stored(linear));
        let per_part = self.chunks.len().div_ceil(parts(outputs * columns)).max(1);
        let of_part = |(part, chunks): (usize, &[Range<usize>])| {
            let mut sums =
                LossSums { loss: 0.0, weights: Array2::zeros((outputs, columns)), bias: Array1::zeros(outputs) };
            let (mut buffer, mut gradient) = (Vec::new(), vec![0.0_f32; outputs * columns]);
            let mut state = state();
            for (index, chunk) in chunks.iter().enumerate() {
                let rows = self.features.rows(chunk.clone(), &mut buffer)?;
                let mut slopes = single.forward(rows);
                sums.loss += differentiate(&mut state, part * per_part + index, chunk, &mut slopes);
                gradient.fill(0.0);
                products::add_gradient(&slopes, rows, columns, &mut gradient);
                sums.weights.iter_mut().zip(&gradient).for_each(|(sum, &value)| *sum += f64::from(value));
                for slopes in slopes.chunks_exact(outputs) {
                    sums.bias.iter_mut().zip(slopes).for_each(|(sum, &slope)| *sum += f64::from(slope));
                }
            }
            Ok((sums, state))
        };
        let parts: Vec<(LossSums, S)> =
            self.chunks.par_chunks(per_part).enumerate().map(of_part).collect::<Result<_>>()?;
        let mut sums = LossSums { loss: 0.0, weights: Array2::zeros((outputs, columns)), bias: Array1::zeros(outputs) };
        let mut states = Vec::with_capacity(parts.len());
        for (part, state) in parts {
            sums.loss += part.loss;
            sums.weights += &part.weights;
            sums.bias += &part.bias;
            states.push(state);
        }
        let gradient = self.mean_along_standardized(LinearModel { weights: sums.weights, bias: sums.bias });
        Ok((sums.loss / self.count as f64, gradient, states))
    }

    /// A linear function of vectors that the standardization of the sample is not applied to.
    pub(super) fn on_stored(&self, linear: &LinearModel) -> LinearModel {
        self.standard.as_ref().map_or_else(|| linear.clone(), |standard| linear.before(standard))
    }

    /// The mean over the examples of a gradient by a function of vectors as they are stored, given its sum, as one by a
    /// function of standardized vectors.
    pub(super) fn mean_along_standardized(&self, mut sums: LinearModel) -> LinearModel {
        if let Some(standard) = &self.standard {
            for (mut row, bias) in sums.weights.rows_mut().into_iter().zip(&sums.bias) {
                for ((weight, scale), mean) in row.iter_mut().zip(&standard.scale).zip(&standard.mean) {
                    *weight = (*weight - mean * bias) * scale;
                }
            }
        }
        let count = self.count as f64;
        LinearModel { weights: sums.weights / count, bias: sums.bias / count }
    }

    /// How much each of some examples counts, by its class.
    pub(super) fn example_weights(&self, examples: &Range<usize>) -> impl Iterator<Item = f32> {
        let classes = self.targets.classes()[examples.clone()].iter();
        classes.map(|&class| self.class_weights.as_ref().map_or(1.0, |weights| weights[class as usize] as f32))
    }

    /// The predictions of a linear function for the examples, in order.
    ///
    /// # Errors
    /// Those of reading features.
    pub fn predict(&self, linear: &LinearModel, with_logits: bool) -> Result<Predictions> {
        let single = Single::of(&self.on_stored(linear));
        let of_chunk = |chunk: &Range<usize>| {
            let mut buffer = Vec::new();
            let scores = single.forward(self.features.rows(chunk.clone(), &mut buffer)?);
            Ok(Predictions::of_scores(&scores, self.classes, with_logits))
        };
        let mut all = Predictions::default();
        self.chunks.par_iter().map(of_chunk).collect::<Result<Vec<_>>>()?.iter().for_each(|of| all.extend(of));
        Ok(all)
    }

    /// The sum of losses of some examples. `scores`, (examples, outputs), are replaced by the derivatives of the loss.
    pub fn differentiate(&self, examples: &Range<usize>, scores: &mut [f32]) -> f64 {
        if let (Targets::Classes(classes), false) = (self.targets, self.classes == 2) {
            return self.differentiate_softmax(&classes[examples.clone()], scores);
        }
        let mut sum = 0.0;
        for (row, example) in scores.chunks_exact_mut(outputs(self.classes)).zip(examples.clone()) {
            match self.targets {
                Targets::Numbers(numbers) => {
                    let error = f64::from(row[0]) - numbers[example];
                    sum += 0.5 * error * error;
                    row[0] = error as f32;
                }
                Targets::Classes(classes) => {
                    let (score, is_second) = (row[0], classes[example] == 1);
                    // log(1 + exp(-score)), written so that nothing overflows
                    let signed = f64::from(if is_second { score } else { -score });
                    let loss = (-signed.abs()).exp().ln_1p() + (-signed).max(0.0);
                    row[0] = logistic(score) - f32::from(u8::from(is_second));
                    sum += self.weighted(classes[example], loss, row);
                }
            }
        }
        sum
    }

    /// The same for more than two classes, given those of the examples.
    fn differentiate_softmax(&self, classes: &[u32], scores: &mut [f32]) -> f64 {
        let of_own = |(row, &class): (&[f32], &u32)| f64::from(row[class as usize]);
        let own: Vec<f64> = scores.chunks_exact(self.classes).zip(classes).map(of_own).collect();
        let normalizers = softmax_rows(scores, self.classes);
        let mut sum = 0.0;
        for (index, row) in scores.chunks_exact_mut(self.classes).enumerate() {
            row[classes[index] as usize] -= 1.0;
            sum += self.weighted(classes[index], normalizers[index] - own[index], row);
        }
        sum
    }

    /// The loss of an example by the weight of its class, which its slopes are multiplied by.
    fn weighted(&self, class: u32, loss: f64, slopes: &mut [f32]) -> f64 {
        let Some(weights) = &self.class_weights else { return loss };
        let weight = weights[class as usize];
        slopes.iter_mut().for_each(|slope| *slope *= weight as f32);
        loss * weight
    }
}
