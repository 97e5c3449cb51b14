"""Directories and JSON Lines of `extract` as Python's readers have them (docs/readers.md), against numpy's own arrays, bit by bit.

    python tests/real/array_readers.py --layerwise target/release/layerwise

The traps that the page names are checked as well: one that is gone should go from there.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import datasets
import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.json
import safetensors
import safetensors.numpy
import safetensors.torch
import torch
from sklearn.linear_model import LogisticRegression

from checks import Checks

TEXTS = ["The boat lay at the bank.", "", 'She said "no".', "naïve café \U0001f600", "two\nlines"] + [
    f"{'some people make a good world ' * (row * 7 % 11)}bank {row}" for row in range(5, 60)
]


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--layerwise", type=Path, required=True)
    layerwise = arguments.parse_args().layerwise.resolve()
    check = Checks()

    with tempfile.TemporaryDirectory() as directory:
        here = Path(directory)
        lines = [json.dumps({"text": text, "id": f"id {row}", "label": f"l{row % 2}"}) for row, text in enumerate(TEXTS)]
        (here / "texts.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")

        def extract(*options: str) -> bytes:
            job = [layerwise, "extract", "-q", "-i", "texts.jsonl", "-m", "bundled", "-e", "token,mean", *options]
            return subprocess.run(job, cwd=here, check=True, stdout=subprocess.PIPE).stdout

        extract("-o", "out")
        extract("-o", "tensors", "-f", "safetensors")
        (here / "vectors.jsonl").write_bytes(extract())
        out, tensors = here / "out", here / "tensors"
        manifest = out / "texts.jsonl"
        texts = [json.loads(line) for line in manifest.read_text(encoding="utf-8").splitlines()]
        ids = [text["id"] for text in texts]
        offsets = np.load(out / "token" / "offsets.npy")
        check(np.diff(offsets).tolist() == [len(text["tokens"]) for text in texts], "offsets.npy")

        for layer in [f"layer_{layer:02}" for layer in range(5)]:
            mean = np.load(out / "mean" / f"{layer}.npy", mmap_mode="r")
            check(mean.shape == (len(TEXTS), 160) and isinstance(mean, np.memmap), f"numpy {layer}")

            def same(found: np.ndarray, reader: str, expected: np.ndarray = mean) -> None:
                right = found.dtype == expected.dtype and found.tobytes() == expected.tobytes()
                check(right, f"{reader} {layer}")  # noqa: B023

            file = tensors / "mean.safetensors"
            same(safetensors.numpy.load_file(file)[layer], "safetensors")
            same(safetensors.torch.load_file(file)[layer].numpy(), "safetensors.torch")
            with safetensors.safe_open(file, "np") as opened:
                same(opened.get_slice(layer)[3:5], "safetensors, a slice", mean[3:5])
            # Mapped privately, as torch has no arrays that cannot be written.
            same(torch.from_numpy(np.load(out / "mean" / f"{layer}.npy", mmap_mode="c")).numpy(), "torch")
            same(np.stack(pd.DataFrame({"id": ids, "vector": list(mean)})["vector"].to_list()), "pandas")
            frame = pl.DataFrame({"id": ids, "vector": np.asarray(mean)})
            check(frame.schema["vector"] == pl.Array(pl.Float32, 160), f"polars {layer}: {frame.schema}")
            same(frame["vector"].to_numpy(), "polars")
            vectors = pa.table({"id": ids, "vector": pa.FixedSizeListArray.from_arrays(np.asarray(mean).reshape(-1), 160)})
            same(vectors["vector"].chunk(0).flatten().to_numpy().reshape(mean.shape), "pyarrow")
            same(datasets.Dataset(vectors).with_format("numpy")[:]["vector"], "datasets")
            if layer == "layer_04":
                indexed = datasets.Dataset(vectors)
                indexed.add_faiss_index("vector")
                nearest = indexed.get_nearest_examples("vector", np.asarray(mean[7]), k=1).examples
                check(nearest["id"] == ["id 7"], f"datasets, with a FAISS index: {nearest['id']}")
            cosines = duckdb.sql(
                f"SELECT array_cosine_similarity(a.vector, b.vector) FROM vectors a, vectors b, read_json('{manifest}') t "
                "WHERE a.id = 'id 0' AND b.id = t.id AND t.label = 'l1' ORDER BY t.row"
            ).fetchall()
            unit = mean / np.linalg.norm(mean, axis=1, keepdims=True)
            check(np.allclose(np.array(cosines)[:, 0], (unit @ unit[0])[1::2], atol=1e-5), f"DuckDB {layer}")

        labels = [text["label"] for text in texts]
        classifier = LogisticRegression(max_iter=1000).fit(np.load(out / "mean" / "layer_04.npy", mmap_mode="r"), labels)
        check(classifier.coef_.shape == (1, 160), "scikit-learn on a mapped array")

        # texts.jsonl: of each text a null first, for [CLS].
        pairs = [text["offsets"] for text in texts]
        check([list(map(listed, row)) for row in pd.read_json(manifest, lines=True)["offsets"]] == pairs, "pandas offsets")
        check(pl.read_ndjson(manifest)["offsets"].to_list() == pairs, "polars offsets")
        check(
            [row[0] for row in duckdb.sql(f"SELECT offsets FROM read_json('{manifest}') ORDER BY row").fetchall()] == pairs,
            "DuckDB offsets",
        )
        check(
            pyarrow.json.read_json(manifest)["offsets"].to_pylist() != pairs,
            "pyarrow's JSON reader keeps the first null by now: docs/readers.md",
        )
    return check.exit_code()


def listed(pair: object) -> list[int] | None:
    return None if pair is None else list(pair)


if __name__ == "__main__":
    sys.exit(main())
