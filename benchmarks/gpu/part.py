"""What the parts of kernels.py have in common: a setting, cases, and a row of a table for each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gpu.clock import Clock, Time
from gpu.outcome import Failure, Outcome, WrongError, attempt
from gpu.tables import Column


@dataclass(frozen=True)
class Setting:
    """What all parts are measured with."""

    clock: Clock
    copy: float  # bytes a second
    dtype: torch.dtype
    shape: str
    rows: tuple[int, ...]
    popularity: tuple[str, ...]

    @property
    def device(self) -> torch.device:
        """Of the clock."""
        return self.clock.device

    def of_copy(self, nbytes: float, outcome: Outcome) -> str:
        """The bytes over the time, as a share of what a copy moves."""
        return f"{nbytes / outcome.seconds / self.copy:.0%}" if isinstance(outcome, Time) else ""

    def timed(self, ways: Mapping[str, Callable[[], Time]]) -> dict[str, Outcome]:
        """What came of each way."""
        return {name: attempt(way, self.device) for name, way in ways.items()}


@dataclass(frozen=True)
class Row:
    """One case: what is printed, and what is kept."""

    cells: Sequence[object]
    record: Mapping[str, Any]


@dataclass(frozen=True)
class Part:
    """One table. `measure` raises where a case fails as a whole; a way that fails is a cell."""

    title: str
    columns: Callable[[Setting], Sequence[Column]]
    cases: Callable[[Setting], Iterable[Any]]
    label: Callable[[Any], Sequence[object]]  # the first cells of a case's row
    measure: Callable[[Setting, Any], Row]


def record(outcomes: Mapping[Any, Outcome]) -> dict[str, Any]:
    """For a file: seconds, which of them are the host's launches too, and why there are none."""
    times = {name: each for name, each in outcomes.items() if isinstance(each, Time)}
    return {
        "seconds": {name: time.seconds for name, time in times.items()},
        "not_graphed": [name for name, time in times.items() if not time.graphed],
        "failed": {name: each.reason for name, each in outcomes.items() if isinstance(each, Failure)},
    }


def check_near(found: Tensor, expected: Tensor, limit: float, what: str) -> None:
    """Raises WrongError where they differ by more of the norm of what is expected."""
    off = float((found.double() - expected.double()).norm() / expected.double().norm())
    if not off < limit:
        raise WrongError(off, limit, what)
