"""What the run of the matrix found, for the page."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Record:
    """By the case's id, then by family."""

    differences: dict[str, dict[str, float]] = field(default_factory=dict)
    refusals: dict[str, dict[str, str]] = field(default_factory=dict)
