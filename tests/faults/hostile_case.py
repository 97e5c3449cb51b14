"""A case: what is laid on a desk, what is run there, and what may come of it."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from bench import PEAK, Bench, Desk, Ended, Problem, differences

TEXTS = "the river bank\n\nsome people make a good world\nlight of a long night\n"


@dataclass
class Case:
    """`lay` puts files on the desk; `commands` are run one after the other. `may_succeed` says of success: `right` is checked then."""

    name: str
    lay: Callable[[Desk], object]
    commands: list[list[str]]
    codes: tuple[int, ...] = (0, 1, 2)
    # Further checks of all the runs; raises Problem.
    right: Callable[[Desk, list[Ended]], None] = lambda desk, ended: None
    environment: dict[str, str] = field(default_factory=dict)
    # What happens meanwhile: a server, a writer. It is entered after `lay`, and may give variables of the environment.
    meanwhile: Callable[[Desk], AbstractContextManager] = lambda desk: nullcontext({})
    stdin: Callable[[Desk], object] = lambda desk: subprocess.DEVNULL
    seconds: float = 60.0
    peak: int = PEAK
    slow: bool = False
    # Whether an output directory that the last command completed has to be whole. It need not where what it goes on with, or has
    # nothing to do for, was damaged before.
    whole: bool = True


def face(bench: Bench, case: Case) -> None:
    """Runs a case on a desk of its own."""
    root = bench.scratch / "case"
    shutil.rmtree(root, ignore_errors=True)
    desk = bench.desk("case")
    desk.put("texts.txt", TEXTS)
    desk.put("precious/file", "the only copy\n")
    for name in ("file", "layer_00.npy", "manifest.json"):
        desk.put(f"precious/folder/{name}", "the only copy\n")
    case.lay(desk)
    before = desk.outside()
    try:
        with case.meanwhile(desk) as more:
            env = case.environment | (more or {})
            ended = []
            for command in case.commands:
                run = desk.runs(*command, env=env, seconds=case.seconds, stdin=case.stdin(desk))
                ended.append(run.ends_well(case.codes, case.peak))
        if changed := differences(desk.outside(), before):
            raise Problem(f"beside the output directory {changed}; said {ended[-1].stderr.strip()[-300:]!r}")
        case.right(desk, ended)
        if case.whole:
            whole_if_complete(desk, ended)
    except Problem as problem:
        raise Problem(f"{problem}\n  ran {[' '.join(command) for command in case.commands]}", root) from None


def whole_if_complete(desk: Desk, ended: list[Ended]) -> None:
    """A directory that the last command completed is whole."""
    command = ended[-1].command
    if ended[-1].code == 0 and command[1] in ("extract", "merge") and (desk / "out/manifest.json").is_file():
        said = desk.runs("verify", "out").ends_well()
        if said.code:
            raise Problem(f"ended well, but {said.stdout.decode(errors='replace').strip()[-300:]}")


def fails(saying: str = "") -> Callable[[Desk, list[Ended]], None]:
    """The last command ends with an error that says this."""

    def right(_: Desk, ended: list[Ended]) -> None:
        if not ended[-1].code or saying not in ended[-1].stderr:
            raise Problem(f"exit code {ended[-1].code}, expected an error with {saying!r}; said {ended[-1].stderr.strip()!r}")

    return right


def succeeds(_: Desk, ended: list[Ended]) -> None:
    for run in ended:
        run.succeeds()


class Writer:
    """A thread that writes into a FIFO, or makes a file grow, for as long as the program runs."""

    def __init__(self, work: Callable[[threading.Event], None], release: Path | None = None) -> None:
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.quietly, args=(work,), daemon=True)
        self.release = release

    def quietly(self, work: Callable[[threading.Event], None]) -> None:
        try:
            work(self.over)
        except OSError:
            pass  # The reader has gone.

    def __enter__(self) -> dict[str, str]:
        self.thread.start()
        return {}

    def __exit__(self, *_: object) -> None:
        self.over.set()
        if self.release is not None:
            # A writer that nobody read from waits in open until there is a reader.
            os.close(os.open(self.release, os.O_RDONLY | os.O_NONBLOCK))
        self.thread.join(5)
