"""transformers' side of the comparison: hidden states, and sentence vectors by their definitions."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import BertModel

POOLINGS = ("mean", "cls", "max", "mean_sqrt_len", "weightedmean", "lasttoken")

Vectors = dict[str, torch.Tensor]
"""Of one text, by kind: `token` [layers, tokens, hidden], each pooling [layers, hidden], and, of the last layer
only, `sentence` [1, hidden] and, where the model has a pooler, `pooler` [1, hidden]."""


class Reference:
    """A `BertModel` of one dtype and one attention implementation."""

    def __init__(self, directory: Path, dtype: torch.dtype, attention: str, pooler: bool) -> None:
        self.model = BertModel.from_pretrained(
            directory, dtype=dtype, attn_implementation=attention, add_pooling_layer=pooler
        ).eval()

    def one_by_one(self, texts: list[list[int]]) -> list[Vectors]:
        """Each text on its own, without padding."""
        return [self.padded([ids])[0] for ids in texts]

    @torch.no_grad()
    def padded(self, texts: list[list[int]]) -> list[Vectors]:
        """All texts in one batch, padded to the longest."""
        longest = max(map(len, texts))
        ids = torch.tensor([text + [0] * (longest - len(text)) for text in texts])
        mask = torch.tensor([[1] * len(text) + [0] * (longest - len(text)) for text in texts])
        output = self.model(input_ids=ids, attention_mask=mask, output_hidden_states=True)
        layers = torch.stack(output.hidden_states, dim=1)  # [texts, layers, tokens, hidden]
        return [
            vectors(layers[i, :, : len(text)], None if output.pooler_output is None else output.pooler_output[i])
            for i, text in enumerate(texts)
        ]


def vectors(states: torch.Tensor, pooler: torch.Tensor | None) -> Vectors:
    """All vectors of a text out of its hidden states `[layers, tokens, hidden]` and the pooler's output `[hidden]`."""
    pooled = pool(states)
    found = {"token": states, **pooled, "sentence": torch.nn.functional.normalize(pooled["mean"][-1:])}
    return found if pooler is None else {**found, "pooler": pooler[None]}


def pool(states: torch.Tensor) -> Vectors:
    """Every pooling over the tokens of `[layers, tokens, hidden]`, as sentence-transformers defines them."""
    tokens = states.shape[1]
    weights = torch.arange(1, tokens + 1, dtype=states.dtype)[:, None]
    total = states.sum(dim=1)
    return {
        "mean": total / tokens,
        "cls": states[:, 0],
        "max": states.amax(dim=1),
        "mean_sqrt_len": total / tokens**0.5,
        "weightedmean": (states * weights).sum(dim=1) / weights.sum(),
        "lasttoken": states[:, -1],
    }
