"""Vectors of texts by PySpark: `mapInArrow`, Arrow batches in and out.

    python examples/engines/spark.py TEXTS OUT [--model bundled] [--workers 2] [--threads 1]

TEXTS is a folder of Parquet files with the columns `id` and `text`, OUT becomes one with `id` and a column of vectors for each layer.
Needs Java.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from pyspark.sql import SparkSession

import layerwise


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
    parser.add_argument("--master", help="of a cluster; without it Spark starts on this machine")
    arguments = parser.parse_args()
    model = layerwise.Model(arguments.model, threads=arguments.threads)

    def encode(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Of one partition. The model comes with the task by name and commit, and loads once in a worker."""
        for batch in batches:
            out = model.encode(batch["text"], emit="mean")
            yield pa.record_batch({"id": batch["id"], **columns(out)})

    # Workers run what this says, and not the Python of this process; it has to have layerwise.
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    spark = (
        SparkSession.builder.appName("layerwise")
        .master(arguments.master or f"local[{arguments.workers * arguments.threads}]")
        .config("spark.task.cpus", arguments.threads)  # a task computes with so many threads
        .config("spark.sql.execution.arrow.maxRecordsPerBatch", 256)
        .getOrCreate()
    )
    layers = ", ".join(f"layer_{layer:02} array<float>" for layer in range(model.num_hidden_layers + 1))
    texts = spark.read.parquet(arguments.texts).select("id", "text").repartition(4 * arguments.workers)
    texts.mapInArrow(encode, f"id string, {layers}").write.parquet(arguments.out)
    spark.stop()


if __name__ == "__main__":
    main()
