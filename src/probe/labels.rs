//! Reads labels from `texts.jsonl`: the targets of each text or of each of its words.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};

use serde_json::{Map, Value};

use super::bootstrap::Drawn;
use super::groups::TextGroups;
use crate::directory::names::TEXTS;
use crate::directory::stored::{Directory, StoredArray};
use crate::error::{Error, Result, json_problem};
use crate::regular_file;
use crate::spec::{VectorKind, choices};

choices! {
    /// The task as it is asked for.
    pub enum TaskChoice {
        /// By the labels: a list for each text is tagging, anything else classification
        Auto = "auto",
        /// Labels are numbers, and are predicted as such
        Regression = "regression",
    } default Auto
}

/// Rows an error message names before it only counts.
const NAMED: usize = 5;

/// The columns that a probe reads of a text.
#[derive(Debug, Clone, Copy)]
pub struct ProbedColumns<'a> {
    /// The column of the label.
    pub label: &'a str,
    /// The column of the group, if texts are in groups.
    pub group: Option<&'a str>,
}

/// The labelled texts of a directory. Texts without a label are left out.
#[derive(Debug, Default)]
pub struct LabelledTexts {
    /// Row and id of each text.
    pub texts: Vec<(u64, Option<String>)>,
    /// The examples of text `i`, itself or its words, are `starts[i]..starts[i + 1]`.
    pub starts: Vec<usize>,
    /// The row of each example in arrays of its kind of vectors.
    pub rows: Vec<u64>,
    /// The label of each example.
    pub values: Values,
    /// Whether labels are lists, one for each word or span.
    pub of_words: bool,
    /// Whether those are of spans. What is said of words is said of spans then.
    pub of_spans: bool,
    /// For labels that are lists: the word of each example, as an index into `vocabulary`.
    pub words: Vec<u32>,
    /// For labels that are lists: the index of each example's word in its text.
    pub word_ids: Vec<u32>,
    /// The distinct words.
    pub vocabulary: Vec<String>,
    /// Number of words that are left out as they have no vector: the text was cut before them, or the tokenizer deletes
    /// them.
    pub without_vector: u64,
    /// Number of texts that lost words in this way.
    pub texts_cut: u64,
    /// Number of texts that are left out as they have no label.
    pub unlabelled: u64,
    /// Number of words that are left out as their texts have labels, and they have none.
    pub unlabelled_words: u64,
    /// The groups of the texts, if they are asked for.
    pub groups: Option<TextGroups>,
}

impl LabelledTexts {
    /// What the bootstrap draws.
    pub fn drawn(&self) -> Drawn<'_> {
        let groups = self.groups.as_ref().map(|groups| (&groups.of_text[..], groups.names.len()));
        Drawn { texts: self.texts.len(), groups }
    }
}

/// The labels of the examples.
#[derive(Debug)]
pub enum Values {
    /// Classes: indices into the names, and the names as they are spelled.
    Names(Vec<u32>, Vec<String>),
    /// Numbers, for regression.
    Numbers(Vec<f64>),
}

impl Default for Values {
    fn default() -> Self {
        Self::Names(Vec::new(), Vec::new())
    }
}

/// Reads the labels of a directory, and finds out whether they are lists.
///
/// # Errors
/// [`Error::Output`] where there is no label, where labels do not match the words or are not of one kind, and for texts
/// with a label and without a group, if groups are asked for.
pub fn read(
    directory: &Directory,
    columns: ProbedColumns<'_>,
    choice: TaskChoice,
    kind: Option<VectorKind>,
) -> Result<LabelledTexts> {
    let path = directory.path.join(TEXTS);
    let file = regular_file::open(&path).map_err(Error::io("read", &path))?;
    let mut reader = LabelReader {
        directory,
        name: key_of(directory, columns.label),
        column: columns.label,
        group: columns.group.map(|column| (column, key_of(directory, column))),
        choice,
        // Where there are spans, a list of labels is theirs, and a label is the one span's where that is asked for.
        has_spans: directory.plan.columns.span_column.is_some(),
        is_of_spans: kind == Some(VectorKind::Span) && directory.plan.columns.span_column.is_some(),
        labels: LabelledTexts { starts: vec![0], ..LabelledTexts::default() },
        names: LabelNames::default(),
        numbers: Vec::new(),
        vocabulary: LabelNames::default(),
        offsets: None,
        groups: LabelNames::default(),
        group_of_text: Vec::new(),
        without_group: Vec::new(),
        has_labels: false,
    };
    let of_count = |lines: String| Error::Output {
        path: path.clone(),
        problem: format!("has {lines} lines; expected {}; see `layerwise verify`", directory.counts.texts),
    };
    let mut number = 0_u64;
    for line in BufReader::with_capacity(1 << 16, file).lines() {
        let line = line.map_err(Error::io("read", &path))?;
        number += 1;
        if number > directory.counts.texts {
            return Err(of_count(format!("more than {}", directory.counts.texts)));
        }
        let of_line =
            |problem: String| Error::Output { path: path.clone(), problem: format!("line {number}: {problem}") };
        let line: Map<String, Value> = serde_json::from_str(&line).map_err(|error| of_line(json_problem(&error)))?;
        reader.take(number as usize - 1, line).map_err(of_line)?;
    }
    if number != directory.counts.texts {
        return Err(of_count(number.to_string()));
    }
    directory.compare(TEXTS, &path)?;
    reader.finish()
}

