//! Single kernels on one thread, for the benchmarks; not part of the library's interface.

use std::hint::black_box;

use pulp::{Simd, WithSimd};

use super::activation;
use super::attention::{AttentionScratch, Heads, QueryKeyValue, Scoring};
use super::instruction_set::InstructionSet;
use super::norm::Norm;
use super::packed_matrix::{PANEL_WIDTH, PanelRow};
use crate::spec::Activation;

/// Replaces each value by its activation.
pub fn activate(instruction_set: InstructionSet, activation: Activation, values: &mut [f32]) {
    activation::activate(instruction_set, activation, values);
}

/// LayerNorm of `x + residual`, row by row.
pub fn layer_norm(instruction_set: InstructionSet, norm: &Norm, x: &[f32], residual: &[f32], out: &mut [f32]) {
    norm.rows(instruction_set, x, Some(residual), out);
}

/// Attention of one text, all heads.
pub struct Attention {
    heads: Heads,
    tokens: usize,
    /// (heads, panels, tokens, 16)
    query_key_value: Vec<PanelRow<f32>>,
    scratch: AttentionScratch,
    /// (tokens, hidden)
    out: Vec<f32>,
}

impl Attention {
    /// A text of `tokens`, its queries, keys and values out of `numbers`.
    pub fn new(heads: usize, head_dim: usize, tokens: usize, mut numbers: impl Iterator<Item = f32>) -> Self {
        let heads = Heads { count: heads, key_values: heads, head_dim, pairs: None };
        let mut panel_row = || PanelRow(std::array::from_fn::<_, PANEL_WIDTH, _>(|_| numbers.next().unwrap_or(0.0)));
        let query_key_value = (0..heads.panels() * tokens).map(|_| panel_row()).collect();
        let out = vec![0.0; tokens * heads.count * head_dim];
        Self { heads, tokens, query_key_value, scratch: AttentionScratch::default(), out }
    }

    /// Computes the attention of all heads.
    pub fn run(&mut self, instruction_set: InstructionSet) {
        let panels = self.heads.panels_per_head();
        for (head, panel_rows) in self.query_key_value.chunks_exact(panels * self.tokens).enumerate() {
            let qkv = QueryKeyValue { panel_rows, tokens: self.tokens, heads: self.heads, head };
            self.scratch.attend(
                instruction_set,
                &Scoring::plain(self.heads.head_dim),
                qkv,
                0..self.tokens,
                0..self.tokens,
                &mut self.out,
            );
        }
    }
}

/// Twelve independent chains of `steps` fused multiply-adds of vectors, which is as many as the processor can do. Returns how many
/// floating-point operations that were.
pub fn multiply_adds(instruction_set: InstructionSet, steps: usize) -> usize {
    instruction_set.run(PeakMultiplyAdds(steps))
}

struct PeakMultiplyAdds(usize);

impl WithSimd for PeakMultiplyAdds {
    type Output = usize;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> usize {
        let (factor, term) = (simd.splat_f32s(black_box(0.999)), simd.splat_f32s(black_box(0.5)));
        let mut sums = [term; 12];
        for _ in 0..self.0 {
            for sum in &mut sums {
                *sum = simd.mul_add_f32s(*sum, factor, term);
            }
        }
        black_box(sums);
        self.0 * 12 * 2 * S::F32_LANES
    }
}
