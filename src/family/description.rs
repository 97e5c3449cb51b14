//! What is said of a family.

use crate::spec::Activation;

/// One family of encoders.
#[derive(Debug)]
pub struct Family {
    /// The values of `model_type` in `config.json`; the first one is the family's name.
    pub model_types: &'static [&'static str],
    /// The class in transformers whose forward pass in evaluation mode is the reference.
    pub reference: &'static str,
    /// What `config.json` calls the sizes, with their defaults.
    pub keys: ConfigKeys,
    /// How tokens get absolute positions.
    pub positions: PositionRule,
    /// The longest text.
    pub limit: LimitRule,
    /// What token types do.
    pub token_types: TokenTypeRule,
    /// Whether `embeddings.task_type_embeddings` is added, its row 0, where `use_task_id` is true.
    pub task_types: bool,
    /// Whether the sum of embeddings is normalized.
    pub embedding_norm: Switch,
    /// How embeddings of another width than the hidden states are brought to theirs.
    pub embedding_projection: ProjectionRule,
    /// Whether `token_dropout` scales the embeddings, as in ESM.
    pub token_dropout: bool,
    /// The kind of all norms.
    pub norm: NormKind,
    /// Whether norms have a bias.
    pub norm_bias: Switch,
    /// Whether the linear layers have a bias.
    pub biases: BiasRules,
    /// Rotary positions of queries and keys.
    pub rotary: RotaryRule,
    /// Positions that are added to the scores of attention.
    pub relative: RelativeRule,
    /// Whether layers share parameters in `num_hidden_groups` groups.
    pub shared_layers: bool,
    /// Whether the output of layer 1 is joined with a convolution of the embeddings, where `conv_kernel_size` says so.
    pub convolution: bool,
    /// Whether the model's own code, which `auto_map` names, is what this description describes.
    pub own_code: bool,
    /// The values of `position_embedding_type` that this description computes.
    pub position_embedding_types: &'static [&'static str],
    /// Keys whose values ask for another computation.
    pub refused: &'static [RefusedKey],
    /// The names of the parameters, one layout for each way in which checkpoints are found.
    pub layouts: &'static [ParameterLayout],
}

impl Family {
    /// The family's name: its `model_type`.
    pub fn name(&self) -> &'static str {
        self.model_types[0]
    }

    /// Whether the feed-forward network has a gate.
    pub fn is_gated(&self) -> bool {
        !matches!(self.layouts[0].feed_forward, FeedForwardNames::Plain { .. })
    }

    /// Whether `hidden_states[N]` is normalized once more after the last layer.
    pub fn has_final_norm(&self) -> bool {
        self.layouts.iter().any(|layout| layout.final_norm.is_some())
    }
}

impl PartialEq for Family {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

/// What `config.json` calls the sizes of a family. Of several names the first one that is there counts. Sizes without a
/// default have to be there, as a guess would load another model.
#[derive(Debug)]
pub struct ConfigKeys {
    pub hidden_size: &'static [&'static str],
    pub num_hidden_layers: &'static [&'static str],
    pub num_attention_heads: &'static [&'static str],
    /// Without a name, or where there is no such key, each head has keys and values of its own.
    pub num_key_value_heads: &'static [&'static str],
    pub intermediate_size: &'static [&'static str],
    pub max_position_embeddings: &'static [&'static str],
    /// With the default of transformers' configuration class.
    pub hidden_act: Either<(&'static [&'static str], &'static str), Activation>,
    /// With the default of transformers' configuration class.
    pub layer_norm_eps: Either<(&'static [&'static str], f64), f64>,
    /// The default of `type_vocab_size` where there is no such key.
    pub type_vocab_size: usize,
    /// The default of `embedding_size`; `None` for `hidden_size`.
    pub embedding_size: Option<usize>,
}

/// A value that is read from the configuration, or one that the family fixes, whatever the configuration says.
#[derive(Debug, Clone, Copy)]
pub enum Either<K, F> {
    Key(K),
    Fixed(F),
}

/// Whether something is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Switch {
    Always,
    Never,
    /// Where this key is true, with its default.
    Key(&'static str, bool),
}

/// How tokens get absolute positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PositionRule {
    /// There is no table of positions.
    None,
    /// Counted from 0.
    FromZero,
    /// Counted from 0 where this key is true, which is the default; else there is no table.
    FromZeroIf(&'static str),
    /// Counted from the one after `pad_token_id`, 1 by default, which padding tokens in a text have themselves.
    AfterPadding,
    /// The same, whatever `pad_token_id` says.
    AfterPaddingOf(u32),
    /// As [`PositionRule::AfterPadding`], unless `position_embedding_type` is `rotary`.
    AfterPaddingUnlessRotary,
}

/// The longest text in tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitRule {
    /// What the table of positions has room for; without such a table there is no limit.
    PositionTable,
    /// The first of these keys that is there, or the default.
    Key(&'static [&'static str], usize),
}

/// What token types do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenTypeRule {
    /// Each token's type has a row of `type_vocab_size`.
    Table,
    /// All tokens have row 0, whatever their type.
    FirstRow,
    /// There is no table, and types change nothing.
    None,
    /// No table where `type_vocab_size` is 0, row 0 where it is 1, and each token's type where it is more.
    BySize,
}

/// How embeddings of width `embedding_size` are brought to `hidden_size`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProjectionRule {
    /// They have that width already.
    None,
    /// By a linear layer after the norm.
    AfterNorm,
    /// The same, unless both sizes are equal.
    AfterNormIfNarrower,
    /// By a linear layer without a bias before the norm, unless both sizes are equal.
    BeforeNormIfNarrower,
}

