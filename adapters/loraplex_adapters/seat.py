"""The place of an adapter in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from loraplex_adapters.report import Origin
from loraplex_adapters.terms import Terms, Traits


@dataclass(frozen=True)
class Seat:
    """A row of the table, and what is known of the adapter in it. Not its weights: a lease outlives them.

    Args:
        slot: row of the table.
        generation: hash of the content.
        magnitude: it has DoRA magnitudes.
        low_rank: it has low-rank updates at all.
        head: it changes what `lm_head` gives, by low rank or by a term.
        traits: the rest of what the engine has to know.
        origin: where it came from.
        terms: where its terms are found as long as it sits; raises RuntimeError after that.
    """

    slot: int
    generation: str
    magnitude: bool
    low_rank: bool
    head: bool
    traits: Traits
    origin: Origin
    terms: Callable[[], Terms] = field(compare=False)
