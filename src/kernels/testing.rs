//! What the tests of several kernels share.

use std::convert::Infallible;
use std::ops::Range;

use super::dispatch::Dispatch;
use super::encoder_layer::EncoderLayer;
use super::instruction_set::InstructionSet;
use super::norm::Norm;
use super::output_tile::Strides;
use super::packed_matrix::{PANEL_WIDTH, PackedMatrix};
use super::parameters::{FeedForwardParameters, LayerNorms, LayerParameters, Parameters, RelativePositions};
use super::product::{Product, StridedRows};
use crate::family::NormKind;
use crate::spec::{Activation, Compute};

/// Numbers between -1 and 1 without a pattern.
pub(super) fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    (0..count)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 40) as f32 / (1 << 23) as f32 - 1.0
        })
        .collect()
}

/// `a` (rows, inner) times the transpose of `weight` (columns, inner), plus a bias, each product by `multiply`; in parts of
/// `part` values of the inner dimension.
pub(super) fn product_by<T: Dispatch>(
    mut multiply: impl FnMut(Product<'_, T>),
    a: &[f32],
    weight: &[f32],
    bias: &[f32],
    inner: usize,
    part: usize,
) -> Vec<f32> {
    let (rows, columns) = (a.len() / inner, bias.len());
    let panels = weight.chunks(PANEL_WIDTH * inner).map(|weight| {
        let mut panel = Vec::new();
        T::pack(weight, weight.len() / inner, inner, &mut panel);
        panel
    });
    let packed = PackedMatrix::<T>::new(panels.collect(), columns);
    let mut out = vec![f32::NAN; rows * columns];
    for first in (0..inner).step_by(part) {
        let part = first..inner.min(first + part);
        let panel_rows = T::elements(part.start)..T::elements(part.end);
        let (mut buffer, b) = (Vec::new(), packed.panels(0..columns.div_ceil(PANEL_WIDTH), panel_rows));
        let converter = InstructionSet::available()[0];
        let a = T::convert_rows(
            converter,
            StridedRows { elements: &a[first..], stride: inner },
            rows,
            part.len(),
            &mut buffer,
        );
        let product = Product {
            a,
            rows,
            b: &b,
            columns,
            bias: if part.end == inner { bias } else { &[] },
            accumulate: first > 0,
            out: &mut out,
            strides: Strides::of_rows(columns),
        };
        multiply(product);
    }
    out
}

/// An encoder layer as BERT's, with such weights.
pub(super) fn layer(
    hidden: usize,
    heads: usize,
    intermediate: usize,
    compute: Compute,
    instruction_set: InstructionSet,
) -> EncoderLayer {
    let linear = |inputs: usize, outputs: usize, seed: u64| {
        let weight = numbers(inputs * outputs, seed);
        let read = move |rows: Range<usize>, out: &mut Vec<f32>| {
            out.extend_from_slice(&weight[rows.start * inputs..rows.end * inputs]);
            Ok::<_, Infallible>(())
        };
        Parameters { inputs, bias: numbers(outputs, seed + 1), read: Box::new(read) }
    };
    let norm =
        |seed: u64| Norm::new(NormKind::LayerNorm, numbers(hidden, seed), Some(numbers(hidden, seed + 1)), 1e-12);
    let Ok(layer) = EncoderLayer::load(
        LayerParameters {
            norms: LayerNorms {
                after_attention: Some(norm(9)),
                after_feed_forward: Some(norm(15)),
                ..LayerNorms::default()
            },
            query_key_value: [1, 3, 5].map(|seed| linear(hidden, hidden, seed)),
            heads,
            key_value_heads: heads,
            rotary: None,
            window: None,
            relative: RelativePositions::None,
            attention_output: linear(hidden, hidden, 7),
            feed_forward: FeedForwardParameters {
                gate: None,
                up: linear(hidden, intermediate, 11),
                down: linear(intermediate, hidden, 13),
                activation: Activation::Gelu,
            },
            convolution: None,
        },
        compute,
        instruction_set,
    );
    layer
}
