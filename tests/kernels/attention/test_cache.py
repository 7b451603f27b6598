from __future__ import annotations

import pytest
import torch

from loraplex_kernels.attention import allocate, bytes_per_block, write_kv

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
