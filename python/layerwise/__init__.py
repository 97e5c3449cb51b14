"""Embeddings from every encoder layer of BERT and its kin: exact, and bit-identical.

>>> import layerwise
>>> model = layerwise.Model("bundled")  # or a folder, or an id of the Hugging Face hub
>>> out = model.encode(["The bank of the river.", "A bank account."], emit=["mean", "token"])
>>> out["mean"].shape  # (layers, texts, hidden_size)
(5, 2, 160)
>>> out["token"][4][1].shape  # at layer 4, (tokens of text 1, hidden_size)
(6, 160)

- :class:`Model` encodes texts; :class:`Embeddings` is what comes back.
- :func:`open` maps a directory that ``layerwise extract -o`` wrote.
- :func:`probe` finds the layer that knows a label best, :class:`Predictor` labels new texts.
- ``layerwise.sklearn`` has a transformer for scikit-learn.

Messages, such as that texts were cut, go to the logger ``layerwise``.
"""

from ._directory import Directory, open
from ._embeddings import Embeddings
from ._layerwise import VERSION as __version__
from ._layers import Layers, Ragged
from ._model import Model
from ._probes import Predictor, predict, probe

__all__ = [
    "Directory",
    "Embeddings",
    "Layers",
    "Model",
    "Predictor",
    "Ragged",
    "__version__",
    "open",
    "predict",
    "probe",
]
