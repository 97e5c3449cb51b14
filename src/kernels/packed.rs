//! Matrices as the product wants them: cut into strips of 16 columns, a strip's rows one after the other.

use std::ops::Range;

use bytemuck::{Pod, Zeroable};

use super::number::{Number, Pair, Rounded};

/// Columns of a strip: one AVX-512 vector, two of AVX2, four of NEON.
pub(super) const STRIP: usize = 16;

/// One row of a strip, a cache line.
#[derive(Debug, Clone, Copy, Zeroable)]
#[repr(C, align(64))]
pub(super) struct Line<T>(pub(super) [T; STRIP]);

// SAFETY: 16 numbers of 4 bytes fill the 64 bytes that the alignment asks for: no padding, and any bits are valid.
unsafe impl Pod for Line<f32> {}
// SAFETY: as above; a pair is a transparent u32.
unsafe impl Pod for Line<Pair> {}
// SAFETY: as above; a rounded number is a transparent f32.
unsafe impl Pod for Line<Rounded> {}

/// A weight of shape (inner, columns): strips of columns, the last one filled up with zeros.
#[derive(Debug)]
pub(super) struct Packed<T> {
    strips: Vec<Vec<Line<T>>>,
    columns: usize,
}

impl<T: Number> Packed<T> {
    /// From strips, each made by [`pack_transposed`].
    pub(super) fn new(strips: Vec<Vec<Line<T>>>, columns: usize) -> Self {
        debug_assert_eq!(strips.len(), columns.div_ceil(STRIP));
        Self { strips, columns }
    }

    /// Columns of the matrix.
    pub(super) fn columns(&self) -> usize {
        self.columns
    }

    /// Some lines of some strips.
    pub(super) fn strips(&self, strips: Range<usize>, lines: Range<usize>) -> Vec<&[Line<T>]> {
        self.strips[strips].iter().map(|strip| &strip[lines.clone()]).collect()
    }
}

/// Appends a strip whose columns are rows of `source`: column j is the `inner` numbers from `j * inner` on.
///
/// Weights come like this, (outputs, inputs).
pub(super) fn pack_transposed<T: Number>(source: &[f32], columns: usize, inner: usize, lines: &mut Vec<Line<T>>) {
    lines.reserve_exact(inner.div_ceil(T::STEP));
    // Squares of 16 × 16: every cache line is read once.
    let mut square = [Line([0.0; STRIP]); STRIP];
    for first in (0..inner).step_by(STRIP) {
        let count = STRIP.min(inner - first);
        for (j, Line(column)) in square[..columns].iter_mut().enumerate() {
            column[count..].fill(0.0);
            column[..count].copy_from_slice(&source[j * inner + first..][..count]);
        }
        push_transposed(&square, count, lines);
    }
}

/// Appends the first `count` columns of a square as lines; `count` is even but for the last square of a matrix.
#[inline(always)]
pub(super) fn push_transposed<T: Number>(square: &[Line<f32>; STRIP], count: usize, lines: &mut Vec<Line<T>>) {
    for place in 0..count.div_ceil(T::STEP) {
        let first = T::first(place, count);
        let next = first + T::STEP - 1; // at most 15: a square is even
        let mut line = [T::default(); STRIP];
        for (number, row) in line.iter_mut().zip(square) {
            *number = T::new([row.0[first], row.0[next]]);
        }
        lines.push(Line(line));
    }
}
