"""Make the tiny models of tests/golden/families, one for each family of encoders and way of writing it, and their float64
reference outputs.

Weights come from a seeded generator, large enough that attention and activations are far from their linear range, and are
rounded to float16, in which they are stored. The truth is tests/golden/reference.py in float64; the bar is transformers in
float32, whose error by layer is noted. README.md describes the files. Run `python tests/golden/families.py [NAME ...]` to write
them again.
"""

from __future__ import annotations

import copy
import json
import shutil
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import numpy as np
import reference
import torch
import transformers
from safetensors.torch import save_file

HERE = Path(__file__).parent / "families"
PACKAGES = ("torch", "transformers", "safetensors", "numpy")
SIZES = {
    "vocab_size": 61,
    "hidden_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 37,
    "max_position_embeddings": 220,
}
LENGTHS = (1, 2, 7, 33, 90)

Weights = dict[str, torch.Tensor]


@dataclass
class Case:
    """A model: transformers' class and configuration, and the reference that computes it."""

    name: str
    model: type
    config: transformers.PreTrainedConfig
    reference: Callable
    types: bool = False
    """Whether texts have two token types."""
    lengths: tuple[int, ...] = LENGTHS
    special: dict[int, int] = field(default_factory=dict)
    """Tokens at certain places of the longest text: of padding, of a mask."""
    rename: Callable[[Weights], Weights] = lambda weights: weights
    """From transformers' names to those of the file."""
    keys: Callable[[dict], dict] = lambda config: config
    """From transformers' configuration to that of the file."""
    inv_freq: bool = False
    """Whether rotary frequencies, rounded to float16, are stored in the file."""


def sizes(**other) -> dict:
    return {**SIZES, **other}


def prefixed(prefix: str) -> Callable[[Weights], Weights]:
    return lambda weights: {prefix + name: tensor for name, tensor in weights.items()}


def replaced(*pairs: tuple[str, str]) -> Callable[[Weights], Weights]:
    def rename(weights: Weights) -> Weights:
        renamed = {}
        for name, tensor in weights.items():
            for old, new in pairs:
                name = name.replace(old, new)
            renamed[name] = tensor
        return renamed

    return rename


def nomic_names(weights: Weights) -> Weights:
    """The names of NomicBERT's own code on the hub."""
    renamed = replaced(
        ("embeddings.LayerNorm", "emb_ln"),
        ("layers.", "encoder.layers."),
        ("self_attn.o_proj", "attn.out_proj"),
        ("post_attention_layernorm", "norm1"),
        ("post_mlp_layernorm", "norm2"),
        ("mlp.gate_proj", "mlp.fc12"),
        ("mlp.up_proj", "mlp.fc11"),
        ("mlp.down_proj", "mlp.fc2"),
    )(weights)
    return prefixed("bert.")(fused(renamed, "self_attn.{}_proj", "attn.Wqkv"))


def jina_names(weights: Weights) -> Weights:
    """The names of jina-embeddings-v3's own code on the hub."""
    renamed = replaced(
        ("embeddings.LayerNorm", "emb_ln"),
        ("layers.", "encoder.layers."),
        ("self_attn.o_proj", "mixer.out_proj"),
        ("post_attention_layernorm", "norm1"),
        ("post_mlp_layernorm", "norm2"),
    )(weights)
    return prefixed("roberta.")(fused(renamed, "self_attn.{}_proj", "mixer.Wqkv"))


def gte_names(weights: Weights) -> Weights:
    """The names of GTE's own code on the hub."""
    renamed = replaced(
        ("layers.", "encoder.layer."),
        ("self_attn.o_proj", "attention.o_proj"),
        ("post_attention_layernorm", "attn_ln"),
        ("post_mlp_layernorm", "mlp_ln"),
    )(weights)
    renamed = fused(renamed, "self_attn.{}_proj", "attention.qkv_proj")
    for name in [name for name in renamed if "mlp.up_proj" in name]:
        gate = renamed.pop(name.replace("up_proj", "gate_proj"))
        renamed[name.replace("up_proj", "up_gate_proj")] = torch.cat([renamed.pop(name), gate])
    return prefixed("new.")(renamed)


