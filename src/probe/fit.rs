//! Fitting a linear probe: L-BFGS (Liu & Nocedal 1989) with Moré-Thuente line search, in the coordinates of a [`Basis`].
//!
//! The optimum is scikit-learn's: mean loss + ‖weights‖² / (2 · C · examples), biases free. In these coordinates the loss
//! is nearly round, so some ten steps suffice where hundreds would be needed along the columns.

use std::ops::Range;
use std::sync::Mutex;

use argmin::core::{CostFunction, Executor, Gradient, State};
use argmin::solver::linesearch::MoreThuenteLineSearch;
use argmin::solver::quasinewton::LBFGS;
use ndarray::{Array1, Array2, Axis, s};

use super::basis::Basis;
use super::blocks::ClassBlocks;
use super::curvature::Curvature;
use super::linear::LinearModel;
use super::newton::{self, Curved, Point, Stepped, smallest_gain};
use super::objective::Examples;
use super::predictions::outputs;
use super::stopping::Patience;
use super::targets::{Targets, Unit};
use crate::error::{Error, Result};

/// The stopping criteria of a final fit. In these coordinates, half the squared length of the gradient is about the
/// excess of the loss over its minimum: some 1e-7.
const EXACT: Patience = Patience { gradient: 4e-4, loss: 1e-10, steps: 500, rounds: 3 };
/// The stopping criteria for comparing strengths: an excess of some 1e-5, which no score on other texts can reveal.
const NEAR: Patience = Patience { gradient: 4e-3, loss: 1e-7, steps: 200, rounds: 1 };
/// Number of steps that L-BFGS remembers.
const MEMORY: usize = 10;
/// Smallest variance that is assumed of a class, so that a class with a single example has finite coordinates.
const LEAST_VARIANCE: f64 = 1e-4;

/// Number of classes from which on Newton's method is faster.
const MANY: usize = 64;
/// The largest share of all classes that are likely ones of an example where it is used.
const MOST_LIKELY: f64 = 0.15;
/// Number of steps that L-BFGS takes where more of them are.
const FIRST_STEPS: u64 = 25;
/// Conjugate gradients of a step from which on the approximate inverse is made anew.
const MOST_GRADIENTS: usize = 12;

/// A fitted probe.
#[derive(Debug, Clone)]
pub struct Fit {
    /// The linear function of standardized vectors.
    pub linear: LinearModel,
    /// The strength that it was fitted with.
    pub strength: f64,
    /// The mean loss, including the penalty.
    pub loss: f64,
    /// Number of steps taken.
    pub steps: u64,
    /// Whether the gradient became small enough for an optimum.
    pub converged: bool,
}

/// Minimizes the loss of a sample at strength C.
///
/// # Errors
/// Those of reading features.
pub fn fit(sample: &Examples<'_>, basis: &Basis, strength: f64) -> Result<Fit> {
    search(sample, basis, strength, None, EXACT)
}

/// Like [`fit`], from `start` or from zero, and only as precise as the comparison of strengths needs.
///
/// # Errors
/// Those of reading features.
pub fn fit_nearly(sample: &Examples<'_>, basis: &Basis, strength: f64, start: Option<&LinearModel>) -> Result<Fit> {
    search(sample, basis, strength, start, NEAR)
}

fn search(
    sample: &Examples<'_>,
    basis: &Basis,
    strength: f64,
    start: Option<&LinearModel>,
    patience: Patience,
) -> Result<Fit> {
    let unit = Unit::of(sample.targets, &sample.chunks);
    let targets = unit.apply(sample.targets);
    let sample = &Examples { targets: &targets, ..sample.clone() };
    let penalty = 1.0 / (strength * sample.count as f64);
    let curvatures = curvatures(sample.targets, &sample.chunks, sample.classes, sample.class_weights.as_deref());
    let scales = Scales::new(curvatures, basis, penalty);
    let problem = FitProblem { sample, basis, scales, penalty, last: Mutex::new(None), failure: Mutex::new(None) };
    let zeros = || LinearModel::zeros(outputs(sample.classes), sample.features.columns());
    let start = problem.flatten(&start.map_or_else(zeros, |start| unit.redo(start)), true);
    let solved = if outputs(sample.classes) < MANY {
        minimize(&problem, start, patience)
    } else {
        minimize_many(&problem, start, patience)?
    };
    if let Some(error) = problem.failure.lock().ok().and_then(|mut failure| failure.take()) {
        return Err(error);
    }
    let solved = solved.map_err(|error| Error::Probe(format!("a fit failed: {error}")))?;
    Ok(Fit {
        strength,
        linear: unit.undo(&problem.linear(&solved.best)),
        loss: unit.undo_square(solved.loss),
        steps: solved.steps,
        converged: solved.converged,
    })
}

