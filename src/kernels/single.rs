//! Single kernels on one thread, for the benchmarks; not part of the library's interface.

use std::hint::black_box;

use pulp::{Simd, WithSimd};

use super::LayerNorm;
use super::attention::{Heads, QueryKeyValue, Scratch};
use super::isa::InstructionSet;
use super::packed::{Line, STRIP};
use crate::spec::Activation;

/// The activation of each number.
pub fn activate(instruction_set: InstructionSet, activation: Activation, values: &mut [f32]) {
    activation.apply(instruction_set, values);
}

/// LayerNorm of `x + residual`, row by row.
pub fn layer_norm(instruction_set: InstructionSet, norm: &LayerNorm, x: &[f32], residual: &[f32], out: &mut [f32]) {
    norm.0.rows(instruction_set, x, residual, out);
}

/// Attention of one text, all heads.
pub struct Attention {
    heads: Heads,
    tokens: usize,
    query_key_value: Vec<Line<f32>>,
    scratch: Scratch,
    out: Vec<f32>,
}

impl Attention {
    /// A text of `tokens`, its queries, keys and values out of `numbers`.
    pub fn new(heads: usize, width: usize, tokens: usize, mut numbers: impl Iterator<Item = f32>) -> Self {
        let heads = Heads { count: heads, width };
        let mut line = || Line(std::array::from_fn::<_, STRIP, _>(|_| numbers.next().unwrap_or(0.0)));
        let query_key_value = (0..heads.all_strips() * tokens).map(|_| line()).collect();
        let out = vec![0.0; tokens * heads.count * width];
        Self { heads, tokens, query_key_value, scratch: Scratch::default(), out }
    }

    /// Computes it.
    pub fn run(&mut self, instruction_set: InstructionSet) {
        let strips = self.heads.strips_of_one();
        for (head, lines) in self.query_key_value.chunks_exact(strips * self.tokens).enumerate() {
            let qkv = QueryKeyValue { lines, tokens: self.tokens, heads: self.heads, head };
            self.scratch.attend(instruction_set, qkv, 0..self.tokens, 0..self.tokens, &mut self.out);
        }
    }
}

/// As many fused multiply-adds as the processor can do: twelve vectors that wait for nothing but themselves, `steps` times.
/// Returns how many floating-point operations that were.
pub fn multiply_adds(instruction_set: InstructionSet, steps: usize) -> usize {
    instruction_set.run(MultiplyAdds(steps))
}

struct MultiplyAdds(usize);

impl WithSimd for MultiplyAdds {
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
