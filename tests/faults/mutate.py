"""Files that are broken: bytes changed at random, and what is in place of a file."""

from __future__ import annotations

import os
import random
import socket
import struct
from collections.abc import Callable
from pathlib import Path

HUGE = [0, 1, -1, 2**31 - 1, 2**31, 2**32, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1, 10**30]
NUMBERS = [
    b"0",
    b"-1",
    b"1e400",
    b"-0.0",
    b"NaN",
    b"9" * 400,
    b"2147483648",
    b"9223372036854775807",
    b"18446744073709551616",
    b"0.1",
]


def cut(content: bytes, numbers: random.Random) -> bytes:
    return content[: numbers.randint(0, max(0, len(content) - 1))]


def flip(content: bytes, numbers: random.Random) -> bytes:
    """A few bits, near the beginning more often: that is where headers are."""
    changed = bytearray(content)
    for _ in range(numbers.choice([1, 1, 2, 5, 20])):
        if changed:
            end = len(changed) if numbers.random() < 0.5 else min(len(changed), 4096)
            changed[numbers.randrange(end)] ^= 1 << numbers.randrange(8)
    return bytes(changed)


def set_number(content: bytes, numbers: random.Random) -> bytes:
    """Four or eight bytes become a number that is huge or negative."""
    changed = bytearray(content)
    if len(changed) >= 8:
        size, form = numbers.choice([(4, "<I"), (8, "<Q"), (4, ">I"), (2, "<H")])
        place = numbers.randrange(min(len(changed) - size + 1, numbers.choice([16, 256, 1 << 30])))
        changed[place : place + size] = struct.pack(form, numbers.choice(HUGE) % (1 << (8 * size)))
    return bytes(changed)


def set_decimal(content: bytes, numbers: random.Random) -> bytes:
    """A number that is spelled out becomes another."""
    spans = digits(content)
    if not spans:
        return flip(content, numbers)
    start, end = numbers.choice(spans)
    return content[:start] + numbers.choice(NUMBERS) + content[end:]


def digits(content: bytes) -> list[tuple[int, int]]:
    spans, start = [], None
    for place, byte in enumerate(content[: 1 << 16]):
        if 48 <= byte <= 57:
            start = place if start is None else start
        elif start is not None:
            spans.append((start, place))
            start = None
    return spans


def repeat(content: bytes, numbers: random.Random) -> bytes:
    """A stretch of it again, once or many times."""
    if not content:
        return content
    start = numbers.randrange(len(content))
    stretch = content[start : start + numbers.choice([1, 7, 64, 1000])]
    return content[:start] + stretch * numbers.choice([2, 3, 100]) + content[start:]


def remove(content: bytes, numbers: random.Random) -> bytes:
    start = numbers.randrange(len(content) + 1)
    return content[:start] + content[start + numbers.choice([1, 2, 8, 100]) :]


def insert(content: bytes, numbers: random.Random) -> bytes:
    """Something that means something in one of the formats."""
    piece = numbers.choice(
        [b"[" * 10_000, b'{"a":' * 10_000, b"\x00", b"\xff\xfe", b"\x1b[31m", b'"', b"\n", b"}", b"\\u0000", b"\\ud800", b"null"]
    )
    start = numbers.randrange(len(content) + 1)
    return content[:start] + piece + content[start:]


CHANGES: list[Callable[[bytes, random.Random], bytes]] = [
    cut,
    flip,
    flip,
    set_number,
    set_decimal,
    set_decimal,
    repeat,
    remove,
    insert,
]


def mutate(content: bytes, numbers: random.Random) -> bytes:
    for _ in range(numbers.choice([1, 1, 1, 2, 4])):
        content = numbers.choice(CHANGES)(content, numbers)
    return content


def as_folder(path: Path) -> None:
    path.mkdir()


def as_fifo(path: Path) -> None:
    os.mkfifo(path)


def as_link_to_itself(path: Path) -> None:
    path.symlink_to(path.name)


def as_dangling_link(path: Path) -> None:
    path.symlink_to("nowhere/at/all")


def as_zeros(path: Path) -> None:
    """A device that never ends."""
    path.symlink_to("/dev/zero")


def as_nothing(path: Path) -> None:
    path.symlink_to("/dev/null")


def as_memory(path: Path) -> None:
    """A file that cannot be read at its beginning."""
    path.symlink_to("/proc/self/mem")


def as_socket(path: Path) -> None:
    """Its name may be longer than a socket's address, so it is made from within its folder."""
    server = socket.socket(socket.AF_UNIX)
    folder = os.open(path.parent, os.O_RDONLY)
    server.bind(f"/proc/self/fd/{folder}/{path.name}")
    os.close(folder)
    server.close()


def as_empty(path: Path) -> None:
    path.write_bytes(b"")


def as_hole(path: Path) -> None:
    """A terabyte of which nothing is on the disk. Whoever copies it fills the disk."""
    with path.open("wb") as file:
        file.truncate(1 << 40)


IN_PLACE = [as_folder, as_fifo, as_link_to_itself, as_dangling_link, as_zeros, as_nothing, as_memory, as_socket, as_empty, as_hole]


def in_place(path: Path, make: Callable[[Path], None]) -> None:
    """Something else in place of a file."""
    path.unlink(missing_ok=True)
    make(path)
