//! Groups of texts that belong together, such as those of one patient, author, document or protein family.
//!
//! What a probe learns from one text of a group it can recognize in another, so a group is never on both sides: folds,
//! the control task and the bootstrap take whole groups.

use std::collections::HashSet;
use std::path::Path;

use crate::error::{Error, Result};

/// Groups that an error message names before it only counts.
const NAMED: usize = 5;

/// The groups of labelled texts.
#[derive(Debug, Default)]
pub struct TextGroups {
    /// The group of each text, as an index into `names`.
    pub of_text: Vec<u32>,
    /// The distinct groups, in the order in which they occur.
    pub names: Vec<String>,
}

/// Refuses directories that share a group. `column` is the column of the groups.
///
/// # Errors
/// [`Error::Output`] that names the groups.
pub fn check_apart(column: &str, sides: &[(&Path, &TextGroups)]) -> Result<()> {
    for (index, (path, groups)) in sides.iter().enumerate() {
        for (earlier, other) in &sides[..index] {
            let known: HashSet<&str> = other.names.iter().map(String::as_str).collect();
            let shared: Vec<&str> =
                groups.names.iter().map(String::as_str).filter(|name| known.contains(name)).collect();
            if shared.is_empty() {
                continue;
            }
            let named: Vec<String> = shared.iter().take(NAMED).map(|name| format!("`{name}`")).collect();
            let rest = if shared.len() > NAMED { ", …" } else { "" };
            return Err(Error::Output {
                path: path.to_path_buf(),
                problem: format!(
                    "{} of its {} groups by {column} are in {} as well: {}{rest}; a group that is learned from is no test of what was learned, so keep each in one directory",
                    shared.len(),
                    groups.names.len(),
                    earlier.display(),
                    named.join(", ")
                ),
            });
        }
    }
    Ok(())
}
