"""The followers as rank 0's engine sees them: told what it does before it does it."""

from __future__ import annotations

import itertools
import logging
import os
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

import torch
from torch import Tensor

from loraplex_adapters.source import AdapterSource
from loraplex_kernels.attention import Span
from loraplex_kernels.group import Group
from loraplex_server.engine.adapter_rows import Stretch
from loraplex_server.engine.config import EngineConfig
from loraplex_server.engine.parallel.channel import encoded
from loraplex_server.engine.parallel.child import FollowerChild
from loraplex_server.engine.parallel.distributed import TorchGroup
from loraplex_server.engine.parallel.messages import (
    Caches,
    Command,
    Drop,
    Forget,
    Here,
    Lift,
    Loaded,
    Logits,
    Measure,
    Measured,
    Read,
    Ready,
    Seat,
    ToFollower,
    Unseat,
    WasRead,
)
from loraplex_server.engine.parallel.pulse import Watch
from loraplex_server.engine.parallel.reading import SharedReading
from loraplex_server.engine.parallel.steps import told

logger = logging.getLogger(__name__)

NEWS_S = 1.0  # from the end of a follower's connections to that of its process


def end_process(why: str) -> NoReturn:
    """What a follower's death comes to: this process ends too, whatever its threads wait for, and is started anew."""
    logger.critical("%s", why)
    logging.shutdown()
    os._exit(1)


class Lead:
    """Ranks 1 and on: `Followers` of the runner and `Peers` of the adapter store, and their start and end.

    Args:
        config: of the engine.
        gone: told on a thread why there is a follower less. Nothing can be computed any more; a collective that the
            follower left may never end.
        folder: whose owner removes whatever is left in it; None: the system's for such files.
    """

    def __init__(self, config: EngineConfig, gone: Callable[[str], None], folder: Path | None = None) -> None:
        # Mode 0700: only this user can join.
        self._folder = tempfile.TemporaryDirectory(prefix="loraplex-", dir=folder)
        self._store = str(Path(self._folder.name) / "ranks")
        self._numbers = itertools.count(1)
        self._readings: dict[int, SharedReading] = {}
        self._lock = threading.Lock()
        self._group: Group | None = None
        self.children = [
            FollowerChild(config, rank, self._store, self._heard, gone)
            for rank in range(1, config.tensor_parallel_size)
        ]
        self._watch = Watch(self.children, gone)
        self._watch.start()

    def join(self, device: torch.device) -> Group:
        """Wait until all are there, and join them.

        Args:
            device: this rank's.

        Raises:
            EngineStartError: a follower cannot start. So it is in the other methods of the start.
        """
        for child in self.children:
            child.expect(Here)
        self._group = TorchGroup(self._store, 0, len(self.children) + 1, device)
        return self._group

    def wait_loaded(self) -> None:
        """Wait until each has its part of the model."""
        for child in self.children:
            child.expect(Loaded)

    def measure(self) -> None:
        """Let them find out what memory they have left, as this rank does meanwhile."""
        self._tell_all(Measure())

    def spare(self) -> list[int]:
        """Bytes that each may share out."""
        return [child.expect(Measured).spare for child in self.children]

    def allocate(self, num_blocks: int, max_model_len: int, host_bytes: int) -> None:
        """Let them make their caches, and whatever is captured beforehand. Args: host_bytes: for adapters."""
        self._tell_all(Caches(num_blocks, max_model_len, host_bytes))

    def wait_ready(self) -> None:
        """Wait until they take steps."""
        for child in self.children:
            child.expect(Ready)

    def lost(self) -> str:
        """Why a follower is gone; "" where none is. To be asked after an exchange failed: why comes a moment later."""
        deadline = time.monotonic() + NEWS_S
        while not any(child.why for child in self.children) and time.monotonic() < deadline:
            time.sleep(0.01)
        return next((child.why for child in self.children if child.why), "")

    def forward(self, tokens: Tensor, spans: Sequence[Span], stretches: Sequence[Stretch]) -> None:
        """See `Followers.forward`."""
        self._command(told(spans, stretches))
        self._joined.broadcast(tokens)

    def logits(self, hidden: Tensor) -> None:
        """See `Followers.logits`."""
        self._command(Logits(hidden.shape[0]))
        self._joined.broadcast(hidden.contiguous())

    def read(self, source: AdapterSource) -> SharedReading:
        """See `Peers.read`."""
        reading = self._expected(source.name, next(self._numbers), self._drop)
        self._tell_all(Read(reading.number, source))
        return reading

    def lift(self, name: str, number: int) -> SharedReading:
        """See `Peers.lift`. Told as steps are, behind what put it on the host."""
        reading = self._expected(name, number, self.forget)
        self._command(Lift(number))
        return reading

    def seat(self, slot: int, number: int) -> None:
        """See `Peers.seat`."""
        self._command(Seat(slot, number))

    def unseat(self, slot: int, number: int = 0) -> None:
        """See `Peers.unseat`."""
        self._command(Unseat(slot, number))

    def forget(self, number: int) -> None:
        """See `Peers.forget`."""
        self._command(Forget(number))

    def close(self) -> None:
        """End them all. Safe to call twice."""
        self._watch.close()
        for child in self.children:
            child.close()
        if self._group is not None:
            self._group.close()
            self._group = None
        self._folder.cleanup()

    @property
    def _joined(self) -> Group:
        if self._group is None:
            raise RuntimeError("the ranks are not joined")
        return self._group

    def _expected(self, name: str, number: int, drop: Callable[[int], None]) -> SharedReading:
        reading = SharedReading(name, number, [child.rank for child in self.children], drop)
        with self._lock:
            self._readings[number] = reading
        return reading

    def _command(self, command: Command) -> None:
        frame = encoded(command)
        for child in self.children:
            child.steps.send_encoded(frame)

    def _tell_all(self, message: ToFollower) -> None:
        for child in self.children:
            child.tell(message)

    def _drop(self, number: int) -> None:
        self._tell_all(Drop(number))

    def _heard(self, rank: int, said: WasRead) -> None:
        with self._lock:
            if self._readings[said.number].say(rank, said):
                del self._readings[said.number]
