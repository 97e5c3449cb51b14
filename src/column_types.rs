//! The types of columns whose values are JSON.

use indexmap::IndexMap;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The type of a value that is no list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ScalarType {
    /// A string.
    #[default]
    String,
    /// An integer of 64 bits.
    Int64,
    /// A number, rounded to float64.
    Float64,
    /// True or false.
    Bool,
}

/// The type of a column. Any value may be null.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnType {
    /// One value in each row.
    Scalar(ScalarType),
    /// A list of values in each row.
    List(ScalarType),
    /// Values that have no type in common, as JSON spells them.
    Json,
}

impl ScalarType {
    const ALL: [Self; 4] = [Self::String, Self::Int64, Self::Float64, Self::Bool];

    fn name(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Int64 => "int64",
            Self::Float64 => "float64",
            Self::Bool => "bool",
        }
    }
}

impl Default for ColumnType {
    fn default() -> Self {
        Self::Scalar(ScalarType::String)
    }
}

impl ColumnType {
    /// The name in manifests: `int64`, `list<string>`, `json`.
    pub fn name(self) -> String {
        match self {
            Self::Scalar(scalar) => scalar.name().to_owned(),
            Self::List(scalar) => format!("list<{}>", scalar.name()),
            Self::Json => "json".to_owned(),
        }
    }
}

impl Serialize for ColumnType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.name())
    }
}

impl<'de> Deserialize<'de> for ColumnType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        let of_scalars = ScalarType::ALL.into_iter().flat_map(|scalar| [Self::Scalar(scalar), Self::List(scalar)]);
        let found = of_scalars.chain([Self::Json]).find(|column| column.name() == name);
        found.ok_or_else(|| D::Error::custom(format!("`{name}` is no type of a column")))
    }
}

/// The types of the columns that texts have; the manifest's key `columns`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ColumnTypes {
    /// That of the label of a text.
    pub label: ColumnType,
    /// That of the label of a word: an entry of the text's list of labels, or the text's only one.
    pub word_label: ColumnType,
    /// Those of the carried columns, by name and in order.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub carried: IndexMap<String, ColumnType>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_read_as_they_were_written() {
        for column in ScalarType::ALL.into_iter().flat_map(|s| [ColumnType::Scalar(s), ColumnType::List(s)]) {
            let written = serde_json::to_string(&column).unwrap();
            assert_eq!(serde_json::from_str::<ColumnType>(&written).unwrap(), column);
        }
        assert!(serde_json::from_str::<ColumnType>("\"list<json>\"").is_err());
    }
}
