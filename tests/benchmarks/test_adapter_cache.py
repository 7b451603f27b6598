"""The simulation of the adapters' tiers: what it counts, and that its bound is one."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from adapter_cache import POLICIES
from caching.bound import fewest_bytes, most_hits
from caching.policies import Clairvoyant, Lru
from caching.simulate import Simulation
from caching.traces import RANKS, sizes, traces

UNIT = [1] * 10


def run(trace: list[int], budget: int, host: int = 0, concurrent: int = 1, **options):
    policy = options.pop("policy", None) or Lru()
    return Simulation(trace, options.pop("sizes", UNIT), budget, host, policy, concurrent, 0).run()


def test_hits_and_bytes_are_those_of_lru_on_paper() -> None:
    found = run([0, 1, 2, 0, 1, 3, 1, 2], budget=2)
    assert (found.hits * 8, found.moved) == (1, 7)
    found = run([0, 1, 2, 0, 1, 3, 1, 2], budget=3)
    assert (found.hits * 8, found.moved) == (3, 5)


def test_the_host_tier_takes_what_leaves() -> None:
    found = run([0, 1, 2, 0, 1, 2], budget=1, host=2)
    assert (found.hits, found.host_hits, found.moved, found.lifted) == (0, 0.5, 3, 3)


def test_requests_at_once_hold_their_adapters() -> None:
    trace = [0, 1, 2, 3] * 50
    assert run(trace, budget=3, concurrent=8).hits < run(trace, budget=4, concurrent=8).hits


def test_no_policy_beats_the_bound_and_looking_ahead_is_close_to_it() -> None:
    rng = np.random.default_rng(1)
    bytes_of = sizes(30, 10, rng)
    for name, trace in traces(30, 600, 1.0, 1).items():
        budget = sum(bytes_of) // 4
        found = {
            policy: run(trace, budget, sizes=bytes_of, policy=make(trace, bytes_of))
            for policy, make in POLICIES.items()
        }
        most, fewest = most_hits(trace, bytes_of, budget), fewest_bytes(trace, bytes_of, budget)
        assert all(each.hits <= most and each.moved >= fewest for each in found.values()), name
        assert found["Belady"].hits == max(each.hits for each in found.values())
        assert found["Belady"].hits > 0.7 * most


def test_with_equal_sizes_looking_ahead_is_optimal() -> None:
    for trace in itertools.product(range(3), repeat=6):
        found = run(list(trace), budget=2, policy=Clairvoyant(trace, 0))
        best = max(hits for hits in _all_hits(trace, 2))
        assert round(found.hits * 6) == best, trace


def _all_hits(trace: tuple[int, ...], budget: int, held: frozenset[int] = frozenset()) -> list[int]:
    """Of every way to choose who leaves."""
    if not trace:
        return [0]
    key, rest = trace[0], trace[1:]
    if key in held:
        return [1 + hits for hits in _all_hits(rest, budget, held)]
    if len(held) < budget:
        return _all_hits(rest, budget, held | {key})
    return [hits for out in held for hits in _all_hits(rest, budget, held - {out} | {key})]


def test_traces_are_what_they_say_and_the_same_each_time() -> None:
    first, second = traces(100, 8000, 1.0, 3), traces(100, 8000, 1.0, 3)
    assert first == second
    assert {len(trace) for trace in first.values()} == {8000}
    counts = np.sort(np.bincount(first["zipf"], minlength=100))[::-1]
    assert counts[0] == pytest.approx(8000 / 5.187, rel=0.1)  # the harmonic number of 100
    early, late = (np.bincount(first["shift"][part], minlength=100) for part in (slice(0, 1000), slice(7000, 8000)))
    assert early.argmax() != late.argmax()
    assert np.bincount(first["uniform"]).max() < 130
    assert {size // 10 for size in sizes(100, 10, np.random.default_rng(0))} == set(RANKS)
