"""Adapters that the followers read, or lift, while rank 0 does so with its own part."""

from __future__ import annotations

from collections.abc import Callable, Collection
from queue import SimpleQueue

from loraplex_adapters.errors import AdapterChangedError, AdapterError
from loraplex_server.engine.parallel.messages import WasRead


class SharedReading:
    """One of them. See `loraplex_adapters.peers.Reading`.

    Args:
        name: of the adapter, for messages.
        number: under which the followers keep it.
        ranks: of the followers.
        drop: lets all of them let go of it.
    """

    def __init__(self, name: str, number: int, ranks: Collection[int], drop: Callable[[int], None]) -> None:
        self.number = number
        self._name = name
        self._ranks = ranks
        self._drop = drop
        self._said: SimpleQueue[tuple[int, WasRead]] = SimpleQueue()
        self._missing = set(ranks)

    def say(self, rank: int, said: WasRead) -> bool:
        """What a follower said of it; answers whether it was the last. From one thread at a time."""
        self._said.put((rank, said))
        self._missing.discard(rank)
        return not self._missing

    def finish(self, generation: str) -> None:
        """See `Reading.finish`. A follower that dies ends rank 0 too, so this waits for no one in vain."""
        said = dict(self._said.get() for _ in self._ranks)
        wrong = [(rank, one) for rank, one in sorted(said.items()) if one.generation != generation]
        if not wrong:
            return
        self._drop(self.number)
        rank, one = wrong[0]
        if one.changed or not one.error:
            raise AdapterChangedError(
                f"adapter '{self._name}' was replaced while it was being read; send the request again"
            )
        raise AdapterError(f"{one.error} (rank {rank})")

    def give_up(self) -> None:
        """See `Reading.give_up`."""
        self._drop(self.number)
