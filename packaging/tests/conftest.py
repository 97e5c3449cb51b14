"""Tests of what `make dist` has built, each in a place where nothing else is in reach: no cargo, no package, no clone.

The folder of what was built is in LAYERWISE_DIST.
"""

import os
import platform
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "packaging"))

DIST = Path(os.environ["LAYERWISE_DIST"]).resolve()
# What only root may do, for whoever may be root.
AS_ROOT = [] if os.geteuid() == 0 else ["sudo", "-n"]
# The folders of the system's own programs.
SYSTEM_PATH = "/usr/bin:/bin"
PATIENCE = 120


def the_one(pattern):
    found = sorted(DIST.glob(pattern))
    assert len(found) == 1, f"{DIST} has one {pattern}, and not {[path.name for path in found]}"
    return found[0]


def clean(folder, path=SYSTEM_PATH, **more):
    """All that the environment has."""
    return {"PATH": path, "HOME": str(folder), "LC_ALL": "C.UTF-8", "COLUMNS": "100", "HF_HUB_OFFLINE": "1", **more}


def finished(command, folder, *, path=SYSTEM_PATH, code=0, **options):
    """What a command printed that ended with this exit code, in a folder and an environment of its own."""
    command = [str(word) for word in command]
    done = subprocess.run(command, cwd=folder, env=clean(folder, path), capture_output=True, text=True, timeout=PATIENCE, **options)
    assert done.returncode == code, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done


class Root:
    """A file system with the static binary and what a test puts there, and nothing else."""

    def __init__(self, folder, binary):
        self.folder = folder
        folder.chmod(0o755)
        shutil.copy(binary, folder / "layerwise")
        (folder / "tmp").mkdir()
        (folder / "tmp").chmod(0o1777)

    def put(self, path, content):
        file = self.folder / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content) if isinstance(content, str) else file.write_bytes(content)

    def layerwise(self, *arguments, code=0, user=None, **variables):
        variables = {"HF_HUB_OFFLINE": "1", **variables}
        become = [f"--userspec={user}:{user}"] if user else []
        command = [*AS_ROOT, "env", "-i", *(f"{name}={value}" for name, value in variables.items() if value is not None),
                   shutil.which("chroot", path="/usr/sbin:/sbin:/usr/bin:/bin"), *become, str(self.folder), "/layerwise",
                   *map(str, arguments)]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
        assert done.returncode == code, f"{arguments}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done


@pytest.fixture(scope="session")
def version():
    import build

    return build.version()


@pytest.fixture(scope="session")
def unpacked(tmp_path_factory, version):
    """The archive's folder, unpacked by tar."""
    folder = tmp_path_factory.mktemp("unpacked")
    archive = the_one("layerwise-*-linux-gnu.tar.gz")
    subprocess.run(["tar", "-xzf", archive], cwd=folder, check=True)
    assert [path.name for path in folder.iterdir()] == [archive.name.removesuffix(".tar.gz")]
    return folder / archive.name.removesuffix(".tar.gz")


@pytest.fixture
def root(tmp_path, unpacked):
    return Root(tmp_path, unpacked / "layerwise")


@pytest.fixture(scope="session")
def installed(tmp_path_factory):
    """A fresh environment of Python with the wheel and what it asks for."""
    folder = tmp_path_factory.mktemp("installed")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    pip = [folder / "bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, the_one("*.whl")], check=True, cwd=folder)
    return folder


@pytest.fixture(scope="session")
def machine():
    return platform.machine()


@pytest.fixture(scope="session")
def members():
    """The names of a source package's files, and how to unpack it."""

    def of(pattern, folder):
        with tarfile.open(the_one(pattern)) as archive:
            archive.extractall(folder, filter="data")
            # Else cargo, which tells packages by their names, would take what it built of the clone for up to date.
            for path in folder.rglob("*.rs"):
                path.touch()
            return {name.partition("/")[2] for name in archive.getnames()}

    return of
