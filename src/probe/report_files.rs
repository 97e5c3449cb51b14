//! Writes the files of a report.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use serde_json::json;

use super::evaluate::{Outcome, Setup};
use super::report::{CONFUSION, HEADS, PLOT, PREDICTIONS, REPORT, Report};
use super::scores::Judged;
use super::targets::Targets;
use super::task::Task;
use super::{heads, plot};
use crate::directory::manifest::{temporary_file, write_json};
use crate::error::{Error, Result};

/// The names of all files of a report.
const FILES: [&str; 5] = [REPORT, PLOT, PREDICTIONS, CONFUSION, HEADS];

/// Refuses a directory that holds something else, before any work.
///
/// # Errors
/// [`Error::Output`] for a file, for a directory with a report unless it is to be replaced, and for one with anything
/// else.
pub(super) fn check_place(path: &Path, overwrite: bool) -> Result<()> {
    let refuse = |problem: &str| Err(Error::Output { path: path.to_owned(), problem: problem.to_owned() });
    if !path.exists() {
        return Ok(());
    }
    if !path.is_dir() {
        return refuse("is a file; expected a directory for the report, which is made if it is not there");
    }
    let mut entries = fs::read_dir(path).map_err(Error::io("read", path))?;
    if path.join(REPORT).exists() {
        return if overwrite {
            Ok(())
        } else {
            refuse("holds a report; choose another directory, or replace it with --overwrite")
        };
    }
    if entries.next().is_some() {
        return refuse("holds something else than a report; choose another directory");
    }
    Ok(())
}

/// Writes all files of a report; `report.json` comes last.
///
/// # Errors
/// [`Error::Io`] when a file cannot be written.
pub(super) fn write(path: &Path, report: &Report, setup: &Setup<'_>, outcomes: &[Outcome]) -> Result<()> {
    let best = report.layers.iter().position(|layer| layer.name == report.best).unwrap_or(0);
    let scored = setup.scored();
    let judged = setup.judge(&scored.targets, &outcomes[best].predicted);
    let plot = plot::draw(report)?;
    let predictions = predictions(setup, &judged)?;
    let confusion = (setup.task != Task::Regression).then(|| confusion(&judged));
    let heads = heads::serialize(report, outcomes)?;
    fs::create_dir_all(path).map_err(Error::io("create", path))?;
    // The old report is removed once the new one is ready. `report.json` is removed first and written last, so that
    // files without it count as no report.
    for name in FILES {
        match fs::remove_file(path.join(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::io("replace", path.join(name))(error));
            }
            _ => {}
        }
    }
    put(path, PLOT, plot.as_bytes())?;
    put(path, PREDICTIONS, &predictions)?;
    if let Some(confusion) = confusion {
        put(path, CONFUSION, &confusion)?;
    }
    put(path, HEADS, &heads)?;
    write_json(path, REPORT, &json!(report))
}

/// Writes a file under a temporary name and renames it.
fn put(directory: &Path, name: &str, content: &[u8]) -> Result<()> {
    let path = directory.join(name);
    let write = || -> std::io::Result<()> {
        let mut file = temporary_file(directory)?;
        file.write_all(content)?;
        file.as_file().sync_all()?;
        file.persist(&path).map_err(|error| error.error)?;
        Ok(())
    };
    write().map_err(Error::io("write", &path))
}

/// The lines of `predictions.jsonl`, one for each text that is scored.
fn predictions(setup: &Setup<'_>, judged: &Judged<'_>) -> Result<Vec<u8>> {
    let labels = setup.scored().labels;
    let name = |class: u32| judged.names[class as usize].as_str();
    let mut out = Vec::new();
    for (text, (row, id)) in labels.texts.iter().enumerate() {
        let examples = judged.starts[text]..judged.starts[text + 1];
        let predicted = &judged.predicted[examples.clone()];
        let mut line = json!({ "row": row, "id": id });
        if labels.of_words {
            let words = labels.words[examples.clone()].iter().map(|&word| labels.vocabulary[word as usize].as_str());
            line["word_ids"] = json!(labels.word_ids[examples.clone()]);
            line["words"] = words.collect();
        }
        match (judged.gold, judged.task) {
            (Targets::Classes(gold), Task::Tagging { .. }) => {
                line["labels"] = gold[examples].iter().map(|&class| name(class)).collect();
                line["predicted"] = predicted.iter().map(|of| name(of.class)).collect();
                line["probabilities"] = predicted.iter().map(|of| json!(of.value)).collect();
            }
            (Targets::Classes(gold), _) => {
                line["label"] = json!(name(gold[examples.start]));
                line["predicted"] = json!(name(predicted[0].class));
                line["probability"] = json!(predicted[0].value);
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
