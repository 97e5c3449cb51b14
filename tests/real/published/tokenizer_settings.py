"""Settings of tokenizer_config.json, special_tokens_map.json, added_tokens.json and vocab.txt."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

from odd_texts import LONG, around
from setting import (
    ADDED,
    CASE_TEXTS,
    CONFIG,
    FEW_FLAGS,
    FLAGS,
    MARKER_TEXTS,
    REMOVED,
    SM,
    TC,
    TJ,
    Json,
    Setting,
    describe,
    token,
)
from vocabulary import IDS, NEW, SPECIAL, VOCABULARY


def decoder(*contents: str) -> dict[str, Json]:
    """`added_tokens_decoder` as transformers 4 saves it, for tokens of the vocabulary."""
    return {str(IDS[content]): token(content, typed=False) for content in contents}


def as_saved_by_4(*markers: str) -> dict[str, Json]:
    """What transformers 4 writes, but for the class."""
    return {
        "added_tokens_decoder": decoder(*SPECIAL, *markers),
        "additional_special_tokens": list(markers),
        "clean_up_tokenization_spaces": True,
        "cls_token": "[CLS]",
        "extra_special_tokens": {},
        "mask_token": "[MASK]",
        "model_max_length": 32,
        "never_split": None,
        "pad_token": "[PAD]",
        "sep_token": "[SEP]",
        "strip_accents": None,
        "tokenize_chinese_chars": True,
        "unk_token": "[UNK]",
    }


def as_saved_by_5(*markers: str) -> dict[str, Json]:
    """What transformers 5 writes, but for the class."""
    return {
        "backend": "tokenizers",
        "cls_token": "[CLS]",
        **({"extra_special_tokens": list(markers)} if markers else {}),
        "is_local": True,
        "mask_token": "[MASK]",
        "model_max_length": 32,
        "pad_token": "[PAD]",
        "sep_token": "[SEP]",
        "strip_accents": None,
        "tokenize_chinese_chars": True,
        "unk_token": "[UNK]",
    }


def basics() -> Iterator[Setting]:
    for key in ("do_lower_case", "strip_accents", "tokenize_chinese_chars", "do_basic_tokenize"):
        for value in (True, False, None, REMOVED):
            word = "removed" if value is REMOVED else str(value).lower().replace("none", "null")
            if value is REMOVED and key != "do_lower_case":
                continue
            yield Setting(f"TC {key} {word}", {TC: {key: value}}, CASE_TEXTS)
    yield Setting(
        "TC do_lower_case false, strip_accents true", {TC: {"do_lower_case": False, "strip_accents": True}}, CASE_TEXTS
    )
    yield Setting(
        "TC do_lower_case true, strip_accents false", {TC: {"do_lower_case": True, "strip_accents": False}}, CASE_TEXTS
    )
    yield Setting(
        "TC never_split", {TC: {"never_split": ["[E1]", "hello-world", "Boat"]}}, ("[E1] hello-world Boat Boating",)
    )
    yield Setting("TC never_split empty", {TC: {"never_split": []}}, harmless=True)
    yield Setting("TC never_split null", {TC: {"never_split": None}}, harmless=True)
    yield Setting(
        "TC do_basic_tokenize false, never_split",
        {TC: {"do_basic_tokenize": False, "never_split": ["[E1]"]}},
        ("[E1] hello-world Boat",),
    )
    yield Setting("no TC", {TC: REMOVED}, CASE_TEXTS)
    yield Setting("TC empty", {TC: {"tokenizer_class": REMOVED, "do_lower_case": REMOVED}}, CASE_TEXTS)
    yield Setting("TC clean_text false", {TC: {"clean_text": False}}, CASE_TEXTS)
    yield Setting("TC wordpieces_prefix", {TC: {"wordpieces_prefix": "@@"}}, ("boats boat@@s",))
    yield Setting("TC max_input_chars_per_word", {TC: {"max_input_chars_per_word": 5}}, ("unaffable boating",))
    yield Setting("TC add_special_tokens false", {TC: {"add_special_tokens": False}})
    yield Setting("TC use_fast false", {TC: {"use_fast": False}})
    yield Setting("TC tokenizer_file null", {TC: {"tokenizer_file": None}})
    yield Setting("TC vocab_file null", {TC: {"vocab_file": None}})
    yield Setting("TC legacy", {TC: {"legacy": False, "add_prefix_space": True}})
    yield Setting(
        "TC split_special_tokens", {TC: {"split_special_tokens": True}}, ("[CLS] hello [SEP] [MASK]", "[MASK]boat")
    )
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
        yield Setting(
            f"CONFIG class {name}", {CONFIG: {"tokenizer_class": name}, TC: {"tokenizer_class": REMOVED}}, CASE_TEXTS
        )
    yield Setting("TC class null", {TC: {"tokenizer_class": None}})
    yield Setting("TC no class", {TC: {"tokenizer_class": REMOVED}})
    yield Setting("CONFIG class MPNetTokenizer under TC's", {CONFIG: {"tokenizer_class": "MPNetTokenizer"}})
    yield Setting("CONFIG class null", {CONFIG: {"tokenizer_class": None}}, harmless=True)
    for kind in ("mecab", "basic"):
        yield Setting(f"TC word_tokenizer_type {kind}", {TC: {"word_tokenizer_type": kind}}, ("日本がサ",))
        yield Setting(
            f"TC BertJapaneseTokenizer, {kind}",
            {
                TC: {
                    "tokenizer_class": "BertJapaneseTokenizer",
                    "word_tokenizer_type": kind,
                    "subword_tokenizer_type": "wordpiece",
                }
            },
            ("日本がサ",),
        )
    yield Setting(
        "TC BertJapaneseTokenizer, basic, character",
        {
            TC: {
                "tokenizer_class": "BertJapaneseTokenizer",
                "word_tokenizer_type": "basic",
                "subword_tokenizer_type": "character",
            }
        },
        ("日本がサ",),
    )
    yield Setting(
        "TC class PreTrainedTokenizerFast, no do_lower_case",
        {TC: {"tokenizer_class": "PreTrainedTokenizerFast", "do_lower_case": REMOVED}},
        CASE_TEXTS,
    )
    for name in (
        "PreTrainedTokenizerFast",
        "TokenizersBackend",
        "BertTokenizer",
        "BertTokenizerFast",
        "DistilBertTokenizer",
    ):
        for saved in (as_saved_by_4(), as_saved_by_5(), as_saved_by_4("[E1]"), as_saved_by_5("[E1]")):
            version = 5 if "backend" in saved else 4
            marker = " with a marker" if "[E1]" in str(saved) else ""
            yield Setting(
                f"TC {name} as saved by {version}{marker}", {TC: {**saved, "tokenizer_class": name}}, MARKER_TEXTS
            )
    yield Setting(
        "TC auto_map", {TC: {"auto_map": {"AutoTokenizer": ["tokenization_own.OwnTokenizer", None]}}}, harmless=True
    )


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
            yield Setting(
                f"{short} {key} as an object without type", {file: {key: token(old, special=None, typed=False)}}, texts
            )
            yield Setting(f"{short} {key} null", {file: {key: None}}, texts)
            yield Setting(f"{short} {key} {other}", {file: {key: other}}, texts)
            yield Setting(f"{short} {key} [NEW]", {file: {key: "[NEW]"}}, tuple(around(("[NEW]", old))))
            for flags in FLAGS if kind == "mask" else ("l", "r", "w", "n"):
                yield Setting(f"{short} {key} object {describe(flags)}", {file: {key: token(old, flags)}}, texts)
            yield Setting(f"{short} {key} {other} object lstrip", {file: {key: token(other, "l")}}, texts)
            yield Setting(f"{short} {key} content only", {file: {key: {"content": old}}}, texts)
        yield Setting(f"{short} all as they are", {file: {f"{kind}_token": old for kind, old in OLD_NAMES.items()}})
        yield Setting(
            f"{short} all other names",
            {file: {f"{kind}_token": other for kind, other in OTHER_NAMES.items()}},
            tuple(around(("<cls>", "</s>", "[SEP]"))),
        )
        for kind, name in (
            ("bos", "<s>"),
            ("eos", "</s>"),
            ("bos", "[BOS]"),
            ("eos", "[E1]"),
            ("bos", "[CLS]"),
            ("eos", "[SEP]"),
        ):
            yield Setting(f"{short} {kind}_token {name}", {file: {f"{kind}_token": name}}, tuple(around((name,))))
        for flags in FEW_FLAGS:
            yield Setting(
                f"{short} bos_token object {describe(flags)}",
                {file: {"bos_token": token("<s>", flags)}},
                tuple(around(("<s>",))),
            )
        yield Setting(f"{short} bos_token null", {file: {"bos_token": None}}, harmless=True)
        yield Setting(f"{short} entity_token", {file: {"entity_token": "[ENT]"}}, tuple(around(("[ENT]",))))
        yield Setting(f"{short} entity_token new", {file: {"entity_token": "[NEWENT]"}}, tuple(around(("[NEWENT]",))))
        yield Setting(
            f"{short} entity_token object", {file: {"entity_token": token("[ENT]", "lr")}}, tuple(around(("[ENT]",)))
        )
    yield Setting(
        "TC [SEP], SM </s>", {TC: {"sep_token": "[SEP]"}, SM: {"sep_token": "</s>"}}, tuple(around(("[SEP]", "</s>")))
    )
    yield Setting(
        "TC </s>, SM [SEP]", {TC: {"sep_token": "</s>"}, SM: {"sep_token": "[SEP]"}}, tuple(around(("[SEP]", "</s>")))
    )
    yield Setting(
        "TC [MASK], SM <mask>",
        {TC: {"mask_token": "[MASK]"}, SM: {"mask_token": "<mask>"}},
        tuple(around(("[MASK]", "<mask>"))),
    )
    yield Setting(
        "TC <mask>, SM [MASK]",
        {TC: {"mask_token": "<mask>"}, SM: {"mask_token": "[MASK]"}},
        tuple(around(("[MASK]", "<mask>"))),
    )
    yield Setting(
        "TC mask_token text, SM object lstrip",
        {TC: {"mask_token": "[MASK]"}, SM: {"mask_token": token("[MASK]", "l")}},
        tuple(around(("[MASK]",))),
    )
    yield Setting(
        "TC mask_token object lstrip, SM text",
        {TC: {"mask_token": token("[MASK]", "l")}, SM: {"mask_token": "[MASK]"}},
        tuple(around(("[MASK]",))),
    )
    yield Setting("SM empty", {SM: {}}, harmless=True)


def markers() -> Iterator[Setting]:
    both = ["[E1]", "[/E1]"]
    for file, short in ((TC, "TC"), (SM, "SM")):
        for key in ("additional_special_tokens", "extra_special_tokens"):
            yield Setting(f"{short} {key} strings", {file: {key: both}}, MARKER_TEXTS)
            yield Setting(
                f"{short} {key} new strings",
                {file: {key: ["<new>", "new_tok", "[E1]"]}},
                tuple(around(("<new>", "new_tok"))),
            )
            yield Setting(
                f"{short} {key} words",
                {file: {key: ["spare", "Marker"]}},
                ("spare Spare sparehello", "Marker marker xMarker"),
            )
            yield Setting(f"{short} {key} empty", {file: {key: []}}, harmless=True)
            yield Setting(f"{short} {key} null", {file: {key: None}})
            yield Setting(f"{short} {key} mixed", {file: {key: ["[E1]", token("[/E1]", "lr")]}}, MARKER_TEXTS)
            yield Setting(
                f"{short} {key} without type",
                {file: {key: [token("[E1]", "w", typed=False), token("[/E1]", "n", typed=False)]}},
                MARKER_TEXTS,
            )
            yield Setting(f"{short} {key} content only", {file: {key: [{"content": "[E1]"}]}}, MARKER_TEXTS)
            yield Setting(f"{short} {key} [SEP]", {file: {key: ["[SEP]", "[CLS]"]}}, ("[SEP] boat [CLS]",))
            for flags in FLAGS if (key, file) == ("additional_special_tokens", TC) else FEW_FLAGS:
                yield Setting(
                    f"{short} {key} object {describe(flags)}",
                    {file: {key: [token("[E1]", flags), "[/E1]"]}},
                    MARKER_TEXTS,
                )
            yield Setting(
                f"{short} {key} object not special", {file: {key: [token("[E1]", "", special=False)]}}, MARKER_TEXTS
            )
            yield Setting(
                f"{short} {key} object not special, normalized",
                {file: {key: [token("[E1]", "n", special=False)]}},
                MARKER_TEXTS,
            )
        yield Setting(
            f"{short} extra_special_tokens dict",
            {file: {"extra_special_tokens": {"start_token": "[E1]", "end_token": "[/E1]"}}},
            MARKER_TEXTS,
        )
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
            yield Setting(
                f"TC added_tokens_decoder new {words}",
                {TC: {"added_tokens_decoder": change}},
                tuple(around(("new_tok",))),
            )
    alone = {str(IDS["[E1]"]): token("[E1]", typed=False)}
    yield Setting("TC added_tokens_decoder without BERT's", {TC: {"added_tokens_decoder": alone}}, MARKER_TEXTS)
    yield Setting("TC added_tokens_decoder empty", {TC: {"added_tokens_decoder": {}}}, harmless=True)
    flagged = decoder(*SPECIAL) | {str(IDS["[MASK]"]): token("[MASK]", "l", typed=False)}
    yield Setting(
        "TC added_tokens_decoder [MASK] lstrip", {TC: {"added_tokens_decoder": flagged}}, tuple(around(("[MASK]",)))
    )
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
    yield Setting(
        "TC added_tokens_decoder id with a gap", {TC: {"added_tokens_decoder": gap}}, tuple(around(("new_tok",)))
    )
    order = {str(NEW + 1): token("new_tok", typed=False), str(NEW): token("<new>", typed=False)} | decoder(*SPECIAL)
    yield Setting(
        "TC added_tokens_decoder out of order",
        {TC: {"added_tokens_decoder": order}},
        tuple(around(("new_tok", "<new>"))),
    )
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


def markers_twice() -> Iterator[Setting]:
    """One marker in two places with other flags in each."""
    marker = "[E1]"
    id = str(IDS[marker])
    places: dict[str, dict[str, dict[str, Json]]] = {
        "TJ added_tokens": {TJ: {"+added_tokens": [{"id": IDS[marker], **token(marker, "l", typed=False)}]}},
        "TC added_tokens_decoder": {TC: {"added_tokens_decoder": {id: token(marker, "r", typed=False)}}},
        "TC additional_special_tokens": {TC: {"additional_special_tokens": [token(marker, "w")]}},
        "TC additional_special_tokens as text": {TC: {"additional_special_tokens": [marker]}},
        "TC extra_special_tokens": {TC: {"extra_special_tokens": {"marker_token": token(marker, "lr")}}},
        "TC bos_token": {TC: {"bos_token": token(marker, "n")}},
        "SM additional_special_tokens": {SM: {"additional_special_tokens": [token(marker, "rn")]}},
        "SM additional_special_tokens as text": {SM: {"additional_special_tokens": [marker]}},
        "SM eos_token": {SM: {"eos_token": token(marker, "ln")}},
        "ADDED": {ADDED: {marker: IDS[marker]}},
    }
    for (one, first), (other, second) in itertools.combinations(places.items(), 2):
        edits = {file: {**first.get(file, {}), **second.get(file, {})} for file in (*first, *second)}
        if len(edits.get(TC, {})) + len(edits.get(SM, {})) + (TJ in edits) + (ADDED in edits) == 2:
            needs = "json" if TJ in edits else ""
            yield Setting(f"{marker} in {one} and in {other}", edits, MARKER_TEXTS, needs=needs)


def vocabulary_files() -> Iterator[Setting]:
    def vocab(name: str, pieces: Iterable[str], end: str = "\n", more: str = "") -> Setting:
        lines = end.join(pieces)
        return Setting(
            f"VOCAB {name}",
            {"vocab.txt": f"{lines}{end}{more}"},
            ("hello boats 你好 [E1] @@s", "[MASK] <mask>"),
            needs="vocab",
        )

    last = [*VOCABULARY[:5], *reversed(VOCABULARY[5:])]
    yield Setting(
        "VOCAB of another order beside TJ",
        {"vocab.txt": "".join(f"{piece}\n" for piece in last)},
        ("hello boats",),
        needs="json",
    )
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
    older = {
        "type": "BertNormalizer",
        "clean_text": True,
        "handle_chinese_chars": False,
        "strip_accents": False,
        "lowercase": False,
    }
    yield Setting(
        "TC fast_tokenizer_files",
        {TC: {"fast_tokenizer_files": ["tokenizer.4.0.0.json", "tokenizer.json"]}},
        CASE_TEXTS,
        needs="json",
        finish=lambda files: {
            **files,
            "tokenizer.4.0.0.json": {**files[TJ], "normalizer": older, "pre_tokenizer": {"type": "WhitespaceSplit"}},
        },
        also_named=("tokenizer.4.0.0.json",),
    )
    # With modules.json it changes nothing; without, sentence-transformers takes every text for a message to be put in it.
    template = "{{ messages[0]['content'] }} boat"
    yield Setting("TC chat_template", {TC: {"chat_template": template}})
    yield Setting("chat_template.jinja", {"chat_template.jinja": template}, also_named=("chat_template",))
    adapter = {"peft_type": "LORA", "base_model_name_or_path": "bert", "r": 8}
    yield Setting("adapter_config.json", {"adapter_config.json": adapter}, whole=("adapter_config.json",))
    yield Setting("TC processor_class SomeProcessor", {TC: {"processor_class": "SomeProcessor"}})
    yield Setting("processor_config.json", {"processor_config.json": {"processor_class": "SomeProcessor"}})
