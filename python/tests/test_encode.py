"""Vectors in memory: their shapes, their bits, and what they are made of."""

import copy
import gc

import numpy as np
import pytest

import layerwise
from conftest import TEXTS


def same_bits(ours, theirs):
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    assert ours.dtype == theirs.dtype == np.float32
    assert ours.shape == theirs.shape
    assert ours.tobytes() == theirs.tobytes()


def test_vectors_are_those_of_the_command_to_the_bit(model, texts, extracted):
    out = model.encode(texts, emit=["token", "word", "mean", "cls", "pooler", "sentence"] if has_pooler(model) else EMIT)
    directory = extracted("-e", ",".join(out.kinds))
    for layer in range(model.num_hidden_layers + 1):
        for kind in ("mean", "cls"):
            same_bits(out[kind][layer], np.load(directory / kind / f"layer_{layer:02}.npy"))
        for kind in ("token", "word"):
            same_bits(out[kind][layer].values, np.load(directory / kind / f"layer_{layer:02}.npy"))
            assert (out[kind].offsets == np.load(directory / kind / "offsets.npy")).all()
    same_bits(out["sentence"], np.load(directory / "sentence.npy"))


EMIT = ["token", "word", "mean", "cls", "sentence"]


def has_pooler(model):
    try:
        model.encode(["a"], emit="pooler")
    except ValueError as error:
        assert "no pooler" in str(error)
        return False
    return True


def test_shapes(model, texts):
    out = model.encode(texts, emit="mean, token,word", layers=[-1, 0, 2])
    assert len(out) == 5 and out.layers == [0, 2, 4] and out.kinds == ["token", "word", "mean"]
    assert out["mean"].shape == (3, 5, model.hidden_size)
    tokens = out["token"]
    assert len(tokens) == 3 and tokens.numbers == [0, 2, 4]
    assert tokens.values.shape == (3, tokens.offsets[-1], model.hidden_size)
    for text in range(5):
        assert tokens[1][text].shape == (len(out.tokens[text]), model.hidden_size)
        same_bits(tokens[1, text], tokens.values[1, tokens.offsets[text] : tokens.offsets[text + 1]])
        words = {word for word in out.word_ids[text] if word is not None}
        assert len(out["word"][0][text]) == len(words)
        assert len(out.offsets[text]) == len(out.token_ids[text]) == len(out.tokens[text])
    same_bits(out.get("mean", 2), out["mean"][1])
    same_bits(out.get("token", 4)[3], tokens[-1][-2])
    assert [rows.shape for rows in tokens[0]] == [rows.shape for rows in tokens[2]]
    assert "mean" in out and "cls" not in out


def test_layers_are_chosen_as_on_the_command_line(model):
    for layers, expected in [
        ("all", [0, 1, 2, 3, 4]),
        (None, [0, 1, 2, 3, 4]),
        (3, [3]),
        (-1, [4]),
        (np.int64(2), [2]),
        (range(1, 3), [1, 2]),
        ("0,-2..", [0, 3, 4]),
        (np.array([4, 0]), [0, 4]),
    ]:
        assert model.encode(["a"], layers=layers).layers == expected


def test_nothing_is_copied(model, texts):
    out = model.encode(texts, emit="mean,token")
    first = out["mean"]
    assert first is out["mean"] and first.flags["C_CONTIGUOUS"]
    view = out["token"][2][3]
    assert np.shares_memory(view, out["token"].values)
    bits = first.tobytes()
    del out
    gc.collect()
    assert first.tobytes() == bits, "arrays outlive what they came from"


def test_tokens_say_where_they_are(model):
    out = model.encode(["The 🦀 walked.", ("one", "two words")], emit="token")
    assert out.tokens[0][0] == "[CLS]" and out.offsets[0][0] is None and out.word_ids[0][0] is None
    text = "The 🦀 walked."
    for token, place in zip(out.tokens[0][1:-1], out.offsets[0][1:-1]):
        start, end = place
        assert token in ("[UNK]", text[start:end].lower())
    assert out.tokens[1].count("[SEP]") == 2
    assert out.token_ids[0][0] == 101


def test_lists_are_the_arrays(model, texts):
    out = model.encode(texts, emit="mean,token,sentence")
    lists = {kind: out.tolist(kind) for kind in out.kinds}
    assert lists["mean"] == out["mean"].tolist()
    assert lists["sentence"] == out["sentence"].tolist()
    assert lists["token"] == [[rows.tolist() for rows in layer] for layer in out["token"]]
    assert lists == {kind: out.tolist(kind) for kind in out.kinds}, "also once the arrays are numpy's"


def test_one_kind_is_an_array_by_itself(model, texts):
    same_bits(np.asarray(model.encode(texts)), model.encode(texts)["mean"])
    with pytest.raises(ValueError, match="several kinds"):
        np.asarray(model.encode(texts, emit="mean,cls"))


