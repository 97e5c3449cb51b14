//! The model's own sentence embedding: its layers weighted and summed, pooled, and passed through its modules.
//!
//! The modules and their sources are described in `checkpoint::sentence`. Sums are taken in float64 and rounded once.

use crate::batch::Batch;
use crate::checkpoint::sentence::{DenseActivation, DenseModule, ModuleStep, Residual, SentenceRecipe, WeightedLayers};
use crate::pooling::{self, TextPooler};
use crate::spec::SpecialTokens;

/// The epsilon of `torch.nn.LayerNorm`.
const LAYER_NORM_EPS: f64 = 1e-5;

/// Computes the sentence embeddings of a job, batch by batch.
pub(crate) struct SentenceEmbedding<'a> {
    recipe: &'a SentenceRecipe,
    poolings: Vec<TextPooler>,
    /// The weighted sum of the current batch's layers, (tokens, width).
    mixed: Vec<f64>,
}

impl<'a> SentenceEmbedding<'a> {
    /// Computes embeddings by `recipe`. The first `prompt_tokens` tokens of each text are a prompt.
    pub(crate) fn new(recipe: &'a SentenceRecipe, prompt_tokens: usize) -> Self {
        let skipped = if recipe.include_prompt { 0 } else { prompt_tokens };
        // sentence-transformers pools all tokens, special ones included.
        let all = |&pooling| TextPooler::new(pooling, SpecialTokens::Keep).without_first(skipped);
        Self { recipe, poolings: recipe.poolings.iter().map(all).collect(), mixed: Vec::new() }
    }

    /// Adds layer `layer` of a batch, (tokens, width), if it has a weight.
    pub(crate) fn take_layer(&mut self, layer: usize, hidden_state: &[f32]) {
        let Some(WeightedLayers { start, weights }) = &self.recipe.layers else { return };
        let Some(&weight) = layer.checked_sub(*start).and_then(|index| weights.get(index)) else { return };
        if layer == *start {
            self.mixed.clear();
            self.mixed.resize(hidden_state.len(), 0.0);
        }
        let weight = f64::from(weight);
        self.mixed.iter_mut().zip(hidden_state).for_each(|(sum, &value)| *sum += weight * f64::from(value));
    }

    /// The embeddings of the texts that end in a batch, (texts, columns), and the number of columns; from the last
    /// layer, (tokens, width), and the layers taken before.
    pub(crate) fn take(&mut self, last_hidden_state: &[f32], width: usize, batch: &Batch) -> (Vec<f32>, usize) {
        let mixed = self.recipe.layers.as_ref().map(|layers| self.mean(layers));
        let tokens = mixed.as_deref().unwrap_or(last_hidden_state);
        let pooled: Vec<Vec<f32>> =
            self.poolings.iter_mut().map(|sentences| sentences.take(tokens, width, batch)).collect();
        let mut rows: Vec<f32> = (0..batch.texts())
            .flat_map(|text| pooled.iter().flat_map(move |pooled| &pooled[text * width..][..width]))
            .copied()
            .collect();
        let mut columns = width * pooled.len();
        for step in &self.recipe.steps {
            match step {
                ModuleStep::Dense(dense) => {
                    rows = rows.chunks_exact(columns).flat_map(|row| dense.apply(row)).collect();
                    columns = dense.out_features;
                }
                ModuleStep::LayerNorm { weight, bias } => {
                    rows.chunks_exact_mut(columns).for_each(|row| layer_norm(row, weight, bias));
                }
                ModuleStep::Normalize => pooling::normalize(&mut rows, columns),
            }
        }
        (rows, columns)
    }

    /// The weighted mean of the layers, (tokens, width).
    fn mean(&self, layers: &WeightedLayers) -> Vec<f32> {
        let sum: f64 = layers.weights.iter().map(|&weight| f64::from(weight)).sum();
        self.mixed.iter().map(|value| (value / sum) as f32).collect()
    }
}

impl DenseModule {
    /// (in_features) → (out_features)
    fn apply(&self, row: &[f32]) -> Vec<f32> {
        let product = |weights: &[f32]| -> f64 {
            weights.iter().zip(row).map(|(&weight, &value)| f64::from(weight) * f64::from(value)).sum()
        };
        let output = |index: usize, weights: &[f32]| -> f32 {
            let bias = self.bias.as_ref().map_or(0.0, |bias| f64::from(bias[index]));
            let value = self.activation.of(product(weights) + bias);
            let residual = match &self.residual {
                Residual::None => 0.0,
                Residual::Identity => f64::from(row[index]),
                Residual::Projection(weights) => product(&weights[index * self.in_features..][..self.in_features]),
            };
            (value + residual) as f32
        };
        self.weight.chunks_exact(self.in_features).enumerate().map(|(index, weights)| output(index, weights)).collect()
    }
}

impl DenseActivation {
    fn of(self, x: f64) -> f64 {
        match self {
            DenseActivation::Identity => x,
            DenseActivation::Tanh => libm::tanh(x),
            DenseActivation::Relu => x.max(0.0),
            DenseActivation::Gelu => 0.5 * x * (1.0 + libm::erf(x * std::f64::consts::FRAC_1_SQRT_2)),
            DenseActivation::Sigmoid => sigmoid(x),
            DenseActivation::Silu => x * sigmoid(x),
        }
    }
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + libm::exp(-x))
}

fn layer_norm(row: &mut [f32], weight: &[f32], bias: &[f32]) {
    let count = row.len() as f64;
    let mean = row.iter().map(|&value| f64::from(value)).sum::<f64>() / count;
    let variance = row.iter().map(|&value| (f64::from(value) - mean).powi(2)).sum::<f64>() / count;
    let scale = 1.0 / (variance + LAYER_NORM_EPS).sqrt();
    for ((value, &weight), &bias) in row.iter_mut().zip(weight).zip(bias) {
        *value = ((f64::from(*value) - mean) * scale * f64::from(weight) + f64::from(bias)) as f32;
    }
}
