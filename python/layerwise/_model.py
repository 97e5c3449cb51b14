"""A model, which encodes texts."""

from __future__ import annotations

import os
from functools import lru_cache
from operator import index as as_index

from ._embeddings import Embeddings
from ._layerwise import OpenModel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

# Models of a process that this one was forked from. Their threads are not in this process, so that dropping them could wait for ever.
_of_parents: list[OpenModel] = []


class Model:
    """A model of the BERT family with its weights, tokenizer and threads.

    One model can be used from several threads at once; the interpreter's lock is not held while it encodes, and Ctrl-C ends that
    within about a layer. It pickles by name, revision and settings, and is opened anew where it is unpickled; the last one is kept
    there, so that a worker that gets it with each task loads it once. A process that was forked opens it anew as well, when it is
    first used there.

    Parameters
    ----------
    name:
        ``"bundled"``, the small model in this package; a folder; or an id of the Hugging Face hub, such as
        ``"sentence-transformers/all-MiniLM-L6-v2"``, which is fetched the first time.
    revision:
        A branch, tag or commit on the hub; ``main`` by default.
    offline:
        Work without the network, from the hub's cache alone. The environment variable ``HF_HUB_OFFLINE`` does the same.
    threads:
        Threads that compute; by default one for each core. They change no bit of a vector.
    compute:
        ``"f32"``, or ``"bf16"``: bfloat16 products, at half the weights' memory and more speed where the CPU has them; or
        ``"int8"``: products of integers of 8 bits, with a factor for every 32.
    device:
        ``"cpu"``; ``"cuda"``, ``"cuda:1"`` or ``"metal"`` in builds that have them.
    deepest:
        The deepest layer that will be asked for; by default the last one.
    instruction_set:
        Of the CPU, such as ``"avx2"``; by default the best one. It changes no bit of a vector, but with tiles for bfloat16.

    Raises
    ------
    FileNotFoundError
        For a folder that does not exist.
    OSError
        When the hub cannot be reached, or does not have the model.
    ValueError
        For a model that is damaged or not supported, and for settings that it does not have. The message says what helps.
    """

    def __init__(
        self,
        name: str | os.PathLike[str],
        *,
        revision: str | None = None,
        offline: bool = False,
        threads: int | None = None,
        compute: str = "f32",
        device: str = "cpu",
        deepest: int | None = None,
        instruction_set: str | None = None,
    ) -> None:
        name = os.fspath(name)
        if name != "bundled" and os.path.isdir(name):
            # So that it is found by a process that works in another folder.
            name = os.path.abspath(name)
        self._settings = {
            "name": name,
            "revision": revision,
            "offline": offline,
            "threads": threads,
            "compute": compute,
            "device": device,
            "deepest": deepest,
            "instruction_set": instruction_set,
        }
        self._model = OpenModel(self._settings)
        self._process = os.getpid()
        # Of a branch, which moves on, the commit that it is now.
        self._settings["revision"] = self._model.revision

    @property
    def name(self) -> str:
        """The name that the model was opened by; a folder's is its whole path."""
        return str(self._settings["name"])

    @property
    def revision(self) -> str | None:
        """The commit of a model from the hub; None for a folder or the bundled model."""
        return self._model.revision

    @property
    def hidden_size(self) -> int:
        """The width of a hidden state."""
        return self._model.hidden_size

    @property
    def num_hidden_layers(self) -> int:
        """The number of encoder layers. Layers are numbered from 0, the embedding output, to this number."""
        return self._model.num_hidden_layers

    @property
    def max_length(self) -> int:
        """The most tokens of a text, special tokens included, that the model can encode at once."""
        return self._model.max_length

    @property
    def threads(self) -> int:
        """The number of threads that compute."""
        return self._model.threads

    @property
    def instruction_set(self) -> str:
        """The name of the instruction set that products use, such as ``avx2``."""
        return self._model.instruction_set

    def encode(
        self,
        texts: Iterable[Any],
        *,
        emit: str | Sequence[str] = "mean",
        layers: str | int | Iterable[int] | None = "all",
        spans: Sequence[Sequence[Sequence[int]]] | None = None,
        pretokenized: bool = False,
        word_pooling: str = "mean",
        special_tokens: str = "keep",
        combine: str | None = None,
        normalize: bool = False,
        prompt: str | None = None,
        prompt_name: str | None = None,
        truncate_dim: int | None = None,
        max_length: int | None = None,
        overflow: str = "truncate",
        stride: int | None = None,
        batch_tokens: int | None = None,
    ) -> Embeddings:
        """Encodes texts and returns their vectors in memory.

        All texts are tokenized before any is encoded, so that what cannot be taken is found at once. A text's vectors do not
        depend on the other texts, to the bit, and are those that the command writes.

        Parameters
        ----------
        texts:
            Strings, in anything that can be iterated over: a list, a tuple, a generator, an array of numpy, a column of
            pandas, polars or pyarrow, of Hugging Face datasets. A tuple of two strings is a pair.
        emit:
            Kinds of vectors, a list or separated by commas: ``token``, ``word``, ``span``; ``cls``, ``mean``,
            ``max``, ``mean_sqrt_len``, ``weightedmean``, ``lasttoken``; ``pooler``; ``sentence``, which is what
            sentence-transformers' ``encode`` returns.
        layers:
            Numbers of layers, ``"all"``, or numbers and ranges as the command takes them: ``"0,3,-1"``, ``"1..4"``,
            ``"-4.."``. 0 is the embedding output, -1 the last layer. Encoding ends after the deepest one.
        spans:
            For ``span``, the spans of each text: a list of ``(start, end)`` in characters, or in words where these are given.
        pretokenized:
            A text is a list of words, or a string in which spaces separate them.
        word_pooling:
            How the tokens of a word or span become a vector: ``mean``, ``first``, ``last``, ``first_last``.
        special_tokens:
            ``keep``, or ``drop``: no ``token`` rows for them, and poolings leave them out.
        combine:
            ``concat``, ``mean``, ``sum`` or ``max`` makes one array of all layers.
        normalize:
            Vectors of texts have length 1.
        prompt, prompt_name:
            Text that is put before each text, or the name of one of the model's own prompts. By default it is the model's
            default prompt for ``sentence``, and none for others.
        truncate_dim:
            Of a sentence vector, the first so many numbers (Matryoshka).
        max_length:
            The most tokens of a text, special tokens included; the model's limit by default.
        overflow:
            What happens to a longer one: ``truncate``, ``error``, or ``window``, with which nothing is cut.
        stride:
            The number of tokens that a window shares with the next.
        batch_tokens:
            The most tokens that are encoded together; by default 4096, or 1152 for each thread if that is more. It changes no number.

        Raises
        ------
        ValueError
            For what the model does not have, settings that exclude each other, and texts that cannot be taken.
        TypeError
            For what is no text.
        """
        kinds = [kind.strip() for kind in emit.split(",")] if isinstance(emit, str) else list(emit)
        if ("span" in kinds) != (spans is not None):
            raise ValueError("emit='span' goes with spans, a list of (start, end) for each text; give both, or neither")
        settings = {
            "emit": kinds,
            "layers": self._selection(layers, kinds),
            "spans": spans,
            "pretokenized": pretokenized,
            "word_pooling": word_pooling,
            "special_tokens": special_tokens,
            "combine": combine,
            "normalize": normalize,
            "prompt": prompt,
            "prompt_name": prompt_name,
            "truncate_dim": truncate_dim,
            "max_length": max_length,
            "overflow": overflow,
            "stride": stride,
            "batch_tokens": batch_tokens,
        }
        encoded = self._opened().encode(texts, settings)
        out = Embeddings(encoded)
        cut, tokens = encoded.cut()
        if cut:
            from logging import getLogger

            getLogger("layerwise").warning(
                "%d of %d texts are longer than %d tokens; what lies beyond, %d tokens in all, is cut off (see `truncated`, `overflow`)",
                cut,
                len(out),
                out.max_length,
                tokens,
            )
        return out

    def _selection(self, layers: str | int | Iterable[int] | None, kinds: list[str]) -> str | None:
        """Layers as the command takes them; None for all."""
        selection = selection_of(layers)
        # What belongs to no single layer is of the last one, if of any.
        of_last_layer = all(kind in ("pooler", "sentence") for kind in kinds)
        return None if of_last_layer and selection in ("-1", str(self.num_hidden_layers)) else selection

    def _opened(self) -> OpenModel:
        """The model, open in this process."""
        if self._process != os.getpid():
            _of_parents.append(self._model)
            self._model = OpenModel(self._settings)
            self._process = os.getpid()
        return self._model

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, tuple(self._settings.items())

    def __copy__(self) -> Model:
        return self

    def __deepcopy__(self, _memo: dict[int, Any]) -> Model:
        # Nothing in it changes, and scikit-learn's `clone` copies what an estimator is made with.
        return self

    def __repr__(self) -> str:
        defaults = {"compute": "f32", "device": "cpu", "offline": False}
        settings = [(key, value) for key, value in self._settings.items() if key != "name" and value != defaults.get(key)]
        named = "".join(f", {key}={value!r}" for key, value in settings)
        return f"layerwise.Model({self.name!r}{named})"


# What sends a model with each task unpickles it with each. Weights take longer to load than most tasks need them.
@lru_cache(maxsize=1)
def _reopen(*settings: tuple[str, Any]) -> Model:
    return Model(**dict(settings))


def selection_of(layers: str | int | Iterable[int] | None) -> str | None:
    """Layers as the command takes them; None for all."""
    if layers is None or isinstance(layers, str):
        return None if layers in (None, "all") else layers
    try:
        numbers = [as_index(layers)]  # type: ignore[arg-type]
    except TypeError:
        numbers = [as_index(layer) for layer in layers]  # type: ignore[union-attr]
    if not numbers:
        raise ValueError("layers: there are none; give numbers of layers, or 'all'")
    return ",".join(map(str, numbers))
