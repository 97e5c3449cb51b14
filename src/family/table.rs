//! The families that are computed. Each is as transformers 5.24 has it; where its own code on the hub came first, the names
//! and keys of that code are there, too.

use super::description::{
    BiasRules, ConfigKeys, Either, Family, LimitRule, NormKind, PositionRule, ProjectionRule, RefusedKey, RelativeRule,
    RotaryPairs, RotaryRule, Switch, TokenTypeRule, Unless,
};
use super::layouts;
use crate::spec::Activation;

/// All families; the first one is BERT.
pub static FAMILIES: &[&Family] = &[
    &BERT,
    &ROBERTA,
    &XLM_ROBERTA,
    &CAMEMBERT,
    &DATA2VEC_TEXT,
    &DISTILBERT,
    &ELECTRA,
    &ALBERT,
    &ERNIE,
    &BERT_GENERATION,
    &ESM,
    &MODERNBERT,
    &MPNET,
    &NOMIC_BERT,
    &GTE,
    &JINA_EMBEDDINGS_V3,
    &DEBERTA_V2,
    &ROFORMER,
    &EUROBERT,
    &XLM_ROBERTA_XL,
];

/// Looks a family up by the `model_type` of a configuration.
pub fn find(model_type: &str) -> Option<&'static Family> {
    FAMILIES.iter().copied().find(|family| family.model_types.contains(&model_type))
}

/// The family of configurations without a `model_type`: those of 2018 and 2019, which were all BERT's.
pub fn bert() -> &'static Family {
    FAMILIES[0]
}

const BERT_KEYS: ConfigKeys = ConfigKeys {
    hidden_size: &["hidden_size"],
    num_hidden_layers: &["num_hidden_layers"],
    num_attention_heads: &["num_attention_heads"],
    num_key_value_heads: &[],
    intermediate_size: &["intermediate_size"],
    max_position_embeddings: &["max_position_embeddings"],
    hidden_act: Either::Key((&["hidden_act"], "gelu")),
    layer_norm_eps: Either::Key((&["layer_norm_eps"], 1e-12)),
    type_vocab_size: 2,
    embedding_size: None,
};

const ALL_BIASES: BiasRules = BiasRules {
    query_key_value: Switch::Always,
    attention_output: Switch::Always,
    up: Switch::Always,
    down: Switch::Always,
};

/// ModernBERT's and EuroBERT's.
const BIASES_BY_KEY: BiasRules = BiasRules {
    query_key_value: Switch::Key("attention_bias", false),
    attention_output: Switch::Key("attention_bias", false),
    up: Switch::Key("mlp_bias", false),
    down: Switch::Key("mlp_bias", false),
};

/// Devlin et al. 2019.
static BERT: Family = BASE;

const BASE: Family = Family {
    model_types: &["bert"],
    reference: "BertModel",
    keys: BERT_KEYS,
    positions: PositionRule::FromZero,
    limit: LimitRule::PositionTable,
    token_types: TokenTypeRule::Table,
    task_types: false,
    embedding_norm: Switch::Always,
    embedding_projection: ProjectionRule::None,
    token_dropout: false,
    norm: NormKind::LayerNorm,
    norm_bias: Switch::Always,
    biases: ALL_BIASES,
    rotary: RotaryRule::None,
    relative: RelativeRule::None,
    shared_layers: false,
    convolution: false,
    own_code: false,
    position_embedding_types: &["absolute"],
    refused: &[],
    layouts: &[layouts::BERT],
};

/// Liu et al. 2019: positions begin after the padding's, and token types are not used.
static ROBERTA: Family = Family { model_types: &["roberta"], reference: "RobertaModel", ..ROBERTA_LIKE };

/// Conneau et al. 2020.
static XLM_ROBERTA: Family = Family { model_types: &["xlm-roberta"], reference: "XLMRobertaModel", ..ROBERTA_LIKE };

/// Martin et al. 2020.
static CAMEMBERT: Family = Family { model_types: &["camembert"], reference: "CamembertModel", ..ROBERTA_LIKE };

/// Baevski et al. 2022.
static DATA2VEC_TEXT: Family =
    Family { model_types: &["data2vec-text"], reference: "Data2VecTextModel", ..ROBERTA_LIKE };

const ROBERTA_LIKE: Family =
    Family { positions: PositionRule::AfterPadding, token_types: TokenTypeRule::FirstRow, ..BASE };

