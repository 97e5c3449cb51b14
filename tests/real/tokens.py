"""Tokens: what transformers says that `texts.jsonl` must hold, and where it holds something else."""

from __future__ import annotations

from transformers import PreTrainedTokenizerBase


def token_records(tokenizer: PreTrainedTokenizerBase, texts: list[str], limit: int) -> list[dict[str, object]]:
    """For each text what a line of `texts.jsonl` must say of its tokens."""
    encodings = tokenizer(texts, truncation=True, max_length=limit).encodings
    untruncated = tokenizer(texts, truncation=False, verbose=False)["input_ids"]
    return [
        {
            "row": row,
            "n_tokens": len(encoding.ids),
            "n_tokens_before_truncation": len(full),
            "tokens": encoding.tokens,
            "token_ids": encoding.ids,
            "offsets": [
                None if word is None else list(span) for span, word in zip(encoding.offsets, encoding.word_ids)
            ],
            "word_ids": encoding.word_ids,
        }
        for row, (encoding, full) in enumerate(zip(encodings, untruncated))
    ]


def first_difference(found: list[dict[str, object]], expected: list[dict[str, object]]) -> str | None:
    """Where `texts.jsonl` differs from what transformers says, in words; None where it does not."""
    if len(found) != len(expected):
        return f"{len(found)} lines for {len(expected)} texts"
    for row, (ours, theirs) in enumerate(zip(found, expected)):
        for key, value in theirs.items():
            if key not in ours:
                return f"row {row} has no {key}"
            if ours[key] != value:
                return f"row {row}: {key} is {str(ours[key])[:200]}, not {str(value)[:200]}"
    return None
