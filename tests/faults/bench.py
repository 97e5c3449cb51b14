"""What the fault benches share: their options, tries that are counted and can be repeated, and a desk to run layerwise on.

A bench is a sequence of tries with names. It goes on until its time is up or all is tried, prints every failure with the command
that repeats it, and ends with 1 if there was one. The same seed gives the same tries in the same order.
"""

from __future__ import annotations

import argparse
import atexit
import hashlib
import os
import random
import resource
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
GOLDEN = REPOSITORY / "tests/golden"
MIB = 1 << 20
# What a run may take where nothing else is said. The address space is for what would be allocated in one piece, the peak for
# what is touched; mimalloc reserves a gibibyte before main.
ADDRESS_SPACE = 4096 * MIB
PEAK = 512 * MIB
LARGEST_FILE = 1024 * MIB
SECONDS = 60.0
# Of how many failures the folder is kept.
KEPT = 10
LARGEST_KEPT = 16 * MIB


class Problem(Exception):
    """What a try found: the program did what it must not. `state` is a folder to keep, from which it does so again."""

    def __init__(self, what: str, state: Path | None = None) -> None:
        super().__init__(what)
        self.state = state


class NotReached(Exception):
    """The try came to nothing, as the process ended before the fault: neither a success nor a failure."""


@dataclass
class Try:
    name: str
    run: Callable[[], None]


class Bench:
    """Options of the command line, and the count of tries."""

    def __init__(self, doc: str, short_seconds: float) -> None:
        parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
        parser.add_argument("--layerwise", type=Path, required=True, help="the binary")
        parser.add_argument("--seconds", type=float, help=f"time to spend (600; {short_seconds:g} with --short)")
        parser.add_argument("--seed", type=int, default=1, help="of everything that is drawn (1)")
        parser.add_argument("--short", action="store_true", help="the form for CI")
        parser.add_argument("--only", metavar="NAME", help="the tries whose names begin so; for one failure its whole name")
        args = parser.parse_args()
        self.layerwise: Path = args.layerwise.resolve()
        self.short: bool = args.short
        self.seconds: float = args.seconds or (short_seconds if args.short else 600.0)
        self.seed: int = args.seed
        self.only: str | None = args.only
        self.name = Path(sys.argv[0]).name
        self.begun = time.monotonic()
        self.scratch = Path(tempfile.mkdtemp(prefix="layerwise-faults-"))
        atexit.register(shutil.rmtree, self.scratch, ignore_errors=True)
        if not os.access(self.layerwise, os.X_OK):
            raise SystemExit(f"{self.layerwise} is no program; build it, or name another with --layerwise")
        print(f"{self.name}: seed {self.seed}, {self.seconds:g} s", flush=True)

    def random(self, *of: object) -> random.Random:
        """Numbers that depend on the seed and on what they are for alone."""
        return random.Random("/".join(map(str, (self.seed, *of))))

    def desk(self, name: str = "desk") -> Desk:
        return Desk(self.layerwise, self.scratch / name)

    def skip(self, why: str) -> int:
        print(f"skipped: {self.name} ({why})")
        return 0

    def run(self, tries: Iterable[Try], all_of: str = "") -> int:
        """Runs tries until the time is up; the exit code. `all_of` says how many there are."""
        tried = not_reached = failed = 0
        ended = "all tried"
        for one in tries:
            if self.only and not (one.name == self.only or one.name.startswith(self.only + "/")):
                continue
            if time.monotonic() - self.begun > self.seconds and not self.only:
                ended = "time is up"
                break
            try:
                one.run()
                tried += 1
            except NotReached:
                not_reached += 1
            except Problem as problem:
                tried += 1
                failed += 1
                self.report(one, problem, failed <= KEPT)
        if self.only and not tried and not not_reached:
            print(f"no try is named {self.only}", flush=True)
            failed = 1
        took = time.monotonic() - self.begun
        beside = f", {not_reached} not reached" if not_reached else ""
        print(f"{self.name}: {tried} tries{all_of}{beside}, {failed} failed, seed {self.seed}, {took:.0f} s, {ended}", flush=True)
        return 1 if failed else 0

    def report(self, one: Try, problem: Problem, is_kept: bool) -> None:
        print(f"FAIL {one.name}: {problem}")
        short = " --short" if self.short else ""
        command = f"tests/faults/{self.name} --layerwise {shlex.quote(str(self.layerwise))} --seed {self.seed}{short}"
        print(f"  repeat: python3 {command} --only {shlex.quote(one.name)}")
        if is_kept and problem.state is not None and problem.state.exists():
            kept = Path(tempfile.mkdtemp(prefix=f"layerwise-{self.name.removesuffix('.py')}-")) / "desk"
            shutil.copytree(problem.state, kept, symlinks=True, ignore=uncopyable)
            print(f"  as it lay: {kept}")
        sys.stdout.flush()


