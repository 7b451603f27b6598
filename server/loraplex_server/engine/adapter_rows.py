"""Which rows of a step each adapter acts on, as the model wants to know it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence as Seq
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from loraplex_kernels import lora
from loraplex_kernels.lora import AdapterTable, LoraStep, Run
from loraplex_kernels.upload import upload
from loraplex_server.engine.binding import SlotUse
from loraplex_server.models.adapter_step import AdapterStep, TermUse, VirtualRows


@dataclass(frozen=True)
class Stretch:
    """Consecutive rows of a step: one sequence's, from one of its positions on."""

    adapters: Seq[SlotUse]  # the sequence's
    position: int
    count: int


@dataclass(frozen=True)
class _Piece:
    """The rows of a stretch that one adapter acts on."""

    use: SlotUse
    row: int
    position: int
    count: int


def adapter_step(stretches: Seq[Stretch], table: AdapterTable, *, head: bool = False) -> AdapterStep | None:
    """Gather what the stretches' sequences use.

    Args:
        stretches: all rows of the step, in order; none: nobody is on an adapter.
        table: the adapters' low-rank weights.
        head: only adapters that touch `lm_head`.

    Returns:
        None where all rows are on the base.
    """
    runs: list[Run] = []
    pieces: list[_Piece] = []
    magnitude = False
    row = 0
    for stretch in stretches:
        position, count = stretch.position, stretch.count
        for use in stretch.adapters:
            skipped = max(use.start - position, 0)  # rows before an activated LoRA's first
            if skipped >= count or (head and not use.head):
                continue
            if use.low_rank:
                runs.append(Run(row + skipped, count - skipped, use.slot, use.weight))
                magnitude = magnitude or use.magnitude
            if use.terms is not None:
                pieces.append(_Piece(use, row + skipped, position + skipped, count - skipped))
        row += count
    batch = lora.build_batch(runs, table.device, magnitude)
    if batch is None and not pieces:
        return None
    low_rank = None if batch is None else LoraStep(batch, table)
    return AdapterStep(low_rank, _term_uses(pieces, table.device) if pieces else ())


def _term_uses(pieces: Seq[_Piece], device: torch.device) -> tuple[TermUse, ...]:
    """One for each adapter and weight, so that its rows are computed together."""
    alike: dict[tuple[int, float], list[_Piece]] = defaultdict(list)
    for piece in pieces:
        alike[piece.use.slot, piece.use.weight].append(piece)
    return tuple(_term_use(group, device) for group in alike.values())


def _term_use(pieces: Seq[_Piece], device: torch.device) -> TermUse:
    use = pieces[0].use
    if use.terms is None:
        raise ValueError("an adapter without terms has no rows for them")
    virtual = None
    in_front = [piece for piece in pieces if piece.position < use.virtual]
    if in_front:
        counts = [min(piece.count, use.virtual - piece.position) for piece in in_front]
        virtual = VirtualRows(
            rows=_ranges([piece.row for piece in in_front], counts, device),
            places=_ranges([piece.position for piece in in_front], counts, device),
        )
    rows = _ranges([piece.row for piece in pieces], [piece.count for piece in pieces], device)
    return TermUse(use.terms(), rows, use.weight, virtual)


def _ranges(firsts: Seq[int], counts: Seq[int], device: torch.device) -> Tensor:
    """int64: each of `firsts` and the numbers that follow it, as many as `counts` says."""
    parts = [np.arange(first, first + count) for first, count in zip(firsts, counts, strict=True)]
    return upload([np.concatenate(parts)], device)[0]
