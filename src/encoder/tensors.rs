//! The encoder's steps in candle's own operations, for devices without kernels of ours: CUDA and Metal.
//!
//! Parameters and steps are those of [`crate::kernels`], in float32. There are two differences: sums are taken in the
//! order that the device's libraries choose, which may depend on the batch; and attention works on padded blocks of
//! texts of similar length, whose padding is masked. H is the width of a hidden state.

use std::borrow::Cow;
use std::sync::Arc;

use candle_core::{D, DType, Device, Result, Tensor};

use super::backend::{Backend, TableRows};
use crate::error::Error;
use crate::family::{NormKind, RotaryPairs};
use crate::kernels::{
    ConvolutionParameters, DisentangledParameters, DistanceBias, DistanceBuckets, LayerNorms, LayerParameters, Norm,
    Parameters, RelativePositions, RotaryTable,
};
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

    fn first_layer_differs(&self) -> bool {
        false
    }

    fn table(&self, rows: Vec<f32>, width: usize) -> crate::error::Result<Tensor> {
        Ok(Tensor::from_vec(rows, ((), width), &self.0)?)
    }

    fn norm(&self, norm: Norm) -> crate::error::Result<TensorNorm> {
        Ok(TensorNorm::load(&norm, &self.0)?)
    }

    fn layer(&self, _: usize, parameters: LayerParameters<'_, Error>) -> crate::error::Result<TensorLayer> {
        TensorLayer::load(parameters, &self.0)
    }

    fn linear(
        &self,
        parameters: Parameters<'_, Error>,
        activation: Option<Activation>,
    ) -> crate::error::Result<TensorLinear> {
        TensorLinear::load(parameters, activation, &self.0)
    }

    fn embed(
        &self,
        lookups: &[TableRows<'_, Self>],
        width: usize,
        norm: Option<&TensorNorm>,
    ) -> crate::error::Result<Tensor> {
        let row = |lookup: &TableRows<'_, Self>| -> Result<Tensor> {
            let rows = lookup.table.index_select(&Tensor::new(lookup.rows, &self.0)?, 0)?;
            let Some(factors) = lookup.factors else { return Ok(rows) };
            let factors: Vec<f32> = factors.iter().map(|&factor| factor as f32).collect();
            let count = factors.len();
            rows.broadcast_mul(&Tensor::from_vec(factors, (count, 1), &self.0)?)
        };
        let tokens = lookups.first().map_or(0, |lookup| lookup.rows.len());
        let mut sum = Tensor::zeros((tokens, width), DType::F32, &self.0)?;
        for lookup in lookups {
            sum = (sum + row(lookup)?)?;
        }
        Ok(norm.map_or(Ok(sum.clone()), |norm| norm.forward(&sum))?)
    }

    fn project(&self, linear: &TensorLinear, hidden_state: &Tensor) -> crate::error::Result<Tensor> {
        Ok(linear.forward(hidden_state)?)
    }

    fn normalize(&self, norm: &TensorNorm, hidden_state: &Tensor) -> crate::error::Result<Tensor> {
        Ok(norm.forward(hidden_state)?)
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
            Some(Activation::Silu) => x.silu(),
        }
    }
}

/// A norm.
pub(super) struct TensorNorm {
    kind: NormKind,
    /// (H)
    weight: Tensor,
    /// (H)
    bias: Tensor,
    eps: f64,
}

impl TensorNorm {
    /// Copies the parameters to a device.
    fn load(norm: &Norm, device: &Device) -> Result<Self> {
        let (kind, weight, bias, eps) = norm.parameters();
        Ok(Self { kind, weight: Tensor::new(weight, device)?, bias: Tensor::new(bias, device)?, eps })
    }

    /// (tokens, H) → (tokens, H)
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = match self.kind {
            NormKind::LayerNorm => x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?,
            NormKind::RmsNorm => x.clone(),
        };
        let variance = x.sqr()?.mean_keepdim(D::Minus1)?;
        let x = x.broadcast_div(&(variance + self.eps)?.sqrt()?)?;
        x.broadcast_mul(&self.weight)?.broadcast_add(&self.bias)
    }
}

/// The norms of a layer, each there or not.
struct TensorNorms {
    before_attention: Option<TensorNorm>,
    after_attention: Option<TensorNorm>,
    before_feed_forward: Option<TensorNorm>,
    after_feed_forward: Option<TensorNorm>,
}

