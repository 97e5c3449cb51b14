"""Output directories that hold links, devices, damaged files, or lies about a job."""

from __future__ import annotations

import json
import os
import random
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path

from bench import Desk, Ended, Problem, output
from hostile_case import Case, fails
from jobs import HALF, leave_half_done, put_half_texts
from mutate import HUGE, IN_PLACE, as_hole, in_place, mutate

JOB = ["extract", "-q", "-m", "model", "-i", "texts.txt", "-o", "out"]
OTHER = [*JOB, "-e", "token,mean"]

# What lies in the output directory before something in it is replaced.
Ground = Callable[[Desk], None]


def empty(desk: Desk) -> None:
    desk.put_model("model", "width16")
    (desk / "out").mkdir()


def of_the_job(desk: Desk) -> None:
    desk.put_model("model", "width16")
    desk.runs(*JOB).succeeds()


def of_another(desk: Desk) -> None:
    desk.put_model("model", "width16")
    desk.runs(*OTHER).succeeds()


_half: Path | None = None


def half_done(desk: Desk) -> None:
    """A job that was killed. It is made once and copied, as it takes a second."""
    global _half
    desk.put_model("model", "width16")
    put_half_texts(desk)
    if _half is None:
        leave_half_done(desk, "out")
        _half = desk.root.with_name("half")
        shutil.copytree(desk / "out", _half)
    else:
        shutil.copytree(_half, desk / "out")


GROUNDS = {"empty": empty, "same": of_the_job, "another": of_another, "half": half_done}
# Names that the program opens, creates, renames or removes. Of temporary names the fixed ones.
FILES = [
    ".layerwise.lock",
    "manifest.json",
    "unfinished.json",
    "run.json",
    "texts.jsonl",
    ".layerwise-texts.jsonl",
    ".layerwise-tokens",
    ".layerwise-new-texts.jsonl",
    ".layerwise-new-tokens",
    ".layerwise-part.jsonl",
    "mean/layer_00.npy",
    "mean.safetensors",
]
FOLDERS = ["mean", "token"]
COMMANDS = {
    "plain": JOB,
    "overwrite": [*JOB, "--overwrite"],
    "safetensors-overwrite": [*JOB, "-f", "safetensors", "--overwrite"],
    "part-overwrite": [*JOB, "-e", "token,mean", "--shard", "1/2", "--overwrite"],
    "merge-overwrite": ["merge", "-q", "--overwrite", "out", "part-1", "part-2"],
}


def parts(desk: Desk) -> None:
    for part in (1, 2):
        desk.runs(*JOB[:-1], f"part-{part}", "--shard", f"{part}/2").succeeds()


def replaced(ground: Ground, name: str, make: Callable[[Path], None], with_parts: bool = False) -> Callable[[Desk], None]:
    def lay(desk: Desk) -> None:
        ground(desk)
        if with_parts:
            parts(desk)
        path = desk / "out" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        in_place(path, make)

    return lay


def to(target: str) -> Callable[[Path], None]:
    """A link to something on the desk."""
    return lambda path: path.symlink_to(desk_of(path) / target)


def desk_of(path: Path) -> Path:
    return next(parent for parent in path.parents if parent.name == "out").parent


def link_cases() -> list[Case]:
    """A link in the output directory to what must stay as it is."""
    found = []
    targets = {"file": "precious/file", "nowhere": "precious/nowhere", "folder": "precious/folder"}
    for ground_name, ground in GROUNDS.items():
        for command_name, command in COMMANDS.items():
            for name in FILES + FOLDERS:
                for target_name, target in targets.items():
                    lay = replaced(ground, name, to(target), "merge" in command_name)
                    case_name = f"link/{ground_name}/{command_name}/{name}/{target_name}"
                    # A finished job whose file is a link has nothing left to do, and half a job is that of another command.
                    found.append(Case(case_name, lay, [command], whole=ground_name != "same"))
    # Half a job that goes on.
    for name in FILES + FOLDERS + ["token/layer_04.npy", "token/offsets.npy"]:
        for target_name, target in targets.items():
            lay = replaced(half_done, name, to(target))
            found.append(Case(f"link/half/goes-on/{name}/{target_name}", lay, [[*HALF, "out"]], whole=False))
    return found


def in_place_cases() -> list[Case]:
    """Something in place of a file of the output, for every command that reads one."""
    commands = {
        "extract": JOB,
        "overwrite": [*JOB, "-e", "cls", "--overwrite"],
        "verify": ["verify", "out"],
        "recompute": ["verify", "out", "--recompute", "2", "-i", "texts.txt", "-m", "model"],
        "info": ["info", "out"],
        "merge": ["merge", "cache/merged", "out"],
        "probe": ["probe", "out"],
    }
    files = [".layerwise.lock", "manifest.json", "unfinished.json", "run.json", "texts.jsonl", "mean/layer_00.npy", "mean"]
    return [
        Case(
            f"in-place/{command_name}/{name}/{make.__name__}",
            replaced(of_the_job, name, make),
            [command],
            seconds=10,
            whole=False,
        )
        for command_name, command in commands.items()
        for name in files
        for make in IN_PLACE
        # A terabyte of lines is rightly read for hours, and rightly copied.
        if make is not as_hole
    ]


