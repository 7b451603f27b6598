"""Recording what a forward launches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch


class Capture(Protocol):
    """Makes of a function that works on fixed buffers one that does the same work again, with one launch."""

    def capture(self, run: Callable[[], None]) -> Callable[[], None]:
        """Record what `run` does.

        Args:
            run: reads and writes the same memory whenever it is called, and may be called more than once now.

        Returns:
            The replay: asynchronous, on the current stream.
        """


class CudaCapture:
    """Through CUDA graphs that share one memory pool: they run one after the other, so one's scratch is the next's."""

    def __init__(self, device: torch.device) -> None:
        self._pool = torch.cuda.graph_pool_handle()
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def capture(self, run: Callable[[], None]) -> Callable[[], None]:
        """See `Capture.capture`.

        The first call is not recorded: it compiles kernels, and fills caches that may not be filled while recording.
        Loader threads may allocate and copy meanwhile, which only the mode "thread_local" lets them.
        """
        current = torch.cuda.current_stream(self._stream.device)
        self._stream.wait_stream(current)
        graph = torch.cuda.CUDAGraph()
        # Not `torch.cuda.graph`, which empties torch's caches each time, of pinned memory too: a graph may be captured
        # between two steps of requests that wait for it.
        with torch.cuda.stream(self._stream):
            run()
            graph.capture_begin(pool=self._pool, capture_error_mode="thread_local")
            try:
                run()
            finally:
                graph.capture_end()
        current.wait_stream(self._stream)
        return graph.replay
