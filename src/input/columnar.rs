//! Parquet and Arrow: a record for each row, read some rows at a time. A row's values are spelled as JSON and then taken as those of
//! JSON Lines are, so that both mean the same.

use std::fmt::Display;
use std::fs::File;
use std::io::{BufRead, Cursor, Read};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type,
    UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_ipc::reader::StreamReader;
use arrow_schema::{ArrowError, DataType, Field, Schema};
use arrow_select::take::take;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder};

use super::columns::{Columns, Optional, missing};
use super::entry::{Entry, Failed, LONGEST_RECORD};
use super::first_bytes::first_bytes;
use super::id_search::{LOOKED_AT, LikeIds, LikeIdsReader, is_like_id};
use super::json_value::without_line;
use super::object::{self, Object};
use super::record::Record;
use crate::column_types::{ColumnType, ColumnTypes, ScalarType};
use crate::tables::guarded::{guarded, told};

/// Rows that are read at once. Texts may have 4 MiB.
const ROWS: usize = 256;

/// How an Arrow file begins.
const ARROW_FILE: &[u8] = b"ARROW1";

/// Everything in it begins at a multiple of this.
const BLOCK: usize = 8;

type Batches = Box<dyn Iterator<Item = Result<RecordBatch, ArrowError>> + Send>;

/// The rows of a table as records.
pub(super) struct Rows {
    batches: Batches,
    columns: Arc<Columns>,
    /// The columns that are read, by name.
    names: Vec<String>,
    /// The arrays of those columns, without dictionaries.
    arrays: Vec<ArrayRef>,
    /// The next row of the batch, and the number of its rows.
    next: usize,
    rows: usize,
    /// The number of the next row, from 1.
    number: u64,
    types: ColumnTypes,
    /// Whether the batches have all columns, and not only those that are asked for.
    has_all: bool,
    like_ids: LikeIdsReader,
    /// Columns that could be the id, from the row of this number on, as far as they were read.
    candidates: (u64, Vec<(String, ArrayRef)>),
}

impl Rows {
    /// The rows of a Parquet file, of which only the columns that are asked for are read.
    pub(super) fn of_parquet(file: File, columns: Arc<Columns>) -> Result<Self, Failed> {
        let damaged = |error: &dyn Display| Failed(format!("cannot be read as Parquet: {}", told(error)));
        let opened = guarded(|| ParquetRecordBatchReaderBuilder::try_new(file.try_clone()?)).map_err(Failed)?;
        let builder = opened.map_err(|error| damaged(&error))?;
        let (names, places) = wanted(builder.schema(), &columns)?;
        let types = types(builder.schema(), &columns);
        let candidates =
            if LikeIdsReader::new(&columns).goes_on() { first_candidates(&file, &builder, &columns) } else { None };
        let mask = ProjectionMask::roots(builder.parquet_schema(), places);
        let reader = guarded(|| builder.with_projection(mask).with_batch_size(ROWS).build()).map_err(Failed)?;
        let rows = Self::new(Box::new(reader.map_err(|error| damaged(&error))?), columns, names, types);
        Ok(Self { candidates: (1, candidates.unwrap_or_default()), ..rows })
    }

    /// The rows of an Arrow stream, or of an Arrow file, which is a stream between other bytes.
    pub(super) fn of_arrow(mut content: Box<dyn BufRead + Send>, columns: Arc<Columns>) -> Result<Self, Failed> {
        let mut beginning = first_bytes(&mut content, BLOCK)?;
        if beginning.starts_with(b"FEA1") {
            return Err(Failed(
                "is a Feather file of old; write it anew, in Python: pandas.read_feather(FILE).to_feather(FILE)"
                    .to_owned(),
            ));
        }
        if beginning.starts_with(ARROW_FILE) {
            // The stream is in it, behind zeros up to a place that the program chose which wrote it.
            beginning = first_bytes(&mut content, BLOCK)?;
            while beginning == [0; BLOCK] {
                beginning = first_bytes(&mut content, BLOCK)?;
            }
        }
        let content: Box<dyn Read + Send> = Box::new(Cursor::new(beginning).chain(content));
        let reader = guarded(|| StreamReader::try_new(content, None)).map_err(Failed)?;
        let reader = reader.map_err(|error| Failed(format!("cannot be read as Arrow: {}", told(&error))))?;
        let (names, _) = wanted(&reader.schema(), &columns)?;
        let types = types(&reader.schema(), &columns);
        Ok(Self { has_all: true, ..Self::new(Box::new(reader), columns, names, types) })
    }

