"""Every family at the shape of a real checkpoint: the largest error of each layer beside PyTorch float32's, and bfloat16's
beside PyTorch bfloat16's, against the float64 reference (tests/golden/reference.py).

    python tests/real/families.py --layerwise target/release/layerwise [NAME ...]

Weights are random, as trained ones of most families are in no package. At every layer the root mean square
of the float32 error may be at most PyTorch's, and that of the bfloat16 error at most PyTorch bfloat16's (half of it on trained weights:
bfloat16.py). The largest error of a layer is shown, and may be a quarter above PyTorch's, as which number is farthest off is chance.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent.parent / "golden"))
import family_models
import reference


def layers_of(binary: Path, folder: Path, texts: list[list[int]], work: Path, *options: str) -> np.ndarray:
    """Token vectors of all layers, [layers, tokens, hidden]."""
    source, out = work / "texts.txt", work / f"out{''.join(options)}"
    source.write_text("".join(" ".join(map(str, text)) + "\n" for text in texts))
    command = [binary, "extract", "-m", folder, "-i", source, "-e", "token", "-o", out, "-q", *options]
    subprocess.run(command, check=True)
    return np.stack([np.load(path) for path in sorted((out / "token").glob("layer_*.npy"))])


def errors(found: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The largest and the root mean square error of each layer."""
    error = np.abs(found - truth)
    return error.max((1, 2)), np.sqrt((error**2).mean((1, 2)))


def compare(binary: Path, shape: family_models.Shape, work: Path) -> bool:
    model = family_models.make(shape)
    folder = work / "model"
    family_models.save(model, folder)
    texts = family_models.texts(shape, 2 if shape.tokens < 1000 else 1)
    weights = {name: tensor.double().numpy() for name, tensor in model.state_dict().items()}
    forward = getattr(reference, shape.reference)
    runs = [forward(model.config.to_dict(), weights, np.array(ids), np.zeros(len(ids), int))[0] for ids in texts]
    truth = np.concatenate([np.stack(run) for run in runs], axis=1)

    def theirs(dtype: torch.dtype) -> np.ndarray:
        own = model.to(dtype)
        with torch.no_grad():
            outputs = [own(torch.tensor(ids)[None], output_hidden_states=True).hidden_states for ids in texts]
        return np.concatenate([np.stack([state[0].double().numpy() for state in run]) for run in outputs], axis=1)

    good = True
    for name, dtype, options, allowed in (
        ("float32", torch.float32, (), 1.0),
        ("bfloat16", torch.bfloat16, ("--compute", "bf16"), 1.0),
    ):
        own = errors(layers_of(binary, folder, texts, work, *options), truth)
        peer = errors(theirs(dtype), truth)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratios = [np.nan_to_num(a / b, nan=0.0) for a, b in zip(own, peer)]
        good &= bool((ratios[0] <= 1.25 * allowed).all()) and bool((ratios[1] <= allowed).all())
        print(
            f"{shape.family:12s} {shape.checkpoint:30s} {name:8s} largest {own[0].max():.1e} (PyTorch {peer[0].max():.1e}), "
            f"of PyTorch's by layer: largest {ratios[0].min():.2f} to {ratios[0].max():.2f}, rms {ratios[1].min():.2f} to {ratios[1].max():.2f}",
            flush=True,
        )
    return good


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Errors of every family at real shapes.")
    parser.add_argument("--layerwise", type=Path, required=True, metavar="FILE")
    parser.add_argument("names", nargs="*", metavar="NAME", help="checkpoints; all by default")
    args = parser.parse_args()
    good = True
    for shape in family_models.SHAPES:
        if (not args.names and shape.tokens < 1000) or shape.checkpoint in args.names:
            with tempfile.TemporaryDirectory() as work:
                good &= compare(args.layerwise.resolve(), shape, Path(work))
    sys.exit(not good)
