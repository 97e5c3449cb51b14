"""Make the placeholder model: a very small BERT with random weights, complete with its tokenizer.

It lets the tool and its tests run offline until a trained model takes its place. Needs numpy and
safetensors only. Run `python models/placeholder/make.py`; the files are the same on every run.
"""

from __future__ import annotations

import json
import string
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

HERE = Path(__file__).parent
SEED = 20240
HIDDEN = 32
INTERMEDIATE = 64
LAYERS = 2
POSITIONS = 512

SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = """the of and to in is was he for it with as his on be at by had not are but from or have an they which one
you were her all she there would their we him been has when who will more no if out so said what up its about into
them can only other new some could time these two may then do first any my now such like our over man me even most
after also did many before must through years where much your way well down should because each just those people
how too good make world see work long get here both life day same another know while last might us great old year
against right used take three state himself few house use during without again place around however home small found
thought went say part once general high upon school every hello text word sentence model layer vector""".split()
SUFFIXES = "s ed ing er ly es est tion al able ness ment ous ity ful less re th en".split()

CONFIG = {
    "architectures": ["BertModel"],
    "attention_probs_dropout_prob": 0.1,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "hidden_size": HIDDEN,
    "initializer_range": 0.02,
    "intermediate_size": INTERMEDIATE,
    "layer_norm_eps": 1e-12,
    "max_position_embeddings": POSITIONS,
    "model_type": "bert",
    "num_attention_heads": 2,
    "num_hidden_layers": LAYERS,
    "pad_token_id": 0,
    "position_embedding_type": "absolute",
    "torch_dtype": "float32",
    "type_vocab_size": 2,
}
TOKENIZER_CONFIG = {
    "cls_token": "[CLS]",
    "do_lower_case": True,
    "mask_token": "[MASK]",
    "model_max_length": POSITIONS,
    "pad_token": "[PAD]",
    "sep_token": "[SEP]",
    "strip_accents": None,
    "tokenize_chinese_chars": True,
    "tokenizer_class": "BertTokenizer",
    "unk_token": "[UNK]",
}


def vocabulary() -> list[str]:
    """Enough to spell any ASCII text: special tokens, punctuation, digits, letters, words, suffixes."""
    symbols = string.digits + string.ascii_lowercase
    continuations = [f"##{piece}" for piece in [*symbols, *SUFFIXES]]
    return list(dict.fromkeys([*SPECIALS, *string.punctuation, *symbols, *continuations, *WORDS]))


def tokenizer(vocab: list[str]) -> dict[str, object]:
    """BERT's uncased WordPiece tokenizer in the format of the tokenizers library."""
    ids = {entry: index for index, entry in enumerate(vocab)}

    def special(token: str, type_id: int) -> dict[str, object]:
        return {"SpecialToken": {"id": token, "type_id": type_id}}

    def sequence(name: str, type_id: int) -> dict[str, object]:
        return {"Sequence": {"id": name, "type_id": type_id}}

    single = [special("[CLS]", 0), sequence("A", 0), special("[SEP]", 0)]
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": ids[token], "content": token, **flags} for token in SPECIALS],
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": True,
            "handle_chinese_chars": True,
            "strip_accents": None,
            "lowercase": True,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": single,
            "pair": [*single, sequence("B", 1), special("[SEP]", 1)],
            "special_tokens": {
                token: {"id": token, "ids": [ids[token]], "tokens": [token]} for token in ("[CLS]", "[SEP]")
            },
        },
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {
            "type": "WordPiece",
            "unk_token": "[UNK]",
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": ids,
        },
    }


def weights(vocab_size: int) -> dict[str, np.ndarray]:
    """Random parameters under the names of transformers' `BertModel`, float32."""
    rng = np.random.default_rng(SEED)
    tensors: dict[str, np.ndarray] = {}

    def normal(name: str, *shape: int, std: float) -> None:
        tensors[name] = rng.normal(0, std, shape).astype(np.float32)

    def dense(name: str, inputs: int, outputs: int) -> None:
        normal(f"{name}.weight", outputs, inputs, std=inputs**-0.5)
        normal(f"{name}.bias", outputs, std=0.1)

    def layer_norm(name: str) -> None:
        tensors[f"{name}.weight"] = np.ones(HIDDEN, np.float32)
        tensors[f"{name}.bias"] = np.zeros(HIDDEN, np.float32)

    normal("embeddings.word_embeddings.weight", vocab_size, HIDDEN, std=1)
    normal("embeddings.position_embeddings.weight", POSITIONS, HIDDEN, std=0.3)
    normal("embeddings.token_type_embeddings.weight", 2, HIDDEN, std=0.3)
    layer_norm("embeddings.LayerNorm")
    for layer in range(LAYERS):
        prefix = f"encoder.layer.{layer}"
        for projection in ("query", "key", "value"):
            dense(f"{prefix}.attention.self.{projection}", HIDDEN, HIDDEN)
        dense(f"{prefix}.attention.output.dense", HIDDEN, HIDDEN)
        layer_norm(f"{prefix}.attention.output.LayerNorm")
        dense(f"{prefix}.intermediate.dense", HIDDEN, INTERMEDIATE)
        dense(f"{prefix}.output.dense", INTERMEDIATE, HIDDEN)
        layer_norm(f"{prefix}.output.LayerNorm")
    dense("pooler.dense", HIDDEN, HIDDEN)
    return tensors


def write_json(name: str, value: object, indent: int | None = 2) -> None:
    (HERE / name).write_text(json.dumps(value, indent=indent) + "\n", encoding="utf-8")


def main() -> None:
    vocab = vocabulary()
    write_json("config.json", {**CONFIG, "vocab_size": len(vocab)})
    write_json("tokenizer_config.json", TOKENIZER_CONFIG)
    write_json("tokenizer.json", tokenizer(vocab), indent=None)
    (HERE / "vocab.txt").write_text("".join(f"{entry}\n" for entry in vocab), encoding="utf-8")
    save_file(weights(len(vocab)), HERE / "model.safetensors", {"format": "pt"})


if __name__ == "__main__":
    main()
