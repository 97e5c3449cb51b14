"""Step 3 of 3: train the student on the teacher's targets, and export it.

    python train.py WORK --teacher all-MiniLM-L6-v2/ --output ../bert-4x160

The student is a plain BERT that starts as what is left of the teacher when most of it is cut away (start.py). The loss has
four parts, after TinyBERT (Jiao et al. 2020), MiniLM (Wang et al. 2020) and the similarity-preserving distillation of sentence
encoders (Reimers & Gurevych 2020):

    tokens     hidden states 2, 3, 4 match the teacher's 2, 4, 6 through a learned linear map each, token by token
    means      the mean over a text's tokens matches in the same way, in every direction alike: what little of a layer's
               variance says much of a text (its sentiment, say) counts as much as what varies most
    cosines    the cosines of a batch's texts equal the teacher's: squared error, and cross entropy of the neighbours that
               they give each text
    pooler     the cosines of pooler_output do, too

With `--device cuda`, or `--live`, the teacher computes along, and of teacher.py only the vectors of the validation pairs are
needed (`--shards 0`): every text of WORK/texts is learned from, so let texts.py write more of them. Of the first 8,192 texts
nothing is learned: how much of the teacher's means the student explains on them is printed every 500 steps.

A batch is some groups of 8 neighbouring texts. The rate of learning stays constant until a share of the steps is left, then
falls to 0. It is high: at a quarter of it, 400 steps bring what 200 bring here. WORK/state.pt is written every 250 steps, and
the same command goes on from it.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from scipy.stats import spearmanr
from transformers import AutoTokenizer, BertConfig, BertModel, PreTrainedTokenizerBase

from start import BATCH, Sample, fit, start_from, word_code
from teacher import LAYERS, MAX_LENGTH, WIDTH, basis_of

SOURCES = [0, 1, 3, 5]  # the teacher's layer that each of the student's is cut out of
OURS = {2: 2, 4: 3, 6: 4}  # the student's hidden state that matches the teacher's
TOKEN_WEIGHTS = {2: 0.3, 4: 0.5, 6: 1.0}
MEAN_WEIGHTS = {2: 0.5, 4: 3.0, 6: 2.0}
GROUP = 8
TEMPERATURE = 0.05
RATE, WARM_UP, FALL = 4e-3, 300, 0.8
START_TEXTS = 2000  # for the layers at the start
CODE_TEXTS = 114_688  # for the code of words
HELD_OUT = 8192  # the first texts
SAVE_EVERY = 250
CONFIG = BertConfig(
    vocab_size=30522,
    hidden_size=WIDTH,
    num_hidden_layers=len(SOURCES),
    num_attention_heads=5,
    intermediate_size=176,
    max_position_embeddings=512,
    hidden_dropout_prob=0.0,
    attention_probs_dropout_prob=0.0,
    initializer_range=0.03,
)


class Chunk(NamedTuple):
    """Some texts of similar length, padded to the longest."""

    input_ids: torch.Tensor  # (texts, places)
    mask: torch.Tensor  # (texts, places), bool
    layers: dict[int, torch.Tensor]  # the teacher's hidden states (texts, places, WIDTH) in its principal directions
    sentence: torch.Tensor  # (texts, 384), its sentence embeddings, not normalized

    def mean(self, hidden_state: torch.Tensor) -> torch.Tensor:
        """Over a text's tokens."""
        mask = self.mask[:, :, None]
        return (hidden_state * mask).sum(1) / mask.sum(1)


