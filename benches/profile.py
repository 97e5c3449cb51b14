"""Where the time of a job goes, by step: samples of perf, and for products the rate that they ran at.

    RUSTFLAGS="-C force-frame-pointers=yes -C symbol-mangling-version=v0" cargo build --release --target-dir target/profile
    python benches/profile.py --layerwise target/profile/release/layerwise --model DIR --data FILE [--emit token]

Linux, with perf. A sample belongs to the first step that a function of its stack, from the innermost one on, belongs to. Rates
are of one thread: operations by the time that threads spent in the step.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import tempfile
from collections import Counter
from pathlib import Path

FREQUENCY = 997
# Step, and what names its functions; the first that matches counts.
STEPS = [
    ("products of attention", r"product::.*\n(.*\n)*?.*kernels::attention"),
    ("products of linear layers", r"product::|multiply_by_dot_products"),
    ("softmax", r"attention::(Exponentials|Divide)|kernels::rowwise::(largest|sum)"),
    ("attention, the rest", r"kernels::attention"),
    ("activation", r"rowwise::Apply"),
    ("LayerNorm", r"rowwise::Norm"),
    ("operands to bfloat16", r"number::Convert"),
    ("embeddings", r"kernels::embed|encoder::bert::Embeddings"),
    ("loading", r"checkpoint|packed::|load_layer|linear::pack_weight"),
    ("tokenization", r"tokenizers|layerwise::text|fancy_regex|first_pass"),
    ("pooling and writing", r"layerwise::(pooling|output|sink|extract)"),
]


def samples(record: Path) -> list[str]:
    """Every sample's stack, a function a line, the innermost first."""
    command = ["perf", "script", "-i", record, "-F", "ip,sym"]
    text = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=True).stdout
    stacks = text.strip().split("\n\n")
    return ["\n".join(line.strip().partition(" ")[2] for line in stack.strip().split("\n")) for stack in stacks]


def step_of(stack: str) -> str:
    functions = stack.split("\n")
    for depth in range(len(functions)):
        for step, pattern in STEPS:
            # Of the first pattern all callers are looked at, of the others the function alone.
            part = "\n".join(functions[depth:]) if "\\n" in pattern else functions[depth]
            if re.match(rf".*(?:{pattern})", part):
                return step
    return "other"


def operations(model: Path, output: Path) -> dict[str, float]:
    """Floating-point operations of products, by step."""
    config = json.loads((model / "config.json").read_text())
    hidden, inner, layers = (config[key] for key in ["hidden_size", "intermediate_size", "num_hidden_layers"])
    lengths = [json.loads(line)["n_tokens"] for line in (output / "texts.jsonl").open(encoding="utf-8")]
    return {
        "products of linear layers": layers * sum(lengths) * 2 * (4 * hidden + 2 * inner) * hidden,
        "products of attention": layers * sum(length**2 for length in lengths) * 4 * hidden,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layerwise", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True, help="a local folder")
    parser.add_argument("--data", type=Path, required=True, help="texts, one a line, none twice")
    parser.add_argument("--emit", default="token")
    parser.add_argument("--options", action="append", default=[], help="more of extract's, as in --options=--compute=bf16")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=".") as directory:
        output, record = Path(directory, "out"), Path(directory, "perf.data")
        command = [args.layerwise, "extract", "-q", "-m", args.model, "-i", args.data, "-e", args.emit, "-o", output]
        perf = ["perf", "record", "-q", "-F", FREQUENCY, "--call-graph", "fp", "-o", record, "--", *command, *args.options]
        subprocess.run([str(part) for part in perf], check=True)
        counts = Counter(step_of(stack) for stack in samples(record))
        rates = operations(args.model, output)
        seconds = json.loads((output / "run.json").read_text())["seconds"]
    total = sum(counts.values())
    print(f"{seconds:.1f} s, {total / FREQUENCY:.1f} s of all threads\n\n| step | share | GFLOP/s |\n|---|---|---|")
    for step, count in counts.most_common():
        rate = f"{rates[step] / (count / FREQUENCY) / 1e9:.0f}" if step in rates else ""
        print(f"| {step} | {count / total:.1%} | {rate} |")


if __name__ == "__main__":
    main()
