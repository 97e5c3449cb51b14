"""What transformers and sentence-transformers make of folders that folders.py wrote: `oracle-4.json` or `oracle-5.json`,
by the major version of the transformers it runs under, beside each folder's `case.json`.

    python tests/real/published/oracle.py DIR

For every text and pair ids, token types and offsets, cut at the model's limit as `truncation=True` does, the number of tokens
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
from functools import partial
from pathlib import Path
from typing import TypeVar

os.environ.update(
    HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", TOKENIZERS_PARALLELISM="false", HF_HUB_DISABLE_TELEMETRY="1"
)
warnings.filterwarnings("ignore")

import torch
import transformers
from sentence_transformers import SentenceTransformer
from transformers import AutoModel, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging

from folders import POSITIONS

Json = dict[str, object]
Made = TypeVar("Made")
MAJOR = transformers.__version__.split(".")[0]


class RandomWeights(Exception):
    """The model has weights that the folder does not hold: its numbers differ from run to run."""


def attempt(function: Callable[[], Made]) -> Made | Json:
    """What a function makes, or its exception as `{"error": …}`."""
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


def tokens(tokenizer: PreTrainedTokenizerBase, *text: str) -> Json:
    """Ids, types and offsets of a text or pair. A slow tokenizer has no offsets."""
    batch = [[part] for part in text]  # alone, an empty second text would be as none
    cut = tokenizer(*batch, truncation=True, max_length=POSITIONS)
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
def mean(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel, *text: str) -> Json:
    """The mean of the last layer over all tokens of a text or pair."""
    inputs = tokenizer(*([part] for part in text), truncation=True, max_length=POSITIONS, return_tensors="pt")
    state = model(**inputs).last_hidden_state[0]
    return {"mean": state.float().mean(dim=0).tolist(), "dtype": str(state.dtype)}


def sentence(model: SentenceTransformer, text: str) -> Json:
    vector = model.encode(text, show_progress_bar=False, convert_to_tensor=True)
    return {"vector": vector.float().tolist(), "dtype": str(vector.dtype)}


def of_folder(folder: Path, case: Json, opened: dict[bytes, PreTrainedModel]) -> Json:
    tokenizer = attempt(lambda: AutoTokenizer.from_pretrained(folder))
    model = attempt(lambda: open_model(folder, opened))
    encoder = attempt(lambda: SentenceTransformer(str(folder), device="cpu"))

    def each(entries: list[tuple[str, ...]], function: Callable[..., Json], *parts: object) -> list[Json]:
        """What a function of these parts makes of each text or pair; the exception, where a part is one."""
        broken = next((part for part in parts if isinstance(part, dict)), None)
        return [broken or attempt(partial(function, *parts, *entry)) for entry in entries]

    texts = [(text,) for text in case["texts"]]
    both = [*texts, *map(tuple, case["pairs"])]
    return {
        "tokenizer": tokenizer if isinstance(tokenizer, dict) else type(tokenizer).__name__,
        "tokens": each(both, tokens, tokenizer),
        "means": each(both, mean, tokenizer, model),
        "sentences": each(texts, sentence, encoder),
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