/// The result of a search.
pub(super) struct Solved {
    pub(super) best: Vec<f64>,
    pub(super) loss: f64,
    pub(super) steps: u64,
    pub(super) converged: bool,
}

/// Runs searches until one of the criteria is met.
pub(super) fn minimize<P>(
    problem: &P,
    start: Vec<f64>,
    patience: Patience,
) -> std::result::Result<Solved, argmin::core::Error>
where
    for<'a> &'a P: CostFunction<Param = Vec<f64>, Output = f64> + Gradient<Param = Vec<f64>, Gradient = Vec<f64>>,
{
    let (mut at, mut steps) = (start, 0);
    for _ in 0..patience.rounds {
        let solver = LBFGS::new(MoreThuenteLineSearch::new(), MEMORY)
            .with_tolerance_grad(patience.gradient)?
            .with_tolerance_cost(patience.loss)?;
        let result = Executor::new(problem, solver)
            .configure(|state| state.param(at.clone()).max_iters(patience.steps))
            .ctrlc(false)
            .run()?;
        steps += result.state.get_iter();
        at = result.state.get_best_param().cloned().unwrap_or(at);
        let gradient = problem.gradient(&at)?;
        let length = gradient.iter().map(|value| value * value).sum::<f64>().sqrt();
        let converged = length < patience.gradient * 3.0;
        if converged || steps >= patience.steps {
            return Ok(Solved { loss: problem.cost(&at)?, best: at, steps, converged });
        }
    }
    Ok(Solved { loss: problem.cost(&at)?, best: at, steps, converged: false })
}

/// Runs searches for a probe of many classes: Newton's method once most classes are unlikely for an example, and L-BFGS up to
/// there. An error of L-BFGS stands in the inner result.
fn minimize_many(
    problem: &FitProblem<'_>,
    start: Vec<f64>,
    patience: Patience,
) -> Result<std::result::Result<Solved, argmin::core::Error>> {
    let (mut point, mut steps) = (problem.point(start)?, 0);
    let (mut some, mut stalled) = (Patience { steps: FIRST_STEPS, rounds: 1, ..patience }, 0);
    let mut inverse = None;
    loop {
        // Not where a step is tried: one that goes too far is halved.
        if !point.loss.is_finite() {
            return Err(not_finite(point.loss));
        }
        if steps >= patience.steps || stalled >= patience.rounds {
            return Ok(Ok(Solved { loss: point.loss, best: point.at, steps, converged: false }));
        }
        if point.curvature.classes_kept() > MOST_LIKELY * problem.sample.classes as f64 {
            match minimize(problem, point.at, some) {
                Ok(solved) if solved.converged => {
                    return Ok(Ok(Solved { steps: steps + solved.steps, ..solved }));
                }
                Ok(solved) => {
                    steps += solved.steps;
                    stalled += usize::from(solved.steps < some.steps);
                    // Each search forgets what the one before has seen.
                    some.steps *= 2;
                    point = problem.point(solved.best)?;
                }
                Err(error) => return Ok(Err(error)),
            }
            continue;
        }
        let smallest_gain = smallest_gain(patience);
        steps += 1;
        let of_point = match inverse.take() {
            Some(inverse) => inverse,
            None => problem.inverse(&point.curvature)?,
        };
        match newton::step(problem, &point, &of_point)? {
            Stepped::To(next, gain, count) => {
                point = next;
                inverse = Some(of_point).filter(|_| count < MOST_GRADIENTS);
                if gain < smallest_gain {
                    return Ok(Ok(Solved { loss: point.loss, best: point.at, steps, converged: true }));
                }
            }
            Stepped::Nowhere(gain) => {
                let converged = gain < 9.0 * smallest_gain;
                return Ok(Ok(Solved { loss: point.loss, best: point.at, steps, converged }));
            }
        }
    }
}

