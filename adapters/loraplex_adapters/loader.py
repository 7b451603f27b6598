"""The threads that read adapters, so that the step loop never does."""

from __future__ import annotations

import logging
import os
import queue
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from loraplex_adapters.errors import AdapterError

T = TypeVar("T")

logger = logging.getLogger(__name__)

# The step loop comes first where cores are short, but whoever waits for an adapter must not wait for ever: on two cores
# that decode eight streams and load 18 MB every 200 ms, at 5 a load takes 0.1 s and the streams' p99 gap is
# 1.1 to 1.35 times what it is without; at 0 it is 1.7 times, and at 7 or more the loads cannot always keep up.
# (benchmarks/cold_adapter.py)
NICENESS = 5
CLOSE_S = 5.0


@dataclass(frozen=True)
class Outcome(Generic[T]):
    """What came of a piece of work: a value, or why there is none."""

    value: T | None
    error: AdapterError | None
    seconds: float


@dataclass(frozen=True)
class _Job:
    name: str  # of the adapter
    work: Callable[[], Any]
    done: Callable[[Outcome[Any]], None] | None


class Loader:
    """Runs work on its threads, in order, and hands the outcomes to whoever collects them.

    Args:
        threads: at least one.
        on_ready: called from a loader thread after each outcome, so that a sleeping loop can wake and collect.
    """

    def __init__(self, threads: int, on_ready: Callable[[], None] | None = None) -> None:
        if threads < 1:
            raise ValueError(f"loader_threads must be at least 1, not {threads}")
        self._on_ready = on_ready
        self.closing = False
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._outcomes: queue.SimpleQueue[tuple[_Job, Outcome[Any]]] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=self._run, name=f"adapter-loader-{number}", daemon=True)
            for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, name: str, work: Callable[[], T], done: Callable[[Outcome[T]], None]) -> None:
        """Run `work` on a thread, and later `done` with its outcome, on the thread that collects.

        Args:
            name: of the adapter, for messages.
            work: its exceptions become the outcome's error.
            done: must not raise.
        """
        self._jobs.put(_Job(name, work, done))

    def discard(self, work: Callable[[], None]) -> None:
        """Run something of which nobody waits for the outcome: giving back a large buffer takes milliseconds."""
        self._jobs.put(_Job("", work, None))

    @property
    def pending(self) -> bool:
        """There is something to collect."""
        return not self._outcomes.empty()

    def collect(self) -> None:
        """Call `done` for every outcome that is there; never waits."""
        while True:
            try:
                job, outcome = self._outcomes.get_nowait()
            except queue.Empty:
                return
            if job.done is not None:
                job.done(outcome)

    def close(self) -> None:
        """Stop after the work in progress, without that in the queue; wait for it no longer than a few seconds."""
        self.closing = True
        for _ in self._threads:
            self._jobs.put(None)
        deadline = time.monotonic() + CLOSE_S
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _run(self) -> None:
        if sys.platform == "linux":  # elsewhere priorities belong to processes
            own = threading.get_native_id()
            # Below the rest of the process, whatever that was started at: only root may go above it.
            os.setpriority(os.PRIO_PROCESS, own, min(os.getpriority(os.PRIO_PROCESS, own) + NICENESS, 19))
        while True:
            job = self._jobs.get()
            if job is None or self.closing:
                return
            outcome = _attempt(job)
            if job.done is not None:
                self._outcomes.put((job, outcome))
                self._tell()
            del job, outcome  # else an adapter would stay in memory until the next job comes

    def _tell(self) -> None:
        if self._on_ready is None:
            return
        try:
            self._on_ready()
        except Exception:
            logger.exception("nobody could be told of an adapter")  # the next poll finds it; the thread goes on


def _attempt(job: _Job) -> Outcome[Any]:
    started = time.perf_counter()
    value, error = None, None
    try:
        value = job.work()
    except AdapterError as refused:
        error = _bare(refused)
    except OSError as failed:
        # The path stays in the log: the message goes to whoever sent the request.
        logger.warning("adapter '%s' cannot be read", job.name, exc_info=True)
        error = AdapterError(f"adapter '{job.name}' cannot be read: {failed.strerror or type(failed).__name__}")
    except Exception as unexpected:
        logger.exception("adapter '%s' cannot be loaded", job.name)
        error = AdapterError(f"adapter '{job.name}' cannot be loaded: {type(unexpected).__name__}: {unexpected}")
    return Outcome(value, error, time.perf_counter() - started)


def _bare(error: AdapterError) -> AdapterError:
    """Without its tracebacks: they hold the frames, these the buffers, and leases hold the error."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)
