//! Linear functions of standardized vectors.

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
