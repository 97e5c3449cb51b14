//! The parameters of an encoder, by its configuration and the names of its checkpoint: the one place that says which there are
//! and what shapes they have. H is `hidden_size`, I is `intermediate_size`, E is `embedding_size`.

use std::collections::HashSet;
use std::sync::Arc;

use super::positions::Distances;
use crate::checkpoint::config::{Config, Projection, TokenTypeUse};
use crate::checkpoint::weights::Weights;
use crate::error::{Error, Result};
use crate::family::{FeedForwardNames, GateOrder, ProjectionNames, RelativeRule};
use crate::kernels::{
    ConvolutionParameters, DisentangledParameters, DistanceBuckets, FeedForwardParameters, LayerNorms, LayerParameters,
    Norm, Parameters, RelativePositions, RotaryTable,
};
use crate::spec::Activation;

/// What the pooler does with the output of its linear layer.
pub(super) const POOLER_ACTIVATION: Activation = Activation::Tanh;

/// Rows of the table of MPNet's relative positions, of which all are used whatever the configuration says.
const DISTANCE_BUCKETS: usize = 32;

/// What positions add to a layer, made once for all layers.
#[derive(Default)]
pub(super) struct LayerPositions {
    pub(super) rotary: Option<Arc<RotaryTable>>,
    pub(super) distances: Option<Distances>,
}

/// Names and shapes of parameters, each once, in the order in which they are used.
#[derive(Default)]
struct NotedParameters {
    shapes: Vec<(String, Vec<usize>)>,
    names: HashSet<String>,
}

/// Takes the parameters out of a checkpoint, or only notes which ones it would take.
pub(super) struct ParameterReader<'a> {
    weights: &'a Weights,
    config: &'a Config,
    noted: Option<NotedParameters>,
}

impl<'a> ParameterReader<'a> {
    /// A reader of a checkpoint.
    pub(super) fn new(weights: &'a Weights, config: &'a Config) -> Self {
        Self { weights, config, noted: None }
    }

    /// Name and shape of every parameter down to layer `deepest`; parameters that layers share are there once.
    ///
    /// # Errors
    /// Never in fact: nothing is read.
    pub(super) fn shapes(
        weights: &'a Weights,
        config: &'a Config,
        deepest: usize,
        pooler: bool,
    ) -> Result<Vec<(String, Vec<usize>)>> {
        let mut reader = Self { weights, config, noted: Some(NotedParameters::default()) };
        for (name, rows) in reader.tables() {
            reader.note(format!("{name}.weight"), &[rows, config.embedding_size]);
        }
        reader.embedding_norm()?;
        reader.projection()?;
        if deepest > 0 {
            reader.distances()?;
        }
        for index in 0..deepest {
            reader.layer(index, &LayerPositions::default())?;
        }
        if pooler {
            reader.pooler()?;
        }
        Ok(reader.noted.unwrap_or_default().shapes)
    }

    fn note(&mut self, name: String, shape: &[usize]) {
        if let Some(noted) = &mut self.noted
            && noted.names.insert(name.clone())
        {
            noted.shapes.push((name, shape.to_vec()));
        }
    }

    fn tensor(&mut self, name: String, shape: &[usize]) -> Result<Vec<f32>> {
        if self.noted.is_some() {
            self.note(name, shape);
            return Ok(vec![0.0; if shape.len() == 1 { shape[0] } else { 0 }]);
        }
        self.weights.tensor(&name, shape)
    }

