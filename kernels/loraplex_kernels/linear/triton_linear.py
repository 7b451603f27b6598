"""The quantized linear for few rows: weights stay packed until they are in registers, and are read once."""

# A kernel's arguments are Triton's, not Python's.
# A branch on a constexpr needs its `else`: what follows a return is compiled all the same.
# ruff: noqa: RET505
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators

from __future__ import annotations

import triton
import triton.language as tl

from loraplex_kernels.linear.unpack import unpack4, unpack8


@triton.jit
def load_groups(
    pointer,  # [groups, columns]
    column,  # int32 [BLOCK_N]
    mask,  # [BLOCK_N]
    chunk,
    groups,
    span,  # chunks of a group
    stride,
    PARTS: tl.constexpr,  # groups of a chunk: 1, 2 or 4
):
    """float32 `[BLOCK_N]` four times: what belongs to the quarters of a chunk; past the last group, the last one's."""
    first = chunk // span if PARTS == 1 else chunk * PARTS
    pointer += column
    v0 = tl.load(pointer + min(first, groups - 1) * stride, mask=mask, other=0).to(tl.float32)
    v1, v2, v3 = v0, v0, v0
    if PARTS >= 2:
        v2 = tl.load(pointer + min(first + PARTS // 2, groups - 1) * stride, mask=mask, other=0).to(tl.float32)
        v3 = v2
    if PARTS == 4:
        v1 = tl.load(pointer + min(first + 1, groups - 1) * stride, mask=mask, other=0).to(tl.float32)
        v3 = tl.load(pointer + min(first + 3, groups - 1) * stride, mask=mask, other=0).to(tl.float32)
    return v0, v1, v2, v3


@triton.jit
def joined(planes, BLOCK_N: tl.constexpr, CHUNK: tl.constexpr):
    """`[BLOCK_N, CHUNK]`: the planes beside each other, as x has their inputs.

    The registers that a tensor core takes for one product of a chunk are those that it takes for the planes', so
    nothing moves; but the products are issued together, and x comes in one copy.
    """
    if len(planes) == 4:
        b_w = tl.join(tl.join(planes[0], planes[1]), tl.join(planes[2], planes[3]))  # [BLOCK_N, 32, 2, 2]
        return b_w.permute(0, 3, 2, 1).reshape(BLOCK_N, CHUNK)
    else:
        return tl.join(planes[0], planes[1]).permute(0, 2, 1).reshape(BLOCK_N, CHUNK)


@triton.jit
def tile_sums(
    # Tensors
    x_ptr,
    words_ptr,
    scale_ptr,
    zero_ptr,
    table_ptr,
    # What of them
    o_m,  # int32 [BLOCK_M]
    o_n,  # int32 [BLOCK_N]
    first,  # chunk
    last,
    # Sizes and strides
    M,
    N,
    K,
    groups,
    span,
    scale_rows,
    scale_stride,
    x_stride,
    # Tiles and forms
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    STAGES: tl.constexpr,
    KIND: tl.constexpr,
    BITS: tl.constexpr,
    PARTS: tl.constexpr,
    ZERO: tl.constexpr,
    EVEN_K: tl.constexpr,
    JOINED: tl.constexpr,
    ASM: tl.constexpr,
    CONSTRAINTS: tl.constexpr,
    MAGIC: tl.constexpr,
):
    """float32 `[BLOCK_N, BLOCK_M]`: the sums over the chunks from `first` to before `last`."""
    dtype: tl.constexpr = x_ptr.dtype.element_ty
    PLANES: tl.constexpr = 16 // BITS
    CHUNK: tl.constexpr = 32 * PLANES
    o_j = tl.arange(0, 32)
    o_k = tl.arange(0, CHUNK)
    m_mask = o_m < M
    n_mask = o_n < N
    o_scale = o_n // scale_rows
    p_words = words_ptr + (first.to(tl.int64) * N + o_n)[:, None] * 32 + o_j[None, :]  # [BLOCK_N, 32]
    p_x = x_ptr + o_m.to(tl.int64)[None, :] * x_stride  # [1, BLOCK_M]
    # Scales are fetched a chunk ahead. Zero points are not: carried over in registers, they would not lie as the
    # tensor core's operand does, and the unpacked weights would go through shared memory.
    s0, s1, s2, s3 = load_groups(scale_ptr, o_scale, n_mask, first, groups, span, scale_stride, PARTS)
    middle = tl.full([BLOCK_N], 1 << (BITS - 1), tl.float32)
    b_y = tl.zeros([BLOCK_N, BLOCK_M], dtype=tl.float32)
    for chunk in tl.range(first, last, num_stages=STAGES):
        b_w = tl.load(p_words, mask=n_mask[:, None], other=0)  # [BLOCK_N, 32]
        p_words += N * 32
        t0, t1, t2, t3 = load_groups(scale_ptr, o_scale, n_mask, chunk + 1, groups, span, scale_stride, PARTS)
        z0, z1, z2, z3 = middle, middle, middle, middle
        if ZERO:
            z0, z1, z2, z3 = load_groups(zero_ptr, o_n, n_mask, chunk, groups, span, N, PARTS)
        if BITS == 4:
            planes = unpack4(b_w, z0, z1, z2, z3, table_ptr, dtype, KIND, ASM, CONSTRAINTS, MAGIC)
        else:
            planes = unpack8(b_w, z0, z2, dtype, KIND, ASM, CONSTRAINTS, MAGIC)
        if JOINED:
            mask = m_mask[None, :] if EVEN_K else m_mask[None, :] & (chunk * CHUNK + o_k < K)[:, None]
            b_x = tl.load(p_x + chunk * CHUNK + o_k[:, None], mask=mask, other=0.0)  # [CHUNK, BLOCK_M]
            b_y += tl.dot(joined(planes, BLOCK_N, CHUNK), b_x, input_precision="ieee") * s0[:, None]
        else:
            scales = (s0, s1, s2, s3)
            b_part = tl.zeros([BLOCK_N, BLOCK_M], dtype=tl.float32)
            for plane in tl.static_range(PLANES):
                k = chunk * CHUNK + plane * 32 + o_j
                mask = m_mask[None, :] if EVEN_K else m_mask[None, :] & (k < K)[:, None]
                b_x = tl.load(p_x + k[:, None], mask=mask, other=0.0)  # [32, BLOCK_M]
                b_part = tl.dot(planes[plane], b_x, b_part, input_precision="ieee")
                if (plane + 1) * PARTS % PLANES == 0:
                    b_y += b_part * scales[plane * 4 // PLANES][:, None]
                    b_part = tl.zeros([BLOCK_N, BLOCK_M], dtype=tl.float32)
        s0, s1, s2, s3 = t0, t1, t2, t3
    return b_y


@triton.jit(do_not_specialize=["M"])
def linear_packed_kernel(
    # Tensors
    y_ptr,  # [M, N], written
    part_ptr,  # float32 [SPLITS, M, N], written where SPLITS > 1
    count_ptr,  # int32 [tiles], zeros, and zeros again at the end; read where SPLITS > 1
    x_ptr,  # [M, K]
    bias_ptr,  # [N], read with BIAS
    # The weight: PackedCodes
    words_ptr,  # int16 [chunks, N, 32]
    scale_ptr,  # [groups, ceil(N / scale_rows)]
    zero_ptr,  # uint8 [groups, N], read with ZERO
    table_ptr,  # float32 [16], read for lookup without ASM
    # Sizes and strides
    M,
    N,
    K,
    chunks,
    groups,
    span,
    scale_rows,
    scale_stride,
    x_stride,
    # Tiles and forms
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    SPLITS: tl.constexpr,
    STAGES: tl.constexpr,
    KIND: tl.constexpr,
    BITS: tl.constexpr,
    PARTS: tl.constexpr,
    ZERO: tl.constexpr,
    BIAS: tl.constexpr,
    EVEN_K: tl.constexpr,
    JOINED: tl.constexpr,
    ASM: tl.constexpr,
    CONSTRAINTS: tl.constexpr,
    MAGIC: tl.constexpr,
):
    """Semantics: y[m, n] = sum over k of W[n, k] * x[m, k] + bias[n], W as in PackedCodes, in float32 sums.

    Grid: (tiles of M * tiles of N, SPLITS). Each split of K writes its sums; the last to arrive at a tile adds them in
    the order of the splits, so one launch gives the same bits in every run.
    The weight is the left operand: its outputs fill the rows that a tensor core multiplies, which a few rows of
    activations would leave empty. It goes packed from shared memory to that operand's registers and is unpacked there,
    so shared memory is read for 4 bits a weight and not for 16.
    """
    m_tiles = tl.cdiv(M, BLOCK_M)
    tile = tl.program_id(0)
    part = tl.program_id(1)
    o_m = tile % m_tiles * BLOCK_M + tl.arange(0, BLOCK_M)
    o_n = tile // m_tiles * BLOCK_N + tl.arange(0, BLOCK_N)
    per_split = tl.cdiv(chunks, SPLITS)
    first = part * per_split
    b_y = tile_sums(
        *(x_ptr, words_ptr, scale_ptr, zero_ptr, table_ptr),
        *(o_m, o_n, first, min(first + per_split, chunks)),
        *(M, N, K, groups, span, scale_rows, scale_stride, x_stride),
        *(BLOCK_M, BLOCK_N, STAGES, KIND, BITS, PARTS, ZERO, EVEN_K, JOINED, ASM, CONSTRAINTS, MAGIC),
    )
    mask = (o_n < N)[:, None] & (o_m < M)[None, :]
    o_y = o_m.to(tl.int64)[None, :] * N + o_n[:, None]  # [BLOCK_N, BLOCK_M]
    if SPLITS > 1:
        size = M.to(tl.int64) * N
        tl.store(part_ptr + part * size + o_y, b_y, mask=mask)
        tl.debug_barrier()  # all threads have written before one of them says so
        arrived = tl.atomic_add(count_ptr + tile, 1, sem="acq_rel")
        if arrived < SPLITS - 1:
            return
        b_y = tl.zeros([BLOCK_N, BLOCK_M], dtype=tl.float32)
        for other in range(SPLITS):
            b_y += tl.load(part_ptr + other * size + o_y, mask=mask, other=0.0, cache_modifier=".cg")
        tl.store(count_ptr + tile, 0)
    if BIAS:
        b_y += tl.load(bias_ptr + o_n, mask=o_n < N, other=0.0).to(tl.float32)[:, None]
    tl.store(y_ptr + o_y, b_y.to(y_ptr.dtype.element_ty), mask=mask)
