//! The scalar mix: one probe on a weighted mean of all layers, the weights learned with it.
//!
//! Peters et al. 2018 (ELMo): `softmax(scalars)` over layers; Tenney et al. 2019: its centre of gravity Σ layer · weight
//! says how deep a task is solved. Each layer is standardized, so that layers of small numbers count as much. The factor γ of
//! the papers is what makes the mix's variance 1, as a layer's is: otherwise the penalty on the probe's weights would favour
//! a single layer, as the mean of several that say different things has smaller numbers.

use std::ops::Range;
use std::sync::Mutex;

use argmin::core::{CostFunction, Gradient};
use ndarray::{Array1, Array2};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::basis::Basis;
use super::features::Features;
use super::fit::{Evaluated, Scales, curvatures, evaluated, minimize};
use super::linear::LinearModel;
use super::objective::{Examples, Single, parts};
use super::predictions::{Predictions, outputs};
use super::products;
use super::stopping::Patience;
use super::targets::{Targets, Unit};
use crate::error::{Error, Result};

/// When the search ends. The weights of neighbouring layers can stand in for each other at next to no loss, so they are sure
/// to a few hundredths only, the centre of gravity to about a twentieth of a layer.
const WEIGHTS: Patience = Patience { gradient: 2e-4, loss: 1e-8, steps: 500, rounds: 1 };
/// The stopping criteria when only the predictions are needed.
const PREDICTIONS: Patience = Patience { gradient: 1e-3, loss: 1e-6, steps: 200, rounds: 1 };
/// Ratio of a scalar to its coordinate, as the loss is that much less curved along scalars than along the probe's
/// coordinates.
const SCALAR: f64 = 10.0;

/// A fitted mix.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Mix {
    /// The weight of each layer; they add up to 1.
    pub weights: Vec<f64>,
    /// Σ layer · weight.
    pub centre_of_gravity: f64,
}

/// A mix with its probe.
#[derive(Debug, Clone)]
pub struct Fitted {
    /// The weight of each layer.
    pub weights: Vec<f64>,
    linear: LinearModel,
    /// Whether the search converged.
    pub converged: bool,
}

/// Examples with the vectors of all layers.
pub struct Layers<'a> {
    /// The standardized vectors of each layer.
    pub features: &'a [Features],
    /// The targets, in the order of the vectors.
    pub targets: &'a Targets,
    /// The ranges of examples that belong to the sample.
    pub chunks: Vec<Range<usize>>,
    /// Number of examples in the sample.
    pub count: usize,
    /// Number of classes that can be predicted; 0 for regression.
    pub classes: usize,
    /// How much an example of each class counts, (classes); `None` for the same.
    pub class_weights: Option<Vec<f64>>,
}

