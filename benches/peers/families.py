"""Tokens a second of every family at the shape of a real checkpoint, beside transformers, OpenVINO and ONNX Runtime.

    python benches/peers/families.py --layerwise target/release/layerwise [--threads N] [--rounds N] [NAME ...]

The job is the means of all layers of texts of one length. The peers are timed on the forward pass and the means alone, with everything
loaded and token ids at hand; layerwise on its encoding, writing included, as `run.json` has it, and beside it as a whole process.
Engines take turns within a round; what is shown are medians, and the ratio to the fastest peer.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent.parent.parent / "tests/real"))
import family_models

warnings.filterwarnings("ignore")
BATCH_TOKENS = 4096


class Means(torch.nn.Module):
    """The means of all layers, [texts, layers, hidden]."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        states = self.model(input_ids=input_ids, attention_mask=attention_mask, output_hidden_states=True).hidden_states
        return torch.stack([state.mean(1) for state in states], 1)


def peers_of(shape: family_models.Shape, work: Path, threads: int, rows: int) -> dict:
    """Functions from ids [texts, tokens] to means, by engine; those that cannot do the model are left out."""
    engines = {}
    for attention in ("sdpa", "eager"):
        model = family_models.make(shape)
        try:
            model.set_attn_implementation(attention)
        except Exception:
            continue
        wrapped = Means(model)

        def transformers(ids: np.ndarray, wrapped=wrapped) -> np.ndarray:
            with torch.inference_mode():
                ids = torch.from_numpy(ids)
                return wrapped(ids, torch.ones_like(ids)).numpy()

        engines["transformers"] = transformers
        break
    example = torch.from_numpy(np.array(family_models.texts(shape, rows)))
    arguments = (example, torch.ones_like(example))
    wrapped = Means(family_models.make(shape))
    try:
        import openvino

        compiled = openvino.Core().compile_model(
            openvino.convert_model(wrapped, example_input=arguments),
            "CPU",
            {
                "INFERENCE_NUM_THREADS": threads,
                "NUM_STREAMS": 1,
                "INFERENCE_PRECISION_HINT": "f32",
                "PERFORMANCE_HINT": "LATENCY",
            },
        )
        request = compiled.create_infer_request()
        engines["openvino"] = lambda ids: next(iter(request.infer([ids, np.ones_like(ids)]).values()))
    except Exception as error:
        print(f"  (OpenVINO does not take it: {str(error).splitlines()[0][:100]})", flush=True)
    try:
        import onnxruntime

        path = work / "model.onnx"
        names = {"input_names": ["input_ids", "attention_mask"], "output_names": ["means"]}
        torch.onnx.export(wrapped, arguments, path, dynamo=False, opset_version=17, **names)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        engines["onnxruntime"] = lambda ids: session.run(None, {"input_ids": ids, "attention_mask": np.ones_like(ids)})[
            0
        ]
    except Exception as error:
        print(f"  (ONNX Runtime does not take it: {str(error).splitlines()[0][:100]})", flush=True)
    return engines


def compare(binary: Path, shape: family_models.Shape, work: Path, threads: int, rounds: int, seconds: float) -> None:
    torch.set_num_threads(threads)
    folder = work / "model"
    family_models.save(family_models.make(shape), folder)
    rows = max(1, BATCH_TOKENS // shape.tokens)
    engines = peers_of(shape, work, threads, rows)
    # As many texts as the first peer does in some seconds.
    ids = np.array(family_models.texts(shape, rows))
    expected = engines["transformers"](ids)
    started = time.perf_counter()
    engines["transformers"](ids)
    batches = max(1, round(seconds / (time.perf_counter() - started)))
    for name, run in list(engines.items()):
        if not np.allclose(run(ids), expected, atol=2e-3):
            print(f"  ({name} gives other numbers)", flush=True)
            del engines[name]
    texts = family_models.texts(shape, rows * batches)
    source = work / "texts.txt"
    source.write_text("".join(" ".join(map(str, text)) + "\n" for text in texts))
    arrays = np.array(texts).reshape(batches, rows, shape.tokens)
    times = {"layerwise": [], **{name: [] for name in engines}}
    whole = []
    for _ in range(rounds):
        for name in times:
            started = time.perf_counter()
            if name == "layerwise":
                command = [binary, "extract", "-m", folder, "-i", source, "-o", work / "out", "--overwrite", "-q"]
                subprocess.run([*command, "--threads", str(threads), "-e", "mean"], check=True)
            else:
                for ids in arrays:
                    engines[name](ids)
            times[name].append(time.perf_counter() - started)
        whole.append(times["layerwise"][-1])
        times["layerwise"][-1] = json.loads((work / "out/run.json").read_text())["seconds_encoding"]
    tokens = len(texts) * shape.tokens
    medians = {name: statistics.median(own) for name, own in times.items()}
    best = min(time for name, time in medians.items() if name != "layerwise")
    speeds = "  ".join(f"{name} {tokens / time:,.0f}" for name, time in medians.items())
    print(
        f"{shape.family:11s} {shape.checkpoint:30s} {shape.tokens:5d} tokens a text, tokens/s: {speeds}  ratio {best / medians['layerwise']:.2f}, as a whole process {best / statistics.median(whole):.2f}",
        flush=True,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Speed of every family beside its peers.")
    parser.add_argument("--layerwise", type=Path, required=True, metavar="FILE")
    parser.add_argument("--threads", type=int, default=2, metavar="N")
    parser.add_argument("--rounds", type=int, default=5, metavar="N")
    parser.add_argument("--seconds", type=float, default=5.0, metavar="S", help="of a peer's turn")
    parser.add_argument("names", nargs="*", metavar="NAME", help="checkpoints; all by default")
    args = parser.parse_args()
    for shape in family_models.SHAPES:
        if not args.names or shape.checkpoint in args.names:
            with tempfile.TemporaryDirectory() as work:
                compare(args.layerwise.resolve(), shape, Path(work), args.threads, args.rounds, args.seconds)
