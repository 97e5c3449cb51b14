//! The matrix product of bfloat16 in tile registers.
//!
//! Packed panels need no other layout for it: 16 rows of a panel are a tile. Two tiles of rows and two of panels are multiplied
//! into four of sums, 16 pairs of the inner dimension at a time. An element's sequence of operations depends on nothing but its
//! row, its column and the inner dimension, as in `simd_kernel`; but it is another sequence, so these are other bits.

use bytemuck::{cast_slice, cast_slice_mut};
use pulp::{Simd, WithSimd};

use super::operand_element::Bf16Pair;
use super::output_tile::{EdgeTile, Strides};
use super::packed_matrix::{PANEL_WIDTH, PanelRow};
use super::product::Product;
use super::tile_registers::{TILE, TileRegisters, TileShapes};

/// The tiles of sums, by rows and panels; the tiles of rows; those of panels.
const SUMS: [[usize; 2]; 2] = [[0, 1], [2, 3]];
const ROWS: [usize; 2] = [4, 5];
const PANELS: [usize; 2] = [6, 7];

/// A product in tile registers.
pub(super) struct TileKernel<'a, R> {
    pub(super) registers: R,
    pub(super) product: Product<'a, Bf16Pair>,
}

impl<R: TileRegisters> WithSimd for TileKernel<'_, R> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let rows = self.product.rows;
        let whole = rows / (2 * TILE) * (2 * TILE);
        if whole > 0 {
            self.registers.configure(TileShapes { rows: [TILE; 2], inner: TILE });
            self.panels::<S, 2>(simd, 0, whole);
        }
        match rows - whole {
            0 => {}
            rest @ 1..=TILE => {
                self.registers.configure(TileShapes { rows: [rest; 2], inner: TILE });
                self.panels::<S, 1>(simd, whole, rows);
            }
            rest => {
                self.registers.configure(TileShapes { rows: [TILE, rest - TILE], inner: TILE });
                self.panels::<S, 2>(simd, whole, rows);
            }
        }
        self.registers.release();
    }
}

impl<R: TileRegisters> TileKernel<'_, R> {
    /// The rows from `first` to `end` times all panels, NR tiles of rows at a time.
    #[inline(always)]
    fn panels<S: Simd, const NR: usize>(&mut self, simd: S, first: usize, end: usize) {
        let panels = self.product.b.len();
        for panel in (0..panels).step_by(2) {
            for row in (first..end).step_by(NR * TILE) {
                let rows = (end - row).min(NR * TILE);
                if panel + 1 < panels {
                    self.block::<S, NR, 2>(simd, row, rows, panel);
                } else {
                    self.block::<S, NR, 1>(simd, row, rows, panel);
                }
            }
        }
    }

    /// NR tiles of rows, `rows` in all, times NP panels.
    #[inline(always)]
    fn block<S: Simd, const NR: usize, const NP: usize>(&mut self, simd: S, row: usize, rows: usize, panel: usize) {
        let Self { registers, product } = self;
        let inner = product.b[panel].len();
        let a: &[u32] = cast_slice(product.a.rows_from(row).elements);
        let (stride, second) = (product.a.stride, TILE * product.a.stride);
        let whole = inner / TILE * TILE;

        SumTiles::<NR, NP> { row, rows, panel }.load_all(registers, product);
        for k in (0..whole).step_by(TILE) {
            registers.load::<{ ROWS[0] }>(&a[k..], stride);
            registers.load::<{ PANELS[0] }>(cast_slice(&product.b[panel][k..k + TILE]), PANEL_WIDTH);
            if NR == 2 {
                registers.load::<{ ROWS[1] }>(&a[second + k..], stride);
            }
            if NP == 2 {
                registers.load::<{ PANELS[1] }>(cast_slice(&product.b[panel + 1][k..k + TILE]), PANEL_WIDTH);
            }
            multiply::<R, NR, NP>(registers);
        }
        if whole < inner {
            // The rows of panels that are left, filled up with zeros, which add nothing.
            let count = inner - whole;
            let mut left = [[0u32; TILE]; 2 * TILE];
            for (r, left) in left[..rows].iter_mut().enumerate() {
                left[..count].copy_from_slice(&a[r * stride + whole..][..count]);
            }
            let mut panel_rows = [[PanelRow([Bf16Pair::default(); PANEL_WIDTH]); TILE]; NP];
            for (p, panel_rows) in panel_rows.iter_mut().enumerate() {
                panel_rows[..count].copy_from_slice(&product.b[panel + p][whole..]);
            }
            registers.load::<{ ROWS[0] }>(left.as_flattened(), TILE);
            registers.load::<{ PANELS[0] }>(cast_slice(&panel_rows[0]), PANEL_WIDTH);
            if NR == 2 {
                registers.load::<{ ROWS[1] }>(left[TILE..].as_flattened(), TILE);
            }
            if NP == 2 {
                registers.load::<{ PANELS[1] }>(cast_slice(&panel_rows[1]), PANEL_WIDTH);
            }
            multiply::<R, NR, NP>(registers);
        }
        SumTiles::<NR, NP> { row, rows, panel }.store_all(simd, registers, product);
    }
}

