//! The command line: what each subcommand does. clap, colours, progress bars and signals are here and nowhere below.

pub mod args;
pub mod console;
pub mod interrupt;
