"""What the model is worth, layer by layer, beside its teacher and the teacher's static vectors: the card's tables.

    python evaluate.py WORK --layerwise BIN --teacher all-MiniLM-L6-v2/ --student ../bert-4x160 --data ../../../shared/data

WORK holds the validation texts that texts.py kept out; DATA the sets that tests/real/README.md names. Everything that is
measured comes out of `layerwise extract`. Classifiers are logistic regression on standardized vectors, at scikit-learn's
own strength.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import zipfile
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

ARGS: argparse.Namespace
SEED = 20240


def extract(model: Path, texts: list[str], emit: str, *options: str) -> list[np.ndarray]:
    """The arrays of every layer, [layer] (rows, width)."""
    with tempfile.TemporaryDirectory(dir=ARGS.work) as folder:
        source, output = Path(folder, "texts.txt"), Path(folder, "out")
        source.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
        command = [ARGS.layerwise, "extract", "-q", "-m", model, "-i", source, "-o", output, "-e", emit, *options]
        subprocess.run(command, check=True)
        return [np.load(path) for path in sorted((output / emit).glob("layer_*.npy"))]


def table(title: str, scores: dict[str, list[float]]) -> None:
    """A row a model, a column a layer."""
    width = max(len(row) for row in scores.values())
    print(f"\n{title}\n\n| | {' | '.join(f'layer {k}' for k in range(width))} |\n|---|{'---|' * width}")
    for name, row in scores.items():
        cells = [f"{score:.3f}" for score in row] + [""] * (width - len(row))
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def models() -> dict[str, Path]:
    return {"this model": ARGS.student, "all-MiniLM-L6-v2": ARGS.teacher}


def cosines(vectors: np.ndarray) -> np.ndarray:
    """Of rows 0 and 1, 2 and 3, …"""
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors[0::2] * vectors[1::2]).sum(axis=1)


def agreement() -> None:
    lines = (ARGS.work / "validation/pairs.tsv").read_text("utf-8").splitlines()
    texts = [text for line in lines for text in line.split("\t")[1:]]
    theirs = cosines(extract(ARGS.teacher, texts, "mean", "-l", "-1", "--max-length", "256")[0])
    scores = {}
    for name, model in models().items():
        layers = extract(model, texts, "mean", "--max-length", "256")
        scores[name] = [spearmanr(cosines(vectors), theirs).statistic for vectors in layers]
    table("Spearman correlation of a pair's cosine with the teacher's last layer (`mean`), 5,000 pairs", scores)


def sentiment() -> None:
    texts, labels = [], []
    with zipfile.ZipFile(ARGS.data / "sentiment/sentence_polarity.zip") as archive:
        for name in sorted(archive.namelist()):
            if name.endswith((".pos", ".neg")):
                lines = archive.read(name).decode("latin-1").splitlines()
                texts += [line.strip() for line in lines if line.strip()]
                labels += [name.endswith(".pos")] * (len(texts) - len(labels))
    folds = StratifiedKFold(5, shuffle=True, random_state=SEED)
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    scores = {
        name: [cross_val_score(classifier, vectors, labels, cv=folds).mean() for vectors in extract(model, texts, "mean")]
        for name, model in models().items()
    }
    table(f"Sentiment of a review sentence, accuracy by 5-fold cross-validation, {len(texts)} texts (`mean`)", scores)


def read_columns(path: Path, word: int, tag: int) -> list[list[tuple[str, str]]]:
    """Sentences of (word, tag). A line of white space ends one; CoNLL-U's comments, ranges and empty nodes are left out."""
    sentences: list[list[tuple[str, str]]] = [[]]
    for line in path.read_text("utf-8").split("\n"):
        columns = line.split("\t")
        if not line.strip():
            sentences.append([])
        elif path.suffix != ".conllu" or columns[0].isdecimal():
            sentences[-1].append(("".join(columns[word].split()), columns[tag].strip()))
    return [sentence for sentence in sentences if sentence]


