"""Settings of sentence-transformers' files."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
from safetensors.numpy import load, save

from json_settings import template
from odd_texts import LONG
from setting import (
    CASE_TEXTS,
    CONFIG,
    MARKER_TEXTS,
    MODULES,
    OLD_SB,
    POOLING,
    REMOVED,
    SB,
    ST,
    TC,
    TJ,
    Json,
    Module,
    Setting,
    token,
)
from vocabulary import VOCABULARY

WIDTH = 16


def dense(activation: str | None, outputs: int = 12, inputs: int = WIDTH, bias: bool = True, **more: Json) -> Module:
    config = {"in_features": inputs, "out_features": outputs, "bias": bias, **more}
    if activation is not None:
        config["activation_function"] = activation
    shapes: dict[str, tuple[int, ...]] = {"linear.weight": (outputs, inputs)}
    if bias:
        shapes["linear.bias"] = (outputs,)
    if more.get("use_residual") and inputs != outputs:
        shapes["residual.weight"] = (outputs, inputs)
    return Module("Dense", config, files={"model.safetensors": random_tensors(shapes)})


def pickle_of(module: Module) -> bytes:
    """A module's weights as PyTorch saves them."""
    import torch  # takes seconds, and is for this alone

    tensors = {name: torch.from_numpy(array) for name, array in load(module.files["model.safetensors"]).items()}
    buffer = io.BytesIO()
    torch.save(tensors, buffer)
    return buffer.getvalue()


def layer_norm() -> Module:
    rng = np.random.default_rng(3)
    tensors = {
        f"norm.{name}": rng.normal(mean, 0.3, WIDTH).astype(np.float32)
        for name, mean in (("weight", 1.0), ("bias", 0.0))
    }
    return Module(
        "LayerNorm", {"dimension": WIDTH}, files={"model.safetensors": save(tensors, metadata={"format": "pt"})}
    )


def weighted_layers(layer_start: int = 1, layers: int = 2) -> Module:
    weights = np.linspace(0.5, 2.0, layers + 1 - layer_start).astype(np.float32)
    config = {"word_embedding_dimension": WIDTH, "layer_start": layer_start, "num_hidden_layers": layers}
    file = save({"layer_weights": weights}, metadata={"format": "pt"})
    return Module("WeightedLayerPooling", config, files={"model.safetensors": file}, before_pooling=True)


def lstm() -> Module:
    sizes = {"weight_ih": (32, WIDTH), "weight_hh": (32, 8), "bias_ih": (32,), "bias_hh": (32,)}
    tensors = {f"encoder.{name}_l0{way}": shape for name, shape in sizes.items() for way in ("", "_reverse")}
    config = {"word_embedding_dimension": WIDTH, "hidden_dim": 8, "num_layers": 1, "dropout": 0, "bidirectional": True}
    return Module(
        "LSTM", config, "lstm_config.json", {"model.safetensors": random_tensors(tensors)}, before_pooling=True
    )


def cnn() -> Module:
    tensors = {
        "convs.0.weight": (16, WIDTH, 1),
        "convs.0.bias": (16,),
        "convs.1.weight": (16, WIDTH, 3),
        "convs.1.bias": (16,),
    }
    config = {"in_word_embedding_dimension": WIDTH, "out_channels": 16, "kernel_sizes": [1, 3]}
    return Module("CNN", config, "cnn_config.json", {"model.safetensors": random_tensors(tensors)}, before_pooling=True)


def random_tensors(shapes: dict[str, tuple[int, ...]]) -> bytes:
    rng = np.random.default_rng(9)
    tensors = {name: rng.normal(0, 0.4, shape).astype(np.float32) for name, shape in shapes.items()}
    return save(tensors, metadata={"format": "pt"})


def in_folder(files: dict[str, Json]) -> dict[str, Json]:
    """sentence-transformers' layout before 2021: the encoder and its tokenizer in `0_Transformer`."""
    outside = (MODULES, ST, "README.md")
    moved = {
        name if name in outside or name[0] in "123456789" else f"0_Transformer/{name}": content
        for name, content in files.items()
    }
    return {**moved, MODULES: [{**entry, "path": entry["path"] or "0_Transformer"} for entry in moved[MODULES]]}


def in_folder_with_version(files: dict[str, Json]) -> dict[str, Json]:
    """The same, with the `config.json` that it had outside."""
    return {**in_folder(files), CONFIG: {"__version__": "0.3.8"}}


