//! The names that checkpoints give to the parameters of each family.

use super::description::{BlockNorms, FeedForwardNames, GateOrder, ParameterLayout, ProjectionNames};

const BUFFERS: &[&str] = &["embeddings.position_ids", "embeddings.token_type_ids"];

/// BERT's names, which most of its siblings share.
pub(super) const BERT: ParameterLayout = ParameterLayout {
    marker: "",
    word_embeddings: "embeddings.word_embeddings",
    position_embeddings: "embeddings.position_embeddings",
    token_type_embeddings: "embeddings.token_type_embeddings",
    task_type_embeddings: "embeddings.task_type_embeddings",
    embedding_norm: "embeddings.LayerNorm",
    embedding_projection: "embeddings_project",
    layer: "encoder.layer.{}.",
    query_key_value: ProjectionNames::Separate(["attention.self.query", "attention.self.key", "attention.self.value"]),
    attention_output: "attention.output.dense",
    norms: BlockNorms::after("attention.output.LayerNorm", "output.LayerNorm"),
    first_layer_unnormed: false,
    feed_forward: FeedForwardNames::Plain { up: "intermediate.dense", down: "output.dense" },
    of_positions: &[],
    final_norm: None,
    pooler: Some("pooler.dense"),
    unused: BUFFERS,
};

/// ELECTRA and BERT for generation have no pooler.
pub(super) const WITHOUT_POOLER: ParameterLayout = ParameterLayout { pooler: None, ..BERT };

pub(super) const DISTILBERT: ParameterLayout = ParameterLayout {
    layer: "transformer.layer.{}.",
    query_key_value: ProjectionNames::Separate(["attention.q_lin", "attention.k_lin", "attention.v_lin"]),
    attention_output: "attention.out_lin",
    norms: BlockNorms::after("sa_layer_norm", "output_layer_norm"),
    feed_forward: FeedForwardNames::Plain { up: "ffn.lin1", down: "ffn.lin2" },
    ..WITHOUT_POOLER
};

pub(super) const ALBERT: ParameterLayout = ParameterLayout {
    embedding_projection: "encoder.embedding_hidden_mapping_in",
    layer: "encoder.albert_layer_groups.{}.albert_layers.0.",
    query_key_value: ProjectionNames::Separate(["attention.query", "attention.key", "attention.value"]),
    attention_output: "attention.dense",
    norms: BlockNorms::after("attention.LayerNorm", "full_layer_layer_norm"),
    feed_forward: FeedForwardNames::Plain { up: "ffn", down: "ffn_output" },
    pooler: Some("pooler"),
    ..BERT
};

pub(super) const ESM: ParameterLayout = ParameterLayout {
    embedding_norm: "embeddings.layer_norm",
    norms: BlockNorms::before("attention.LayerNorm", "LayerNorm"),
    final_norm: Some("encoder.emb_layer_norm_after"),
    // ESM-2 has a table of positions that its rotary positions leave without use, and its norm before the layers likewise.
    unused: &[
        "embeddings.position_ids",
        "embeddings.position_embeddings.weight",
        "embeddings.layer_norm.weight",
        "embeddings.layer_norm.bias",
        "rotary_embeddings.inv_freq",
    ],
    ..BERT
};

pub(super) const XLM_ROBERTA_XL: ParameterLayout = ParameterLayout {
    norms: BlockNorms::before("attention.self_attn_layer_norm", "LayerNorm"),
    final_norm: Some("encoder.LayerNorm"),
    ..BERT
};

pub(super) const MPNET: ParameterLayout = ParameterLayout {
    query_key_value: ProjectionNames::Separate(["attention.attn.q", "attention.attn.k", "attention.attn.v"]),
    attention_output: "attention.attn.o",
    norms: BlockNorms::after("attention.LayerNorm", "output.LayerNorm"),
    ..BERT
};

pub(super) const DEBERTA: ParameterLayout = ParameterLayout {
    embedding_projection: "embeddings.embed_proj",
    query_key_value: ProjectionNames::Separate([
        "attention.self.query_proj",
        "attention.self.key_proj",
        "attention.self.value_proj",
    ]),
    of_positions: &["attention.self.pos_key_proj", "attention.self.pos_query_proj"],
    unused: &[
        "embeddings.position_ids",
        "embeddings.position_embeddings.weight",
        "embeddings.token_type_embeddings.weight",
    ],
    ..WITHOUT_POOLER
};

