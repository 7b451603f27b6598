"""What the parsers of all formats share: they are written as generators that read on wherever more text has come."""

from __future__ import annotations

import abc
from collections.abc import Generator, Set

from loraplex_server.api.tools.call_object import CallObject
from loraplex_server.api.tools.parts import Part, PartSink
from loraplex_server.api.tools.reader import Reader, Waiting


class Parser(abc.ABC):
    """See parts.ToolParser.

    Args:
        names: of the functions that may be called.
        hidden: marks that are not shown where they turn out to be no call's.
        most: calls to read; None: all.
    """

    def __init__(self, names: Set[str] = frozenset(), hidden: Set[str] = frozenset(), most: int | None = None) -> None:
        self._names = names
        self._hidden = hidden
        self._most = most
        self._reader = Reader()
        self._sink = PartSink()
        self._work: Generator[None, None, None] = self._read()
        self._done = False

    @property
    def full(self) -> bool:
        """See ToolParser.full."""
        return self._most is not None and self._sink.ended >= self._most

    def feed(self, text: str) -> list[Part]:
        """See ToolParser.feed."""
        if text:
            self._reader.add(text)
            self._advance()
        return self._sink.take()

    def finish(self) -> list[Part]:
        """See ToolParser.finish."""
        self._reader.end()
        self._advance()
        return self._sink.finish()

    @abc.abstractmethod
    def _read(self) -> Waiting[None]:
        """Read the whole answer, up to its end, or until this is full."""

    def _to_mark(self, mark: str) -> Waiting[bool]:
        """Whether there is another mark: all before it is shown, and the mark is passed."""
        if not (yield from self._reader.until(mark, self._sink.text)):
            return False
        self._reader.at += len(mark)
        return True

    def _objects(self, end_mark: str | None = None) -> Waiting[bool]:
        """Whether calls come next: an object, or a list of them; the reader then stands behind. A bracket that is not
        closed is forgiven."""
        if not (yield from self._reader.literal("[")):
            return (yield from CallObject(self._reader, self._sink, bool, end_mark=end_mark).read())
        found, behind = False, self._reader.at
        while not self.full:
            yield from self._reader.space()
            if not (yield from CallObject(self._reader, self._sink, bool, end_mark=end_mark).read()):
                break
            found, behind = True, self._reader.at
            yield from self._reader.space()
            if (yield from self._reader.literal("]")):
                return True
            if not (yield from self._reader.literal(",")):
                break
        self._reader.at = behind
        return found

    def _no_call(self, start: int, mark: str) -> None:
        """What looked like a call's mark is text, and so is what comes after it, unless it has a mark of its own."""
        self._sink.text("" if mark in self._hidden else mark)
        self._reader.at = start + len(mark)

    def _advance(self) -> None:
        if not self._done:
            self._done = next(self._work, self) is self
