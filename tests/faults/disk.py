"""What a disk may hold after a power loss: the calls of a job, and the states that they may leave.

A file system is two things: contents of files, and names in folders. Both are in memory first. `Disk` takes the recorded calls
in turn and knows at each moment what the process sees, what has been flushed since, and what still waits; `state` draws one
of the states that may be found after the power comes back.
"""

from __future__ import annotations

import os
import random
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from strace import Call

SECTOR = 512


@dataclass
class Content:
    """A file's bytes: as the process sees them, as they were flushed, and the writes since then."""

    seen: bytearray
    flushed: bytes = b""
    waiting: list[tuple[int, bytes | None]] = field(default_factory=list)  # place and bytes; None cuts or fills up to the place

    def write(self, place: int, data: bytes) -> None:
        put(self.seen, place, data)
        self.waiting.append((place, data))

    def resize(self, length: int) -> None:
        resize(self.seen, length)
        self.waiting.append((length, None))

    def flush(self) -> None:
        self.flushed = bytes(self.seen)
        self.waiting.clear()


def resize(content: bytearray, length: int) -> None:
    del content[length:]
    content.extend(bytes(length - len(content)))


def put(content: bytearray, place: int, data: bytes) -> None:
    if len(content) < place:
        resize(content, place)
    content[place : place + len(data)] = data


@dataclass
class Change:
    """A change of names, which waits for its folder to be flushed."""

    kind: str
    path: str
    to: str | None = None
    content: Content | None = None

    def apply(self, names: dict[str, Content | None]) -> None:
        """Names have contents; folders have None. What is not there any more, or not yet, changes nothing."""
        if self.kind == "remove":
            names.pop(self.path, None)
        elif self.kind == "rename":
            if self.path in names:
                names[self.to] = names.pop(self.path)
        else:
            names[self.path] = self.content

    def folder(self) -> str:
        return os.path.dirname(self.path)


# How a disk may have taken what was not flushed. The first is no loss of power, but a killed process.
MODELS = {
    "killed": "everything is there",
    "nothing": "nothing is there that was not flushed",
    "zeros": "names and sizes are there, the data are zeros",
    "torn": "names up to one moment; of the data, sectors and whole writes here and there",
    "reordered": "of each folder the names up to a moment of its own, whatever other folders or files were flushed; data as torn",
}


