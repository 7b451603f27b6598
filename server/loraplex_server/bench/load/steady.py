"""The decode rate of a full batch."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence

# When tokens arrived and how many, in the order of arrival, of one stream.
Stream = Sequence[tuple[float, float]]


def full_windows(streams: Iterable[Stream], at_once: int) -> list[tuple[float, float]]:
    """The times during which `at_once` streams are past their first token and have not had their last.

    For a single wave that is one window: from the last first token to the first last token.
    """
    changes = []
    for stream in streams:
        if len(stream) > 1:
            changes += [(stream[0][0], 1), (stream[-1][0], -1)]
    windows, decoding, since = [], 0, 0.0
    for when, change in sorted(changes):
        if decoding == at_once and when > since:
            windows.append((since, when))
        decoding += change
        since = when
    return windows


def steady_rate(streams: Sequence[Stream], at_once: int) -> tuple[float, float] | None:
    """Tokens a second inside the full windows, and those windows' seconds together; None where there is no window.

    A token belongs to the window that it ends a step in: after the window's start, up to its end.
    """
    windows = full_windows(streams, at_once)
    seconds = sum(end - start for start, end in windows)
    if not seconds:
        return None
    starts = [start for start, _ in windows]
    tokens = 0.0
    for stream in streams:
        for when, count in stream:
            window = bisect_left(starts, when) - 1
            if window >= 0 and when <= windows[window][1]:
                tokens += count
    return tokens / seconds, seconds
