"""One grammar, compiled for one tokenizer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from loraplex_server.engine.grammars.tokenizer import MaskTokenizer

if TYPE_CHECKING:
    from llguidance import LLMatcher


@dataclass(eq=False)
class Grammar:
    """Shared by all answers that follow it, and with it what its lexer finds out on the way."""

    tokenizer: MaskTokenizer
    start: LLMatcher  # never moved; answers have copies
    spoiled: bool = False  # an answer could not go on: perhaps the lexer has no room left, so nobody else begins here
