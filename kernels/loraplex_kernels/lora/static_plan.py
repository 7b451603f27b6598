"""The plan of a decode step at addresses and sizes that never change, for CUDA graphs."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from loraplex_kernels.lora.batch import LoraBatch
from loraplex_kernels.lora.block_arrays import BlockArrays, Extent, Packed, pack
from loraplex_kernels.lora.table import AdapterTable
from loraplex_kernels.lora.triton_plan import DECODE_ROWS, PREFILL_ROWS


@dataclass(frozen=True)
class StaticLimits:
    """What a captured launch was made for; the grids and the intermediate values hang on these alone.

    Args:
        rows: of x and y.
        uses: (adapter, block) pairs; as many as rows if no row mixes adapters.
        rank: the highest of any adapter. Programs past an adapter's own rank return at once, but are launched: a few
            sets of graphs (16, 64, 256) cost less than one for the highest.
        magnitude: the captured launches read DoRA's magnitudes. Steps without them may use it.
    """

    rows: int
    uses: int
    rank: int
    magnitude: bool = False


class StaticPlan:
    """Buffers for the largest step within some limits; smaller ones leave empty blocks and uses behind.

    The contract with whoever captures graphs:

    1. Make one for each set of limits, run the model once on `plan.batch` (this compiles the kernels and fills the
       caches that may not be filled while capturing), then capture the same call.
    2. Before each replay ask `misfit(batch)`. None: `update(batch)` on the stream of the replay, then replay. A reason:
       use a graph with wider limits, or run the step without one. An adapter whose rank is above what the graph was
       captured for is found here, on the host, from the table's own record; nothing is launched to find it out.
    3. `stale` says that the table has moved (`AdapterTable.grow`): no step fits any more, and the plan and its graphs
       are to be made anew. Until then the old columns are kept alive, so that no replay reads memory of others.

    An update is one copy to the device. The pinned memory that it leaves from is taken in turns, so that the host may
    prepare step t + 1 while step t runs; only a third one waits.

    Args:
        limits: of the steps.
        table: whose adapters they use; the plan lies on its device.

    Raises:
        ValueError: a limit is not positive.
    """

    def __init__(self, limits: StaticLimits, table: AdapterTable) -> None:
        if min(limits.rows, limits.uses, limits.rank) < 1:
            raise ValueError(f"rows, uses and rank of a captured step must be at least 1, not {limits}")
        self.limits = limits
        self._table = table
        self._generation = table.generation
        self._columns = table.columns()  # kept alive: a captured launch holds their addresses
        extent = Extent(limits.rows, limits.uses, DECODE_ROWS)  # each block has a row of its own, so there are no more
        self._memory = torch.empty(extent.starts[-1], dtype=torch.int32, device=table.device)
        self._staging = [_Staging(extent, table.device) for _ in range(2)]
        self._turn = 0
        self.arrays: tuple[BlockArrays, ...] = (extent.arrays(self._memory),)
        self.clear()

    @property
    def stale(self) -> bool:
        """The table has moved since: whatever was captured with this plan reads the old one."""
        return self._table.generation != self._generation

    def highest_rank(self, table: AdapterTable) -> int:
        """The limit, whatever the step's own adapters have."""
        return self.limits.rank

    @cached_property
    def batch(self) -> LoraBatch:
        """What the model is given while its launches are captured: a batch that reads this plan's buffers."""
        return _StaticBatch((), self.limits.magnitude, self._table.device, self)

    def misfit(self, batch: LoraBatch) -> str | None:
        """Why a step does not fit, None where it does."""
        limits, runs = self.limits, batch.runs
        if self.stale:
            return "the adapter table has moved since the plan was made"
        if batch.magnitude and not limits.magnitude:
            return "an adapter has DoRA magnitudes"
        if any(run.first + run.count > limits.rows for run in runs):
            return f"there are more than {limits.rows} rows"
        if any(run.count >= PREFILL_ROWS for run in runs):
            return f"a run has {PREFILL_ROWS} rows or more, and is computed in larger blocks"
        rank = self._table.highest_rank({run.slot for run in runs})
        if rank > limits.rank:
            return f"an adapter has rank {rank}, above {limits.rank}"
        uses = len(batch.decode_blocks.slot)
        return f"there are {uses} uses of adapters, more than {limits.uses}" if uses > limits.uses else None

    def update(self, batch: LoraBatch) -> None:
        """Write a step's work into the buffers, asynchronously, in the order of the current stream.

        Raises:
            ValueError: the step does not fit.
        """
        reason = self.misfit(batch)
        if reason is not None:
            raise ValueError(f"the step does not fit a plan for {self.limits}: {reason}")
        self._write(batch.decode_blocks)

    def clear(self) -> None:
        """Leave no work in the buffers: launches return at once and change nothing."""
        self._write(pack((), DECODE_ROWS))

    def _write(self, packed: Packed) -> None:
        self._staging[self._turn].send(packed, self._memory)
        self._turn = (self._turn + 1) % len(self._staging)


@dataclass(frozen=True)
class _StaticBatch(LoraBatch):
    plan: StaticPlan = field(repr=False)

    @cached_property
    def triton_plan(self) -> StaticPlan:
        return self.plan


class _Staging:
    """Memory on the host that copies leave from, not written to before the last one has left."""

    def __init__(self, extent: Extent, device: torch.device) -> None:
        cuda = device.type == "cuda"
        self._extent = extent
        self._memory = torch.zeros(extent.starts[-1], dtype=torch.int32, pin_memory=cuda)
        self._left = torch.cuda.Event() if cuda else None  # type: ignore[no-untyped-call]

    def send(self, packed: Packed, target: Tensor) -> None:
        if self._left is not None:
            self._left.synchronize()
        self._extent.fill(self._memory.numpy(), packed)
        target.copy_(self._memory, non_blocking=True)
        if self._left is not None:
            self._left.record()
