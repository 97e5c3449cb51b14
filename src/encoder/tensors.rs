//! The encoder's steps in candle's own operations, for devices without kernels of ours: CUDA and Metal.
//!
//! Parameters and steps are those of [`crate::kernels`], in float32. There are two differences: sums are taken in the
//! order that the device's libraries choose, which may depend on the batch; and attention works on padded blocks of
//! texts of similar length, whose padding is masked. H is the width of a hidden state.

use std::borrow::Cow;

use candle_core::{D, Device, Result, Tensor};

use super::backend::Backend;
use crate::error::Error;
use crate::kernels::{LayerNorm, LayerParameters, Parameters};
use crate::spec::Activation;

/// The longest text of a block is at most this many times as long as its shortest, so that at most half of a block is
/// padding.
const SHORTEST_PART: usize = 2;

/// Most attention scores that a block may hold, unless one text alone has more.
const MOST_SCORES: usize = 1 << 26;

/// A device of the tensor library.
pub(super) struct DeviceTensors(pub(super) Device);

impl Backend for DeviceTensors {
    /// (tokens, H)
    type HiddenState = Tensor;
    /// (rows, H)
    type Table = Tensor;
    type Norm = TensorNorm;
    type Layer = TensorLayer;
    type Linear = TensorLinear;

    fn table(&self, rows: Vec<f32>, hidden_size: usize) -> crate::error::Result<Tensor> {
        Ok(Tensor::from_vec(rows, ((), hidden_size), &self.0)?)
    }

    fn norm(&self, norm: LayerNorm) -> crate::error::Result<TensorNorm> {
        Ok(TensorNorm::load(&norm, &self.0)?)
    }

    fn layer(&self, _: usize, parameters: LayerParameters<'_, Error>) -> crate::error::Result<TensorLayer> {
        TensorLayer::load(parameters, &self.0)
    }

    fn linear(&self, parameters: Parameters<'_, Error>, activation: Activation) -> crate::error::Result<TensorLinear> {
        TensorLinear::load(parameters, Some(activation), &self.0)
    }

    fn embed(&self, tables: [&Tensor; 3], rows: [&[u32]; 3], norm: &TensorNorm) -> crate::error::Result<Tensor> {
        let row = |table: &Tensor, rows: &[u32]| table.index_select(&Tensor::new(rows, &self.0)?, 0);
        let [words, positions, types] = tables;
        let sum = ((row(words, rows[0])? + row(positions, rows[1])?)? + row(types, rows[2])?)?;
        Ok(norm.forward(&sum)?)
    }

    fn encode(&self, layer: &TensorLayer, hidden_state: &Tensor, cu_seqlens: &[usize]) -> crate::error::Result<Tensor> {
        Ok(layer.forward(hidden_state, cu_seqlens)?)
    }

    fn apply(&self, linear: &TensorLinear, x: &[f32]) -> crate::error::Result<Vec<f32>> {
        let x = Tensor::from_slice(x, ((), linear.weight.dim(1)?), &self.0)?;
        Ok(linear.forward(&x)?.flatten_all()?.to_vec1()?)
    }

    fn numbers<'a>(&self, hidden_state: &'a Tensor) -> crate::error::Result<Cow<'a, [f32]>> {
        let copy = hidden_state.to_device(&Device::Cpu)?;
        // A device may still be computing it.
        self.0.synchronize()?;
        Ok(Cow::Owned(copy.flatten_all()?.to_vec1()?))
    }
}

/// `activation(x · weightᵀ + bias)`.
pub(super) struct TensorLinear {
    /// (outputs, inputs)
    weight: Tensor,
    /// (outputs)
    bias: Tensor,
    activation: Option<Activation>,
}

impl TensorLinear {
    /// Reads the parameters onto a device.
    fn load(
        parameters: Parameters<'_, Error>,
        activation: Option<Activation>,
        device: &Device,
    ) -> crate::error::Result<Self> {
        let (outputs, inputs) = (parameters.bias.len(), parameters.inputs);
        let mut weight = Vec::with_capacity(outputs * inputs);
        (parameters.read)(0..outputs, &mut weight)?;
        Ok(Self {
            weight: Tensor::from_vec(weight, (outputs, inputs), device)?,
            bias: Tensor::from_vec(parameters.bias, outputs, device)?,
            activation,
        })
    }

    /// (tokens, inputs) → (tokens, outputs)
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = x.matmul(&self.weight.t()?)?.broadcast_add(&self.bias)?;
        match self.activation {
            None => Ok(x),
            Some(Activation::Gelu) => x.gelu_erf(),
            Some(Activation::GeluTanh) => x.gelu(),
            Some(Activation::Relu) => x.relu(),
            Some(Activation::Tanh) => x.tanh(),
        }
    }
}

/// LayerNorm.
pub(super) struct TensorNorm {
    /// (H)
    weight: Tensor,
    /// (H)
    bias: Tensor,
    eps: f64,
}

impl TensorNorm {
    /// Copies the parameters to a device.
    fn load(norm: &LayerNorm, device: &Device) -> Result<Self> {
        let (weight, bias, eps) = norm.parameters();
        Ok(Self { weight: Tensor::new(weight, device)?, bias: Tensor::new(bias, device)?, eps })
    }

    /// (tokens, H) → (tokens, H)
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
        let variance = x.sqr()?.mean_keepdim(D::Minus1)?;
        let x = x.broadcast_div(&(variance + self.eps)?.sqrt()?)?;
        x.broadcast_mul(&self.weight)?.broadcast_add(&self.bias)
    }
}

/// An encoder layer (`BertLayer` of transformers).
pub(super) struct TensorLayer {
    query_key_value: [TensorLinear; 3],
    attention_output: TensorLinear,
    attention_norm: TensorNorm,
    intermediate: TensorLinear,
    output: TensorLinear,
    output_norm: TensorNorm,
    heads: usize,
}

