"""Compare the errors of `--compute int8` with those of the peers' integers of 8 bits, layer by layer, on all-MiniLM-L6-v2.

    python models.py --work DIR --vocab vocab.txt --int8 --calibration texts.txt
    python int8_errors.py --layerwise BIN --data texts.txt --work DIR [--polarity sentence_polarity.zip]

The truth is transformers' float64 forward pass of the same tokens, a text at a time. The peers are ONNX Runtime's dynamic quantization and
OpenVINO's two: compressed weights, with what the engine makes of the activations on this processor, and static ranges, found on
the very texts that are measured. For each layer: the largest error of any number, the root mean square, and the smallest cosine of any
token. At every layer each of ours must be better than ONNX Runtime's and OpenVINO's static one; exit code 1 otherwise.

What that does to uses: Spearman's correlation of the cosines of all pairs of texts (mean of the tokens) with those in float64; and with
`--polarity` (the sentences of Pang and Lee 2005, as NLTK has them) the accuracy of scikit-learn's logistic regression on the mean vectors
of 3,000 of them, in five folds, beside float32's.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from transformers import BertModel
from transformers.utils import logging

MAX_LENGTH = 512
PEERS = {"onnxruntime": ("onnxruntime", "int8"), "openvino": ("openvino", "int8"), "openvino static": ("openvino", "static")}
WORSE_THAN_OURS = ("onnxruntime", "openvino static")


def truth(folder: Path, texts: list[str]) -> tuple[list[np.ndarray], list[int]]:
    """Every layer, [tokens, hidden], in float64, tokens of all texts one after the other; and where each text begins."""
    model = BertModel.from_pretrained(folder, attn_implementation="eager", dtype=torch.float64, add_pooling_layer=False).eval()
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(MAX_LENGTH)
    tokenizer.no_padding()
    states = []
    with torch.inference_mode():
        for encoding in tokenizer.encode_batch_fast(texts):
            found = model(torch.tensor([encoding.ids]), output_hidden_states=True).hidden_states
            states.append([state[0].numpy() for state in found])
    begins = np.cumsum([0] + [len(text[0]) for text in states[:-1]]).tolist()
    return [np.concatenate(layer) for layer in zip(*states)], begins


def encode(args: argparse.Namespace, name: str, job: str, data: Path, output: Path) -> None:
    """Every layer of `data` with an engine's integers, or in float32."""
    folder, prepared = args.work / "models" / "minilm", args.work / "prepared" / "minilm"
    if name in PEERS:
        engine, compute = PEERS[name]
        command = [sys.executable, Path(__file__).with_name("peer.py"), "--engine", engine, "--compute", compute, "--job", job]
        command += ["--model", folder, "--prepared", prepared, "--input", data, "--output", output, "--threads", "2"]
    else:
        compute = "f32" if name == "float32" else "int8"
        command = [args.layerwise, "extract", "-m", folder, "-i", data, "-e", job, "--compute", compute, "-q", "-o", output]
    subprocess.run([str(part) for part in command], check=True, stdout=subprocess.DEVNULL)


def cosines(tokens: np.ndarray, begins: list[int]) -> np.ndarray:
    """The cosine of every pair of texts, by the mean of their tokens."""
    lengths = np.diff([*begins, len(tokens)])
    means = np.add.reduceat(tokens.astype(np.float64), begins) / lengths[:, None]
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    return (means @ means.T)[np.triu_indices(len(means), 1)]


def accuracies(folder: Path, labels: np.ndarray, layers: int) -> list[float]:
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    fit = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=1000))
    vectors = [np.load(folder / "mean" / f"layer_{layer:02}.npy") for layer in range(1, layers)]
    return [100 * cross_val_score(fit, layer, labels, cv=5).mean() for layer in vectors]


def polarity(path: Path) -> tuple[list[str], np.ndarray]:
    """3,000 sentences and whether each is positive, always the same."""
    sentences = []
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if name.endswith((".pos", ".neg")):
                lines = archive.read(name).decode("utf-8", errors="replace").splitlines()
                sentences += [(line.strip(), name.endswith(".pos")) for line in lines if line.strip()]
    chosen = random.Random(0).sample(sentences, 3000)
    return [text for text, _ in chosen], np.array([label for _, label in chosen])


def print_table(title: str, rows: dict[str, list[str]]) -> None:
    layers = len(next(iter(rows.values())))
    print(f"| {title} | " + " | ".join(f"layer {layer}" for layer in range(1, layers + 1)) + " |")
    print("|---|" + "---:|" * layers)
    for name, cells in rows.items():
        print(f"| {name} | " + " | ".join(cells) + " |")
    print()


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
    parser.add_argument("--polarity", type=Path, metavar="ZIP", help="sentences with labels, for probes")
    args = parser.parse_args()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    texts = args.data.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    true, begins = truth(args.work / "models" / "minilm", texts)

    output = args.work / "int8"
    subprocess.run(["rm", "-rf", output], check=True)
    names = ["layerwise", *PEERS]
    for name in names:
        encode(args, name, "token", args.data, output / name)

    found = {name: errors(output / name, true) for name in names}
    print(f"all-MiniLM-L6-v2, {len(texts)} texts of {len(true[0])} tokens, against float64\n")
    bad = []
    for column, (title, digits) in enumerate([("largest error", 3), ("root mean square error", 5), ("smallest cosine", 5)]):
        print_table(title, {name: [f"{row[column]:.{digits}f}" for row in rows[1:]] for name, rows in found.items()})
        sign = -1 if column == 2 else 1
        for name in WORSE_THAN_OURS:
            worse = sign * found["layerwise"][1:, column] >= sign * found[name][1:, column]
            bad += [f"{title}, layer {layer}: {name} is better" for layer in np.flatnonzero(worse) + 1]

    from scipy.stats import spearmanr

    rows: dict[str, list[str]] = {name: [] for name in names}
    for index, layer in list(enumerate(true))[1:]:
        expected = cosines(layer, begins)
        for name in names:
            of_name = cosines(np.load(output / name / "token" / f"layer_{index:02}.npy"), begins)
            rows[name].append(f"{spearmanr(expected, of_name).statistic:.5f}")
    print_table("Spearman's correlation of cosines with float64's", rows)

    if args.polarity:
        sentences, labels = polarity(args.polarity)
        data = args.work / "polarity.txt"
        data.write_text("".join(f"{sentence}\n" for sentence in sentences), encoding="utf-8")
        rows = {}
        for name in ["float32", *names]:
            folder = output / f"{name} polarity"
            encode(args, name, "mean", data, folder)
            rows[name] = [f"{accuracy:.1f}" for accuracy in accuracies(folder, labels, len(true))]
        print_table("accuracy of a probe, %", rows)
    print("\n".join(bad) or "better than ONNX Runtime's and OpenVINO's static integers at every layer")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
