"""Broken and hostile models, inputs, output directories and hubs: each must end with a clear error or with the right output.

    python3 tests/faults/hostile.py --layerwise target/release/layerwise

Whatever it is given, the program ends by itself, with exit code 0, 1 or 2, in bounded time and memory, without a panic and
without control characters on standard error; and nothing changes but the output directory and the cache. Where it succeeds,
the output must be right, or, where only numbers may have changed, at least whole by its own `verify`. What is generated is in
hostile_models.py, hostile_inputs.py, hostile_outputs.py and hostile_hub.py; no other program is needed.
"""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Callable, Iterable, Iterator

import hostile_hub
import hostile_inputs
import hostile_models
import hostile_outputs
from bench import Bench, Try, in_turn
from hostile_case import Case, face

PLACES = {"models": hostile_models, "inputs": hostile_inputs, "outputs": hostile_outputs, "hub": hostile_hub}


def tries(bench: Bench) -> Iterator[Try]:
    """In turn a case that is written down and a mutation from each place; cases that are slow, as they wait for limits of many
    seconds to run out, for no more than a quarter of the time."""
    as_try = lambda place, case: Try(f"{place}/{case.name}", lambda: face(bench, case))
    groups: list[Iterable[Try]] = []
    slow = []
    for place, module in PLACES.items():
        cases = module.cases()
        bench.random(place).shuffle(cases)
        groups.append([as_try(place, case) for case in cases if not case.slow])
        slow += [as_try(place, case) for case in cases if case.slow]
        if hasattr(module, "drawn"):
            groups.append(mutations(bench, place, as_try))
    slow = iter([] if bench.short and not bench.only else slow)
    waited = 0.0
    for one in in_turn(groups):
        yield one
        if bench.only or waited < (time.monotonic() - bench.begun) / 4:
            begun = time.monotonic()
            yield from itertools.islice(slow, 1)
            waited += time.monotonic() - begun
    yield from slow


def mutations(bench: Bench, place: str, as_try: Callable[[str, Case], Try]) -> Iterator[Try]:
    """Without end, or the one that is asked for."""
    numbers: Iterable[int] = itertools.count()
    if bench.only is not None:
        asked = bench.only.removeprefix(f"{place}/random/")
        numbers = [int(asked)] if asked.isdigit() else []
    for number in numbers:
        yield as_try(place, PLACES[place].drawn(f"random/{number}", bench.random(place, number)))


def main() -> int:
    bench = Bench(__doc__, short_seconds=30)
    return bench.run(tries(bench))


if __name__ == "__main__":
    sys.exit(main())
