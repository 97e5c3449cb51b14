"""Run layerwise on folders that folders.py wrote and oracle.py read, and judge what it makes of them.

    python tests/real/published/compare.py DIR --layerwise target/release/layerwise --python4 PYTHON --python5 PYTHON

Right is what transformers 4 gives; where it raises, what transformers 5 gives; where both raise, anything. A refusal is
right where its message names a key or file that the folder's settings set, and wrong if all it has is harmless ones. A folder
that fails is made smaller, setting by setting, for as long as it still fails, and each smallest one is printed once.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from folders import Folder

Answer = dict[str, object]
TOLERANCE = 2e-6  # of a vector's largest difference, absolute, and relative to its largest number where that is above 1
JOBS = ("tokens", "pairs", "sentence")


@dataclass
class Outcome:
    """What became of a folder: `right`, `refused`, `refused wrongly` or `wrong`; and how, in words."""

    verdict: str
    detail: str = ""
    example: str = ""
    compared: Counter[str] = field(default_factory=Counter)  # how many values of which kind

    @property
    def failed(self) -> bool:
        return self.verdict in ("refused wrongly", "wrong")


@dataclass
class Case:
    """A folder, and what transformers 4 and 5 make of it."""

    directory: Path
    folder: Folder
    oracles: list[dict[str, list[Answer]]]  # by preference

    @classmethod
    def open(cls, directory: Path) -> Case:
        four, five = (json.loads((directory / f"oracle-{major}.json").read_text()) for major in (4, 5))
        for answer in (*five["means"], *five["sentences"]):
            if answer.get("dtype") in ("torch.float16", "torch.bfloat16"):  # where the rule would take 4's float32
                answer["error"] = "in half precision"
        return cls(directory, Folder.read(directory), [four, five])

    def right(self, part: str) -> list[Answer | None]:
        """The answers of the first version that has any; None for a text where it raises."""
        usable = (oracle[part] for oracle in self.oracles if not all("error" in answer for answer in oracle[part]))
        return [None if "error" in answer else answer for answer in next(usable, self.oracles[0][part])]

    def means(self) -> list[Answer | None]:
        """For each text and pair the mean by the first version that has one, and has the right tokens."""
        found: list[Answer | None] = []
        for index, right in enumerate(self.right("tokens")):
            same = (oracle for oracle in self.oracles if oracle["tokens"][index].get("ids") == (right or {}).get("ids"))
            means = (oracle["means"][index] for oracle in same)
            found.append(next((mean for mean in means if right and "error" not in mean), None))
        return found


# ---------------------------------------------------------------------------------------------------
# layerwise
# ---------------------------------------------------------------------------------------------------


class Refusal(Exception):
    """layerwise said no."""


class Crash(Exception):
    """layerwise ended as it never should."""


@dataclass
class Output:
    records: list[dict[str, object]]
    vectors: np.ndarray  # [texts, width]


def run(binary: Path, model: Path, rows: list[dict[str, str]], emit: str, vectors: str, *options: str) -> Output:
    """Run layerwise on rows of jsonl; `vectors` is the file to take them from, or a pattern of it."""
    with tempfile.TemporaryDirectory() as work:
        out = Path(work) / "out"
        command = [binary, "extract", "-m", model, "-e", emit, "-o", out, "-q", "--threads", "1", "--id-column", ""]
        command += ["--input-format", "jsonl", "-i", "-", *options]
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        done = subprocess.run([str(part) for part in command], input=lines, capture_output=True, text=True, timeout=120)
        if done.returncode not in (0, 1, 2) or "panicked" in done.stderr:
            raise Crash(f"exit code {done.returncode}: {done.stderr.strip()[-300:]}")
        if done.returncode != 0:
            raise Refusal(done.stderr.strip().removeprefix("error: ").replace(str(model), "").replace("\n", " ")[:300])
        records = [json.loads(line) for line in (out / "texts.jsonl").read_text(encoding="utf-8").split("\n") if line]
        return Output(records, np.load(next(out.glob(vectors))))


def run_job(binary: Path, model: Path, job: str, texts: list[tuple[str, ...]]) -> Output:
    rows = [dict(zip(("text", "b"), text, strict=False)) for text in texts]
    if job == "sentence":
        return run(binary, model, rows, "sentence", "sentence.npy")
    pairs = ["--pair-column", "b"] if job == "pairs" else []
    return run(binary, model, rows, "token,mean", "mean/layer_*.npy", "--layers", "-1", *pairs)


# ---------------------------------------------------------------------------------------------------
# Judgement
# ---------------------------------------------------------------------------------------------------


def difference(record: dict[str, object], vector: np.ndarray, right: Answer) -> str | None:
    """How one text's ids, types, offsets or vector differ from what is right."""
    for ours, theirs in (
        ("token_ids", "ids"),
        ("token_type_ids", "types"),
        ("offsets", "offsets"),
        ("n_tokens_before_truncation", "n_before"),
    ):
        if ours in record and theirs in right and record[ours] != right[theirs]:
            return f"{ours} {record[ours]}, right {right[theirs]}"
    for name in ("mean", "vector"):
        if name in right:
            expected = np.array(right[name])
            if vector.shape != expected.shape:
                return f"{name} of shape {vector.shape}, right {expected.shape}"
            if not np.array_equal(np.isfinite(vector), np.isfinite(expected)):
                return f"{name} {vector[:3]}, right {expected[:3]}"
            apart = np.nanmax(np.abs(vector - expected), initial=0.0)
            if apart > TOLERANCE * max(1.0, np.nanmax(np.abs(expected), initial=0.0)):
                return f"{name} off by {apart:.3g}"
    return None


