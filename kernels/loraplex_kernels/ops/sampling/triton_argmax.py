"""The likeliest token of each row on a GPU, and its log probability, where all rows are greedy."""

# A kernel's arguments are Triton's, not Python's.
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from loraplex_kernels.ops.sampling.search import likeliest, logits_at

BLOCK = 4096
WARPS = 8


@triton.jit
def argmax_kernel(
    # Tensors
    coded_ptr,  # int64 [R]
    logsum_ptr,  # float32 [R]; with LOGSUM
    logits_ptr,  # float32 [R, V]
    # Sizes and strides
    width,  # V
    stride,
    # Tiles
    BLOCK: tl.constexpr,
    LOGSUM: tl.constexpr,
):
    """Semantics: coded = first argmax(logits), -1 where a row is not finite; logsum = log(sum(exp(logits))).

    Grid: (R,). The sum is in float32, its parts in an order of the width alone.
    """
    row = tl.program_id(0).to(tl.int64)
    p_x = logits_ptr + row * stride
    _, best, at, bad = likeliest(p_x, width, width, BLOCK)
    finite = (bad == 0) & (best > -float("inf")) & (best < float("inf"))
    tl.store(coded_ptr + row, tl.where(finite, at, -1).to(tl.int64))
    if LOGSUM:
        o = tl.arange(0, BLOCK)
        b_sum = tl.zeros([BLOCK], tl.float32)
        for first in range(0, width, BLOCK):
            b_sum += tl.exp(logits_at(p_x, first + o, width, width) - best)
        tl.store(logsum_ptr + row, best + tl.log(tl.sum(b_sum, 0)))


def argmax_triton(logits: Tensor, *, logsum: bool, block: int = BLOCK) -> tuple[Tensor, Tensor]:
    """The likeliest token of each row, of equals the lowest id.

    Args:
        logits: float32 `[R, V]`, columns contiguous.
        logsum: whether the second result is wanted.
        block: tokens looked at at once.

    Returns:
        int64 `[R]`: the tokens, -1 where a row's logits are not finite: NaN or inf among them, or nothing but -inf;
        float32 `[R]`: the logarithm of the sum of their exponentials, undefined unless wanted.

    Raises:
        ValueError: the logits are not float32 with contiguous rows.
    """
    if logits.dtype != torch.float32 or logits.dim() != 2 or logits.stride(1) != 1:
        raise ValueError(f"logits must be float32 [R, V] with contiguous rows, not {logits.dtype} {list(logits.shape)}")
    rows, width = logits.shape
    coded = torch.empty(rows, dtype=torch.int64, device=logits.device)
    sums = torch.empty(rows, dtype=torch.float32, device=logits.device)
    if rows:
        argmax_kernel[(rows,)](
            *(coded, sums, logits, width, logits.stride(0)), BLOCK=block, LOGSUM=logsum, num_warps=WARPS
        )
    return coded, sums
