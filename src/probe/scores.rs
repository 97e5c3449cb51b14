//! Scores: accuracy, F1 by class and by entity, areas under curves, R², with what a text contributes to each kept apart
//! for the bootstrap.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::entities::{self, Scheme};
use super::predictions::Predictions;
use super::targets::Targets;
use super::task::Task;
use super::{ranking, temperature};
use crate::spec::choices;

choices! {
    /// A score by which layers and strengths can be chosen. Names are scikit-learn's, or those of the report.
    pub enum ScoreName {
        /// Share of examples with the right label
        Accuracy = "accuracy",
        /// Mean recall of the labelled classes
        BalancedAccuracy = "balanced_accuracy",
        /// Mean F1 of the classes
        MacroF1 = "macro_f1",
        /// Matthews correlation coefficient
        Matthews = "matthews_corrcoef",
        /// Area under the ROC curve of a class against the rest, mean of the classes
        RocAuc = "roc_auc",
        /// Average precision of a class against the rest, mean of the classes
        AveragePrecision = "average_precision",
        /// Mean logarithm of the label's probability
        NegLogLoss = "neg_log_loss",
        /// F1 of whole entities
        EntityF1 = "entity_f1",
        /// Coefficient of determination
        R2 = "r2",
        /// Spearman's rank correlation
        Spearman = "spearman",
        /// Pearson's correlation
        Pearson = "pearson",
        /// Mean absolute error, negated
        NegMeanAbsoluteError = "neg_mean_absolute_error",
    }
}

/// Other names by which scikit-learn and seqeval know a score.
pub const ALIASES: [(&str, ScoreName); 3] =
    [("f1_macro", ScoreName::MacroF1), ("roc_auc_ovr", ScoreName::RocAuc), ("f1", ScoreName::EntityF1)];

impl ScoreName {
    /// The scores that a task has; the first is the one by which it is ranked unless another is asked for.
    pub fn of_task(task: Task) -> Vec<Self> {
        let of_classes = [
            Self::Accuracy,
            Self::BalancedAccuracy,
            Self::MacroF1,
            Self::Matthews,
            Self::RocAuc,
            Self::AveragePrecision,
            Self::NegLogLoss,
        ];
        match task {
            Task::Regression => vec![Self::R2, Self::Spearman, Self::Pearson, Self::NegMeanAbsoluteError],
            Task::Tagging { scheme: Some(_) } => [&[Self::EntityF1], &of_classes[..]].concat(),
            _ => of_classes.to_vec(),
        }
    }

    /// Whether the score needs the probabilities of all classes.
    pub fn of_probabilities(self) -> bool {
        matches!(self, Self::RocAuc | Self::AveragePrecision | Self::NegLogLoss)
    }

    /// The name for human readers, short enough for the head of a column.
    pub fn title(self) -> &'static str {
        match self {
            Self::BalancedAccuracy => "balanced",
            Self::MacroF1 => "macro F1",
            Self::Matthews => "Matthews",
            Self::RocAuc => "AUROC",
            Self::AveragePrecision => "av. prec.",
            Self::NegLogLoss => "-log loss",
            Self::EntityF1 => "entity F1",
            Self::R2 => "R²",
            Self::Spearman => "Spearman",
            Self::Pearson => "Pearson",
            Self::NegMeanAbsoluteError => "-abs. err",
            Self::Accuracy => "accuracy",
        }
    }

    /// The score among all scores.
    pub fn of(self, scores: &Scores) -> Option<f64> {
        match self {
            Self::Accuracy => scores.accuracy,
            Self::BalancedAccuracy => scores.balanced_accuracy,
            Self::MacroF1 => scores.macro_f1,
            Self::Matthews => scores.matthews_corrcoef,
            Self::RocAuc => scores.roc_auc,
            Self::AveragePrecision => scores.average_precision,
            Self::NegLogLoss => scores.neg_log_loss,
            Self::EntityF1 => scores.entity_f1,
            Self::R2 => scores.r2,
            Self::Spearman => scores.spearman,
            Self::Pearson => scores.pearson,
            Self::NegMeanAbsoluteError => scores.mean_absolute_error.map(|error| -error),
        }
    }
}

