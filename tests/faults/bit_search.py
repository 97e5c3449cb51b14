"""A text's bytes must be those of a run with that text alone, in whatever company, order, batch, format or shard it comes.

    python3 tests/faults/bit_search.py --layerwise target/release/layerwise

Each try draws what the text's numbers may depend on (the model, the cut, windows, a pair, the type) and what they must not depend
on: the other texts and their order, repeats, the batch, threads, the instruction set, shards, what else is written, the format.
"""

from __future__ import annotations

import itertools
import json
import random
import re
import struct
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from arrays import Array, npy, safetensors
from bench import Bench, Desk, Problem, Try
from jobs import WORDS

# By model: how many layers, and whether it has a pooler and a sentence embedding; the last is asked of the binary.
MODELS = ["bundled", "width64", "width32", "width16", "width3", "width1"]
POOLED = ["cls", "mean", "max", "mean_sqrt_len", "weightedmean", "lasttoken"]
# The lengths at which kernels, groups of texts and windows change their ways, and beyond the limits of the models.
LENGTHS = [
    int(length)
    for length in "1 2 3 5 8 13 14 15 16 17 29 30 31 32 33 47 62 63 64 65 126 142 143 144 145 160 250 509 510 511 700".split()
]
ODD = ["", " ", "a", "中文字符", "🙂🙂", "[MASK] is [SEP] here", "antidisestablishmentarianism " * 20, "𒀀 𒀁 " * 9, "é" * 40]


# The kinds of vectors that special tokens have a part in.
ACROSS_TOKENS = {"token", "mean", "max", "mean_sqrt_len", "weightedmean"}


@dataclass
class Meaning:
    """What the numbers of a text depend on."""

    model: str
    kind: str  # text, pair or words
    dtype: str
    options: list[str]
    word_pooling: str

    def key(self) -> tuple:
        return (self.model, self.kind, self.dtype, self.word_pooling, *self.options)

    def arguments(self, kinds: list[str]) -> list[str]:
        """The options, without those that change nothing of these kinds of vectors, which are refused."""
        columns = {"text": [], "pair": ["--pair-column", "pair"], "words": ["--pretokenized"]}
        options = list(self.options)
        if not ACROSS_TOKENS & set(kinds) and (at := options.index("--special-tokens")) >= 0:
            del options[at : at + 2]
        if "--normalize" in options and not set(kinds) - {"token", "word"}:
            options.remove("--normalize")
        pooling = ["--word-pooling", self.word_pooling] if "word" in kinds else []
        return ["-m", self.model, "--dtype", self.dtype, *options, *pooling, *columns[self.kind]]

    def record(self, text: tuple[str, str]) -> str:
        """A line of JSON Lines."""
        columns = {"text": {"text": text[0]}, "pair": {"text": text[0], "pair": text[1]}, "words": {"text": text[0].split()}}
        return json.dumps(columns[self.kind]) + "\n"


Vectors = dict[tuple[str, int | None], bytes]  # by kind and layer, the rows of one text


