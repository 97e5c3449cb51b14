//! The command line: what each subcommand does. clap, colours, progress bars and signals are here and nowhere below.

pub mod args;
mod compare;
pub mod console;
mod dry_run;
mod estimate;
mod extract;
mod help;
mod info;
mod interrupt;
mod merge;
mod occurrences;
mod predict;
mod predict_show;
mod probe;
mod progress;
mod shared;
mod standard_output;
mod verify;
mod visible;

use std::ffi::OsString;
use std::io;

use clap::{CommandFactory, Parser};

use self::args::{Cli, Command};
use self::console::Console;
use self::standard_output::print_data;
use crate::error::{Error, Result};

/// The whole command: parse, dispatch, print the error. Returns the exit code. `typed` begins with the program's name.
///
/// The binary calls it, and the command of the Python package.
pub fn main(typed: impl IntoIterator<Item = OsString>) -> u8 {
    let cli = match Cli::try_parse_from(typed) {
        Ok(cli) => cli,
        Err(error) => {
            // clap reports help and version as errors as well; they go to standard output with exit code 0.
            let printed = console::print_usage(&error).or_else(|error| match error.kind() {
                io::ErrorKind::BrokenPipe => Ok(()),
                _ => Err(error),
            });
            return match (error.use_stderr(), printed) {
                (true, _) => 2,
                (false, Ok(())) => 0,
                (false, Err(_)) => 1,
            };
        }
    };
    let console = Console::new(&cli.output);
    match run(&cli.command, &console) {
        Ok(()) => 0,
        Err(error @ Error::ClosedPipe) => error.exit_code(),
        Err(error) => {
            console::print_error(&error.as_typed());
            error.exit_code()
        }
    }
}

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
