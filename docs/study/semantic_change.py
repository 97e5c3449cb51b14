"""Which of 200 words changed between two periods: from sentences to a ranked table.

    python docs/study/semantic_change.py [--layerwise PATH] [--model M] [--work DIR]

The sentences are made up here: each word occurs in sentences of one subject in the first period; forty of the words move to
another subject in the second. So the truth is known, and what the table is worth can be said.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import tempfile
from pathlib import Path

import numpy as np

SUBJECTS = {
    "farming": "field harvest corn cattle barn soil plough seed meadow farmer wheat sheep fence orchard milk".split(),
    "medicine": "doctor patient hospital fever nurse wound surgery medicine pain blood infection clinic cure disease heart".split(),
    "music": "song guitar singer concert piano drum melody band orchestra dance tune stage voice album rhythm".split(),
    "finance": "bank money loan market price tax bond profit trade debt credit fund share budget cash".split(),
    "sea": "ship harbour sailor wave island anchor captain storm coast deck sail port tide ocean fish".split(),
    "law": "court judge lawyer trial jury crime prison witness police sentence appeal case guilty statute evidence".split(),
    "science": "theory experiment particle energy laboratory atom physics research formula cell protein gene data electron gas".split(),
    "sport": "team match goal player coach league season score race stadium champion ball referee medal club".split(),
}
# Words that mean little by themselves, so that it is their company that counts.
TARGETS = [
    first + second
    for first in "bar cel dor fen gal hol jas kel lim mor nar pel ros sil tam".split()
    for second in "an ber do el fin gor ik lo mer net os pin ras ton".split()
][:200]
FRAMES = [
    "the {w} was near the {a} and the {b}",
    "they spoke of the {a}, the {w} and the {b} all day",
    "without a {w} no {a} could help the {b}",
    "her {a} had a {w}, and his {b} did not",
    "in the end the {b} and the {a} took the {w} away",
]  # fmt: skip
SENTENCES = 10


def sentences(seed: int) -> tuple[list[dict], set[str]]:
    """Ten sentences of each word in each period, and the words that changed."""
    draw = random.Random(seed)
    changed = set(draw.sample(TARGETS, len(TARGETS) // 5))
    rows = []
    for word in TARGETS:
        before, after = draw.sample(sorted(SUBJECTS), 2)
        for period in ("1900", "2000"):
            company = SUBJECTS[after if period == "2000" and word in changed else before]
            for _ in range(SENTENCES):
                a, b = draw.sample(company, 2)
                text = draw.choice(FRAMES).format(w=word, a=a, b=b)
                start = text.index(word)
                rows.append({"text": text, "at": [start, start + len(word)], "lemma": word, "period": period})
    return rows, changed


def auroc(scores: np.ndarray, positive: np.ndarray) -> float:
    """The probability that a positive has the higher score (Hanley & McNeil 1982)."""
    higher = scores[positive][:, None] - scores[~positive][None]
    return float((higher > 0).mean() + 0.5 * (higher == 0).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layerwise", default="layerwise")
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--work", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = args.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        rows, changed = sentences(seed=0)
        (work / "sentences.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        # A vector for each occurrence of a word, at every layer: 4,000 rows, whatever else is in the sentences.
        job = [args.layerwise, "extract", "-q", "-m", args.model, "-i", work / "sentences.jsonl"]
        job += ["--span-column", "at", "-e", "span", "--carry", "lemma,period", "-o", work / "spans"]
        subprocess.run(job, check=True)

        lines = [json.loads(line) for line in (work / "spans/texts.jsonl").open()]
        key = np.array([(line["lemma"], line["period"]) for line in lines])
        layers = sorted((work / "spans/span").glob("layer_*.npy"))
        truth = np.array([word in changed for word in TARGETS])
        print("layer  AUROC")
        best = (0.0, 0, np.zeros(0))
        for layer, path in enumerate(layers):
            vectors = np.load(path, mmap_mode="r")
            distance = np.empty(len(TARGETS))
            for index, word in enumerate(TARGETS):
                of_word = key[:, 0] == word
                old, new = (vectors[of_word & (key[:, 1] == period)].mean(0) for period in ("1900", "2000"))
                distance[index] = 1 - old @ new / np.linalg.norm(old) / np.linalg.norm(new)
            score = auroc(distance, truth)
            print(f"{layer:5}  {score:.3f}")
            best = max(best, (score, layer, distance), key=lambda entry: entry[0])
        _, layer, distance = best
        print(f"\nlayer {layer}, most changed first")
        for index in np.argsort(-distance, kind="stable")[:10]:
            print(f"{distance[index]:.4f}  {TARGETS[index]:8} {'changed' if truth[index] else 'did not'}")


if __name__ == "__main__":
    main()