def in_turn(groups: Iterable[Iterable[Try]]) -> Iterator[Try]:
    """One of each group, then the next of each: what there is little of comes early, what there is much of fills the time."""
    groups = [iter(group) for group in groups]
    while groups:
        left = []
        for group in groups:
            one = next(group, None)
            if one is not None:
                left.append(group)
                yield one
        groups = left


@dataclass
class Ended:
    """A process that ended, or was ended because it took too long."""

    command: list[str]
    code: int
    stdout: bytes
    stderr: str
    seconds: float
    peak: int
    timed_out: bool

    def ends_well(self, codes: tuple[int, ...] = (0, 1, 2), peak: int = PEAK) -> Ended:
        """Holds what every run has to hold: an end of its own in bounded time and memory, and an error that is said."""
        said = self.stderr.strip()[-600:]
        if self.timed_out:
            raise Problem(f"had not ended after {self.seconds:.0f} s, peak {self.peak // MIB} MiB; said {said!r}")
        if "panicked" in self.stderr:
            raise Problem(f"panicked: {said!r}")
        if self.code < 0:
            raise Problem(f"ended by {signal.Signals(-self.code).name}; said {said!r}")
        if self.code not in codes:
            raise Problem(f"exit code {self.code}, expected one of {codes}; said {said!r}")
        if self.peak > peak:
            raise Problem(f"peak of {self.peak // MIB} MiB, more than {peak // MIB}; said {said!r}")
        if self.code and not any(line.startswith("error: ") for line in self.stderr.splitlines()):
            raise Problem(f"exit code {self.code} without an error; said {said!r}")
        for character in self.stderr:
            if character not in "\n\t" and unicodedata.category(character) == "Cc":
                raise Problem(f"put the control character {character!r} on standard error: {said!r}")
        return self

    def succeeds(self) -> Ended:
        return self.ends_well((0,))


@dataclass
class Desk:
    """A folder in which commands are run, with all that layerwise may touch: `out`, `cache` and, for temporary files, `tmp`."""

    layerwise: Path
    root: Path
    environment: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        for folder in (self.root, self.root / "tmp", self.root / "home"):
            folder.mkdir(parents=True, exist_ok=True)
        is_foreign = lambda key: key.startswith(("LAYERWISE", "HF_", "RUST_")) or key.lower().endswith("_proxy")
        outer = {key: value for key, value in os.environ.items() if not is_foreign(key)}
        own = {"HOME": self.root / "home", "TMPDIR": self.root / "tmp", "HF_HOME": self.root / "cache"}
        fixed = {"HF_HUB_OFFLINE": "1", "RUST_BACKTRACE": "0", "NO_COLOR": "1"}
        self.environment = outer | {key: str(path) for key, path in own.items()} | fixed

    def __truediv__(self, name: str) -> Path:
        return self.root / name

    def put(self, name: str, content: str | bytes) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def put_model(self, name: str, golden: str) -> Path:
        """A copy of a golden model, without what is not of the model."""
        shutil.copytree(GOLDEN / golden, self.root / name, ignore=shutil.ignore_patterns("golden.*"))
        return self.root / name

    def runs(
        self,
        *arguments: str,
        under: Iterable[str] = (),
        env: dict[str, str] | None = None,
        seconds: float = SECONDS,
        stdin: object = subprocess.DEVNULL,
        bounded: bool = True,
    ) -> Ended:
        """Runs layerwise, `under` another program if need be. Bounds are set from outside, once the process is there, as a
        bench that serves a hub has threads and must not run Python between fork and exec."""
        command = [*under, str(self.layerwise), *arguments]
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            begun = time.monotonic()
            process = subprocess.Popen(
                command,
                cwd=self.root,
                env=self.environment | (env or {}),
                stdin=stdin,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
            if bounded and hasattr(resource, "prlimit"):
                try:
                    resource.prlimit(process.pid, resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
                    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (LARGEST_FILE, LARGEST_FILE))
                except ProcessLookupError:
                    pass  # It has ended already.
            status, usage, peak, late = watch(process.pid, begun + seconds)
            process.returncode = os.waitstatus_to_exitcode(status)
            out.seek(0)
            err.seek(0)
            return Ended(
                command=command,
                code=process.returncode,
                stdout=out.read(),
                stderr=err.read().decode("utf-8", "backslashreplace"),
                seconds=time.monotonic() - begun,
                peak=peak if sys.platform == "linux" else usage.ru_maxrss,
                timed_out=late,
            )

    def remove(self, *names: str) -> None:
        """Removes what is there, whatever it is."""
        for name in names:
            path = self.root / name
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)

    def outside(self) -> dict[str, tuple]:
        """All that no command may change: everything on the desk but its output and its cache."""
        return tree(self.root, leave_out=("out", "cache"))


