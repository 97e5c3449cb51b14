"""Which layer knows a label, and new texts labelled by it."""

from __future__ import annotations

import os

from ._layerwise import OpenPredictor
from ._layerwise import probe as _probe
from ._model import selection_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any


def probe(
    train: str | os.PathLike[str],
    *,
    dev: str | os.PathLike[str] | None = None,
    test: str | os.PathLike[str] | None = None,
    emit: str | None = None,
    layers: str | int | Iterable[int] | None = None,
    label: str = "label",
    group: str | None = None,
    task: str = "auto",
    score: str | None = None,
    class_weight: str = "none",
    crf: bool = False,
    calibrate: bool = False,
    best_set: int = 1,
    strength: Sequence[float] | None = None,
    folds: int = 5,
    seed: int = 0,
    control: bool = True,
    mix: bool = True,
    output: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    memory: int = 2048,
    threads: int | None = None,
) -> dict[str, Any]:
    """Fits a classifier on each layer of a labelled directory, as ``layerwise probe`` does, and returns its report.

    The report is what ``report.json`` holds: ``report["best"]``, ``report["layers"]`` with scores and intervals, and so on.

    Parameters
    ----------
    train:
        A directory that ``layerwise extract -o`` wrote of texts with labels.
    dev, test:
        Directories to choose the strength on and to score on; by default both by cross-validation.
    emit:
        The kind of vectors; by default the first one of texts, or ``word`` where labels are lists.
    layers:
        Layers, as for :meth:`Model.encode`, and sets such as ``"all,3+4"``; by default all that the directory holds.
    label:
        The column of the label.
    group:
        The column of what texts belong to together, such as an author; folds and draws take whole groups.
    task:
        ``auto``, or ``regression``.
    score:
        What chooses layers and strengths, such as ``roc_auc``; by default the accuracy, entity F1, or R².
    class_weight:
        ``balanced`` for all classes to count the same.
    crf:
        Whether tags are also predicted as sequences, by a CRF on each layer.
    calibrate:
        Whether the probabilities of classes are calibrated.
    best_set:
        The size of the largest set of layers, learned from side by side, that is sought; 1 for none.
    strength:
        Strengths of regularization to choose from, scikit-learn's C; by default from 0.0001 to 1.
    folds, seed:
        Of cross-validation. The same seed gives the same report.
    control, mix:
        Whether the control task is run and the mix of all layers fitted.
    output:
        A directory for the report's files, which :class:`Predictor` reads; by default none are written.
    overwrite:
        Replace a report that is there.
    memory:
        MiB of vectors that are held in memory.
    threads:
        Threads that compute; by default one for each core.

    Raises
    ------
    ValueError
        For directories and labels that cannot be learned from. The message says what helps.
    """
    import json

    if folds < 2 or folds > 100:
        raise ValueError(f"folds: {folds} is not within 2 and 100")
    if folds != 5 and dev is not None and test is not None:
        raise ValueError("folds is for cross-validation, which neither chooses nor scores where there are dev and test")
    strengths = None if strength is None else [float(c) for c in strength]
    if strengths is not None and not (strengths and all(0 < c < float("inf") for c in strengths)):
        raise ValueError(f"strength: expected numbers above 0, got {strengths}")
    settings = {
        "train": os.fspath(train),
        "dev": None if dev is None else os.fspath(dev),
        "test": None if test is None else os.fspath(test),
        "emit": emit,
        "layers": selection_of(layers),
        "label": label,
        "group": group,
        "task": task,
        "score": score,
        "class_weight": class_weight,
        "crf": crf,
        "calibrate": calibrate,
        "best_set": best_set,
        "strength": strengths,
        "folds": folds,
        "seed": seed,
        "control": control,
        "mix": mix,
        "output": None if output is None else os.fspath(output),
        "overwrite": overwrite,
        "memory": memory,
        "threads": threads,
    }
    report: dict[str, Any] = json.loads(_probe(settings))
    return report


class Predictor:
    """A report of :func:`probe` with its model, which labels new texts. It pickles by its settings.

    Parameters
    ----------
    report:
        The directory that ``probe(output=…)`` or ``layerwise probe -o`` wrote.
    layer:
        The layer whose head is used; by default the best one.
    model, revision, offline, threads:
        Where the model is now, as for :class:`Model`; by default the one that the report names.
    pairs:
        Whether texts are pairs, as those that were learned from.

    Raises
    ------
    ValueError
        For a directory that is no report, a layer that it does not have, and a model with other files than the one that was
        learned from.
    """

    def __init__(
        self,
        report: str | os.PathLike[str],
        *,
        layer: int | None = None,
        model: str | os.PathLike[str] | None = None,
        revision: str | None = None,
        offline: bool = False,
        threads: int | None = None,
        pairs: bool = False,
    ) -> None:
        self._settings = {
            "report": os.path.abspath(report),
            "layer": selection_of(layer),
            "model": None if model is None else os.fspath(model),
            "revision": revision,
            "offline": offline,
            "threads": threads,
            "pairs": pairs,
        }
        self._predictor = OpenPredictor(self._settings)
        self._process = os.getpid()

    def predict(self, texts: Iterable[Any], *, pretokenized: bool = False) -> list[dict[str, Any]]:
        """Labels texts, which are given as to :meth:`Model.encode`.

        Returns a dict for each text, as ``layerwise predict --json`` prints it: ``row``, ``text``, and ``label``,
        ``probability`` and ``probabilities``; ``value`` where numbers were learned; ``words`` (and ``entities``) where words were.
        """
        import json

        if self._process != os.getpid():
            _of_parents.append(self._predictor)
            self._predictor = OpenPredictor(self._settings)
            self._process = os.getpid()
        predicted: list[dict[str, Any]] = json.loads(self._predictor.predict(texts, pretokenized))
        return predicted

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (self._settings,)

    def __repr__(self) -> str:
        return f"layerwise.Predictor({self._settings['report']!r})"


# As of models: their threads are in the process that this one was forked from.
_of_parents: list[OpenPredictor] = []


def _reopen(settings: dict[str, Any]) -> Predictor:
    layer = settings["layer"]
    return Predictor(**{**settings, "layer": None if layer is None else int(layer)})


def predict(
    report: str | os.PathLike[str], texts: Iterable[Any], *, pretokenized: bool = False, **settings: Any
) -> list[dict[str, Any]]:
    """Labels texts with a report of :func:`probe`: ``Predictor(report, **settings).predict(texts)``."""
    return Predictor(report, **settings).predict(texts, pretokenized=pretokenized)
