"""The scripts of examples/engines on Ray, Spark and Dask: two workers on this machine, 2,000 texts, the vectors of `extract` bit by bit.

    python tests/real/engines.py [--engines ray,spark,dask] [--model bundled] [--rounds 3]

Runs in an environment that has layerwise, with its command, and examples/engines/requirements.txt. With `--rounds` it measures (on
Linux): each round has a run of every script over the 2,000 texts and one over 4,000, and the same by `Model.encode` in one process with
as many threads. What the second 2,000 cost is what an engine costs beyond its start. It counts processor time, of all processes that a
script started, as seconds on the clock say more of what else the machine does.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

EXAMPLES = Path(__file__).parents[2] / "examples" / "engines"
SCRIPTS = {"ray": "ray_data.py", "spark": "spark.py", "dask": "dask_frame.py"}
TEXTS = 2000
PARTS = 8
WORKERS = 2
WORDS = "the a river bank house people make some good world again long night light of in on by and or with never old new".split()
ODD = ["", " ", "NUL \u0000 in it", "two\nlines", "a face \U0001f600, e\u0301 and \u00e9", "word " * 1000, "the same", "the same"]
ENCODE = """
import sys, layerwise, pyarrow.parquet as pq
layerwise.Model(sys.argv[2], threads=int(sys.argv[3])).encode(pq.read_table(sys.argv[1])["text"], emit="mean")["mean"]
"""
PR_SET_CHILD_SUBREAPER = 36


class ProcessorTime:
    """Processor seconds of all processes that are started within the `with`, by looking every tenth of a second."""

    def __enter__(self) -> ProcessorTime:
        # What a daemon leaves behind stays a descendant of this process.
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
        self.ticks: dict[tuple[int, str], int] = {}
        self.before = set(self.look())
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.watch)
        self.thread.start()
        return self

    def look(self) -> dict[tuple[int, str], int]:
        """Ticks of each descendant, by its number and the time it began, as numbers are used again."""
        parents, ticks = {}, {}
        for entry in filter(str.isdigit, os.listdir("/proc")):
            try:
                fields = Path("/proc", entry, "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue  # it has ended
            parents[int(entry)] = int(fields[1])
            ticks[int(entry), fields[19]] = int(fields[11]) + int(fields[12])

        def descends(process: int) -> bool:
            parent = parents.get(process, 0)
            return parent == os.getpid() or (parent > 0 and descends(parent))

        return {key: count for key, count in ticks.items() if descends(key[0])}

    def watch(self) -> None:
        while not self.ended.wait(0.1):
            self.ticks |= self.look()

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self.thread.join()
        self.seconds = sum(count for key, count in self.ticks.items() if key not in self.before) / os.sysconf("SC_CLK_TCK")


def write_texts(folder: Path, texts: list[str]) -> None:
    """A folder of Parquet files with `id` and `text`."""
    folder.mkdir()
    each = len(texts) // PARTS
    for part in range(PARTS):
        rows = range(part * each, (part + 1) * each)
        pq.write_table(
            pa.table({"id": [f"text {row}" for row in rows], "text": [texts[row] for row in rows]}), folder / f"{part}.parquet"
        )


def run(engine: str, texts: Path, out: Path, model: str) -> float:
    """Seconds on the clock; what the script says is shown when it fails."""
    shutil.rmtree(out, ignore_errors=True)
    command = [
        sys.executable,
        EXAMPLES / SCRIPTS[engine],
        texts,
        out,
        "--model",
        model,
        "--workers",
        str(WORKERS),
        "--threads",
        "1",
    ]
    environment = {key: value for key, value in os.environ.items() if key not in ("RAY_ADDRESS", "DASK_SCHEDULER_ADDRESS")}
    begun = time.perf_counter()
    done = subprocess.run(
        command,
        cwd=out.parent,
        env={**environment, "RAY_USAGE_STATS_ENABLED": "0"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    seconds = time.perf_counter() - begun
    if done.returncode:
        print(done.stdout[-8000:])
        raise SystemExit(f"FAILED: {engine} ended with {done.returncode}")
    return seconds


def compare(out: Path, whole: Path) -> list[str]:
    """What differs from the directory of `extract`. Engines keep no order: rows are told by `id`."""
    table = ds.dataset(out).to_table()
    ids = [json.loads(line)["id"] for line in (whole / "texts.jsonl").read_text(encoding="utf-8").splitlines()]
    if sorted(table["id"].to_pylist()) != sorted(ids):
        return [f"{table.num_rows} rows, of which {len(set(table['id'].to_pylist()) & set(ids))} are of the {len(ids)} texts"]
    place = {name: row for row, name in enumerate(table["id"].to_pylist())}
    order = [place[name] for name in ids]
    layers = sorted(path.stem for path in (whole / "mean").glob("layer_*.npy"))
    found = [] if table.column_names == ["id", *layers] else [f"columns {table.column_names}"]
    for layer in layers:
        expected = np.load(whole / "mean" / f"{layer}.npy")
        vectors = table[layer].combine_chunks().flatten().to_numpy().reshape(len(ids), -1)[order]
        if vectors.dtype != expected.dtype or vectors.tobytes() != expected.tobytes():
            found.append(f"{layer}: {int((vectors != expected).any(axis=1).sum())} vectors differ")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engines", default=",".join(SCRIPTS))
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--rounds", type=int, default=0)
    arguments = parser.parse_args()
    engines = arguments.engines.split(",")
    if "spark" in engines and not (shutil.which("java") or "JAVA_HOME" in os.environ):
        print("skipped: spark, which needs Java 17 or later (apt-get install default-jre-headless)")
        engines.remove("spark")

    draw = random.Random(24)
    texts = ODD + [" ".join(draw.choices(WORDS, k=draw.randint(3, 120))) for _ in range(TEXTS - len(ODD))]
    failed = False
    with tempfile.TemporaryDirectory() as directory:
        here = Path(directory)
        write_texts(here / "texts", texts)
        write_texts(here / "twice", texts + [f"again {text}" for text in texts])
        lines = [json.dumps({"id": f"text {row}", "text": text}) for row, text in enumerate(texts)]
        (here / "texts.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        job = ["extract", "-q", "-i", "texts.jsonl", "-m", arguments.model, "-e", "mean", "--threads", str(WORKERS), "-o", "whole"]
        subprocess.run([Path(sys.executable).parent / "layerwise", *job], cwd=here, check=True)
        for engine in engines:
            seconds = run(engine, here / "texts", here / engine, arguments.model)
            differences = compare(here / engine, here / "whole")
            failed |= bool(differences)
            print(f"{engine}: {TEXTS} texts in {seconds:.1f} s: " + ("; ".join(differences) or "the bits of extract"), flush=True)

        spent: dict[tuple[str, str], list[float]] = {}
        for _ in range(arguments.rounds):
            for size in ["texts", "twice"]:
                command = [sys.executable, "-c", ENCODE, here / size, arguments.model, str(WORKERS)]
                with ProcessorTime() as time_of:
                    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
                spent.setdefault(("encode", size), []).append(time_of.seconds)
                for engine in engines:
                    with ProcessorTime() as time_of:
                        run(engine, here / size, here / engine, arguments.model)
                    spent.setdefault((engine, size), []).append(time_of.seconds)
        for kind in ["encode", *engines] if spent else []:
            once = statistics.median(spent[kind, "texts"])
            more = [twice - once for once, twice in zip(spent[kind, "texts"], spent[kind, "twice"], strict=True)]
            each = ", ".join(f"{seconds:.1f}" for seconds in more)
            print(
                f"{kind}: {once:.1f} s of processor time, {statistics.median(more):.1f} s ({each}) for as many texts more",
                flush=True,
            )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
