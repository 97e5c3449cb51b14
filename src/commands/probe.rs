//! `probe`: fits a probe on each layer, to find the layer that represents a label best.

use super::args::ProbeArgs;
use super::console::Console;
use super::standard_output::{columns_of_terminal, print};
use crate::error::{Error, Result};
use crate::kernels::InstructionSet;
use crate::probe::report::Report;
use crate::probe::{ProbeRequest, probe, table};
use crate::spec::Compute;
use crate::threads::start_threads;

/// Fits probes, evaluates them and prints the report.
///
/// # Errors
/// Those of [`probe`]; [`Error::Usage`] for threads that cannot be started.
pub(super) fn run(args: &ProbeArgs, console: &Console) -> Result<()> {
    // A probe uses no kernel, but an unknown instruction set in the variable is reported all the same.
    InstructionSet::from_env(Compute::F32)?;
    if args.folds.is_some() && args.dev.is_some() && args.test.is_some() {
        return Err(Error::Usage(
            "--folds is for cross-validation, which neither chooses nor scores where there are --dev and --test; leave it out"
                .to_owned(),
        ));
    }
    let pool = start_threads(args.threads.map(usize::from))?;
    let show = |report: &Report| {
        let printed = if args.json { report.to_json()? } else { table::render(report, columns_of_terminal()) };
        print(&printed)
    };
    pool.install(|| probe(&request(args), console, show))?;
    if let Some(output) = &args.output {
        console.summary(&format!("report → {}", output.display()));
    }
    Ok(())
}

fn request(args: &ProbeArgs) -> ProbeRequest {
    let of_all = ProbeRequest::new(&args.train);
    ProbeRequest {
        dev: args.dev.clone(),
        test: args.test.clone(),
        kind: args.emit,
        layers: args.layers.clone(),
        best_set: args.best_set.map_or(of_all.best_set, usize::from),
        label: args.label.clone().unwrap_or(of_all.label),
        group: args.group.clone(),
        task: args.task,
        score: args.score,
        class_weight: args.class_weight,
        crf: args.crf,
        calibrate: args.calibrate,
        strengths: args.strength.clone(),
        folds: args.folds.map_or(of_all.folds, usize::from),
        seed: args.seed,
        control: !args.no_control,
        mix: !args.no_mix,
        output: args.output.clone(),
        overwrite: args.overwrite,
        memory: u64::from(args.memory) << 20,
        train: of_all.train,
    }
}
