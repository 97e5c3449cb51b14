//! The matrix product: activations times packed weights, every output element one fixed chain of operations.
//!
//! The right-hand matrix is packed once into strips of [`STRIP`] columns. A tile of a few rows and a few strips sweeps
//! the whole inner dimension with its sums in registers. Element (i, j) is the same chain of fused multiply-adds in
//! the order of the inner dimension whatever the tile, the batch, the number of threads or the instruction set, so a
//! text's numbers cannot depend on its company.

use std::ops::Range;

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

/// Columns of a strip: one AVX-512 vector, two of AVX2, four of NEON.
pub(super) const STRIP: usize = 16;

/// Fused multiply-adds summed in one chain before the chain is added to the element's total.
///
/// One chain over the whole inner dimension would be the fastest, but not exact enough. Largest error of any layer of
/// all-MiniLM-L6-v2 on 78 texts, as a multiple of PyTorch float32's: one chain 1.7, chains of 128 1.1, of 64 1.04, of
/// 32 0.73, of 16 0.77.
const CHAIN: usize = 32;

/// Rows one task multiplies: enough to reuse a strip from cache, few enough to spread over the threads.
const ROWS_PER_TASK: usize = 32;

/// A matrix of shape (inner, columns), packed into strips: `[strips][inner][STRIP]`, the last strip filled with zeros.
pub(super) struct Packed {
    data: Vec<f32>,
    inner: usize,
    columns: usize,
}

impl Packed {
    /// Packs the matrix whose element (k, j) is `element(k, j)`.
    pub(super) fn new(inner: usize, columns: usize, element: impl Fn(usize, usize) -> f32) -> Self {
        let strips = columns.div_ceil(STRIP);
        let mut data = vec![0.0; strips * inner * STRIP];
        for (strip, packed) in data.chunks_exact_mut((inner * STRIP).max(1)).enumerate() {
            let first = strip * STRIP;
            let width = STRIP.min(columns - first);
            for (k, row) in packed.chunks_exact_mut(STRIP).enumerate() {
                for (j, value) in row[..width].iter_mut().enumerate() {
                    *value = element(k, first + j);
                }
            }
        }
        Self { data, inner, columns }
    }

    /// Rows of the matrix.
    pub(super) fn inner(&self) -> usize {
        self.inner
    }

    /// Columns of the matrix.
    pub(super) fn columns(&self) -> usize {
        self.columns
    }

    fn strips(&self) -> usize {
        self.columns.div_ceil(STRIP)
    }

    /// Strip `index`: (inner) rows of [`STRIP`] columns.
    #[inline(always)]
    fn strip(&self, index: usize) -> &[[f32; STRIP]] {
        let length = self.inner * STRIP;
        self.data[index * length..(index + 1) * length].as_chunks().0
    }
}

/// Rows of the left-hand matrix: row `i` is the `inner` numbers from `i * stride` on.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    pub(super) data: &'a [f32],
    pub(super) stride: usize,
}

impl<'a> Rows<'a> {
    #[inline(always)]
    fn row(&self, index: usize, inner: usize) -> &'a [f32] {
        &self.data[index * self.stride..][..inner]
    }
}

/// `out = epilogue(a · b)` for `a` (rows, inner) and `b` (inner, columns), on all threads of the current pool.
///
/// `epilogue(column, values)` finishes a piece of one row that starts at `column`: bias, activation.
pub(super) fn matmul(a: &[f32], b: &Packed, out: &mut [f32], epilogue: impl Fn(usize, &mut [f32]) + Sync) {
    if out.is_empty() {
        return;
    }
    let (rows, columns) = (out.len() / b.columns, b.columns);
    let a = Rows { data: a, stride: b.inner };
    let threads = rayon::current_num_threads();
    if threads == 1 || rows >= threads * ROWS_PER_TASK {
        out.par_chunks_mut(ROWS_PER_TASK * columns).enumerate().for_each(|(task, out)| {
            let first = task * ROWS_PER_TASK;
            let rows = first..first + out.len() / columns;
            multiply(a, rows, b, 0..b.strips(), |row, column, values| {
                out[(row - first) * columns + column..][..values.len()].copy_from_slice(values);
            });
            out.chunks_exact_mut(columns).for_each(|row| epilogue(0, row));
        });
    } else {
        // Few rows: spread the columns instead. Their pieces of a row lie apart in `out`, so they are put in after.
        let strips_per_task = b.strips().div_ceil(threads * 4).next_multiple_of(3);
        let tasks: Vec<Range<usize>> = (0..b.strips())
            .step_by(strips_per_task)
            .map(|first| first..(first + strips_per_task).min(b.strips()))
            .collect();
        let pieces: Vec<Vec<f32>> = tasks
            .par_iter()
            .map(|strips| {
                let first = strips.start * STRIP;
                let width = columns.min(strips.end * STRIP) - first;
                let mut piece = vec![0.0; rows * width];
                multiply(a, 0..rows, b, strips.clone(), |row, column, values| {
                    piece[row * width + column - first..][..values.len()].copy_from_slice(values);
                });
                piece.chunks_exact_mut(width).for_each(|row| epilogue(first, row));
                piece
            })
            .collect();
        for (strips, piece) in tasks.iter().zip(&pieces) {
            let first = strips.start * STRIP;
            let width = columns.min(strips.end * STRIP) - first;
            for (out, piece) in out.chunks_exact_mut(columns).zip(piece.chunks_exact(width)) {
                out[first..first + width].copy_from_slice(piece);
            }
        }
    }
}

