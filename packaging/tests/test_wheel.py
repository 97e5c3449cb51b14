"""The wheel in a fresh environment: the module, and a command that is that of the archive."""

import os
import re
import shutil
import signal
import subprocess
import sys
import zipfile

import pytest
from conftest import PATIENCE, REPOSITORY, clean, finished, the_one
from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerNeedSection


@pytest.fixture(scope="session")
def commands(installed, unpacked):
    """The command of the wheel and that of the archive."""
    return installed / "bin/layerwise", unpacked / "layerwise"


def versions_needed(wheel, folder):
    with zipfile.ZipFile(wheel) as opened:
        [module] = [name for name in opened.namelist() if name.endswith(".so")]
        path = opened.extract(module, folder)
    with open(path, "rb") as file:
        sections = [section for section in ELFFile(file).iter_sections() if isinstance(section, GNUVerNeedSection)]
        return {aux.name for section in sections for _, auxiliaries in section.iter_versions() for aux in auxiliaries}


def test_it_is_for_every_python_and_every_linux_that_it_names(tmp_path, machine):
    wheel = the_one("*.whl")
    assert f"-cp310-abi3-manylinux2014_{machine}.manylinux_2_17_{machine}.whl" in wheel.name
    numbers = [tuple(map(int, found[1].split("."))) for name in versions_needed(wheel, tmp_path) if (found := re.match(r"GLIBC_([0-9.]+)$", name))]
    assert max(numbers) <= (2, 17)
    audit = finished([sys.executable, "-m", "auditwheel", "show", wheel], tmp_path).stdout
    assert f"manylinux_2_17_{machine}" in audit.replace("\n", " "), audit


def test_it_has_the_licences_and_says_what_it_is(version):
    with zipfile.ZipFile(the_one("*.whl")) as opened:
        names = opened.namelist()
        [about] = [opened.read(name).decode() for name in names if name.endswith(".dist-info/METADATA")]
    for licence in ("LICENSE", "NOTICE-third-party.txt"):
        assert any(name.endswith(f".dist-info/licenses/{licence}") for name in names), licence
    for line in (f"Version: {version}", "Requires-Python: >=3.10", "Requires-Dist: numpy>=1.23", "License-Expression: Apache-2.0"):
        assert line in about.splitlines(), line


def test_the_module_gives_the_bits_of_the_command(installed, commands, tmp_path):
    script = """
import numpy, layerwise
model = layerwise.Model("bundled")
out = model.encode(["The bank of the river.", "A bank account."], emit=["mean", "token"], layers="all")
numpy.save("mean.npy", out["mean"])
"""
    finished([installed / "bin/python", "-c", script], tmp_path)
    (tmp_path / "texts.txt").write_text("The bank of the river.\nA bank account.\n")
    finished([commands[1], "extract", "-q", "-i", "texts.txt", "-o", "out"], tmp_path)
    script = 'import numpy; a = numpy.load("mean.npy"); assert all((a[k] == numpy.load(f"out/mean/layer_{k:02}.npy")).all() for k in range(5))'
    finished([installed / "bin/python", "-c", script], tmp_path)


def test_what_the_readme_says_of_python_works(installed, commands, tmp_path):
    page = (REPOSITORY / "README.md").read_text()
    [texts] = re.findall(r"```sh\n(cat > texts.txt.*?)```", page, re.DOTALL)
    finished(["bash", "-ec", texts], tmp_path)
    finished([commands[0], "extract", "-i", "texts.txt", "-e", "token,mean", "-o", "out"], tmp_path)
    blocks = [block for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "import layerwise" in block or "np.load" in block]
    assert len(blocks) >= 2
    for block in blocks:
        finished([installed / "bin/python", "-c", block], tmp_path)


