"""The quantized linear on packed codes: the launch, and the formula that it is held against."""

from __future__ import annotations

from functools import lru_cache

import torch
import triton
from torch import Tensor

from loraplex_kernels.linear.assembly import PORTABLE, Assembly, assembly_of
from loraplex_kernels.linear.launches import Launch, bucket_of, launch_of, splits_of
from loraplex_kernels.linear.packed_codes import PackedCodes
from loraplex_kernels.linear.planes import chunk_of
from loraplex_kernels.linear.triton_linear import linear_packed_kernel


def linear_packed(
    x: Tensor,
    weight: PackedCodes,
    bias: Tensor | None,
    counts: Tensor,
    assembly: Assembly,
    launch: Launch | None = None,
) -> Tensor:
    """`x W^T + bias` in one launch that reads the packed weight once for each 64 rows.

    Semantics: those of `linear_packed_naive`, summed in float32; the table of a lookup is rounded to x's dtype. The
    same bits from run to run, and a row's do not depend on the rows beside it (launches.py).

    Args:
        x: `[M, K]` of float32, bfloat16 or float16, unit stride along the columns.
        weight: on x's device.
        bias: `[N]` in x's dtype.
        counts: int32, zeros, one for each tile at least; zeros again when the kernel ends. Two launches that may run
            at the same time need counts of their own.
        assembly: `assembly_of` the weight's kind for x's dtype, or `PORTABLE`.
        launch: for a benchmark to try; else `launch_of`.

    Returns:
        `[M, N]` in x's dtype.

    Raises:
        ValueError: there are fewer counts than tiles.
    """
    (M, K), N, chunks = x.shape, weight.outputs, weight.words.shape[0]
    bucket = bucket_of(M, x.itemsize)
    launch = launch or launch_of(bucket, N, K, x.itemsize)
    splits = splits_of(N, chunks)
    tiles = triton.cdiv(M, bucket) * triton.cdiv(N, launch.block_n)
    if counts.numel() < tiles:
        raise ValueError(f"{M} rows of {N} outputs are {tiles} tiles, and there are {counts.numel()} counts")
    y = x.new_empty(M, N)
    part = torch.empty(splits, M, N, dtype=torch.float32, device=x.device) if splits > 1 else y
    linear_packed_kernel[(tiles, splits)](
        *(y, part, counts, x, y if bias is None else bias),
        *(weight.words, weight.scale, weight.words if weight.zero is None else weight.zero),
        weight.scale if weight.table is None else weight.table,
        *(M, N, K, chunks, weight.groups, span_of(weight), weight.scale_rows, weight.scale.stride(0), x.stride(0)),
        BLOCK_M=bucket,
        BLOCK_N=launch.block_n,
        SPLITS=splits,
        STAGES=launch.stages,
        KIND=weight.kind,
        BITS=weight.bits,
        PARTS=parts_of(weight),
        ZERO=weight.zero is not None,
        BIAS=bias is not None,
        EVEN_K=K % chunk_of(weight.bits) == 0,
        JOINED=parts_of(weight) == 1 and joins(x.device),
        ASM=assembly.text,
        CONSTRAINTS=assembly.constraints,
        MAGIC=assembly.magic,
        num_warps=launch.warps,
        enable_fp_fusion=True,
    )
    return y


def linear_packed_naive(
    x: Tensor,
    weight: PackedCodes,
    bias: Tensor | None,
    counts: Tensor | None = None,
    assembly: Assembly = PORTABLE,
    launch: Launch | None = None,
) -> Tensor:
    """The formula, in float64 and rounded once.

    Semantics: `y[m, n] = sum_k W[n, k] x[m, k] + bias[n]`, W being `weight.dequantized()`.
    """
    y = x.double() @ weight.dequantized().double().t()
    return (y if bias is None else y + bias.double()).to(x.dtype)


def assembly_for(weight: PackedCodes, dtype: torch.dtype) -> Assembly:
    """Machine instructions where the weight is on a GPU; the interpreter, which is for the CPU, has none."""
    if weight.words.device.type != "cuda":
        return PORTABLE
    table = None if weight.table is None else weight.table.tolist()
    return assembly_of(weight.kind, weight.bits, dtype, table)


@lru_cache
def joins(device: torch.device) -> bool:
    """Whether planes are multiplied at once: before sm_90 some Triton versions move them through memory for that."""
    return device.type != "cuda" or torch.cuda.get_device_capability(device) >= (9, 0)


def parts_of(weight: PackedCodes) -> int:
    """Groups of a chunk."""
    return max(1, chunk_of(weight.bits) // weight.group) if weight.groups > 1 else 1


def span_of(weight: PackedCodes) -> int:
    """Chunks of a group; of all of them where there is one group."""
    return weight.words.shape[0] if weight.groups == 1 else max(1, weight.group // chunk_of(weight.bits))