/// Multiplies some rows with some strips on this thread; `store(row, column, values)` takes pieces of rows.
pub(super) fn multiply(
    a: Rows<'_>,
    rows: Range<usize>,
    b: &Packed,
    strips: Range<usize>,
    store: impl FnMut(usize, usize, &mut [f32]),
) {
    super::arch().dispatch(Multiply { a, rows, b, strips, store });
}

struct Multiply<'a, F> {
    a: Rows<'a>,
    rows: Range<usize>,
    b: &'a Packed,
    strips: Range<usize>,
    store: F,
}

impl<F: FnMut(usize, usize, &mut [f32])> WithSimd for Multiply<'_, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        // Rows and strips of a tile so that its sums fill the vector registers but for the few that hold operands:
        // 24 of 32 with AVX-512, 12 of 16 with AVX2, 16 of 32 with NEON.
        match S::F32_LANES {
            16 => self.sweep::<S, 8, 3, 1>(simd),
            8 => self.sweep::<S, 6, 1, 2>(simd),
            4 => self.sweep::<S, 4, 1, 4>(simd),
            1 => self.sweep::<S, 1, 1, 16>(simd),
            // 2 lanes: no instruction set has them.
            lanes => unreachable!("vectors of {lanes} float32 do not divide a strip"),
        }
    }
}

