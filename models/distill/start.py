"""Where the student starts: its layers cut out of the teacher's, in closed form.

The student's residual stream is the teacher's on 160 directions, the same ones at every layer; its layers are some of the
teacher's. Words are coded by what says most of the teacher's deeper text means (word_code). Of a layer's heads and inner features the ones that move that stream most are kept; what reads the stream
(queries, keys, values, first linear map) is the teacher's, projected. What writes to it is fitted by least squares to what
the teacher writes there, from what the student has by then, a layer after the other; LayerNorm's weights and biases, too.

This is the pruning that TinyBERT and MiniLM do without: with a few million tokens of training, a student that starts from
random layers does not get attention going.
"""

from __future__ import annotations

import torch
from transformers import BertModel, PreTrainedTokenizerBase

BATCH = 64
MAX_LENGTH = 256


class Sample:
    """What the teacher computes for some texts, in batches of similar length: the rows of all real tokens."""

    @torch.no_grad()
    def __init__(self, teacher: BertModel, tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> None:
        texts = sorted(texts, key=len)
        self.batches = [
            tokenizer(texts[i : i + BATCH], padding=True, truncation=True, max_length=MAX_LENGTH, return_tensors="pt")
            for i in range(0, len(texts), BATCH)
        ]
        caught: dict[str, torch.Tensor] = {}
        hooks = []
        for i, layer in enumerate(teacher.encoder.layer):
            for name, module in [
                (f"{i} heads", layer.attention.output.dense),
                (f"{i} before 1", layer.attention.output.LayerNorm),
                (f"{i} between", layer.intermediate.dense),
                (f"{i} inner", layer.output.dense),
                (f"{i} before 2", layer.output.LayerNorm),
            ]:
                hook = lambda _, args, name=name: caught.__setitem__(name, args[0])  # noqa: E731
                hooks.append(module.register_forward_pre_hook(hook))
        rows: dict[str, list[torch.Tensor]] = {}
        for batch in self.batches:
            output = teacher(**batch, output_hidden_states=True)
            mask = batch["attention_mask"].bool()
            for k, hidden_state in enumerate(output.hidden_states):
                rows.setdefault(f"{k} hidden", []).append(hidden_state[mask])
            for name, tensor in caught.items():
                rows.setdefault(name, []).append(tensor[mask])
        for hook in hooks:
            hook.remove()
        self.rows = {name: torch.cat(parts) for name, parts in rows.items()}


def directions(sample: Sample, layers: int, width: int) -> torch.Tensor:
    """Directions of most variance, every layer counting alike, of shape (teacher's width, width).

    They are turned so that the least of them is the one that the student's LayerNorm takes away: (1, …, 1).
    """
    total = 0
    for k in range(layers + 1):
        covariance = sample.rows[f"{k} hidden"].double().T.cov()
        total = total + covariance / covariance.trace()
    principal = torch.linalg.eigh(total).eigenvectors.flip(1)[:, :width]
    ones = torch.full((width,), width**-0.5, dtype=torch.double)
    least = torch.eye(width, dtype=torch.double)[-1]
    mirror = (ones - least) / (ones - least).norm()
    return (principal @ (torch.eye(width) - 2 * mirror[:, None] * mirror)).float()


def strongest(contributions: torch.Tensor, count: int) -> torch.Tensor:
    """Which of (parts, rows, width) to keep so that their sum varies as that of all does, chosen one after the other."""
    contributions = contributions - contributions.mean(1, keepdim=True)
    rest, chosen = contributions.sum(0), []
    for _ in range(count):
        left = torch.stack([(rest - part).square().sum() for part in contributions])
        left[chosen] = torch.inf
        chosen.append(int(left.argmin()))
        rest = rest - contributions[chosen[-1]]
    return torch.tensor(sorted(chosen))


def word_code(static: torch.Tensor, deeper: torch.Tensor, width: int) -> torch.Tensor:
    """Directions (teacher's width, width) of layer 0 that say most of the deeper layers' text means, of every direction of
    theirs alike: reduced-rank regression (Izenman 1975) of `deeper` on `static`, a row a text."""
    x, y = static.double() - static.double().mean(0), deeper.double() - deeper.double().mean(0)
    square = x.T @ x
    ridge = 1e-4 * square.diagonal().mean() * torch.eye(len(square))
    weight = torch.linalg.solve(square + ridge, x.T @ (y / y.std(0)))
    strongest = torch.linalg.eigh(weight.T @ square @ weight).eigenvectors.flip(1)[:, :width]
    return (weight @ strongest).float()


def fit(features: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight and bias of the linear map from (rows, n) to (rows, m), by least squares with a little ridge."""
    centre, middle = features.double().mean(0), target.double().mean(0)
    x, y = features.double() - centre, target.double() - middle
    square = x.T @ x
    ridge = 1e-3 * square.diagonal().mean() * torch.eye(len(square))
    weight = torch.linalg.solve(square + ridge, x.T @ y).T
    return weight.float(), (middle - weight @ centre).float()


def fit_norm(norm: torch.nn.LayerNorm, before: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Sets the LayerNorm's weight and bias, a number of the stream at a time; returns its output."""
    normed = torch.nn.functional.layer_norm(before, before.shape[-1:], eps=norm.eps)
    x, y = normed - normed.mean(0), target - target.mean(0)
    norm.weight.copy_((x * y).sum(0) / x.square().sum(0))
    norm.bias.copy_(target.mean(0) - norm.weight * normed.mean(0))
    return norm(before)


def explained(ours: torch.Tensor, target: torch.Tensor) -> float:
    return 1 - float((ours - target).square().sum() / (target - target.mean(0)).square().sum())


@torch.no_grad()
def start_from(
    student: BertModel, teacher: BertModel, sample: Sample, sources: list[int], code: torch.Tensor
) -> list[torch.Tensor]:
    """Sets all but the pooler; returns the student's hidden states on the sample, a tensor of all rows for each layer.

    `sources` has the teacher's layer that each of the student's is cut out of, `code` is word_code's.
    """
    config = student.config
    heads, width = config.num_attention_heads, config.hidden_size
    head = width // heads
    rows = sample.rows
    to = directions(sample, teacher.config.num_hidden_layers, width)
    masks = [batch["attention_mask"].bool() for batch in sample.batches]
    counts = [int(mask.sum()) for mask in masks]

    ours, theirs = student.embeddings, teacher.embeddings
    # A word as the teacher's LayerNorm has it at a usual place, through the code; places and types to first order.
    weight, bias = fit(rows["0 hidden"] @ code, rows["0 hidden"] @ to)
    into = code @ weight.T
    words, places, types = (
        getattr(theirs, f"{name}_embeddings").weight for name in ["word", "position", "token_type"]
    )
    usual = words + places[1:40].mean(0) + types[0]
    slope = theirs.LayerNorm.weight / usual.std(1).mean()
    ours.word_embeddings.weight.copy_(theirs.LayerNorm(usual) @ into + bias)
    ours.position_embeddings.weight.copy_((places - places[1:40].mean(0)) * slope @ into)
    ours.token_type_embeddings.weight.copy_((types - types[0]) * slope @ into)
    summed = [
        ours.word_embeddings(batch["input_ids"])
        + ours.position_embeddings.weight[: batch["input_ids"].shape[1]]
        + ours.token_type_embeddings.weight[0]
        for batch in sample.batches
    ]
    before = torch.cat([x[mask] for x, mask in zip(summed, masks, strict=True)])
    stream = fit_norm(ours.LayerNorm, before, rows["0 hidden"] @ to)
    streams = [stream]
    print(f"layer 0  explained {explained(stream, rows['0 hidden'] @ to):.3f}", flush=True)

    for i, layer in zip(sources, student.encoder.layer, strict=True):
        source = teacher.encoder.layer[i]
        # The variance that the directions leave out is lost, its mean goes to the biases.
        hidden = rows[f"{i} hidden"]
        lost = hidden.mean(0) - to @ (to.T @ hidden.mean(0))
        write = source.attention.output.dense.weight
        parts = rows[f"{i} heads"].view(len(hidden), -1, head).transpose(0, 1)
        written = torch.stack([part @ (to.T @ write[:, h * head : (h + 1) * head]).T for h, part in enumerate(parts)])
        kept = (strongest(written, heads)[:, None] * head + torch.arange(head)).flatten()
        for name in ["query", "key", "value"]:
            read = getattr(source.attention.self, name)
            getattr(layer.attention.self, name).weight.copy_(read.weight[kept] @ to)
            getattr(layer.attention.self, name).bias.copy_((read.bias + read.weight @ lost)[kept])

        context = []
        for x, batch, mask in zip(stream.split(counts), sample.batches, masks, strict=True):
            padded = torch.zeros(*mask.shape, width)
            padded[mask] = x
            bias = torch.where(mask, 0.0, -1e4)[:, None, None].expand(-1, heads, mask.shape[1], -1)
            context.append(layer.attention.self(padded, bias)[0][mask])
        context = torch.cat(context)
        output = layer.attention.output
        weight, bias = fit(context, rows[f"{i} before 1"] @ to - stream)
        output.dense.weight.copy_(weight)
        output.dense.bias.copy_(bias)
        # The teacher's state between its two halves, as what reads it: its LayerNorm's output.
        between = rows[f"{i} between"]
        stream = fit_norm(output.LayerNorm, stream + output.dense(context), between @ to)
        print(f"layer {i + 1}  attention explained {explained(stream, between @ to):.3f}", end="", flush=True)

        lost = between.mean(0) - to @ (to.T @ between.mean(0))
        inner = rows[f"{i} inner"]
        strength = inner.var(0) * (to.T @ source.output.dense.weight).square().sum(0)
        kept = strength.topk(config.intermediate_size).indices.sort().values
        first = source.intermediate.dense
        layer.intermediate.dense.weight.copy_(first.weight[kept] @ to)
        layer.intermediate.dense.bias.copy_((first.bias + first.weight @ lost)[kept])
        inner = layer.intermediate(stream)
        weight, bias = fit(inner, rows[f"{i} before 2"] @ to - stream)
        layer.output.dense.weight.copy_(weight)
        layer.output.dense.bias.copy_(bias)
        target = rows[f"{i + 1} hidden"] @ to
        stream = fit_norm(layer.output.LayerNorm, stream + layer.output.dense(inner), target)
        print(f"  all explained {explained(stream, target):.3f}", flush=True)
        streams.append(stream)
    return streams
