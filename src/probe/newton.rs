//! Newton's method for a convex loss: each step by conjugate gradients (Dembo & Steihaug 1983), as far as it pays.

use super::stopping::Patience;
use crate::error::Result;

/// A step of conjugate gradients ends them when as many of its gain would be less than this share of all gains (Nash & Sofer 1990).
const SLACK: f64 = 0.25;
/// Largest number of conjugate gradients of a step.
const MOST_GRADIENTS: usize = 200;
/// The share of the gain that the gradient promises which a step must bring.
const SUFFICIENT: f64 = 1e-4;
/// How often a step is halved before it is given up.
const HALVINGS: usize = 12;

/// A loss with its gradient and curvature at a point.
pub(super) struct Point<C> {
    pub(super) at: Vec<f64>,
    pub(super) loss: f64,
    pub(super) gradient: Vec<f64>,
    pub(super) curvature: C,
}

/// A convex loss whose products with its curvature cost less than its evaluation.
pub(super) trait Curved {
    type Curvature;
    /// An approximate inverse of a curvature.
    type Inverse;

    /// The loss at a point.
    ///
    /// # Errors
    /// Those of the evaluation.
    fn point(&self, at: Vec<f64>) -> Result<Point<Self::Curvature>>;

    /// The product of a curvature with a direction.
    ///
    /// # Errors
    /// Those of the evaluation.
    fn times(&self, curvature: &Self::Curvature, direction: &[f64]) -> Result<Vec<f64>>;

    /// An approximate inverse of a curvature, symmetric and positive.
    ///
    /// # Errors
    /// Those of its making.
    fn inverse(&self, curvature: &Self::Curvature) -> Result<Self::Inverse>;

    /// The product of an inverse with a vector.
    fn solve(&self, inverse: &Self::Inverse, vector: &[f64]) -> Vec<f64>;
}

/// What came of a step.
pub(super) enum Stepped<C> {
    /// The next point, how much less than at this one the loss was expected to be there, and the number of conjugate gradients.
    To(Point<C>, f64, usize),
    /// No shorter step lessens the loss; it was expected to become less by this.
    Nowhere(f64),
}

/// The excess of the loss over its minimum at which a search with this patience ends.
pub(super) fn smallest_gain(patience: Patience) -> f64 {
    0.5 * patience.gradient * patience.gradient
}

/// A step from a point, given the approximate inverse of a curvature near it.
///
/// # Errors
/// Those of the evaluation.
pub(super) fn step<P: Curved>(
    problem: &P,
    from: &Point<P::Curvature>,
    inverse: &P::Inverse,
) -> Result<Stepped<P::Curvature>> {
    let (direction, gain, count) = direction(problem, from, inverse)?;
    let slope = dot(&direction, &from.gradient);
    let mut length = 1.0;
    for _ in 0..=HALVINGS {
        let at = from.at.iter().zip(&direction).map(|(at, by)| at + length * by).collect();
        let next = problem.point(at)?;
        if next.loss <= from.loss + SUFFICIENT * length * slope {
            return Ok(Stepped::To(next, gain, count));
        }
        length *= 0.5;
    }
    Ok(Stepped::Nowhere(gain))
}

/// The direction to about the minimum of the quadratic function with this gradient and curvature, how far below it is, and the number
/// of conjugate gradients.
fn direction<P: Curved>(
    problem: &P,
    point: &Point<P::Curvature>,
    inverse: &P::Inverse,
) -> Result<(Vec<f64>, f64, usize)> {
    let mut direction = vec![0.0; point.at.len()];
    let mut residual: Vec<f64> = point.gradient.iter().map(|value| -value).collect();
    let mut along = problem.solve(inverse, &residual);
    let (mut size, mut gain, mut count) = (dot(&residual, &along), 0.0, 0);
    while count < MOST_GRADIENTS {
        count += 1;
        let product = problem.times(&point.curvature, &along)?;
        let length = size / dot(&along, &product);
        if !length.is_finite() || length <= 0.0 {
            break;
        }
        add(&mut direction, length, &along);
        add(&mut residual, -length, &product);
        let of_this = 0.5 * length * size;
        gain += of_this;
        if count as f64 * of_this <= SLACK * gain {
            break;
        }
        let next = problem.solve(inverse, &residual);
        let new_size = dot(&residual, &next);
        along.iter_mut().zip(&next).for_each(|(along, next)| *along = next + new_size / size * *along);
        size = new_size;
    }
    Ok((direction, gain, count))
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    ndarray::aview1(a).dot(&ndarray::aview1(b))
}

/// Adds `factor` · `b` to `a`.
fn add(a: &mut [f64], factor: f64, b: &[f64]) {
    a.iter_mut().zip(b).for_each(|(a, b)| *a += factor * b);
}
