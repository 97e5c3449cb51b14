"""All settings of published folders."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from json_settings import tokenizer_json
from model_settings import model_config, neighbours
from sentence_settings import modules, pooling, prompts, sentence_config
from setting import Setting
from tokenizer_settings import basics, classes, markers, markers_twice, special_tokens, vocabulary_files


def named_once(settings: Iterator[Setting]) -> tuple[Setting, ...]:
    made = {}
    for setting in settings:
        assert setting.name not in made, setting.name
        made[setting.name] = setting
    return tuple(made.values())


_EVERY = named_once(
    itertools.chain(
        basics(),
        classes(),
        special_tokens(),
        markers(),
        markers_twice(),
        vocabulary_files(),
        tokenizer_json(),
        model_config(),
        sentence_config(),
        prompts(),
        pooling(),
        modules(),
        neighbours(),
    )
)
SETTINGS = tuple(setting for setting in _EVERY if not setting.harmless)
"""Those that may change ids, types, offsets, lengths or vectors."""
HARMLESS = tuple(setting for setting in _EVERY if setting.harmless)
"""Those that change nothing and are never a reason to refuse."""
