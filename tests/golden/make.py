"""Make the tiny BERT models of this directory and their float64 reference outputs.

Each model covers one way in which BERT checkpoints are found in the wild: a storage format, a naming
of the parameters, a tokenizer, an activation, and a head width that does not suit vector registers.
Weights come from a seeded generator and are large enough that attention and activation are far from
their linear range, so that an approximation anywhere shows in the outputs.

The reference is transformers' `BertModel` in float64 with eager attention, one text at a time and no
padding. README.md describes the files. Run `python tests/golden/make.py` to write them again.
"""

from __future__ import annotations

import json
import platform
import shutil
import string
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from sentence_transformers.sentence_transformer.modules import Pooling
from transformers import AutoTokenizer, BertConfig, BertModel, BertTokenizer, PreTrainedTokenizerBase
from transformers.utils import logging

HERE = Path(__file__).parent
POOLINGS = {
    "mean": "mean",
    "max": "max",
    "cls": "cls",
    "mean_sqrt_len": "mean_sqrt_len_tokens",
    "weightedmean": "weightedmean",
    "lasttoken": "lasttoken",
}
POOLED_TEXTS = 3  # pooled vectors are kept for the first texts of each model only, to keep the files small
PACKAGES = ("torch", "transformers", "tokenizers", "safetensors", "sentence-transformers", "numpy")

Weights = dict[str, torch.Tensor]


# ---------------------------------------------------------------------------------------------------
# Vocabularies
# ---------------------------------------------------------------------------------------------------

SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = """the of and a to in is was he for it with as his on be at by had not are but from or have an they which
one you were her all she there would their we him been has when who will more no if out so said what up its about into
hello world how quick brown fox jump over lazy dog don cafe naive line end river stone light number wind""".split()
SUFFIXES = "s ing ed er ly tion ness able est al".split()
CASED_WORDS = "The Of And A In He It She Hello World Paris London Émile Zürich NASA iPhone café naïve über".split()
CHINESE = "的一是不了人我在有他这中大来上个国到说们为子和你地出会也时要就可以对生能而那得于着下自之年过后作里天"


def with_pieces(symbols: str) -> list[str]:
    """Each symbol as the start of a word and as a continuation."""
    return [form for symbol in symbols for form in (symbol, f"##{symbol}")]


def vocabulary(letters: str, words: list[str], specials: list[str] = SPECIALS) -> list[str]:
    """Special tokens, punctuation, digits and letters with their continuations, words, suffixes."""
    entries = [
        *specials,
        *string.punctuation,
        *"“”…—",
        *with_pieces(string.digits + letters),
        *words,
        *(f"##{suffix}" for suffix in SUFFIXES),
    ]
    return list(dict.fromkeys(entries))


UNCASED = vocabulary(string.ascii_lowercase + "ß", WORDS)
UNCASED_WITH_UNUSED = vocabulary(
    string.ascii_lowercase + "ß", WORDS, ["[PAD]", "[unused0]", "[unused1]", "[unused2]", *SPECIALS[1:]]
)
CASED = vocabulary(string.ascii_letters + "éèüñçßåØ", WORDS + CASED_WORDS)
ACCENTED = vocabulary(string.ascii_lowercase + "éïüç", WORDS)
CHINESE_UNCASED = vocabulary(string.ascii_lowercase, WORDS[:30] + list(CHINESE) + ["##中", "##国", "。", "，", "！"])


# ---------------------------------------------------------------------------------------------------
# Texts
# ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Text:
    """One input: a text, a pair of texts, or the words of a pre-tokenized text (then `text` joins them)."""

    text: str
    pair: str | None = None
    words: list[str] | None = None


def pretokenized(*words: str) -> Text:
    return Text(" ".join(words), words=list(words))


EMPTY = Text("")
HELLO = Text("hello world")
LONG = Text("The quick brown fox jumps over the lazy dog, and the dog was not amused; " * 4)
ACCENTS = Text("The QUICK cafe\u0301 was na\u00efve: Z\u00fcrich, \u0130stanbul & Stra\u00dfe\u2026 \u201cyes\u201d")
UNKNOWNS = Text("\u65e5\u672c\u8a9e x\x00y\x07\tz \U0001f642 \u0416 \u200b\ufffd 12\u00b2")
SPECIALS_INSIDE = Text("a [MASK] of [SEP] it, [UNK][CLS] [mask]")
LONG_WORD = Text("x" * 101 + "\u00a0end\u3000line " + "x" * 100)  # over 100 characters a word is unknown
DELETED = Text(" \u200b\ufffd\x00 ")
LINES = Text("line one\nline 2\r\n\tend.")
WORDS_DELETED = pretokenized("Hello", "\u200b", "don't", "\ufffd", "Z\u00fcrich-Paris", "[SEP]", "\u4e2d\u56fd")
LONG_WORDS = pretokenized(*["runningly", "the", "unlit", "stone's", "\u200b", "riverbed"] * 3)


