//! The CPU's kernels: exact, and the same bits in any batch.

use std::borrow::Cow;

use super::backend::{Backend, TableRows};
use crate::error::{Error, Result};
use crate::kernels::{
    self, EncoderLayer, InstructionSet, LayerParameters, Lookup, Norm, PackedLinear, Parameters, VisitLayer,
};
use crate::spec::{Activation, Compute};

/// The kernels, in the arithmetic and for the instruction set that they compute with.
pub(super) struct CpuKernels {
    pub(super) compute: Compute,
    pub(super) instruction_set: InstructionSet,
}

impl Backend for CpuKernels {
    type HiddenState = Vec<f32>;
    type Table = Vec<f32>;
    type Norm = Norm;
    type Layer = EncoderLayer;
    type Linear = PackedLinear;

    fn first_layer_differs(&self) -> bool {
        self.compute == Compute::Bf16
    }

    fn table(&self, rows: Vec<f32>, _: usize) -> Result<Vec<f32>> {
        Ok(rows)
    }

    fn norm(&self, norm: Norm) -> Result<Norm> {
        Ok(norm)
    }

    /// With bfloat16 the first layer computes in float32, because its rounding errors pass through all others. On
    /// all-MiniLM-L6-v2 that takes a sixth off the largest errors, for a sixth of the time at most; nothing else tried
    /// came near that. With integers of 8 bits it would take a twentieth off those of the last layer, for a fifth of the time.
    fn layer(&self, index: usize, parameters: LayerParameters<'_, Error>) -> Result<EncoderLayer> {
        let compute = if index == 0 && self.first_layer_differs() { Compute::F32 } else { self.compute };
        EncoderLayer::load(parameters, compute, self.instruction_set)
    }

    /// The projection of embeddings is before the first layer, and so in float32, too.
    fn linear(&self, parameters: Parameters<'_, Error>, activation: Option<Activation>) -> Result<PackedLinear> {
        let compute = if activation.is_some() { self.compute } else { Compute::F32 };
        PackedLinear::load(parameters, activation, compute, self.instruction_set)
    }

    fn embed(&self, lookups: &[TableRows<'_, Self>], width: usize, norm: Option<&Norm>) -> Result<Vec<f32>> {
        let lookups: Vec<Lookup<'_>> =
            lookups.iter().map(|&TableRows { table, rows, factors }| Lookup { table, rows, factors }).collect();
        kernels::embed(&lookups, width, norm, self.instruction_set).map_err(|error| Error::Encoder(Box::new(error)))
    }

    fn project(&self, linear: &PackedLinear, hidden_state: &Vec<f32>) -> Result<Vec<f32>> {
        Ok(linear.forward(hidden_state))
    }

    fn normalize(&self, norm: &Norm, hidden_state: &Vec<f32>) -> Result<Vec<f32>> {
        Ok(norm.forward(self.instruction_set, hidden_state))
    }

    fn encode(&self, layer: &EncoderLayer, hidden_state: &Vec<f32>, cu_seqlens: &[usize]) -> Result<Vec<f32>> {
        Ok(layer.forward(hidden_state, cu_seqlens))
    }

    fn encode_all(
        &self,
        layers: &[&EncoderLayer],
        hidden_state: &Vec<f32>,
        cu_seqlens: &[usize],
        visit: &mut VisitLayer<'_, Error>,
    ) -> Result<Option<Vec<f32>>> {
        kernels::encode_layers(layers, hidden_state, cu_seqlens, visit)
    }

    fn apply(&self, linear: &PackedLinear, x: &[f32]) -> Result<Vec<f32>> {
        Ok(linear.forward(x))
    }

    fn numbers<'a>(&self, hidden_state: &'a Vec<f32>) -> Result<Cow<'a, [f32]>> {
        Ok(Cow::Borrowed(hidden_state))
    }
}
