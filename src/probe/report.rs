//! The report: scores by layer with their confidence intervals, and the layers that are as good as the best.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::bootstrap::{self, Drawn};
use super::calibration::Calibration;
use super::evaluate::{Outcome, Setup};
use super::layer_set::LayerSet;
use super::mix::Mix;
use super::predictions::{Predicted, Predictions};
use super::repeats::Repeats;
use super::request::{ClassWeight, ProbeRequest};
use super::scores::{ClassScores, Judged, ScoreName, Scores};
use super::targets::Targets;
use super::task::Task;
use crate::directory::manifest::ModelIdentity;
use crate::error::{Error, Result};
use crate::spec::{Choice, VectorKind};

pub use crate::directory::names::REPORT;
/// The file with the plot.
pub const PLOT: &str = "report.svg";
/// The file with the best layer's prediction for each text.
pub const PREDICTIONS: &str = "predictions.jsonl";
/// The file with the best layer's confusion matrix.
pub const CONFUSION: &str = "confusion.csv";
/// The file with the fitted probes.
pub const HEADS: &str = "heads.safetensors";
/// The version of the report's layout.
pub const FORMAT_VERSION: u32 = 1;

/// The content of `report.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    /// The version of the report's layout.
    pub format_version: u32,
    /// The version of layerwise.
    pub layerwise: String,
    /// The task.
    pub task: Task,
    /// The score by which layers are ranked.
    pub primary: String,
    /// How much the examples of each class count in a fit.
    #[serde(default)]
    pub class_weight: ClassWeight,
    /// The column of the labels.
    pub label: String,
    /// The column of the groups that folds and draws keep together, if texts are in groups.
    #[serde(default)]
    pub group: Option<String>,
    /// The kind of vectors.
    pub emit: VectorKind,
    /// The model that made the vectors.
    pub model: ModelIdentity,
    /// How the vectors were made: the plan of the manifest.
    pub plan: Value,
    /// The directories by role: `train`, `dev`, `test`.
    pub directories: BTreeMap<String, DirectoryOf>,
    /// How many scored texts repeat what is learned from, if texts are not in groups.
    #[serde(default)]
    pub repeats: Option<Repeats>,
    /// `test`, or `cross-validation`.
    pub scored_on: String,
    /// Number of folds; 1 without cross-validation.
    pub folds: usize,
    /// The seed of everything random.
    pub seed: u64,
    /// The strengths to choose from: scikit-learn's C.
    pub strengths: Vec<f64>,
    /// The labels that can be predicted, in the order of the heads' rows.
    pub classes: Vec<String>,
    /// The scores of predicting the most frequent label, or the mean.
    pub baseline: Baseline,
    /// The layers' scores.
    pub layers: Vec<LayerReport>,
    /// The best pair of layers, the best three, and so on, if they were sought.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sets: Vec<LayerReport>,
    /// The scalar mix of all layers.
    pub mix: Option<MixReport>,
    /// The name of the best layer.
    pub best: String,
    /// The name of the layer whose conditional random field is best, if there are any. It is what predicts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crf_best: Option<String>,
    /// The names of the layers whose scores do not differ from the best by more than chance, including the best.
    pub as_good: Vec<String>,
    /// Advice on which layer to use.
    pub advice: String,
}

/// A directory that was used.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DirectoryOf {
    /// Its path.
    pub path: String,
    /// Number of texts with a label.
    pub texts: usize,
    /// Number of texts that were left out, as they have no label.
    #[serde(default)]
    pub unlabelled: u64,
    /// Number of groups that the texts are in.
    #[serde(default)]
    pub groups: Option<usize>,
    /// Number of examples that were fitted on or scored.
    pub examples: usize,
    /// Number of words that were left out, as they have no vector.
    pub without_vector: u64,
}

/// The scores of a prediction that uses no vectors.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Baseline {
    /// The most frequent label of the training texts.
    pub label: Option<String>,
    /// The score by which layers are ranked.
    pub score: f64,
    /// All scores.
    pub scores: Scores,
}

