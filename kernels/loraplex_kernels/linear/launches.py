"""How the quantized linear is launched: tiles and stages by rows, N and K; what a benchmark tunes.

Nothing here was measured yet; the reasoning is this. An H100 streams 14.5 bytes a cycle and multiprocessor, so a tile
of 64 outputs and a chunk of 128 inputs (4 KiB) is due every 280 cycles. Each of its four warps has 64 weights a lane:
in the compiled loop 24 shifts, 32 `lop3` and 32 `hfma2`, and some 130 instructions more for copies, barriers, products
and scales; so 220 cycles of 280, and 170 where four warps have 128 outputs. NF4 takes 160 `prmt`, 360 cycles in all: it
should end near 80 % of its bytes' bound. Integers should reach theirs where about 18 KiB a multiprocessor are in
flight (3.35 TB/s for 0.7 us), which two blocks of three stages have; more blocks hide what one exposes: barriers, zero
points, the first chunk. From 32 rows on tiles are 128 wide, since each block reads x again (`rows * 2` bytes an input,
against 32 or 64 of weights) and x out of L2 would become the bound.

    Llama-3.1-8B, N x K       blocks of 64   splits   blocks   bytes   at 3.35 TB/s
    qkv      6144 x 4096           96          4        384   13.0 MB    3.9 us
    o        4096 x 4096           64          4        256    8.7 MB    2.6 us
    gate_up  28672 x 4096         448          1        448   60.6 MB   18.1 us
    down     4096 x 14336          64          4        256   30.3 MB    9.0 us

Splits and the order of sums follow from N and K alone, and every bucket of rows runs the same instructions (Triton 3.6
picks `wgmma` from 16 columns on, so 16 rows is the smallest tile): a row's result does not depend on the others.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

# More rows than this are multiplied by cuBLAS, with weights unpacked to a scratch: that should cost about 6 ms for the
# 7 G weights of an 8B model on an H100 while the scratch stays in L2. The packed kernel reads weights once for 64 rows
# and multiplies at perhaps half of cuBLAS's rate, 0.008 ms a row more. A benchmark may set it.
MOST_ROWS = 256
# Bytes of that scratch: half of an H100's L2, so that a slice is multiplied before it is evicted.
SCRATCH_BYTES = 32 << 20
# Blocks of 64 outputs to aim for: two or three for each of an H100's 132 multiprocessors.
BLOCKS = 256
LEAST_CHUNKS = 4  # of a split: fewer, and its sums cost as many bytes as its weights
LEAST_BLOCK_N = 32  # of any launch; sizes the counters

BUCKETS = (16, 32, 64)  # rows of a tile


@dataclass(frozen=True)
class Launch:
    """What may be tuned without changing a single bit of the result."""

    block_n: int
    warps: int
    stages: int


DEFAULT = {16: Launch(64, 4, 5), 32: Launch(128, 4, 4), 64: Launch(128, 8, 4)}
# Of float32, which is multiplied without tensor cores: for tests, and for who wants every bit.
EXACT = Launch(32, 8, 2)
# (bucket, N, K) to what a benchmark found better than the default.
TUNED: dict[tuple[int, int, int], Launch] = {}


def bucket_of(rows: int, itemsize: int) -> int:
    """Rows of a tile for so many rows of x; sums in float32 have no room for more than 16."""
    if itemsize == 4:
        return BUCKETS[0]
    return next((bucket for bucket in BUCKETS if rows <= bucket), BUCKETS[-1])


def launch_of(bucket: int, outputs: int, inputs: int, itemsize: int) -> Launch:
    """The launch for a tile of so many rows of x, whose elements have `itemsize` bytes."""
    if itemsize == 4:
        return EXACT
    return TUNED.get((bucket, outputs, inputs), DEFAULT[bucket])


def splits_of(outputs: int, chunks: int) -> int:
    """Parts of K that are summed side by side; by the weight's shape alone."""
    wanted = -(-BLOCKS // -(-outputs // 64))
    most = max(1, chunks // LEAST_CHUNKS)
    even = (splits for splits in range(wanted, min(most, 2 * wanted) + 1) if chunks % splits == 0)
    return next(even, min(wanted, most))


def configs(bucket: int) -> Iterator[Launch]:
    """Launches that a benchmark should try for a bucket; all give the same bits.

    Four warps have 64 outputs, eight 128 or 64 each: always whole groups of four warps, so always the same
    instructions.
    """
    for block_n, warps in ((64, 4), (128, 4), (128, 8), (256, 8)):
        for stages in (3, 4, 5, 6):
            if bucket * block_n <= 64 * 32 * warps and stages * (block_n * 64 + bucket * 256) < 200 << 10:
                yield Launch(block_n, warps, stages)
