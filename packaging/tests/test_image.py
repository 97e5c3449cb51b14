"""The image: built with what there is here (docker or buildah), and run as it is used."""

import json
import os
import shutil
import subprocess

import pytest
from conftest import DIST, PATIENCE

ENTRY = "/usr/bin/layerwise"
LIMIT = 60_000_000


def sh(*command, code=0, **options):
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=PATIENCE, **options)
    assert done.returncode == code, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done


def architecture():
    [root] = (DIST / "image").glob("linux-*")
    return root.name.removeprefix("linux-")


class Docker:
    def __init__(self):
        sh("docker", "build", "--tag", "layerwise:dist", DIST / "image")
        [about] = json.loads(sh("docker", "image", "inspect", "layerwise:dist").stdout)
        self.config, self.size = about["Config"], about["Size"]

    def layerwise(self, *arguments, user=None, mount=None, cache=None, code=0):
        options = ["--user", user] if user else []
        options += ["--volume", f"{mount}:/work"] if mount else []
        options += ["--volume", f"{cache}:/cache"] if cache else []
        return sh("docker", "run", "--rm", "--network", "none", *options, "layerwise:dist", *arguments, code=code)

    def close(self):
        sh("docker", "image", "rm", "--force", "layerwise:dist")


class Buildah:
    """Without a daemon and without namespaces of its own: the image's file system and user, in a chroot."""

    def __init__(self, folder):
        self.command = ["buildah", "--storage-driver", "vfs", "--root", folder / "root", "--runroot", folder / "run"]
        self.of("build", "--isolation", "chroot", "--build-arg", f"TARGETARCH={architecture()}", "--tag", "layerwise", DIST / "image")
        about = json.loads(self.of("inspect", "--type", "image", "layerwise").stdout)
        self.config = about["OCIv1"]["config"]
        self.of("push", "layerwise", f"oci-archive:{folder}/packed.tar")
        self.container = self.of("from", "layerwise").stdout.strip()
        mounted = self.of("mount", self.container).stdout.strip()
        files = [os.path.join(path, name) for path, _, names in os.walk(mounted) for name in names]
        self.size = sum(os.lstat(file).st_size for file in files)
        self.of("umount", self.container)

    def of(self, *arguments, **options):
        return sh(*self.command, *arguments, **options)

    def layerwise(self, *arguments, user=None, mount=None, cache=None, code=0):
        options = ["--user", user] if user else []
        options += ["--volume", f"{mount}:/work"] if mount else []
        options += ["--volume", f"{cache}:/cache"] if cache else []
        entry = self.config["Entrypoint"]
        return self.of("run", "--isolation", "chroot", *options, self.container, "--", *entry, *arguments, code=code)

    def close(self):
        self.of("rm", self.container)


def has_docker():
    return shutil.which("docker") and subprocess.run(["docker", "info"], capture_output=True).returncode == 0


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    if has_docker():
        image = Docker()
    elif shutil.which("buildah"):
        image = Buildah(tmp_path_factory.mktemp("buildah"))
    else:
        pytest.skip("neither docker nor buildah here")
    yield image
    image.close()


def test_it_is_small_and_nobodys(image):
    assert image.size <= LIMIT, f"{image.size / 1e6:.1f} MB"
    print(f"image: {image.size / 1e6:.1f} MB")
    assert image.config["Entrypoint"] == [ENTRY]
    assert image.config["User"] == "65532:65532"
    assert image.config["WorkingDir"] == "/work"
    assert "HF_HOME=/cache" in image.config["Env"]


def test_it_answers(image, version):
    assert image.layerwise("--version").stdout == f"layerwise {version}\n"
    vectors = json.loads(image.layerwise("extract", "-q", "The bank of the river.").stdout)
    assert len(vectors["layers"]) == 5
    image.layerwise("extract", "--no-such-option", code=2)


def test_it_writes_into_a_folder_of_whoever_it_is_run_as(image, tmp_path):
    (tmp_path / "texts.txt").write_text("one text\nanother\n")
    tmp_path.chmod(0o755)
    os.chown(tmp_path, *((4321, 4321) if os.geteuid() == 0 else (-1, -1)))
    user = "4321:4321" if os.geteuid() == 0 else f"{os.getuid()}:{os.getgid()}"
    image.layerwise("extract", "-i", "texts.txt", "-e", "token,mean", "-o", "out", user=user, mount=tmp_path)
    assert json.loads((tmp_path / "out/manifest.json").read_text())["counts"]["texts"] == 2
    assert f"{(tmp_path / 'out').stat().st_uid}:{(tmp_path / 'out').stat().st_gid}" == user
    said = image.layerwise("verify", "out", user=user, mount=tmp_path).stderr
    assert "out is whole" in said


def test_it_writes_nowhere_that_is_not_its_own(image, tmp_path):
    (tmp_path / "texts.txt").write_text("one text\n")
    tmp_path.chmod(0o755)
    failed = image.layerwise("extract", "-i", "texts.txt", "-o", "out", user="4322:4322", mount=tmp_path, code=1)
    assert "out" in failed.stderr and "ermission" in failed.stderr
