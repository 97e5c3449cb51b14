"""Make the tables and plots of which-layer.md anew: every task with both models.

    python docs/which_layer.py --layerwise target/release/layerwise --data DIR --model DIR [--work DIR] [--tasks ...]

DIR of the data is laid out as tests/real/README.md tells. Vectors and reports stay in the work folder; plots go to docs/plots.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import time
import zipfile
from pathlib import Path

DOCS = Path(__file__).parent


def write(path: Path, rows: list[dict[str, str]]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def sentiment(data: Path, work: Path) -> dict[str, list[str]]:
    """Review sentences; the archive is Latin-1."""
    archive = zipfile.ZipFile(data / "sentiment/sentence_polarity.zip")
    rows = []
    for name in sorted(archive.namelist()):
        if name.endswith((".pos", ".neg")):
            label = {"pos": "positive", "neg": "negative"}[name.rsplit(".", 1)[1]]
            texts = archive.read(name).decode("latin-1").split("\n")
            rows += [{"text": text.strip(), "label": label} for text in texts if text.strip()]
    write(work / "reviews.jsonl", rows)
    return {"train": ["-i", work / "reviews.jsonl"]}


def genre(data: Path, work: Path) -> dict[str, list[str]]:
    """The first part of `sent_id` names the genre."""
    rows = []
    for part in ("dev", "test"):
        for line in (data / f"pos/en_ewt-ud-{part}.conllu").open(encoding="utf-8"):
            key, _, value = line.partition(" = ")
            if key == "# sent_id":
                label = value.split("-")[0]
            elif key == "# text":
                rows.append({"text": value.strip(), "label": label})
    write(work / "genre.jsonl", rows)
    return {"train": ["-i", work / "genre.jsonl"]}


def language(data: Path, work: Path) -> dict[str, list[str]]:
    """Lines of the Universal Declaration of Human Rights; of each language every fifth is for choosing, every fifth to score."""
    archive = zipfile.ZipFile(data / "text/udhr2.zip")
    parts: dict[str, list[dict[str, str]]] = {"train": [], "dev": [], "test": []}
    for name in sorted(archive.namelist()):
        if not name.endswith(".txt"):
            continue
        label = Path(name).stem
        try:
            lines = [line.strip() for line in archive.read(name).decode("utf-8").split("\n")]
        except UnicodeDecodeError:
            continue
        lines = list(dict.fromkeys(line for line in lines if len(line) >= 30))
        if len(lines) < 40:
            continue
        for index, line in enumerate(lines):
            parts[{3: "dev", 4: "test"}.get(index % 5, "train")].append({"text": line, "label": label})
    for part, rows in parts.items():
        write(work / f"language-{part}.jsonl", rows)
    return {part: ["-i", work / f"language-{part}.jsonl"] for part in parts}


def wnut(data: Path, _: Path) -> dict[str, list[str]]:
    """Emerging entities of social media."""
    files = {"train": "wnut17train.conll", "dev": "emerging.dev.conll", "test": "emerging.test.annotated"}
    return {part: ["-i", data / "ner" / file, "--input-format", "conll", "-e", "word"] for part, file in files.items()}


def entities(data: Path, _: Path) -> dict[str, list[str]]:
    """English named entities; the development part is learned from, as the training part is not among the data."""
    columns = ["--input-format", "conll", "--text-column", "2", "--label-column", "3", "-e", "word"]
    files = {"train": "dev", "test": "test"}
    return {part: ["-i", data / f"ner/en_ewt-ud-{file}.iob2", *columns] for part, file in files.items()}


def chinese(data: Path, _: Path) -> dict[str, list[str]]:
    """Chinese named entities, with models whose vocabulary has few Chinese characters."""
    columns = ["--input-format", "conll", "--text-column", "2", "--label-column", "3", "-e", "word"]
    return {part: ["-i", data / f"ner/zh_gsdsimp-ud-{part}.iob2", *columns] for part in ("train", "dev", "test")}


def pos(data: Path, _: Path) -> dict[str, list[str]]:
    """Universal parts of speech."""
    files = {"train": "dev", "test": "test"}
    return {part: ["-i", data / f"pos/en_ewt-ud-{file}.conllu", "-e", "word"] for part, file in files.items()}


TASKS = {task.__name__: task for task in (sentiment, genre, language, wnut, entities, chinese, pos)}
# Of some four hundred languages; the rest would take an hour.
OPTIONS = {"language": ["--strength", "0.01,0.1,1", "--no-mix"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layerwise", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", required=True, help="the folder of all-MiniLM-L6-v2")
    parser.add_argument("--work", type=Path, default=Path("target/which-layer"))
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--models", nargs="+", choices=["minilm", "bundled"], default=["minilm", "bundled"])
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    (DOCS / "plots").mkdir(exist_ok=True)
    for task in args.tasks:
        parts = TASKS[task](args.data, args.work)
        for name in args.models:
            model = {"minilm": args.model, "bundled": "bundled"}[name]
            places = {part: args.work / f"{name}-{task}-{part}" for part in parts}
            begun = time.time()
            for part, options in parts.items():
                subprocess.run([args.layerwise, "extract", "-q", "-m", model, *options, "-o", places[part]], check=True)
            extracted = time.time()
            report = args.work / f"{name}-{task}-report"
            others = [option for part in ("dev", "test") if part in places for option in (f"--{part}", places[part])]
            command = [args.layerwise, "probe", places["train"], *others, "-o", report, "--overwrite", *OPTIONS.get(task, [])]
            out = subprocess.run(command, check=True, capture_output=True, text=True)
            print(f"## {task}, {name}: extracted in {extracted - begun:.0f} s, probed in {time.time() - extracted:.0f} s\n")
            print(out.stdout, out.stderr, flush=True)
            shutil.copy(report / "report.svg", DOCS / f"plots/{task}-{name}.svg")


main()
