"""The transformer for scikit-learn."""

import pickle

import numpy as np
import pytest

pytest.importorskip("sklearn")

from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import (
    check_get_params_invariance,
    check_no_attributes_set_in_init,
    check_parameters_default_constructible,
    check_set_params,
)

import layerwise
from layerwise.sklearn import LayerEmbedder

QUESTIONS = ["Where is the bank?", "Who left the door open?", "Is it raining?", "What did she say?", "Why not?", "How far?"]
STATEMENTS = ["The bank is closed.", "He left the door open.", "It rains.", "She said nothing.", "I know.", "Too far."]


def test_vectors_are_those_of_encode(model, texts):
    for pooling, layer in [("mean", 2), ("cls", -1), ("max", 0)]:
        vectors = LayerEmbedder(model, layer=layer, pooling=pooling).fit_transform(texts)
        assert vectors.tobytes() == model.encode(texts, emit=pooling, layers=layer)[pooling][0].tobytes()
    sentences = LayerEmbedder(model, pooling="sentence").fit_transform(texts)
    assert sentences.tobytes() == model.encode(texts, emit="sentence")["sentence"].tobytes()
    unit = LayerEmbedder(model, normalize=True, special_tokens="drop", max_length=8).fit_transform(texts[:1])
    assert np.isclose(np.linalg.norm(unit), 1)


@pytest.mark.parametrize(
    "check",
    [
        check_no_attributes_set_in_init,
        check_parameters_default_constructible,
        check_get_params_invariance,
        check_set_params,
    ],
)
def test_it_is_an_estimator_as_scikit_learn_has_them(check):
    check("LayerEmbedder", LayerEmbedder())


def test_clones_share_a_model_and_forget_the_fit(model):
    embedder = LayerEmbedder(model, layer=1, pooling="cls").fit(["a"])
    copy = clone(embedder)
    assert copy.get_params() == embedder.get_params() and copy.model is model
    assert not hasattr(copy, "model_")
    with pytest.raises(NotFittedError):
        copy.transform(["a"])
    copy.set_params(layer=3)
    assert copy.fit_transform(["a"]).tobytes() == model.encode(["a"], emit="cls", layers=3)["cls"][0].tobytes()


def test_it_pickles(texts):
    embedder = LayerEmbedder("bundled", layer=2).fit(texts)
    again = pickle.loads(pickle.dumps(embedder))
    assert again.transform(texts).tobytes() == embedder.transform(texts).tobytes()


@pytest.mark.parametrize("jobs", [None, 2])
def test_a_search_walks_over_layers(jobs):
    pipeline = make_pipeline(LayerEmbedder("bundled"), LogisticRegression())
    grid = {"layerembedder__layer": [0, 2, 4], "layerembedder__pooling": ["mean", "cls"]}
    search = GridSearchCV(pipeline, grid, cv=3, n_jobs=jobs, error_score="raise")
    search.fit(QUESTIONS + STATEMENTS, [1] * 6 + [0] * 6)
    assert len(search.cv_results_["params"]) == 6
    # What has no position or context is the same first token in every text.
    scores = dict(zip((tuple(p.values()) for p in search.cv_results_["params"]), search.cv_results_["mean_test_score"]))
    assert scores[0, "cls"] == 0.5 and search.best_score_ > 0.7
    assert search.predict(["Where is it?", "It is there."]).tolist() == [1, 0]


def test_columns_have_names(texts):
    pytest.importorskip("pandas")
    table = LayerEmbedder("bundled").set_output(transform="pandas").fit_transform(texts)
    assert table.shape == (5, 160) and list(table.columns[:2]) == ["layerembedder0", "layerembedder1"]


def test_what_is_refused(model):
    with pytest.raises(ValueError, match="pooling: there is no 'token'"):
        LayerEmbedder(model, pooling="token").fit(["a"])
    with pytest.raises(ValueError, match="layer 9 does not exist"):
        LayerEmbedder(model, layer=9).fit(["a"])
    with pytest.raises(ValueError, match="`layers`"):
        LayerEmbedder(model, layer=1, pooling="sentence").fit(["a"])
    with pytest.raises(FileNotFoundError):
        LayerEmbedder("/no/such").fit(["a"])
    assert isinstance(LayerEmbedder(model).fit([]).model_, layerwise.Model)
