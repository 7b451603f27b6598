"""A thread that looks at a server's processes while it starts and serves, and knows the phase that it is in."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from footprint.resident import Resident, children, forget_peaks, resident, shared_out

INTERVAL_S = 0.02
# Dividing shared pages among their users takes the kernel a walk through all of them.
SHARED_EVERY = 10
ROLES = ("front", "engine")

# What the server's log says when a phase is over and the next one begins; the first begins with the process.
PHASES = {"loading ": "loading", "loaded in ": "warm-up"}
FIRST = "imports"


@dataclass
class Phase:
    """The most that was seen in a phase.

    Attributes:
        name: of it.
        front, engine: the process that speaks HTTP and the engine's, as they were when their peak was read.
        together: bytes of all processes, pages that they share counted once.
    """

    name: str
    front: Resident | None = None
    engine: Resident | None = None
    together: int = 0


class Watch:
    """Phases in their order, the last of them going on. The server is this process's child, the engine is its."""

    def __init__(self, log: Path) -> None:
        self.phases = [Phase(FIRST)]
        self._log = log
        self._read = 0  # characters of the log
        self._turn = 0
        self._lock = threading.Lock()

    def begin(self, name: str) -> None:
        """A phase of this name begins now."""
        with self._lock:
            self._begin(name)

    def look(self) -> None:
        """Take a reading."""
        with self._lock:
            for line in self._new_lines():
                for mark, name in PHASES.items():
                    if f" {mark}" in line:
                        self._begin(name)
            self._turn += 1
            pids = self._look()
            if self._turn % SHARED_EVERY == 0:
                self.phases[-1].together = max(self.phases[-1].together, sum(map(shared_out, pids)))

    def _begin(self, name: str) -> None:
        forget_peaks(self._look())
        self.phases.append(Phase(name))

    def _look(self) -> list[int]:
        phase, pids = self.phases[-1], children(os.getpid())
        for pid, role in zip(pids, ROLES, strict=False):
            found, most = resident(pid), getattr(phase, role)
            if found is not None and (most is None or found.peak > most.peak):
                setattr(phase, role, found)
        return pids

    def _new_lines(self) -> list[str]:
        text = self._log.read_text(encoding="utf-8", errors="replace") if self._log.exists() else ""
        whole = text.rfind("\n") + 1
        lines, self._read = text[self._read : whole].splitlines(), whole
        return lines


@contextlib.contextmanager
def watching(log: Path) -> Iterator[Watch]:
    """Watch the server that is started while the block runs, and that writes this log."""
    watch, ended = Watch(log), threading.Event()

    def run() -> None:
        while not ended.wait(INTERVAL_S):
            watch.look()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield watch
    finally:
        ended.set()
        thread.join()
