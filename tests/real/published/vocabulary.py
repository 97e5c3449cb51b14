"""The vocabulary of all generated folders: about 170 pieces, cased and uncased, with markers and spare words in it."""

from __future__ import annotations

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
MARKERS = ("[E1]", "[/E1]", "[E2]", "<s>", "</s>", "<pad>", "<unk>", "<mask>", "<cls>", "<ent>", "[ENT]", "[unused0]")
WORDS = (
    "hello world boat river bank the and at is not left right spare word café query passage Hello World Boat The Café "
    "É un able marker"
).split()
PIECES = tuple("##s ##ing ##ed ##aff ##able ##world ##é ##\u0301 ##[ ##1 ##界 @@s @@a @@oat".split())
PUNCTUATION = tuple(". , : ! ? ' - / ( ) [ ] < > _ # @".split())
FOREIGN = ("你", "好", "世", "界", "日", "本", "が", "か", "サ", "한", "é", "ss", "ß", "п", "р", "1", "2", "0", "fi")
LETTERS = "abcdefghijklmnopqrstuvwxyz"
INSIDE = tuple(f"##{letter}" for letter in LETTERS)
CAPITALS = "ABEH"
_EVERY = (*SPECIAL, *WORDS, *MARKERS, *PUNCTUATION, *FOREIGN, *PIECES, *LETTERS, *INSIDE, *CAPITALS)
VOCABULARY = tuple(dict.fromkeys(_EVERY))
IDS = {piece: id for id, piece in enumerate(VOCABULARY)}
NEW = len(VOCABULARY)
"""The first id behind the vocabulary."""
