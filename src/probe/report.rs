//! The report: scores by layer with their intervals, what is as good as the best, and files.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::bootstrap;
use super::evaluate::{Outcome, Setup};
use super::linear::Predicted;
use super::mix::Mix;
use super::request::ProbeRequest;
use super::scores::{ClassScores, Judged, Scores};
use super::targets::Targets;
use super::task::Task;
use crate::directory::manifest::ModelIdentity;
use crate::error::{Error, Result};
use crate::plan::{ArrayPlan, Slot};
use crate::spec::VectorKind;

/// The report itself.
pub const REPORT: &str = "report.json";
/// The plot.
pub const PLOT: &str = "report.svg";
/// What was predicted for each text, by the best layer.
pub const PREDICTIONS: &str = "predictions.jsonl";
/// How often each label was taken for each, by the best layer.
pub const CONFUSION: &str = "confusion.csv";
/// The fitted probes.
pub const HEADS: &str = "heads.safetensors";
/// The version of the report's layout.
pub const FORMAT_VERSION: u32 = 1;

/// What `report.json` says.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    /// Of the layout.
    pub format_version: u32,
    /// The program's version.
    pub layerwise: String,
    /// What was learned.
    pub task: Task,
    /// The score that layers are judged by.
    pub primary: String,
    /// The column of the labels.
    pub label: String,
    /// The kind of vectors.
    pub emit: VectorKind,
    /// The model that made the vectors.
    pub model: ModelIdentity,
    /// How it made them: the plan of the manifest.
    pub plan: Value,
    /// Learned from, chosen on, scored on.
    pub directories: BTreeMap<String, DirectoryOf>,
    /// `test`, or `cross-validation`.
    pub scored_on: String,
    /// Folds of cross-validation; 1 where there was none.
    pub folds: usize,
    /// Of everything random.
    pub seed: u64,
    /// Strengths to choose from: C as scikit-learn has it.
    pub strengths: Vec<f64>,
    /// The labels that can be predicted, in the order of the heads' rows.
    pub classes: Vec<String>,
    /// What predicting the most frequent label, or the mean, scores.
    pub baseline: Baseline,
    /// By layer.
    pub layers: Vec<LayerReport>,
    /// All layers together.
    pub mix: Option<MixReport>,
    /// The name of the best layer.
    pub best: String,
    /// Names of the layers that are as good as the best, within what chance explains; the best is one.
    pub as_good: Vec<String>,
    /// What follows.
    pub advice: String,
}

/// A directory of a report.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DirectoryOf {
    /// Where it was.
    pub path: String,
    /// Texts.
    pub texts: usize,
    /// Labels learned from or scored.
    pub examples: usize,
    /// Words left out, as they have no vector.
    pub without_vector: u64,
}

/// What needs no vectors.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Baseline {
    /// The most frequent label of the training texts.
    pub label: Option<String>,
    /// What it scores.
    pub score: f64,
    /// All scores.
    pub scores: Scores,
}

/// One layer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LayerReport {
    /// `layer_00`, `concat`, `pooler`.
    pub name: String,
    /// The layer's number, where it is one.
    pub layer: Option<usize>,
    /// The score that layers are judged by.
    pub score: f64,
    /// Its 95 % interval.
    pub interval: [f64; 2],
    /// All scores.
    pub scores: Scores,
    /// What the control task scores; accuracy by tag where the score is by entity.
    pub control: Option<f64>,
    /// Score less control; for entities, accuracy less control.
    pub selectivity: Option<f64>,
    /// Strength of the head.
    pub strength: f64,
    /// Strengths chosen for the folds.
    pub fold_strengths: Vec<f64>,
    /// Mean training loss with its penalty.
    pub loss: f64,
    /// Steps of the fit.
    pub steps: u64,
    /// Whether it came to its end.
    pub converged: bool,
    /// By class.
    pub classes: Vec<ClassScores>,
    /// By type of entity.
    pub entities: Vec<ClassScores>,
}

/// The scalar mix.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MixReport {
    /// Weights of the layers and where they balance.
    #[serde(flatten)]
    pub mix: Mix,
    /// Strength of its probe: the median of the layers'.
    pub strength: f64,
    /// The score that layers are judged by.
    pub score: f64,
    /// All scores.
    pub scores: Scores,
}

impl LayerReport {
    /// As short as it can be said: `3`, `concat`.
    pub fn label(&self) -> String {
        self.layer.map_or_else(|| self.name.clone(), |layer| layer.to_string())
    }
}