def changed_modules(
    change: Callable[[list[dict[str, Json]]], list[dict[str, Json]]],
) -> Callable[[dict[str, Json]], dict[str, Json]]:
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


def sentence_config() -> Iterator[Setting]:
    def setting(name: str, change: dict[str, Json], texts: tuple[str, ...] = LONG) -> Setting:
        return Setting(f"SB {name}", {SB: change}, texts)

    for value in (12, 16, 3, 2, 31, 33, 64, 512, 0, None, REMOVED, 12.0):
        yield setting(f"max_seq_length {'removed' if value is REMOVED else value}", {"max_seq_length": value})
    yield Setting(
        "SB max_seq_length removed, TC model_max_length 10",
        {SB: {"max_seq_length": REMOVED}, TC: {"model_max_length": 10}},
        LONG,
    )
    yield Setting(
        "SB max_seq_length null, TC model_max_length 10",
        {SB: {"max_seq_length": None}, TC: {"model_max_length": 10}},
        LONG,
    )
    yield Setting(
        "SB max_seq_length 16, TC model_max_length 10", {SB: {"max_seq_length": 16}, TC: {"model_max_length": 10}}, LONG
    )
    yield Setting(
        "SB max_seq_length removed, TC model_max_length 512",
        {SB: {"max_seq_length": REMOVED}, TC: {"model_max_length": 512}},
        LONG,
    )
    yield Setting(
        "SB max_seq_length removed, TC max_len 12", {SB: {"max_seq_length": REMOVED}, TC: {"max_len": 12}}, LONG
    )
    yield setting("do_lower_case true", {"do_lower_case": True}, CASE_TEXTS)
    yield Setting(
        "SB do_lower_case true, TC cased", {SB: {"do_lower_case": True}, TC: {"do_lower_case": False}}, CASE_TEXTS
    )
    normalized = {"do_lower_case": False, "additional_special_tokens": [token("[E1]", "n")]}
    yield Setting(
        "SB do_lower_case true, normalized marker", {SB: {"do_lower_case": True}, TC: normalized}, MARKER_TEXTS
    )
    yield Setting(
        "SB do_lower_case true, markers",
        {SB: {"do_lower_case": True}, TC: {"do_lower_case": False, "additional_special_tokens": ["[E1]"]}},
        MARKER_TEXTS,
    )
    yield Setting("SB removed", {SB: REMOVED}, LONG)
    yield Setting("SB empty", {SB: {"max_seq_length": REMOVED, "do_lower_case": REMOVED}}, LONG)
    for old in OLD_SB:
        yield Setting(f"{old} alone", {SB: REMOVED, old: {"max_seq_length": 12, "do_lower_case": False}}, LONG)
        yield Setting(f"{old} beside SB", {old: {"max_seq_length": 12, "do_lower_case": False}}, LONG)
    yield Setting("old name beside an empty SB", {SB: {}, OLD_SB[0]: {"max_seq_length": 12}}, LONG, whole=(SB,))
    yield Setting(
        "two old names", {SB: REMOVED, OLD_SB[0]: {"max_seq_length": 12}, OLD_SB[1]: {"max_seq_length": 9}}, LONG
    )
    yield Setting(
        "old name with tokenizer_args",
        {SB: REMOVED, OLD_SB[0]: {"tokenizer_args": {"do_lower_case": False}}},
        CASE_TEXTS,
    )

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
    yield setting(
        "tokenizer_args and processor_kwargs",
        {"tokenizer_args": {"do_lower_case": False}, "processor_kwargs": {"strip_accents": False}},
        CASE_TEXTS,
    )
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
    yield setting(
        "as 6 saves it",
        {
            "transformer_task": "feature-extraction",
            "modality_config": modality,
            "module_output_name": "token_embeddings",
            "max_seq_length": REMOVED,
            "do_lower_case": REMOVED,
        },
    )
    hidden = {"text": {"method": "forward", "method_output_name": ["hidden_states", 1]}}
    yield setting(
        "modality_config hidden state 1", {"modality_config": hidden, "module_output_name": "token_embeddings"}
    )
    pooled = {"text": {"method": "forward", "method_output_name": "pooler_output"}}
    yield setting("modality_config pooler", {"modality_config": pooled, "module_output_name": "sentence_embedding"})


PROMPT_TEXTS = ("boat", "", " ", "  hello  ", "the river")


