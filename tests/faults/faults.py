"""Every file-system call of a job fails once, or the process is killed at it; then the same command is run again.

    python3 tests/faults/faults.py --layerwise target/release/layerwise

The first run may fail with an error that it says, or get over it; the second must write, byte for byte, what an undisturbed job
writes (run.json apart). Nothing beside the output directory may change, and no stray file may stay. Needs strace.
"""

from __future__ import annotations

import shlex
import sys

import strace
from bench import PEAK, Bench, Desk, NotReached, Problem, Try, differences, is_stray, output
from jobs import Job, lay_out

# A disk that is full says so where something is written or made. EIO can come from every call but close, which does not fail for
# a folder, so that Rust's own library panics if it does, and is not looked at for a file.
FULL_DISK = {"write", "pwrite64", "writev", "ftruncate", "fallocate", "fsync", "fdatasync", "open", "openat", "openat2", "rename"}
FULL_DISK |= {"renameat", "renameat2", "mkdir", "mkdirat", "link", "linkat", "copy_file_range", "sendfile"}


def disturb(desk: Desk, job: Job, reference: dict[str, str], injection: strace.Injection) -> None:
    log = desk / "tmp/strace"
    job.set_up(desk)
    before = desk.outside()
    under = injection.under(log)
    first = desk.runs(*job.command, under=under, bounded=False)
    happened = injection.happened(log)
    log.unlink()
    try:
        if first.code == -9 and injection.fault == "KILL" and not first.timed_out:
            pass
        elif first.code == 0:
            # What could not be removed is left to the next run.
            there = {name: content for name, content in output(desk / "out").items() if not is_stray(name)}
            there.pop("unfinished.json", None)
            if wrong := differences(there, reference):
                raise Problem(f"the run that met the fault says that all is well, but {wrong}")
        elif happened > 1 and not first.stderr:
            pass  # The second time it was the message.
        else:
            first.ends_well((1,), peak=4 * PEAK)
        if wrong := differences(desk.outside(), before):
            raise Problem(f"beside the output directory {wrong}")
        has_manifest = (desk / "out/manifest.json").exists() and not (desk / "out/unfinished.json").exists()
        damages = desk.runs("verify", "out").stdout.decode().splitlines() if has_manifest else []
        # What the process left behind is named too, and rightly.
        if damages := [damage for damage in damages if not damage.startswith(".layerwise")]:
            raise Problem(f"the directory has a manifest and no journal, but {damages}")
        again = desk.runs(*job.command)
        if again.code:
            raise Problem(f"the same command does not go on: {again.stderr.strip()!r}; the first said {first.stderr.strip()!r}")
        if wrong := differences(output(desk / "out"), reference):
            raise Problem(f"after the same command {wrong}; the first said {first.stderr.strip()!r}")
        if wrong := differences(desk.outside(), before):
            raise Problem(f"beside the output directory {wrong}")
    except Problem as problem:
        raise Problem(f"{problem}\n  the first run: {shlex.join(first.command)}", desk.root) from None
    if not happened:
        raise NotReached


def tries(bench: Bench, desk: Desk) -> list[list[Try]]:
    """A group for each job and call, shuffled. Where a job is journaled, the numbers of its calls differ from run to run."""
    groups = []
    for job in lay_out(desk, bench):
        reference = job.undisturbed(desk)
        job.set_up(desk)
        log = desk / "tmp/strace"
        calls = strace.WRITING if job.journaled else [*strace.READING, *strace.WRITING]
        strace.record(desk, job.command, log, [strace.RUNTIME_BEGINS, *calls])
        for call, numbers in strace.count(log).items():
            faults = ["KILL"] + (["EIO"] if call != "close" else []) + (["ENOSPC"] if call in FULL_DISK else [])
            group = [
                Try(
                    f"{job.name}/{call}/{number}/{fault}",
                    lambda job=job, reference=reference, at=(call, number, fault): disturb(
                        desk, job, reference, strace.Injection(*at)
                    ),
                )
                for number in numbers
                for fault in faults
            ]
            bench.random(job.name, call).shuffle(group)
            groups.append(group)
        log.unlink()
    bench.random("groups").shuffle(groups)
    return groups


if __name__ == "__main__":
    sys.exit(strace.bench(__doc__, tries))
