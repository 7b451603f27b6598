"""A graph is not captured where there is no memory for it; what torch says of its own is not swallowed."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch

from loraplex_server.engine.graphs.capture import ROOM, CudaCapture, NoRoomError

DEVICE = torch.device("cuda")


class Gpu:
    """What `CudaCapture` asks of torch.cuda."""

    def __init__(self) -> None:
        self.free = ROOM
        self.cached = 0
        self.ended = 0
        self.waits: list[str] = []

    def empty_cache(self) -> None:
        self.free, self.cached = self.free + self.cached, 0

    def stream(self, name: str) -> SimpleNamespace:
        return SimpleNamespace(device=DEVICE, wait_stream=lambda _: self.waits.append(name))

    def graph(self) -> SimpleNamespace:
        def end() -> None:
            self.ended += 1

        return SimpleNamespace(capture_begin=lambda **_: None, capture_end=end, replay=lambda: None)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Gpu:
    gpu = Gpu()
    for name, stands_in in {
        "graph_pool_handle": lambda: (0, 0),
        "Stream": lambda _: gpu.stream("own"),
        "current_stream": lambda _: gpu.stream("current"),
        "stream": lambda _: nullcontext(),
        "CUDAGraph": gpu.graph,
        "mem_get_info": lambda _: (gpu.free, 80 << 30),
        "empty_cache": gpu.empty_cache,
    }.items():
        monkeypatch.setattr(torch.cuda, name, stands_in)
    return gpu


def test_nothing_runs_where_there_is_no_room(gpu: Gpu) -> None:
    gpu.free = ROOM - 1
    with pytest.raises(NoRoomError, match="MiB of the GPU are free"):
        CudaCapture(DEVICE).capture(lambda: pytest.fail("it ran"))


def test_ranks_that_capture_together_end_where_one_has_no_memory(gpu: Gpu) -> None:
    gpu.free = 0

    def run() -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate")

    with pytest.raises(torch.OutOfMemoryError) as caught:
        CudaCapture(DEVICE, alone=False).capture(run)
    assert not isinstance(caught.value, NoRoomError)


def test_an_error_at_the_end_hides_none_that_was_there_before(gpu: Gpu, monkeypatch: pytest.MonkeyPatch) -> None:
    def end() -> None:
        raise RuntimeError("capture failed due to a previous error")

    monkeypatch.setattr(
        torch.cuda, "CUDAGraph", lambda: SimpleNamespace(capture_begin=lambda **_: None, capture_end=end)
    )
    calls: list[int] = []

    def run() -> None:
        calls.append(1)
        if len(calls) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate")

    with pytest.raises(NoRoomError):
        CudaCapture(DEVICE).capture(run)


def test_what_torch_keeps_for_later_counts_as_room(gpu: Gpu) -> None:
    gpu.free, gpu.cached = 0, ROOM
    calls: list[int] = []
    CudaCapture(DEVICE).capture(lambda: calls.append(1))
    assert len(calls) == 2


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"), NoRoomError),
        (RuntimeError("CUDA error: out of memory"), NoRoomError),
        (RuntimeError("CUDA error: an illegal memory access"), RuntimeError),
    ],
    ids=["torch", "driver", "another error"],
)
@pytest.mark.parametrize("at", [0, 1], ids=["before", "while recording"])
def test_memory_that_runs_out_on_the_way_is_no_room(
    gpu: Gpu, error: RuntimeError, raised: type[RuntimeError], at: int
) -> None:
    calls: list[int] = []

    def run() -> None:
        calls.append(1)
        if len(calls) > at:
            raise error

    with pytest.raises(RuntimeError) as caught:
        CudaCapture(DEVICE).capture(run)
    assert type(caught.value) is raised
    assert gpu.ended == at  # what was begun is ended
    assert gpu.waits == ["own", "current"]  # and the next step comes after it
