"""The kernels' tests, and whole vectors, on processors that this machine is not: `make emulated`.

    python3 tests/emulated/run.py --work target/emulated

On each of `PROCESSORS`, which Bochs emulates (`machine.py`):

- it has the instruction sets that the table says, as layerwise finds them;
- products of numbers of every size have the same bits on all instruction sets (a test of `kernels::dispatch`; `--tests kernels` runs
  all tests of the kernels, for an hour);
- `extract` prints, computing in each way on each instruction set, byte for byte what it prints here on each that is here.

Ends with 1 if one of these fails. Needs x86-64 Linux with apt-get, a C compiler with a static C library (libc6-dev), and Rust.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from machine import Machine, MachineError, Outcome, Task, captured, unpack_packages

REPOSITORY = Path(__file__).resolve().parent.parent.parent
TARGET = "x86_64-unknown-linux-gnu"

# The processors, by Bochs' names (`bochs-bin --help cpu`), and all that they have of the instruction sets that LAYERWISE_ISA names.
PROCESSORS = {
    # AVX-512 as it was first.
    "corei7_skylake_x": ["avx512", "avx2", "portable"],
    # AVX-512 with what came later, VNNI's dot products of int8 among it.
    "corei7_icelake_u": ["avx512vnni", "avx512", "avx2", "portable"],
}
# What `--compute` takes.
COMPUTES = ["f32", "bf16", "int8"]
# Texts whose tokens fill tiles of the products (70 rows) and leave them part empty (4).
TEXTS = ["hello world", " ".join(f"the boat lay at the bank of river {number}," for number in range(1, 8))]


def main() -> int | str:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=REPOSITORY / "target/emulated", help="packages, disks, outputs")
    parser.add_argument("--profile", default="dev", help="cargo's profile for what is run; the default is built quickest")
    parser.add_argument("--processor", action="append", choices=PROCESSORS, help="one of them alone; may be repeated")
    parser.add_argument("--tests", default="numbers_of_every_size", help="tests of the library that have this in their names; more of them take long")
    parser.add_argument("--minutes", type=float, default=15, help="after which a machine is given up")
    arguments = parser.parse_args()
    processors = arguments.processor or list(PROCESSORS)
    work = arguments.work.resolve()
    try:
        root = unpack_packages(work / "packages")
        programs = build(arguments.profile, work)
        here = vectors_here(programs["layerwise"])

        def checked(processor: str) -> list[str]:
            started = time.monotonic()
            machine = Machine(root, work / processor, processor)
            tasks = [which_instruction_sets(), *extractions(PROCESSORS[processor]), tests(arguments.tests)]
            try:
                outcomes = machine.run(tasks, programs, 60 * arguments.minutes)
            except MachineError as error:
                return [str(error)]
            print(f"{processor}: {time.monotonic() - started:.0f} s", flush=True)
            return problems(processor, outcomes, here)

        with ThreadPoolExecutor(len(processors)) as machines:
            found = [problem for of_one in machines.map(checked, processors) for problem in of_one]
    except MachineError as error:
        return f"error: {error}"
    for problem in found:
        print(f"FAILED {problem}")
    return 1 if found else 0


def build(profile: str, work: Path) -> dict[str, Path]:
    """The command and the library's tests, with the C library in them, as the machines have nothing else."""
    settings = {"RUSTFLAGS": f"{os.environ.get('RUSTFLAGS', '')} -C target-feature=+crt-static".strip()}
    programs = {}
    for name, command in {"layerwise": ["build", "--bin", "layerwise"], "tests": ["test", "--no-run", "--lib"]}.items():
        cargo = ["cargo", *command, "--locked", "--profile", profile, "--target", TARGET]
        built = subprocess.run(
            [*cargo, "--message-format", "json-render-diagnostics"],
            cwd=REPOSITORY, env=os.environ | settings, stdout=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
        if built.returncode:
            raise MachineError(f"{' '.join(cargo)} failed")
        artifacts = [json.loads(line) for line in built.stdout.splitlines()]
        executable = next(artifact["executable"] for artifact in reversed(artifacts) if artifact.get("executable"))
        # Without symbols it is a fifth of the size, all of which a machine loads.
        programs[name] = work / name
        captured("strip", "-o", str(programs[name]), executable)
    return programs


def which_instruction_sets() -> Task:
    """A name that is none: the error says which there are."""
    return Task("instruction sets", ["layerwise", "extract", "x"], {"LAYERWISE_ISA": "?"})


def named_instruction_sets(error: str) -> list[str]:
    found = re.search(r"; it has (.*)", error)
    return found[1].split(", ") if found else []


def tests(names: str) -> Task:
    return Task("tests", ["tests", "--test-threads", "1", names])


def extractions(instruction_sets: list[str]) -> list[Task]:
    return [
        Task(f"{compute} on {instruction_set}", extract("layerwise", compute), {"LAYERWISE_ISA": instruction_set})
        for compute in COMPUTES
        for instruction_set in instruction_sets
    ]


def extract(program: str, compute: str) -> list[str]:
    """The tokens' vectors of the last layer, into which go all before."""
    return [program, "extract", *TEXTS, "--emit", "token", "--layers", "-1", "--compute", compute]


def vectors_here(layerwise: Path) -> dict[str, str]:
    """By compute, what all instruction sets of this machine print. Where they do not agree there is nothing to compare with."""

    def run(command: list[str], instruction_set: str) -> subprocess.CompletedProcess:
        environment = os.environ | {"LAYERWISE_ISA": instruction_set}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    instruction_sets = named_instruction_sets(run([str(layerwise), "extract", "x"], "?").stderr)
    printed = {}
    for compute in COMPUTES:
        # Tiles have sums of their own in bfloat16.
        runs = {name: run(extract(str(layerwise), compute), name) for name in instruction_sets if name != "amx"}
        for name, done in runs.items():
            if done.returncode:
                raise MachineError(f"{compute} on {name} of this machine: {done.stderr.strip()}")
            if wrong := difference(done.stdout, runs["portable"].stdout):
                raise MachineError(f"{compute} on {name} of this machine and on its portable: {wrong}")
        printed[compute] = runs["portable"].stdout
    print(f"here: {', '.join(instruction_sets)}", flush=True)
    return printed


def problems(processor: str, outcomes: dict[str, Outcome], here: dict[str, str]) -> list[str]:
    """What is wrong with what a machine has printed, a sentence each."""
    found = []
    has, expected = named_instruction_sets(outcomes["instruction sets"].output), PROCESSORS[processor]
    if has != expected:
        found.append(f"{processor}: it has the instruction sets {', '.join(has)}, but the table says {', '.join(expected)}")
    ran = outcomes["tests"]
    passed = re.search(r"^test result: ok\. (\d+) passed", ran.output, re.MULTILINE)
    if ran.code or passed is None or passed[1] == "0":
        found.append(f"{processor}: tests\n{ran.output}")
    else:
        print(f"{processor}: {passed[1]} tests pass on {', '.join(has)}")
    for compute in COMPUTES:
        for instruction_set in expected:
            name = f"{compute} on {instruction_set}"
            outcome = outcomes[name]
            if outcome.code:
                found.append(f"{processor}: {name} ends with {outcome.code}: {outcome.output.strip()}")
            elif wrong := difference(outcome.output, here[compute]):
                found.append(f"{processor}: {name}: {wrong}")
            else:
                print(f"{processor}: {name}: the bytes of this machine")
    return found


def difference(found: str, expected: str) -> str | None:
    """Where the first difference is. None if there is none."""
    found, expected = found.rstrip("\n"), expected.rstrip("\n")
    if found == expected:
        return None
    at = len(os.path.commonprefix([found, expected]))
    around = slice(max(at - 20, 0), at + 20)
    return f"differs from character {at} on: {found[around]!r} instead of {expected[around]!r}"


if __name__ == "__main__":
    sys.exit(main())
