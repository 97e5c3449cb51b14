//! The task that labels make: classes of texts, tags of words, or numbers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::entities::Scheme;
use super::labels::{LabelledTexts, Values};
use super::targets::Targets;
use crate::directory::stored::Directory;
use crate::error::{Error, Result};
use crate::spec::VectorKind;

/// The kind of task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// A class for each text.
    Classification,
    /// A tag for each word.
    Tagging {
        /// The tagging scheme, if the tags mark entities.
        scheme: Option<Scheme>,
    },
    /// A number for each text, or for each word.
    Regression,
}

impl Task {
    /// The task that the labels of the training texts make.
    pub fn of(labels: &LabelledTexts) -> Self {
        let Values::Names(values, names) = &labels.values else { return Task::Regression };
        if !labels.of_words {
            return Task::Classification;
        }
        if labels.of_spans {
            return Task::Tagging { scheme: None };
        }
        let texts = labels
            .starts
            .windows(2)
            .map(|ends| values[ends[0]..ends[1]].iter().map(|&label| names[label as usize].as_str()));
        Task::Tagging { scheme: Scheme::find(texts) }
    }

    /// The tagging scheme of entity tags.
    pub fn scheme(self) -> Option<Scheme> {
        match self {
            Task::Tagging { scheme } => scheme,
            _ => None,
        }
    }

    /// A description for human readers.
    pub fn describe(self, of: VectorKind) -> &'static str {
        match self {
            Task::Tagging { .. } if of == VectorKind::Span => "classification of spans",
            Task::Classification => "classification of texts",
            Task::Tagging { scheme: None } => "tagging of words",
            Task::Tagging { scheme: Some(Scheme::Iob1) } => "named entities (IOB1 tags)",
            Task::Tagging { scheme: Some(Scheme::Iob2) } => "named entities (IOB2 tags)",
            Task::Tagging { scheme: Some(Scheme::Bioes) } => "named entities (BIOES tags)",
            Task::Regression => "regression",
        }
    }
}

/// The label map: the labels of the training texts in order, then those that only other texts have.
#[derive(Debug, Clone, Default)]
pub struct Classes {
    /// The names of all classes.
    pub names: Vec<String>,
    /// Number of classes that can be predicted, which come first.
    pub known: usize,
}

/// Converts labels to numbers.
///
/// # Errors
/// [`Error::Output`] for training texts without examples or all of one class, and for directories with different tasks.
pub fn targets(
    training: (&Directory, &LabelledTexts),
    others: &[(&Directory, &LabelledTexts)],
) -> Result<(Classes, Targets, Vec<Targets>)> {
    let path = |directory: &Directory| directory.path.clone();
    for (directory, labels) in [training].into_iter().chain(others.iter().copied()) {
        if labels.rows.is_empty() {
            return Err(Error::Output { path: path(directory), problem: "holds no labelled text or word".to_owned() });
        }
        if labels.of_words != training.1.of_words {
            let of = |labels: &LabelledTexts| if labels.of_words { "lists" } else { "one for each text" };
            return Err(Error::Output {
                path: path(directory),
                problem: format!(
                    "its labels are {}, those of {} {}",
                    of(labels),
                    training.0.path.display(),
                    of(training.1)
                ),
            });
        }
    }
    let (Values::Names(values, names), directory) = (&training.1.values, training.0) else {
        let numbers = |labels: &LabelledTexts| match &labels.values {
            Values::Numbers(numbers) => Targets::Numbers(numbers.clone()),
            Values::Names(..) => Targets::Numbers(Vec::new()),
        };
        if let Values::Numbers(values) = &training.1.values
            && values.iter().all(|value| *value == values[0])
        {
            let problem = format!("all its labels are {}; there is nothing to learn", values[0]);
            return Err(Error::Output { path: path(training.0), problem });
        }
        return Ok((
            Classes::default(),
            numbers(training.1),
            others.iter().map(|(_, labels)| numbers(labels)).collect(),
        ));
    };
    let mut index: BTreeMap<&str, u32> = names.iter().map(|name| (name.as_str(), 0)).collect();
    if index.len() < 2 {
        let problem =
            format!("all its labels are `{}`; a classifier needs two classes", names.first().map_or("", |name| name));
        return Err(Error::Output { path: path(directory), problem });
    }
    let mut classes = Classes { known: index.len(), names: index.keys().map(|&name| name.to_owned()).collect() };
    index.values_mut().zip(0..).for_each(|(index, number)| *index = number);
    let training = values.iter().map(|&value| index[names[value as usize].as_str()]).collect();
    let mut index: BTreeMap<String, u32> = index.into_iter().map(|(name, number)| (name.to_owned(), number)).collect();
    let others = others.iter().map(|(_, labels)| {
        let Values::Names(values, names) = &labels.values else { return Targets::Classes(Vec::new()) };
        let numbers: Vec<u32> = names
            .iter()
            .map(|name| {
                *index.entry(name.clone()).or_insert_with(|| {
                    classes.names.push(name.clone());
                    classes.names.len() as u32 - 1
                })
            })
            .collect();
        Targets::Classes(values.iter().map(|&value| numbers[value as usize]).collect())
    });
    let others = others.collect();
    Ok((classes, Targets::Classes(training), others))
}
