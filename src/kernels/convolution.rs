//! A convolution over the tokens of each text, which joins a layer's output: DeBERTa-v2's `ConvLayer`.

use super::instruction_set::InstructionSet;
use super::linear::PackedLinear;
use super::norm::Norm;
use super::parameters::ConvolutionParameters;
use crate::spec::Compute;

/// `norm(out + act(convolution(x)))`.
pub(super) struct Convolution {
    kernel_size: usize,
    /// (kernel_size · hidden) to (hidden)
    linear: PackedLinear,
    norm: Norm,
    instruction_set: InstructionSet,
}

impl Convolution {
    /// Reads and packs the weight, for an instruction set; in float32 whatever the arithmetic of the layers, as it is the first
    /// one's.
    ///
    /// # Errors
    /// Those of reading.
    pub(super) fn load<E: Send>(
        parameters: ConvolutionParameters<'_, E>,
        instruction_set: InstructionSet,
    ) -> std::result::Result<Self, E> {
        let ConvolutionParameters { kernel_size, weight, activation, norm } = parameters;
        let linear = PackedLinear::load(weight, Some(activation), Compute::F32, instruction_set)?;
        Ok(Self { kernel_size, linear, norm, instruction_set })
    }

    /// Joins the convolution of `x` with `out`, both (tokens, hidden); beyond the ends of a text are zeros.
    pub(super) fn join(&self, x: &[f32], cu_seqlens: &[usize], out: &mut [f32]) {
        let hidden = self.linear.outputs();
        let before = (self.kernel_size - 1) / 2;
        for ends in cu_seqlens.windows(2) {
            let (text, length) = (&x[ends[0] * hidden..ends[1] * hidden], ends[1] - ends[0]);
            // A bounded number of rows at once, as each holds all of its tokens.
            const ROWS: usize = 1024;
            for first in (0..length).step_by(ROWS) {
                let rows = ROWS.min(length - first);
                let mut inputs = vec![0.0; rows * self.kernel_size * hidden];
                for (row, inputs) in inputs.chunks_exact_mut(self.kernel_size * hidden).enumerate() {
                    for (i, input) in inputs.chunks_exact_mut(hidden).enumerate() {
                        let token = (first + row + i).checked_sub(before).filter(|&token| token < length);
                        if let Some(token) = token {
                            input.copy_from_slice(&text[token * hidden..][..hidden]);
                        }
                    }
                }
                let convolved = self.linear.forward(&inputs);
                let out = &mut out[(ends[0] + first) * hidden..][..rows * hidden];
                let joined = out.to_vec();
                self.norm.rows(self.instruction_set, &convolved, Some(&joined), out);
            }
        }
    }
}
