"""A tokenizer as masks need it: from bytes that a grammar allows to the tokens that consist of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import numpy.typing as npt

from loraplex_server.engine.grammars import token_file
from loraplex_server.engine.grammars.errors import GrammarError, explain

if TYPE_CHECKING:
    from llguidance import LLTokenizer

Bits = npt.NDArray[np.uint8]  # eight tokens each, the lowest bit first


class MaskTokenizer:
    """Reading one of 128,000 tokens takes a second, in which no other thread of this process runs.

    Args:
        path: of a `token_file`.

    Raises:
        GrammarError: the file cannot be read, or llguidance cannot tell the tokens' bytes.
    """

    def __init__(self, path: str) -> None:
        from llguidance import LLTokenizer

        try:
            file = token_file.decode(Path(path).read_bytes())
        except (OSError, msgspec.MsgspecError) as error:
            raise GrammarError(f"the tokenizer cannot be read: {error}") from error
        try:
            self.reads: LLTokenizer = LLTokenizer(file.tokenizer)
        except ValueError as error:
            raise GrammarError(f"answers of this tokenizer cannot follow a grammar: {explain(str(error))}") from error
        self.words = -(-self.reads.vocab_size // 32)  # of a mask, 32 bits each
        self.ends: tuple[int, ...] = tuple(self.reads.eos_tokens)  # its masks show where a grammar may end by these
        self._unlike = [
            id
            for id, text in enumerate(file.texts[: self.reads.vocab_size])
            if text is not None and self.reads.decode_bytes([id]) != text
        ]

    def is_text(self, token: int) -> bool:
        """Whether a grammar's text may hold the token; special tokens come only where a grammar names them."""
        return token < self.reads.vocab_size and not self.reads.is_special_token(token)

    def drop_unlike(self, bits: Bits) -> None:
        """Take those tokens out of a mask whose text llguidance takes for another."""
        if self._unlike:
            clear(bits, self._unlike)


def clear(bits: Bits, tokens: list[int]) -> None:
    """Forbid some tokens; those beyond the mask are forbidden anyway."""
    for token in tokens:
        if token >> 3 < len(bits):
            bits[token >> 3] &= 0xFF ^ (1 << (token & 7))


def allow(bits: Bits, tokens: list[int]) -> None:
    """Allow some tokens.

    Raises:
        IndexError: the mask is too short for one.
    """
    for token in tokens:
        bits[token >> 3] |= 1 << (token & 7)


def holds(bits: Bits, token: int) -> bool:
    """Whether a token is allowed."""
    return token >> 3 < len(bits) and bool(bits[token >> 3] >> (token & 7) & 1)
