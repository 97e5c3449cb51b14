//! `config.json`: the keys that an encoder is computed by, read by the description of its family and checked; keys that ask
//! for another computation are refused.

mod keys;
mod rotary;

use std::path::Path;

use serde_json::{Map, Value};

use self::keys::{Keys, LARGEST};
pub use self::rotary::{LayerConfig, Rotary};
use crate::error::{Error, Result, json_problem};
use crate::family::{
    self, ConfigKeys, Either, Family, LimitRule, PositionRule, ProjectionRule, RelativeRule, TokenTypeRule,
};
use crate::spec::Activation;

/// The configuration of an encoder, under the names of BERT's `config.json` where it has them: everything that the numbers
/// depend on beside the weights.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The description that the configuration was read by.
    pub family: &'static Family,
    /// Rows of the word embedding table.
    pub vocab_size: usize,
    /// Width of a hidden state.
    pub hidden_size: usize,
    /// Width of the embeddings.
    pub embedding_size: usize,
    /// Number of encoder layers, N.
    pub num_hidden_layers: usize,
    /// Number of groups of layers that share their parameters; N where none do.
    pub num_hidden_groups: usize,
    /// Attention heads of a layer; divides `hidden_size`.
    pub num_attention_heads: usize,
    /// Heads of keys and values, each of which serves as many heads of queries.
    pub num_key_value_heads: usize,
    /// Width between the two matrix products of the feed-forward network.
    pub intermediate_size: usize,
    /// Activation of the feed-forward network.
    pub hidden_act: Activation,
    /// How tokens get absolute positions.
    pub positions: Positions,
    /// Rows of the position embedding table; 0 where there is none.
    pub max_position_embeddings: usize,
    /// Longest text in tokens, special tokens included.
    pub longest_text: usize,
    /// Whether [`Config::longest_text`] is a limit of the model, and not one that was set for it here.
    pub is_limited: bool,
    /// What token types do.
    pub token_types: TokenTypeUse,
    /// Rows of the token type embedding table; 0 where there is none.
    pub type_vocab_size: usize,
    /// Whether row 0 of the table of task types is added to the embeddings, and the rows of that table.
    pub task_type_vocab_size: Option<usize>,
    /// Whether the sum of embeddings is normalized.
    pub embedding_norm: bool,
    /// How embeddings are brought to the width of hidden states.
    pub projection: Projection,
    /// The token whose embedding is left out, the others growing for it (`token_dropout` and `mask_token_id` of ESM).
    pub token_dropout: Option<u32>,
    /// The epsilon of all norms.
    pub layer_norm_eps: f64,
    /// Whether norms have a bias.
    pub norm_bias: bool,
    /// Which linear layers of a block have a bias.
    pub biases: Biases,
    /// What layers differ in; (N).
    pub layers: Vec<LayerConfig>,
    /// DeBERTa's disentangled attention.
    pub disentangled: Option<DisentangledConfig>,
    /// The convolution of the embeddings that joins the output of layer 1.
    pub convolution: Option<ConvolutionConfig>,
}

/// How tokens get absolute positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Positions {
    /// They have none.
    None,
    /// Counted from 0.
    FromZero,
    /// Counted from the one after this, which is the id of padding tokens and their position.
    After(u32),
}

/// What token types do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenTypeUse {
    /// Nothing.
    None,
    /// Every token has row 0.
    FirstRow,
    /// Each type has a row.
    Table,
}

/// How embeddings are brought to the width of hidden states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Projection {
    /// They have it.
    None,
    /// By a linear layer without a bias, before their norm.
    BeforeNorm,
    /// By a linear layer after their norm.
    AfterNorm,
}

/// Which linear layers of a block have a bias.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Biases {
    /// Queries, keys and values.
    pub query_key_value: bool,
    /// The output of attention.
    pub attention_output: bool,
    /// The first linear layers of the feed-forward network.
    pub up: bool,
    /// Its last one.
    pub down: bool,
}

