"""Write small BERT folders as models are published, each with a few settings of its own, and the texts to try on them.

    python tests/real/published/folders.py DIR --count N --seed S

Each folder is one of the base layouts with a few of the settings of settings.py applied: first every setting alone, with a
`vocab.txt` and with a `tokenizer.json`, then N random mixtures. DIR/NNNN/ holds `model/`, the folder as published, and
`case.json`: what it is made of, and its texts. The same seed gives the same bytes.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from odd_texts import many, sample
from setting import REMOVED, Json, Module, Setting
from settings import HARMLESS, SETTINGS
from vocabulary import IDS, SPECIAL, VOCABULARY

WIDTH, LAYERS, HEADS, INNER, POSITIONS = 16, 2, 2, 32, 32
EMBEDDED = 192  # rows of the embedding matrix: more than there are words, so that tokens may be added


@dataclass(frozen=True)
class Base:
    """What a folder is before any setting."""

    files: str  # where the vocabulary is: json, vocab, both
    cased: bool
    sentence: bool  # has sentence-transformers' files

    def __str__(self) -> str:
        case = "cased" if self.cased else "uncased"
        return f"{self.files}, {case}{', sentence' if self.sentence else ''}"


@dataclass
class Folder:
    """A folder before it is written: files by name, and modules between and behind those of sentence-transformers."""

    base: Base
    settings: list[Setting] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    pairs: list[tuple[str, str]] = field(default_factory=list)

    def files(self) -> dict[str, Json]:
        """The folder's files by path: text, bytes, or what is written as JSON."""
        files = base_files(self.base)
        for setting in self.settings:
            apply(setting, files)
        if self.base.sentence:
            add_modules(files, [module for setting in self.settings for module in setting.modules])
        for setting in self.settings:
            if setting.finish:
                files = setting.finish(files)
        return files

    @property
    def culprits(self) -> list[str]:
        """Keys and files that a refusal of this folder may name."""
        return sorted({name for setting in self.settings if not setting.harmless for name in setting.culprits})

    def without(self, setting: Setting) -> Folder:
        return replace(self, settings=[other for other in self.settings if other is not setting])

    def write(self, directory: Path) -> None:
        for name, content in self.files().items():
            path = directory / "model" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, bytes):
                path.write_bytes(content)
            elif isinstance(content, str):
                path.write_bytes(content.encode())
            else:
                path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        case = {
            "base": asdict(self.base),
            "settings": [setting.name for setting in self.settings],
            "texts": self.texts,
            "pairs": self.pairs,
        }
        (directory / "case.json").write_text(json.dumps(case, indent=1) + "\n")

    @classmethod
    def read(cls, directory: Path) -> Folder:
        case = json.loads((directory / "case.json").read_text())
        settings = [BY_NAME[name] for name in case["settings"]]
        return cls(Base(**case["base"]), settings, case["texts"], [tuple(pair) for pair in case["pairs"]])

    def __str__(self) -> str:
        return f"{' + '.join(setting.name for setting in self.settings) or 'nothing'} ({self.base})"


BY_NAME = {setting.name: setting for setting in (*SETTINGS, *HARMLESS)}


# ---------------------------------------------------------------------------------------------------
# What a folder is before any setting
# ---------------------------------------------------------------------------------------------------


def base_files(base: Base) -> dict[str, Json]:
    lower = not base.cased
    files: dict[str, Json] = {
        "config.json": model_config(),
        "model.safetensors": weights(),
        "tokenizer_config.json": {"tokenizer_class": "BertTokenizer", "do_lower_case": lower},
    }
    if base.files != "json":
        files["vocab.txt"] = "".join(f"{piece}\n" for piece in VOCABULARY)
    if base.files != "vocab":
        files["tokenizer.json"] = tokenizer_json(lower)
    if base.sentence:
        files["sentence_bert_config.json"] = {"max_seq_length": POSITIONS, "do_lower_case": False}
        files["1_Pooling/config.json"] = {
            "word_embedding_dimension": WIDTH,
            "pooling_mode_cls_token": False,
            "pooling_mode_mean_tokens": True,
            "pooling_mode_max_tokens": False,
            "pooling_mode_mean_sqrt_len_tokens": False,
        }
        files["modules.json"] = []
    return files


