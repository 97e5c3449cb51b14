//! Tables that may be damaged, in the hands of libraries that may not foresee it.

use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs a reader of what may be damaged, where a panic is damage, too. The error is a predicate.
pub(crate) fn guarded<T>(read: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(read))
        .map_err(|_| "is damaged in a way that its reader does not foresee; copy the file again".to_owned())
}

/// What a library says of a problem, without what it says of itself.
pub(crate) fn told(error: &dyn Display) -> String {
    let text = error.to_string();
    text.rsplit("error: ").next().unwrap_or_default().trim_end_matches('.').to_owned()
}
