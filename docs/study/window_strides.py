"""What windows cost and change: long texts, several strides, and how far the vectors are from those of the largest stride.

    python docs/study/window_strides.py [--layerwise PATH] [--model M] [--work DIR]

Each text has 24 sections of some 250 tokens, which are its spans: one run gives a vector of each text and of each section.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import tempfile
from pathlib import Path

import numpy as np

TEXTS, SECTIONS, STRIDES = 4, 24, (0, 64, 128, 254, 480)
WORDS = """the river house people world small work time day water light road old new long first great place part made found came
through under over after before while still never always between without within against toward""".split()


def documents() -> list[dict]:
    draw = random.Random(0)
    rows = []
    for number in range(TEXTS):
        text, sections = "", []
        for _ in range(SECTIONS):
            own = draw.sample(WORDS, 12)
            section = " ".join(draw.choice(own) for _ in range(250)) + "."
            text += ("\n\n" if text else "") + section
            sections.append([len(text) - len(section), len(text)])
        rows.append({"id": f"00{number}", "text": text, "sections": sections})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layerwise", default="layerwise")
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--work", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = args.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        (work / "documents.jsonl").write_text("".join(json.dumps(row) + "\n" for row in documents()))
        found = {}
        for stride in STRIDES:
            job = [args.layerwise, "extract", "-q", "-m", args.model, "-i", work / "documents.jsonl", "-e", "mean,span"]
            job += ["--span-column", "sections", "--overflow", "window", "--stride", str(stride), "-o", work / f"s{stride}"]
            subprocess.run(job, check=True)
            counts = json.loads((work / f"s{stride}/manifest.json").read_text())["counts"]
            times = (counts["tokens"] + counts["overlap_tokens"]) / counts["tokens"]
            vectors = [np.load(max((work / f"s{stride}/{kind}").glob("layer_*.npy"))) for kind in ("mean", "span")]
            found[stride] = (times, [vector / np.linalg.norm(vector, axis=1, keepdims=True) for vector in vectors])
        print(
            f"{TEXTS} texts of {counts['tokens'] // TEXTS} tokens; smallest cosine to the vectors with stride {STRIDES[-1]}, last layer"
        )
        print("stride  tokens encoded  of a text  of a section")
        for stride, (times, vectors) in found.items():
            text, section = (float((a * b).sum(1).min()) for a, b in zip(vectors, found[STRIDES[-1]][1], strict=True))
            print(f"{stride:6}  {times:9.2f} times  {text:9.5f}  {section:12.5f}")


if __name__ == "__main__":
    main()