@dataclass
class Search:
    bench: Bench
    desk: Desk
    instruction_sets: list[str]
    layers: dict[str, int] = field(default_factory=dict)
    kinds: dict[str, list[str]] = field(default_factory=dict)
    alone: dict[tuple, Vectors | None] = field(default_factory=dict)
    meanings: dict[int, tuple[Meaning, list[tuple[str, str]]]] = field(default_factory=dict)
    compared: int = 0

    def look_at(self, model: str) -> None:
        """What a model has."""
        ended = self.desk.runs("extract", "-q", "-m", model, "x").succeeds()
        self.layers[model] = len(json.loads(ended.stdout)["layers"])
        has = lambda kind: self.desk.runs("extract", "-q", "-m", model, "-e", kind, "x").code == 0
        self.kinds[model] = ["token", "word", *POOLED, *(kind for kind in ("pooler", "sentence") if has(kind))]

    def meaning(self, number: int) -> tuple[Meaning, list[tuple[str, str]]]:
        """A meaning with a few texts. Eight tries share one, as the runs of texts alone are most of the time."""
        group = number // 8
        if group not in self.meanings:
            self.alone.clear()
            self.meanings = {group: drawn_meaning(self.bench.random("meaning", group), self.layers)}
        return self.meanings[group]

    def vectors_alone(self, meaning: Meaning, text: tuple[str, str]) -> Vectors | None:
        """The vectors of a text in a run of its own, on one thread; None where it is refused, as a pair without room may be."""
        key = (*meaning.key(), *text)
        if key not in self.alone:
            self.desk.put("alone.jsonl", meaning.record(text))
            kinds = self.kinds[meaning.model]
            ended = self.desk.runs(
                *["extract", "-q", "-i", "alone.jsonl", "-e", ",".join(kinds), "-f", "safetensors", "--threads", "1"],
                *["-o", "alone", "--overwrite", *meaning.arguments(kinds)],
                env={"LAYERWISE_ISA": self.instruction_sets[0]},
            ).ends_well()
            layers = range(self.layers[meaning.model])
            read = lambda: rows_of(self.desk, "alone", "safetensors", kinds, layers, 1)[0]
            self.alone[key] = read() if ended.code == 0 else None
        return self.alone[key]

    def try_one(self, number: int) -> None:
        meaning, pool = self.meaning(number)
        numbers = self.bench.random("try", number)
        texts = [text for text in drawn_company(numbers, pool) if self.vectors_alone(meaning, text) is not None]
        if not texts:
            return
        self.desk.put("texts.jsonl", "".join(map(meaning.record, texts)))
        all_kinds, all_layers = self.kinds[meaning.model], range(self.layers[meaning.model])
        kinds = numbers.sample(all_kinds, numbers.randint(1, min(4, len(all_kinds))))
        layers = sorted(numbers.sample(all_layers, numbers.randint(1, len(all_layers))))
        formats = {
            "f32": ["npy", "safetensors", "concat", "jsonl"],
            "f16": ["npy", "safetensors", "concat"],
            "bf16": ["safetensors"],
        }
        form = numbers.choice(formats[meaning.dtype])
        if form == "concat":
            kinds = [kind for kind in kinds if kind not in ("pooler", "sentence")] or ["token"]
            if "--normalize" in meaning.options:
                kinds = ["token"]  # What is joined is normalized as one vector.
        # AMX has bits of its own in bfloat16.
        bf16 = "bf16" in meaning.options
        is_long = sum(len(text) + len(pair) for text, pair in texts) > 3000
        left_out = {"amx"} if bf16 else set()
        left_out |= {"portable"} if is_long and len(self.instruction_sets) > 1 else set()  # It would take the time of all others.
        isa = numbers.choice([name for name in self.instruction_sets if name not in left_out])
        parts = numbers.choice([1, 1, 1, 2, 3]) if form != "jsonl" and len(texts) > 3 else 1
        command = ["extract", "-q", "-i", "texts.jsonl", "-e", ",".join(kinds)]
        if set(kinds) - {"pooler", "sentence"}:
            command += ["-l", ",".join(map(str, layers))]
        command += ["--threads", str(numbers.choice([1, 2, 3, 8]))]
        command += ["--batch-tokens", str(numbers.choice([1, 7, 33, 64, 145, 500, 4096, 100_000])), *meaning.arguments(kinds)]
        command += {"safetensors": ["-f", "safetensors"], "concat": ["--combine", "concat"]}.get(form, [])
        found = self.carry_out(command, isa, form, parts, kinds, layers, len(texts))
        for row, (text, vectors) in enumerate(zip(texts, found, strict=True)):
            expected = self.vectors_alone(meaning, text)
            for (kind, layer), data in vectors.items():
                self.compared += 1
                if data != expected[kind, layer]:
                    said = " ".join(command)
                    raise Problem(
                        f"row {row} ({text[0][:40]!r}), {kind}, layer {layer}: LAYERWISE_ISA={isa} {said}, {parts} parts",
                        self.desk.root,
                    )

    def carry_out(
        self, command: list[str], isa: str, form: str, parts: int, kinds: list[str], layers: list[int], texts: int
    ) -> list[Vectors]:
        env = {"LAYERWISE_ISA": isa}
        self.desk.remove("out", "part-1", "part-2", "part-3")
        if form == "jsonl":
            lines = self.desk.runs(*command, env=env).succeeds().stdout.splitlines()
            return [of_line(json.loads(line), kinds) for line in lines]
        if parts == 1:
            self.desk.runs(*command, "-o", "out", env=env).succeeds()
        else:
            names = [f"part-{part}" for part in range(1, parts + 1)]
            for part, name in enumerate(names, 1):
                self.desk.runs(*command, "--shard", f"{part}/{parts}", "-o", name, env=env).succeeds()
            self.desk.runs("merge", "-q", "out", *names).succeeds()
        return rows_of(self.desk, "out", form, kinds, layers, texts)


