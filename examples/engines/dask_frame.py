"""Vectors of texts by Dask: `map_partitions` over a data frame.

    python examples/engines/dask_frame.py TEXTS OUT [--model bundled] [--workers 2] [--threads 1]

TEXTS is a folder of Parquet files with the columns `id` and `text`, OUT becomes one with `id` and a column of vectors for each layer.
DASK_SCHEDULER_ADDRESS names a cluster's scheduler; without it workers start on this machine.
"""

from __future__ import annotations

import argparse
import os

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa
from dask.distributed import Client, LocalCluster

import layerwise


def encode(texts: pd.DataFrame, model: layerwise.Model) -> pd.DataFrame:
    """Of one partition. The model comes with the task by name and commit, and loads once in a worker."""
    out = model.encode(texts["text"], emit="mean")
    table = pa.table({"id": pa.array(texts["id"], pa.string()), **columns(out)})
    return table.to_pandas(types_mapper=pd.ArrowDtype)


def columns(out: layerwise.Embeddings) -> dict[str, pa.Array]:
    """A column of lists for each layer, over the memory that the vectors were computed in."""
    _, texts, hidden_size = out["mean"].shape
    starts = np.arange(texts + 1, dtype=np.int32) * np.int32(hidden_size)
    vectors = (pa.ListArray.from_arrays(starts, out.get("mean", layer).reshape(-1)) for layer in out.layers)
    return {f"layer_{layer:02}": column for layer, column in zip(out.layers, vectors, strict=True)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("texts")
    parser.add_argument("out")
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    model = layerwise.Model(arguments.model, threads=arguments.threads)

    # A worker is a process with one task at a time, whose threads are the model's.
    local = {"n_workers": arguments.workers, "threads_per_worker": 1, "dashboard_address": None}
    address = os.environ.get("DASK_SCHEDULER_ADDRESS")
    with Client(address or LocalCluster(**local)):
        texts = dd.read_parquet(arguments.texts, columns=["id", "text"]).repartition(npartitions=4 * arguments.workers)
        nothing = encode(texts.head(0), model)  # columns and types
        texts.map_partitions(encode, model, meta=nothing).to_parquet(arguments.out, write_index=False)


if __name__ == "__main__":
    main()
