"""Make the files of this directory: one tiny BERT in the ways in which `torch.save` has written such models.

`tensors.safetensors` is what all of them hold. README.md says what each is for. Run `python tests/pickles/make.py` to
write them again.
"""

from __future__ import annotations

import argparse
import json
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import BertConfig, BertModel

HERE = Path(__file__).parent
CONFIG = {
    "model_type": "bert",
    "hidden_size": 6,
    "num_attention_heads": 2,
    "intermediate_size": 5,
    "num_hidden_layers": 1,
    "hidden_act": "gelu",
    "max_position_embeddings": 4,
    "type_vocab_size": 2,
    "vocab_size": 9,
    "layer_norm_eps": 1e-12,
    "pad_token_id": 0,
}
POSITIONS = "embeddings.position_embeddings.weight"
EXPANDED = "encoder.layer.0.output.dense.bias"

Tensors = dict[str, torch.Tensor]


def draw() -> Tensors:
    """All parameters. Of two, numbers repeat, so that views of fewer numbers can hold them."""
    generator = torch.Generator().manual_seed(5)
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in BertModel(BertConfig(**CONFIG)).state_dict().items()}
    tensors = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items() if "_ids" not in name}
    tensors[POSITIONS] = torch.randn(9, generator=generator).unfold(0, 6, 1).contiguous()
    tensors[EXPANDED] = torch.randn(1, generator=generator).expand(6).contiguous()
    return tensors


def padded(tensor: torch.Tensor) -> torch.Tensor:
    """A view with an offset whose rows have other numbers between them."""
    wide = torch.full((*tensor.shape[:-1], tensor.shape[-1] + 3), float("nan"))
    view = wide[..., 2:-1]
    view.copy_(tensor)
    return view


def transposed(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.t().contiguous().t()


def every_other(tensor: torch.Tensor) -> torch.Tensor:
    """A view of every second number."""
    wide = torch.full((*tensor.shape, 2), float("inf"))
    view = wide[..., 1]
    view.copy_(tensor)
    return view


def in_one_storage(tensors: Tensors) -> Tensors:
    """Views of one storage, the last one first in it."""
    names = list(tensors)[::-1]
    storage = torch.cat([tensors[name].flatten() for name in names])
    parts = storage.split([tensors[name].numel() for name in names])
    return {name: part.view(tensors[name].shape) for name, part in zip(names, parts)}


def strided(tensors: Tensors) -> Tensors:
    """Every kind of view there is, in turn; the fewest numbers that hold the two that repeat them."""
    kinds = (padded, transposed, every_other)
    matrices = [name for name, tensor in tensors.items() if tensor.dim() == 2]
    vectors = [name for name, tensor in tensors.items() if tensor.dim() == 1]
    views = {name: kinds[i % 3](tensors[name]) for i, name in enumerate(matrices)}
    views |= in_one_storage({name: tensors[name] for name in vectors[::2]})
    views |= {name: every_other(tensors[name]) for name in vectors[1::2]}
    views[POSITIONS] = torch.cat([tensors[POSITIONS][0], tensors[POSITIONS][1:, -1]]).unfold(0, 6, 1)
    views[EXPANDED] = tensors[EXPANDED][:1].clone().expand(6)
    return {name: views[name] for name in tensors}


def save(name: str, value: object, **options: object) -> None:
    torch.save(value, HERE / name, **options)


def rezipped(source: str, target: str, method: int, changes: dict[str, bytes] = {}) -> None:
    """A file of `torch.save` with other compression, or with other content of some of its files."""
    with zipfile.ZipFile(HERE / source) as old, zipfile.ZipFile(HERE / target, "w", method) as new:
        for entry in old.infolist():
            content = changes.get(entry.filename.split("/", 1)[1], old.read(entry))
            new.writestr(zipfile.ZipInfo(entry.filename), content, method, 9)


def trained(tensors: Tensors) -> dict[str, object]:
    """What a training script saves beside the model."""
    model = OrderedDict((f"module.bert.{name}", torch.nn.Parameter(tensor)) for name, tensor in tensors.items())
    model["module.classifier.weight"] = torch.zeros(3, 6, dtype=torch.float64)
    model._metadata = OrderedDict({"": {"version": 1}})
    weight = torch.nn.Parameter(torch.ones(2, 3))
    optimizer = torch.optim.Adam([weight])
    weight.grad = torch.ones(2, 3)
    optimizer.step()
    return {
        "epoch": 3,
        "losses": [0.5, float("nan"), -(10**30)],
        "args": argparse.Namespace(lr=5e-5, output=Path("out"), tags={"a"}),
        "state_dict": {"model": model, "step": torch.tensor(7)},
        "optimizer": optimizer.state_dict(),
        "rng": torch.get_rng_state()[:16].clone(),
        "done": True,
        "best": None,
    }


def main() -> None:
    torch.set_num_threads(1)
    tensors = draw()
    (HERE / "config.json").write_text(json.dumps(CONFIG, indent=2) + "\n", encoding="utf-8")
    save_file(tensors, HERE / "tensors.safetensors")

    save("strided.bin", strided(tensors))
    save("nested.bin", trained(tensors), pickle_protocol=5)
    rezipped("strided.bin", "deflated.bin", zipfile.ZIP_DEFLATED)
    torch.serialization.set_crc32_options(False)
    save("without_checksums.bin", {name: tensor.clone() for name, tensor in tensors.items()})
    torch.serialization.set_crc32_options(True)

    old = {"_use_new_zipfile_serialization": False}
    save("before_1_6.bin", OrderedDict(tensors | {"embeddings.position_ids": torch.arange(4)[None]}), **old)
    save("before_1_6_strided.bin", strided(tensors), **old)
    save("before_1_6_nested.bin", trained(tensors), pickle_protocol=4, **old)
    save("before_1_6_protocol_1.bin", strided(tensors), pickle_protocol=1, **old)

    small = {"embeddings.word_embeddings.weight": torch.ones(1, 2)}
    save("small.bin", small)
    rezipped("small.bin", "big_endian.bin", zipfile.ZIP_STORED, {"byteorder": b"big"})
    (HERE / "small.bin").unlink()
    save("whole_object.bin", torch.nn.Linear(1, 1))
    save("numbers_by_name.bin", {"epoch": 3, "net": {"weight": torch.ones(1)}})
    (HERE / "plain_pickle.bin").write_bytes(pickle.dumps({"weight": [1.0, 2.0]}, protocol=2))

    for file in sorted(HERE.glob("*.bin")):
        print(f"{file.name}: {file.stat().st_size} bytes")


if __name__ == "__main__":
    main()