/// The results of one layer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LayerReport {
    /// The name, such as `layer_00`, `concat` or `pooler`.
    pub name: String,
    /// The layer's number, if it is a single layer.
    pub layer: Option<usize>,
    /// The numbers of the layers, if their vectors were learned from side by side.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layers: Option<Vec<usize>>,
    /// The score by which layers are ranked.
    pub score: f64,
    /// The score's 95 % confidence interval.
    pub interval: [f64; 2],
    /// All scores.
    pub scores: Scores,
    /// The score of the control task; for entities it is the accuracy by tag.
    pub control: Option<f64>,
    /// The score less that of the control task; for entities, both are accuracies.
    pub selectivity: Option<f64>,
    /// The strength that the head was fitted with.
    pub strength: f64,
    /// The strengths that were chosen for the folds.
    pub fold_strengths: Vec<f64>,
    /// Mean training loss, including the penalty.
    pub loss: f64,
    /// Number of steps of the fit.
    pub steps: u64,
    /// Whether the fit converged.
    pub converged: bool,
    /// How the probabilities were calibrated, if they were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration: Option<Calibration>,
    /// The scores of each class.
    pub classes: Vec<ClassScores>,
    /// The scores of each type of entity.
    pub entities: Vec<ClassScores>,
    /// The results of a conditional random field on the layer, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crf: Option<CrfReport>,
}

/// The results of a conditional random field.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CrfReport {
    /// The score by which layers are ranked.
    pub score: f64,
    /// The score's 95 % confidence interval.
    pub interval: [f64; 2],
    /// All scores.
    pub scores: Scores,
    /// Mean training loss of a word, including the penalty.
    pub loss: f64,
    /// Number of steps of the fit.
    pub steps: u64,
    /// Whether the fit converged.
    pub converged: bool,
    /// The scores of each class.
    pub classes: Vec<ClassScores>,
    /// The scores of each type of entity.
    pub entities: Vec<ClassScores>,
}

/// The results of the scalar mix.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MixReport {
    /// The weights of the layers and their centre of gravity.
    #[serde(flatten)]
    pub mix: Mix,
    /// The strength of its probe: the median of those of the layers.
    pub strength: f64,
    /// The score by which layers are ranked.
    pub score: f64,
    /// All scores.
    pub scores: Scores,
}

impl LayerReport {
    /// The short name of a layer: `3`, `3+4`, `concat`.
    pub fn label(&self) -> String {
        match (self.layer, &self.layers) {
            (Some(layer), _) => layer.to_string(),
            (None, Some(layers)) => layers.iter().map(usize::to_string).collect::<Vec<_>>().join("+"),
            (None, None) => self.name.clone(),
        }
    }

    /// The name of a layer in a sentence: `layer 3`, `layers 3+4`, `concat`.
    pub fn title(&self) -> String {
        match (self.layer, &self.layers) {
            (Some(_), _) => format!("layer {}", self.label()),
            (None, Some(_)) => format!("layers {}", self.label()),
            (None, None) => self.name.clone(),
        }
    }
}

/// A layer with the score of each bootstrap sample.
#[derive(Debug)]
pub(super) struct ScoredLayer {
    pub(super) report: LayerReport,
    draws: Vec<f64>,
}

impl ScoredLayer {
    /// Scores the predictions of a layer.
    pub(super) fn new(request: &ProbeRequest, setup: &Setup<'_>, set: &LayerSet, outcome: &Outcome) -> Self {
        let scored = setup.scored();
        let judged = setup.judge(&scored.targets, &outcome.predicted);
        let once = vec![1; judged.texts()];
        let draws = bootstrap::draws(scored.labels.drawn(), request.seed, |weights| judged.primary(weights));
        let score = judged.primary(&once);
        let by_entity = setup.score == ScoreName::EntityF1;
        let control = scored.control.as_ref().zip(outcome.control.as_ref()).map(|(gold, predicted)| {
            // Random tags make no entities, so the control task is scored by tag.
            let how = if by_entity {
                (Task::Tagging { scheme: None }, ScoreName::Accuracy)
            } else {
                (setup.task, setup.score)
            };
            let names = &setup.classes.names;
            Judged::new(how, names, scored.labels.starts.clone(), gold, predicted).primary(&once)
        });
        let scores = judged.scores(&once);
        let by_tag = if by_entity { scores.accuracy.unwrap_or(score) } else { score };
        let report = LayerReport {
            name: set.name(),
            layer: set.layer(),
            layers: set.layers(),
            score,
            interval: bootstrap::interval(&draws),
            scores,
            control,
            selectivity: control.map(|control| by_tag - control),
            strength: outcome.strength,
            fold_strengths: outcome.strengths.clone(),
            loss: outcome.fit.loss,
            steps: outcome.fit.steps,
            converged: outcome.fit.converged,
            calibration: outcome.calibration,
            classes: judged.classes(),
            entities: judged.kinds(),
            crf: outcome.crf.as_ref().map(|crf| {
                let judged = setup.judge(&scored.targets, &crf.predicted);
                let draws = bootstrap::draws(scored.labels.drawn(), request.seed, |weights| judged.primary(weights));
                CrfReport {
                    score: judged.primary(&once),
                    interval: bootstrap::interval(&draws),
                    scores: judged.scores(&once),
                    loss: crf.fitted.loss,
                    steps: crf.fitted.search_steps,
                    converged: crf.fitted.converged,
                    classes: judged.classes(),
                    entities: judged.kinds(),
                }
            }),
        };
        Self { report, draws }
    }
}

