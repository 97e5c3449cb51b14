//! The part of the Python package `layerwise` that is in Rust: models, vectors, probes, Parquet files and the command.
//!
//! It holds no more than what has to be here. Defaults, documentation and what is made of numpy's arrays is Python, in
//! `layerwise/`; `layerwise/_layerwise.pyi` says what each function takes.

mod directory;
mod embeddings;
mod errors;
mod interruptible;
mod model;
mod probes;
mod settings;
mod texts;

#[pyo3::pymodule]
mod _layerwise {
    use std::ffi::OsString;

    use pyo3::prelude::*;

    #[pymodule_export]
    use super::directory::OpenDirectory;
    #[pymodule_export]
    use super::embeddings::EncodedTexts;
    #[pymodule_export]
    use super::model::OpenModel;
    #[pymodule_export]
    use super::probes::{OpenPredictor, probe};

    #[pymodule_export]
    const VERSION: &str = env!("CARGO_PKG_VERSION");

    /// The command `layerwise`. Returns its exit code.
    #[pyfunction]
    fn command(py: Python<'_>, typed: Vec<OsString>) -> u8 {
        py.detach(|| layerwise::commands::main(typed))
    }
}
