"""The engine process: `python -m loraplex_server.engine`, started and watched by EngineProcess.

It never shares the HTTP process's interpreter lock: 64 streams must be scheduled inside a step of a few milliseconds.
"""

from __future__ import annotations

import gc
import logging
import os
import select
import signal
import sys
import threading
import time
from pathlib import Path
from typing import NoReturn

import msgspec
import zmq

from loraplex_server.engine.build import build_engine
from loraplex_server.engine.core import EngineCore, Event
from loraplex_server.engine.errors import EngineStartError
from loraplex_server.engine.messages import (
    AbortRequest,
    AdapterPrepared,
    Delta,
    Deltas,
    EngineFailed,
    Failed,
    FromEngine,
    GenerateRequest,
    PrepareAdapter,
    Shutdown,
    UnpinAdapter,
)
from loraplex_server.engine.parallel.lead import end_process
from loraplex_server.engine.wire import Launch, decode_to_engine, encode
from loraplex_server.logs.configure import configure_logging
from loraplex_server.logs.process import log_everything
from loraplex_server.logs.redaction import know_secrets
from loraplex_server.models.errors import ModelError

logger = logging.getLogger(__name__)

STATS_INTERVAL_S = 0.25
# While requests wait for adapters: a loader wakes the loop, but the end of a copy to a device does not.
LOADING_POLL_S = 0.005
LOOK_MS = 1000.0  # whether the parent is there


class EngineLoop:
    """Receives requests, steps the engine, sends what comes of it; sleeps when there is nothing to do."""

    def __init__(self, launch: Launch) -> None:
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context.instance()
        self._requests = context.socket(zmq.PULL)
        self._requests.set_hwm(0)
        self._requests.connect(launch.requests)
        self._replies = context.socket(zmq.PUSH)
        self._replies.set_hwm(0)
        self._replies.connect(launch.replies)
        self._address = launch.replies
        self._wake_reader, self._wake_writer = os.pipe()
        os.set_blocking(self._wake_reader, False)
        self._poller = zmq.Poller()
        self._poller.register(self._requests, zmq.POLLIN)
        self._poller.register(self._wake_reader, zmq.POLLIN)
        # The parent holds the other end: when it is gone, however it went, this end reads as closed.
        self._poller.register(sys.stdin.fileno(), zmq.POLLIN)
        self._stopping = False
        self._stats_due = 0.0

    def wake(self) -> None:
        """End a sleep; safe from any thread."""
        os.write(self._wake_writer, b"!")

    def send(self, message: FromEngine) -> None:
        """Hand a message to the HTTP process; never waits."""
        self._replies.send(encode(message))

    def lost(self, why: str) -> NoReturn:
        """End this process at once, with these as its last words; from any thread."""
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        socket = context.socket(zmq.PUSH)  # the other is for one thread, which may wait for a rank that is gone
        socket.connect(self._address)
        socket.send(encode(EngineFailed(message=why)))
        context.destroy(linger=1000)
        end_process(why)

    def run(self, core: EngineCore) -> None:
        """Step until told to stop. An exception of a step ends the process: its state cannot be trusted after."""
        idle = True
        while not self._stopping:
            self._receive(core, 0.0 if core.computed else LOADING_POLL_S if core.has_work else STATS_INTERVAL_S)
            self._publish(core.step())
            self._send_stats(core)
            if idle != (not core.has_work):
                idle = not idle
                if idle:
                    core.check_integrity()

    def _receive(self, core: EngineCore, timeout_s: float) -> None:
        ready = dict(self._poller.poll(int(timeout_s * 1000)))
        if sys.stdin.fileno() in ready:
            self._stopping = True
        if self._wake_reader in ready:
            os.read(self._wake_reader, 4096)
        while self._requests in ready and not self._stopping:
            try:
                message = decode_to_engine(self._requests.recv(zmq.NOBLOCK))
            except zmq.Again:
                return
            if isinstance(message, GenerateRequest):
                self._publish(core.submit(message))
            elif isinstance(message, AbortRequest):
                self._publish(core.abort(message.request_id, message.index))
            elif isinstance(message, PrepareAdapter):
                core.preparations.add(message)
            elif isinstance(message, UnpinAdapter):
                core.preparations.unpin(message.name)
            elif isinstance(message, Shutdown):
                self._stopping = True

    def _publish(self, events: list[Event]) -> None:
        deltas = [event for event in events if isinstance(event, Delta)]
        if deltas:
            self.send(Deltas(deltas))
        for event in events:
            if isinstance(event, Failed | AdapterPrepared):
                self.send(event)

    def _send_stats(self, core: EngineCore) -> None:
        now = time.monotonic()
        if now >= self._stats_due:
            self._stats_due = now + STATS_INTERVAL_S
            self.send(core.stats())


def main() -> None:
    """Read the launch line, build the engine, serve until the parent says so or is gone."""
    # Ctrl-C reaches the whole group, and systemd's SIGTERM each process; the parent decides what they mean.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    launch = msgspec.json.decode(sys.stdin.buffer.readline(), type=Launch)
    know_secrets()
    configure_logging(launch.config.log_level, launch.config.log_format, "engine")
    log_everything()
    loop = EngineLoop(launch)
    built = threading.Event()
    threading.Thread(target=_end_with_parent, args=(built,), name="parent", daemon=True).start()
    try:
        # In the folder of the sockets, which the parent removes however this process ends.
        folder = Path(launch.replies.removeprefix("ipc://")).parent
        core, info = build_engine(launch.config, loop.wake, loop.lost, folder)
    except (EngineStartError, ModelError, ValueError) as error:
        loop.send(EngineFailed(message=str(error)))
        zmq.Context.instance().destroy(linger=1000)
        sys.exit(1)
    built.set()  # from now on the loop looks
    # What was imported and built stays for good. Left to the collector, a look through all of it takes 200 ms, in the
    # middle of some step.
    gc.collect()
    gc.freeze()
    loop.send(info)
    loop.run(core)
    gc.unfreeze()  # libraries complain of what they find in use at the very end
    core.close()
    zmq.Context.instance().destroy(linger=1000)


def _end_with_parent(built: threading.Event) -> None:
    """While the engine is built nobody else looks: to load a large model takes minutes, and its memory."""
    poller = select.poll()
    poller.register(sys.stdin.fileno(), 0)  # its end is told unasked
    while not built.is_set():
        if poller.poll(LOOK_MS):
            end_process("the server's process ended while the engine was being built")
