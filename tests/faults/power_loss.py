"""A job's file-system calls are recorded, and replayed into the states that a disk may hold when the power goes at any moment.

    python3 tests/faults/power_loss.py --layerwise target/release/layerwise

From each state the same command is run, which must write, byte for byte, what an undisturbed job writes (run.json apart), and
leave no stray file. disk.py has the models of what a disk does with what was not flushed. Needs strace.
"""

from __future__ import annotations

import random
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import strace
from bench import Bench, Desk, Problem, Try, differences, output
from disk import MODELS, Disk, lay, moments
from jobs import Job, lay_out

# Of the models that draw, how many states of each moment.
DRAWN = 4


@dataclass
class Recording:
    job: Job
    desk: Desk
    reference: dict[str, str]
    calls: list[strace.Call]

    def disk(self) -> Disk:
        """The disk before the job."""
        self.job.set_up(self.desk)
        return Disk(self.desk / "out")

    def check(self) -> None:
        """Without this, a call that is not understood would pass for a disk that lost nothing."""
        disk = self.disk()
        for call in self.calls:
            disk.take(call, str(self.desk.root))
        lay(disk.state("killed", random.Random()), self.desk / "out")
        if wrong := differences(output(self.desk / "out"), self.reference):
            raise SystemExit(f"{self.job.name}: the replay is not what the job wrote: {wrong}")

    def go_on(self, moment: tuple[int, str], model: str, numbers: random.Random) -> None:
        disk = self.disk()
        for call in self.calls[: moment[0]]:
            disk.take(call, str(self.desk.root))
        lay(disk.state(model, numbers), self.desk / "out")
        before = self.desk.outside()
        found = self.desk.root.with_name("found")
        shutil.rmtree(found, ignore_errors=True)
        if (self.desk / "out").exists():
            shutil.copytree(self.desk / "out", found)
        again = self.desk.runs(*self.job.command)
        where = f"power lost after {moment[1]!r}; the disk has taken it so: {MODELS[model]}"
        if again.code:
            raise Problem(f"the same command does not go on: {again.stderr.strip()!r}; {where}", found)
        if wrong := differences(output(self.desk / "out"), self.reference):
            raise Problem(f"after the same command {wrong}; {where}", found)
        if wrong := differences(self.desk.outside(), before):
            raise Problem(f"beside the output directory {wrong}; {where}", found)


def recorded(job: Job, desk: Desk, log: Path) -> Recording:
    """The job under strace. What it writes then is compared with an undisturbed run first."""
    reference = job.undisturbed(desk)
    job.set_up(desk)
    strace.record(desk, job.command, log, ["dup", "fcntl", "read", "lseek", *OPENING, *strace.WRITING], with_data=True)
    if wrong := differences(output(desk / "out"), reference):
        raise SystemExit(f"{job.name}: under strace {wrong}")
    recording = Recording(job, desk, reference, [call for _, call in strace.calls(log)])
    log.unlink()
    recording.check()
    return recording


OPENING = ["open", "openat", "openat2"]


def tries(bench: Bench, desk: Desk) -> list[list[Try]]:
    """A group for each job and model."""
    groups = []
    for job in lay_out(desk, bench):
        recording = recorded(job, desk, bench.scratch / "strace")
        at = moments(recording.calls, recording.disk(), str(desk.root))
        print(f"{job.name}: {len(recording.calls):,} calls, {len(at)} moments", flush=True)
        for model in MODELS:
            draws = DRAWN if model in ("torn", "reordered") else 1
            group = [
                Try(
                    f"{job.name}/{model}/{number}/{draw}",
                    lambda recording=recording, moment=(number, done), model=model, draw=draw: recording.go_on(
                        moment, model, bench.random(recording.job.name, model, moment[0], draw)
                    ),
                )
                for number, done in at
                for draw in range(draws)
            ]
            bench.random(job.name, model).shuffle(group)
            groups.append(group)
    bench.random("groups").shuffle(groups)
    return groups


if __name__ == "__main__":
    sys.exit(strace.bench(__doc__, tries))
