//! Evaluates one layer: chooses the strength, fits a probe, and predicts texts that it was not fitted on.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::time::Instant;

use rayon::prelude::*;

use super::basis::Basis;
use super::calibration::{self, Calibration};
use super::control::Control;
use super::crf::{FittedCrf, Sequences};
use super::features::{Features, Moments, Standard};
use super::fit::{Fit, fit, fit_nearly, head};
use super::folds::Folds;
use super::labels::{LabelledTexts, check_rows};
use super::layer_set::LayerSet;
use super::linear::LinearModel;
use super::objective::Examples;
use super::predictions::Predictions;
use super::scores::{Judged, ScoreName};
use super::targets::{Targets, balanced};
use super::task::{Classes, Task};
use crate::directory::stored::Directory;
use crate::error::Result;
use crate::plan::ArrayPlan;

/// Number of strengths worse than the best so far that ends a search. Equal ones do not count, as strongly regularized
/// probes all predict the most frequent class.
const PATIENCE: usize = 2;

/// A directory with its labels.
#[derive(Debug)]
pub struct Side<'a> {
    /// The directory with the vectors.
    pub directory: &'a Directory,
    /// The labels.
    pub labels: &'a LabelledTexts,
    /// The labels as numbers, by example.
    pub targets: Targets,
    /// The labels of the control task, if it is wanted.
    pub control: Option<Targets>,
}

impl<'a> Side<'a> {
    /// A directory with control labels, if the control task is wanted. `which` distinguishes the roles of directories.
    pub fn new(
        directory: &'a Directory,
        labels: &'a LabelledTexts,
        targets: Targets,
        control: Option<&Control>,
        which: &str,
    ) -> Self {
        Self { directory, labels, targets, control: control.map(|control| control.labels(labels, which)) }
    }
}

/// The settings that all layers share.
#[derive(Debug)]
pub struct Setup<'a> {
    /// The task.
    pub task: Task,
    /// The score by which layers and strengths are chosen.
    pub score: ScoreName,
    /// Whether all classes count the same in a fit, however many examples they have.
    pub is_balanced: bool,
    /// Whether probabilities are calibrated.
    pub calibrates: bool,
    /// Whether a conditional random field is fitted as well.
    pub crf: bool,
    /// The label map.
    pub classes: &'a Classes,
    /// The texts that are fitted on.
    pub train: Side<'a>,
    /// The texts that strengths are chosen on, if there are any.
    pub dev: Option<Side<'a>>,
    /// The texts that are scored; without them, the training texts are scored by cross-validation.
    pub test: Option<Side<'a>>,
    /// The folds of the training texts.
    pub folds: Folds,
    /// The strengths to choose from, ascending.
    pub strengths: Vec<f64>,
    /// Bytes of vectors that may be held in memory.
    pub budget: u64,
}

/// A conditional random field and what it predicts.
#[derive(Debug)]
pub struct CrfOutcome {
    /// The predictions of all examples of the texts that are scored, in order.
    pub predicted: Predictions,
    /// The field that was fitted on all training texts.
    pub fitted: FittedCrf,
    /// Its scores of tags for vectors as they are stored in directories.
    pub head: LinearModel,
}

/// The results of one layer.
#[derive(Debug)]
pub struct Outcome {
    /// The predictions of all examples of the texts that are scored, in order.
    pub predicted: Predictions,
    /// The predictions of the control task.
    pub control: Option<Predictions>,
    /// The temperature that the probabilities were calibrated with, if they were.
    pub calibration: Option<Calibration>,
    /// The strength of the head; with cross-validation the median of those chosen for the folds.
    pub strength: f64,
    /// The strengths chosen for the folds.
    pub strengths: Vec<f64>,
    /// The probe that was fitted on all training texts.
    pub fit: Fit,
    /// The same probe for vectors as they are stored in directories.
    pub head: LinearModel,
    /// The conditional random field, if there is one.
    pub crf: Option<CrfOutcome>,
    /// The standardization of the vectors.
    pub standard: Standard,
    /// Time that the layer took, in seconds.
    pub seconds: f64,
}