    fn new(batches: Batches, columns: Arc<Columns>, names: Vec<String>, types: ColumnTypes) -> Self {
        let like_ids = LikeIdsReader::new(&columns);
        Self {
            batches,
            columns,
            names,
            arrays: Vec::new(),
            next: 0,
            rows: 0,
            number: 1,
            types,
            has_all: false,
            like_ids,
            candidates: (1, Vec::new()),
        }
    }

    /// The types of the columns, by what the table says of itself.
    pub(super) fn types(&self) -> &ColumnTypes {
        &self.types
    }

    /// Reads the next rows; false at the end.
    fn read(&mut self) -> Result<bool, Failed> {
        let Some(batch) = guarded(|| self.batches.next()).map_err(Failed)? else { return Ok(false) };
        let batch =
            batch.map_err(|error| Failed(format!("cannot be read on: {}; copy the file again", told(&error))))?;
        let plain = |name: &String| {
            let array = batch.column_by_name(name).ok_or_else(|| Failed(format!("lacks the column `{name}`")))?;
            without_dictionary(array)
                .map_err(|error| Failed(format!("has a damaged dictionary in `{name}`: {}", told(&error))))
        };
        self.arrays = self.names.iter().map(plain).collect::<Result<_, _>>()?;
        (self.next, self.rows) = (0, batch.num_rows());
        if self.has_all && self.like_ids.goes_on() {
            self.candidates = (self.number, candidates(&batch, &self.columns));
        }
        Ok(true)
    }

    /// What the row before this one has in columns that could be the id.
    fn like_ids(&mut self) -> LikeIds {
        let (first, candidates) = &self.candidates;
        let row = (self.number - 1 - first) as usize;
        let cells = candidates.iter().filter(|(_, array)| row < array.len());
        self.like_ids.take(&self.columns, cells.map(|(name, array)| (name.as_str(), array)), |array| {
            let mut spelled = String::new();
            value(array, row, &mut spelled).ok()?;
            object::id_of(&spelled)
        })
    }

    fn record(&self, row: usize) -> Result<Record, String> {
        let mut line = String::from("{");
        for (name, array) in self.names.iter().zip(&self.arrays) {
            if line.len() > 1 {
                line.push(',');
            }
            spell(name, &mut line);
            line.push(':');
            value(array, row, &mut line).map_err(|problem| format!("has {problem}, in `{name}`"))?;
        }
        line.push('}');
        if line.len() > LONGEST_RECORD {
            return Err(format!("is longer than {} MiB with its columns", LONGEST_RECORD >> 20));
        }
        let object: Object<'_> = serde_json::from_str(&line).map_err(|error| without_line(&error))?;
        object::record(&object, &self.columns)
    }
}

impl Iterator for Rows {
    type Item = Result<Entry, Failed>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.next == self.rows {
            match self.read() {
                Ok(true) => {}
                Ok(false) => return None,
                Err(failed) => return Some(Err(failed)),
            }
        }
        let record = self.record(self.next);
        self.next += 1;
        self.number += 1;
        Some(Ok(Entry { like_ids: self.like_ids(), ..Entry::new(self.number - 1, record) }))
    }
}

/// The names and places of the columns that are asked for.
fn wanted(schema: &Schema, columns: &Columns) -> Result<(Vec<String>, Vec<usize>), Failed> {
    let mut wanted = vec![columns.text()];
    wanted.extend(columns.pair_column.as_deref());
    wanted.extend(columns.span_column.as_deref());
    let is_there = |name: &&str| schema.column_with_name(name).is_some();
    for column in [columns.id(), columns.label()] {
        match column {
            Optional::Named(name) => wanted.push(name),
            Optional::IfThere(name) => wanted.extend(Some(name).filter(is_there)),
            Optional::No => {}
        }
    }
    wanted.extend(columns.carry.iter().map(String::as_str));
    let mut places: Vec<usize> = Vec::new();
    for name in wanted {
        let Some((place, field)) = schema.column_with_name(name) else {
            let is_default = name == "text" && columns.text_column.is_none();
            let advice = if is_default { "; --text-column says which one is the text" } else { "" };
            let known = schema.fields().iter().map(|field| field.name().as_str());
            return Err(Failed(missing(name, known, advice)));
        };
        if schema.fields().iter().filter(|field| field.name() == name).count() > 1 {
            return Err(Failed(format!("has the column `{name}` twice; rename one of them")));
        }
        let is_of_spans = columns.span_column.as_deref() == Some(name) && is_spans(field.data_type());
        if !is_of_spans && !is_taken(field.data_type()) {
            return Err(Failed(format!(
                "has values of type {} in `{name}`; expected strings, numbers, booleans or lists of them; convert the column to strings, or leave it out",
                field.data_type()
            )));
        }
        if !places.contains(&place) {
            places.push(place);
        }
    }
    places.sort_unstable();
    let names = places.iter().map(|&place| schema.field(place).name().clone()).collect();
    Ok((names, places))
}

