"""Probes and predictions: the same as the commands'."""

import json
import pickle

import pytest

import layerwise

TICKETS = {
    "billing": ["I was charged twice", "send me an invoice", "my refund please", "my card was declined", "too many euros", "the discount is missing"],
    "delivery": ["the parcel has not arrived", "left in the rain", "the wrong address", "the box was open", "deliver on Saturday", "the courier never rang"],
}


@pytest.fixture(scope="module")
def labelled(command, tmp_path_factory):
    folder = tmp_path_factory.mktemp("labelled")
    lines = [json.dumps({"text": text, "label": label}) for label, texts in TICKETS.items() for text in texts]
    (folder / "tickets.jsonl").write_text("\n".join(lines))
    command("extract", "-q", "-i", folder / "tickets.jsonl", "-m", "bundled", "-o", folder / "out")
    return folder / "out"


@pytest.fixture(scope="module")
def report(labelled):
    path = labelled.parent / "report"
    layerwise.probe(labelled, output=path)
    return path


def test_the_report_is_the_commands(command, labelled, report, tmp_path):
    command("probe", "-q", labelled, "-o", tmp_path / "report")
    for file in (tmp_path / "report").iterdir():
        assert file.read_bytes() == (report / file.name).read_bytes(), file.name
    expected = json.loads((report / "report.json").read_text())
    assert layerwise.probe(labelled, threads=1) == expected
    some = layerwise.probe(labelled, layers=[0, -1], strength=[0.1], folds=3, seed=7, control=False, mix=False)
    options = ["-l", "0,-1", "--strength", "0.1", "--folds", "3", "--seed", "7", "--no-control", "--no-mix"]
    assert some == json.loads(command("probe", "-q", labelled, "--json", *options))
    assert [layer["layer"] for layer in some["layers"]] == [0, 4]


def test_predictions_are_the_commands(command, report):
    texts = ["Where is my parcel?", "I paid twice."]
    predictor = layerwise.Predictor(report)
    predicted = predictor.predict(texts)
    expected = [json.loads(line) for line in command("predict", "-q", "--json", report, *texts).splitlines()]
    assert predicted == expected
    assert predictor.predict(iter(texts)) == expected, "rows begin at 0 again"
    assert pickle.loads(pickle.dumps(predictor)).predict(texts) == expected
    of_layer = layerwise.predict(report, texts, layer=0, threads=1)
    assert of_layer == [json.loads(line) for line in command("predict", "-q", "--json", "--layer", "0", report, *texts).splitlines()]


def test_what_is_refused(labelled, report, tmp_path):
    for kind, message, do in [
        (ValueError, "one of auto, regression", lambda: layerwise.probe(labelled, task="guess")),
        (ValueError, "holds no cls vectors", lambda: layerwise.probe(labelled, emit="cls")),
        (ValueError, "folds", lambda: layerwise.probe(labelled, folds=1)),
        (ValueError, "strength", lambda: layerwise.probe(labelled, strength=[0.0])),
        (OSError, "none", lambda: layerwise.probe(tmp_path / "none")),
        (ValueError, "overwrite", lambda: layerwise.probe(labelled, output=report)),
        (ValueError, "`layer` 9|layer 9", lambda: layerwise.Predictor(report, layer=9)),
        (OSError, "report.json", lambda: layerwise.Predictor(tmp_path / "none")),
        (ValueError, "report.json", lambda: layerwise.Predictor(labelled)),
        (ValueError, "single texts", lambda: layerwise.Predictor(report, pairs=True)),
    ]:
        with pytest.raises(kind, match=message):
            do()
