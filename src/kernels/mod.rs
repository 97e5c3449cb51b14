//! The CPU's share of the forward pass, as candle custom ops: product, attention, LayerNorm, embeddings.
//!
//! Everything here is (tokens, width), tokens of all texts one after the other. No step lets a token see the tokens
//! of another text, and every number is computed by a fixed sequence of operations: see the module `matmul`.

mod attention;
mod functions;
mod matmul;
mod rowwise;

use std::sync::OnceLock;

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Storage, Tensor, bail};

use self::matmul::Packed;
use crate::spec::Activation;

/// The best instruction set of this machine.
fn arch() -> pulp::Arch {
    static ARCH: OnceLock<pulp::Arch> = OnceLock::new();
    *ARCH.get_or_init(pulp::Arch::new)
}

/// The name of the instruction set in use, for the manifest.
pub fn instruction_set() -> &'static str {
    struct Lanes;
    impl pulp::WithSimd for Lanes {
        type Output = usize;
        #[inline(always)]
        fn with_simd<S: pulp::Simd>(self, _: S) -> usize {
            S::F32_LANES
        }
    }
    match arch().dispatch(Lanes) {
        16 => "avx512",
        8 => "avx2+fma",
        4 => "neon",
        _ => "portable",
    }
}

/// A tensor's numbers, without a copy where it lies in the CPU's memory in order.
fn numbers<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let all = storage.as_slice::<f32>()?;
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&all[start..end]),
        None => bail!("expected a contiguous tensor, found {layout:?}"),
    }
}

/// Calls `take` with the numbers of a contiguous float32 tensor in the CPU's memory, without a copy.
///
/// # Errors
/// When the tensor is not that.
pub fn with_numbers<R>(tensor: &Tensor, take: impl FnOnce(&[f32]) -> R) -> Result<R> {
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => Ok(take(numbers(storage, layout)?)),
        _ => bail!("expected a tensor in the CPU's memory"),
    }
}

/// A linear layer: `activation(x · weightᵀ + bias)`.
pub struct Linear {
    weight: Packed,
    bias: Vec<f32>,
    activation: Option<Activation>,
}

impl Linear {
    /// From `weight` (outputs, inputs), as PyTorch stores it, and `bias` (outputs).
    pub fn new(weight: &[f32], bias: Vec<f32>, activation: Option<Activation>) -> Self {
        let (outputs, inputs) = (bias.len(), weight.len() / bias.len());
        Self { weight: Packed::new(inputs, outputs, |k, j| weight[j * inputs + k]), bias, activation }
    }

    /// `x` (tokens, inputs) → (tokens, outputs).
    ///
    /// # Errors
    /// When `x` is not float32 and contiguous.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        x.apply_op1_no_bwd(&LinearOp(self))
    }
}

struct LinearOp<'a>(&'a Linear);

impl CustomOp1 for LinearOp<'_> {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let Linear { weight, bias, activation } = self.0;
        let (tokens, inputs) = layout.shape().dims2()?;
        if inputs != weight.inner() {
            bail!("a linear layer of {} inputs was given {inputs}", weight.inner());
        }
        let mut out = vec![0.0; tokens * weight.columns()];
        matmul::matmul(numbers(x, layout)?, weight, &mut out, |column, values| {
            for (value, bias) in values.iter_mut().zip(&bias[column..]) {
                *value += bias;
            }
            if let Some(activation) = activation {
                activation.apply(values);
            }
        });
        Ok((CpuStorage::F32(out), (tokens, weight.columns()).into()))
    }
}

/// LayerNorm's parameters.
pub struct LayerNorm {
    weight: Vec<f32>,
    bias: Vec<f32>,
    eps: f64,
}

impl LayerNorm {
    /// From `weight` and `bias`, both (hidden).
    pub fn new(weight: Vec<f32>, bias: Vec<f32>, eps: f64) -> Self {
        Self { weight, bias, eps }
    }

    /// LayerNorm of `x + residual`, all (tokens, hidden).
    ///
    /// # Errors
    /// When the shapes differ, or a tensor is not float32 and contiguous.
    pub fn forward(&self, x: &Tensor, residual: &Tensor) -> Result<Tensor> {
        x.apply_op2_no_bwd(residual, &LayerNormOp(self))
    }
}

struct LayerNormOp<'a>(&'a LayerNorm);

