"""The jobs that are disturbed: one of each kind, small, and two that are long enough to be journaled."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from bench import Bench, Desk, is_stray, output

WORDS = "the a river bank house people make some good world again long night light of in on by and or never old new".split()
SLOWLY = ["--threads", "1", "--batch-tokens", "16"]
# A job of a second that is killed half-way, but for the name of its directory.
HALF = ["extract", "-q", "-m", "bundled", "-i", "half.txt", *SLOWLY, "-e", "token", "-l", "-1", "-o"]


@dataclass
class Job:
    name: str
    command: list[str]
    # What lies in `out` before the job, as the name of a folder on the desk; None for nothing.
    before: str | None = None
    # Whether it is long enough for entries of the journal. What it reads is what the others read.
    journaled: bool = False

    def set_up(self, desk: Desk) -> None:
        desk.remove("out")
        if self.before:
            shutil.copytree(desk / self.before, desk / "out")

    def undisturbed(self, desk: Desk) -> dict[str, str]:
        """The bytes that the job writes when nothing happens to it."""
        self.set_up(desk)
        desk.runs(*self.command).succeeds()
        found = output(desk / "out")
        if stray := list(filter(is_stray, found)):
            raise SystemExit(f"{self.name}: an undisturbed job leaves {stray}")
        return found


def lines(count: int, longest: int, seed: int) -> str:
    drawn = random.Random(seed)
    text = lambda: " ".join(drawn.choices(WORDS, k=drawn.randint(0, longest)))
    return "".join(f"{text()}\n" for _ in range(count))


def lay_out(desk: Desk, bench: Bench) -> list[Job]:
    """Puts texts, a model and what the jobs need on a desk; the jobs that are asked for. The short form has no time for long ones."""
    desk.put_model("model", "width16")
    desk.put("texts.txt", lines(8, 12, seed=1))
    desk.put("others.txt", lines(30, 20, seed=2))
    desk.put("many.txt", lines(450, 30, seed=3))
    desk.put("most.txt", lines(20_000, 10, seed=4))
    model, texts = ["-q", "-m", "model"], ["-i", "texts.txt", "--threads", "1"]
    small = ["extract", *model, *texts]
    for part in (1, 2, 3):
        desk.runs(*small, "-e", "token,mean", "--shard", f"{part}/3", "-o", f"part-{part}").succeeds()
    desk.runs("extract", *model, "-i", "others.txt", "-e", "token,mean", "-o", "another").succeeds()
    long = ["extract", "-q", "-m", "bundled", "-i", "many.txt", *SLOWLY]
    leave_half_done(desk, "half")
    parts = ["part-1", "part-2", "part-3"]
    jobs = [
        Job("npy", [*small, "-e", "token,mean", "-o", "out"]),
        Job("safetensors", [*small, "-e", "word,mean", "-f", "safetensors", "-o", "out"]),
        Job("shard", [*small, "-e", "token", "--shard", "2/2", "-o", "out"]),
        Job("overwrite", [*small, "-e", "token", "--overwrite", "-o", "out"], before="another"),
        Job("overwrite-unfinished", [*small, "-e", "token", "--overwrite", "-o", "out"], before="half"),
        Job("merge", ["merge", "-q", "out", *parts]),
        Job("merge-overwrite", ["merge", "-q", "--overwrite", "out", *parts], before="another"),
        Job("journaled", [*long, "-e", "token,mean", "-l", "0,-1", "-o", "out"], journaled=True),
        Job("first-pass", ["extract", *model, "-i", "most.txt", "-e", "mean", *SLOWLY[:2], "-l", "0", "-o", "out"], journaled=True),
    ]
    if bench.only:
        return [job for job in jobs if job.name == bench.only.split("/")[0]]
    return [job for job in jobs if not (bench.short and job.journaled)]


def put_half_texts(desk: Desk) -> None:
    desk.put("half.txt", lines(1500, 30, seed=5))


def leave_half_done(desk: Desk, name: str) -> None:
    """Kills a job as soon as it has journaled some of its vectors."""
    put_half_texts(desk)
    folder = desk / name
    job = subprocess.Popen([desk.layerwise, *HALF, name], cwd=desk.root, env=desk.environment, stdin=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not vectors_are_journaled(folder / "unfinished.json"):
        if job.poll() is not None or time.monotonic() > deadline:
            job.kill()
            raise SystemExit("a job ended, or hung, before it was journaled; give it more texts in tests/faults/jobs.py")
        time.sleep(0.005)
    job.send_signal(signal.SIGKILL)
    if job.wait() == 0:
        raise SystemExit("a job ended before it was killed; give it more texts in tests/faults/jobs.py")
    (folder / ".layerwise.lock").unlink()


def vectors_are_journaled(journal: Path) -> bool:
    try:
        progress = json.loads(journal.read_text())["progress"]
    except FileNotFoundError:
        return False
    return progress["phase"] == "arrays" and progress["texts"] > 0
