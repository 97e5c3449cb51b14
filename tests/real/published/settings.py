"""The settings of published folders: each a small change to the files of a base folder, by a name.

A change is written as `{file: {key: value}}`. A key may be a path with dots; `+key` adds to a list; `REMOVED` takes a key or
a file away. A file in `whole` is written as it stands here instead of being changed.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from safetensors.numpy import load, save

from odd_texts import LONG, around
from vocabulary import IDS, NEW, SPECIAL, VOCABULARY

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
OLD_SB = tuple(f"sentence_{name}_config.json" for name in ("roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet"))
SENTENCE_FILES = (SB, *OLD_SB, ST, POOLING, MODULES)
ALWAYS_THERE = (TC, TJ, CONFIG, "vocab.txt")
WIDTH = 16


@dataclass(frozen=True)
class Module:
    """A module of sentence-transformers that a setting adds, with its files."""

    kind: str
    config: dict[str, Json] | None = None
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
        touched = {"layout"} if self.finish else set()
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
            if name not in ALWAYS_THERE or not isinstance(change, dict):
                names.add(name)
            names |= set(keys(change))
        return names


def keys(tree: Json) -> Iterator[str]:
    if isinstance(tree, dict):
        for path, value in tree.items():
            yield from path.lstrip("+").split(".")
            yield from keys(value)
    elif isinstance(tree, (list, tuple)):
        for value in tree:
            yield from keys(value)


# ---------------------------------------------------------------------------------------------------
# Parts
# ---------------------------------------------------------------------------------------------------


def token(content: str, flags: str = "", special: bool | None = True, typed: bool = True) -> dict[str, Json]:
    """An added token as an object; `flags` holds l, r, w, n for lstrip, rstrip, single_word and normalized."""
    made: dict[str, Json] = {"__type": "AddedToken"} if typed else {}
    made["content"] = content
    made |= {name: letter in flags for name, letter in zip(("lstrip", "normalized", "rstrip", "single_word"), "lnrw")}
    return made if special is None else made | {"special": special}


FLAGS = ["".join(letters) for size in range(5) for letters in itertools.combinations("lrwn", size)]
FEW_FLAGS = ["", "l", "r", "w", "n", "lrwn"]
MARKER_TEXTS = tuple(around(("[E1]", "[/E1]", "[E2]")))


def describe(flags: str) -> str:
    words = {"l": "lstrip", "r": "rstrip", "w": "single_word", "n": "normalized"}
    return " ".join(words[letter] for letter in flags) or "no flags"


def decoder(*contents: str) -> dict[str, Json]:
    """`added_tokens_decoder` as transformers 4 saves it, for tokens of the vocabulary."""
    return {str(IDS[content]): token(content, typed=False) for content in contents}


def random_linear(outputs: int, inputs: int, bias: bool = True, residual: bool = False) -> bytes:
    rng = np.random.default_rng(outputs)
    tensors = {"linear.weight": rng.normal(0, 0.4, (outputs, inputs)).astype(np.float32)}
    if bias:
        tensors["linear.bias"] = rng.normal(0, 0.4, outputs).astype(np.float32)
    if residual:
        tensors["residual.weight"] = rng.normal(0, 0.4, (outputs, inputs)).astype(np.float32)
    return save(tensors, metadata={"format": "pt"})


def dense(activation: str | None, outputs: int = 12, inputs: int = WIDTH, bias: bool = True, **more: Json) -> Module:
    config = {"in_features": inputs, "out_features": outputs, "bias": bias, **more}
    if activation is not None:
        config["activation_function"] = activation
    residual = bool(more.get("use_residual")) and inputs != outputs
    return Module("Dense", config, {"model.safetensors": random_linear(outputs, inputs, bias, residual)})


def pickle_of(module: Module) -> bytes:
    """A module's weights as PyTorch saves them."""
    import torch  # takes seconds, and is for this alone

    tensors = {name: torch.from_numpy(array) for name, array in load(module.files["model.safetensors"]).items()}
    buffer = io.BytesIO()
    torch.save(tensors, buffer)
    return buffer.getvalue()


def layer_norm() -> Module:
    rng = np.random.default_rng(3)
    tensors = {f"norm.{name}": rng.normal(mean, 0.3, WIDTH).astype(np.float32) for name, mean in (("weight", 1.0), ("bias", 0.0))}
    return Module("LayerNorm", {"dimension": WIDTH}, {"model.safetensors": save(tensors, metadata={"format": "pt"})})


def weighted_layers(layer_start: int = 1, layers: int = 2) -> Module:
    weights = np.linspace(0.5, 2.0, layers + 1 - layer_start).astype(np.float32)
    config = {"word_embedding_dimension": WIDTH, "layer_start": layer_start, "num_hidden_layers": layers}
    file = save({"layer_weights": weights}, metadata={"format": "pt"})
    return Module("WeightedLayerPooling", config, {"model.safetensors": file}, before_pooling=True)


def in_folder(files: dict[str, Json]) -> dict[str, Json]:
    """sentence-transformers' layout before 2021: the encoder and its tokenizer in `0_Transformer`."""
    outside = (MODULES, ST, "README.md")
    moved = {name if name in outside or name[0] in "123456789" else f"0_Transformer/{name}": content for name, content in files.items()}
    return {**moved, MODULES: [{**entry, "path": entry["path"] or "0_Transformer"} for entry in moved[MODULES]]}


def in_folder_with_version(files: dict[str, Json]) -> dict[str, Json]:
    """The same, with the `config.json` that it had outside."""
    return {**in_folder(files), CONFIG: {"__version__": "0.3.8"}}


def changed_modules(change: Callable[[list[dict[str, Json]]], list[dict[str, Json]]]) -> Callable[[dict[str, Json]], dict[str, Json]]:
    return lambda files: {**files, MODULES: change([dict(entry) for entry in files[MODULES]])}


def renamed_modules(rename: Callable[[str], str]) -> Callable[[dict[str, Json]], dict[str, Json]]:
    return changed_modules(
        lambda entries: [{**entry, "type": rename(entry["type"].rsplit(".", 1)[1])} for entry in entries]
    )


NEW_MODULES = {
    "Transformer": "sentence_transformers.base.modules.transformer.Transformer",
    "Pooling": "sentence_transformers.sentence_transformer.modules.pooling.Pooling",
    "Dense": "sentence_transformers.base.modules.dense.Dense",
    "Normalize": "sentence_transformers.base.modules.normalize.Normalize",
    "LayerNorm": "sentence_transformers.sentence_transformer.modules.layer_norm.LayerNorm",
    "Dropout": "sentence_transformers.sentence_transformer.modules.dropout.Dropout",
    "WeightedLayerPooling": "sentence_transformers.sentence_transformer.modules.weighted_layer_pooling.WeightedLayerPooling",
}


def without_modules(files: dict[str, Json]) -> dict[str, Json]:
    return {name: content for name, content in files.items() if name != MODULES}


# ---------------------------------------------------------------------------------------------------
# tokenizer_config.json, special_tokens_map.json, added_tokens.json
# ---------------------------------------------------------------------------------------------------

CASE_TEXTS = ("Hello World Café CAFE\u0301 Boat", "ÉCOLE É e\u0301 café", "你好 hello世界", "hello\u0000wor\u200bld\ufffd")


