"""Parquet directories, and Arrow streams, as Python's readers have them, against the .npy files of the same job, bit by bit."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow.dataset as ds
import pyarrow.ipc

from checks import Checks

TEXTS = [
    {"text": "", "id": "", "label": None, "stars": 1, "share": 0.1, "tags": [], "mixed": 1},
    {"text": 'hello "world",\nsome\tpeople \U0001f600 é', "id": 'a,"b"\n', "label": "null", "stars": None, "share": 2, "tags": ["a", None], "mixed": "1"},
    {"text": "the river\u0000bank", "id": "NaN", "label": "true", "stars": -5, "share": 1e-3, "tags": ["", '"'], "mixed": [1, {}]},
] + [
    {"text": f"{'some people make a good world ' * (row * 7 % 11)}the river bank {row}", "id": str(row), "label": f"l{row % 3}", "stars": row, "share": row / 3, "tags": ["x"], "mixed": None}
    for row in range(3, 120)
]


def columns(reader: str, folder: Path, names: list[str]) -> dict[str, list]:
    """The columns of all parts in the order of rows, as Python values."""
    pattern = str(folder / "*.parquet")
    if reader == "pyarrow":
        return ds.dataset(folder, format="parquet").to_table(columns=names).to_pydict()
    if reader == "polars":
        return pl.read_parquet(pattern, columns=names).to_dict(as_series=False)
    if reader == "pandas":
        frame = pd.concat([pd.read_parquet(path, columns=names) for path in sorted(folder.glob("*.parquet"))])
        return {name: list(frame[name]) for name in names}
    quoted = ", ".join(f'"{name}"' for name in names)
    rows = duckdb.sql(f"SELECT {quoted} FROM read_parquet('{pattern}')").fetchall()
    return dict(zip(names, (list(column) for column in zip(*rows))))


def is_null(value: object) -> bool:
    return value is None or (isinstance(value, float) and np.isnan(value)) or value is pd.NA


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--layerwise", type=Path, required=True)
    layerwise = arguments.parse_args().layerwise.resolve()
    check = Checks()

    with tempfile.TemporaryDirectory() as directory:
        here = Path(directory)
        lines = [json.dumps(text) for text in TEXTS]
        (here / "texts.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")

        def extract(out: str, *options: str) -> Path:
            job = ["extract", "-i", "texts.jsonl", "--carry", "stars,share,tags,mixed", "-e", "token,word,mean,sentence"]
            subprocess.run([layerwise, *job, "-q", "-o", out, "-m", "bundled", *options], cwd=here, check=True)
            return here / out

        for dtype in ["f32", "f16"]:
            arrays = extract(f"npy-{dtype}", "--dtype", dtype)
            tables = extract(f"tables-{dtype}", "--dtype", dtype, "-f", "parquet", "--part-texts", "50")
            subprocess.run([layerwise, "verify", tables, "-q"], check=True)
            texts = [json.loads(line) for line in (arrays / "texts.jsonl").read_text(encoding="utf-8").splitlines()]
            for reader in ["pyarrow", "pandas", "polars", "duckdb"]:
                for kind in ["token", "word", "mean", "sentence"]:
                    files = [arrays / "sentence.npy"] if kind == "sentence" else sorted((arrays / kind).glob("layer_*.npy"))
                    names = [path.stem for path in files]
                    found = columns(reader, tables / kind, ["row", *names])
                    for name, path in zip(names, files):
                        expected = np.load(path)
                        # DuckDB has no float16: it widens them, which keeps their values.
                        vectors = np.stack([np.asarray(vector, dtype=np.float32) for vector in found[name]]).astype(expected.dtype)
                        check(vectors.tobytes() == expected.tobytes(), f"{dtype} {reader} {kind} {name}")
                    per_text = {"token": "tokens", "word": None}.get(kind, "")
                    if per_text == "":
                        check([int(row) for row in found["row"]] == list(range(len(TEXTS))), f"{reader} {kind} row")
                    elif per_text:
                        rows = [text["row"] for text in texts for _ in text[per_text]]
                        check([int(row) for row in found["row"]] == rows, f"{reader} {kind} row")
                found = columns(reader, tables / "mean", ["id", "label", "stars", "share", "tags", "mixed"])
                for at, text in enumerate(TEXTS):
                    values = {name: column[at] for name, column in found.items()}
                    check(values["id"] == text["id"], f"{reader} id of {at}: {values['id']!r}")
                    for name in ["label", "stars", "share"]:
                        same = is_null(values[name]) if text[name] is None else values[name] == text[name]
                        check(bool(same), f"{reader} {name} of {at}: {values[name]!r}")
                    check(list(values["tags"]) == text["tags"], f"{reader} tags of {at}: {values['tags']!r}")
                    mixed = values["mixed"]
                    same = is_null(mixed) if text["mixed"] is None else json.loads(mixed) == text["mixed"]
                    check(bool(same), f"{reader} mixed of {at}: {mixed!r}")
                found = columns(reader, tables / "token", ["token", "token_id", "start", "end", "word_id"])
                for name, key in [("token", "tokens"), ("token_id", "token_ids"), ("word_id", "word_ids")]:
                    expected = [value for text in texts for value in text[key]]
                    same = all(is_null(a) if b is None else a == b for a, b in zip(found[name], expected, strict=True))
                    check(same, f"{reader} {name}")
                expected = [offsets for text in texts for offsets in text["offsets"]]
                for name, side in [("start", 0), ("end", 1)]:
                    pairs = zip(found[name], expected, strict=True)
                    check(all(is_null(a) if b is None else a == b[side] for a, b in pairs), f"{reader} {name}")
            # Cosines in SQL, joined with what a token is.
            cosine = duckdb.sql(
                f"SELECT list_cosine_similarity(a.layer_04, b.layer_04) FROM '{tables}/mean/*.parquet' a, "
                f"'{tables}/mean/*.parquet' b WHERE a.\"row\" = 3 AND b.\"row\" = 14"
            ).fetchall()
            check(len(cosine) == 1 and -1.001 < cosine[0][0] < 1.001, f"cosine in SQL: {cosine}")
            # The same job as a stream.
            job = ["extract", "-i", "texts.jsonl", "-e", "token,mean", "-q", "-m", "bundled", "--dtype", dtype, "-f", "arrow"]
            stream = subprocess.run([layerwise, *job], cwd=here, check=True, capture_output=True).stdout
            table = pyarrow.ipc.open_stream(stream).read_all().combine_chunks()
            for layer in range(5):
                name = f"layer_{layer:02}"
                mean = table[f"mean_{name}"].chunk(0).flatten().to_numpy()
                check(mean.tobytes() == np.load(arrays / "mean" / f"{name}.npy").tobytes(), f"stream mean {name}")
                tokens = table[f"token_{name}"].chunk(0)
                check(tokens.flatten().flatten().to_numpy().tobytes() == np.load(arrays / "token" / f"{name}.npy").tobytes(), f"stream token {name}")
                lengths = [len(text["tokens"]) for text in texts]
                check(tokens.value_lengths().to_pylist() == lengths, f"stream lengths {name}")
    return check.exit_code()


if __name__ == "__main__":
    sys.exit(main())
