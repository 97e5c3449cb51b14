"""Small tokenizers of every family, trained here on a few sentences of our own, and what transformers makes of odd texts with
them:

    .venv-4/bin/python tests/tokenizers/make.py --python4 .venv-4/bin/python --python5 .venv/bin/python

Needs the package sentencepiece beside transformers 4.57 (and in both interpreters, which answer). `texts.json` has the texts;
`expected.json` the answers of version 4.57, or of 5.24 where that one cannot load a folder.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import tempfile
from pathlib import Path

import sentencepiece
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer

HERE = Path(__file__).parent
Json = dict[str, object]

SENTENCES = """\
The boat left the harbour in the morning, and nobody waved.
Two otters were playing near the bridge; a third one slept.
She counted 1,234 stones and 56 shells on the long beach.
He said: "It's the neighbour's garden, isn't it?"
Why does the clock on the tower always run ten minutes late?
Rain fell all night (and most of Tuesday), so we stayed at home.
A small model learns little, but it learns quickly.
Words, words, words: that is what the tokenizer reads.
Le bateau a quitté le port, et personne n'a fait signe.
Les élèves préfèrent l'été à l'hiver, évidemment.
Die Straße führt über eine alte Brücke zum Fluß.
El niño corrió mañana y tarde por la montaña.
Мы видели лодку на реке и старый мост.
Το ποτάμι είναι ήσυχο το πρωί.
我们在河边看见一只小船。
東京の朝は静かです。
The end of the line is not the end of the story.
Numbers such as 3.14, 42 and 2024 appear now and then.
Unbelievable! The unfriendly, unhappy and unlikely guests returned.
playing played player plays, walking walked walker walks
""".splitlines()

TEXTS = [
    "", " ", "  ", "\n", "a", "Hello world", " Hello  world ", "hello,world!", "The boat left, and nobody waved.",
    "two  spaces   three", "trailing ", "trailing   ", "tab\tand\nnewline\r\nend", "It's the neighbour's isn't DON'T",
    "1,234 and 56, 3.14, 7,", "``quoted'' ''text``", "élèves Straße niño naïve", "e\u0301le\u0300ves nin\u0303o",
    "ﬁne ﬂat ｆｕｌｌ　ｗｉｄｔｈ", "Мы видели ЛОДКУ", "我们在河边 東京の朝", "🙂 👩‍👩‍👧 ok", "a\u00a0b\u2003c\u200bd\u3000e",
    "<s> </s> <pad> <unk> <mask> [CLS] [SEP] [MASK] [PAD] [UNK] <cls> <eos>", "a <mask> b<mask>c", "a [MASK] b[MASK]c",
    "  <mask>  ", " [MASK] ", "<s>NOTUSED x <unk>NOTUSED", "<sym> x<sym>y", "▁under ▁ score▁", "Ġword Ċ", "\0 null \x07 bell",
    "ÀÉÎ ĀĒ İstanbul ΑΣΣ ß", "x" * 120, "unfriendlyunhappyunlikely", "https://example.org/a?b=c&d=%20", "#tag @name a_b-c/d\\e",
    "MKTAYIAKQR", "MKJJT mkta MK*T", "M K\nT <mask>MK", "mixed 中a文b字", "\u202eright\u202c", "a\u0300\u0316 b\u0323\u0307", "…—–‘’“”",
    "½ ² ₃ Ⅷ ①", "\ufeffbom", "\x1ca\x1db\x1ec\x1fd", "\x85next\u2028line\u2029par", "Zwei  Leerzeichen.  Ende  ", "¨ ¯ ´ ¸",
]
PAIRS = [("The boat left.", "Nobody waved"), ("", "x"), ("a", ""), ("a <mask>", " b  [MASK]"), ("MKT", "AYI"), ("", "")]
WORDS = [
    ["Hello", "world"], ["The", "boat", ",", "left"], ["a"], ["naïve", "Straße", "我们"], ["<mask>", "x<mask>y", "[MASK]"],
    ["isn't", "DON'T"], [" lead", "trail ", "in side"], ["\u200b", "x"], ["1,234", "56,"],
]


def texts() -> list[Json]:
    random.seed(7)
    cases: list[Json] = [{"text": text} for text in TEXTS]
    parts = [" ", "  ", "a", "b ", "Hello", "world,", "é", "中", "<mask>", "[MASK]", "1", ",", ".", "\t", "\n", "\u0301", "▁", "▁", "un", "friend",
             "ing", "Б", "'s", "K", "M", "\u00a0", "😀", "ﬁ", "``"]
    cases += [{"text": "".join(random.choices(parts, k=random.randint(1, 14)))} for _ in range(60)]
    cases += [{"text": first, "pair": second} for first, second in PAIRS]
    return cases + [{"words": words} for words in WORDS]


def write(folder: Path, name: str, content: Json | str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
    (folder / name).write_text(text, encoding="utf-8")


def byte_level(folder: Path) -> None:
    """vocab.json and merges.txt."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=420, special_tokens=special, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(SENTENCES, trainer)
    folder.mkdir(parents=True, exist_ok=True)
    model = json.loads(tokenizer.to_str())["model"]
    write(folder, "vocab.json", model["vocab"])
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    write(folder, "merges.txt", "#version: 0.2\n" + "\n".join(merges) + "\n")


