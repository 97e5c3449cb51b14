"""Tag sequences and the entities that seqeval finds in them in strict mode, for src/probe/entities.rs.

    python tests/golden/entities/make.py        (seqeval 1.2.2)
"""

import json
import random
from pathlib import Path

from seqeval.scheme import IOB1, IOB2, IOBES, Tokens

SCHEMES = {"IOB1": (IOB1, "BI"), "IOB2": (IOB2, "BI"), "BIOES": (IOBES, "BIES")}


def main() -> None:
    random.seed(11)
    cases = []
    for name, (scheme, prefixes) in SCHEMES.items():
        tags = ["O"] + [f"{prefix}-{kind}" for prefix in prefixes for kind in ("PER", "LOC")]
        for _ in range(300):
            sequence = random.choices(tags, k=random.randint(1, 7))
            found = [[entity.start, entity.end, entity.tag] for entity in Tokens(sequence, scheme).entities]
            cases.append(json.dumps([name, sequence, found]))
    Path(__file__).with_name("cases.jsonl").write_text("\n".join(cases) + "\n")


main()
