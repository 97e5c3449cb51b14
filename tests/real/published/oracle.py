"""What transformers and sentence-transformers make of folders that folders.py wrote: `oracle-4.json` or `oracle-5.json`,
by the major version of the transformers it runs under, beside each folder's `case.json`.

    python tests/real/published/oracle.py DIR

For every text and pair, ids, token types and offsets, cut at the model's limit as `truncation=True` does, the number of tokens
before that, and the mean of the last layer; for every text also sentence-transformers' vector. Where one of them raises,
there is the exception instead.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

os.environ.update(
    HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", TOKENIZERS_PARALLELISM="false", HF_HUB_DISABLE_TELEMETRY="1"
)
warnings.filterwarnings("ignore")

import torch
import transformers
from sentence_transformers import SentenceTransformer
from transformers import AutoModel, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging

Json = dict[str, object]
MAJOR = transformers.__version__.split(".")[0]


class RandomWeights(Exception):
    """The model has weights that the folder does not hold: its numbers differ from run to run."""


def attempt(function: Callable[[], Json]) -> Json:
    try:
        return function()
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"[:300]}


def open_model(folder: Path, opened: dict[bytes, PreTrainedModel]) -> PreTrainedModel:
    """The encoder. All folders have the same weights, and most the same config.json, so one that was opened serves many."""
    config = (folder / "config.json").read_bytes() if (folder / "config.json").is_file() else b""
    if config not in opened:
        opened[config] = load_model(folder)
    return opened[config]


def load_model(folder: Path) -> PreTrainedModel:
    model, report = AutoModel.from_pretrained(folder, output_loading_info=True)
    missing = [name for name in report["missing_keys"] if "position_ids" not in name]
    if missing:
        raise RandomWeights(", ".join(sorted(missing)))
    return model.eval()


def tokens(tokenizer: PreTrainedTokenizerBase, limit: int, text: tuple[str, ...]) -> Json:
    """Ids, types and offsets of a text or pair. A slow tokenizer has no offsets."""
    batch = [[part] for part in text]  # alone, an empty second text would be as none
    cut = tokenizer(*batch, truncation=True, max_length=limit)
    whole = tokenizer(*batch, truncation=False, verbose=False)
    ids = cut["input_ids"][0]
    made: Json = {
        "ids": ids,
        "types": cut["token_type_ids"][0] if "token_type_ids" in cut else [0] * len(ids),
        "n_before": len(whole["input_ids"][0]),
        "inputs": sorted(cut.keys()),
    }
    if cut.is_fast:
        encoding = cut.encodings[0]
        made["offsets"] = [
            None if word is None else list(span) for span, word in zip(encoding.offsets, encoding.word_ids, strict=True)
        ]
    return made


@torch.inference_mode()
def mean(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel, limit: int, text: tuple[str, ...]) -> Json:
    """The mean of the last layer over all tokens of a text or pair."""
    inputs = tokenizer(*([part] for part in text), truncation=True, max_length=limit, return_tensors="pt")
    return {"mean": model(**inputs).last_hidden_state[0].float().mean(dim=0).tolist()}


def sentence(model: SentenceTransformer, text: str) -> Json:
    return {"vector": model.encode(text, show_progress_bar=False, convert_to_tensor=True).float().tolist()}


def of_folder(folder: Path, case: Json, opened: dict[bytes, PreTrainedModel]) -> Json:
    limit = (
        json.loads((folder / "config.json").read_text()).get("max_position_embeddings")
        if (folder / "config.json").is_file()
        else None
    )
    entries = [(text,) for text in case["texts"]] + [tuple(pair) for pair in case["pairs"]]
    made: Json = {}
    for name, load in (
        ("tokenizer", lambda: AutoTokenizer.from_pretrained(folder)),
        ("model", lambda: open_model(folder, opened)),
        ("sentence", lambda: SentenceTransformer(str(folder), device="cpu")),
    ):
        try:
            made[name] = load()
        except Exception as error:
            made[name] = {"error": f"{type(error).__name__}: {error}"[:300]}
    tokenizer, model, encoder = made["tokenizer"], made["model"], made["sentence"]
    if limit is None and not isinstance(model, dict):
        limit = model.config.max_position_embeddings

    def each(function: Callable[..., Json], *parts: object, of: list[tuple[str, ...]]) -> list[Json]:
        broken = next((part for part in parts if isinstance(part, dict)), None)
        return [broken or attempt(lambda: function(*parts, *entry)) for entry in of]

    return {
        "tokenizer": tokenizer if isinstance(tokenizer, dict) else type(tokenizer).__name__,
        "tokens": each(lambda tokenizer, *text: tokens(tokenizer, limit, text), tokenizer, of=entries),
        "means": each(
            lambda tokenizer, model, *text: mean(tokenizer, model, limit, text), tokenizer, model, of=entries
        ),
        "sentences": each(sentence, encoder, of=[(text,) for text in case["texts"]]),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("directory", type=Path, help="what folders.py wrote")
    args = parser.parse_args()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    torch.set_num_threads(1)
    opened: dict[bytes, PreTrainedModel] = {}
    for path in sorted(args.directory.glob("*/case.json")):
        target = path.parent / f"oracle-{MAJOR}.json"
        if not target.exists():
            case = json.loads(path.read_text())
            target.write_text(json.dumps(of_folder(path.parent / "model", case, opened)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