def spm(path: Path, special: str = "fairseq", **arguments: object) -> None:
    """A model of the SentencePiece library with a small map of characters: its own is a quarter of a megabyte."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rules = {"\t": " ", "\n": " ", "\r": " ", "\u00a0": " ", "\u3000": " ", "\u2003": " ", "\u200b": "", "ﬁ": "fi", "ﬂ": "fl", 
             "\x07": "", "½": "1⁄2", "²": "2", "①": "1", "…": "...", "e\u0301": "é", "n\u0303": "ñ", "\ufeff": ""}
    rules |= {chr(wide): chr(wide - 0xFEE0) for wide in range(0xFF01, 0xFF5F)}
    table = "".join(
        f"{' '.join(f'{ord(c):X}' for c in source)}\t{' '.join(f'{ord(c):X}' for c in target)}\n" for source, target in rules.items()
    )
    of_albert = {"pad_id": 0, "unk_id": 1, "bos_id": -1, "eos_id": -1, "control_symbols": ["[CLS]", "[SEP]", "[MASK]"]}
    of_deberta = {"pad_id": 0, "bos_id": 1, "eos_id": 2, "unk_id": 3, "pad_piece": "[PAD]", "bos_piece": "[CLS]",
                  "eos_piece": "[SEP]", "unk_piece": "[UNK]"}
    named = {"fairseq": {}, "albert": of_albert, "deberta": of_deberta}[special]
    with tempfile.TemporaryDirectory() as scratch:
        tsv, sentences = Path(scratch) / "rules.tsv", Path(scratch) / "sentences.txt"
        tsv.write_text(table, encoding="utf-8")
        sentences.write_text("\n".join(SENTENCES * 3), encoding="utf-8")
        settings = dict(vocab_size=300, normalization_rule_tsv=str(tsv), user_defined_symbols=["<sym>"], hard_vocab_limit=False,
                        minloglevel=2, num_threads=1) | named | arguments
        sentencepiece.SentencePieceTrainer.train(input=str(sentences), model_prefix=str(Path(scratch) / "m"), **settings)
        shutil.copy(Path(scratch) / "m.model", path)


def words(folder: Path, special: list[str], prefix: list[str] = []) -> None:
    """A vocab.txt of WordPiece."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=300, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(SENTENCES, trainer)
    vocabulary = tokenizer.get_vocab(with_added_tokens=True)
    write(folder, "vocab.txt", "\n".join(sorted(vocabulary, key=vocabulary.get)) + "\n")


