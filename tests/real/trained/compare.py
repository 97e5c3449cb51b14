"""Compare layerwise with transformers on trained weights of families beside BERT, which packages hold (requirements.txt).

The truth is the float64 reference of the family (tests/golden/reference.py). At every layer, layerwise's largest error and its
root mean square error, over all tokens of all texts, must not exceed PyTorch float32's, taken at its best of eager attention and
sdpa, and that of `--compute bf16` must be at most half of PyTorch bfloat16's. Tokens must be those of transformers' tokenizer to
the last offset, and those of the package's own code where transformers has no class for it.

    python tests/real/trained/compare.py PACKAGES WORK --layerwise target/release/layerwise [--data DIR] [--only NAME ...]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from transformers import AutoTokenizer
from transformers.utils import logging

HERE = Path(__file__).resolve().parent
sys.path[1:1] = [str(HERE.parents[1] / "golden"), str(HERE.parent)]
import reference
from checkpoints import CHECKPOINTS, Checkpoint, get_model_path
from layout import Failure, Output, extract
from tokens import first_difference, token_records

# Python's own takes seconds for a million numbers.
reference.verf = lambda numbers: torch.erf(torch.from_numpy(numbers)).numpy()

SLOW_EVERY = 8  # texts go through PyTorch's bfloat16, which is slow on processors without it, and through its float64
BFLOAT16_ALLOWED = 0.5  # of the root mean square of PyTorch's errors


class Errors:
    """Of one contender, text by text and layer by layer."""

    def __init__(self) -> None:
        self.maxima: list[np.ndarray] = []
        self.squares: list[np.ndarray] = []
        self.numbers = 0

    def add(self, found: np.ndarray, truth: np.ndarray) -> None:
        """Both [layers, tokens, hidden], of one text."""
        errors = np.abs(found.astype(np.float64) - truth)
        self.maxima.append(errors.max((1, 2)))
        self.squares.append((errors**2).sum((1, 2)))
        self.numbers += truth[0].size

    def largest(self) -> np.ndarray:
        """The largest error of each layer."""
        return np.max(self.maxima, axis=0)

    def typical(self) -> np.ndarray:
        """The mean over texts of the largest error of each layer, which no single text decides."""
        return np.mean(self.maxima, axis=0)

    def root(self) -> np.ndarray:
        """The root of the mean square of each layer's errors."""
        return np.sqrt(np.sum(self.squares, axis=0) / self.numbers)


@dataclass
class Job:
    """One checkpoint's folder, texts and tokens, and layerwise's vectors of them."""

    checkpoint: Checkpoint
    folder: Path
    ids: list[list[int]]
    float32: list[np.ndarray]  # per layer [tokens, hidden]
    bfloat16: list[np.ndarray]
    offsets: np.ndarray  # of the texts' tokens

    def of(self, layers: list[np.ndarray], text: int) -> np.ndarray:
        return np.stack([layer[self.offsets[text] : self.offsets[text + 1]] for layer in layers])


def check(name: str, ok: bool, detail: str) -> bool:
    print(f"{'ok  ' if ok else 'FAIL'} {name}: {detail}", flush=True)
    return bool(ok)


def token_vectors(output: Output, layers: int, tokens: int, hidden: int) -> list[np.ndarray]:
    return output.layers("token", layers, tokens, hidden)


def load(checkpoint: Checkpoint, folder: Path, dtype: torch.dtype, attention: str) -> torch.nn.Module:
    """transformers' model, which must find every parameter but those of a pooler in the folder."""
    options = {"dtype": dtype, "attn_implementation": attention, "output_loading_info": True}
    model, loading = checkpoint.model.from_pretrained(folder, **options)
    missing = [name for name in loading["missing_keys"] if not name.startswith("pooler.")]
    if missing:
        raise Failure(f"{folder}: transformers misses {', '.join(missing)}")
    return model.eval()


@torch.no_grad()
def states(model: torch.nn.Module, ids: list[int]) -> np.ndarray:
    """[layers, tokens, hidden]"""
    found = model(input_ids=torch.tensor(ids)[None], output_hidden_states=True).hidden_states
    return torch.stack([state[0].double() for state in found]).numpy()


def prepare(checkpoint: Checkpoint, packages: Path, folder: Path, binary: Path, data: Path | None, work: Path) -> tuple[Job, bool]:
    """Runs layerwise, and compares tokens."""
    texts = checkpoint.texts(data)
    config = checkpoint.model.config_class.from_pretrained(folder)
    limit = config.max_position_embeddings - (2 if checkpoint.reference in ("roberta", "mpnet") else 0)
    records = token_records(AutoTokenizer.from_pretrained(folder), texts, limit)
    source = work / "texts.txt"
    source.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8", newline="\n")
    outputs = [
        extract(binary, folder, source, ["token"], work / compute, "--max-length", str(limit), "--compute", compute)
        for compute in ("f32", "bf16")
    ]
    difference = first_difference(outputs[0].texts, records)
    ids = [record["token_ids"] for record in records]
    total = sum(map(len, ids))
    good = check("tokens", difference is None, difference or f"{len(texts)} texts, {total} tokens, all the same")
    if checkpoint.ids is not None:
        own = [checkpoint.ids(packages, text) for text in texts]
        differing = [text for text, mine, theirs in zip(texts, own, ids) if mine[: limit - 1] != theirs[: limit - 1]]
        good &= check("the package's own tokens", not differing, f"{len(differing)} texts differ {differing[:1]}")
    shape = (config.num_hidden_layers + 1, total, config.hidden_size)
    float32, bfloat16 = (token_vectors(output, *shape) for output in outputs)
    return Job(checkpoint, folder, ids, float32, bfloat16, np.cumsum([0] + [len(row) for row in ids])), good


