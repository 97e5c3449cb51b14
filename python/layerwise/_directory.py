"""Output directories of ``layerwise extract -o``, mapped into memory."""

from __future__ import annotations

import os
from functools import cached_property

from ._layers import Layers, Ragged, by_number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType
    from typing import Any

    import numpy as np
    from numpy.typing import NDArray

    from ._layerwise import OpenDirectory

# The manifest's version that this reads.
_FORMAT_VERSION = 1

# The manifest's names of the types that Parquet has, and numpy's.
_COLUMN_TYPES = {"f32": "<f4", "f16": "<f2"}

# The safetensors names of types, and numpy's. numpy has no bfloat16; those are the upper halves of float32 numbers.
_TYPES = {"F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8"}


def open(path: str | os.PathLike[str]) -> Directory:
    """Opens a directory that ``layerwise extract -o`` wrote, in whatever format. Nothing is read before it is asked for.

    Arrays are mapped where they lie. Those of Parquet files are compressed: when one is asked for, it is first unpacked into a
    temporary file without a name, which is mapped, and goes when it is no longer in use.

    >>> with layerwise.open("out") as d:  # doctest: +SKIP
    ...     d["mean"][6]  # numpy (texts, hidden_size), mapped
    ...     d["token"][6][3]  # numpy (tokens of text 3, hidden_size), mapped
    ...     d.texts[3]["tokens"]

    Raises
    ------
    FileNotFoundError
        When there is no such directory, or it has no ``manifest.json``, as the job is not finished.
    ValueError
        When it was written by another version of the format, or its files are not what the manifest says; when it holds Parquet
        files and the package was built without them.
    """
    return Directory(path)


class Directory:
    """An output directory; :func:`layerwise.open` opens it.

    ``d[kind]`` is what :class:`layerwise.Embeddings` has, mapped and read-only: of kinds with layers :class:`layerwise.Layers`,
    ``d["mean"][6]`` being (texts, hidden_size) and ``d["token"][6][3]`` (tokens of text 3, hidden_size); of others an array
    (texts, columns). Numbers have the type that they were stored in, but for bfloat16, which becomes float32. ``len(d)`` is
    the number of texts. ``layerwise verify`` says whether a directory is whole; here only sizes are checked.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        import json

        self.path = os.fspath(path)
        try:
            with _open(os.path.join(self.path, "manifest.json"), "rb") as file:
                self.manifest: dict[str, Any] = json.load(file)
                """``manifest.json``: the model, the plan, counts."""
        except FileNotFoundError as error:
            problem = "does not exist"
            if os.path.isdir(self.path):
                problem = "has no manifest.json; expected a finished directory of `layerwise extract -o`"
            raise FileNotFoundError(error.errno, problem, self.path) from None
        except ValueError as error:
            raise ValueError(f"{self.path}: manifest.json is damaged: {error}") from None
        version = self.manifest.get("format_version") if isinstance(self.manifest, dict) else None
        if version != _FORMAT_VERSION:
            raise ValueError(f"{self.path}: has format version {version}; this layerwise knows version {_FORMAT_VERSION}")
        self._open_arrays: dict[str, NDArray[Any]] = {}

    @cached_property
    def _arrays(self) -> dict[str, list[dict[str, Any]]]:
        """The manifest's arrays by kind."""
        arrays: dict[str, list[dict[str, Any]]] = {}
        for array in self.manifest["arrays"]:
            arrays.setdefault(array["kind"], []).append(array)
        return arrays

    @property
    def kinds(self) -> list[str]:
        """The kinds of vectors that there are."""
        return list(self._arrays)

    @property
    def layers(self) -> list[int]:
        """The layers that were asked for, ascending; 0 is the embedding output."""
        return list(self.manifest["plan"]["layers"])

    @cached_property
    def texts(self) -> Texts:
        """The lines of ``texts.jsonl``: a sequence with a dict for each text."""
        return Texts(os.path.join(self.path, "texts.jsonl"), len(self))

    def __len__(self) -> int:
        return int(self.manifest["counts"]["texts"])

    def __contains__(self, kind: object) -> bool:
        return kind in self._arrays

    def __getitem__(self, kind: str) -> Any:
        arrays = self._of(kind)
        offsets = self._offsets(arrays[0])
        if isinstance(arrays[0]["layer"], int):
            return Layers(_Mapped(self, arrays), [array["layer"] for array in arrays], offsets)
        values = self._vectors(arrays[0])
        return values if offsets is None else Ragged(values, offsets)

    def get(self, kind: str, layer: int) -> Any:
        """The vectors of one layer, by the layer's number: (texts, hidden_size), or :class:`layerwise.Ragged`."""
        numbers = [array["layer"] for array in self._of(kind)]
        if not isinstance(numbers[0], int):
            raise ValueError(f"{kind} vectors belong to no single layer; they are d[{kind!r}]")
        return self[kind][by_number(numbers, layer, kind)]

    def close(self) -> None:
        """Lets go of the files. Arrays that are still in use stay mapped until they are not."""
        self._open_arrays.clear()
        self.__dict__.pop("texts", None)
        self.__dict__.pop("_reader", None)

    def __enter__(self) -> Directory:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<layerwise.Directory {self.path!r}: {len(self)} texts; {', '.join(self.kinds)}>"

    def _of(self, kind: str) -> list[dict[str, Any]]:
        try:
            return self._arrays[kind]
        except (KeyError, TypeError):
            raise KeyError(f"{self.path} has no {kind!r} vectors; it has {', '.join(self.kinds)}") from None

    def _vectors(self, array: dict[str, Any]) -> NDArray[Any]:
        """An array of vectors, (rows, columns)."""
        import numpy as np

        if "column" in array:
            return self._unpacked(array)
        values = self._map(array, array.get("tensor") or array["file"])
        if list(values.shape) != array["shape"]:
            raise ValueError(f"{self.path}: {array['file']} is {values.shape}; the manifest says {tuple(array['shape'])}")
        if array["dtype"] == "bf16":
            return (values.astype(np.uint32) << 16).view(np.float32)
        return values

    def _offsets(self, array: dict[str, Any]) -> NDArray[Any] | None:
        """Where the rows of each text begin, in arrays of tokens or words."""
        if "column" not in array:
            return self._map(array, array["offsets"]) if array.get("offsets") else None
        if array["rows"] == "text":
            return None
        place = f"{array['file']}/offsets"
        if place not in self._open_arrays:
            self._open_arrays[place] = self._reader.offsets(array["kind"])
        return self._open_arrays[place]

    @cached_property
    def _reader(self) -> OpenDirectory:
        from ._layerwise import OpenDirectory

        return OpenDirectory(self.path)

    def _unpacked(self, array: dict[str, Any]) -> NDArray[Any]:
        """A column of Parquet files, out of a temporary file."""
        import tempfile

        import numpy as np

        place = f"{array['file']}/{array['column']}"
        if place not in self._open_arrays:
            kind, shape = np.dtype(_COLUMN_TYPES[array["dtype"]]), tuple(array["shape"])
            with tempfile.TemporaryFile(prefix="layerwise-") as file:
                self._reader.unpack(array["kind"], array["column"], file.write)
                file.flush()
                if file.tell() != int(np.prod(shape)) * kind.itemsize:
                    raise ValueError(f"{self.path}: {array['file']} is not {shape}, as the manifest says")
                self._open_arrays[place] = (
                    np.memmap(file, kind, "r", shape=shape).view(np.ndarray) if file.tell() else np.empty(shape, kind)
                )
        return self._open_arrays[place]

    def _map(self, array: dict[str, Any], name: str) -> NDArray[Any]:
        """Vectors or offsets: a file of their own, or a tensor in the array's file."""
        file = array["file"] if array.get("tensor") else name
        place = f"{file}/{name}"
        if place not in self._open_arrays:
            path = os.path.join(self.path, file)
            if file.endswith(".npy"):
                self._open_arrays[place] = _map_npy(path)
            elif file.endswith(".safetensors"):
                self._open_arrays[place] = _map_tensor(path, name)
            else:
                raise ValueError(f"{path}: cannot be mapped; expected an .npy or .safetensors file")
        return self._open_arrays[place]


