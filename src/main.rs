//! The `layerwise` command: what was typed in, an exit code out.

use std::env;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    ExitCode::from(layerwise::commands::main(env::args_os()))
}
