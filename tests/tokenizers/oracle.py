"""What transformers makes of the texts of `texts.json` with the tokenizer of each folder, as JSON on standard output:

    python tests/tokenizers/oracle.py FOLDER…

For each folder a list of ids, token types, offsets and words, or the exception that loading it raised. Tokenizers that are not
built on the tokenizers library have neither offsets nor words.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from pathlib import Path

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
warnings.filterwarnings("ignore")

import transformers
from transformers import AutoTokenizer, PreTrainedTokenizerBase
from transformers.utils import logging

logging.set_verbosity(50)

Json = dict[str, object]


def encoded(tokenizer: PreTrainedTokenizerBase, case: Json) -> Json:
    """One text, a pair, or words given one by one."""
    if "words" in case:
        made = tokenizer(case["words"], is_split_into_words=True, return_offsets_mapping=tokenizer.is_fast)
    elif "pair" in case:
        # As batches of one: an empty second text would be as none.
        batch = tokenizer([case["text"]], [case["pair"]], return_offsets_mapping=tokenizer.is_fast)
        made = {key: values[0] for key, values in batch.items()}
        batch_words = batch.word_ids(0) if tokenizer.is_fast else None
        return row(made, batch_words, tokenizer)
    else:
        made = tokenizer(case["text"], return_offsets_mapping=tokenizer.is_fast)
    return row(made, made.word_ids() if tokenizer.is_fast else None, tokenizer)


def row(made: Json, words: list[int | None] | None, tokenizer: PreTrainedTokenizerBase) -> Json:
    result: Json = {"ids": made["input_ids"]}
    if any(made.get("token_type_ids", [])):
        result["types"] = made["token_type_ids"]
    if tokenizer.is_fast:
        result["offsets"] = made["offset_mapping"]
        result["words"] = words
    return result


def answers(folder: Path, cases: list[Json]) -> Json:
    made: list[Json] = []
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder)
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"[:300]}
    of_words = tokenizer
    is_split_first = pre_tokenizer(tokenizer).startswith("Sequence") and "ByteLevel" in pre_tokenizer(tokenizer)
    if "ByteLevel" in pre_tokenizer(tokenizer):
        # The space before each word, without which version 4 refuses them and version 5 tokenizes other words.
        of_words = AutoTokenizer.from_pretrained(folder, add_prefix_space=True)
    for case in cases:
        try:
            if "words" in case and is_split_first:
                made.append(spaced(tokenizer, case["words"]))
            else:
                made.append(encoded(of_words if "words" in case else tokenizer, case))
        except Exception as error:
            made.append({"error": f"{type(error).__name__}: {error}"[:300]})
    return {"version": transformers.__version__, "class": type(tokenizer).__name__, "made": made}


def spaced(tokenizer: PreTrainedTokenizerBase, words: list[str]) -> Json:
    """Words with their spaces, where the setting for them has no effect."""
    if any(token in word for word in words for token in tokenizer.get_added_vocab()):
        raise ValueError("an added token would have a space of its own")
    made = encoded(tokenizer, {"words": [word if word.startswith(" ") else f" {word}" for word in words]})
    for index, word in enumerate(made["words"]):
        if word is not None and not words[word].startswith(" "):
            # A space that was put there has the place of the character behind it.
            start, end = made["offsets"][index]
            made["offsets"][index] = [max(0, start - 1), max(1, end - 1)]
    return made


def pre_tokenizer(tokenizer: PreTrainedTokenizerBase) -> str:
    return str(tokenizer.backend_tokenizer.pre_tokenizer) if tokenizer.is_fast else ""


def main() -> None:
    result: Json = {}
    for folder in map(Path, sys.argv[1:]):
        own = folder / "texts.json"
        texts = own if own.exists() else folder.parent / "texts.json"
        result[folder.name] = answers(folder, json.loads(texts.read_text()))
    json.dump(result, sys.stdout)


if __name__ == "__main__":
    main()
