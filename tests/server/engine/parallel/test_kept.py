"""A follower keeps what left its device, gives it back, and lets go of it."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator
from queue import SimpleQueue

import pytest
import torch

from loraplex_adapters.loader import Loader, Outcome
from loraplex_adapters.loading import LoadedAdapter
from loraplex_adapters.transfer import send
from loraplex_kernels.lora import SiteShape, plan
from loraplex_server.engine.parallel import kept
from loraplex_server.engine.parallel.kept import KeptParts, Part

CPU = torch.device("cpu")
WAIT_S = 120

Done = SimpleQueue[tuple[str, Outcome[LoadedAdapter]]]


def part(name: str) -> Part:
    layout = plan([SiteShape(0, 8, 8, 2, 1.0)], 4)
    transfer = send(torch.zeros(layout.nbytes, dtype=torch.uint8), CPU)
    return Part(name, LoadedAdapter("generation", layout, transfer, magnitude=False, touches=frozenset([0])))


@pytest.fixture
def parts() -> Iterator[KeptParts]:
    loader = Loader(2, lambda: loader.collect())
    yield KeptParts(loader, CPU, None)
    loader.close()


def lifted(parts: KeptParts, number: int) -> tuple[str, Outcome[LoadedAdapter]]:
    done: Done = SimpleQueue()
    parts.lift(number, lambda name, outcome: done.put((name, outcome)))
    return done.get(timeout=WAIT_S)


def test_each_comes_back_under_its_number(parts: KeptParts) -> None:
    kept = {number: part(f"adapter-{number}") for number in (1, 2)}
    for number, each in kept.items():
        parts.put(number, each)
    for number, each in kept.items():
        name, outcome = lifted(parts, number)
        assert name == each.name
        assert outcome.value is not None
        assert outcome.value.buffer is each.loaded.buffer


def test_what_is_lifted_while_it_is_still_copied_comes_after_that(
    parts: KeptParts, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied = threading.Event()
    done: SimpleQueue[LoadedAdapter | None] = SimpleQueue()

    def slow(loaded: LoadedAdapter, allocate: object) -> LoadedAdapter:
        assert copied.wait(WAIT_S)
        return loaded

    monkeypatch.setattr(kept, "to_host", slow)
    parts.put(1, part("a"))
    parts.lift(1, lambda name, outcome: done.put(outcome.value))
    assert done.empty()
    copied.set()
    assert done.get(timeout=WAIT_S) is not None


def test_what_the_host_has_no_memory_for_is_told_when_it_is_lifted(
    parts: KeptParts, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(loaded: LoadedAdapter, allocate: object) -> LoadedAdapter:
        raise MemoryError("none left")

    monkeypatch.setattr(kept, "to_host", fail)
    parts.put(1, part("a"))
    _, outcome = lifted(parts, 1)
    assert outcome.value is None
    assert "adapter 'a' cannot be loaded: MemoryError: none left" in str(outcome.error)


def test_what_is_forgotten_is_freed_and_no_error(parts: KeptParts) -> None:
    leaving, freed = part("a"), threading.Event()
    weakref.finalize(leaving.loaded, freed.set)
    parts.put(1, leaving)
    del leaving
    parts.forget(1)
    parts.forget(7)
    assert freed.wait(WAIT_S)
