//! Families of encoders as descriptions: what `config.json` calls things, how a token's embedding is made, what a layer
//! consists of, and what a checkpoint names its parameters.
//!
//! A family is data. `checkpoint::config` reads a model's configuration by it, `checkpoint::names` finds its parameters, and
//! the encoder builds itself from the outcome; so a sibling with a block that is there already is one more entry of
//! [`FAMILIES`] and its golden models. What a description cannot say is not computed: it is refused by name.

mod description;
mod layouts;
mod table;

pub use self::description::*;
pub use self::table::{FAMILIES, bert, find};
