"""Step 1 of 3: cut the corpus into the texts that the student learns from, and keep a part of it out.

    python texts.py CORPUS WORK

CORPUS holds *.txt.xz, one passage a line, in document order. Every line belongs to a block of 50 consecutive lines; two
blocks of 100 are kept out of training, for validation. WORK gets

    texts/0000.txt, 0001.txt, ...   training texts, one a line, GROUP neighbouring sentences (or short passages) in a row
    validation/pairs.tsv            2,500 pairs of neighbouring sentences and 2,500 random pairs
    validation/words.txt            sentences, for the similarity of a word to itself across contexts
"""

from __future__ import annotations

import argparse
import lzma
import random
import re
from pathlib import Path

# Share of the groups that come from each file: general text first, and as many short informal texts as encyclopedia's.
SHARES = {"wiki": 0.26, "reviews_dialog": 0.30, "books": 0.16, "news": 0.16, "docs": 0.12}
GROUP = 8
GROUPS_PER_SHARD = 2048
BLOCK = 50
SENTENCE_END = re.compile(r"(?<=[.!?])[\"'”’)]*\s+(?=[\"'“‘(]*[A-Z0-9])")
# One line in this many stays whole, for texts of more than a sentence.
WHOLE = 6
PAIRS = 2500


def held_out(number: int) -> bool:
    return number // BLOCK % 50 == 17


def units(passages: list[str], rng: random.Random) -> list[str]:
    """Sentences of 12 to 400 characters, and some passages as they are."""
    found = []
    for passage in passages:
        if rng.randrange(WHOLE) == 0:
            found.append(passage)
        else:
            found += [sentence for sentence in SENTENCE_END.split(passage) if 12 <= len(sentence) <= 400]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--shards", type=int, default=32, help="files of 16,384 texts, some 400,000 tokens each")
    args = parser.parse_args()
    rng = random.Random(20240)

    groups: list[list[str]] = []
    neighbours: list[tuple[str, str]] = []
    kept_out: list[str] = []
    for name, share in SHARES.items():
        with lzma.open(args.corpus / f"{name}.txt.xz", "rt", encoding="utf-8") as file:
            lines = [line.strip() for line in file]
        training = units([line for number, line in enumerate(lines) if not held_out(number)], rng)
        wanted = round(share * args.shards * GROUPS_PER_SHARD)
        starts = range(0, len(training) - GROUP + 1, GROUP)
        groups += [training[start : start + GROUP] for start in rng.sample(starts, min(wanted, len(starts)))]

        validation = [
            sentence
            for number, line in enumerate(lines)
            if held_out(number)
            for sentence in SENTENCE_END.split(line)
            if 20 <= len(sentence) <= 300
        ]
        firsts = rng.sample(range(len(validation) - 1), min(round(share * PAIRS), len(validation) // 2))
        neighbours += [(validation[first], validation[first + 1]) for first in firsts]
        kept_out += validation
    rng.shuffle(groups)

    (args.work / "texts").mkdir(parents=True, exist_ok=True)
    (args.work / "validation").mkdir(parents=True, exist_ok=True)
    for shard in range(len(groups) // GROUPS_PER_SHARD):
        texts = [text for group in groups[shard * GROUPS_PER_SHARD :][:GROUPS_PER_SHARD] for text in group]
        (args.work / "texts" / f"{shard:04}.txt").write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
    random_pairs = [tuple(rng.sample(kept_out, 2)) for _ in neighbours]
    pairs = [("neighbour", *pair) for pair in neighbours] + [("random", *pair) for pair in random_pairs]
    lines = ["\t".join(field.replace("\t", " ") for field in pair) + "\n" for pair in pairs]
    (args.work / "validation" / "pairs.tsv").write_text("".join(lines), encoding="utf-8")
    words = rng.sample(kept_out, 4000)
    (args.work / "validation" / "words.txt").write_text("".join(f"{text}\n" for text in words), encoding="utf-8")
    print(f"{len(groups)} groups of {GROUP} texts, {len(pairs)} pairs, {len(kept_out)} sentences kept out")


if __name__ == "__main__":
    main()
