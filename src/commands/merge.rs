//! `merge`: the directories of all shards become the one that the job would have written by itself.

use super::args::MergeArgs;
use super::console::Console;
use crate::directory::merge::{Merged, merge};
use crate::error::Result;

/// Joins the shards and says so.
///
/// # Errors
/// As [`merge`].
pub(super) fn run(args: &MergeArgs, console: &Console) -> Result<()> {
    let output = args.output.display();
    let Merged { texts, was_there } = merge(&args.shards, &args.output, args.overwrite)?;
    if was_there {
        console.summary(&format!("{output} already holds this job; nothing to do"));
    } else {
        console.summary(&format!("{texts} texts of {} shards → {output}", args.shards.len()));
    }
    Ok(())
}
