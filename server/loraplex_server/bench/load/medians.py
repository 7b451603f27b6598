"""Several runs in one."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any


def medians(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Each number's median over the runs that have it, mappings inside mappings included.

    Text that is the same in all runs is kept; what differs, and True or False, is left out. A number that no run has
    (None in each) stays None.
    """
    names = dict.fromkeys(name for run in runs for name in run)
    merged = {name: _merged([run[name] for run in runs if run.get(name) is not None]) for name in names}
    return {name: value for name, value in merged.items() if value is not _DIFFERS}


def spread(values: Sequence[float]) -> float | None:
    """(largest - smallest) / median: how far repeats lie apart; None for fewer than two, or a median of 0."""
    middle = statistics.median(values) if len(values) > 1 else 0
    return round((max(values) - min(values)) / middle, 4) if middle else None


_DIFFERS = object()


def _merged(values: list[Any]) -> Any:
    if not values:
        return None
    if all(isinstance(value, Mapping) for value in values):
        return medians(values)
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return statistics.median(values)
    if all(isinstance(value, str) and value == values[0] for value in values):
        return values[0]
    return _DIFFERS
