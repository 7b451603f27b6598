"""The small ops' Triton kernels, under Triton's interpreter or on a GPU. test_triton.py runs this file."""

from __future__ import annotations

import os
from functools import partial

import pytest
import torch
import triton.language as tl
from support.tolerances import assert_close
from triton.runtime import interpreter

from loraplex_kernels.attention.cache import FLOAT8, KVLayer
from loraplex_kernels.ops import HeadNorms, reference
from loraplex_kernels.ops.triton_gate import gate_triton
from loraplex_kernels.ops.triton_norm import add_rms_norm_triton, rms_norm_triton
from loraplex_kernels.ops.triton_rotary import norm_rotary_write_triton, rotary_triton

DEVICE = torch.device("cpu" if os.environ.get("TRITON_INTERPRET") == "1" else "cuda")
DTYPES = [torch.float32, torch.bfloat16, torch.float16]
for_each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def rounding(monkeypatch):
    """The interpreter cuts off what does not fit into bfloat16 and float8; a GPU rounds to the nearest, as torch."""
    original = interpreter._convert_float
    to = {tl.bfloat16: (torch.bfloat16, torch.uint16), tl.float8e4nv: (FLOAT8, torch.uint8)}

    def rounded(data, source, target, mode):
        if source != tl.float32 or target not in to:
            return original(data, source, target, mode)
        dtype, bits = to[target]
        return torch.from_numpy(data.astype("float32")).to(dtype).view(bits).numpy()

    monkeypatch.setattr(interpreter, "_convert_float", rounded)


def randn(*shape, dtype=torch.float32):
    return torch.randn(shape).to(dtype).to(DEVICE)


close = partial(assert_close, op="norms, gates, rotary")


@pytest.mark.covering(1)
@for_each_dtype
@pytest.mark.parametrize("width", [1, 8, 90, 896, 4096, 9000, 28672])
def test_rms_norm(width, dtype):
    x, weight = (randn(3, 2 * width) * 3).to(dtype)[:, :width], randn(width, dtype=dtype)
    for offset in (0.0, 1.0):
        close(rms_norm_triton(x, weight, 1e-5, offset), reference.rms_norm(x.double(), weight.double(), 1e-5, offset))


@pytest.mark.covering(1)
@for_each_dtype
@pytest.mark.parametrize("head_dim", [40, 128, 1030])
def test_rms_norm_of_each_head_of_a_packed_row(head_dim, dtype):
    packed, weight = randn(7, 12, head_dim, dtype=dtype), randn(head_dim, dtype=dtype)
    out = rms_norm_triton(packed[:, 3:9], weight, 1e-6)
    assert out.is_contiguous()
    close(out, reference.rms_norm(packed[:, 3:9].double(), weight.double(), 1e-6))


@pytest.mark.covering(1)
@for_each_dtype
@pytest.mark.parametrize("width", [8, 90, 896, 9000])
def test_add_rms_norm_norms_the_sum_that_it_keeps(width, dtype):
    x, residual, weight = randn(5, width, dtype=dtype), randn(5, 2 * width, dtype=dtype), randn(width, dtype=dtype)
    residual, before = residual[:, width:], residual[:, width:].clone()
    normed, total = add_rms_norm_triton(x, residual, weight, 1e-5, 1.0)
    assert torch.equal(total, x + residual)
    assert torch.equal(residual, before)
    close(normed, reference.rms_norm(total.double(), weight.double(), 1e-5, 1.0))


@pytest.mark.covering(2)
@for_each_dtype
@pytest.mark.parametrize("width", [1, 24, 1500, 28672])
@pytest.mark.parametrize("gelu", [False, True])
def test_gates(gelu, width, dtype):
    x = (randn(3, 2 * width + 5) * 4).to(dtype)[:, : 2 * width]
    x[0, 0], x[1, 0] = -300.0, 300.0  # e^300 is no float32
    naive = reference.gelu_tanh_and_mul if gelu else reference.silu_and_mul
    close(gate_triton(x, gelu=gelu), naive(x.double()))


def test_nothing_launches_for_no_rows():
    assert rms_norm_triton(randn(0, 8), randn(8), 1e-5).shape == (0, 8)
    assert gate_triton(randn(0, 8), gelu=False).shape == (0, 4)
    rotary_triton(randn(0, 2, 8), randn(0, 1, 8), randn(0, 4), randn(0, 4))


def test_a_nan_is_not_lost():
    x = torch.zeros(2, 64, device=DEVICE)
    x[1, 5] = float("nan")
    for out in (gate_triton(x, gelu=False), gate_triton(x, gelu=True), rms_norm_triton(x, x[0] + 1, 1e-5)):
        assert out[0].isfinite().all()
        assert out[1].isnan().any()


HEADS = [
    (4, 2, 64, 32),
    (5, 1, 80, 40),
    (4, 4, 96, 36),
    (32, 8, 128, 64),
    (2, 1, 6, 3),
    (3, 3, 90, 45),
    (2, 1, 256, 128),
]
for_each_heads = pytest.mark.parametrize(("q_heads", "kv_heads", "head_dim", "half"), HEADS)


