"""What an answer is made of where tools are in play: text, and calls, in the order in which they came."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class CallDelta:
    """What is new of one call. Its first delta has the id and the name; the arguments of all make one JSON text.

    The JSON is as the model wrote it: it may be cut short with the answer, or wrong unless a grammar held the model.
    """

    index: int  # among the answer's calls
    arguments: str = ""
    id: str | None = None
    name: str | None = None

    def extended(self, arguments: str) -> CallDelta:
        """With what came after."""
        return CallDelta(self.index, self.arguments + arguments, self.id, self.name)


Part = str | CallDelta


class ToolParser(Protocol):
    """Takes an answer's text apart, as it comes; made for one answer.

    Whatever the text and however it is cut, the parts put together are the same, and what is no call is text.
    """

    @property
    def full(self) -> bool:
        """Whether it has all the calls that it was to read: what comes after is not read."""

    def feed(self, text: str) -> list[Part]:
        """Parts that the text completes; what may yet become a call is held back."""

    def finish(self) -> list[Part]:
        """What was held back, once the answer has ended."""


def join_parts(parts: Iterable[Part]) -> list[Part]:
    """Neighbours of one text or one call as one."""
    joined: list[Part] = []
    for part in parts:
        last = joined[-1] if joined else None
        if isinstance(part, str) and isinstance(last, str):
            joined[-1] = last + part
        elif isinstance(part, CallDelta) and isinstance(last, CallDelta) and part.index == last.index:
            joined[-1] = last.extended(part.arguments)
        else:
            joined.append(part)
    return joined


class PartSink:
    """Collects parts. Spaces and line ends beside a call belong to how calls are written, and are no text."""

    def __init__(self) -> None:
        self.calls = 0  # begun
        self.ended = 0  # of them
        self._parts: list[Part] = []
        self._space: list[str] = []  # behind the last text, or the last call
        self._behind_call = False

    def text(self, text: str) -> None:
        """More text."""
        kept = text.rstrip()
        if kept:
            self._parts += [*self._space, kept]
            self._space = []
            self._behind_call = False
        if len(kept) < len(text):
            self._space.append(text[len(kept) :])

    def begin(self, name: str) -> None:
        """The next call."""
        self._space = []
        self._parts.append(CallDelta(self.calls, id=f"call_{uuid.uuid4().hex[:24]}", name=name))
        self.calls += 1

    def arguments(self, text: str) -> None:
        """More of the call's arguments."""
        if text:
            self._parts.append(CallDelta(self.calls - 1, text))

    def end(self) -> None:
        """The call is whole, or as much of it as there will be."""
        self.ended += 1
        self._behind_call = True

    def take(self) -> list[Part]:
        """What was collected since."""
        parts, self._parts = join_parts(self._parts), []
        return parts

    def finish(self) -> list[Part]:
        """The rest."""
        if not self._behind_call:
            self._parts += self._space
        self._space = []
        return self.take()
