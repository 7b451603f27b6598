"""The sizes that the Triton kernels are launched with, in one place, so that a benchmark can try others."""

from __future__ import annotations

import math
from dataclasses import dataclass

from loraplex_kernels.lora.block_arrays import BlockArrays
from loraplex_kernels.lora.triton_plan import BULK_ROWS, DECODE_ROWS, PREFILL_ROWS
from loraplex_kernels.site_group import SiteGroup


@dataclass(frozen=True)
class Tiles:
    """How the blocks of one size are worked on.

    Args:
        shrink_r: ranks that the first kernel works out at once; those past an adapter's own are masked, and not read.
        splits: parts of K, at most, that are summed side by side, and then in order.
        half_k: columns of x that are read at once, where they are 2 bytes wide.
        block_n: columns of y of one program, at most.
        shrink_warps: of a program of the first kernel.
        expand_warps: of the second.
        shrink_stages: loads of x and A that are under way while earlier ones are multiplied.
        expand_stages: the same of B; most adapters have all of their ranks in one load.
    """

    shrink_r: int
    splits: int
    half_k: int
    block_n: int
    shrink_warps: int
    expand_warps: int
    shrink_stages: int
    expand_stages: int

    def block_k(self, itemsize: int) -> int:
        """Columns of x that are read at once."""
        # Products in float32 take no tensor core, and their operands lie in registers, of which there are not so many.
        return self.half_k if itemsize == 2 else 32

    def splits_of(self, in_features: int) -> int:
        """Parts of K: a power of two, so that there are few forms to compile, none of which spills registers."""
        return 1 << min(self.splits, max(1, in_features // 1024)).bit_length() - 1

    def columns(self, group: SiteGroup) -> int:
        """Columns of y of one program: half as many where rows of B and y cannot be read in wide words.

        Each of the narrow ones has an address of its own, for which there would be no registers.
        """
        return self.block_n if width_multiple(group) == WHOLE_WORDS else self.block_n // 2


# Elements in which rows are read where all widths allow it; of int8 these are 16 bytes, a thread's widest word.
WHOLE_WORDS = 16


def width_multiple(group: SiteGroup) -> int:
    """What divides every width and offset, up to `WHOLE_WORDS`."""
    return math.gcd(WHOLE_WORDS, *group.widths)


# Ranks that the second kernel multiplies at once, the least that a tensor core takes; v's rows are padded to it.
EXPAND_R = 16

# None of these follows from the step at hand, only from the rows of a block: so a row's sums never hang on its company.
TILES = {
    # 16 is the least that a tensor core multiplies, and most adapters have rank 8 or 16.
    DECODE_ROWS: Tiles(16, 8, 256, 256, shrink_warps=4, expand_warps=8, shrink_stages=4, expand_stages=1),
    # x is read once for each tile of ranks, so these are wider here.
    PREFILL_ROWS: Tiles(32, 4, 64, 64, shrink_warps=8, expand_warps=8, shrink_stages=3, expand_stages=1),
    BULK_ROWS: Tiles(32, 4, 64, 64, shrink_warps=8, expand_warps=8, shrink_stages=3, expand_stages=1),
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
    programs = arrays.uses * sum(math.ceil(width / TILES[DECODE_ROWS].columns(group)) for width in group.widths)
    return of_program <= FUSED_PROGRAM_BYTES and programs * of_program <= FUSED_BYTES
