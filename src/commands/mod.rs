//! The command line: what each subcommand does. clap, colours, progress bars and signals are here and nowhere below.

pub mod args;
mod compare;
pub mod console;
mod dry_run;
mod extract;
mod help;
mod info;
mod interrupt;
mod merge;
mod predict;
mod predict_show;
mod probe;
mod progress;
mod shared;
mod standard_output;
mod verify;
mod visible;

use clap::CommandFactory;

use self::args::{Cli, Command};
use self::console::Console;
use self::standard_output::print_data;
use crate::error::Result;

/// Runs the subcommand that was given.
///
/// # Errors
/// Any of [`Error`](crate::error::Error): what is wrong, where, and what helps.
pub fn run(command: &Command, console: &Console) -> Result<()> {
    match command {
        Command::Extract(args) => extract::run(args, console),
        Command::Compare(args) => compare::run(args, console),
        Command::Probe(args) => probe::run(args, console),
        Command::Predict(args) => predict::run(args, console),
        Command::Merge(args) => merge::run(args, console),
        Command::Info(args) => info::run(args, console),
        Command::Verify(args) => verify::run(args, console),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "layerwise", &mut script);
            print_data(&script)
        }
    }
}
