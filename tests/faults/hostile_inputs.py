"""Inputs that are broken, that are no files, or that change while they are read."""

from __future__ import annotations

import gzip
import json
import os
import random
import threading
import time
import zlib
from collections.abc import Callable

from bench import MIB, Desk, Problem
from hostile_case import Case, Writer, fails, succeeds
from mutate import IN_PLACE, in_place, mutate

ALL_FORMATS = ["text", "jsonl", "json", "csv", "tsv", "conll", "conllu"]
RUN = ["extract", "-q", "-m", "model", "-o", "out"]


def model(desk: Desk) -> None:
    desk.put_model("model", "width16")


def with_file(name: str, content: bytes | str | Callable[[], bytes | str]) -> Callable[[Desk], None]:
    """What is large is made when it is needed."""

    def lay(desk: Desk) -> None:
        model(desk)
        desk.put(name, content() if callable(content) else content)

    return lay


def bomb(size: int) -> bytes:
    """gzip of zeros."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return b"".join(packer.compress(bytes(MIB)) for _ in range(size // MIB)) + packer.flush()


def file_cases() -> list[Case]:
    contents = {
        "jsonl-nested.jsonl": lambda: f'{{"text": "a", "id": {"[" * 2_000_000}\n',
        "json-nested.json": lambda: "[" * 2_000_000,
        "json-nested-objects.json": lambda: '{"a":' * 1_000_000,
        "json-not-closed.json": lambda: '[{"text": "a"},' * 100_000,
        "json-long-string.json": lambda: '["' + "a" * 20_000_000,
        "jsonl-huge-number.jsonl": lambda: '{"text": "a", "id": ' + "9" * 5_000_000 + "}\n",
        "long-line.txt": lambda: "a" * 30_000_000,
        "csv-open-quote.csv": lambda: 'text\n"' + "a,\n" * 10_000_000,
        "csv-many-columns.csv": lambda: "text" + ",x" * 3_000_000 + "\n",
        "conll-endless-sentence.conll": lambda: "word O\n" * 3_000_000,
        "conllu-short.conllu": lambda: "1\ta\n" * 100_000,
        "half-utf-16.txt": lambda: b"\xff\xfea",
        "utf-32-beyond.txt": lambda: b"\xff\xfe\x00\x00" + b"\xff\xff\xff\xff" * 1000,
        "zeros.txt": lambda: bytes(5_000_000),
        "bomb.txt.gz": lambda: bomb(1024 * MIB),
        "cut.txt.gz": lambda: gzip.compress(b"the river bank\n" * 1000)[:-6],
        "cut.jsonl.zst": lambda: b"\x28\xb5\x2f\xfd\x04\x00",
        "zst-window-of-2-gib.jsonl.zst": lambda: b"\x28\xb5\x2f\xfd\x00\xa8" + bytes(20),
        "cut.txt.xz": lambda: b"\xfd7zXZ\x00\x00\x04" + bytes(8),
    }
    # Ids are kept as they are spelled, however long.
    right = lambda name: succeeds if name == "jsonl-huge-number.jsonl" else fails()
    return [
        Case(f"file/{name}", with_file(name, content), [[*RUN, "-i", name]], right=right(name))
        for name, content in contents.items()
    ]


def word_cases() -> list[Case]:
    """What an error has to name, with characters that would do something to a terminal."""
    escape = "\x1b[31mred\x07\x9b2J"
    record = json.dumps({"text": 5, "id": escape, escape: 1})
    return [
        Case("words/key", with_file("a.jsonl", record + "\n"), [[*RUN, "-i", "a.jsonl"]], right=fails()),
        Case("words/column", with_file("a.csv", f"text,{escape}\na,b\n"), [[*RUN, "-i", "a.csv", "--carry", "x"]], right=fails()),
        Case("words/same-id", with_file("a.csv", f"text,id\na,{escape}\nb,{escape}\n"), [[*RUN, "-i", "a.csv"]], right=fails()),
        Case("words/file", with_file(f"{escape}.csv", "a,b\n"), [[*RUN, "-i", f"{escape}.csv"]], right=fails()),
        Case("words/option", model, [[*RUN, "-i", "texts.txt", "-e", escape]], right=fails()),
        Case(
            "words/output", model, [["extract", "-q", "-m", "model", "-i", "texts.txt", "-o", f"texts.txt/{escape}"]], right=fails()
        ),
    ]


def in_place_cases() -> list[Case]:
    """No file, but something else with its name. A FIFO that nobody writes to is waited for, as by every program."""
    return [
        Case(
            f"in-place/{make.__name__}",
            lambda desk, make=make: (model(desk), in_place(desk / "texts.txt", make)),
            [[*RUN, "-i", "texts.txt"]],
            right=fails(),
            seconds=10,
        )
        for make in IN_PLACE
        if make.__name__ != "as_fifo"
    ]


LINE = b"the river bank of a long night\n"


def fifo(lines: int, pause: float) -> Callable[[Desk], Writer]:
    """A FIFO that is written to slowly, and then closed."""

    def meanwhile(desk: Desk) -> Writer:
        def write(_: threading.Event) -> None:
            with open(desk / "fifo", "wb", buffering=0) as file:
                for _ in range(lines):
                    file.write(LINE)
                    time.sleep(pause)

        return Writer(write, desk / "fifo")

    return meanwhile


def grows(desk: Desk) -> Writer:
    """A file that is appended to while it is read, for two seconds."""

    def write(over: threading.Event) -> None:
        with open(desk / "cache/texts.txt", "ab", buffering=0) as file:
            end = time.monotonic() + 2
            while not over.wait(0.01) and time.monotonic() < end:
                file.write(LINE * 20)

    return Writer(write)


def changing_cases() -> list[Case]:
    def lay_fifo(desk: Desk) -> None:
        model(desk)
        os.mkfifo(desk / "fifo")

    def lay_growing(desk: Desk) -> None:
        # In the folder of the cache, as what is outside must not change.
        model(desk)
        desk.put("cache/texts.txt", LINE * 300_000)

    def as_many(lines: int) -> Callable:
        def right(desk: Desk, ended: list) -> None:
            succeeds(desk, ended)
            found = (desk / "out/texts.jsonl").read_bytes().count(b"\n")
            if found != lines:
                raise Problem(f"{found} texts, expected {lines}")

        return right

    return [
        Case("changing/fifo", lay_fifo, [[*RUN, "-i", "fifo"]], meanwhile=fifo(50, 0.01), right=as_many(50)),
        Case("changing/fifo-of-nothing", lay_fifo, [[*RUN, "-i", "fifo"]], meanwhile=fifo(0, 0), right=fails()),
        Case(
            "changing/fifo-as-gzip",
            lay_fifo,
            [[*RUN, "-i", "fifo", "--input-format", "csv"]],
            meanwhile=fifo(50, 0.01),
            right=fails(),
        ),
        Case("changing/grows", lay_growing, [[*RUN, "-i", "cache/texts.txt", "-l", "0"]], meanwhile=grows, right=fails()),
    ]


def cases() -> list[Case]:
    return [*file_cases(), *word_cases(), *in_place_cases(), *changing_cases()]


SEEDS = {
    "text": "the river bank\nsome people make a good world\n",
    "jsonl": '{"text": "the river bank", "id": 1, "label": ["a"]}\n{"text": "some people", "id": 2, "label": []}\n',
    "json": '[{"text": "the river bank", "id": 1}, {"text": "some \\ud83d\\ude00 people", "id": 2}]',
    "csv": 'id,text,label\n1,"the ""river"" bank",a\n2,some people,b\n',
    "tsv": "id\ttext\tlabel\n1\tthe river bank\ta\n",
    "conll": "-DOCSTART- O\n\nthe O\nriver B-LOC\n\nsome O\n",
    "conllu": "# text = the river\n1\tthe\tthe\tDET\t_\t_\t2\tdet\t_\t_\n2\triver\triver\tNOUN\t_\t_\t0\troot\t_\t_\n\n",
}


def drawn(name: str, numbers: random.Random) -> Case:
    """A few records of a format, changed at random, as they are, compressed, or in UTF-16."""
    form = numbers.choice(ALL_FORMATS)
    content = (SEEDS[form] * numbers.choice([1, 1, 3, 200])).encode(numbers.choice(["utf-8", "utf-8", "utf-16"]))
    content = mutate(content, numbers)
    if numbers.random() < 0.2:
        content = gzip.compress(content)
        if numbers.random() < 0.7:
            content = mutate(content, numbers)
    command = [*RUN, "-i", "input", "--input-format", form, "-e", numbers.choice(["mean", "word,token"])]
    if form in ("text", "jsonl") and numbers.random() < 0.3:
        command += ["--pretokenized"]
    if numbers.random() < 0.2:
        command += ["--overflow", numbers.choice(["window", "error"])]
    return Case(name, with_file("input", content), [command])
