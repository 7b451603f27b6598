"""How the attention kernels are cut: tiles, warps and stages, by head size and dtype. To be tuned on each card.

None of these were chosen by a measurement yet. The reasoning:

- **Decode** reads each key once and computes little, so bytes in flight decide. One multiprocessor of an H100 must have
  about 20 to 30 KB under way to keep its share of the bandwidth (3.35 TB/s over 132, some 700 ns of latency). A tile of
  64 tokens of 128 bfloat16 is 16 KB of keys and as much of values. Of 3 stages the block table's entries take one,
  since they tell the addresses: one tile of each is under way in every program, and 4 programs fit beside each other
  (by registers). Few rows need few warps: 4 share a tile, more would wait for each other at each maximum.
- **A split** of 256 tokens moves 131 KB of a kv head for 4 KB of its parts (3 %, group of 4), and makes 4 programs a kv
  head out of a context of 1024. Beyond MAX_SPLITS of them, splits grow with the sequence: the parts' memory and the
  merge stay bounded, and 8 kv heads by 32 splits fill 132 multiprocessors twice.
- **Prefill** computes: 128 rows and 8 warps are two warp groups of Hopper's 64-row products, with 64 registers a thread
  for the sums of 128 elements. Where more would spill, fewer tokens or rows. Two tables, since Hopper's products read
  their operands from shared memory, of which it has more than twice as much as consumer cards.
- **float32** goes through three TensorFloat32 products (as precise, float32's range) on smaller tiles; where even these
  spill, through plain ones.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass

import torch

# Multiples of every decode tile. Results depend on them, so they are no matter of tuning for one batch or another.
SPLIT = 256
SPLIT_STEP = 128
MAX_SPLITS = 32

WRITE_BLOCK = 1024
WRITE_WARPS = 4


@dataclass(frozen=True)
class Launch:
    """One row of the table."""

    rows: int  # M, of a prefill tile; a decode tile has as many as a kv head has query heads
    tile: int  # tokens a loop iteration
    warps: int
    stages: int
    precision: str = "ieee"  # of float32 products, Triton's name


THREE = "tf32x3"
# By (bytes of a query's element, head_dim padded to a power of two). Below 64: as 64.
Table = Mapping[tuple[int, int], Launch]
DECODE: Table = {
    (2, 64): Launch(16, 64, 4, 3),
    (2, 128): Launch(16, 64, 4, 3),
    (2, 256): Launch(16, 32, 4, 3),
    (4, 64): Launch(16, 32, 4, 2, THREE),
    (4, 128): Launch(16, 32, 8, 2, THREE),
    (4, 256): Launch(16, 16, 8, 2, THREE),
}
# Fits the 99 KB of shared memory that a program has on consumer cards, and spills on none.
PREFILL: Table = {
    (2, 64): Launch(128, 64, 8, 2),
    (2, 128): Launch(128, 32, 8, 2),
    (2, 256): Launch(64, 32, 8, 2),
    (4, 64): Launch(32, 32, 8, 2, THREE),
    (4, 128): Launch(16, 32, 8, 2, THREE),
    (4, 256): Launch(16, 32, 8, 1),
}
# 227 KB, and products that read their operands from there.
PREFILL_LARGE: Table = {
    **PREFILL,
    (2, 64): Launch(64, 64, 4, 3),
    (2, 128): Launch(128, 64, 8, 3),
    (2, 256): Launch(64, 32, 8, 3),
}


def block_of(head_dim: int) -> int:
    """A head's elements as a tile holds them: a power of two, and no less than a tensor core multiplies."""
    return max(16, 1 << (head_dim - 1).bit_length())


def decode_launch(itemsize: int, block_d: int) -> Launch:
    """Of the decode kernel, for padded heads of up to 256."""
    return DECODE[itemsize, max(64, block_d)]


def merge_warps(block_d: int) -> int:
    """So that a thread holds no more than 32 of the parts' elements."""
    return max(4, MAX_SPLITS * block_d // 1024)


def prefill_launch(itemsize: int, block_d: int, device: torch.device) -> Launch:
    """Of the prefill kernel, for padded heads of up to 256."""
    table = PREFILL_LARGE if _large(device) else PREFILL
    return table[itemsize, max(64, block_d)]


@functools.cache
def _large(device: torch.device) -> bool:
    """Whether it is a data center's Hopper or Blackwell."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device)[0] in (9, 10)
