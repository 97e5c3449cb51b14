//! The layers of an encoder on one backend, loaded or read when their turn comes, and the loop over them.

use std::sync::{Arc, OnceLock};

use super::backend::{Backend, TableRows};
use super::embeddings::EmbeddingTables;
use super::parameters::{LayerPositions, POOLER_ACTIVATION, ParameterReader};
use super::positions::Distances;
use crate::batch::Batch;
use crate::checkpoint::config::Config;
use crate::checkpoint::weights::Weights;
use crate::error::{Error, Result};
use crate::kernels::{RotaryTable, VisitLayer};

/// What [`Encoder`](super::Encoder) does, whatever computes; its methods say what these do.
pub(super) trait Forward: Send + Sync {
    fn preload(&self, deepest: usize, should_stop: &dyn Fn() -> bool) -> Result<()>;

    fn load(&self, deepest: usize, pooler: bool) -> Result<()>;

    fn visit_hidden_states(&self, batch: &Batch, deepest: usize, visit: &mut VisitLayer<'_, Error>) -> Result<()>;

    fn pooler_output(&self, first_tokens: &[f32]) -> Result<Vec<f32>>;
}

/// The layers of an encoder, of which none need be loaded.
pub(super) struct ForwardPass<B: Backend> {
    backend: B,
    weights: Arc<Weights>,
    config: Config,
    embeddings: OnceLock<EmbeddingTables<B>>,
    /// One for each group of layers that share their parameters, and one more where the first layer differs.
    layers: Vec<OnceLock<B::Layer>>,
    /// What positions add to layers; made with the first one.
    positions: OnceLock<Vec<LayerPositions>>,
    pooler: OnceLock<B::Linear>,
}

impl<B: Backend> ForwardPass<B> {
    /// With nothing loaded yet.
    pub(super) fn new(backend: B, weights: Arc<Weights>, config: Config) -> Self {
        let layers = (0..=config.num_hidden_groups).map(|_| OnceLock::new()).collect();
        let (embeddings, positions, pooler) = (OnceLock::new(), OnceLock::new(), OnceLock::new());
        Self { backend, weights, config, embeddings, layers, positions, pooler }
    }

    /// Where the parameters of layer `index` + 1 are kept.
    fn layer(&self, index: usize) -> &OnceLock<B::Layer> {
        let group = self.config.group_of(index);
        let is_apart = self.config.num_hidden_groups < self.config.num_hidden_layers
            && index == 0
            && self.backend.first_layer_differs();
        &self.layers[if is_apart { self.config.num_hidden_groups } else { group }]
    }

    /// What positions add to each layer. Layers whose rotations are the same share their table.
    fn positions(&self) -> Result<&[LayerPositions]> {
        if let Some(positions) = self.positions.get() {
            return Ok(positions);
        }
        let mut reader = ParameterReader::new(&self.weights, &self.config);
        let distances = match reader.distances()? {
            Some(Distances::Embeddings { embeddings, norm: Some(norm) }) => {
                // The backend's own norm, on the numbers as they are.
                let table = self.backend.table(embeddings.to_vec(), self.config.hidden_size)?;
                let rows: Vec<u32> = (0..(embeddings.len() / self.config.hidden_size) as u32).collect();
                let lookup = TableRows { table: &table, rows: &rows, factors: None };
                let norm = self.backend.norm(norm)?;
                let normed = self.backend.embed(&[lookup], self.config.hidden_size, Some(&norm))?;
                let embeddings = Arc::new(self.backend.numbers(&normed)?.into_owned());
                Some(Distances::Embeddings { embeddings, norm: None })
            }
            distances => distances,
        };
        let mut tables: Vec<Arc<RotaryTable>> = Vec::new();
        let mut positions = Vec::new();
        for (index, layer) in self.config.layers.iter().enumerate() {
            let rotary = match layer.rotary {
                None => None,
                Some(rotary) => {
                    let stored = reader.stored_inv_freq(index)?;
                    let inv_freq = stored.unwrap_or_else(|| rotary.inv_freq(self.config.head_dim()));
                    let known = tables.iter().find(|table| table.inv_freq() == inv_freq).cloned();
                    Some(known.unwrap_or_else(|| {
                        tables.push(Arc::new(RotaryTable::new(inv_freq, rotary.pairs)));
                        tables[tables.len() - 1].clone()
                    }))
                }
            };
            positions.push(LayerPositions { rotary, distances: distances.clone() });
        }
        Ok(self.positions.get_or_init(|| positions))
    }

    fn read_embeddings(&self, batch: Option<&Batch>) -> Result<EmbeddingTables<B>> {
        EmbeddingTables::load(&self.backend, &self.weights, &self.config, batch)
    }

    fn read_layer(&self, index: usize) -> Result<B::Layer> {
        let positions = &self.positions()?[index];
        self.backend.layer(index, ParameterReader::new(&self.weights, &self.config).layer(index, positions)?)
    }

    fn read_pooler(&self) -> Result<B::Linear> {
        let parameters = ParameterReader::new(&self.weights, &self.config).pooler()?;
        self.backend.linear(parameters, Some(POOLER_ACTIVATION))
    }
}

impl<B: Backend> Forward for ForwardPass<B> {
    fn preload(&self, deepest: usize, should_stop: &dyn Fn() -> bool) -> Result<()> {
        for index in 0..deepest {
            if should_stop() {
                break;
            }
            let layer = self.layer(index);
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

    fn visit_hidden_states(&self, batch: &Batch, deepest: usize, visit: &mut VisitLayer<'_, Error>) -> Result<()> {
        let Self { backend, .. } = self;
        let mut hidden_state = match self.embeddings.get() {
            Some(embeddings) => embeddings.forward(backend, &self.config, batch)?,
            None => self.read_embeddings(Some(batch))?.forward(backend, &self.config, batch)?,
        };
        let loaded: Option<Vec<&B::Layer>> = (0..deepest).map(|index| self.layer(index).get()).collect();
        if let Some(layers) = loaded
            && let Some(last) = backend.encode_all(&layers, &hidden_state, &batch.bounds, visit)?
        {
            return visit(deepest, &backend.numbers(&last)?);
        }
        for index in 0..deepest {
            let next = || match self.layer(index).get() {
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