/// The distinct names of classes.
#[derive(Debug, Default)]
struct LabelNames {
    index: HashMap<String, u32>,
    names: Vec<String>,
}

impl LabelNames {
    fn index(&mut self, name: &str) -> u32 {
        if let Some(&index) = self.index.get(name) {
            return index;
        }
        let index = self.names.len() as u32;
        self.index.insert(name.to_owned(), index);
        self.names.push(name.to_owned());
        index
    }
}

/// The key that a column of the input has in `texts.jsonl`. The one of `--label-column` is `label` there, and may be named
/// as it was in the input, as one that was carried is.
fn key_of<'a>(directory: &'a Directory, column: &'a str) -> &'a str {
    let columns = &directory.plan.columns;
    let is_label = columns.label_column.as_deref() == Some(column) && !columns.carry.iter().any(|name| name == column);
    // `label` by itself is that of --label-column.
    let renamed = columns.carry_as.get(column).filter(|_| column != "label");
    if is_label { "label" } else { renamed.map_or(column, String::as_str) }
}

/// Whether a value says that there is none: `null`, and an empty or blank string, as empty cells of a table are carried.
fn is_blank(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.trim().is_empty(),
        _ => false,
    }
}

struct LabelReader<'a> {
    directory: &'a Directory,
    /// The key of the label.
    name: &'a str,
    /// The label's column, as it was asked for.
    column: &'a str,
    /// The group's column, as it was asked for, and its key.
    group: Option<(&'a str, &'a str)>,
    choice: TaskChoice,
    /// Whether the input had a column of spans.
    has_spans: bool,
    /// Whether vectors of spans are asked for.
    is_of_spans: bool,
    labels: LabelledTexts,
    names: LabelNames,
    numbers: Vec<f64>,
    vocabulary: LabelNames,
    /// The start of each text's words, once a list was seen.
    offsets: Option<Vec<u64>>,
    groups: LabelNames,
    group_of_text: Vec<u32>,
    /// The rows of labelled texts without a group.
    without_group: Vec<u64>,
    /// Whether a text with a label has been read.
    has_labels: bool,
}

