//! Writes Parquet files whose bytes follow from their rows alone.

use std::io::{self, Write};
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{FieldRef, Schema};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use crate::spec::Dtype;

/// A Parquet file that is being written, a row group at a time.
pub(crate) struct ParquetFile<W: Write + Send> {
    /// Its writer, once the columns are known.
    writer: Option<ArrowWriter<W>>,
    to: Option<W>,
    /// The columns of vectors.
    vectors: Vec<String>,
    dtype: Dtype,
}

impl<W: Write + Send> ParquetFile<W> {
    /// A file with vectors of this type in these columns.
    pub(crate) fn new(to: W, vectors: Vec<String>, dtype: Dtype) -> Self {
        Self { writer: None, to: Some(to), vectors, dtype }
    }

    /// Writes a row group, which may be empty if it is the only one. All have the same columns.
    ///
    /// # Errors
    /// That of writing.
    pub(crate) fn write(&mut self, columns: Vec<(FieldRef, ArrayRef)>) -> io::Result<()> {
        let (fields, arrays): (Vec<_>, Vec<_>) = columns.into_iter().unzip();
        let schema = Arc::new(Schema::new(fields));
        let batch = RecordBatch::try_new(Arc::clone(&schema), arrays).map_err(io::Error::other)?;
        if let Some(to) = self.to.take() {
            let options = ArrowWriterOptions::new().with_properties(self.properties()).with_skip_arrow_metadata(true);
            self.writer = Some(ArrowWriter::try_new_with_options(to, schema, options).map_err(io_error)?);
        }
        let Some(writer) = &mut self.writer else { return Ok(()) };
        writer.write(&batch).and_then(|()| writer.flush()).map_err(io_error)
    }

    /// Ends the file.
    ///
    /// # Errors
    /// That of writing, and that no row group was written, so that there are no columns.
    pub(crate) fn finish(self) -> io::Result<W> {
        let writer = self.writer.ok_or_else(|| io::Error::other("it has no columns"))?;
        writer.into_inner().map_err(io_error)
    }

    fn properties(&self) -> WriterProperties {
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_max_row_group_row_count(None);
        self.vectors
            .iter()
            .fold(properties, |properties, name| {
                let path = ColumnPath::new(vec![name.clone(), "list".to_owned(), "element".to_owned()]);
                // Their numbers hardly repeat, and smallest and largest ones say nothing of a vector.
                let properties = properties
                    .set_column_dictionary_enabled(path.clone(), false)
                    .set_column_statistics_enabled(path.clone(), EnabledStatistics::None);
                match self.dtype {
                    Dtype::F32 => properties.set_column_encoding(path, Encoding::BYTE_STREAM_SPLIT),
                    // DuckDB reads no float16 that are split so.
                    Dtype::F16 | Dtype::Bf16 => properties,
                }
            })
            .build()
    }
}

fn io_error(error: parquet::errors::ParquetError) -> io::Error {
    match error {
        parquet::errors::ParquetError::External(source) => match source.downcast::<io::Error>() {
            Ok(error) => *error,
            Err(other) => io::Error::other(other),
        },
        error => io::Error::other(error),
    }
}
