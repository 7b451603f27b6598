from __future__ import annotations

import pytest
import torch

from loraplex_kernels import native
from loraplex_kernels.attention.cache import KVLayer
from loraplex_kernels.ops import HeadNorms, gather_angles, norm_rotary_write, rms_norm, rotary

DTYPES = [torch.float32, torch.bfloat16, torch.float16]


@pytest.fixture(params=["torch", *native.variants()], autouse=True)
def path(request, use):
    """Every test runs over torch and over every build of the kernels."""
    use(request.param)


def scene(dtype, rows=5, q_heads=4, kv_heads=2, head_dim=24, half=8):
    packed = torch.randn(rows, q_heads + 2 * kv_heads, head_dim).to(dtype)
    angles = torch.rand(rows, half) * 6
    cache = KVLayer(*(torch.zeros(4, kv_heads, 8, head_dim, dtype=dtype) for _ in range(2)))
    return packed.split([q_heads, kv_heads, kv_heads], dim=1), angles.cos(), angles.sin(), cache


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("norm", [False, True])
def test_it_is_the_ops_one_after_the_other(dtype, norm):
    (q, k, v), cos, sin, cache = scene(dtype)
    norms = HeadNorms(torch.randn(24).to(dtype), torch.randn(24).to(dtype), 1e-6, 1.0) if norm else None
    of_q, of_k = q.clone(), k.clone()
    if norms is not None:
        of_q, of_k = rms_norm(of_q, norms.q, 1e-6, 1.0), rms_norm(of_k, norms.k, 1e-6, 1.0)
    rotary(of_q, of_k, cos, sin)
    slots = torch.tensor([31, 3, 8, 0, 17])
    assert torch.equal(norm_rotary_write(q, k, v, cos, sin, cache, slots, norms), of_q)
    assert torch.equal(cache.k[slots // 8, :, slots % 8], of_k)
    assert torch.equal(cache.v[slots // 8, :, slots % 8], v)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("q_heads", "kv_heads", "head_dim", "half"), [(14, 2, 64, 32), (8, 1, 96, 36), (2, 2, 10, 5)])
def test_a_row_without_a_slot_is_turned_and_not_kept(dtype, q_heads, kv_heads, head_dim, half):
    (q, k, v), cos, sin, cache = scene(dtype, 3, q_heads, kv_heads, head_dim, half)
    of_q, of_k = q.clone(), k.clone()
    rotary(of_q, of_k, cos, sin)
    kept = v.clone()
    assert torch.equal(norm_rotary_write(q, k, v, cos, sin, cache, torch.tensor([9, -1, 2])), of_q)
    assert torch.equal(cache.k[[1, 0], :, [1, 2]], of_k[[0, 2]])
    assert torch.equal(cache.v[[1, 0], :, [1, 2]], kept[[0, 2]])
    cache.k[[1, 0], :, [1, 2]] = cache.v[[1, 0], :, [1, 2]] = 0
    assert not cache.k.any()
    assert not cache.v.any()


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_row_comes_out_the_same_alone_and_among_many(dtype):
    (q, k, v), cos, sin, cache = scene(dtype, 32, 14, 2, 64, 32)
    norms = HeadNorms(torch.randn(64).to(dtype), torch.randn(64).to(dtype), 1e-6, 0.0)
    slots = torch.arange(32)
    alone = [
        norm_rotary_write(q[r : r + 1].clone(), k[r : r + 1].clone(), v[r : r + 1], cos[r : r + 1], sin[r : r + 1],
                          cache, slots[r : r + 1], norms)
        for r in range(32)
    ]  # fmt: skip
    keys = cache.k.clone()
    cache.k.zero_()
    assert torch.equal(norm_rotary_write(q, k, v, cos, sin, cache, slots, norms), torch.cat(alone))
    assert torch.equal(cache.k, keys)


def test_a_slot_past_the_end_is_an_error_and_not_written():
    (q, k, v), cos, sin, cache = scene(torch.bfloat16)
    with pytest.raises(IndexError):
        norm_rotary_write(q, k, v, cos, sin, cache, torch.tensor([0, 1, 32, 3, 4]))


def test_angles_are_the_rows_of_a_table():
    cos, sin = torch.randn(9, 6), torch.randn(9, 6)
    positions = torch.tensor([8, 0, 3, 3])
    for rows, table in zip(gather_angles(cos, sin, positions), (cos, sin), strict=True):
        assert torch.equal(rows, table[positions])
    for outside in (9, -1):
        with pytest.raises(IndexError):
            gather_angles(cos, sin, torch.tensor([0, outside]))


def test_what_does_not_fit_is_refused():
    (q, k, v), cos, sin, cache = scene(torch.float32)
    slots = torch.arange(5)
    with pytest.raises(ValueError, match="do not fit a cache"):
        norm_rotary_write(q, k[:, :1], v[:, :1], cos, sin, cache, slots)
    with pytest.raises(ValueError, match="do not fit a cache"):
        norm_rotary_write(q, k, v, cos, sin, cache, slots[:4])
    with pytest.raises(ValueError, match="weights must be"):
        norm_rotary_write(q, k, v, cos, sin, cache, slots, HeadNorms(torch.ones(8), torch.ones(8), 1e-6, 0.0))
    with pytest.raises(ValueError, match="float32"):
        norm_rotary_write(q, k, v, cos.double(), sin.double(), cache, slots)
