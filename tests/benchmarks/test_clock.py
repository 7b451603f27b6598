"""The clock of the GPU benchmarks: what a graph holds and what is divided, on a device that is made up."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from gpu import clock, cuda
from gpu.clock import CACHES, CALLS, Clock

CPU = torch.device("cpu")
START = 6.0  # what a replay takes by itself


class Made:
    """Each call takes a second, and each replay START more."""

    l2_bytes = 50 << 20

    def __init__(self, waits=False):
        self._waits = waits
        self.now = 0.0
        self.graphs = []
        self.runs = 0

    def call(self):
        self.now += 1

    def waits(self, call):
        call()
        return self._waits

    def captured(self, calls):
        self.graphs.append(calls)

        def replay():
            self.now += START
            for call in calls:
                call()

        return replay

    def seconds(self, run, repeats):
        times = []
        for _ in range(repeats):
            begin = self.now
            run()
            times.append(self.now - begin)
            self.runs += 1
        return times


def test_a_graph_has_so_many_calls_that_its_start_is_little():
    made = Made()
    time = Clock(CPU, 50, made).time(made.call)
    assert len(made.graphs[0]) == CALLS
    assert time.seconds == pytest.approx(1 + START / CALLS)
    assert str(time) == f"{time.seconds * 1e6:.1f}"


def test_calls_take_turns_on_all_their_inputs():
    made, seen = Made(), []
    calls = [lambda number=number: seen.append(number) for number in range(7)]
    Clock(CPU, 50, made).time(*calls)
    seen.clear()
    for call in made.graphs[0]:
        call()
    assert seen == [0, 1, 2, 3, 4, 5, 6] * 3


def test_inputs_of_a_graph_are_larger_than_the_cache():
    measures = Clock(CPU, 50, Made())
    for nbytes in (1 << 18, 38 << 20, 235 << 20):
        assert measures.sets(nbytes) * nbytes >= CACHES * Made.l2_bytes
    assert measures.sets(1 << 30) == 1
    assert Clock(CPU, 50).sets(1) == 1


def test_what_waits_for_the_device_is_launched_by_the_host():
    made = Made(waits=True)
    time = Clock(CPU, 50, made).time(made.call)
    assert not made.graphs
    assert (time.seconds, str(time)[-1]) == (1.0, "*")


def test_what_launching_takes_by_itself_is_measured():
    launches = Clock(CPU, 50, Made()).launches()
    assert (launches.in_graph_s, launches.replay_s) == (START / CALLS, START)


def test_long_calls_are_repeated_less_often(monkeypatch):
    made = Made()
    monkeypatch.setattr(clock, "LONGEST_S", 260.0)
    Clock(CPU, 50, made).time(made.call)
    assert made.runs == 3 + 10


def test_a_clock_without_a_gpu_says_that_nothing_was_graphed():
    time = Clock(CPU, repeats=3).time(lambda: None)
    assert time.seconds >= 0
    assert str(time).endswith("*")
    assert Clock(CPU, repeats=3).launches() is None


class Stream:
    def __init__(self, device=None):
        self.device = device

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return None


@pytest.fixture
def stub(monkeypatch):
    """So much of torch.cuda as the device's half of the clock calls: its names and its order, and no GPU."""
    log, mode = [], ["default"]

    class Event:
        def __init__(self, enable_timing):
            assert enable_timing

        def record(self):
            log.append("event")

        def elapsed_time(self, other):
            return 2.0

    class Graph:
        def capture_begin(self):
            log.append("begin")

        def capture_end(self):
            log.append("end")

        def replay(self):
            log.append("replay")

    fakes = {
        "Stream": Stream,
        "stream": lambda stream: stream,
        "synchronize": lambda device=None: None,
        "get_device_properties": lambda device: SimpleNamespace(L2_cache_size=60 << 20),
        "get_sync_debug_mode": lambda: mode[0],
        "set_sync_debug_mode": lambda wanted: mode.__setitem__(0, wanted),
        "CUDAGraph": Graph,
        "Event": Event,
    }
    for name, fake in fakes.items():
        assert hasattr(torch.cuda, name)
        monkeypatch.setattr(torch.cuda, name, fake)
    monkeypatch.setattr(cuda, "FLUSHED", 16)
    return SimpleNamespace(log=log, mode=mode)


def test_a_device_asks_torch_whether_a_call_waits(stub):
    device = cuda.Cuda(CPU)
    assert device.l2_bytes == 60 << 20

    def waiting():
        assert stub.mode == ["error"]
        raise RuntimeError("called a synchronizing CUDA operation")

    assert device.waits(waiting)
    assert not device.waits(lambda: None)
    with pytest.raises(RuntimeError, match="another"):
        device.waits(lambda: (_ for _ in ()).throw(RuntimeError("another")))
    assert stub.mode == ["default"]


def test_a_capture_ends_where_a_call_fails_too(stub):
    def failing():
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        cuda.Cuda(CPU).captured([failing])
    assert stub.log == ["begin", "end"]


def test_a_run_is_timed_between_two_events(stub):
    device = cuda.Cuda(CPU)
    replay = device.captured([lambda: stub.log.append("call")] * 2)
    assert stub.log == ["begin", "call", "call", "end", "replay"]
    stub.log.clear()
    assert device.seconds(replay, 2) == [0.002, 0.002]
    assert stub.log == ["replay", *["event", "replay", "event"] * 2]
