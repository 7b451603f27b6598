"""The next token of each row on a GPU: temperature, min_p, top_k, top_p and one random number, in one launch."""

# A kernel's arguments are Triton's, not Python's.
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from loraplex_kernels.ops.sampling.columns import LARGEST_VOCABULARY, Columns
from loraplex_kernels.ops.sampling.search import (
    NO_LIMIT,
    SCALE,
    apart,
    counted,
    float_of,
    key_of,
    likeliest,
    logits_at,
    search,
    weights_of,
)

BLOCK = 4096
SEARCH = 2048
WARPS = 8
REGISTERS = 255  # as many as there are, or else the assembler spills some, so that two programs fit beside each other
# Of a row's likeliest tokens so many are set aside, where that is easy: what is wanted nearly always is among them.
FEWEST = tl.constexpr(256)
MOST = tl.constexpr(1024)
ROUNDS = tl.constexpr(24)


@triton.jit
def bound(b_best, best, lowest, BLOCK: tl.constexpr):
    """A logit that FEWEST to MOST of the groups reach, so that at least as many tokens do; inf where none is found."""
    lo, hi, found = lowest, best, best * 0 + float("inf")
    for _ in range(ROUNDS):
        middle = lo + (hi - lo) * 0.5
        count = tl.sum((b_best >= middle).to(tl.int32), 0)
        found = tl.where((count >= FEWEST) & (count <= MOST), middle, found)
        lo = tl.where(count > MOST, middle, lo)
        hi = tl.where(count < FEWEST, middle, hi)
        # Found: the interval closes on it, and the rounds that are left find the same.
        good = (count >= FEWEST) & (count <= MOST)
        lo = tl.where(good, middle, lo)
        hi = tl.where(good, middle, hi)
    return found


@triton.jit
def draw_kernel(
    # Tensors
    coded_ptr,  # int64 [R]
    logits_ptr,  # float32 [R, V]
    temperature_ptr,  # float32 [R]
    uniform_ptr,  # float64 [R]
    top_k_ptr,  # int32 [R]
    top_p_ptr,  # float64 [R]
    min_p_ptr,  # float64 [R]
    vocab_ptr,  # int32 [R]
    value_ptr,  # float32 [R, BLOCK]: scratch
    id_ptr,  # int32 [R, BLOCK]: scratch
    # Sizes and strides
    width,  # V
    stride,
    # Tiles
    BLOCK: tl.constexpr,
    SEARCH: tl.constexpr,  # the same, while three sums of each are kept
):
    """Semantics: those of `draw_naive`. Grid: (R,): a row's walk is its own, whatever else is in the batch."""
    row = tl.program_id(0).to(tl.int64)
    p_x = logits_ptr + row * stride
    n = tl.load(vocab_ptr + row)
    temperature = tl.load(temperature_ptr + row)
    b_best, best, at, bad = likeliest(p_x, n, width, BLOCK)
    finite = (bad == 0) & (best > -float("inf")) & (best < float("inf"))
    if (temperature == 0) | (finite == 0):
        tl.store(coded_ptr + row, tl.where(finite, at, -1).to(tl.int64))
        return
    inverse = 1.4426950408889634 / temperature
    top_k = tl.load(top_k_ptr + row).to(tl.int64)
    top_p = tl.load(top_p_ptr + row)
    least = tl.maximum(tl.ceil(tl.load(min_p_ptr + row) * SCALE).to(tl.int64), 1)
    filtered = (top_k > 0) | (top_p < 1)
    lowest = best - temperature * 28.5  # whoever is lower weighs less than 2^-40
    p_value, p_id = value_ptr + row * BLOCK, id_ptr + row * BLOCK
    from_here = best * 0 + float("inf")
    if filtered:
        from_here = bound(b_best, best, lowest, BLOCK)
    # All tokens' number and weight; and of those from `from_here` on, which are set aside.
    o = tl.arange(0, BLOCK)
    b_all, b_aside = tl.zeros([BLOCK], tl.int64), tl.zeros([BLOCK], tl.int64)
    aside = 0
    for first in range(0, n, BLOCK):
        b_x = logits_at(p_x, first + o, n, width)
        b_w = counted(weights_of(b_x, best, inverse, least))
        b_all += b_w
        if from_here < float("inf"):
            b_high = (b_x >= from_here).to(tl.int32)
            b_to = aside + tl.cumsum(b_high, 0) - b_high
            m_to = (b_high > 0) & (b_to < BLOCK)
            tl.store(p_value + b_to, b_x, mask=m_to)
            tl.store(p_id + b_to, first + o, mask=m_to)
            aside += tl.sum(b_high, 0)
            b_aside += tl.where(b_high > 0, b_w, 0)
    tl.debug_barrier()  # what is set aside was written by other threads than will read it
    count, weight = apart(b_all)
    count_aside, weight_aside = apart(b_aside)
    few = (top_k > 0) & (top_k < count)
    wanted = tl.ceil(top_p * weight.to(tl.float64)).to(tl.int64)
    suffices = tl.where(few, top_k <= count_aside, wanted <= weight_aside)
    use_aside = (aside > 0) & (aside <= BLOCK) & (suffices | (count_aside == count))
    p_from = tl.where(use_aside, p_value, p_x)
    n, width = tl.where(use_aside, aside, n), tl.where(use_aside, BLOCK, width)
    key = key_of(lowest)
    total = weight  # of what min_p and top_k leave
    count, weight = tl.where(use_aside, count_aside, count), tl.where(use_aside, weight_aside, weight)
    limit = count * 0 + NO_LIMIT
    if few:
        key, count, weight, limit = search(
            p_from, n, width, best, inverse, least, key, count, weight, limit, top_k, False, SEARCH
        )
        total = weight
    if top_p < 1:
        wanted = tl.minimum(tl.maximum(tl.ceil(top_p * total.to(tl.float64)).to(tl.int64), 1), total)
        key, count, weight, limit = search(
            p_from, n, width, best, inverse, least, key, count, weight, limit, wanted, True, SEARCH
        )
    # The first token, by id, at which the weight of the kept ones passes the target.
    edge = float_of(key)
    of_edge = weights_of(edge, best, inverse, least)
    limit = tl.minimum(limit, NO_LIMIT).to(tl.int32)
    target = tl.minimum((tl.load(uniform_ptr + row) * weight.to(tl.float64)).to(tl.int64), weight - 1)
    o = tl.arange(0, SEARCH)
    first, equals, searching = 0, 0, 1
    before = target * 0
    while searching > 0:
        b_x = logits_at(p_from, first + o, n, width)
        here = tl.sum(tl.where(b_x > edge, weights_of(b_x, best, inverse, least), 0), 0)
        same = tl.sum((b_x == edge).to(tl.int32), 0)
        here += tl.minimum(same, tl.maximum(limit - equals, 0)) * of_edge
        searching = ((before + here <= target) & (first + SEARCH < n)).to(tl.int32)
        before += tl.where(searching > 0, here, 0)
        equals += tl.where(searching > 0, same, 0)
        first += tl.where(searching > 0, SEARCH, 0)
    b_x = logits_at(p_from, first + o, n, width)
    b_same = (b_x == edge).to(tl.int32)
    m_kept = (b_x > edge) | ((b_same > 0) & (equals + tl.cumsum(b_same, 0) - b_same < limit))
    b_kept = tl.where(m_kept, weights_of(b_x, best, inverse, least), 0)
    passed = (tl.cumsum(b_kept, 0) > target - before) & (b_kept > 0)
    place = first + tl.min(tl.where(passed, o, SEARCH - 1), 0)
    token = place.to(tl.int64)
    if use_aside:
        token = tl.load(p_id + place).to(tl.int64)
    tl.store(coded_ptr + row, token)


