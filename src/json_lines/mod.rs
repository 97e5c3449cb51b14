//! JSON Lines: one object per text, with a list of its layers.

pub mod columns;

use std::io::{self, BufWriter, Write};

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use self::columns::{ColumnsOfText, ColumnsReader};
use crate::batch::Batch;
use crate::error::{Error, Result};
use crate::input::SourceLine;
use crate::plan::{Plan, Slot};
use crate::sink::Sink;
use crate::spec::{RowKind, SpecialTokens};
use crate::tokens::Tokenizer;
use crate::waiting_rows::WaitingRows;

/// A sink that prints each text as a JSON object once all its arrays are complete.
pub struct JsonLines<'a, W: Write> {
    out: BufWriter<W>,
    waiting: WaitingRows,
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
        Self {
            out: BufWriter::with_capacity(1 << 16, out),
            waiting: WaitingRows::new(plan),
            special_tokens: plan.special_tokens,
            tokenizer: plan.wants_token_details().then_some(tokenizer),
            columns,
            next_row: first_row,
        }
    }

    /// Goes on with texts that have these columns.
    pub(crate) fn go_on(&mut self, columns: ColumnsReader) {
        self.columns = columns;
    }

    /// Prints the object of a line that is answered with what is wrong with it, at once.
    ///
    /// # Errors
    /// [`Error::ClosedPipe`] when the reader of standard output is gone, [`Error::Io`] for any other failure.
    pub(crate) fn write_problem(&mut self, line: u64, problem: &str) -> Result<()> {
        let object = ProblemObject { row: self.next_row, line, error: problem };
        self.next_row += 1;
        let written = serde_json::to_writer(&mut self.out, &object).map_err(io::Error::from);
        written.and_then(|()| self.out.write_all(b"\n")).and_then(|()| self.out.flush()).map_err(Error::stdout)
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
        self.waiting.take(index, rows, self.next_row)
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

            let mut layers: Vec<LayerObject> = Vec::new();
            let mut whole = Vec::new();
            for (index, array) in self.waiting.arrays().iter().enumerate() {
                let kind = array.kind.rows();
                let vectors = VectorsOfText {
                    name: array.kind.name(),
                    numbers: self.waiting.rows(index, rows_of(kind)).to_vec(),
                    columns: array.columns,
                    single: kind == RowKind::Text,
                };
                let slot = array.slot;
                if slot == Slot::Whole {
                    whole.push(vectors);
                    continue;
                }
                match layers.iter_mut().find(|layer| layer.slot == slot) {
                    Some(layer) => layer.vectors.push(vectors),
                    None => layers.push(LayerObject { slot, vectors: vec![vectors] }),
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
        self.waiting.give_up(|kind| match kind {
            RowKind::Token => first_token,
            RowKind::Word => first_word,
            RowKind::Span => first_span,
            RowKind::Text => texts,
        });
        self.out.flush().map_err(Error::stdout)
    }
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
