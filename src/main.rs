//! The `layerwise` command: parse, dispatch, print the error, exit. Nothing else prints errors or exits.

use std::io;
use std::process::ExitCode;

use clap::Parser;
use layerwise::Error;
use layerwise::commands::args::Cli;
use layerwise::commands::console::{self, Console};
use layerwise::commands::run;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // clap reports help and version as errors as well; they go to standard output with exit code 0.
            let printed = console::print_usage(&error).or_else(|error| match error.kind() {
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
            console::print_error(&error.as_typed());
            ExitCode::from(error.exit_code())
        }
    }
}
