//! The matrix product: rows times packed columns, every output element one fixed sequence of operations.
//!
//! A tile of a few rows and a few strips sweeps the inner dimension with its sums in registers. Element (i, j) is
//! the same sequence whatever the tile, the batch, the number of threads or the instruction set, so a text's numbers
//! cannot depend on its company. Strips stay in the second-level cache while all rows of a task pass them, and
//! activations are used where they lie. Where the first-level cache is what holds the product up, all rows pass a block
//! of a strip's lines before the next, and unfinished sums wait in the output: the same sequence still.

use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::ahead::Ahead;
use super::isa::InstructionSet;
use super::number::{Number, Step};
use super::packed::{Line, STRIP};
use super::place::{Beside, Place, Strides};

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

    /// The rows from `row` on.
    pub(super) fn rows_from(self, row: usize) -> Self {
        Self { data: &self.data[row * self.stride..], stride: self.stride }
    }
}

/// `out = a · b + bias`, on this thread.
///
/// It can be computed in parts of the inner dimension, one after the other, each of whole chains but for the last: `a` and `b`
/// then hold the part, `bias` is empty but for the last, and all but the first go on. The bits are those of the whole.
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
    /// Whether `out` holds the sums so far.
    pub(super) goes_on: bool,
    pub(super) out: &'a mut [f32],
    pub(super) strides: Strides,
}

impl<'a, T: Number> Product<'a, T> {
    /// Computes it on an instruction set.
    pub(super) fn run(self, instruction_set: InstructionSet) {
        T::multiply(instruction_set, self);
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

    /// All rows, for NS strips, block by block.
    #[inline(always)]
    fn column<S: Simd, const MR: usize, const NS: usize, const NV: usize>(&mut self, simd: S, strip: usize) {
        let inner = self.product.b[strip].len();
        let mut first = 0usize;
        loop {
            let lines = first..inner.min(first.saturating_add(block_lines::<S>()));
            first = lines.end;
            self.block::<S, MR, NS, NV>(simd, strip, lines);
            if first == inner {
                break;
            }
        }
    }

    /// All rows, for some lines of NS strips.
    #[inline(always)]
    fn block<S: Simd, const MR: usize, const NS: usize, const NV: usize>(
        &mut self,
        simd: S,
        strip: usize,
        lines: Range<usize>,
    ) {
        let (mut row, end) = (0, self.product.rows);
        let ahead = Ahead::new(end, lines.len(), M::CHAIN, MR);
        while row + MR <= end {
            self.tile::<S, MR, NS, NV>(simd, row, strip, &lines, ahead);
            row += MR;
        }
        if MR > 4 && row + 4 <= end {
            self.tile::<S, 4, NS, NV>(simd, row, strip, &lines, ahead);
            row += 4;
        }
        match end - row {
            3 => self.tile::<S, 3, NS, NV>(simd, row, strip, &lines, ahead),
            2 => self.tile::<S, 2, NS, NV>(simd, row, strip, &lines, ahead),
            1 => self.tile::<S, 1, NS, NV>(simd, row, strip, &lines, ahead),
            _ => {}
        }
    }

    #[inline(always)]
    #[allow(
        clippy::needless_range_loop,
        clippy::manual_memcpy,
        reason = "indices are sure to be inlined, and so compiled for the instruction set"
    )]
    fn tile<S: Simd, const MR: usize, const NS: usize, const NV: usize>(
        &mut self,
        simd: S,
        row: usize,
        strip: usize,
        block: &Range<usize>,
        ahead: Ahead,
    ) {
        let Product { a, b, columns, bias, goes_on, strides, .. } = self.product;
        let out = &mut self.product.out[row * strides.row + strip * strides.strip..];
        let inner = b[strip].len();
        let columns = strip * STRIP..columns.min((strip + NS) * STRIP);
        let goes_on = goes_on || block.start > 0;
        let bias = if block.end < inner { &[] } else { bias };

        // Loops and no closures, here and below: a closure that is not inlined is not compiled for these instructions.
        let mut all_rows = [a.row(row, inner); MR];
        let mut all_lines = [&b[strip][..inner]; NS];
        for r in 1..MR {
            all_rows[r] = a.row(row + r, inner);
        }
        for s in 1..NS {
            all_lines[s] = &b[strip + s][..inner];
        }
        let mut beside = None;
        let mut place = if columns.len() == NS * STRIP {
            Place::<MR, NS>::new(out, strides)
        } else {
            let beside = beside.insert(Beside::ZEROS);
            if goes_on {
                beside.take(out, strides, MR, columns.len());
            }
            beside.place()
        };
        let zero = simd.splat_f32s(0.0);
        let mut total = [[[zero; NV]; NS]; MR];
        // What the block or the part before has left: the totals, or a chain that has not ended.
        if goes_on {
            for r in 0..MR {
                for s in 0..NS {
                    let (out, _) = S::as_simd_f32s(place.strip(r, s));
                    for v in 0..NV {
                        total[r][s][v] = out[v];
                    }
                }
            }
        }
        let mut lines_ahead = ahead.lines(row..row + MR, block);
        let mut first = block.start;
        while first < block.end {
            let end = block.end.min(first.saturating_add(M::CHAIN));
            let (mut a, mut lines) = (all_rows, all_lines);
            for row in &mut a {
                *row = &row[first..end];
            }
            for strip in &mut lines {
                *strip = &strip[first..end];
            }
            let mut sum = if M::CHAIN == usize::MAX { total } else { [[[zero; NV]; NS]; MR] };
            for k in 0..end - first {
                let mut weights = [[M::load(simd, &lines[0][k].0, 0); NV]; NS];
                for s in 0..NS {
                    for v in 0..NV {
                        weights[s][v] = M::load(simd, &lines[s][k].0, v);
                    }
                }
                for r in 0..MR {
                    let value = M::splat(simd, a[r][k]);
                    for s in 0..NS {
                        for v in 0..NV {
                            sum[r][s][v] = M::multiply_add(simd, value, weights[s][v], sum[r][s][v]);
                        }
                    }
                }
            }
            ahead.ask(&b[b.len().min(strip + NS)..b.len().min(strip + 2 * NS)], &mut lines_ahead);
            for r in 0..MR {
                for s in 0..NS {
                    for v in 0..NV {
                        let chain = sum[r][s][v];
                        total[r][s][v] =
                            if M::CHAIN == usize::MAX { chain } else { simd.add_f32s(total[r][s][v], chain) };
                    }
                }
            }
            first = end;
        }
        if !bias.is_empty() {
            let mut filled_up = None;
            let bias = match bias.get(columns.start..columns.start + NS * STRIP) {
                Some(bias) => bias,
                None => filled_up.insert(last_bias(&bias[columns.clone()])).as_flattened(),
            };
            for s in 0..NS {
                let (bias, _) = S::as_simd_f32s(&bias[s * STRIP..][..STRIP]);
                for r in 0..MR {
                    for v in 0..NV {
                        total[r][s][v] = simd.add_f32s(total[r][s][v], bias[v]);
                    }
                }
            }
        }
        for r in 0..MR {
            for s in 0..NS {
                let (out, _) = S::as_mut_simd_f32s(place.strip(r, s));
                for v in 0..NV {
                    out[v] = total[r][s][v];
                }
            }
        }
        if let Some(beside) = beside {
            beside.put(out, strides, MR, columns.len());
        }
    }
}