/// A norm where there is one.
fn normed(norm: Option<&TensorNorm>, x: &Tensor) -> Result<Tensor> {
    norm.map_or_else(|| Ok(x.clone()), |norm| norm.forward(x))
}

/// An encoder layer: attention and feed-forward network, each with its residual and norms before or after it.
pub(super) struct TensorLayer {
    norms: TensorNorms,
    query_key_value: [TensorLinear; 3],
    heads: usize,
    key_value_heads: usize,
    rotary: Option<Arc<RotaryTable>>,
    window: Option<usize>,
    relative: TensorRelative,
    /// Terms of a score, by whose number scores are scaled, too.
    terms: usize,
    attention_output: TensorLinear,
    gate: Option<TensorLinear>,
    up: TensorLinear,
    down: TensorLinear,
    convolution: Option<TensorConvolution>,
}

/// What is added to the scores of attention.
enum TensorRelative {
    None,
    Bias(Arc<DistanceBias>),
    /// Keys and queries of distances, (heads, distances, width) each.
    Disentangled {
        buckets: DistanceBuckets,
        keys: Option<Tensor>,
        queries: Option<Tensor>,
    },
}

/// A convolution of the embeddings, which joins the first layer's output.
struct TensorConvolution {
    kernel_size: usize,
    linear: TensorLinear,
    norm: TensorNorm,
}

impl TensorLayer {
    /// Reads the parameters onto a device.
    fn load(parameters: LayerParameters<'_, Error>, device: &Device) -> crate::error::Result<Self> {
        let linear = |parameters| TensorLinear::load(parameters, None, device);
        let norm = |norm: Option<Norm>| norm.map(|norm| TensorNorm::load(&norm, device)).transpose();
        let LayerNorms { before_attention, after_attention, before_feed_forward, after_feed_forward } =
            parameters.norms;
        let [query, key, value] = parameters.query_key_value;
        let heads = parameters.heads;
        let (relative, terms) = match parameters.relative {
            RelativePositions::None => (TensorRelative::None, 1),
            RelativePositions::Bias(bias) => (TensorRelative::Bias(bias), 1),
            RelativePositions::Disentangled(parameters) => disentangled(parameters, heads, device)?,
        };
        let feed_forward = parameters.feed_forward;
        let activation = Some(feed_forward.activation);
        let of_up = activation.filter(|_| feed_forward.gate.is_none());
        let convolution = parameters.convolution.map(
            |ConvolutionParameters { kernel_size, weight, activation, norm }| -> crate::error::Result<_> {
                let linear = TensorLinear::load(weight, Some(activation), device)?;
                Ok(TensorConvolution { kernel_size, linear, norm: TensorNorm::load(&norm, device)? })
            },
        );
        Ok(Self {
            norms: TensorNorms {
                before_attention: norm(before_attention)?,
                after_attention: norm(after_attention)?,
                before_feed_forward: norm(before_feed_forward)?,
                after_feed_forward: norm(after_feed_forward)?,
            },
            query_key_value: [linear(query)?, linear(key)?, linear(value)?],
            heads,
            key_value_heads: parameters.key_value_heads,
            rotary: parameters.rotary,
            window: parameters.window,
            relative,
            terms,
            attention_output: linear(parameters.attention_output)?,
            gate: feed_forward.gate.map(|gate| TensorLinear::load(gate, activation, device)).transpose()?,
            up: TensorLinear::load(feed_forward.up, of_up, device)?,
            down: linear(feed_forward.down)?,
            convolution: convolution.transpose()?,
        })
    }

    /// (tokens, H) → (tokens, H); text i is tokens `bounds[i]..bounds[i + 1]`.
    fn forward(&self, hidden_state: &Tensor, bounds: &[usize]) -> Result<Tensor> {
        let context = self.attention(&normed(self.norms.before_attention.as_ref(), hidden_state)?, bounds)?;
        let attended = (self.attention_output.forward(&context)? + hidden_state)?;
        let attended = normed(self.norms.after_attention.as_ref(), &attended)?;
        let x = normed(self.norms.before_feed_forward.as_ref(), &attended)?;
        let mut inner = self.up.forward(&x)?;
        if let Some(gate) = &self.gate {
            inner = (inner * gate.forward(&x)?)?;
        }
        let output = normed(self.norms.after_feed_forward.as_ref(), &(self.down.forward(&inner)? + attended)?)?;
        match &self.convolution {
            None => Ok(output),
            Some(convolution) => convolution.join(hidden_state, bounds, &output),
        }
    }

