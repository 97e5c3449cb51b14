"""Memory and speed whatever the size of the input: the bundled model's `mean` of 50,000 short texts, and of many more.

    python benches/bounded.py --layerwise target/release/layerwise [--texts 5000000]

The few are read from a file and once more from standard input. Prints peak memory, texts and tokens a second, the time to the
first encoded batch, and the share of the time in which nothing is encoded: reading, tokenizing, the last files. The bar: memory
within 10 % and 16 bytes a text, tokens a second within 5 %. (Each text ends in its number, so texts of many have more tokens.)
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

FEW = 50_000
WORDS = "the a river bank house people make some good world again long night light of in on by and or with never old new".split()


def write_texts(path: Path, count: int) -> None:
    """Short texts, no two alike near each other."""
    numbers = random.Random(7)
    with path.open("w") as file:
        for row in range(count):
            file.write(" ".join(numbers.choices(WORDS, k=numbers.randint(3, 9))) + f" {row}\n")


def encodes_ahead(pid: int) -> bool:
    """Whether a job has rows of texts that it encoded beside its first pass, in a file without a name."""
    try:
        files = list(os.scandir(f"/proc/{pid}/fd"))
        return any("layerwise-ahead" in os.readlink(file.path) and file.stat().st_size > 0 for file in files)
    except OSError:
        return False  # it has ended, or a file was closed meanwhile


def run(layerwise: Path, texts: Path, work: Path, piped: bool) -> dict[str, float]:
    """One job, watched: kilobytes at its peak, seconds, seconds until there are rows of a first batch."""
    output = work / "out"
    shutil.rmtree(output, ignore_errors=True)
    command = [layerwise, "extract", "-q", "-m", "bundled", "-e", "mean", "-o", output]
    begun, first = time.monotonic(), None
    with texts.open("rb") as file:
        job = subprocess.Popen(command if piped else [*command, "-i", texts], stdin=file if piped else subprocess.DEVNULL)
        while True:
            pid, status, usage = os.wait4(job.pid, os.WNOHANG)
            if pid:
                break
            if first is None and ((output / "mean").exists() or encodes_ahead(job.pid)):
                first = time.monotonic() - begun
            time.sleep(0.01)
    if status:
        raise SystemExit(f"{command} failed")
    seconds = time.monotonic() - begun
    encoding = json.loads((output / "run.json").read_text())["seconds_encoding"]
    tokens = json.loads((output / "manifest.json").read_text())["counts"]["tokens"]
    return {
        "kilobytes": usage.ru_maxrss,
        "seconds": seconds,
        "tokens": tokens,
        "first": first or 0.0,
        "other": 1 - encoding / seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layerwise", type=Path, required=True)
    parser.add_argument("--texts", type=int, default=5_000_000)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=".") as directory:
        work = Path(directory)
        print("| texts | from | peak memory, MiB | texts/s | tokens/s | time to first batch, s | not encoding |")
        print("|---|---|---|---|---|---|---|", flush=True)
        for count in [FEW, args.texts]:
            texts = work / "texts.txt"
            write_texts(texts, count)
            for piped in [False, True]:
                if piped and count > 1_000_000:
                    continue  # as long again, for the same code
                found = run(args.layerwise.resolve(), texts, work, piped)
                source = "standard input" if piped else "a file"
                speeds = f"{count / found['seconds']:,.0f} | {found['tokens'] / found['seconds']:,.0f}"
                memory, first, other = found["kilobytes"] / 1024, found["first"], found["other"]
                print(f"| {count:,} | {source} | {memory:.1f} | {speeds} | {first:.1f} | {other:.0%} |", flush=True)


if __name__ == "__main__":
    main()
