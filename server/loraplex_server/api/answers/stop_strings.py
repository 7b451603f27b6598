"""Stop strings, found wherever tokens cut them, with no part of one ever shown."""

from __future__ import annotations

from collections.abc import Sequence


class StopStrings:
    """Passes text through, holding back only what could be the beginning of a stop string.

    Of several, the one that is complete first wins, as if the text came a character at a time: so the answer does not
    depend on how tokens divide it. Of those complete at the same character, the longest wins.

    Args:
        stops: the strings, none empty.
        include: show the string that was found.
    """

    def __init__(self, stops: Sequence[str], include: bool = False) -> None:
        self._stops = tuple(stops)
        self._longest = max((len(stop) for stop in self._stops), default=0)
        self._firsts = frozenset(stop[0] for stop in self._stops)
        self._include = include
        self._held = ""

    def feed(self, text: str) -> tuple[str, str | None]:
        """Text that may be shown now, and the stop string that ended the answer, if one did."""
        if not self._stops:
            return text, None
        buffer = self._held + text
        found = self._find(buffer)
        if found is not None:
            start, stop = found
            self._held = ""
            return buffer[: start + len(stop)] if self._include else buffer[:start], stop
        kept = self._could_begin(buffer)
        self._held = buffer[len(buffer) - kept :]
        return buffer[: len(buffer) - kept], None

    def skip(self, text: str) -> str:
        """Show text in which nothing stops, such as that of the first `min_tokens` tokens."""
        return self.flush() + text

    def flush(self) -> str:
        """What was held back, once the answer ended otherwise."""
        held, self._held = self._held, ""
        return held

    def _find(self, buffer: str) -> tuple[int, str] | None:
        found = [(start + len(stop), start, stop) for stop in self._stops if (start := buffer.find(stop)) >= 0]
        if not found:
            return None
        _, start, stop = min(found)
        return start, stop

    def _could_begin(self, buffer: str) -> int:
        """Length of the longest end of the buffer with which some stop string begins."""
        for start in range(max(len(buffer) - self._longest + 1, 0), len(buffer)):
            if buffer[start] in self._firsts and any(stop.startswith(buffer[start:]) for stop in self._stops):
                return len(buffer) - start
        return 0