impl Layers<'_> {
    /// Fits a mix and its probe at a strength. Without `for_weights`, the search stops earlier, as only the predictions
    /// are needed.
    ///
    /// # Errors
    /// Those of reading features.
    pub fn fit(&self, basis: &Basis, strength: f64, for_weights: bool) -> Result<Fitted> {
        let unit = Unit::of(self.targets, &self.chunks);
        let targets = unit.apply(self.targets);
        let (chunks, class_weights) = (self.chunks.clone(), self.class_weights.clone());
        let layers = &Layers { targets: &targets, chunks, class_weights, ..*self };
        let penalty = 1.0 / (strength * self.count as f64);
        let curvatures = curvatures(layers.targets, &layers.chunks, layers.classes, layers.class_weights.as_deref());
        let scales = Scales::new(curvatures, basis, penalty);
        let correlations = layers.correlations()?;
        let (last, failure) = (Mutex::new(None), Mutex::new(None));
        let problem = MixProblem { layers, basis, scales, penalty, correlations, last, failure };
        let start = vec![0.0; outputs(self.classes) * (self.features[0].columns() + 1) + self.features.len()];
        let patience = if for_weights { WEIGHTS } else { PREDICTIONS };
        let solved = minimize(&problem, start, patience);
        if let Some(error) = problem.failure.lock().ok().and_then(|mut failure| failure.take()) {
            return Err(error);
        }
        let solved = solved.map_err(|error| Error::Probe(format!("the mix of layers failed: {error}")))?;
        let (linear, weights) = problem.parts(&solved.best);
        Ok(Fitted { weights, linear: unit.undo(&linear), converged: solved.converged || solved.steps < patience.steps })
    }

    /// The predictions of a mix for the examples.
    ///
    /// # Errors
    /// Those of reading features.
    pub fn predict(&self, fitted: &Fitted) -> Result<Predictions> {
        let single = Single::of(&fitted.linear);
        let all = self.chunks.par_iter().map(|chunk| {
            let scores = single.forward(&self.mixed(chunk, &fitted.weights)?);
            Ok(Predictions::of_scores(&scores, self.classes, true))
        });
        let mut together = Predictions::default();
        all.collect::<Result<Vec<_>>>()?.iter().for_each(|of| together.extend(of));
        Ok(together)
    }

    /// The correlation of the numbers of each two layers over all columns, (layers, layers); 1 on the diagonal.
    fn correlations(&self) -> Result<Array2<f64>> {
        let layers = self.features.len();
        let of_chunk = |chunk: &Range<usize>| {
            let mut buffers = vec![Vec::new(); layers];
            let all =
                self.features.iter().zip(&mut buffers).map(|(features, buffer)| features.rows(chunk.clone(), buffer));
            let all = all.collect::<Result<Vec<_>>>()?;
            Ok(Array2::from_shape_fn(
                (layers, layers),
                |(a, b)| if a < b { 0.0 } else { products::dot(all[a], all[b]) },
            ))
        };
        let mut sum = Array2::<f64>::zeros((layers, layers));
        for chunks in self.chunks.chunks(rayon::current_num_threads()) {
            for product in chunks.par_iter().map(of_chunk).collect::<Result<Vec<_>>>()? {
                sum += &product;
            }
        }
        Ok(Array2::from_shape_fn((layers, layers), |(a, b)| {
            let (a, b) = (a.max(b), a.min(b));
            sum[(a, b)] / (sum[(a, a)] * sum[(b, b)]).sqrt()
        }))
    }

    /// The mixed vectors, (examples, columns).
    fn mixed(&self, chunk: &Range<usize>, weights: &[f64]) -> Result<Vec<f32>> {
        let mut buffer = Vec::new();
        let mut mixed = vec![0.0; chunk.len() * self.features[0].columns()];
        for (features, &weight) in self.features.iter().zip(weights) {
            let rows = features.rows(chunk.clone(), &mut buffer)?;
            for (mixed, value) in mixed.iter_mut().zip(rows) {
                *mixed += weight as f32 * value;
            }
        }
        Ok(mixed)
    }

    /// The mean loss, its gradient for the probe, and its gradient for the weights of the layers.
    fn loss_and_gradient(&self, linear: &LinearModel, weights: &[f64]) -> Result<(f64, LinearModel, Vec<f64>)> {
        let sample = Examples {
            features: &self.features[0],
            targets: self.targets,
            chunks: Vec::new(),
            standard: None,
            count: self.count,
            classes: self.classes,
            class_weights: self.class_weights.clone(),
        };
        let single = Single::of(linear);
        let dim = linear.weights.dim();
        let per_part = self.chunks.len().div_ceil(parts(dim.0 * dim.1)).max(1);
        let of_part = |chunks: &[Range<usize>]| {
            let mut loss = 0.0;
            let (mut sum, mut of_layers) = (LinearModel::zeros(dim.0, dim.1), vec![0.0; weights.len()]);
            let mut gradient = vec![0.0_f32; dim.0 * dim.1];
            let (mut pull, mut buffer) = (Vec::new(), Vec::new());
            for chunk in chunks {
                let mixed = self.mixed(chunk, weights)?;
                pull.resize(mixed.len(), 0.0);
                let mut slopes = single.forward(&mixed);
                loss += sample.differentiate(chunk, &mut slopes);
                gradient.fill(0.0);
                products::add_gradient(&slopes, &mixed, dim.1, &mut gradient);
                sum.weights.iter_mut().zip(&gradient).for_each(|(sum, &value)| *sum += f64::from(value));
                for slopes in slopes.chunks_exact(dim.0) {
                    sum.bias.iter_mut().zip(slopes).for_each(|(sum, &slope)| *sum += f64::from(slope));
                }
                // The derivative of the loss by each mixed number, (examples, columns).
                let weights = products::rows(&single.weights, dim.1);
                products::multiply(
                    products::rows(&slopes, dim.0),
                    weights,
                    products::rows_mut(&mut pull, dim.1),
                    false,
                );
                for (features, of_layer) in self.features.iter().zip(&mut of_layers) {
                    let rows = features.rows(chunk.clone(), &mut buffer)?;
                    *of_layer += products::dot(&pull, rows);
                }
            }
            Ok((loss, sum, of_layers))
        };
        let parts = self.chunks.par_chunks(per_part).map(of_part).collect::<Result<Vec<_>>>()?;
        let (mut loss, mut sum, mut of_layers) = (0.0, LinearModel::zeros(dim.0, dim.1), vec![0.0; weights.len()]);
        for part in parts {
            loss += part.0;
            sum.weights += &part.1.weights;
            sum.bias += &part.1.bias;
            of_layers.iter_mut().zip(part.2).for_each(|(sum, part)| *sum += part);
        }
        let count = self.count as f64;
        of_layers.iter_mut().for_each(|sum| *sum /= count);
        Ok((loss / count, LinearModel { weights: sum.weights / count, bias: sum.bias / count }, of_layers))
    }
}

