"""Do a job of layerwise's with one of its peers, in one process, at that peer's best settings.

    python peer.py --engine transformers|onnxruntime|openvino --compute f32|bf16|int8|static --job mean|token \\
        --model DIR --prepared DIR --input FILE --output DIR --threads N

Reads one text a line and writes, as layerwise does, `mean/layer_XX.npy` [texts, hidden], or `token/layer_XX.npy`
[tokens, hidden] and `token/offsets.npy`, rows in the order of the input and without padding. Prints a line of JSON with
the times. `seconds_job` is tokenization, encoding and writing; imports and loading are not in it.
"""

import argparse
import json
import os
import time
from importlib.metadata import version
from pathlib import Path

MAX_LENGTH = 512


def since_start() -> float:
    """Seconds since this process was started, the interpreter's own start included (Linux)."""
    started = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started / os.sysconf("SC_CLK_TCK")


parser = argparse.ArgumentParser(description="Do a job with one of layerwise's peers.")
parser.add_argument("--engine", choices=["transformers", "onnxruntime", "openvino"], required=True)
parser.add_argument("--compute", choices=["f32", "bf16", "int8", "static"], default="f32")
parser.add_argument("--job", choices=["mean", "token"], required=True)
parser.add_argument("--model", type=Path, required=True, metavar="DIR")
parser.add_argument("--prepared", type=Path, required=True, metavar="DIR", help="the model's folder from models.py")
parser.add_argument("--input", type=Path, required=True, metavar="FILE")
parser.add_argument("--output", type=Path, required=True, metavar="DIR")
parser.add_argument("--threads", type=int, required=True, metavar="N")
parser.add_argument("--batch-tokens", type=int, default=4096, metavar="N", help="padded tokens of a batch")
args = parser.parse_args()
if args.engine == "onnxruntime" and args.compute == "bf16":
    parser.error("ONNX Runtime has no bfloat16 on the CPU")
if (args.engine, args.compute) in {("transformers", "int8"), ("transformers", "static"), ("onnxruntime", "static")}:
    parser.error(f"there is no {args.compute} model for {args.engine}")
# Of the graph's file.
SUFFIX = f".{args.compute}" if args.compute in ("int8", "static") else ""

os.environ["OMP_NUM_THREADS"] = os.environ["RAYON_NUM_THREADS"] = str(args.threads)
os.environ["TOKENIZERS_PARALLELISM"] = "true"

import numpy as np
from tokenizers import Tokenizer

if args.engine == "transformers":
    import torch
    from transformers import BertModel
    from transformers.utils import logging
elif args.engine == "onnxruntime":
    import onnxruntime
else:
    import openvino

SECONDS_IMPORTS = since_start()


# An engine is a function from ids and mask [texts, length] to a list of float32 arrays: one [texts, layers, hidden] for
# `mean`, or one [texts, length, hidden] for each layer for `token`. They may be overwritten by the next call.


def load_transformers():
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.set_num_threads(args.threads)
    dtype = {"f32": torch.float32, "bf16": torch.bfloat16}[args.compute]
    model = BertModel.from_pretrained(args.model, attn_implementation="sdpa", dtype=dtype, add_pooling_layer=False)
    model.eval()

    @torch.inference_mode()
    def run(ids, mask):
        mask = torch.from_numpy(mask)
        states = model(torch.from_numpy(ids), mask, output_hidden_states=True).hidden_states
        if args.job == "token":
            return [state.float().numpy() for state in states]
        ones, count = mask[:, None, :].to(dtype), mask.sum(1)[:, None, None]
        return [torch.cat([(ones @ state).float() / count for state in states], 1).numpy()]

    return run


def load_onnxruntime():
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = args.threads
    options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    session = onnxruntime.InferenceSession(
        args.prepared / f"{args.job}{SUFFIX}.onnx", options, providers=["CPUExecutionProvider"]
    )
    config = json.loads((args.model / "config.json").read_text(encoding="utf-8"))
    layers, hidden = config["num_hidden_layers"] + 1, config["hidden_size"]
    binding = session.io_binding()
    outputs = session.get_outputs()
    buffers = [np.empty(0, np.float32) for _ in outputs]  # written to in place, and used again

    def run(ids, mask):
        binding.bind_cpu_input("input_ids", ids)
        binding.bind_cpu_input("attention_mask", mask)
        shape = (len(ids), layers if args.job == "mean" else ids.shape[1], hidden)
        size = shape[0] * shape[1] * shape[2]
        for index, output in enumerate(outputs):
            if buffers[index].size < size:
                buffers[index] = np.empty(size, np.float32)
            binding.bind_output(output.name, "cpu", 0, np.float32, shape, buffers[index].ctypes.data)
        session.run_with_iobinding(binding)
        return [buffer[:size].reshape(shape) for buffer in buffers]

    return run