/// DeBERTa's disentangled attention (He et al. 2021).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DisentangledConfig {
    /// Buckets of distances to each side (`position_buckets`); 0 where distances are not put in buckets.
    pub buckets: usize,
    /// The largest distance (`max_relative_positions`).
    pub max_distance: usize,
    /// Whether queries attend to the keys of distances (`c2p` in `pos_att_type`).
    pub content_to_position: bool,
    /// Whether keys attend to the queries of distances (`p2c` in `pos_att_type`).
    pub position_to_content: bool,
    /// Whether distances are projected as tokens are (`share_att_key`).
    pub share_att_key: bool,
    /// Whether the embeddings of distances are normalized (`norm_rel_ebd`).
    pub normalized: bool,
}

impl DisentangledConfig {
    /// Distances to each side that have an embedding.
    pub fn span(&self) -> usize {
        if self.buckets > 0 { self.buckets } else { self.max_distance }
    }
}

/// DeBERTa-v2's convolution of the embeddings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConvolutionConfig {
    /// Tokens that each output is made of; odd.
    pub kernel_size: usize,
    /// Applied to the convolution's output.
    pub activation: Activation,
}

/// Largest number of layers that is accepted, for the reason that there is a largest size.
const MOST_LAYERS: usize = 1 << 12;
/// Longest text of a model without a limit of its own: longer than any protein, and short enough to be computed.
const LONGEST_WITHOUT_LIMIT: usize = 1 << 17;

impl Config {
    /// Reads and checks the text of a `config.json`; `path` is for messages.
    ///
    /// # Errors
    /// [`Error::Model`] for content that is not a JSON object, [`Error::Config`] for a key that is missing, out of
    /// range, or asks for a computation that is not supported.
    pub fn parse(text: &[u8], path: &Path) -> Result<Self> {
        Self::parse_with(text, &Map::new(), path)
    }

    /// Like [`Config::parse`], with keys that override those of the file.
    ///
    /// # Errors
    /// Those of [`Config::parse`].
    pub fn parse_with(text: &[u8], before: &Map<String, Value>, path: &Path) -> Result<Self> {
        let value: Value = serde_json::from_slice(text).map_err(|error| {
            let problem = json_problem(&error);
            Error::model(path, format!("is not JSON that can be read: {problem}; the file is damaged or incomplete"))
        })?;
        let Value::Object(mut keys) = value else {
            return Err(Error::model(path, "is not a JSON object, as a model's configuration is"));
        };
        keys.extend(before.clone());
        let keys = Keys { keys: &keys, path };
        let family = family_of(&keys)?;
        keys.refuse_what_is_not_computed(family)?;
        Self::of_family(&keys, family)
    }

