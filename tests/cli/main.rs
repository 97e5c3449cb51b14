//! The `layerwise` binary as its users meet it: commands typed, files and streams read back.
//!
//! `desk` has the words these tests are told in (`running` those that only Unix has), `models` the golden models and
//! the ways to break them, `arrays` an independent reader of the files. Nothing here needs a network, a GPU or more
//! than a temporary directory.

mod arrays;
mod desk;
mod models;
#[cfg(unix)]
mod reuse;
mod running;
#[path = "../support/word_ids.rs"]
mod word_ids;

mod layout;
mod numbers;
mod texts;
mod windows;

#[cfg(feature = "parquet")]
mod columnar;
mod formats;
mod ids;
mod input;
mod instruction_sets;
mod same_bytes;

mod again;
mod bad_input;
mod bad_lines;
mod bad_models;
mod bad_output;
mod bad_usage;
mod bad_weights;
mod skipped_lines;
mod spans;
mod streams;

#[cfg(all(unix, feature = "parquet"))]
mod arrow_workers;
mod compare;
mod families;
mod head_start;
mod help;
mod info;
mod messages;
#[cfg(unix)]
mod not_ours;
#[cfg(feature = "parquet")]
mod parts;
mod probe;
mod published;
mod published_folders;
mod shards;
#[cfg(unix)]
mod signals;
#[cfg(unix)]
mod unlosable;
mod verify;
#[cfg(not(feature = "bundled"))]
mod without_a_model;
#[cfg(unix)]
mod workers;