def only_for_5(folder: Path, settings: Json) -> None:
    """Settings that version 4 does not load: a list of the name under which it takes an object."""
    write(folder, "tokenizer_config.json", settings | {"extra_special_tokens": ["<sym>"]})


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--python4", required=True)
    arguments.add_argument("--python5", required=True)
    arguments.add_argument("--output", type=Path, default=HERE)
    chosen = arguments.parse_args()
    root: Path = chosen.output
    for old in root.glob("*/"):
        if old.name != "__pycache__":
            shutil.rmtree(old)
    write(root, "texts.json", "[\n" + ",\n".join(json.dumps(case) for case in texts()) + "\n]\n")

    def folder(name: str, model_type: str) -> Path:
        write(root / name, "config.json", {"model_type": model_type})
        return root / name

    def saved(source: str, name: str, model_type: str, settings: Json | None = None) -> Path:
        """As version 4 saves the tokenizer of another folder: with tokenizer.json, and without the files of the class."""
        with tempfile.TemporaryDirectory() as scratch:
            AutoTokenizer.from_pretrained(root / source).save_pretrained(scratch)
            made = folder(name, model_type)
            shutil.copy(Path(scratch) / "tokenizer.json", made)
            own = json.loads((Path(scratch) / "tokenizer_config.json").read_text()) if settings is None else settings
            write(made, "tokenizer_config.json", own)
        return made

    # Byte-level.
    byte_level(folder("roberta-files", "roberta"))
    for name, settings in [("roberta-prefixed", {"add_prefix_space": True}), ("roberta-untrimmed", {"trim_offsets": False})]:
        byte_level(folder(name, "roberta"))
        write(root / name, "tokenizer_config.json", {"tokenizer_class": "RobertaTokenizer"} | settings)
    saved("roberta-files", "roberta-json", "roberta")
    saved("roberta-files", "roberta-json-prefixed", "roberta", {"tokenizer_class": "RobertaTokenizerFast", "add_prefix_space": True})
    saved("roberta-files", "roberta-json-untrimmed", "roberta", {"tokenizer_class": "RobertaTokenizerFast", "trim_offsets": False})
    only_for_5(saved("roberta-files", "roberta-json-5", "roberta"), {"tokenizer_class": "RobertaTokenizer"})
    byte_level(folder("roberta-files-5", "roberta"))
    only_for_5(root / "roberta-files-5", {"tokenizer_class": "RobertaTokenizer"})
    byte_level(folder("gpt2-files", "gpt2"))
    write(root / "gpt2-files", "tokenizer_config.json",
          {"add_bos_token": True, "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"})

    # ModernBERT: bytes after NFC, BERT's special tokens.
    tokenizer = Tokenizer.from_file(str(root / "roberta-json" / "tokenizer.json"))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.add_special_tokens(["[CLS]", "[SEP]", "[PAD]", "[UNK]", "[MASK]"])
    around = [(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=around
    )
    tokenizer.save(str(folder("modernbert-json", "modernbert") / "tokenizer.json"))
    write(root / "modernbert-json", "tokenizer_config.json", {
        "tokenizer_class": "PreTrainedTokenizerFast", "model_input_names": ["input_ids", "attention_mask"],
        "mask_token": {"__type": "AddedToken", "content": "[MASK]", "lstrip": True, "rstrip": False, "normalized": False, "single_word": False, "special": True},
    })
    # A pattern of its own before the bytes, as newer models have it.
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(
            __import__("tokenizers").Regex(
                r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"),
            "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])
    tokenizer.save(str(folder("eurobert-json", "modernbert") / "tokenizer.json"))
    write(root / "eurobert-json", "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast"})

    # SentencePiece.
    fairseq = "sentencepiece.bpe.model"
    spm(folder("xlm-roberta-spm", "xlm-roberta") / fairseq)
    spm(folder("xlm-roberta-spm-bpe", "xlm-roberta") / fairseq, model_type="bpe")
    spm(folder("xlm-roberta-spm-5", "xlm-roberta") / fairseq)
    only_for_5(root / "xlm-roberta-spm-5", {"tokenizer_class": "XLMRobertaTokenizer"})
    saved("xlm-roberta-spm", "xlm-roberta-json", "xlm-roberta")
    only_for_5(saved("xlm-roberta-spm", "xlm-roberta-json-5", "xlm-roberta"), {"tokenizer_class": "XLMRobertaTokenizer"})
    old = saved("xlm-roberta-spm", "xlm-roberta-json-old", "xlm-roberta")
    tokenizer = Tokenizer.from_file(str(old / "tokenizer.json"))
    tokenizer.normalizer = normalizers.Precompiled(charsmap(old))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    tokenizer.save(str(old / "tokenizer.json"))

    spm(folder("camembert-spm", "camembert") / fairseq)
    saved("camembert-spm", "camembert-json", "camembert")
    spm(folder("camembert-spm-5", "camembert") / fairseq)
    only_for_5(root / "camembert-spm-5", {"tokenizer_class": "CamembertTokenizer"})
    only_for_5(saved("camembert-spm", "camembert-json-5", "camembert"), {"tokenizer_class": "CamembertTokenizer"})

    spm(folder("albert-spm", "albert") / "spiece.model", "albert")
    spm(folder("albert-spm-accents", "albert") / "spiece.model", "albert")
    write(root / "albert-spm-accents", "tokenizer_config.json", {"keep_accents": True, "do_lower_case": False})
    saved("albert-spm", "albert-json", "albert")
    only_for_5(saved("albert-spm", "albert-json-5", "albert"), {"tokenizer_class": "AlbertTokenizer"})
    spm(folder("albert-spm-5", "albert") / "spiece.model", "albert")
    only_for_5(root / "albert-spm-5", {"tokenizer_class": "AlbertTokenizer"})

    spm(folder("deberta-v2-spm", "deberta-v2") / "spm.model", "deberta")
    spm(folder("deberta-v2-spm-split", "deberta-v2") / "spm.model", "deberta")
    write(root / "deberta-v2-spm-split", "tokenizer_config.json", {"split_by_punct": True, "do_lower_case": True})
    saved("deberta-v2-spm", "deberta-v2-json", "deberta-v2")
    only_for_5(saved("deberta-v2-spm", "deberta-v2-json-5", "deberta-v2"), {"tokenizer_class": "DebertaV2Tokenizer"})
    spm(folder("deberta-v2-spm-5", "deberta-v2") / "spm.model", "deberta")
    only_for_5(root / "deberta-v2-spm-5", {"tokenizer_class": "DebertaV2Tokenizer"})

    spm(folder("bert-generation-spm", "bert-generation") / "spiece.model", pad_id=3)
    spm(folder("bert-generation-spm-bpe", "bert-generation") / "spiece.model", pad_id=3, model_type="bpe", user_defined_symbols=[])
    for name in ("bert-generation-spm", "bert-generation-spm-bpe"):
        # Without the marks that the tokenizers library takes off together with the character before them.
        own = [json.dumps(case) for case in texts() if "ﬁ\u0301" not in case.get("text", "")]
        write(root / name, "texts.json", "[\n" + ",\n".join(own) + "\n]\n")

    # Lines that are tokens wherever they stand.
    residues = "<cls> <pad> <eos> <unk> L A G V S E R T I D P K Q N F Y M H W C X B U Z O . - <null_1> <mask>".split()
    write(folder("esm", "esm"), "vocab.txt", "\n".join(residues))
    write(folder("esm-without-eos", "esm"), "vocab.txt", "\n".join(["<unk>", "<pad>", "<mask>", "<cls>", "A", "C", "AC", "ACA", "K", "MK", " T "]) + "\n")
    write(root / "esm-without-eos", "tokenizer_config.json", {"tokenizer_class": "EsmTokenizer", "eos_token": None})
    write(folder("esm-split", "esm"), "vocab.txt", "\n".join(residues))
    write(root / "esm-split", "tokenizer_config.json", {"tokenizer_class": "EsmTokenizer", "split_special_tokens": True})

    # WordPiece, by the model_type alone.
    bert = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    for name in ("distilbert", "electra", "ernie", "nomic_bert"):
        words(folder(name, name), bert)
    words(folder("mpnet", "mpnet"), ["<s>", "<pad>", "</s>", "[UNK]", "<mask>"])

    folders = sorted(path for path in root.glob("*/") if (path / "config.json").exists())
    versions = [ask(python, folders) for python in (chosen.python4, chosen.python5)]
    for path in folders:
        four, five = (answers[path.name] for answers in versions)
        answer = four if "made" in four else five
        if "made" not in answer:
            raise SystemExit(f"{path.name}: {four['error']} / {five['error']}")
        lines = ",\n".join(json.dumps(made) for made in answer["made"])
        write(path, "expected.json", f'{{"version": "{answer["version"]}", "class": "{answer["class"]}", "made": [\n{lines}\n]}}\n')
        print(f"{path.name:26} {answer['version']} {answer['class']}" + ("" if "made" in four else f"  ({four['error'][:60]})"))


def charsmap(folder: Path) -> bytes:
    import base64

    steps = json.loads((folder / "tokenizer.json").read_text())["normalizer"]["normalizers"]
    return base64.b64decode(next(step["precompiled_charsmap"] for step in steps if step["type"] == "Precompiled"))


def ask(python: str, folders: list[Path]) -> Json:
    made = subprocess.run([python, HERE / "oracle.py", *folders], capture_output=True, text=True, check=True)
    return json.loads(made.stdout)


if __name__ == "__main__":
    main()
