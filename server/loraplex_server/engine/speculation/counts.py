"""How speculation went, in totals since the engine's start."""

from __future__ import annotations

from loraplex_server.engine.messages import DraftStats


class DraftCounts:
    """What became of the drafts so far."""

    def __init__(self) -> None:
        self._drafts = self._tokens = self._accepted = 0
        self._accepted_at: list[int] = []

    def add(self, drafted: int, accepted: int) -> None:
        """One was checked: so many tokens, of which the first so many were accepted."""
        self._drafts += 1
        self._tokens += drafted
        self._accepted += accepted
        self._accepted_at += [0] * (drafted - len(self._accepted_at))
        for place in range(accepted):
            self._accepted_at[place] += 1

    def stats(self) -> DraftStats:
        """As it is told."""
        return DraftStats(
            drafts_total=self._drafts,
            tokens_total=self._tokens,
            accepted_total=self._accepted,
            accepted_at_total=tuple(self._accepted_at),
        )
