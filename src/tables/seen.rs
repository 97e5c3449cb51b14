//! The types of columns out of their values. They follow from all values of the input, before anything is written, so that
//! every part of a job, on whatever machine, has the same ones.

use indexmap::IndexMap;
use serde_json::value::RawValue;

use crate::column_types::{ColumnType, ColumnTypes, ScalarType};
use crate::input::Record;

/// Largest integer up to which every one is a float64, too.
const LARGEST_EXACT: u64 = 1 << 53;

/// What the values of all columns are, as far as texts were read.
#[derive(Debug, Clone, Default)]
pub(crate) struct ColumnsSeen {
    label: ValuesSeen,
    word_label: ValuesSeen,
    carried: IndexMap<String, ValuesSeen>,
}

impl ColumnsSeen {
    /// Looks at the columns of a text.
    pub(crate) fn add(&mut self, record: &Record) {
        if let Some(label) = &record.label {
            self.label.add(label);
            if label.get().starts_with('[') {
                let entries: Vec<&RawValue> = serde_json::from_str(label.get()).unwrap_or_default();
                entries.into_iter().for_each(|entry| self.word_label.add(entry));
            } else {
                self.word_label.add(label);
            }
        }
        for (name, value) in &record.carried {
            match self.carried.get_mut(name) {
                Some(seen) => seen.add(value),
                None => self.carried.entry(name.clone()).or_default().add(value),
            }
        }
    }

    /// The types that hold all values.
    pub(crate) fn types(&self) -> ColumnTypes {
        ColumnTypes {
            label: self.label.column_type(),
            word_label: self.word_label.column_type(),
            carried: self.carried.iter().map(|(name, seen)| (name.clone(), seen.column_type())).collect(),
        }
    }
}

/// What the values of a column are.
#[derive(Debug, Clone, Copy, Default)]
struct ValuesSeen {
    scalars: Kinds,
    is_list: bool,
    entries: Kinds,
}

/// Kinds of values that are no lists.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Kinds {
    string: bool,
    boolean: bool,
    integer: bool,
    /// An integer that float64 may not have.
    large_integer: bool,
    float: bool,
    /// Objects, lists in lists, numbers beyond 64 bits, strings that are not of Unicode.
    other: bool,
}

impl ValuesSeen {
    fn add(&mut self, value: &RawValue) {
        if !value.get().starts_with('[') {
            return self.scalars.add(value);
        }
        self.is_list = true;
        match serde_json::from_str::<Vec<&RawValue>>(value.get()) {
            Ok(entries) => entries.into_iter().for_each(|entry| self.entries.add(entry)),
            Err(_) => self.scalars.other = true,
        }
    }

    fn column_type(self) -> ColumnType {
        let of_lists = || self.entries.scalar_type().map(ColumnType::List);
        let of_scalars = || self.scalars.scalar_type().map(ColumnType::Scalar);
        let column = match (self.is_list, self.scalars == Kinds::default()) {
            (true, true) => of_lists(),
            (true, false) => None,
            (false, _) => of_scalars(),
        };
        column.unwrap_or(ColumnType::Json)
    }
}

impl Kinds {
    fn add(&mut self, value: &RawValue) {
        let spelled = value.get();
        match spelled.as_bytes().first() {
            Some(b'n') => {}
            Some(b't' | b'f') => self.boolean = true,
            Some(b'"') if !spelled.contains('\\') || serde_json::from_str::<String>(spelled).is_ok() => {
                self.string = true;
            }
            Some(b'-' | b'0'..=b'9') => self.add_number(spelled),
            _ => self.other = true,
        }
    }

    fn add_number(&mut self, spelled: &str) {
        let integer = spelled.parse::<i64>().ok().filter(|_| spelled != "-0");
        let is_finite = spelled.parse::<f64>().is_ok_and(f64::is_finite);
        match integer {
            Some(integer) => {
                self.integer = true;
                self.large_integer |= integer.unsigned_abs() > LARGEST_EXACT;
            }
            None if is_finite && (spelled == "-0" || spelled.contains(['.', 'e', 'E'])) => self.float = true,
            None => self.other = true,
        }
    }

    /// The type that all have; a string if there are none.
    fn scalar_type(self) -> Option<ScalarType> {
        let Self { string, boolean, integer, large_integer, float, other } = self;
        match (string, boolean, integer, float) {
            _ if other => None,
            (_, false, false, false) => Some(ScalarType::String),
            (false, true, false, false) => Some(ScalarType::Bool),
            (false, false, true, false) => Some(ScalarType::Int64),
            (false, false, _, true) if !large_integer => Some(ScalarType::Float64),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(values: &[&str]) -> String {
        let mut seen = ValuesSeen::default();
        for value in values {
            seen.add(&RawValue::from_string((*value).to_owned()).unwrap());
        }
        seen.column_type().name()
    }

    #[test]
    fn a_type_holds_every_value_as_it_is() {
        for (values, expected) in [
            (&[][..], "string"),
            (&["null"], "string"),
            (&["\"a\"", "null", "\"\\u00e9\""], "string"),
            (&["\"\\ud800\""], "json"),
            (&["1", "-9223372036854775808"], "int64"),
            (&["9223372036854775808"], "json"),
            (&["1", "0.5", "-0", "1e3"], "float64"),
            (&["9007199254740993", "0.5"], "json"),
            (&["1e999"], "json"),
            (&["true", "false", "null"], "bool"),
            (&["true", "1"], "json"),
            (&["1", "\"1\""], "json"),
            (&["[]"], "list<string>"),
            (&["[1]", "[]", "[null]", "null"], "list<int64>"),
            (&["[1]", "[0.5]"], "list<float64>"),
            (&["[\"a\"]"], "list<string>"),
            (&["[1]", "[\"a\"]"], "json"),
            (&["[1]", "1"], "json"),
            (&["[[1]]"], "json"),
            (&["{}"], "json"),
        ] {
            assert_eq!(name(values), expected, "{values:?}");
        }
    }
}
