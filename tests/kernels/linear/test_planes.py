from __future__ import annotations

import pytest
import torch

from loraplex_kernels.linear import launches
from loraplex_kernels.linear.planes import chunk_of, pack, unpack


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("inputs", [1, 31, 64, 128, 300])
def test_codes_come_back(bits, inputs):
    codes = torch.randint(0, 2**bits, (5, inputs), dtype=torch.uint8)
    words = pack(codes, bits)
    assert words.shape == (-(-inputs // chunk_of(bits)), 5, 32)
    assert torch.equal(unpack(words, bits, inputs), codes)


def test_one_shift_gives_the_codes_of_neighbouring_inputs():
    codes = torch.randint(0, 16, (3, 256), dtype=torch.uint8)
    words = pack(codes, 4)
    assert torch.equal((words[1] >> 8 & 15).to(torch.uint8), codes[:, 128 + 64 : 128 + 96])


@pytest.mark.parametrize(
    ("outputs", "inputs", "splits"),
    [(6144, 4096, 4), (4096, 4096, 4), (28672, 4096, 1), (4096, 14336, 4), (64, 128, 1)],
)
def test_splits_are_even_and_fill_the_card(outputs, inputs, splits):
    assert launches.splits_of(outputs, inputs // 128) == splits


def test_every_launch_to_be_tuned_has_whole_groups_of_warps_and_room():
    for bucket in launches.BUCKETS:
        found = list(launches.configs(bucket))
        assert launches.DEFAULT[bucket] in found
        assert all(launch.warps % 4 == 0 and launch.block_n // launch.warps >= 8 for launch in found)
        assert all(launch.block_n >= launches.LEAST_BLOCK_N for launch in found)