def spans(tags: list[str]) -> set[tuple[int, int, str]]:
    """Entities of BIO tags; an I without a B before it starts one, as conlleval has it."""
    found, start = set(), None
    for place, tag in enumerate([*tags, "O"]):
        goes_on = start is not None and tag == f"I-{tags[start][2:]}"
        if start is not None and not goes_on:
            found.add((start, place, tags[start][2:]))
            start = None
        if tag != "O" and start is None:
            start = place
    return found


def tagging(title: str, train: list[list[tuple[str, str]]], test: list[list[tuple[str, str]]], entities: bool) -> None:
    train_tags = [tag for sentence in train for _, tag in sentence]
    scores = defaultdict(list)
    for name, model in models().items():
        features = [
            extract(model, [" ".join(word for word, _ in sentence) for sentence in part], "word", "--pretokenized")
            for part in (train, test)
        ]
        for train_vectors, test_vectors in zip(*features, strict=True):
            classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=300, tol=1e-3))
            predicted = list(classifier.fit(train_vectors, train_tags).predict(test_vectors))
            if not entities:
                tags = [tag for sentence in test for _, tag in sentence]
                scores[name].append(np.mean([a == b for a, b in zip(predicted, tags, strict=True)]))
                continue
            right = wrong = missed = 0
            for sentence in test:
                ours, predicted = predicted[: len(sentence)], predicted[len(sentence) :]
                ours, truth = spans(ours), spans([tag for _, tag in sentence])
                right, wrong, missed = right + len(ours & truth), wrong + len(ours - truth), missed + len(truth - ours)
            scores[name].append(2 * right / max(1, 2 * right + wrong + missed))
    table(title, scores)


def contexts() -> None:
    """Mean cosine of a word's vectors in different sentences, less that of different words' (Ethayarajh 2019)."""
    texts = (ARGS.work / "validation/words.txt").read_text("utf-8").splitlines()
    texts = [" ".join(word.strip(".,;:!?\"'()").lower() for word in text.split()[:60]) for text in texts]
    texts = [" ".join(text.split()) for text in texts]
    words = [word for text in texts for word in text.split()]
    often = [word for word, count in Counter(words).items() if 5 <= count <= 200 and word.isalpha()]
    places = defaultdict(list)
    for place, word in enumerate(words):
        places[word].append(place)
    rng = np.random.default_rng(SEED)
    pairs = np.array([rng.choice(places[word], 2, replace=False) for word in often for _ in range(4)])
    others = rng.permutation(pairs[:, 1])
    scores = {}
    for name, model in models().items():
        scores[name] = []
        for vectors in extract(model, texts, "word", "--pretokenized"):
            vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
            same = (vectors[pairs[:, 0]] * vectors[pairs[:, 1]]).sum(axis=1).mean()
            scores[name].append(same - (vectors[pairs[:, 0]] * vectors[others]).sum(axis=1).mean())
    table(f"Similarity of a word to itself in another sentence, less that of two words; {len(often)} words", scores)


def main() -> None:
    global ARGS
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--layerwise", type=Path, required=True)
    parser.add_argument("--teacher", type=Path, required=True)
    parser.add_argument("--student", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--only", nargs="*", help="agreement, sentiment, entities, pos, contexts")
    ARGS = parser.parse_args()
    data = ARGS.data
    steps = {
        "agreement": agreement,
        "contexts": contexts,
        "sentiment": sentiment,
        "entities": lambda: tagging(
            "Named entities (WNUT-17), F1 by entity on its test set (`word`)",
            read_columns(data / "ner/wnut17train.conll", 0, 1),
            read_columns(data / "ner/emerging.test.annotated", 0, 1),
            entities=True,
        ),
        "pos": lambda: tagging(
            "Parts of speech (UD English EWT), accuracy; trained on dev, scored on test (`word`)",
            read_columns(data / "pos/en_ewt-ud-dev.conllu", 1, 3),
            read_columns(data / "pos/en_ewt-ud-test.conllu", 1, 3),
            entities=False,
        ),
    }
    for name, step in steps.items():
        if not ARGS.only or name in ARGS.only:
            step()


if __name__ == "__main__":
    main()