    /// `softmax(scale · (q · kᵀ + relative)) · v` of all heads: (tokens, H) → (tokens, H).
    fn attention(&self, hidden_state: &Tensor, bounds: &[usize]) -> Result<Tensor> {
        let (tokens, hidden) = hidden_state.dims2()?;
        if tokens == 0 {
            return Ok(hidden_state.clone());
        }
        let device = hidden_state.device();
        let width = hidden / self.heads;
        let [query, key, value] = &self.query_key_value;
        let scale = ((width * self.terms) as f64).sqrt();
        let query = (query.forward(hidden_state)? / scale)?.reshape((tokens, self.heads, width))?;
        let repeated = |linear: &TensorLinear| {
            let rows = linear.forward(hidden_state)?.reshape((tokens, self.key_value_heads, 1, width))?;
            let times = self.heads / self.key_value_heads;
            rows.broadcast_as((tokens, self.key_value_heads, times, width))?.reshape((tokens, self.heads, width))
        };
        let (query, key, value) =
            (self.rotated(query, bounds)?, self.rotated(repeated(key)?, bounds)?, repeated(value)?);

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
            // (tokens, heads, width) → (texts, heads, longest, width)
            let padded = |x: &Tensor| {
                let rows = x.index_select(&gathered, 0)?;
                rows.reshape((texts, longest, self.heads, width))?.transpose(1, 2)?.contiguous()
            };
            let (query, key) = (padded(&query)?, padded(&key)?);
            let scores = query.matmul(&key.t()?)?; // (texts, heads, longest, longest)
            let scores = self.with_positions(scores, &query, &key, scale)?.broadcast_add(&mask)?;
            let weights = scores.broadcast_sub(&scores.max_keepdim(D::Minus1)?)?.exp()?;
            let weights = weights.broadcast_div(&weights.sum_keepdim(D::Minus1)?)?;
            let context = weights.matmul(&padded(&value)?)?; // (texts, heads, longest, width)
            contexts.push(context.transpose(1, 2)?.reshape((texts * longest, hidden))?);
        }
        Tensor::cat(&contexts, 0)?.index_select(&Tensor::from_vec(places, tokens, device)?, 0)
    }

    /// Queries or keys (tokens, heads, width), rotated by their positions.
    fn rotated(&self, x: Tensor, bounds: &[usize]) -> Result<Tensor> {
        let Some(rotary) = &self.rotary else { return Ok(x) };
        let (tokens, _, width) = x.dims3()?;
        let half = width / 2;
        let (mut cos, mut sin) = (Vec::with_capacity(tokens * width), Vec::with_capacity(tokens * width));
        for text in bounds.windows(2) {
            for position in 0..text[1] - text[0] {
                for i in 0..width {
                    let (pair, is_second) = match rotary.pairs() {
                        RotaryPairs::Halves => (i % half, i >= half),
                        RotaryPairs::Neighbours => (i / 2, i % 2 == 1),
                    };
                    let (c, s) = rotary.angle(position, pair);
                    cos.push(c);
                    sin.push(if is_second { s } else { -s });
                }
            }
        }
        let partner = |i: usize| match rotary.pairs() {
            RotaryPairs::Halves => (i + half) % width,
            RotaryPairs::Neighbours => i ^ 1,
        };
        let partners: Vec<u32> = (0..width).map(|i| partner(i) as u32).collect();
        let partners = x.index_select(&Tensor::from_vec(partners, width, x.device())?, 2)?;
        let cos = Tensor::from_vec(cos, (tokens, 1, width), x.device())?;
        let sin = Tensor::from_vec(sin, (tokens, 1, width), x.device())?;
        x.broadcast_mul(&cos)? + partners.broadcast_mul(&sin)?
    }

    /// Scores (texts, heads, longest, longest), which are scaled already, with what positions add to them. `query`, scaled too,
    /// and `key` are (texts, heads, longest, width).
    fn with_positions(&self, scores: Tensor, query: &Tensor, key: &Tensor, scale: f64) -> Result<Tensor> {
        let (texts, heads, longest, _) = scores.dims4()?;
        let device = query.device();
        let mut scores = scores;
        if let Some(window) = self.window {
            let pairs = (0..longest).flat_map(|query| (0..longest).map(move |key| query.abs_diff(key)));
            let mask: Vec<f32> = pairs.map(|far| if far > window { f32::NEG_INFINITY } else { 0.0 }).collect();
            scores = scores.broadcast_add(&Tensor::from_vec(mask, (longest, longest), device)?)?;
        }
        match &self.relative {
            TensorRelative::None => Ok(scores),
            TensorRelative::Bias(bias) => {
                let mut numbers = Vec::with_capacity(heads * longest * longest);
                for head in 0..heads {
                    for query in 0..longest as i64 {
                        numbers.extend(
                            (0..longest as i64).map(|key| (f64::from(bias.of(head, key - query)) / scale) as f32),
                        );
                    }
                }
                scores.broadcast_add(&Tensor::from_vec(numbers, (heads, longest, longest), device)?)
            }
            TensorRelative::Disentangled { buckets, keys, queries } => {
                let row = |query: usize, key: usize| buckets.index(query as i64 - key as i64) as u32;
                // (heads, distances, width) → (texts, heads, width, distances)
                let spread = |rows: &Tensor| {
                    let (_, distances, width) = rows.dims3()?;
                    rows.t()?.unsqueeze(0)?.broadcast_as((texts, heads, width, distances))?.contiguous()
                };
                let index = |rows: Vec<u32>| {
                    let index = Tensor::from_vec(rows, (1, 1, longest, longest), device)?;
                    index.broadcast_as((texts, heads, longest, longest))?.contiguous()
                };
                if let Some(keys) = keys {
                    let rows = (0..longest).flat_map(|query| (0..longest).map(move |key| row(query, key))).collect();
                    scores = (scores + query.matmul(&spread(keys)?)?.gather(&index(rows)?, 3)?)?;
                }
                if let Some(queries) = queries {
                    let rows = (0..longest).flat_map(|key| (0..longest).map(move |query| row(query, key))).collect();
                    let added = (key.matmul(&spread(queries)?)? / scale)?.gather(&index(rows)?, 3)?;
                    scores = (scores + added.transpose(2, 3)?)?;
                }
                Ok(scores)
            }
        }
    }
}

