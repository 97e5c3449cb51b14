//! Embeddings from every encoder layer of BERT models: exact, bit-identical, without Python.
//!
//! Data flows one way, and modules import downward only:
//! arguments ([`cli`]) → [`plan`] → [`input`] → [`tokens`] → [`batch`] → [`encoder`] → [`vectors`] → [`output`].
//! [`extract`] is that pipeline on one page; `ARCHITECTURE.md` says why it is as it is.

pub mod cli;
pub mod console;
pub mod error;
pub mod extract;
pub mod info;
pub mod interrupt;
pub mod plan;
pub mod spec;

pub mod checkpoint;
pub mod input;
pub mod tokens;

pub mod batch;
pub mod spool;

pub mod encoder;
pub mod kernels;

pub mod output;
pub mod pooling;
pub mod vectors;
