"""Broken and hostile models, inputs, output directories and hubs: each must end with a clear error or with the right output.

    python3 tests/faults/hostile.py --layerwise target/release/layerwise

Whatever it is given, the program ends by itself, with exit code 0, 1 or 2, in bounded time and memory, without a panic and
without control characters on standard error; and nothing changes but the output directory and the cache. Where it succeeds,
the output must be right, or, where only numbers may have changed, at least whole by its own `verify`. What is generated is in
hostile_models.py, hostile_inputs.py, hostile_outputs.py and hostile_hub.py; no other program is needed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import hostile_hub
import hostile_inputs
import hostile_models
import hostile_outputs
from bench import Bench, Try, in_turn
from hostile_case import Case, face

PLACES = {"models": hostile_models, "inputs": hostile_inputs, "outputs": hostile_outputs, "hub": hostile_hub}


def tries(bench: Bench) -> Iterator[Try]:
    """First every case that is written down, in turn from each place; then mutations without end."""
    as_try = lambda place, case: Try(f"{place}/{case.name}", lambda: face(bench, case))
    groups = []
    for place, module in PLACES.items():
        # A slow case waits for limits of many seconds to run out.
        cases = [case for case in module.cases() if not (bench.short and case.slow)]
        bench.random(place).shuffle(cases)
        groups.append([as_try(place, case) for case in cases])
    yield from in_turn(groups)
    number = 0
    while bench.only is None or (number == 0 and "/random/" in bench.only):
        for place, module in PLACES.items():
            if bench.only is not None and bench.only.startswith(f"{place}/random/"):
                number = int(bench.only.rsplit("/", 1)[1])
            if hasattr(module, "drawn"):
                yield as_try(place, module.drawn(f"random/{number}", bench.random(place, number)))
        number += 1


def main() -> int:
    bench = Bench(__doc__, short_seconds=30)
    return bench.run(tries(bench))


if __name__ == "__main__":
    sys.exit(main())