/// Sanh et al. 2019: BERT without token types; its epsilon is part of its code.
static DISTILBERT: Family = Family {
    model_types: &["distilbert"],
    reference: "DistilBertModel",
    keys: ConfigKeys {
        hidden_size: &["dim", "hidden_size"],
        num_hidden_layers: &["n_layers", "num_hidden_layers"],
        num_attention_heads: &["n_heads", "num_attention_heads"],
        intermediate_size: &["hidden_dim", "intermediate_size"],
        hidden_act: Either::Key((&["activation"], "gelu")),
        layer_norm_eps: Either::Fixed(1e-12),
        ..BERT_KEYS
    },
    token_types: TokenTypeRule::None,
    layouts: &[layouts::DISTILBERT],
    ..BASE
};

/// Clark et al. 2020, discriminator and generator: layer 0 is behind the projection of the embeddings.
static ELECTRA: Family = Family {
    model_types: &["electra"],
    reference: "ElectraModel",
    keys: ConfigKeys { embedding_size: Some(128), ..BERT_KEYS },
    embedding_projection: ProjectionRule::AfterNormIfNarrower,
    layouts: &[layouts::WITHOUT_POOLER],
    ..BASE
};

/// Lan et al. 2020: layers share their parameters; layer 0 is behind the projection of the embeddings.
static ALBERT: Family = Family {
    model_types: &["albert"],
    reference: "AlbertModel",
    keys: ConfigKeys { embedding_size: Some(128), hidden_act: Either::Key((&["hidden_act"], "gelu_new")), ..BERT_KEYS },
    embedding_projection: ProjectionRule::AfterNorm,
    shared_layers: true,
    refused: &[RefusedKey {
        key: "inner_group_num",
        unless: Unless::Number(1.0),
        what: "several layers in each step of a group; transformers 4 and 5 differ in what their hidden states are",
    }],
    layouts: &[layouts::ALBERT],
    ..BASE
};

/// Sun et al. 2020.
static ERNIE: Family = Family { model_types: &["ernie"], reference: "ErnieModel", task_types: true, ..BASE };

/// Rothe et al. 2020.
static BERT_GENERATION: Family = Family {
    model_types: &["bert-generation"],
    reference: "BertGenerationEncoder",
    token_types: TokenTypeRule::None,
    layouts: &[layouts::WITHOUT_POOLER],
    ..BASE
};

/// ESM-2, Lin et al. 2023, and ESM-1b, Rives et al. 2021. Its feed-forward network has GELU whatever the configuration says.
static ESM: Family = Family {
    model_types: &["esm"],
    reference: "EsmModel",
    keys: ConfigKeys { hidden_act: Either::Fixed(Activation::Gelu), ..BERT_KEYS },
    positions: PositionRule::AfterPaddingUnlessRotary,
    token_types: TokenTypeRule::None,
    embedding_norm: Switch::Key("emb_layer_norm_before", false),
    token_dropout: true,
    rotary: RotaryRule::WhereAsked { keys: &["rope_theta"], default: 10_000.0 },
    position_embedding_types: &["absolute", "rotary"],
    refused: &[
        RefusedKey { key: "is_folding_model", unless: Unless::Empty, what: "ESMFold, which predicts structures" },
        RefusedKey { key: "rope_scaling", unless: Unless::Empty, what: "scaled rotary positions" },
    ],
    layouts: &[layouts::ESM],
    ..BASE
};

/// Warner et al. 2024.
static MODERNBERT: Family = Family {
    model_types: &["modernbert"],
    reference: "ModernBertModel",
    keys: ConfigKeys {
        hidden_act: Either::Key((&["hidden_activation"], "gelu")),
        layer_norm_eps: Either::Key((&["norm_eps", "layer_norm_eps"], 1e-5)),
        ..BERT_KEYS
    },
    positions: PositionRule::None,
    limit: LimitRule::Key(&["max_position_embeddings"], 8192),
    token_types: TokenTypeRule::None,
    norm_bias: Switch::Key("norm_bias", false),
    biases: BIASES_BY_KEY,
    rotary: RotaryRule::ByLayerType,
    layouts: &[layouts::MODERNBERT],
    ..BASE
};

