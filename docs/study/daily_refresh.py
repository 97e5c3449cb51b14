"""Yesterday's vectors for today's texts: what `--reuse` copies, how long it takes, and that the bytes are those of the whole job.

    python docs/study/daily_refresh.py [--layerwise PATH] [--model M] [--texts N] [--work DIR]

One text in twenty is new today; as many are gone, some have other ids and labels, and the order is another.
"""

from __future__ import annotations

import argparse
import filecmp
import json
import random
import subprocess
import tempfile
import time
from pathlib import Path

WORDS = """the report of a new service was late and people asked for help with an order that did not come in time so our team will
call you back today about the price or the small part which you need before next week thank you""".split()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layerwise", default="layerwise")
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--texts", type=int, default=4000)
    parser.add_argument("--work", type=Path)
    args = parser.parse_args()
    draw = random.Random(0)

    def record(number: int) -> dict:
        text = " ".join(draw.choice(WORDS) for _ in range(draw.randint(5, 60)))
        return {"id": f"t{number}", "text": text, "label": draw.choice(["open", "closed"])}

    with tempfile.TemporaryDirectory() as temporary:
        work = args.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)

        def extract(name: str, out: str, *options: str) -> float:
            job = [args.layerwise, "extract", "-q", "-m", args.model, "-i", work / f"{name}.jsonl", "-e", "mean"]
            begun = time.perf_counter()
            subprocess.run([*job, "-o", work / out, *options], check=True)
            return time.perf_counter() - begun

        yesterday = [record(number) for number in range(args.texts)]
        kept = draw.sample(yesterday, args.texts - args.texts // 20)
        today = [dict(row, label="closed") if draw.random() < 0.1 else row for row in kept]
        today += [record(args.texts + number) for number in range(args.texts // 20)]
        draw.shuffle(today)
        for name, rows in (("yesterday", yesterday), ("today", today)):
            (work / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        extract("yesterday", "old")
        refresh = extract("today", "new", "--reuse", str(work / "old"))
        whole = extract("today", "whole")
        files = sorted(path.relative_to(work / "whole") for path in (work / "whole").rglob("*") if path.is_file())
        different = [str(path) for path in files if not filecmp.cmp(work / "whole" / path, work / "new" / path, shallow=False)]
        known = {row["text"] for row in yesterday}
        print(f"{len(today)} texts, {sum(row['text'] not in known for row in today)} of them new")
        print("files that differ from a job from scratch:", ", ".join(different))
        print(f"the whole job {whole:.1f} s, the refresh {refresh:.1f} s, {100 * refresh / whole:.0f} % of it")
        if different != ["run.json"]:
            raise SystemExit("the refresh has other bytes than a job from scratch")


if __name__ == "__main__":
    main()