/// The embeddings of distances as keys and queries of each head, and the number of terms of a score.
fn disentangled(
    parameters: DisentangledParameters<'_, Error>,
    heads: usize,
    device: &Device,
) -> crate::error::Result<(TensorRelative, usize)> {
    let DisentangledParameters { buckets, embeddings, keys, queries } = parameters;
    let terms = 1 + usize::from(keys.is_some()) + usize::from(queries.is_some());
    let project = |parameters: Parameters<'_, Error>| -> crate::error::Result<Tensor> {
        let (distances, hidden) = (embeddings.len() / parameters.inputs, parameters.inputs);
        let rows = Tensor::from_slice(&embeddings[..], (distances, hidden), device)?;
        let projected = TensorLinear::load(parameters, None, device)?.forward(&rows)?;
        Ok(projected.reshape((distances, heads, hidden / heads))?.transpose(0, 1)?.contiguous()?)
    };
    let (keys, queries) = (keys.map(project).transpose()?, queries.map(project).transpose()?);
    Ok((TensorRelative::Disentangled { buckets, keys, queries }, terms))
}

impl TensorConvolution {
    /// `norm(out + act(convolution(x)))`, each (tokens, H).
    fn join(&self, x: &Tensor, bounds: &[usize], out: &Tensor) -> Result<Tensor> {
        let (tokens, hidden) = x.dims2()?;
        let before = (self.kernel_size - 1) / 2;
        // One row more, of zeros, for what is beyond the ends of a text.
        let padded = Tensor::cat(&[x, &Tensor::zeros((1, hidden), DType::F32, x.device())?], 0)?;
        let mut rows = Vec::with_capacity(tokens * self.kernel_size);
        for text in bounds.windows(2) {
            for token in text[0]..text[1] {
                for tap in 0..self.kernel_size {
                    let seen = (token + tap).checked_sub(before).filter(|seen| (text[0]..text[1]).contains(seen));
                    rows.push(seen.unwrap_or(tokens) as u32);
                }
            }
        }
        let count = rows.len();
        let inputs = padded.index_select(&Tensor::from_vec(rows, count, x.device())?, 0)?;
        let inputs = inputs.reshape((tokens, self.kernel_size * hidden))?;
        self.norm.forward(&(self.linear.forward(&inputs)? + out)?)
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
