//! Labels one text with a fitted head.

use serde::Serialize;
use serde::ser::SerializeMap;

use crate::batch::SPECIAL;
use crate::input::{Record, SourceLine};
use crate::probe::chain::Factors;
use crate::probe::crf;
use crate::probe::heads::Head;
use crate::probe::report::Report;
use crate::probe::task::Task;
use crate::spec::{RowKind, VectorKind};
use crate::tokens::Encoded;

/// Labels texts with a head.
pub struct Labeller<'a> {
    report: &'a Report,
    head: &'a Head,
}

/// A text with its predictions.
#[derive(Debug, Serialize)]
pub struct PredictedText<'a> {
    pub row: u64,
    #[serde(flatten)]
    pub line: Option<SourceLine>,
    pub id: Option<&'a str>,
    pub text: &'a str,
    #[serde(flatten)]
    pub found: Prediction<'a>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Prediction<'a> {
    /// The class of a text.
    Class { label: &'a str, probability: f32, probabilities: Probabilities<'a> },
    /// The number of a text.
    Number { value: f32 },
    /// A number for each word.
    Numbers { words: Vec<NumberOf> },
    /// A tag for each word.
    Words {
        words: Vec<Word<'a>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        entities: Option<Vec<EntitySpan<'a>>>,
    },
    /// A class for each span.
    Spans { spans: Vec<Word<'a>> },
    /// A number for each span.
    NumbersOfSpans { spans: Vec<NumberOf> },
}

/// The probability of each class.
#[derive(Debug)]
pub struct Probabilities<'a>(Vec<(&'a str, f32)>);

impl Serialize for Probabilities<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        self.0.iter().try_for_each(|(name, probability)| map.serialize_entry(name, probability))?;
        map.end()
    }
}

/// A word, \[start, end) in Unicode characters of the text, with its tag.
#[derive(Debug, Serialize)]
pub struct Word<'a> {
    pub text: String,
    pub start: usize,
    pub end: usize,
    pub label: &'a str,
    pub probability: f32,
}

/// A word, \[start, end) in Unicode characters of the text, with its number.
#[derive(Debug, Serialize)]
pub struct NumberOf {
    pub text: String,
    pub start: usize,
    pub end: usize,
    pub value: f32,
}

/// An entity, \[start, end) in Unicode characters of the text. Its probability is that of its least certain word.
#[derive(Debug, Serialize)]
pub struct EntitySpan<'a> {
    pub label: &'a str,
    pub start: usize,
    pub end: usize,
    pub text: String,
    pub probability: f32,
}

impl<'a> Labeller<'a> {
    pub fn new(report: &'a Report, head: &'a Head) -> Self {
        Self { report, head }
    }

