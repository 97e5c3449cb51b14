//! Fitting a conditional random field (Lafferty et al. 2001): a linear probe whose tags are scored as a sequence, each
//! with the step from the tag before, so that what no sequence of tags has is not predicted either.
//!
//! The optimum is that of mean loss + ‖weights‖² / (2 · C · words) + ‖steps‖² / (2 · words), biases free. Steps are few and
//! their scores are large, so C is not for them: they have one of 1, as CRFsuite's default is about.

use std::ops::Range;
use std::sync::Mutex;

use argmin::core::{CostFunction, Gradient};
use ndarray::Array1;
use rayon::prelude::*;

use super::basis::Basis;
use super::chain::{self, Factors, Steps};
use super::fit::{Evaluated, Scales, curvature_of_many, evaluated, minimize};
use super::linear::LinearModel;
use super::objective::{Examples, Single};
use super::predictions::{Predicted, Predictions};
use super::stopping::Patience;
use crate::error::{Error, Result};

/// The stopping criteria.
const PATIENCE: Patience = Patience { gradient: 1e-3, loss: 1e-9, steps: 300, rounds: 2 };

/// A fitted field.
#[derive(Debug, Clone)]
pub struct FittedCrf {
    /// The score of each tag by the standardized vector of a word, (tags, columns).
    pub linear: LinearModel,
    /// The scores of steps between tags.
    pub steps: Steps,
    /// The mean loss of a word, including the penalty.
    pub loss: f64,
    /// Number of steps of the search.
    pub search_steps: u64,
    /// Whether the search converged.
    pub converged: bool,
}

/// Words in sequences, one for each text.
pub struct Sequences<'a> {
    /// The words. Each chunk has whole texts.
    pub words: Examples<'a>,
    /// Where texts end, ascending, in the order of the words.
    pub ends: &'a [usize],
}