def fused(weights: Weights, pattern: str, into: str) -> Weights:
    """Queries, keys and values in one matrix."""
    weights = dict(weights)
    query = pattern.format("q")
    for name in [name for name in weights if query in name]:
        parts = [weights.pop(name.replace(query, pattern.format(letter))) for letter in "qkv"]
        weights[name.replace(query, into)] = torch.cat(parts)
    return weights


def esm_of_the_hub(weights: Weights) -> Weights:
    """ESM-2 as on the hub: below `esm.`, beside its heads, with frequencies in each layer and an unused table of positions."""
    inv_freq = weights.pop("rotary_embeddings.inv_freq")
    for layer in range(SIZES["num_hidden_layers"]):
        weights[f"encoder.layer.{layer}.attention.self.rotary_embeddings.inv_freq"] = inv_freq
    weights["embeddings.position_embeddings.weight"] = torch.ones(220, 24)
    weights["contact_head.regression.weight"] = torch.ones(1, 6)
    return {**prefixed("esm.")(weights), "lm_head.bias": torch.zeros(61)}


def esm_of_version_5(weights: Weights) -> Weights:
    """ESM as transformers 5 saves it: norms by TensorFlow's names, frequencies under the name of all layers."""
    inv_freq = weights.pop("rotary_embeddings.inv_freq")
    weights = replaced(("LayerNorm.weight", "LayerNorm.gamma"), ("LayerNorm.bias", "LayerNorm.beta"))(weights)
    weights["encoder.layer.*.attention.self.rotary_embeddings.inv_freq"] = inv_freq
    return weights


def without(*names: str, **other) -> Callable[[dict], dict]:
    """The configuration without some keys and with others."""
    return lambda config: {name: value for name, value in config.items() if name not in names} | other


def old_nomic(config: dict) -> dict:
    """The keys of NomicBERT's own code: those of GPT-2."""
    return {
        "model_type": "nomic_bert",
        "auto_map": {"AutoModel": "nomic-ai/nomic-bert-2048--modeling_hf_nomic_bert.NomicBertModel"},
        "vocab_size": config["vocab_size"],
        "n_embd": config["hidden_size"],
        "n_head": config["num_attention_heads"],
        "n_layer": config["num_hidden_layers"],
        "n_inner": config["intermediate_size"],
        "n_positions": 8192,
        "max_trained_positions": 2048,
        "activation_function": "swiglu",
        "layer_norm_epsilon": config["layer_norm_eps"],
        "rotary_emb_base": 1000,
        "rotary_emb_fraction": 1.0,
        "rotary_emb_interleaved": False,
        "rotary_emb_scale_base": None,
        "prenorm": False,
        "qkv_proj_bias": False,
        "mlp_fc1_bias": False,
        "mlp_fc2_bias": False,
        "type_vocab_size": config["type_vocab_size"],
        "use_rms_norm": False,
    }


T = transformers
ROBERTA = {"type_vocab_size": 1, "layer_norm_eps": 1e-5}
DEBERTA = {"relative_attention": True, "max_position_embeddings": 64}
NTK = {"theta": 20_000.0, "factor": 8.0}


