"""Where the time of a job goes, step by step.

    RUSTFLAGS="-C force-frame-pointers=yes" CARGO_PROFILE_RELEASE_DEBUG=line-tables-only \\
        cargo build --release --target-dir target/profile
    python benches/profile.py --layerwise target/profile/release/layerwise --data FILE --work DIR

Samples both jobs of the comparison with `perf` and gives every sample to the first step whose source file or function
is on its call chain, inlined calls included. Needs `perf`, `addr2line` and a binary built as above.
"""

import argparse
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

JOBS = [("bert-base", "mean"), ("minilm", "token")]

# In this order, the innermost call of a chain first: (step, pattern of a source file or a function).
STEPS = [
    ("activation", r"functions\.rs|Activation::apply|rowwise::Apply"),
    ("attention", r"kernels/attention\.rs|attention::"),
    ("LayerNorm, residual, embeddings", r"Norm|kernels/rowwise\.rs"),
    ("loading weights", r"checkpoint/|pack_weight|pack_transposed"),
    ("products", r"kernels/(product|linear|number|packed)\.rs|linear::"),
    ("pooling", r"pooling\.rs"),
    ("tokenization", r"tokenizers|src/tokens/|first_pass"),
    ("writing", r"src/output/|vectors\.rs|pwrite|ext4|vfs_write"),
    ("digests", r"sha2|sha256"),
    ("waiting for work", r"rayon_core|sched_yield|crossbeam"),
]


def places(binary: Path, addresses: list[str]) -> dict[str, str]:
    """For every address in the binary its functions and source lines, inlined ones included."""
    answer = subprocess.run(
        ["addr2line", "-a", "-f", "-i", "-C", "-e", binary], input="\n".join(addresses), text=True, capture_output=True
    ).stdout
    found, current = {}, None
    for line in answer.splitlines():
        if re.fullmatch(r"0x[0-9a-f]+", line):
            current = hex(int(line, 16))
            found[current] = ""
        else:
            found[current] += line + "\n"
    return found


def step_of(chain: list[str]) -> str:
    for text in chain:
        for step, pattern in STEPS:
            if re.search(pattern, text):
                # A product is attention's where attention called it.
                if step == "products" and any(re.search(r"attention\.rs|attention::", outer) for outer in chain):
                    return "attention"
                return step
    return "other"


def profile(args: argparse.Namespace, model: str, emit: str) -> None:
    output, samples = args.work / "profile-output", args.work / "perf.data"
    shutil.rmtree(output, ignore_errors=True)
    command = [args.layerwise, "extract", "-q", "-m", args.work / "models" / model, "-i", args.data, "-e", emit, "-o", output]
    command += ["--threads", str(args.threads)]
    subprocess.run(["perf", "record", "-q", "-F", "199", "--call-graph", "fp", "-o", samples, *command], check=True)
    shutil.rmtree(output)
    script = subprocess.run(
        ["perf", "script", "-i", samples, "-F", "ip,sym,symoff,dso", "--full-source-path"],
        text=True, capture_output=True, check=True,
    ).stdout  # fmt: skip
    chains = [block.splitlines() for block in script.split("\n\n") if block.strip()]
    symbols = {}
    for line in subprocess.run(["nm", args.layerwise], text=True, capture_output=True, check=True).stdout.splitlines():
        parts = line.split()
        if len(parts) == 3:
            symbols.setdefault(parts[2], int(parts[0], 16))
    pattern = re.compile(r"^\s*([0-9a-f]+)\s+(.*?)(?:\+0x([0-9a-f]+))?\s+\((.*)\)$")
    parsed = []
    for chain in chains:
        frames = []
        for line in chain:
            if match := pattern.match(line):
                frames.append(match.groups())
        parsed.append(frames)
    addresses = set()
    for frames in parsed:
        for _, symbol, offset, dso in frames:
            if dso.endswith(args.layerwise.name) and symbol in symbols and offset:
                addresses.add(hex(symbols[symbol] + int(offset, 16)))
    known = places(args.layerwise, sorted(addresses))
    counts = Counter()
    for frames in parsed:
        chain = []
        for _, symbol, offset, dso in frames:
            place = ""
            if dso.endswith(args.layerwise.name) and symbol in symbols and offset:
                place = known.get(hex(symbols[symbol] + int(offset, 16)), "")
            chain.append(f"{symbol}\n{place}")
        counts[step_of(chain)] += 1
    total = sum(counts.values())
    print(f"\n{model}, {emit}: {total} samples\n\n| step | share |\n|---|---|")
    for step, count in counts.most_common():
        print(f"| {step} | {100 * count / total:.1f} % |")


def main() -> None:
    parser = argparse.ArgumentParser(description="Where the time of a job goes, step by step.")
    parser.add_argument("--layerwise", type=Path, required=True, metavar="BIN")
    parser.add_argument("--data", type=Path, required=True, metavar="FILE")
    parser.add_argument("--work", type=Path, required=True, metavar="DIR")
    parser.add_argument("--threads", type=int, default=2, metavar="N")
    args = parser.parse_args()
    args.layerwise = args.layerwise.resolve()
    for model, emit in JOBS:
        profile(args, model, emit)


if __name__ == "__main__":
    main()
