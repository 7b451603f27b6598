"""Rows that use the same adapters, in blocks: what a kernel works on at a time, on either device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from loraplex_kernels.lora.batch import Run


@dataclass(frozen=True)
class Block:
    """Rows with one list of adapters, so that a piece of weights that was loaded serves them all.

    No row is in two blocks. So whoever has a block adds up everything that is added to its rows, in a fixed order,
    and nobody else writes there: that holds for rows that mix adapters just as for those that use one.
    """

    rows: tuple[int, ...]
    slots: tuple[int, ...]  # rows of the table
    weights: tuple[tuple[float, ...], ...]  # of each slot, of each row


def cut(runs: Sequence[Run], size: int) -> list[Block]:
    """Blocks of at most `size` rows, ordered by their first adapter where the runs are."""
    uses: dict[int, list[Run]] = {}
    for run in runs:
        for row in range(run.first, run.first + run.count):
            uses.setdefault(row, []).append(run)
    alike: dict[tuple[int, ...], list[int]] = {}
    for row, mix in uses.items():
        alike.setdefault(tuple(run.slot for run in mix), []).append(row)
    blocks = []
    for slots, members in alike.items():
        for start in range(0, len(members), size):
            rows = tuple(members[start : start + size])
            weights = tuple(tuple(uses[row][use].weight for row in rows) for use in range(len(slots)))
            blocks.append(Block(rows, slots, weights))
    return blocks
