"""The jobs that are disturbed: one of each kind, small, and two that are long enough to be journaled."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from bench import Desk, is_stray, output

WORDS = "the a river bank house people make some good world again long night light of in on by and or never old new".split()
SLOWLY = ["--threads", "1", "--batch-tokens", "16"]


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


def lay_out(desk: Desk) -> list[Job]:
    """Puts texts, a model and what the jobs need on a desk."""
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
    leave_half_done(desk, [*long, "-e", "token", "-o", "half"], desk / "half")
    parts = ["part-1", "part-2", "part-3"]
    return [
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


def leave_half_done(desk: Desk, command: list[str], folder: Path) -> None:
    """Kills a job that has journaled some of its vectors."""
    job = subprocess.Popen([desk.layerwise, *command], cwd=desk.root, env=desk.environment, stdin=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    journal = folder / "unfinished.json"
    while not (journal.exists() and '"phase": "arrays"' in journal.read_text() and (folder / "token").exists()):
        if job.poll() is not None or time.monotonic() > deadline:
            job.kill()
            raise SystemExit("a job ended, or hung, before it was journaled; give it more texts in tests/faults/jobs.py")
        time.sleep(0.005)
    time.sleep(0.4)
    job.send_signal(signal.SIGKILL)
    if job.wait() == 0:
        raise SystemExit("a job ended before it was killed; give it more texts in tests/faults/jobs.py")
    (folder / ".layerwise.lock").unlink()
