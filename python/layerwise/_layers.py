"""Vectors by layer, and vectors of which a text has several."""

from __future__ import annotations

from operator import index as as_index

TYPE_CHECKING = False  # typing.TYPE_CHECKING, without the import of typing
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    import numpy as np
    from numpy.typing import NDArray


class Ragged:
    """Vectors of which a text has several, such as one for each token: a sequence with an array for each text.

    ``ragged[3]`` is (rows of text 3, hidden_size), a view into :attr:`values`.
    """

    __slots__ = ("offsets", "values")

    values: NDArray[np.floating[Any]]
    """The vectors of all texts, (rows, hidden_size)."""
    offsets: NDArray[np.int64]
    """Text ``i`` has the rows from ``offsets[i]`` to ``offsets[i + 1]``: (texts + 1)."""

    def __init__(self, values: NDArray[np.floating[Any]], offsets: NDArray[np.int64]) -> None:
        self.values = values
        self.offsets = offsets

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, text: int) -> NDArray[np.floating[Any]]:
        number = _within(text, len(self), "text")
        return self.values[self.offsets[number] : self.offsets[number + 1]]

    def __iter__(self) -> Iterator[NDArray[np.floating[Any]]]:
        return (self[text] for text in range(len(self)))

    def __repr__(self) -> str:
        return f"<layerwise.Ragged: {len(self)} texts, {self.values.shape[0]} rows of {self.values.shape[1]}>"


class Layers:
    """Vectors of several layers: a sequence with an item for each of them.

    An item is an array (texts, hidden_size), or, where a text has several vectors, :class:`Ragged`. As in a list, items are
    counted from 0, and negative numbers count from the end; :attr:`numbers` says which layers they are. ``layers[6, 3]`` is
    ``layers[6][3]``.
    """

    __slots__ = ("_arrays", "numbers", "offsets")

    numbers: list[int]
    """The layers, ascending; 0 is the embedding output."""
    offsets: NDArray[np.int64] | None
    """Where the rows of each text are, (texts + 1); None if a text has one row."""

    def __init__(
        self,
        arrays: Any,
        numbers: list[int],
        offsets: NDArray[np.int64] | None,
    ) -> None:
        # (layers, rows, hidden_size), or what gives (rows, hidden_size) for an index.
        self._arrays = arrays
        self.numbers = numbers
        self.offsets = offsets

    @property
    def values(self) -> NDArray[np.floating[Any]]:
        """All vectors as one array, (layers, rows, hidden_size). Those of a directory are read into memory for it."""
        import numpy as np

        if isinstance(self._arrays, np.ndarray):
            return self._arrays
        return np.stack([self._arrays[index] for index in range(len(self))])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        import numpy as np

        return np.array(self.values, dtype=dtype, copy=copy) if copy else np.asarray(self.values, dtype=dtype)

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: int | tuple[int, int]) -> Any:
        if isinstance(index, tuple):
            layer, text = index
            return self[layer][text]
        array = self._arrays[_within(index, len(self), "layer")]
        return array if self.offsets is None else Ragged(array, self.offsets)

    def __iter__(self) -> Iterator[Any]:
        return (self[index] for index in range(len(self)))

    def __repr__(self) -> str:
        return f"<layerwise.Layers: {', '.join(map(str, self.numbers))}>"


def _within(index: int, length: int, what: str) -> int:
    """The index counted from the beginning."""
    found = as_index(index)
    if not -length <= found < length:
        raise IndexError(f"there is no {what} at {found}; there are {length}, from 0 or -{length} on")
    return found % length


def by_number(layers: list[int], layer: int, kind: str) -> int:
    """Where a layer is among those that there are; negative numbers are not layers here."""
    try:
        return layers.index(layer)
    except ValueError:
        there = ", ".join(map(str, layers))
        raise ValueError(f"there are no {kind} vectors of layer {layer}; there are those of {there}") from None
