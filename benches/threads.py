"""What many threads cost on few cores: time of the clock, of the processors, and memory, beside two threads.

    python benches/threads.py --layerwise BIN --data FILE --work DIR [--threads 2,8,16,64] [--rounds 3]

On a machine with two cores, more threads can only cost: what they wait for each other, wake each other, hold in memory. Time of the
processors beyond that of two threads is what locks, wake-ups and caches take. What they would gain on as many cores is `cargo bench --bench
scaling`. `DIR` holds the models that `benches/peers/models.py` made; texts are one a line, taken as often as fills a batch of the most
threads. Needs no package.
"""

import argparse
import os
import shutil
from pathlib import Path
from statistics import median

from process import run


def run_afresh(command: list[object], output: Path) -> tuple[float, float, float]:
    shutil.rmtree(output, ignore_errors=True)
    return run(command)


def main() -> None:
    parser = argparse.ArgumentParser(description="What many threads cost on few cores.")
    parser.add_argument("--layerwise", type=Path, required=True, metavar="BIN")
    parser.add_argument("--data", type=Path, required=True, metavar="FILE")
    parser.add_argument("--work", type=Path, required=True, metavar="DIR")
    parser.add_argument("--threads", type=lambda text: [int(part) for part in text.split(",")], default=[2, 8, 16, 64])
    parser.add_argument("--rounds", type=int, default=3, metavar="N")
    args = parser.parse_args()
    minilm, output = args.work / "models" / "minilm", args.work / "threads-output"
    # Numbered, as texts that repeat in a batch are encoded once.
    lines = args.data.read_text(encoding="utf-8").splitlines()
    texts = args.work / "threads.txt"
    texts.write_text("".join(f"{n} {line}\n" for n in range(3) for line in lines), encoding="utf-8")
    short = args.work / "threads-short.txt"
    short.write_text("".join(f"{n} {line[:40]}\n" for n in range(60) for line in lines), encoding="utf-8")
    jobs = [
        ("bundled, `mean`, short texts", ["-i", short, "-e", "mean"]),
        ("MiniLM, `mean`", ["-m", minilm, "-i", texts, "-e", "mean"]),
        ("MiniLM, `token`", ["-m", minilm, "-i", texts, "-e", "token"]),
    ]
    print(f"{os.cpu_count()} cores; medians of {args.rounds} rounds, to those of {args.threads[0]} threads in the same round\n")
    print("| job | threads | time | processors' time | peak memory, MiB |\n|---|---|---|---|---|", flush=True)
    for name, options in jobs:
        rounds = []
        for _ in range(args.rounds):
            rounds.append([run_afresh([args.layerwise, "extract", *options, "--threads", n, "-o", output], output) for n in args.threads])
        for index, threads in enumerate(args.threads):
            clock = median(of_round[index][0] / of_round[0][0] for of_round in rounds)
            processors = median(of_round[index][1] / of_round[0][1] for of_round in rounds)
            memory = max(of_round[index][2] for of_round in rounds)
            print(f"| {name} | {threads} | {clock:.2f} | {processors:.2f} | {memory:.0f} |", flush=True)
    shutil.rmtree(output, ignore_errors=True)
    texts.unlink()
    short.unlink()


if __name__ == "__main__":
    main()
