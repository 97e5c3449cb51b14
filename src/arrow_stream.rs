//! An Arrow IPC stream: a record batch for each batch of texts, with a row for each text. A worker's has a row for each line, also for
//! those that are answered with what is wrong with them.

use std::io::{BufWriter, Write};
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, new_null_array};
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{ArrowError, Field, FieldRef, Schema, SchemaRef};

use crate::batch::Batch;
use crate::column_types::{ColumnType, ColumnTypes, ScalarType};
use crate::directory::plan_record::DirectoryPlan;
use crate::error::{Error, Result};
use crate::json_lines::columns::{ColumnsReader, ColumnsWriter};
use crate::plan::{ArrayPlan, Slot};
use crate::sink::Sink;
use crate::spec::{Dtype, OnBadLine, RowKind, SpecialTokens};
use crate::tables::columns::{ColumnBuilder, StoredRows};
use crate::tokens::Tokenizer;
use crate::waiting_rows::WaitingRows;

/// A sink that writes texts as rows once all their arrays are complete.
pub(crate) struct ArrowStream<'a, W: Write> {
    writer: StreamWriter<BufWriter<W>>,
    schema: SchemaRef,
    waiting: WaitingRows,
    dtype: Dtype,
    special_tokens: SpecialTokens,
    /// The tokenizer that spells the tokens, if they are written.
    tokenizer: Option<&'a Tokenizer>,
    texts: ColumnsReader,
    columns: TextColumns,
    next_row: u64,
}

/// The columns of texts beside their vectors.
struct TextColumns {
    row: ColumnBuilder,
    /// The file and the line in it, where bad ones are skipped.
    lines: Option<[ColumnBuilder; 2]>,
    id: ColumnBuilder,
    label: ColumnBuilder,
    carried: Vec<ColumnBuilder>,
    tokens: Option<ColumnBuilder>,
    /// What is wrong with a line, for a worker.
    error: Option<ColumnBuilder>,
}

impl TextColumns {
    fn new(plan: &DirectoryPlan, types: &ColumnTypes, is_of_worker: bool) -> Self {
        let integers = ColumnBuilder::of_integers;
        let strings = ColumnType::List(ScalarType::String);
        Self {
            row: integers("row"),
            lines: (plan.on_bad_line == OnBadLine::Skip).then(|| [integers("file"), integers("line")]),
            id: ColumnBuilder::new("id", ColumnType::Scalar(ScalarType::String)),
            label: ColumnBuilder::new("label", types.label),
            carried: types.carried.iter().map(|(name, column)| ColumnBuilder::new(name, *column)).collect(),
            tokens: plan.wants_token_details().then(|| ColumnBuilder::new("tokens", strings)),
            error: is_of_worker.then(|| ColumnBuilder::new("error", ColumnType::Scalar(ScalarType::String))),
        }
    }

    /// Appends a line with what is wrong with it, and nothing else.
    fn push_problem(&mut self, row: u64, problem: &str) -> std::io::Result<()> {
        let Self { row: rows, lines, id, label, carried, tokens, error } = self;
        rows.push_integer(Some(row as i64));
        error.iter_mut().for_each(|error| error.push_string(Some(problem)));
        let mut others = lines.iter_mut().flatten().chain([id, label]).chain(carried).chain(tokens);
        others.try_for_each(|column| column.push(None))
    }

    fn finish(&mut self) -> Vec<(FieldRef, ArrayRef)> {
        let Self { row, lines, id, label, carried, tokens, error } = self;
        let before = std::iter::once(row).chain(lines.iter_mut().flatten());
        before.chain([id, label]).chain(carried).chain(tokens).chain(error).map(ColumnBuilder::finish).collect()
    }
}

impl<'a, W: Write> ArrowStream<'a, W> {
    /// A sink for the arrays of `plan`, whose first text has row `first_row` and the first of `texts`. The stream begins with the
    /// names and types of its columns.
    pub(crate) fn new(
        out: W,
        plan: &DirectoryPlan,
        types: &ColumnTypes,
        tokenizer: &'a Tokenizer,
        texts: ColumnsReader,
        first_row: u64,
    ) -> Result<Self> {
        Self::begin(out, plan, TextColumns::new(plan, types, false), tokenizer, texts, first_row)
    }

    /// A sink for a worker, from row 0 on, which has a column `error`; there are no texts before [`ArrowStream::go_on`].
    pub(crate) fn of_worker(
        out: W,
        plan: &DirectoryPlan,
        types: &ColumnTypes,
        tokenizer: &'a Tokenizer,
    ) -> Result<Self> {
        let none = ColumnsWriter::new().finish()?;
        Self::begin(out, plan, TextColumns::new(plan, types, true), tokenizer, none, 0)
    }

    fn begin(
        out: W,
        plan: &DirectoryPlan,
        mut columns: TextColumns,
        tokenizer: &'a Tokenizer,
        texts: ColumnsReader,
        next_row: u64,
    ) -> Result<Self> {
        let waiting = WaitingRows::new(plan);
        let arrays = waiting.arrays();
        let named = |carried: &&String| arrays.iter().any(|array| column(array) == **carried);
        if let Some(carried) = plan.columns.carry.iter().find(named) {
            return Err(Error::Usage(format!(
                "--carry {carried}: with --format arrow the vectors have a column `{carried}`; rename the column in the input"
            )));
        }
        let mut fields: Vec<FieldRef> = columns.finish().into_iter().map(|(field, _)| field).collect();
        for array in arrays {
            let (field, _) = vectors(array, &[], &[], plan.dtype)?;
            // A line that is answered with its error has no vector.
            fields.push(Arc::new(Field::clone(&field).with_nullable(columns.error.is_some())));
        }
        let schema = Arc::new(Schema::new(fields));
        let out = BufWriter::with_capacity(1 << 16, out);
        let mut writer = StreamWriter::try_new(out, &schema).map_err(stdout)?;
        // Who reads it may wait for the names of the columns before there is a text.
        writer.get_mut().flush().map_err(Error::stdout)?;
        Ok(Self {
            writer,
            schema,
            waiting,
            dtype: plan.dtype,
            special_tokens: plan.special_tokens,
            tokenizer: plan.wants_token_details().then_some(tokenizer),
            texts,
            columns,
            next_row,
        })
    }

