"""Vectors of texts by Ray Data: actors that hold the model, Arrow batches in and out.

    python examples/engines/ray_data.py TEXTS OUT [--model bundled] [--workers 2] [--threads 1]

TEXTS is a folder of Parquet files with the columns `id` and `text`, OUT becomes one with `id` and a column of vectors for each layer.
RAY_ADDRESS names a cluster; without it Ray starts on this machine.
"""

from __future__ import annotations

import argparse
import os

import numpy as np
import pyarrow as pa
import ray
from ray.data import ActorPoolStrategy

import layerwise


class Encoder:
    """An actor: it is made once, and then gets one batch after another."""

    def __init__(self, model: layerwise.Model) -> None:
        self.model = model  # came by name and commit; loads here, once

    def __call__(self, batch: pa.Table) -> pa.Table:
        out = self.model.encode(batch["text"], emit="mean")
        return pa.table({"id": batch["id"], **columns(out)})


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

    # On one machine: the actors' cores, and one for what reads and writes, which would wait for ever for one of theirs.
    cores = arguments.workers * arguments.threads + 1
    ray.init(**({} if "RAY_ADDRESS" in os.environ else {"num_cpus": cores, "include_dashboard": False}))
    texts = ray.data.read_parquet(arguments.texts, columns=["id", "text"])
    # An actor gets whole blocks. Of small files Ray makes one, which would keep one actor busy, and the others idle.
    vectors = texts.repartition(target_num_rows_per_block=256).map_batches(
        Encoder,
        fn_constructor_args=(model,),
        compute=ActorPoolStrategy(size=arguments.workers),
        num_cpus=arguments.threads,
        batch_format="pyarrow",
        batch_size=256,
    )
    vectors.write_parquet(arguments.out)


if __name__ == "__main__":
    main()
