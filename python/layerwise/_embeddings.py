"""The vectors of some texts in memory."""

from __future__ import annotations

from functools import cached_property

from ._layers import Layers, Ragged, by_number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    import numpy as np
    from numpy.typing import NDArray

    from ._layerwise import EncodedTexts


class Embeddings:
    """The vectors of some texts, with the tokens that they belong to. :meth:`layerwise.Model.encode` returns them.

    ``out[kind]`` is

    - of ``cls``, ``mean``, ``max``, ``mean_sqrt_len``, ``weightedmean`` and ``lasttoken`` an array (layers, texts, hidden_size);
    - of ``token``, ``word`` and ``span`` :class:`layerwise.Layers`: ``out["token"][6][3]`` is (tokens of text 3, hidden_size);
    - of ``pooler`` and ``sentence``, which belong to no single layer, an array (texts, columns); so it is where layers are
      combined, in which case ``token`` and ``word`` are :class:`layerwise.Ragged`.

    Layers are counted as in a list: the first one asked for is ``[0]``, the last one ``[-1]``. With ``layers="all"`` that is
    the layer's own number; otherwise :attr:`layers` says which layers they are, and :meth:`get` takes a layer's number.

    All arrays are float32, over memory that numpy owns from then on; nothing is copied. ``len(out)`` is the number of texts.
    """

    def __init__(self, texts: EncodedTexts) -> None:
        self._texts = texts
        self._kinds = {name: (rows, has_layers) for name, rows, has_layers in texts.kinds}
        self._taken: dict[str, NDArray[np.float32]] = {}
        self._starts: dict[str, NDArray[np.int64]] = {}
        self.layers: list[int] = texts.layers
        """The layers that were asked for, ascending; 0 is the embedding output."""
        self.max_length: int = texts.max_length
        """The most tokens of a text, special tokens included; a longer one was cut, or encoded in windows."""

    @property
    def kinds(self) -> list[str]:
        """The kinds of vectors that there are."""
        return list(self._kinds)

    def __len__(self) -> int:
        return len(self._texts)

    def __contains__(self, kind: object) -> bool:
        return kind in self._kinds

    def __getitem__(self, kind: str) -> Any:
        rows, has_layers = self._described(kind)
        values = self._all(kind)
        if rows == "text":
            return values if has_layers else values[0]
        if kind not in self._starts:
            self._starts[kind] = self._texts.starts(kind)
        offsets = self._starts[kind]
        return Layers(values, self.layers, offsets) if has_layers else Ragged(values[0], offsets)

    def get(self, kind: str, layer: int) -> Any:
        """The vectors of one layer, by the layer's number: (texts, hidden_size), or :class:`layerwise.Ragged`."""
        _, has_layers = self._described(kind)
        if not has_layers:
            raise ValueError(f"{kind} vectors belong to no single layer; they are out[{kind!r}]")
        return self[kind][by_number(self.layers, layer, kind)]

    def tolist(self, kind: str) -> list[Any]:
        """What ``out[kind].tolist()`` would be of an array, without numpy, whose import takes longer than a short text.

        Of ``token`` and ``word`` there is a list of rows for each text.
        """
        rows, has_layers = self._described(kind)
        taken = self._taken.get(kind)
        layers: list[list[Any]] = self._texts.to_lists(kind) if taken is None else taken.tolist()
        if rows != "text":
            starts = self._texts.starts_as_list(kind)
            layers = [[layer[first:end] for first, end in zip(starts, starts[1:])] for layer in layers]
        return layers if has_layers else layers[0]

    @cached_property
    def tokens(self) -> list[list[str]]:
        """Of each text its tokens, one for each row of its ``token`` vectors."""
        return self._texts.tokens()

    @cached_property
    def token_ids(self) -> list[list[int]]:
        """Of each text the ids of its tokens (``input_ids`` in transformers)."""
        return self._texts.token_ids()

    @cached_property
    def offsets(self) -> list[list[tuple[int, int] | None]]:
        """Of each text where its tokens begin and end in it, in characters as Python counts them; None for special tokens."""
        return self._texts.offsets()

    @cached_property
    def word_ids(self) -> list[list[int | None]]:
        """Of each text the word that each of its tokens belongs to, a row of its ``word`` vectors; None for special tokens."""
        return self._texts.word_ids()

    @cached_property
    def truncated(self) -> NDArray[np.int64]:
        """Of each text how many tokens were cut off at the limit: (texts)."""
        return self._texts.truncated()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        import numpy as np

        if len(self._kinds) != 1:
            raise ValueError(f"there are several kinds of vectors; choose one of {', '.join(self._kinds)}, as in out['mean']")
        (kind,) = self._kinds
        return np.array(self[kind], dtype=dtype, copy=copy) if copy else np.asarray(self[kind], dtype=dtype)

    def __repr__(self) -> str:
        return f"<layerwise.Embeddings: {len(self)} texts; {', '.join(self._kinds)}; layers {', '.join(map(str, self.layers))}>"

    def _described(self, kind: str) -> tuple[str, bool]:
        try:
            return self._kinds[kind]
        except (KeyError, TypeError):
            raise KeyError(f"there are no {kind!r} vectors; there are {', '.join(self._kinds)}") from None

    def _all(self, kind: str) -> NDArray[np.float32]:
        """The vectors of a kind, (layers, rows, columns); they are taken over once."""
        if kind not in self._taken:
            # Should two threads be here at once, one of them finds that there is nothing left, and then that the other has it.
            try:
                self._taken[kind] = self._texts.take(kind)
            except ValueError:
                if kind not in self._taken:
                    raise
        return self._taken[kind]
