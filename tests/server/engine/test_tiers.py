"""Adapters that come and go between disk, host and device answer as if they had stayed."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.checkpoints import VARIANTS
from support.engines import make_engine, request, run


def test_answers_are_the_same_wherever_an_adapter_was_meanwhile(base: Path, adapters: Path) -> None:
    roomy = make_engine(base, enable_prefix_caching=False)
    sizes = {}
    expected = {}
    for name in VARIANTS:
        expected[name] = run(roomy, [request(name, [1, 2, 3], [name], root=adapters)])[name, 0]
    for entry in roomy.stats().adapters.entries:
        sizes[entry.name] = entry.nbytes
    largest = max(sizes.values())
    tight = make_engine(
        base, enable_prefix_caching=False, adapter_memory=largest, adapter_host_memory=sum(sizes.values()) // 2
    )
    for turn in range(3):
        for name in VARIANTS:
            found = run(tight, [request(f"{name} {turn}", [1, 2, 3], [name], root=adapters)])[f"{name} {turn}", 0]
            assert found.tokens == expected[name].tokens
            assert found.logprobs == pytest.approx(expected[name].logprobs, abs=1e-6)
            assert found.started is not None
            assert found.started.generation == expected[name].started.generation
    stats = tight.stats().adapters
    assert stats.host_loads_total > 0
    assert stats.loads_total > len(VARIANTS)  # some had to be read again
    assert stats.resident_bytes <= largest
    assert stats.host_bytes <= sum(sizes.values()) // 2
    assert stats.hits_total + stats.misses_total == 3 * len(VARIANTS)
    tight.check_integrity()