impl LabelReader<'_> {
    /// Takes a line; `text` is its number among all texts of the directory, from 0.
    fn take(&mut self, text: usize, mut line: Map<String, Value>) -> std::result::Result<(), String> {
        let row = line.get("row").and_then(Value::as_u64).ok_or("row is missing")?;
        let id = line.get("id").and_then(Value::as_str).map(str::to_owned);
        let Some(label) = line.remove(self.name).filter(|label| !is_blank(label)) else {
            self.labels.unlabelled += 1;
            return Ok(());
        };
        self.labels.texts.push((row, id));
        if let Some((column, key)) = self.group {
            // The group may be what is learned, which has been taken out of the line.
            let group = if key == self.name { Some(&label) } else { line.get(key) };
            self.take_group(column, row, group)?;
        }
        let label = if self.is_of_spans && !label.is_array() { Value::Array(vec![label]) } else { label };
        match label {
            Value::Array(list) => {
                if !self.has_labels {
                    self.labels.of_spans = self.has_spans;
                    self.offsets = Some(if self.has_spans {
                        span_offsets(self.directory)?
                    } else {
                        word_offsets(self.directory)?
                    });
                    self.labels.of_words = true;
                }
                let Some(offsets) = self.offsets.take() else {
                    return Err(format!(
                        "{} of row {row} is a list, and those before are not; expected one label for each text, or a list of labels for the words of each",
                        self.name
                    ));
                };
                let rows = offsets[text]..offsets[text + 1];
                let taken = if self.labels.of_spans {
                    self.take_spans(&line, row, &list, rows)
                } else {
                    self.take_words(&line, row, &list, rows)
                };
                self.offsets = Some(offsets);
                self.has_labels = true;
                taken?;
            }
            value => {
                if self.offsets.is_some() {
                    return Err(format!(
                        "{} of row {row} is no list, and those before are; expected one label for each text, or a list of labels for the words of each",
                        self.name
                    ));
                }
                self.has_labels = true;
                self.labels.rows.push(text as u64);
                self.take_label(&value, row)?;
            }
        }
        self.labels.starts.push(self.labels.rows.len());
        Ok(())
    }

    fn take_group(&mut self, column: &str, row: u64, group: Option<&Value>) -> std::result::Result<(), String> {
        let name = match group.filter(|group| !is_blank(group)) {
            None => {
                self.without_group.push(row);
                return Ok(());
            }
            Some(Value::String(name)) => name.clone(),
            Some(value @ (Value::Number(_) | Value::Bool(_))) => value.to_string(),
            Some(_) => {
                return Err(format!("{column} of row {row} is a list or an object; expected one group for each text"));
            }
        };
        self.group_of_text.push(self.groups.index(&name));
        Ok(())
    }

    fn take_words(
        &mut self,
        line: &Map<String, Value>,
        row: u64,
        labels: &[Value],
        rows: std::ops::Range<u64>,
    ) -> std::result::Result<(), String> {
        let words = (rows.end - rows.start) as usize;
        let list = |key: &str| line.get(key).and_then(Value::as_array);
        let word_ids = list("word_ids").ok_or("word_ids is missing")?;
        let texts = WordSpelling::new(words, word_ids, list("words"), list("tokens"));
        // Raw text that was cut has only the words that remain; given words are all there.
        let cut = line.get("n_tokens").and_then(Value::as_u64)
            < line.get("n_tokens_before_truncation").and_then(Value::as_u64);
        let is_short = list("words").is_none() && cut && labels.len() > words;
        if labels.len() != words && !is_short {
            return Err(format!(
                "{} of row {row} has {} entries, and the text has {words} words; expected a label for each word",
                self.name,
                labels.len()
            ));
        }
        let mut lost = (labels.len() - words) as u64;
        for (word, label) in labels.iter().enumerate().take(words) {
            if is_blank(label) {
                self.labels.unlabelled_words += 1;
                continue;
            }
            let Some(text) = texts.with_vector(word) else {
                lost += 1;
                continue;
            };
            self.take_part(&text, word, rows.start);
            self.take_label(label, row)?;
        }
        self.labels.without_vector += lost;
        self.labels.texts_cut += u64::from(lost > 0);
        Ok(())
    }

    /// Takes the word or span of this number in its text, whose rows begin at `first`.
    fn take_part(&mut self, spelled: &str, number: usize, first: u64) {
        let index = self.vocabulary.index(spelled);
        self.labels.words.push(index);
        self.labels.word_ids.push(number as u32);
        self.labels.rows.push(first + number as u64);
    }

    fn take_spans(
        &mut self,
        line: &Map<String, Value>,
        row: u64,
        labels: &[Value],
        rows: std::ops::Range<u64>,
    ) -> std::result::Result<(), String> {
        if labels.len() as u64 != rows.end - rows.start {
            return Err(format!(
                "{} of row {row} has {} entries, and the text has {} spans; expected a label for each span",
                self.name,
                labels.len(),
                rows.end - rows.start
            ));
        }
        let list = |key: &str| line.get(key).and_then(Value::as_array).ok_or_else(|| format!("{key} is missing"));
        let (tokens, of_spans) = (list("tokens")?, list("span_tokens")?);
        for (span, label) in labels.iter().enumerate() {
            if is_blank(label) {
                self.labels.unlabelled_words += 1;
                continue;
            }
            let ends = of_spans.get(span).map(|of| [0, 1].map(|end| of[end].as_u64().unwrap_or_default() as usize));
            let held = ends.and_then(|[start, end]| tokens.get(start..end)).unwrap_or_default();
            let spelled: Vec<&str> = held.iter().filter_map(Value::as_str).collect();
            self.take_part(&spelled.join(" ").replace(" ##", ""), span, rows.start);
            self.take_label(label, row)?;
        }
        Ok(())
    }

    fn take_label(&mut self, value: &Value, row: u64) -> std::result::Result<(), String> {
        let name = &self.name;
        if self.choice == TaskChoice::Regression {
            let number = match value {
                Value::Number(number) => number.as_f64(),
                Value::String(text) => text.trim().parse().ok(),
                _ => None,
            };
            let number = number.filter(|number: &f64| number.is_finite());
            self.numbers
                .push(number.ok_or_else(|| format!("{name} of row {row} is {value}; regression needs numbers"))?);
            return Ok(());
        }
        let label = match value {
            Value::String(text) => self.names.index(text),
            Value::Number(_) | Value::Bool(_) => self.names.index(&value.to_string()),
            _ => {
                return Err(format!(
                    "{name} of row {row} has an entry {value}; expected a string, a number or true or false"
                ));
            }
        };
        self.push_name(label);
        Ok(())
    }

    fn push_name(&mut self, label: u32) {
        if let Values::Names(labels, _) = &mut self.labels.values {
            labels.push(label);
        }
    }

    fn finish(mut self) -> Result<LabelledTexts> {
        let path = &self.directory.path;
        let problem = |problem: String| Err(Error::Output { path: path.clone(), problem });
        if self.labels.texts.is_empty() && self.directory.counts.texts > 0 {
            return problem(format!(
                "none of its texts has a {}; extract with --label-column, or name a column that was carried with --label",
                self.column
            ));
        }
        if let (Some((column, _)), false) = (self.group, self.without_group.is_empty()) {
            let texts = self.labels.texts.len();
            if self.without_group.len() == texts {
                return problem(format!(
                    "none of its texts has a {column}; extract with --carry {column}, or name a column that was carried with --group"
                ));
            }
            let rows: Vec<String> = self.without_group.iter().take(NAMED).map(u64::to_string).collect();
            return problem(format!(
                "{} of {texts} labelled texts have no {column}, the first in rows {}; give each the name of its group, and a text that stands alone a name of its own",
                self.without_group.len(),
                rows.join(", ")
            ));
        }
        self.labels.groups = self.group.map(|_| TextGroups { of_text: self.group_of_text, names: self.groups.names });
        if self.choice == TaskChoice::Regression {
            self.labels.values = Values::Numbers(self.numbers);
        } else if let Values::Names(_, names) = &mut self.labels.values {
            *names = self.names.names;
        }
        self.labels.vocabulary = self.vocabulary.names;
        Ok(self.labels)
    }
}

