"""The small ops in plain torch: any device, any dtype; what the C versions are tested against."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def rms_norm(x: Tensor, weight: Tensor, eps: float, offset: float = 0.0) -> Tensor:
    """See `ops.norm.rms_norm`."""
    wide = _wide(x)
    normed = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)
    return (normed * (offset + weight.to(wide.dtype))).to(x.dtype)


def add_rms_norm(x: Tensor, residual: Tensor, weight: Tensor, eps: float, offset: float = 0.0) -> tuple[Tensor, Tensor]:
    """See `ops.norm.add_rms_norm`."""
    total = x + residual
    return rms_norm(total, weight, eps, offset), total


def rotary(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor) -> None:
    """See `ops.rope.rotary`."""
    half = cos.shape[1]
    cos, sin = cos[:, None], sin[:, None]
    for x in (q, k):
        first, second = _wide(x[..., :half]).clone(), _wide(x[..., half : 2 * half]).clone()
        x[..., :half] = first * cos - second * sin
        x[..., half : 2 * half] = second * cos + first * sin


def silu_and_mul(x: Tensor) -> Tensor:
    """See `ops.activation.silu_and_mul`."""
    gate, up = _wide(x).chunk(2, dim=-1)
    return (F.silu(gate) * up).to(x.dtype)


def gelu_tanh_and_mul(x: Tensor) -> Tensor:
    """See `ops.activation.gelu_tanh_and_mul`."""
    gate, up = _wide(x).chunk(2, dim=-1)
    return (F.gelu(gate, approximate="tanh") * up).to(x.dtype)


def _wide(x: Tensor) -> Tensor:
    """At least float32."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