/// The kind of a norm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NormKind {
    /// LayerNorm, Ba et al. 2016.
    LayerNorm,
    /// RMSNorm, Zhang & Sennrich 2019: without a mean.
    RmsNorm,
}

/// Whether the linear layers of a block have a bias.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BiasRules {
    /// Queries, keys and values.
    pub query_key_value: Switch,
    /// The output of attention.
    pub attention_output: Switch,
    /// The first linear layers of the feed-forward network.
    pub up: Switch,
    /// Its last one.
    pub down: Switch,
}

/// Rotary positions (RoPE), Su et al. 2021.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RotaryRule {
    None,
    /// With the base of one of these keys, or its default. Frequencies that the checkpoint stores go before computed ones.
    Always {
        keys: &'static [&'static str],
        default: f64,
        pairs: RotaryPairs,
    },
    /// The same, where `position_embedding_type` is `rotary`.
    WhereAsked {
        keys: &'static [&'static str],
        default: f64,
    },
    /// ModernBERT's: a base for layers of global and one for those of local attention, which see `local_attention` tokens.
    ByLayerType,
}

/// Which numbers of a head are rotated together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RotaryPairs {
    /// i and i + head_dim / 2, as in GPT-NeoX.
    Halves,
    /// 2i and 2i + 1, as in RoFormer.
    Neighbours,
}

/// Positions that are added to the scores of attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RelativeRule {
    None,
    /// A number for each head and bucket of distances, as in T5 and MPNet: 32 buckets, distances up to 128.
    Buckets,
    /// DeBERTa's disentangled attention.
    Disentangled,
}

/// A key whose value asks for another computation, unless it is as it should be.
#[derive(Debug)]
pub struct RefusedKey {
    pub key: &'static str,
    pub unless: Unless,
    /// What the value asks for, which is not computed.
    pub what: &'static str,
}

/// The values of a key that ask for nothing else.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Unless {
    /// false, 0, an empty text, list or object.
    Empty,
    /// This number, true being 1.
    Number(f64),
    /// This text.
    Text(&'static str),
}

/// The names of a family's parameters in a checkpoint, below its prefix, without `.weight` and `.bias`.
#[derive(Debug)]
pub struct ParameterLayout {
    /// A parameter by whose name this layout is known among others of the family; "" for the first one, which is taken where
    /// none is known.
    pub marker: &'static str,
    /// The table of word embeddings. What stands before it in a name is the checkpoint's prefix.
    pub word_embeddings: &'static str,
    pub position_embeddings: &'static str,
    pub token_type_embeddings: &'static str,
    pub task_type_embeddings: &'static str,
    pub embedding_norm: &'static str,
    pub embedding_projection: &'static str,
    /// What the names of a layer's parameters begin with; `{}` is its number, counted from 0.
    pub layer: &'static str,
    /// Queries, keys and values.
    pub query_key_value: ProjectionNames,
    pub attention_output: &'static str,
    /// The norms of a block, of which each is there or not.
    pub norms: BlockNorms,
    /// Whether the first layer lacks the norm before attention.
    pub first_layer_unnormed: bool,
    pub feed_forward: FeedForwardNames,
    /// What a layer has for positions: DeBERTa's projections of distances.
    pub of_positions: &'static [&'static str],
    /// The norm after the last layer.
    pub final_norm: Option<&'static str>,
    /// The pooler's linear layer, if the family has a pooler.
    pub pooler: Option<&'static str>,
    /// Names, or ends of names, of what is in checkpoints and changes nothing.
    pub unused: &'static [&'static str],
}

/// The norms of a block: post-norm blocks (BERT) have those after, pre-norm blocks (ESM) those before.
#[derive(Debug, Clone, Copy)]
pub struct BlockNorms {
    pub before_attention: Option<&'static str>,
    /// Of the sum of attention and its input.
    pub after_attention: Option<&'static str>,
    pub before_feed_forward: Option<&'static str>,
    /// Of the sum of the feed-forward network and its input.
    pub after_feed_forward: Option<&'static str>,
}

impl BlockNorms {
    /// Those of a pre-norm block, before attention and before the feed-forward network.
    pub(super) const fn before(attention: &'static str, feed_forward: &'static str) -> Self {
        Self {
            before_attention: Some(attention),
            after_attention: None,
            before_feed_forward: Some(feed_forward),
            after_feed_forward: None,
        }
    }

    /// Those of a post-norm block, after attention and after the feed-forward network.
    pub(super) const fn after(attention: &'static str, feed_forward: &'static str) -> Self {
        Self {
            before_attention: None,
            after_attention: Some(attention),
            before_feed_forward: None,
            after_feed_forward: Some(feed_forward),
        }
    }
}

/// What queries, keys and values are called.
#[derive(Debug, Clone, Copy)]
pub enum ProjectionNames {
    Separate([&'static str; 3]),
    /// One matrix, whose rows are those of queries, keys and values.
    Fused(&'static str),
}

/// What the feed-forward network's parameters are called.
#[derive(Debug, Clone, Copy)]
pub enum FeedForwardNames {
    /// `down(act(up(x)))`
    Plain { up: &'static str, down: &'static str },
    /// `down(act(gate(x)) · up(x))`
    Gated { gate: &'static str, up: &'static str, down: &'static str },
    /// The same, with gate and up in one matrix.
    GatedFused { both: &'static str, order: GateOrder, down: &'static str },
}

/// Which rows of a fused matrix come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GateOrder {
    GateThenUp,
    UpThenGate,
}
