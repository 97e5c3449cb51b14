"""The static binary where there is nothing else: no libraries, no names, no certificates (`FROM scratch`)."""

import json
import shutil
import subprocess
import sys
from contextlib import contextmanager

import hub
import pytest
from conftest import AS_ROOT, REPOSITORY, finished

GOLDEN = REPOSITORY / "tests/golden/width32"
# An address that no other server of names has.
NAMES = "127.0.0.77"
ONLINE = {"HF_HUB_OFFLINE": None, "HF_HOME": "/tmp/hub"}


def test_the_bundled_model_gives_the_same_bytes_as_elsewhere(root, unpacked, tmp_path_factory):
    text = "The boat lay at the bank of the river."
    inside = root.layerwise("extract", "-q", text)
    outside = finished([unpacked / "layerwise", "extract", "-q", text], tmp_path_factory.mktemp("outside"))
    assert inside.stdout == outside.stdout and inside.stderr == ""
    assert [len(layer["mean"]) for layer in json.loads(inside.stdout)["layers"]] == [160] * 5


def test_a_folder_gives_a_directory_that_is_whole(root):
    shutil.copytree(GOLDEN, root.folder / "model")
    root.put("texts.txt", "the bank of the river\nan account at the bank\n")
    root.layerwise("extract", "-m", "/model", "-i", "/texts.txt", "-e", "token,mean", "-o", "/tmp/out")
    assert "out is whole" in root.layerwise("verify", "/tmp/out", "--recompute", "2", "-i", "/texts.txt").stderr
    root.layerwise("extract", "-m", "/model", "-i", "/texts.txt", "-f", "parquet", "-o", "/tmp/tables")
    assert (root.folder / "tmp/tables/mean/part-00000.parquet").read_bytes()[:4] == b"PAR1"


def test_anybody_may_run_it(root):
    root.layerwise("extract", "-q", "a text", "-o", "/tmp/out", user=12345)
    owner = (root.folder / "tmp/out/manifest.json").stat().st_uid
    assert owner == 12345


def fetches(root, port, host="hub.test", scheme="http", **variables):
    root.layerwise("extract", "-m", "owner/name", "-q", "the bank", "-o", "/tmp/out", "--overwrite",
                   HF_ENDPOINT=f"{scheme}://{host}:{port}", **ONLINE, **variables)  # fmt: skip
    assert (root.folder / "tmp/hub/hub/models--owner--name/snapshots" / hub.COMMIT / "config.json").is_file()


def test_a_host_is_found_in_its_file(root):
    root.put("/etc/hosts", "127.0.0.1 hub.test\n")
    with hub.serving(GOLDEN) as port:
        fetches(root, port)


@contextmanager
def names_served():
    server = subprocess.Popen([*AS_ROOT, sys.executable, hub.__file__, NAMES], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout.readline() == "serving\n"
        yield
    finally:
        subprocess.run([*AS_ROOT, "kill", str(server.pid)], check=True)
        server.wait()


# The last one names services that are shared objects of a system's C library, which are not there, and a rule that ends the search.
@pytest.mark.parametrize("services", [None, "hosts: files\n", "hosts: resolve [!SUCCESS=return] dns\npasswd: sss\n"])
def test_a_host_is_found_by_dns_whatever_the_system_asks_for_names(root, services):
    root.put("/etc/resolv.conf", f"nameserver {NAMES}\n")
    if services:
        root.put("/etc/nsswitch.conf", services)
    with hub.serving(GOLDEN) as port, names_served():
        fetches(root, port, host="some.hub.test", HOME=None)


def test_a_host_that_is_nowhere_is_an_error(root):
    failed = root.layerwise("extract", "-m", "owner/name", "x", code=1, HF_ENDPOINT="http://nowhere.test", **ONLINE)
    assert "nowhere.test" in failed.stderr


def test_certificates_are_those_that_are_named_else_mozillas(root, tmp_path_factory):
    authority, tls = hub.certificates(tmp_path_factory.mktemp("certificates"), "hub.test")
    root.put("/etc/hosts", "127.0.0.1 hub.test\n")
    root.put("/authority.pem", authority.read_bytes())
    with hub.serving(GOLDEN, tls) as port:
        ask = {"HF_ENDPOINT": f"https://hub.test:{port}", **ONLINE}
        untrusted = root.layerwise("extract", "-m", "owner/name", "x", code=1, **ask)
        # Judged by Mozilla's list, which does not know this authority; without a list nothing could be judged.
        assert "UnknownIssuer" in untrusted.stderr or "unknown" in untrusted.stderr.lower(), untrusted.stderr
        assert "No CA certificates" not in untrusted.stderr
        named_but_missing = root.layerwise("extract", "-m", "owner/name", "x", code=1, SSL_CERT_FILE="/none.pem", **ask)
        assert "No CA certificates" in named_but_missing.stderr, named_but_missing.stderr
        fetches(root, port, scheme="https", SSL_CERT_FILE="/authority.pem")
        # Where distributions have it.
        root.put("/etc/ssl/certs/ca-certificates.crt", authority.read_bytes())
        shutil.rmtree(root.folder / "tmp/hub")
        fetches(root, port, scheme="https")


def test_the_home_of_a_user_is_in_the_list_of_users_where_there_is_one(root):
    failed = root.layerwise("extract", "-m", "owner/name", "x", code=1)
    assert "HF_HOME" in failed.stderr
    root.put("/etc/passwd", "root:x:0:0:root:/tmp/home:/bin/none\n")
    with hub.serving(GOLDEN) as port:
        online = {"HF_HUB_OFFLINE": None, "HF_ENDPOINT": f"http://127.0.0.1:{port}"}
        root.layerwise("extract", "-q", "-m", "owner/name", "x", **online)
    assert (root.folder / "tmp/home/.cache/huggingface/hub/models--owner--name").is_dir()
