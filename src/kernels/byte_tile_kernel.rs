//! The matrix product of small integers in tile registers.
//!
//! Packed panels need no other layout for it: the 8 rows of a panel that hold a group of 32 values are a tile. Its products are summed
//! by the tile registers, exactly, and then weighed and added to the totals as `int8_sums` does it, so the bits are those of all other
//! instruction sets.

use bytemuck::cast_slice;
use pulp::{Simd, WithSimd};

use super::int8_element::Int8Quad;
use super::int8_sums::add_scaled;
use super::packed_matrix::{PANEL_WIDTH, PanelRow};
use super::product::Product;
use super::tile_registers::{TILE, TileRegisters, TileShapes};

/// Quads of a group.
const QUADS: usize = Int8Quad::CHAIN - Int8Quad::TAIL;

/// The tiles of sums of two panels; the tile of rows; those of panels.
const SUMS: [usize; 2] = [0, 1];
const ROWS: usize = 4;
const PANELS: [usize; 2] = [6, 7];

/// A product in tile registers.
pub(super) struct ByteTileKernel<'a, R> {
    pub(super) registers: R,
    pub(super) product: Product<'a, Int8Quad>,
}

impl<R: TileRegisters> WithSimd for ByteTileKernel<'_, R> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let rows = self.product.rows;
        let whole = rows / TILE * TILE;
        for (first, end) in [(0, whole), (whole, rows)] {
            if first == end {
                continue;
            }
            let rows_of_tile = TILE.min(end - first);
            self.registers.configure(TileShapes { rows: [rows_of_tile; 2], inner: QUADS });
            let panels = self.product.b.len();
            for panel in (0..panels).step_by(2) {
                for row in (first..end).step_by(TILE) {
                    if panel + 1 < panels {
                        self.block::<S, 2>(simd, row, rows_of_tile, panel);
                    } else {
                        self.block::<S, 1>(simd, row, rows_of_tile, panel);
                    }
                }
            }
        }
        self.registers.release();
    }
}

