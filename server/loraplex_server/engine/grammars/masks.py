"""Masks of allowed tokens, computed on threads of their own while the step before is told and the next one runs."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from loraplex_server.engine.grammars.tokenizer import MaskTokenizer

if TYPE_CHECKING:
    from llguidance import LLExecutor

    from loraplex_server.engine.grammars.matcher import Matcher


class Masks:
    """Whoever wants a mask says so and goes on; what is wanted meanwhile is computed together.

    Args:
        threads: that compute at once.
    """

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="masks")
        self._executor: LLExecutor | None = None
        self._lock = threading.Lock()
        self._wanted: list[Matcher] = []
        self._idle = threading.Event()
        self._idle.set()
        self._failure: Exception | None = None
        self.waited_s = 0.0  # that steps stood still for masks, in all

    def want(self, matcher: Matcher) -> None:
        """Begin to compute a mask. The matcher is not to be touched until `finish`."""
        with self._lock:
            self._wanted.append(matcher)
            if not self._idle.is_set():
                return
            self._idle.clear()
        self._thread.submit(self._work)

    def finish(self) -> None:
        """Wait until all that is wanted is computed."""
        if not self._idle.is_set():
            began = time.monotonic()
            self._idle.wait()
            self.waited_s += time.monotonic() - began
        if self._failure is not None:
            raise self._failure

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown(cancel_futures=True)

    def _work(self) -> None:
        while True:
            with self._lock:
                batch, self._wanted = self._wanted, []
                if not batch:
                    self._idle.set()
                    return
            try:
                self._compute(batch)
            except Exception as error:  # whoever waits must hear of it: it is raised in the step
                self._failure = error

    def _compute(self, batch: list[Matcher]) -> None:
        if self._executor is None:
            from llguidance import LLExecutor

            self._executor = LLExecutor(self._threads)
        alike: dict[MaskTokenizer, list[Matcher]] = defaultdict(list)
        for matcher in batch:
            alike[matcher.tokenizer].append(matcher)
        for tokenizer, matchers in alike.items():
            words = np.zeros((len(matchers), tokenizer.words), dtype=np.uint32)
            states = [(matcher.state, row) for row, matcher in enumerate(matchers)]
            self._executor.unsafe_compute_mask_ptr(states, words.ctypes.data, 4 * tokenizer.words, len(matchers))
            for matcher, row in zip(matchers, words.view(np.uint8), strict=True):
                matcher.settle(row)
