"""How far one answer has come in its grammar, and which tokens may come next."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from loraplex_server.engine.grammars.errors import explain
from loraplex_server.engine.grammars.grammar import Grammar
from loraplex_server.engine.grammars.tokenizer import Bits, allow, clear, holds

if TYPE_CHECKING:
    from loraplex_server.engine.grammars.masks import Masks


class Matcher:
    """Made with the first mask on its way; `take` sets out for the next.

    Stop tokens come only where the grammar may end, so that an answer which stops is whole. One that is text as well
    comes too where nothing else can; and a grammar may name one that is special.

    Args:
        grammar: to begin with.
        stops: tokens that end the answer.
        masks: that computes.
    """

    def __init__(self, grammar: Grammar, stops: tuple[int, ...], masks: Masks) -> None:
        self.tokenizer = grammar.tokenizer
        self.state = grammar.start.deep_copy()
        self.error: str | None = None  # why the answer cannot go on
        self._grammar = grammar
        self._stops = list(stops)
        self._text_stops = [token for token in stops if grammar.tokenizer.is_text(token)]
        self._masks = masks
        self._bits: Bits | None = None
        masks.want(self)

    def take(self, token: int, *, last: bool) -> bool:
        """The answer goes on with a token, which `bits` allowed.

        Args:
            token: that was chosen.
            last: no other follows, so that no mask is needed.

        Returns:
            Whether the grammar is over: whatever came next would break it.
        """
        self._bits = None
        if not self.state.consume_token(token):
            self._fail()
        elif self.state.is_stopped():
            return True
        if not last:
            self._masks.want(self)
        return False

    @property
    def bits(self) -> Bits:
        """Which tokens may come next; waits for the mask if need be. Where there is an `error`, none may.

        Raises:
            RuntimeError: no mask is on its way.
        """
        if self._bits is None:
            self._masks.finish()
        if self._bits is None:
            raise RuntimeError("a mask is asked for that nobody computes")
        return self._bits

    def settle(self, words: Bits) -> None:
        """Make of llguidance's mask what this request may choose. On the thread of the masks.

        Args:
            words: uint8 `[4 * tokenizer.words]`.
        """
        bits = np.zeros(max(len(words), max(self._stops, default=0) // 8 + 1), dtype=np.uint8)
        if self.state.is_error():
            self._fail()
        if self.error is None:
            bits[: len(words)] = words
            self.tokenizer.drop_unlike(bits)
            if self.state.is_accepting():
                clear(bits, list(self.tokenizer.ends))
                allow(bits, self._stops)
            else:
                self._hold_back(bits)
        self._bits = bits

    def _hold_back(self, bits: Bits) -> None:
        """No stop token here that is text, unless nothing else is left."""
        there = [token for token in self._text_stops if holds(bits, token)]
        if there:
            clear(bits, there)
            if not bits.any():
                allow(bits, there)

    def _fail(self) -> None:
        self.error = explain(self.state.get_error())
        self._grammar.spoiled = True