class Data:
    """Texts, one after the other: text t is tokens bounds[t]..bounds[t + 1]."""

    input_ids: torch.Tensor
    lengths: torch.Tensor  # here, and not on the device
    bounds: torch.Tensor

    def set_lengths(self, lengths: torch.Tensor) -> None:
        self.lengths = lengths.long()
        self.bounds = torch.cat([torch.zeros(1, dtype=torch.long), self.lengths.cumsum(0)])
        print(f"{len(self.lengths)} texts, {self.bounds[-1]} tokens", flush=True)

    def batches(self, epoch: int, groups_at_once: int) -> list[torch.Tensor]:
        """Every group once, in an order of the epoch's own."""
        first = HELD_OUT // GROUP
        groups = first + torch.randperm(len(self.lengths) // GROUP - first, generator=torch.Generator().manual_seed(epoch))
        groups = groups[: len(groups) // groups_at_once * groups_at_once].view(-1, groups_at_once)
        return list((groups[:, :, None] * GROUP + torch.arange(GROUP)).flatten(1))

    def chunks(self, texts: torch.Tensor, count: int) -> Iterator[Chunk]:
        """The texts in the order of their lengths."""
        device = self.input_ids.device
        for chunk in texts[self.lengths[texts].argsort()].chunk(count):
            lengths = self.lengths[chunk]
            places = torch.arange(int(lengths.max()), device=device)
            mask = places[None] < lengths.to(device)[:, None]
            index = (self.bounds[chunk].to(device)[:, None] + places).clamp_max(len(self.input_ids) - 1)
            input_ids = torch.where(mask, self.input_ids[index], 0).long()
            yield Chunk(input_ids, mask, *self.targets(chunk.to(device), index, input_ids, mask))

    def targets(
        self, texts: torch.Tensor, index: torch.Tensor, input_ids: torch.Tensor, mask: torch.Tensor
    ) -> tuple[dict[int, torch.Tensor], torch.Tensor]:
        """A chunk's `layers` and `sentence`."""
        raise NotImplementedError


class Stored(Data):
    """With the targets that teacher.py has written, in memory."""

    def __init__(self, targets: Path) -> None:
        shards = [np.load(path) for path in sorted(targets.glob("[0-9]*.npz")) if ".part" not in path.name]
        texts = sum(len(shard["lengths"]) for shard in shards)
        tokens = sum(int(shard["lengths"].sum()) for shard in shards)

        def gather(key: str) -> torch.Tensor:
            """Shard by shard, as there may be no room for everything twice."""
            first = shards[0][key]
            rows = np.empty((texts if key in ("lengths", "sentence") else tokens, *first.shape[1:]), first.dtype)
            start = 0
            for shard in shards:
                part = shard[key]
                rows[start : start + len(part)] = part
                start += len(part)
            return torch.from_numpy(rows)

        self.input_ids = gather("input_ids")
        self.set_lengths(gather("lengths"))
        self.sentence = gather("sentence")
        self.layers = {k: gather(f"layer_{k}") for k in LAYERS}

    def targets(self, texts, index, input_ids, mask):
        return {k: layer[index].float() for k, layer in self.layers.items()}, self.sentence[texts].float()


class Live(Data):
    """With a teacher that computes along, on the same device."""

    def __init__(self, texts: list[str], tokenizer: PreTrainedTokenizerBase, folder: Path, basis, device: str) -> None:
        encoded = tokenizer(texts, truncation=True, max_length=MAX_LENGTH)["input_ids"]
        self.input_ids = torch.from_numpy(np.concatenate([np.array(ids, np.int32) for ids in encoded])).to(device)
        self.set_lengths(torch.tensor([len(ids) for ids in encoded]))
        self.teacher = BertModel.from_pretrained(folder, dtype=torch.float32, add_pooling_layer=False).eval().to(device)
        self.basis = {
            k: [torch.from_numpy(basis[f"{part}_{k}"]).to(device) for part in ["centre", "directions"]] for k in LAYERS
        }

    @torch.no_grad()
    def targets(self, texts, index, input_ids, mask):
        hidden_states = self.teacher(input_ids, mask.long(), output_hidden_states=True).hidden_states
        layers = {k: (hidden_states[k] - centre) @ directions for k, (centre, directions) in self.basis.items()}
        return layers, (hidden_states[-1] * mask[:, :, None]).sum(1)  # its length does not matter


class Student(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.bert = BertModel(CONFIG, add_pooling_layer=True)
        self.maps = torch.nn.ModuleDict({str(k): torch.nn.Linear(WIDTH, WIDTH) for k in LAYERS})

    @torch.no_grad()
    def start(self, data: Data, sample: Sample, teacher: BertModel, basis: dict[str, np.ndarray]) -> None:
        """Layers out of the teacher's; the maps by least squares, too."""
        embeddings = copy.deepcopy(teacher.embeddings).to(data.input_ids.device)
        static, deeper = [], []
        for texts in torch.arange(min(HELD_OUT + CODE_TEXTS, len(data.lengths)))[HELD_OUT:].split(4096):
            for chunk in data.chunks(texts, 128):
                static.append(chunk.mean(embeddings(chunk.input_ids)).cpu())
                deeper.append(torch.cat([chunk.mean(chunk.layers[k]) for k in LAYERS[1:]], 1).cpu())
        code = word_code(torch.cat(static), torch.cat(deeper), WIDTH)
        streams = start_from(self.bert, teacher, sample, SOURCES, code)
        for k in LAYERS:
            centre, directions = (torch.from_numpy(basis[f"{part}_{k}"]) for part in ["centre", "directions"])
            weight, bias = fit(streams[OURS[k]], (sample.rows[f"{k} hidden"] - centre) @ directions)
            self.maps[str(k)].weight.copy_(weight)
            self.maps[str(k)].bias.copy_(bias)

    def loss(self, data: Data, texts: torch.Tensor, chunks: int) -> dict[str, torch.Tensor]:
        """The loss's parts for a batch, taken in chunks of similar length each."""
        pooled, sentence = [], []
        errors, means, mean_targets = ({k: [] for k in LAYERS} for _ in range(3))
        for chunk in data.chunks(texts, chunks):
            output = self.bert(chunk.input_ids, attention_mask=chunk.mask.long(), output_hidden_states=True)
            for k in LAYERS:
                hidden_state, target = output.hidden_states[OURS[k]], chunk.layers[k]
                errors[k].append(((self.maps[str(k)](hidden_state) - target).square().mean(2) * chunk.mask).sum())
                means[k].append(chunk.mean(hidden_state))
                mean_targets[k].append(chunk.mean(target))
            pooled.append(output.pooler_output)
            sentence.append(chunk.sentence)
        pooled, tokens = torch.cat(pooled), int(data.lengths[texts].sum())
        losses = {}
        for k in LAYERS:
            losses[f"tokens {k}"] = TOKEN_WEIGHTS[k] * sum(errors[k]) / tokens
            target, mean = torch.cat(mean_targets[k]), torch.cat(means[k])
            losses[f"means {k}"] = MEAN_WEIGHTS[k] * ((self.maps[str(k)](mean) - target) ** 2 / target.var(0)).mean()
        sentence = F.normalize(torch.cat(sentence))
        theirs = sentence @ sentence.T
        losses |= {f"cosines {name}": loss for name, loss in cosine_losses(mean, theirs).items()}
        losses |= {f"pooler {name}": 0.3 * loss for name, loss in cosine_losses(pooled, theirs).items()}
        return losses


def cosine_losses(vectors: torch.Tensor, theirs: torch.Tensor) -> dict[str, torch.Tensor]:
    vectors = F.normalize(vectors)
    ours = vectors @ vectors.T
    diagonal = torch.eye(len(ours), dtype=torch.bool, device=ours.device)
    neighbours = (theirs / TEMPERATURE).masked_fill(diagonal, -1e4).softmax(1)
    return {
        "squared": 20 * F.mse_loss(ours, theirs),
        "neighbours": 0.5 * F.cross_entropy((ours / TEMPERATURE).masked_fill(diagonal, -1e4), neighbours),
    }


def basis_of_sample(sample: Sample) -> dict[str, np.ndarray]:
    """As teacher.py's, from a sample of texts."""
    lengths = torch.cat([batch["attention_mask"].sum(1) for batch in sample.batches]).numpy()
    found = {}
    for k in LAYERS:
        basis = basis_of(sample.rows[f"{k} hidden"].numpy(), lengths, k == LAYERS[-1])
        found |= {f"{part}_{k}": value for part, value in basis.items()}
    return found


@torch.no_grad()
def held_out(student: Student, data: Data) -> str:
    """How much of the teacher's text means, of every direction alike, a linear map of the student's explains: fitted on half
    of the texts that are held out, measured on the other half."""
    ours, theirs = ({k: [] for k in LAYERS} for _ in range(2))
    for texts in torch.arange(HELD_OUT).split(256):
        for chunk in data.chunks(texts, 12):
            output = student.bert(chunk.input_ids, attention_mask=chunk.mask.long(), output_hidden_states=True)
            for k in LAYERS:
                ours[k].append(chunk.mean(output.hidden_states[OURS[k]]))
                theirs[k].append(chunk.mean(chunk.layers[k]))
    shares = []
    for k in LAYERS:
        x, y = torch.cat(ours[k]).cpu(), torch.cat(theirs[k]).cpu()
        half = len(x) // 2
        weight, bias = fit(x[:half], y[:half])
        errors = x[half:] @ weight.T + bias - y[half:]
        shares.append(f"{k} {1 - float((errors.square().mean(0) / y[half:].var(0)).mean()):.4f}")
    return "  ".join(shares)


@torch.no_grad()
def validate(student: Student, tokenizer: PreTrainedTokenizerBase, work: Path) -> float:
    """Spearman correlation of the pairs' cosines with the teacher's."""
    texts = [line.split("\t")[1:] for line in (work / "validation/pairs.tsv").read_text("utf-8").splitlines()]
    theirs = np.load(work / "validation/teacher.npy").astype(np.float32)
    flat = [text for pair in texts for text in pair]
    device = next(student.parameters()).device
    vectors = torch.empty(len(flat), WIDTH)
    order = sorted(range(len(flat)), key=lambda i: len(flat[i]))
    for start in range(0, len(flat), BATCH):
        chunk = order[start : start + BATCH]
        encoded = tokenizer([flat[i] for i in chunk], padding=True, truncation=True, max_length=MAX_LENGTH, return_tensors="pt").to(device)
        mask = encoded["attention_mask"][:, :, None]
        vectors[chunk] = ((student.bert(**encoded).last_hidden_state * mask).sum(1) / mask.sum(1)).cpu()
    vectors = F.normalize(vectors).view(-1, 2, WIDTH)
    theirs = theirs / np.linalg.norm(theirs, axis=1, keepdims=True)
    theirs = theirs.reshape(len(texts), 2, -1)
    return spearmanr((vectors[:, 0] * vectors[:, 1]).sum(1).numpy(), (theirs[:, 0] * theirs[:, 1]).sum(1)).statistic


def shorter(tensor: torch.Tensor) -> torch.Tensor:
    """Rounded to 8 of the 11 bits of a float16's significand: zeros in the rest are what makes a package of it smaller."""
    fraction, exponent = torch.frexp(tensor.float())
    return torch.ldexp((fraction * 2**8).round() / 2**8, exponent).half()


def export(student: Student, tokenizer: PreTrainedTokenizerBase, output: Path) -> None:
    output.mkdir(parents=True, exist_ok=True)
    state = {name: tensor.half().contiguous() for name, tensor in student.bert.state_dict().items()}
    words = "embeddings.word_embeddings.weight"
    state[words] = shorter(state[words])
    save_file({name: state[name] for name in state if "_ids" not in name}, output / "model.safetensors", {"format": "pt"})
    config = BertConfig(**CONFIG.to_diff_dict() | {"architectures": ["BertModel"], "dtype": "float16"})
    config.save_pretrained(output)
    (output / "model.safetensors").chmod(0o644)
    # Written out, as save_pretrained adds what only this run knew; in one line, which is read faster.
    backend = json.loads(tokenizer.backend_tokenizer.to_str())
    (output / "tokenizer.json").write_text(json.dumps(backend, ensure_ascii=False, separators=(",", ":")) + "\n", "utf-8")
    settings = {f"{name}_token": f"[{name.upper()}]" for name in ["cls", "mask", "pad", "sep", "unk"]}
    settings |= {"do_lower_case": True, "model_max_length": 512, "tokenizer_class": "BertTokenizer"}
    (output / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n")
    vocabulary = sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().get)
    (output / "vocab.txt").write_text("".join(f"{token}\n" for token in vocabulary), "utf-8")
    # The sentence embedding, as sentence-transformers has it: the mean over the tokens, normalized.
    types = {"": "Transformer", "1_Pooling": "Pooling", "2_Normalize": "Normalize"}
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{type_}"}
        for i, (path, type_) in enumerate(types.items())
    ]
    (output / "modules.json").write_text(json.dumps(modules, indent=2) + "\n")
    (output / "1_Pooling").mkdir(exist_ok=True)
    pooling = {"word_embedding_dimension": CONFIG.hidden_size, "pooling_mode_mean_tokens": True}
    (output / "1_Pooling/config.json").write_text(json.dumps(pooling, indent=2) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--teacher", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=20000)
    parser.add_argument("--intermediate-size", type=int, default=CONFIG.intermediate_size)
    parser.add_argument("--groups", type=int, default=32, help="of 8 texts, in a batch")
    parser.add_argument("--chunks", type=int, default=12, help="in which a batch is taken")
    parser.add_argument("--device", default="cpu", help="cuda: the teacher computes along there")
    parser.add_argument("--live", action="store_true", help="the teacher computes along, whatever the device")
    args = parser.parse_args()
    CONFIG.intermediate_size = args.intermediate_size
    torch.manual_seed(20240)
    torch.set_float32_matmul_precision("high")
    tokenizer = AutoTokenizer.from_pretrained(args.teacher, model_max_length=512)
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    student = Student().to(args.device)
    decayed = [p for name, p in student.named_parameters() if p.dim() == 2 and "embeddings" not in name]
    other = [p for name, p in student.named_parameters() if p.dim() != 2 or "embeddings" in name]
    groups = [{"params": decayed, "weight_decay": 0.01}, {"params": other, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=RATE, betas=(0.9, 0.98), fused=True)
    state_file, step = args.work / "state.pt", 0
    if state_file.exists():
        state = torch.load(state_file, map_location=args.device)
        student.load_state_dict(state["student"])
        optimizer.load_state_dict(state["optimizer"])
        step = state["step"]
    live = args.live or args.device != "cpu"
    if live or not state_file.exists():
        texts = [line for path in sorted((args.work / "texts").glob("*.txt")) for line in path.read_text("utf-8").splitlines()]
        teacher = BertModel.from_pretrained(args.teacher, dtype=torch.float32).eval()
        sample = Sample(teacher, tokenizer, texts[:: len(texts) // START_TEXTS])
        basis = basis_of_sample(sample) if live else np.load(args.work / "targets/basis.npz")
    data = Live(texts, tokenizer, args.teacher, basis, args.device) if live else Stored(args.work / "targets")
    if not state_file.exists():
        student.cpu().start(data, sample, teacher, basis)
        student.to(args.device)
    epochs: dict[int, list[torch.Tensor]] = {}
    begun, tokens = time.time(), 0
    while step < args.steps:
        per_epoch = (len(data.lengths) - HELD_OUT) // GROUP // args.groups
        epoch = step // per_epoch
        if epoch not in epochs:
            epochs = {epoch: data.batches(epoch, args.groups)}
        texts = epochs[epoch][step % per_epoch]
        rate = RATE * min((step + 1) / WARM_UP, 1, (args.steps - step) / (FALL * args.steps))
        for group in optimizer.param_groups:
            group["lr"] = rate
        losses = student.loss(data, texts, args.chunks)
        optimizer.zero_grad(set_to_none=True)
        sum(losses.values()).backward()
        torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimizer.step()
        step += 1
        tokens += int(data.lengths[texts].sum())
        if step % 50 == 0:
            parts = "  ".join(f"{name} {loss.item():.3f}" for name, loss in losses.items())
            print(f"{step}  {tokens / (time.time() - begun):.0f} tokens/s  {parts}", flush=True)
        if step % SAVE_EVERY == 0 or step == args.steps:
            state = {"student": student.state_dict(), "optimizer": optimizer.state_dict(), "step": step}
            torch.save(state, state_file.with_suffix(".part"))
            state_file.with_suffix(".part").rename(state_file)
        if step % 500 == 0 or step == args.steps:
            print(f"{step}  explained of held-out means: {held_out(student, data)}", flush=True)
        if step % 1000 == 0 or step == args.steps:
            print(f"{step}  Spearman with the teacher {validate(student, tokenizer, args.work):.4f}", flush=True)
    export(student, tokenizer, args.output)


if __name__ == "__main__":
    main()
