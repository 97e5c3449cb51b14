"""Compare the errors of `--compute int8` with those of the peers' integers of 8 bits, layer by layer, on all-MiniLM-L6-v2.

    python models.py --work DIR --vocab vocab.txt --int8 --calibration texts.txt
    python int8_errors.py --layerwise BIN --data texts.txt --work DIR

The truth is transformers' float64 forward pass of the same tokens, a text at a time. The peers are ONNX Runtime's dynamic quantization and
OpenVINO's two: compressed weights, with what the engine makes of the activations on this processor, and static ranges, found on
the very texts that are measured. For each layer: the largest error of any number, the root mean square, and the smallest cosine of any
token. At every layer each of ours must be better than ONNX Runtime's and OpenVINO's static one; exit code 1 otherwise.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from transformers import BertModel
from transformers.utils import logging

MAX_LENGTH = 512
PEERS = {"onnxruntime": ("onnxruntime", "int8"), "openvino": ("openvino", "int8"), "openvino static": ("openvino", "static")}
WORSE_THAN_OURS = ("onnxruntime", "openvino static")


def truth(folder: Path, texts: list[str]) -> list[np.ndarray]:
    """Every layer, [tokens, hidden], in float64, tokens of all texts one after the other."""
    model = BertModel.from_pretrained(folder, attn_implementation="eager", dtype=torch.float64, add_pooling_layer=False).eval()
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(MAX_LENGTH)
    tokenizer.no_padding()
    states = []
    with torch.inference_mode():
        for encoding in tokenizer.encode_batch_fast(texts):
            found = model(torch.tensor([encoding.ids]), output_hidden_states=True).hidden_states
            states.append([state[0].numpy() for state in found])
    return [np.concatenate(layer) for layer in zip(*states)]


def errors(folder: Path, true: list[np.ndarray]) -> np.ndarray:
    """Largest error, root mean square, smallest cosine, [layers, 3]."""
    rows = []
    for index, layer in enumerate(true):
        found = np.load(folder / "token" / f"layer_{index:02}.npy").astype(np.float64)
        off = found - layer
        cosine = (found * layer).sum(1) / (np.linalg.norm(found, axis=1) * np.linalg.norm(layer, axis=1))
        rows.append([np.abs(off).max(), np.sqrt((off * off).mean()), cosine.min()])
    return np.array(rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--layerwise", type=Path, required=True, metavar="BIN")
    parser.add_argument("--data", type=Path, required=True, metavar="FILE", help="texts, one a line")
    parser.add_argument("--work", type=Path, required=True, metavar="DIR", help="where models.py made the models")
    args = parser.parse_args()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    folder, prepared = args.work / "models" / "minilm", args.work / "prepared" / "minilm"
    texts = args.data.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    true = truth(folder, texts)

    output = args.work / "int8"
    subprocess.run(["rm", "-rf", output], check=True)
    command = [args.layerwise, "extract", "-m", folder, "-i", args.data, "-e", "token", "--compute", "int8", "-q"]
    subprocess.run([*command, "-o", output / "layerwise"], check=True)
    for name, (engine, compute) in PEERS.items():
        command = [sys.executable, Path(__file__).with_name("peer.py"), "--engine", engine, "--compute", compute, "--job", "token"]
        command += ["--model", folder, "--prepared", prepared, "--input", args.data, "--output", output / name, "--threads", "2"]
        subprocess.run([str(part) for part in command], check=True, stdout=subprocess.DEVNULL)

    found = {name: errors(output / name, true) for name in ("layerwise", *PEERS)}
    print(f"all-MiniLM-L6-v2, {len(texts)} texts of {len(true[0])} tokens, against float64\n")
    bad = []
    for column, (title, digits) in enumerate([("largest error", 3), ("root mean square error", 5), ("smallest cosine", 5)]):
        print(f"| {title} | " + " | ".join(f"layer {layer}" for layer in range(1, len(true))) + " |")
        print("|---|" + "---:|" * (len(true) - 1))
        for name, rows in found.items():
            print(f"| {name} | " + " | ".join(f"{row[column]:.{digits}f}" for row in rows[1:]) + " |")
        print()
        sign = -1 if column == 2 else 1
        for name in WORSE_THAN_OURS:
            worse = sign * found["layerwise"][1:, column] >= sign * found[name][1:, column]
            bad += [f"{title}, layer {layer}: {name} is better" for layer in np.flatnonzero(worse) + 1]
    print("\n".join(bad) or "better than ONNX Runtime's and OpenVINO's static integers at every layer")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
