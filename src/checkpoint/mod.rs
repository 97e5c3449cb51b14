//! Where a model comes from: the binary itself, a folder, or the Hugging Face hub. All three offer files by name.

mod bundled;
pub mod config;
mod files;
pub mod foreign;
pub mod hub;
mod modules;
mod names;
mod numbers;
mod other_kinds;
mod pickle;
pub mod published;
pub mod sentence;
pub mod weights;

pub use self::files::{BUNDLED, Checkpoint, ModelLocation};
pub use self::modules::{DEFAULTS, Module, TRANSFORMER_SETTINGS};
