"""Write `cases.json` and `model.safetensors`: model folders that change one setting, and what is right for them.

    python tests/published/make.py DIR --layerwise target/release/layerwise

DIR is one that `tests/real/published/folders.py` wrote and `compare.py` asked transformers 4 and 5 about. Of its folders with
one setting every tenth is taken, with three texts and a pair. What is right is what compare.py takes for right; a folder that
layerwise refuses, by a key or file that the setting sets, is kept as one that is refused.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "real/published"))

from compare import JOBS, Case, judge_job  # noqa: E402

EVERY = 10
LARGEST = 8192  # bytes of a file that is kept
DIGITS = 8


def content(file: Path) -> dict[str, str]:
    """A file as text, or in hexadecimal."""
    data = file.read_bytes()
    try:
        return {"text": data.decode("utf-8")}
    except UnicodeDecodeError:
        return {"hex": data.hex()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", type=Path)
    parser.add_argument("--layerwise", type=Path, required=True)
    args = parser.parse_args()
    contents: dict[str, dict[str, str]] = {}
    cases, weights = [], None
    folders = sorted(path for path in args.directory.iterdir() if (path / "oracle-5.json").is_file())
    singles = [path for path in folders if len(json.loads((path / "case.json").read_text())["settings"]) == 1]
    for directory in singles[::EVERY]:
        case = Case.open(directory)
        outcomes = {job: judge_job(args.layerwise.resolve(), case, job) for job in JOBS}
        if any(outcome.failed for outcome in outcomes.values()):
            continue
        files: dict[str, str] = {}
        for file in sorted(path for path in (directory / "model").rglob("*") if path.is_file()):
            name = file.relative_to(directory / "model").as_posix()
            if name.endswith("model.safetensors") and file.stat().st_size > LARGEST:
                weights = weights or file.read_bytes()
                if file.read_bytes() != weights:
                    break
                files[name] = "model.safetensors"
                continue
            if file.stat().st_size > LARGEST:
                break
            kept = content(file)
            digest = hashlib.sha256(json.dumps(kept).encode()).hexdigest()[:12]
            contents[digest] = kept
            files[name] = digest
        else:
            texts, pairs = case.folder.texts, case.folder.pairs
            right = {part: case.right(part) for part in ("tokens", "sentences")}
            made: dict[str, object] = {"name": json.loads((directory / "case.json").read_text())["settings"][0], "files": files, "tokens": [], "sentences": []}
            for job in ("tokens", "sentence"):
                if outcomes[job].verdict.startswith("refused"):
                    made[f"{job}_refused"] = [name for name in case.folder.culprits if name and name in outcomes[job].detail]
            rows = [(text, None, right["tokens"][row]) for row, text in enumerate(texts)]
            rows += [(first, second, right["tokens"][len(texts) + row]) for row, (first, second) in enumerate(pairs)]
            few = sorted({0, len(texts) - 2, len(texts) - 1})  # the last are aimed at the setting
            chosen = [rows[index] for index in few] + rows[len(texts) : len(texts) + 1]
            for text, pair, answer in chosen:
                if answer and "tokens_refused" not in made:
                    expected = {"text": text, "pair": pair, "ids": answer["ids"], "types": answer["types"]}
                    made["tokens"].append(expected)
            for index in few:
                text, answer = texts[index], right["sentences"][index]
                if answer and "sentence_refused" not in made:
                    vector = [round(number, DIGITS) for number in answer["vector"]]
                    made["sentences"].append({"text": text, "vector": vector})
            cases.append(made)
    (HERE / "model.safetensors").write_bytes(weights or b"")
    used = {digest for case in cases for digest in case["files"].values()}
    contents = {digest: kept for digest, kept in sorted(contents.items()) if digest in used}
    text = json.dumps({"contents": contents, "cases": cases}, ensure_ascii=False, indent=0)
    (HERE / "cases.json").write_text(text + "\n", encoding="utf-8")
    print(f"{len(cases)} cases of {len(singles)} folders")


if __name__ == "__main__":
    main()
