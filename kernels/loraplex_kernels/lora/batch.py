"""The LoRA metadata of a step: which rows of the batch use which adapter, and how strongly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from loraplex_kernels.lora.cpu_plan import CpuPlan
    from loraplex_kernels.lora.triton_plan import TritonPlan


@dataclass(frozen=True)
class Run:
    """Consecutive rows of the step that use one adapter: a prefill chunk, or one decoding row.

    A row that mixes several adapters is in several runs; a row on the base alone is in none.
    """

    first: int  # row
    count: int  # rows
    slot: int  # row of the AdapterTable
    weight: float = 1.0


@dataclass(frozen=True)
class LoraBatch:
    """Entries (row, adapter, weight), sorted by adapter, so that each adapter's weights are read once a step.

    With rows 0..4 where 0 and 3 use slot 7, 1 uses slot 2, 2 is the base and 4 mixes both:
    `slot = [2, 7]`, `start = [0, 2, 5]`, `token = [1, 4, 0, 3, 4]`.
    """

    token: Tensor  # int32 [E]: row of x and y
    weight: Tensor  # float32 [E]
    slot: Tensor  # int32 [S]: row of the table of each segment, ascending
    start: Tensor  # int32 [S + 1]: first entry of each segment
    magnitude: bool  # an adapter of the step has DoRA magnitudes: the kernels then need the base's own output
    mixed: bool  # a row has more than one entry
    # The same on the host, sorted by slot, so that no launch has to wait for the device to tell.
    runs: tuple[Run, ...]

    @property
    def entries(self) -> int:
        """E."""
        return self.token.shape[0]

    @property
    def segments(self) -> int:
        """S."""
        return self.slot.shape[0]

    @cached_property
    def cpu_plan(self) -> CpuPlan:
        """How the CPU kernel walks this step, worked out when its first linear asks."""
        from loraplex_kernels.lora.cpu_plan import CpuPlan

        return CpuPlan(self.runs)

    @cached_property
    def triton_plan(self) -> TritonPlan:
        """The same for the Triton kernels, on the batch's device."""
        from loraplex_kernels.lora.triton_plan import TritonPlan

        return TritonPlan(self.runs, self.token.device)


def build_batch(runs: Sequence[Run], device: torch.device, magnitude: bool = False) -> LoraBatch | None:
    """Sort a step's runs into segments; None when every row is on the base alone, so that nothing is launched.

    Within a segment the entries keep the order of the runs: the same batch gives bitwise the same sums.
    """
    ordered = sorted((run for run in runs if run.count > 0), key=lambda run: run.slot)
    if not ordered:
        return None
    counts = np.array([run.count for run in ordered])
    ends = np.cumsum(counts)
    first = np.array([run.first for run in ordered])
    token = np.arange(ends[-1], dtype=np.int64) + np.repeat(first - (ends - counts), counts)
    weight = np.repeat(np.array([run.weight for run in ordered], dtype=np.float32), counts)
    slots = np.array([run.slot for run in ordered])
    heads = np.flatnonzero(np.r_[True, slots[1:] != slots[:-1]])  # runs that begin a segment
    start = np.r_[(ends - counts)[heads], ends[-1]]

    def tensor(values: np.ndarray, dtype: type) -> Tensor:
        return torch.from_numpy(values.astype(dtype)).to(device)

    return LoraBatch(
        token=tensor(token, np.int32),
        weight=tensor(weight, np.float32),
        slot=tensor(slots[heads], np.int32),
        start=tensor(start, np.int32),
        magnitude=magnitude,
        mixed=len(np.unique(token)) < len(token),
        runs=tuple(ordered),
    )