pub(super) const MODERNBERT: ParameterLayout = ParameterLayout {
    word_embeddings: "embeddings.tok_embeddings",
    embedding_norm: "embeddings.norm",
    layer: "layers.{}.",
    query_key_value: ProjectionNames::Fused("attn.Wqkv"),
    attention_output: "attn.Wo",
    norms: BlockNorms::before("attn_norm", "mlp_norm"),
    first_layer_unnormed: true,
    feed_forward: FeedForwardNames::GatedFused { both: "mlp.Wi", order: GateOrder::GateThenUp, down: "mlp.Wo" },
    final_norm: Some("final_norm"),
    unused: &["rotary_emb.inv_freq"],
    ..WITHOUT_POOLER
};

/// The names that transformers gives to NomicBERT, GTE and jina-embeddings-v3.
const NATIVE: ParameterLayout = ParameterLayout {
    layer: "layers.{}.",
    query_key_value: ProjectionNames::Separate(["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"]),
    attention_output: "self_attn.o_proj",
    norms: BlockNorms::after("post_attention_layernorm", "post_mlp_layernorm"),
    unused: &["embeddings.position_ids", "embeddings.token_type_ids", "rotary_emb.inv_freq"],
    ..BERT
};

pub(super) const NATIVE_GATED: ParameterLayout = ParameterLayout {
    feed_forward: FeedForwardNames::Gated { gate: "mlp.gate_proj", up: "mlp.up_proj", down: "mlp.down_proj" },
    ..NATIVE
};

pub(super) const NATIVE_PLAIN: ParameterLayout =
    ParameterLayout { feed_forward: FeedForwardNames::Plain { up: "mlp.fc1", down: "mlp.fc2" }, ..NATIVE };

/// The names of NomicBERT's own code; of the two matrices of its gate, fc12 is the one that is activated.
pub(super) const NOMIC: ParameterLayout = ParameterLayout {
    marker: "emb_ln.weight",
    embedding_norm: "emb_ln",
    layer: "encoder.layers.{}.",
    query_key_value: ProjectionNames::Fused("attn.Wqkv"),
    attention_output: "attn.out_proj",
    norms: BlockNorms::after("norm1", "norm2"),
    feed_forward: FeedForwardNames::Gated { gate: "mlp.fc12", up: "mlp.fc11", down: "mlp.fc2" },
    unused: &["rotary_emb.inv_freq"],
    ..BERT
};

/// The names of jina-embeddings-v3's own code.
pub(super) const JINA_V3: ParameterLayout = ParameterLayout {
    query_key_value: ProjectionNames::Fused("mixer.Wqkv"),
    attention_output: "mixer.out_proj",
    feed_forward: FeedForwardNames::Plain { up: "mlp.fc1", down: "mlp.fc2" },
    ..NOMIC
};

/// The names of GTE's own code.
pub(super) const GTE: ParameterLayout = ParameterLayout {
    marker: "encoder.layer.0.attention.qkv_proj.weight",
    query_key_value: ProjectionNames::Fused("attention.qkv_proj"),
    attention_output: "attention.o_proj",
    norms: BlockNorms::after("attn_ln", "mlp_ln"),
    feed_forward: FeedForwardNames::GatedFused {
        both: "mlp.up_gate_proj",
        order: GateOrder::UpThenGate,
        down: "mlp.down_proj",
    },
    unused: &["embeddings.position_ids", "embeddings.rotary_emb.inv_freq"],
    ..BERT
};

pub(super) const EUROBERT: ParameterLayout = ParameterLayout {
    word_embeddings: "embed_tokens",
    layer: "layers.{}.",
    query_key_value: ProjectionNames::Separate(["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"]),
    attention_output: "self_attn.o_proj",
    norms: BlockNorms::before("input_layernorm", "post_attention_layernorm"),
    feed_forward: FeedForwardNames::Gated { gate: "mlp.gate_proj", up: "mlp.up_proj", down: "mlp.down_proj" },
    final_norm: Some("norm"),
    unused: &["rotary_emb.inv_freq"],
    ..WITHOUT_POOLER
};
