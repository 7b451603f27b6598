"""The place of an adapter in memory."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Seat:
    """A row of the table, and what is known of the adapter in it. Not its weights: a lease outlives them."""

    slot: int
    generation: str
    magnitude: bool
