"""The LoRA metadata of a step: which rows of the batch use which adapter, and how strongly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from operator import attrgetter
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from loraplex_kernels.lora.block_arrays import Packed
    from loraplex_kernels.lora.cpu_plan import CpuPlan
    from loraplex_kernels.lora.triton_plan import StepPlan


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

    Only the runs are kept. What a path reads of them is worked out when it first asks, once a step.

    Args:
        runs: none of them empty, sorted by slot; on the host, so that no launch waits for the device to tell.
        magnitude: an adapter of the step has DoRA magnitudes: the kernels then need the base's own output.
        device: where the step runs.
    """

    runs: tuple[Run, ...]
    magnitude: bool
    device: torch.device

    @cached_property
    def token(self) -> Tensor:
        """int32 `[E]`: row of x and y."""
        rows = [row for run in self.runs for row in range(run.first, run.first + run.count)]
        return torch.tensor(rows, dtype=torch.int32, device=self.device)

    @cached_property
    def weight(self) -> Tensor:
        """float32 `[E]`."""
        weights = [run.weight for run in self.runs for _ in range(run.count)]
        return torch.tensor(weights, dtype=torch.float32, device=self.device)

    @cached_property
    def slot(self) -> Tensor:
        """int32 `[S]`: row of the table of each segment, ascending."""
        return torch.tensor(list(self._counts), dtype=torch.int32, device=self.device)

    @cached_property
    def start(self) -> Tensor:
        """int32 `[S + 1]`: first entry of each segment."""
        return torch.tensor([0, *accumulate(self._counts.values())], dtype=torch.int32, device=self.device)

    @property
    def entries(self) -> int:
        """E."""
        return sum(self._counts.values())

    @property
    def segments(self) -> int:
        """S."""
        return len(self._counts)

    @cached_property
    def _counts(self) -> dict[int, int]:
        """Entries of each segment, by slot."""
        counts: dict[int, int] = {}
        for run in self.runs:
            counts[run.slot] = counts.get(run.slot, 0) + run.count
        return counts

    @cached_property
    def mixed(self) -> bool:
        """A row has more than one entry."""
        return overlap(self.runs)

    @cached_property
    def cpu_plan(self) -> CpuPlan:
        """How the CPU kernel walks this step."""
        from loraplex_kernels.lora.cpu_plan import CpuPlan

        return CpuPlan(self.runs)

    @cached_property
    def triton_plan(self) -> StepPlan:
        """The same for the Triton kernels, on the batch's device."""
        from loraplex_kernels.lora.triton_plan import TritonPlan

        return TritonPlan(self.runs, self.device)

    @cached_property
    def decode_blocks(self) -> Packed:
        """All rows in the blocks that decoding takes, on the host, for a plan that is captured."""
        from loraplex_kernels.lora.block_arrays import pack
        from loraplex_kernels.lora.triton_plan import DECODE_ROWS

        return pack(self.runs, DECODE_ROWS)


def build_batch(runs: Sequence[Run], device: torch.device, magnitude: bool = False) -> LoraBatch | None:
    """Sort a step's runs into segments; None when every row is on the base alone, so that nothing is launched.

    Within a segment the entries keep the order of the runs: the same batch gives bitwise the same sums.
    """
    ordered = tuple(sorted((run for run in runs if run.count > 0), key=attrgetter("slot")))
    return LoraBatch(ordered, magnitude, device) if ordered else None


def overlap(runs: Sequence[Run]) -> bool:
    """Whether a row is in more than one of the runs."""
    end = 0
    for run in sorted(runs, key=attrgetter("first")):
        if run.first < end:
            return True
        end = run.first + run.count
    return False