def expected(case: Case, job: str) -> list[Answer | None]:
    """What is right for each text of a job; None where that is not known."""
    if job == "sentence":
        return case.right("sentences")
    part = slice(None, len(case.folder.texts)) if job == "tokens" else slice(len(case.folder.texts), None)
    answers = zip(case.right("tokens")[part], case.means()[part], strict=True)
    return [tokens and {**tokens, **(mean or {})} for tokens, mean in answers]


def judge_job(binary: Path, case: Case, job: str) -> Outcome:
    """Run a job on the texts for which it is known what is right, or on all where it is for none."""
    texts: list[tuple[str, ...]] = case.folder.pairs if job == "pairs" else [(text,) for text in case.folder.texts]
    known = [(text, right) for text, right in zip(texts, expected(case, job), strict=True) if right]
    try:
        output = run_job(binary, case.directory / "model", job, [text for text, _ in known] or texts)
    except Refusal as refusal:
        return judge_refusal(case.folder, job, str(refusal), bool(known))
    except Crash as crash:
        return Outcome("wrong", f"{job}: {crash}")
    for (text, right), record, vector in zip(known, output.records, output.vectors, strict=False):
        found = difference(record, vector, right)
        if found:
            return Outcome("wrong", f"{job}: {found}", " and ".join(map(repr, text)))
    return Outcome("right", compared=Counter({job: len(known)}))