impl Report {
    /// Ranks layers.
    pub(super) fn new(
        request: &ProbeRequest,
        setup: &Setup<'_>,
        emit: VectorKind,
        layers: Vec<ScoredLayer>,
        sets: Vec<ScoredLayer>,
        mix: Option<(Mix, f64, Scores)>,
        repeats: Option<Repeats>,
    ) -> Self {
        let drawn = setup.scored().labels.drawn();
        let (layers, all_draws): (Vec<LayerReport>, Vec<Vec<f64>>) =
            layers.into_iter().map(|layer| (layer.report, layer.draws)).unzip();
        let best = best(&layers);
        let (baseline, of_baseline) = baseline(setup, request.seed);
        let beats_majority = bootstrap::is_better(&all_draws[best], &of_baseline);
        let as_good: Vec<usize> =
            (0..layers.len()).filter(|&other| !bootstrap::is_better(&all_draws[best], &all_draws[other])).collect();
        let directories = [("train", Some(&setup.train)), ("dev", setup.dev.as_ref()), ("test", setup.test.as_ref())];
        let directories = directories.into_iter().filter_map(|(name, side)| {
            let side = side?;
            let of = DirectoryOf {
                path: side.directory.path.display().to_string(),
                texts: side.labels.texts.len(),
                unlabelled: side.labels.unlabelled,
                groups: side.labels.groups.as_ref().map(|groups| groups.names.len()),
                examples: side.labels.rows.len(),
                without_vector: side.labels.without_vector,
            };
            Some((name.to_owned(), of))
        });
        let mix = mix.map(|(mix, strength, scores)| MixReport {
            mix,
            strength,
            score: setup.score.of(&scores).unwrap_or(0.0),
            scores,
        });
        let mut report = Self {
            format_version: FORMAT_VERSION,
            layerwise: env!("CARGO_PKG_VERSION").to_owned(),
            task: setup.task,
            primary: setup.score.name().to_owned(),
            class_weight: request.class_weight,
            label: request.label.clone(),
            group: request.group.clone(),
            emit,
            model: setup.train.directory.model.clone(),
            plan: setup.train.directory.recipe(),
            directories: directories.collect(),
            repeats,
            scored_on: if setup.test.is_some() { "test" } else { "cross-validation" }.to_owned(),
            folds: setup.folds.ranges.len(),
            seed: request.seed,
            strengths: setup.strengths.clone(),
            classes: setup.classes.names[..setup.classes.known].to_vec(),
            baseline,
            best: layers[best].name.clone(),
            crf_best: best_crf(&layers).map(|layer| layer.name.clone()),
            as_good: as_good.iter().map(|&layer| layers[layer].name.clone()).collect(),
            layers,
            sets: sets.into_iter().map(|set| set.report).collect(),
            mix,
            advice: String::new(),
        };
        report.advice = advice(&report, beats_majority, drawn);
        report
    }

    /// The layer whose head predicts: the best one, or the one with the best conditional random field.
    pub fn predicting_layer(&self) -> Option<&LayerReport> {
        let name = self.crf_best.as_ref().unwrap_or(&self.best);
        self.layers.iter().find(|layer| layer.name == *name)
    }

    /// The best layer.
    pub fn best_layer(&self) -> Option<&LayerReport> {
        self.layers.iter().find(|layer| layer.name == self.best)
    }

    /// The content of `report.json`.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be serialized.
    pub fn to_json(&self) -> Result<String> {
        let text = serde_json::to_string_pretty(self).map_err(|error| Error::stdout(error.into()))?;
        Ok(text + "\n")
    }
}

/// The layer whose conditional random field has the highest score; of equal ones, the first.
fn best_crf(layers: &[LayerReport]) -> Option<&LayerReport> {
    let score = |layer: &LayerReport| layer.crf.as_ref().map(|crf| crf.score);
    let with = layers.iter().filter(|layer| layer.crf.is_some());
    with.reduce(|best, layer| if score(layer) > score(best) { layer } else { best })
}