impl TensorLayer {
    /// Reads the parameters onto a device.
    fn load(parameters: LayerParameters<'_, Error>, device: &Device) -> crate::error::Result<Self> {
        let linear = |parameters| TensorLinear::load(parameters, None, device);
        let [query, key, value] = parameters.query_key_value;
        Ok(Self {
            query_key_value: [linear(query)?, linear(key)?, linear(value)?],
            attention_output: linear(parameters.attention_output)?,
            attention_norm: TensorNorm::load(&parameters.attention_norm, device)?,
            intermediate: TensorLinear::load(parameters.intermediate, Some(parameters.activation), device)?,
            output: linear(parameters.output)?,
            output_norm: TensorNorm::load(&parameters.output_norm, device)?,
            heads: parameters.heads,
        })
    }

    /// (tokens, H) → (tokens, H); text i is tokens `bounds[i]..bounds[i + 1]`.
    fn forward(&self, hidden_state: &Tensor, bounds: &[usize]) -> Result<Tensor> {
        let context = self.attention(hidden_state, bounds)?;
        let attended = self.attention_norm.forward(&(self.attention_output.forward(&context)? + hidden_state)?)?;
        let output = self.output.forward(&self.intermediate.forward(&attended)?)?;
        self.output_norm.forward(&(output + attended)?)
    }

    /// `softmax(q · kᵀ / √width) · v` of all heads: (tokens, H) → (tokens, H).
    fn attention(&self, hidden_state: &Tensor, bounds: &[usize]) -> Result<Tensor> {
        let (tokens, hidden) = hidden_state.dims2()?;
        if tokens == 0 {
            return Ok(hidden_state.clone());
        }
        let device = hidden_state.device();
        let width = hidden / self.heads;
        let [query, key, value] = &self.query_key_value;
        let [query, key, value] = [query, key, value].map(|linear| linear.forward(hidden_state));
        let (query, key, value) = ((query? / (width as f64).sqrt())?, key?, value?);

        let mut contexts = Vec::new();
        // The row of each token once the blocks' contexts lie one after the other.
        let mut places = vec![0u32; tokens];
        let mut rows = 0;
        for block in blocks(bounds, self.heads) {
            let (texts, longest) = (block.len(), block[0].len());
            let mut gathered = Vec::with_capacity(texts * longest);
            let mut mask = Vec::with_capacity(texts * longest);
            for text in &block {
                for place in 0..longest {
                    let real = place < text.len();
                    let token = if real { text.start + place } else { text.start };
                    if real {
                        places[token] = rows;
                    }
                    gathered.push(token as u32);
                    mask.push(if real { 0.0f32 } else { f32::NEG_INFINITY });
                    rows += 1;
                }
            }
            let gathered = Tensor::from_vec(gathered, texts * longest, device)?;
            let mask = Tensor::from_vec(mask, (texts, 1, 1, longest), device)?;
            // (tokens, H) → (texts, heads, longest, width)
            let padded = |x: &Tensor| {
                let rows = x.index_select(&gathered, 0)?;
                rows.reshape((texts, longest, self.heads, width))?.transpose(1, 2)?.contiguous()
            };
            let scores = padded(&query)?.matmul(&padded(&key)?.t()?)?.broadcast_add(&mask)?; // (texts, heads, longest, longest)
            let weights = scores.broadcast_sub(&scores.max_keepdim(D::Minus1)?)?.exp()?;
            let weights = weights.broadcast_div(&weights.sum_keepdim(D::Minus1)?)?;
            let context = weights.matmul(&padded(&value)?)?; // (texts, heads, longest, width)
            contexts.push(context.transpose(1, 2)?.reshape((texts * longest, hidden))?);
        }
        Tensor::cat(&contexts, 0)?.index_select(&Tensor::from_vec(places, tokens, device)?, 0)
    }
}

/// The texts that have tokens, by falling length, in blocks that are padded to the length of their first text.
fn blocks(bounds: &[usize], heads: usize) -> Vec<Vec<std::ops::Range<usize>>> {
    let mut texts: Vec<_> = bounds.windows(2).map(|bound| bound[0]..bound[1]).filter(|text| !text.is_empty()).collect();
    texts.sort_by_key(|text| std::cmp::Reverse(text.len()));
    let mut blocks: Vec<Vec<std::ops::Range<usize>>> = Vec::new();
    for text in texts {
        match blocks.last_mut() {
            Some(block)
                if text.len() * SHORTEST_PART >= block[0].len()
                    && (block.len() + 1) * heads * block[0].len().pow(2) <= MOST_SCORES =>
            {
                block.push(text);
            }
            _ => blocks.push(vec![text]),
        }
    }
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_text_in_one_block_with_little_padding(lengths in proptest::collection::vec(0usize..600, 0..60)) {
            let mut bounds = vec![0];
            bounds.extend(lengths.iter().scan(0, |end, length| { *end += length; Some(*end) }));
            let blocks = blocks(&bounds, 12);
            let padded: usize = blocks.iter().map(|block| block.len() * block[0].len()).sum();
            prop_assert!(padded <= 2 * bounds[bounds.len() - 1]);
            for block in &blocks {
                prop_assert!(block.iter().all(|text| text.len() <= block[0].len()));
                prop_assert!(block.len() == 1 || block.len() * 12 * block[0].len().pow(2) <= MOST_SCORES);
            }
            let mut found: Vec<_> = blocks.into_iter().flatten().collect();
            found.sort_by_key(|text| text.start);
            let expected: Vec<_> = bounds.windows(2).map(|bound| bound[0]..bound[1]).filter(|text| !text.is_empty()).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