def test_sentences_are_what_belongs_to_the_last_layer(model, texts):
    out = model.encode(texts, emit="sentence", layers=[-1])
    assert out["sentence"].shape == (5, model.hidden_size)
    same_bits(out["sentence"], model.encode(texts, emit="sentence")["sentence"])
    with pytest.raises(ValueError, match="`layers`"):
        model.encode(texts, emit="sentence", layers=[1])


def test_combined_layers(model, texts):
    out = model.encode(texts, emit="mean,token", layers="-2..", combine="concat")
    assert out["mean"].shape == (5, 2 * model.hidden_size)
    assert out["token"][3].shape == (len(out.tokens[3]), 2 * model.hidden_size)
    with pytest.raises(ValueError, match="no single layer"):
        out.get("mean", 4)


def test_settings_do_what_they_say(model, texts):
    unit = model.encode(texts, normalize=True)["mean"]
    assert np.allclose(np.linalg.norm(unit, axis=-1), 1)
    assert "[CLS]" not in sum(model.encode(texts, emit="token", special_tokens="drop").tokens, [])
    prompted = model.encode(texts, prompt="query: ")
    assert len(prompted.tokens[0]) > len(model.encode(texts).tokens[0])
    assert model.encode(texts, emit="sentence", truncate_dim=7)["sentence"].shape == (5, 7)
    word = model.encode(["unaffable"], emit="word", word_pooling="first")["word"]
    assert (word[0][0] != model.encode(["unaffable"], emit="word")["word"][0][0]).any()
    long = ["word " * 700]
    assert model.encode(long, overflow="window", stride=100, emit="token")["token"][0][0].shape[0] == 702


def test_cuts_are_told(model, caplog):
    out = model.encode(["a b c d e f", "a"], max_length=5)
    assert out.truncated.tolist() == [3, 0] and out.max_length == 5
    assert "1 of 2 texts are longer than 5 tokens" in caplog.text
    caplog.clear()
    model.encode(["a"])
    assert not caplog.text


def test_a_texts_bits_do_not_depend_on_its_company(model, texts):
    together = model.encode(texts, emit="token,mean")
    for text, alone in enumerate(texts):
        out = model.encode([alone], emit="token,mean")
        same_bits(out["mean"][:, 0], together["mean"][:, text])
        same_bits(out["token"].values, np.stack([layer[text] for layer in together["token"]]))
    many = layerwise.Model("bundled", threads=3).encode(texts, batch_tokens=8)
    same_bits(many["mean"], together["mean"])


def test_no_texts(model):
    out = model.encode([], emit="mean,token")
    assert len(out) == 0 and out["mean"].shape == (5, 0, 160) and len(out["token"][0]) == 0
    assert out.tokens == [] and out.truncated.shape == (0,)


def test_what_is_not_there(model, texts):
    out = model.encode(texts, emit="mean,token", layers=[1, 3])
    with pytest.raises(KeyError, match="'cls'.*token, mean"):
        out["cls"]
    with pytest.raises(ValueError, match="layer 2; there are those of 1, 3"):
        out.get("mean", 2)
    with pytest.raises(IndexError, match="no layer at 2"):
        out["token"][2]
    with pytest.raises(IndexError, match="no text at -6"):
        out["token"][0][-6]


def test_a_copy_is_the_model_itself(model):
    assert copy.copy(model) is model and copy.deepcopy([model])[0] is model


def test_texts_of_the_tests_are_not_changed(texts):
    assert texts == TEXTS


def test_spans_are_pooled_over_their_tokens():
    model = layerwise.Model("bundled")
    texts = ["the old bank by the river", "nothing here"]
    spans = [[(4, 12), (0, 3)], []]
    out = model.encode(texts, emit=["span", "token"], spans=spans)
    tokens = out["token"][-1][0].astype(np.float64)
    held = [[i for i, at in enumerate(out.offsets[0]) if at and at[0] < end and at[1] > start] for start, end in spans[0]]
    same_bits(out["span"][-1][0], np.stack([tokens[of].sum(0) / len(of) for of in held]).astype(np.float32))
    assert out["span"][0][1].shape == (0, model.hidden_size)
    words = model.encode([["New York", "x"]], emit="span,word", spans=[[[0, 1]]], pretokenized=True)
    same_bits(words["span"][3][0][0], words["word"][3][0][0])
    for wrong, error, says in (
        ([[(0, 99)], []], ValueError, r"texts\[0\] has the span \[0, 99\]"),
        ([[(4, 12)]], ValueError, "spans has 1 lists, and there are 2 texts"),
        ([(4, 12), ()], TypeError, "list of lists"),
        (None, ValueError, "goes with spans"),
    ):
        with pytest.raises(error, match=says):
            model.encode(texts, emit="span", spans=wrong)
    with pytest.raises(ValueError, match="span 1, counted from 1|have a span that is cut off"):
        model.encode(["word " * 600], emit="span", spans=[[(2900, 2904)]])