def model_config() -> dict[str, Json]:
    return {
        "architectures": ["BertModel"],
        "attention_probs_dropout_prob": 0.1,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "hidden_size": WIDTH,
        "initializer_range": 0.3,
        "intermediate_size": INNER,
        "layer_norm_eps": 1e-12,
        "max_position_embeddings": POSITIONS,
        "model_type": "bert",
        "num_attention_heads": HEADS,
        "num_hidden_layers": LAYERS,
        "pad_token_id": 0,
        "position_embedding_type": "absolute",
        "type_vocab_size": 2,
        "use_cache": True,
        "vocab_size": EMBEDDED,
    }


def tokenizer_json(lower: bool) -> dict[str, Json]:
    """What `BertTokenizerFast` saves for this vocabulary."""
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    sequence = [{"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "[SEP]", "type_id": 0}}]
    pair = [{"Sequence": {"id": "B", "type_id": 1}}, {"SpecialToken": {"id": "[SEP]", "type_id": 1}}]
    cls = {"SpecialToken": {"id": "[CLS]", "type_id": 0}}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": IDS[token], "content": token, **flags} for token in SPECIAL],
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": True,
            "handle_chinese_chars": True,
            "strip_accents": None,
            "lowercase": lower,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [cls, *sequence],
            "pair": [cls, *sequence, *pair],
            "special_tokens": {
                token: {"id": token, "ids": [IDS[token]], "tokens": [token]} for token in ("[CLS]", "[SEP]")
            },
        },
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {
            "type": "WordPiece",
            "unk_token": "[UNK]",
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": IDS,
        },
    }


def weights() -> bytes:
    """The encoder's weights, the same for all folders: everything random, so that every part leaves its mark."""
    rng = np.random.default_rng(5)
    tensors: dict[str, np.ndarray] = {}

    def normal(name: str, *shape: int, mean: float = 0.0) -> None:
        tensors[name] = rng.normal(mean, 0.3, shape).astype(np.float32)

    def linear(name: str, outputs: int, inputs: int) -> None:
        normal(f"{name}.weight", outputs, inputs)
        normal(f"{name}.bias", outputs)

    def norm(name: str) -> None:
        normal(f"{name}.weight", WIDTH, mean=1.0)
        normal(f"{name}.bias", WIDTH)

    for name, rows in (("word", EMBEDDED), ("position", POSITIONS), ("token_type", 2)):
        normal(f"embeddings.{name}_embeddings.weight", rows, WIDTH)
    norm("embeddings.LayerNorm")
    for layer in range(LAYERS):
        prefix = f"encoder.layer.{layer}"
        for name in ("query", "key", "value"):
            linear(f"{prefix}.attention.self.{name}", WIDTH, WIDTH)
        linear(f"{prefix}.attention.output.dense", WIDTH, WIDTH)
        norm(f"{prefix}.attention.output.LayerNorm")
        linear(f"{prefix}.intermediate.dense", INNER, WIDTH)
        linear(f"{prefix}.output.dense", WIDTH, INNER)
        norm(f"{prefix}.output.LayerNorm")
    linear("pooler.dense", WIDTH, WIDTH)
    return save(tensors, metadata={"format": "pt"})


# ---------------------------------------------------------------------------------------------------
# Settings
# ---------------------------------------------------------------------------------------------------


def apply(setting: Setting, files: dict[str, Json]) -> None:
    for name, change in setting.edits.items():
        if change is REMOVED:
            files.pop(name, None)
        elif isinstance(change, dict) and isinstance(files.get(name, {}), dict) and name not in setting.whole:
            merged = json.loads(json.dumps(files.get(name, {})))
            for path, value in change.items():
                set_at(merged, path.split("."), value)
            files[name] = merged
        else:
            files[name] = change


def set_at(tree: dict[str, Json], path: list[str], value: Json) -> None:
    """Set or remove what is at a path; a path through nothing changes nothing."""
    for key in path[:-1]:
        if not isinstance(tree, dict) or not isinstance(tree.get(key), dict):
            return
        tree = tree[key]
    if value is REMOVED:
        tree.pop(path[-1], None)
    elif path[-1].startswith("+"):  # appended to a list
        tree[path[-1][1:]] = [*(tree.get(path[-1][1:]) or []), *value]
    else:
        tree[path[-1]] = value