def load_openvino():
    model = openvino.Core().compile_model(
        args.prepared / f"{args.job}{SUFFIX}.xml",
        "CPU",
        {
            "INFERENCE_NUM_THREADS": args.threads,
            "NUM_STREAMS": 1,
            "INFERENCE_PRECISION_HINT": "f32" if SUFFIX else args.compute,
            "PERFORMANCE_HINT": "LATENCY",
        },
    )
    request = model.create_infer_request()
    outputs = range(len(model.outputs))

    def run(ids, mask):
        request.infer([ids, mask], share_inputs=True, share_outputs=True)
        return [request.get_output_tensor(index).data for index in outputs]

    return run


def batches(lengths: list[int]) -> list[list[int]]:
    """The texts, longest first, in batches of at most `--batch-tokens` tokens once padded."""
    order = sorted(range(len(lengths)), key=lambda text: -lengths[text])
    found = []
    start = 0
    while start < len(order):
        count = max(1, args.batch_tokens // lengths[order[start]])
        found.append(order[start : start + count])
        start += count
    return found


class Rows:
    """A float32 array of vectors in a `.npy` file of its final size; rows are written where they belong.

    With plain writes: half the time of copying into the mapped file, where every new page is a fault.
    """

    def __init__(self, path: Path, rows: int, hidden: int) -> None:
        self.start = np.lib.format.open_memmap(path, "w+", np.float32, (rows, hidden)).offset
        self.row_bytes = 4 * hidden
        self.file = os.open(path, os.O_WRONLY)

    def write(self, row: int, values: np.ndarray) -> None:
        values = np.ascontiguousarray(values)
        done = os.pwrite(self.file, values, self.start + row * self.row_bytes)
        assert done == values.nbytes


def main() -> None:
    run = {"transformers": load_transformers, "onnxruntime": load_onnxruntime, "openvino": load_openvino}[args.engine]()
    tokenizer = Tokenizer.from_file(str(args.model / "tokenizer.json"))
    tokenizer.enable_truncation(MAX_LENGTH)
    tokenizer.no_padding()
    run(np.array([[0, 0]]), np.array([[1, 1]]))  # warm: the weights are in memory, the first kernels are compiled
    loaded = since_start()

    texts = args.input.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    tokens = [encoding.ids for encoding in tokenizer.encode_batch_fast(texts)]
    lengths = [len(ids) for ids in tokens]
    offsets = np.cumsum([0, *lengths])
    directory = args.output / args.job
    directory.mkdir(parents=True)
    files: list[Rows] = []
    means = None
    for batch in batches(lengths):
        longest = lengths[batch[0]]
        ids = np.zeros((len(batch), longest), np.int64)
        mask = np.zeros((len(batch), longest), np.int64)
        for row, text in enumerate(batch):
            ids[row, : lengths[text]] = tokens[text]
            mask[row, : lengths[text]] = 1
        found = run(ids, mask)
        if args.job == "mean":
            if means is None:
                means = np.empty((found[0].shape[1], len(texts), found[0].shape[2]), np.float32)
            means[:, batch] = found[0].transpose(1, 0, 2)
            continue
        if not files:
            hidden = found[0].shape[2]
            files = [Rows(directory / f"layer_{i:02}.npy", sum(lengths), hidden) for i in range(len(found))]
        for file, layer in zip(files, found):
            for row, text in enumerate(batch):
                file.write(int(offsets[text]), layer[row, : lengths[text]])
    if args.job == "mean":
        for layer, values in enumerate(means):
            np.save(directory / f"layer_{layer:02}.npy", values)
    else:
        np.save(directory / "offsets.npy", offsets)

    done = since_start()
    packages = ["numpy", "tokenizers", *(["torch", "transformers"] if args.engine == "transformers" else [args.engine])]
    report = {
        "engine": args.engine,
        "compute": args.compute,
        "job": args.job,
        "versions": {package: version(package) for package in packages},
        "texts": len(texts),
        "tokens": int(offsets[-1]),
        "seconds_imports": SECONDS_IMPORTS,
        "seconds_load": loaded - SECONDS_IMPORTS,
        "seconds_job": done - loaded,
        "seconds_total": done,
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
