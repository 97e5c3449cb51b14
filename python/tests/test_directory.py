"""Output directories, mapped."""

import json

import numpy as np
import pytest

import layerwise


@pytest.mark.parametrize("form", ["npy", "safetensors", "parquet"])
def test_a_directory_holds_what_memory_holds(model, texts, extracted, form, request):
    if form == "parquet":
        request.getfixturevalue("parquet")
    emit = "token,word,mean,sentence"
    path = extracted("-e", emit, "-l", "0,2..", "-f", form)
    out = model.encode(texts, emit=emit, layers="0,2..")
    with layerwise.open(path) as d:
        assert len(d) == 5 and d.kinds == out.kinds and d.layers == out.layers == [0, 2, 3, 4]
        assert "mean" in d and "cls" not in d and "5 texts" in repr(d)
        for layer in range(4):
            assert d["mean"][layer].tobytes() == out["mean"][layer].tobytes()
            for kind in ("token", "word"):
                assert d[kind][layer].values.tobytes() == out[kind][layer].values.tobytes()
                for text in range(5):
                    assert d[kind][layer, text].shape == out[kind][layer, text].shape
        assert d.get("mean", 3).tobytes() == out.get("mean", 3).tobytes()
        assert d["sentence"].tobytes() == out["sentence"].tobytes()
        assert d["mean"].values.tobytes() == np.asarray(d["mean"]).tobytes() == out["mean"].tobytes()
        assert (d["token"].offsets == out["token"].offsets).all()
        assert not d["mean"][0].flags["WRITEABLE"]
        assert len(d.texts) == 5 and d.texts[3]["id"] == "text 3" and d.texts[-1]["row"] == 4
        assert [text["tokens"] for text in d.texts] == out.tokens
        kept = d["mean"][1]
    assert kept.shape == (5, 160), "an array outlives the directory"


def test_arrays_are_mapped_and_not_read(extracted):
    d = layerwise.open(extracted())
    base = d["mean"][2]
    while base.base is not None and not isinstance(base, np.memmap):
        base = base.base
    assert isinstance(base, np.memmap)
    assert np.shares_memory(d["mean"][2], d["mean"][2])


def test_stored_types(model, texts, extracted):
    exact = model.encode(texts)["mean"]
    assert layerwise.open(extracted("--dtype", "f16"))["mean"][1].dtype == np.float16
    rounded = layerwise.open(extracted("--dtype", "bf16", "-f", "safetensors"))["mean"][1]
    assert rounded.dtype == np.float32 and np.allclose(rounded, exact[1], rtol=2**-8)
    assert (rounded.view(np.uint32) & 0xFFFF == 0).all()


def test_combined_layers(model, texts, extracted):
    d = layerwise.open(extracted("-e", "mean,token", "--combine", "concat"))
    out = model.encode(texts, emit="mean,token", combine="concat")
    assert d["mean"].tobytes() == out["mean"].tobytes()
    assert d["token"][3].tobytes() == out["token"][3].tobytes()
    with pytest.raises(ValueError, match="no single layer"):
        d.get("mean", 1)


def test_what_is_not_there(extracted, tmp_path):
    d = layerwise.open(extracted("-l", "1,2"))
    with pytest.raises(KeyError, match="'token'.*it has mean"):
        d["token"]
    with pytest.raises(ValueError, match="layer 3; there are those of 1, 2"):
        d.get("mean", 3)
    with pytest.raises(IndexError):
        d["mean"][2]
    with pytest.raises(IndexError):
        d.texts[5]
    with pytest.raises(FileNotFoundError, match="does not exist"):
        layerwise.open(tmp_path / "none")
    with pytest.raises(FileNotFoundError, match="has no manifest.json"):
        layerwise.open(tmp_path)


def test_damage_is_said(extracted):
    path = extracted()
    manifest = json.loads((path / "manifest.json").read_text())
    array = path / "mean" / "layer_01.npy"
    array.write_bytes(array.read_bytes()[:-4])
    with pytest.raises(ValueError):
        layerwise.open(path)["mean"][1]
    np.save(array, np.zeros((5, 3), np.float32))
    with pytest.raises(ValueError, match=r"\(5, 3\); the manifest says \(5, 160\)"):
        layerwise.open(path)["mean"][1]
    with (path / "texts.jsonl").open("a") as file:
        file.write("{}\n")
    with pytest.raises(ValueError, match="has 6 lines; expected 5"):
        layerwise.open(path).texts
    (path / "manifest.json").write_text(json.dumps({**manifest, "format_version": 99}))
    with pytest.raises(ValueError, match="format version 99"):
        layerwise.open(path)
    (path / "manifest.json").write_text("{")
    with pytest.raises(ValueError, match="manifest.json is damaged"):
        layerwise.open(path)


def test_no_texts_of_their_own(model, command, tmp_path):
    (tmp_path / "one.txt").write_text("\n")
    command("extract", "-q", "-i", tmp_path / "one.txt", "-m", "bundled", "-e", "word", "-f", "safetensors", "-o", tmp_path / "out")
    d = layerwise.open(tmp_path / "out")
    assert d["word"][0][0].shape == (0, model.hidden_size)


@pytest.mark.usefixtures("parquet")
def test_parquet_is_what_npy_is(extracted):
    for options in (["-e", "mean,token", "--dtype", "f16", "-l", "0,-1"], ["-e", "word,mean", "--combine", "concat"]):
        npy = layerwise.open(extracted(*options))
        with layerwise.open(extracted(*options, "-f", "parquet", "--part-texts", "16")) as tables:
            assert tables.kinds == npy.kinds and tables.layers == npy.layers
            for kind in npy.kinds:
                one, other = npy[kind], tables[kind]
                values = (lambda d: d.values if hasattr(d, "values") else d)
                assert values(one).dtype == values(other).dtype and values(one).tobytes() == values(other).tobytes()
                if kind in ("token", "word"):
                    assert (one.offsets == other.offsets).all()
            assert np.shares_memory(tables["mean"][0], tables["mean"][0]), "it is unpacked once"
            kept = tables["mean"][0]
        assert kept.tobytes() == npy["mean"][0].tobytes(), "an array outlives the directory"


@pytest.mark.usefixtures("parquet")
def test_damage_of_parquet_is_said(extracted):
    path = extracted("-f", "parquet")
    part = path / "mean" / "part-00000.parquet"
    part.write_bytes(part.read_bytes()[:-1])
    d = layerwise.open(path)
    with pytest.raises(ValueError, match="part-00000.parquet.*checksum"):
        d["mean"][1]
    part.unlink()
    with pytest.raises(FileNotFoundError):
        d["mean"][1]
