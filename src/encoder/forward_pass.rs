//! The layers of an encoder on one backend, loaded or read when their turn comes, and the loop over them.

use std::sync::{Arc, OnceLock};

use super::backend::Backend;
use super::bert::{EmbeddingTables, POOLER_ACTIVATION, layer_parameters, pooler_parameters};
use crate::batch::Batch;
use crate::checkpoint::config::Config;
use crate::checkpoint::weights::Weights;
use crate::error::Result;

/// What [`Encoder`](super::Encoder) does, whatever computes; its methods say what these do.
pub(super) trait Forward: Send + Sync {
    fn preload(&self, deepest: usize, should_stop: &dyn Fn() -> bool) -> Result<()>;

    fn load(&self, deepest: usize, pooler: bool) -> Result<()>;

    fn visit_hidden_states(
        &self,
        batch: &Batch,
        deepest: usize,
        visit: &mut (dyn FnMut(usize, &[f32]) -> Result<()> + Send),
    ) -> Result<()>;

    fn pooler_output(&self, first_tokens: &[f32]) -> Result<Vec<f32>>;
}

/// The layers of an encoder, of which none need be loaded.
pub(super) struct ForwardPass<B: Backend> {
    backend: B,
    weights: Arc<Weights>,
    config: Config,
    embeddings: OnceLock<EmbeddingTables<B>>,
    layers: Vec<OnceLock<B::Layer>>,
    pooler: OnceLock<B::Linear>,
}

impl<B: Backend> ForwardPass<B> {
    /// With nothing loaded yet.
    pub(super) fn new(backend: B, weights: Arc<Weights>, config: Config) -> Self {
        let layers = (0..config.num_hidden_layers).map(|_| OnceLock::new()).collect();
        Self { backend, weights, config, embeddings: OnceLock::new(), layers, pooler: OnceLock::new() }
    }

    fn read_embeddings(&self, batch: Option<&Batch>) -> Result<EmbeddingTables<B>> {
        EmbeddingTables::load(&self.backend, &self.weights, &self.config, batch)
    }

    fn read_layer(&self, index: usize) -> Result<B::Layer> {
        self.backend.layer(index, layer_parameters(&self.weights, &self.config, index)?)
    }

    fn read_pooler(&self) -> Result<B::Linear> {
        self.backend.linear(pooler_parameters(&self.weights, &self.config)?, POOLER_ACTIVATION)
    }
}

impl<B: Backend> Forward for ForwardPass<B> {
    fn preload(&self, deepest: usize, should_stop: &dyn Fn() -> bool) -> Result<()> {
        for (index, layer) in self.layers[..deepest].iter().enumerate() {
            if should_stop() {
                break;
            }
            // Without a lock. Should two threads load a layer at once, one of the two equal copies stays.
            if layer.get().is_none() {
                let _ = layer.set(self.read_layer(index)?);
            }
        }
        Ok(())
    }

    fn load(&self, deepest: usize, pooler: bool) -> Result<()> {
        self.preload(deepest, &|| false)?;
        if pooler && self.pooler.get().is_none() {
            let _ = self.pooler.set(self.read_pooler()?);
        }
        if !self.weights.are_embedded() && self.embeddings.get().is_none() {
            let _ = self.embeddings.set(self.read_embeddings(None)?);
        }
        Ok(())
    }

    fn visit_hidden_states(
        &self,
        batch: &Batch,
        deepest: usize,
        visit: &mut (dyn FnMut(usize, &[f32]) -> Result<()> + Send),
    ) -> Result<()> {
        let Self { backend, .. } = self;
        let mut hidden_state = match self.embeddings.get() {
            Some(embeddings) => embeddings.forward(backend, batch)?,
            None => self.read_embeddings(Some(batch))?.forward(backend, batch)?,
        };
        for index in 0..deepest {
            let next = || match self.layers[index].get() {
                Some(layer) => backend.encode(layer, &hidden_state, &batch.bounds),
                None => backend.encode(&self.read_layer(index)?, &hidden_state, &batch.bounds),
            };
            // Before the next layer is queued on a device, as a copy from there would wait for it.
            let numbers = backend.numbers(&hidden_state)?;
            let (next, visited) = rayon::join(next, || visit(index, &numbers));
            visited?;
            hidden_state = next?;
        }
        visit(deepest, &backend.numbers(&hidden_state)?)
    }

    fn pooler_output(&self, first_tokens: &[f32]) -> Result<Vec<f32>> {
        match self.pooler.get() {
            Some(pooler) => self.backend.apply(pooler, first_tokens),
            None => self.backend.apply(&self.read_pooler()?, first_tokens),
        }
    }
}
