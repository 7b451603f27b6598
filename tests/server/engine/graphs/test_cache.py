"""How many graphs are kept, and what becomes of a step for which there is none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import pytest

from loraplex_server.engine.graphs import cache as cache_module
from loraplex_server.engine.graphs.cache import Graph, GraphCache
from loraplex_server.engine.graphs.capture import NoRoomError
from loraplex_server.engine.graphs.key import GraphKey, most_graphs
from loraplex_server.engine.graphs.static_batch import StaticBatch


@dataclass
class Batch:
    stale: bool = False


class Device:
    """Captures while it has room."""

    def __init__(self) -> None:
        self.full = False
        self.tried = 0

    def capture(self, _: GraphKey) -> Graph:
        self.tried += 1
        if self.full:
            raise NoRoomError("out of memory")
        return Graph(cast(StaticBatch, Batch()), lambda: None)


KEYS = [GraphKey(rows) for rows in range(1, 9)]


@pytest.fixture
def device() -> Device:
    return Device()


def make(device: Device, most: int) -> GraphCache:
    return GraphCache(device.capture, most)


def test_no_more_are_kept_than_memory_was_planned_for(device: Device) -> None:
    cache = make(device, 3)
    for key in KEYS[:3]:
        cache[key]
    with pytest.raises(NoRoomError, match="all 3 graphs"):
        cache[KEYS[3]]
    assert cache[KEYS[0]] is cache[KEYS[0]]
    assert (len(cache), device.tried) == (3, 3)


def test_one_that_long_was_not_used_gives_way(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "IDLE", 5)
    cache = make(device, 2)
    first, second = cache[KEYS[0]], cache[KEYS[1]]
    for _ in range(5):
        assert cache[KEYS[0]] is first
    cache[KEYS[2]]
    assert cache[KEYS[0]] is first
    with pytest.raises(NoRoomError):
        assert cache[KEYS[1]] is second
    assert len(cache) == 2


def test_a_full_device_is_not_asked_at_every_step_and_asked_again(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_module, "RETRY", 10)
    cache = make(device, 9)
    there = cache[KEYS[0]]
    device.full = True
    for _ in range(10):
        with pytest.raises(NoRoomError):
            cache[KEYS[1]]
    assert device.tried == 2
    assert cache[KEYS[0]] is there
    device.full = False
    assert cache[KEYS[1]] is cache[KEYS[1]]


def test_stale_ones_make_room(device: Device) -> None:
    cache = make(device, 2)
    for key in KEYS[:2]:
        cast(Any, cache[key].batch).stale = True
    cache[KEYS[2]]
    cache[KEYS[3]]
    assert len(cache) == 2


def test_all_that_are_captured_at_the_start_are_kept_and_as_many_more() -> None:
    assert most_graphs((1, 2, 4, 8)) == 2 * 4 + 2 * 4
