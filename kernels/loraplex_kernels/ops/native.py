"""The small ops through the compiled CPU kernels (csrc/ops.c)."""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from loraplex_kernels import native
from loraplex_kernels.launch import empty, launch

_BFLOAT16 = {torch.float32: 0, torch.bfloat16: 1}


def _fields(pointers: str, integers: str, doubles: str = "") -> tuple[tuple[str, type], ...]:
    kinds = ((pointers, ctypes.c_void_p), (integers, ctypes.c_int64), (doubles, ctypes.c_double))
    return tuple((name, kind) for names, kind in kinds for name in names.split())


class _Norm(ctypes.Structure):
    """`struct norm`."""

    _fields_ = _fields(
        "x weight residual sum y",
        "outer inner width outer_stride inner_stride residual_stride bf16",
        "eps offset",
    )


class _Rotary(ctypes.Structure):
    """`struct rotary`."""

    _fields_ = _fields("q k cos sin", "rows half q_heads k_heads q_row q_head k_row k_head bf16")


class _Gate(ctypes.Structure):
    """`struct gate`."""

    _fields_ = _fields("x y", "rows width x_stride bf16 gelu")


class _GatherAngles(ctypes.Structure):
    """`struct gather_angles`."""

    _fields_ = _fields("cos_table sin_table positions cos sin", "rows half length")


def kernels(*tensors: Tensor) -> ctypes.CDLL | None:
    """The compiled kernels, where they are there and take these tensors: one dtype, on the CPU, rows contiguous."""
    dtype = tensors[0].dtype
    if dtype not in _BFLOAT16:
        return None
    for tensor in tensors:  # a loop, since this stands before every op of every layer
        if not tensor.is_cpu or tensor.dtype is not dtype or tensor.stride(-1) != 1:
            return None
    return native.library()


def rms_norm(library: ctypes.CDLL, x: Tensor, weight: Tensor, eps: float, offset: float) -> Tensor:
    """`ops.norm.rms_norm` of two or three dimensions."""
    y = empty(*x.shape, dtype=x.dtype)
    heads = x.dim() == 3
    arguments = _Norm(
        *(x.data_ptr(), weight.data_ptr(), None, None, y.data_ptr()),
        *(x.shape[0], x.shape[1] if heads else 1, x.shape[-1]),
        *(x.stride(0), x.stride(1) if heads else 0, 0, _BFLOAT16[x.dtype]),
        *(eps, offset),
    )
    launch(library.loraplex_rms_norm, arguments)
    return y


def add_rms_norm(
    library: ctypes.CDLL, x: Tensor, residual: Tensor, weight: Tensor, eps: float, offset: float
) -> tuple[Tensor, Tensor]:
    """`ops.norm.add_rms_norm`."""
    y = empty(*x.shape, dtype=x.dtype)
    total = empty(*x.shape, dtype=x.dtype)
    arguments = _Norm(
        *(x.data_ptr(), weight.data_ptr(), residual.data_ptr(), total.data_ptr(), y.data_ptr()),
        *(x.shape[0], 1, x.shape[1], x.stride(0), 0, residual.stride(0), _BFLOAT16[x.dtype]),
        *(eps, offset),
    )
    launch(library.loraplex_rms_norm, arguments)
    return y, total


def rotary(library: ctypes.CDLL, q: Tensor, k: Tensor, cos: Tensor, sin: Tensor) -> None:
    """`ops.rope.rotary`, cos and sin contiguous float32."""
    arguments = _Rotary(
        *(q.data_ptr(), k.data_ptr(), cos.data_ptr(), sin.data_ptr()),
        *(q.shape[0], cos.shape[1], q.shape[1], k.shape[1]),
        *(q.stride(0), q.stride(1), k.stride(0), k.stride(1), _BFLOAT16[q.dtype]),
    )
    launch(library.loraplex_rotary, arguments)


def gather_angles(library: ctypes.CDLL, cos: Tensor, sin: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
    """`ops.rope.gather_angles`, all contiguous."""
    length, half = cos.shape
    out = empty(len(positions), half), empty(len(positions), half)
    pointers = (tensor.data_ptr() for tensor in (cos, sin, positions, *out))
    launch(library.loraplex_gather_angles, _GatherAngles(*pointers, len(positions), half, length))
    return out


def gate(library: ctypes.CDLL, x: Tensor, gelu: bool) -> Tensor:
    """`ops.activation.silu_and_mul`, or `gelu_tanh_and_mul`."""
    y = empty(x.shape[0], x.shape[1] // 2, dtype=x.dtype)
    arguments = _Gate(x.data_ptr(), y.data_ptr(), *y.shape, x.stride(0), _BFLOAT16[x.dtype], gelu)
    launch(library.loraplex_gate, arguments)
    return y
