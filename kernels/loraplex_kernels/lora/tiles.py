"""The sizes that the Triton kernels are launched with, in one place, so that a benchmark can try others."""

from __future__ import annotations

import math
from dataclasses import dataclass

from loraplex_kernels.lora.block_arrays import BlockArrays
from loraplex_kernels.lora.group import SiteGroup
from loraplex_kernels.lora.triton_plan import BULK_ROWS, DECODE_ROWS, PREFILL_ROWS


@dataclass(frozen=True)
class Tiles:
    """How the blocks of one size are worked on.

    Args:
        block_r: ranks that are multiplied at once; those past an adapter's own are masked, and not read.
        block_k_bytes: of a row of x that are read at once.
        block_n: columns of y of one program.
        warps: of a program.
        stages: loads that are under way while earlier ones are multiplied.
    """

    block_r: int
    block_k_bytes: int
    block_n: int
    warps: int
    stages: int


# None of these follows from the step at hand, only from the rows of a block: so a row's sums never hang on its company.
TILES = {
    # 16 is the least that a tensor core multiplies, and most adapters have rank 8 or 16.
    DECODE_ROWS: Tiles(block_r=16, block_k_bytes=512, block_n=256, warps=4, stages=4),
    # With fewer warps the sums of 64 rows spill. x is read once for each tile of ranks, so the tiles are wider here.
    PREFILL_ROWS: Tiles(block_r=32, block_k_bytes=128, block_n=128, warps=8, stages=3),
    BULK_ROWS: Tiles(block_r=32, block_k_bytes=128, block_n=64, warps=8, stages=3),
}

# One launch for both halves reads A once for each tile of columns, from the second time on out of the L2 cache. That is
# worth it while these reads take no longer than a launch and its start, some 2 to 3 us at L2's few TB/s, and while no
# single program, which reads all of its A by itself, is the slowest. Reckoned, not measured: benchmarks/kernels.py can.
FUSED_BYTES = 16 << 20
FUSED_PROGRAM_BYTES = 160 << 10


def fuses(arrays: BlockArrays, group: SiteGroup, in_features: int, highest: int, itemsize: int) -> bool:
    """Whether decoding takes one launch.

    Args:
        arrays: the blocks; of a captured plan the largest number that it has room for.
        group: the linears.
        in_features: K.
        highest: rank of any adapter.
        itemsize: of A, in bytes.
    """
    if arrays.size != DECODE_ROWS:
        return False
    of_program = highest * in_features * itemsize
    programs = arrays.uses * sum(math.ceil(width / TILES[DECODE_ROWS].block_n) for width in group.widths)
    return of_program <= FUSED_PROGRAM_BYTES and programs * of_program <= FUSED_BYTES


def splits_of(in_features: int) -> int:
    """Parts of K that are summed side by side, and then in order; by K alone, whatever the batch."""
    return min(8, max(1, in_features // 1024))