/// The arrays of columns that could be the id.
fn candidates(batch: &RecordBatch, columns: &Columns) -> Vec<(String, ArrayRef)> {
    let schema = batch.schema();
    let places = places_of_candidates(&schema, columns);
    let plain =
        |place: usize| Some((schema.field(place).name().clone(), without_dictionary(batch.column(place)).ok()?));
    places.into_iter().filter_map(plain).collect()
}

/// The same of the first rows of a Parquet file, read by themselves, as its other rows are read without them. What cannot be read
/// was not asked for.
fn first_candidates(
    file: &File,
    builder: &ParquetRecordBatchReaderBuilder<File>,
    columns: &Columns,
) -> Option<Vec<(String, ArrayRef)>> {
    let places = places_of_candidates(builder.schema(), columns);
    if places.is_empty() {
        return None;
    }
    let mask = ProjectionMask::roots(builder.parquet_schema(), places);
    let metadata = ArrowReaderMetadata::try_new(Arc::clone(builder.metadata()), ArrowReaderOptions::default()).ok()?;
    let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file.try_clone().ok()?, metadata);
    let builder = builder.with_projection(mask).with_batch_size(LOOKED_AT).with_limit(LOOKED_AT);
    let first = guarded(|| builder.build().ok()?.next()?.ok()).ok()??;
    Some(candidates(&first, columns))
}

/// The places of columns of strings or whole numbers that are named like identifiers.
fn places_of_candidates(schema: &Schema, columns: &Columns) -> Vec<usize> {
    let is_id = |of: &DataType| {
        matches!(scalar_type(of), Some(ScalarType::String | ScalarType::Int64)) || *of == DataType::UInt64
    };
    let could_be = |field: &Field| match field.data_type() {
        DataType::Dictionary(_, values) => is_id(values),
        of => is_id(of),
    };
    let fields = schema.fields().iter().enumerate();
    fields.filter(|(_, field)| is_like_id(field.name(), columns) && could_be(field)).map(|(place, _)| place).collect()
}

/// An array whose values are not in a dictionary.
fn without_dictionary(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let Some(dictionary) = array.as_any_dictionary_opt() else { return Ok(Arc::clone(array)) };
    take(&**dictionary.values(), dictionary.keys(), None)
}

/// Whether values of this type are taken.
fn is_taken(of: &DataType) -> bool {
    match (of, entries(of)) {
        (DataType::Dictionary(_, values), _) => is_scalar(values),
        (_, Some(entries)) => is_scalar(entries),
        (of, None) => is_scalar(of),
    }
}

/// Whether values of this type are lists of spans.
fn is_spans(of: &DataType) -> bool {
    entries(of).and_then(entries).is_some_and(DataType::is_integer)
}

/// The type of a list's entries.
fn entries(of: &DataType) -> Option<&DataType> {
    match of {
        DataType::List(entries) | DataType::LargeList(entries) | DataType::FixedSizeList(entries, _) => {
            Some(entries.data_type())
        }
        _ => None,
    }
}

fn is_scalar(of: &DataType) -> bool {
    scalar_type(of).is_some() || *of == DataType::UInt64
}