def basics() -> Iterator[Setting]:
    for key in ("do_lower_case", "strip_accents", "tokenize_chinese_chars", "do_basic_tokenize"):
        for value in (True, False, None, REMOVED):
            word = "removed" if value is REMOVED else str(value).lower().replace("none", "null")
            if value is REMOVED and key != "do_lower_case":
                continue
            yield Setting(f"TC {key} {word}", {TC: {key: value}}, CASE_TEXTS)
    yield Setting("TC do_lower_case false, strip_accents true", {TC: {"do_lower_case": False, "strip_accents": True}}, CASE_TEXTS)
    yield Setting("TC do_lower_case true, strip_accents false", {TC: {"do_lower_case": True, "strip_accents": False}}, CASE_TEXTS)
    yield Setting("TC never_split", {TC: {"never_split": ["[E1]", "hello-world", "Boat"]}}, ("[E1] hello-world Boat Boating",))
    yield Setting("TC never_split empty", {TC: {"never_split": []}}, harmless=True)
    yield Setting("TC never_split null", {TC: {"never_split": None}}, harmless=True)
    yield Setting("TC do_basic_tokenize false, never_split", {TC: {"do_basic_tokenize": False, "never_split": ["[E1]"]}}, ("[E1] hello-world Boat",))
    yield Setting("no TC", {TC: REMOVED}, CASE_TEXTS)
    yield Setting("TC empty", {TC: {"tokenizer_class": REMOVED, "do_lower_case": REMOVED}}, CASE_TEXTS)
    yield Setting("TC clean_text false", {TC: {"clean_text": False}}, CASE_TEXTS)
    yield Setting("TC wordpieces_prefix", {TC: {"wordpieces_prefix": "@@"}}, ("boats boat@@s",))
    yield Setting("TC max_input_chars_per_word", {TC: {"max_input_chars_per_word": 5}}, ("unaffable boating",))
    yield Setting("TC add_special_tokens false", {TC: {"add_special_tokens": False}})
    yield Setting("TC use_fast false", {TC: {"use_fast": False}})
    yield Setting("TC legacy", {TC: {"legacy": False, "add_prefix_space": True}})
    yield Setting("TC split_special_tokens", {TC: {"split_special_tokens": True}}, ("[CLS] hello [SEP] [MASK]", "[MASK]boat"))
    yield Setting("TC split_special_tokens false", {TC: {"split_special_tokens": False}}, harmless=True)
    yield Setting(
        "TC split_special_tokens and markers",
        {TC: {"split_special_tokens": True, "additional_special_tokens": ["[E1]", "[/E1]"]}},
        ("[E1] hello [/E1] [MASK]",),
    )
    yield Setting("TC truncation_side left", {TC: {"truncation_side": "left"}}, LONG)
    yield Setting("TC truncation_side right", {TC: {"truncation_side": "right"}}, LONG)
    for names in (["input_ids", "attention_mask"], ["input_ids"], ["input_ids", "token_type_ids", "attention_mask"]):
        yield Setting(f"TC model_input_names {len(names)}", {TC: {"model_input_names": names}})
    for value in (8, 16, 512, 10**30, None):
        yield Setting(f"TC model_max_length {value}", {TC: {"model_max_length": value}}, LONG)
    yield Setting("TC model_max_length 16.0", {TC: {"model_max_length": 16.0}}, LONG)
    yield Setting("TC max_len 12", {TC: {"max_len": 12}}, LONG)
    yield Setting("TC max_len 12, model_max_length 20", {TC: {"max_len": 12, "model_max_length": 20}}, LONG)


def classes() -> Iterator[Setting]:
    names = (
        "BertTokenizer",
        "BertTokenizerFast",
        "DistilBertTokenizer",
        "DistilBertTokenizerFast",
        "ElectraTokenizer",
        "ElectraTokenizerFast",
        "PreTrainedTokenizerFast",
        "PreTrainedTokenizer",
        "TokenizersBackend",
        "MPNetTokenizer",
        "MPNetTokenizerFast",
        "RobertaTokenizer",
        "XLMRobertaTokenizerFast",
        "RetriBertTokenizer",
        "BertJapaneseTokenizer",
        "ConvBertTokenizer",
        "MobileBertTokenizerFast",
        "LayoutLMTokenizer",
        "FunnelTokenizer",
        "LxmertTokenizer",
        "DPRQuestionEncoderTokenizer",
        "SqueezeBertTokenizer",
        "BertweetTokenizer",
        "BasicTokenizer",
        "MyOwnTokenizer",
        "AlbertTokenizer",
        "SplinterTokenizer",
        "RoFormerTokenizer",
        "MarianTokenizer",
        "T5Tokenizer",
        "GPT2Tokenizer",
        "LlamaTokenizerFast",
        "HerbertTokenizer",
        "NomicBertTokenizer",
        "bert",
        "",
    )
    for name in names:
        yield Setting(f"TC class {name}", {TC: {"tokenizer_class": name}}, CASE_TEXTS)
        yield Setting(f"CONFIG class {name}", {CONFIG: {"tokenizer_class": name}, TC: {"tokenizer_class": REMOVED}}, CASE_TEXTS)
    yield Setting("TC class null", {TC: {"tokenizer_class": None}})
    yield Setting("TC no class", {TC: {"tokenizer_class": REMOVED}})
    yield Setting("CONFIG class MPNetTokenizer under TC's", {CONFIG: {"tokenizer_class": "MPNetTokenizer"}})
    yield Setting("CONFIG class null", {CONFIG: {"tokenizer_class": None}}, harmless=True)
    for kind in ("mecab", "basic"):
        yield Setting(f"TC word_tokenizer_type {kind}", {TC: {"word_tokenizer_type": kind}}, ("日本がサ",))
        yield Setting(
            f"TC BertJapaneseTokenizer, {kind}",
            {TC: {"tokenizer_class": "BertJapaneseTokenizer", "word_tokenizer_type": kind, "subword_tokenizer_type": "wordpiece"}},
            ("日本がサ",),
        )
    yield Setting(
        "TC BertJapaneseTokenizer, basic, character",
        {TC: {"tokenizer_class": "BertJapaneseTokenizer", "word_tokenizer_type": "basic", "subword_tokenizer_type": "character"}},
        ("日本がサ",),
    )
    yield Setting(
        "TC class PreTrainedTokenizerFast, no do_lower_case",
        {TC: {"tokenizer_class": "PreTrainedTokenizerFast", "do_lower_case": REMOVED}},
        CASE_TEXTS,
    )
    yield Setting("TC auto_map", {TC: {"auto_map": {"AutoTokenizer": ["tokenization_own.OwnTokenizer", None]}}}, harmless=True)


# The names that the tokens may be given instead of BERT's, while BERT's stay in the vocabulary.
OTHER_NAMES = {"cls": "<cls>", "sep": "</s>", "pad": "<pad>", "unk": "<unk>", "mask": "<mask>"}
OLD_NAMES = {"cls": "[CLS]", "sep": "[SEP]", "pad": "[PAD]", "unk": "[UNK]", "mask": "[MASK]"}


def special_tokens() -> Iterator[Setting]:
    for file, short in ((TC, "TC"), (SM, "SM")):
        for kind, other in OTHER_NAMES.items():
            key, old = f"{kind}_token", OLD_NAMES[kind]
            texts = tuple(around((other, old)))
            yield Setting(f"{short} {key} as it is", {file: {key: old}}, texts)
            yield Setting(f"{short} {key} as an object", {file: {key: token(old)}}, texts)
            yield Setting(f"{short} {key} as an object without type", {file: {key: token(old, special=None, typed=False)}}, texts)
            yield Setting(f"{short} {key} null", {file: {key: None}}, texts)
            yield Setting(f"{short} {key} {other}", {file: {key: other}}, texts)
            yield Setting(f"{short} {key} [NEW]", {file: {key: "[NEW]"}}, tuple(around(("[NEW]", old))))
            for flags in FLAGS if kind == "mask" else ("l", "r", "w", "n"):
                yield Setting(f"{short} {key} object {describe(flags)}", {file: {key: token(old, flags)}}, texts)
            yield Setting(f"{short} {key} {other} object lstrip", {file: {key: token(other, "l")}}, texts)
            yield Setting(f"{short} {key} content only", {file: {key: {"content": old}}}, texts)
        yield Setting(f"{short} all as they are", {file: {f"{kind}_token": old for kind, old in OLD_NAMES.items()}})
        yield Setting(
            f"{short} all other names", {file: {f"{kind}_token": other for kind, other in OTHER_NAMES.items()}}, tuple(around(("<cls>", "</s>", "[SEP]")))
        )
        for kind, name in (("bos", "<s>"), ("eos", "</s>"), ("bos", "[BOS]"), ("eos", "[E1]"), ("bos", "[CLS]"), ("eos", "[SEP]")):
            yield Setting(f"{short} {kind}_token {name}", {file: {f"{kind}_token": name}}, tuple(around((name,))))
        for flags in FEW_FLAGS:
            yield Setting(f"{short} bos_token object {describe(flags)}", {file: {"bos_token": token("<s>", flags)}}, tuple(around(("<s>",))))
        yield Setting(f"{short} bos_token null", {file: {"bos_token": None}}, harmless=True)
        yield Setting(f"{short} entity_token", {file: {"entity_token": "[ENT]"}}, tuple(around(("[ENT]",))))
        yield Setting(f"{short} entity_token new", {file: {"entity_token": "[NEWENT]"}}, tuple(around(("[NEWENT]",))))
        yield Setting(f"{short} entity_token object", {file: {"entity_token": token("[ENT]", "lr")}}, tuple(around(("[ENT]",))))
    yield Setting("TC [SEP], SM </s>", {TC: {"sep_token": "[SEP]"}, SM: {"sep_token": "</s>"}}, tuple(around(("[SEP]", "</s>"))))
    yield Setting("TC </s>, SM [SEP]", {TC: {"sep_token": "</s>"}, SM: {"sep_token": "[SEP]"}}, tuple(around(("[SEP]", "</s>"))))
    yield Setting("TC [MASK], SM <mask>", {TC: {"mask_token": "[MASK]"}, SM: {"mask_token": "<mask>"}}, tuple(around(("[MASK]", "<mask>"))))
    yield Setting("TC <mask>, SM [MASK]", {TC: {"mask_token": "<mask>"}, SM: {"mask_token": "[MASK]"}}, tuple(around(("[MASK]", "<mask>"))))
    yield Setting(
        "TC mask_token text, SM object lstrip", {TC: {"mask_token": "[MASK]"}, SM: {"mask_token": token("[MASK]", "l")}}, tuple(around(("[MASK]",)))
    )
    yield Setting(
        "TC mask_token object lstrip, SM text", {TC: {"mask_token": token("[MASK]", "l")}, SM: {"mask_token": "[MASK]"}}, tuple(around(("[MASK]",)))
    )
    yield Setting("SM empty", {SM: {}}, harmless=True)


