//! Reads the Parquet files of an output directory back: for each row its text, and its vectors as they were stored.

use std::fs::File;
use std::ops::Range;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float16Type, Float32Type, Int64Type};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::DataType;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder, RowSelection};

use super::guarded::{guarded, told};
use crate::spec::Dtype;

/// Bytes of vectors that are read at once, and the most rows.
const PIECE: usize = 4 << 20;
const MOST_ROWS: usize = 8192;

/// The column with the row of each one's text.
const ROW: &str = "row";

/// A Parquet file that is read from its first row to its last, or some of its rows.
pub(crate) struct StoredTable {
    reader: ParquetRecordBatchReader,
    /// The columns of vectors that are read, with their widths.
    vectors: Vec<(String, usize)>,
    dtype: Dtype,
}

/// Some rows of it.
pub(crate) struct StoredPiece {
    /// For each row, the row of its text in the input.
    pub(crate) texts: Vec<i64>,
    /// For each column of vectors, its numbers.
    numbers: Vec<ArrayRef>,
}

impl StoredPiece {
    /// The numbers of the column of vectors at `index`, as they are stored in other formats.
    pub(crate) fn bytes(&self, index: usize) -> &[u8] {
        let numbers = &self.numbers[index];
        match numbers.as_primitive_opt::<Float32Type>() {
            Some(numbers) => bytemuck::cast_slice(numbers.values()),
            None => bytemuck::cast_slice(numbers.as_primitive::<Float16Type>().values()),
        }
    }
}

impl StoredTable {
    /// Opens a file, of which these columns of vectors are read, in these rows or all. An error is a predicate of the file.
    pub(crate) fn open(
        file: File,
        vectors: Vec<(String, usize)>,
        dtype: Dtype,
        rows: Option<Vec<Range<usize>>>,
    ) -> Result<Self, String> {
        let unreadable = |error| format!("cannot be read as Parquet: {}", told(&error));
        let builder = guarded(|| ParquetRecordBatchReaderBuilder::try_new(file))?.map_err(unreadable)?;
        let names = std::iter::once(ROW).chain(vectors.iter().map(|(name, _)| name.as_str()));
        let place = |name| builder.schema().index_of(name).map_err(|_| format!("has no column `{name}`"));
        let places = names.map(place).collect::<Result<Vec<_>, _>>()?;
        let mask = ProjectionMask::roots(builder.parquet_schema(), places);
        let row_bytes = vectors.iter().map(|(_, columns)| columns).sum::<usize>() * dtype.size() as usize;
        let batch_size = (PIECE / row_bytes.max(1)).clamp(1, MOST_ROWS);
        let all = usize::try_from(builder.metadata().file_metadata().num_rows()).unwrap_or_default();
        let mut builder = builder.with_projection(mask).with_batch_size(batch_size);
        if let Some(rows) = rows {
            builder = builder.with_row_selection(RowSelection::from_consecutive_ranges(rows.into_iter(), all));
        }
        let reader = guarded(|| builder.build())?.map_err(unreadable)?;
        Ok(Self { reader, vectors, dtype })
    }

    fn piece(&self, batch: &RecordBatch) -> Result<StoredPiece, String> {
        let column = |name: &str| batch.column_by_name(name).ok_or_else(|| format!("has no column `{name}`"));
        let texts = column(ROW)?.as_primitive_opt::<Int64Type>().filter(|texts| texts.null_count() == 0);
        let texts = texts.ok_or_else(|| format!("has a column `{ROW}` that is not of integers"))?.values().to_vec();
        let numbers = self.vectors.iter().map(|(name, columns)| self.numbers(name, column(name)?, *columns));
        Ok(StoredPiece { texts, numbers: numbers.collect::<Result<_, _>>()? })
    }

    /// The numbers of a column of vectors, of which each has as many.
    fn numbers(&self, name: &str, vectors: &ArrayRef, columns: usize) -> Result<ArrayRef, String> {
        let expected = match self.dtype {
            Dtype::F32 => DataType::Float32,
            Dtype::F16 | Dtype::Bf16 => DataType::Float16,
        };
        let lists = vectors.as_list_opt::<i32>().filter(|lists| *lists.values().data_type() == expected);
        let lists = lists.ok_or_else(|| format!("has a column `{name}` that is not of lists of {expected}"))?;
        let (first, last) = (lists.value_offsets()[0], lists.value_offsets()[lists.len()]);
        let numbers = lists.values().slice(first as usize, (last - first) as usize);
        let is_even = lists.value_offsets().windows(2).all(|ends| (ends[1] - ends[0]) as usize == columns);
        if !is_even || lists.null_count() + numbers.null_count() > 0 {
            return Err(format!("has a vector in `{name}` that is not of {columns} numbers"));
        }
        Ok(numbers)
    }
}

impl Iterator for StoredTable {
    type Item = Result<StoredPiece, String>;

    fn next(&mut self) -> Option<Self::Item> {
        match guarded(|| self.reader.next()) {
            Ok(batch) => {
                let batch = batch?.map_err(|error| format!("cannot be read on: {}", told(&error)));
                Some(batch.and_then(|batch| self.piece(&batch)))
            }
            Err(problem) => Some(Err(problem)),
        }
    }
}
