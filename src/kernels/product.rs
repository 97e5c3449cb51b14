//! The matrix product: rows times packed columns, every output element one fixed sequence of operations.
//!
//! A tile of a few rows and a few strips sweeps the whole inner dimension with its sums in registers. Element (i, j) is
//! the same sequence whatever the tile, the batch, the number of threads or the instruction set, so a text's numbers
//! cannot depend on its company. Nothing is blocked: strips stay in the second-level cache while all rows of a task
//! pass them, and activations are used where they lie.

use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::number::{Number, Step};
use super::packed::{Line, STRIP};

/// Rows of the left-hand matrix: row `i` is the numbers from `i * stride` on.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a, T> {
    pub(super) data: &'a [T],
    pub(super) stride: usize,
}

impl<'a, T> Rows<'a, T> {
    #[inline(always)]
    pub(super) fn row(&self, index: usize, inner: usize) -> &'a [T] {
        &self.data[index * self.stride..][..inner]
    }
}

/// `out = a · b + bias`, on this thread.
pub(super) struct Product<'a, T> {
    pub(super) a: Rows<'a, T>,
    /// Number of rows.
    pub(super) rows: usize,
    /// Strips of the right-hand matrix.
    pub(super) b: &'a [&'a [Line<T>]],
    /// Columns in these strips; the last one may be filled up with zeros.
    pub(super) columns: usize,
    /// One number a column; or none.
    pub(super) bias: &'a [f32],
    /// Row i of strip s starts at `i * row_stride + s * strip_stride`.
    pub(super) out: &'a mut [f32],
    pub(super) row_stride: usize,
    pub(super) strip_stride: usize,
}

impl<'a, T: Number> Product<'a, T> {
    /// Does it.
    pub(super) fn run(self) {
        T::multiply(self);
    }

    pub(super) fn by<M: Step<T>>(self, _: M) -> By<'a, T, M> {
        By { product: self, step: std::marker::PhantomData }
    }
}

/// A product in one kind of step.
pub(super) struct By<'a, T, M> {
    product: Product<'a, T>,
    step: std::marker::PhantomData<M>,
}

impl<T: Number, M: Step<T>> WithSimd for By<'_, T, M> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        // Rows and strips of a tile fill the vector registers but for the few that hold operands: of 32 with AVX-512,
        // 16 with AVX2, 32 with NEON.
        match S::F32_LANES {
            16 if M::TALL == 8 => self.sweep::<S, 8, 3, 1>(simd),
            16 => self.sweep::<S, 4, 3, 1>(simd),
            8 => self.sweep::<S, 6, 1, 2>(simd),
            4 => self.sweep::<S, 4, 1, 4>(simd),
            1 => self.sweep::<S, 1, 1, 16>(simd),
            // 2 lanes: no instruction set has them.
            lanes => unreachable!("vectors of {lanes} float32 do not divide a strip"),
        }
    }
}

