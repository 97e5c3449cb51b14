//! Linear functions of standardized vectors, and what they predict.

use ndarray::{Array1, Array2};

use super::features::Standard;

/// A linear function of standardized vectors: `weights` · x + `bias`.
#[derive(Debug, Clone, PartialEq)]
pub struct LinearModel {
    /// (outputs, columns)
    pub weights: Array2<f64>,
    /// (outputs)
    pub bias: Array1<f64>,
}

/// A prediction: a class with its probability, or a number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Predicted {
    /// The class; 0 for regression.
    pub class: u32,
    /// The class's probability, or the number.
    pub value: f32,
}

/// Number of outputs for a number of classes: one for two classes, and for regression.
pub fn outputs(classes: usize) -> usize {
    if classes > 2 { classes } else { 1 }
}

impl LinearModel {
    /// The linear function that is zero everywhere.
    pub fn zeros(outputs: usize, columns: usize) -> Self {
        Self { weights: Array2::zeros((outputs, columns)), bias: Array1::zeros(outputs) }
    }

    /// The same function of vectors that `standard` is not applied to.
    #[must_use]
    pub fn before(&self, standard: &Standard) -> Self {
        let (mut weights, mut bias) = (self.weights.clone(), self.bias.clone());
        for (mut row, bias) in weights.rows_mut().into_iter().zip(&mut bias) {
            for ((weight, scale), mean) in row.iter_mut().zip(&standard.scale).zip(&standard.mean) {
                *weight *= scale;
                *bias -= *weight * mean;
            }
        }
        Self { weights, bias }
    }
}
