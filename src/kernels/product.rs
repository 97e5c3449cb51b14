//! What a matrix product is: its operands, the part of it that is computed, where it goes. Kernels compute it: `simd_kernel` in
//! vector registers, `tile_kernel` in tile registers; `dispatch` says which.
//!
//! Every element of the output is one fixed sequence of operations: its row times its column in the order of the inner
//! dimension, whatever the micro-tile, the batch, the number of threads or the instruction set (but for tile registers). So a
//! text's numbers cannot depend on its company.

use super::output_tile::Strides;
use super::packed_matrix::PanelRow;

/// Rows of a matrix (rows, inner): row i is the elements from `i * stride` on.
#[derive(Clone, Copy)]
pub(super) struct StridedRows<'a, T> {
    pub(super) elements: &'a [T],
    pub(super) stride: usize,
}

impl<'a, T> StridedRows<'a, T> {
    #[inline(always)]
    pub(super) fn row(&self, index: usize, inner: usize) -> &'a [T] {
        &self.elements[index * self.stride..][..inner]
    }

    /// The rows from `row` on.
    pub(super) fn rows_from(self, row: usize) -> Self {
        Self { elements: &self.elements[row * self.stride..], stride: self.stride }
    }
}

/// `out = a · b + bias`, on this thread.
///
/// It can be computed in parts of the inner dimension, one after the other, each of whole chains but for the last: `a` and `b`
/// then hold the part, `bias` is empty but for the last, and all but the first accumulate. The bits are those of the whole.
pub(super) struct Product<'a, T> {
    /// (rows, inner), where the activations lie.
    pub(super) a: StridedRows<'a, T>,
    pub(super) rows: usize,
    /// (panels, inner, 16)
    pub(super) b: &'a [&'a [PanelRow<T>]],
    /// Columns in these panels, without those that fill the last one up.
    pub(super) columns: usize,
    /// (columns), or empty.
    pub(super) bias: &'a [f32],
    /// Whether `out` holds sums that this product is added to.
    pub(super) accumulate: bool,
    /// (rows, columns), with strides.
    pub(super) out: &'a mut [f32],
    pub(super) strides: Strides,
}
