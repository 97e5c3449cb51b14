//! Embeddings from every encoder layer of BERT and its kin: exact, bit-identical, without Python.
//!
//! ```
//! use layerwise::{Model, Request, VectorKind::{Mean, Token}};
//!
//! # fn main() -> layerwise::Result<()> {
//! let model = Model::open("bundled")?; // or a folder, or an id such as "sentence-transformers/all-MiniLM-L6-v2"
//! let request = Request { kinds: vec![Mean, Token], ..Request::default() }; // of all layers
//! let out = model.encode(["The bank of the river."], &request)?;
//! let layer_3 = out.get(Mean, 3)?; // ndarray view, (texts, hidden_size)
//! let tokens = out.get(Token, 3)?; // (all tokens, hidden_size); out.rows_of(Token, 0) are text 0's
//! # assert_eq!((layer_3.nrows(), tokens.nrows()), (1, out.rows_of(Token, 0).len()));
//! # Ok(())
//! # }
//! ```
//!
//! [`Model`] owns weights, tokenizer, encoder and threads; [`Request`] says what is wanted, [`Plan`] is a request resolved
//! against a model. Vectors come back as [`Embeddings`], or go as they are made to a [`Sink`].
//!
//! The hidden modules hold what the `layerwise` command does beyond this interface, such as output directories, probes
//! and their verification. They serve the command and the tests, and change without notice.

#![cfg_attr(
    not(feature = "cli"),
    allow(dead_code, unused_imports, unreachable_pub, reason = "some of it serves the command alone")
)]

// Modules import downward in this list, and never upward: a test (tests/structure.rs) holds them to it.
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod commands;

#[cfg(feature = "probe")]
#[doc(hidden)]
pub mod predict;
#[cfg(feature = "probe")]
#[doc(hidden)]
pub mod probe;
#[doc(hidden)]
pub mod verify;

mod job;

mod head_start;
mod reuse;
mod stream;

#[cfg(feature = "parquet")]
mod arrow_stream;

#[doc(hidden)]
pub mod directory;
#[doc(hidden)]
pub mod json_lines;

mod tokenize;
mod waiting_rows;

mod embeddings;
mod encode;
mod model;

mod plan;
mod request;
mod sink;
mod text_check;
mod vectors;

#[doc(hidden)]
pub mod pooling;
mod sentence;

#[doc(hidden)]
pub mod encoder;
#[doc(hidden)]
pub mod kernels;

mod counts;
mod shard;
mod spool;
#[doc(hidden)]
pub mod tables;

pub mod batch;
#[doc(hidden)]
mod text_digest;
#[doc(hidden)]
pub mod tokens;
#[doc(hidden)]
pub mod windows;

#[doc(hidden)]
pub mod checkpoint;
#[doc(hidden)]
pub mod input;

#[doc(hidden)]
pub mod column_types;
#[doc(hidden)]
pub mod error;
#[doc(hidden)]
pub mod family;
mod observer;
mod positional;
mod regular_file;
mod sha256;
#[doc(hidden)]
pub mod spec;
#[doc(hidden)]
pub mod threads;

pub use ndarray;

pub use self::batch::{Batch, Tokens};
pub use self::directory::merge::{Merged, merge};
pub use self::embeddings::Embeddings;
pub use self::error::{Error, Result};
pub use self::input::{Columns, Input, Record, Records, Skipped, SkippedLine, SkippedLines, Source, SourceLine, Text};
pub use self::job::DirectoryOptions;
pub use self::model::{Model, ModelBuilder};
pub use self::observer::{Observer, Progress, Unobserved, Work};
pub use self::plan::{ArrayPlan, Plan, Slot};
pub use self::request::Request;
pub use self::shard::Shard;
pub use self::sink::Sink;
pub use self::spec::{
    Combine, Compute, DeviceKind, DeviceSelection, Dtype, Format, InputFormat, LayerSelection, OnBadLine, Overflow,
    SpecialTokens, VectorKind, WordPooling,
};
pub use self::tokens::Encoded;