def of_line(line: dict[str, Any], kinds: list[str]) -> Vectors:
    """An object of JSON Lines; its numbers are float32's, spelled so that they read as the same again."""
    found: Vectors = {}
    flat = lambda value: [number for row in value for number in flat(row)] if value and isinstance(value[0], list) else value
    pack = lambda value: struct.pack(f"<{len(flat(value))}f", *flat(value))
    for kind in kinds:
        if kind in ("pooler", "sentence"):
            found[kind, None] = pack(line[kind])
        else:
            found.update({(kind, layer["layer"]): pack(layer[kind]) for layer in line["layers"]})
    return found


def rows_of(desk: Desk, folder: str, form: str, kinds: list[str], layers: list[int] | range, texts: int) -> list[Vectors]:
    """An output directory, text by text."""
    found: list[Vectors] = [{} for _ in range(texts)]
    out = desk / folder
    for kind in kinds:
        whole = safetensors(out / f"{kind}.safetensors") if form == "safetensors" else {}
        read: Callable[[str], Array] = (lambda name: whole[name]) if whole else lambda name: npy(out / kind / f"{name}.npy")
        if kind in ("pooler", "sentence"):
            array = whole[kind] if whole else npy(out / f"{kind}.npy")
            for row in range(texts):
                found[row][kind, None] = array.rows(row, row + 1)
            continue
        offsets = read("offsets").integers() if kind in ("token", "word") else list(range(texts + 1))
        if len(offsets) != texts + 1:
            raise Problem(f"{kind} has {len(offsets) - 1} texts, expected {texts}", desk.root)
        combined = read("concat") if form == "concat" else None
        width = combined.shape[1] // len(layers) if combined else 0
        for place, layer in enumerate(layers):
            array = combined or read(f"layer_{layer:02}")
            columns = slice(place * width, (place + 1) * width) if combined else slice(None)
            for row in range(texts):
                found[row][kind, layer] = array.rows(offsets[row], offsets[row + 1], columns)
    return found


def drawn_meaning(numbers: random.Random, layers: dict[str, int]) -> tuple[Meaning, list[tuple[str, str]]]:
    model = numbers.choice(["bundled", *layers])
    kind = numbers.choice(["text", "text", "pair", "words"])
    options = ["--compute", numbers.choice(["f32", "f32", "bf16", "int8"]), "--special-tokens", numbers.choice(["keep", "keep", "drop"])]
    overflow = numbers.choice(["truncate", "window"])
    options += ["--overflow", overflow]
    if overflow == "window" and (stride := numbers.choice([None, 0, 1, 2])) is not None:
        options += ["--stride", str(stride)]
    # The smallest golden model takes 12 tokens.
    if (limit := numbers.choice([None, 7, 9, 12] + ([20, 33, 100] if model == "bundled" else []))) is not None:
        options += ["--max-length", str(limit)]
    if numbers.random() < 0.2:
        options += ["--normalize"]
    dtype = numbers.choice(["f32", "f32", "f16", "bf16"])
    drawn = lambda: numbers.choice(ODD) if numbers.random() < 0.25 else " ".join(numbers.choices(WORDS, k=numbers.choice(LENGTHS)))
    word_pooling = numbers.choice(["mean", "first", "last", "first_last"])
    return Meaning(model, kind, dtype, options, word_pooling), [(drawn(), drawn()) for _ in range(8)]


def drawn_company(numbers: random.Random, pool: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Texts in any order, some of them again, near each other or far apart."""
    texts = numbers.choices(pool, k=numbers.choice([1, 2, 3, 5, 8, 8, 20, 40]))
    if numbers.random() < 0.3:
        texts = [text for text in texts for _ in range(numbers.choice([1, 2, 5]))]
    return texts


def tries(search: Search) -> Iterator[Try]:
    for number in [int(search.bench.only)] if search.bench.only else itertools.count():
        yield Try(str(number), lambda number=number: search.try_one(number))


def main() -> int:
    bench = Bench(__doc__, short_seconds=25)
    desk = bench.desk()
    said = desk.runs("extract", "x", env={"LAYERWISE_ISA": "?"}).stderr
    names = re.search(r"it has (.*)", said)
    if names is None:
        raise SystemExit(f"LAYERWISE_ISA=? does not say what there is: {said}")
    instruction_sets = names.group(1).split(", ")
    search = Search(bench, desk, sorted(instruction_sets, key="amx".__eq__))
    for model in MODELS:
        if model != "bundled":
            desk.put_model(model, model)
        search.look_at(model)
    code = bench.run(tries(search))
    print(f"{search.compared:,} vectors compared, instruction sets {', '.join(instruction_sets)}")
    return code


if __name__ == "__main__":
    sys.exit(main())
