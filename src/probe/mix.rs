//! The scalar mix: one probe on a weighted mean of all layers, the weights learned with it.
//!
//! Peters et al. 2018 (ELMo): `softmax(scalars)` over layers; Tenney et al. 2019: its centre of gravity Σ layer · weight
//! says how deep a task is solved. The factor γ of the papers is left to the probe's own weights. Each layer is
//! standardized, so that layers of small numbers count as much.

use std::ops::Range;
use std::sync::Mutex;

use argmin::core::{CostFunction, Gradient};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::basis::Basis;
use super::features::Features;
use super::fit::{Evaluated, Patience, Scales, curvatures, evaluated, minimize};
use super::objective::{Linear, Predicted, Sample, Single, outputs, parts, predict};
use super::products;
use super::task::{Targets, Unit};
use crate::error::{Error, Result};

/// When the search ends. The weights of neighbouring layers can stand in for each other at next to no loss, so they are sure
/// to a few hundredths only, the centre of gravity to about a twentieth of a layer.
const WEIGHTS: Patience = Patience { gradient: 2e-4, loss: 1e-8, steps: 200, rounds: 1 };
/// When it ends where only what the mix predicts is wanted.
const PREDICTIONS: Patience = Patience { gradient: 1e-3, loss: 1e-6, steps: 200, rounds: 1 };
/// A scalar is this many times its coordinate: the loss is that much less curved along scalars than along the probe's
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
    linear: Linear,
    /// Whether the search ended by itself.
    pub converged: bool,
}

/// Examples with the vectors of every layer.
pub struct Layers<'a> {
    /// Standardized, one for each layer.
    pub features: &'a [Features],
    /// In the order of the vectors.
    pub targets: &'a Targets,
    /// The examples.
    pub chunks: Vec<Range<usize>>,
    /// How many.
    pub count: usize,
    /// Classes that can be predicted; 0 for regression.
    pub classes: usize,
}

impl Layers<'_> {
    /// Learns a mix and its probe at a strength; not as long if the weights of the layers are not to be looked at.
    ///
    /// # Errors
    /// Those of reading features.
    pub fn fit(&self, basis: &Basis, strength: f64, for_weights: bool) -> Result<Fitted> {
        let unit = Unit::of(self.targets, &self.chunks);
        let targets = unit.apply(self.targets);
        let layers = &Layers { targets: &targets, chunks: self.chunks.clone(), ..*self };
        let penalty = 1.0 / (strength * self.count as f64);
        let scales = Scales::new(curvatures(layers.targets, &layers.chunks, layers.classes), basis, penalty);
        let problem = Problem { layers, basis, scales, penalty, last: Mutex::new(None), failure: Mutex::new(None) };
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

    /// What a mix predicts for the examples.
    ///
    /// # Errors
    /// Those of reading features.
    pub fn predict(&self, fitted: &Fitted) -> Result<Vec<Predicted>> {
        let single = Single::of(&fitted.linear);
        let all = self.chunks.par_iter().map(|chunk| {
            let scores = single.forward(&self.mixed(chunk, &fitted.weights)?);
            Ok(scores.chunks_exact(single.outputs()).map(|scores| predict(scores, self.classes)).collect::<Vec<_>>())
        });
        Ok(all.collect::<Result<Vec<_>>>()?.concat())
    }

    /// (examples, columns)
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

    /// The mean loss; its gradient for the probe, and for the weights of the layers.
    fn loss_and_gradient(&self, linear: &Linear, weights: &[f64]) -> Result<(f64, Linear, Vec<f64>)> {
        let sample = Sample {
            features: &self.features[0],
            targets: self.targets,
            chunks: Vec::new(),
            standard: None,
            count: self.count,
            classes: self.classes,
        };
        let single = Single::of(linear);
        let dim = linear.weights.dim();
        let per_part = self.chunks.len().div_ceil(parts(dim.0 * dim.1)).max(1);
        let of_part = |chunks: &[Range<usize>]| {
            let mut loss = 0.0;
            let (mut sum, mut of_layers) = (Linear::zeros(dim.0, dim.1), vec![0.0; weights.len()]);
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
                // How the loss changes with each mixed number, (examples, columns).
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
        let (mut loss, mut sum, mut of_layers) = (0.0, Linear::zeros(dim.0, dim.1), vec![0.0; weights.len()]);
        for part in parts {
            loss += part.0;
            sum.weights += &part.1.weights;
            sum.bias += &part.1.bias;
            of_layers.iter_mut().zip(part.2).for_each(|(sum, part)| *sum += part);
        }
        let count = self.count as f64;
        of_layers.iter_mut().for_each(|sum| *sum /= count);
        Ok((loss / count, Linear { weights: sum.weights / count, bias: sum.bias / count }, of_layers))
    }
}

struct Problem<'a> {
    layers: &'a Layers<'a>,
    basis: &'a Basis,
    scales: Scales,
    penalty: f64,
    last: Mutex<Option<Evaluated>>,
    failure: Mutex<Option<Error>>,
}

impl Problem<'_> {
    /// The probe and the weights of the layers at a place.
    fn parts(&self, at: &[f64]) -> (Linear, Vec<f64>) {
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
        gradient.weights.scaled_add(self.penalty, &linear.weights);
        let mut flat = self.scales.flatten(&gradient, self.basis, false);
        let mean: f64 = weights.iter().zip(&of_layers).map(|(weight, slope)| weight * slope).sum();
        flat.extend(weights.iter().zip(&of_layers).map(|(weight, slope)| SCALAR * weight * (slope - mean)));
        Ok((loss + 0.5 * self.penalty * squares, flat))
    }
}

impl CostFunction for &Problem<'_> {
    type Param = Vec<f64>;
    type Output = f64;

    fn cost(&self, at: &Vec<f64>) -> std::result::Result<f64, argmin::core::Error> {
        evaluated(&self.last, &self.failure, at, || self.evaluate(at), |(_, loss, _)| *loss)
    }
}

impl Gradient for &Problem<'_> {
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
    /// Of the layers with these numbers.
    pub fn new(weights: Vec<f64>, layers: &[usize]) -> Self {
        let centre_of_gravity = layers.iter().zip(&weights).map(|(&layer, weight)| layer as f64 * weight).sum();
        Self { weights, centre_of_gravity }
    }
}