impl<T: Number, M: Step<T>> By<'_, T, M> {
    /// Tiles of MR rows × NS strips, a strip being NV vectors; at the edges smaller ones.
    #[inline(always)]
    fn sweep<S: Simd, const MR: usize, const NS: usize, const NV: usize>(&mut self, simd: S) {
        let (mut strip, end) = (0, self.product.b.len());
        while strip < end {
            // 4 strips are better two and two than three and one.
            let count = if NS == 3 && end - strip == 4 { 2 } else { NS.min(end - strip) };
            match count {
                3 => self.column::<S, MR, 3, NV>(simd, strip),
                2 => self.column::<S, MR, 2, NV>(simd, strip),
                _ => self.column::<S, MR, 1, NV>(simd, strip),
            }
            strip += count;
        }
    }

    /// All rows, for NS strips.
    #[inline(always)]
    fn column<S: Simd, const MR: usize, const NS: usize, const NV: usize>(&mut self, simd: S, strip: usize) {
        let (mut row, end) = (0, self.product.rows);
        while row + MR <= end {
            self.tile::<S, MR, NS, NV>(simd, row, strip);
            row += MR;
        }
        if MR > 4 && row + 4 <= end {
            self.tile::<S, 4, NS, NV>(simd, row, strip);
            row += 4;
        }
        match end - row {
            3 => self.tile::<S, 3, NS, NV>(simd, row, strip),
            2 => self.tile::<S, 2, NS, NV>(simd, row, strip),
            1 => self.tile::<S, 1, NS, NV>(simd, row, strip),
            _ => {}
        }
    }

    #[inline(always)]
    fn tile<S: Simd, const MR: usize, const NS: usize, const NV: usize>(&mut self, simd: S, row: usize, strip: usize) {
        let Product { a, b, columns, bias, row_stride, strip_stride, .. } = self.product;
        let inner = b[strip].len();
        let a: [&[T]; MR] = std::array::from_fn(|r| a.row(row + r, inner));
        let lines: [_; NS] = std::array::from_fn(|s| &b[strip + s][..inner]);
        let zero = simd.splat_f32s(0.0);
        let mut total = [[[zero; NV]; NS]; MR];
        let mut first = 0;
        while first < inner {
            let end = inner.min(first.saturating_add(M::CHAIN));
            let a: [&[T]; MR] = std::array::from_fn(|r| &a[r][first..end]);
            let lines: [_; NS] = std::array::from_fn(|s| &lines[s][first..end]);
            let mut sum = [[[zero; NV]; NS]; MR];
            for k in 0..end - first {
                let weights: [[M::Vector<S>; NV]; NS] =
                    std::array::from_fn(|s| std::array::from_fn(|v| M::load(simd, &lines[s][k].0, v)));
                for r in 0..MR {
                    let value = M::splat(simd, a[r][k]);
                    for s in 0..NS {
                        for v in 0..NV {
                            sum[r][s][v] = M::multiply_add(simd, value, weights[s][v], sum[r][s][v]);
                        }
                    }
                }
            }
            self.fetch_ahead::<MR, NS>(row, strip, first..end);
            for r in 0..MR {
                for s in 0..NS {
                    for v in 0..NV {
                        total[r][s][v] = simd.add_f32s(total[r][s][v], sum[r][s][v]);
                    }
                }
            }
            first = end;
        }
        for (r, total) in total.iter().enumerate() {
            for (s, total) in total.iter().enumerate() {
                let first = (strip + s) * STRIP; // of the columns
                let width = STRIP.min(columns - first);
                let out = &mut self.product.out[(row + r) * row_stride + (strip + s) * strip_stride..][..width];
                let bias = if bias.is_empty() { &[0.0; STRIP] } else { &bias[first..first + width] };
                if width == STRIP {
                    let (out, _) = S::as_mut_simd_f32s(out);
                    let (bias, _) = S::as_simd_f32s(bias);
                    for v in 0..NV {
                        out[v] = simd.add_f32s(total[v], bias[v]);
                    }
                } else {
                    let mut values = [0.0; STRIP];
                    let (vectors, _) = S::as_mut_simd_f32s(&mut values);
                    vectors.copy_from_slice(total);
                    store_part(&values, bias, out);
                }
            }
        }
    }
}

impl<T: Number, M: Step<T>> By<'_, T, M> {
    /// Asks for a part of the next strips, so that all of them are in the second-level cache when the rows of this task
    /// have passed the current ones: `row` of all rows, and `done` of the inner dimension, say which part.
    ///
    /// Without it the first tile of new strips waits for memory: BERT-base, 64 rows, 98 instead of 110 GFLOP/s.
    #[inline(always)]
    fn fetch_ahead<const MR: usize, const NS: usize>(&self, row: usize, strip: usize, done: Range<usize>) {
        let Product { b, rows, .. } = self.product;
        for s in 0..NS {
            if let Some(lines) = b.get(strip + NS + s) {
                // Tiles before this one have asked for this many lines, and chains before this one for their share.
                let at = |k: usize| (row * lines.len() + k * MR) / rows;
                for line in &lines[at(done.start).min(lines.len())..at(done.end).min(lines.len())] {
                    prefetch(line);
                }
            }
        }
    }
}

/// Asks for a cache line.
#[inline(always)]
fn prefetch<T: Number>(line: &Line<T>) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        // SAFETY: SSE, which every x86_64 has; and a prefetch reads nothing.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(std::ptr::from_ref(line).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = line; // no stable way to ask
}

/// The store of a strip that is not full, out of the way of those that are.
#[cold]
#[inline(never)]
fn store_part(values: &[f32; STRIP], bias: &[f32], out: &mut [f32]) {
    for ((out, value), bias) in out.iter_mut().zip(values).zip(bias) {
        *out = value + bias;
    }
}