def add_modules(files: dict[str, Json], extra: list[Module]) -> None:
    """Fill `modules.json`, and write the files of the modules that settings bring."""
    before = [module for module in extra if module.before_pooling]
    after = [module for module in extra if not module.before_pooling]
    transformer = Module("Transformer")
    entries = []
    for index, module in enumerate((transformer, *before, Module("Pooling"), *after)):
        path = "" if module is transformer else "1_Pooling" if module.kind == "Pooling" else f"{index}_{module.kind}"
        entries.append(
            {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{module.kind}"}
        )
        if module.config is not None:
            files[f"{path}/{module.config_name}"] = module.config
        for name, content in module.files.items():
            files[f"{path}/{name}"] = content() if callable(content) else content
    files["modules.json"] = entries


# ---------------------------------------------------------------------------------------------------
# Which folders there are
# ---------------------------------------------------------------------------------------------------


def fits(setting: Setting, base: Base) -> bool:
    return (not setting.needs or base.files in (setting.needs, "both")) and (base.sentence or not setting.sentence)


def singles(seed: int) -> Iterator[Folder]:
    """Every setting alone, on a vocabulary and on a tokenizer.json, and now and then on both."""
    for files, cased, sentence in itertools.product(("json", "vocab", "both"), (False, True), (False, True)):
        yield Folder(Base(files, cased, sentence))
    for setting in (*SETTINGS, *HARMLESS):
        rng = random.Random(f"{seed} {setting.name}")
        for files in ("json", "vocab", *(["both"] if rng.random() < 0.2 else [])):
            base = Base(files, rng.random() < 0.3, setting.sentence or rng.random() < 0.3)
            if fits(setting, base):
                yield Folder(base, [setting])


def by_key(settings: Iterable[Setting]) -> list[list[Setting]]:
    """Settings of the same key together, so that keys with many values are not taken more often than others."""
    groups: dict[str, list[Setting]] = {}
    for setting in settings:
        groups.setdefault(min(setting.touches, default=setting.name), []).append(setting)
    return list(groups.values())


def mixtures(count: int, seed: int) -> Iterator[Folder]:
    """Two, three or four settings at a time that do not set the same thing, often with harmless neighbours."""
    tokenizers = by_key(setting for setting in SETTINGS if not setting.sentence)
    sentences = by_key(setting for setting in SETTINGS if setting.sentence)
    for number in range(count):
        rng = random.Random(f"{seed} {number}")
        groups = rng.choice((tokenizers, sentences, tokenizers + sentences))
        with_sentence = groups is sentences or rng.random() < 0.5
        base = Base(rng.choice(("json", "json", "vocab", "vocab", "both")), rng.random() < 0.3, with_sentence)
        chosen: list[Setting] = []
        wanted = rng.choice((2, 2, 2, 3, 4))
        while len(chosen) < wanted:
            setting = rng.choice(rng.choice(groups))
            if fits(setting, base) and not any(setting.touches & other.touches for other in chosen):
                chosen.append(setting)
        neighbours = [setting for setting in HARMLESS if fits(setting, base)]
        yield Folder(base, chosen + rng.sample(neighbours, rng.choice((0, 0, 1, 2, 3))))


def all_folders(count: int, seed: int, alone: bool) -> Iterator[Folder]:
    for folder in itertools.chain(singles(seed) if alone else (), mixtures(count, seed)):
        rng = random.Random(f"{seed} {folder}")
        aimed = [text for setting in folder.settings for text in setting.texts]
        folder.texts, folder.pairs = sample(rng, aimed) if folder.settings else many(rng)
        yield folder


def write_all(folders: Iterable[Folder], directory: Path) -> int:
    count = 0
    for count, folder in enumerate(folders, 1):
        folder.write(directory / f"{count:05}")
    return count


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("directory", type=Path, help="where to write the folders; made, or empty")
    parser.add_argument("--count", type=int, default=300, help="how many mixtures of settings (default 300)")
    parser.add_argument("--seed", type=int, default=0, help="(default 0)")
    parser.add_argument("--no-singles", action="store_true", help="leave out the folders with one setting alone")
    parser.add_argument("--only", help="only folders with a setting whose name contains this")
    args = parser.parse_args()
    if args.directory.exists() and any(args.directory.iterdir()):
        parser.error(f"{args.directory} is not empty")
    folders = all_folders(args.count, args.seed, not args.no_singles)
    if args.only:
        folders = (folder for folder in folders if any(args.only in setting.name for setting in folder.settings))
    print(f"{write_all(folders, args.directory)} folders in {args.directory}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
