//! Directions in which a linear model's loss is about equally curved, so that L-BFGS needs few steps.
//!
//! Columns of hidden states are strongly correlated: the loss is a narrow valley in them. Along the eigenvectors of their
//! covariance, each scaled by its curvature, it is nearly round. This changes the way to the optimum, not the optimum.

use nalgebra::{DMatrix, SymmetricEigen};
use ndarray::{Array1, Array2, Axis};
use rayon::prelude::*;

use super::features::Features;
use super::products;
use crate::error::Result;

/// Widest vectors for which eigenvectors are computed; beyond it they would take longer than they save.
const WIDEST: usize = 1100;
/// Number of examples for each column that the covariance is estimated from.
const EXAMPLES_A_COLUMN: usize = 8;
/// Number of examples in a piece of that sample.
const PIECE: usize = 256;

/// Orthonormal directions and the variance of the features in each.
#[derive(Debug)]
pub struct Basis {
    /// (columns, directions); `None` for the standard basis.
    directions: Option<Array2<f64>>,
    /// (directions)
    pub variances: Array1<f64>,
}

impl Basis {
    /// The basis of features, estimated from some of the examples, evenly spread.
    ///
    /// # Errors
    /// Those of reading features.
    pub fn of(features: &Features) -> Result<Self> {
        let columns = features.columns();
        if columns > WIDEST {
            return Ok(Self { directions: None, variances: Array1::ones(columns) });
        }
        let pieces = features.examples().div_ceil(PIECE);
        let step = (pieces / (EXAMPLES_A_COLUMN * columns).div_ceil(PIECE)).max(1);
        let starts: Vec<usize> = (0..pieces).step_by(step).map(|piece| piece * PIECE).collect();
        let product = |&start: &usize| {
            let range = start..(start + PIECE).min(features.examples());
            let (count, mut buffer) = (range.len(), Vec::new());
            let rows = features.rows(range, &mut buffer)?;
            let rows = products::rows(rows, columns);
            let mut product = Array2::<f32>::zeros((columns, columns));
            products::multiply(rows.t(), rows, product.view_mut(), false);
            Ok((count, product))
        };
        let (mut sum, mut count) = (Array2::<f64>::zeros((columns, columns)), 0);
        // A few pieces at a time, as each one's product is a whole matrix.
        for starts in starts.chunks(rayon::current_num_threads()) {
            for product in starts.par_iter().map(product).collect::<Result<Vec<_>>>()? {
                count += product.0;
                sum.zip_mut_with(&product.1, |sum, &value| *sum += f64::from(value));
            }
        }
        let covariance = DMatrix::from_fn(columns, columns, |i, j| sum[(i, j)] / count as f64);
        let eigen = SymmetricEigen::new(covariance);
        let directions = Array2::from_shape_fn((columns, columns), |(i, j)| eigen.eigenvectors[(i, j)]);
        let variances = eigen.eigenvalues.iter().map(|&value| value.max(0.0)).collect();
        Ok(Self { directions: Some(directions), variances })
    }

    /// At most so many directions, those in which features vary most, and their part of the basis in float32, (columns, directions);
    /// `None` for the standard basis.
    pub(super) fn leading(&self, most: usize) -> Option<(Vec<usize>, Array2<f32>)> {
        let directions = self.directions.as_ref()?;
        let mut leading: Vec<usize> = (0..self.variances.len()).collect();
        leading.sort_by(|&a, &b| self.variances[b].total_cmp(&self.variances[a]));
        leading.truncate(most);
        let along = directions.select(Axis(1), &leading).mapv(|value| value as f32);
        Some((leading, along))
    }

    /// Weights (outputs, columns) from coordinates (outputs, directions).
    pub fn weights(&self, coordinates: Array2<f64>) -> Array2<f64> {
        match &self.directions {
            Some(directions) => coordinates.dot(&directions.t()),
            None => coordinates,
        }
    }

    /// Coordinates (outputs, directions) from weights (outputs, columns). Gradients are converted the same way.
    pub fn coordinates(&self, weights: Array2<f64>) -> Array2<f64> {
        match &self.directions {
            Some(directions) => weights.dot(directions),
            None => weights,
        }
    }
}