class Disk:
    """The part of the file system below one folder, which need not exist yet."""

    def __init__(self, root: Path) -> None:
        self.root = str(root)
        self.names: dict[str, Content | None] = {}
        for path in sorted(root.rglob("*")) if root.exists() else []:
            content = None if path.is_dir() else Content(bytearray(path.read_bytes()), path.read_bytes())
            self.names[str(path)] = content
        if root.exists():
            self.names[self.root] = None
        self.flushed_names = dict(self.names)
        # By folder alone what its own fsync has flushed, which is all that POSIX promises; and all that waits.
        self.strictly_flushed = dict(self.names)
        self.waiting: list[Change] = []
        self.strictly_waiting: list[Change] = []
        self.open: dict[int, tuple[str, Content | None, int]] = {}  # path, content, place

    def is_inside(self, path: str) -> bool:
        return path == self.root or path.startswith(self.root + "/")

    def change(self, change: Change) -> None:
        change.apply(self.names)
        self.waiting.append(change)
        self.strictly_waiting.append(change)

    def flush_names(self, folder: str | None) -> None:
        """Any fsync commits all names of a journaling file system; strictly, a folder's own commits those in it."""
        for change in self.waiting:
            change.apply(self.flushed_names)
        self.waiting.clear()
        if folder is not None:
            mine = [change for change in self.strictly_waiting if change.folder() == folder]
            for change in mine:
                change.apply(self.strictly_flushed)
            self.strictly_waiting = [change for change in self.strictly_waiting if change.folder() != folder]

    def take(self, call: Call, working_folder: str) -> str | None:
        """Takes a call; what it changed, in a few words, or None."""
        if call.result < 0:
            return None
        strings = [unescaped(text) for text in STRING.findall(call.arguments)]
        first = call.arguments.split(",")[0].strip()

        def path(index: int) -> str:
            """A path among the arguments, in the folder that the argument before it names."""
            before = FOLDER.findall(call.arguments) if AT.search(call.name) else []
            at = before[index] if index < len(before) else "AT_FDCWD"
            folder = working_folder if not at.isdigit() else self.open.get(int(at), (working_folder, None, 0))[0]
            return os.path.normpath(os.path.join(folder, os.fsdecode(strings[index])))

        name = call.name
        if name in ("open", "openat", "openat2"):
            return self.opened(path(0), call)
        if name == "close":
            self.open.pop(int(first), None)
            return None
        if name in ("dup", "fcntl"):
            if int(first) in self.open and (name == "dup" or "F_DUPFD" in call.arguments):
                self.open[call.result] = self.open[int(first)]
            return None
        if name in ("rename", "renameat", "renameat2"):
            from_, to = path(0), path(1)
            if not self.is_inside(from_):
                return None
            self.change(Change("rename", from_, to))
            return f"{os.path.basename(from_)} renamed to {os.path.basename(to)}"
        if name in ("unlink", "unlinkat", "rmdir", "mkdir", "mkdirat"):
            if not self.is_inside(path(0)):
                return None
            self.change(Change("create" if name.startswith("mkdir") else "remove", path(0)))
            return f"{name} {os.path.basename(path(0))}"
        if not first.isdigit() or int(first) not in self.open:
            if name in ("copy_file_range", "sendfile", "link", "linkat", "fallocate"):
                raise SystemExit(f"{name} is a call that tests/faults/disk.py does not know; teach it")
            return None
        file, content, place = self.open[int(first)]
        if name in ("fsync", "fdatasync"):
            if content is None:
                self.flush_names(file)
            else:
                content.flush()
                self.flush_names(None)
        elif content is None:
            return None
        elif name == "lseek":
            self.open[int(first)] = (file, content, call.result)
            return None
        elif name in ("write", "pwrite64"):
            data = strings[0][: call.result]
            if name == "pwrite64":
                content.write(int(call.arguments.rsplit(",", 1)[1]), data)
            else:
                content.write(place, data)
                self.open[int(first)] = (file, content, place + len(data))
        elif name == "ftruncate":
            content.resize(int(call.arguments.split(",")[1]))
        elif name == "read":
            self.open[int(first)] = (file, content, place + call.result)
            return None
        else:
            raise SystemExit(f"{name} is a call that tests/faults/disk.py does not know; teach it")
        return f"{name} {os.path.basename(file)}"

    def opened(self, path: str, call: Call) -> str | None:
        if not self.is_inside(path):
            self.open.pop(call.result, None)
            return None
        done = None
        if path not in self.names:
            self.change(Change("create", path, content=Content(bytearray())))
            done = f"create {os.path.basename(path)}"
        content = self.names[path]
        if content is not None and "O_TRUNC" in call.arguments and content.seen:
            content.resize(0)
            done = f"cut {os.path.basename(path)}"
        self.open[call.result] = (path, content, len(content.seen) if content and "O_APPEND" in call.arguments else 0)
        return done

    def state(self, model: str, numbers: random.Random) -> dict[str, bytes | None]:
        """What is found by path: bytes of files, None for folders."""
        if model in ("killed", "zeros"):
            names = self.names
        elif model == "nothing":
            names = self.flushed_names
        elif model == "torn":
            names = dict(self.flushed_names)
            for change in self.waiting[: numbers.randint(0, len(self.waiting))]:
                change.apply(names)
        else:
            names = dict(self.strictly_flushed)
            folders = {change.folder() for change in self.strictly_waiting}
            kept = {
                folder: numbers.randint(0, sum(change.folder() == folder for change in self.strictly_waiting))
                for folder in sorted(folders)
            }
            for change in self.strictly_waiting:
                if kept[change.folder()] > 0:
                    kept[change.folder()] -= 1
                    change.apply(names)
        return {path: content and held(content, model, numbers) for path, content in sorted(names.items())}


def held(content: Content, model: str, numbers: random.Random) -> bytes:
    """What is found in a file."""
    if model == "killed" or not content.waiting:
        return bytes(content.seen)
    if model == "nothing":
        return content.flushed
    if model == "zeros":
        found = bytearray(content.flushed)
        resize(found, len(content.seen))
        return bytes(found)
    found = bytearray(content.flushed)
    share = numbers.choice([0.0, 0.2, 0.5, 0.8, 1.0])
    for place, data in content.waiting:
        if data is None:
            resize(found, place)
        elif len(data) > SECTOR:
            for start in range(0, len(data), SECTOR):
                if numbers.random() < share:
                    put(found, place + start, data[start : start + SECTOR])
        elif numbers.random() < share:
            put(found, place, data)
    return bytes(found)


STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
FOLDER = re.compile(r'(\w+), "')
AT = re.compile(r"at2?$")


def unescaped(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))


def lay(state: dict[str, bytes | None], root: Path) -> None:
    """Makes a state real in place of what is there."""
    shutil.rmtree(root, ignore_errors=True)
    for path, content in state.items():
        if content is None:
            Path(path).mkdir(parents=True, exist_ok=True)
    for path, content in state.items():
        if content is not None:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            Path(path).write_bytes(content)


def moments(calls: list[Call], disk: Disk, working_folder: str) -> list[tuple[int, str]]:
    """The moments at which the power may go: the number of calls made by then, and what the last one changed. Of a run of
    writes to one file there is one in the middle and one at the end. The disk takes all calls."""
    changes = []
    for number, call in enumerate(calls, 1):
        if done := disk.take(call, working_folder):
            changes.append((number, done))
    found = []
    begun = 0
    for at, (number, done) in enumerate(changes):
        if at + 1 < len(changes) and changes[at + 1][1] == done:
            continue
        if at > begun:
            found.append(changes[(begun + at) // 2])
        found.append((number, done))
        begun = at + 1
    return found
