//! Columns as Arrow arrays: values of JSON by their type, and vectors as lists of numbers.

use std::io;
use std::sync::Arc;

use arrow_array::builder::{BooleanBuilder, Float64Builder, Int64Builder, StringBuilder};
use arrow_array::types::{ArrowPrimitiveType, Float16Type, Float32Type};
use arrow_array::{Array, ArrayRef, ListArray, PrimitiveArray};
use arrow_buffer::{NullBufferBuilder, OffsetBuffer};
use arrow_schema::{DataType, Field, FieldRef};
use half::slice::HalfFloatSliceExt;
use serde_json::value::RawValue;

use crate::column_types::{ColumnType, ScalarType};
use crate::spec::Dtype;

/// The name of the entries of a list, which the format of Parquet prescribes.
const ELEMENT: &str = "element";

/// A column that is being filled, value by value.
pub(crate) struct ColumnBuilder {
    name: String,
    /// Bytes of its strings so far, and eight for each other value.
    bytes: usize,
    values: ColumnValues,
}

enum ColumnValues {
    Strings(StringBuilder),
    Integers(Int64Builder),
    Numbers(Float64Builder),
    Booleans(BooleanBuilder),
    /// Values as JSON spells them.
    Json(StringBuilder),
    Lists {
        entries: Box<ColumnValues>,
        ends: Vec<i32>,
        is_there: NullBufferBuilder,
    },
}

impl ColumnValues {
    fn of_scalars(scalar: ScalarType) -> Self {
        match scalar {
            ScalarType::String => Self::Strings(StringBuilder::new()),
            ScalarType::Int64 => Self::Integers(Int64Builder::new()),
            ScalarType::Float64 => Self::Numbers(Float64Builder::new()),
            ScalarType::Bool => Self::Booleans(BooleanBuilder::new()),
        }
    }

    fn new(column: ColumnType) -> Self {
        match column {
            ColumnType::Scalar(scalar) => Self::of_scalars(scalar),
            ColumnType::Json => Self::Json(StringBuilder::new()),
            ColumnType::List(scalar) => Self::Lists {
                entries: Box::new(Self::of_scalars(scalar)),
                ends: vec![0],
                is_there: NullBufferBuilder::new(0),
            },
        }
    }

    fn push(&mut self, value: Option<&str>) -> io::Result<()> {
        let value = value.filter(|value| *value != "null");
        match self {
            Self::Strings(strings) => strings.append_option(value.map(serde_json::from_str::<String>).transpose()?),
            Self::Integers(integers) => integers.append_option(value.map(serde_json::from_str).transpose()?),
            // Rust's own conversion is exact, and serde_json's is not in the last digit.
            Self::Numbers(numbers) => {
                numbers.append_option(value.map(str::parse).transpose().map_err(io::Error::other)?);
            }
            Self::Booleans(booleans) => booleans.append_option(value.map(serde_json::from_str).transpose()?),
            Self::Json(strings) => strings.append_option(value),
            Self::Lists { entries, ends, is_there } => {
                let list: Option<Vec<&RawValue>> = value.map(serde_json::from_str).transpose()?;
                is_there.append(list.is_some());
                for value in list.iter().flatten() {
                    entries.push(Some(value.get()))?;
                }
                let end = ends.last().copied().unwrap_or_default() + list.map_or(0, |list| list.len() as i32);
                ends.push(end);
            }
        }
        Ok(())
    }

    fn finish(&mut self) -> ArrayRef {
        match self {
            Self::Strings(strings) | Self::Json(strings) => Arc::new(strings.finish()),
            Self::Integers(integers) => Arc::new(integers.finish()),
            Self::Numbers(numbers) => Arc::new(numbers.finish()),
            Self::Booleans(booleans) => Arc::new(booleans.finish()),
            Self::Lists { entries, ends, is_there } => {
                let entries = entries.finish();
                let field = Arc::new(Field::new(ELEMENT, entries.data_type().clone(), true));
                let ends = OffsetBuffer::new(std::mem::replace(ends, vec![0]).into());
                Arc::new(ListArray::new(field, ends, entries, is_there.finish()))
            }
        }
    }
}

impl ColumnBuilder {
    /// An empty column.
    pub(crate) fn new(name: &str, column: ColumnType) -> Self {
        Self { name: name.to_owned(), bytes: 0, values: ColumnValues::new(column) }
    }

    /// A column of integers.
    pub(crate) fn of_integers(name: &str) -> Self {
        Self::new(name, ColumnType::Scalar(ScalarType::Int64))
    }

    /// About how many bytes its values take.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Appends a value as JSON spells it.
    ///
    /// # Errors
    /// That of a value which is not of the column's type.
    pub(crate) fn push(&mut self, value: Option<&RawValue>) -> io::Result<()> {
        self.bytes += value.map_or(8, |value| value.get().len() + 8);
        let pushed = self.values.push(value.map(RawValue::get));
        pushed.map_err(|error| io::Error::other(format!("`{}`: {error}", self.name)))
    }

