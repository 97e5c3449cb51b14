"""Run the studies of docs/study.md and compare what they print with the page; `--update` puts it there.

    python docs/study/run.py [--layerwise PATH] [--update]

Times differ from run to run, and lines with one are not compared.
"""

from __future__ import annotations

import argparse
import difflib
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
PAGE = HERE.parent / "study.md"
SHOWN = re.compile(r"<!-- not run: printed by docs/study/(\w+\.py) -->\n```text\n(.*?)```\n", re.DOTALL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layerwise", default="layerwise")
    parser.add_argument("--update", action="store_true")
    args = parser.parse_args()
    page, differ = PAGE.read_text(), False

    def again(found: re.Match[str]) -> str:
        nonlocal differ
        script, shown = found.groups()
        command = [sys.executable, HERE / script, "--layerwise", args.layerwise]
        printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        kept = [[line for line in text.splitlines() if not re.search(r"\d s\b", line)] for text in (shown, printed)]
        if kept[0] != kept[1]:
            differ = True
            print("\n".join(difflib.unified_diff(*kept, "the page", script, lineterm="")))
        return found.group()[: found.start(2) - found.start()] + printed + found.group()[found.end(2) - found.start() :]

    new = SHOWN.sub(again, page)
    if args.update:
        PAGE.write_text(new)
    elif differ:
        raise SystemExit(f"{PAGE.name} shows something else; if that is meant: make study UPDATE=--update")
    print(f"{len(SHOWN.findall(page))} studies are as {PAGE.name} shows them")


if __name__ == "__main__":
    main()