struct MixProblem<'a> {
    layers: &'a Layers<'a>,
    basis: &'a Basis,
    scales: Scales,
    penalty: f64,
    /// (layers, layers)
    correlations: Array2<f64>,
    last: Mutex<Option<Evaluated>>,
    failure: Mutex<Option<Error>>,
}

impl MixProblem<'_> {
    /// The probe and the weights of the layers at a point.
    fn parts(&self, at: &[f64]) -> (LinearModel, Vec<f64>) {
        let (of_probe, scalars) = at.split_at(at.len() - self.layers.features.len());
        (
            self.scales.linear(of_probe, self.basis),
            softmax(&scalars.iter().map(|scalar| scalar * SCALAR).collect::<Vec<_>>()),
        )
    }

    fn evaluate(&self, at: &[f64]) -> Result<(f64, Vec<f64>)> {
        let (linear, weights) = self.parts(at);
        let (loss, mut gradient, of_layers) = self.layers.loss_and_gradient(&linear, &weights)?;
        let squares: f64 = linear.weights.iter().map(|weight| weight * weight).sum();
        // The penalty applies to the probe of a mix that has variance 1.
        let of_weights = self.correlations.dot(&Array1::from_iter(weights.iter().copied()));
        let variance: f64 = weights.iter().zip(&of_weights).map(|(weight, of)| weight * of).sum();
        gradient.weights.scaled_add(self.penalty * variance, &linear.weights);
        let pull = of_weights.iter().map(|of| self.penalty * squares * of);
        let of_layers: Vec<f64> = of_layers.iter().zip(pull).map(|(slope, pull)| slope + pull).collect();
        let mut flat = self.scales.flatten(&gradient, self.basis, false);
        let mean: f64 = weights.iter().zip(&of_layers).map(|(weight, slope)| weight * slope).sum();
        flat.extend(weights.iter().zip(&of_layers).map(|(weight, slope)| SCALAR * weight * (slope - mean)));
        Ok((loss + 0.5 * self.penalty * variance * squares, flat))
    }
}