impl Setup<'_> {
    /// The texts that are scored, with their labels.
    pub fn scored(&self) -> &Side<'_> {
        self.test.as_ref().unwrap_or(&self.train)
    }

    /// Pairs predictions with labels.
    pub fn judge<'a>(&'a self, gold: &'a Targets, predicted: &'a Predictions) -> Judged<'a> {
        Judged::new((self.task, self.score), &self.classes.names, self.scored().labels.starts.clone(), gold, predicted)
    }

    /// The vectors of a side, in the order of its folds; those of several arrays side by side.
    pub fn load(
        &self,
        side: &Side<'_>,
        arrays: &[ArrayPlan],
        order: &[u32],
        standard: Option<&Standard>,
        budget: u64,
    ) -> Result<Features> {
        let arrays = arrays.iter().map(|array| side.directory.array(array)).collect::<Result<Vec<_>>>()?;
        arrays.iter().try_for_each(|array| check_rows(side.directory, side.labels, array))?;
        let rows = order.iter().map(|&example| side.labels.rows[example as usize]).collect();
        Features::load(arrays, rows, standard, budget)
    }

    /// Evaluates one layer, or several together; `in_full` with the control task and whatever else is asked for.
    ///
    /// # Errors
    /// Those of reading features.
    pub fn evaluate(&self, set: &LayerSet, in_full: bool) -> Result<Outcome> {
        let array = set.arrays();
        let begun = Instant::now();
        let features = self.load(&self.train, array, &self.folds.order, None, self.budget)?;
        let basis = Basis::of(&features)?;
        let all: Vec<usize> = (0..self.folds.ranges.len()).collect();
        let moments = all.iter().map(|&fold| features.moments(&self.folds.chunks(|of| of == fold)));
        let training = Training {
            setup: self,
            features: &features,
            basis: &basis,
            moments: moments.collect::<Result<_>>()?,
            targets: self.train.targets.select(&self.folds.order),
            control: self.train.control.as_ref().filter(|_| in_full).map(|control| control.select(&self.folds.order)),
        };
        let other = |side: &Side<'_>| -> Result<(Features, Folds)> {
            let folds = Folds::one(&side.labels.starts);
            let budget = self.budget.saturating_sub(features.bytes_held());
            Ok((self.load(side, array, &folds.order, Some(features.standard()), budget)?, folds))
        };
        let on_dev = match &self.dev {
            Some(dev) => Some(training.choose_on(dev, other(dev)?)?),
            None => None,
        };
        let needs_logits = self.score.of_probabilities();
        let (strengths, predicted, control) = if let Some(test) = &self.test {
            let strength = match on_dev {
                Some(strength) => strength,
                None => training.choose(&[vec![]])?[0],
            };
            (vec![strength], None, Some((test, other(test)?)))
        } else {
            let outer: Vec<Vec<usize>> = all.iter().map(|&fold| vec![fold]).collect();
            let strengths = match on_dev {
                Some(strength) => vec![strength; outer.len()],
                None => training.choose(&outer)?,
            };
            let predicted = training.predict_folds(&training.targets, &strengths, true)?;
            let of_control = |control: &Targets| training.predict_folds(control, &strengths, needs_logits);
            let control = training.control.as_ref().map(of_control).transpose()?;
            (strengths, Some((predicted, control)), None)
        };
        let strength = median(&strengths);
        let fitted = training.fit(&training.targets, &[], strength)?;
        let (mut predicted, control) = match (predicted, control) {
            (Some(both), _) => both,
            (None, Some((test, (features, folds)))) => {
                let sample = self.sample_of(&features, &test.targets, &folds);
                let control = match &training.control {
                    Some(control) => Some(sample.predict(&training.fit(control, &[], strength)?.linear, needs_logits)?),
                    None => None,
                };
                (sample.predict(&fitted.linear, true)?, control)
            }
            (None, None) => (Predictions::default(), None),
        };
        let mut head = head(&fitted.linear, features.standard(), self.classes.known);
        let calibration = match self.calibrates {
            true => Some(self.calibrate(&training, &fitted, &mut predicted, other)?),
            false => None,
        };
        if let Some(calibration) = &calibration {
            head.weights /= calibration.temperature;
            head.bias /= calibration.temperature;
        }
        let crf = if self.crf && in_full { Some(self.fit_crf(&training, &fitted, &strengths, other)?) } else { None };
        Ok(Outcome {
            crf,
            predicted,
            control,
            strength,
            strengths,
            calibration,
            head,
            fit: fitted,
            standard: features.standard().clone(),
            seconds: begun.elapsed().as_secs_f64(),
        })
    }

    /// Calibrates predictions on texts that were neither learned from nor scored: those of the development directory, or
    /// the training texts by cross-validation.
    fn calibrate(
        &self,
        training: &Training<'_>,
        fitted: &Fit,
        predicted: &mut Predictions,
        load: impl Fn(&Side<'_>) -> Result<(Features, Folds)>,
    ) -> Result<Calibration> {
        let expected_calibration_error_before = predicted.calibration_error(self.scored().targets.classes());
        let temperature = match (&self.dev, &self.test) {
            (Some(dev), _) => {
                let (features, folds) = load(dev)?;
                let on_dev = self.sample_of(&features, &dev.targets, &folds).predict(&fitted.linear, true)?;
                on_dev.temperature(dev.targets.classes())
            }
            (None, Some(_)) => {
                let strengths = vec![fitted.strength; self.folds.ranges.len()];
                training.predict_folds(&training.targets, &strengths, true)?.temperature(self.train.targets.classes())
            }
            (None, None) => {
                let gold = self.train.targets.classes();
                let temperature = calibration::across_folds(predicted, gold, &self.folds);
                return Ok(Calibration { temperature, expected_calibration_error_before });
            }
        };
        predicted.cool(temperature);
        Ok(Calibration { temperature, expected_calibration_error_before })
    }

    /// Fits a conditional random field at the strengths of the head, and predicts as the head did.
    fn fit_crf(
        &self,
        training: &Training<'_>,
        fitted: &Fit,
        strengths: &[f64],
        load: impl Fn(&Side<'_>) -> Result<(Features, Folds)>,
    ) -> Result<CrfOutcome> {
        let ends = self.folds.text_ends();
        let crf = training.sequences(&[], &ends).fit(training.basis, fitted.strength, Some(&fitted.linear))?;
        let predicted = if let Some(test) = &self.test {
            let (features, folds) = load(test)?;
            let words =
                Examples { chunks: folds.text_chunks(|_| true), ..self.sample_of(&features, &test.targets, &folds) };
            Sequences { words, ends: &folds.text_ends() }.predict(&crf.linear, &crf.steps)?
        } else {
            let folds = strengths.par_iter().enumerate().map(|(fold, &strength)| {
                let mut sequences = training.sequences(&[fold], &ends);
                let fitted = sequences.fit(training.basis, strength, None)?;
                sequences.words.chunks = self.folds.text_chunks(|of| of == fold);
                sequences.predict(&fitted.linear, &fitted.steps)
            });
            self.in_order(&folds.collect::<Result<Vec<_>>>()?)
        };
        let head = crf.linear.before(training.features.standard());
        Ok(CrfOutcome { predicted, fitted: crf, head })
    }

    /// Predictions of all folds in the order of the examples.
    fn in_order(&self, folds: &[Predictions]) -> Predictions {
        let order = &self.folds.order;
        let with_logits = folds.iter().any(|of| !of.logits.is_empty());
        let mut predicted = Predictions::blank(order.len(), self.classes.known, with_logits);
        for (range, of) in self.folds.ranges.iter().zip(folds) {
            predicted.put(&order[range.clone()], of);
        }
        predicted
    }

    fn sample_of<'s>(&self, features: &'s Features, targets: &'s Targets, folds: &Folds) -> Examples<'s> {
        let chunks = folds.chunks(|_| true);
        let (count, classes) = (features.examples(), self.classes.known);
        Examples { features, targets, chunks, standard: None, count, classes, class_weights: None }
    }
}

/// The training texts of one layer.
struct Training<'a> {
    setup: &'a Setup<'a>,
    features: &'a Features,
    basis: &'a Basis,
    /// The moments of each fold.
    moments: Vec<Moments>,
    /// The targets, in the order of the folds.
    targets: Targets,
    control: Option<Targets>,
}

