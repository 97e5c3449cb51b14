"""Settings of tokenizer.json."""

from __future__ import annotations

from collections.abc import Iterator

from odd_texts import LONG, around
from setting import CASE_TEXTS, FLAGS, MARKER_TEXTS, REMOVED, TC, TJ, Json, Setting, describe, token
from vocabulary import IDS, NEW, SPECIAL


def template(single: str, pair: str) -> dict[str, Json]:
    """`A:0 [SEP]:0` and the like, as TemplateProcessing writes it."""

    def pieces(text: str) -> list[Json]:
        parts = [part.rsplit(":", 1) for part in text.split()]
        return [
            {"Sequence": {"id": name, "type_id": int(kind)}}
            if name in "AB"
            else {"SpecialToken": {"id": name, "type_id": int(kind)}}
            for name, kind in parts
        ]

    names = sorted({part.rsplit(":", 1)[0] for part in f"{single} {pair}".split()} - {"A", "B"})
    tokens = {name: {"id": name, "ids": [IDS[name]], "tokens": [name]} for name in names}
    return {"type": "TemplateProcessing", "single": pieces(single), "pair": pieces(pair), "special_tokens": tokens}


def tokenizer_json() -> Iterator[Setting]:
    def setting(name: str, change: dict[str, Json], texts: tuple[str, ...] = CASE_TEXTS) -> Setting:
        return Setting(f"TJ {name}", {TJ: change}, texts, needs="json")

    bert = {
        "type": "BertNormalizer",
        "clean_text": True,
        "handle_chinese_chars": True,
        "strip_accents": None,
        "lowercase": True,
    }
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
        yield Setting(
            f"TJ normalizer {name}, TC silent", {TJ: {"normalizer": value}, **silent}, CASE_TEXTS, needs="json"
        )
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
        "BertProcessing other names": {
            "type": "BertProcessing",
            "sep": ["</s>", IDS["</s>"]],
            "cls": ["<s>", IDS["<s>"]],
        },
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
        "Sequence": {
            "type": "Sequence",
            "processors": [template("[CLS]:0 A:0 [SEP]:0", "[CLS]:0 A:0 [SEP]:0 B:1 [SEP]:1")],
        },
    }
    for name, value in post_processors.items():
        yield setting(f"post_processor {name}", {"post_processor": value}, LONG[:6])
    yield setting(
        "max_input_chars_per_word 10", {"model.max_input_chars_per_word": 10}, ("abcdefghij abcdefghijk unaffable",)
    )
    yield setting("continuing_subword_prefix", {"model.continuing_subword_prefix": "@@"}, ("boats aas hello boat@@s",))
    yield setting("unk_token", {"model.unk_token": "<unk>"}, ("☃ 龍 hello",))
    yield setting("model type missing", {"model.type": REMOVED}, ())
    yield setting("decoder null", {"decoder": None}, ())
    for flags in FLAGS:
        for special in (True, False):
            entry = {"id": IDS["[E1]"], **token("[E1]", flags, special, typed=False)}
            words_ = f"{describe(flags)}{'' if special else ' not special'}"
            yield setting(f"added token {words_}", {"+added_tokens": [entry]}, MARKER_TEXTS)
    yield setting(
        "added token new",
        {"+added_tokens": [{"id": NEW, **token("new_tok", "n", False, typed=False)}]},
        tuple(around(("new_tok",))),
    )
    yield setting(
        "added token with a gap",
        {"+added_tokens": [{"id": NEW + 4, **token("new_tok", typed=False)}]},
        tuple(around(("new_tok",))),
    )
    yield setting("no added tokens", {"added_tokens": []}, tuple(around(("[MASK]", "[SEP]"))))
    lstripped = [
        {"id": IDS[content], **token(content, "l" if content == "[MASK]" else "", typed=False)} for content in SPECIAL
    ]
    yield setting("[MASK] lstrip", {"added_tokens": lstripped}, tuple(around(("[MASK]",))))
    plain = [{"id": IDS[content], **token(content, special=False, typed=False)} for content in SPECIAL]
    yield setting("special tokens not special", {"added_tokens": plain}, tuple(around(("[MASK]", "[SEP]"))))
    for direction in ("Left", "Right"):
        truncation = {"direction": direction, "max_length": 8, "strategy": "LongestFirst", "stride": 0}
        yield setting(f"truncation {direction}", {"truncation": truncation}, LONG)
    yield setting(
        "truncation OnlyFirst",
        {"truncation": {"direction": "Right", "max_length": 10, "strategy": "OnlyFirst", "stride": 2}},
        LONG,
    )
    padding = {
        "strategy": {"Fixed": 16},
        "direction": "Right",
        "pad_to_multiple_of": None,
        "pad_id": 0,
        "pad_type_id": 0,
        "pad_token": "[PAD]",
    }
    yield Setting("TJ padding", {TJ: {"padding": padding}}, needs="json", harmless=True)
    yield setting("padding Left", {"padding": padding | {"direction": "Left"}}, ())
    yield setting("version 2.0", {"version": "2.0"}, ())
    for kind in ("WordLevel", "BPE"):
        model = {"type": kind, "vocab": IDS, "unk_token": "[UNK]"} | ({"merges": []} if kind == "BPE" else {})
        texts = ("hello boats river", "abc")
        yield Setting(
            f"TJ model {kind}",
            {TJ: {"model": model}},
            texts,
            needs="json",
            also_named=(kind, "model.type", "WordPiece"),
        )
