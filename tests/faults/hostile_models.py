"""Model folders that are broken, or made to harm."""

from __future__ import annotations

import io
import json
import random
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

from bench import MIB, REPOSITORY, Desk
from hostile_case import Case, fails, succeeds
from mutate import IN_PLACE, in_place, mutate

# The base folders: safetensors in two files; a zip of torch.save's; tokenizer.json; sentence-transformers' modules.
SHARDED, ZIPPED, TOKENIZER, SENTENCE = "width16", "width3", "width32", "width64"
PICKLES = REPOSITORY / "tests/pickles"
RUN = ["extract", "-q", "-m", "model", "-i", "texts.txt", "-o", "out"]


def folder(golden: str, change: Callable[[Path], None]) -> Callable[[Desk], None]:
    return lambda desk: change(desk.put_model("model", golden))


def case(name: str, golden: str, change: Callable[[Path], None], **more: object) -> Case:
    """A case of one command; more of them would only say the same again."""
    return Case(name, folder(golden, change), [more.pop("command", RUN)], **more)


def edit_json(name: str, edit: Callable[[dict], object]) -> Callable[[Path], None]:
    def change(model: Path) -> None:
        value = json.loads((model / name).read_text())
        edit(value)
        (model / name).write_text(json.dumps(value))

    return change


def put(name: str, content: bytes | str | Callable[[], bytes | str]) -> Callable[[Path], None]:
    """What is large is made when it is needed."""

    def change(model: Path) -> None:
        made = content() if callable(content) else content
        (model / name).write_bytes(made if isinstance(made, bytes) else made.encode())

    return change


# --- safetensors -----------------------------------------------------------------------------------------------------