impl Training<'_> {
    /// The examples of all folds except `without`.
    fn sample<'s>(&'s self, targets: &'s Targets, without: &[usize]) -> Examples<'s> {
        let folds = &self.setup.folds;
        let wanted = |fold: usize| !without.contains(&fold);
        let standard = (!without.is_empty()).then(|| {
            let moments = self.moments.iter().enumerate().filter(|(fold, _)| wanted(*fold));
            moments.fold(Moments::new(self.features.columns()), |sum, (_, moments)| sum.plus(moments)).standard()
        });
        let (chunks, count) = (folds.chunks(wanted), folds.count(wanted));
        let classes = self.setup.classes.known;
        let class_weights = if self.setup.is_balanced { balanced(targets, &chunks, classes) } else { None };
        Examples { features: self.features, targets, chunks, standard, count, classes, class_weights }
    }

    /// The texts of all folds except `without`, as sequences. `ends` are where texts end in the order of the folds.
    fn sequences<'s>(&'s self, without: &[usize], ends: &'s [usize]) -> Sequences<'s> {
        let chunks = self.setup.folds.text_chunks(|fold| !without.contains(&fold));
        Sequences { words: Examples { chunks, ..self.sample(&self.targets, without) }, ends }
    }

    fn fit(&self, targets: &Targets, without: &[usize], strength: f64) -> Result<Fit> {
        fit(&self.sample(targets, without), self.basis, strength)
    }

    fn fit_nearly(&self, without: &[usize], strength: f64, start: Option<&Fit>) -> Result<Fit> {
        fit_nearly(&self.sample(&self.targets, without), self.basis, strength, start.map(|fit| &fit.linear))
    }

    /// The predictions for `fold` by a probe that was fitted without some folds.
    fn predict(&self, fitted: &Fit, without: &[usize], fold: usize, with_logits: bool) -> Result<Predictions> {
        let mut sample = self.sample(&self.targets, without);
        sample.chunks = self.setup.folds.chunks(|of| of == fold);
        sample.predict(&fitted.linear, with_logits)
    }

    /// For each set of folds to leave out, the strength that is best in cross-validation on the other folds.
    ///
    /// A fit without folds f and g serves both to score g when f is left out and to score f when g is.
    fn choose(&self, left_out: &[Vec<usize>]) -> Result<Vec<f64>> {
        let strengths = &self.setup.strengths;
        if strengths.len() == 1 {
            return Ok(vec![strengths[0]; left_out.len()]);
        }
        let folds = 0..self.setup.folds.ranges.len();
        let with = |set: &[usize], fold: usize| {
            let mut both = [set, &[fold]].concat();
            both.sort_unstable();
            both
        };
        let inner = |set: &[usize]| folds.clone().filter(|fold| !set.contains(fold)).collect::<Vec<_>>();
        let mut fits: BTreeMap<Vec<usize>, Option<Fit>> = BTreeMap::new();
        for set in left_out {
            inner(set).into_iter().for_each(|fold| drop(fits.insert(with(set, fold), None)));
        }
        let needs_logits = self.setup.score.of_probabilities();
        let mut search = Search::new(left_out.len());
        for &strength in strengths {
            let fitted = fits
                .par_iter()
                .map(|(without, last)| Ok((without.clone(), Some(self.fit_nearly(without, strength, last.as_ref())?))));
            fits = fitted.collect::<Result<_>>()?;
            let scores = left_out.par_iter().map(|set| {
                let mut predicted = Predictions::default();
                for fold in inner(set) {
                    let without = with(set, fold);
                    if let Some(Some(fitted)) = fits.get(&without) {
                        predicted.extend(&self.predict(fitted, &without, fold, needs_logits)?);
                    }
                }
                Ok(self.score(&inner(set), &predicted))
            });
            if search.is_over(strength, &scores.collect::<Result<Vec<f64>>>()?) {
                break;
            }
        }
        Ok(search.best())
    }

    /// The score of predictions for some folds.
    fn score(&self, folds: &[usize], predicted: &Predictions) -> f64 {
        let own = &self.setup.folds;
        let examples: Vec<u32> =
            folds.iter().flat_map(|&fold| own.ranges[fold].clone()).map(|place| place as u32).collect();
        let gold = self.targets.select(&examples);
        let judged = Judged::new(
            (self.setup.task, self.setup.score),
            &self.setup.classes.names,
            own.starts(folds.iter().copied()),
            &gold,
            predicted,
        );
        judged.primary(&vec![1; judged.texts()])
    }

    /// The strength with the best score on other texts.
    fn choose_on(&self, dev: &Side<'_>, (features, folds): (Features, Folds)) -> Result<f64> {
        let strengths = &self.setup.strengths;
        let sample = self.setup.sample_of(&features, &dev.targets, &folds);
        let (mut search, mut last): (_, Option<Fit>) = (Search::new(1), None);
        for &strength in strengths {
            if strengths.len() == 1 {
                return Ok(strength);
            }
            let fitted = self.fit_nearly(&[], strength, last.as_ref())?;
            let predicted = sample.predict(&fitted.linear, self.setup.score.of_probabilities())?;
            let (setup, starts) = (self.setup, dev.labels.starts.clone());
            let judged = Judged::new((setup.task, setup.score), &setup.classes.names, starts, &dev.targets, &predicted);
            if search.is_over(strength, &[judged.primary(&vec![1; judged.texts()])]) {
                break;
            }
            last = Some(fitted);
        }
        Ok(search.best()[0])
    }

    /// Predictions for each fold by a probe that was not fitted on it, with one strength for each fold, in the order of the
    /// examples.
    fn predict_folds(&self, targets: &Targets, strengths: &[f64], with_logits: bool) -> Result<Predictions> {
        let folds = strengths.par_iter().enumerate().map(|(fold, &strength)| {
            let fitted = self.fit(targets, &[fold], strength)?;
            self.predict(&fitted, &[fold], fold, with_logits)
        });
        Ok(self.setup.in_order(&folds.collect::<Result<Vec<_>>>()?))
    }
}