/// The index of the highest score; of equal ones, the first.
fn best(layers: &[LayerReport]) -> usize {
    (0..layers.len()).fold(0, |best, layer| if layers[layer].score > layers[best].score { layer } else { best })
}

/// The baseline, with its score on each bootstrap sample.
fn baseline(setup: &Setup<'_>, seed: u64) -> (Baseline, Vec<f64>) {
    let scored = setup.scored();
    let (label, guess, logits) = match &setup.train.targets {
        Targets::Numbers(numbers) => {
            let mean = numbers.iter().sum::<f64>() / numbers.len() as f64;
            (None, Predicted { class: 0, value: mean as f32 }, Vec::new())
        }
        Targets::Classes(classes) => {
            let mut counts = vec![0_u64; setup.classes.known];
            classes.iter().for_each(|&class| counts[class as usize] += 1);
            let class =
                (0..counts.len()).fold(0, |best, class| if counts[class] > counts[best] { class } else { best });
            // As sure as the classes are frequent.
            let logits = counts.iter().map(|&count| (count as f64).ln() as f32).collect();
            let value = (counts[class] as f64 / classes.len() as f64) as f32;
            (Some(setup.classes.names[class].clone()), Predicted { class: class as u32, value }, logits)
        }
    };
    let predicted = Predictions::constant(guess, &logits, scored.targets.count());
    let judged = setup.judge(&scored.targets, &predicted);
    let once = vec![1; judged.texts()];
    let draws = bootstrap::draws(scored.labels.drawn(), seed, |weights| judged.primary(weights));
    (Baseline { label, score: judged.primary(&once), scores: judged.scores(&once) }, draws)
}

/// Advice on which layer to use, which others are as good, and what stopping there costs.
fn advice(report: &Report, beats_majority: bool, drawn: Drawn<'_>) -> String {
    /// Number of texts, or of groups, from which on confidence intervals are meaningful.
    const ENOUGH: usize = 20;
    let num_hidden_layers = report.model.num_hidden_layers;
    let Some(best) = report.best_layer() else { return String::new() };
    let mut text = format!("Best: {}, {} {:.3}.", best.title(), score_name(&report.primary), best.score);
    let (count, what) = drawn.groups.map_or((drawn.texts, "texts"), |(_, groups)| (groups, "groups"));
    if count < ENOUGH {
        text += &format!(" Scored on {count} {what}, which is too few for intervals and comparisons to mean much.");
    }
    if let Some((layer, crf)) = report.crf_best.as_ref().and_then(|name| {
        let layer = report.layers.iter().find(|layer| layer.name == *name)?;
        Some((layer, layer.crf.as_ref()?))
    }) {
        text += &format!(" With a CRF: {}, {:.3}.", layer.title(), crf.score);
    }
    if !beats_majority {
        text += " No layer is better than the majority beyond what chance explains.";
    }
    let others: Vec<String> = report
        .layers
        .iter()
        .filter(|layer| layer.name != best.name && report.as_good.contains(&layer.name))
        .map(LayerReport::label)
        .collect();
    match &others[..] {
        [] if report.layers.len() > 1 => text += " No other layer is as good.",
        [] => {}
        [one] => text += &format!(" As good, within what chance explains: {one}."),
        all => text += &format!(" As good, within what chance explains: {}.", all.join(", ")),
    }
    let lowest = report
        .layers
        .iter()
        .filter(|layer| report.as_good.contains(&layer.name))
        .filter_map(|layer| Some((layer.layer?, layer)))
        .min_by_key(|(number, _)| *number);
    if let Some((lowest, layer)) = lowest
        && num_hidden_layers > 0
    {
        let for_what = if layer.name == best.name {
            String::new()
        } else {
            format!(", for {:.3} instead of {:.3}", layer.score, best.score)
        };
        text += &match lowest {
            0 => format!(" Layer 0 needs none of the {num_hidden_layers} encoder layers{for_what}: extract with -l 0."),
            all if all == num_hidden_layers => format!(" It needs all {all} encoder layers."),
            layer => format!(
                " To stop at layer {layer} takes {layer} of {num_hidden_layers} encoder layers, {:.0} % of the work{for_what}: extract with -l {layer}.",
                100.0 * layer as f64 / num_hidden_layers as f64
            ),
        };
    }
    text
}

/// The name of a score for human readers.
pub fn score_name(primary: &str) -> &str {
    match ScoreName::from_name(primary) {
        Some(score) => score.title(),
        None => primary,
    }
}
