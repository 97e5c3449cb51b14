"""The crate and the sdist: what is in them, and that they build. The crates under them are those that the artefacts are built of."""

import os
import re
import subprocess

import build
import pytest
from conftest import clean, the_one

CRATES_IO_LIMIT = 10 * 1024 * 1024
MODEL = {f"models/bert-4x160/{name}" for name in ("model.safetensors", "tokenizer.json", "config.json", "tokenizer_config.json")}


@pytest.fixture(scope="module")
def builder(tmp_path_factory):
    return build.Build(tmp_path_factory.mktemp("built"), os.environ.get("LAYERWISE_PROFILE", "release"))


def test_the_crate_has_the_model_and_is_small_enough_for_crates_io(members, tmp_path, version):
    crate = the_one("*.crate")
    assert crate.stat().st_size <= CRATES_IO_LIMIT, f"{crate.stat().st_size / 2**20:.2f} MiB"
    names = members("*.crate", tmp_path)
    assert MODEL | {"Cargo.lock", "Cargo.toml", "LICENSE", "README.md", "src/lib.rs"} <= names
    outside = re.compile(r"^(tests|fuzz|packaging|python|\.ci|\.github|models/distill)/|^target/")
    assert [name for name in names if outside.match(name)] == []


def test_the_crate_installs_the_command(members, tmp_path, builder, version):
    members("*.crate", tmp_path)
    folder = tmp_path / f"layerwise-{version}"
    line = ["cargo", "install", "--quiet", "--locked", "--path", folder, "--root", tmp_path / "root", "--features", build.FEATURES,
            "--target", builder.target, "--profile", builder.profile]  # fmt: skip
    subprocess.run(line, cwd=folder, env=builder.environment, check=True)
    run = [tmp_path / "root/bin/layerwise", "extract", "-q", "The bank of the river."]
    said = subprocess.run(run, cwd=tmp_path, env=clean(tmp_path), check=True, capture_output=True, text=True).stdout
    assert said.count('"layer":') == 5


def test_the_sdist_has_all_that_a_wheel_is_built_of(members, tmp_path, builder, version):
    names = members(f"layerwise-{version}.tar.gz", tmp_path)
    assert {"pyproject.toml", "Cargo.lock", "PKG-INFO"} <= names
    assert any(name.endswith("src/kernels/mod.rs") for name in names) and any(name.endswith("model.safetensors") for name in names)
    folder = tmp_path / f"layerwise-{version}"
    line = ["maturin", "build", "--quiet", "--profile", builder.profile, "--target", builder.target, "--features",
            build.FEATURES, "--out", tmp_path / "wheels"]  # fmt: skip
    subprocess.run(line, cwd=folder, env=builder.environment, check=True)
    [wheel] = (tmp_path / "wheels").iterdir()
    assert wheel.stat().st_size > 5_000_000
    ours, theirs = (locked(lock) for lock in (build.REPOSITORY / "Cargo.lock", folder / "Cargo.lock"))
    assert theirs <= ours and len(theirs) > 100, theirs - ours


def locked(lock):
    """The crates of a Cargo.lock with their versions."""
    return set(re.findall(r'^name = "(.*)"\nversion = "(.*)"$', lock.read_text(), re.MULTILINE))