/// A search for the best strengths, from the strongest regularization to the weakest.
struct Search {
    /// Score and strength of the best so far, and the number of worse ones since.
    best: Vec<(f64, f64, usize)>,
}

impl Search {
    fn new(searches: usize) -> Self {
        Self { best: vec![(f64::NEG_INFINITY, 1.0, 0); searches] }
    }

    /// Takes the scores at a strength. Of equal scores, the one with the stronger regularization counts as better.
    fn is_over(&mut self, strength: f64, scores: &[f64]) -> bool {
        for (best, &score) in self.best.iter_mut().zip(scores) {
            *best = match score.total_cmp(&best.0) {
                Ordering::Greater => (score, strength, 0),
                Ordering::Equal => *best,
                Ordering::Less => (best.0, best.1, best.2 + 1),
            };
        }
        self.best.iter().all(|best| best.2 >= PATIENCE)
    }

    fn best(&self) -> Vec<f64> {
        self.best.iter().map(|best| best.1).collect()
    }
}

/// The median; of an even number of values, the lower one of the two in the middle.
pub(super) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[(sorted.len() - 1) / 2]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(scores: &[f64]) -> (f64, usize) {
        let mut search = Search::new(1);
        let ended = (0..scores.len()).find(|&i| search.is_over(i as f64, &scores[i..=i]));
        (search.best()[0], ended.map_or(scores.len(), |last| last + 1))
    }

    #[test]
    fn a_search_ends_when_it_gets_worse_and_not_before() {
        assert_eq!(search(&[0.9, 0.9, 0.9, 0.9, 0.95, 0.94, 0.93, 0.99]), (4.0, 7), "strict ones that say the same");
        assert_eq!(search(&[0.5, 0.7, 0.6, 0.7, 0.6, 0.8]), (1.0, 5), "the stricter of equals");
        assert_eq!(search(&[0.0, 0.0, 0.0]), (0.0, 3));
    }
}
