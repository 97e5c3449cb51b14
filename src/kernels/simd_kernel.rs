//! The matrix product in vector registers, on every instruction set.
//!
//! As in BLIS, a micro-tile of a few rows and a few panels sweeps the inner dimension with its sums in registers. Panels stay in
//! the second-level cache while all rows of a task pass them, and activations are used where they lie. Where the first-level
//! cache is what holds the product up, all rows pass a block of a panel's rows before the next block, and unfinished sums wait
//! in the output, which changes no element's sequence of operations.

use std::marker::PhantomData;
use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::multiply_add::MultiplyAdd;
use super::operand_element::OperandElement;
use super::output_tile::{EdgeTile, OutputTile};
use super::packed_matrix::PANEL_WIDTH;
use super::prefetch::Prefetch;
use super::product::Product;

/// A product by one kind of multiply-add.
pub(super) struct SimdKernel<'a, T, M> {
    product: Product<'a, T>,
    multiply_add: PhantomData<M>,
}

impl<'a, T: OperandElement, M: MultiplyAdd<T>> SimdKernel<'a, T, M> {
    pub(super) fn new(product: Product<'a, T>, _: M) -> Self {
        Self { product, multiply_add: PhantomData }
    }
}

impl<T: OperandElement, M: MultiplyAdd<T>> WithSimd for SimdKernel<'_, T, M> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        // Rows and panels of a micro-tile fill the vector registers but for the few that hold operands: of 32 with AVX-512,
        // 16 with AVX2, 32 with NEON.
        match S::F32_LANES {
            16 if M::AVX512_ROWS == 8 => self.all_panels::<S, 8, 3, 1>(simd),
            16 => self.all_panels::<S, 4, 3, 1>(simd),
            8 => self.all_panels::<S, 6, 1, 2>(simd),
            4 => self.all_panels::<S, 4, 1, 4>(simd),
            1 => self.all_panels::<S, 1, 1, 16>(simd),
            // 2 lanes: no instruction set has them.
            lanes => unreachable!("vectors of {lanes} float32 do not divide a panel's row"),
        }
    }
}