/// Adds to all sums of NR tiles of rows and NP panels.
#[inline(always)]
fn multiply<R: TileRegisters, const NR: usize, const NP: usize>(registers: &mut R) {
    registers.multiply::<{ SUMS[0][0] }, { ROWS[0] }, { PANELS[0] }>();
    if NR == 2 {
        registers.multiply::<{ SUMS[1][0] }, { ROWS[1] }, { PANELS[0] }>();
    }
    if NP == 2 {
        registers.multiply::<{ SUMS[0][1] }, { ROWS[0] }, { PANELS[1] }>();
    }
    if NR == 2 && NP == 2 {
        registers.multiply::<{ SUMS[1][1] }, { ROWS[1] }, { PANELS[1] }>();
    }
}

/// The tiles of sums of a product's block, and where it is: NR tiles of rows from `row` on, `rows` in all, times NP panels from
/// `panel` on.
struct SumTiles<const NR: usize, const NP: usize> {
    row: usize,
    rows: usize,
    panel: usize,
}

impl<const NR: usize, const NP: usize> SumTiles<NR, NP> {
    /// Loads the sums that the output holds, or zeros.
    #[inline(always)]
    fn load_all<R: TileRegisters>(&self, registers: &mut R, product: &Product<'_, Bf16Pair>) {
        self.load::<R, 0, 0, { SUMS[0][0] }>(registers, product);
        if NR == 2 {
            self.load::<R, 1, 0, { SUMS[1][0] }>(registers, product);
        }
        if NP == 2 {
            self.load::<R, 0, 1, { SUMS[0][1] }>(registers, product);
        }
        if NR == 2 && NP == 2 {
            self.load::<R, 1, 1, { SUMS[1][1] }>(registers, product);
        }
    }

    /// Stores the sums, with the bias, in the output.
    #[inline(always)]
    fn store_all<S: Simd, R: TileRegisters>(&self, simd: S, registers: &mut R, product: &mut Product<'_, Bf16Pair>) {
        self.store::<S, R, 0, 0, { SUMS[0][0] }>(simd, registers, product);
        if NR == 2 {
            self.store::<S, R, 1, 0, { SUMS[1][0] }>(simd, registers, product);
        }
        if NP == 2 {
            self.store::<S, R, 0, 1, { SUMS[0][1] }>(simd, registers, product);
        }
        if NR == 2 && NP == 2 {
            self.store::<S, R, 1, 1, { SUMS[1][1] }>(simd, registers, product);
        }
    }

    /// Rows and columns of the sums of the tile of rows I and the panel J.
    fn size<const I: usize, const J: usize>(&self, product: &Product<'_, Bf16Pair>) -> (usize, usize) {
        ((self.rows - I * TILE).min(TILE), (product.columns - (self.panel + J) * PANEL_WIDTH).min(PANEL_WIDTH))
    }

    /// Where these sums start in the output.
    fn start<const I: usize, const J: usize>(&self, strides: Strides) -> usize {
        (self.row + I * TILE) * strides.row + (self.panel + J) * strides.panel
    }

    #[inline(always)]
    fn load<R: TileRegisters, const I: usize, const J: usize, const SUM: usize>(
        &self,
        registers: &mut R,
        product: &Product<'_, Bf16Pair>,
    ) {
        if !product.accumulate {
            return registers.zero::<SUM>();
        }
        let (rows, columns) = self.size::<I, J>(product);
        let out = &product.out[self.start::<I, J>(product.strides)..];
        if columns == PANEL_WIDTH {
            registers.load::<SUM>(cast_slice(out), product.strides.row);
        } else {
            let mut edge_tile = EdgeTile::ZEROS;
            edge_tile.copy_from(out, product.strides, rows, columns);
            registers.load::<SUM>(cast_slice(edge_tile.numbers_mut()), PANEL_WIDTH);
        }
    }