/// Song et al. 2020: relative positions in buckets; the padding's position is 1 whatever the configuration says.
static MPNET: Family = Family {
    model_types: &["mpnet"],
    reference: "MPNetModel",
    positions: PositionRule::AfterPaddingOf(1),
    token_types: TokenTypeRule::None,
    relative: RelativeRule::Buckets,
    layouts: &[layouts::MPNET],
    ..BASE
};

/// Nussbaum et al. 2024. Beyond the length that it was trained with its own code scales positions by the text's length, so
/// longer texts are refused.
static NOMIC_BERT: Family = Family {
    model_types: &["nomic_bert"],
    reference: "NomicBertModel",
    keys: ConfigKeys {
        hidden_size: &["hidden_size", "n_embd"],
        num_hidden_layers: &["num_hidden_layers", "n_layer"],
        num_attention_heads: &["num_attention_heads", "n_head"],
        intermediate_size: &["intermediate_size", "n_inner"],
        hidden_act: Either::Key((&["hidden_act", "activation_function"], "silu")),
        layer_norm_eps: Either::Key((&["layer_norm_eps", "layer_norm_epsilon"], 1e-12)),
        ..BERT_KEYS
    },
    positions: PositionRule::None,
    limit: LimitRule::Key(&["max_trained_positions", "max_position_embeddings"], 2048),
    token_types: TokenTypeRule::BySize,
    biases: BiasRules {
        query_key_value: Switch::Key("qkv_proj_bias", false),
        attention_output: Switch::Key("qkv_proj_bias", false),
        up: Switch::Key("mlp_fc1_bias", false),
        down: Switch::Key("mlp_fc2_bias", false),
    },
    rotary: RotaryRule::Always {
        keys: &["rope_theta", "rotary_emb_base"],
        default: 1000.0,
        pairs: RotaryPairs::Halves,
    },
    own_code: true,
    position_embedding_types: &["absolute", "rope", "rotary"],
    refused: &[
        RefusedKey { key: "prenorm", unless: Unless::Empty, what: "norms before attention" },
        RefusedKey {
            key: "rotary_emb_fraction",
            unless: Unless::Number(1.0),
            what: "rotary positions in a part of each head",
        },
        RefusedKey {
            key: "rotary_emb_interleaved",
            unless: Unless::Empty,
            what: "rotary positions of neighbouring numbers",
        },
        RefusedKey { key: "rotary_emb_scale_base", unless: Unless::Empty, what: "scaled rotary positions" },
        RefusedKey { key: "causal", unless: Unless::Empty, what: "a decoder" },
        RefusedKey { key: "parallel_block", unless: Unless::Empty, what: "attention beside the feed-forward network" },
        RefusedKey {
            key: "scale_attn_by_inverse_layer_idx",
            unless: Unless::Empty,
            what: "attention scaled by the layer",
        },
        RefusedKey { key: "num_experts", unless: Unless::Empty, what: "a mixture of experts" },
        RefusedKey { key: "moe_every_n_layers", unless: Unless::Empty, what: "a mixture of experts" },
        RefusedKey { key: "use_rms_norm", unless: Unless::Empty, what: "RMSNorm" },
        RefusedKey { key: "use_cls_token", unless: Unless::Empty, what: "an embedding of its own for the first token" },
    ],
    layouts: &[layouts::NATIVE_GATED, layouts::NOMIC],
    ..BASE
};

/// Zhang et al. 2024 (mGTE). Models with code of their own call it `new`.
static GTE: Family = Family {
    model_types: &["gte", "new"],
    reference: "GteModel",
    positions: PositionRule::None,
    limit: LimitRule::Key(&["max_position_embeddings"], 8192),
    token_types: TokenTypeRule::BySize,
    keys: ConfigKeys { type_vocab_size: 1, ..BERT_KEYS },
    biases: BiasRules { up: Switch::Never, ..ALL_BIASES },
    rotary: RotaryRule::Always { keys: &["rope_theta"], default: 160_000.0, pairs: RotaryPairs::Halves },
    own_code: true,
    position_embedding_types: &["rope"],
    refused: &[
        RefusedKey { key: "layer_norm_type", unless: Unless::Text("layer_norm"), what: "another norm" },
        RefusedKey {
            key: "logn_attention_scale",
            unless: Unless::Empty,
            what: "attention scaled by the text's length",
        },
        RefusedKey {
            key: "logn_attention_clip1",
            unless: Unless::Empty,
            what: "attention scaled by the text's length",
        },
    ],
    layouts: &[layouts::NATIVE_GATED, layouts::GTE],
    ..BASE
};

