"""Models of real shapes for every family, with random weights, and a tokenizer whose words are token ids."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import transformers as T

VOCABULARY = 4096  # of the token ids in texts; tables of embeddings are cut to it, as they cost no time


@dataclass(frozen=True)
class Shape:
    """A checkpoint's shape: transformers' class, its configuration, and the name of its reference."""

    family: str
    checkpoint: str
    model: type
    config: Callable[[], T.PreTrainedConfig]
    reference: str
    tokens: int = 128
    """Tokens of a text."""


def of(config: type, **keys) -> Callable[[], T.PreTrainedConfig]:
    return lambda: config(**{"vocab_size": VOCABULARY, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2} | keys)


ESM = {"position_embedding_type": "rotary", "token_dropout": True, "mask_token_id": 32, "layer_norm_eps": 1e-5}
DEBERTA = {
    "relative_attention": True,
    "position_buckets": 256,
    "norm_rel_ebd": "layer_norm",
    "share_att_key": True,
    "pos_att_type": "p2c|c2p",
    "position_biased_input": False,
    "type_vocab_size": 0,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
}
SHAPES = (
    Shape("bert", "bert-base", T.BertModel, of(T.BertConfig), "bert"),
    Shape(
        "roberta",
        "roberta-base",
        T.RobertaModel,
        of(T.RobertaConfig, max_position_embeddings=514, type_vocab_size=1, layer_norm_eps=1e-5),
        "roberta",
    ),
    Shape("distilbert", "distilbert-base", T.DistilBertModel, of(T.DistilBertConfig), "distilbert"),
    Shape("electra", "electra-small", T.ElectraModel, of(T.ElectraConfig), "bert"),
    Shape(
        "albert",
        "albert-base-v2",
        T.AlbertModel,
        of(T.AlbertConfig, hidden_size=768, num_attention_heads=12, intermediate_size=3072),
        "albert",
    ),
    Shape(
        "esm",
        "esm2_t12_35M",
        T.EsmModel,
        of(T.EsmConfig, hidden_size=480, num_hidden_layers=12, num_attention_heads=20, intermediate_size=1920, **ESM),
        "esm",
        256,
    ),
    Shape("modernbert", "ModernBERT-base", T.ModernBertModel, of(T.ModernBertConfig), "modernbert", 512),
    Shape("modernbert", "ModernBERT-base, 4,096 tokens", T.ModernBertModel, of(T.ModernBertConfig), "modernbert", 4096),
    Shape(
        "mpnet",
        "mpnet-base",
        T.MPNetModel,
        of(T.MPNetConfig, max_position_embeddings=514, layer_norm_eps=1e-5),
        "mpnet",
    ),
    Shape("nomic_bert", "nomic-embed-text-v1.5", T.NomicBertModel, of(T.NomicBertConfig), "nomic_bert"),
    Shape("gte", "gte-base-en-v1.5", T.GteModel, of(T.GteConfig, type_vocab_size=0), "gte"),
    Shape("deberta-v2", "deberta-v3-base", T.DebertaV2Model, of(T.DebertaV2Config, **DEBERTA), "deberta_v2"),
)


def make(shape: Shape) -> torch.nn.Module:
    """A model whose weights are drawn as those of a trained one are spread: wider than at its initialization."""
    torch.manual_seed(0)
    config = shape.config()
    config._attn_implementation = "eager"
    try:
        model = shape.model(config, add_pooling_layer=False)
    except TypeError:
        model = shape.model(config)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.dim() > 1:
                parameter.copy_(noise * (0.05 if "embeddings" in name else 0.04))
            elif name.endswith("weight"):
                parameter.copy_(1 + 0.1 * noise)
            else:
                parameter.copy_(0.05 * noise)
    return model.eval()


def save(model: torch.nn.Module, folder: Path) -> None:
    """The model with a tokenizer that makes token i of the word `i`."""
    model.save_pretrained(folder)
    vocabulary = {str(i): i for i in range(VOCABULARY)}
    tokenizer = {
        "version": "1.0",
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "post_processor": None,
        "decoder": None,
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "3"},
    }
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')


def texts(shape: Shape, count: int) -> list[list[int]]:
    """Token ids of `count` texts, none of which is special."""
    rng = np.random.default_rng(3)
    return [rng.integers(40, VOCABULARY, shape.tokens).tolist() for _ in range(count)]
