"""What texts may come in, and what is refused."""

import numpy as np
import pytest

import layerwise


@pytest.fixture
def expected(model, texts):
    return model.encode(texts)["mean"].tobytes()


def test_any_iterable_of_strings(model, texts, expected):
    for given in [tuple(texts), iter(texts), (text for text in texts), np.array(texts), np.array(texts, dtype=object)]:
        assert model.encode(given)["mean"].tobytes() == expected


def test_columns_of_tables(model, texts, expected):
    pandas = pytest.importorskip("pandas")
    assert model.encode(pandas.DataFrame({"text": texts})["text"])["mean"].tobytes() == expected
    polars = pytest.importorskip("polars")
    assert model.encode(polars.DataFrame({"text": texts})["text"])["mean"].tobytes() == expected
    arrow = pytest.importorskip("pyarrow")
    table = arrow.table({"text": texts, "words": [text.split() for text in texts]})
    for kind in (arrow.string(), arrow.large_string(), arrow.string_view()):
        assert model.encode(arrow.array(texts, kind))["mean"].tobytes() == expected
    assert model.encode(table["text"])["mean"].tobytes() == expected
    words = model.encode(table["words"], pretokenized=True, emit="word")
    assert len(words["word"][0][0]) == len(texts[0].split())
    for frame in (pandas.DataFrame({"text": texts}), polars.DataFrame({"text": texts}), table):
        with pytest.raises(TypeError, match="a table; expected one of its columns"):
            model.encode(frame)
    with pytest.raises(TypeError, match=r"texts\[1\] is a float; expected a string; give missing texts a value"):
        model.encode(pandas.Series(["a", float("nan")]))


def test_pairs(model, command):
    pairs = [("a question", "an answer"), ("one", "")]
    out = model.encode(zip(*zip(*pairs)), emit="token")
    assert out.tokens[0].count("[SEP]") == 2 and len(out["token"][0][0]) == len(out.tokens[0])
    mixed = model.encode([("a question", "an answer"), "a text"])
    assert mixed["mean"][:, 0].tobytes() == model.encode(pairs)["mean"][:, 0].tobytes()


def test_words(model):
    out = model.encode([["New York", "never", "sleeps"], "New York"], pretokenized=True, emit="word")
    assert [len(rows) for rows in out["word"][0]] == [3, 2]
    assert out.word_ids[0][1:3] == [0, 0]
    pair = model.encode([(["New York"], ["never", "sleeps"])], pretokenized=True, emit="word")
    assert len(pair["word"][0][0]) == 3


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ("one text", r"texts is a str.*encode\(\[text\]\)"),
        (b"bytes", "texts is a bytes"),
        ({"text": "a"}, "texts is a dict"),
        ({"a", "b"}, "texts is a set, which has no order"),
        (7, "texts is an int; expected strings"),
        (None, "texts is None"),
        (["a", None], r"texts\[1\] is None; expected a string; give missing"),
        (["a", 1], r"texts\[1\] is an int; expected a string"),
        ([b"a"], r"texts\[0\] is a bytes"),
        ([["a", "b"]], r"texts\[0\] is a list.*pretokenized=True"),
        ([("a", "b", "c")], r"texts\[0\] is a tuple of 3"),
        ([("a", 2)], r"texts\[0\]\[1\] is an int"),
    ],
)
def test_what_is_no_text_is_named(model, texts, message):
    with pytest.raises(TypeError, match=message):
        model.encode(texts)


def test_words_that_are_none(model):
    with pytest.raises(TypeError, match=r"texts\[0\]\[1\] is an int; expected a word"):
        model.encode([["a", 1]], pretokenized=True)
    with pytest.raises(TypeError, match="words stand in a list"):
        model.encode([("a", "b", "c")], pretokenized=True)


def test_half_a_character(model):
    with pytest.raises(ValueError, match=r"texts\[1\] holds half of a surrogate pair"):
        model.encode(["a", "\ud83e"])


def test_what_an_iterator_raises_is_raised(model):
    def texts():
        yield "a"
        raise RuntimeError("the source is gone")

    with pytest.raises(RuntimeError, match="the source is gone"):
        model.encode(texts())


def test_errors_are_pythons_own(model, tmp_path):
    for kind, message, do in [
        (ValueError, "emit: there is no `foo`; expected one of token, word", lambda: model.encode(["a"], emit="foo")),
        (ValueError, "`layers`: layer 9 does not exist", lambda: model.encode(["a"], layers=9)),
        (ValueError, "layers: there are none", lambda: model.encode(["a"], layers=[])),
        (ValueError, "`emit`", lambda: model.encode(["a"], emit=[])),
        (ValueError, "`max_length` 9999 is beyond", lambda: model.encode(["a"], max_length=9999)),
        (ValueError, "1 of 2 texts.*row 1", lambda: model.encode(["a", "b c d"], max_length=4, overflow="error")),
        (TypeError, "max_length: 'str'", lambda: model.encode(["a"], max_length="long")),
        (TypeError, "^emit: 'int'", lambda: model.encode(["a"], emit=[3])),
        (ValueError, "^stride: ", lambda: model.encode(["a"], overflow="window", stride=-1)),
        (ValueError, "^threads: ", lambda: layerwise.Model("bundled", threads=-1)),
        (FileNotFoundError, "does not exist", lambda: layerwise.Model(tmp_path / "none")),
        (FileNotFoundError, "does not exist", lambda: layerwise.Model("no/such/folder")),
        (FileNotFoundError, "config.json", lambda: layerwise.Model(tmp_path)),
        (OSError, "not in the cache", lambda: layerwise.Model("no-one/nothing", offline=True)),
        (ValueError, "`revision`", lambda: layerwise.Model("bundled", revision="main")),
        (ValueError, "compute: there is no `f8`", lambda: layerwise.Model("bundled", compute="f8")),
        (ValueError, "device: expected cpu", lambda: layerwise.Model("bundled", device="tpu")),
        (ValueError, "deeper", lambda: layerwise.Model("bundled", deepest=1).encode(["a"])),
    ]:
        with pytest.raises(kind, match=message):
            do()
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match="config.json"):
        layerwise.Model(tmp_path)
