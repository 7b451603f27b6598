"""The small ops: norms, gates, rotary embeddings, and choosing tokens."""

from __future__ import annotations

import torch

from launches.attention import FIRST_WITH_FLOAT8
from launches.dtypes import ACTIVATIONS, DTYPES
from launches.family import Family
from launches.recorder import DEVICE
from loraplex_kernels.attention.cache import KVLayer
from loraplex_kernels.ops.head_norms import HeadNorms
from loraplex_kernels.ops.sampling.columns import Columns
from loraplex_kernels.ops.sampling.triton_argmax import argmax_triton
from loraplex_kernels.ops.sampling.triton_draw import draw_triton
from loraplex_kernels.ops.sampling.triton_score import score_triton
from loraplex_kernels.ops.triton_gate import gate_triton
from loraplex_kernels.ops.triton_norm import add_rms_norm_triton, rms_norm_triton
from loraplex_kernels.ops.triton_rotary import norm_rotary_write_triton, rotary_triton

VOCABULARIES = ((128_256, 128_256), (32_001, 32_001), (32_001, 32_064))  # columns, and from one row to the next


def _empty(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.empty(shape, dtype=dtype, device=DEVICE)


def _norm(dtype: str, width: int, form: str) -> None:
    """Alone, with the residual's addition, or of each head of a packed row."""
    element = DTYPES[dtype]
    weight = _empty(width, dtype=element)
    if form == "add":
        add_rms_norm_triton(_empty(5, width, dtype=element), _empty(5, width, dtype=element), weight, 1e-5)
    else:
        x = _empty(5, 40, width, dtype=element)[:, :32] if form == "heads" else _empty(5, width, dtype=element)
        rms_norm_triton(x, weight, 1e-5)


def _gate(dtype: str, width: int, gelu: bool) -> None:
    gate_triton(_empty(5, 2 * width, dtype=DTYPES[dtype]), gelu=gelu)


def _turn(dtype: str, shape: tuple[int, int, int, int], form: str, block_size: int) -> None:
    """Alone, into the cache, with norms into it, or into one of float8."""
    (heads, kv_heads, head_dim, half), element = shape, DTYPES[dtype]
    packed = _empty(5, heads + 2 * kv_heads, head_dim, dtype=element)
    q, k, v = packed[:, :heads], packed[:, heads:-kv_heads], packed[:, -kv_heads:]
    cos, sin = _empty(5, half), _empty(5, half)
    if form == "alone":
        rotary_triton(q, k, cos, sin)
        return
    stored = torch.float8_e4m3fn if "float8" in form else element
    keys, values = (_empty(9, kv_heads, block_size, head_dim, dtype=stored) for _ in range(2))
    weight = _empty(head_dim, dtype=element)
    norms = HeadNorms(weight, weight, 1e-6, 0.0) if "norm" in form else None
    norm_rotary_write_triton(q, k, v, cos, sin, KVLayer(keys, values), _empty(5, dtype=torch.int64), norms)


def _choose(vocabulary: tuple[int, int], op: str) -> None:
    columns, stride = vocabulary
    logits, types = _empty(5, stride)[:, :columns], (torch.float32, torch.float64, torch.int32)
    if op == "draw":
        order = (types[0], types[1], types[2], types[1], types[1], types[2])
        draw_triton(logits, Columns(*(_empty(5, dtype=dtype) for dtype in order)))
    elif op == "score":
        score_triton(logits, _empty(5, dtype=torch.int64), _empty(5, dtype=torch.int64))
    else:
        argmax_triton(logits, logsum=op == "argmax logsum")


NORM = Family(
    _norm,
    {"dtype": ACTIVATIONS, "width": (90, 128, 896, 4096, 8192, 28_672), "form": ("alone", "add", "heads")},
    lambda capability, dtype, width, form: form != "heads" or width <= 256,
)
GATE = Family(_gate, {"dtype": ACTIVATIONS, "width": (14_336, 4865), "gelu": (False, True)})
TURN = Family(
    _turn,
    {
        "dtype": ACTIVATIONS,
        # Llama's heads, Qwen's of 0.5B, Gemma's wide ones, Phi's partly turned ones and odd ones.
        "shape": ((32, 8, 128, 64), (14, 2, 64, 32), (16, 8, 256, 128), (32, 32, 96, 36), (5, 1, 90, 45)),
        "form": ("alone", "write", "norm write", "float8", "norm float8"),
        "block": (16, 32),
    },
    lambda capability, dtype, shape, form, block: capability >= FIRST_WITH_FLOAT8 or "float8" not in form,
)
CHOOSE = Family(_choose, {"vocabulary": VOCABULARIES, "op": ("draw", "score", "argmax", "argmax logsum")})