def compare(job: Job) -> bool:
    """Errors of everyone, by layer."""
    peers = {"eager": load(job.checkpoint, job.folder, torch.float32, "eager")}
    if peers["eager"]._supports_sdpa:
        peers["sdpa"] = load(job.checkpoint, job.folder, torch.float32, "sdpa")
    halves = {name: load(job.checkpoint, job.folder, torch.bfloat16, name) for name in peers}
    weights = {name: tensor.double().numpy() for name, tensor in peers["eager"].state_dict().items()}
    config = peers["eager"].config.to_dict()
    forward = getattr(reference, job.checkpoint.reference)
    errors = {name: Errors() for name in ("layerwise", *peers)}
    half_errors = {name: Errors() for name in ("layerwise", *halves)}
    own_double = 0.0
    double = load(job.checkpoint, job.folder, torch.float64, "eager")
    for text, ids in enumerate(job.ids):
        truth = np.stack(forward(config, weights, np.array(ids), np.zeros(len(ids), int))[0])
        errors["layerwise"].add(job.of(job.float32, text), truth)
        for name, model in peers.items():
            errors[name].add(states(model, ids), truth)
        if text % SLOW_EVERY == 0:
            own_double = max(own_double, np.abs(states(double, ids) - truth).max())
            half_errors["layerwise"].add(job.of(job.bfloat16, text), truth)
            for name, model in halves.items():
                half_errors[name].add(states(model, ids), truth)
    good = check("the reference is transformers' float64", own_double < 1e-10, f"largest difference {own_double:.0e}")
    return good & judge(errors, half_errors, job.checkpoint.chance)


def judge(errors: dict[str, Errors], halves: dict[str, Errors], chance: float) -> bool:
    """Prints the table, and says whether every layer is within what is allowed; of the largest errors that is `chance`."""

    def columns(contenders: dict[str, Errors], what: Callable[[Errors], np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        peers = [what(error) for name, error in contenders.items() if name != "layerwise"]
        return what(contenders["layerwise"]), np.min(peers, axis=0)

    parts = [
        ("float32, largest", *columns(errors, Errors.largest), chance),
        ("float32, mean of texts", *columns(errors, Errors.typical), 1.0),
        ("float32, root mean square", *columns(errors, Errors.root), 1.0),
        ("bfloat16, largest", *columns(halves, Errors.largest), chance),
        ("bfloat16, root mean square", *columns(halves, Errors.root), BFLOAT16_ALLOWED),
    ]
    print("     " + "".join(f"{name:^28}" for name, *_ in parts))
    print("layer" + f"{'layerwise':>11}{'PyTorch':>10}{'ratio':>7}" * len(parts))
    for layer in range(len(parts[0][1])):
        cells = (f"{own[layer]:11.1e}{peer[layer]:10.1e}{own[layer] / peer[layer]:7.2f}" for _, own, peer, _ in parts)
        print(f"{layer:>5}" + "".join(cells))
    good = True
    for name, own, peer, allowed in parts:
        ratio = own / peer
        detail = f"{own.max():.1e} beside {peer.max():.1e}, by layer {ratio.min():.2f} to {ratio.max():.2f}"
        good &= check(name, bool((ratio <= allowed).all()), f"{detail}, allowed {allowed}")
    return good


def found_again(job: Job, packages: Path) -> bool:
    """Whether the model's own head reads the text off layerwise's vectors, masks and mutations aside."""
    shares = [job.checkpoint.found_again(packages, job.of(job.float32, text)[-1], ids) for text, ids in enumerate(job.ids[:4])]
    share = float(np.mean(shares))
    return check("the model's own head", share > 0.8, f"finds {share:.0%} of the tokens again")


def same_bits(job: Job, binary: Path, source: Path, work: Path) -> bool:
    """Whether the family computes what BERT does of the model as it was published."""
    output = extract(binary, get_model_path(), source, ["token"], work / "bert", "--max-length", "512")
    as_bert = output.layers("token", len(job.float32), *job.float32[0].shape)
    same = all(np.array_equal(one, other) for one, other in zip(as_bert, job.float32))
    return check("bits", same, "those of the model as a BERT" if same else "not those of the model as a BERT")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("packages", type=Path, help="folder with the packages of requirements.txt")
    parser.add_argument("work", type=Path, help="where the models' folders are made; those that are there are kept")
    parser.add_argument("--layerwise", type=Path, required=True, help="the binary")
    parser.add_argument("--data", type=Path, help="directory of real texts (tests/real/README.md)")
    parser.add_argument("--only", nargs="*", default=[""], metavar="NAME", help="checkpoints by a part of their names")
    args = parser.parse_args()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    data = args.data if args.data and args.data.is_dir() else None
    args.work.mkdir(parents=True, exist_ok=True)
    good = True
    for checkpoint in CHECKPOINTS:
        if not any(name in checkpoint.name for name in args.only):
            continue
        print(f"\n{checkpoint.name}, of {checkpoint.source}", flush=True)
        folder = args.work / checkpoint.name.replace(" ", "-").replace("'", "").replace(",", "")
        if not folder.is_dir():
            checkpoint.make(args.packages, folder)
        with tempfile.TemporaryDirectory() as scratch:
            work, binary = Path(scratch), args.layerwise.resolve()
            job, tokens = prepare(checkpoint, args.packages, folder, binary, data, work)
            good &= tokens
            if checkpoint.same_bits:
                good &= same_bits(job, binary, work / "texts.txt", work)
            if checkpoint.found_again is not None:
                good &= found_again(job, args.packages)
            good &= compare(job)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