def markers() -> Iterator[Setting]:
    both = ["[E1]", "[/E1]"]
    for file, short in ((TC, "TC"), (SM, "SM")):
        for key in ("additional_special_tokens", "extra_special_tokens"):
            yield Setting(f"{short} {key} strings", {file: {key: both}}, MARKER_TEXTS)
            yield Setting(f"{short} {key} new strings", {file: {key: ["<new>", "new_tok", "[E1]"]}}, tuple(around(("<new>", "new_tok"))))
            yield Setting(f"{short} {key} words", {file: {key: ["spare", "Marker"]}}, ("spare Spare sparehello", "Marker marker xMarker"))
            yield Setting(f"{short} {key} empty", {file: {key: []}}, harmless=True)
            yield Setting(f"{short} {key} null", {file: {key: None}})
            yield Setting(f"{short} {key} mixed", {file: {key: ["[E1]", token("[/E1]", "lr")]}}, MARKER_TEXTS)
            yield Setting(f"{short} {key} without type", {file: {key: [token("[E1]", "w", typed=False), token("[/E1]", "n", typed=False)]}}, MARKER_TEXTS)
            yield Setting(f"{short} {key} content only", {file: {key: [{"content": "[E1]"}]}}, MARKER_TEXTS)
            yield Setting(f"{short} {key} [SEP]", {file: {key: ["[SEP]", "[CLS]"]}}, ("[SEP] boat [CLS]",))
            for flags in FLAGS if (key, file) == ("additional_special_tokens", TC) else FEW_FLAGS:
                yield Setting(f"{short} {key} object {describe(flags)}", {file: {key: [token("[E1]", flags), "[/E1]"]}}, MARKER_TEXTS)
            yield Setting(f"{short} {key} object not special", {file: {key: [token("[E1]", "", special=False)]}}, MARKER_TEXTS)
            yield Setting(f"{short} {key} object not special, normalized", {file: {key: [token("[E1]", "n", special=False)]}}, MARKER_TEXTS)
        yield Setting(f"{short} extra_special_tokens dict", {file: {"extra_special_tokens": {"start_token": "[E1]", "end_token": "[/E1]"}}}, MARKER_TEXTS)
        yield Setting(
            f"{short} extra_special_tokens dict of objects",
            {file: {"extra_special_tokens": {"start_token": token("[E1]", "lw"), "end_token": token("[/E1]", "rn")}}},
            MARKER_TEXTS,
        )
        yield Setting(f"{short} extra_special_tokens empty dict", {file: {"extra_special_tokens": {}}}, harmless=True)
    yield Setting(
        "TC and SM additional_special_tokens",
        {TC: {"additional_special_tokens": ["[E1]"]}, SM: {"additional_special_tokens": ["[/E1]"]}},
        MARKER_TEXTS,
    )
    yield Setting(
        "TC extra_special_tokens, SM additional_special_tokens",
        {TC: {"extra_special_tokens": ["[E1]"]}, SM: {"additional_special_tokens": ["[/E1]"]}},
        MARKER_TEXTS,
    )
    yield Setting(
        "TC additional and extra_special_tokens",
        {TC: {"additional_special_tokens": ["[E1]"], "extra_special_tokens": ["[/E1]"]}},
        MARKER_TEXTS,
    )
    yield Setting(
        "TC added_tokens_decoder, SM additional_special_tokens",
        {TC: {"added_tokens_decoder": decoder(*SPECIAL, "[E1]")}, SM: {"additional_special_tokens": ["[/E1]"]}},
        MARKER_TEXTS,
    )
    yield Setting(
        "TC added_tokens_decoder, SM mask_token",
        {TC: {"added_tokens_decoder": decoder(*SPECIAL, "[E1]")}, SM: {"mask_token": "<mask>"}},
        tuple(around(("<mask>", "[MASK]"))),
    )
    yield Setting(
        "TC added_tokens_decoder and additional_special_tokens",
        {TC: {"added_tokens_decoder": decoder(*SPECIAL, "[E1]", "[/E1]"), "additional_special_tokens": both}},
        MARKER_TEXTS,
    )
    for flags in FLAGS:
        for special in (True, False):
            entry = token("[E1]", flags, special, typed=False)
            words = f"{describe(flags)}{'' if special else ' not special'}"
            change = {**decoder(*SPECIAL), str(IDS["[E1]"]): entry}
            yield Setting(f"TC added_tokens_decoder {words}", {TC: {"added_tokens_decoder": change}}, MARKER_TEXTS)
    for flags in FEW_FLAGS:
        for special in (True, False):
            entry = token("new_tok", flags, special, typed=False)
            words = f"{describe(flags)}{'' if special else ' not special'}"
            change = {**decoder(*SPECIAL), str(NEW): entry}
            yield Setting(f"TC added_tokens_decoder new {words}", {TC: {"added_tokens_decoder": change}}, tuple(around(("new_tok",))))
    alone = {str(IDS["[E1]"]): token("[E1]", typed=False)}
    yield Setting("TC added_tokens_decoder without BERT's", {TC: {"added_tokens_decoder": alone}}, MARKER_TEXTS)
    yield Setting("TC added_tokens_decoder empty", {TC: {"added_tokens_decoder": {}}}, harmless=True)
    flagged = decoder(*SPECIAL) | {str(IDS["[MASK]"]): token("[MASK]", "l", typed=False)}
    yield Setting("TC added_tokens_decoder [MASK] lstrip", {TC: {"added_tokens_decoder": flagged}}, tuple(around(("[MASK]",))))
    flagged = decoder(*SPECIAL) | {str(IDS["[MASK]"]): token("[MASK]", "l", typed=False)}
    yield Setting(
        "TC added_tokens_decoder [MASK] lstrip, mask_token text",
        {TC: {"added_tokens_decoder": flagged, "mask_token": "[MASK]"}},
        tuple(around(("[MASK]",))),
    )
    few = decoder(*SPECIAL) | {str(IDS["[E1]"]): {"content": "[E1]"}}
    yield Setting("TC added_tokens_decoder content only", {TC: {"added_tokens_decoder": few}}, MARKER_TEXTS)
    wrong = decoder(*SPECIAL) | {str(NEW): token("[E1]", typed=False)}
    yield Setting("TC added_tokens_decoder another id", {TC: {"added_tokens_decoder": wrong}}, MARKER_TEXTS)
    gap = decoder(*SPECIAL) | {str(NEW + 5): token("new_tok", typed=False)}
    yield Setting("TC added_tokens_decoder id with a gap", {TC: {"added_tokens_decoder": gap}}, tuple(around(("new_tok",))))
    order = {str(NEW + 1): token("new_tok", typed=False), str(NEW): token("<new>", typed=False)} | decoder(*SPECIAL)
    yield Setting("TC added_tokens_decoder out of order", {TC: {"added_tokens_decoder": order}}, tuple(around(("new_tok", "<new>"))))
    for name, words in {
        "in the vocabulary": {"[E1]": IDS["[E1]"], "[/E1]": IDS["[/E1]"]},
        "words": {"spare": IDS["spare"], "marker": IDS["marker"]},
        "new": {"new_tok": NEW, "<new>": NEW + 1},
        "new, cased": {"NEW_TOK": NEW, "Marker": NEW + 1},
        "another id": {"[E1]": NEW},
        "gap": {"new_tok": NEW + 3},
        "out of order": {"new_tok": NEW + 1, "<new>": NEW},
        "BERT's": {content: IDS[content] for content in SPECIAL},
        "empty": {},
    }.items():
        texts = tuple(around(("[E1]", "spare", "new_tok", "Marker")))
        yield Setting(f"ADDED {name}", {ADDED: words}, texts, whole=(ADDED,), harmless=name == "empty")
    yield Setting(
        "ADDED and SM additional_special_tokens",
        {ADDED: {"new_tok": NEW}, SM: {"additional_special_tokens": ["new_tok"]}},
        tuple(around(("new_tok",))),
    )
    yield Setting(
        "ADDED and TC additional_special_tokens",
        {ADDED: {"new_tok": NEW}, TC: {"additional_special_tokens": ["new_tok", "[E1]"]}},
        tuple(around(("new_tok", "[E1]"))),
    )
    yield Setting(
        "ADDED and TC added_tokens_decoder",
        {ADDED: {"new_tok": NEW}, TC: {"added_tokens_decoder": decoder(*SPECIAL)}},
        tuple(around(("new_tok", "[E1]"))),
    )


