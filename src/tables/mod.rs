//! Texts and vectors as tables: the types of their columns, and, with the feature `parquet`, their Arrow arrays and files.

#[cfg(feature = "parquet")]
pub(crate) mod columns;
#[cfg(feature = "parquet")]
pub(crate) mod parquet_file;
pub mod types;
