"""The low-rank update on a GPU: two launches for all adapters of a step and all linears that share an input."""

from __future__ import annotations

import math

import torch
import triton
from torch import Tensor

from loraplex_kernels.lora.batch import LoraBatch
from loraplex_kernels.lora.group import SiteGroup
from loraplex_kernels.lora.table import AdapterTable
from loraplex_kernels.lora.triton_expand import lora_expand_kernel
from loraplex_kernels.lora.triton_plan import BULK_ROWS, DECODE_ROWS, PREFILL_ROWS, BlockArrays, group_tensor
from loraplex_kernels.lora.triton_shrink import lora_shrink_kernel

# The least that a tensor core multiplies; most adapters have rank 8 or 16, and masked ranks are not read.
BLOCK_R = 16
BLOCK_K_BYTES = 256
BLOCK_N = 128
# By rows of a block: with fewer, the sums of 64 rows spill.
WARPS = {DECODE_ROWS: 4, PREFILL_ROWS: 8, BULK_ROWS: 8}


def add_lora_triton(y: Tensor, x: Tensor, group: SiteGroup, batch: LoraBatch, table: AdapterTable) -> None:
    """Add every adapter's update of the step to y.

    Semantics: those of `add_lora_naive`, with A x rounded before B is applied: to y's dtype, as PEFT does, and to
    TensorFloat32 where the weights are int8 and y is not float32.

    Args:
        y: `[T, sum(group.widths)]` of float32, bfloat16 or float16, unit stride along the columns; changed in place.
        x: `[T, K]`, of y's dtype.
        group: the linears side by side in y.
        batch: the step's entries; never empty, since a step on the base alone has no batch and launches nothing.
        table: the adapters' weights, of y's dtype or int8, on y's device.

    Raises:
        TypeError: the dtype is none of the three.
    """
    if y.dtype not in (torch.float32, torch.bfloat16, torch.float16):
        raise TypeError(f"the Triton kernels add adapters in float32, bfloat16 or float16, not {y.dtype}")
    plan = batch.triton_plan
    highest = plan.highest_rank(table)
    if highest == 0:
        return
    highest = -(-highest // BLOCK_R) * BLOCK_R  # v's rows then begin where wide words do
    if x.stride(1) != 1:
        x = x.contiguous()
    for arrays in plan.arrays:
        _launch(y, x, group, arrays, table, highest, batch.magnitude)


def splits_of(in_features: int) -> int:
    """Parts of K that the first kernel sums side by side; by K alone, so that a row's sums never hang on the batch."""
    return min(8, max(1, in_features // 1024))


def _launch(
    y: Tensor, x: Tensor, group: SiteGroup, arrays: BlockArrays, table: AdapterTable, highest: int, magnitude: bool
) -> None:
    K, sites, size = x.shape[1], len(group.sites), arrays.size
    splits = splits_of(K)
    described = group_tensor(group, y.device)
    v = torch.empty(splits, arrays.uses, sites, size, highest, dtype=torch.float32, device=y.device)
    lora_shrink_kernel[(arrays.uses, triton.cdiv(highest, BLOCK_R) * splits, sites)](
        *(v, x, arrays.row, arrays.use_block, arrays.slot, described),
        *(table.a, table.factor, table.rank),
        *(K, highest, arrays.uses, sites, x.stride(0), table.a.stride(0)),
        M=size,
        BLOCK_R=BLOCK_R,
        BLOCK_K=BLOCK_K_BYTES // x.element_size(),
        SPLITS=splits,
        INT8=table.int8,
        num_warps=WARPS[size],
        enable_fp_fusion=True,
    )
    lora_expand_kernel[(arrays.blocks, triton.cdiv(max(group.widths), BLOCK_N), sites)](
        *(y, v, arrays.row, arrays.use_start, arrays.slot, arrays.weight, described),
        *(table.b, table.magnitude, table.rank, table.scale),
        *(highest, arrays.uses, sites, y.stride(0), table.b.stride(0)),
        M=size,
        BLOCK_R=BLOCK_R,
        BLOCK_N=BLOCK_N,
        SPLITS=splits,
        WIDTH_MULTIPLE=math.gcd(16, *group.widths),
        MAGNITUDE=magnitude,
        INT8=table.int8,
        num_warps=WARPS[size],
        enable_fp_fusion=True,
    )