impl<T: OperandElement, M: MultiplyAdd<T>> SimdKernel<'_, T, M> {
    /// Micro-tiles of MR rows × NP panels, a row of a panel being NV vectors; smaller ones at the edges.
    #[inline(always)]
    fn all_panels<S: Simd, const MR: usize, const NP: usize, const NV: usize>(&mut self, simd: S) {
        let (mut panel, end) = (0, self.product.b.len());
        while panel < end {
            // 4 panels are better two and two than three and one.
            let count = if NP == 3 && end - panel == 4 { 2 } else { NP.min(end - panel) };
            match count {
                3 => self.panels::<S, MR, 3, NV>(simd, panel),
                2 => self.panels::<S, MR, 2, NV>(simd, panel),
                _ => self.panels::<S, MR, 1, NV>(simd, panel),
            }
            panel += count;
        }
    }

    /// All rows times NP panels, block by block of the inner dimension.
    #[inline(always)]
    fn panels<S: Simd, const MR: usize, const NP: usize, const NV: usize>(&mut self, simd: S, panel: usize) {
        let inner = self.product.b[panel].len();
        let mut first = 0usize;
        loop {
            let block = first..inner.min(first.saturating_add(block_length::<S>(M::CHAIN)));
            first = block.end;
            self.block::<S, MR, NP, NV>(simd, panel, block);
            if first == inner {
                break;
            }
        }
    }

    /// All rows times a block of NP panels.
    #[inline(always)]
    fn block<S: Simd, const MR: usize, const NP: usize, const NV: usize>(
        &mut self,
        simd: S,
        panel: usize,
        block: Range<usize>,
    ) {
        let (mut row, end) = (0, self.product.rows);
        let prefetch = Prefetch::new(end, block.len(), M::CHAIN, MR);
        while row + MR <= end {
            self.micro_tile::<S, MR, NP, NV>(simd, row, panel, &block, prefetch);
            row += MR;
        }
        if MR > 4 && row + 4 <= end {
            self.micro_tile::<S, 4, NP, NV>(simd, row, panel, &block, prefetch);
            row += 4;
        }
        match end - row {
            3 => self.micro_tile::<S, 3, NP, NV>(simd, row, panel, &block, prefetch),
            2 => self.micro_tile::<S, 2, NP, NV>(simd, row, panel, &block, prefetch),
            1 => self.micro_tile::<S, 1, NP, NV>(simd, row, panel, &block, prefetch),
            _ => {}
        }
    }

    /// MR rows times a block of NP panels: BLIS's micro-kernel.
    #[inline(always)]
    #[allow(
        clippy::needless_range_loop,
        clippy::manual_memcpy,
        reason = "indices are sure to be inlined, and so compiled for the instruction set"
    )]
    fn micro_tile<S: Simd, const MR: usize, const NP: usize, const NV: usize>(
        &mut self,
        simd: S,
        row: usize,
        panel: usize,
        block: &Range<usize>,
        prefetch: Prefetch,
    ) {
        let Product { a, b, columns, bias, accumulate, strides, .. } = self.product;
        let out = &mut self.product.out[row * strides.row + panel * strides.panel..];
        let inner = b[panel].len();
        let columns = panel * PANEL_WIDTH..columns.min((panel + NP) * PANEL_WIDTH);
        let accumulate = accumulate || block.start > 0;
        let bias = if block.end < inner { &[] } else { bias };

        // Loops and no closures, here and below: a closure that is not inlined is not compiled for these instructions.
        let mut all_rows = [a.row(row, inner); MR];
        let mut all_panels = [&b[panel][..inner]; NP];
        for r in 1..MR {
            all_rows[r] = a.row(row + r, inner);
        }
        for p in 1..NP {
            all_panels[p] = &b[panel + p][..inner];
        }
        let mut edge_tile = None;
        let mut tile = if columns.len() == NP * PANEL_WIDTH {
            OutputTile::<MR, NP>::new(out, strides)
        } else {
            let edge_tile = edge_tile.insert(EdgeTile::ZEROS);
            if accumulate {
                edge_tile.copy_from(out, strides, MR, columns.len());
            }
            edge_tile.output()
        };
        let zero = simd.splat_f32s(0.0);
        let mut total = [[[zero; NV]; NP]; MR];
        // What the block or the part before has left: the totals, or a chain that has not ended.
        if accumulate {
            for r in 0..MR {
                for p in 0..NP {
                    let (out, _) = S::as_simd_f32s(tile.columns(r, p));
                    for v in 0..NV {
                        total[r][p][v] = out[v];
                    }
                }
            }
        }
        let mut to_prefetch = prefetch.share(row..row + MR, block);
        let mut first = block.start;
        while first < block.end {
            let end = block.end.min(first.saturating_add(M::CHAIN));
            let (mut a, mut panels) = (all_rows, all_panels);
            for row in &mut a {
                *row = &row[first..end];
            }
            for panel in &mut panels {
                *panel = &panel[first..end];
            }
            let values = end - first - M::TAIL;
            let mut sum = [[[M::begin(simd, zero, &a[0][values..]); NV]; NP]; MR];
            for r in 0..MR {
                for p in 0..NP {
                    for v in 0..NV {
                        sum[r][p][v] = M::begin(simd, total[r][p][v], &a[r][values..]);
                    }
                }
            }
            for k in 0..values {
                let mut weights = [[M::load(simd, &panels[0][k].0, 0); NV]; NP];
                for p in 0..NP {
                    for v in 0..NV {
                        weights[p][v] = M::load(simd, &panels[p][k].0, v);
                    }
                }
                for r in 0..MR {
                    let value = M::splat(simd, a[r][k]);
                    for p in 0..NP {
                        for v in 0..NV {
                            sum[r][p][v] = M::multiply_add(simd, value, weights[p][v], sum[r][p][v]);
                        }
                    }
                }
            }
            prefetch.next(&b[b.len().min(panel + NP)..b.len().min(panel + 2 * NP)], &mut to_prefetch);
            for r in 0..MR {
                for p in 0..NP {
                    for v in 0..NV {
                        let (tail, panel_tail) = (&a[r][values..], &panels[p][values..]);
                        total[r][p][v] = M::end(simd, total[r][p][v], sum[r][p][v], tail, panel_tail, v);
                    }
                }
            }
            first = end;
        }
        if !bias.is_empty() {
            let mut padded = None;
            let bias = match bias.get(columns.start..columns.start + NP * PANEL_WIDTH) {
                Some(bias) => bias,
                None => padded.insert(pad_bias(&bias[columns.clone()])).as_flattened(),
            };
            for p in 0..NP {
                let (bias, _) = S::as_simd_f32s(&bias[p * PANEL_WIDTH..][..PANEL_WIDTH]);
                for r in 0..MR {
                    for v in 0..NV {
                        total[r][p][v] = simd.add_f32s(total[r][p][v], bias[v]);
                    }
                }
            }
        }
        for r in 0..MR {
            for p in 0..NP {
                let (out, _) = S::as_mut_simd_f32s(tile.columns(r, p));
                for v in 0..NV {
                    out[v] = total[r][p][v];
                }
            }
        }
        if let Some(edge_tile) = edge_tile {
            edge_tile.copy_to(out, strides, MR, columns.len());
        }
    }
}

/// Rows of a panel that all rows of the left-hand matrix pass before the next ones (BLIS's KC): whole chains, and with AVX2 half
/// of the first-level cache (16 KiB), so that the panel is read from there and not from the second level. On Zen 3 products have
/// 1.2 to 1.6 times the rate that they have without blocks.
///
/// With AVX-512 three panels at a time are read for as many multiply-adds, and Zen 4 has 98 % of its rate without.
#[inline(always)]
fn block_length<S: Simd>(chain: usize) -> usize {
    match S::F32_LANES {
        8 if chain < 256 => 256 / chain * chain,
        8 => 256,
        _ => usize::MAX,
    }
}

/// The bias of panels of which the last one is not full, with zeros after it.
#[cold]
#[inline(never)]
fn pad_bias(bias: &[f32]) -> [[f32; PANEL_WIDTH]; 3] {
    let mut padded = [[0.0; PANEL_WIDTH]; 3];
    padded.as_flattened_mut()[..bias.len()].copy_from_slice(bias);
    padded
}
