//! The scalar mix: one probe on a weighted mean of all layers, the weights learned with it.
//!
//! Peters et al. 2018 (ELMo): `softmax(scalars)` over layers; Tenney et al. 2019: its centre of gravity Σ layer · weight
//! says how deep a task is solved. The factor γ of the papers is left to the probe's own weights. Each layer is
//! standardized, so that layers of small numbers count as much.

use std::ops::Range;
use std::sync::Mutex;

use argmin::core::{CostFunction, Gradient};
use ndarray::linalg::general_mat_mul;
use ndarray::{Array1, Array2, ArrayView2, Axis};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::basis::Basis;
use super::features::Features;
use super::fit::{Evaluated, Patience, Scales, evaluated, minimize};
use super::objective::{Linear, Predicted, Sample, outputs, predict};
use super::task::Targets;
use crate::error::{Error, Result};

/// Partial sums, as for a probe of one layer.
const PARTS: usize = 64;
/// When the search ends: the third digit of the weights does not change any more.
const PATIENCE: Patience = Patience { gradient: 1e-3, loss: 1e-6, steps: 100, rounds: 1 };
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
    /// Learns a mix and its probe at a strength.
    ///
    /// # Errors
    /// Those of reading features.
    pub fn fit(&self, basis: &Basis, strength: f64) -> Result<Fitted> {
        let (outputs, layers) = (outputs(self.classes), self.features.len());
        let penalty = 1.0 / (strength * self.count as f64);
        let curvatures = Array1::from_elem(outputs, 0.25);
        let scales = Scales::new(curvatures, basis, penalty);
        let problem =
            Problem { layers: self, basis, scales, penalty, last: Mutex::new(None), failure: Mutex::new(None) };
        let start = vec![0.0; outputs * (self.features[0].columns() + 1) + layers];
        let solved = minimize(&problem, start, PATIENCE);
        if let Some(error) = problem.failure.lock().ok().and_then(|mut failure| failure.take()) {
            return Err(error);
        }
        let solved = solved.map_err(|error| Error::Probe(format!("the mix of layers failed: {error}")))?;
        let (linear, weights) = problem.parts(&solved.best);
        Ok(Fitted { weights, linear })
    }

    /// What a mix predicts for the examples.
    ///
    /// # Errors
    /// Those of reading features.
    pub fn predict(&self, fitted: &Fitted) -> Result<Vec<Predicted>> {
        let all = self.chunks.par_iter().map(|chunk| {
            let scores = scores(&fitted.linear, &self.mixed(chunk, &fitted.weights)?);
            let scores: Vec<f32> = scores.iter().copied().collect();
            Ok(scores
                .chunks_exact(fitted.linear.bias.len())
                .map(|scores| predict(scores, self.classes))
                .collect::<Vec<_>>())
        });
        Ok(all.collect::<Result<Vec<_>>>()?.concat())
    }

    /// (examples, columns)
    fn mixed(&self, chunk: &Range<usize>, weights: &[f64]) -> Result<Array2<f32>> {
        let mut buffer = Vec::new();
        let mut mixed = Array2::zeros((chunk.len(), self.features[0].columns()));
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
        let single = linear.weights.mapv(|weight| weight as f32);
        let dim = linear.weights.dim();
        let per_part = self.chunks.len().div_ceil(PARTS).max(1);
        let of_part = |chunks: &[Range<usize>]| {
            let mut loss = 0.0;
            let (mut sum, mut of_layers) = (Linear::zeros(dim.0, dim.1), vec![0.0; weights.len()]);
            let (mut gradient, mut buffer) = (Array2::<f32>::zeros(dim), Vec::new());
            for chunk in chunks {
                let mixed = self.mixed(chunk, weights)?;
                let mut slopes = scores(linear, &mixed);
                loss += sample.differentiate(chunk, &mut slopes);
                general_mat_mul(1.0, &slopes.t(), &mixed, 0.0, &mut gradient);
                sum.weights.zip_mut_with(&gradient, |sum, &value| *sum += f64::from(value));
                for row in slopes.axis_iter(Axis(0)) {
                    sum.bias.zip_mut_with(&row, |sum, &value| *sum += f64::from(value));
                }
                // How the loss changes with each mixed number.
                let pull = slopes.dot(&single);
                for (features, of_layer) in self.features.iter().zip(&mut of_layers) {
                    let rows = features.rows(chunk.clone(), &mut buffer)?;
                    let rows =
                        ArrayView2::from_shape(pull.dim(), rows).unwrap_or_else(|_| unreachable!("rows are whole"));
                    *of_layer += pull
                        .rows()
                        .into_iter()
                        .zip(rows.rows())
                        .map(|(pull, row)| f64::from(pull.dot(&row)))
                        .sum::<f64>();
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

/// (examples, outputs)
fn scores(linear: &Linear, rows: &Array2<f32>) -> Array2<f32> {
    let mut scores = rows.dot(&linear.weights.mapv(|weight| weight as f32).t());
    scores
        .axis_iter_mut(Axis(0))
        .for_each(|mut row| row.zip_mut_with(&linear.bias, |score, &bias| *score += bias as f32));
    scores
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
