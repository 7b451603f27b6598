"""What one of several processes holds of the base model, and so of each adapter. Plain numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

Span = tuple[int, int]  # from the first to before the last


@dataclass(frozen=True)
class SitePart:
    """A rank's part of one site: rows of its weight `[out, in]`, or columns of them.

    Args:
        outputs: the rows, in this order; None: all of them, however many an adapter has.
        inputs: the columns; None: all of them. The outputs of all ranks are then added up.
    """

    outputs: tuple[Span, ...] | None = None
    inputs: Span | None = None


@dataclass(frozen=True)
class Shard:
    """One rank's part of a model.

    Args:
        sites: by index of the site; the output layer is the last, and what adapters do to it is rank 0's alone.
        kv_heads: of keys and values.
        first: it is rank 0, which adds what may be added only once: biases of outputs that are added up.
    """

    sites: Sequence[SitePart]
    kv_heads: Span
    first: bool


def width(spans: Sequence[Span]) -> int:
    """How many they are together."""
    return sum(last - first for first, last in spans)