def packed_qkv(rows, q_heads, kv_heads, head_dim, half, dtype):
    packed = randn(rows, q_heads + 2 * kv_heads, head_dim, dtype=dtype)
    angles = torch.rand(rows, half, device=DEVICE) * 6
    return packed, packed.split([q_heads, kv_heads, kv_heads], dim=1), angles.cos(), angles.sin()


@pytest.mark.covering(1)
@for_each_dtype
@for_each_heads
def test_rotary_turns_in_place_and_leaves_the_rest(q_heads, kv_heads, head_dim, half, dtype):
    packed, (q, k, v), cos, sin = packed_qkv(3, q_heads, kv_heads, head_dim, half, dtype)
    before = packed.clone()
    wide = before[:, : q_heads + kv_heads].double()
    reference.rotary(wide[:, :q_heads], wide[:, q_heads:], cos.double(), sin.double())
    rotary_triton(q, k, cos, sin)
    close(packed[:, : q_heads + kv_heads].contiguous(), wide)
    assert torch.equal(v, before[:, q_heads + kv_heads :])
    assert torch.equal(packed[..., 2 * half :], before[..., 2 * half :])


def paged(kv_heads, head_dim, dtype, scales=(1.0, 1.0)):
    pages = (torch.zeros(5, kv_heads, 8, head_dim, device=DEVICE).to(dtype) for _ in range(2))
    return KVLayer(*pages, *scales)


def unfused(q, k, v, cos, sin, norms):
    """Norm and rotary by the references, rounding as they do between the two."""
    if norms is not None:
        q = reference.rms_norm(q, norms.q, norms.eps, norms.offset)
        k = reference.rms_norm(k, norms.k, norms.eps, norms.offset)
    q, k = q.clone(), k.clone()
    reference.rotary(q, k, cos, sin)
    return q, k, v


def same_but_for_a_rounding(result, expected, dtype):
    """But few of a dtype that is rounded to fall the other way."""
    assert_close(result, expected, "rounded twice")
    assert (result == expected).double().mean() > (0.9 if dtype != torch.float32 else 0.0)


@pytest.mark.covering(2)
@for_each_dtype
@for_each_heads
@pytest.mark.parametrize("norm", [False, True])
def test_the_fused_op_is_norm_rotary_and_write_one_after_the_other(q_heads, kv_heads, head_dim, half, dtype, norm):
    _, (q, k, v), cos, sin = packed_qkv(4, q_heads, kv_heads, head_dim, half, dtype)
    norms = HeadNorms(randn(head_dim, dtype=dtype), randn(head_dim, dtype=dtype), 1e-6, 1.0) if norm else None
    cache = paged(kv_heads, head_dim, dtype)
    slots = torch.tensor([17, -1, 0, 39], device=DEVICE)
    of_q, of_k, _ = unfused(q, k, v, cos, sin, norms)
    v_before = v.clone()
    result = norm_rotary_write_triton(q, k, v, cos, sin, cache, slots, norms)
    same_but_for_a_rounding(result, of_q, dtype)
    kept = [0, 2, 3]
    blocks, offsets = slots[kept] // 8, slots[kept] % 8
    same_but_for_a_rounding(cache.k[blocks, :, offsets], of_k[kept], dtype)
    assert torch.equal(cache.v[blocks, :, offsets], v_before[kept])
    written = torch.zeros(5, 8, dtype=torch.bool, device=DEVICE)
    written[blocks, offsets] = True
    assert not cache.k.transpose(1, 2)[~written].any()  # the row without a slot is nowhere
    assert not cache.v.transpose(1, 2)[~written].any()


@pytest.mark.skipif(
    DEVICE.type == "cuda" and torch.cuda.get_device_capability() < (8, 9), reason="rounds to float8 from sm_89 on"
)
def test_a_float8_cache_gets_what_is_left_after_its_scale():
    _, (q, k, v), cos, sin = packed_qkv(4, 4, 2, 64, 32, torch.bfloat16)
    v[0, 0, 0], v[2, 1, 3] = 1e4, float("nan")
    cache = paged(2, 64, FLOAT8, (0.5, 0.25))
    slots = torch.tensor([17, -1, 0, 39], device=DEVICE)
    _, of_k, of_v = unfused(q, k, v.clone(), cos, sin, None)
    norm_rotary_write_triton(q, k, v, cos, sin, cache, slots, None)
    for pages, expected, scale in ((cache.k, of_k, 0.5), (cache.v, of_v, 0.25)):
        for row, slot in ((0, 17), (2, 0), (3, 39)):
            rounded = (expected[row].float() / scale).clamp(-448, 448).to(FLOAT8)
            found = pages[slot // 8, :, slot % 8].float()
            torch.testing.assert_close(found, rounded.float(), rtol=0.13, atol=2**-9, equal_nan=True)
            assert ((found == rounded.float()) | rounded.float().isnan()).double().mean() > 0.95
