"""Token ids to text, one at a time, never half a character."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence, Set

from tokenizers import Tokenizer
from tokenizers.decoders import DecodeStream

# Enough of the prompt for decoders that look at the token before, few enough to cost nothing.
CONTEXT_TOKENS = 8
# In a row without a text, each of which is decoded again with the next. No character has as many, so they hold none.
MOST_SILENT = 16


class Detokenizer:
    """The text of one answer. Bytes that do not make a character yet wait for their rest; without it they are dropped,
    at the end or after MOST_SILENT tokens.

    Args:
        tokenizer: of the model.
        context: the token ids before the answer: some decoders drop the space of a text's first word.
        skip_special_tokens: leave special tokens out of the text.
        dropped: more tokens that are left out of it.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        context: Sequence[int] = (),
        skip_special_tokens: bool = True,
        dropped: Set[int] = frozenset(),
    ) -> None:
        self._tokenizer = tokenizer
        self._skip = skip_special_tokens
        self._dropped = dropped
        self._tail = deque(context[-2 * CONTEXT_TOKENS :], 2 * CONTEXT_TOKENS)  # up to the last text
        self._silent: list[int] = []  # tokens since then
        self._stream = self._begin()
        self.length = 0  # characters so far

    def step(self, token_id: int) -> str:
        """The text that this token completes, possibly none."""
        if token_id in self._dropped:
            return ""
        try:
            text = self._stream.step(self._tokenizer, token_id)
        except Exception as error:  # tokenizers raises no type of its own
            if "prefix" not in str(error).lower():
                raise
            # A decoder that rewrites what it already gave (tokenizers#1671): go on from here.
            self._stream = DecodeStream(skip_special_tokens=self._skip)
            text = self._stream.step(self._tokenizer, token_id)
        self._silent.append(token_id)
        if text is None:
            if len(self._silent) == MOST_SILENT:
                self._silent.clear()
                self._stream = self._begin()
            return ""
        self._tail += self._silent
        self._silent.clear()
        self.length += len(text)
        return text

    def _begin(self) -> DecodeStream:
        """A stream that has seen the last tokens, cut where a character ends."""
        context = list(self._tail)
        for count in range(CONTEXT_TOKENS, 2 * CONTEXT_TOKENS):
            ids = context[-count:]
            if "\ufffd" not in self._tokenizer.decode(ids, skip_special_tokens=self._skip):
                return DecodeStream(ids=ids, skip_special_tokens=self._skip)
        return DecodeStream(skip_special_tokens=self._skip)
