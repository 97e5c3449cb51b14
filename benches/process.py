"""Time layerwise as a user meets it: whole processes, from start to exit.

    python benches/process.py --layerwise BIN --data FILE --work DIR [--rounds 5]

Cold start (one short sentence, weights in the page cache), one thread against two, ten times the input against once,
and the memory of each. `DIR` holds the models that `benches/peers/models.py` made; texts are one a line. Needs no package.
"""

import argparse
import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from statistics import median

SENTENCE = "The boat lay at the bank of the river."
STARTS = 20
MIB = 1 << 20


def run(command: list[object]) -> tuple[float, float, float]:
    """Seconds of the clock, seconds of the processors, and MiB of a process."""
    start = time.perf_counter()
    process = subprocess.Popen([str(part) for part in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, command))}: exit code {process.returncode}")
    return seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024 / MIB


def spread(values: list[float], form: str) -> str:
    return f"{format(median(values), form)} ({format(min(values), form)} to {format(max(values), form)})"


def job(binary: Path, model: Path, data: Path, emit: str, threads: int, output: Path) -> tuple[float, float, float]:
    """Seconds of the whole process and of encoding alone, and MiB."""
    shutil.rmtree(output, ignore_errors=True)
    seconds, _, memory = run([binary, "extract", "-m", model, "-i", data, "-e", emit, "--threads", threads, "-o", output])
    encoding = json.loads((output / "run.json").read_text())["seconds_encoding"]
    shutil.rmtree(output)
    return seconds, encoding, memory


def main() -> None:
    parser = argparse.ArgumentParser(description="Time layerwise as whole processes.")
    parser.add_argument("--layerwise", type=Path, required=True, metavar="BIN")
    parser.add_argument("--data", type=Path, required=True, metavar="FILE")
    parser.add_argument("--work", type=Path, required=True, metavar="DIR")
    parser.add_argument("--rounds", type=int, default=5, metavar="N")
    args = parser.parse_args()
    models = args.work / "models"
    output = args.work / "process-output"

    print("| cold start | ms, median of 20 (range) | peak memory |\n|---|---|---|")
    for name, model in [("bundled", "bundled"), ("all-MiniLM-L6-v2", models / "minilm"), ("BERT-base", models / "bert-base")]:
        command = [args.layerwise, "extract", "-q", "-m", model, SENTENCE]
        run(command)
        runs = [run(command) for _ in range(STARTS)]
        times = [seconds * 1000 for seconds, _, _ in runs]
        print(f"| {name} | {spread(times, '.0f')} | {max(memory for _, _, memory in runs):.0f} MiB |", flush=True)

    minilm = models / "minilm"
    ten = args.work / "ten-times.txt"
    ten.write_text(args.data.read_text(encoding="utf-8") * 10, encoding="utf-8")
    threads, encodings, tens, memories = [], [], [], ([], [])
    for _ in range(args.rounds):
        one, one_encoding, _ = job(args.layerwise, minilm, args.data, "mean", 1, output)
        two, two_encoding, memory = job(args.layerwise, minilm, args.data, "mean", 2, output)
        _, ten_encoding, ten_memory = job(args.layerwise, minilm, ten, "mean", 2, output)
        threads.append(one / two)
        encodings.append(one_encoding / two_encoding)
        tens.append(10 * two_encoding / ten_encoding)
        memories[0].append(memory)
        memories[1].append(ten_memory)
    ten.unlink()
    print(f"\nall-MiniLM-L6-v2, `mean` of all layers, medians of {args.rounds} rounds (range):\n")
    print(f"- two threads against one, whole process: {spread(threads, '.2f')}; encoding alone {spread(encodings, '.2f')}")
    print(f"- ten times the input, tokens/s of encoding against once: {spread(tens, '.3f')}")
    print(f"- peak memory, once {max(memories[0]):.0f} MiB, ten times {max(memories[1]):.0f} MiB")


if __name__ == "__main__":
    main()