def uncopyable(folder: str, names: list[str]) -> set[str]:
    """What is not kept of a failure: FIFOs, devices and sockets, which would be read for ever, and files that are large, as a file
    of a terabyte that takes no room has all of it in a copy."""
    modes = {name: os.lstat(os.path.join(folder, name)) for name in names}
    is_small = lambda status: stat.S_ISREG(status.st_mode) and status.st_size <= LARGEST_KEPT
    fits = lambda status: stat.S_ISDIR(status.st_mode) or stat.S_ISLNK(status.st_mode) or is_small(status)
    return {name for name, status in modes.items() if not fits(status)}


def watch(pid: int, deadline: float) -> tuple[int, resource.struct_rusage, int, bool]:
    """Waits for a process; its status, what it used, its peak in bytes, and whether it had to be ended. The peak is looked up
    meanwhile, as the one that the system hands out in the end begins with that of the bench, which had the memory before it."""
    peak, pause, late = 0, 0.001, False
    while True:
        ended, status, usage = os.wait4(pid, os.WNOHANG)
        if ended:
            return status, usage, peak, late
        try:
            with open(f"/proc/{pid}/status") as file:
                peak = max(peak, *(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM:")), 0)
        except OSError:
            pass  # It ended just now, or this is no Linux.
        if time.monotonic() > deadline and not late:
            late = True
            os.killpg(pid, signal.SIGKILL)
        time.sleep(pause)
        pause = min(pause * 1.5, 0.01)


def tree(folder: Path, leave_out: tuple[str, ...] = ()) -> dict[str, tuple]:
    """What lies in a folder, and when it was last changed. Links are not followed."""
    found: dict[str, tuple] = {}
    for at, folders, files in os.walk(folder):
        here = Path(at)
        if here == folder:
            folders[:] = [name for name in folders if name not in leave_out]
            files = [name for name in files if name not in leave_out]
        for name in folders + files:
            path = here / name
            found[str(path.relative_to(folder))] = entry(path)
    return found


def entry(path: Path) -> tuple:
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode):
        return ("link", os.readlink(path))
    if stat.S_ISDIR(status.st_mode):
        return ("folder", stat.S_IMODE(status.st_mode))
    if not stat.S_ISREG(status.st_mode):
        return ("special", status.st_mode, status.st_rdev)
    # Whatever is done to a file moves the last of these, which no program can set.
    return ("file", status.st_ino, status.st_mode, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def output(folder: Path) -> dict[str, str]:
    """The bytes of an output directory, run.json apart, which says when and how long. Stray files count."""
    files = (path for path in folder.rglob("*") if not path.is_dir())
    return {str(path.relative_to(folder)): digest(path) for path in files if path.name != "run.json"}


def is_stray(name: str) -> bool:
    return Path(name).name.startswith(".")


def differences(found: dict, expected: dict) -> str:
    """What two trees do not agree on, in words; empty where they agree."""
    names = sorted(found.keys() | expected.keys())
    say = lambda name: f"{name} is {'new' if name not in expected else 'gone' if name not in found else 'other'}"
    return ", ".join(say(name) for name in names if found.get(name) != expected.get(name))