def cases() -> list[Case]:
    ref = reference
    rope = {"rope_type": "default", "rope_theta": 20_000.0}
    head_dim = SIZES["hidden_size"] // SIZES["num_attention_heads"]
    ntk = {"rope_type": "linear", "rope_theta": NTK["theta"] * NTK["factor"], "factor": NTK["factor"] ** (2 / head_dim)}
    modernbert = sizes(num_hidden_layers=5, local_attention=16, pad_token_id=0, bos_token_id=1, eos_token_id=2)
    modernbert |= {"cls_token_id": 1, "sep_token_id": 2}
    long = (1, 33, 180)
    return [
        Case(
            "roberta",
            T.RobertaModel,
            T.RobertaConfig(**sizes(**ROBERTA)),
            ref.roberta,
            special={4: 1},
            rename=prefixed("roberta."),
        ),
        Case(
            "xlm-roberta", T.XLMRobertaModel, T.XLMRobertaConfig(**sizes(**ROBERTA, num_attention_heads=3)), ref.roberta
        ),
        Case(
            "camembert",
            T.CamembertModel,
            T.CamembertConfig(**sizes(**ROBERTA, hidden_act="gelu_new")),
            ref.roberta,
            rename=prefixed("roberta."),
        ),
        Case(
            "data2vec-text",
            T.Data2VecTextModel,
            T.Data2VecTextConfig(**sizes(type_vocab_size=1)),
            ref.roberta,
            rename=prefixed("data2vec_text."),
        ),
        Case(
            "distilbert",
            T.DistilBertModel,
            T.DistilBertConfig(
                vocab_size=61, dim=24, n_layers=3, n_heads=4, hidden_dim=37, max_position_embeddings=220
            ),
            ref.distilbert,
            rename=prefixed("distilbert."),
        ),
        Case(
            "electra",
            T.ElectraModel,
            T.ElectraConfig(**sizes(embedding_size=10)),
            ref.bert,
            types=True,
            rename=prefixed("electra."),
        ),
        Case("electra-wide", T.ElectraModel, T.ElectraConfig(**sizes(embedding_size=24)), ref.bert, types=True),
        Case(
            "albert",
            T.AlbertModel,
            T.AlbertConfig(**sizes(embedding_size=10, num_hidden_layers=4, num_hidden_groups=2)),
            ref.albert,
            types=True,
            rename=prefixed("albert."),
        ),
        Case(
            "albert-shared",
            T.AlbertModel,
            T.AlbertConfig(**sizes(embedding_size=24, hidden_act="gelu")),
            ref.albert,
            types=True,
        ),
        Case(
            "ernie",
            T.ErnieModel,
            T.ErnieConfig(**sizes(use_task_id=True)),
            ref.bert,
            types=True,
            rename=prefixed("ernie."),
        ),
        Case(
            "bert-generation",
            T.BertGenerationEncoder,
            T.BertGenerationConfig(**sizes()),
            ref.bert_generation,
            rename=prefixed("bert."),
        ),
        Case(
            "esm2",
            T.EsmModel,
            T.EsmConfig(
                **sizes(layer_norm_eps=1e-5, pad_token_id=1, mask_token_id=32, max_position_embeddings=40),
                position_embedding_type="rotary",
                token_dropout=True,
                emb_layer_norm_before=False,
            ),
            ref.esm,
            special={4: 32, 9: 32},
            rename=esm_of_the_hub,
            keys=without("rope_theta", "esmfold_config", "vocab_list", emb_layer_norm_before=None, hidden_act="relu"),
            inv_freq=True,
            lengths=long,
        ),
        Case(
            "esm2-saved",
            T.EsmModel,
            T.EsmConfig(
                **sizes(pad_token_id=1, mask_token_id=32, num_attention_heads=3),
                position_embedding_type="rotary",
                token_dropout=False,
            ),
            ref.esm,
            rename=esm_of_version_5,
            inv_freq=True,
        ),
        Case(
            "esm2-computed",
            T.EsmModel,
            T.EsmConfig(
                **sizes(pad_token_id=1, mask_token_id=32, num_attention_heads=4),
                position_embedding_type="rotary",
                token_dropout=True,
            ),
            ref.esm,
            rename=lambda weights: {name: tensor for name, tensor in weights.items() if "inv_freq" not in name},
        ),
        Case(
            "esm1b",
            T.EsmModel,
            T.EsmConfig(
                **sizes(layer_norm_eps=1e-5, pad_token_id=1, mask_token_id=32),
                position_embedding_type="absolute",
                token_dropout=True,
                emb_layer_norm_before=True,
            ),
            ref.esm,
            special={3: 32, 5: 1},
        ),
        Case(
            "modernbert",
            T.ModernBertModel,
            T.ModernBertConfig(**modernbert),
            ref.modernbert,
            lengths=long,
            rename=prefixed("model."),
        ),
        Case(
            "modernbert-keys",
            T.ModernBertModel,
            T.ModernBertConfig(
                **modernbert
                | {"num_hidden_layers": 4, "num_attention_heads": 3, "hidden_activation": "silu", "norm_bias": True},
                attention_bias=True,
                mlp_bias=True,
                layer_types=["sliding_attention", "full_attention", "full_attention", "sliding_attention"],
                rope_parameters={
                    "full_attention": {"rope_type": "default", "rope_theta": 80_000.0},
                    "sliding_attention": {"rope_type": "default", "rope_theta": 5_000.0},
                },
            ),
            ref.modernbert,
            lengths=(5, 40, 101),
        ),
        Case(
            "modernbert-old",
            T.ModernBertModel,
            T.ModernBertConfig(
                **modernbert | {"num_hidden_layers": 4},
                global_attn_every_n_layers=2,
                global_rope_theta=150_000.0,
                local_rope_theta=160_000.0,
            ),
            ref.modernbert,
            keys=without(
                "rope_parameters",
                "layer_types",
                "norm_eps",
                layer_norm_eps=1e-5,
                global_attn_every_n_layers=2,
                global_rope_theta=150_000.0,
                local_rope_theta=160_000,
            ),
        ),
        Case(
            "mpnet",
            T.MPNetModel,
            T.MPNetConfig(**sizes(layer_norm_eps=1e-5)),
            ref.mpnet,
            special={4: 1},
            lengths=(1, 33, 200),
            rename=prefixed("mpnet."),
        ),
        Case("nomic_bert", T.NomicBertModel, T.NomicBertConfig(**sizes()), ref.nomic_bert, types=True),
        Case(
            "nomic_bert-old",
            T.NomicBertModel,
            T.NomicBertConfig(**sizes(num_attention_heads=3)),
            ref.nomic_bert,
            types=True,
            rename=nomic_names,
            keys=old_nomic,
        ),
        Case("gte", T.GteModel, T.GteConfig(**sizes(type_vocab_size=2), rope_parameters=rope), ref.gte, types=True),
        Case(
            "gte-new",
            T.GteModel,
            T.GteConfig(**sizes(type_vocab_size=0), rope_parameters=ntk),
            ref.gte,
            rename=gte_names,
            keys=without(
                "rope_parameters",
                model_type="new",
                auto_map={"AutoModel": "modeling.NewModel"},
                rope_theta=NTK["theta"],
                rope_scaling={"type": "ntk", "factor": NTK["factor"]},
                position_embedding_type="rope",
                layer_norm_type="layer_norm",
                pack_qkv=True,
                logn_attention_scale=False,
            ),
        ),
        Case("jina_embeddings_v3", T.JinaEmbeddingsV3Model, T.JinaEmbeddingsV3Config(**sizes()), ref.jina_v3),
        Case(
            "jina_embeddings_v3-old",
            T.JinaEmbeddingsV3Model,
            T.JinaEmbeddingsV3Config(**sizes()),
            ref.jina_v3,
            rename=jina_names,
            keys=without(
                "rope_parameters",
                model_type="xlm-roberta",
                auto_map={"AutoModel": "modeling_lora.XLMRobertaLoRA"},
                position_embedding_type="rotary",
                rotary_emb_base=20_000.0,
            ),
        ),
        Case(
            "deberta-v3",
            T.DebertaV2Model,
            T.DebertaV2Config(
                **sizes(**DEBERTA, type_vocab_size=0),
                position_buckets=16,
                norm_rel_ebd="layer_norm",
                share_att_key=True,
                pos_att_type="p2c|c2p",
                position_biased_input=False,
                max_relative_positions=-1,
            ),
            ref.deberta_v2,
            rename=prefixed("deberta."),
            lengths=(1, 2, 33, 90),
        ),
        Case(
            "deberta-v2-conv",
            T.DebertaV2Model,
            T.DebertaV2Config(
                **sizes(**DEBERTA, type_vocab_size=0, num_attention_heads=3),
                position_buckets=16,
                norm_rel_ebd="layer_norm",
                share_att_key=True,
                pos_att_type="p2c|c2p",
                position_biased_input=False,
                conv_kernel_size=3,
                conv_act="gelu",
            ),
            ref.deberta_v2,
        ),
        Case(
            "deberta-v2-apart",
            T.DebertaV2Model,
            T.DebertaV2Config(
                **sizes(**DEBERTA, type_vocab_size=2, embedding_size=10) | {"max_position_embeddings": 100},
                pos_att_type=["c2p", "p2c"],
                position_biased_input=True,
            ),
            ref.deberta_v2,
            types=True,
        ),
        Case(
            "deberta-v2-c2p",
            T.DebertaV2Model,
            T.DebertaV2Config(
                **sizes(**DEBERTA, type_vocab_size=0),
                position_buckets=16,
                pos_att_type=["c2p"],
                position_biased_input=False,
            ),
            ref.deberta_v2,
        ),
        Case(
            "roformer",
            T.RoFormerModel,
            T.RoFormerConfig(**sizes(embedding_size=10)),
            ref.roformer,
            types=True,
            rename=prefixed("roformer."),
        ),
        Case(
            "eurobert",
            T.EuroBertModel,
            T.EuroBertConfig(
                **sizes(num_attention_heads=4, num_key_value_heads=2, pad_token_id=0, bos_token_id=1, eos_token_id=2)
            ),
            ref.preln_rms,
        ),
        Case(
            "xlm-roberta-xl",
            T.XLMRobertaXLModel,
            T.XLMRobertaXLConfig(**sizes(type_vocab_size=1)),
            ref.xlm_roberta_xl,
            rename=prefixed("roberta."),
        ),
    ]