impl Report {
    /// Judges all layers.
    ///
    /// # Errors
    /// None yet; scores are of what is there.
    pub(super) fn new(
        request: &ProbeRequest,
        setup: &Setup<'_>,
        arrays: &[ArrayPlan],
        outcomes: &[Outcome],
        mix: Option<(Mix, f64, Scores)>,
    ) -> Result<Self> {
        let scored = setup.scored();
        let mut layers = Vec::new();
        let mut all_draws = Vec::new();
        for (array, outcome) in arrays.iter().zip(outcomes) {
            let judged = setup.judge(&scored.targets, &outcome.predicted);
            let once = vec![1; judged.texts()];
            let draws = bootstrap::draws(judged.texts(), request.seed, |weights| judged.primary(weights));
            let score = judged.primary(&once);
            let control = scored.control.as_ref().zip(outcome.control.as_ref()).map(|(gold, predicted)| {
                // Tags at random make no entities, so it is by tag there.
                let task =
                    if let Task::Tagging { .. } = setup.task { Task::Tagging { scheme: None } } else { setup.task };
                let names = &setup.classes.names;
                Judged::new(task, names, scored.labels.starts.clone(), gold, predicted).primary(&once)
            });
            let scores = judged.scores(&once);
            let by_tag = setup.task.scheme().and(scores.accuracy).unwrap_or(score);
            layers.push(LayerReport {
                name: array.name(),
                layer: if let Slot::Layer(layer) = array.slot { Some(layer) } else { None },
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
                classes: judged.classes(),
                entities: judged.kinds(),
            });
            all_draws.push(draws);
        }
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
                examples: side.labels.rows.len(),
                without_vector: side.labels.without_vector,
            };
            Some((name.to_owned(), of))
        });
        let mix = mix.map(|(mix, strength, scores)| MixReport {
            mix,
            strength,
            score: primary_of(setup.task, &scores),
            scores,
        });
        let mut report = Self {
            format_version: FORMAT_VERSION,
            layerwise: env!("CARGO_PKG_VERSION").to_owned(),
            task: setup.task,
            primary: setup.task.primary().to_owned(),
            label: request.label.clone(),
            emit: arrays[0].kind,
            model: setup.train.directory.model.clone(),
            plan: setup.train.directory.recipe(),
            directories: directories.collect(),
            scored_on: if setup.test.is_some() { "test" } else { "cross-validation" }.to_owned(),
            folds: setup.folds.ranges.len(),
            seed: request.seed,
            strengths: setup.strengths.clone(),
            classes: setup.classes.names[..setup.classes.known].to_vec(),
            baseline,
            best: layers[best].name.clone(),
            as_good: as_good.iter().map(|&layer| layers[layer].name.clone()).collect(),
            layers,
            mix,
            advice: String::new(),
        };
        report.advice = advice(&report, beats_majority, scored.labels.texts.len());
        Ok(report)
    }

    /// The best layer.
    pub fn best_layer(&self) -> Option<&LayerReport> {
        self.layers.iter().find(|layer| layer.name == self.best)
    }

    /// As `report.json` has it.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be spelled.
    pub fn to_json(&self) -> Result<String> {
        let text = serde_json::to_string_pretty(self).map_err(|error| Error::stdout(error.into()))?;
        Ok(text + "\n")
    }
}

/// The score that layers are judged by.
fn primary_of(task: Task, scores: &Scores) -> f64 {
    match task {
        Task::Tagging { scheme: Some(_) } => scores.entity_f1,
        Task::Regression => scores.r2,
        _ => scores.accuracy,
    }
    .unwrap_or(0.0)
}

/// The first with the highest score.
fn best(layers: &[LayerReport]) -> usize {
    (0..layers.len()).fold(0, |best, layer| if layers[layer].score > layers[best].score { layer } else { best })
}

/// With its score on each draw of texts.
fn baseline(setup: &Setup<'_>, seed: u64) -> (Baseline, Vec<f64>) {
    let scored = setup.scored();
    let (label, guess) = match &setup.train.targets {
        Targets::Numbers(numbers) => {
            let mean = numbers.iter().sum::<f64>() / numbers.len() as f64;
            (None, Predicted { class: 0, value: mean as f32 })
        }
        Targets::Classes(classes) => {
            let mut counts = vec![0_u64; setup.classes.known];
            classes.iter().for_each(|&class| counts[class as usize] += 1);
            let class =
                (0..counts.len()).fold(0, |best, class| if counts[class] > counts[best] { class } else { best });
            (Some(setup.classes.names[class].clone()), Predicted { class: class as u32, value: 1.0 })
        }
    };
    let predicted = vec![guess; scored.targets.count()];
    let judged = setup.judge(&scored.targets, &predicted);
    let once = vec![1; judged.texts()];
    let draws = bootstrap::draws(judged.texts(), seed, |weights| judged.primary(weights));
    (Baseline { label, score: judged.primary(&once), scores: judged.scores(&once) }, draws)
}

/// Which layer, which others are as good, and what it costs to stop there.
fn advice(report: &Report, beats_majority: bool, texts: usize) -> String {
    /// Texts that make intervals worth looking at.
    const ENOUGH: usize = 20;
    let num_hidden_layers = report.model.num_hidden_layers;
    let Some(best) = report.best_layer() else { return String::new() };
    let name = |layer: &LayerReport| layer.layer.map_or_else(|| layer.name.clone(), |layer| format!("layer {layer}"));
    let mut text = format!("Best: {}, {} {:.3}.", name(best), score_name(&report.primary), best.score);
    if texts < ENOUGH {
        text += &format!(" Scored on {texts} texts, which is too few for intervals and comparisons to mean much.");
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

/// A score's name for people.
pub fn score_name(primary: &str) -> &str {
    match primary {
        "entity_f1" => "entity F1",
        "r2" => "R²",
        other => other,
    }
}
