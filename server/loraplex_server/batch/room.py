"""How many answers of batches may be in the engine at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

# How soon a change of the room is noticed that nothing announces: requests of others come and go.
TICK_S = 0.05


class Room:
    """Seats, given in the order in which they are asked for; several batches that ask in turn get equal shares.

    Args:
        seats: how many there are now. A request for more than that goes in alone.
    """

    def __init__(self, seats: Callable[[], int]) -> None:
        self._seats = seats
        self._turn = asyncio.Lock()  # first come, first served
        self._freed = asyncio.Event()
        self.taken = 0

    async def take(self, answers: int) -> Seats:
        """Wait until so many fit, and take them."""
        async with self._turn:
            while self.taken and self.taken + answers > self._seats():
                self._freed.clear()
                # Not wait_for: before Python 3.12, it loses a cancellation that comes together with the event.
                freed = asyncio.ensure_future(self._freed.wait())
                try:
                    await asyncio.wait({freed}, timeout=TICK_S)
                finally:
                    freed.cancel()
            self.taken += answers
        return Seats(self, answers)

    def give(self, answers: int) -> None:
        """Take them back; see Seats."""
        self.taken -= answers
        self._freed.set()


class Seats:
    """Taken until they are given back, which may be said twice."""

    def __init__(self, room: Room, answers: int) -> None:
        self._room = room
        self._answers = answers

    def give_back(self) -> None:
        """Let others have them."""
        self._room.give(self._answers)
        self._answers = 0