/// Sturua et al. 2024. On the hub its configurations say `xlm-roberta` with rotary positions.
static JINA_EMBEDDINGS_V3: Family = Family {
    model_types: &["jina_embeddings_v3"],
    reference: "JinaEmbeddingsV3Model",
    keys: ConfigKeys { layer_norm_eps: Either::Key((&["layer_norm_eps"], 1e-5)), type_vocab_size: 1, ..BERT_KEYS },
    positions: PositionRule::None,
    limit: LimitRule::Key(&["max_position_embeddings"], 8194),
    token_types: TokenTypeRule::FirstRow,
    rotary: RotaryRule::Always {
        keys: &["rope_theta", "rotary_emb_base"],
        default: 20_000.0,
        pairs: RotaryPairs::Halves,
    },
    own_code: true,
    position_embedding_types: &["rotary", "rope", "absolute"],
    layouts: &[layouts::NATIVE_PLAIN, layouts::JINA_V3],
    ..BASE
};

/// He et al. 2021 and 2023 (DeBERTa-v2 and v3).
static DEBERTA_V2: Family = Family {
    model_types: &["deberta-v2"],
    reference: "DebertaV2Model",
    keys: ConfigKeys { layer_norm_eps: Either::Key((&["layer_norm_eps"], 1e-7)), type_vocab_size: 0, ..BERT_KEYS },
    positions: PositionRule::FromZeroIf("position_biased_input"),
    limit: LimitRule::Key(&["max_position_embeddings"], 512),
    token_types: TokenTypeRule::Table,
    embedding_projection: ProjectionRule::BeforeNormIfNarrower,
    relative: RelativeRule::Disentangled,
    convolution: true,
    refused: &[
        RefusedKey { key: "conv_groups", unless: Unless::Number(1.0), what: "a convolution of groups" },
        RefusedKey { key: "talking_head", unless: Unless::Empty, what: "talking heads" },
        RefusedKey { key: "attention_head_size", unless: Unless::Empty, what: "heads of another width" },
    ],
    layouts: &[layouts::DEBERTA],
    ..BASE
};

/// Su et al. 2021: rotary positions of neighbouring numbers.
static ROFORMER: Family = Family {
    model_types: &["roformer"],
    reference: "RoFormerModel",
    positions: PositionRule::None,
    limit: LimitRule::Key(&["max_position_embeddings"], 1536),
    embedding_projection: ProjectionRule::AfterNormIfNarrower,
    rotary: RotaryRule::Always { keys: &[], default: 10_000.0, pairs: RotaryPairs::Neighbours },
    refused: &[RefusedKey { key: "rotary_value", unless: Unless::Empty, what: "rotary positions of values" }],
    layouts: &[layouts::WITHOUT_POOLER],
    ..BASE
};

/// Boizard et al. 2025.
static EUROBERT: Family = Family {
    model_types: &["eurobert"],
    reference: "EuroBertModel",
    keys: ConfigKeys {
        num_key_value_heads: &["num_key_value_heads"],
        hidden_act: Either::Key((&["hidden_act"], "silu")),
        layer_norm_eps: Either::Key((&["rms_norm_eps"], 1e-5)),
        ..BERT_KEYS
    },
    positions: PositionRule::None,
    limit: LimitRule::Key(&["max_position_embeddings"], 8192),
    token_types: TokenTypeRule::None,
    embedding_norm: Switch::Never,
    norm: NormKind::RmsNorm,
    norm_bias: Switch::Never,
    biases: BIASES_BY_KEY,
    rotary: RotaryRule::Always { keys: &["rope_theta"], default: 10_000.0, pairs: RotaryPairs::Halves },
    own_code: true,
    layouts: &[layouts::EUROBERT],
    ..BASE
};

/// Goyal et al. 2021: RoBERTa with the norms before attention and feed-forward network.
static XLM_ROBERTA_XL: Family = Family {
    model_types: &["xlm-roberta-xl"],
    reference: "XLMRobertaXLModel",
    keys: ConfigKeys { layer_norm_eps: Either::Key((&["layer_norm_eps"], 1e-5)), type_vocab_size: 1, ..BERT_KEYS },
    embedding_norm: Switch::Never,
    layouts: &[layouts::XLM_ROBERTA_XL],
    ..ROBERTA_LIKE
};