    /// Appends a list of strings to a column of them.
    pub(crate) fn push_strings(&mut self, strings: &[String]) {
        if let ColumnValues::Lists { entries, ends, is_there } = &mut self.values
            && let ColumnValues::Strings(entries) = &mut **entries
        {
            strings.iter().for_each(|string| entries.append_value(string));
            ends.push(ends.last().copied().unwrap_or_default() + strings.len() as i32);
            is_there.append(true);
        }
    }

    /// Appends an integer to a column of integers.
    pub(crate) fn push_integer(&mut self, value: Option<i64>) {
        self.bytes += 8;
        if let ColumnValues::Integers(integers) = &mut self.values {
            integers.append_option(value);
        }
    }

    /// Appends a string to a column of strings.
    pub(crate) fn push_string(&mut self, value: Option<&str>) {
        self.bytes += 8 + value.map_or(0, str::len);
        if let ColumnValues::Strings(strings) = &mut self.values {
            strings.append_option(value);
        }
    }

    /// The values so far as an array; the column is empty then.
    pub(crate) fn finish(&mut self) -> (FieldRef, ArrayRef) {
        self.bytes = 0;
        let array = self.values.finish();
        (Arc::new(Field::new(&self.name, array.data_type().clone(), true)), array)
    }
}

/// Rows of vectors, (rows, `columns`), in their stored form.
pub(crate) struct StoredRows {
    bytes: StoredNumbers,
    columns: usize,
}

enum StoredNumbers {
    F32(Vec<f32>),
    F16(Vec<half::f16>),
}

impl StoredRows {
    /// Room for this many rows.
    ///
    /// # Errors
    /// For bfloat16, which neither Parquet nor Arrow has; plans refuse it.
    pub(crate) fn new(rows: usize, columns: usize, dtype: Dtype) -> io::Result<Self> {
        let bytes = match dtype {
            Dtype::F32 => StoredNumbers::F32(vec![0.0; rows * columns]),
            Dtype::F16 => StoredNumbers::F16(vec![half::f16::ZERO; rows * columns]),
            Dtype::Bf16 => return Err(io::Error::other("there is no bfloat16 in Parquet")),
        };
        Ok(Self { bytes, columns })
    }

    /// Rows of numbers, rounded to their type.
    ///
    /// # Errors
    /// Those of [`StoredRows::new`].
    pub(crate) fn of(numbers: &[f32], columns: usize, dtype: Dtype) -> io::Result<Self> {
        let mut stored = Self::new(numbers.len() / columns.max(1), columns, dtype)?;
        match &mut stored.bytes {
            StoredNumbers::F32(of) => of.copy_from_slice(numbers),
            StoredNumbers::F16(of) => of.convert_from_f32_slice(numbers),
        }
        Ok(stored)
    }

    /// The bytes of the numbers, to be filled.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        match &mut self.bytes {
            StoredNumbers::F32(numbers) => bytemuck::cast_slice_mut(numbers),
            StoredNumbers::F16(numbers) => bytemuck::cast_slice_mut(numbers),
        }
    }

    /// An array of lists of rows: of so many for each text.
    pub(crate) fn into_nested(self, name: &str, rows: &[usize]) -> (FieldRef, ArrayRef) {
        let (_, lists) = self.into_lists(ELEMENT);
        let element = Arc::new(Field::new(ELEMENT, lists.data_type().clone(), false));
        let nested = ListArray::new(element, OffsetBuffer::from_lengths(rows.iter().copied()), lists, None);
        (Arc::new(Field::new(name, nested.data_type().clone(), false)), Arc::new(nested))
    }

    /// An array of lists of `columns` numbers each. Neither a list nor a number can be null.
    pub(crate) fn into_lists(self, name: &str) -> (FieldRef, ArrayRef) {
        let lists = match self.bytes {
            StoredNumbers::F32(numbers) => lists::<Float32Type>(numbers, self.columns),
            StoredNumbers::F16(numbers) => lists::<Float16Type>(numbers, self.columns),
        };
        (Arc::new(Field::new(name, lists.data_type().clone(), false)), Arc::new(lists))
    }
}

fn lists<T: ArrowPrimitiveType>(numbers: Vec<T::Native>, columns: usize) -> ListArray {
    let rows = numbers.len() / columns.max(1);
    let offsets = OffsetBuffer::from_lengths(std::iter::repeat_n(columns, rows));
    let numbers = PrimitiveArray::<T>::new(numbers.into(), None);
    ListArray::new(element(T::DATA_TYPE), offsets, Arc::new(numbers), None)
}

fn element(of: DataType) -> FieldRef {
    Arc::new(Field::new(ELEMENT, of, false))
}
