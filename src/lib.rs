//! Embeddings from every encoder layer of BERT models: exact, bit-identical, without Python.
//!
//! Data flows one way, and modules import downward only:
//! arguments ([`cli`]) → [`plan`] → [`input`] → [`tokens`] → [`batch`] → [`encoder`] → [`vectors`] → [`output`].
//! [`extract`] is that pipeline on one page; `ARCHITECTURE.md` says why it is as it is.
//!
//! The parts can be used by themselves:
//!
//! ```
//! use layerwise::batch::Batch;
//! use layerwise::checkpoint::{Checkpoint, Request};
//! use layerwise::encoder::{Encoder, Ops, Settings};
//! use layerwise::input::Text;
//! use layerwise::kernels::InstructionSet;
//! use layerwise::spec::Compute;
//! use layerwise::tokens::Tokenizer;
//!
//! # fn main() -> layerwise::error::Result<()> {
//! let request = Request { model: "bundled", revision: None, offline: true, show_progress: false };
//! let checkpoint = Checkpoint::find(&request)?;
//! let config = checkpoint.config()?;
//! let tokenizer = Tokenizer::load(&checkpoint, config.vocab_size, config.max_position_embeddings)?;
//! let settings = Settings {
//!     deepest: config.num_hidden_layers,
//!     pooler: false,
//!     compute: Compute::F32,
//!     ops: Ops::Kernels,
//!     instruction_set: InstructionSet::from_env(Compute::F32)?,
//! };
//! let weights = checkpoint.weights()?;
//! let encoder = Encoder::load(&weights, &config, settings)?;
//!
//! let text = Text { text: "the bank of the river".to_owned(), words: None };
//! let mut batch = Batch::new();
//! batch.push(&tokenizer.encode(0, &text, None)?.tokens);
//! let mut layers = 0;
//! encoder.visit_hidden_states(&batch, |layer, hidden_state| {
//!     assert_eq!((layer, hidden_state.dims()), (layers, &[batch.tokens(), config.hidden_size][..]));
//!     layers += 1;
//!     Ok(())
//! })?;
//! assert_eq!(layers, config.num_hidden_layers + 1);
//! # Ok(())
//! # }
//! ```

pub mod cli;
pub mod compare;
pub mod console;
pub mod error;
pub mod extract;
pub mod info;
pub mod interrupt;
pub mod merge;
pub mod plan;
mod positional;
pub mod predict;
pub mod probe;
pub mod shard;
pub mod spec;
pub mod verify;

pub mod checkpoint;
pub mod input;
pub mod tokens;

pub mod batch;
pub mod spool;
pub mod windows;

pub mod encoder;
pub mod kernels;

pub mod output;
pub mod pooling;
pub mod sentence;
pub mod vectors;