def safetensors(header: object, data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def header_edit(edit: Callable[[dict], object]) -> Callable[[Path], None]:
    """Changes the header of a safetensors file and leaves its data."""

    def change(model: Path) -> None:
        content = (model / "model.safetensors").read_bytes()
        (length,) = struct.unpack_from("<Q", content)
        header = json.loads(content[8 : 8 + length])
        edit(header)
        (model / "model.safetensors").write_bytes(safetensors(header, content[8 + length :]))

    return change


def first_tensor(header: dict) -> dict:
    return next(tensor for name, tensor in header.items() if name != "__metadata__")


def safetensors_cases() -> list[Case]:
    tensor = lambda shape, end, dtype="F32": {"a": {"dtype": dtype, "shape": shape, "data_offsets": [0, end]}}
    contents = {
        "header-of-2-63": lambda: safetensors({}, length=2**63),
        "header-of-all-ones": lambda: safetensors({}, length=2**64 - 1),
        "header-longer-than-file": lambda: safetensors({}, length=10**9),
        "header-nested": lambda: safetensors(b"[" * 5_000_000),
        "header-nested-objects": lambda: safetensors(b'{"a":' * 1_000_000),
        "shape-overflows": lambda: safetensors(tensor([2**32, 2**32, 2], 4), b"1234"),
        "shape-of-a-petabyte": lambda: safetensors(tensor([2**48], 2**50), b"1234"),
        "shape-of-a-million-ones": lambda: safetensors(tensor([1] * 1_000_000, 4), b"1234"),
        "many-names": lambda: safetensors(
            {f"t{n}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for n in range(300_000)}
        ),
        "control-characters": lambda: safetensors(
            {"\x1b[31mred\x07": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, b"1234"
        ),
        "eight-bytes": lambda: b"\0" * 8,
    }
    edits = {
        "offsets-backwards": lambda header: first_tensor(header).update(data_offsets=[8, 4]),
        "offsets-beyond": lambda header: first_tensor(header).update(data_offsets=[0, 2**62]),
        "offsets-negative": lambda header: first_tensor(header).update(data_offsets=[-4, 4]),
        "type-unknown": lambda header: first_tensor(header).update(dtype="\x1b]0;title\x07"),
        "name-with-escape": lambda header: header.update({"\x1b[2Jx": header.pop(next(n for n in header if n != "__metadata__"))}),
    }
    cases = [case(f"safetensors/{name}", TOKENIZER, put("model.safetensors", content)) for name, content in contents.items()]
    cases += [case(f"safetensors/{name}", TOKENIZER, header_edit(edit)) for name, edit in edits.items()]
    index = {"weight_map": {"a": "../../precious/file", "b": "/etc/passwd"}}
    cases.append(case("index/climbs", SHARDED, put("model.safetensors.index.json", json.dumps(index)), right=fails()))
    nested = put("model.safetensors.index.json", b'{"weight_map":' * 500_000)
    cases.append(case("index/nested", SHARDED, nested, right=fails()))
    return cases


# --- pickles ---------------------------------------------------------------------------------------------------------


def archive(pickle: bytes, compression: int = zipfile.ZIP_STORED, data: dict[str, bytes] | None = None) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", compression) as made:
        made.writestr("archive/data.pkl", pickle)
        for name, member in (data or {}).items():
            made.writestr(f"archive/{name}", member)
    return content.getvalue()


def zip_bomb(size: int) -> bytes:
    """A member of zeros that its compressed form hides."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = b"".join(packer.compress(bytes(MIB)) for _ in range(size // MIB)) + packer.flush()
    name = b"archive/data.pkl"
    checksum = 0
    fields = struct.pack("<HHHIIIHH", 8, 0, 0, checksum, len(packed), size, len(name), 0)
    local = b"PK\3\4" + struct.pack("<HH", 20, 0) + fields + name + packed
    central = b"PK\1\2" + struct.pack("<HHH", 20, 20, 0) + fields + struct.pack("<HHHII", 0, 0, 0, 0, 0) + name
    return local + central + b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, 1, 1, len(central), len(local), 0)


def calls(module: str, function: str, argument: str) -> bytes:
    """What Python would run when it loads it."""
    return (
        b"\x80\x02c" + f"{module}\n{function}\n".encode() + b"X" + struct.pack("<I", len(argument)) + argument.encode() + b"\x85R."
    )


def pickle_cases() -> list[Case]:
    doubled = b"\x80\x02Nq\x00" + b"h\x00h\x00\x86q\x00" * 60 + b"."
    contents = {
        "nested-tuples": lambda: archive(b"\x80\x02N" + b"\x85" * 5_000_000 + b"."),
        "nested-lists": lambda: archive(b"\x80\x02" + b"]" * 3_000_000 + b"a" * 2_999_999 + b"."),
        "doubled-memos": lambda: archive(doubled),
        "string-of-2-63": lambda: archive(b"\x80\x04\x8d" + struct.pack("<Q", 2**63) + b"x."),
        "integer-of-2-31": lambda: archive(b"\x80\x02\x8b" + struct.pack("<i", 2**31 - 1) + b"x."),
        "integer-of-negative-length": lambda: archive(b"\x80\x02\x8b" + struct.pack("<i", -5) + b"x."),
        "memo-at-2-32": lambda: archive(b"\x80\x02Nr" + struct.pack("<I", 2**32 - 1) + b"."),
        "marks-alone": lambda: archive(b"\x80\x02" + b"(" * 5_000_000 + b"."),
        "runs-a-command": lambda: archive(calls("os", "system", "rm -r precious; touch pwned")),
        "runs-a-builtin": lambda: archive(calls("builtins", "exec", "open('pwned', 'w').close()")),
        "legacy-runs-a-command": lambda: calls("os", "system", "touch pwned"),
        "empty-archive": lambda: b"PK\5\6" + bytes(18),
        "bomb": lambda: zip_bomb(2048 * MIB),
        "archive-of-climbing-names": lambda: archive(b"\x80\x02}.", data={"../../precious/file": b"x"}),
        "dictionary-of-nothing": lambda: archive(b"\x80\x02}."),
        "no-stop": lambda: archive(b"\x80\x02" + b"N" * 1000),
    }
    cases = []
    for name, content in contents.items():
        cases.append(case(f"pickle/{name}", ZIPPED, put("pytorch_model.bin", content), right=fails()))
    return cases


# --- JSON, vocabularies, and everything else -------------------------------------------------------------------------

HUGE_SETTINGS = [
    ("hidden_size", 2**62),
    ("hidden_size", 0),
    ("hidden_size", -1),
    ("hidden_size", 1e400),
    ("num_hidden_layers", 10**12),
    ("num_hidden_layers", 0),
    ("num_attention_heads", 0),
    ("num_attention_heads", 2**63),
    ("intermediate_size", 2**61),
    ("vocab_size", 2**62),
    ("vocab_size", 0),
    ("max_position_embeddings", 2**62),
    ("max_position_embeddings", 0),
    ("type_vocab_size", 2**62),
    ("layer_norm_eps", -1.0),
    ("hidden_act", "\x1b[31m"),
    ("hidden_act", "x" * 1_000_000),
    ("model_type", "\x1b]0;title\x07"),
    ("architectures", ["\x1b[2J"] * 10),
]


def config_cases() -> list[Case]:
    cases = []
    for number, (key, value) in enumerate(HUGE_SETTINGS):
        set_it = edit_json("config.json", lambda config, key=key, value=value: config.update({key: value}))
        cases.append(
            case(f"config/{number}-{key}", TOKENIZER, set_it, right=fails() if key != "architectures" else lambda *_: None)
        )
    return cases


def json_cases() -> list[Case]:
    contents = {
        "lists": lambda: b"[" * 1_000_000,
        "objects": lambda: b'{"a":' * 1_000_000,
        "closed": lambda: b"[" * 200_000 + b"]" * 200_000,
        "not-utf-8": lambda: b'{"a": "\xff"}',
        "null": lambda: b"null",
        "number": lambda: b"1" * 1_000_000,
        "string": lambda: b'"' + b"a" * 5_000_000 + b'"',
        "same-key": lambda: b"{" + b'"a":1,' * 500_000 + b'"a":1}',
        "half-a-surrogate": lambda: b'{"model_type": "\\ud800"}',
        "zeros": lambda: bytes(1000),
    }
    files = {
        "config.json": TOKENIZER,
        "tokenizer.json": TOKENIZER,
        "tokenizer_config.json": TOKENIZER,
        "special_tokens_map.json": TOKENIZER,
        "added_tokens.json": TOKENIZER,
        "modules.json": SENTENCE,
        "sentence_bert_config.json": SENTENCE,
        "1_Pooling/config.json": SENTENCE,
        "config_sentence_transformers.json": SENTENCE,
    }
    command = [*RUN, "-e", "sentence,mean"]
    return [
        case(f"json/{file}/{name}", golden, put(file, content), command=command if golden == SENTENCE else RUN)
        for file, golden in files.items()
        for name, content in contents.items()
    ]


def tokenizer_cases() -> list[Case]:
    def regex(pattern: str) -> Callable[[Path], None]:
        split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
        pre = {"type": "Sequence", "pretokenizers": [split, {"type": "BertPreTokenizer"}]}
        return edit_json("tokenizer.json", lambda tokenizer: tokenizer.update(pre_tokenizer=pre))

    modules = lambda path: json.dumps([{"idx": 0, "name": "0", "path": path, "type": "sentence_transformers.models.Transformer"}])
    long_line = [*RUN[:4], "-i", "long.txt", "-o", "out"]

    def with_long_line(change: Callable[[Path], None]) -> Callable[[Desk], None]:
        def lay(desk: Desk) -> None:
            change(desk.put_model("model", TOKENIZER))
            desk.put("long.txt", "a" * 40 + "!\n")

        return lay

    return [
        Case("tokenizer/regex-without-end", with_long_line(regex(r"(a+)+(?=b)|t")), [long_line]),
        case("tokenizer/regex-broken", TOKENIZER, regex("((("), right=fails()),
        case("tokenizer/regex-of-repeats", TOKENIZER, regex("((a{1000}){1000}){1000}")),
        case("vocabulary/one-long-line", SHARDED, put("vocab.txt", lambda: "a" * 20_000_000)),
        case("vocabulary/many-lines", SHARDED, put("vocab.txt", lambda: "\n".join(map(str, range(2_000_000))))),
        case("vocabulary/nothing", SHARDED, put("vocab.txt", "")),
        case("vocabulary/not-utf-8", SHARDED, put("vocab.txt", b"[UNK]\n\xff\xfe\n"), right=fails()),
        case("modules/climb", SENTENCE, put("modules.json", modules("../../precious")), command=[*RUN, "-e", "sentence"]),
        case("modules/absolute", SENTENCE, put("modules.json", modules("/etc")), command=[*RUN, "-e", "sentence"]),
        case("modules/with-escape", SENTENCE, put("modules.json", modules("\x1b[31m")), command=[*RUN, "-e", "sentence"]),
    ]


def in_place_cases() -> list[Case]:
    """Each file of a model, and something else in its place."""
    files = {
        TOKENIZER: ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "modules.json"],
        SHARDED: ["vocab.txt", "model-00001-of-00002.safetensors", "model.safetensors.index.json"],
        ZIPPED: ["pytorch_model.bin"],
    }
    return [
        case(
            f"in-place/{file}/{make.__name__}", golden, lambda model, file=file, make=make: in_place(model / file, make), seconds=10
        )
        for golden, names in files.items()
        for file in names
        for make in IN_PLACE
    ]


def name_cases() -> list[Case]:
    """The folder itself."""
    escape = "\x1b[31mred\x07"
    put_it = lambda desk: desk.put_model(escape, TOKENIZER)
    bundled_command = ["extract", "-q", "-i", "texts.txt", "-o", "out", "-m"]
    names = {"escape-missing": escape + "x", "climbing-id": "../../etc", "id-with-escape": "org/\x1b[2J", "long": "x" * 5000}
    cases = [Case(f"name/{key}", lambda desk: None, [[*bundled_command, name]], right=fails()) for key, name in names.items()]
    cases.append(Case("name/escape", put_it, [[*bundled_command, escape]], right=succeeds))
    cases.append(Case("name/file", lambda desk: None, [[*bundled_command, "texts.txt"]], right=fails()))
    cases.append(Case("name/zeros", lambda desk: None, [[*bundled_command, "/dev/zero"]], right=fails()))
    return cases


def cases() -> list[Case]:
    groups = [safetensors_cases(), pickle_cases(), config_cases(), json_cases(), tokenizer_cases(), in_place_cases(), name_cases()]
    return [one for group in groups for one in group]


def drawn(name: str, numbers: random.Random) -> Case:
    """One file of a model, changed at random: it may be refused, and where it is not, what comes out is whole."""
    if numbers.random() < 0.25:
        pickle = numbers.choice(sorted(PICKLES.glob("*.bin")))
        content = mutate(pickle.read_bytes(), numbers)

        def lay(desk: Desk) -> None:
            model = desk.put_model("model", ZIPPED)
            (model / "pytorch_model.bin").write_bytes(content)
            if numbers.random() < 0.5:
                (model / "config.json").write_bytes((PICKLES / "config.json").read_bytes())

        return Case(name, lay, [RUN])
    golden = numbers.choice([SHARDED, ZIPPED, TOKENIZER, SENTENCE])

    def change(model: Path) -> None:
        files = sorted(path for path in model.rglob("*") if path.is_file())
        # Headers and settings are small beside weights, and more can be wrong with them.
        for path in numbers.sample(files, numbers.choice([1, 1, 2])):
            path.write_bytes(mutate(path.read_bytes(), numbers))

    commands = [RUN, [*RUN, "-e", "sentence,token"], ["info", "-v", "model"], ["info", "--json", "model"]]
    return case(name, golden, change, command=numbers.choice(commands))