impl CustomOp2 for LayerNormOp<'_> {
    fn name(&self) -> &'static str {
        "add-layer-norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        residual: &CpuStorage,
        residual_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let LayerNorm { weight, bias, eps } = self.0;
        if x_layout.shape() != residual_layout.shape() {
            bail!("cannot add {:?} to {:?}", residual_layout.shape(), x_layout.shape());
        }
        let (x, residual) = (numbers(x, x_layout)?, numbers(residual, residual_layout)?);
        let width = weight.len();
        let mut out = vec![0.0; x.len()];
        rowwise::layer_norm(width, weight, bias, *eps, &mut out, |row, sum| {
            let at = row * width..(row + 1) * width;
            for ((sum, x), residual) in sum.iter_mut().zip(&x[at.clone()]).zip(&residual[at]) {
                *sum = f64::from(*x) + f64::from(*residual);
            }
        });
        Ok((CpuStorage::F32(out), x_layout.shape().clone()))
    }
}

/// LayerNorm of the sum of one row of each table, per token: the embedding output, (tokens, hidden).
///
/// `tables` are pairs of a table (rows, hidden) and the row of each token.
///
/// # Errors
/// When a row is not in its table, or a table is not float32 and contiguous.
pub fn embed(tables: [(&Tensor, &[u32]); 3], norm: &LayerNorm) -> Result<Tensor> {
    let [(words, word_rows), (positions, position_rows), (types, type_rows)] = tables;
    for (table, rows) in tables {
        let length = table.dim(0)?;
        if let Some(row) = rows.iter().find(|&&row| row as usize >= length) {
            bail!("embedding {row} of a table of {length}");
        }
    }
    words.apply_op3_no_bwd(positions, types, &EmbedOp { rows: [word_rows, position_rows, type_rows], norm })
}

struct EmbedOp<'a> {
    rows: [&'a [u32]; 3],
    norm: &'a LayerNorm,
}

impl candle_core::CustomOp3 for EmbedOp<'_> {
    fn name(&self) -> &'static str {
        "embed"
    }

    fn cpu_fwd(
        &self,
        words: &CpuStorage,
        words_layout: &Layout,
        positions: &CpuStorage,
        positions_layout: &Layout,
        types: &CpuStorage,
        types_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let LayerNorm { weight, bias, eps } = self.norm;
        let tables =
            [numbers(words, words_layout)?, numbers(positions, positions_layout)?, numbers(types, types_layout)?];
        let (tokens, width) = (self.rows[0].len(), weight.len());
        let mut out = vec![0.0; tokens * width];
        rowwise::layer_norm(width, weight, bias, *eps, &mut out, |token, sum| {
            let [word, position, token_type]: [&[f32]; 3] =
                std::array::from_fn(|i| &tables[i][self.rows[i][token] as usize * width..][..width]);
            for (((sum, word), position), token_type) in sum.iter_mut().zip(word).zip(position).zip(token_type) {
                *sum = f64::from(*word) + f64::from(*position) + f64::from(*token_type);
            }
        });
        Ok((CpuStorage::F32(out), (tokens, width).into()))
    }
}

/// Attention over texts: `qkv` (tokens, 3 · hidden) → (tokens, hidden); `bounds[i]..bounds[i + 1]` is text i.
///
/// # Errors
/// When `qkv` is not float32, contiguous, and of that shape.
pub fn attention(qkv: &Tensor, bounds: &[usize], heads: usize) -> Result<Tensor> {
    qkv.apply_op1_no_bwd(&AttentionOp { bounds, heads })
}

struct AttentionOp<'a> {
    bounds: &'a [usize],
    heads: usize,
}

impl CustomOp1 for AttentionOp<'_> {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn cpu_fwd(&self, qkv: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (tokens, width) = layout.shape().dims2()?;
        let hidden = width / 3;
        if hidden * 3 != width || !hidden.is_multiple_of(self.heads) || self.bounds.last() != Some(&tokens) {
            bail!(
                "attention of {} heads over {:?} tokens was given {:?}",
                self.heads,
                self.bounds.last(),
                layout.shape()
            );
        }
        let out = attention::attention(numbers(qkv, layout)?, self.bounds, self.heads, hidden / self.heads);
        Ok((CpuStorage::F32(out), (tokens, hidden).into()))
    }
}
