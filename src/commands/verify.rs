//! `verify`: checks that a directory still holds, byte for byte, what its manifest describes.

use std::io::{self, IsTerminal};
use std::sync::Arc;

use super::args::VerifyArgs;
use super::console::Console;
use super::standard_output;
use crate::directory::damage::Damage;
use crate::error::{Error, Result, bytes};
use crate::input::Source;
use crate::observer::Observer;
use crate::verify::{RecomputeRequest, Verification, verify};

/// Verifies a directory and prints the damages.
///
/// # Errors
/// [`Error::Damaged`] when there is any damage, [`Error::Output`] when the directory holds no complete output or cannot be read; those of
/// recomputing.
pub(super) fn run(args: &VerifyArgs, console: &Console) -> Result<()> {
    let directory = args.directory.as_path();
    let observer: Arc<dyn Observer> = Arc::new(console.clone());
    let input = match &args.input[..] {
        [] if io::stdin().is_terminal() => Vec::new(),
        [] => vec![Source::Stdin],
        paths => paths.iter().map(|path| Source::of_path(path)).collect(),
    };
    let request = args.recompute.map(|texts| RecomputeRequest {
        texts,
        input,
        model: args.model.clone(),
        seed: args.seed,
        offline: args.offline,
    });
    let Verification { damages, arrays, bytes: size, time, remark } = verify(directory, request.as_ref(), &observer)?;
    print(&damages, args.json)?;
    let unread = damages.iter().filter(|damage| damage.unread).count();
    if unread > 0 && unread == damages.len() {
        // Nothing is known to be wrong, and to do the job anew would be the wrong advice.
        let problem = format!(
            "could not be read as a whole, and nothing else is wrong with it{remark}; see to the permissions and the disk, and verify it again"
        );
        return Err(Error::Output { path: directory.to_owned(), problem });
    }
    if !damages.is_empty() {
        return Err(Error::Damaged { path: directory.to_owned(), problems: damages.len(), remark });
    }
    let seconds = time.as_secs_f64();
    let speed = bytes((size as f64 / seconds.max(1e-9)) as u64);
    console.summary(&format!(
        "{} is whole: {arrays} arrays, {} in {seconds:.1} s ({speed}/s){remark}",
        directory.display(),
        bytes(size)
    ));
    Ok(())
}

/// Prints the damages on standard output, as they are data.
fn print(damages: &[Damage], json: bool) -> Result<()> {
    let text = if json {
        serde_json::to_string_pretty(damages).map_err(|error| Error::stdout(error.into()))? + "\n"
    } else {
        damages.iter().map(|damage| format!("{damage}\n")).collect()
    };
    standard_output::print(&text)
}
