//! The output directory: its files, its manifest, and how a job begins, resumes and ends in it.

pub(crate) mod array;
pub mod arrays;
pub mod contents;
pub mod damage;
pub mod existing;
mod flush;
pub(crate) mod folder;
pub mod journal;
mod keys;
pub(crate) mod layout;
pub(crate) mod lock;
pub mod manifest;
pub mod merge;
pub mod names;
pub(crate) mod npy;
mod open_files;
pub mod output_directory;
#[cfg(feature = "parquet")]
mod part_files;
mod part_rows;
pub(crate) mod parts;
pub mod plan_record;
pub(crate) mod replacement;
pub(crate) mod safetensors;
pub mod stored;
pub mod text_files;
pub mod texts;