impl CostFunction for &MixProblem<'_> {
    type Param = Vec<f64>;
    type Output = f64;

    fn cost(&self, at: &Vec<f64>) -> std::result::Result<f64, argmin::core::Error> {
        evaluated(&self.last, &self.failure, at, || self.evaluate(at), |(_, loss, _)| *loss)
    }
}

impl Gradient for &MixProblem<'_> {
    type Param = Vec<f64>;
    type Gradient = Vec<f64>;

    fn gradient(&self, at: &Vec<f64>) -> std::result::Result<Vec<f64>, argmin::core::Error> {
        evaluated(&self.last, &self.failure, at, || self.evaluate(at), |(.., gradient)| gradient.clone())
    }
}

fn softmax(scalars: &[f64]) -> Vec<f64> {
    let largest = scalars.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let shares: Vec<f64> = scalars.iter().map(|scalar| (scalar - largest).exp()).collect();
    let sum: f64 = shares.iter().sum();
    shares.into_iter().map(|share| share / sum).collect()
}

impl Mix {
    /// A mix of the layers with these numbers.
    pub fn new(weights: Vec<f64>, layers: &[usize]) -> Self {
        let centre_of_gravity = layers.iter().zip(&weights).map(|(&layer, weight)| layer as f64 * weight).sum();
        Self { weights, centre_of_gravity }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLES: usize = 800;
    const COLUMNS: usize = 5;

    /// Three layers of which the second tells the class, and the third is much the same as it.
    fn layers() -> (Vec<Features>, Targets) {
        let noise = |i: usize, layer: usize| ((i * 7919 + layer * 104_729) % 1009) as f32 / 504.5 - 1.0;
        let classes: Vec<u32> = (0..EXAMPLES).map(|i| (i % 3) as u32).collect();
        let features = [0.0, 1.0, 0.5].into_iter().enumerate().map(|(layer, strength)| {
            let number = |i: usize| {
                let (example, column) = (i / COLUMNS, i % COLUMNS);
                let class = (example % 3 == column) as u8 as f32;
                strength * class + noise(i, if layer == 2 && column > 2 { 1 } else { layer })
            };
            Features::of(&(0..EXAMPLES * COLUMNS).map(number).collect::<Vec<_>>(), COLUMNS)
        });
        (features.collect(), Targets::Classes(classes))
    }

    #[test]
    fn the_gradient_is_that_of_the_loss_and_the_telling_layer_weighs_most() {
        let (features, targets) = layers();
        let chunks = vec![0..300, 300..EXAMPLES];
        let (count, classes, class_weights) = (EXAMPLES, 3, None);
        let layers = Layers { features: &features, targets: &targets, chunks, count, classes, class_weights };
        let basis = Basis::of(&features[1]).unwrap();
        let penalty = 1.0 / (0.05 * EXAMPLES as f64);
        let problem = MixProblem {
            layers: &layers,
            basis: &basis,
            scales: Scales::new(curvatures(&targets, &layers.chunks, 3, None), &basis, penalty),
            penalty,
            correlations: layers.correlations().unwrap(),
            last: Mutex::new(None),
            failure: Mutex::new(None),
        };
        let at: Vec<f64> = (0..3 * (COLUMNS + 1) + 3).map(|i| (i % 5) as f64 * 0.03 - 0.05).collect();
        let (_, gradient) = problem.evaluate(&at).unwrap();
        for (place, &found) in gradient.iter().enumerate() {
            let loss = |by: f64| {
                let mut moved = at.clone();
                moved[place] += by;
                problem.evaluate(&moved).unwrap().0
            };
            let expected = (loss(1e-3) - loss(-1e-3)) / 2e-3;
            assert!((found - expected).abs() < 2e-4, "{place}: {found} {expected}");
        }
        for strength in [0.0003, 0.01, 1.0] {
            let fitted = layers.fit(&basis, strength, true).unwrap();
            let most = fitted.weights.iter().copied().fold(0.0, f64::max);
            assert!(fitted.converged && fitted.weights[1] == most && most > 0.5, "{strength}: {:?}", fitted.weights);
        }
    }
}
