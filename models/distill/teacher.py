"""Step 2 of 3: what the teacher makes of every text, by our own tool, a shard at a time.

    python teacher.py WORK --teacher all-MiniLM-L6-v2/ --layerwise target/release/layerwise

Reads WORK/texts/*.txt and writes WORK/targets/NNNN.npz for each:

    input_ids  (tokens,)              the texts' tokens, one text after the other, special tokens included
    lengths    (texts,)               tokens of each text
    layer_K    (tokens, 128) float16  the teacher's hidden state K, in its 128 principal directions, for K in LAYERS
    sentence   (texts, 384) float16   the teacher's sentence embedding

and WORK/validation/teacher.npy, the sentence embeddings of the validation pairs' texts.

The directions come from the first shard and stay in WORK/targets/basis.npz. A shard that is there is not made again, so
the script goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np

LAYERS = [0, 2, 4, 6]
WIDTH = 128
MAX_LENGTH = 256


def basis_of(hidden_state: np.ndarray, sentences: np.ndarray | None) -> dict[str, np.ndarray]:
    """The centre and the first WIDTH principal directions, as columns, and the scale that makes a number's variance 1.

    With `sentences` the directions are theirs, and nothing is centred: cosines are to survive the projection.
    """
    rows = hidden_state.astype(np.float64) if sentences is None else sentences.astype(np.float64)
    centre = rows.mean(axis=0) if sentences is None else np.zeros(rows.shape[1])
    _, vectors = np.linalg.eigh((rows - centre).T @ (rows - centre))
    directions = vectors[:, ::-1][:, :WIDTH]
    scale = np.sqrt(np.mean(((hidden_state.astype(np.float64) - centre) @ directions) ** 2))
    return {"centre": centre.astype(np.float32), "directions": (directions / scale).astype(np.float32)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--teacher", type=Path, required=True)
    parser.add_argument("--layerwise", type=Path, required=True)
    parser.add_argument("--shards", type=int, default=12, help="of texts.py's, the first so many")
    args = parser.parse_args()
    targets = args.work / "targets"
    targets.mkdir(exist_ok=True)

    def extract(texts: Path, emit: str) -> Path:
        raw = args.work / "raw" / texts.stem
        raw.parent.mkdir(exist_ok=True)
        subprocess.run(
            [args.layerwise, "extract", "-m", args.teacher, "-i", texts, "-o", raw, "--emit", emit]
            + ["--layers", ",".join(map(str, LAYERS)), "--dtype", "f16", "--max-length", str(MAX_LENGTH)],
            check=True,
        )
        return raw

    for texts in sorted((args.work / "texts").glob("*.txt"))[: args.shards]:
        target = targets / f"{texts.stem}.npz"
        if target.exists():
            continue
        raw = extract(texts, "token,sentence")
        records = [json.loads(line) for line in (raw / "texts.jsonl").open(encoding="utf-8")]
        sentence = np.load(raw / "sentence.npy")
        layers = {k: np.load(raw / "token" / f"layer_{k:02}.npy", mmap_mode="r") for k in LAYERS}
        basis_file = targets / "basis.npz"
        if not basis_file.exists():
            bases = {k: basis_of(layers[k], sentence if k == LAYERS[-1] else None) for k in LAYERS}
            np.savez(basis_file, **{f"{part}_{k}": value for k in LAYERS for part, value in bases[k].items()})
        basis = np.load(basis_file)
        projected = {
            f"layer_{k}": (
                (layers[k].astype(np.float32) - basis[f"centre_{k}"]) @ basis[f"directions_{k}"]
            ).astype(np.float16)
            for k in LAYERS
        }
        unfinished = targets / f"{texts.stem}.part.npz"
        np.savez(
            unfinished,
            input_ids=np.concatenate([np.array(record["token_ids"], np.int32) for record in records]),
            lengths=np.array([record["n_tokens"] for record in records], np.int32),
            sentence=sentence,
            **projected,
        )
        unfinished.rename(target)
        shutil.rmtree(raw)

    validation = args.work / "validation"
    if not (validation / "teacher.npy").exists():
        pairs = [line.split("\t")[1:] for line in (validation / "pairs.tsv").read_text("utf-8").splitlines()]
        flat = validation / "pairs.txt"
        flat.write_text("".join(f"{text}\n" for pair in pairs for text in pair), encoding="utf-8")
        raw = extract(flat, "sentence")
        shutil.copy(raw / "sentence.npy", validation / "teacher.npy")
        shutil.rmtree(raw)


if __name__ == "__main__":
    main()
