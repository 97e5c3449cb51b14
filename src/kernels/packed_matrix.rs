//! The right-hand matrix of a product, packed as BLIS packs it: in micro-panels of 16 columns, in which the rows of a panel
//! lie one after the other, in the order in which the kernels read them.

use std::ops::Range;

use bytemuck::{Pod, Zeroable};

use super::operand_element::{Bf16AsF32, Bf16Pair, FloatElement, OperandElement};

/// Columns of a panel: one vector of AVX-512, two of AVX2, four of NEON.
pub(super) const PANEL_WIDTH: usize = 16;

/// One row of a panel, a cache line.
#[derive(Debug, Clone, Copy, Zeroable)]
#[repr(C, align(64))]
pub(super) struct PanelRow<T>(pub(super) [T; PANEL_WIDTH]);

// SAFETY: 16 numbers of 4 bytes fill the 64 bytes that the alignment asks for: no padding, and any bits are valid.
unsafe impl Pod for PanelRow<f32> {}
// SAFETY: as above; a pair is a transparent u32.
unsafe impl Pod for PanelRow<Bf16Pair> {}
// SAFETY: as above; a rounded number is a transparent f32.
unsafe impl Pod for PanelRow<Bf16AsF32> {}

/// What weights are packed into.
pub(super) trait Pack: OperandElement {
    /// Appends a panel whose columns are rows of `source` (columns, inner), as the rows of a weight (outputs, inputs) are.
    fn pack(source: &[f32], columns: usize, inner: usize, panel: &mut Vec<PanelRow<Self>>);
}

impl<T: FloatElement> Pack for T {
    fn pack(source: &[f32], columns: usize, inner: usize, panel: &mut Vec<PanelRow<T>>) {
        pack_transposed(source, columns, inner, panel);
    }
}

/// A packed matrix (inner, columns). The last panel is filled up with columns of zeros.
#[derive(Debug)]
pub(super) struct PackedMatrix<T> {
    /// (panels, elements of the inner dimension, 16)
    panels: Vec<Vec<PanelRow<T>>>,
    columns: usize,
}

impl<T: OperandElement> PackedMatrix<T> {
    /// From panels, each made by [`Pack::pack`].
    pub(super) fn new(panels: Vec<Vec<PanelRow<T>>>, columns: usize) -> Self {
        debug_assert_eq!(panels.len(), columns.div_ceil(PANEL_WIDTH));
        Self { panels, columns }
    }

    /// Columns of the matrix, without those that fill it up.
    pub(super) fn columns(&self) -> usize {
        self.columns
    }

    /// Some rows of some panels.
    pub(super) fn panels(&self, panels: Range<usize>, rows: Range<usize>) -> Vec<&[PanelRow<T>]> {
        self.panels[panels].iter().map(|panel| &panel[rows.clone()]).collect()
    }
}

/// Appends a panel whose columns are rows of `source` (columns, inner), as the rows of a weight (outputs, inputs) are.
pub(super) fn pack_transposed<T: FloatElement>(
    source: &[f32],
    columns: usize,
    inner: usize,
    panel: &mut Vec<PanelRow<T>>,
) {
    panel.reserve_exact(inner.div_ceil(T::VALUES));
    // In squares of 16 × 16, so that every cache line of the source is read once.
    let mut square = [PanelRow([0.0; PANEL_WIDTH]); PANEL_WIDTH];
    for first in (0..inner).step_by(PANEL_WIDTH) {
        let count = PANEL_WIDTH.min(inner - first);
        for (j, PanelRow(column)) in square[..columns].iter_mut().enumerate() {
            column[count..].fill(0.0);
            column[..count].copy_from_slice(&source[j * inner + first..][..count]);
        }
        push_transposed(&square, count, panel);
    }
}

/// Appends the first `count` columns of a square as rows of a panel; `count` is even but for the last square of a matrix.
#[inline(always)]
pub(super) fn push_transposed<T: FloatElement>(
    square: &[PanelRow<f32>; PANEL_WIDTH],
    count: usize,
    panel: &mut Vec<PanelRow<T>>,
) {
    for k in 0..count.div_ceil(T::VALUES) {
        let first = T::first_value(k, count);
        let last = first + T::VALUES - 1; // at most 15, as the width of a square is even
        let mut panel_row = [T::default(); PANEL_WIDTH];
        for (element, row) in panel_row.iter_mut().zip(square) {
            *element = T::new([row.0[first], row.0[last]]);
        }
        panel.push(PanelRow(panel_row));
    }
}