    /// Goes on with texts that have these columns.
    pub(crate) fn go_on(&mut self, texts: ColumnsReader) {
        self.texts = texts;
    }

    /// Writes the row of a line that is answered with what is wrong with it, at once.
    ///
    /// # Errors
    /// Those of [`ArrowStream::finish`].
    pub(crate) fn write_problem(&mut self, problem: &str) -> Result<()> {
        self.columns.push_problem(self.next_row, problem).map_err(Error::stdout)?;
        self.next_row += 1;
        let mut arrays: Vec<ArrayRef> = self.columns.finish().into_iter().map(|(_, array)| array).collect();
        let vectors = self.schema.fields()[arrays.len()..].iter();
        arrays.extend(vectors.map(|field| new_null_array(field.data_type(), 1)));
        self.write_batch(arrays)
    }

    fn write_batch(&mut self, arrays: Vec<ArrayRef>) -> Result<()> {
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), arrays).map_err(stdout)?;
        self.writer.write(&batch).map_err(stdout)?;
        self.writer.get_mut().flush().map_err(Error::stdout)
    }

    /// Ends the stream and flushes it.
    ///
    /// # Errors
    /// [`Error::ClosedPipe`] when the reader of standard output is gone, [`Error::Io`] for any other failure.
    pub(crate) fn finish(mut self) -> Result<()> {
        self.writer.finish().map_err(stdout)?;
        self.writer.get_mut().flush().map_err(Error::stdout)
    }
}

impl<W: Write + Send> Sink for ArrowStream<'_, W> {
    fn write(&mut self, index: usize, rows: &[f32]) -> Result<()> {
        self.waiting.take(index, rows, self.next_row)
    }

    fn end_batch(&mut self, batch: &Batch) -> Result<()> {
        let (mut of_tokens, mut of_words, mut of_spans) = (Vec::new(), Vec::new(), Vec::new());
        for text in batch.ended_texts() {
            of_tokens.push(text.rows(RowKind::Token, self.special_tokens));
            of_words.push(text.rows(RowKind::Word, self.special_tokens));
            of_spans.push(text.rows(RowKind::Span, self.special_tokens));
            let columns = &mut self.columns;
            let values = self.texts.next_text()?;
            columns.row.push_integer(Some(self.next_row as i64));
            if let (Some([file, line]), Some(of)) = (&mut columns.lines, values.line) {
                file.push_integer(of.file.map(i64::from));
                line.push_integer(Some(of.line as i64));
            }
            columns.id.push_string(values.id.as_deref());
            let unreadable = |error| Error::io("read back a temporary file in", std::env::temp_dir())(error);
            columns.label.push(values.label.as_deref()).map_err(unreadable)?;
            for (column, (_, value)) in columns.carried.iter_mut().zip(&values.carried) {
                column.push(Some(&**value)).map_err(unreadable)?;
            }
            if let (Some(column), Some(tokenizer)) = (&mut columns.tokens, self.tokenizer) {
                let kept = text.kept(self.special_tokens);
                column.push_strings(&kept.map(|token| tokenizer.token(text.input_ids[token])).collect::<Vec<_>>());
            }
            self.next_row += 1;
        }
        if of_tokens.is_empty() {
            return Ok(()); // of a text that goes on
        }
        let of_texts = vec![1; of_tokens.len()];
        let counts = |kind: RowKind| match kind {
            RowKind::Text => &of_texts,
            RowKind::Token => &of_tokens,
            RowKind::Word => &of_words,
            RowKind::Span => &of_spans,
        };
        if let Some(errors) = &mut self.columns.error {
            of_texts.iter().for_each(|_| errors.push_string(None));
        }
        let mut arrays: Vec<ArrayRef> = self.columns.finish().into_iter().map(|(_, array)| array).collect();
        for (index, array) in self.waiting.arrays().iter().enumerate() {
            let rows = counts(array.kind.rows());
            let numbers = self.waiting.rows(index, 0..rows.iter().sum());
            arrays.push(vectors(array, numbers, rows, self.dtype)?.1);
        }
        self.waiting.give_up(|kind| counts(kind).iter().sum());
        self.write_batch(arrays)
    }
}

/// The name of an array's column: `mean_layer_00`, `token_concat`, `pooler`.
fn column(array: &ArrayPlan) -> String {
    match array.slot {
        Slot::Whole => array.name(),
        Slot::Layer(_) | Slot::Combined(_) => format!("{}_{}", array.kind.name(), array.name()),
    }
}

/// The vectors of some texts: one for each, or a list of so many.
fn vectors(array: &ArrayPlan, numbers: &[f32], rows: &[usize], dtype: Dtype) -> Result<(FieldRef, ArrayRef)> {
    let stored = StoredRows::of(numbers, array.columns, dtype).map_err(Error::stdout)?;
    let name = column(array);
    Ok(if array.kind.rows() == RowKind::Text { stored.into_lists(&name) } else { stored.into_nested(&name, rows) })
}

/// The error of a stream that goes to standard output.
fn stdout(error: ArrowError) -> Error {
    match error {
        ArrowError::IoError(_, error) => Error::stdout(error),
        error => Error::stdout(std::io::Error::other(error)),
    }
}