/// Scores of predictions. Shares are between 0 and 1.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// Share of examples with the right label.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<f64>,
    /// Mean of the F1 scores of the classes that occur in the labels or in the predictions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub macro_f1: Option<f64>,
    /// Mean recall of the classes that occur in the labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub balanced_accuracy: Option<f64>,
    /// Matthews correlation coefficient, for several classes as Gorodkin (2004) has it; 0 where all labels or all
    /// predictions are of one class.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub matthews_corrcoef: Option<f64>,
    /// Mean area under the ROC curve of each class against the rest, over the classes that were learned of which there are
    /// labels and others; 0.5 if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub roc_auc: Option<f64>,
    /// Mean average precision of each class against the rest, over the classes that were learned and occur in the labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub average_precision: Option<f64>,
    /// Mean logarithm of the probability of the label, which is at least 2⁻⁵².
    #[serde(skip_serializing_if = "Option::is_none")]
    pub neg_log_loss: Option<f64>,
    /// Difference between the probability of predictions and the share of right ones, in 15 bins of equal width.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected_calibration_error: Option<f64>,
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
    /// Spearman's rank correlation coefficient.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spearman: Option<f64>,
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
    /// Area under the ROC curve of the class against the rest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roc_auc: Option<f64>,
    /// Average precision of the class against the rest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub average_precision: Option<f64>,
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
        roc_auc: None,
        average_precision: None,
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
    /// The score by which layers are ranked.
    pub score: ScoreName,
    /// The names of the classes.
    pub names: &'a [String],
    /// Examples of text i are `starts[i]..starts[i + 1]`.
    pub starts: Vec<usize>,
    /// The labels.
    pub gold: &'a Targets,
    /// The predictions.
    pub predicted: &'a Predictions,
    /// For each text and type of entity, the numbers of right, labelled and predicted ones.
    entities: Vec<Vec<(usize, [u32; 3])>>,
    /// The types of entities.
    kinds: Vec<String>,
    /// Made when it is first needed.
    orders: OnceLock<Orders>,
}

/// Examples by ascending number, for scores that are of an order.
#[derive(Default)]
struct Orders {
    /// The probability of each class, (classes, examples).
    probabilities: Vec<Vec<f32>>,
    /// For each class, the examples by its probability.
    by_class: Vec<Vec<u32>>,
    /// The examples by their label and by the prediction, for numbers.
    by_number: Option<(Vec<u32>, Vec<u32>)>,
}

impl Orders {
    fn of(gold: &Targets, predicted: &Predictions) -> Self {
        let (examples, classes) = (predicted.count(), predicted.classes);
        if let Targets::Numbers(numbers) = gold {
            let by_label = ranking::sorted(examples, |i| numbers[i as usize]);
            let by_prediction = ranking::sorted(examples, |i| f64::from(predicted.of[i as usize].value));
            return Self { by_number: Some((by_label, by_prediction)), ..Self::default() };
        }
        if predicted.logits.is_empty() {
            return Self::default();
        }
        let all = predicted.probabilities();
        let of_class = |class: usize| -> (Vec<f32>, Vec<u32>) {
            let of: Vec<f32> = all.iter().skip(class).step_by(classes).copied().collect();
            let order = ranking::sorted(examples, |i| f64::from(of[i as usize]));
            (of, order)
        };
        let (probabilities, by_class) = (0..classes).into_par_iter().map(of_class).unzip();
        Self { probabilities, by_class, by_number: None }
    }
}

impl<'a> Judged<'a> {
    /// Pairs predictions with labels, in the same order.
    pub fn new(
        (task, score): (Task, ScoreName),
        names: &'a [String],
        starts: Vec<usize>,
        gold: &'a Targets,
        predicted: &'a Predictions,
    ) -> Self {
        let (entities, kinds, orders) = (Vec::new(), Vec::new(), OnceLock::new());
        let mut judged = Self { task, score, names, starts, gold, predicted, entities, kinds, orders };
        if let (Some(scheme), Targets::Classes(gold)) = (task.scheme(), gold) {
            judged.find_entities(scheme, gold);
        }
        if matches!(score, ScoreName::RocAuc | ScoreName::AveragePrecision | ScoreName::Spearman) {
            // Before the threads of the bootstrap want it, all at once.
            judged.orders();
        }
        judged
    }

