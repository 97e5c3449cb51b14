"""Step 2 of 3: what the teacher makes of every text, by our own tool, a shard at a time.

    python teacher.py WORK --teacher all-MiniLM-L6-v2/ --layerwise target/release/layerwise

Reads WORK/texts/*.txt and writes WORK/targets/NNNN.npz for each:

    input_ids  (tokens,)              the texts' tokens, one text after the other, special tokens included
    lengths    (texts,)               tokens of each text
    layer_K    (tokens, 160) float16  the teacher's hidden state K, in 160 principal directions, for K in LAYERS
    sentence   (texts, 384) float16   the teacher's sentence embedding

and WORK/validation/teacher.npy, the sentence embeddings of the validation pairs' texts.

The directions are those of text means: that is what the student is judged by. They come from the first shard and stay in
WORK/targets/basis.npz. A shard that is there is not made again, so
the script goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np

LAYERS = [2, 4, 6]
WIDTH = 160
MAX_LENGTH = 256


def basis_of(hidden_state: np.ndarray, lengths: np.ndarray, last: bool) -> dict[str, np.ndarray]:
    """The centre and the first WIDTH principal directions of the texts' means, as columns, scaled so that a token's number
    has a variance of 1.

    Of the last layer, means are normalized, as sentence embeddings are, and nothing is centred: cosines are to survive.
    """
    rows = hidden_state.astype(np.float64)
    means = np.add.reduceat(rows, np.cumsum(lengths) - lengths, axis=0) / lengths[:, None]
    if last:
        means /= np.linalg.norm(means, axis=1, keepdims=True)
    centre = np.zeros(rows.shape[1]) if last else rows.mean(axis=0)
    _, vectors = np.linalg.eigh((means - centre).T @ (means - centre))
    directions = vectors[:, ::-1][:, :WIDTH]
    scale = np.sqrt(np.mean(((rows - centre) @ directions) ** 2))
    return {"centre": centre.astype(np.float32), "directions": (directions / scale).astype(np.float32)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--teacher", type=Path, required=True)
    parser.add_argument("--layerwise", type=Path, required=True)
    parser.add_argument("--shards", type=int, default=32, help="of texts.py's, the first so many; 0: only the validation pairs")
    args = parser.parse_args()
    targets = args.work / "targets"
    targets.mkdir(exist_ok=True)

    def extract(texts: Path, emit: str, compute: str) -> Path:
        raw = args.work / "raw" / texts.stem
        raw.parent.mkdir(exist_ok=True)
        subprocess.run(
            [args.layerwise, "extract", "-m", args.teacher, "-i", texts, "-o", raw, "--emit", emit]
            + ["--layers", ",".join(map(str, LAYERS)), "--max-length", str(MAX_LENGTH)]
            + ["--compute", compute, "--dtype", "f16"],
            check=True,
        )
        return raw

    for texts in sorted((args.work / "texts").glob("*.txt"))[: args.shards]:
        target = targets / f"{texts.stem}.npz"
        if target.exists():
            continue
        raw = extract(texts, "token,sentence", "bf16")
        records = [json.loads(line) for line in (raw / "texts.jsonl").open(encoding="utf-8")]
        lengths = np.array([record["n_tokens"] for record in records], np.int32)
        layers = {k: np.load(raw / "token" / f"layer_{k:02}.npy", mmap_mode="r") for k in LAYERS}
        basis_file = targets / "basis.npz"
        if not basis_file.exists():
            bases = {k: basis_of(layers[k], lengths, k == LAYERS[-1]) for k in LAYERS}
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
            lengths=lengths,
            sentence=np.load(raw / "sentence.npy"),
            **projected,
        )
        unfinished.rename(target)
        shutil.rmtree(raw)

    validation = args.work / "validation"
    if not (validation / "teacher.npy").exists():
        pairs = [line.split("\t")[1:] for line in (validation / "pairs.tsv").read_text("utf-8").splitlines()]
        flat = validation / "pairs.txt"
        flat.write_text("".join(f"{text}\n" for pair in pairs for text in pair), encoding="utf-8")
        raw = extract(flat, "sentence", "f32")
        shutil.copy(raw / "sentence.npy", validation / "teacher.npy")
        shutil.rmtree(raw)


if __name__ == "__main__":
    main()
