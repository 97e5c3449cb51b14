//! Fitted probes in a safetensors file: `softmax(weight · x + bias)`, where `x` is a vector as stored in a directory.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use ndarray::{Array1, Array2};
use safetensors::tensor::{Dtype, SafeTensors, TensorView, serialize as to_bytes};
use serde_json::json;

use super::chain::Steps;
use super::evaluate::Outcome;
use super::linear::LinearModel;
pub use super::report::HEADS as FILE;
use super::report::Report;
use crate::error::{Error, Result};
use crate::regular_file;

/// A file of heads is no larger: a few classes for each layer.
const LARGEST: u64 = 1 << 32;

/// One layer's head.
#[derive(Debug, Clone)]
pub struct Head {
    /// (classes, columns); one row for regression.
    pub weight: Vec<f32>,
    /// (classes)
    pub bias: Vec<f32>,
    /// Width of a vector.
    pub columns: usize,
    /// The scores of steps between tags, if tags are predicted as sequences.
    pub steps: Option<Steps>,
}

/// The file's bytes: tensors `NAME.weight` (classes, columns) and `NAME.bias` (classes) for each layer; label map, model
/// and recipe in its metadata. A conditional random field has `NAME.crf.weight` and `NAME.crf.bias`, and
/// `NAME.crf.transitions` (from, to), `NAME.crf.start` and `NAME.crf.end` for the scores of steps.
///
/// [`Error::Probe`] when the format cannot hold the heads.
/// [`Error::Probe`] when the format cannot hold them.
pub(super) fn serialize(report: &Report, outcomes: &[Outcome]) -> Result<Vec<u8>> {
    let bytes = |numbers: &mut dyn Iterator<Item = f64>| {
        numbers.flat_map(|number| (number as f32).to_le_bytes()).collect::<Vec<u8>>()
    };
    let mut names = HashSet::new();
    let tensors: Vec<(String, Vec<usize>, Vec<u8>)> = report
        .layers
        .iter()
        .chain(&report.sets)
        .zip(outcomes)
        // A set that was asked for may also be the best one of its size.
        .filter(|(layer, _)| names.insert(layer.name.as_str()))
        .flat_map(|(layer, outcome)| {
            let tensor = |name: &str, shape: &[usize], numbers: &mut dyn Iterator<Item = f64>| {
                (format!("{}.{name}", layer.name), shape.to_vec(), bytes(numbers))
            };
            let linear = |of: &str, linear: &LinearModel| {
                let (weights, bias) = (&linear.weights, &linear.bias);
                [
                    tensor(&format!("{of}weight"), &[weights.nrows(), weights.ncols()], &mut weights.iter().copied()),
                    tensor(&format!("{of}bias"), &[bias.len()], &mut bias.iter().copied()),
                ]
            };
            let crf = outcome.crf.as_ref().map(|crf| {
                let (steps, tags) = (&crf.fitted.steps, crf.fitted.steps.tags());
                let of_steps = [
                    tensor("crf.transitions", &[tags, tags], &mut steps.between.iter().copied()),
                    tensor("crf.start", &[tags], &mut steps.start.iter().copied()),
                    tensor("crf.end", &[tags], &mut steps.end.iter().copied()),
                ];
                linear("crf.", &crf.head).into_iter().chain(of_steps)
            });
            linear("", &outcome.head).into_iter().chain(crf.into_iter().flatten()).collect::<Vec<_>>()
        })
        .collect();
    let problem = |error: safetensors::SafeTensorError| Error::Probe(format!("{FILE}: {error}"));
    let views = tensors
        .iter()
        .map(|(name, shape, bytes)| Ok((name, TensorView::new(Dtype::F32, shape.clone(), bytes).map_err(problem)?)));
    let views = views.collect::<Result<Vec<_>>>()?;
    // A single metadata entry, as several would be written in random order.
    let about = json!({
        "format_version": report.format_version,
        "task": report.task,
        "emit": report.emit,
        "classes": report.classes,
        "best": report.best,
        "model": report.model,
        "plan": report.plan,
    });
    to_bytes(views, Some(HashMap::from([("layerwise".to_owned(), about.to_string())]))).map_err(problem)
}

/// Reads a layer's head.
///
/// # Errors
/// [`Error::Output`] when the file or the head does not exist, or has another shape than the report says.
pub fn read(directory: &Path, report: &Report, name: &str) -> Result<Head> {
    let path = directory.join(FILE);
    let problem = |problem: String| Error::Output { path: path.clone(), problem };
    let bytes = regular_file::read(&path, LARGEST).map_err(Error::io("read", &path))?;
    let tensors = SafeTensors::deserialize(&bytes).map_err(|error| problem(format!("is damaged: {error}")))?;
    let numbers = |part: &str| {
        let name = format!("{name}.{part}");
        let tensor = tensors
            .tensor(&name)
            .map_err(|_| problem(format!("holds no tensor `{name}`; expected what probe wrote beside it")))?;
        if tensor.dtype() != Dtype::F32 {
            return Err(problem(format!("tensor `{name}` is {:?}; expected F32", tensor.dtype())));
        }
        let numbers: Vec<f32> = tensor
            .data()
            .chunks_exact(4)
            .map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]]))
            .collect();
        if numbers.iter().any(|number| !number.is_finite()) {
            return Err(problem(format!("tensor `{name}` holds a number that is not finite")));
        }
        Ok((tensor.shape().to_vec(), numbers))
    };
    let is_crf = report.layers.iter().any(|layer| layer.name == name && layer.crf.is_some());
    let of = if is_crf { "crf." } else { "" };
    let ((weight_shape, weight), (bias_shape, bias)) =
        (numbers(&format!("{of}weight"))?, numbers(&format!("{of}bias"))?);
    let classes = report.classes.len().max(1);
    if bias_shape != [classes] || weight_shape.len() != 2 || weight_shape[0] != classes {
        return Err(problem(format!(
            "the head of {name} has shapes {weight_shape:?} and {bias_shape:?}; expected a row for each of the report's {classes} classes"
        )));
    }
    let steps = is_crf.then(|| -> Result<Steps> {
        let shaped = |part: &str, shape: &[usize]| match numbers(&format!("crf.{part}"))? {
            (found, numbers) if found == shape => Ok(numbers.into_iter().map(f64::from).collect::<Vec<f64>>()),
            (found, _) => {
                Err(problem(format!("tensor `{name}.crf.{part}` has the shape {found:?}; expected {shape:?}")))
            }
        };
        let between = shaped("transitions", &[classes, classes])?;
        Ok(Steps {
            between: Array2::from_shape_fn((classes, classes), |(from, to)| between[from * classes + to]),
            start: Array1::from_vec(shaped("start", &[classes])?),
            end: Array1::from_vec(shaped("end", &[classes])?),
        })
    });
    Ok(Head { weight, bias, columns: weight_shape[1], steps: steps.transpose()? })
}

impl Head {
    /// The scores of a vector, (classes).
    pub fn scores(&self, vector: &[f32]) -> Vec<f32> {
        let product = |row: &[f32]| row.iter().zip(vector).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
        self.weight
            .chunks_exact(self.columns)
            .zip(&self.bias)
            .map(|(row, &bias)| (product(row) + f64::from(bias)) as f32)
            .collect()
    }
}
