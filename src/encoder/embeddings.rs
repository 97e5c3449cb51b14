//! The embedding output, layer 0: rows of tables, summed, normalized and projected as the configuration says.

use std::borrow::Cow;

use super::backend::{Backend, TableRows};
use super::parameters::ParameterReader;
use super::positions::{position_ids, token_dropout};
use crate::batch::Batch;
use crate::checkpoint::config::{Config, Projection, TokenTypeUse};
use crate::checkpoint::weights::Weights;
use crate::error::Result;

/// The tables of embeddings and what follows them.
pub(super) struct EmbeddingTables<B: Backend> {
    /// Words, and then, where there are such tables, positions, token types and task types.
    tables: Vec<Table<B>>,
    norm: Option<B::Norm>,
    projection: Option<B::Linear>,
}

/// An embedding table, whole or with only the rows that a batch needs.
struct Table<B: Backend> {
    weight: B::Table,
    /// The ids of the rows, ascending; `None` for all rows.
    ids: Option<Vec<u32>>,
}

impl<B: Backend> EmbeddingTables<B> {
    /// Loads the tables. If a batch is given, only its rows of the word embeddings are read.
    pub(super) fn load(backend: &B, weights: &Weights, config: &Config, batch: Option<&Batch>) -> Result<Self> {
        let width = config.embedding_size;
        let table = |name: &str, rows: usize, ids: Option<&[u32]>| -> Result<Table<B>> {
            let name = format!("{name}.weight");
            let (ids, values) = match ids {
                None => (None, weights.tensor(&name, &[rows, width])?),
                Some(ids) => {
                    let mut ids = ids.to_vec();
                    ids.sort_unstable();
                    ids.dedup();
                    let reader = weights.open(&name, &[rows, width])?;
                    let mut values = Vec::with_capacity(ids.len() * width);
                    ids.iter().try_for_each(|&id| reader.rows(id as usize..id as usize + 1, &mut values))?;
                    (Some(ids), values)
                }
            };
            Ok(Table { weight: backend.table(values, width)?, ids })
        };
        let mut reader = ParameterReader::new(weights, config);
        let mut word_ids = batch.map(|batch| &batch.input_ids[..]);
        let mut tables = Vec::new();
        for (name, rows) in reader.tables() {
            tables.push(table(name, rows, word_ids.take())?);
        }
        Ok(Self {
            tables,
            norm: reader.embedding_norm()?.map(|norm| backend.norm(norm)).transpose()?,
            projection: reader.projection()?.map(|parameters| backend.linear(parameters, None)).transpose()?,
        })
    }

    /// The embedding output, (tokens, H).
    pub(super) fn forward(&self, backend: &B, config: &Config, batch: &Batch) -> Result<B::HiddenState> {
        let tokens = batch.input_ids.len();
        let mut ids: Vec<Cow<'_, [u32]>> = vec![self.tables[0].rows(&batch.input_ids)];
        if config.max_position_embeddings > 0 {
            ids.push(Cow::Owned(position_ids(config.positions, batch)));
        }
        match config.token_types {
            TokenTypeUse::None => {}
            TokenTypeUse::FirstRow => ids.push(Cow::Owned(vec![0; tokens])),
            TokenTypeUse::Table => ids.push(Cow::Borrowed(&batch.token_type_ids)),
        }
        if config.task_type_vocab_size.is_some() {
            ids.push(Cow::Owned(vec![0; tokens]));
        }
        let factors = config.token_dropout.map(|mask| token_dropout(mask, batch));
        let mut factors = factors.as_deref();
        let tables = self.tables.iter().zip(&ids);
        let lookups: Vec<TableRows<'_, B>> =
            tables.map(|(table, rows)| TableRows { table: &table.weight, rows, factors: factors.take() }).collect();
        match (&self.projection, config.projection) {
            (Some(projection), Projection::BeforeNorm) => {
                let sum = backend.embed(&lookups, config.embedding_size, None)?;
                let projected = backend.project(projection, &sum)?;
                match &self.norm {
                    Some(norm) => backend.normalize(norm, &projected),
                    None => Ok(projected),
                }
            }
            (Some(projection), _) => {
                let normed = backend.embed(&lookups, config.embedding_size, self.norm.as_ref())?;
                backend.project(projection, &normed)
            }
            (None, _) => backend.embed(&lookups, config.embedding_size, self.norm.as_ref()),
        }
    }
}

impl<B: Backend> Table<B> {
    /// The rows of this table that hold `ids`.
    fn rows<'a>(&self, ids: &'a [u32]) -> Cow<'a, [u32]> {
        match &self.ids {
            None => Cow::Borrowed(ids),
            // An id that is not there gets an index beyond the last row, which the lookup refuses.
            Some(own) => ids.iter().map(|id| own.binary_search(id).unwrap_or(own.len()) as u32).collect(),
        }
    }
}
