//! Writes the files of a report.

use std::fs;
use std::path::Path;

use indexmap::IndexMap;
use serde_json::json;

use super::evaluate::{Outcome, Setup};
use super::report::{CONFUSION, HEADS, PLOT, PREDICTIONS, REPORT, Report};
use super::scores::Judged;
use super::targets::Targets;
use super::task::Task;
use super::{heads, plot};
use crate::directory::folder::Folder;
use crate::error::{Error, Result};

/// The names of all files of a report.
const FILES: [&str; 5] = [REPORT, PLOT, PREDICTIONS, CONFUSION, HEADS];

/// Is there while a report is written, so that a directory with half of one can be told from somebody else's.
const BEGUN: &str = ".layerwise-report";

/// Refuses a directory that holds something else, or that cannot be written, before any work.
///
/// # Errors
/// [`Error::Output`] for a file, for a directory with a report unless it is to be replaced, and for one with anything
/// else; [`Error::Io`] where nothing can be written.
pub(super) fn check_place(path: &Path, overwrite: bool) -> Result<()> {
    let refuse = |problem: &str| Err(Error::Output { path: path.to_owned(), problem: problem.to_owned() });
    if path.exists() && !path.is_dir() {
        return refuse("is a file; expected a directory for the report, which is made if it is not there");
    }
    if path.is_dir() && !path.join(BEGUN).exists() {
        let mut entries = fs::read_dir(path).map_err(Error::io("read", path))?;
        let has_report = path.join(REPORT).exists();
        if has_report && !overwrite {
            return refuse("holds a report; choose another directory, or replace it with --overwrite");
        }
        if !has_report && entries.next().is_some() {
            return refuse("holds something else than a report; choose another directory");
        }
    }
    let is_new = !path.exists();
    fs::create_dir_all(path).map_err(Error::io("create", path))?;
    let tried = Folder::open(path).and_then(|folder| folder.try_writing());
    if is_new {
        let _ = fs::remove_dir(path); // it is made again once there is a report
    }
    tried
}

/// Writes all files of a report; `report.json` comes last.
///
/// # Errors
/// [`Error::Io`] when a file cannot be written; the same command then writes them anew.
pub(super) fn write(path: &Path, report: &Report, setup: &Setup<'_>, outcomes: &[Outcome]) -> Result<()> {
    // With conditional random fields, what they predict, as `predict` does.
    let predicting = report.crf_best.as_ref().unwrap_or(&report.best);
    let best = report.layers.iter().position(|layer| layer.name == *predicting).unwrap_or(0);
    let scored = setup.scored();
    let predicted = outcomes[best].crf.as_ref().map_or(&outcomes[best].predicted, |crf| &crf.predicted);
    let judged = setup.judge(&scored.targets, predicted);
    let plot = plot::draw(report)?;
    let predictions = predictions(setup, &judged)?;
    let confusion = (setup.task != Task::Regression).then(|| confusion(&judged));
    let heads = heads::serialize(report, outcomes)?;
    fs::create_dir_all(path).map_err(Error::io("create", path))?;
    let folder = Folder::open(path)?;
    // The old report is removed once the new one is ready. `report.json` is removed first and written last, so that
    // files without it count as no report.
    folder.create_temporary(BEGUN)?;
    for name in FILES {
        if folder.has_file(name)? {
            folder.remove(name)?;
        }
    }
    folder.replace(PLOT, plot.as_bytes())?;
    folder.replace(PREDICTIONS, &predictions)?;
    if let Some(confusion) = confusion {
        folder.replace(CONFUSION, &confusion)?;
    }
    folder.replace(HEADS, &heads)?;
    folder.write_json(REPORT, &json!(report))?;
    folder.remove(BEGUN)
}

/// The lines of `predictions.jsonl`, one for each text that is scored.
fn predictions(setup: &Setup<'_>, judged: &Judged<'_>) -> Result<Vec<u8>> {
    let labels = setup.scored().labels;
    let name = |class: u32| judged.names[class as usize].as_str();
    let (probabilities, known) = (judged.predicted.probabilities(), judged.predicted.classes);
    let mut out = Vec::new();
    for (text, (row, id)) in labels.texts.iter().enumerate() {
        let examples = judged.starts[text]..judged.starts[text + 1];
        let predicted = &judged.predicted.of[examples.clone()];
        let of_classes = |example: usize| &probabilities[example * known..][..known];
        let mut line = json!({ "row": row, "id": id });
        if labels.of_words {
            let words = labels.words[examples.clone()].iter().map(|&word| labels.vocabulary[word as usize].as_str());
            let keys = if labels.of_spans { ["span_ids", "spans"] } else { ["word_ids", "words"] };
            line[keys[0]] = json!(labels.word_ids[examples.clone()]);
            line[keys[1]] = words.collect();
        }
        match (judged.gold, judged.task) {
            (Targets::Classes(gold), Task::Tagging { .. }) => {
                line["labels"] = gold[examples.clone()].iter().map(|&class| name(class)).collect();
                line["predicted"] = predicted.iter().map(|of| name(of.class)).collect();
                line["probabilities"] = predicted.iter().map(|of| json!(of.value)).collect();
                line["class_probabilities"] = examples.clone().map(of_classes).map(|all| json!(all)).collect();
            }
            (Targets::Classes(gold), _) => {
                line["label"] = json!(name(gold[examples.start]));
                line["predicted"] = json!(name(predicted[0].class));
                line["probability"] = json!(predicted[0].value);
                let named = judged.names.iter().zip(of_classes(examples.start));
                line["probabilities"] = json!(named.collect::<IndexMap<_, _>>());
            }
            (Targets::Numbers(gold), _) if labels.of_words => {
                line["labels"] = gold[examples].iter().copied().collect();
                line["predicted"] = predicted.iter().map(|of| json!(of.value)).collect();
            }
            (Targets::Numbers(gold), _) => {
                line["label"] = json!(gold[examples.start]);
                line["predicted"] = json!(predicted[0].value);
            }
        }
        serde_json::to_writer(&mut out, &line).map_err(|error| Error::io("write", PREDICTIONS)(error.into()))?;
        out.push(b'\n');
    }
    Ok(out)
}

/// The confusion matrix as csv: a row for each label, a column for each prediction.
fn confusion(judged: &Judged<'_>) -> Vec<u8> {
    let mut out = String::new();
    let cell = |text: &str| {
        let quoted = text.contains([',', '"', '\n', '\r']);
        if quoted { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
    };
    out += "label \\ predicted";
    judged.names.iter().for_each(|name| out += &format!(",{}", cell(name)));
    out.push('\n');
    for (name, counts) in judged.names.iter().zip(judged.confusion()) {
        out += &cell(name);
        counts.iter().for_each(|count| out += &format!(",{count}"));
        out.push('\n');
    }
    out.into_bytes()
}
