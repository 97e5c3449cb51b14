//! JSON Lines on standard output: an object per text, with a list of its layers.

use std::io::{self, BufWriter, Stdout, Write};

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::columns::{self, OfText};
use super::{Sink, check_fits};
use crate::batch::{Batch, SPECIAL};
use crate::error::{Error, Result};
use crate::plan::{ArrayPlan, Plan, Slot};
use crate::spec::{Dtype, RowKind, SpecialTokens};
use crate::tokens::Tokenizer;

/// Prints each text once all its arrays are there.
pub struct JsonLines<'a> {
    out: BufWriter<Stdout>,
    arrays: Vec<ArrayPlan>,
    /// The rows of each array that are not printed yet.
    rows: Vec<Vec<f32>>,
    dtype: Dtype,
    special_tokens: SpecialTokens,
    /// For the tokens' texts, where they are wanted.
    tokenizer: Option<&'a Tokenizer>,
    /// What the input says of each text.
    columns: columns::Reader,
    next_row: u64,
}

impl<'a> JsonLines<'a> {
    /// A sink for the arrays of `plan`.
    pub fn new(plan: &Plan, tokenizer: &'a Tokenizer, mut columns: columns::Reader, first_row: u64) -> Result<Self> {
        columns.skip(first_row)?;
        let arrays = plan.arrays();
        Ok(Self {
            out: BufWriter::with_capacity(1 << 16, io::stdout()),
            rows: vec![Vec::new(); arrays.len()],
            arrays,
            dtype: plan.dtype,
            special_tokens: plan.special_tokens,
            tokenizer: plan.wants_token_details().then_some(tokenizer),
            columns,
            next_row: first_row,
        })
    }

    /// Brings everything out.
    ///
    /// # Errors
    /// [`Error::ClosedPipe`] when nobody reads any more, [`Error::Io`] otherwise.
    pub fn finish(mut self) -> Result<()> {
        self.out.flush().map_err(Error::stdout)
    }
}

impl Sink for JsonLines<'_> {
    fn write(&mut self, index: usize, rows: &[f32]) -> Result<()> {
        let array = &self.arrays[index];
        check_fits(rows, self.dtype, || {
            format!("{} of {}, row {} or later", array.name(), array.emit.name(), self.next_row)
        })?;
        self.rows[index].extend(rows.iter().map(|&value| self.dtype.round(value)));
        Ok(())
    }

    fn end_batch(&mut self, batch: &Batch) -> Result<()> {
        let (mut first_token, mut first_word, mut texts) = (0, 0, 0);
        for tokens in batch.ended_texts() {
            let rows = [RowKind::Token, RowKind::Word].map(|kind| tokens.rows(kind, self.special_tokens));
            let rows_of = |kind: RowKind| match kind {
                RowKind::Token => first_token..first_token + rows[0],
                RowKind::Word => first_word..first_word + rows[1],
                RowKind::Text => texts..texts + 1,
            };
            let vectors = |(array, rows): (&ArrayPlan, &'_ Vec<f32>)| {
                let kind = array.emit.rows();
                let range = rows_of(kind);
                let numbers = rows[range.start * array.columns..range.end * array.columns].to_vec();
                Vectors { name: array.emit.name(), numbers, columns: array.columns, single: kind == RowKind::Text }
            };

            let mut layers: Vec<Layer> = Vec::new();
            let mut whole = Vec::new();
            for entry in self.arrays.iter().zip(&self.rows) {
                let label = match entry.0.slot {
                    Slot::Whole => {
                        whole.push(vectors(entry));
                        continue;
                    }
                    Slot::Layer(layer) => Label::Layer(layer),
                    Slot::Combined(combine) => Label::Combined(combine.name()),
                };
                match layers.iter_mut().find(|layer| layer.label == label) {
                    Some(layer) => layer.vectors.push(vectors(entry)),
                    None => layers.push(Layer { label, vectors: vec![vectors(entry)] }),
                }
            }
            let kept = (0..tokens.len())
                .filter(|&token| self.special_tokens == SpecialTokens::Keep || tokens.words[token] != SPECIAL);
            let tokens =
                self.tokenizer.map(|tokenizer| kept.map(|token| tokenizer.token(tokens.input_ids[token])).collect());
            let columns = self.columns.next_text()?;
            let line = Line { row: self.next_row, columns, tokens, whole, layers };
            serde_json::to_writer(&mut self.out, &line).map_err(io::Error::from).map_err(Error::stdout)?;
            self.out.write_all(b"\n").map_err(Error::stdout)?;
            self.next_row += 1;
            first_token += rows[0];
            first_word += rows[1];
            texts += 1;
        }
        // What is left are rows of a text that goes on.
        for (array, rows) in self.arrays.iter().zip(&mut self.rows) {
            let printed = match array.emit.rows() {
                RowKind::Token => first_token,
                RowKind::Word => first_word,
                RowKind::Text => texts,
            };
            rows.drain(..printed * array.columns);
        }
        self.out.flush().map_err(Error::stdout)
    }
}

/// A text's line.
struct Line {
    row: u64,
    columns: OfText,
    tokens: Option<Vec<String>>,
    whole: Vec<Vectors>,
    layers: Vec<Layer>,
}

/// What a layer is called: its number, or how layers were combined.
#[derive(PartialEq, Serialize)]
#[serde(untagged)]
enum Label {
    Layer(usize),
    Combined(&'static str),
}

struct Layer {
    label: Label,
    vectors: Vec<Vectors>,
}

/// The vectors of one kind: one for the text, or a list for its tokens or words.
struct Vectors {
    name: &'static str,
    numbers: Vec<f32>,
    columns: usize,
    single: bool,
}

impl Serialize for Line {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("row", &self.row)?;
        map.serialize_entry("id", &self.columns.id)?;
        if let Some(label) = &self.columns.label {
            map.serialize_entry("label", label)?;
        }
        for (name, value) in &self.columns.carried {
            map.serialize_entry(name, value)?;
        }
        if let Some(tokens) = &self.tokens {
            map.serialize_entry("tokens", tokens)?;
        }
        for vectors in &self.whole {
            map.serialize_entry(vectors.name, vectors)?;
        }
        map.serialize_entry("layers", &self.layers)?;
        map.end()
    }
}

impl Serialize for Layer {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("layer", &self.label)?;
        for vectors in &self.vectors {
            map.serialize_entry(vectors.name, vectors)?;
        }
        map.end()
    }
}

impl Serialize for Vectors {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        if self.single {
            self.numbers.serialize(serializer)
        } else {
            serializer.collect_seq(self.numbers.chunks_exact(self.columns))
        }
    }
}