/// The approximate curvature of the loss in each output, on the way to the optimum and there.
///
/// At the start it is the variance of the class, and for two classes little less at the end. Of many classes most are told
/// apart better, frequent ones most of all: on parts of speech the curvature at the optimum is a tenth to a half of the
/// variance. A tenth of its root takes half as many steps there as the variance itself, and as many as the true diagonal.
pub(super) fn curvatures(
    targets: &Targets,
    chunks: &[Range<usize>],
    classes: usize,
    weights: Option<&[f64]>,
) -> Array1<f64> {
    let outputs = outputs(classes);
    let Targets::Classes(targets) = targets else { return Array1::ones(outputs) };
    let mut counts = vec![0.0; classes];
    for example in chunks.iter().cloned().flatten() {
        let class = targets[example] as usize;
        counts[class] += weights.map_or(1.0, |weights| weights[class]);
    }
    let all: f64 = counts.iter().sum();
    let curvature = |count: f64| {
        let share = count / all;
        if outputs == 1 { variance(share) } else { curvature_of_many(share) }
    };
    counts.iter().rev().take(outputs).rev().map(|&count| curvature(count)).collect()
}

/// The approximate curvature of the loss in one of many outputs that this share of the examples has.
pub(super) fn curvature_of_many(share: f64) -> f64 {
    0.1 * variance(share).sqrt()
}

fn variance(share: f64) -> f64 {
    (share * (1.0 - share)).max(LEAST_VARIANCE)
}

/// The scale of each coordinate: the weight in a direction, or the bias, that a coordinate of 1 stands for.
pub(super) struct Scales {
    /// (outputs, directions)
    weights: Array2<f64>,
    /// (outputs)
    bias: Array1<f64>,
}

impl Scales {
    pub(super) fn new(curvatures: Array1<f64>, basis: &Basis, penalty: f64) -> Self {
        let scale = |output: usize, direction: usize| {
            (curvatures[output] * basis.variances[direction] + penalty).sqrt().recip()
        };
        Self {
            weights: Array2::from_shape_fn((curvatures.len(), basis.variances.len()), |(o, d)| scale(o, d)),
            bias: curvatures.mapv(|curvature| curvature.sqrt().recip()),
        }
    }

    /// Converts a linear function to coordinates, or its gradient to the gradient along them.
    pub(super) fn flatten(&self, linear: &LinearModel, basis: &Basis, is_function: bool) -> Vec<f64> {
        let mut weights = basis.coordinates(linear.weights.clone());
        let mut bias = linear.bias.clone();
        if is_function {
            weights /= &self.weights;
            bias /= &self.bias;
        } else {
            weights *= &self.weights;
            bias *= &self.bias;
        }
        weights.iter().chain(&bias).copied().collect()
    }

    /// Converts coordinates to a linear function.
    pub(super) fn linear(&self, coordinates: &[f64], basis: &Basis) -> LinearModel {
        let weights = &self.weights;
        let (first, last) = coordinates.split_at(weights.len());
        let scaled = weights.iter().zip(first).map(|(scale, value)| scale * value).collect();
        let scaled =
            Array2::from_shape_vec(weights.dim(), scaled).unwrap_or_else(|_| unreachable!("of the same shape"));
        LinearModel { weights: basis.weights(scaled), bias: Array1::from_iter(last.iter().copied()) * &self.bias }
    }
}

/// A point with its loss and gradient.
pub(super) type Evaluated = (Vec<f64>, f64, Vec<f64>);

struct FitProblem<'a> {
    sample: &'a Examples<'a>,
    basis: &'a Basis,
    scales: Scales,
    penalty: f64,
    /// The last evaluation, as the solver asks for loss and gradient separately.
    last: Mutex<Option<Evaluated>>,
    failure: Mutex<Option<Error>>,
}

impl FitProblem<'_> {
    fn flatten(&self, linear: &LinearModel, is_function: bool) -> Vec<f64> {
        self.scales.flatten(linear, self.basis, is_function)
    }

    fn linear(&self, coordinates: &[f64]) -> LinearModel {
        self.scales.linear(coordinates, self.basis)
    }

    fn evaluate(&self, at: &[f64]) -> Result<(f64, Vec<f64>)> {
        let linear = self.linear(at);
        let (loss, mut gradient) = self.sample.loss_and_gradient(&linear)?;
        let squares: f64 = linear.weights.iter().map(|weight| weight * weight).sum();
        gradient.weights.scaled_add(self.penalty, &linear.weights);
        Ok((loss + 0.5 * self.penalty * squares, self.flatten(&gradient, false)))
    }
}

impl<'a> Curved for FitProblem<'a> {
    type Curvature = Curvature<'a>;
    type Inverse = ClassBlocks;

