import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import layerwise

TEXTS = [
    "The boat lay at the bank of the river.",
    "",
    "She opened an account at the bank.",
    "unaffable 🦀 naïve café",
    "The boat lay at the bank of the river.",
]


@pytest.fixture(scope="session")
def model():
    return layerwise.Model("bundled")


@pytest.fixture
def texts():
    return list(TEXTS)


@pytest.fixture(scope="session")
def command():
    """Runs the command that the package brought along, and returns what it printed."""
    program = shutil.which("layerwise", path=os.path.dirname(sys.executable))
    assert program, "the wheel installs the command"

    def run(*arguments, code=0):
        done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, timeout=300)
        assert done.returncode == code, done.stderr
        return done.stdout

    return run


@pytest.fixture(scope="session")
def extracted(command, tmp_path_factory):
    """Writes TEXTS into a file and a directory of vectors of them, with these options."""

    def extract(*options):
        folder = tmp_path_factory.mktemp("extracted")
        lines = [json.dumps({"text": text, "id": f"text {row}"}) for row, text in enumerate(TEXTS)]
        (folder / "texts.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        command("extract", "-q", "-i", folder / "texts.jsonl", "-m", "bundled", "-o", folder / "out", *options)
        return folder / "out"

    return extract


@pytest.fixture(scope="session")
def parquet(tmp_path_factory):
    """Skips what needs Parquet, where the package was built without it."""
    out = tmp_path_factory.mktemp("parquet") / "out"
    typed = [sys.executable, "-m", "layerwise", "extract", "-q", "-m", "bundled", "hello", "-f", "parquet", "-o", str(out)]
    done = subprocess.run(typed, capture_output=True, text=True, timeout=300)
    if "built without Parquet" in done.stderr:
        pytest.skip("the package was built without the feature parquet")
    assert done.returncode == 0, done.stderr


@pytest.fixture
def golden():
    """A folder of the golden models beside the crate's tests, whatever the tests are run from."""

    def folder(name):
        return Path(__file__).parents[2] / "tests" / "golden" / name

    return folder