def draw_triton(logits: Tensor, columns: Columns, *, block: int | None = None) -> Tensor:
    """Choose a token for each row.

    Semantics: weights as `columns` defines them; min_p keeps the weights of at least so much of the highest, top_k the
    likeliest so many, top_p the fewest of the likeliest whose weight before the last is less than that part of what
    the others leave; of equals the lower id is the likelier. Of what is kept, by ascending id, the first token at which
    the weight passes `uniform` times the total.

    Args:
        logits: float32 `[R, V]`, columns contiguous.
        columns: of the R rows.
        block: tokens looked at at once; None for as many as there are registers for.

    Returns:
        int64 `[R]`: the tokens, -1 where a row's logits are not finite: NaN or inf among them, or nothing but -inf.

    Raises:
        ValueError: the logits are not float32 with contiguous rows, or there are more than 2^20 a row.
    """
    if logits.dtype != torch.float32 or logits.dim() != 2 or logits.stride(1) != 1:
        raise ValueError(f"logits must be float32 [R, V] with contiguous rows, not {logits.dtype} {list(logits.shape)}")
    if logits.shape[1] > LARGEST_VOCABULARY:
        raise ValueError(f"a vocabulary of {logits.shape[1]} tokens is larger than {LARGEST_VOCABULARY}")
    rows = logits.shape[0]
    if block is None:  # logits that cannot be read in wide words have an address each
        block = BLOCK if logits.stride(0) % 16 == 0 else BLOCK // 2
    coded = torch.empty(rows, dtype=torch.int64, device=logits.device)
    if rows:
        value = torch.empty(rows, block, dtype=torch.float32, device=logits.device)
        ids = torch.empty(rows, block, dtype=torch.int32, device=logits.device)
        draw_kernel[(rows,)](
            *(coded, logits, *columns, value, ids, logits.shape[1], logits.stride(0)),
            BLOCK=block,
            SEARCH=min(block, SEARCH),
            num_warps=WARPS,
            maxnreg=REGISTERS,
        )
    return coded