    #[inline(always)]
    fn store<S: Simd, R: TileRegisters, const I: usize, const J: usize, const SUM: usize>(
        &self,
        simd: S,
        registers: &mut R,
        product: &mut Product<'_, Bf16Pair>,
    ) {
        let (rows, columns) = self.size::<I, J>(product);
        let (strides, start) = (product.strides, self.start::<I, J>(product.strides));
        let first = (self.panel + J) * PANEL_WIDTH;
        let bias = product.bias.get(first..first + columns).unwrap_or(&[]);
        let out = &mut product.out[start..];
        if columns == PANEL_WIDTH {
            registers.store::<SUM>(cast_slice_mut(out), strides.row);
            if !bias.is_empty() {
                let (bias, _) = S::as_simd_f32s(bias);
                for row in 0..rows {
                    let (out, _) = S::as_mut_simd_f32s(&mut out[row * strides.row..][..PANEL_WIDTH]);
                    for (out, bias) in out.iter_mut().zip(bias) {
                        *out = simd.add_f32s(*out, *bias);
                    }
                }
            }
        } else {
            let mut edge_tile = EdgeTile::ZEROS;
            registers.store::<SUM>(cast_slice_mut(edge_tile.numbers_mut()), PANEL_WIDTH);
            for row in edge_tile.numbers_mut().chunks_exact_mut(PANEL_WIDTH).take(rows) {
                for (sum, bias) in row.iter_mut().zip(bias) {
                    *sum += bias;
                }
            }
            edge_tile.copy_to(out, strides, rows, columns);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    use crate::kernels::dispatch::Dispatch;
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    use crate::kernels::instruction_set::InstructionSet;
    use crate::kernels::testing::{numbers, product_by};
    use crate::kernels::tile_registers::TileModel;

    /// A product by the model of tile registers.
    fn by_model(a: &[f32], weight: &[f32], bias: &[f32], inner: usize, part: usize) -> Vec<f32> {
        let multiply = |product: Product<'_, Bf16Pair>| {
            TileKernel { registers: TileModel::new(), product }.with_simd(pulp::Scalar::new());
        };
        product_by::<Bf16Pair>(multiply, a, weight, bias, inner, part)
    }

    fn bfloat16(number: f32) -> f32 {
        half::bf16::from_f32(number).to_f32()
    }

    /// An element by its definition.
    fn element(a: &[f32], weight: &[f32], bias: f32) -> f32 {
        let mut sum = 0.0f32;
        for (a, weight) in a.chunks(2 * TILE).zip(weight.chunks(2 * TILE)) {
            let mut parts = [0.0f32; 2];
            for (i, (a, weight)) in a.iter().zip(weight).enumerate() {
                parts[i % 2] = bfloat16(*a).mul_add(bfloat16(*weight), parts[i % 2]);
            }
            sum += parts[0] + parts[1];
        }
        sum + bias
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Any number of rows, columns and inner numbers, in parts too; the processor's tiles, where there are some, as the model.
        #[test]
        fn every_element_is_the_sum_it_should_be(
            rows in 1usize..80,
            inner in 1usize..300,
            columns in 1usize..70,
            seed: u64,
        ) {
            let (a, weight) = (numbers(rows * inner, seed), numbers(columns * inner, seed ^ 1));
            let bias = numbers(columns, seed ^ 2);
            let expected: Vec<u32> = (0..rows * columns)
                .map(|i| {
                    let (row, column) = (i / columns, i % columns);
                    element(&a[row * inner..][..inner], &weight[column * inner..][..inner], bias[column]).to_bits()
                })
                .collect();
            for part in [inner, 32, 192] {
                let found = by_model(&a, &weight, &bias, inner, part);
                prop_assert_eq!(&found.iter().map(|sum| sum.to_bits()).collect::<Vec<_>>(), &expected);
                #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
                if let Some(instruction_set) = InstructionSet::available().into_iter().find(|set| set.has_tiles()) {
                    let multiply = |product: Product<'_, Bf16Pair>| Bf16Pair::multiply(instruction_set, product);
                    let found = product_by::<Bf16Pair>(multiply, &a, &weight, &bias, inner, part);
                    prop_assert_eq!(&found.iter().map(|sum| sum.to_bits()).collect::<Vec<_>>(), &expected);
                }
            }
        }
    }

    /// As queries, keys and values are written: panel after panel.
    #[test]
    fn output_in_panels() {
        let (rows, inner, columns) = (37, 40, 3 * PANEL_WIDTH);
        let (a, weight) = (numbers(rows * inner, 1), numbers(columns * inner, 2));
        let expected = by_model(&a, &weight, &vec![0.0; columns], inner, inner);
        let mut out = vec![f32::NAN; rows * columns];
        let multiply = |product: Product<'_, Bf16Pair>| {
            let strides = Strides { row: PANEL_WIDTH, panel: rows * PANEL_WIDTH };
            let product = Product { out: &mut out, strides, ..product };
            TileKernel { registers: TileModel::new(), product }.with_simd(pulp::Scalar::new());
        };
        product_by::<Bf16Pair>(multiply, &a, &weight, &vec![0.0; columns], inner, inner);
        for (i, row) in expected.chunks(columns).enumerate() {
            for (p, panel) in row.chunks(PANEL_WIDTH).enumerate() {
                assert_eq!(out[(p * rows + i) * PANEL_WIDTH..][..PANEL_WIDTH], *panel);
            }
        }
    }
}
