"""A step as rank 0 tells it, and as a follower takes it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from loraplex_adapters.terms import Terms
from loraplex_kernels.attention import Span
from loraplex_server.engine.adapter_rows import Stretch
from loraplex_server.engine.binding import SlotUse
from loraplex_server.engine.parallel.messages import Forward, Rows, Use


def told(spans: Sequence[Span], stretches: Sequence[Stretch]) -> Forward:
    """For the other ranks."""
    return Forward(
        tuple(span.count for span in spans),
        tuple(span.context for span in spans),
        tuple(np.asarray(span.block_table, dtype=np.int32).tobytes() for span in spans),
        tuple(Rows(tuple(map(_use, each.adapters)), each.position, each.count) for each in stretches),
    )


def spans_of(message: Forward) -> list[Span]:
    """What rank 0 told of the sequences."""
    parts = zip(message.counts, message.contexts, message.tables, strict=True)
    return [Span(count, context, np.frombuffer(table, np.int32).tolist()) for count, context, table in parts]


def stretches_of(message: Forward, terms: Callable[[int], Terms]) -> list[Stretch]:
    """What rank 0 told of the adapters.

    Args:
        message: of the step.
        terms: this rank's, by slot.
    """
    return [
        Stretch(tuple(_slot_use(use, terms) for use in rows.uses), rows.position, rows.count)
        for rows in message.stretches
    ]


def _use(use: SlotUse) -> Use:
    return Use(
        use.slot,
        use.weight,
        use.magnitude,
        use.head,
        use.low_rank,
        use.start,
        use.virtual,
        use.terms is not None,
    )


def _slot_use(use: Use, terms: Callable[[int], Terms]) -> SlotUse:
    own = partial(terms, use.slot) if use.terms else None
    return SlotUse(use.slot, use.weight, use.magnitude, use.head, use.low_rank, use.start, use.virtual, own)
