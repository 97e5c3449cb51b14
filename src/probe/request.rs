//! What is asked of a probe.

use std::path::PathBuf;

use super::labels::TaskChoice;
use crate::spec::{LayerSelection, VectorKind};

/// What is to be learned, from which directories, and how. The default learns `label` by cross-validation.
#[derive(Debug, Clone, PartialEq)]
pub struct ProbeRequest {
    /// The directory to learn from.
    pub train: PathBuf,
    /// A directory to choose the strength of regularization on; without it, cross-validation chooses.
    pub dev: Option<PathBuf>,
    /// A directory to score on; without it, scores are by cross-validation.
    pub test: Option<PathBuf>,
    /// The vectors; for a label per text the first sentence vector of `train` where nothing is said, else those of words.
    pub kind: Option<VectorKind>,
    /// The layers; all of `train` where nothing is said.
    pub layers: Option<LayerSelection>,
    /// The column of the label.
    pub label: String,
    /// What to learn.
    pub task: TaskChoice,
    /// Strengths to choose from: C as scikit-learn has it, where smaller is stricter.
    pub strengths: Vec<f64>,
    /// Folds of cross-validation.
    pub folds: usize,
    /// For folds, control labels and the bootstrap.
    pub seed: u64,
    /// Whether the control task is done (Hewitt & Liang 2019).
    pub control: bool,
    /// Whether the mix of all layers is fitted (Peters et al. 2018).
    pub mix: bool,
    /// The directory of the report; without it nothing is written.
    pub output: Option<PathBuf>,
    /// Whether a report that is there is replaced.
    pub overwrite: bool,
    /// Bytes of vectors that are held in memory; what is beyond is read again when it is needed. Changes no number.
    pub memory: u64,
}

impl ProbeRequest {
    /// Of the labels of one directory, as `layerwise probe DIR` does it.
    pub fn new(train: impl Into<PathBuf>) -> Self {
        Self {
            train: train.into(),
            dev: None,
            test: None,
            kind: None,
            layers: None,
            label: "label".to_owned(),
            task: TaskChoice::default(),
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
