//! Scores: accuracy, F1 by class and by entity, R², with what a text contributes to each kept apart for the bootstrap.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::entities::{self, Scheme};
use super::linear::Predicted;
use super::targets::Targets;
use super::task::Task;

/// Scores of predictions. Shares are between 0 and 1.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// Share of examples with the right label.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<f64>,
    /// Mean of the F1 scores of the classes that occur in the labels or in the predictions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub macro_f1: Option<f64>,
    /// Share of the predicted entities that are right.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entity_precision: Option<f64>,
    /// Share of the labelled entities that are found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entity_recall: Option<f64>,
    /// Harmonic mean of entity precision and recall.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entity_f1: Option<f64>,
    /// Coefficient of determination: 1 minus the ratio of squared error to variance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub r2: Option<f64>,
    /// Mean absolute error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mean_absolute_error: Option<f64>,
    /// Pearson's correlation coefficient.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pearson: Option<f64>,
}

/// The scores of one class or one type of entity.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassScores {
    /// The name of the class or type.
    pub name: String,
    /// Share of the predicted ones that are right.
    pub precision: f64,
    /// Share of the labelled ones that are found.
    pub recall: f64,
    /// Harmonic mean of precision and recall.
    pub f1: f64,
    /// Number of labelled ones.
    pub support: u64,
}

/// Numbers of right, labelled and predicted ones.
pub type FoundEntities = [u64; 3];

fn class_scores(name: &str, [right, present, predicted]: FoundEntities) -> ClassScores {
    let share = |of: u64| if of == 0 { 0.0 } else { right as f64 / of as f64 };
    ClassScores {
        name: name.to_owned(),
        precision: share(predicted),
        recall: share(present),
        f1: f1([right, present, predicted]),
        support: present,
    }
}

/// The F1 score; 0 if there is nothing to find.
pub fn f1([right, present, predicted]: FoundEntities) -> f64 {
    if present + predicted == 0 { 0.0 } else { 2.0 * right as f64 / (present + predicted) as f64 }
}

/// Predictions and labels, text by text.
pub struct Judged<'a> {
    /// The task.
    pub task: Task,
    /// The names of the classes.
    pub names: &'a [String],
    /// Examples of text i are `starts[i]..starts[i + 1]`.
    pub starts: Vec<usize>,
    /// The labels.
    pub gold: &'a Targets,
    /// The predictions.
    pub predicted: &'a [Predicted],
    /// For each text and type of entity, the numbers of right, labelled and predicted ones.
    entities: Vec<Vec<(usize, [u32; 3])>>,
    /// The types of entities.
    kinds: Vec<String>,
}

impl<'a> Judged<'a> {
    /// Pairs predictions with labels, in the same order.
    pub fn new(
        task: Task,
        names: &'a [String],
        starts: Vec<usize>,
        gold: &'a Targets,
        predicted: &'a [Predicted],
    ) -> Self {
        let mut judged = Self { task, names, starts, gold, predicted, entities: Vec::new(), kinds: Vec::new() };
        if let (Some(scheme), Targets::Classes(gold)) = (task.scheme(), gold) {
            judged.find_entities(scheme, gold);
        }
        judged
    }

    fn find_entities(&mut self, scheme: Scheme, gold: &[u32]) {
        let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
        for ends in self.starts.windows(2) {
            let name = |class: u32| self.names[class as usize].as_str();
            let gold: Vec<&str> = gold[ends[0]..ends[1]].iter().map(|&class| name(class)).collect();
            let predicted: Vec<&str> = self.predicted[ends[0]..ends[1]].iter().map(|of| name(of.class)).collect();
            let found = entities::compare(&scheme.entities(&gold), &scheme.entities(&predicted));
            let numbered = found.into_iter().map(|(kind, counts)| {
                let next = kinds.len();
                (*kinds.entry(kind.to_owned()).or_insert(next), counts)
            });
            let numbered = numbered.collect();
            self.entities.push(numbered);
        }
        self.kinds = vec![String::new(); kinds.len()];
        kinds.into_iter().for_each(|(kind, number)| self.kinds[number] = kind);
    }

    /// Number of texts.
    pub fn texts(&self) -> usize {
        self.starts.len() - 1
    }

    /// The scores if text `i` counts `weights[i]` times.
    pub fn scores(&self, weights: &[u32]) -> Scores {
        match self.gold {
            Targets::Numbers(numbers) => self.regression(numbers, weights),
            Targets::Classes(gold) => {
                let found = self.by_class(gold, weights);
                let right: u64 = found.iter().map(|found| found[0]).sum();
                let all: u64 = found.iter().map(|found| found[1]).sum();
                let seen = found.iter().filter(|found| found[1] + found[2] > 0);
                let (count, sum) = seen.fold((0, 0.0), |(count, sum), &found| (count + 1, sum + f1(found)));
                let mut scores = Scores {
                    accuracy: Some(right as f64 / all.max(1) as f64),
                    macro_f1: Some(sum / f64::from(count.max(1))),
                    ..Scores::default()
                };
                if self.task.scheme().is_some() {
                    let all = self
                        .by_kind(weights)
                        .into_iter()
                        .fold([0; 3], |sum, of| [sum[0] + of[0], sum[1] + of[1], sum[2] + of[2]]);
                    let of = class_scores("", all);
                    scores.entity_precision = Some(of.precision);
                    scores.entity_recall = Some(of.recall);
                    scores.entity_f1 = Some(of.f1);
                }
                scores
            }
        }
    }

