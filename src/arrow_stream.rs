//! An Arrow IPC stream: a record batch for each batch of texts, with a row for each text.

use std::io::{BufWriter, Write};
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{ArrowError, FieldRef, Schema};

use crate::batch::Batch;
use crate::directory::plan_record::DirectoryPlan;
use crate::error::{Error, Result};
use crate::json_lines::columns::ColumnsReader;
use crate::plan::{ArrayPlan, Slot};
use crate::sink::{Sink, check_fits};
use crate::spec::{Dtype, OnBadLine, RowKind, SpecialTokens};
use crate::tables::columns::{ColumnBuilder, StoredRows};
use crate::tables::types::{ColumnType, ColumnTypes, ScalarType};
use crate::tokens::Tokenizer;

/// A sink that writes texts as rows once all their arrays are complete.
pub(crate) struct ArrowStream<'a, W: Write> {
    writer: StreamWriter<BufWriter<W>>,
    arrays: Vec<ArrayPlan>,
    /// For each array, the rows that are not written yet.
    rows: Vec<Vec<f32>>,
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
}

impl TextColumns {
    fn new(plan: &DirectoryPlan, types: &ColumnTypes) -> Self {
        let integers = ColumnBuilder::of_integers;
        let strings = ColumnType::List(ScalarType::String);
        Self {
            row: integers("row"),
            lines: (plan.on_bad_line == OnBadLine::Skip).then(|| [integers("file"), integers("line")]),
            id: ColumnBuilder::new("id", ColumnType::Scalar(ScalarType::String)),
            label: ColumnBuilder::new("label", types.label),
            carried: types.carried.iter().map(|(name, column)| ColumnBuilder::new(name, *column)).collect(),
            tokens: plan.wants_token_details().then(|| ColumnBuilder::new("tokens", strings)),
        }
    }

    fn finish(&mut self) -> Vec<(FieldRef, ArrayRef)> {
        let Self { row, lines, id, label, carried, tokens } = self;
        let before = std::iter::once(row).chain(lines.iter_mut().flatten());
        before.chain([id, label]).chain(carried).chain(tokens).map(ColumnBuilder::finish).collect()
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
        let arrays = plan.arrays();
        let named = |carried: &&String| arrays.iter().any(|array| column(array) == **carried);
        if let Some(carried) = plan.columns.carry.iter().find(named) {
            return Err(Error::Usage(format!(
                "--carry {carried}: with --format arrow the vectors have a column `{carried}`; rename the column in the input"
            )));
        }
        let mut columns = TextColumns::new(plan, types);
        let mut fields = columns.finish();
        for array in &arrays {
            fields.push(vectors(array, &[], &[], plan.dtype)?);
        }
        let schema = Schema::new(fields.into_iter().map(|(field, _)| field).collect::<Vec<_>>());
        let out = BufWriter::with_capacity(1 << 16, out);
        Ok(Self {
            writer: StreamWriter::try_new(out, &schema).map_err(stdout)?,
            rows: vec![Vec::new(); arrays.len()],
            arrays,
            dtype: plan.dtype,
            special_tokens: plan.special_tokens,
            tokenizer: plan.wants_token_details().then_some(tokenizer),
            texts,
            columns,
            next_row: first_row,
        })
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
        let array = &self.arrays[index];
        check_fits(rows, self.dtype, || {
            format!("{} of {}, row {} or later", array.name(), array.kind.name(), self.next_row)
        })?;
        self.rows[index].extend_from_slice(rows);
        Ok(())
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
        let mut columns = self.columns.finish();
        let of_texts = vec![1; of_tokens.len()];
        for (array, rows) in self.arrays.iter().zip(&mut self.rows) {
            let counts = match array.kind.rows() {
                RowKind::Text => &of_texts,
                RowKind::Token => &of_tokens,
                RowKind::Word => &of_words,
                RowKind::Span => &of_spans,
            };
            let written = counts.iter().sum::<usize>() * array.columns;
            columns.push(vectors(array, &rows[..written], counts, self.dtype)?);
            // Rows that remain belong to a text that continues in the next batch.
            rows.drain(..written);
        }
        let (fields, arrays): (Vec<_>, Vec<_>) = columns.into_iter().unzip();
        let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).map_err(stdout)?;
        self.writer.write(&batch).map_err(stdout)?;
        self.writer.get_mut().flush().map_err(Error::stdout)
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
