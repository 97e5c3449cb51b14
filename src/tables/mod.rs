//! Texts and vectors as tables: the types of their columns by their values, and, with the feature `parquet`, their Arrow arrays and files.

#[cfg(feature = "parquet")]
pub(crate) mod columns;
#[cfg(feature = "parquet")]
pub(crate) mod guarded;
#[cfg(feature = "parquet")]
pub(crate) mod parquet_file;
pub(crate) mod seen;
#[cfg(feature = "parquet")]
pub(crate) mod stored_table;

use crate::error::{Error, Result};
use crate::spec::Dtype;

/// Refuses an Arrow stream in a build without it, and numbers that it does not have.
///
/// # Errors
/// [`Error::Usage`] with the way out.
pub(crate) fn check_stream(dtype: Dtype) -> Result<()> {
    if !cfg!(feature = "parquet") {
        return Err(Error::no_parquet("--format arrow"));
    }
    if dtype == Dtype::Bf16 {
        return Err(Error::Usage("--dtype bf16 does not exist in Arrow; choose --dtype f16, or f32".to_owned()));
    }
    Ok(())
}
