"""The texts of the comparison: from a directory of real ones where there is one, else made up here.

Either way there are at least 200, in several scripts, from the empty text to some beyond 512 tokens, and none
holds a line break, so that they can be written one a line.
"""

from __future__ import annotations

import random
from pathlib import Path

HELLO = "hello world"
EDGE_CASES = [
    HELLO,
    "",
    "a",
    "Café NAÏVE \u0130stanbul Straße — “quoted” … don't!",
    "e\u0301a\u0300 \u200bzero\u200bwidth\ufffd tab\tand \x07bell",
    "x" * 120 + " " + "y" * 90,
    "emoji 🙂🚀 and 数字１２３ and ½ ² ™ #hashtag @name https://example.org/a?b=c",
]
PASSAGE_WORDS = [3, 8, 20, 50, 90, 130, 200, 280, 350, 420, 480, 600, 900]

SENTENCES = [
    "The river had risen in the night, and the lower meadow was under water.",
    "Nobody remembered who first painted the door blue.",
    "Prices rose by 3.7 % in March, after a fall of 0.2 % the month before.",
    "Can you hear the difference between the two recordings?",
    "def add(a, b): return a + b  # the simplest function of all",
    "Her answer was short, polite and entirely beside the point.",
    "Der Zug nach Köln fährt heute von Gleis sieben, mit zwanzig Minuten Verspätung.",
    "Am Ende blieb nur die Frage, wer die Rechnung bezahlt.",
    "Le vieux pont a été fermé après la crue, et personne ne sait jusqu'à quand.",
    "El mercado abre a las ocho, pero los mejores tomates se acaban antes.",
    "Утром выпал снег, и дети не хотели идти в школу.",
    "Книга лежит на столе рядом с пустой чашкой.",
    "今天下午下了一场大雨，路上的人都跑了起来。",
    "他把信放在桌子上，然后关上了门。",
    "昨日の夜、駅の前で古い友達に会いました。",
    "도서관은 저녁 아홉 시에 문을 닫습니다.",
    "وصل القطار متأخرا هذا المساء.",
    "Το καράβι έφυγε πριν ξημερώσει.",
    "दुकान सुबह नौ बजे खुलती है।",
    "ตลาดเปิดตั้งแต่เช้ามืด",
]


def collect(data: Path | None) -> list[str]:
    """All texts, in a fixed order; the first is `HELLO`."""
    return EDGE_CASES + (made_up() if data is None else real(data))


def lines(path: Path) -> list[str]:
    """The lines of a file that are not blank, without a byte order mark and line ends."""
    content = path.read_text(encoding="utf-8-sig").replace("\r", "")
    return [line for line in content.split("\n") if line.strip()]


def real(data: Path) -> list[str]:
    """Sentences in four languages, reviews and encyclopedia paragraphs, and passages of a novel."""
    sentences = [line for code in ("en", "de", "zh", "ru") for line in lines(data / f"text/pud/{code}.txt")[::33]]
    mixed = lines(data / "bench/mixed.txt")[::13]
    novel = " ".join(lines(data / "text/moby_dick_2701-0.txt")).split()
    return sentences + mixed + passages(novel)


def made_up() -> list[str]:
    """Sentences of this file, alone and in random company, and passages made of them."""
    rng = random.Random(7)
    companies = [" ".join(rng.choices(SENTENCES, k=1 + i % 6)) for i in range(160)]
    novel = " ".join(rng.choices(SENTENCES[:10], k=1000)).split()
    return SENTENCES + companies + passages(novel)


def passages(words: list[str], count: int = 26) -> list[str]:
    """Stretches of a long text, of all the lengths of `PASSAGE_WORDS`, spread over it."""
    step = (len(words) - max(PASSAGE_WORDS)) // count
    lengths = [PASSAGE_WORDS[i % len(PASSAGE_WORDS)] for i in range(count)]
    return [" ".join(words[i * step : i * step + length]) for i, length in enumerate(lengths)]
