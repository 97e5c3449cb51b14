"""Notes of patients: what a probe reports with and without `--group`, where there is nothing to learn.

    python docs/study/clinical_notes.py [--layerwise PATH] [--model M] [--work DIR]

150 patients have six notes each, near-copies of one another as notes are. Half of the patients, drawn by lot, have one label, and half
the other. A probe that has seen other notes of a patient knows the label by the patient.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import tempfile
from pathlib import Path

PATIENTS, NOTES = 150, 6
WORDS = """pain chest fever cough left right arm leg severe mild history of admitted after fall denies nausea daily tablet blood pressure
high low heart rate normal scan shows small large mass no evidence infection wound clean dry follow up in weeks with family smoker
former weight loss fatigue sleep poor diet exercise allergy to aspirin treated for years stable improved today""".split()


def notes(seed: int) -> list[dict]:
    draw = random.Random(seed)
    rows = []
    labels = ["yes", "no"] * (PATIENTS // 2)
    draw.shuffle(labels)
    for patient, label in enumerate(labels):
        history = [draw.choice(WORDS) for _ in range(30)]
        for _ in range(NOTES):
            note = [draw.choice(WORDS) if draw.random() < 0.1 else word for word in history]
            rows.append({"text": " ".join(note), "label": label, "patient": f"p{patient}"})
    draw.shuffle(rows)
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
        (work / "notes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in notes(seed=0)))
        layerwise = Path(args.layerwise).resolve() if "/" in args.layerwise else args.layerwise

        def run(*arguments: str) -> None:
            subprocess.run([layerwise, *arguments], check=True, cwd=work)

        run("extract", "-q", "-m", args.model, "-i", "notes.jsonl", "--carry", "patient", "-o", "notes")
        for options in ([], ["--group", "patient"]):
            print("$ layerwise probe notes --no-control --no-mix", *options, flush=True)
            run("probe", "notes", "--no-control", "--no-mix", *options)
            print(flush=True)


if __name__ == "__main__":
    main()
