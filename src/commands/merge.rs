//! `merge`: joins the directories of all shards into the one that the whole job would have written.

use super::args::MergeArgs;
use super::console::Console;
use crate::directory::merge::{Merged, merge};
use crate::error::Result;

/// Joins the shards and prints a summary.
///
/// # Errors
/// Those of [`merge`].
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
