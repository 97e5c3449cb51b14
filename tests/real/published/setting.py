"""What a setting is: a small change to the files of a base folder, by a name.

A change is written as `{file: {key: value}}`. A key may be a path with dots; `+key` adds to a list; `REMOVED` takes a key or
a file away. A file in `whole` is written as it stands here instead of being changed.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from odd_texts import around

Json = Any
REMOVED = object()

TC, SM, TJ, CONFIG = "tokenizer_config.json", "special_tokens_map.json", "tokenizer.json", "config.json"
ADDED, SB, ST, POOLING, MODULES = (
    "added_tokens.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    "1_Pooling/config.json",
    "modules.json",
)
OLD_SB = tuple(
    f"sentence_{name}_config.json" for name in ("roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
SENTENCE_FILES = (SB, *OLD_SB, ST, POOLING, MODULES)


@dataclass(frozen=True)
class Module:
    """A module of sentence-transformers that a setting adds, with its files."""

    kind: str
    config: dict[str, Json] | None = None
    config_name: str = "config.json"
    files: dict[str, bytes | Callable[[], bytes]] = field(default_factory=dict)
    before_pooling: bool = False


@dataclass(frozen=True, eq=False)
class Setting:
    """A small change to a folder's files."""

    name: str
    edits: dict[str, Json] = field(default_factory=dict)
    texts: tuple[str, ...] = ()  # that show it
    needs: str = ""  # json or vocab: the file it is about
    modules: tuple[Module, ...] = ()
    finish: Callable[[dict[str, Json]], dict[str, Json]] | None = None  # done when all else is
    whole: tuple[str, ...] = ()  # files that replace what is there
    harmless: bool = False  # changes nothing, and is no reason to refuse
    also_named: tuple[str, ...] = ()  # what else a refusal may name

    @property
    def sentence(self) -> bool:
        """Whether it is about sentence-transformers' files."""
        return bool(self.modules) or any(name.startswith(SENTENCE_FILES) for name in self.edits)

    @property
    def touches(self) -> set[str]:
        """What it sets; two settings that set the same do not meet in a folder."""
        touched = {f"module:{module.kind}" for module in self.modules} | ({"layout"} if self.finish else set())
        for name, change in self.edits.items():
            if isinstance(change, dict) and name not in self.whole:
                touched |= {f"{name}:{path.lstrip('+').split('.')[0]}" for path in change}
            else:
                touched.add(name)
        return touched

    @property
    def culprits(self) -> set[str]:
        """The keys and files that a refusal may name."""
        names = set(self.also_named) | {module.kind for module in self.modules}
        for name, change in self.edits.items():
            if not isinstance(change, dict) or name in (*self.whole, ADDED, *OLD_SB):
                names.add(name)
            if isinstance(change, dict):
                names |= {key for path in change for key in path.lstrip("+").split(".")}
            if isinstance(change, dict) and name in SENTENCE_FILES:  # whose keys hold further ones
                names |= {key for value in change.values() if isinstance(value, dict) for key in value}
        for module in self.modules:
            names |= set(module.config or ())
        return names - {"model"}  # which messages say of other things


def token(content: str, flags: str = "", special: bool | None = True, typed: bool = True) -> dict[str, Json]:
    """An added token as an object; `flags` holds l, r, w, n for lstrip, rstrip, single_word and normalized."""
    made: dict[str, Json] = {"__type": "AddedToken"} if typed else {}
    made["content"] = content
    made |= {
        name: letter in flags
        for name, letter in zip(("lstrip", "normalized", "rstrip", "single_word"), "lnrw", strict=True)
    }
    return made if special is None else made | {"special": special}


FLAGS = ["".join(letters) for size in range(5) for letters in itertools.combinations("lrwn", size)]
FEW_FLAGS = ["", "l", "r", "w", "n", "lrwn"]
MARKER_TEXTS = tuple(around(("[E1]", "[/E1]", "[E2]")))


def describe(flags: str) -> str:
    words = {"l": "lstrip", "r": "rstrip", "w": "single_word", "n": "normalized"}
    return " ".join(words[letter] for letter in flags) or "no flags"


CASE_TEXTS = (
    "Hello World Café CAFE\u0301 Boat",
    "ÉCOLE É e\u0301 café",
    "你好 hello世界",
    "hello\u0000wor\u200bld\ufffd",
)