    fn orders(&self) -> &Orders {
        self.orders.get_or_init(|| Orders::of(self.gold, self.predicted))
    }

    fn find_entities(&mut self, scheme: Scheme, gold: &[u32]) {
        let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
        for ends in self.starts.windows(2) {
            let name = |class: u32| self.names[class as usize].as_str();
            let gold: Vec<&str> = gold[ends[0]..ends[1]].iter().map(|&class| name(class)).collect();
            let predicted: Vec<&str> = self.predicted.of[ends[0]..ends[1]].iter().map(|of| name(of.class)).collect();
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
        let Targets::Classes(gold) = self.gold else {
            return Scores { spearman: Some(self.spearman(weights)), ..self.regression(weights) };
        };
        let mut scores = self.of_confusion(&self.by_class(gold, weights));
        if self.task.scheme().is_some() {
            let of = class_scores("", self.all_kinds(weights));
            scores.entity_precision = Some(of.precision);
            scores.entity_recall = Some(of.recall);
            scores.entity_f1 = Some(of.f1);
        }
        let weight = self.by_example(weights);
        let sure = self.predicted.of.iter().zip(gold).zip(&weight);
        let sure = sure.map(|((of, &gold), &weight)| (of.value, of.class == gold, weight));
        scores.expected_calibration_error = Some(temperature::expected_calibration_error(sure));
        if !self.predicted.logits.is_empty() {
            scores.neg_log_loss = Some(self.neg_log_loss(gold, weights));
            scores.roc_auc = Some(mean(self.areas(gold, weights).into_iter().flatten(), 0.5));
            scores.average_precision = Some(mean(self.precisions(gold, weights).into_iter().flatten(), 0.0));
        }
        scores
    }

    /// The score by which layers are ranked, if text `i` counts `weights[i]` times.
    pub fn primary(&self, weights: &[u32]) -> f64 {
        let Targets::Classes(gold) = self.gold else {
            return match self.score {
                ScoreName::Spearman => self.spearman(weights),
                score => score.of(&self.regression(weights)).unwrap_or(0.0),
            };
        };
        match self.score {
            ScoreName::EntityF1 => f1(self.all_kinds(weights)),
            ScoreName::NegLogLoss => self.neg_log_loss(gold, weights),
            ScoreName::RocAuc => mean(self.areas(gold, weights).into_iter().flatten(), 0.5),
            ScoreName::AveragePrecision => mean(self.precisions(gold, weights).into_iter().flatten(), 0.0),
            ScoreName::Accuracy => {
                let (mut right, mut all) = (0, 0);
                for (text, ends) in self.starts.windows(2).enumerate() {
                    let same = (ends[0]..ends[1]).filter(|&i| self.predicted.of[i].class == gold[i]).count() as u64;
                    right += same * u64::from(weights[text]);
                    all += (ends[1] - ends[0]) as u64 * u64::from(weights[text]);
                }
                right as f64 / all.max(1) as f64
            }
            score => score.of(&self.of_confusion(&self.by_class(gold, weights))).unwrap_or(0.0),
        }
    }

    /// The scores that follow from the numbers of right, labelled and predicted examples of each class.
    fn of_confusion(&self, found: &[FoundEntities]) -> Scores {
        let sum = |of: &dyn Fn(&FoundEntities) -> f64| found.iter().map(of).sum::<f64>();
        let (right, all) = (sum(&|found| found[0] as f64), sum(&|found| found[1] as f64));
        let seen = found.iter().filter(|found| found[1] + found[2] > 0);
        let recalls = found.iter().filter(|found| found[1] > 0).map(|found| found[0] as f64 / found[1] as f64);
        let (labelled, predicted) = (sum(&|found| (found[1] as f64).powi(2)), sum(&|found| (found[2] as f64).powi(2)));
        let both = ((all * all - labelled) * (all * all - predicted)).sqrt();
        let covariance = right * all - sum(&|found| found[1] as f64 * found[2] as f64);
        Scores {
            accuracy: Some(right / all.max(1.0)),
            macro_f1: Some(mean(seen.map(|&found| f1(found)), 0.0)),
            balanced_accuracy: Some(mean(recalls, 0.0)),
            matthews_corrcoef: Some(if both > 0.0 { covariance / both } else { 0.0 }),
            ..Scores::default()
        }
    }

    /// The mean logarithm of the label's probability.
    fn neg_log_loss(&self, gold: &[u32], weights: &[u32]) -> f64 {
        let classes = self.predicted.classes.max(1);
        let weight = self.by_example(weights);
        let (mut sum, mut all) = (0.0, 0.0);
        for ((logits, &gold), weight) in self.predicted.logits.chunks_exact(classes).zip(gold).zip(weight) {
            if weight > 0.0 {
                let largest = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
                let own = logits.get(gold as usize).map_or(f64::NEG_INFINITY, |&own| f64::from(own) - largest);
                let shares: f64 = logits.iter().map(|&logit| (f64::from(logit) - largest).exp()).sum();
                sum += weight * (own - shares.ln()).max(f64::EPSILON.ln());
                all += weight;
            }
        }
        if all > 0.0 { sum / all } else { 0.0 }
    }

    /// The area under the ROC curve of each class that was learned.
    fn areas(&self, gold: &[u32], weights: &[u32]) -> Vec<Option<f64>> {
        let weight = self.by_example(weights);
        let classes = self.orders().by_class.iter().zip(&self.orders().probabilities).zip(0..);
        let area = |((order, of), class): ((&Vec<u32>, &Vec<f32>), u32)| {
            ranking::roc_auc(order, |i| of[i as usize], |i| gold[i as usize] == class, |i| weight[i as usize])
        };
        classes.map(area).collect()
    }

    /// The average precision of each class that was learned.
    fn precisions(&self, gold: &[u32], weights: &[u32]) -> Vec<Option<f64>> {
        let weight = self.by_example(weights);
        let classes = self.orders().by_class.iter().zip(&self.orders().probabilities).zip(0..);
        let precision = |((order, of), class): ((&Vec<u32>, &Vec<f32>), u32)| {
            ranking::average_precision(order, |i| of[i as usize], |i| gold[i as usize] == class, |i| weight[i as usize])
        };
        classes.map(precision).collect()
    }

    fn spearman(&self, weights: &[u32]) -> f64 {
        let (Targets::Numbers(numbers), Some((by_label, by_prediction))) = (self.gold, &self.orders().by_number) else {
            return 0.0;
        };
        let weight = self.by_example(weights);
        ranking::spearman(
            (by_label, |i| numbers[i as usize]),
            (by_prediction, |i| f64::from(self.predicted.of[i as usize].value)),
            |i| weight[i as usize],
        )
    }

    /// The number of times that each example counts.
    fn by_example(&self, weights: &[u32]) -> Vec<f64> {
        let texts = self.starts.windows(2).zip(weights);
        texts.flat_map(|(ends, &weight)| std::iter::repeat_n(f64::from(weight), ends[1] - ends[0])).collect()
    }

    /// The scores of each class that occurs in the labels or in the predictions, by name.
    pub fn classes(&self) -> Vec<ClassScores> {
        let Targets::Classes(gold) = self.gold else { return Vec::new() };
        let found = self.by_class(gold, &vec![1; self.texts()]);
        let once = vec![1; self.texts()];
        let (areas, precisions) = (self.areas(gold, &once), self.precisions(gold, &once));
        let seen = found.into_iter().enumerate().filter(|(_, found)| found[1] + found[2] > 0);
        let scores = seen.map(|(class, found)| {
            let of = |numbers: &[Option<f64>]| numbers.get(class).copied().flatten();
            let (roc_auc, average_precision) = (of(&areas), of(&precisions));
            ClassScores { roc_auc, average_precision, ..class_scores(&self.names[class], found) }
        });
        scores.collect()
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
        for (&gold, predicted) in gold.iter().zip(&self.predicted.of) {
            counts[gold as usize][predicted.class as usize] += 1;
        }
        counts
    }

    fn by_class(&self, gold: &[u32], weights: &[u32]) -> Vec<FoundEntities> {
        let mut found = vec![[0; 3]; self.names.len()];
        for (ends, &weight) in self.starts.windows(2).zip(weights) {
            let weight = u64::from(weight);
            for example in ends[0]..ends[1] {
                let (gold, predicted) = (gold[example] as usize, self.predicted.of[example].class as usize);
                found[gold][1] += weight;
                found[predicted][2] += weight;
                found[gold][0] += if gold == predicted { weight } else { 0 };
            }
        }
        found
    }

    /// The numbers of entities of all types together.
    fn all_kinds(&self, weights: &[u32]) -> FoundEntities {
        let all = self.by_kind(weights).into_iter();
        all.fold([0; 3], |sum, of| [sum[0] + of[0], sum[1] + of[1], sum[2] + of[2]])
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

    fn regression(&self, weights: &[u32]) -> Scores {
        let Targets::Numbers(numbers) = self.gold else { return Scores::default() };
        let pairs = || {
            self.starts.windows(2).zip(weights).flat_map(|(ends, &weight)| {
                (ends[0]..ends[1]).map(move |i| (numbers[i], f64::from(self.predicted.of[i].value), f64::from(weight)))
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

/// The mean of some numbers, or `otherwise` if there are none.
fn mean(numbers: impl Iterator<Item = f64>, otherwise: f64) -> f64 {
    let (count, sum) = numbers.fold((0, 0.0), |(count, sum), number| (count + 1, sum + number));
    if count == 0 { otherwise } else { sum / f64::from(count) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NAMES: [&str; 3] = ["a", "b", "c"];

    fn names() -> Vec<String> {
        NAMES.map(str::to_owned).to_vec()
    }

    /// Predictions by the probabilities of three classes.
    fn predictions(probabilities: &[[f32; 3]]) -> Predictions {
        let logits: Vec<f32> = probabilities.iter().flatten().map(|share| share.ln()).collect();
        Predictions::of_scores(&logits, 3, true)
    }

    fn close(found: Option<f64>, expected: f64) {
        assert!(found.is_some_and(|found| (found - expected).abs() < 1e-6), "{found:?} {expected}");
    }

    #[test]
    fn by_hand() {
        let names = names();
        let gold = Targets::Classes(vec![0, 0, 0, 1, 1, 2]);
        let predicted = predictions(&[
            [0.5, 0.3, 0.2],
            [0.6, 0.2, 0.2],
            [0.2, 0.5, 0.3],
            [0.1, 0.8, 0.1],
            [0.4, 0.35, 0.25],
            [0.1, 0.2, 0.7],
        ]);
        let starts = (0..=6).collect();
        let judged = Judged::new((Task::Classification, ScoreName::Matthews), &names, starts, &gold, &predicted);
        let scores = judged.scores(&[1; 6]);
        close(scores.accuracy, 4.0 / 6.0);
        close(scores.balanced_accuracy, (2.0 / 3.0 + 0.5 + 1.0) / 3.0);
        close(scores.macro_f1, (2.0 / 3.0 + 0.5 + 1.0) / 3.0);
        // 4 of 6 right, 3, 2, 1 of each class labelled and predicted: (4 · 6 - 14) / (36 - 14).
        close(scores.matthews_corrcoef, 10.0 / 22.0);
        close(Some(judged.primary(&[1; 6])), 10.0 / 22.0);
        let log = [0.5_f64, 0.6, 0.2, 0.8, 0.35, 0.7].iter().map(|share| share.ln()).sum::<f64>();
        close(scores.neg_log_loss, log / 6.0);
        // Class a: 0.5 0.6 0.2 against 0.1 0.4 0.1, 8 of 9 pairs. b: 0.8 0.35 against 0.3 0.2 0.5 0.2, 7 of 8. c: all.
        close(scores.roc_auc, (8.0 / 9.0 + 7.0 / 8.0 + 1.0) / 3.0);
        // a: 1, 1, and the third at 3 of 4. b: 1, and the second at 2 of 3.
        close(scores.average_precision, ((1.0 + 1.0 + 0.75) / 3.0 + (1.0 + 2.0 / 3.0) / 2.0 + 1.0) / 3.0);
        let classes = judged.classes();
        close(classes[0].roc_auc, 8.0 / 9.0);
        close(classes[1].average_precision, (1.0 + 2.0 / 3.0) / 2.0);
        // The last text alone: nothing is known of a curve without examples of both kinds.
        let scores = judged.scores(&[0, 0, 0, 0, 0, 1]);
        close(scores.roc_auc, 0.5);
        close(scores.matthews_corrcoef, 0.0);
        close(scores.neg_log_loss, 0.7_f64.ln());
    }

    #[test]
    fn a_class_that_was_not_learned_has_no_probability() {
        let (names, gold) = ([names(), vec!["d".to_owned()]].concat(), Targets::Classes(vec![0, 3]));
        let predicted = predictions(&[[0.8, 0.1, 0.1], [0.8, 0.1, 0.1]]);
        let how = (Task::Classification, ScoreName::NegLogLoss);
        let judged = Judged::new(how, &names, vec![0, 1, 2], &gold, &predicted);
        close(Some(judged.primary(&[1, 1])), 0.5 * (0.8_f64.ln() + f64::EPSILON.ln()));
        close(judged.scores(&[1, 1]).balanced_accuracy, 0.5);
        assert_eq!(judged.classes().last().map(|class| (class.name.as_str(), class.roc_auc)), Some(("d", None)));
    }

    #[test]
    fn every_score_has_its_name_and_a_task() {
        for task in [Task::Classification, Task::Tagging { scheme: Some(Scheme::Iob2) }, Task::Regression] {
            let names = names();
            let (gold, predicted) = if task == Task::Regression {
                (Targets::Numbers(vec![1.0, 2.0, 4.0]), Predictions::of_scores(&[1.0, 3.0, 3.5], 0, true))
            } else {
                let sure = [[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.3, 0.4, 0.3]];
                (Targets::Classes(vec![0, 1, 2]), predictions(&sure))
            };
            for score in ScoreName::of_task(task) {
                let judged = Judged::new((task, score), &names, vec![0, 2, 3], &gold, &predicted);
                let all = judged.scores(&[1, 2]);
                close(score.of(&all), judged.primary(&[1, 2]));
            }
        }
    }

    proptest! {
        /// A text that counts twice is two texts.
        #[test]
        fn weights_repeat(
            texts in prop::collection::vec((0_u32..3, prop::array::uniform3(0.05_f32..1.0), 0_u32..3), 1..20)
        ) {
            let names = names();
            let of = |texts: &[(u32, [f32; 3], u32)]| {
                let gold = Targets::Classes(texts.iter().map(|text| text.0).collect());
                (gold, predictions(&texts.iter().map(|text| text.1).collect::<Vec<_>>()))
            };
            let weights: Vec<u32> = texts.iter().map(|text| text.2).collect();
            prop_assume!(weights.iter().sum::<u32>() > 0);
            let repeated: Vec<_> = texts.iter().flat_map(|text| vec![*text; text.2 as usize]).collect();
            let ((gold, predicted), (gold_of, predicted_of)) = (of(&texts), of(&repeated));
            let how = (Task::Classification, ScoreName::RocAuc);
            let judged = Judged::new(how, &names, (0..=texts.len()).collect(), &gold, &predicted);
            let plain = Judged::new(how, &names, (0..=repeated.len()).collect(), &gold_of, &predicted_of);
            let (found, expected) = (judged.scores(&weights), plain.scores(&vec![1; repeated.len()]));
            for score in ScoreName::of_task(Task::Classification) {
                let (found, expected) = (score.of(&found).unwrap(), score.of(&expected).unwrap());
                prop_assert!((found - expected).abs() < 1e-9, "{score}: {found} {expected}");
            }
        }
    }
}
