//! The `layerwise` command: parse, dispatch, print the error, exit. Nothing else prints errors or exits.

use std::io;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use layerwise::commands::args::{Cli, Command};
use layerwise::commands::console::{self, Console};
use layerwise::error::{Error, Result};
use layerwise::{compare, extract, info, merge, predict, probe, verify};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are "errors" of clap's too, which go to standard output with exit code 0.
            let printed = error.print().or_else(|error| match error.kind() {
                io::ErrorKind::BrokenPipe => Ok(()),
                _ => Err(error),
            });
            return match (error.use_stderr(), printed) {
                (true, _) => ExitCode::from(2),
                (false, Ok(())) => ExitCode::SUCCESS,
                (false, Err(_)) => ExitCode::FAILURE,
            };
        }
    };
    let console = Console::new(&cli.output);
    match run(&cli.command, &console) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error @ Error::ClosedPipe) => ExitCode::from(error.exit_code()),
        Err(error) => {
            console::print_error(&error);
            ExitCode::from(error.exit_code())
        }
    }
}

fn run(command: &Command, console: &Console) -> Result<()> {
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
            io::Write::write_all(&mut io::stdout(), &script).map_err(Error::stdout)
        }
    }
}