impl Sequences<'_> {
    /// Fits a field at a strength, from `start` or from zero.
    ///
    /// # Errors
    /// Those of reading features.
    pub fn fit(&self, basis: &Basis, strength: f64, start: Option<&LinearModel>) -> Result<FittedCrf> {
        let (tags, columns) = (self.words.classes, self.words.features.columns());
        let count = self.words.count as f64;
        let (observed, frequencies) = self.observed();
        let curvatures = frequencies.mapv(|count_of_tag| curvature_of_many(count_of_tag / count));
        let penalty = 1.0 / (strength * count);
        let mut of_steps = observed.clone();
        let scale = |seen: f64| (curvature_of_many(seen / count) + 1.0 / count).sqrt().recip();
        of_steps.iter_mut().for_each(|seen| *seen = scale(*seen));
        let problem = CrfProblem {
            sequences: self,
            basis,
            scales: Scales::new(curvatures, basis, penalty),
            of_steps,
            observed,
            penalty,
            last: Mutex::new(None),
            failure: Mutex::new(None),
        };
        let linear = start.map_or_else(|| LinearModel::zeros(tags, columns), |start| of_all_tags(start, tags));
        let start = problem.flatten(&linear, &Steps::zeros(tags), true);
        let solved = minimize(&problem, start, PATIENCE);
        if let Some(error) = problem.failure.lock().ok().and_then(|mut failure| failure.take()) {
            return Err(error);
        }
        let solved = solved.map_err(|error| Error::Probe(format!("a fit of a CRF failed: {error}")))?;
        let (linear, steps) = problem.parts(&solved.best);
        let (loss, search_steps, converged) = (solved.loss, solved.steps, solved.converged);
        Ok(FittedCrf { linear, steps, loss, search_steps, converged })
    }

    /// The best sequence of tags for each text, with each tag's probability among all sequences.
    ///
    /// # Errors
    /// Those of reading features.
    pub fn predict(&self, linear: &LinearModel, steps: &Steps) -> Result<Predictions> {
        let standard = self.words.standard.as_ref();
        let function = standard.map_or_else(|| linear.clone(), |standard| linear.before(standard));
        let (single, factors) = (Single::of(&function), Factors::of(steps));
        let of_chunk = |chunk: &Range<usize>| {
            let mut buffer = Vec::new();
            let scores = single.forward(self.words.features.rows(chunk.clone(), &mut buffer)?);
            let mut predicted = Predictions { classes: steps.tags(), ..Predictions::default() };
            for text in self.texts(chunk) {
                let place = (text.start - chunk.start) * steps.tags()..(text.end - chunk.start) * steps.tags();
                predicted.extend(&decode(&scores[place], steps, &factors));
            }
            Ok(predicted)
        };
        let mut all = Predictions::default();
        let chunks = self.words.chunks.par_iter().map(of_chunk).collect::<Result<Vec<_>>>()?;
        chunks.iter().for_each(|of| all.extend(of));
        Ok(all)
    }

    /// The texts of a chunk.
    fn texts(&self, chunk: &Range<usize>) -> impl Iterator<Item = Range<usize>> {
        let first = self.ends.partition_point(|&end| end <= chunk.start);
        let mut start = chunk.start;
        self.ends[first..].iter().take_while(|&&end| end <= chunk.end).map(move |&end| {
            let text = start..end;
            start = end;
            text
        })
    }

    /// How often each step and each tag occurs.
    fn observed(&self) -> (Steps, Array1<f64>) {
        let tags = self.words.targets.classes();
        let (mut steps, mut frequencies) = (Steps::zeros(self.words.classes), Array1::zeros(self.words.classes));
        for text in self.words.chunks.iter().flat_map(|chunk| self.texts(chunk)) {
            let tags = &tags[text];
            tags.iter().for_each(|&tag| frequencies[tag as usize] += 1.0);
            tags.windows(2).for_each(|pair| steps.between[(pair[0] as usize, pair[1] as usize)] += 1.0);
            if let (Some(&first), Some(&last)) = (tags.first(), tags.last()) {
                steps.start[first as usize] += 1.0;
                steps.end[last as usize] += 1.0;
            }
        }
        (steps, frequencies)
    }

    /// The mean loss of a word and its gradient. `observed` are the steps that occur.
    fn loss_and_gradient(
        &self,
        linear: &LinearModel,
        steps: &Steps,
        observed: &Steps,
    ) -> Result<(f64, LinearModel, Steps)> {
        let (gold, factors, tags) = (self.words.targets.classes(), Factors::of(steps), steps.tags());
        let differentiate = |expected: &mut Steps, _: usize, chunk: &Range<usize>, scores: &mut [f32]| {
            let mut loss = 0.0;
            for text in self.texts(chunk) {
                let scores = &mut scores[(text.start - chunk.start) * tags..(text.end - chunk.start) * tags];
                let found = factors.marginals(scores, Some(expected));
                loss += found.log_sum - steps.score(scores, &gold[text.clone()]);
                scores.iter_mut().zip(&found.tags).for_each(|(slope, &share)| *slope = share as f32);
                for (slopes, &tag) in scores.chunks_exact_mut(tags).zip(&gold[text]) {
                    slopes[tag as usize] -= 1.0;
                }
            }
            loss
        };
        let (loss, gradient, expected) = self.words.sums(linear, || Steps::zeros(tags), differentiate)?;
        let mut of_steps = Steps::zeros(tags);
        for part in &expected {
            of_steps.iter_mut().zip(part.iter()).for_each(|(sum, part)| *sum += part);
        }
        of_steps
            .iter_mut()
            .zip(observed.iter())
            .for_each(|(slope, seen)| *slope = (*slope - seen) / self.words.count as f64);
        Ok((loss, gradient, of_steps))
    }
}

/// The best sequence of tags for scores, (words, tags), with each tag's probability among all sequences.
pub fn decode(scores: &[f32], steps: &Steps, factors: &Factors) -> Predictions {
    let tags = steps.tags();
    let shares = factors.marginals(scores, None).tags;
    let path = chain::best(scores, steps);
    let of = path.iter().zip(shares.chunks_exact(tags)).map(|(&class, shares)| {
        let value = shares[class as usize].min(1.0) as f32;
        Predicted { class, value }
    });
    let logits = shares.iter().map(|share| share.max(f64::MIN_POSITIVE).ln() as f32).collect();
    Predictions { of: of.collect(), logits, classes: tags }
}

