from __future__ import annotations

import pytest
import torch

from loraplex_kernels.attention import KVLayer, allocate, bytes_per_block, paged_attention, write_kv
from loraplex_kernels.attention.cache import FLOAT8
from loraplex_kernels.attention.naive import write_kv_naive

CPU = torch.device("cpu")


def test_a_block_costs_what_it_is_said_to():
    layers = allocate(3, 7, 2, 16, 64, torch.bfloat16, CPU)
    assert sum(layer.k.nbytes + layer.v.nbytes for layer in layers) == 7 * bytes_per_block(3, 2, 16, 64, torch.bfloat16)
    assert [(layer.num_blocks, layer.num_kv_heads, layer.block_size, layer.head_dim) for layer in layers] == [
        (7, 2, 16, 64)
    ] * 3


def test_the_cache_starts_as_zeros_however_large_its_pages_are():
    layer = allocate(1, 3000, 2, 16, 64, torch.float32, CPU)[0]  # 24 MB: several huge pages
    assert not layer.k.any()
    assert not layer.v.any()


def test_a_size_that_is_not_positive_is_refused_by_name():
    with pytest.raises(ValueError, match="num_blocks"):
        allocate(1, 0, 2, 16, 64, torch.float32, CPU)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_each_row_is_written_to_its_slot_and_nothing_else_is_touched(dtype):
    layer = allocate(1, 5, 3, 4, 8, dtype, CPU)[0]
    layer.k.fill_(-1)
    layer.v.fill_(-2)
    packed = torch.randn(4, 9, 8).to(dtype)  # q, k and v side by side
    k, v = packed[:, 3:6], packed[:, 6:]
    slots = [13, 0, 19, 6]
    write_kv(k, v, layer, torch.tensor(slots))
    for row, slot in enumerate(slots):
        assert torch.equal(layer.k[slot // 4, :, slot % 4], k[row])
        assert torch.equal(layer.v[slot // 4, :, slot % 4], v[row])
    assert int((layer.k == -1).all(-1).sum()) == 5 * 3 * 4 - 4 * 3
    assert int((layer.v == -2).all(-1).sum()) == 5 * 3 * 4 - 4 * 3


def test_a_row_without_a_slot_is_not_written():
    layer = allocate(1, 3, 2, 4, 8, torch.float32, CPU)[0]
    k, v = torch.randn(2, 3, 2, 8)
    write_kv(k, v, layer, torch.tensor([-1, 6, -1]))
    assert torch.equal(layer.k[1, :, 2], k[1])
    assert torch.equal(layer.v[1, :, 2], v[1])
    assert int(layer.k.any(-1).sum()) == int(layer.v.any(-1).sum()) == 2


def test_float8_is_the_nearest_of_its_numbers_never_infinite_and_nan_shows():
    layer = KVLayer(*torch.zeros(2, 1, 1, 2, 8, dtype=FLOAT8), k_scale=2.0, v_scale=0.5)
    x = torch.tensor([2.0, 17.0, 19.0, 1e9, -float("inf"), float("nan"), 2**-10, -3.0]).view(1, 1, 8)
    write_kv_naive(x, x, layer, torch.tensor([1]))
    k, v = layer.k[0, 0, 1].float() * 2, layer.v[0, 0, 1].float() * 0.5
    assert k[[0, 1, 2, 3, 4, 6, 7]].tolist() == [2.0, 16.0, 20.0, 896.0, -896.0, 0.0, -3.0]  # ties go to even
    assert v[[0, 1, 2, 3, 4, 6, 7]].tolist() == [2.0, 16.0, 20.0, 224.0, -224.0, 2**-10, -3.0]
    assert k[5].isnan()
    assert v[5].isnan()


def test_a_scale_without_rounding_or_of_nothing_is_refused():
    pages = torch.zeros(1, 1, 2, 8)
    for stored, scale, said in [
        (pages, 2.0, "k_scale is 2.0, but"),
        (pages.to(FLOAT8), 0.0, "k_scale must be a positive"),
    ]:
        with pytest.raises(ValueError, match=said):
            KVLayer(stored, stored, k_scale=scale)


def test_float8_on_a_cpu_is_refused_where_it_would_be_written_and_where_it_would_be_read(scene):
    made = scene([(1, 9)], cache_dtype=FLOAT8)
    with pytest.raises(ValueError, match="float8: the Triton kernels alone"):
        write_kv(made.q[:, :2], made.q[:, :2], made.cache, made.batch.slot_mapping)
    with pytest.raises(ValueError, match="float8: the Triton kernels alone read them"):
        paged_attention(made.q, made.cache, made.batch, 1.0)