def prompts() -> Iterator[Setting]:
    def setting(
        name: str, change: dict[str, Json], pooling: dict[str, Json] | None = None, **more: dict[str, Json]
    ) -> Setting:
        edits = {ST: change} | ({POOLING: pooling} if pooling else {}) | more
        return Setting(f"ST {name}", edits, PROMPT_TEXTS)

    query = {"prompts": {"query": "query: ", "passage": "passage: "}}
    yield Setting("ST prompts, no default", {ST: query}, harmless=True)
    yield Setting("ST prompts, default null", {ST: {**query, "default_prompt_name": None}}, harmless=True)
    yield Setting("ST similarity_fn_name", {ST: {"similarity_fn_name": "dot"}}, harmless=True)
    yield Setting("ST similarity_fn_name null", {ST: {"similarity_fn_name": None}}, harmless=True)
    yield Setting(
        "ST __version__",
        {ST: {"__version__": {"sentence_transformers": "3.0.1", "transformers": "4.41.2", "pytorch": "2.3.0"}}},
        harmless=True,
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
    yield setting(
        "default prompt, truncation left, include_prompt false",
        left,
        {"include_prompt": False},
        **{TC: {"truncation_side": "left"}},
    )
    yield setting(
        "default prompt, max_seq_length 4, include_prompt false",
        change,
        {"include_prompt": False},
        **{SB: {"max_seq_length": 4}},
    )
    yield setting(
        "default prompt, max_seq_length 5, include_prompt false",
        change,
        {"include_prompt": False},
        **{SB: {"max_seq_length": 5}},
    )
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
    yield setting(
        "model_type Other, limit and prompt",
        {"model_type": "Other", "truncate_dim": 8, **query, "default_prompt_name": "query"},
        **{SB: {"max_seq_length": 5}},
    )
    yield setting(
        "model_type Other, cls",
        {"model_type": "Other"},
        {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False},
    )
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
        return Setting(
            f"POOLING {name}", {POOLING: {f"pooling_mode_{mode}": mode in modes for mode in OLD_MODES}}, LONG
        )

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
    "Tanh ReLU GELU Sigmoid SiLU LeakyReLU ELU SELU CELU Mish Hardswish Hardtanh Hardsigmoid Softplus Softsign LogSigmoid "
    "ReLU6 Softshrink Hardshrink Tanhshrink Softmax Softmin LogSoftmax PReLU RReLU GLU Threshold MultiheadAttention Softmax2d"
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
    yield setting(
        "Dense residual, same size", dense("torch.nn.modules.activation.Tanh", outputs=WIDTH, use_residual=True)
    )
    yield setting("Dense residual false", dense("torch.nn.modules.activation.Tanh", use_residual=False))
    yield setting(
        "Dense module_input_name", dense("torch.nn.modules.linear.Identity", module_input_name="sentence_embedding")
    )
    on_tokens = dense("torch.nn.modules.linear.Identity", outputs=WIDTH, module_input_name="token_embeddings")
    yield setting("Dense on tokens", replace(on_tokens, before_pooling=True))
    yield setting("Dense output elsewhere", dense("torch.nn.modules.linear.Identity", module_output_name="other"))
    yield setting("Dense some_key", dense("torch.nn.modules.linear.Identity", some_key=1))
    yield setting(
        "two Dense",
        dense("torch.nn.modules.activation.Tanh"),
        dense("torch.nn.modules.linear.Identity", outputs=8, inputs=12),
    )
    pickled = dense("torch.nn.modules.activation.Tanh")
    yield setting(
        "Dense in pytorch_model.bin",
        Module("Dense", pickled.config, files={"pytorch_model.bin": lambda: pickle_of(pickled)}),
    )
    yield setting("Normalize", Module("Normalize"))
    yield setting(
        "Normalize with a config",
        Module("Normalize", {"module_input_name": "sentence_embedding", "module_output_name": "sentence_embedding"}),
    )
    yield setting("Normalize tokens", Module("Normalize", {"module_input_name": "token_embeddings"}))
    yield setting(
        "Normalize tokens before", Module("Normalize", {"module_input_name": "token_embeddings"}, before_pooling=True)
    )
    yield setting("Normalize elsewhere", Module("Normalize", {"module_output_name": "other"}))
    yield setting("LayerNorm", layer_norm())
    yield setting("Dropout", Module("Dropout", {"dropout": 0.5}))
    yield setting("LayerNorm, Normalize", layer_norm(), Module("Normalize"))
    yield setting("Normalize, Dense", Module("Normalize"), dense("torch.nn.modules.activation.Tanh"))
    yield setting("WeightedLayerPooling", weighted_layers())
    yield setting(
        "WeightedLayerPooling, output_hidden_states", weighted_layers(), **{CONFIG: {"output_hidden_states": True}}
    )
    yield setting(
        "WeightedLayerPooling of 0, output_hidden_states",
        weighted_layers(0),
        **{CONFIG: {"output_hidden_states": True}},
    )
    yield setting(
        "WeightedLayerPooling of the last, output_hidden_states",
        weighted_layers(2),
        **{CONFIG: {"output_hidden_states": True}},
    )
    yield setting(
        "WeightedLayerPooling, config_args output_hidden_states",
        weighted_layers(),
        **{SB: {"config_args": {"output_hidden_states": True}}},
    )
    yield setting(
        "WeightedLayerPooling of another size", weighted_layers(1, 4), **{CONFIG: {"output_hidden_states": True}}
    )
    yield setting("LSTM", lstm())
    yield setting("CNN", cnn())
    words = {"vocab": list(VOCABULARY), "word_weights": {"boat": 2.0, "hello": 0.5}, "unknown_word_weight": 1}
    yield setting("WordWeights", Module("WordWeights", words, before_pooling=True))
    yield Setting(
        "LAYOUT 0_Transformer", {MODULES: []}, LONG, finish=in_folder, whole=(MODULES,), also_named=("0_Transformer",)
    )
    yield Setting("LAYOUT no modules.json", {MODULES: []}, LONG, finish=without_modules, whole=(MODULES,))
    yield Setting(
        "LAYOUT new module names",
        {MODULES: []},
        finish=renamed_modules(lambda kind: NEW_MODULES.get(kind, kind)),
        whole=(MODULES,),
    )
    yield Setting(
        "LAYOUT modules by sentence_transformer.modules",
        {MODULES: []},
        finish=renamed_modules(lambda kind: f"sentence_transformers.sentence_transformer.modules.{kind}"),
        whole=(MODULES,),
    )
    yield Setting(
        "LAYOUT modules by base.modules",
        {MODULES: []},
        finish=renamed_modules(lambda kind: f"sentence_transformers.base.modules.{kind}"),
        whole=(MODULES,),
    )
    yield Setting(
        "LAYOUT modules by models.Kind.Kind",
        {MODULES: []},
        finish=renamed_modules(lambda kind: f"sentence_transformers.models.{kind}.{kind}"),
        whole=(MODULES,),
    )
    yield Setting(
        "LAYOUT modules of one's own",
        {MODULES: []},
        finish=renamed_modules(lambda kind: f"my_modules.{kind}"),
        whole=(MODULES,),
    )
    yield Setting(
        "LAYOUT 0_Transformer and a version",
        {MODULES: []},
        LONG,
        finish=in_folder_with_version,
        whole=(MODULES,),
        also_named=("0_Transformer",),
    )
    changes: dict[str, Callable[[list[dict[str, Json]]], list[dict[str, Json]]]] = {
        "with kwargs": lambda entries: [
            {**entry, "kwargs": ["task"] if entry["idx"] == 0 else []} for entry in entries
        ],
        "numbered otherwise": lambda entries: [{**entry, "idx": 9 - entry["idx"]} for entry in entries],
        "without numbers": lambda entries: [
            {name: value for name, value in entry.items() if name != "idx"} for entry in entries
        ],
        "without names": lambda entries: [
            {name: value for name, value in entry.items() if name != "name"} for entry in entries
        ],
        "of one name": lambda entries: [{**entry, "name": "0"} for entry in entries],
        "transformer alone": lambda entries: entries[:1],
        "pooling alone": lambda entries: entries[1:],
        "pooling twice": lambda entries: [*entries, {**entries[1], "name": "again"}],
        "with a path of a dot": lambda entries: [{**entry, "path": entry["path"] or "."} for entry in entries],
        "with a slash": lambda entries: [{**entry, "path": entry["path"] and f"{entry['path']}/"} for entry in entries],
        "empty": lambda entries: [],
    }
    for name, change in changes.items():
        yield Setting(
            f"LAYOUT modules {name}",
            {MODULES: []},
            finish=changed_modules(change),
            whole=(MODULES,),
            also_named=("Pooling", "Transformer"),
        )
    yield Setting("LAYOUT no 1_Pooling", {POOLING: REMOVED}, also_named=("1_Pooling",))