    fn point(&self, at: Vec<f64>) -> Result<Point<Curvature<'a>>> {
        let linear = self.linear(&at);
        let (loss, mut gradient, curvature) = Curvature::of(self.sample, &linear)?;
        let squares: f64 = linear.weights.iter().map(|weight| weight * weight).sum();
        gradient.weights.scaled_add(self.penalty, &linear.weights);
        let (loss, gradient) = (loss + 0.5 * self.penalty * squares, self.flatten(&gradient, false));
        Ok(Point { at, loss, gradient, curvature })
    }

    fn times(&self, curvature: &Curvature<'a>, direction: &[f64]) -> Result<Vec<f64>> {
        let linear = self.linear(direction);
        let mut product = curvature.times(&linear)?;
        product.weights.scaled_add(self.penalty, &linear.weights);
        Ok(self.flatten(&product, false))
    }

    fn inverse(&self, curvature: &Curvature<'a>) -> Result<ClassBlocks> {
        ClassBlocks::new(curvature, self.basis, (&self.scales.weights, &self.scales.bias), self.penalty)
    }

    fn solve(&self, inverse: &ClassBlocks, vector: &[f64]) -> Vec<f64> {
        inverse.times(vector)
    }
}

fn not_finite(loss: f64) -> Error {
    Error::Probe(format!("a fit came to a loss of {loss}; choose smaller values of --strength"))
}

/// Evaluates loss and gradient once for the solver's two questions about a point. An error is kept for later.
pub(super) fn evaluated<T>(
    last: &Mutex<Option<Evaluated>>,
    failure: &Mutex<Option<Error>>,
    at: &[f64],
    evaluate: impl FnOnce() -> Result<(f64, Vec<f64>)>,
    take: impl FnOnce(&Evaluated) -> T,
) -> std::result::Result<T, argmin::core::Error> {
    let poisoned = || argmin::core::Error::msg("a fit was given up");
    let mut last = last.lock().map_err(|_| poisoned())?;
    if last.as_ref().is_none_or(|(place, ..)| place != at) {
        match evaluate() {
            // With such a loss, the line search would never end.
            Ok((loss, _)) if !loss.is_finite() => {
                *failure.lock().map_err(|_| poisoned())? = Some(not_finite(loss));
                return Err(poisoned());
            }
            Ok((loss, gradient)) => *last = Some((at.to_vec(), loss, gradient)),
            Err(error) => {
                *failure.lock().map_err(|_| poisoned())? = Some(error);
                return Err(poisoned());
            }
        }
    }
    last.as_ref().map(take).ok_or_else(poisoned)
}

impl CostFunction for &FitProblem<'_> {
    type Param = Vec<f64>;
    type Output = f64;

    fn cost(&self, at: &Vec<f64>) -> std::result::Result<f64, argmin::core::Error> {
        evaluated(&self.last, &self.failure, at, || self.evaluate(at), |(_, loss, _)| *loss)
    }
}

impl Gradient for &FitProblem<'_> {
    type Param = Vec<f64>;
    type Gradient = Vec<f64>;

    fn gradient(&self, at: &Vec<f64>) -> std::result::Result<Vec<f64>, argmin::core::Error> {
        evaluated(&self.last, &self.failure, at, || self.evaluate(at), |(.., gradient)| gradient.clone())
    }
}

/// The head for vectors as they are stored: one linear function for each known class, `softmax(weights · x + bias)`;
/// for regression, the single linear function.
pub fn head(linear: &LinearModel, standard: &super::features::Standard, classes: usize) -> LinearModel {
    let linear = linear.before(standard);
    if classes != 2 {
        return linear;
    }
    let mut both = LinearModel::zeros(2, linear.weights.ncols());
    both.weights.slice_mut(s![1, ..]).assign(&linear.weights.index_axis(Axis(0), 0));
    both.bias[1] = linear.bias[0];
    both
}

#[cfg(test)]
mod tests {
    use nalgebra::{DMatrix, DVector};
    use rand::{RngExt, SeedableRng, rngs::ChaCha8Rng};

    use super::*;
    use crate::probe::features::Features;
    use crate::probe::targets::balanced;

    const EXAMPLES: usize = 900;
    const COLUMNS: usize = 6;

    /// Strongly correlated columns, as hidden states have them.
    fn features() -> Features {
        let mut random = ChaCha8Rng::seed_from_u64(3);
        let numbers = (0..EXAMPLES).flat_map(|_| {
            let common: f32 = random.random_range(-3.0..3.0);
            [0.0; COLUMNS].map(|_: f32| common + random.random_range(-0.3..0.3))
        });
        Features::of(&numbers.collect::<Vec<f32>>(), COLUMNS)
    }