    /// Labels a text by its vectors, (1, columns) for a text or (words, columns) for its words.
    pub fn label<'t>(&self, row: u64, record: &'t Record, encoded: &Encoded, vectors: &[f32]) -> PredictedText<'t>
    where
        'a: 't,
    {
        let found = match self.report.task {
            Task::Tagging { .. } => self.words(record, encoded, vectors),
            Task::Regression if self.report.emit.rows() != RowKind::Text => {
                let text = Characters::of(record);
                let parts = self.places(encoded).into_iter().zip(vectors.chunks_exact(self.head.columns));
                let parts = parts.filter_map(|(place, vector)| {
                    let (start, end) = place?;
                    Some(NumberOf { text: text.slice(start, end), start, end, value: self.head.scores(vector)[0] })
                });
                match self.report.emit {
                    VectorKind::Span => Prediction::NumbersOfSpans { spans: parts.collect() },
                    _ => Prediction::Numbers { words: parts.collect() },
                }
            }
            Task::Regression => Prediction::Number { value: self.head.scores(vectors)[0] },
            Task::Classification => {
                let probabilities = softmax(&self.head.scores(vectors));
                let best = best(&probabilities);
                let named = self.report.classes.iter().map(String::as_str).zip(probabilities.iter().copied());
                Prediction::Class {
                    label: &self.report.classes[best],
                    probability: probabilities[best],
                    probabilities: Probabilities(named.collect()),
                }
            }
        };
        PredictedText { row, line: record.line, id: record.id.as_deref(), text: &record.text.text, found }
    }

    /// The place of each word in the text, or of each span: where its tokens reach.
    fn places(&self, encoded: &Encoded) -> Vec<Option<(usize, usize)>> {
        if self.report.emit != VectorKind::Span {
            return places(encoded);
        }
        let of_span = |span: &std::ops::Range<u32>| {
            let mut held = encoded.offsets[span.start as usize..span.end as usize].iter().flatten();
            let first = held.next()?;
            Some((first.0, held.next_back().map_or(first.1, |last| last.1)))
        };
        encoded.tokens.spans.iter().map(of_span).collect()
    }

    /// The tag of each word by its scores, with its probability: one by one, or as a sequence.
    fn tags(&self, scores: &[Vec<f32>]) -> Vec<(usize, f32)> {
        if let Some(steps) = &self.head.steps {
            let found = crf::decode(&scores.concat(), steps, &Factors::of(steps));
            return found.of.iter().map(|of| (of.class as usize, of.value)).collect();
        }
        let alone = scores.iter().map(|scores| {
            let probabilities = softmax(scores);
            let best = best(&probabilities);
            (best, probabilities[best])
        });
        alone.collect()
    }

    fn words<'t>(&self, record: &Record, encoded: &Encoded, vectors: &[f32]) -> Prediction<'t>
    where
        'a: 't,
    {
        let text = Characters::of(record);
        // Words without a vector are left out, as they were of what was learned.
        let (places, scores): (Vec<(usize, usize)>, Vec<Vec<f32>>) = self
            .places(encoded)
            .into_iter()
            .zip(vectors.chunks_exact(self.head.columns))
            .filter_map(|(place, vector)| Some((place?, self.head.scores(vector))))
            .unzip();
        let words: Vec<Word<'t>> = places
            .into_iter()
            .zip(self.tags(&scores))
            .map(|((start, end), (tag, probability))| Word {
                text: text.slice(start, end),
                start,
                end,
                label: &self.report.classes[tag],
                probability,
            })
            .collect();
        if self.report.emit == VectorKind::Span {
            return Prediction::Spans { spans: words };
        }
        let entities = self.report.task.scheme().map(|scheme| {
            let tags: Vec<&'t str> = words.iter().map(|word| word.label).collect();
            let spans = scheme.entities(&tags).into_iter().map(|entity| {
                let of = &words[entity.start..entity.end];
                let (start, end) = (of[0].start, of[of.len() - 1].end);
                let probability = of.iter().map(|word| word.probability).fold(1.0, f32::min);
                EntitySpan { label: entity.kind, start, end, text: text.slice(start, end), probability }
            });
            spans.collect()
        });
        Prediction::Words { words, entities }
    }
}

/// A text that is indexed by characters.
struct Characters(Vec<char>);

impl Characters {
    fn of(record: &Record) -> Self {
        Self(record.text.text.chars().collect())
    }

    fn slice(&self, start: usize, end: usize) -> String {
        self.0[start.min(self.0.len())..end.min(self.0.len())].iter().collect()
    }
}

/// The place of each word in the text. A word without a token has no vector, and gets no label.
fn places(encoded: &Encoded) -> Vec<Option<(usize, usize)>> {
    let mut places: Vec<Option<(usize, usize)>> = vec![None; encoded.tokens.word_count as usize];
    for (&word, offsets) in encoded.tokens.words.iter().zip(&encoded.offsets) {
        if let (Some((start, end)), true) = (*offsets, word != SPECIAL) {
            let place = &mut places[word as usize];
            *place = Some(place.map_or((start, end), |(first, last)| (first.min(start), last.max(end))));
        }
    }
    places
}

fn softmax(scores: &[f32]) -> Vec<f32> {
    let largest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let shares: Vec<f64> = scores.iter().map(|score| f64::from(score - largest).exp()).collect();
    let sum: f64 = shares.iter().sum();
    shares.into_iter().map(|share| (share / sum) as f32).collect()
}

/// The index of the largest value; of equal ones, the first.
fn best(values: &[f32]) -> usize {
    (0..values.len()).fold(0, |best, index| if values[index] > values[best] { index } else { best })
}