class _Mapped:
    """The arrays of a kind, each mapped when it is asked for."""

    def __init__(self, directory: Directory, arrays: list[dict[str, Any]]) -> None:
        self._directory = directory
        self._arrays = arrays

    def __getitem__(self, index: int) -> NDArray[Any]:
        return self._directory._vectors(self._arrays[index])


class Texts:
    """The lines of ``texts.jsonl``, parsed when they are asked for: a sequence of dicts."""

    def __init__(self, path: str, count: int) -> None:
        import mmap

        import numpy as np

        with _open(path, "rb") as file:
            empty = os.fstat(file.fileno()).st_size == 0
            self._bytes: Any = b"" if empty else mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        # Where lines end: (texts). A piece at a time, so that little is held beside it.
        whole, piece = np.frombuffer(self._bytes, np.uint8), 1 << 24
        ends = [np.flatnonzero(whole[at : at + piece] == ord("\n")) + at for at in range(0, len(whole), piece)]
        self._ends: NDArray[np.int64] = np.concatenate([np.empty(0, np.int64), *ends]).astype(np.int64)
        if len(self._ends) != count:
            raise ValueError(f"{path}: has {len(self._ends)} lines; expected {count}, one for each text")

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, text: int) -> dict[str, Any]:
        import json

        from ._layers import _within

        number = _within(text, len(self), "text")
        first = self._ends[number - 1] + 1 if number else 0
        line: dict[str, Any] = json.loads(self._bytes[first : self._ends[number]])
        return line

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self[text] for text in range(len(self)))

    def __repr__(self) -> str:
        return f"<layerwise.Texts: {len(self)}>"


def _map_npy(path: str) -> NDArray[Any]:
    import numpy as np

    array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    return array.view(np.ndarray)


def _map_tensor(path: str, name: str) -> NDArray[Any]:
    import json

    import numpy as np

    with _open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > min(os.fstat(file.fileno()).st_size, 100 << 20):
            raise ValueError(f"{path}: is no safetensors file: its header has {length} bytes")
        header = json.loads(file.read(length))
    try:
        tensor = header[name]
        kind, shape, (first, end) = np.dtype(_TYPES[tensor["dtype"]]), tensor["shape"], tensor["data_offsets"]
    except (KeyError, TypeError, ValueError):
        raise ValueError(f"{path}: has no tensor {name!r} that can be read") from None
    if int(np.prod(shape)) * kind.itemsize != end - first:
        raise ValueError(f"{path}: tensor {name!r} has {end - first} bytes, which is not its shape, {tuple(shape)}")
    return np.memmap(path, kind, "r", 8 + length + first, tuple(shape)).view(np.ndarray)


def _open(path: str, mode: str) -> Any:
    """The built-in ``open``, whose name is taken here."""
    import io

    return io.open(path, mode)