# ---------------------------------------------------------------------------------------------------
# Weights
# ---------------------------------------------------------------------------------------------------


def draw(name: str, shape: tuple[int, ...], seed: int) -> torch.Tensor:
    """A parameter (float32) drawn from a generator of its own, so that no order of names matters."""
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    if name.endswith("LayerNorm.weight"):
        values = 1 + rng.uniform(-0.3, 0.3, shape)
    elif name.endswith("bias"):
        values = rng.uniform(-0.2, 0.2, shape)
    elif "embeddings" in name:
        values = rng.normal(0, 1, shape)
    else:
        values = rng.normal(0, 1.5 / np.sqrt(shape[-1]), shape)
    return torch.from_numpy(values.astype(np.float32))


def draw_all(shapes: dict[str, tuple[int, ...]], seed: int) -> Weights:
    return {name: draw(name, shape, seed) for name, shape in shapes.items()}


def encoder_weights(config: BertConfig, pooler: bool, seed: int) -> Weights:
    """All parameters of a `BertModel`, by the names that transformers gives them."""
    with torch.device("meta"):
        model = BertModel(config, add_pooling_layer=pooler)
    return draw_all({name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}, seed)


def save_with_heads(weights: Weights, directory: Path, seed: int) -> None:
    """The encoder as `bert.*` beside a classifier, a language-model head and the `position_ids` buffer."""
    vocab_size, hidden = weights["embeddings.word_embeddings.weight"].shape
    heads = {
        "classifier.weight": (3, hidden),
        "classifier.bias": (3,),
        "cls.predictions.bias": (vocab_size,),
        "cls.predictions.transform.dense.weight": (hidden, hidden),
        "cls.predictions.transform.dense.bias": (hidden,),
        "cls.predictions.transform.LayerNorm.weight": (hidden,),
        "cls.predictions.transform.LayerNorm.bias": (hidden,),
        "cls.seq_relationship.weight": (2, hidden),
        "cls.seq_relationship.bias": (2,),
    }
    limit = len(weights["embeddings.position_embeddings.weight"])
    tensors = {f"bert.{name}": tensor for name, tensor in weights.items()} | draw_all(heads, seed)
    tensors["bert.embeddings.position_ids"] = torch.arange(limit).unsqueeze(0)
    save_file(tensors, directory / "model.safetensors", {"format": "pt"})


def save_pickle_with_old_names(weights: Weights, directory: Path, seed: int) -> None:
    """A zip pickle whose LayerNorm parameters are called gamma and beta, as TensorFlow called them."""
    renamed = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): tensor
        for name, tensor in weights.items()
    }
    torch.save(renamed, directory / "pytorch_model.bin")


