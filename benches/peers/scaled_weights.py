"""Whether a job's time depends on the weights: BERT-base's shape with its matrices scaled by 1, 5, 20 and 100.

    python models.py --work DIR --vocab vocab.txt
    python scaled_weights.py --layerwise BIN --data FILE --work DIR [--compute f32,bf16,int8] [--rounds 3]

Large weights make softmax weights and GELU's tail so small that they would be subnormal, which some processors compute a hundred times
more slowly. The ratios are to the model as it is, in the same round.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import time
from pathlib import Path
from statistics import median

from safetensors.numpy import load_file, save_file

SCALES = [1, 5, 20, 100]


def scaled(model: Path, scale: int, folder: Path) -> Path:
    """The model with all matrices of its layers times `scale`."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in model.iterdir():
        if file.is_file() and file.suffix != ".safetensors":
            shutil.copy(file, folder / file.name)
    tensors = load_file(model / "model.safetensors")
    for name, tensor in tensors.items():
        if tensor.ndim == 2 and ".layer." in name:
            tensors[name] = tensor * tensor.dtype.type(scale)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--layerwise", type=Path, required=True, metavar="BIN")
    parser.add_argument("--data", type=Path, required=True, metavar="FILE", help="texts, one a line")
    parser.add_argument("--work", type=Path, required=True, metavar="DIR", help="where models.py made the models")
    parser.add_argument("--compute", type=lambda text: text.split(","), default=["f32", "bf16", "int8"], metavar="LIST")
    parser.add_argument("--rounds", type=int, default=3, metavar="N")
    args = parser.parse_args()
    work = args.work / "scaled"
    models = [scaled(args.work / "models" / "bert-base", scale, work / str(scale)) for scale in SCALES]
    print("| compute | s, weights as they are | " + " | ".join(f"times {scale}" for scale in SCALES[1:]) + " |")
    print("|---|---:|" + "---:|" * (len(SCALES) - 1), flush=True)
    for compute in args.compute:
        rounds = []
        for _ in range(args.rounds):
            times = []
            for model in models:
                shutil.rmtree(work / "output", ignore_errors=True)
                command = [args.layerwise, "extract", "-q", "-m", model, "-i", args.data, "-e", "mean", "--compute", compute, "-o", work / "output"]
                begun = time.perf_counter()
                subprocess.run([str(part) for part in command], check=True)
                times.append(time.perf_counter() - begun)
            rounds.append(times)
        ratios = [median(times[index] / times[0] for times in rounds) for index in range(1, len(SCALES))]
        print(f"| {compute} | {median(times[0] for times in rounds):.1f} | " + " | ".join(f"{ratio:.2f}" for ratio in ratios) + " |", flush=True)
    shutil.rmtree(work)


if __name__ == "__main__":
    main()
