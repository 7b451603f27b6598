"""Finding where a row's likeliest tokens end, without sorting it. Parts of the drawing kernel; Triton's."""

# A kernel's arguments are Triton's, not Python's.
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators

from __future__ import annotations

import triton
import triton.language as tl

from loraplex_kernels.ops.sampling.columns import WEIGHT_BITS

SCALE = tl.constexpr(2.0**WEIGHT_BITS)
ONE = tl.constexpr(1 << 50)
NO_LIMIT = tl.constexpr(1 << 30)


@triton.jit
def logits_at(p_x, o, n, width):
    """Logits, -inf from n on. `width`, to which the row may be read, is 16 times something where that is known."""
    b_x = tl.load(p_x + o, mask=o < width, other=-float("inf"))
    return tl.where(o < n, b_x, -float("inf"))


@triton.jit
def likeliest(p_x, n, width, BLOCK: tl.constexpr):
    """The highest logit of each of BLOCK strided groups; that of all, its first place, and whether any is NaN."""
    o = tl.arange(0, BLOCK)
    b_best = tl.full([BLOCK], -float("inf"), tl.float32)
    b_at = tl.zeros([BLOCK], tl.int32)
    b_bad = tl.zeros([BLOCK], tl.int32)
    for first in range(0, n, BLOCK):
        b_x = logits_at(p_x, first + o, n, width)
        b_at = tl.where(b_x > b_best, first + o, b_at)
        b_best = tl.where(b_x > b_best, b_x, b_best)
        b_bad |= (b_x != b_x).to(tl.int32)
    best = tl.max(b_best, 0)
    at = tl.min(tl.where(b_best == best, b_at, 0x7FFFFFFF), 0)
    return b_best, best, at, tl.max(b_bad, 0)


@triton.jit
def weights_of(b_x, best, inverse, least):
    """int64: weights of the logits, 0 for those below `least`."""
    b_w = (tl.exp2((b_x - best) * inverse) * SCALE).to(tl.int64)
    return tl.where(b_w >= least, b_w, 0)


@triton.jit
def counted(b_w):
    """Weights that count themselves when they are added: 2^9 of them, each of 2^40 at most, stay below 2^50."""
    return b_w + tl.where(b_w > 0, ONE, 0)


@triton.jit
def apart(b_sum):
    """The number and the weight of what the sums of `counted` weights hold; int64 each."""
    return tl.sum((b_sum >> 50).to(tl.int32), 0).to(tl.int64), tl.sum(b_sum & (ONE - 1), 0)


@triton.jit
def key_of(x):
    """int64 that orders as the float32 does; next to each other where no float32 lies between."""
    bits = x.to(tl.int32, bitcast=True)
    return (bits ^ ((bits >> 31) & 0x7FFFFFFF)).to(tl.int64)


@triton.jit
def float_of(key):
    """The float32 of a key."""
    bits = key.to(tl.int32)
    return (bits ^ ((bits >> 31) & 0x7FFFFFFF)).to(tl.float32, bitcast=True)


@triton.jit
def measure(p_x, n, width, best, inverse, least, f_a, f_b, f_c, BLOCK: tl.constexpr):
    """How many tokens are at or above each of three logits, and their weight: six int64."""
    o = tl.arange(0, BLOCK)
    b_a, b_b, b_c = tl.zeros([BLOCK], tl.int64), tl.zeros([BLOCK], tl.int64), tl.zeros([BLOCK], tl.int64)
    for first in range(0, n, BLOCK):
        b_x = logits_at(p_x, first + o, n, width)
        b_w = counted(weights_of(b_x, best, inverse, least))
        b_a += tl.where(b_x >= f_a, b_w, 0)
        b_b += tl.where(b_x >= f_b, b_w, 0)
        b_c += tl.where(b_x >= f_c, b_w, 0)
    c_a, s_a = apart(b_a)
    c_b, s_b = apart(b_b)
    c_c, s_c = apart(b_c)
    return c_a, c_b, c_c, s_a, s_b, s_c


@triton.jit
def narrow(key, c, s, reached, lo, c_lo, s_lo, limit, hi, c_hi, s_hi):
    """The interval with one more logit known: it becomes an end, if it lies inside."""
    inside = (key > lo) & (key < hi)
    up, down = inside & reached, inside & (reached == 0)
    return (
        tl.where(up, key, lo), tl.where(up, c, c_lo), tl.where(up, s, s_lo), tl.where(up, NO_LIMIT, limit),
        tl.where(down, key, hi), tl.where(down, c, c_hi), tl.where(down, s, s_hi),
    )  # fmt: skip


@triton.jit
def search(
    p_x,
    n,
    width,
    best,
    inverse,
    least,
    lo,
    c_lo,
    s_lo,
    limit,
    wanted,
    BY_WEIGHT: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """The fewest of the likeliest tokens that are `wanted` many, or that weigh so much.

    Between `lo`, at which they are enough, and `hi`, at which they are not, three logits are tried at a time: two that
    part the interval evenly, and the one halfway between the ends' bits, which alone would end it in 32 rounds.

    Returns:
        The key of the logit at which they end, how many tokens they are, their weight, and how many of the tokens at
        just that logit are among them, by ascending id.
    """
    hi = key_of(best) + 1
    c_hi, s_hi = c_lo * 0, s_lo * 0
    enough = s_lo if BY_WEIGHT else c_lo
    while (hi - lo > 1) & (c_lo - c_hi > 1) & (enough > wanted):
        f_lo = float_of(lo)
        step = (float_of(hi) - f_lo) / 3.0
        k_a = tl.minimum(tl.maximum(key_of(f_lo + step), lo + 1), hi - 1)
        k_b = tl.minimum(tl.maximum(key_of(f_lo + 2.0 * step), lo + 1), hi - 1)
        k_c = lo + (hi - lo) // 2
        c_a, c_b, c_c, s_a, s_b, s_c = measure(
            p_x, n, width, best, inverse, least, float_of(k_a), float_of(k_b), float_of(k_c), BLOCK
        )
        r_a, r_b, r_c = c_a >= wanted, c_b >= wanted, c_c >= wanted
        if BY_WEIGHT:
            r_a, r_b, r_c = s_a >= wanted, s_b >= wanted, s_c >= wanted
        lo, c_lo, s_lo, limit, hi, c_hi, s_hi = narrow(k_a, c_a, s_a, r_a, lo, c_lo, s_lo, limit, hi, c_hi, s_hi)
        lo, c_lo, s_lo, limit, hi, c_hi, s_hi = narrow(k_b, c_b, s_b, r_b, lo, c_lo, s_lo, limit, hi, c_hi, s_hi)
        lo, c_lo, s_lo, limit, hi, c_hi, s_hi = narrow(k_c, c_c, s_c, r_c, lo, c_lo, s_lo, limit, hi, c_hi, s_hi)
        enough = s_lo if BY_WEIGHT else c_lo
    if (c_lo - c_hi > 1) & (enough > wanted):  # equals, of which not all are wanted
        each = weights_of(float_of(lo), best, inverse, least)
        limit = wanted - c_hi
        if BY_WEIGHT:
            limit = (wanted - s_hi + each - 1) // each
        c_lo = c_hi + limit
        s_lo = s_hi + limit * each
    return lo, c_lo, s_lo, limit
