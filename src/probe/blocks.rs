//! An approximate inverse of the curvature of the loss of many classes: that of each class by itself, as if the scores of the others
//! stayed as they are.
//!
//! The examples that a class is confused with lie close together, so that the loss is far more curved along some directions than
//! along others, and not along the same ones for all classes. With this as the preconditioner a step of Newton's method takes
//! some five conjugate gradients at first and some fifty near the optimum, where it takes a hundred at once with the diagonal.

use nalgebra::{Cholesky, DMatrix, DVector, Dyn};
use ndarray::{Array1, Array2, ArrayView1, s};
use rayon::prelude::*;

use super::basis::Basis;
use super::curvature::Curvature;
use super::products;
use crate::error::Result;

/// Largest number of directions of a class that are inverted together, those in which features vary most. Along the others the
/// curvature is nearly the penalty alone.
const MOST_DIRECTIONS: usize = 192;
/// Largest number of numbers in the matrices of all classes, 64 MB, which fewer directions keep to where classes are very many.
const MOST_NUMBERS: usize = 16 << 20;
/// Examples for each direction that the curvature of a class is estimated from.
const EXAMPLES_A_DIRECTION: usize = 2;
/// What is added to a diagonal near 1, so that float32 finds its matrix positive.
const JITTER: f32 = 1e-5;

/// The inverse of a curvature with the penalty, in coordinates of given scales.
pub(super) struct ClassBlocks {
    /// Of each class, for [`ClassBlocks::directions`] and the bias; `None` where rounding leaves the diagonal alone.
    blocks: Vec<Option<Cholesky<f32, Dyn>>>,
    /// The directions that are inverted together.
    directions: Vec<usize>,
    /// The curvature in each coordinate.
    diagonal: Vec<f64>,
}

impl ClassBlocks {
    /// The inverse for coordinates of these scales: (outputs, directions) and (outputs).
    ///
    /// # Errors
    /// Those of reading features.
    pub(super) fn new(
        curvature: &Curvature<'_>,
        basis: &Basis,
        (scales, bias_scales): (&Array2<f64>, &Array1<f64>),
        penalty: f64,
    ) -> Result<Self> {
        let variances = &curvature.variances;
        let of_weights = scales.indexed_iter().map(|((class, direction), scale)| {
            (variances[class] * basis.variances[direction] + penalty) * scale * scale
        });
        let of_bias = variances.iter().zip(bias_scales).map(|(variance, scale)| variance * scale * scale);
        let diagonal = of_weights.chain(of_bias.map(|value| value.max(f64::from(JITTER)))).collect();
        let room = (MOST_NUMBERS / scales.nrows()).isqrt();
        let leading = basis.leading(MOST_DIRECTIONS.min(room));
        let directions = leading.as_ref().map_or_else(Vec::new, |(directions, _)| directions.clone());
        let block = |class: usize, samples: &[(usize, f32)]| {
            let Some((directions, along)) = leading.as_ref().filter(|_| !samples.is_empty()) else { return Ok(None) };
            let scales = scales.row(class);
            let rows = rows_along(curvature, samples, along)?;
            Ok(inverse(&rows, directions, (scales, bias_scales[class]), penalty))
        };
        let samples = curvature.samples(EXAMPLES_A_DIRECTION * directions.len().max(1));
        let blocks = samples.par_iter().enumerate().map(|(class, samples)| block(class, samples));
        Ok(Self { blocks: blocks.collect::<Result<_>>()?, directions, diagonal })
    }

    /// The product of the inverse with a vector.
    pub(super) fn times(&self, vector: &[f64]) -> Vec<f64> {
        let mut product: Vec<f64> = vector.iter().zip(&self.diagonal).map(|(value, by)| value / by).collect();
        let outputs = self.blocks.len();
        let (weights, bias) = product.split_at_mut(vector.len() - outputs);
        let width = weights.len() / outputs;
        let of_bias = &vector[weights.len()..];
        weights.par_chunks_mut(width).zip(bias).enumerate().for_each(|(class, (weights, bias))| {
            let Some(block) = &self.blocks[class] else { return };
            let of_class = &vector[class * width..][..width];
            let own = self.directions.iter().map(|&direction| of_class[direction]).chain([of_bias[class]]);
            let count = self.directions.len() + 1;
            let mut solved = DVector::from_iterator(count, own.map(|value| value as f32));
            block.solve_mut(&mut solved);
            self.directions.iter().zip(&solved).for_each(|(&direction, &value)| weights[direction] = f64::from(value));
            *bias = f64::from(solved[count - 1]);
        });
        product
    }
}

/// The vectors of some examples along directions, (examples, directions + 1), each multiplied by the root of how much it counts;
/// the last column is that of the bias.
fn rows_along(curvature: &Curvature<'_>, samples: &[(usize, f32)], along: &Array2<f32>) -> Result<Array2<f32>> {
    let (columns, count) = along.dim();
    let mut rows = vec![0.0; samples.len() * columns];
    for (row, &(example, counts)) in rows.chunks_exact_mut(columns).zip(samples) {
        curvature.read(example, row)?;
        row.iter_mut().for_each(|value| *value *= counts.sqrt());
    }
    let mut out = Array2::zeros((samples.len(), count + 1));
    products::multiply(products::rows(&rows, columns), along.view(), out.slice_mut(s![.., ..count]), false);
    out.column_mut(count).iter_mut().zip(samples).for_each(|(bias, (_, counts))| *bias = counts.sqrt());
    Ok(out)
}

/// The inverse of the curvature of a class in these directions and its bias.
fn inverse(
    rows: &Array2<f32>,
    directions: &[usize],
    (scales, bias_scale): (ArrayView1<'_, f64>, f64),
    penalty: f64,
) -> Option<Cholesky<f32, Dyn>> {
    let count = rows.ncols();
    let mut sums = Array2::zeros((count, count));
    products::multiply(rows.t(), rows.view(), sums.view_mut(), false);
    let scale: Vec<f32> =
        directions.iter().map(|&direction| scales[direction]).chain([bias_scale]).map(|scale| scale as f32).collect();
    let matrix = DMatrix::from_fn(count, count, |i, j| {
        let own = if i != j {
            0.0
        } else if i + 1 < count {
            JITTER + penalty as f32 * scale[i] * scale[i]
        } else {
            JITTER
        };
        sums[(i, j)] * scale[i] * scale[j] + own
    });
    Cholesky::new(matrix)
}
