"""Rows that use the same adapters, in blocks: what a kernel works on at a time, on either device."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from loraplex_kernels.lora.batch import Run, overlap


class Block(NamedTuple):
    """Rows with one list of adapters, so that a piece of weights that was loaded serves them all.

    No row is in two blocks. So whoever has a block adds up everything that is added to its rows, in a fixed order,
    and nobody else writes there: that holds for rows that mix adapters just as for those that use one.
    """

    rows: Sequence[int]
    slots: tuple[int, ...]  # rows of the table
    weights: tuple[Sequence[float], ...]  # of each slot, of each row


def cut(runs: Sequence[Run], size: int) -> list[Block]:
    """Blocks of at most `size` rows, ordered by their first adapter where the runs are."""
    blocks = []
    for whole in _mixtures(runs) if overlap(runs) else _single(runs):
        rows, parts = len(whole.rows), -(-len(whole.rows) // size)
        for index in range(parts):  # as even as can be: nobody should wait for a full block while having a row
            part = slice(rows * index // parts, rows * (index + 1) // parts)
            blocks.append(Block(whole.rows[part], whole.slots, tuple(of_slot[part] for of_slot in whole.weights)))
    return blocks


def _single(runs: Sequence[Run]) -> Iterator[Block]:
    """All rows of each adapter, where no row uses two: whole runs at a time, since this is what most steps are."""
    found: dict[int, tuple[list[int], list[float]]] = {}
    for run in runs:
        rows, weights = found.setdefault(run.slot, ([], []))
        rows.extend(range(run.first, run.first + run.count))
        weights.extend([run.weight] * run.count)
    for slot, (rows, weights) in found.items():
        yield Block(rows, (slot,), (weights,))


def _mixtures(runs: Sequence[Run]) -> Iterator[Block]:
    """All rows of each list of adapters."""
    uses: dict[int, list[Run]] = {}
    for run in runs:
        for row in range(run.first, run.first + run.count):
            uses.setdefault(row, []).append(run)
    alike: dict[tuple[int, ...], list[int]] = {}
    for row, mix in uses.items():
        alike.setdefault(tuple(run.slot for run in mix), []).append(row)
    for slots, rows in alike.items():
        yield Block(rows, slots, tuple([uses[row][use].weight for row in rows] for use in range(len(slots))))