    /// The parameters of a linear layer (outputs, inputs), which may be some rows of a matrix (`rows` of them, from `first` on);
    /// the weight is read when it is packed.
    fn part_of_linear(
        &mut self,
        module: &str,
        [outputs, inputs]: [usize; 2],
        (first, rows): (usize, usize),
        bias: bool,
    ) -> Result<Parameters<'a, Error>> {
        let (weight, bias_name) = (format!("{module}.weight"), format!("{module}.bias"));
        let own = first..first + outputs;
        self.note(weight.clone(), &[rows, inputs]);
        let bias = match bias {
            true => self.tensor(bias_name, &[rows])?[own.clone()].to_vec(),
            false if self.weights.contains(&bias_name) => {
                return Err(self.weights.problem(
                    &bias_name,
                    "is there, but config.json says that this linear layer has no bias; is it the model's own?",
                ));
            }
            false => vec![0.0; outputs],
        };
        if self.noted.is_some() {
            return Ok(Parameters { inputs, bias, read: Box::new(|_, _| Ok(())) });
        }
        let reader = self.weights.open(&weight, &[rows, inputs])?;
        let read = move |rows: std::ops::Range<usize>, out: &mut Vec<f32>| {
            reader.rows(own.start + rows.start..own.start + rows.end, out)
        };
        Ok(Parameters { inputs, bias, read: Box::new(read) })
    }

    fn linear(&mut self, module: &str, shape: [usize; 2], bias: bool) -> Result<Parameters<'a, Error>> {
        self.part_of_linear(module, shape, (0, shape[0]), bias)
    }

    fn norm(&mut self, module: &str, width: usize) -> Result<Norm> {
        self.norm_with(module, width, self.config.norm_bias)
    }

    fn norm_with(&mut self, module: &str, width: usize, bias: bool) -> Result<Norm> {
        let weight = self.tensor(format!("{module}.weight"), &[width])?;
        let bias = match bias {
            true => Some(self.tensor(format!("{module}.bias"), &[width])?),
            false => None,
        };
        Ok(Norm::new(self.config.family.norm, weight, bias, self.config.layer_norm_eps))
    }

    /// The tables of embeddings, with their rows; the first one is that of words.
    pub(super) fn tables(&self) -> Vec<(&'static str, usize)> {
        let (config, layout) = (self.config, self.weights.layout());
        let mut tables = vec![(layout.word_embeddings, config.vocab_size)];
        if config.max_position_embeddings > 0 {
            tables.push((layout.position_embeddings, config.max_position_embeddings));
        }
        if config.token_types != TokenTypeUse::None {
            tables.push((layout.token_type_embeddings, config.type_vocab_size));
        }
        if let Some(rows) = config.task_type_vocab_size {
            tables.push((layout.task_type_embeddings, rows));
        }
        tables
    }

    /// The norm of the embeddings, if they have one.
    pub(super) fn embedding_norm(&mut self) -> Result<Option<Norm>> {
        let width = match self.config.projection {
            Projection::BeforeNorm => self.config.hidden_size,
            Projection::None | Projection::AfterNorm => self.config.embedding_size,
        };
        let name = self.weights.layout().embedding_norm;
        self.config.embedding_norm.then(|| self.norm(name, width)).transpose()
    }

    /// The linear layer (H, E) that brings embeddings to the width of hidden states, if there is one.
    pub(super) fn projection(&mut self) -> Result<Option<Parameters<'a, Error>>> {
        let Config { projection, hidden_size, embedding_size, .. } = *self.config;
        let name = self.weights.layout().embedding_projection;
        match projection {
            Projection::None => Ok(None),
            Projection::BeforeNorm => self.linear(name, [hidden_size, embedding_size], false).map(Some),
            Projection::AfterNorm => self.linear(name, [hidden_size, embedding_size], true).map(Some),
        }
    }

    /// What the tables of relative positions hold, if there are any.
    pub(super) fn distances(&mut self) -> Result<Option<Distances>> {
        let config = self.config;
        match (config.family.relative, config.disentangled) {
            (RelativeRule::None, _) | (RelativeRule::Disentangled, None) => Ok(None),
            (RelativeRule::Buckets, _) => {
                let heads = config.num_attention_heads;
                let name = "encoder.relative_attention_bias.weight".to_owned();
                let table = self.tensor(name, &[DISTANCE_BUCKETS, heads])?;
                if self.noted.is_some() {
                    return Ok(None);
                }
                Ok(Some(Distances::of_buckets(&table, heads, config.head_dim())))
            }
            (RelativeRule::Disentangled, Some(settings)) => {
                let rows = 2 * settings.span();
                let embeddings =
                    self.tensor("encoder.rel_embeddings.weight".to_owned(), &[rows, config.hidden_size])?;
                let norm = match settings.normalized {
                    true => Some(self.norm("encoder.LayerNorm", config.hidden_size)?),
                    false => None,
                };
                Ok(Some(Distances::Embeddings { embeddings: Arc::new(embeddings), norm }))
            }
        }
    }

    /// The frequencies of rotary positions that the checkpoint stores for a layer: transformers' older ESM files have them in
    /// each layer, and what transformers 5 saves has them once, under the name of all layers.
    pub(super) fn stored_inv_freq(&mut self, index: usize) -> Result<Option<Vec<f64>>> {
        let end = "rotary_embeddings.inv_freq";
        let names = [
            format!("encoder.layer.{index}.attention.self.{end}"),
            format!("encoder.layer.*.attention.self.{end}"),
            end.to_owned(),
        ];
        let Some(name) = names.into_iter().find(|name| self.weights.contains(name)) else { return Ok(None) };
        let pairs = self.config.head_dim() / 2;
        let stored = self.weights.tensor(&name, &[pairs])?;
        Ok(Some(stored.into_iter().map(f64::from).collect()))
    }

    /// The parameters of encoder layer `index` + 1.
    pub(super) fn layer(&mut self, index: usize, positions: &LayerPositions) -> Result<LayerParameters<'a, Error>> {
        let (config, layout) = (self.config, self.weights.layout());
        let (hidden, biases) = (config.hidden_size, config.biases);
        let prefix = layout.layer.replace("{}", &config.group_of(index).to_string());
        let name = |module: &str| format!("{prefix}{module}");
        let key_values = config.num_key_value_heads * config.head_dim();
        let rows = [hidden, key_values, key_values];
        let query_key_value = match layout.query_key_value {
            ProjectionNames::Separate([query, key, value]) => {
                let bias = biases.query_key_value;
                let [queries, keys, values] = rows;
                [
                    self.linear(&name(query), [queries, hidden], bias)?,
                    self.linear(&name(key), [keys, hidden], bias)?,
                    self.linear(&name(value), [values, hidden], bias)?,
                ]
            }
            ProjectionNames::Fused(module) => {
                let (module, all, bias) = (name(module), rows.iter().sum(), biases.query_key_value);
                [
                    self.part_of_linear(&module, [rows[0], hidden], (0, all), bias)?,
                    self.part_of_linear(&module, [rows[1], hidden], (rows[0], all), bias)?,
                    self.part_of_linear(&module, [rows[2], hidden], (rows[0] + rows[1], all), bias)?,
                ]
            }
        };
        let attention_output =
            self.linear(&name(layout.attention_output), [hidden, hidden], biases.attention_output)?;
        let norms = self.layer_norms(index, &prefix)?;
        Ok(LayerParameters {
            norms,
            query_key_value,
            heads: config.num_attention_heads,
            key_value_heads: config.num_key_value_heads,
            rotary: positions.rotary.clone(),
            window: config.layers[index].window,
            relative: self.relative(&prefix, positions)?,
            attention_output,
            feed_forward: self.feed_forward(&prefix)?,
            convolution: if index == 0 { self.convolution()? } else { None },
        })
    }

    /// The norms of encoder layer `index` + 1; the last layer's has the norm after all layers, if there is one.
    fn layer_norms(&mut self, index: usize, prefix: &str) -> Result<LayerNorms> {
        let (layout, hidden) = (self.weights.layout(), self.config.hidden_size);
        let mut norm =
            |module: Option<&str>| module.map(|module| self.norm(&format!("{prefix}{module}"), hidden)).transpose();
        let is_unnormed = index == 0 && layout.first_layer_unnormed;
        let mut norms = LayerNorms {
            before_attention: norm(layout.norms.before_attention.filter(|_| !is_unnormed))?,
            after_attention: norm(layout.norms.after_attention)?,
            before_feed_forward: norm(layout.norms.before_feed_forward)?,
            after_feed_forward: norm(layout.norms.after_feed_forward)?,
        };
        if let Some(module) = layout.final_norm.filter(|_| index + 1 == self.config.num_hidden_layers) {
            norms.after_feed_forward = Some(self.norm(module, hidden)?);
        }
        Ok(norms)
    }

    fn feed_forward(&mut self, prefix: &str) -> Result<FeedForwardParameters<'a, Error>> {
        let Config { hidden_size: hidden, intermediate_size: inner, hidden_act, biases, .. } = *self.config;
        let name = |module: &str| format!("{prefix}{module}");
        let (gate, up, down) = match self.weights.layout().feed_forward {
            FeedForwardNames::Plain { up, down } => (None, self.linear(&name(up), [inner, hidden], biases.up)?, down),
            FeedForwardNames::Gated { gate, up, down } => (
                Some(self.linear(&name(gate), [inner, hidden], biases.up)?),
                self.linear(&name(up), [inner, hidden], biases.up)?,
                down,
            ),
            FeedForwardNames::GatedFused { both, order, down } => {
                let (gate, up) = match order {
                    GateOrder::GateThenUp => (0, inner),
                    GateOrder::UpThenGate => (inner, 0),
                };
                let mut part = |first| self.part_of_linear(&name(both), [inner, hidden], (first, 2 * inner), biases.up);
                (Some(part(gate)?), part(up)?, down)
            }
        };
        let down = self.linear(&name(down), [hidden, inner], biases.down)?;
        Ok(FeedForwardParameters { gate, up, down, activation: hidden_act })
    }

    /// What is added to a layer's scores of attention.
    fn relative(&mut self, prefix: &str, positions: &LayerPositions) -> Result<RelativePositions<'a, Error>> {
        let Some(settings) = self.config.disentangled else {
            return Ok(match &positions.distances {
                Some(Distances::Bias(bias)) => RelativePositions::Bias(bias.clone()),
                _ => RelativePositions::None,
            });
        };
        let hidden = self.config.hidden_size;
        let mut project = |is_wanted: bool, own: &str, shared: &str| {
            let module = if settings.share_att_key { shared } else { own };
            let module = format!("{prefix}attention.self.{module}");
            is_wanted.then(|| self.linear(&module, [hidden, hidden], true)).transpose()
        };
        let keys = project(settings.content_to_position, "pos_key_proj", "key_proj")?;
        let queries = project(settings.position_to_content, "pos_query_proj", "query_proj")?;
        let embeddings = match &positions.distances {
            Some(Distances::Embeddings { embeddings, .. }) => embeddings.clone(),
            _ => Arc::default(),
        };
        let buckets = DistanceBuckets { buckets: settings.buckets, max_distance: settings.max_distance };
        Ok(RelativePositions::Disentangled(DisentangledParameters { buckets, embeddings, keys, queries }))
    }

    fn convolution(&mut self) -> Result<Option<ConvolutionParameters<'a, Error>>> {
        let Some(settings) = self.config.convolution else { return Ok(None) };
        let (hidden, kernel_size) = (self.config.hidden_size, settings.kernel_size);
        let name = "encoder.conv.conv";
        let bias = self.tensor(format!("{name}.bias"), &[hidden])?;
        let shape = [hidden, hidden, kernel_size];
        let norm = self.norm("encoder.conv.LayerNorm", hidden)?;
        let read: Box<crate::kernels::ReadRows<'a, Error>> = if self.noted.is_some() {
            self.note(format!("{name}.weight"), &shape);
            Box::new(|_, _| Ok(()))
        } else {
            let reader = self.weights.open(&format!("{name}.weight"), &shape)?;
            // From (inputs, kernel_size) to (kernel_size, inputs).
            Box::new(move |rows, out| {
                let mut stored = Vec::new();
                reader.rows(rows, &mut stored)?;
                for row in stored.chunks_exact(hidden * kernel_size) {
                    for tap in 0..kernel_size {
                        out.extend(row.iter().skip(tap).step_by(kernel_size));
                    }
                }
                Ok(())
            })
        };
        let weight = Parameters { inputs: kernel_size * hidden, bias, read };
        Ok(Some(ConvolutionParameters { kernel_size, weight, activation: settings.activation, norm }))
    }

    /// The parameters of the pooler's linear layer, (texts, H) → (texts, H), to which [`POOLER_ACTIVATION`] belongs.
    pub(super) fn pooler(&mut self) -> Result<Parameters<'a, Error>> {
        let hidden = self.config.hidden_size;
        let name = self.weights.layout().pooler.unwrap_or("pooler.dense");
        self.linear(name, [hidden, hidden], true)
    }
}

/// Whether a checkpoint has the parameters of a pooler.
pub(super) fn has_pooler(weights: &Weights) -> bool {
    weights.layout().pooler.is_some_and(|pooler| weights.contains(&format!("{pooler}.weight")))
}

/// The first parameter of encoder layer `index` + 1, where layers do not share theirs.
pub(super) fn first_weight_of(weights: &Weights, index: usize) -> String {
    let layout = weights.layout();
    let module = match layout.query_key_value {
        ProjectionNames::Separate([query, ..]) => query,
        ProjectionNames::Fused(module) => module,
    };
    format!("{}{module}.weight", layout.layer.replace("{}", &index.to_string()))
}