/// The types of label and carried columns of a table.
fn types(schema: &Schema, columns: &Columns) -> ColumnTypes {
    let column_type = |name: &str| {
        let column = schema.column_with_name(name).and_then(|(_, field)| match field.data_type() {
            DataType::Dictionary(_, values) => scalar_type(values).map(ColumnType::Scalar),
            DataType::List(entries) | DataType::LargeList(entries) | DataType::FixedSizeList(entries, _) => {
                scalar_type(entries.data_type()).map(ColumnType::List)
            }
            of => scalar_type(of).map(ColumnType::Scalar),
        });
        column.unwrap_or(ColumnType::Json)
    };
    let label = match columns.label() {
        Optional::Named(name) | Optional::IfThere(name) if schema.column_with_name(name).is_some() => column_type(name),
        _ => ColumnType::default(),
    };
    let carried = columns.carry.iter().map(|name| (columns.carried_name(name), column_type(name)));
    ColumnTypes { label, carried: carried.collect(), ..ColumnTypes::default() }
}

/// The type that has all values of a type of Arrow; none for the largest integers, which are beyond int64.
fn scalar_type(of: &DataType) -> Option<ScalarType> {
    Some(match of {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null => ScalarType::String,
        DataType::Float16 | DataType::Float32 | DataType::Float64 => ScalarType::Float64,
        DataType::Boolean => ScalarType::Bool,
        DataType::UInt64 => return None,
        of if of.is_integer() => ScalarType::Int64,
        _ => return None,
    })
}

/// Appends a string as JSON.
fn spell(text: &str, line: &mut String) {
    // A string is always JSON.
    line.push_str(&serde_json::to_string(text).unwrap_or_default());
}

/// Appends a value as JSON; an error says what it is.
fn value(array: &ArrayRef, row: usize, line: &mut String) -> Result<(), String> {
    if array.is_null(row) || *array.data_type() == DataType::Null {
        line.push_str("null");
        return Ok(());
    }
    match array.data_type() {
        DataType::Utf8 => spell(array.as_string::<i32>().value(row), line),
        DataType::LargeUtf8 => spell(array.as_string::<i64>().value(row), line),
        DataType::Utf8View => spell(array.as_string_view().value(row), line),
        DataType::Boolean => line.push_str(if array.as_boolean().value(row) { "true" } else { "false" }),
        DataType::Int8 => integer::<Int8Type>(array, row, line),
        DataType::Int16 => integer::<Int16Type>(array, row, line),
        DataType::Int32 => integer::<Int32Type>(array, row, line),
        DataType::Int64 => integer::<Int64Type>(array, row, line),
        DataType::UInt8 => integer::<UInt8Type>(array, row, line),
        DataType::UInt16 => integer::<UInt16Type>(array, row, line),
        DataType::UInt32 => integer::<UInt32Type>(array, row, line),
        DataType::UInt64 => integer::<UInt64Type>(array, row, line),
        DataType::Float16 => {
            let number = array.as_primitive::<Float16Type>().value(row).to_f32();
            float(&number, number.is_finite(), line)?;
        }
        DataType::Float32 => {
            let number = array.as_primitive::<Float32Type>().value(row);
            float(&number, number.is_finite(), line)?;
        }
        DataType::Float64 => {
            let number = array.as_primitive::<Float64Type>().value(row);
            float(&number, number.is_finite(), line)?;
        }
        DataType::List(_) => list(&array.as_list::<i32>().value(row), line)?,
        DataType::LargeList(_) => list(&array.as_list::<i64>().value(row), line)?,
        DataType::FixedSizeList(..) => list(&array.as_fixed_size_list().value(row), line)?,
        of => return Err(format!("a value of type {of}")), // refused when it was opened
    }
    Ok(())
}

fn integer<T: ArrowPrimitiveType>(array: &ArrayRef, row: usize, line: &mut String)
where
    T::Native: Display,
{
    line.push_str(&array.as_primitive::<T>().value(row).to_string());
}

/// Appends a number with as many digits as tell it from all others of its type.
fn float(number: &impl std::fmt::Debug, is_finite: bool, line: &mut String) -> Result<(), String> {
    if !is_finite {
        return Err(format!("{number:?}, which is no number"));
    }
    line.push_str(&format!("{number:?}"));
    Ok(())
}

fn list(entries: &ArrayRef, line: &mut String) -> Result<(), String> {
    line.push('[');
    for entry in 0..entries.len() {
        if entry > 0 {
            line.push(',');
        }
        value(entries, entry, line)?;
    }
    line.push(']');
    Ok(())
}
