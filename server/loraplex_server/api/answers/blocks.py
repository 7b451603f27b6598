"""An answer as a row of blocks, text and calls, and how it grows: what the APIs with typed content stream."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from loraplex_server.api.tools.parts import Part

Entries = list[dict[str, Any]]  # log probabilities as the API writes them, one a token


@dataclass
class TextBlock:
    """Text between calls, in the pieces in which it came: put together once, not anew with each."""

    pieces: list[str] = field(default_factory=list)
    logprobs: Entries = field(default_factory=list)

    @property
    def text(self) -> str:
        """So far."""
        return "".join(self.pieces)


@dataclass
class CallBlock:
    """One call; the arguments are JSON as the model wrote it, which may be cut short with the answer."""

    id: str
    name: str
    pieces: list[str] = field(default_factory=list)

    @property
    def arguments(self) -> str:
        """So far."""
        return "".join(self.pieces)


Block = TextBlock | CallBlock


@dataclass(frozen=True)
class Opened:
    """A block begins, empty; the one before it is closed."""

    index: int
    block: Block


@dataclass(frozen=True)
class Grew:
    """More of the block that is open."""

    index: int
    block: Block
    more: str
    logprobs: Entries = field(default_factory=list)


@dataclass(frozen=True)
class Closed:
    """A block is whole."""

    index: int
    block: Block


Change = Opened | Grew | Closed


class Blocks:
    """The blocks of one answer so far. At most the last one is open."""

    def __init__(self) -> None:
        self.all: list[Block] = []
        self._open = False

    def __len__(self) -> int:
        return len(self.all)

    @property
    def calls(self) -> bool:
        """Whether any of them is a call."""
        return any(isinstance(block, CallBlock) for block in self.all)

    def take(self, parts: Iterable[Part]) -> Iterator[Change]:
        """More text and calls, as the parser of calls gives them.

        Raises:
            ValueError: a call's arguments come before its name.
        """
        for part in parts:
            if isinstance(part, str):
                yield from self.text(part)
                continue
            if part.id is not None:
                yield from self._begin(CallBlock(part.id, part.name or ""))
            if part.arguments:
                yield from self._arguments(part.arguments)

    def text(self, more: str, logprobs: Entries | None = None) -> Iterator[Change]:
        """More text, in the block of text that is open or in a new one; of no text, the block alone."""
        block = self.all[-1] if self._open else None
        if not isinstance(block, TextBlock):
            block = TextBlock()
            yield from self._begin(block)
        block.pieces.append(more)
        block.logprobs += logprobs or []
        if more or logprobs:
            yield Grew(len(self) - 1, block, more, logprobs or [])

    def close(self) -> Iterator[Change]:
        """The answer is whole, or another block begins."""
        if self._open:
            self._open = False
            yield Closed(len(self) - 1, self.all[-1])

    def _begin(self, block: Block) -> Iterator[Change]:
        yield from self.close()
        self.all.append(block)
        self._open = True
        yield Opened(len(self) - 1, block)

    def _arguments(self, more: str) -> Iterator[Change]:
        block = self.all[-1] if self._open else None
        if not isinstance(block, CallBlock):
            raise ValueError("no call is open")
        block.pieces.append(more)
        yield Grew(len(self) - 1, block, more)
