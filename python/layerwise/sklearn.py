"""A transformer for scikit-learn, whose layer a grid search can choose. Needs scikit-learn 1.6 or later."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from ._model import Model

__all__ = ["LayerEmbedder"]

_OF_LAST_LAYER = ("pooler", "sentence")
_OF_TEXTS = ("cls", "mean", "max", "mean_sqrt_len", "weightedmean", "lasttoken", *_OF_LAST_LAYER)


@lru_cache(maxsize=1)
def _opened(name: str) -> Model:
    """The model of that name. One is kept, so that a search does not open it for each candidate."""
    return Model(name)


class LayerEmbedder(TransformerMixin, BaseEstimator):
    """Texts as vectors of one layer.

    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.model_selection import GridSearchCV
    >>> from sklearn.pipeline import make_pipeline
    >>> from layerwise.sklearn import LayerEmbedder
    >>> classifier = make_pipeline(LayerEmbedder("bundled"), LogisticRegression())
    >>> search = GridSearchCV(classifier, {"layerembedder__layer": [0, 1, 2, 3, 4]})

    There is nothing to fit: ``fit`` checks the parameters and opens the model. The texts of a search are encoded for each
    candidate and fold; ``make_pipeline(…, memory="cache")`` keeps what was encoded.

    Parameters
    ----------
    model:
        A name, as for :class:`layerwise.Model`, or an open model, which clones share.
    layer:
        The layer; 0 is the embedding output, -1 the last one. Encoding ends after it.
    pooling:
        ``mean``, ``cls``, ``max``, ``mean_sqrt_len``, ``weightedmean`` or ``lasttoken``; or ``pooler`` or ``sentence``, which
        are of the last layer.
    special_tokens:
        ``keep``, or ``drop``, with which poolings leave special tokens out.
    normalize:
        Whether vectors have length 1.
    max_length:
        The most tokens of a text; the model's limit by default.

    Attributes
    ----------
    model_ : layerwise.Model
        The open model.
    """

    def __init__(
        self,
        model: str | Model = "bundled",
        *,
        layer: int = -1,
        pooling: str = "mean",
        special_tokens: str = "keep",
        normalize: bool = False,
        max_length: int | None = None,
    ) -> None:
        self.model = model
        self.layer = layer
        self.pooling = pooling
        self.special_tokens = special_tokens
        self.normalize = normalize
        self.max_length = max_length

    def fit(self, X: Iterable[Any], y: Any = None) -> LayerEmbedder:
        """Opens the model, and refuses parameters that it does not have. The texts are not looked at."""
        if self.pooling not in _OF_TEXTS:
            raise ValueError(f"pooling: there is no {self.pooling!r}; expected one of {', '.join(_OF_TEXTS)}")
        self.model_ = self.model if isinstance(self.model, Model) else _opened(str(self.model))
        self._n_features_out = self._encode([""]).shape[1]
        return self

    def transform(self, X: Iterable[Any]) -> NDArray[np.float32]:
        """The vectors of texts: (texts, hidden_size). Texts are given as to :meth:`layerwise.Model.encode`."""
        check_is_fitted(self)
        return self._encode(X)

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """Names of the columns: ``layerembedder0``, ``layerembedder1``, …"""
        check_is_fitted(self)
        return np.asarray([f"layerembedder{index}" for index in range(self._n_features_out)], dtype=object)

    def _encode(self, texts: Iterable[Any]) -> NDArray[np.float32]:
        out = self.model_.encode(
            texts,
            emit=self.pooling,
            layers=self.layer,
            special_tokens=self.special_tokens,
            normalize=self.normalize,
            max_length=self.max_length,
        )
        vectors: NDArray[np.float32] = out[self.pooling]
        return vectors if self.pooling in _OF_LAST_LAYER else vectors[0]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.requires_fit = True
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        tags.input_tags.one_d_array = True
        tags.transformer_tags.preserves_dtype = []
        return tags
