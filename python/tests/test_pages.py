"""What the pages tell a reader to type in Python, typed: every block that imports layerwise, as it stands, page by page.

Blocks with `>>>` are run as doctests, so what they show is what comes out; the others as they are, with `assert` where a page
asserts something; those after a comment `not run: …` are left alone. A page's blocks share their names, in an empty folder with
what `FILES` says.
"""

import doctest
import os
import re
import sys
from pathlib import Path

import pytest

import layerwise

ROOT = Path(__file__).parents[2]
PAGES = ["README.md", "python/README.md", "docs/python.md"]


def blocks(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    found = re.finditer(r"(^<!-- not run: [^\n]*\n)?^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [match[2] for match in found if not match[1]]


@pytest.mark.parametrize("page", PAGES)
def test_pages(page, command, monkeypatch, tmp_path):
    found = blocks(page)
    first = next(index for index, block in enumerate(found) if "layerwise" in block)
    monkeypatch.chdir(tmp_path)
    # As where the environment is activated: the command is there, too.
    monkeypatch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    (tmp_path / "texts.txt").write_text(
        "The boat lay at the bank of the river.\nShe opened an account at the bank.\nHe sat on the bank and watched the water.\n"
    )
    command("extract", "-q", "-i", "texts.txt", "-m", "bundled", "-e", "token,mean", "-o", "out")
    names = {}
    for number, block in enumerate(found[first:], start=1):
        if ">>>" in block:
            test = doctest.DocTestParser().get_doctest(block, names, f"{page}, block {number}", page, 0)
            runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
            failures = []
            runner.run(test, out=failures.append, clear_globs=False)
            assert not runner.failures, "".join(failures)
            names.update(test.globs)
        else:
            exec(compile(block, f"{page}, block {number}", "exec"), names)


@pytest.mark.parametrize("module", ["layerwise", "layerwise.sklearn"])
def test_docstrings(module):
    found = doctest.testmod(pytest.importorskip(module), optionflags=doctest.ELLIPSIS)
    assert found.attempted > 0 and found.failed == 0


def test_what_is_public_is_documented():
    for name in layerwise.__all__:
        if name != "__version__":
            found = getattr(layerwise, name)
            assert found.__doc__, name
            for member, value in vars(found).items() if isinstance(found, type) else []:
                if not member.startswith("_") and (callable(value) or isinstance(value, property)):
                    assert value.__doc__, f"{name}.{member}"
