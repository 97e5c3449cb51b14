//! The settings of a probe.

use std::path::PathBuf;

use super::labels::TaskChoice;
use super::layer_set::ProbedLayers;
use super::scores::ScoreName;
use crate::spec::{VectorKind, choices};

choices! {
    /// How much the examples of each class count in a fit.
    pub enum ClassWeight {
        /// All examples the same
        Same = "none",
        /// All classes the same, however many examples they have
        Balanced = "balanced",
    } default Same
}

/// What to learn, from which directories, and how. The default learns the column `label` by cross-validation.
#[derive(Debug, Clone, PartialEq)]
pub struct ProbeRequest {
    /// The directory to fit on.
    pub train: PathBuf,
    /// A directory to choose the regularization strength on; by default it is chosen by cross-validation.
    pub dev: Option<PathBuf>,
    /// A directory to score on; by default scores come from cross-validation.
    pub test: Option<PathBuf>,
    /// The kind of vectors. By default, the first kind of text vectors in `train` for labels of texts, and word vectors
    /// otherwise.
    pub kind: Option<VectorKind>,
    /// The layers, and sets of them; by default all layers of `train`, one by one.
    pub layers: Option<ProbedLayers>,
    /// The size of the largest set of layers that is sought, layer by layer, for the best score; 1 for none.
    pub best_set: usize,
    /// The column of the label.
    pub label: String,
    /// The column of the group that a text belongs to, such as its author. Folds and the bootstrap take whole groups; by
    /// default each text is by itself.
    pub group: Option<String>,
    /// The task; by default it follows from the labels.
    pub task: TaskChoice,
    /// The score by which layers and strengths are chosen; by default the first that the task has.
    pub score: Option<ScoreName>,
    /// How much the examples of each class count in a fit.
    pub class_weight: ClassWeight,
    /// Whether tags are also predicted as sequences, by a conditional random field on each layer.
    pub crf: bool,
    /// Whether the probabilities of classes are calibrated.
    pub calibrate: bool,
    /// The regularization strengths to choose from: scikit-learn's C, where smaller values regularize more.
    pub strengths: Vec<f64>,
    /// Number of folds for cross-validation.
    pub folds: usize,
    /// The seed of folds, control labels and the bootstrap.
    pub seed: u64,
    /// Whether the control task is run (Hewitt & Liang 2019).
    pub control: bool,
    /// Whether the scalar mix of all layers is fitted (Peters et al. 2018).
    pub mix: bool,
    /// The directory for the report; `None` to write no files.
    pub output: Option<PathBuf>,
    /// Whether an existing report is replaced.
    pub overwrite: bool,
    /// Bytes of vectors that are held in memory; further ones are read again when needed. It changes no number.
    pub memory: u64,
}

impl ProbeRequest {
    /// A probe on one labelled directory, with the defaults of `layerwise probe DIR`.
    pub fn new(train: impl Into<PathBuf>) -> Self {
        Self {
            train: train.into(),
            dev: None,
            test: None,
            kind: None,
            layers: None,
            best_set: 1,
            label: "label".to_owned(),
            group: None,
            task: TaskChoice::default(),
            score: None,
            class_weight: ClassWeight::default(),
            crf: false,
            calibrate: false,
            strengths: vec![0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0],
            folds: 5,
            seed: 0,
            control: true,
            mix: true,
            output: None,
            overwrite: false,
            memory: 2 << 30,
        }
    }
}