    /// Reads the configuration by the description of its family.
    fn of_family(keys: &Keys<'_>, family: &'static Family) -> Result<Self> {
        let ConfigKeys { type_vocab_size, embedding_size, .. } = family.keys;
        let names = &family.keys;
        let hidden_size = keys.size(names.hidden_size)?;
        let num_hidden_layers = keys.size_up_to(names.num_hidden_layers, MOST_LAYERS)?;
        let num_attention_heads = keys.size(names.num_attention_heads)?;
        if !hidden_size.is_multiple_of(num_attention_heads) {
            let problem =
                format!("{hidden_size} is not divisible by {}, {num_attention_heads}", names.num_attention_heads[0]);
            return Err(keys.problem(names.hidden_size[0], problem));
        }
        let head_dim = hidden_size / num_attention_heads;
        if let Some(stated) = keys.optional_size(&["head_dim"], LARGEST)?.filter(|&stated| stated != head_dim) {
            let problem = format!("{stated} is not {hidden_size} / {num_attention_heads}, the width of a head");
            return Err(keys.problem("head_dim", problem));
        }
        let stated = keys.optional_size(names.num_key_value_heads, num_attention_heads)?;
        let num_key_value_heads = stated.unwrap_or(num_attention_heads);
        if !num_attention_heads.is_multiple_of(num_key_value_heads) {
            let problem = format!(
                "{num_key_value_heads} does not divide {}, {num_attention_heads}",
                names.num_attention_heads[0]
            );
            return Err(keys.problem(names.num_key_value_heads[0], problem));
        }
        let positions = positions(keys, family.positions)?;
        let max_position_embeddings = match positions {
            Positions::None => 0,
            _ => keys.size(names.max_position_embeddings)?,
        };
        let (longest_text, is_limited) = longest_text(keys, family, positions, max_position_embeddings)?;
        let type_vocab_size = keys.size_from_0("type_vocab_size")?.unwrap_or(type_vocab_size);
        let token_types = match (family.token_types, type_vocab_size) {
            (TokenTypeRule::None, _) | (TokenTypeRule::BySize, 0) => TokenTypeUse::None,
            // DeBERTa has no table where the size is 0; in others it is a damaged configuration.
            (TokenTypeRule::Table, 0) if family.relative == RelativeRule::Disentangled => TokenTypeUse::None,
            (_, 0) => return Err(keys.problem("type_vocab_size", "expected a whole number from 1, found 0")),
            (TokenTypeRule::FirstRow, _) | (TokenTypeRule::BySize, 1) => TokenTypeUse::FirstRow,
            (TokenTypeRule::Table | TokenTypeRule::BySize, _) => TokenTypeUse::Table,
        };
        let embedding_size = match family.embedding_projection {
            ProjectionRule::None => hidden_size,
            _ => keys.optional_size(&["embedding_size"], LARGEST)?.or(embedding_size).unwrap_or(hidden_size),
        };
        let is_narrower = embedding_size != hidden_size;
        Ok(Self {
            family,
            vocab_size: keys.size(&["vocab_size"])?,
            hidden_size,
            embedding_size,
            num_hidden_layers,
            num_hidden_groups: num_hidden_groups(keys, family, num_hidden_layers)?,
            num_attention_heads,
            num_key_value_heads,
            intermediate_size: keys.size(names.intermediate_size)?,
            hidden_act: match names.hidden_act {
                Either::Fixed(activation) => activation,
                Either::Key((names, default)) => keys.activation(names, default)?,
            },
            positions,
            max_position_embeddings,
            longest_text,
            is_limited,
            token_types,
            type_vocab_size: if token_types == TokenTypeUse::None { 0 } else { type_vocab_size },
            task_type_vocab_size: match family.task_types && keys.flag("use_task_id", false)? {
                true => Some(keys.optional_size(&["task_type_vocab_size"], LARGEST)?.unwrap_or(3)),
                false => None,
            },
            embedding_norm: keys.switch(family.embedding_norm)?,
            projection: match family.embedding_projection {
                ProjectionRule::AfterNorm => Projection::AfterNorm,
                ProjectionRule::AfterNormIfNarrower if is_narrower => Projection::AfterNorm,
                ProjectionRule::BeforeNormIfNarrower if is_narrower => Projection::BeforeNorm,
                _ => Projection::None,
            },
            token_dropout: match family.token_dropout && keys.flag("token_dropout", false)? {
                true => Some(keys.token_id("mask_token_id")?.ok_or_else(|| {
                    keys.problem("mask_token_id", "is missing, and token_dropout needs it; expected a token's id")
                })?),
                false => None,
            },
            layer_norm_eps: match names.layer_norm_eps {
                Either::Fixed(eps) => eps,
                Either::Key((names, default)) => keys.number_from_0(names)?.unwrap_or(default),
            },
            norm_bias: keys.switch(family.norm_bias)?,
            biases: Biases {
                query_key_value: keys.switch(family.biases.query_key_value)?,
                attention_output: keys.switch(family.biases.attention_output)?,
                up: keys.switch(family.biases.up)?,
                down: keys.switch(family.biases.down)?,
            },
            layers: rotary::layers(keys, family, num_hidden_layers, head_dim)?,
            disentangled: disentangled(keys, family)?,
            convolution: convolution(keys, family)?,
        })
    }

    /// Width of an attention head.
    pub fn head_dim(&self) -> usize {
        self.hidden_size / self.num_attention_heads
    }

    /// Which group of layers layer `index` + 1 takes its parameters from.
    pub fn group_of(&self, index: usize) -> usize {
        index * self.num_hidden_groups / self.num_hidden_layers
    }