/// Lines of a strip that all rows pass before the next lines: whole chains, and with AVX2 half of the first-level cache
/// (16 KiB), so that lines are read from there and not from the second level. On Zen 3 products have 1.2 to 1.6 times the
/// rate that they have without blocks.
///
/// With AVX-512 three strips at a time are read for as many multiply-adds, and Zen 4 has 98 % of its rate without.
#[inline(always)]
fn block_lines<S: Simd>() -> usize {
    match S::F32_LANES {
        8 => 256,
        _ => usize::MAX,
    }
}

/// The bias of strips of which the last one is not full, with zeros after it.
#[cold]
#[inline(never)]
fn last_bias(bias: &[f32]) -> [[f32; STRIP]; 3] {
    let mut filled_up = [[0.0; STRIP]; 3];
    filled_up.as_flattened_mut()[..bias.len()].copy_from_slice(bias);
    filled_up
}

#[cfg(test)]
pub(in crate::kernels) mod tests {
    use proptest::prelude::*;

    use super::super::number::{Pair, Rounded};
    use super::super::packed::{Packed, pack_transposed};
    use super::*;
    use crate::spec::Compute;

    pub(in crate::kernels) fn numbers(count: usize, seed: u64) -> Vec<f32> {
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        (0..count)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 40) as f32 / (1 << 23) as f32 - 1.0
            })
            .collect()
    }

    /// `a` (rows, inner) times the transpose of `weight` (columns, inner), plus a bias; in parts of so many of the inner
    /// dimension, each by `multiply`.
    pub(in crate::kernels) fn product_by<T: Number>(
        mut multiply: impl FnMut(Product<'_, T>),
        a: &[f32],
        weight: &[f32],
        bias: &[f32],
        inner: usize,
        part: usize,
    ) -> Vec<f32> {
        let (rows, columns) = (a.len() / inner, bias.len());
        let strips = weight.chunks(STRIP * inner).map(|weight| {
            let mut lines = Vec::new();
            pack_transposed(weight, weight.len() / inner, inner, &mut lines);
            lines
        });
        let packed = Packed::<T>::new(strips.collect(), columns);
        let mut out = vec![f32::NAN; rows * columns];
        for first in (0..inner).step_by(part) {
            let part = first..inner.min(first + part);
            let lines = part.start / T::STEP..part.end.div_ceil(T::STEP);
            let (mut operands, b) = (Vec::new(), packed.strips(0..columns.div_ceil(STRIP), lines));
            let converter = InstructionSet::available()[0];
            let a = T::rows(converter, Rows { data: &a[first..], stride: inner }, rows, part.len(), &mut operands);
            let product = Product {
                a,
                rows,
                b: &b,
                columns,
                bias: if part.end == inner { bias } else { &[] },
                goes_on: first > 0,
                out: &mut out,
                strides: Strides::of_rows(columns),
            };
            multiply(product);
        }
        out
    }

    fn product<T: Number>(
        isa: InstructionSet,
        a: &[f32],
        weight: &[f32],
        bias: &[f32],
        inner: usize,
        part: usize,
    ) -> Vec<f32> {
        product_by::<T>(|product| T::multiply(isa, product), a, weight, bias, inner, part)
    }

    fn portable() -> InstructionSet {
        InstructionSet::choose(Compute::F32, Some("portable".as_ref())).expect("every machine has it")
    }

    /// A product in float32 or in bfloat16, the latter in what `isa` multiplies it as.
    fn product_in(
        isa: InstructionSet,
        compute: Compute,
        a: &[f32],
        weight: &[f32],
        bias: &[f32],
        inner: usize,
        part: usize,
    ) -> Vec<f32> {
        match compute {
            Compute::F32 => product::<f32>(isa, a, weight, bias, inner, part),
            Compute::Bf16 if isa.multiplies_pairs() => product::<Pair>(isa, a, weight, bias, inner, part),
            Compute::Bf16 => product::<Rounded>(isa, a, weight, bias, inner, part),
        }
    }

    /// Close to float64 on every instruction set of this machine, with the same bits on all of them; and each row the
    /// same bits alone and in company.
    fn check(compute: Compute, a: &[f32], weight: &[f32], bias: &[f32], inner: usize, bound: f64) {
        let columns = bias.len();
        let expected = product_in(portable(), compute, a, weight, bias, inner, inner);
        for (i, row) in expected.chunks(columns).enumerate() {
            for (j, value) in row.iter().enumerate() {
                let terms = a[i * inner..][..inner].iter().zip(&weight[j * inner..][..inner]);
                let truth: f64 = terms.map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>() + f64::from(bias[j]);
                assert!((f64::from(*value) - truth).abs() < bound, "({i}, {j}): {value} instead of {truth}");
            }
        }
        for isa in InstructionSet::available() {
            if compute == Compute::Bf16 && isa.has_tiles() {
                continue; // another sequence of sums, tested in `tiles`
            }
            for part in [inner, 32, 192] {
                let found = product_in(isa, compute, a, weight, bias, inner, part);
                assert_eq!(found, expected, "{}, in parts of {part}", isa.name());
            }
            for (i, row) in expected.chunks(columns).enumerate() {
                let alone = product_in(isa, compute, &a[i * inner..][..inner], weight, bias, inner, inner);
                assert_eq!(alone, row, "{}, row {i}", isa.name());
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// In parts, too, whose unfinished sums are those of strips that are full or not.
        #[test]
        fn right_on_every_instruction_set(rows in 1usize..30, inner in 1usize..700, columns in 1usize..100, seed: u64) {
            let (a, weight) = (numbers(rows * inner, seed), numbers(columns * inner, seed ^ 1));
            let bias = numbers(columns, seed ^ 2);
            check(Compute::F32, &a, &weight, &bias, inner, 1e-5);
            // Operands are off by 2⁻⁹ at most, a product of them by twice that.
            check(Compute::Bf16, &a, &weight, &bias, inner, inner as f64 / 250.0 + 1e-5);
        }
    }

    #[test]
    fn numbers_of_every_size_have_the_same_bits_in_bfloat16_everywhere() {
        // Up to infinity, and down to where instruction sets differ in what they take for zero.
        let sizes = [1e-45, 1e-38, 3e-20, 2.7e-17, 2.8e-17, 1e-10, 1.0, 1e10, 1e19];
        let (rows, inner, columns) = (6, 40, 35);
        let scaled = |count: usize, seed: u64| -> Vec<f32> {
            numbers(count, seed)
                .iter()
                .enumerate()
                .map(|(i, number)| number * sizes[(i * 7 + i / 5) % sizes.len()])
                .collect()
        };
        let (a, weight) = (scaled(rows * inner, 5), scaled(columns * inner, 6));
        let expected = product_in(portable(), Compute::Bf16, &a, &weight, &vec![0.0; columns], inner, inner);
        for isa in InstructionSet::available().into_iter().filter(|isa| !isa.has_tiles()) {
            let found = product_in(isa, Compute::Bf16, &a, &weight, &vec![0.0; columns], inner, inner);
            let bits = |numbers: &[f32]| numbers.iter().map(|number| number.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&found), bits(&expected), "{}", isa.name());
        }
        let tiny =
            product_in(portable(), Compute::Bf16, &[2.0f32.powi(-55), 2.0f32.powi(-56)], &[1.0, 1.0], &[0.0], 2, 2);
        assert_eq!(tiny, [2.0f32.powi(-55)], "what is below 2⁻⁵⁵ counts as zero");
    }
}
