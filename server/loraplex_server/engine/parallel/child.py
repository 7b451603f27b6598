"""One follower's process, seen from rank 0."""

from __future__ import annotations

import contextlib
import logging
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import TypeVar

from loraplex_server.engine.config import EngineConfig
from loraplex_server.engine.errors import EngineStartError
from loraplex_server.engine.interpreter import interpreter_environment
from loraplex_server.engine.parallel.channel import Receiver, Sender
from loraplex_server.engine.parallel.messages import (
    Beat,
    FollowerLaunch,
    FromFollower,
    Ready,
    StartFailed,
    ToFollower,
    WasRead,
)

logger = logging.getLogger(__name__)

M = TypeVar("M")

# How long a follower that was told to end may take before it is killed.
EXIT_GRACE_S = 5.0
# What hangs in the kernel does not even die of that.
KILLED_S = 15.0
# How long rank 0 may take to see by itself that a follower did not start. In an exchange with that one it never does.
NOTICE_S = 5.0


class FollowerChild:
    """The process, its standard input, on which steps come in order, and a socket for all else.

    It ends by itself where rank 0 does, in whatever way: both then read as closed.

    Args:
        config: of the engine.
        rank: of the follower.
        store: file by which the ranks find each other.
        heard: is given its rank and what it says of an adapter, on a thread.
        gone: is told, on that thread, why it ended untold, or why it cannot start where `expect` did not say so soon.
    """

    def __init__(
        self,
        config: EngineConfig,
        rank: int,
        store: str,
        heard: Callable[[int, WasRead], None],
        gone: Callable[[str], None],
    ) -> None:
        self.rank = rank
        self._socket, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "loraplex_server.engine.parallel"],
                stdin=subprocess.PIPE,
                bufsize=0,
                pass_fds=[theirs.fileno()],
                env=interpreter_environment(),
            )
            if self._process.stdin is None:
                raise RuntimeError("a follower has no standard input")
            self._input = self._process.stdin
            self.steps = Sender(self._input.fileno())
            with contextlib.suppress(ConnectionError):  # it is gone already: `expect` tells
                self.steps.send(FollowerLaunch(config, rank, store, theirs.fileno()))
        self._talk = Sender(self._socket.fileno())
        self._said: Receiver[FromFollower] = Receiver(self._socket.fileno(), FromFollower)
        self._start: SimpleQueue[FromFollower | str] = SimpleQueue()  # messages of the start, and why it ended
        self._heard = heard
        self._gone = gone
        self._known = threading.Event()  # its end, to who would be told of it
        self.heard = 0  # messages
        self.ready = False
        self.why = ""  # it is gone, or cannot start
        self.ended = False
        threading.Thread(target=self._listen, name=f"rank-{rank}", daemon=True).start()

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def tell(self, message: ToFollower) -> None:
        """Over the socket; from any thread. Nothing where it is gone: `expect` or `gone` tells."""
        with contextlib.suppress(ConnectionError):
            self._talk.send(message)

    def expect(self, kind: type[M]) -> M:
        """Wait for the next message of a start.

        Raises:
            EngineStartError: the follower cannot start, or is gone.
        """
        message = self._start.get()
        if isinstance(message, kind):
            return message
        self._known.set()
        raise EngineStartError(str(message))

    def kill(self) -> None:
        """End it at once, even where it is stopped; `gone` is told."""
        self._process.kill()

    def close(self) -> None:
        """End it, and wait until it has ended, unless it cannot be ended. Safe to call twice."""
        self._known.set()
        self._input.close()  # both tell it
        with contextlib.suppress(OSError):  # it was gone before
            self._socket.shutdown(socket.SHUT_RDWR)
        try:
            self._process.wait(EXIT_GRACE_S)
        except subprocess.TimeoutExpired:
            self._kill()
        self._socket.close()

    def _kill(self) -> None:
        self._process.kill()
        try:
            self._process.wait(KILLED_S)
        except subprocess.TimeoutExpired:
            logger.critical("rank %d is killed and does not end; it is left behind", self.rank)

    def _listen(self) -> None:
        while (message := self._said.receive()) is not None:
            self.heard += 1
            if isinstance(message, WasRead):
                self._heard(self.rank, message)
            elif isinstance(message, StartFailed):
                self.why = f"rank {self.rank}: {message.message}"
            elif not isinstance(message, Beat):
                self.ready = isinstance(message, Ready)
                self._start.put(message)
        code = self._process.wait()
        self.ended = True
        how = "of the model ended" if self.ready else "ended before it was ready,"
        self.why = self.why or f"rank {self.rank} {how} with code {code}"
        self._start.put(self.why)
        if not self._known.wait(0 if self.ready else NOTICE_S):
            self._gone(self.why)