    fn sample<'a>(features: &'a Features, targets: &'a Targets, classes: usize) -> Examples<'a> {
        Examples {
            features,
            targets,
            chunks: vec![0..400, 400..EXAMPLES],
            standard: None,
            count: EXAMPLES,
            classes,
            class_weights: None,
        }
    }

    fn classes_of(features: &Features, classes: u32) -> Targets {
        let mut random = ChaCha8Rng::seed_from_u64(5);
        let mut buffer = Vec::new();
        let rows = features.rows(0..EXAMPLES, &mut buffer).unwrap();
        let class = rows.chunks_exact(COLUMNS).map(|row| {
            let noisy = row[0] - row[1] * 0.5 + random.random_range(-1.0..1.0);
            ((noisy + 1.5).max(0.0) as u32).min(classes - 1)
        });
        Targets::Classes(class.collect())
    }

    #[test]
    fn the_gradient_is_that_of_the_loss() {
        let features = features();
        for (classes, is_balanced) in [(2, false), (4, false), (2, true), (4, true)] {
            let targets = classes_of(&features, classes);
            let mut sample = sample(&features, &targets, classes as usize);
            if is_balanced {
                sample.class_weights = balanced(&targets, &sample.chunks, classes as usize);
            }
            sample.standard = Some(features.moments(&[0..300, 300..500]).unwrap().standard());
            let mut linear = LinearModel::zeros(outputs(classes as usize), COLUMNS);
            linear.weights.iter_mut().zip(1..).for_each(|(weight, i)| *weight = f64::from(i % 5) * 0.2 - 0.3);
            let (_, gradient) = sample.loss_and_gradient(&linear).unwrap();
            let step = 1e-2; // the loss is of float32 products
            for output in 0..linear.bias.len() {
                for column in 0..=COLUMNS {
                    let at = |by: f64| {
                        let mut moved = linear.clone();
                        if column < COLUMNS {
                            moved.weights[(output, column)] += by;
                        } else {
                            moved.bias[output] += by;
                        }
                        sample.loss_and_gradient(&moved).unwrap().0
                    };
                    let expected = (at(step) - at(-step)) / (2.0 * step);
                    let found =
                        if column < COLUMNS { gradient.weights[(output, column)] } else { gradient.bias[output] };
                    assert!((found - expected).abs() < 2e-4, "{classes} {output} {column}: {found} {expected}");
                }
            }
        }
    }

    #[test]
    fn the_optimum_is_found_in_few_steps() {
        let features = features();
        let basis = Basis::of(&features).unwrap();
        for (classes, strength) in [(2, 0.01), (2, 100.0), (4, 0.01), (4, 10.0)] {
            let targets = classes_of(&features, classes);
            let sample = sample(&features, &targets, classes as usize);
            let fitted = fit(&sample, &basis, strength).unwrap();
            let penalty = 1.0 / (strength * EXAMPLES as f64);
            let (_, mut gradient) = sample.loss_and_gradient(&fitted.linear).unwrap();
            gradient.weights.scaled_add(penalty, &fitted.linear.weights);
            let largest =
                gradient.weights.iter().chain(&gradient.bias).fold(0.0, |largest: f64, value| largest.max(value.abs()));
            assert!(fitted.converged && largest < 2e-4, "{classes} {strength}: {largest}");
            assert!(fitted.steps < 40, "{classes} {strength}: {} steps", fitted.steps);
            let warm = search(&sample, &basis, strength, Some(&fitted.linear), EXACT).unwrap();
            assert!(warm.steps <= 2 && (warm.loss - fitted.loss).abs() < 1e-6, "{} steps", warm.steps);
            let near = fit_nearly(&sample, &basis, strength, None).unwrap();
            assert!(near.steps <= fitted.steps && near.loss - fitted.loss < 1e-4, "{} {}", near.loss, fitted.loss);
        }
    }

