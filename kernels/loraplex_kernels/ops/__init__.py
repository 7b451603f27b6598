"""The small ops between the linears: norms, rotary embedding, gated activations."""

from loraplex_kernels.ops.activation import gelu_tanh_and_mul, silu_and_mul
from loraplex_kernels.ops.head_norms import HeadNorms
from loraplex_kernels.ops.norm import add_rms_norm, rms_norm
from loraplex_kernels.ops.qkv import norm_rotary_write
from loraplex_kernels.ops.rope import gather_angles, rotary

__all__ = [
    "HeadNorms",
    "add_rms_norm",
    "gather_angles",
    "gelu_tanh_and_mul",
    "norm_rotary_write",
    "rms_norm",
    "rotary",
    "silu_and_mul",
]
