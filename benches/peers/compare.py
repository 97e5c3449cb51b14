"""Compare layerwise's speed with its peers', side by side, and print the tables.

    python models.py --work DIR --vocab vocab.txt
    python compare.py --layerwise BIN --data FILE --work DIR [--rounds 5] [--threads 2] [--jobs base-mean,minilm-token]
        [--compute f32,bf16,int8] [--engines transformers,onnxruntime,openvino]

A round runs layerwise and every peer once, one after the other, each in a process of its own; the next round starts
with the next of them. Ratios are taken within a round, so a machine that drifts between rounds does not matter.
layerwise is timed whole, from the start of the process to its end. A peer is timed whole too, and by its job alone:
tokenization, encoding and writing, without interpreter, imports and loading, which favours the peer.

With `--compute int8` (models of `models.py --int8`) the peers are those that have such models: ONNX Runtime's dynamic quantization,
OpenVINO's compressed weights, and with `--static` in place of those its static quantization, whose ranges have to be found on texts first.

An untimed round in float32 comes first, in which the output of every peer must be layerwise's.
"""

import argparse
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path
from statistics import median

JOBS = {"base-mean": ("bert-base", "mean"), "minilm-token": ("minilm", "token")}
OURS = "layerwise"
PEERS = ("transformers", "onnxruntime", "openvino")
TOLERANCE = 1e-3
MIB = 1 << 20


def run(command: list[object], errors: Path) -> tuple[str, float, int]:
    """Run a command: what it printed, the seconds it took, and the most memory it held, in bytes."""
    with errors.open("wb") as file:
        start = time.perf_counter()
        process = subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, stderr=file, text=True)
        printed = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        command = " ".join(map(str, command))
        sys.exit(f"{command}\nexit code {process.returncode}\n{errors.read_text(errors='replace')}")
    return printed, seconds, usage.ru_maxrss * 1024


def run_engine(args: argparse.Namespace, engine: str, job: str, compute: str, output: Path) -> dict[str, object]:
    """Do a job with layerwise or a peer, into a fresh directory."""
    model, emit = JOBS[job]
    shutil.rmtree(output, ignore_errors=True)
    folder = args.work / "models" / model
    if engine == OURS:
        command = [args.layerwise, "extract", "-m", folder, "-i", args.data, "-e", emit, "-o", output]
        command += ["--threads", args.threads, "-q"]
        command += ["--compute", compute] if compute != "f32" else []
    else:
        theirs = "static" if (engine, compute, args.static) == ("openvino", "int8", True) else compute
        command = [sys.executable, Path(__file__).with_name("peer.py"), "--engine", engine, "--compute", theirs]
        command += ["--job", emit, "--model", folder, "--prepared", args.work / "prepared" / model]
        command += ["--input", args.data, "--output", output, "--threads", args.threads]
    printed, seconds, peak = run(command, args.work / "stderr.txt")
    result = {"engine": engine, "job": job, "compute": compute, "seconds_whole": seconds, "peak_bytes": peak}
    return result if engine == OURS else result | {"peer": json.loads(printed)}


def largest_difference(ours: Path, theirs: Path) -> float:
    """The largest difference between the arrays of two folders, which must be the same arrays otherwise."""
    import numpy as np

    names = sorted(path.name for path in theirs.iterdir())
    if names != sorted(path.name for path in ours.iterdir()):
        raise ValueError(f"{ours} and {theirs} do not hold the same files")
    largest = 0.0
    for name in names:
        a, b = np.load(ours / name), np.load(theirs / name)
        if a.shape != b.shape or (a.dtype.kind != "f" and not np.array_equal(a, b)):
            raise ValueError(f"{name} is not the same in {ours} and {theirs}")
        difference = float(np.abs(a - b).max())
        largest = difference if np.isnan(difference) else max(largest, difference)
        if np.isnan(largest):
            break
    return largest


def check(args: argparse.Namespace, job: str) -> tuple[int, dict[str, float], dict[str, str]]:
    """The untimed round: the number of tokens, each peer's largest difference, and the versions of the packages."""
    emit = JOBS[job][1]
    ours, theirs = args.work / "output-ours", args.work / "output-theirs"
    run_engine(args, OURS, job, "f32", ours)
    tokens, differences, versions = 0, {}, {}
    for peer in args.engines:
        report = run_engine(args, peer, job, "f32", theirs)["peer"]
        tokens = report["tokens"]
        versions |= report["versions"]
        # In a process of its own: the memory this one has held would be counted as its children's.
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            differences[peer] = pool.apply(largest_difference, (ours / emit, theirs / emit))
        print(f"{job}: {peer}'s float32 output differs from ours by {differences[peer]:.1e} at most", flush=True)
        if not differences[peer] <= TOLERANCE:
            sys.exit(f"that is more than {TOLERANCE}")
    shutil.rmtree(ours)
    shutil.rmtree(theirs)
    return tokens, differences, versions