/// The words of a text that have vectors, and their spelling.
struct WordSpelling<'a> {
    given: Option<&'a Vec<Value>>,
    /// The joined tokens of each word; `None` for a word without tokens.
    joined: Vec<Option<String>>,
}

impl<'a> WordSpelling<'a> {
    fn new(words: usize, word_ids: &[Value], given: Option<&'a Vec<Value>>, tokens: Option<&Vec<Value>>) -> Self {
        let mut joined = vec![None; words];
        for (index, word) in word_ids.iter().enumerate() {
            let Some(word) = word.as_u64().and_then(|word| joined.get_mut(word as usize)) else { continue };
            let token = tokens.and_then(|tokens| tokens.get(index)?.as_str()).unwrap_or_default();
            word.get_or_insert_with(String::new).push_str(token.strip_prefix("##").unwrap_or(token));
        }
        Self { given, joined }
    }

    /// The text of a word that has a vector.
    fn with_vector(&self, word: usize) -> Option<String> {
        let joined = self.joined[word].as_ref()?;
        let given = self.given.and_then(|words| words.get(word)?.as_str());
        Some(given.unwrap_or(joined).to_owned())
    }
}

/// The row of spans at which each text starts, (texts + 1).
fn span_offsets(directory: &Directory) -> std::result::Result<Vec<u64>, String> {
    if !directory.plan.has(VectorKind::Span) {
        return Err(
            "the labels are of spans, and the directory holds no span vectors; extract with --emit span".to_owned()
        );
    }
    directory.offsets(VectorKind::Span).map_err(|error| error.to_string())
}

/// The word row at which each text starts, (texts + 1).
fn word_offsets(directory: &Directory) -> std::result::Result<Vec<u64>, String> {
    if !directory.plan.has(VectorKind::Word) {
        return Err("the labels are lists, one for each word, and the directory holds no word vectors; extract with --emit word".to_owned());
    }
    directory.offsets(VectorKind::Word).map_err(|error| error.to_string())
}

/// Checks that all examples have rows in an array.
///
/// # Errors
/// [`Error::Output`] when an example has none.
pub fn check_rows(directory: &Directory, labels: &LabelledTexts, array: &StoredArray) -> Result<()> {
    match labels.rows.iter().find(|&&row| row >= array.rows()) {
        None => Ok(()),
        Some(row) => Err(Error::Output {
            path: directory.path.clone(),
            problem: format!("row {row} is beyond the {} rows of its vectors; see `layerwise verify`", array.rows()),
        }),
    }
}