def test_its_own_tests_pass(installed, tmp_path):
    subprocess.run([installed / "bin/python", "-m", "pip", "install", "--quiet", "pytest"], check=True)
    shutil.copytree(REPOSITORY / "python/tests", tmp_path / "python/tests")
    shutil.copytree(REPOSITORY / "tests/golden/width16", tmp_path / "tests/golden/width16")
    # The pages' tests need the pages; `make python` runs them.
    (tmp_path / "python/tests/test_pages.py").unlink()
    done = subprocess.run([installed / "bin/python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "python/tests"], cwd=tmp_path,
                          env=clean(tmp_path, f"{installed}/bin:/usr/bin:/bin"), capture_output=True, text=True, timeout=1800)  # fmt: skip
    assert done.returncode == 0 and " passed" in done.stdout, done.stdout[-4000:]


@pytest.mark.parametrize(
    "line",
    [
        "--version", "--help", "extract --help", "help compare", "extract -q one two", "compare one two --json", "info bundled --json",
        "completions bash", "", "extract --no-such-option", "nothing", "extract -i missing.txt", "info nothing",
        "extract -q -m ./none text", "verify .",
    ],
)  # fmt: skip
def test_the_commands_say_the_same(commands, tmp_path, line):
    said = []
    for command in commands:
        done = subprocess.run([command, *line.split()], cwd=tmp_path, env=clean(tmp_path), capture_output=True, timeout=PATIENCE)
        said.append((done.returncode, done.stdout, done.stderr))
    assert said[0] == said[1]
    assert said[0][0] in (0, 1, 2) and said[0][1] + said[0][2]


def test_the_commands_write_the_same_files(commands, tmp_path):
    (tmp_path / "texts.csv").write_text("text,label\nthe river bank,a\nthe bank account,b\n")
    for command, name in zip(commands, ("wheel", "archive")):
        for form in ("npy", "parquet", "safetensors"):
            finished([command, "extract", "-q", "-i", "texts.csv", "-e", "token,mean", "-f", form, "-o", f"{name}-{form}"], tmp_path)
    finished(["diff", "-r", "-x", "run.json", *(f"{name}-parquet" for name in ("wheel", "archive"))], tmp_path)
    for form in ("npy", "safetensors"):
        finished(["diff", "-r", "-x", "run.json", f"wheel-{form}", f"archive-{form}"], tmp_path)


@pytest.mark.parametrize(
    "line",
    [
        "printf 'a\\nb\\n' | layerwise extract -q",
        "printf 'a\\nb\\n' | layerwise extract -q -i - -f arrow | wc -c",
        "printf 'a\\n\\377\\n' | layerwise extract -q",
        "layerwise extract -q a < /dev/null",
        "layerwise extract -q < /dev/null",
        "layerwise extract -q a >&-",
        "layerwise extract -q a > /dev/full",
        "yes 'some words' | head -2000 | layerwise extract -q | head -c 100",
        "layerwise --help | head -1",
        "printf 'a\\nb\\n' | layerwise extract --stream -q",
        "layerwise extract -q $'a\\377'",
        "layerwise extract -q a <&- ",
        "layerwise extract -q a 2>&-",
    ],
)
def test_the_commands_do_the_same_with_what_they_are_connected_to(commands, tmp_path, line):
    said = []
    for command in commands:
        script = f"set -o pipefail; {line}; echo codes ${{PIPESTATUS[*]}} >&2"
        path = f"{command.parent}:/usr/bin:/bin"
        done = subprocess.run(["bash", "-c", script], cwd=tmp_path, env=clean(tmp_path, path), capture_output=True, timeout=PATIENCE)
        said.append((done.stdout, done.stderr))
    assert said[0] == said[1]


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_the_commands_are_interrupted_and_go_on_alike(commands, tmp_path, number, code):
    (tmp_path / "texts.txt").write_text("".join(f"some more words for text number {row}\n" * 3 for row in range(20_000)))
    for command, name in zip(commands, ("wheel", "archive")):
        line = [command, "extract", "-i", "texts.txt", "-o", name, "--progress", "always"]
        job = subprocess.Popen(line, cwd=tmp_path, env=clean(tmp_path), stderr=subprocess.PIPE, text=True, preexec_fn=signals_as_usual)
        while "encod" not in job.stderr.readline():
            assert job.poll() is None, f"{name} has ended"
        os.kill(job.pid, number)
        _, rest = job.communicate(timeout=PATIENCE)
        assert job.returncode == code, (name, rest)
        assert "goes on" in rest or "go on" in rest, rest
        assert "Traceback" not in rest


def signals_as_usual():
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