    /// The score by which layers are ranked, if text `i` counts `weights[i]` times.
    pub fn primary(&self, weights: &[u32]) -> f64 {
        if self.task.scheme().is_some() {
            let all = self
                .by_kind(weights)
                .into_iter()
                .fold([0; 3], |sum, of| [sum[0] + of[0], sum[1] + of[1], sum[2] + of[2]]);
            return f1(all);
        }
        match self.gold {
            Targets::Classes(gold) => {
                let (mut right, mut all) = (0, 0);
                for (text, ends) in self.starts.windows(2).enumerate() {
                    let same = (ends[0]..ends[1]).filter(|&i| self.predicted[i].class == gold[i]).count() as u64;
                    right += same * u64::from(weights[text]);
                    all += (ends[1] - ends[0]) as u64 * u64::from(weights[text]);
                }
                right as f64 / all.max(1) as f64
            }
            Targets::Numbers(numbers) => self.regression(numbers, weights).r2.unwrap_or(0.0),
        }
    }

    /// The scores of each class that occurs in the labels or in the predictions, by name.
    pub fn classes(&self) -> Vec<ClassScores> {
        let Targets::Classes(gold) = self.gold else { return Vec::new() };
        let found = self.by_class(gold, &vec![1; self.texts()]);
        let seen = found.into_iter().enumerate().filter(|(_, found)| found[1] + found[2] > 0);
        seen.map(|(class, found)| class_scores(&self.names[class], found)).collect()
    }

    /// The scores of each type of entity.
    pub fn kinds(&self) -> Vec<ClassScores> {
        let found = self.by_kind(&vec![1; self.texts()]);
        let mut scores: Vec<_> = self.kinds.iter().zip(found).map(|(kind, found)| class_scores(kind, found)).collect();
        scores.sort_by(|a, b| a.name.cmp(&b.name));
        scores
    }

    /// The confusion matrix, (labels, predictions), by class.
    pub fn confusion(&self) -> Vec<Vec<u64>> {
        let Targets::Classes(gold) = self.gold else { return Vec::new() };
        let mut counts = vec![vec![0; self.names.len()]; self.names.len()];
        for (&gold, predicted) in gold.iter().zip(self.predicted) {
            counts[gold as usize][predicted.class as usize] += 1;
        }
        counts
    }

    fn by_class(&self, gold: &[u32], weights: &[u32]) -> Vec<FoundEntities> {
        let mut found = vec![[0; 3]; self.names.len()];
        for (ends, &weight) in self.starts.windows(2).zip(weights) {
            let weight = u64::from(weight);
            for example in ends[0]..ends[1] {
                let (gold, predicted) = (gold[example] as usize, self.predicted[example].class as usize);
                found[gold][1] += weight;
                found[predicted][2] += weight;
                found[gold][0] += if gold == predicted { weight } else { 0 };
            }
        }
        found
    }

    fn by_kind(&self, weights: &[u32]) -> Vec<FoundEntities> {
        let mut found = vec![[0; 3]; self.kinds.len()];
        for (text, &weight) in self.entities.iter().zip(weights) {
            for (kind, counts) in text {
                found[*kind]
                    .iter_mut()
                    .zip(counts)
                    .for_each(|(sum, &count)| *sum += u64::from(weight) * u64::from(count));
            }
        }
        found
    }

    fn regression(&self, numbers: &[f64], weights: &[u32]) -> Scores {
        let pairs = || {
            self.starts.windows(2).zip(weights).flat_map(|(ends, &weight)| {
                (ends[0]..ends[1]).map(move |i| (numbers[i], f64::from(self.predicted[i].value), f64::from(weight)))
            })
        };
        let count: f64 = pairs().map(|(.., weight)| weight).sum();
        let mean = |of: &dyn Fn(f64, f64) -> f64| {
            pairs().map(|(gold, guess, weight)| of(gold, guess) * weight).sum::<f64>() / count.max(1.0)
        };
        let (gold_mean, guess_mean) = (mean(&|gold, _| gold), mean(&|_, guess| guess));
        let gold_variance = mean(&|gold, _| (gold - gold_mean).powi(2));
        let guess_variance = mean(&|_, guess| (guess - guess_mean).powi(2));
        let covariance = mean(&|gold, guess| (gold - gold_mean) * (guess - guess_mean));
        let error = mean(&|gold, guess| (gold - guess).powi(2));
        let both = (gold_variance * guess_variance).sqrt();
        Scores {
            r2: Some(if gold_variance > 0.0 { 1.0 - error / gold_variance } else { 0.0 }),
            mean_absolute_error: Some(mean(&|gold, guess| (gold - guess).abs())),
            pearson: Some(if both > 0.0 { covariance / both } else { 0.0 }),
            ..Scores::default()
        }
    }
}
