"""What was resident, against what was asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from footprint.watch import FIRST, Phase

MB = 1_000_000


@dataclass(frozen=True)
class Asked:
    """Bytes that a server is expected to have, beside what it needs to run."""

    weights: int
    kv_cache: int
    adapters: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.kv_cache + self.adapters


def figures(asked: Asked, phases: Sequence[Phase]) -> dict[str, Any]:
    """Megabytes (1e6 bytes): the parts, the phases, and what the highest of them has beside the parts."""
    return {
        **{name: round(size / MB, 1) for name, size in asdict(asked).items()},
        "phases": [
            {"name": phase.name, **{name: round(size / MB, 1) for name, size in _sizes(phase).items()}}
            for phase in phases
        ],
        "engine_rest": round((max(_sizes(phase)["engine"] for phase in phases) - asked.total) / MB, 1),
        "together_rest": round((max(phase.together for phase in phases) - asked.total) / MB, 1),
    }


def print_phases(console: Console, title: str, asked: Asked, phases: Sequence[Phase]) -> None:
    """A line for each phase."""
    parts = ", ".join(f"{name.replace('_', ' ')} {size / MB:.0f}" for name, size in asdict(asked).items())
    table = Table(title=f"{title}, peaks in MB: {parts}; together {asked.total / MB:.0f}", title_justify="left")
    table.add_column("")
    for heading in ("engine", "mapped files", "rest", "HTTP", "all", "rest of all"):
        table.add_column(heading, justify="right")
    for phase in phases:
        sizes = _sizes(phase)
        served = phase.name != FIRST  # before, there is nothing of what was asked for
        table.add_row(
            phase.name,
            *(f"{sizes[name] / MB:.0f}" for name in ("engine", "engine_files")),
            f"{(sizes['engine'] - asked.total) / MB:.0f}" if served else "",
            f"{sizes['front'] / MB:.0f}",
            f"{phase.together / MB:.0f}",
            f"{(phase.together - asked.total) / MB:.0f}" if served else "",
        )
    console.print(table)


def _sizes(phase: Phase) -> dict[str, int]:
    engine, front = phase.engine, phase.front
    return {
        "engine": 0 if engine is None else engine.peak,
        "engine_files": 0 if engine is None else engine.files,
        "front": 0 if front is None else front.peak,
        "together": phase.together,
    }
