"""The archive: all that it should hold, and the same bytes each time."""

import hashlib
import io
import re
import shutil
import subprocess
import tarfile

import build
import pytest
from conftest import DIST, REPOSITORY, finished, the_one
from elftools.elf.elffile import ELFFile

COMMANDS = ["extract", "compare", "probe", "predict", "merge", "info", "verify", "completions"]


def test_it_has_what_an_installation_needs(unpacked):
    files = {str(path.relative_to(unpacked)) for path in unpacked.rglob("*") if path.is_file()}
    pages = {f"man/{'-'.join(['layerwise', *name])}.1" for name in [[], *([name] for name in COMMANDS)]}
    scripts = {f"completions/{name}" for name in ("layerwise.bash", "_layerwise", "layerwise.fish")}
    documents = {"README.md", "CHANGELOG.md", "LICENSE", "NOTICE-third-party.txt"}
    assert files == {"layerwise"} | documents | scripts | pages


def test_the_licences_of_what_is_linked_in_are_there(unpacked):
    notice = (unpacked / "NOTICE-third-party.txt").read_text()
    for package in ("tokenizers", "parquet", "rustls", "mimalloc", "zstd-sys", "liblzma-sys", "webpki-roots"):
        assert re.search(rf"^{package} [0-9.]+[^ ]*: ", notice, re.MULTILINE), package
    assert len(re.findall("Permission is hereby granted", notice)) > 20
    # The C libraries' own.
    for library in ("libmimalloc-sys (c_src/mimalloc", "zstd-sys (zstd", "liblzma-sys (xz"):
        assert library in notice, library


def test_the_binary_needs_no_library_of_the_system(unpacked):
    with open(unpacked / "layerwise", "rb") as file:
        elf = ELFFile(file)
        kinds = {segment["p_type"] for segment in elf.iter_segments()}
        assert "PT_INTERP" not in kinds
        needed = [tag for tag in elf.get_section_by_name(".dynamic").iter_tags() if tag.entry.d_tag == "DT_NEEDED"]
        assert needed == []


def test_nothing_of_the_machine_that_built_it_is_in_it(unpacked):
    binary = (unpacked / "layerwise").read_bytes()
    for path in {str(REPOSITORY), str(REPOSITORY.home() / ".cargo"), str(DIST.parent)}:
        assert path.encode() not in binary, path
    with tarfile.open(the_one("layerwise-*-linux-gnu.tar.gz")) as archive:
        entries = archive.getmembers()
    assert {(entry.uid, entry.gid, entry.uname, entry.gname) for entry in entries} == {(0, 0, "", "")}
    assert {entry.mtime for entry in entries} == {build.commit_time()}


def test_the_same_files_give_the_same_bytes(tmp_path):
    archive = the_one("layerwise-*-linux-gnu.tar.gz")
    with tarfile.open(archive) as opened:
        files = {entry.name: (opened.extractfile(entry).read(), entry.mode) for entry in opened if entry.isfile()}
    backwards = dict(reversed(files.items()))
    build.write_archive(tmp_path / "again.tar.gz", backwards, build.commit_time())
    assert (tmp_path / "again.tar.gz").read_bytes() == archive.read_bytes()


def test_the_checksums_are_those_of_the_files(tmp_path):
    finished(["sha256sum", "--check", "--strict", "SHA256SUMS"], DIST)
    named = {line.split()[1] for line in (DIST / "SHA256SUMS").read_text().splitlines()}
    assert named == {path.name for path in DIST.iterdir() if path.is_file()} - {"SHA256SUMS"}


def test_the_version_is_said(unpacked, tmp_path, version):
    said = finished([unpacked / "layerwise", "--version"], tmp_path).stdout
    assert said == f"layerwise {version}\n"


def test_manual_pages_are_sound(unpacked, tmp_path):
    if not (man := shutil.which("man")):
        pytest.skip("no man here")
    for page in sorted((unpacked / "man").iterdir()):
        shown = finished([man, "--warnings", "-E", "UTF-8", "-l", "-Tutf8", page], tmp_path)
        assert shown.stderr == "", page.name
        text = re.sub(".\b", "", re.sub("\x1b\\[[0-9;]*m", "", shown.stdout))
        for title in ("NAME", "SYNOPSIS", "DESCRIPTION", "EXAMPLES", "EXIT CODES", "SEE ALSO"):
            assert re.search(f"^{title}$", text, re.MULTILINE), (page.name, title)
        if shutil.which("mandoc"):
            # Breaks that are one too many are clap_mangen's, and do no harm.
            lint = subprocess.run(["mandoc", "-Tlint", "-Wwarning", page], capture_output=True, text=True).stdout
            assert [line for line in lint.splitlines() if "skipping paragraph macro: br" not in line] == []


