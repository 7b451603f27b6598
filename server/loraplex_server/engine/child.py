"""One incarnation of the engine process, seen from the HTTP process."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import zmq
import zmq.asyncio

from loraplex_server.engine.config import EngineConfig
from loraplex_server.engine.interpreter import interpreter_environment
from loraplex_server.engine.messages import FromEngine, Shutdown, ToEngine
from loraplex_server.engine.wire import Launch, decode_from_engine, encode

# How long a process that was asked to end may take before it is killed.
EXIT_GRACE_S = 10.0
# What hangs in the kernel, as in a GPU's driver, does not even die of that; all else is gone once the kernel has taken
# back its memory, which of a hundred pinned gigabytes takes seconds.
KILLED_S = 15.0

logger = logging.getLogger(__name__)


class EngineChild:
    """The process and its two sockets. Sockets are never handed on to a successor: what was queued for one that
    died must not reach the next.
    """

    def __init__(self, config: EngineConfig) -> None:
        self._config = config
        self._open = contextlib.ExitStack()  # sockets and their folder
        self._process: asyncio.subprocess.Process | None = None
        self.heard = 0  # messages of the engine so far

    @property
    def pid(self) -> int:
        """Of the process; 0 before the start."""
        return 0 if self._process is None else self._process.pid

    async def start(self) -> None:
        """Start the process. It tells by EngineInfo or EngineFailed what became of that.

        Raises:
            OSError: it cannot be started, for want of space, memory or file descriptors; `stop` lets go of the rest.
        """
        folder = self._open.enter_context(tempfile.TemporaryDirectory(prefix="loraplex-"))  # mode 0700: for this user
        addresses = [f"ipc://{Path(folder) / name}" for name in ("requests", "replies")]
        try:
            self._bind(*addresses)
        except zmq.ZMQError as error:
            raise OSError(error.errno, f"no sockets for it: {error}") from error
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "loraplex_server.engine",
            stdin=asyncio.subprocess.PIPE,
            env=interpreter_environment(),
            start_new_session=True,  # signals for this process's group are its own to answer: it drains first
        )
        stdin = self._process.stdin
        if stdin is None:
            raise RuntimeError("the engine process has no standard input")
        # It stays open: when this process ends, in whatever way, the engine reads the end of file and ends too.
        try:
            stdin.write(msgspec.json.encode(Launch(self._config, addresses[0], addresses[1])) + b"\n")
            await stdin.drain()
        except RuntimeError as error:  # so says uvloop where the process has ended already
            raise ConnectionResetError("it ended before it was told what to do") from error

    def _bind(self, requests: str, replies: str) -> None:
        context = zmq.asyncio.Context()
        self._open.callback(context.term)
        # Not an asyncio socket: with no limit on what is queued, a send never has to wait.
        self._requests: zmq.Socket[bytes] = zmq.Context(context).socket(zmq.PUSH)
        self._open.callback(self._requests.close)
        self._replies = context.socket(zmq.PULL)
        self._open.callback(self._replies.close)
        for socket, address in ((self._requests, requests), (self._replies, replies)):
            socket.set_hwm(0)
            socket.linger = 0
            socket.bind(address)

    def send(self, message: ToEngine) -> None:
        """Queue a message for the engine; returns at once.

        Raises:
            ConnectionError: the process has just died, or has not come up.
        """
        try:
            self._requests.send(encode(message), zmq.NOBLOCK)
        except zmq.ZMQError as error:
            raise ConnectionError("the engine process is not there") from error

    async def messages(self) -> AsyncIterator[FromEngine]:
        """What the engine says, until the iterator is closed."""
        while True:
            message = decode_from_engine(await self._replies.recv())
            self.heard += 1
            yield message

    async def wait(self) -> int:
        """The process's exit code, once it ended."""
        if self._process is None:
            raise RuntimeError("the engine process was not started")
        return await self._process.wait()

    async def stop(self, *, gently: bool) -> None:
        """End the process, unless it cannot be ended, and let go of everything. Safe to call on one that is dead.

        Args:
            gently: let it finish the step in progress; one that is still loading would not look for a long time.
        """
        try:
            if self._process is not None:
                await self._end(self._process, gently)
        finally:
            self._open.close()

    async def _end(self, process: asyncio.subprocess.Process, gently: bool) -> None:
        if gently and process.returncode is None:
            with contextlib.suppress(ConnectionError, asyncio.TimeoutError):  # killed below
                self.send(Shutdown())
                await asyncio.wait_for(process.wait(), EXIT_GRACE_S)
        with contextlib.suppress(ProcessLookupError, PermissionError):  # the latter is how macOS says the former
            # With its followers, which are in its group: one that is stopped would not see that it is gone. Also where
            # it ended by itself: while one of them is there, its number is nobody else's.
            os.killpg(process.pid, signal.SIGKILL)
        try:
            await asyncio.wait_for(process.wait(), KILLED_S)
        except asyncio.TimeoutError:
            logger.critical("the engine process %d is killed and does not end; it is left behind", process.pid)
