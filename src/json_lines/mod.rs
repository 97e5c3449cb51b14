//! JSON Lines: one object per text, with a list of its layers.

pub mod columns;

use std::io::{self, BufWriter, Write};

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use self::columns::{ColumnsOfText, ColumnsReader};
use crate::batch::Batch;
use crate::error::{Error, Result};
use crate::input::SourceLine;
use crate::plan::{ArrayPlan, Plan, Slot};
use crate::sink::{Sink, check_fits};
use crate::spec::{Dtype, RowKind, SpecialTokens};
use crate::tokens::Tokenizer;

/// A sink that prints each text as a JSON object once all its arrays are complete.
pub struct JsonLines<'a, W: Write> {
    out: BufWriter<W>,
    arrays: Vec<ArrayPlan>,
    /// For each array, the rows that are not printed yet.
    rows: Vec<Vec<f32>>,
    dtype: Dtype,
    special_tokens: SpecialTokens,
    /// The tokenizer that spells the tokens, if they are printed.
    tokenizer: Option<&'a Tokenizer>,
    /// The input's columns of each text.
    columns: ColumnsReader,
    next_row: u64,
}

impl<'a, W: Write> JsonLines<'a, W> {
    /// A sink for the arrays of `plan`, whose first text has row `first_row` and the first of `columns`.
    pub fn new(out: W, plan: &Plan, tokenizer: &'a Tokenizer, columns: ColumnsReader, first_row: u64) -> Self {
        let arrays = plan.arrays();
        Self {
            out: BufWriter::with_capacity(1 << 16, out),
            rows: vec![Vec::new(); arrays.len()],
            arrays,
            dtype: plan.dtype,
            special_tokens: plan.special_tokens,
            tokenizer: plan.wants_token_details().then_some(tokenizer),
            columns,
            next_row: first_row,
        }
    }

    /// Flushes the output.
    ///
    /// # Errors
    /// [`Error::ClosedPipe`] when the reader of standard output is gone, [`Error::Io`] for any other failure.
    pub fn finish(mut self) -> Result<()> {
        self.out.flush().map_err(Error::stdout)
    }
}

impl<W: Write + Send> Sink for JsonLines<'_, W> {
    fn write(&mut self, index: usize, rows: &[f32]) -> Result<()> {
        let array = &self.arrays[index];
        check_fits(rows, self.dtype, || {
            format!("{} of {}, row {} or later", array.name(), array.kind.name(), self.next_row)
        })?;
        self.rows[index].extend(rows.iter().map(|&value| self.dtype.round(value)));
        Ok(())
    }

    fn end_batch(&mut self, batch: &Batch) -> Result<()> {
        let (mut first_token, mut first_word, mut first_span, mut texts) = (0, 0, 0, 0);
        for tokens in batch.ended_texts() {
            let kinds = [RowKind::Token, RowKind::Word, RowKind::Span];
            let rows = kinds.map(|kind| tokens.rows(kind, self.special_tokens));
            let rows_of = |kind: RowKind| match kind {
                RowKind::Token => first_token..first_token + rows[0],
                RowKind::Word => first_word..first_word + rows[1],
                RowKind::Span => first_span..first_span + rows[2],
                RowKind::Text => texts..texts + 1,
            };
            let vectors = |(array, rows): (&ArrayPlan, &'_ Vec<f32>)| {
                let kind = array.kind.rows();
                let range = rows_of(kind);
                let numbers = rows[range.start * array.columns..range.end * array.columns].to_vec();
                VectorsOfText {
                    name: array.kind.name(),
                    numbers,
                    columns: array.columns,
                    single: kind == RowKind::Text,
                }
            };

            let mut layers: Vec<LayerObject> = Vec::new();
            let mut whole = Vec::new();
            for entry in self.arrays.iter().zip(&self.rows) {
                let slot = entry.0.slot;
                if slot == Slot::Whole {
                    whole.push(vectors(entry));
                    continue;
                }
                match layers.iter_mut().find(|layer| layer.slot == slot) {
                    Some(layer) => layer.vectors.push(vectors(entry)),
                    None => layers.push(LayerObject { slot, vectors: vec![vectors(entry)] }),
                }
            }
            let kept = tokens.kept(self.special_tokens);
            let tokens =
                self.tokenizer.map(|tokenizer| kept.map(|token| tokenizer.token(tokens.input_ids[token])).collect());
            let columns = self.columns.next_text()?;
            let line = TextObject { row: self.next_row, columns, tokens, whole, layers };
            serde_json::to_writer(&mut self.out, &line).map_err(io::Error::from).map_err(Error::stdout)?;
            self.out.write_all(b"\n").map_err(Error::stdout)?;
            self.next_row += 1;
            first_token += rows[0];
            first_word += rows[1];
            first_span += rows[2];
            texts += 1;
        }
        // Rows that remain belong to a text that continues in the next batch.
        for (array, rows) in self.arrays.iter().zip(&mut self.rows) {
            let printed = match array.kind.rows() {
                RowKind::Token => first_token,
                RowKind::Word => first_word,
                RowKind::Span => first_span,
                RowKind::Text => texts,
            };
            rows.drain(..printed * array.columns);
        }
        self.out.flush().map_err(Error::stdout)
    }
}

/// Prints the object of a line that is answered with what is wrong with it, at once.
///
/// # Errors
/// [`Error::ClosedPipe`] when the reader of standard output is gone, [`Error::Io`] for any other failure.
pub(crate) fn write_problem(out: &mut impl Write, row: u64, line: u64, problem: &str) -> Result<()> {
    let object = ProblemObject { row, line, error: problem };
    let written = serde_json::to_vec(&object).map_err(io::Error::from).and_then(|mut object| {
        object.push(b'\n');
        out.write_all(&object).and_then(|()| out.flush())
    });
    written.map_err(Error::stdout)
}

#[derive(Serialize)]
struct ProblemObject<'a> {
    row: u64,
    line: u64,
    error: &'a str,
}

/// The object of one text.
struct TextObject {
    row: u64,
    columns: ColumnsOfText,
    tokens: Option<Vec<String>>,
    whole: Vec<VectorsOfText>,
    layers: Vec<LayerObject>,
}

struct LayerObject {
    slot: Slot,
    vectors: Vec<VectorsOfText>,
}

/// The vectors of one kind: a single one for the text, or a list for its tokens or words.
struct VectorsOfText {
    name: &'static str,
    numbers: Vec<f32>,
    columns: usize,
    single: bool,
}

impl Serialize for TextObject {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("row", &self.row)?;
        if let Some(SourceLine { file, line }) = self.columns.line {
            file.iter().try_for_each(|file| map.serialize_entry("file", file))?;
            map.serialize_entry("line", &line)?;
        }
        map.serialize_entry("id", &self.columns.id)?;
        if let Some(label) = &self.columns.label {
            map.serialize_entry("label", label)?;
        }
        for (name, value) in &self.columns.carried {
            map.serialize_entry(name, value)?;
        }
        if let Some(spans) = &self.columns.spans {
            map.serialize_entry("spans", spans)?;
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

impl Serialize for LayerObject {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("layer", &self.slot)?;
        for vectors in &self.vectors {
            map.serialize_entry(vectors.name, vectors)?;
        }
        map.end()
    }
}

impl Serialize for VectorsOfText {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        if self.single {
            self.numbers.serialize(serializer)
        } else {
            serializer.collect_seq(self.numbers.chunks_exact(self.columns))
        }
    }
}