def test_manual_pages_have_each_option_and_example_as_the_help_has_them(unpacked, tmp_path):
    for name in COMMANDS:
        told = finished([unpacked / "layerwise", name, "--help"], tmp_path).stdout
        page = (unpacked / f"man/layerwise-{name}.1").read_text().replace("\\-", "-").replace("\\&", "").replace("\\*(Aq", "'")
        options = set(re.findall(r"^ +(?:-\w, )?(--[a-z-]+)", told, re.MULTILINE))
        assert len(options) >= 5, name
        for option in options:
            assert option in page, (name, option)
        examples = told[told.index("\nExamples:\n") : told.index("\nEnvironment:\n")]
        for line in filter(None, examples.splitlines()[2:]):
            assert line.removeprefix("  ").replace("\\", "\\\\") in page.replace("\\e", "\\\\"), (name, line)


def test_bash_completes_commands_and_options(unpacked, tmp_path):
    script = f"""
        source {unpacked}/completions/layerwise.bash
        complete -p layerwise
        COMP_WORDS=(layerwise ver); COMP_CWORD=1; _layerwise layerwise ver layerwise; echo "${{COMPREPLY[@]}}"
        COMP_WORDS=(layerwise extract --combi); COMP_CWORD=2; _layerwise layerwise --combi extract; echo "${{COMPREPLY[@]}}"
    """
    lines = finished(["bash", "--norc", "-c", script], tmp_path).stdout.splitlines()
    assert "layerwise" in lines[0] and lines[1:] == ["verify", "--combine"]


def test_zsh_loads_its_completions(unpacked, tmp_path):
    if not shutil.which("zsh"):
        pytest.skip("no zsh here")
    script = f'fpath=({unpacked}/completions $fpath); autoload -U compinit; compinit -D -u; echo $_comps[layerwise]; autoload +X _layerwise'
    assert finished(["zsh", "-f", "-c", script], tmp_path).stdout == "_layerwise\n"


def test_fish_completes_commands_and_options(unpacked, tmp_path):
    if not shutil.which("fish"):
        pytest.skip("no fish here")
    script = f"source {unpacked}/completions/layerwise.fish; complete -C 'layerwise ver'; complete -C 'layerwise extract --combi'"
    lines = finished(["fish", "--no-config", "-c", script], tmp_path).stdout.splitlines()
    assert [line.split("\t")[0] for line in lines] == ["verify", "--combine"]


def test_what_the_readme_shows_comes_out(unpacked, tmp_path):
    """The commands of README.md in the archive, in order; tests/docs.rs compares every line of the pages."""
    page, _, ran = (unpacked / "README.md").read_text(), 0, 0
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/layerwise").symlink_to(unpacked / "layerwise")
    (tmp_path / "page").mkdir()
    script = ["set +e"]
    blocks = re.findall(r"(<!-- not run: [^\n]* -->\n)?```(\w+)\n(.*?)```", page, re.DOTALL)
    shown = []
    for skipped, language, text in blocks:
        if skipped:
            continue
        if language == "sh":
            script.append(f"set -e\n{text}\nset +e")
        elif language == "console":
            for example in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
                lines = example.splitlines(keepends=True)
                count = next(at for at, line in enumerate(lines, 1) if not line.endswith("\\\n"))
                script.append(f"echo '<{len(shown)}>'\n{''.join(lines[:count])}\necho '<end>'")
                shown.append("".join(lines[count:]))
        ran += 1
    done = finished(["bash", "-c", "\n".join(script)], tmp_path / "page", path=f"{tmp_path}/bin:/usr/bin:/bin", stdin=subprocess.DEVNULL)
    assert ran > 10 and len(shown) > 10
    for number, expected in enumerate(shown):
        start = done.stdout.index(f"<{number}>\n") + len(f"<{number}>\n")
        printed = done.stdout[start : done.stdout.index("<end>", start)]
        for line in expected.splitlines():
            # Messages go to standard error, and some of them have times.
            if not re.search(r"\d (s|ms|min|threads?)\b|^(error|warning)|→|B/s", line) and line not in done.stderr:
                assert line in printed.splitlines(), f"{line}\n{printed}\n{done.stderr}"


def test_an_archive_is_of_all_its_files_and_folders(tmp_path):
    build.write_archive(tmp_path / "a.tar.gz", {"top/b/c": (b"content", 0o644), "top/a": (b"", 0o755)}, 1_000_000_000)
    with tarfile.open(fileobj=io.BytesIO((tmp_path / "a.tar.gz").read_bytes())) as archive:
        entries = [(entry.name, oct(entry.mode), entry.isdir()) for entry in archive]
    assert entries == [("top", "0o755", True), ("top/a", "0o755", False), ("top/b", "0o755", True), ("top/b/c", "0o644", False)]
    assert hashlib.sha256((tmp_path / "a.tar.gz").read_bytes()[4:8]).digest() == hashlib.sha256(b"\0" * 4).digest(), "gzip's own time"
