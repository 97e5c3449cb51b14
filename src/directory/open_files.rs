//! How many files a process may hold open: a job holds one for each array, and the system's limit may be less.

use std::path::Path;

use crate::error::{Error, Result};

/// Files that a process has open beside those of arrays: the model's, the input's, the first pass's, the terminal.
#[cfg(unix)]
const OTHERS: u64 = 64;

/// Raises the process's limit of open files to what `arrays` files need, as far as the system lets it.
///
/// # Errors
/// [`Error::Output`] when that many are not allowed.
#[cfg(unix)]
pub(super) fn allow(arrays: usize, directory: &Path) -> Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let needed = arrays as u64 + OTHERS;
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    let raised = maximum.map_or(needed, |maximum| maximum.min(needed));
    let is_raised = setrlimit(Resource::Nofile, Rlimit { current: Some(raised), maximum }).is_ok();
    if is_raised && raised >= needed {
        return Ok(());
    }
    Err(Error::Output {
        path: directory.to_owned(),
        problem: format!(
            "takes {needed} open files for {arrays} arrays, and the system allows {raised} (`ulimit -n`); raise that, or name fewer layers or kinds of vectors (--layers, --emit)"
        ),
    })
}

/// Where there is no such limit.
#[cfg(not(unix))]
pub(super) fn allow(_arrays: usize, _directory: &Path) -> Result<()> {
    Ok(())
}
