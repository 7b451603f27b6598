"""The other ranks of a model, which hold the rest of each adapter: what the store asks of them."""

from __future__ import annotations

from typing import Protocol

from loraplex_adapters.source import AdapterSource


class Reading(Protocol):
    """An adapter that the others read, or bring back to their devices, meanwhile."""

    @property
    def number(self) -> int:
        """Under which they keep it."""

    def finish(self, generation: str) -> None:
        """Wait for them.

        Args:
            generation: of what came here.

        Raises:
            AdapterChangedError: one of them read other content.
            AdapterError: one of them could not. The rest have let go of it.
        """

    def give_up(self) -> None:
        """It could not be done here: they let go of it, too."""


class Peers(Protocol):
    """All other ranks. `read` and `lift` are called by loader threads, `forget` by any, the rest between two steps."""

    def read(self, source: AdapterSource) -> Reading:
        """Let them read their parts of an adapter; returns at once."""

    def lift(self, name: str, number: int) -> Reading:
        """Let them bring back what they keep on the host; returns at once.

        Args:
            name: of the adapter, for messages.
            number: under which they keep it, and will.
        """

    def seat(self, slot: int, number: int) -> None:
        """Put what they read or lifted into a row of their tables, before the next step."""

    def unseat(self, slot: int, number: int = 0) -> None:
        """Empty a row, after the last step.

        Args:
            slot: the row.
            number: under which they keep on the host what it pointed at, until it is lifted or forgotten; 0: they let
                go of it.
        """

    def forget(self, number: int) -> None:
        """Let go of what they keep on the host."""


class _Nothing:
    number = 0

    def finish(self, generation: str) -> None:
        pass

    def give_up(self) -> None:
        pass


class Nobody:
    """There are no others: the model is whole."""

    def read(self, source: AdapterSource) -> Reading:
        """See `Peers.read`."""
        return _NOTHING

    def lift(self, name: str, number: int) -> Reading:
        """See `Peers.lift`."""
        return _NOTHING

    def seat(self, slot: int, number: int) -> None:
        """See `Peers.seat`."""

    def unseat(self, slot: int, number: int = 0) -> None:
        """See `Peers.unseat`."""

    def forget(self, number: int) -> None:
        """See `Peers.forget`."""


_NOTHING = _Nothing()
NOBODY = Nobody()