impl<R: TileRegisters> ByteTileKernel<'_, R> {
    /// A tile of rows, `rows` of them, times NP panels.
    #[inline(always)]
    #[allow(
        clippy::needless_range_loop,
        reason = "indices are sure to be inlined, and so compiled for the instruction set"
    )]
    fn block<S: Simd, const NP: usize>(&mut self, simd: S, row: usize, rows: usize, panel: usize) {
        let Self { registers, product } = self;
        let inner = product.b[panel].len();
        let a: &[u32] = cast_slice(product.a.rows_from(row).elements);
        let stride = product.a.stride;
        let start = |r: usize, p: usize| (row + r) * product.strides.row + (panel + p) * product.strides.panel;
        let width = |p: usize| PANEL_WIDTH.min(product.columns - (panel + p) * PANEL_WIDTH);

        let mut totals = [[[0.0f32; PANEL_WIDTH]; TILE]; NP];
        if product.accumulate {
            for p in 0..NP {
                for r in 0..rows {
                    totals[p][r][..width(p)].copy_from_slice(&product.out[start(r, p)..][..width(p)]);
                }
            }
        }
        let mut sums = [[0u32; TILE * TILE]; NP];
        let mut first = 0;
        while first < inner {
            let end = inner.min(first + Int8Quad::CHAIN);
            let tail = end - Int8Quad::TAIL;
            if tail - first == QUADS {
                registers.load::<ROWS>(&a[first..], stride);
                registers.load::<{ PANELS[0] }>(cast_slice(&product.b[panel][first..tail]), PANEL_WIDTH);
                if NP == 2 {
                    registers.load::<{ PANELS[1] }>(cast_slice(&product.b[panel + 1][first..tail]), PANEL_WIDTH);
                }
            } else {
                // The last group, filled up with zeros, which add nothing.
                let mut left = [[0u32; QUADS]; TILE];
                for r in 0..rows {
                    left[r][..tail - first].copy_from_slice(&a[r * stride + first..][..tail - first]);
                }
                let mut panel_rows = [[PanelRow([Int8Quad::default(); PANEL_WIDTH]); QUADS]; NP];
                for p in 0..NP {
                    panel_rows[p][..tail - first].copy_from_slice(&product.b[panel + p][first..tail]);
                }
                registers.load::<ROWS>(left.as_flattened(), QUADS);
                registers.load::<{ PANELS[0] }>(cast_slice(&panel_rows[0]), PANEL_WIDTH);
                if NP == 2 {
                    registers.load::<{ PANELS[1] }>(cast_slice(&panel_rows[1]), PANEL_WIDTH);
                }
            }
            registers.zero::<{ SUMS[0] }>();
            registers.multiply_bytes::<{ SUMS[0] }, ROWS, { PANELS[0] }>();
            if NP == 2 {
                registers.zero::<{ SUMS[1] }>();
                registers.multiply_bytes::<{ SUMS[1] }, ROWS, { PANELS[1] }>();
            }
            registers.store::<{ SUMS[0] }>(&mut sums[0], TILE);
            if NP == 2 {
                registers.store::<{ SUMS[1] }>(&mut sums[NP - 1], TILE);
            }
            for p in 0..NP {
                // What lies behind a group: what a row's sums begin with, and the factors of the row and the columns.
                let factors = &product.b[panel + p][end - 1];
                for r in 0..rows {
                    let (begin, factor) = (a[r * stride + tail].cast_signed(), f32::from_bits(a[r * stride + end - 1]));
                    let mut sum = [0.0f32; PANEL_WIDTH];
                    for column in 0..PANEL_WIDTH {
                        sum[column] = (sums[p][r * TILE + column].cast_signed() + begin) as f32;
                    }
                    let (sum, _) = S::as_simd_f32s(&sum);
                    let (total, _) = S::as_mut_simd_f32s(&mut totals[p][r]);
                    for v in 0..total.len() {
                        total[v] = add_scaled(simd, total[v], sum[v], factor, factors, v);
                    }
                }
            }
            first = end;
        }
        for p in 0..NP {
            let columns = (panel + p) * PANEL_WIDTH..(panel + p) * PANEL_WIDTH + width(p);
            let bias = product.bias.get(columns).unwrap_or(&[]);
            for r in 0..rows {
                for (total, bias) in totals[p][r].iter_mut().zip(bias) {
                    *total += bias;
                }
                let at = start(r, p);
                product.out[at..at + width(p)].copy_from_slice(&totals[p][r][..width(p)]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::kernels::int8_element::Int8AsF32;
    use crate::kernels::int8_sums::IntegersAsF32;
    use crate::kernels::simd_kernel::SimdKernel;
    use crate::kernels::testing::{numbers, product_by};
    use crate::kernels::tile_registers::TileModel;

    fn bits(numbers: &[f32]) -> Vec<u32> {
        numbers.iter().map(|number| number.to_bits()).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Any number of rows, columns and inner numbers, in parts too: the bits of float32 that holds the integers.
        #[test]
        fn every_element_has_the_bits_of_other_instruction_sets(
            rows in 1usize..80,
            inner in 1usize..300,
            columns in 1usize..70,
            seed: u64,
        ) {
            let (a, weight) = (numbers(rows * inner, seed), numbers(columns * inner, seed ^ 1));
            let bias = numbers(columns, seed ^ 2);
            let in_floats = |product: Product<'_, Int8AsF32>| {
                SimdKernel::new(product, IntegersAsF32).with_simd(pulp::Scalar::new());
            };
            let in_tiles = |product: Product<'_, Int8Quad>| {
                ByteTileKernel { registers: TileModel::new(), product }.with_simd(pulp::Scalar::new());
            };
            let expected = product_by::<Int8AsF32>(in_floats, &a, &weight, &bias, inner, inner);
            for part in [inner, 32, 192] {
                let found = product_by::<Int8Quad>(in_tiles, &a, &weight, &bias, inner, part);
                prop_assert_eq!(bits(&found), bits(&expected), "parts of {}", part);
            }
        }
    }
}
