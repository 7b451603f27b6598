"""Whether a follower's process still runs: it says so every second, and rank 0 ends one that has not for long.

A process that was stopped, frozen or lost in the kernel does not die, and rank 0 would wait for it in an exchange. How
long a step takes says nothing of this: the word comes from a thread of its own, which needs the interpreter for
microseconds, and what computes has let go of that. A step that never ends ends with the exchange: see `distributed`.
Rank 0 itself is watched by the HTTP process: see `EngineClient`.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import NoReturn, Protocol

from loraplex_server.engine.parallel.channel import Sender
from loraplex_server.engine.parallel.messages import Beat
from loraplex_server.engine.silence import Silence

logger = logging.getLogger(__name__)

BEAT_S = 1.0
# A machine that swaps, or a debugger that writes a core, has a process stand still for seconds: to end that loses what
# is computed for nothing.
MOST_MISSED = 30
# Until it is ready: what it imports and opens, such as a device's driver, may keep the interpreter to itself.
MOST_MISSED_AT_START = 120
# What hangs in the kernel, as in a GPU's driver, does not die of it; all else is gone once the kernel has taken back
# its memory, which of a hundred pinned gigabytes takes seconds.
KILLED_S = 15


def beat(talk: Sender) -> NoReturn:
    """Say that this process runs, until rank 0 is gone. For a thread. Args: talk: to rank 0."""
    while True:
        with contextlib.suppress(ConnectionError):  # who reads from rank 0 notices, and ends this process
            talk.send(Beat())
        time.sleep(BEAT_S)


class Heard(Protocol):
    """A follower, seen from rank 0."""

    rank: int
    heard: int  # messages so far
    ready: bool  # it takes steps
    ended: bool  # it was noticed that its process did

    def kill(self) -> None:
        """End its process, even one that is stopped."""


class Watch:
    """Rank 0's look at the followers.

    Args:
        followers: all of them.
        gone: is told of one that was killed and does not end.
    """

    def __init__(self, followers: Sequence[Heard], gone: Callable[[str], None]) -> None:
        self._followers = followers
        self._gone = gone
        self._silences = [Silence(follower.heard) for follower in followers]
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ranks", daemon=True)

    def start(self) -> None:
        """Look from now on, on a thread."""
        self._thread.start()

    def look(self) -> None:
        """Once; whoever has been silent for too long is killed, which is noticed as any death is."""
        for follower, silence in zip(self._followers, self._silences, strict=True):
            missed = silence.look(follower.heard)
            most = MOST_MISSED if follower.ready else MOST_MISSED_AT_START
            if missed == most:
                logger.critical(
                    "rank %d of the model stands still: not a word for %.0f s; it is killed",
                    follower.rank,
                    most * BEAT_S,
                )
                follower.kill()
            elif missed == most + KILLED_S and not follower.ended:
                self._gone(f"rank {follower.rank} of the model is killed and does not end; it is left behind")

    def close(self) -> None:
        """Look no more."""
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(BEAT_S):
            self.look()