    #[test]
    fn many_classes_come_to_the_optimum_and_not_above_where_lbfgs_ends() {
        const CLASSES: usize = 80;
        let mut random = ChaCha8Rng::seed_from_u64(7);
        let centres: Vec<[f32; COLUMNS]> =
            (0..CLASSES).map(|_| [0.0; COLUMNS].map(|_: f32| random.random_range(-3.0..3.0))).collect();
        let classes: Vec<u32> = (0..EXAMPLES).map(|i| (i * 37 % CLASSES) as u32).collect();
        let numbers =
            classes.iter().flat_map(|&class| centres[class as usize].map(|at| at + random.random_range(-1.2..1.2)));
        let numbers: Vec<f32> = numbers.collect();
        let features = Features::of(&numbers, COLUMNS);
        let targets = Targets::Classes(classes);
        let basis = Basis::of(&features).unwrap();
        for (strength, is_balanced) in [(0.1, false), (10.0, true)] {
            let mut sample = sample(&features, &targets, CLASSES);
            if is_balanced {
                sample.class_weights = balanced(&targets, &sample.chunks, CLASSES);
            }
            let fitted = fit(&sample, &basis, strength).unwrap();
            let penalty = 1.0 / (strength * EXAMPLES as f64);
            let (_, mut gradient) = sample.loss_and_gradient(&fitted.linear).unwrap();
            gradient.weights.scaled_add(penalty, &fitted.linear.weights);
            let largest =
                gradient.weights.iter().chain(&gradient.bias).fold(0.0, |largest: f64, value| largest.max(value.abs()));
            assert!(fitted.converged && largest < 2e-4, "{strength}: {largest}");
            let scales = Scales::new(Array1::from_elem(CLASSES, 0.01), &basis, penalty);
            let problem = FitProblem {
                sample: &sample,
                basis: &basis,
                scales,
                penalty,
                last: Mutex::new(None),
                failure: Mutex::new(None),
            };
            let start = problem.flatten(&LinearModel::zeros(CLASSES, COLUMNS), true);
            let other = minimize(&problem, start, Patience { steps: 3000, ..EXACT }).unwrap();
            assert!(fitted.loss < other.loss + 1e-6, "{} {}", fitted.loss, other.loss);
            assert!(fitted.steps < 120, "{} steps", fitted.steps);
            let again = search(&sample, &basis, strength, Some(&fitted.linear), EXACT).unwrap();
            assert!(again.steps <= 6 && (again.loss - fitted.loss).abs() < 1e-6, "{} steps", again.steps);
            let near = fit_nearly(&sample, &basis, strength, None).unwrap();
            assert!(near.steps <= fitted.steps && near.loss - fitted.loss < 1e-4, "{} {}", near.loss, fitted.loss);
        }
    }

    #[test]
    fn regression_is_ridge_regression() {
        let features = features();
        let mut buffer = Vec::new();
        let rows = features.rows(0..EXAMPLES, &mut buffer).unwrap();
        let x = DMatrix::from_fn(EXAMPLES, COLUMNS, |i, j| f64::from(rows[i * COLUMNS + j]));
        let y: Vec<f64> = (0..EXAMPLES).map(|i| 3.0 + 2.0 * x[(i, 0)] - x[(i, 3)] + 0.1 * (i as f64).sin()).collect();
        let targets = Targets::Numbers(y.clone());
        let basis = Basis::of(&features).unwrap();
        let fitted = fit(&sample(&features, &targets, 0), &basis, 0.1).unwrap();
        let mean = y.iter().sum::<f64>() / EXAMPLES as f64;
        let centred = DVector::from_iterator(EXAMPLES, y.iter().map(|y| y - mean));
        let ridge = x.transpose() * &x + DMatrix::identity(COLUMNS, COLUMNS) * 10.0;
        let expected = ridge.lu().solve(&(x.transpose() * centred)).unwrap();
        for (found, expected) in fitted.linear.weights.iter().zip(expected.iter()) {
            assert!((found - expected).abs() < 1e-3, "{found} {expected}");
        }
        assert!((fitted.linear.bias[0] - mean).abs() < 1e-3);
        // The same in another unit.
        for unit in [1e-6, 1e6] {
            let targets = Targets::Numbers(y.iter().map(|y| (y - 5.0) * unit).collect());
            let scaled = fit(&sample(&features, &targets, 0), &basis, 0.1).unwrap();
            assert!(scaled.converged && (scaled.loss / unit / unit - fitted.loss).abs() < 1e-4 * fitted.loss);
            for (found, expected) in scaled.linear.weights.iter().zip(&fitted.linear.weights) {
                assert!((found / unit - expected).abs() < 1e-3, "{found} {expected}");
            }
            assert!((scaled.linear.bias[0] / unit - mean + 5.0).abs() < 1e-3);
        }
    }
}