/// A linear function with an output for each tag, from one that has a single output for two.
fn of_all_tags(linear: &LinearModel, tags: usize) -> LinearModel {
    if linear.bias.len() == tags {
        return linear.clone();
    }
    let mut both = LinearModel::zeros(tags, linear.weights.ncols());
    for (tag, share) in [-0.5, 0.5].into_iter().enumerate() {
        both.weights.row_mut(tag).scaled_add(share, &linear.weights.row(0));
        both.bias[tag] = share * linear.bias[0];
    }
    both
}

struct CrfProblem<'a> {
    sequences: &'a Sequences<'a>,
    basis: &'a Basis,
    scales: Scales,
    /// The scale of each step's coordinate.
    of_steps: Steps,
    observed: Steps,
    penalty: f64,
    last: Mutex<Option<Evaluated>>,
    failure: Mutex<Option<Error>>,
}

impl CrfProblem<'_> {
    /// Coordinates of a function and steps, or of their gradient.
    fn flatten(&self, linear: &LinearModel, steps: &Steps, is_function: bool) -> Vec<f64> {
        let mut flat = self.scales.flatten(linear, self.basis, is_function);
        let steps = steps.iter().zip(self.of_steps.iter());
        flat.extend(steps.map(|(step, scale)| if is_function { step / scale } else { step * scale }));
        flat
    }

    fn parts(&self, at: &[f64]) -> (LinearModel, Steps) {
        let mut steps = self.of_steps.clone();
        let (of_words, of_steps) = at.split_at(at.len() - steps.iter().count());
        steps.iter_mut().zip(of_steps).for_each(|(scale, value)| *scale *= value);
        (self.scales.linear(of_words, self.basis), steps)
    }

    fn evaluate(&self, at: &[f64]) -> Result<(f64, Vec<f64>)> {
        let (linear, steps) = self.parts(at);
        let (loss, mut gradient, mut of_steps) = self.sequences.loss_and_gradient(&linear, &steps, &self.observed)?;
        let squares = |numbers: &mut dyn Iterator<Item = &f64>| numbers.map(|number| number * number).sum::<f64>();
        let penalty_of_steps = 1.0 / self.sequences.words.count as f64;
        gradient.weights.scaled_add(self.penalty, &linear.weights);
        of_steps.iter_mut().zip(steps.iter()).for_each(|(slope, step)| *slope += penalty_of_steps * step);
        let penalty =
            self.penalty * squares(&mut linear.weights.iter()) + penalty_of_steps * squares(&mut steps.iter());
        Ok((loss + 0.5 * penalty, self.flatten(&gradient, &of_steps, false)))
    }
}

impl CostFunction for &CrfProblem<'_> {
    type Param = Vec<f64>;
    type Output = f64;

    fn cost(&self, at: &Vec<f64>) -> std::result::Result<f64, argmin::core::Error> {
        evaluated(&self.last, &self.failure, at, || self.evaluate(at), |(_, loss, _)| *loss)
    }
}