def draw(name: str, tensor: torch.Tensor, seed: int) -> torch.Tensor:
    """A parameter from a generator of its own, rounded to float16."""
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    if tensor.dim() > 1:
        values = rng.normal(0, 1 if "embeddings" in name else 1.5 / np.sqrt(tensor.shape[1]), tuple(tensor.shape))
    elif name.endswith("weight"):
        values = 1 + rng.uniform(-0.3, 0.3, tuple(tensor.shape))
    else:
        values = rng.uniform(-0.2, 0.2, tuple(tensor.shape))
    return torch.from_numpy(values.astype(np.float16).astype(np.float32))


class Errors:
    """The largest and the root mean square error."""

    def __init__(self) -> None:
        self.largest, self.squares, self.count = 0.0, 0.0, 0

    def add(self, found: np.ndarray, truth: np.ndarray) -> None:
        error = np.abs(found - truth)
        self.largest = max(self.largest, float(error.max()))
        self.squares += float((error**2).sum())
        self.count += error.size

    def figures(self) -> dict[str, float]:
        return {"largest": self.largest, "rms": (self.squares / self.count) ** 0.5}


def texts_of(case: Case) -> list[dict]:
    rng = np.random.default_rng(7)
    texts = []
    for length in case.lengths:
        ids = rng.integers(3, 31, length).tolist()
        for place, token in case.special.items():
            if length > max(case.special):
                ids[place] = token
        types = [int(case.types and place >= length // 2) for place in range(length)]
        texts.append({"input_ids": ids, "token_type_ids": types})
    return texts


def make(case: Case, seed: int) -> None:
    folder = HERE / case.name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    case.config._attn_implementation = "eager"
    try:
        model = case.model(case.config, add_pooling_layer=True)
    except TypeError:
        model = case.model(case.config)
    model.eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "embed_positions" not in name:
                parameter.copy_(draw(name, parameter, seed))
        for name, buffer in model.named_buffers():
            if case.inv_freq and name.endswith("inv_freq"):
                buffer.copy_(buffer.half().float())
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for name, buffer in model.named_buffers():
        if name.endswith("rotary_embeddings.inv_freq") and case.inv_freq:
            weights["rotary_embeddings.inv_freq"] = buffer.clone()
    truth_weights = {name: tensor.double().numpy() for name, tensor in weights.items()}
    if not case.inv_freq:
        truth_weights = {name: tensor for name, tensor in truth_weights.items() if "inv_freq" not in name}
    config = case.config.to_dict()

    texts, tensors, pooler = texts_of(case), {}, Errors()
    errors = {dtype: [Errors() for _ in range(100)] for dtype in (torch.float32, torch.bfloat16)}
    models = {torch.float32: model, torch.bfloat16: copy.deepcopy(model).bfloat16()}
    for row, text in enumerate(texts):
        ids, types = np.array(text["input_ids"]), np.array(text["token_type_ids"])
        states, pooled = case.reference(config, truth_weights, ids, types)
        inputs = {"input_ids": torch.tensor(ids)[None], "attention_mask": torch.ones(1, len(ids), dtype=torch.long)}
        if case.types:
            inputs["token_type_ids"] = torch.tensor(types)[None]
        for dtype, of_dtype in models.items():
            with torch.no_grad():
                output = of_dtype(**inputs, output_hidden_states=True)
            assert len(output.hidden_states) == len(states), case.name
            for layer, (found, state) in enumerate(zip(output.hidden_states, states)):
                errors[dtype][layer].add(found[0].double().numpy(), state)
            if dtype == torch.float32 and pooled is not None and getattr(output, "pooler_output", None) is not None:
                tensors[f"pooler_output.{row}"] = torch.from_numpy(np.ascontiguousarray(pooled))
                pooler.add(output.pooler_output[0].double().numpy(), pooled)
        for layer, state in enumerate(states):
            tensors[f"hidden_states.{row}.{layer}"] = torch.from_numpy(np.ascontiguousarray(state))

    layers = len(states)
    for layer in range(layers):
        size = max(float(tensors[f"hidden_states.{row}.{layer}"].abs().max()) for row in range(len(texts)))
        assert errors[torch.float32][layer].largest < 1e-4 * size, (
            case.name,
            layer,
            "the reference is not the model's",
        )
    stored = case.rename(dict(weights))
    stored = {name: tensor.half().contiguous() for name, tensor in stored.items() if tensor.is_floating_point()}
    save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})
    save_file(tensors, folder / "golden.safetensors")
    kept = case.keys({key: value for key, value in config.items() if value is not None and not key.startswith("_")})
    (folder / "config.json").write_text(json.dumps(kept, indent=1) + "\n")
    golden = {
        "made_with": {name: version(name) for name in PACKAGES},
        "pytorch_float32": [of_layer.figures() for of_layer in errors[torch.float32][:layers]],
        "pytorch_bfloat16": [of_layer.figures() for of_layer in errors[torch.bfloat16][:layers]],
        "pytorch_float32_pooler": pooler.figures() if pooler.count else None,
        "texts": texts,
    }
    (folder / "golden.json").write_text(json.dumps(golden, indent=None) + "\n")
    print(f"{case.name:24s}", " ".join(f"{error.largest:.1e}" for error in errors[torch.float32][:layers]))


if __name__ == "__main__":
    torch.set_num_threads(1)
    for seed, case in enumerate(cases(), start=100):
        if len(sys.argv) < 2 or case.name in sys.argv[1:]:
            make(case, seed)
