//! The CPU's share of the forward pass: embeddings, encoder layers, the pooler's linear layer.
//!
//! Everything here is (tokens, hidden), tokens of all texts one after the other. No step lets a token see the tokens
//! of another text, and every number is computed by a fixed sequence of operations: see the module `product`.

// Models, layers, steps.
mod convolution;
mod embedding;
mod encoder_layer;
mod feed_forward;
mod layer_schedule;
mod layer_sequence;
mod parameters;
#[doc(hidden)]
pub mod simulated_schedule;
#[doc(hidden)]
pub mod single;
mod text_groups;

mod activation;
mod attention;
mod functions;
mod linear;
mod norm;
mod reduce;
mod relative;
mod rotary;
mod softmax;

// Matrix products.
mod dispatch;
mod int8_element;
mod int8_sums;
mod multiply_add;
mod operand_element;
mod output_tile;
mod packed_matrix;
mod prefetch;
mod product;
mod simd_kernel;

// Instruction sets.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod amx;
#[cfg(all(target_arch = "x86_64", any(test, target_os = "linux")))]
mod byte_tile_kernel;
#[cfg(target_arch = "x86_64")]
mod dot_product;
mod instruction_set;
#[cfg(any(test, all(target_arch = "x86_64", target_os = "linux")))]
mod tile_kernel;
#[cfg(any(test, all(target_arch = "x86_64", target_os = "linux")))]
mod tile_registers;

#[cfg(test)]
mod testing;

pub use self::embedding::{Lookup, MOST_TABLES, NoSuchRow, embed};
pub use self::encoder_layer::EncoderLayer;
pub use self::instruction_set::{InstructionSet, VARIABLE};
pub use self::layer_sequence::{VisitLayer, encode_layers};
pub use self::linear::PackedLinear;
pub use self::norm::Norm;
pub use self::parameters::{
    ConvolutionParameters, DisentangledParameters, FeedForwardParameters, LayerNorms, LayerParameters, Parameters,
    ReadRows, RelativePositions,
};
pub use self::relative::{DistanceBias, DistanceBuckets, mpnet_bucket};
pub use self::rotary::RotaryTable;
pub(crate) use self::softmax::softmax_rows;
