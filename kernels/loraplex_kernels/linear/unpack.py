"""Packed codes to floating-point weights, in the registers of a Triton kernel."""

# A kernel's arguments are Triton's, not Python's.
# A branch on a constexpr needs its `else`: what follows a return is compiled all the same.
# ruff: noqa: RET505
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def unpack_plane(
    b_w,  # int16 [BLOCK_N, 32]
    b_zero,  # float32 [BLOCK_N], read for integers
    table_ptr,  # float32 [16], read for lookup
    PLANE: tl.constexpr,
    BITS: tl.constexpr,
    KIND: tl.constexpr,
):
    """float32 `[BLOCK_N, 32]`: what the codes of one plane mean before their scale, in plain arithmetic."""
    code = (b_w.to(tl.int32) >> (PLANE * BITS)) & ((1 << BITS) - 1)
    if KIND == "ints":
        return code.to(tl.float32) - b_zero[:, None]
    elif KIND == "lookup":
        return tl.load(table_ptr + code)
    else:
        # e4m3 is a sign, four bits of exponent and three of mantissa: put where float32 has them, a number is
        # 2 ** -120 of itself, the denormal ones among them.
        bits = ((code & 0x80) << 24) | ((code & 0x7F) << 20)
        return bits.to(tl.float32, bitcast=True) * 1.329227995784916e36  # 2 ** 120


@triton.jit
def unpack4(
    b_w,  # int16 [BLOCK_N, 32]
    zero0,  # float32 [BLOCK_N] each: of the planes, read for integers
    zero1,
    zero2,
    zero3,
    table_ptr,  # float32 [16], read for lookup without ASM
    dtype: tl.constexpr,
    KIND: tl.constexpr,
    ASM: tl.constexpr,
    CONSTRAINTS: tl.constexpr,
    MAGIC: tl.constexpr,
):
    """Four times `[BLOCK_N, 32]` of `dtype`: the planes of four-bit codes, as `unpack_plane` has them.

    With ASM (assembly.py) in its instructions, two weights a register.
    """
    if ASM == "":
        w0 = unpack_plane(b_w, zero0, table_ptr, 0, 4, KIND).to(dtype)
        w1 = unpack_plane(b_w, zero1, table_ptr, 1, 4, KIND).to(dtype)
        w2 = unpack_plane(b_w, zero2, table_ptr, 2, 4, KIND).to(dtype)
        w3 = unpack_plane(b_w, zero3, table_ptr, 3, 4, KIND).to(dtype)
        return w0, w1, w2, w3
    elif KIND == "ints":
        n0 = (-MAGIC - zero0).to(dtype)[:, None]
        n1 = (-MAGIC - zero1).to(dtype)[:, None]
        n2 = (-MAGIC - zero2).to(dtype)[:, None]
        n3 = (-MAGIC - zero3).to(dtype)[:, None]
        out = dtype.value
        return tl.inline_asm_elementwise(
            ASM, CONSTRAINTS, [b_w, n0, n1, n2, n3], dtype=(out, out, out, out), is_pure=True, pack=2
        )
    else:
        out = dtype.value
        return tl.inline_asm_elementwise(ASM, CONSTRAINTS, [b_w], dtype=(out, out, out, out), is_pure=True, pack=2)


@triton.jit
def unpack8(
    b_w,  # int16 [BLOCK_N, 32]
    zero0,  # float32 [BLOCK_N] each: of the planes, read for integers
    zero1,
    dtype: tl.constexpr,
    KIND: tl.constexpr,
    ASM: tl.constexpr,
    CONSTRAINTS: tl.constexpr,
    MAGIC: tl.constexpr,
):
    """Twice `[BLOCK_N, 32]` of `dtype`: the planes of eight-bit codes; else as `unpack4`."""
    if ASM == "":
        w0 = unpack_plane(b_w, zero0, b_w, 0, 8, KIND).to(dtype)
        w1 = unpack_plane(b_w, zero1, b_w, 1, 8, KIND).to(dtype)
        return w0, w1
    elif KIND == "ints":
        n0 = (-MAGIC - zero0).to(dtype)[:, None]
        n1 = (-MAGIC - zero1).to(dtype)[:, None]
        out = dtype.value
        return tl.inline_asm_elementwise(ASM, CONSTRAINTS, [b_w, n0, n1], dtype=(out, out), is_pure=True, pack=2)
    else:
        out = dtype.value
        return tl.inline_asm_elementwise(ASM, CONSTRAINTS, [b_w], dtype=(out, out), is_pure=True, pack=2)
