"""What requests ask, when only its length matters."""

from __future__ import annotations

import numpy as np

# Common enough to be about one token each in any BPE vocabulary of English.
WORDS = ["the", "of", "and", "to", "in", "is", "for", "that", "with", "on", "this", "from", "not", "have", "you"]
WORDS += ["can", "more", "time", "new", "one", "some", "out", "use", "only", "like", "see", "first", "get", "two"]
WORDS += ["also", "back", "work", "line", "read", "set", "right", "each", "data", "code", "value", "list", "name"]


def random_ids(tokens: int, low: int, high: int, rng: np.random.Generator) -> list[int]:
    """`tokens` token ids from `low` to `high - 1`: the exact length, whatever the tokenizer, and no shared prefix."""
    ids: list[int] = rng.integers(low, high, tokens).tolist()
    return ids


def random_words(tokens: int, rng: np.random.Generator) -> str:
    """About `tokens` tokens of text, for endpoints that take no ids; the server's usage says how many they were."""
    return " ".join(WORDS[i] for i in rng.integers(0, len(WORDS), tokens))
