"""layerwise's side of the comparison: run the binary, read its output directory."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np


class Failure(Exception):
    """The output is not what the contract says."""


def extract(
    binary: Path, model: Path, source: Path | list[str], emit: list[str], out: Path, *options: str
) -> Output:
    """Run `layerwise extract` on a file, or on texts as arguments, and open what it wrote."""
    texts = ["-i", source] if isinstance(source, Path) else ["--", *source]
    command = [binary, "extract", "-m", model, "-e", ",".join(emit), "-o", out, "-q", *options, *texts]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode != 0:
        raise Failure(f"{' '.join(map(str, command))}\nexit code {done.returncode}\n{done.stderr}")
    return Output(out)


class Output:
    """An output directory: `texts.jsonl` and the arrays, checked for shape and dtype as they are opened."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        if not (directory / "manifest.json").is_file():
            raise Failure(f"{directory} has no manifest.json")
        lines = (directory / "texts.jsonl").read_text(encoding="utf-8").split("\n")
        self.texts: list[dict[str, object]] = [json.loads(line) for line in lines if line]

    def layers(self, kind: str, count: int, rows: int, hidden: int) -> list[np.ndarray]:
        """The `count` layers of a kind, each `[rows, hidden]`; and no more files than those."""
        expected = [f"layer_{layer:02}.npy" for layer in range(count)]
        found = sorted(path.name for path in (self.directory / kind).glob("layer_*"))
        if found != expected:
            raise Failure(f"{kind}/ holds {found}, not {expected}")
        return [self.array(f"{kind}/{name}", (rows, hidden)) for name in expected]

    def array(self, name: str, shape: tuple[int, ...], dtype: type = np.float32) -> np.ndarray:
        if not (self.directory / name).is_file():
            raise Failure(f"there is no {name}")
        array = np.load(self.directory / name, mmap_mode="r", allow_pickle=False)
        if array.shape != shape or array.dtype != dtype:
            raise Failure(f"{name} is {array.dtype} {array.shape}, not {np.dtype(dtype)} {shape}")
        return array
