"""strace: whether it can be used, which calls a job makes, and one of them made to fail."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bench import Bench, Desk, Try, in_turn

# What a job does to the file system. Where a kernel or an architecture lacks one, the question mark has strace leave it out.
READING = "open openat openat2 read pread64 lseek statx stat newfstatat fstat statfs fstatfs getdents64 readlink flock".split()
WRITING = (
    "write pwrite64 writev ftruncate fallocate fsync fdatasync close rename renameat renameat2 link linkat unlink unlinkat "
    "mkdir mkdirat rmdir copy_file_range sendfile"
).split()
# The Rust runtime's first call. What comes before it is the loader's, which has errors of its own.
RUNTIME_BEGINS = "poll"


def unusable() -> str | None:
    """Why strace cannot be used here; None where it can."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    tried = subprocess.run(["strace", "-f", "-qq", "-o", "/dev/null", "-e", "inject=fsync:error=EIO", "true"], capture_output=True)
    if tried.returncode:
        return "strace cannot trace here: " + tried.stderr.decode(errors="replace").strip().splitlines()[-1]
    return None


def only(calls: list[str]) -> str:
    return "trace=" + ",".join("?" + call for call in calls)


@dataclass
class Call:
    """A call that returned: its name, its arguments as strace writes them, and what it returned."""

    name: str
    arguments: str
    result: int


def calls(log: Path) -> Iterator[tuple[str, Call]]:
    """The calls in a log, each with its thread, in the order in which they returned."""
    begun: dict[str, str] = {}
    with log.open(errors="surrogateescape") as lines:
        for line in lines:
            thread, _, rest = line.rstrip("\n").partition(" ")
            rest = rest.lstrip()
            if rest.endswith("<unfinished ...>"):
                begun[thread] = rest.removesuffix("<unfinished ...>").rstrip()
                continue
            if resumed := re.match(r"<\.\.\. \w+ resumed>(.*)$", rest):
                rest = begun.pop(thread, "") + resumed.group(1)
            if call := re.match(r"(\w+)\((.*)\) += (-?\d+)", rest):
                yield thread, Call(call.group(1), call.group(2), int(call.group(3)))


def count(log: Path) -> dict[str, range]:
    """For each call the numbers it has in a job, from 1, without the loader's. strace counts in each thread by itself, so these
    are the numbers of the thread that makes most of them."""
    total: Counter[tuple[str, str]] = Counter()
    loader: dict[str, int] = {}
    first = None
    for thread, call in calls(log):
        first = first or thread
        if call.name == RUNTIME_BEGINS and thread == first and not loader:
            loader = {name: number for (name, of), number in total.items() if of == first}
            loader.setdefault(RUNTIME_BEGINS, 1)
        total[call.name, thread] += 1
    names = {name for name, _ in total} - {RUNTIME_BEGINS}
    most = {name: max(number for (of, _), number in total.items() if of == name) for name in names}
    return {name: range(loader.get(name, 0) + 1, most[name] + 1) for name in sorted(names)}


@dataclass
class Injection:
    """One call that fails, or at which the process is killed."""

    call: str
    number: int
    fault: str

    def under(self, log: Path) -> list[str]:
        how = "signal=KILL" if self.fault == "KILL" else f"error={self.fault}"
        when = f"inject={self.call}:{how}:when={self.number}"
        return ["strace", "-f", "-qq", "-o", str(log), "-e", f"trace={self.call}", "-e", when]

    def happened(self, log: Path) -> int:
        """How often: each thread that comes to that number of the call has it."""
        text = log.read_text(errors="replace")
        return text.count("killed by SIGKILL") if self.fault == "KILL" else text.count("(INJECTED)")


def record(desk: Desk, command: list[str], log: Path, names: list[str], with_data: bool = False) -> None:
    """Runs a job and writes its calls to a log, with all that it writes if that is asked for."""
    data = ["-xx", "-s", str(1 << 26)] if with_data else []
    ended = desk.runs(*command, under=["strace", "-f", "-qq", "-o", str(log), *data, "-e", only(names)], bounded=False)
    ended.succeeds()


def bench(doc: str, tries: Callable[[Bench, Desk], list[list[Try]]]) -> int:
    """A bench whose groups of tries need strace; the exit code."""
    bench = Bench(doc, short_seconds=30)
    if why := unusable():
        return bench.skip(why)
    groups = tries(bench, bench.desk())
    return bench.run(in_turn(groups), f" of {sum(map(len, groups)):,}")