def save_two_shards(weights: Weights, directory: Path, seed: int) -> None:
    """Two safetensors files with an index; the cut falls inside a layer."""
    names = sorted(weights)
    shards = {
        "model-00001-of-00002.safetensors": names[: len(names) // 2],
        "model-00002-of-00002.safetensors": names[len(names) // 2 :],
    }
    for file, members in shards.items():
        save_file({name: weights[name] for name in members}, directory / file, {"format": "pt"})
    index = {
        "metadata": {"total_size": sum(tensor.nbytes for tensor in weights.values())},
        "weight_map": {name: file for file, members in shards.items() for name in members},
    }
    write_json(directory / "model.safetensors.index.json", index)


def save_plain(weights: Weights, directory: Path, seed: int) -> None:
    save_file(weights, directory / "model.safetensors", {"format": "pt"})


# ---------------------------------------------------------------------------------------------------
# Models
# ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TinyModel:
    """What one directory holds. `config` and `tokenizer` are the JSON files, less what all models share."""

    name: str
    seed: int
    vocab: list[str]
    config: dict[str, object]
    tokenizer: dict[str, object]
    texts: list[Text]
    save: Callable[[Weights, Path, int], None] = save_plain
    dtype: torch.dtype = torch.float32
    pooler: bool = True
    vocab_txt: bool = True
    tokenizer_json: bool = False
    baked_length: int | None = None  # truncation and padding baked into tokenizer.json
    sentence: dict[str, object] = field(default_factory=dict)  # further files: sentence-transformers' own


SENTENCE_TRANSFORMER = {
    "modules.json": [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
        {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
    ],
    "1_Pooling/config.json": {
        "word_embedding_dimension": 128,
        "pooling_mode_cls_token": False,
        "pooling_mode_mean_tokens": True,
        "pooling_mode_max_tokens": False,
        "pooling_mode_mean_sqrt_len_tokens": False,
    },
    "sentence_bert_config.json": {"max_seq_length": 27, "do_lower_case": False},
}

MODELS = [
    TinyModel(
        name="width1",
        seed=1,
        vocab=UNCASED_WITH_UNUSED,
        config={
            "architectures": ["BertForSequenceClassification"],
            "hidden_size": 7,
            "num_attention_heads": 7,
            "intermediate_size": 13,
            "num_hidden_layers": 2,
            "hidden_act": "gelu",
            "max_position_embeddings": 40,
            "type_vocab_size": 2,
            "layer_norm_eps": 1e-12,
            "torch_dtype": "float32",
        },
        tokenizer={"do_lower_case": True, "model_max_length": 40, "tokenizer_class": "BertTokenizer"},
        texts=[
            HELLO,
            LONG,
            EMPTY,
            ACCENTS,
            UNKNOWNS,
            SPECIALS_INSIDE,
            LONG_WORD,
            DELETED,
            LINES,
            WORDS_DELETED,
        ],
        save=save_with_heads,
    ),
    TinyModel(
        name="width3",
        seed=3,
        vocab=CASED,
        config={
            "hidden_size": 18,
            "num_attention_heads": 6,
            "intermediate_size": 29,
            "num_hidden_layers": 3,
            "hidden_act": "gelu_new",
            "max_position_embeddings": 37,
            "type_vocab_size": 2,
            "layer_norm_eps": 1e-5,
        },
        tokenizer={"do_lower_case": False},
        texts=[
            HELLO,
            LONG,
            EMPTY,
            ACCENTS,
            UNKNOWNS,
            Text("Émile caf\u00e9 \u00dcber NASA's iPhone, \u00d8rsted Paris\u00e9s"),
            WORDS_DELETED,
            LONG_WORDS,
        ],
        save=save_pickle_with_old_names,
    ),
    TinyModel(
        name="width16",
        seed=16,
        vocab=CHINESE_UNCASED,
        config={
            "architectures": ["BertModel"],
            "hidden_size": 48,
            "num_attention_heads": 3,
            "intermediate_size": 100,
            "num_hidden_layers": 3,
            "hidden_act": "gelu",
            "max_position_embeddings": 33,
            "type_vocab_size": 2,
            "layer_norm_eps": 1e-12,
            "torch_dtype": "float16",
        },
        tokenizer={
            "do_lower_case": True,
            "tokenize_chinese_chars": True,
            "strip_accents": None,
            "model_max_length": 33,
            "tokenizer_class": "BertTokenizer",
        },
        texts=[
            Text("我们的国家，你好中国！"),
            Text("这是不一样的天地。The river is in 中国, and 人们说 it was 大！" * 2),
            EMPTY,
            Text("中a国b 2024年；\u3400\U00020000 \uf900"),
            DELETED,
            pretokenized("我们", "\u200b", "在", "London", "中国人"),
        ],
        save=save_two_shards,
        dtype=torch.float16,
    ),
    TinyModel(
        name="width32",
        seed=32,
        vocab=ACCENTED,
        config={  # layer_norm_eps and type_vocab_size are left to their defaults, 1e-12 and 2
            "architectures": ["BertModel"],
            "hidden_size": 64,
            "num_attention_heads": 2,
            "intermediate_size": 96,
            "num_hidden_layers": 1,
            "hidden_act": "relu",
            "max_position_embeddings": 40,
            "dtype": "bfloat16",
        },
        tokenizer={
            "do_lower_case": True,
            "tokenize_chinese_chars": False,
            "strip_accents": False,
            "model_max_length": 40,
            "tokenizer_class": "BertTokenizer",
        },
        texts=[
            HELLO,
            LONG,
            EMPTY,
            Text("CAF\u00c9 na\u00efve \u00fcber cafe\u0301 \u4e2d\u56fd gar\u00e7on"),
            Text("one more line, of twelve words or so, that is over the baked length"),
            UNKNOWNS,
        ],
        dtype=torch.bfloat16,
        pooler=False,
        vocab_txt=False,
        tokenizer_json=True,
        baked_length=12,
    ),
    TinyModel(
        name="width64",
        seed=64,
        vocab=UNCASED,
        config={
            "architectures": ["BertModel"],
            "hidden_size": 128,
            "num_attention_heads": 2,
            "intermediate_size": 130,
            "num_hidden_layers": 4,
            "hidden_act": "gelu_pytorch_tanh",
            "max_position_embeddings": 27,
            "type_vocab_size": 2,
            "layer_norm_eps": 1e-12,
            "torch_dtype": "float16",
        },
        tokenizer={"do_lower_case": True, "model_max_length": 27, "tokenizer_class": "BertTokenizer"},
        texts=[
            HELLO,
            Text("hello world", pair="how are you?"),
            EMPTY,
            LONG,
            Text("The lazy dog said no more; " * 2, pair="A stone, " * 5),
            pretokenized("Hello", "\u200b", "don't", "runs"),
        ],
        dtype=torch.float16,
        tokenizer_json=True,
        sentence=SENTENCE_TRANSFORMER,
    ),
]


def write_json(path: Path, value: object) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def write_tokenizer(spec: TinyModel, directory: Path) -> None:
    write_json(directory / "tokenizer_config.json", spec.tokenizer)
    if spec.vocab_txt:
        (directory / "vocab.txt").write_text("".join(f"{entry}\n" for entry in spec.vocab), encoding="utf-8")
    if spec.tokenizer_json:
        options = {key: value for key, value in spec.tokenizer.items() if key != "tokenizer_class"}
        vocab = {entry: index for index, entry in enumerate(spec.vocab)}
        backend = BertTokenizer(vocab, **options).backend_tokenizer
        if spec.baked_length is not None:
            backend.enable_truncation(spec.baked_length)
            backend.enable_padding(length=spec.baked_length, pad_token="[PAD]")
        (directory / "tokenizer.json").write_text(backend.to_str() + "\n", encoding="utf-8")


def write_model(spec: TinyModel, directory: Path) -> None:
    """The model directory as its users have it: configuration, tokenizer, weights."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    config = {"model_type": "bert", **spec.config, "pad_token_id": 0, "vocab_size": len(spec.vocab)}
    write_json(directory / "config.json", config)
    for file, content in spec.sentence.items():
        write_json(directory / file, content)
    write_tokenizer(spec, directory)
    weights = encoder_weights(BertConfig(**config), spec.pooler, spec.seed)
    spec.save({name: tensor.to(spec.dtype) for name, tensor in weights.items()}, directory, spec.seed)


# ---------------------------------------------------------------------------------------------------
# Reference outputs
# ---------------------------------------------------------------------------------------------------


def load(spec: TinyModel, directory: Path, dtype: torch.dtype, attention: str) -> BertModel:
    """The model read back as a user would read it; a parameter that was not found is an error."""
    model, info = BertModel.from_pretrained(
        directory,
        add_pooling_layer=spec.pooler,
        dtype=dtype,
        attn_implementation=attention,
        output_loading_info=True,
    )
    if info["missing_keys"]:
        raise RuntimeError(f"{spec.name}: missing {sorted(info['missing_keys'])}")
    return model.eval()


def describe(text: Text, tokenizer: PreTrainedTokenizerBase, limit: int) -> dict[str, object]:
    """What transformers makes of a text: the record of golden.json."""
    arguments = (
        {"text": text.text, "text_pair": text.pair}
        if text.words is None
        else {"text": text.words, "is_split_into_words": True}
    )
    untruncated = tokenizer(**arguments, verbose=False)
    encoding = tokenizer(
        **arguments,
        truncation=True,
        max_length=limit,
        return_offsets_mapping=True,
        return_special_tokens_mask=True,
    )
    special = encoding["special_tokens_mask"]
    return {
        "text": text.text,
        "pair": text.pair,
        "words": text.words,
        "input_ids": encoding["input_ids"],
        "token_type_ids": encoding["token_type_ids"],
        "tokens": encoding.tokens(),
        "offsets": [None if mask else list(span) for span, mask in zip(encoding["offset_mapping"], special)],
        "word_ids": encoding.word_ids(),
        "n_tokens_before_truncation": len(untruncated["input_ids"]),
    }


@torch.no_grad()
def forward(model: BertModel, record: dict[str, object]) -> tuple[list[torch.Tensor], torch.Tensor | None]:
    """Hidden states of every layer `[tokens, hidden]` and the pooler's output `[hidden]`, one text, no padding."""
    output = model(
        input_ids=torch.tensor([record["input_ids"]]),
        token_type_ids=torch.tensor([record["token_type_ids"]]),
        output_hidden_states=True,
    )
    pooled = None if output.pooler_output is None else output.pooler_output[0]
    return [states[0] for states in output.hidden_states], pooled


def pool(states: torch.Tensor) -> dict[str, torch.Tensor]:
    """Each pooling of one layer's `[tokens, hidden]`, by sentence-transformers; it stays in float64."""
    pooling = Pooling(states.shape[1], tuple(POOLINGS.values()))
    mask = torch.ones(1, len(states), dtype=torch.int64)
    pooled = pooling({"token_embeddings": states[None], "attention_mask": mask})["sentence_embedding"][0]
    if pooled.dtype != torch.float64:
        raise RuntimeError(f"pooling gave {pooled.dtype}")
    return dict(zip(POOLINGS, pooled.split(states.shape[1])))


def reference(spec: TinyModel, model: BertModel, records: list[dict[str, object]]) -> Weights:
    """The tensors of golden.safetensors, all float64."""
    tensors: Weights = {}
    for i, record in enumerate(records):
        layers, pooled = forward(model, record)
        for layer, states in enumerate(layers):
            tensors[f"{i}.hidden_states.{layer}"] = states
            if i < POOLED_TEXTS:
                tensors |= {f"{i}.{kind}.{layer}": vector for kind, vector in pool(states).items()}
        if pooled is not None:
            tensors[f"{i}.pooler_output"] = pooled
        if spec.sentence:
            tensors[f"{i}.sentence"] = torch.nn.functional.normalize(pool(layers[-1])["mean"], dim=0)
    return {name: tensor.contiguous() for name, tensor in tensors.items()}


def float32_error(model: BertModel, records: list[dict[str, object]], truth: Weights) -> np.ndarray:
    """Largest absolute error over all texts: a value per layer, and a last one for the pooler if there is one."""
    errors = []
    for i, record in enumerate(records):
        layers, pooled = forward(model, record)
        pairs = [(states, truth[f"{i}.hidden_states.{layer}"]) for layer, states in enumerate(layers)]
        if pooled is not None:
            pairs.append((pooled, truth[f"{i}.pooler_output"]))
        errors.append([(ours.double() - true).abs().max().item() for ours, true in pairs])
    return np.max(errors, axis=0)


def pytorch_float32_error(
    spec: TinyModel, directory: Path, records: list[dict[str, object]], truth: Weights
) -> dict[str, object]:
    """PyTorch float32's errors: the smaller of its two attention implementations, at each layer."""
    models = (load(spec, directory, torch.float32, attention) for attention in ("eager", "sdpa"))
    smallest = np.min([float32_error(model, records, truth) for model in models], axis=0).tolist()
    layers = int(spec.config["num_hidden_layers"]) + 1
    return {"hidden_states": smallest[:layers], "pooler_output": smallest[layers] if spec.pooler else None}


def versions() -> dict[str, str]:
    return {"python": platform.python_version(), **{package: version(package) for package in PACKAGES}}


def write_golden_json(path: Path, records: list[dict[str, object]], errors: dict[str, object]) -> None:
    """A record a line, and non-ASCII escaped: several texts hold characters that do not show."""
    lines = ",\n".join("    " + json.dumps(record) for record in records)
    path.write_text(
        f'{{\n  "texts": [\n{lines}\n  ],\n'
        f'  "pytorch_float32_max_abs_error": {json.dumps(errors)},\n'
        f'  "versions": {json.dumps(versions())}\n}}\n',
        encoding="utf-8",
    )


def make(spec: TinyModel) -> None:
    directory = HERE / spec.name
    write_model(spec, directory)
    tokenizer = AutoTokenizer.from_pretrained(directory)
    limit = int(spec.config["max_position_embeddings"])
    records = [describe(text, tokenizer, limit) for text in spec.texts]
    truth = reference(spec, load(spec, directory, torch.float64, "eager"), records)
    errors = pytorch_float32_error(spec, directory, records, truth)
    save_file(truth, directory / "golden.safetensors")
    write_golden_json(directory / "golden.json", records, errors)
    size = sum(file.stat().st_size for file in directory.rglob("*") if file.is_file())
    print(f"{spec.name}: {len(records)} texts, {size / 1000:.0f} kB, float32 errors {errors}")


def main() -> None:
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.set_num_threads(1)  # one order of summation, whatever the machine's cores
    for spec in MODELS:
        make(spec)


if __name__ == "__main__":
    main()
