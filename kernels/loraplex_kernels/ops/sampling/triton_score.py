"""What the model itself says of chosen tokens, on a GPU: their log probabilities and ranks."""

# A kernel's arguments are Triton's, not Python's.
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from loraplex_kernels.ops.sampling.search import likeliest, logits_at

BLOCK = 2048
WARPS = 4


@triton.jit
def score_kernel(
    # Tensors
    logsum_ptr,  # float32 [A]
    rank_ptr,  # int64 [A]
    logits_ptr,  # float32 [R, V]
    row_ptr,  # int64 [A]
    token_ptr,  # int64 [A]
    # Sizes and strides
    width,  # V
    stride,
    # Tiles
    BLOCK: tl.constexpr,
):
    """Semantics: logsum = log(sum(exp(logits[row]))), rank = 1 + how many logits of the row are above the token's.

    Grid: (A,).
    """
    index = tl.program_id(0)
    p_x = logits_ptr + tl.load(row_ptr + index) * stride
    chosen = tl.load(p_x + tl.load(token_ptr + index))
    _, best, _, _ = likeliest(p_x, width, width, BLOCK)
    o = tl.arange(0, BLOCK)
    b_sum, b_above = tl.zeros([BLOCK], tl.float32), tl.zeros([BLOCK], tl.int32)
    for first in range(0, width, BLOCK):
        b_x = logits_at(p_x, first + o, width, width)
        b_sum += tl.exp(b_x - best)
        b_above += (b_x > chosen).to(tl.int32)
    tl.store(logsum_ptr + index, best + tl.log(tl.sum(b_sum, 0)))
    tl.store(rank_ptr + index, tl.sum(b_above, 0).to(tl.int64) + 1)


def score_triton(logits: Tensor, rows: Tensor, tokens: Tensor, *, block: int = BLOCK) -> tuple[Tensor, Tensor]:
    """The logarithm of the sum of a row's exponentials, and a token's rank in it.

    Args:
        logits: float32 `[R, V]`, columns contiguous.
        rows: int64 `[A]`, of the logits.
        tokens: int64 `[A]`, in the vocabulary.
        block: tokens looked at at once.

    Returns:
        float32 `[A]` and int64 `[A]`; 1: the likeliest.

    Raises:
        ValueError: the logits are not float32 with contiguous rows, or the rows are not as many as the tokens.
    """
    if logits.dtype != torch.float32 or logits.dim() != 2 or logits.stride(1) != 1:
        raise ValueError(f"logits must be float32 [R, V] with contiguous rows, not {logits.dtype} {list(logits.shape)}")
    if rows.shape != tokens.shape:
        raise ValueError(f"there are {list(rows.shape)} rows for {list(tokens.shape)} tokens")
    logsum = torch.empty(rows.shape, dtype=torch.float32, device=logits.device)
    rank = torch.empty(rows.shape, dtype=torch.int64, device=logits.device)
    if len(rows):
        score_kernel[(len(rows),)](
            *(logsum, rank, logits, rows, tokens, logits.shape[1], logits.stride(0)), BLOCK=block, num_warps=WARPS
        )
    return logsum, rank
