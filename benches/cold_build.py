"""How long a newcomer waits: the two commands of the README on a fresh clone, with nothing downloaded and nothing built.

The working tree's HEAD is cloned to a temporary folder, with a CARGO_HOME of its own (the configuration of the present one
is copied, as it may name a mirror) and a target folder of its own. The time of a command is all of it: downloads, build, run.
Processor time is given beside, as it hardly depends on what else the machine does.
"""

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

FIRST_VECTOR = ["cargo", "run", "--release", "--", "extract", "The boat lay at the bank of the river."]
TESTS = ["cargo", "test"]


def timed(command, folder, environment):
    """Wall-clock and processor seconds of a command, which must succeed."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
    wall, after = time.monotonic() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=["vector", "tests"], help="one of the two commands")
    arguments = parser.parse_args()
    repository = Path(__file__).resolve().parent.parent
    with tempfile.TemporaryDirectory(prefix="layerwise-cold-") as folder:
        folder = Path(folder)
        clone, home = folder / "layerwise", folder / "cargo"
        subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", repository, clone], check=True)
        home.mkdir()
        present = Path(os.environ.get("CARGO_HOME", Path.home() / ".cargo"))
        for name in ["config.toml", "config", "credentials.toml"]:
            if (present / name).is_file():
                shutil.copy(present / name, home)
        environment = {**os.environ, "CARGO_HOME": str(home), "CARGO_TARGET_DIR": str(folder / "target")}
        print(f"{os.cpu_count()} cores, load {', '.join(f'{load:.1f}' for load in os.getloadavg())} before", flush=True)
        for name, command, what in [("vector", FIRST_VECTOR, "first vector"), ("tests", TESTS, "tests passed")]:
            if arguments.only in (None, name):
                wall, processor = timed(command, clone, environment)
                load = os.getloadavg()[0]
                print(f"{what}: {wall:.0f} s, {processor:.0f} s of processors (load {load:.1f} at the end)", flush=True)
        binary = folder / "target/release/layerwise"
        if binary.is_file():
            print(f"the binary: {binary.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    sys.exit(main())
