"""Recording what a forward launches."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

import torch

# Bytes that a GPU has free before a graph is captured: a step's scratch, in large pieces, and the graph itself. To find
# out by running into it would be an error in the middle of recording.
ROOM = 128 << 20


class NoRoomError(torch.OutOfMemoryError):
    """There is no memory for a graph; the step can be run without one."""


class Capture(Protocol):
    """Makes of a function that works on fixed buffers one that does the same work again, with one launch."""

    def capture(self, run: Callable[[], None]) -> Callable[[], None]:
        """Record what `run` does.

        Args:
            run: reads and writes the same memory whenever it is called, and may be called more than once now.

        Returns:
            The replay: asynchronous, on the current stream.

        Raises:
            NoRoomError: there is no memory for it; nothing is left of the attempt.
        """


class CudaCapture:
    """Through CUDA graphs that share one memory pool: they run one after the other, so one's scratch is the next's.

    Args:
        device: a GPU.
        alone: no other rank captures the same. One that does not run what the others do would leave them waiting in
            their exchanges: there, memory that runs out ends the process.
    """

    def __init__(self, device: torch.device, *, alone: bool = True) -> None:
        self._alone = alone
        self._pool = torch.cuda.graph_pool_handle()
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def capture(self, run: Callable[[], None]) -> Callable[[], None]:
        """See `Capture.capture`.

        The first call is not recorded: it compiles kernels, and fills caches that may not be filled while recording.
        Loader threads may allocate and copy meanwhile, which only the mode "thread_local" lets them.
        """
        if self._alone:
            self._check_room()
        current = torch.cuda.current_stream(self._stream.device)
        self._stream.wait_stream(current)
        graph = torch.cuda.CUDAGraph()
        # Not `torch.cuda.graph`, which empties torch's caches each time, of pinned memory too: a graph may be captured
        # between two steps of requests that wait for it.
        try:
            with torch.cuda.stream(self._stream):
                run()
                graph.capture_begin(pool=self._pool, capture_error_mode="thread_local")
                try:
                    run()
                except BaseException:
                    with suppress(RuntimeError):  # it may complain of the error that is being raised already
                        graph.capture_end()
                    raise
                graph.capture_end()
        except RuntimeError as error:  # torch's own OutOfMemoryError, or what the driver said to it
            if not self._alone or "out of memory" not in str(error):
                raise
            raise NoRoomError(f"capturing a graph: {error}") from error
        finally:
            current.wait_stream(self._stream)
        return graph.replay

    def _check_room(self) -> None:
        device = self._stream.device
        if torch.cuda.mem_get_info(device)[0] >= ROOM:
            return
        torch.cuda.empty_cache()  # waits for the device: so only where it may help
        free = torch.cuda.mem_get_info(device)[0]
        if free < ROOM:
            raise NoRoomError(f"{free >> 20} MiB of the GPU are free, and capturing a graph may take {ROOM >> 20}")
