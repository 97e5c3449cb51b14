"""Bytes of rows out of .npy and .safetensors files, without numpy."""

from __future__ import annotations

import ast
import json
import struct
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Array:
    """A matrix, or a vector as one row for each number, as bytes."""

    shape: list[int]
    data: memoryview

    def rows(self, first: int, end: int, columns: slice = slice(None)) -> bytes:
        """Rows `first..end`, and of each the part of its columns that is asked for."""
        width = len(self.data) // self.shape[0] if self.shape[0] else 0
        if columns == slice(None):
            return bytes(self.data[first * width : end * width])
        item = width // self.shape[1]
        cut = [self.data[row * width : (row + 1) * width][columns.start * item : columns.stop * item] for row in range(first, end)]
        return b"".join(cut)

    def integers(self) -> list[int]:
        return list(struct.unpack(f"<{len(self.data) // 8}q", self.data))


def npy(path: Path) -> Array:
    content = path.read_bytes()
    if content[:6] != b"\x93NUMPY":
        raise ValueError(f"{path} is no .npy file")
    length, start = (
        (struct.unpack_from("<H", content, 8)[0], 10) if content[6] == 1 else (struct.unpack_from("<I", content, 8)[0], 12)
    )
    header = ast.literal_eval(content[start : start + length].decode("latin1"))
    return Array(list(header["shape"]), memoryview(content)[start + length :])


def safetensors(path: Path) -> dict[str, Array]:
    content = path.read_bytes()
    (length,) = struct.unpack_from("<Q", content)
    header = json.loads(content[8 : 8 + length])
    data = memoryview(content)[8 + length :]
    tensors = {name: tensor for name, tensor in header.items() if name != "__metadata__"}
    return {name: Array(t["shape"], data[t["data_offsets"][0] : t["data_offsets"][1]]) for name, t in tensors.items()}
