"""The adapters of a decoding step at an address that never changes, for the tapes of the CPU."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, field
from functools import cached_property

import torch

from loraplex_kernels.lora.batch import LoraBatch
from loraplex_kernels.lora.cpu_plan import CpuPlan
from loraplex_kernels.lora.table import AdapterTable


class TapedPlan(CpuPlan):
    """A `CpuPlan` that takes on the work of another: a kernel that was given its address computes any step.

    Any number of rows, adapters and ranks, of any table: the kernel reads all of that where the address leads to.
    """

    def __init__(self) -> None:
        super().__init__(())
        self._loaded: CpuPlan | None = None

    def load(self, plan: CpuPlan, table: AdapterTable) -> None:
        """Take on the work of a step, whose plan is kept until the next."""
        plan.write(self._step, table)
        self._loaded = plan

    def bind(self, table: AdapterTable) -> int:
        """See `CpuPlan.bind`; of the step that was loaded last."""
        del table  # its columns were bound with the plan
        return ctypes.addressof(self._step)


@dataclass(frozen=True)
class TapedBatch(LoraBatch):
    """What a forward that is recorded is given in place of a step's own batch; it has no runs to ask about."""

    plan: TapedPlan = field(repr=False)

    @cached_property
    def cpu_plan(self) -> TapedPlan:
        """The plan whose address is recorded."""
        return self.plan


def taped_batch(plan: TapedPlan, *, magnitude: bool) -> TapedBatch:
    """For steps with adapters; with DoRA magnitudes among them or without."""
    return TapedBatch((), magnitude, torch.device("cpu"), plan)