def path_cases() -> list[Case]:
    """The output directory itself."""
    start = ["extract", "-q", "-m", "model", "-i", "texts.txt", "-o"]
    put_model = lambda desk: desk.put_model("model", "width16")
    cases = [
        Case(
            f"path/{make.__name__}",
            lambda desk, make=make: (put_model(desk), in_place(desk / "out", make)),
            [JOB],
            right=fails(),
        )
        for make in IN_PLACE
        if make.__name__ not in ("as_folder", "as_dangling_link")
    ]
    paths = {"file": "texts.txt", "below-file": "texts.txt/out", "device": "/dev/null", "process": "/proc/self/out", "empty": ""}
    paths |= {"long": "x" * 300, "deep": "x/" * 3000, "escape": "texts.txt/\x1b[31m"}
    cases += [Case(f"path/{name}", put_model, [[*start, path]], right=fails()) for name, path in paths.items()]
    for overwrite in ([], ["--overwrite"]):
        name = f"path/input-in-output{'-overwrite' if overwrite else ''}"
        command = ["extract", "-q", "-m", "model", "-i", "out/texts.jsonl", "--input-format", "text", "-o", "out", *overwrite]
        cases.append(Case(name, input_in_output, [command], right=keeps("out/texts.jsonl", b"the only copy\n"), whole=False))
    backup = Case("path/hard-links", hard_links, [[*JOB, "-e", "cls", "--overwrite"]], right=keeps_backup)
    return [*cases, backup]


def input_in_output(desk: Desk) -> None:
    of_the_job(desk)
    desk.put("out/texts.jsonl", "the only copy\n")


def keeps(name: str, content: bytes) -> Callable[[Desk, list[Ended]], None]:
    def right(desk: Desk, _: list[Ended]) -> None:
        if (desk / name).read_bytes() != content:
            raise Problem(f"{name} was the input, and is not what it was")

    return right


def hard_links(desk: Desk) -> None:
    """A copy as `cp -al` makes it, in a folder that may change, as removing a file changes when its other names were changed."""
    of_another(desk)
    shutil.copytree(desk / "out", desk / "cache/copy", copy_function=os.link)
    (desk / "cache/digests").write_text(json.dumps(output(desk / "cache/copy")))


def keeps_backup(desk: Desk, _: list[Ended]) -> None:
    if output(desk / "cache/copy") != json.loads((desk / "cache/digests").read_text()):
        raise Problem("files outside that had hard links in the output directory were written to")


def cases() -> list[Case]:
    return [*link_cases(), *in_place_cases(), *path_cases()]


def forge(path: Path, numbers: random.Random) -> None:
    """Other numbers in a manifest or a journal, with a checksum that is right."""
    value = json.loads(path.read_text())
    places = list(leaves(value))
    for _ in range(numbers.choice([1, 1, 2, 5])):
        holder, key = numbers.choice(places)
        holder[key] = numbers.choice([*HUGE, -1, 1.5, None, True, "", "../../precious/file", "\x1b[31m", [], {}, [[]] * 3])
    if "checksum" in value:
        del value["checksum"]
        value["checksum"] = f"{zlib.crc32(json.dumps(value, separators=(',', ':'), ensure_ascii=False).encode()):08x}"
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def leaves(value: dict | list) -> list[tuple]:
    found = []
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        found.append((value, key))
        if isinstance(inner, dict | list):
            found.extend(leaves(inner))
    return found


def drawn(name: str, numbers: random.Random) -> Case:
    """A file of a finished or a half-done job, changed at random or forged, and any command on it."""
    ground = numbers.choice([of_the_job, of_another, half_done])
    same = {of_the_job: JOB, of_another: OTHER, half_done: [*HALF, "out"]}[ground]
    model_and_input = same[2:6]
    commands = [
        same,
        ["extract", "-q", "-m", "model", "-i", "texts.txt", "-e", "cls", "--overwrite", "-o", "out"],
        ["verify", "out"],
        ["verify", "--json", "out"],
        ["verify", "out", "--recompute", "2", *model_and_input],
        ["info", "out"],
        ["info", "--json", "out"],
        ["merge", "cache/merged", "out"],
        ["probe", "out"],
    ]
    command = numbers.choice(commands)

    def lay(desk: Desk) -> None:
        ground(desk)
        files = sorted(path for path in (desk / "out").rglob("*") if path.is_file())
        settings = [path for path in files if path.suffix == ".json" and path.name != "run.json"]
        if numbers.random() < 0.5:
            forge(numbers.choice(settings), numbers)
        else:
            path = numbers.choice(settings + files)
            path.write_bytes(mutate(path.read_bytes(), numbers))

    return Case(name, lay, [command], whole="--overwrite" in command)