def judge_refusal(folder: Folder, job: str, message: str, can: bool) -> Outcome:
    """`can`: whether transformers can do it."""
    if not can:
        return Outcome("refused, as transformers does", message)
    named = any(re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", message) for name in folder.culprits)
    return Outcome("refused" if named else "refused wrongly", f"{job}: {message}")


def judge(binary: Path, case: Case) -> dict[str, Outcome]:
    """The outcome of each of a folder's jobs."""
    return {job: judge_job(binary, case, job) for job in JOBS}


VERDICTS = ("wrong", "refused wrongly", "refused", "refused, as transformers does", "right")


def worst(outcomes: Iterable[Outcome]) -> Outcome:
    return min(outcomes, key=lambda outcome: VERDICTS.index(outcome.verdict))


# ---------------------------------------------------------------------------------------------------
# Many folders
# ---------------------------------------------------------------------------------------------------


@dataclass
class Tools:
    binary: Path
    pythons: list[str]  # of transformers 4 and 5
    threads: int

    def ask_oracles(self, directory: Path) -> None:
        """Have both versions read the folders that they have not read yet."""
        oracle = Path(__file__).with_name("oracle.py")
        with ThreadPoolExecutor(self.threads) as pool:
            commands = [[python, str(oracle), str(directory)] for python in self.pythons]
            for done in pool.map(lambda command: subprocess.run(command, capture_output=True, text=True), commands):
                if done.returncode != 0:
                    raise SystemExit(f"{' '.join(done.args)}\n{done.stderr}")

    def judge_all(self, directory: Path, only: str = "") -> list[tuple[Case, dict[str, Outcome]]]:
        """The outcomes of every folder in a directory that has a setting whose name contains `only`."""
        cases = [Case.open(path.parent) for path in sorted(directory.glob("*/case.json"))]
        cases = [case for case in cases if not only or any(only in setting.name for setting in case.folder.settings)]
        with ThreadPoolExecutor(self.threads) as pool:
            outcomes = list(pool.map(lambda case: judge(self.binary, case), cases))
        return list(zip(cases, outcomes, strict=True))


@dataclass
class Failing:
    """A folder that fails at a job."""

    folder: Folder
    job: str
    outcome: Outcome

    def __str__(self) -> str:
        example = f"\n    on {self.outcome.example}" if self.outcome.example else ""
        return f"{self.outcome.verdict.upper()} {self.folder}\n    {self.outcome.detail}{example}"

    def explains(self, other: Failing) -> bool:
        """Whether the other has all that makes this one fail."""
        if not self.folder.settings and self.folder.base != other.folder.base:
            return False
        return self.job == other.job and set(self.folder.settings) <= set(other.folder.settings)


def smallest(failing: list[Failing], tools: Tools) -> list[Failing]:
    """Take settings away from folders for as long as they fail. What another explains is left out."""
    settled: list[Failing] = []
    while failing:
        failing.sort(key=lambda case: len(case.folder.settings))
        kept: list[Failing] = []
        for case in failing:
            if not any(other.explains(case) for other in (*settled, *kept)):
                kept.append(case)
        failing = []
        for case, smaller in zip(kept, smaller_ones(kept, tools), strict=True):
            if smaller:
                failing += smaller
            elif not any(other.explains(case) for other in settled):
                settled.append(case)
    return settled


def smaller_ones(failing: list[Failing], tools: Tools) -> list[list[Failing]]:
    """For each the folders with one setting less that fail as well. One setting is small enough: whether a folder with none
    fails is seen from those that have none from the first, which get many texts."""
    found: list[list[Failing]] = [[] for _ in failing]
    with tempfile.TemporaryDirectory() as work:
        for index, case in enumerate(failing):
            for number, setting in enumerate(case.folder.settings if len(case.folder.settings) > 1 else ()):
                case.folder.without(setting).write(Path(work) / f"{index:05}-{number}")
        tools.ask_oracles(Path(work))
        for case, outcomes in tools.judge_all(Path(work)):
            index = int(case.directory.name.split("-")[0])
            outcome = outcomes[failing[index].job]
            if outcome.failed:
                found[index].append(Failing(case.folder, failing[index].job, outcome))
    return found


def show(results: list[tuple[Case, dict[str, Outcome]]], shown: list[Failing]) -> None:
    by_settings: dict[tuple[str, str], list[Failing]] = {}
    for case in shown:
        by_settings.setdefault((key_of(case.folder), case.outcome.verdict), []).append(case)
    for first, *others in by_settings.values():
        print(
            first, f"    (also {', '.join(case.job for case in others)})" if others else "", sep="\n" if others else ""
        )
    messages: dict[str, set[str]] = {}
    for case, outcomes in results:
        for outcome in outcomes.values():
            if outcome.verdict == "refused":
                messages.setdefault(outcome.detail.split(": ", 1)[1], set()).add(key_of(case.folder))
    print(f"\n{len(messages)} messages of refusals that are right")
    for message, settings in sorted(messages.items()):
        more = f" and {len(settings) - 1} more" if len(settings) > 1 else ""
        print(f"    {message}\n        for {min(settings, key=len)}{more}")
    verdicts = Counter(worst(outcomes.values()).verdict for _, outcomes in results)
    compared = sum((outcome.compared for _, outcomes in results for outcome in outcomes.values()), Counter())
    print(f"\n{len(results)} folders: " + ", ".join(f"{verdicts[verdict]} {verdict}" for verdict in reversed(VERDICTS)))
    print("compared: " + ", ".join(f"{compared[job]} {job}" for job in JOBS))
    print(f"{len(by_settings)} failing settings")


def key_of(folder: Folder) -> str:
    return " + ".join(sorted(setting.name for setting in folder.settings))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("directory", type=Path, help="what folders.py wrote")
    parser.add_argument("--layerwise", type=Path, required=True, help="the binary")
    parser.add_argument("--python4", default=sys.executable, help="an environment with requirements-4.txt")
    parser.add_argument("--python5", default=sys.executable, help="an environment with requirements-5.txt")
    parser.add_argument("--threads", type=int, default=2, help="folders at a time (default 2)")
    parser.add_argument("--no-reduce", action="store_true", help="print failing folders as they are")
    parser.add_argument("--only", default="", help="only folders with a setting whose name contains this")
    args = parser.parse_args()
    if not args.layerwise.is_file():
        parser.error(f"no binary at {args.layerwise}")
    tools = Tools(args.layerwise.resolve(), [args.python4, args.python5], args.threads)
    tools.ask_oracles(args.directory)
    results = tools.judge_all(args.directory, args.only)
    failing = [
        Failing(case.folder, job, outcome)
        for case, outcomes in results
        for job, outcome in outcomes.items()
        if outcome.failed
    ]
    show(results, failing if args.no_reduce else smallest(failing, tools))
    return 1 if failing else 0


if __name__ == "__main__":
    sys.exit(main())