impl<F: FnMut(usize, usize, &mut [f32])> Multiply<'_, F> {
    /// Tiles of MR rows × NS strips, a strip being NV vectors; what remains in tiles of 1 row or 1 strip.
    #[inline(always)]
    fn sweep<S: Simd, const MR: usize, const NS: usize, const NV: usize>(&mut self, simd: S) {
        let mut strip = self.strips.start;
        while strip < self.strips.end {
            let full = strip + NS <= self.strips.end;
            let mut row = self.rows.start;
            while row < self.rows.end {
                let tall = row + MR <= self.rows.end;
                match (tall, full) {
                    (true, true) => self.tile::<S, MR, NS, NV>(simd, row, strip),
                    (true, false) => self.tile::<S, MR, 1, NV>(simd, row, strip),
                    (false, true) => self.tile::<S, 1, NS, NV>(simd, row, strip),
                    (false, false) => self.tile::<S, 1, 1, NV>(simd, row, strip),
                }
                row += if tall { MR } else { 1 };
            }
            strip += if full { NS } else { 1 };
        }
    }

    #[inline(always)]
    fn tile<S: Simd, const MR: usize, const NS: usize, const NV: usize>(&mut self, simd: S, row: usize, strip: usize) {
        let inner = self.b.inner;
        let a: [&[f32]; MR] = std::array::from_fn(|r| self.a.row(row + r, inner));
        let b: [&[[f32; STRIP]]; NS] = std::array::from_fn(|s| &self.b.strip(strip + s)[..inner]);
        let zero = simd.splat_f32s(0.0);
        let mut total = [[[zero; NV]; NS]; MR];
        for chain in (0..inner).step_by(CHAIN) {
            let end = inner.min(chain + CHAIN);
            let a: [&[f32]; MR] = std::array::from_fn(|r| &a[r][chain..end]);
            let b: [&[[f32; STRIP]]; NS] = std::array::from_fn(|s| &b[s][chain..end]);
            let mut sum = [[[zero; NV]; NS]; MR];
            for k in 0..end - chain {
                for s in 0..NS {
                    let (weights, _) = S::as_simd_f32s(&b[s][k]);
                    for v in 0..NV {
                        for r in 0..MR {
                            sum[r][s][v] = simd.mul_add_f32s(simd.splat_f32s(a[r][k]), weights[v], sum[r][s][v]);
                        }
                    }
                }
            }
            for r in 0..MR {
                for s in 0..NS {
                    for v in 0..NV {
                        total[r][s][v] = simd.add_f32s(total[r][s][v], sum[r][s][v]);
                    }
                }
            }
        }
        for (r, total) in total.iter().enumerate() {
            let mut values = [[0.0f32; STRIP]; NS];
            for (values, total) in values.iter_mut().zip(total) {
                S::as_mut_simd_f32s(values).0.copy_from_slice(total);
            }
            let column = strip * STRIP;
            let width = (NS * STRIP).min(self.b.columns - column);
            (self.store)(row + r, column, &mut values.as_flattened_mut()[..width]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn numbers(count: usize, seed: u64) -> Vec<f32> {
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        (0..count)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 40) as f32 / (1 << 23) as f32 - 1.0
            })
            .collect()
    }

    fn product(a: &[f32], b: &[f32], rows: usize, inner: usize, columns: usize) -> Vec<f32> {
        let packed = Packed::new(inner, columns, |k, j| b[k * columns + j]);
        let mut out = vec![0.0; rows * columns];
        matmul(a, &packed, &mut out, |_, _| {});
        out
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Close to float64, and each row the same bits alone, in company, and on any number of threads.
        #[test]
        fn right_and_independent_of_company(rows in 1usize..80, inner in 1usize..200, columns in 1usize..100, seed: u64) {
            let (a, b) = (numbers(rows * inner, seed), numbers(inner * columns, seed ^ 1));
            let together = product(&a, &b, rows, inner, columns);
            for (i, row) in together.chunks(columns).enumerate() {
                for (j, value) in row.iter().enumerate() {
                    let truth: f64 = (0..inner).map(|k| f64::from(a[i * inner + k]) * f64::from(b[k * columns + j])).sum();
                    prop_assert!((f64::from(*value) - truth).abs() < 1e-5, "({i}, {j}): {value} instead of {truth}");
                }
            }
            for threads in [1, 3] {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                pool.install(|| {
                    for (i, row) in together.chunks(columns).enumerate() {
                        assert_eq!(product(&a[i * inner..][..inner], &b, 1, inner, columns), row, "row {i}");
                    }
                    assert_eq!(product(&a, &b, rows, inner, columns), together);
                });
            }
        }
    }

    /// Each instruction set of this machine has its own tile; all of them compute the same chains.
    #[cfg(target_arch = "x86_64")]
    #[test]
    fn the_same_bits_on_every_instruction_set() {
        let (rows, inner, columns) = (17, 77, 70);
        let (a, b) = (numbers(rows * inner, 3), numbers(inner * columns, 4));
        let packed = Packed::new(inner, columns, |k, j| b[k * columns + j]);
        type Product<'a> = Multiply<'a, &'a mut dyn FnMut(usize, usize, &mut [f32])>;
        let run = |vectorize: &dyn Fn(Product<'_>)| {
            let mut out = vec![f32::NAN; rows * columns];
            let mut store = |row: usize, column: usize, values: &mut [f32]| {
                out[row * columns + column..][..values.len()].copy_from_slice(values);
            };
            let a = Rows { data: &a, stride: inner };
            vectorize(Multiply { a, rows: 0..rows, b: &packed, strips: 0..packed.strips(), store: &mut store });
            out
        };
        let scalar = run(&|multiply| multiply.with_simd(pulp::Scalar::new()));
        assert!(scalar.iter().all(|value| value.is_finite()), "every element is written");
        if let Some(v3) = pulp::x86::V3::try_new() {
            assert_eq!(run(&|multiply| pulp::Arch::V3(v3).dispatch(multiply)), scalar, "AVX2");
        }
        if let Some(v4) = pulp::x86::V4::try_new() {
            assert_eq!(run(&|multiply| pulp::Arch::V4(v4).dispatch(multiply)), scalar, "AVX-512");
        }
    }
}
