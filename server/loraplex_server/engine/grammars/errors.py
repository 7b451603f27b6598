"""What keeps an answer from following a grammar."""

from __future__ import annotations


class GrammarError(Exception):
    """The grammar cannot be read, or not with this tokenizer; the message is for whoever sent it."""


NO_WAY_ON = "no token of this model continues what the grammar demands"


def explain(said: str) -> str:
    """llguidance's words without what it says of itself."""
    words = " ".join(said.removesuffix("<non-verbose/>").split())[:500]
    return NO_WAY_ON if words == "NoExtensionBias" else words or "no reason is known"