def rounds(args: argparse.Namespace, job: str, compute: str) -> list[dict[str, object]]:
    without = {("onnxruntime", "bf16"), ("transformers", "int8")}
    engines = [OURS, *(peer for peer in args.engines if (peer, compute) not in without)]
    output = args.work / "output"
    runs = []
    for number in range(args.rounds):
        turn = number % len(engines)
        for engine in engines[turn:] + engines[:turn]:
            runs.append({"round": number} | run_engine(args, engine, job, compute, output))
            shutil.rmtree(output)
        print(f"{job} {compute}: round {number + 1} of {args.rounds} done", file=sys.stderr, flush=True)
    return runs


def table(runs: list[dict[str, object]], tokens: int) -> list[str]:
    """The Markdown table of a job at one precision. Ratios are of tokens/s, ours to the peer's."""
    by_engine = {}
    for entry in sorted(runs, key=lambda entry: entry["round"]):
        by_engine.setdefault(entry["engine"], []).append(entry)
    ours = [entry["seconds_whole"] for entry in by_engine[OURS]]
    lines = [
        "| engine | tokens/s, job alone | tokens/s, whole process | ours whole ÷ its job alone | ours ÷ its, whole "
        "process | peak memory |",
        "|---|---|---|---|---|---|",
    ]
    for engine in [OURS, *(peer for peer in PEERS if peer in by_engine)]:
        entries = by_engine[engine]
        whole = [entry["seconds_whole"] for entry in entries]
        alone_speed, ratio_alone, ratio_whole = "", "", ""
        if engine != OURS:
            alone = [entry["peer"]["seconds_job"] for entry in entries]
            alone_speed = f"{median(tokens / seconds for seconds in alone):,.0f}"
            ratio_alone, ratio_whole = ratios(ours, alone), ratios(ours, whole)
        speed = f"{median(tokens / seconds for seconds in whole):,.0f}"
        peak = f"{max(entry['peak_bytes'] for entry in entries) / MIB:,.0f} MiB"
        lines.append(f"| {engine} | {alone_speed} | {speed} | {ratio_alone} | {ratio_whole} | {peak} |")
    return lines


def ratios(ours: list[float], theirs: list[float]) -> str:
    found = [their / our for our, their in zip(ours, theirs)]
    return f"{median(found):.2f} ({min(found):.2f} to {max(found):.2f})"


def cpu_model() -> str:
    lines = Path("/proc/cpuinfo").read_text().split("\n")
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown CPU")


def names(allowed: tuple[str, ...]):
    def parse(text: str) -> list[str]:
        found = text.split(",")
        if unknown := set(found) - set(allowed):
            raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))}: not one of {', '.join(allowed)}")
        return found

    return parse


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare layerwise's speed with its peers'.")
    parser.add_argument("--layerwise", type=Path, required=True, metavar="BIN")
    parser.add_argument("--data", type=Path, required=True, metavar="FILE", help="texts, one a line")
    parser.add_argument("--work", type=Path, required=True, metavar="DIR", help="where models.py made the models")
    parser.add_argument("--rounds", type=int, default=5, metavar="N")
    parser.add_argument("--threads", type=int, default=2, metavar="N")
    parser.add_argument("--jobs", type=names(tuple(JOBS)), default=list(JOBS), metavar="LIST")
    parser.add_argument("--compute", type=names(("f32", "bf16", "int8")), default=["f32", "bf16"], metavar="LIST")
    parser.add_argument("--static", action="store_true", help="OpenVINO's static quantization for int8")
    parser.add_argument("--engines", type=names(PEERS), default=list(PEERS), metavar="LIST", help="the peers")
    args = parser.parse_args()
    if args.rounds < 1:
        parser.error("--rounds must be at least 1")
    if not (args.work / "prepared").is_dir():
        parser.error(f"{args.work} holds no models; make them with models.py")
    args.layerwise, args.data, args.work = args.layerwise.resolve(), args.data.resolve(), args.work.resolve()

    ours = run([args.layerwise, "--version"], args.work / "stderr.txt")[0].split()[-1]
    results = {
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
        "cpu": cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "threads": args.threads,
        "rounds": args.rounds,
        "versions": {"layerwise": ours, "python": sys.version.split()[0]},
        "jobs": {},
        "runs": [],
    }
    tables = []
    for job in args.jobs:
        tokens, differences, versions = check(args, job)
        results["versions"] |= versions
        results["jobs"][job] = {"tokens": tokens, "largest_differences": differences}
        for compute in args.compute:
            runs = rounds(args, job, compute)
            results["runs"] += runs
            tables.append("\n".join([f"### {job}, {compute}: {tokens:,} tokens", "", *table(runs, tokens)]))
            (args.work / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")

    versions = ", ".join(f"{name} {number}" for name, number in results["versions"].items())
    print(f"\n{results['date']}; {results['cpu']}, {results['cores']} cores; {args.threads} threads;")
    print(f"medians of {args.rounds} rounds, ratios with their range;\n{versions}\n")
    print("\n\n".join(tables))


if __name__ == "__main__":
    main()