impl Gradient for &CrfProblem<'_> {
    type Param = Vec<f64>;
    type Gradient = Vec<f64>;

    fn gradient(&self, at: &Vec<f64>) -> std::result::Result<Vec<f64>, argmin::core::Error> {
        evaluated(&self.last, &self.failure, at, || self.evaluate(at), |(.., gradient)| gradient.clone())
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;
    use rand::{RngExt, SeedableRng, rngs::ChaCha8Rng};

    use super::*;
    use crate::probe::features::Features;
    use crate::probe::targets::Targets;

    const COLUMNS: usize = 3;

    /// Texts of tags that come in sixes, which one word alone does not tell, as its vector is noisy.
    fn texts() -> (Features, Targets, Vec<usize>) {
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let (mut numbers, mut tags, mut ends) = (Vec::new(), Vec::new(), Vec::new());
        for text in 0..60 {
            for word in 0..12 + 6 * (text % 3) {
                let tag = (word / 6 + text) % 2;
                tags.push(tag as u32);
                let own = if tag == 1 { 0.5 } else { -0.5 };
                numbers.extend([own + random.random_range(-1.5..1.5), random.random_range(-1.0..1.0), 0.3 * own]);
                let noise: f32 = random.random_range(-1.0..1.0);
                *numbers.last_mut().unwrap() += noise;
            }
            ends.push(tags.len());
        }
        (Features::of(&numbers, COLUMNS), Targets::Classes(tags), ends)
    }

    fn sequences<'a>(features: &'a Features, targets: &'a Targets, ends: &'a [usize]) -> Sequences<'a> {
        let (half, count) = (ends[29], targets.count());
        let chunks = vec![0..half, half..count];
        let words = Examples { features, targets, chunks, standard: None, count, classes: 2, class_weights: None };
        Sequences { words, ends }
    }

    #[test]
    fn the_gradient_is_that_of_the_loss() {
        let (features, targets, ends) = texts();
        let mut sequences = sequences(&features, &targets, &ends);
        sequences.words.standard = Some(features.moments(&[0..100, 100..200]).unwrap().standard());
        let (observed, _) = sequences.observed();
        let mut linear = LinearModel::zeros(2, COLUMNS);
        linear.weights.iter_mut().zip(1..).for_each(|(weight, i)| *weight = f64::from(i % 4) * 0.3 - 0.4);
        linear.bias[1] = 0.2;
        let mut steps = Steps::zeros(2);
        steps.iter_mut().zip(1..).for_each(|(step, i)| *step = f64::from(i % 3) * 0.4 - 0.5);
        let (_, gradient, of_steps) = sequences.loss_and_gradient(&linear, &steps, &observed).unwrap();
        let loss =
            |linear: &LinearModel, steps: &Steps| sequences.loss_and_gradient(linear, steps, &observed).unwrap().0;
        let by = 1e-2; // the scores are float32
        for place in 0..2 * COLUMNS + 2 {
            let at = |by: f64| {
                let mut moved = linear.clone();
                *moved.weights.iter_mut().chain(&mut moved.bias).nth(place).unwrap() += by;
                loss(&moved, &steps)
            };
            let expected = (at(by) - at(-by)) / (2.0 * by);
            let found = *gradient.weights.iter().chain(&gradient.bias).nth(place).unwrap();
            assert!((found - expected).abs() < 2e-4, "{place}: {found} {expected}");
        }
        for place in 0..8 {
            let at = |by: f64| {
                let mut moved = steps.clone();
                *moved.iter_mut().nth(place).unwrap() += by;
                loss(&linear, &moved)
            };
            let expected = (at(by) - at(-by)) / (2.0 * by);
            let found = *of_steps.iter().nth(place).unwrap();
            assert!((found - expected).abs() < 2e-4, "step {place}: {found} {expected}");
        }
    }

    #[test]
    fn what_follows_what_is_learned() {
        let (features, targets, ends) = texts();
        let sequences = sequences(&features, &targets, &ends);
        let basis = Basis::of(&features).unwrap();
        let fitted = sequences.fit(&basis, 1.0, None).unwrap();
        assert!(fitted.converged, "{fitted:?}");
        let steps = &fitted.steps.between;
        assert!(steps[(0, 0)] > steps[(0, 1)] && steps[(1, 1)] > steps[(1, 0)], "{steps}");
        let right = |predicted: &Predictions| {
            predicted.of.iter().zip(targets.classes()).filter(|(of, gold)| of.class == **gold).count()
        };
        let with = sequences.predict(&fitted.linear, &fitted.steps).unwrap();
        let without = sequences.predict(&fitted.linear, &Steps::zeros(2)).unwrap();
        assert!(right(&with) > right(&without) + 50, "{} {}", right(&with), right(&without));
        // From elsewhere to the same place.
        let start = LinearModel { weights: Array2::ones((1, COLUMNS)), bias: Array1::zeros(1) };
        let again = sequences.fit(&basis, 1.0, Some(&start)).unwrap();
        assert!((again.loss - fitted.loss).abs() < 1e-5, "{} {}", again.loss, fitted.loss);
    }
}
