"""Settings of config.json, and neighbours of all kinds that change nothing."""

from __future__ import annotations

from collections.abc import Iterator

from setting import CONFIG, REMOVED, ST, TC, TJ, Json, Setting


def model_config() -> Iterator[Setting]:
    def setting(key: str, value: Json, harmless: bool = False) -> Setting:
        word = "removed" if value is REMOVED else str(value)
        return Setting(f"CONFIG {key} {word}", {CONFIG: {key: value}}, harmless=harmless)

    for eps in (1e-5, 0.1, REMOVED):
        yield setting("layer_norm_eps", eps)
    for act in (
        "relu",
        "gelu_new",
        "silu",
        "gelu_python",
        "gelu_pytorch_tanh",
        "tanh",
        "quick_gelu",
        "nothing",
        REMOVED,
    ):
        yield setting("hidden_act", act)
    for kind in ("relative_key", "relative_key_query", REMOVED):
        yield setting("position_embedding_type", kind)
    for key in ("is_causal", "is_decoder", "add_cross_attention"):
        yield setting(key, True)
        yield setting(key, False, harmless=True)
    for dtype in ("float16", "bfloat16", "float32"):
        yield setting("torch_dtype", dtype)
        yield setting("dtype", dtype)
    for names in (
        ["BertForMaskedLM"],
        ["BertForCausalLM"],
        ["BertLMHeadModel"],
        ["BertForSequenceClassification"],
        [],
        None,
    ):
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
    yield setting("auto_map", {"AutoModel": "modeling_own.OwnModel"})
    yield setting("quantization_config", {"quant_method": "bitsandbytes", "load_in_8bit": True})


def neighbours() -> Iterator[Setting]:
    def setting(name: str, edits: dict[str, Json]) -> Setting:
        return Setting(name, edits, harmless=True)

    elsewhere = "/root/.cache/huggingface/transformers/0123abcd.4567"
    for side in ("left", "right"):
        yield setting(f"TC padding_side {side}", {TC: {"padding_side": side}})
    for value in (True, False):
        yield setting(f"TC clean_up_tokenization_spaces {value}", {TC: {"clean_up_tokenization_spaces": value}})
    yield setting("TC name_or_path", {TC: {"name_or_path": "bert-base-uncased"}})
    yield setting("TC special_tokens_map_file", {TC: {"special_tokens_map_file": elsewhere}})
    yield setting("TC tokenizer_file", {TC: {"tokenizer_file": elsewhere}})
    yield setting("TC vocab_file", {TC: {"vocab_file": "/tmp/vocab.txt"}})
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
    decoder = {"type": "WordPiece", "prefix": "##", "cleanup": False}
    yield Setting("TJ decoder", {TJ: {"decoder": decoder}}, needs="json", harmless=True)
    for key, value in {
        "output_hidden_states": True,
        "output_attentions": False,
        "chunk_size_feed_forward": 1,
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
        "max_length": 20,
        "pruned_heads": {},
        "output_past": True,
        "some_key": 1,
    }.items():
        yield setting(f"CONFIG {key}", {CONFIG: {key: value}})
    yield setting("README.md", {"README.md": "---\nlanguage: en\n---\n# A model\n"})
    yield setting("generation_config.json", {"generation_config.json": {"max_length": 10, "bos_token_id": 1}})
    yield setting("preprocessor_config.json", {"preprocessor_config.json": {"do_resize": True}})
    yield setting(
        "other files",
        {"training_args.bin": "x", "eval/results.csv": "epoch,steps\n"},
    )
    yield setting("config_sentence_transformers.json empty", {ST: {}})
