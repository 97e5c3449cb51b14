//! Activations of a linear layer's outputs.

use pulp::{Simd, WithSimd};

use super::functions::{gelu, gelu_tanh, silu};
use super::instruction_set::InstructionSet;
use crate::spec::Activation;

/// Replaces each value by its activation.
pub(super) fn activate(instruction_set: InstructionSet, activation: Activation, values: &mut [f32]) {
    instruction_set.run(Activate { activation, values });
}

struct Activate<'a> {
    activation: Activation,
    values: &'a mut [f32],
}

impl WithSimd for Activate<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { activation, values } = self;
        // Loops and not closures: what is not inlined is not compiled for the instruction set.
        match activation {
            Activation::Gelu => {
                for x in values {
                    *x = gelu(*x);
                }
            }
            Activation::GeluTanh => {
                for x in values {
                    *x = gelu_tanh(*x);
                }
            }
            Activation::Relu => {
                for x in values {
                    *x = if *x < 0.0 { 0.0 } else { *x }; // a comparison, as `f32::max` would make a number of a NaN
                }
            }
            Activation::Silu => {
                for x in values {
                    *x = silu(*x);
                }
            }
            // Only the pooler has it, for one row of each text, so it need not be fast.
            Activation::Tanh => {
                for x in values {
                    *x = libm::tanh(f64::from(*x)) as f32;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn activations_at_known_points() {
        let apply = |activation: Activation, x: f32| {
            let mut values = [x];
            activate(InstructionSet::available()[0], activation, &mut values);
            values[0]
        };
        // Φ(1) = 0.8413447460685429; the tanh form at 1 is 0.8411919906082768.
        assert_eq!(apply(Activation::Gelu, 1.0), 0.841_344_7);
        assert_eq!(apply(Activation::GeluTanh, 1.0), 0.841_192);
        assert_eq!(apply(Activation::Relu, -2.0), 0.0);
        assert_eq!(apply(Activation::Tanh, 0.5), 0.462_117_16);
        assert_eq!(apply(Activation::Silu, 1.0), 0.731_058_6);
        for activation in [Activation::Gelu, Activation::GeluTanh, Activation::Relu, Activation::Silu] {
            assert_eq!(apply(activation, 0.0), 0.0);
            assert_eq!(apply(activation, 50.0), 50.0);
            assert_eq!(apply(activation, -150.0), 0.0);
            assert!(apply(activation, f32::NAN).is_nan());
        }
    }
}