def vocabulary_files() -> Iterator[Setting]:
    def vocab(name: str, pieces: Iterable[str], end: str = "\n", more: str = "") -> Setting:
        lines = end.join(pieces)
        return Setting(f"VOCAB {name}", {"vocab.txt": f"{lines}{end}{more}"}, ("hello boats 你好 [E1] @@s", "[MASK] <mask>"), needs="vocab")

    last = [*VOCABULARY[:5], *reversed(VOCABULARY[5:])]
    yield Setting("VOCAB of another order beside TJ", {"vocab.txt": "".join(f"{piece}\n" for piece in last)}, ("hello boats",), needs="json")
    yield vocab("of another order", last)
    yield vocab("with CRLF", VOCABULARY, "\r\n")
    yield vocab("with an empty line at the end", VOCABULARY, more="\n")
    yield vocab("with an empty line inside", [*VOCABULARY[:40], "", *VOCABULARY[40:]])
    yield vocab("with a piece twice", [*VOCABULARY, "hello", "##s"])
    yield vocab("with spaces", [*VOCABULARY, "two words", " the", "bank "])
    yield vocab("without [MASK]", [piece if piece != "[MASK]" else "[unused9]" for piece in VOCABULARY])
    yield vocab("without [PAD]", [piece if piece != "[PAD]" else "[unused9]" for piece in VOCABULARY])
    yield vocab("without [UNK]", [piece if piece != "[UNK]" else "[unused9]" for piece in VOCABULARY])
    yield vocab("without [SEP]", [piece if piece != "[SEP]" else "[unused9]" for piece in VOCABULARY])
    yield vocab("with a mark at its start", ["\ufeff" + VOCABULARY[0], *VOCABULARY[1:]])
    yield vocab("with line separators inside pieces", [*VOCABULARY, "a\u2028b", "c\x0bd", "e\x85f"])
    older = {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": False, "strip_accents": False, "lowercase": False}
    yield Setting(
        "TC fast_tokenizer_files",
        {TC: {"fast_tokenizer_files": ["tokenizer.4.0.0.json", "tokenizer.json"]}},
        CASE_TEXTS,
        needs="json",
        finish=lambda files: {**files, "tokenizer.4.0.0.json": {**files[TJ], "normalizer": older, "pre_tokenizer": {"type": "WhitespaceSplit"}}},
        also_named=("tokenizer.4.0.0.json",),
    )
    yield Setting("adapter_config.json", {"adapter_config.json": {"peft_type": "LORA", "base_model_name_or_path": "bert", "r": 8}})
    yield Setting("TC processor_class SomeProcessor", {TC: {"processor_class": "SomeProcessor"}})
    yield Setting("processor_config.json", {"processor_config.json": {"processor_class": "SomeProcessor"}})


# ---------------------------------------------------------------------------------------------------
# tokenizer.json
# ---------------------------------------------------------------------------------------------------


def template(single: str, pair: str) -> dict[str, Json]:
    """`A:0 [SEP]:0` and the like, as TemplateProcessing writes it."""

    def pieces(text: str) -> list[Json]:
        parts = [part.rsplit(":", 1) for part in text.split()]
        return [
            {"Sequence": {"id": name, "type_id": int(kind)}} if name in "AB" else {"SpecialToken": {"id": name, "type_id": int(kind)}}
            for name, kind in parts
        ]

    names = sorted({part.rsplit(":", 1)[0] for part in f"{single} {pair}".split()} - {"A", "B"})
    tokens = {name: {"id": name, "ids": [IDS[name]], "tokens": [name]} for name in names}
    return {"type": "TemplateProcessing", "single": pieces(single), "pair": pieces(pair), "special_tokens": tokens}


def tokenizer_json() -> Iterator[Setting]:
    def setting(name: str, change: dict[str, Json], texts: tuple[str, ...] = CASE_TEXTS) -> Setting:
        return Setting(f"TJ {name}", {TJ: change}, texts, needs="json")

    bert = {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None, "lowercase": True}
    silent = {TC: {"do_lower_case": REMOVED}}
    for key in ("lowercase", "strip_accents", "handle_chinese_chars", "clean_text"):
        for value in (True, False):
            yield setting(f"{key} {str(value).lower()}", {f"normalizer.{key}": value})
            change = {TJ: {f"normalizer.{key}": value}, **silent}
            yield Setting(f"TJ {key} {str(value).lower()}, TC silent", change, CASE_TEXTS, needs="json")
    normalizers: dict[str, Json] = {
        "null": None,
        "NFC": {"type": "NFC"},
        "NFD": {"type": "NFD"},
        "NFKC": {"type": "NFKC"},
        "Lowercase": {"type": "Lowercase"},
        "StripAccents": {"type": "StripAccents"},
        "Strip": {"type": "Strip", "strip_left": True, "strip_right": True},
        "Replace": {"type": "Replace", "pattern": {"String": "boat"}, "content": "river"},
        "Prepend": {"type": "Prepend", "prepend": "a"},
        "Nmt": {"type": "Nmt"},
        "Sequence of none": {"type": "Sequence", "normalizers": []},
        "Sequence NFKC BERT": {"type": "Sequence", "normalizers": [{"type": "NFKC"}, bert]},
        "Sequence BERT": {"type": "Sequence", "normalizers": [bert]},
        "Sequence BERT cased": {"type": "Sequence", "normalizers": [bert | {"lowercase": False}]},
        "Sequence NFD Lowercase StripAccents": {
            "type": "Sequence",
            "normalizers": [{"type": "NFD"}, {"type": "Lowercase"}, {"type": "StripAccents"}],
        },
    }
    for name, value in normalizers.items():
        yield setting(f"normalizer {name}", {"normalizer": value})
        yield Setting(f"TJ normalizer {name}, TC silent", {TJ: {"normalizer": value}, **silent}, CASE_TEXTS, needs="json")
    words = ("hello-world hello_world don't 12ab", "你好世界 hello.world", "  hello\tworld\n")
    pre_tokenizers: dict[str, Json] = {
        "null": None,
        "WhitespaceSplit": {"type": "WhitespaceSplit"},
        "Whitespace": {"type": "Whitespace"},
        "Punctuation": {"type": "Punctuation", "behavior": "Isolated"},
        "Sequence WhitespaceSplit Punctuation": {
            "type": "Sequence",
            "pretokenizers": [{"type": "WhitespaceSplit"}, {"type": "Punctuation", "behavior": "Isolated"}],
        },
        "Sequence BERT Digits": {
            "type": "Sequence",
            "pretokenizers": [{"type": "BertPreTokenizer"}, {"type": "Digits", "individual_digits": True}],
        },
        "Sequence BERT": {"type": "Sequence", "pretokenizers": [{"type": "BertPreTokenizer"}]},
        "Split": {"type": "Split", "pattern": {"Regex": "\\s+"}, "behavior": "Removed", "invert": False},
    }
    for name, value in pre_tokenizers.items():
        yield setting(f"pre_tokenizer {name}", {"pre_tokenizer": value}, words)
    post_processors: dict[str, Json] = {
        "null": None,
        "BertProcessing": {"type": "BertProcessing", "sep": ["[SEP]", IDS["[SEP]"]], "cls": ["[CLS]", IDS["[CLS]"]]},
        "BertProcessing other names": {"type": "BertProcessing", "sep": ["</s>", IDS["</s>"]], "cls": ["<s>", IDS["<s>"]]},
        "RobertaProcessing": {
            "type": "RobertaProcessing",
            "sep": ["[SEP]", IDS["[SEP]"]],
            "cls": ["[CLS]", IDS["[CLS]"]],
            "trim_offsets": False,
            "add_prefix_space": False,
        },
        "template without types": template("[CLS]:0 A:0 [SEP]:0", "[CLS]:0 A:0 [SEP]:0 B:0 [SEP]:0"),
        "template of ones": template("[CLS]:1 A:1 [SEP]:1", "[CLS]:1 A:1 [SEP]:1 B:0 [SEP]:0"),
        "template without special tokens": template("A:0", "A:0 B:1"),
        "template without [CLS]": template("A:0 [SEP]:0", "A:0 [SEP]:0 B:1 [SEP]:1"),
        "template with two [SEP]": template("[CLS]:0 A:0 [SEP]:0", "[CLS]:0 A:0 [SEP]:0 [SEP]:0 B:1 [SEP]:1"),
        "template with [E1]": template("[CLS]:0 [E1]:0 A:0 [SEP]:0", "[CLS]:0 [E1]:0 A:0 [SEP]:0 B:1 [SEP]:1"),
        "template other names": template("<s>:0 A:0 </s>:0", "<s>:0 A:0 </s>:0 B:1 </s>:1"),
        "template second first": template("[CLS]:0 A:0 [SEP]:0", "[CLS]:0 B:0 [SEP]:0 A:1 [SEP]:1"),
        "Sequence": {"type": "Sequence", "processors": [template("[CLS]:0 A:0 [SEP]:0", "[CLS]:0 A:0 [SEP]:0 B:1 [SEP]:1")]},
    }
    for name, value in post_processors.items():
        yield setting(f"post_processor {name}", {"post_processor": value}, LONG[:6])
    yield setting("max_input_chars_per_word 10", {"model.max_input_chars_per_word": 10}, ("abcdefghij abcdefghijk unaffable",))
    yield setting("continuing_subword_prefix", {"model.continuing_subword_prefix": "@@"}, ("boats aas hello boat@@s",))
    yield setting("unk_token", {"model.unk_token": "<unk>"}, ("☃ 龍 hello",))
    yield setting("model type missing", {"model.type": REMOVED}, ())
    yield setting("decoder null", {"decoder": None}, ())
    for flags in FLAGS:
        for special in (True, False):
            entry = {"id": IDS["[E1]"], **token("[E1]", flags, special, typed=False)}
            words_ = f"{describe(flags)}{'' if special else ' not special'}"
            yield setting(f"added token {words_}", {"+added_tokens": [entry]}, MARKER_TEXTS)
    yield setting("added token new", {"+added_tokens": [{"id": NEW, **token("new_tok", "n", False, typed=False)}]}, tuple(around(("new_tok",))))
    yield setting("added token with a gap", {"+added_tokens": [{"id": NEW + 4, **token("new_tok", typed=False)}]}, tuple(around(("new_tok",))))
    yield setting("no added tokens", {"added_tokens": []}, tuple(around(("[MASK]", "[SEP]"))))
    lstripped = [{"id": IDS[content], **token(content, "l" if content == "[MASK]" else "", typed=False)} for content in SPECIAL]
    yield setting("[MASK] lstrip", {"added_tokens": lstripped}, tuple(around(("[MASK]",))))
    plain = [{"id": IDS[content], **token(content, special=False, typed=False)} for content in SPECIAL]
    yield setting("special tokens not special", {"added_tokens": plain}, tuple(around(("[MASK]", "[SEP]"))))
    for direction in ("Left", "Right"):
        truncation = {"direction": direction, "max_length": 8, "strategy": "LongestFirst", "stride": 0}
        yield setting(f"truncation {direction}", {"truncation": truncation}, LONG)
    yield setting("truncation OnlyFirst", {"truncation": {"direction": "Right", "max_length": 10, "strategy": "OnlyFirst", "stride": 2}}, LONG)
    padding = {"strategy": {"Fixed": 16}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]"}
    yield Setting("TJ padding", {TJ: {"padding": padding}}, needs="json", harmless=True)
    yield setting("padding Left", {"padding": padding | {"direction": "Left"}}, ())
    yield setting("version 2.0", {"version": "2.0"}, ())
    for kind, name in (("WordLevel", "WordLevel"), ("BPE", "BPE")):
        model = {"type": name, "vocab": IDS, "unk_token": "[UNK]"} | ({"merges": []} if kind == "BPE" else {})
        yield setting(f"model {kind}", {"model": model}, ("hello boats river", "abc"))


# ---------------------------------------------------------------------------------------------------
# config.json
# ---------------------------------------------------------------------------------------------------


def model_config() -> Iterator[Setting]:
    def setting(key: str, value: Json, harmless: bool = False) -> Setting:
        word = "removed" if value is REMOVED else str(value)
        return Setting(f"CONFIG {key} {word}", {CONFIG: {key: value}}, harmless=harmless)

    for eps in (1e-5, 0.1, REMOVED):
        yield setting("layer_norm_eps", eps)
    for act in ("relu", "gelu_new", "silu", "gelu_python", "gelu_pytorch_tanh", "tanh", "quick_gelu", "nothing", REMOVED):
        yield setting("hidden_act", act)
    for kind in ("relative_key", "relative_key_query", REMOVED):
        yield setting("position_embedding_type", kind)
    for key in ("is_causal", "is_decoder", "add_cross_attention"):
        yield setting(key, True)
        yield setting(key, False, harmless=True)
    for dtype in ("float16", "bfloat16", "float32"):
        yield setting("torch_dtype", dtype)
        yield setting("dtype", dtype)
    for names in (["BertForMaskedLM"], ["BertForCausalLM"], ["BertLMHeadModel"], ["BertForSequenceClassification"], [], None):
        yield setting("architectures", names)
    yield setting("pad_token_id", 3)
    yield setting("pad_token_id", None)
    yield setting("type_vocab_size", REMOVED)
    yield setting("max_length", 12)
    yield setting("truncation_side", "left")
    yield setting("prefix", "query: ")
    yield setting("model_max_length", 8)
    yield setting("num_hidden_layers", 1)
    yield setting("attn_implementation", "eager")
    yield setting("return_dict", False)
    yield setting("use_bidirectional_attention", False)
    yield setting("quantization_config", {"quant_method": "bitsandbytes", "load_in_8bit": True})


# ---------------------------------------------------------------------------------------------------
# sentence-transformers
# ---------------------------------------------------------------------------------------------------


def sentence_config() -> Iterator[Setting]:
    def setting(name: str, change: dict[str, Json], texts: tuple[str, ...] = LONG) -> Setting:
        return Setting(f"SB {name}", {SB: change}, texts)

    for value in (12, 16, 3, 2, 31, 33, 64, 512, 0, None, REMOVED, 12.0):
        yield setting(f"max_seq_length {'removed' if value is REMOVED else value}", {"max_seq_length": value})
    yield Setting("SB max_seq_length removed, TC model_max_length 10", {SB: {"max_seq_length": REMOVED}, TC: {"model_max_length": 10}}, LONG)
    yield Setting("SB max_seq_length null, TC model_max_length 10", {SB: {"max_seq_length": None}, TC: {"model_max_length": 10}}, LONG)
    yield Setting("SB max_seq_length 16, TC model_max_length 10", {SB: {"max_seq_length": 16}, TC: {"model_max_length": 10}}, LONG)
    yield Setting("SB max_seq_length removed, TC model_max_length 512", {SB: {"max_seq_length": REMOVED}, TC: {"model_max_length": 512}}, LONG)
    yield Setting("SB max_seq_length removed, TC max_len 12", {SB: {"max_seq_length": REMOVED}, TC: {"max_len": 12}}, LONG)
    yield setting("do_lower_case true", {"do_lower_case": True}, CASE_TEXTS)
    yield Setting("SB do_lower_case true, TC cased", {SB: {"do_lower_case": True}, TC: {"do_lower_case": False}}, CASE_TEXTS)
    yield Setting("SB do_lower_case true, markers", {SB: {"do_lower_case": True}, TC: {"do_lower_case": False, "additional_special_tokens": ["[E1]"]}}, MARKER_TEXTS)
    yield Setting("SB removed", {SB: REMOVED}, LONG)
    yield Setting("SB empty", {SB: {"max_seq_length": REMOVED, "do_lower_case": REMOVED}}, LONG)
    for old in OLD_SB:
        yield Setting(f"{old} alone", {SB: REMOVED, old: {"max_seq_length": 12, "do_lower_case": False}}, LONG)
        yield Setting(f"{old} beside SB", {old: {"max_seq_length": 12, "do_lower_case": False}}, LONG)
    yield Setting("old name beside an empty SB", {SB: {}, OLD_SB[0]: {"max_seq_length": 12}}, LONG, whole=(SB,))
    yield Setting("two old names", {SB: REMOVED, OLD_SB[0]: {"max_seq_length": 12}, OLD_SB[1]: {"max_seq_length": 9}}, LONG)
    yield Setting("old name with tokenizer_args", {SB: REMOVED, OLD_SB[0]: {"tokenizer_args": {"do_lower_case": False}}}, CASE_TEXTS)

    tokenizer_kwargs: dict[str, dict[str, Json]] = {
        "do_lower_case false": {"do_lower_case": False},
        "do_lower_case true": {"do_lower_case": True},
        "strip_accents": {"strip_accents": True},
        "tokenize_chinese_chars": {"tokenize_chinese_chars": False},
        "model_max_length": {"model_max_length": 9},
        "model_max_length 64": {"model_max_length": 64},
        "truncation_side": {"truncation_side": "left"},
        "use_fast": {"use_fast": False},
        "padding_side": {"padding_side": "left"},
        "additional_special_tokens": {"additional_special_tokens": ["[E1]", "[/E1]"]},
        "mask_token": {"mask_token": "<mask>"},
        "sep_token": {"sep_token": "</s>"},
        "split_special_tokens": {"split_special_tokens": True},
        "model_input_names": {"model_input_names": ["input_ids", "attention_mask"]},
        "add_special_tokens": {"add_special_tokens": False},
        "max_length": {"max_length": 9},
        "tokenizer_type": {"tokenizer_type": "bert"},
        "trust_remote_code": {"trust_remote_code": True},
        "revision": {"revision": "main"},
        "unknown key": {"some_key": 1},
        "empty": {},
    }
    for key in ("tokenizer_args", "processor_kwargs"):
        for name, value in tokenizer_kwargs.items():
            texts = MARKER_TEXTS if "special" in name else LONG if "length" in name or "side" in name else CASE_TEXTS
            yield setting(f"{key} {name}", {key: value}, texts)
    yield setting("tokenizer_args and processor_kwargs", {"tokenizer_args": {"do_lower_case": False}, "processor_kwargs": {"strip_accents": False}}, CASE_TEXTS)
    yield setting("tokenizer_args null", {"tokenizer_args": None}, CASE_TEXTS)
    yield setting("tokenizer_kwargs", {"tokenizer_kwargs": {"do_lower_case": False}}, CASE_TEXTS)
    processing: dict[str, dict[str, Json]] = {
        "text max_length": {"text": {"max_length": 9}},
        "text max_length 64": {"text": {"max_length": 64}},
        "text truncation false": {"text": {"truncation": False}},
        "text truncation": {"text": {"truncation": True, "max_length": 10}},
        "text add_special_tokens": {"text": {"add_special_tokens": False}},
        "text padding": {"text": {"padding": "max_length", "max_length": 24}},
        "text padding false": {"text": {"padding": False}},
        "text truncation_side": {"text": {"truncation_side": "left"}},
        "text padding_side": {"text": {"padding_side": "left"}},
        "text return_token_type_ids": {"text": {"return_token_type_ids": False}},
        "text split_special_tokens": {"text": {"split_special_tokens": True}},
        "text pad_to_multiple_of": {"text": {"pad_to_multiple_of": 8}},
        "common": {"common": {"max_length": 9}},
        "common return_tensors": {"common": {"return_tensors": "pt"}},
        "audio": {"audio": {"padding": False}},
        "chat_template": {"chat_template": {"add_generation_prompt": True}},
        "unknown": {"max_length": 9},
        "empty": {},
    }
    for name, value in processing.items():
        yield setting(f"processing_kwargs {name}", {"processing_kwargs": value})
    config_kwargs: dict[str, dict[str, Json]] = {
        "layer_norm_eps": {"layer_norm_eps": 0.1},
        "output_hidden_states": {"output_hidden_states": True},
        "hidden_act": {"hidden_act": "relu"},
        "num_hidden_layers": {"num_hidden_layers": 1},
        "is_decoder": {"is_decoder": True},
        "is_causal": {"is_causal": True},
        "max_position_embeddings": {"max_position_embeddings": 32},
        "tokenizer_class": {"tokenizer_class": "MPNetTokenizer"},
        "attn_implementation": {"attn_implementation": "eager"},
        "torch_dtype": {"torch_dtype": "float16"},
        "unknown key": {"some_key": 1},
        "empty": {},
    }
    for key in ("config_args", "config_kwargs"):
        for name, value in config_kwargs.items():
            yield setting(f"{key} {name}", {key: value}, ())
    model_kwargs: dict[str, dict[str, Json]] = {
        "attn_implementation": {"attn_implementation": "eager"},
        "torch_dtype float32": {"torch_dtype": "float32"},
        "torch_dtype float16": {"torch_dtype": "float16"},
        "dtype float16": {"dtype": "float16"},
        "add_pooling_layer": {"add_pooling_layer": False},
        "num_hidden_layers": {"num_hidden_layers": 1},
        "layer_norm_eps": {"layer_norm_eps": 0.1},
        "low_cpu_mem_usage": {"low_cpu_mem_usage": True},
        "trust_remote_code": {"trust_remote_code": True},
        "use_safetensors": {"use_safetensors": True},
        "empty": {},
    }
    for key in ("model_args", "model_kwargs"):
        for name, value in model_kwargs.items():
            yield setting(f"{key} {name}", {key: value}, ())
    for key, value in {
        "transformer_task": "feature-extraction",
        "modality_config": {"text": {"method": "forward", "method_output_name": "last_hidden_state"}},
        "module_output_name": "token_embeddings",
        "unpad_inputs": None,
        "query_length": 8,
        "document_length": 8,
        "backend": "torch",
        "some_key": 1,
        "tokenizer_name_or_path": None,
    }.items():
        yield setting(f"{key} {value if not isinstance(value, dict) else ''}".rstrip(), {key: value})
    modality = {"text": {"method": "forward", "method_output_name": "last_hidden_state"}}
    yield setting("as 6 saves it", {"transformer_task": "feature-extraction", "modality_config": modality, "module_output_name": "token_embeddings", "max_seq_length": REMOVED, "do_lower_case": REMOVED})
    hidden = {"text": {"method": "forward", "method_output_name": ["hidden_states", 1]}}
    yield setting("modality_config hidden state 1", {"modality_config": hidden, "module_output_name": "token_embeddings"})
    pooled = {"text": {"method": "forward", "method_output_name": "pooler_output"}}
    yield setting("modality_config pooler", {"modality_config": pooled, "module_output_name": "sentence_embedding"})


PROMPT_TEXTS = ("boat", "", " ", "  hello  ", "the river")


def prompts() -> Iterator[Setting]:
    def setting(name: str, change: dict[str, Json], pooling: dict[str, Json] | None = None, **more: dict[str, Json]) -> Setting:
        edits = {ST: change} | ({POOLING: pooling} if pooling else {}) | more
        return Setting(f"ST {name}", edits, PROMPT_TEXTS)

    query = {"prompts": {"query": "query: ", "passage": "passage: "}}
    yield Setting("ST prompts, no default", {ST: query}, harmless=True)
    yield Setting("ST prompts, default null", {ST: {**query, "default_prompt_name": None}}, harmless=True)
    yield Setting("ST similarity_fn_name", {ST: {"similarity_fn_name": "dot"}}, harmless=True)
    yield Setting("ST similarity_fn_name null", {ST: {"similarity_fn_name": None}}, harmless=True)
    yield Setting(
        "ST __version__", {ST: {"__version__": {"sentence_transformers": "3.0.1", "transformers": "4.41.2", "pytorch": "2.3.0"}}}, harmless=True
    )
    yield setting("__version__ as text", {"__version__": "2.2.2"})
    yield setting("default prompt", {**query, "default_prompt_name": "query"})
    yield setting("default prompt missing", {**query, "default_prompt_name": "other"})
    yield setting("default prompt without prompts", {"default_prompt_name": "query"})
    texts = {
        "empty": "",
        "space": " ",
        "no space": "query",
        "inside a word": "hel",
        "long": "the river and the bank is left : ",
        "longer than the limit": "the river and the bank " * 8,
        "marker": "[E1] hello [/E1] ",
        "ends with [SEP]": "hello [SEP]",
        "ends with [MASK]": "hello [MASK]",
        "of spaces": "   ",
        "accents": "Café ",
        "trailing spaces": "query:   ",
    }
    for name, text in texts.items():
        change = {"prompts": {"query": text}, "default_prompt_name": "query"}
        yield setting(f"default prompt {name}", change)
        yield setting(f"default prompt {name}, include_prompt false", change, {"include_prompt": False})
    for mode in ("cls_token", "max_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken"):
        modes = {"pooling_mode_mean_tokens": False, f"pooling_mode_{mode}": True, "include_prompt": False}
        yield setting(f"default prompt, include_prompt false, {mode}", {**query, "default_prompt_name": "query"}, modes)
    yield Setting("POOLING include_prompt false", {POOLING: {"include_prompt": False}}, PROMPT_TEXTS)
    yield Setting("POOLING include_prompt true", {POOLING: {"include_prompt": True}}, PROMPT_TEXTS, harmless=True)
    change = {"prompts": {"query": "query: "}, "default_prompt_name": "query"}
    left = {"prompts": {"query": "query: "}, "default_prompt_name": "query"}
    yield setting("default prompt, truncation left, include_prompt false", left, {"include_prompt": False}, **{TC: {"truncation_side": "left"}})
    yield setting("default prompt, max_seq_length 4, include_prompt false", change, {"include_prompt": False}, **{SB: {"max_seq_length": 4}})
    yield setting("default prompt, max_seq_length 5, include_prompt false", change, {"include_prompt": False}, **{SB: {"max_seq_length": 5}})
    no_sep = {TJ: {"post_processor": template("[CLS]:0 A:0", "[CLS]:0 A:0 B:1")}}
    yield Setting(
        "ST default prompt, include_prompt false, template without [SEP]",
        {ST: change, POOLING: {"include_prompt": False}, **no_sep},
        PROMPT_TEXTS,
        needs="json",
    )
    yield setting("prompts null", {"prompts": None})
    yield setting("prompts empty", {"prompts": {}, "default_prompt_name": None})
    yield setting("query prompt null", {"prompts": {"query": None, "document": None}, "default_prompt_name": None})
    for value in (8, 16, 64, None, 0):
        yield setting(f"truncate_dim {value}", {"truncate_dim": value})
    yield setting("model_type SentenceTransformer", {"model_type": "SentenceTransformer"})
    yield setting("model_type SparseEncoder", {"model_type": "SparseEncoder"})
    yield setting("model_type CrossEncoder", {"model_type": "CrossEncoder"})
    yield setting("model_type Other", {"model_type": "Other"})
    yield setting("model_type null", {"model_type": None})
    yield setting("model_type Other, limit and prompt", {"model_type": "Other", "truncate_dim": 8, **query, "default_prompt_name": "query"}, **{SB: {"max_seq_length": 5}})
    yield setting("model_type Other, cls", {"model_type": "Other"}, {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False})
    yield setting("default prompt document", {"default_prompt_name": "document"})
    yield setting("default prompt empty name", {**query, "default_prompt_name": ""})
    yield setting("similarity_fn_name nonsense", {"similarity_fn_name": "nonsense"})
    yield setting("requirements met", {"requirements": {"sentence_transformers": ">=2.0"}})
    yield setting("requirements unmet", {"requirements": {"sentence_transformers": ">=99.0"}})
    yield setting("normalize_embeddings", {"normalize_embeddings": True})
    yield setting("some_key", {"some_key": 1})


OLD_MODES = ("cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken")
NEW_MODES = ("cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")


def pooling() -> Iterator[Setting]:
    def old(name: str, *modes: str) -> Setting:
        return Setting(f"POOLING {name}", {POOLING: {f"pooling_mode_{mode}": mode in modes for mode in OLD_MODES}}, LONG)

    def new(name: str, mode: Json, **more: Json) -> Setting:
        config = {"embedding_dimension": WIDTH, "pooling_mode": mode, "include_prompt": True, **more}
        return Setting(f"POOLING {name}", {POOLING: config}, LONG, whole=(POOLING,))

    for mode in OLD_MODES:
        yield old(f"old {mode}", mode)
    yield old("old, none")
    yield old("old, all", *OLD_MODES)
    yield old("old, cls and mean", "cls_token", "mean_tokens")
    yield old("old, mean and max", "mean_tokens", "max_tokens")
    yield old("old, weightedmean and lasttoken", "weightedmean_tokens", "lasttoken")
    for mode in NEW_MODES:
        yield new(f"new {mode}", mode)
    yield new("new, a list of one", ["cls"])
    yield new("new, mean before cls", ["mean", "cls"])
    yield new("new, all", list(NEW_MODES))
    yield new("new, max twice", ["max", "max"])
    yield new("new, empty list", [])
    yield new("new, unknown mode", "median")
    yield new("new and old", "cls", pooling_mode_mean_tokens=True)
    yield new("new, word_embedding_dimension too", "cls", word_embedding_dimension=WIDTH)
    yield Setting("POOLING pooling_mode in the old file", {POOLING: {"pooling_mode": "max"}}, LONG)
    yield Setting("POOLING of before 2.0", {POOLING: {"pooling_mode_mean_sqrt_len_tokens": REMOVED}}, LONG)
    yield Setting("POOLING only the dimension", {POOLING: {"word_embedding_dimension": WIDTH}}, LONG, whole=(POOLING,))
    yield Setting("POOLING another dimension", {POOLING: {"word_embedding_dimension": 8}}, LONG)
    yield Setting("POOLING no dimension", {POOLING: {"word_embedding_dimension": REMOVED}}, LONG)
    yield Setting("POOLING some_key", {POOLING: {"some_key": 1}}, LONG)
    yield Setting("POOLING mode null", {POOLING: {"pooling_mode_max_tokens": None}}, LONG)


ACTIVATIONS = (
    "Tanh ReLU GELU Sigmoid SiLU LeakyReLU ELU SELU CELU Mish Hardswish Hardtanh Hardsigmoid Softplus Softsign LogSigmoid ReLU6 "
    "Softshrink Hardshrink Tanhshrink Softmax Softmin LogSoftmax PReLU RReLU GLU Threshold MultiheadAttention Softmax2d"
).split()


def modules() -> Iterator[Setting]:
    def setting(name: str, *added: Module, **edits: dict[str, Json]) -> Setting:
        return Setting(f"MODULE {name}", edits, (), modules=added)

    for name in ACTIVATIONS:
        yield setting(f"Dense {name}", dense(f"torch.nn.modules.activation.{name}"))
    yield setting("Dense Identity", dense("torch.nn.modules.linear.Identity"))
    yield setting("Dense short name", dense("torch.nn.ReLU"))
    yield setting("Dense function", dense("torch.tanh"))
    yield setting("Dense no such activation", dense("torch.nn.modules.activation.Nothing"))
    yield setting("Dense of one's own", dense("my_module.MyActivation"))
    yield setting("Dense not an activation", dense("torch.nn.modules.dropout.Dropout"))
    yield setting("Dense linear layer", dense("torch.nn.modules.linear.Linear"))
    yield setting("Dense no activation", dense(None))
    yield setting("Dense activation null", dense(None, activation_function=None))
    yield setting("Dense no bias", dense("torch.nn.modules.linear.Identity", bias=False))
    yield setting("Dense larger", dense("torch.nn.modules.activation.Tanh", outputs=24))
    yield setting("Dense residual", dense("torch.nn.modules.activation.Tanh", use_residual=True))
    yield setting("Dense residual, same size", dense("torch.nn.modules.activation.Tanh", outputs=WIDTH, use_residual=True))
    yield setting("Dense residual false", dense("torch.nn.modules.activation.Tanh", use_residual=False))
    yield setting("Dense module_input_name", dense("torch.nn.modules.linear.Identity", module_input_name="sentence_embedding"))
    yield setting("Dense on tokens", Module("Dense", dense("torch.nn.modules.linear.Identity", outputs=WIDTH, module_input_name="token_embeddings").config, dense(None, outputs=WIDTH).files, before_pooling=True))
    yield setting("Dense output elsewhere", dense("torch.nn.modules.linear.Identity", module_output_name="other"))
    yield setting("Dense some_key", dense("torch.nn.modules.linear.Identity", some_key=1))
    yield setting("two Dense", dense("torch.nn.modules.activation.Tanh"), dense("torch.nn.modules.linear.Identity", outputs=8, inputs=12))
    pickled = dense("torch.nn.modules.activation.Tanh")
    yield setting("Dense in pytorch_model.bin", Module("Dense", pickled.config, {"pytorch_model.bin": lambda: pickle_of(pickled)}))
    yield setting("Normalize", Module("Normalize"))
    yield setting("Normalize with a config", Module("Normalize", {"module_input_name": "sentence_embedding", "module_output_name": "sentence_embedding"}))
    yield setting("Normalize tokens", Module("Normalize", {"module_input_name": "token_embeddings"}))
    yield setting("Normalize tokens before", Module("Normalize", {"module_input_name": "token_embeddings"}, before_pooling=True))
    yield setting("Normalize elsewhere", Module("Normalize", {"module_output_name": "other"}))
    yield setting("LayerNorm", layer_norm())
    yield setting("Dropout", Module("Dropout", {"dropout": 0.5}))
    yield setting("LayerNorm, Normalize", layer_norm(), Module("Normalize"))
    yield setting("Normalize, Dense", Module("Normalize"), dense("torch.nn.modules.activation.Tanh"))
    yield setting("WeightedLayerPooling", weighted_layers())
    yield setting("WeightedLayerPooling, output_hidden_states", weighted_layers(), **{CONFIG: {"output_hidden_states": True}})
    yield setting("WeightedLayerPooling of 0, output_hidden_states", weighted_layers(0), **{CONFIG: {"output_hidden_states": True}})
    yield setting("WeightedLayerPooling of the last, output_hidden_states", weighted_layers(2), **{CONFIG: {"output_hidden_states": True}})
    yield setting("WeightedLayerPooling, config_args output_hidden_states", weighted_layers(), **{SB: {"config_args": {"output_hidden_states": True}}})
    yield setting("WeightedLayerPooling of another size", weighted_layers(1, 4), **{CONFIG: {"output_hidden_states": True}})
    lstm = {"word_embedding_dimension": WIDTH, "hidden_dim": 8, "num_layers": 1, "dropout": 0, "bidirectional": True}
    yield setting("LSTM", Module("LSTM", lstm, before_pooling=True))
    yield setting("CNN", Module("CNN", {"in_word_embedding_dimension": WIDTH, "out_channels": 8, "kernel_sizes": [1, 3]}, before_pooling=True))
    words = {"vocab": ["boat"], "word_weights": {"boat": 2.0}, "unknown_word_weight": 1}
    yield setting("WordWeights", Module("WordWeights", words, before_pooling=True))
    yield Setting("LAYOUT 0_Transformer", {MODULES: []}, LONG, finish=in_folder, whole=(MODULES,), also_named=("0_Transformer",))
    yield Setting("LAYOUT no modules.json", {MODULES: []}, LONG, finish=without_modules, whole=(MODULES,))
    yield Setting("LAYOUT new module names", {MODULES: []}, finish=renamed_modules(lambda kind: NEW_MODULES.get(kind, kind)), whole=(MODULES,))
    yield Setting("LAYOUT modules by sentence_transformer.modules", {MODULES: []}, finish=renamed_modules(lambda kind: f"sentence_transformers.sentence_transformer.modules.{kind}"), whole=(MODULES,))
    yield Setting("LAYOUT modules by base.modules", {MODULES: []}, finish=renamed_modules(lambda kind: f"sentence_transformers.base.modules.{kind}"), whole=(MODULES,))
    yield Setting("LAYOUT modules by models.Kind.Kind", {MODULES: []}, finish=renamed_modules(lambda kind: f"sentence_transformers.models.{kind}.{kind}"), whole=(MODULES,))
    yield Setting("LAYOUT modules of one's own", {MODULES: []}, finish=renamed_modules(lambda kind: f"my_modules.{kind}"), whole=(MODULES,))
    yield Setting("LAYOUT 0_Transformer and a version", {MODULES: []}, LONG, finish=in_folder_with_version, whole=(MODULES,), also_named=("0_Transformer",))
    changes: dict[str, Callable[[list[dict[str, Json]]], list[dict[str, Json]]]] = {
        "with kwargs": lambda entries: [{**entry, "kwargs": ["task"] if entry["idx"] == 0 else []} for entry in entries],
        "numbered otherwise": lambda entries: [{**entry, "idx": 9 - entry["idx"]} for entry in entries],
        "without numbers": lambda entries: [{name: value for name, value in entry.items() if name != "idx"} for entry in entries],
        "without names": lambda entries: [{name: value for name, value in entry.items() if name != "name"} for entry in entries],
        "of one name": lambda entries: [{**entry, "name": "0"} for entry in entries],
        "transformer alone": lambda entries: entries[:1],
        "pooling alone": lambda entries: entries[1:],
        "pooling twice": lambda entries: [*entries, {**entries[1], "name": "again"}],
        "with a path of a dot": lambda entries: [{**entry, "path": entry["path"] or "."} for entry in entries],
        "with a slash": lambda entries: [{**entry, "path": entry["path"] and f"{entry['path']}/"} for entry in entries],
        "empty": lambda entries: [],
    }
    for name, change in changes.items():
        yield Setting(f"LAYOUT modules {name}", {MODULES: []}, finish=changed_modules(change), whole=(MODULES,), also_named=("Pooling", "Transformer"))
    yield Setting("LAYOUT no 1_Pooling", {POOLING: REMOVED}, also_named=("1_Pooling",))


# ---------------------------------------------------------------------------------------------------
# Neighbours that change nothing
# ---------------------------------------------------------------------------------------------------


def neighbours() -> Iterator[Setting]:
    def setting(name: str, edits: dict[str, Json]) -> Setting:
        return Setting(name, edits, harmless=True)

    elsewhere = "/root/.cache/huggingface/transformers/0123abcd.4567"
    for side in ("left", "right"):
        yield setting(f"TC padding_side {side}", {TC: {"padding_side": side}})
    for value in (True, False):
        yield setting(f"TC clean_up_tokenization_spaces {value}", {TC: {"clean_up_tokenization_spaces": value}})
    yield setting("TC chat_template", {TC: {"chat_template": "{{ messages }}"}})
    yield setting("TC name_or_path", {TC: {"name_or_path": "bert-base-uncased"}})
    yield setting("TC special_tokens_map_file", {TC: {"special_tokens_map_file": elsewhere}})
    yield setting("TC tokenizer_file", {TC: {"tokenizer_file": elsewhere}})
    yield setting("TC vocab_file", {TC: {"vocab_file": "/tmp/vocab.txt"}})
    yield setting("TC tokenizer_file null", {TC: {"tokenizer_file": None, "vocab_file": None}})
    yield setting("TC add_eos_token", {TC: {"add_bos_token": False, "add_eos_token": False}})
    yield setting("TC model_max_length huge", {TC: {"model_max_length": 1000000000000000019884624838656}})
    yield setting("TC max_length", {TC: {"max_length": 16, "stride": 0, "truncation_strategy": "longest_first"}})
    yield setting("TC pad_to_multiple_of", {TC: {"pad_to_multiple_of": None, "pad_token_type_id": 0}})
    yield setting("TC backend", {TC: {"backend": "tokenizers", "is_local": True, "local_files_only": False}})
    yield setting("TC processor_class", {TC: {"processor_class": None}})
    yield setting("TC init_inputs", {TC: {"init_inputs": []}})
    yield setting("TC errors", {TC: {"errors": "replace", "trim_offsets": True}})
    yield setting("TC device_map", {TC: {"device_map": None, "trust_remote_code": False}})
    yield setting("TC some_key", {TC: {"some_key": 1}})
    yield setting("TJ decoder", {TJ: {"decoder": {"type": "WordPiece", "prefix": "##", "cleanup": False}}})
    for key, value in {
        "output_hidden_states": True,
        "output_attentions": False,
        "chunk_size_feed_forward": 4,
        "transformers_version": "4.6.0.dev0",
        "_name_or_path": "bert-base-uncased",
        "gradient_checkpointing": False,
        "use_cache": False,
        "classifier_dropout": None,
        "hidden_dropout_prob": 0.5,
        "attention_probs_dropout_prob": 0.5,
        "initializer_range": 0.02,
        "id2label": {"0": "LABEL_0", "1": "LABEL_1"},
        "tie_word_embeddings": False,
        "pooler_fc_size": 768,
        "directionality": "bidi",
        "finetuning_task": None,
        "torchscript": False,
        "bos_token_id": 1,
        "eos_token_id": [2, 3],
        "problem_type": "single_label_classification",
        "task_specific_params": {"summarization": {"max_length": 10}},
        "auto_map": {"AutoModel": "modeling_own.OwnModel"},
        "max_length": 20,
        "pruned_heads": {},
        "output_past": True,
        "some_key": 1,
    }.items():
        yield setting(f"CONFIG {key}", {CONFIG: {key: value}})
    yield setting("README.md", {"README.md": "---\nlanguage: en\n---\n# A model\n"})
    yield setting("generation_config.json", {"generation_config.json": {"max_length": 10, "bos_token_id": 1}})
    yield setting("preprocessor_config.json", {"preprocessor_config.json": {"do_resize": True}})
    yield setting("other files", {"training_args.bin": "x", "eval/results.csv": "epoch,steps\n", "chat_template.jinja": "{{ messages }}"})
    yield setting("config_sentence_transformers.json empty", {ST: {}})


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
