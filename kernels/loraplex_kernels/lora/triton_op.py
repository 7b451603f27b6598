"""The low-rank update on a GPU: one or two launches for all adapters of a step and all linears that share an input."""

from __future__ import annotations

import torch
import triton
from torch import Tensor

from loraplex_kernels.lora.batch import LoraBatch
from loraplex_kernels.lora.block_arrays import BlockArrays
from loraplex_kernels.lora.table import AdapterTable
from loraplex_kernels.lora.tiles import EXPAND_R, TILES, fuses, width_multiple
from loraplex_kernels.lora.triton_expand import lora_expand_kernel
from loraplex_kernels.lora.triton_plan import DECODE_ROWS, group_tensor
from loraplex_kernels.lora.triton_shrink import lora_shrink_kernel
from loraplex_kernels.site_group import SiteGroup

MOST_REGISTERS = 255  # of a thread, on any card


def add_lora_triton(
    y: Tensor, x: Tensor, group: SiteGroup, batch: LoraBatch, table: AdapterTable, *, fused: bool | None = None
) -> None:
    """Add every adapter's update of the step to y.

    Semantics: those of `add_lora_naive`, with A x rounded before B is applied: to y's dtype, as PEFT does. Where the
    weights are int8 and y is not float32 it is cut to TensorFloat32, 2^-10 at most, which is a quarter of int8's own
    error. The same step gives the same bits each time, in one launch or in two, and a row's do not hang on the others.

    Args:
        y: `[T, sum(group.widths)]` of float32, bfloat16 or float16, unit stride along the columns; changed in place.
        x: `[T, K]`, of y's dtype.
        group: the linears side by side in y.
        batch: the step's entries; never empty, since a step on the base alone has no batch and launches nothing. That
            of a `StaticPlan` launches what its limits call for, and may be captured.
        table: the adapters' weights, of y's dtype or int8, on y's device.
        fused: one launch for blocks of decoding rows, or two; None for whichever `tiles.fuses` says.

    Raises:
        TypeError: the dtype is none of the three.
    """
    if y.dtype not in (torch.float32, torch.bfloat16, torch.float16):
        raise TypeError(f"the Triton kernels add adapters in float32, bfloat16 or float16, not {y.dtype}")
    plan = batch.triton_plan
    highest = plan.highest_rank(table)
    if highest == 0:
        return
    if x.stride(1) != 1:
        x = x.contiguous()
    itemsize = 1 if table.int8 else x.element_size()
    for arrays in plan.arrays:
        wanted = fuses(arrays, group, x.shape[1], highest, itemsize) if fused is None else fused
        one = wanted and arrays.size == DECODE_ROWS
        # Unread with one launch, but a pointer must be given.
        v = x if one else _shrink(x, group, arrays, table, triton.cdiv(highest, EXPAND_R) * EXPAND_R)
        _expand(y, x, v, group, arrays, table, magnitude=batch.magnitude, fused=one)


def _shrink(x: Tensor, group: SiteGroup, arrays: BlockArrays, table: AdapterTable, highest: int) -> Tensor:
    """float32 `[splits, uses, sites, M, highest]`: A x of every use, in parts; unwritten past each adapter's rank."""
    K, sites, tiles = x.shape[1], len(group.sites), TILES[arrays.size]
    splits = tiles.splits_of(K)
    v = torch.empty(splits, arrays.uses, sites, arrays.size, highest, dtype=torch.float32, device=x.device)
    lora_shrink_kernel[(arrays.uses, triton.cdiv(highest, tiles.shrink_r) * splits, sites)](
        *(v, x, arrays.row, arrays.use_block, arrays.slot, group_tensor(group, x.device)),
        *(table.a, table.factor, table.rank),
        *(K, highest, arrays.uses, sites, x.stride(0), table.a.stride(0)),
        M=arrays.size,
        BLOCK_R=tiles.shrink_r,
        BLOCK_K=tiles.block_k(x.element_size()),
        SPLITS=splits,
        INT8=table.int8,
        SHRINK_STAGES=tiles.shrink_stages,
        num_warps=tiles.shrink_warps,
        enable_fp_fusion=True,
    )
    return v


def _expand(
    y: Tensor,
    x: Tensor,
    v: Tensor,
    group: SiteGroup,
    arrays: BlockArrays,
    table: AdapterTable,
    *,
    magnitude: bool,
    fused: bool,
) -> None:
    """Add B v to y, v being worked out on the way if `fused`."""
    K, sites, tiles = x.shape[1], len(group.sites), TILES[arrays.size]
    block_n = tiles.columns(group)
    # Of these rarer forms the assembler, left alone, spills a few registers so that more programs fit.
    registers = MOST_REGISTERS if block_n < tiles.block_n or y.element_size() == 4 else None
    lora_expand_kernel[(arrays.blocks, triton.cdiv(max(group.widths), block_n), sites)](
        *(y, v, x, arrays.row, arrays.use_start, arrays.slot, arrays.weight, group_tensor(group, y.device)),
        *(table.a, table.b, table.factor, table.magnitude, table.rank, table.scale),
        *(K, v.shape[-1], arrays.uses, sites, x.stride(0), y.stride(0), table.b.stride(0)),
        M=arrays.size,
        BLOCK_R=EXPAND_R,
        BLOCK_N=block_n,
        BLOCK_K=tiles.block_k(x.element_size()),
        SPLITS=tiles.splits_of(K),
        WIDTH_MULTIPLE=width_multiple(group),
        MAGNITUDE=magnitude,
        INT8=table.int8,
        FUSED=fused,
        SHRINK_STAGES=tiles.shrink_stages,
        EXPAND_STAGES=tiles.expand_stages,
        num_warps=tiles.expand_warps,
        maxnreg=registers,
        enable_fp_fusion=True,
    )
