//! The feed-forward network of a layer, with or without a gate.

use pulp::{Simd, WithSimd};

use super::instruction_set::InstructionSet;
use super::linear::{ConversionBuffers, PackedLinear, ProductBlock, StridedOutput};
use super::output_tile::Strides;
use super::packed_matrix::PANEL_WIDTH;
use super::parameters::FeedForwardParameters;
use crate::spec::Compute;

/// Panels of the intermediate layer that are computed together, 192 columns: whole chains, and whole groups of
/// integers, of the product that sums them up.
const INTERMEDIATE_PANELS: usize = 12;

/// `down(act(up(x)))`, or with a gate `down(act(gate(x)) · up(x))` (Shazeer 2020).
pub(super) struct FeedForward {
    gate: Option<PackedLinear>,
    up: PackedLinear,
    down: PackedLinear,
    instruction_set: InstructionSet,
}

/// Memory for some rows on their way through it.
#[derive(Default)]
pub(super) struct FeedForwardScratch {
    /// (rows, columns of the intermediate layer that are computed together)
    intermediate: Vec<f32>,
    /// The same, of the linear layer that the gate opens.
    gated: Vec<f32>,
    buffers: ConversionBuffers,
    intermediate_buffers: ConversionBuffers,
}

impl FeedForward {
    /// Reads and packs the weights, for an instruction set.
    ///
    /// # Errors
    /// Those of reading.
    pub(super) fn load<E: Send>(
        parameters: FeedForwardParameters<'_, E>,
        compute: Compute,
        instruction_set: InstructionSet,
    ) -> std::result::Result<Self, E> {
        let FeedForwardParameters { gate, up, down, activation } = parameters;
        let of_up = Some(activation).filter(|_| gate.is_none());
        let gate = gate.map(|gate| PackedLinear::load(gate, Some(activation), compute, instruction_set));
        Ok(Self {
            gate: gate.transpose()?,
            up: PackedLinear::load(up, of_up, compute, instruction_set)?,
            down: PackedLinear::load(down, None, compute, instruction_set)?,
            instruction_set,
        })
    }

    /// `x` to `out`, both (rows, hidden), on this thread, [`INTERMEDIATE_PANELS`] at a time: the output's sums accumulate over
    /// them, in the same order as all at once.
    pub(super) fn rows(&self, x: &[f32], out: &mut [f32], scratch: &mut FeedForwardScratch) {
        let FeedForwardScratch { intermediate, gated, buffers, intermediate_buffers } = scratch;
        let (hidden, columns) = (self.down.outputs(), self.up.outputs());
        let rows = x.len() / hidden;
        let left = self.up.left_operand(x, hidden, buffers);
        for first in (0..columns).step_by(INTERMEDIATE_PANELS * PANEL_WIDTH) {
            let piece = first..columns.min(first + INTERMEDIATE_PANELS * PANEL_WIDTH);
            let multiply = |linear: &PackedLinear, out: &mut Vec<f32>| {
                out.resize(rows * piece.len(), 0.0);
                let panels = first / PANEL_WIDTH..piece.end.div_ceil(PANEL_WIDTH);
                let strides = Strides::of_rows(piece.len());
                let block = ProductBlock { rows, panels, inputs: 0..hidden };
                linear.multiply(left, block, StridedOutput { numbers: out, strides });
            };
            multiply(&self.up, intermediate);
            if let Some(gate) = &self.gate {
                multiply(gate, gated);
                self.instruction_set.run(MultiplyBy { numbers: intermediate, factors: gated });
            }
            self.down.multiply(
                self.down.left_operand(intermediate, piece.len(), intermediate_buffers),
                ProductBlock { rows, panels: 0..self.down.panels(), inputs: piece },
                StridedOutput { numbers: out, strides: Strides::of_rows(hidden) },
            );
        }
    }

    /// `x` to its output, both (rows, hidden), on all threads.
    pub(super) fn forward(&self, x: &[f32]) -> Vec<f32> {
        let mut intermediate = self.up.forward(x);
        if let Some(gate) = &self.gate {
            let factors = gate.forward(x);
            self.instruction_set.run(MultiplyBy { numbers: &mut intermediate, factors: &factors });
        }
        self.down.forward(&intermediate)
    }
}

struct MultiplyBy<'a> {
    numbers: &'a mut [f32],
    factors: &'a [f32],
}

impl WithSimd for MultiplyBy<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for (number, factor) in self.numbers.iter_mut().zip(self.factors) {
            *number *= factor;
        }
    }
}