    /// The number of token types that texts may have; those of a model that does not look at them are any.
    pub fn most_token_types(&self) -> usize {
        match self.token_types {
            TokenTypeUse::None => usize::MAX,
            TokenTypeUse::FirstRow | TokenTypeUse::Table => self.type_vocab_size,
        }
    }
}

/// The family that `model_type` names, or that a configuration without it is of.
fn family_of(keys: &Keys<'_>) -> Result<&'static Family> {
    let Some(model_type) = keys.text("model_type")? else { return Ok(family::bert()) };
    // jina-embeddings-v3 calls itself `xlm-roberta`; its rotary positions tell.
    let has_rotary = keys.text("position_embedding_type")? == Some("rotary") || keys.get("rotary_emb_base").is_some();
    let model_type = if model_type == "xlm-roberta" && has_rotary { "jina_embeddings_v3" } else { model_type };
    family::find(model_type).ok_or_else(|| {
        let known: Vec<&str> = family::FAMILIES.iter().map(|family| family.name()).collect();
        keys.problem("model_type", format!("`{model_type}` is not supported; expected one of {}", known.join(", ")))
    })
}

fn positions(keys: &Keys<'_>, rule: PositionRule) -> Result<Positions> {
    let after_padding = || Ok(Positions::After(keys.token_id("pad_token_id")?.unwrap_or(1)));
    match rule {
        PositionRule::None => Ok(Positions::None),
        PositionRule::FromZero => Ok(Positions::FromZero),
        PositionRule::FromZeroIf(key) => Ok(if keys.flag(key, true)? { Positions::FromZero } else { Positions::None }),
        PositionRule::AfterPaddingOf(padding) => Ok(Positions::After(padding)),
        PositionRule::AfterPaddingUnlessRotary if keys.text("position_embedding_type")? == Some("rotary") => {
            Ok(Positions::None)
        }
        PositionRule::AfterPadding | PositionRule::AfterPaddingUnlessRotary => after_padding(),
    }
}

/// The longest text in tokens, and whether the model sets that limit.
fn longest_text(
    keys: &Keys<'_>,
    family: &Family,
    positions: Positions,
    max_position_embeddings: usize,
) -> Result<(usize, bool)> {
    let of_table = match positions {
        Positions::None => None,
        Positions::FromZero => Some(max_position_embeddings),
        Positions::After(padding) => {
            let room = max_position_embeddings.checked_sub(padding as usize + 1).filter(|&room| room > 0);
            Some(room.ok_or_else(|| {
                let problem = format!("{max_position_embeddings} leaves no position after that of padding, {padding}");
                keys.problem(family.keys.max_position_embeddings[0], problem)
            })?)
        }
    };
    match (family.limit, of_table) {
        (LimitRule::PositionTable, Some(room)) => Ok((room, true)),
        (LimitRule::PositionTable, None) => Ok((LONGEST_WITHOUT_LIMIT, false)),
        (LimitRule::Key(names, default), of_table) => {
            let limit = keys.optional_size(names, LARGEST)?.unwrap_or(default);
            Ok((of_table.map_or(limit, |room| limit.min(room)), true))
        }
    }
}

fn num_hidden_groups(keys: &Keys<'_>, family: &Family, num_hidden_layers: usize) -> Result<usize> {
    if !family.shared_layers {
        return Ok(num_hidden_layers);
    }
    Ok(keys.optional_size(&["num_hidden_groups"], num_hidden_layers)?.unwrap_or(1))
}

fn disentangled(keys: &Keys<'_>, family: &Family) -> Result<Option<DisentangledConfig>> {
    if family.relative != RelativeRule::Disentangled || !keys.flag("relative_attention", false)? {
        return Ok(None);
    }
    let kinds = keys.names("pos_att_type", '|')?;
    if let Some(other) = kinds.iter().find(|kind| !["c2p", "p2c"].contains(&kind.as_str())) {
        return Err(keys.problem("pos_att_type", format!("`{other}` is not supported; expected c2p and p2c")));
    }
    let has = |kind: &str| kinds.iter().any(|own| own == kind);
    let norms = keys.names("norm_rel_ebd", '|')?;
    if let Some(other) = norms.iter().find(|norm| !["none", "layer_norm"].contains(&norm.as_str())) {
        return Err(keys.problem("norm_rel_ebd", format!("`{other}` is not supported; expected layer_norm or none")));
    }
    let max_distance = match keys.integer("max_relative_positions")?.filter(|&distance| distance >= 1) {
        Some(distance) => usize::try_from(distance).unwrap_or(usize::MAX),
        None => keys.optional_size(family.keys.max_position_embeddings, LARGEST)?.unwrap_or(512),
    };
    let buckets = keys.integer("position_buckets")?.map_or(0, |buckets| usize::try_from(buckets).unwrap_or(0));
    if max_distance > LARGEST || buckets > LARGEST || (buckets > 0 && (buckets < 4 || max_distance <= buckets / 2 + 1))
    {
        let problem = format!("{buckets} buckets and a largest distance of {max_distance} do not go together");
        return Err(keys.problem("position_buckets", problem));
    }
    Ok(Some(DisentangledConfig {
        buckets,
        max_distance,
        content_to_position: has("c2p"),
        position_to_content: has("p2c"),
        share_att_key: keys.flag("share_att_key", false)?,
        normalized: norms.iter().any(|norm| norm == "layer_norm"),
    }))
}

fn convolution(keys: &Keys<'_>, family: &Family) -> Result<Option<ConvolutionConfig>> {
    if !family.convolution {
        return Ok(None);
    }
    let Some(kernel_size) = keys.size_from_0("conv_kernel_size")?.filter(|&size| size > 0) else { return Ok(None) };
    if kernel_size.is_multiple_of(2) {
        let problem = format!("{kernel_size} is even, and then the output would have another length");
        return Err(keys.problem("conv_kernel_size", problem));
    }
    Ok(Some(ConvolutionConfig { kernel_size, activation: keys.activation(&["conv_act"], "tanh")? }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn tiny() -> Value {
        json!({
            "model_type": "bert", "vocab_size": 30, "hidden_size": 12, "num_hidden_layers": 2,
            "num_attention_heads": 3, "intermediate_size": 20, "hidden_act": "gelu",
            "max_position_embeddings": 16, "type_vocab_size": 2
        })
    }

    fn parse(value: &Value) -> Result<Config> {
        Config::parse(value.to_string().as_bytes(), Path::new("config.json"))
    }

    fn with(key: &str, value: Value) -> Value {
        let mut config = tiny();
        config[key] = value;
        config
    }

    #[test]
    fn defaults_are_transformers_own() {
        let config = parse(&tiny()).unwrap();
        assert_eq!(config.layer_norm_eps, 1e-12);
        let mut without = tiny();
        without.as_object_mut().unwrap().remove("model_type");
        without.as_object_mut().unwrap().remove("hidden_act");
        assert_eq!(parse(&without).unwrap().hidden_act, Activation::Gelu);
    }

    #[test]
    fn what_is_not_computed_is_refused_by_name() {
        for (key, value, named) in [
            ("model_type", json!("longformer"), "longformer"),
            ("hidden_act", json!("mish"), "mish"),
            ("position_embedding_type", json!("relative_key"), "relative_key"),
            ("is_decoder", json!(true), "is_decoder"),
            ("add_cross_attention", json!(true), "add_cross_attention"),
            ("pruned_heads", json!({"0": [1]}), "pruned_heads"),
            ("quantization_config", json!({"quant_method": "gptq"}), "gptq"),
            ("hidden_size", json!(13), "not divisible"),
            ("hidden_size", json!(0), "from 1 to"),
            ("hidden_size", json!(-4), "-4"),
            ("hidden_size", json!(1u64 << 60), "from 1 to"),
            ("num_hidden_layers", json!("2"), "num_hidden_layers"),
            ("num_hidden_layers", json!(16_777_216), "from 1 to 4096"),
            ("num_attention_heads", json!(null), "num_attention_heads"),
            ("layer_norm_eps", json!(-1.0), "layer_norm_eps"),
        ] {
            let message = parse(&with(key, value)).unwrap_err().to_string();
            assert!(message.contains(named), "{key}: {message}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Config::parse(&bytes, Path::new("config.json"));
        }
    }
}
