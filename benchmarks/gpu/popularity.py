"""Which adapter each row of a step uses, the same at each run."""

from __future__ import annotations

from collections.abc import Sequence

from loraplex_kernels.lora.workload import pick_slots

SEEDS = 200  # that the typical one is looked for among


def slots_of(popularity: str, rows: int, adapters: int) -> list[int]:
    """As `pick_slots`, but a Zipf draw is a typical one: with as many distinct adapters as are expected.

    A batch's bytes are those of its distinct adapters, and one draw may be far off: seed 0 has 25 at 32 rows of 100
    adapters, where 19.6 are expected.

    Args:
        popularity: see `pick_slots`.
        rows: of the step.
        adapters: to draw from.
    """
    if popularity != "zipf":
        return pick_slots(popularity, rows, adapters, seed=0)
    wanted = expected_distinct(rows, adapters)
    draws = (pick_slots("zipf", rows, adapters, seed) for seed in range(SEEDS))
    return min(draws, key=lambda slots: abs(len(set(slots)) - wanted))  # of equals the first


def expected_distinct(rows: int, adapters: int) -> float:
    """Of Zipf's law with exponent 1: the sum over adapters of 1 - (1 - p)^rows."""
    total = sum(1 / (k + 1) for k in range(adapters))
    return sum(1 - (1 - 1 / (k + 1) / total) ** rows for k in range(adapters))


def renumbered(slots: Sequence[int]) -> list[int]:
    """The same choice among only those adapters that are drawn, in order of their first row."""
    numbers = {slot: number for number, slot in enumerate(dict.fromkeys(slots))}
    return [numbers[slot] for slot in slots]
