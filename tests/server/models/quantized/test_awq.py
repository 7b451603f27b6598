"""AWQ: which bits mean what."""

from __future__ import annotations

import pytest
import torch
from support.quantized_awq import Awq

from loraplex_server.models.errors import CheckpointError, UnsupportedModelError

from .lone import MODULE, Lone

# Outputs 0 to 7 with codes 0 to 7, in the order that AutoAWQ's kernels want.
IN_ORDER = 0x75316420


def test_a_word_holds_outputs_0_2_4_6_1_3_5_7_from_its_lowest_bits(tmp_path):
    tensors = {
        "qweight": torch.full((8, 1), IN_ORDER, dtype=torch.int32),
        "qzeros": torch.full((1, 1), 0x11111111, dtype=torch.int32),
        "scales": torch.full((1, 8), 2.0, dtype=torch.float16),
    }
    form = Lone(tmp_path, Awq(group=8).config, tensors, (8, 8)).read()
    assert form.codes[:, 3].tolist() == list(range(8))
    # Zero points are stored as they are, not less one as GPTQ's.
    assert torch.equal(form.dequantized(), (2 * (torch.arange(8.0) - 1))[:, None].expand(8, 8))


def test_zero_points_are_in_the_same_order(tmp_path):
    tensors = {
        "qweight": torch.zeros(8, 1, dtype=torch.int32),
        "qzeros": torch.tensor([[IN_ORDER]], dtype=torch.int32),
        "scales": torch.ones(1, 8, dtype=torch.float16),
    }
    form = Lone(tmp_path, Awq(group=8).config, tensors, (8, 8)).read()
    assert form.zero[:, 0].tolist() == list(range(8))


@pytest.mark.parametrize("group", [-1, 16, 32, 64, 128])
def test_every_group_size_is_read_to_the_bit(tmp_path, group):
    weight = torch.randn(24, 256, generator=torch.Generator().manual_seed(2))
    tensors, meant = Awq(group).pack(MODULE, weight)
    lone = Lone(tmp_path, Awq(group).config, tensors, (24, 256))
    assert torch.equal(lone.read().dequantized(), meant)
    assert (meant - weight).abs().mean() < 0.2


def test_the_config_of_its_own_file_is_read(tmp_path):
    weight = torch.randn(16, 32, generator=torch.Generator().manual_seed(2))
    tensors, meant = Awq(16).pack(MODULE, weight)
    (tmp_path / "quant_config.json").write_text(
        '{"zero_point": true, "q_group_size": 16, "w_bit": 4, "version": "GEMM"}'
    )
    lone = Lone(tmp_path, None, tensors, (16, 32))
    assert lone.name == "AWQ int4 group 16"
    assert torch.equal(lone.read().dequantized(), meant)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": "gemv"}, "AWQ layout gemv .* save it with version gemm"),
        ({"version": "GEMV_fast"}, "AWQ layout gemv_fast"),
        ({"version": "marlin"}, "AWQ layout marlin"),
        ({"backend": "llm-awq"}, "AWQ layout llm-awq"),
        ({"bits": 8}, "AWQ at 8 bits"),
        ({"zero_point": False}, "without zero points"),
    ],
)
def test_what_is_not_served_is_refused_by_name(tmp_path, changes, message):
    lone = Lone(tmp_path, Awq().config | changes, {"weight": torch.zeros(8, 16)}, (8, 16))
    with pytest.raises(UnsupportedModelError, match=message):
        lone.tensors()


def test_a_group_that_does_not_divide_the_inputs_is_refused(tmp_path):
    tensors, _ = Awq(16).pack(MODULE, torch.randn(8, 32))
    lone = Lone(tmp_path, Awq(128).config, tensors, (8, 32))
    with pytest.raises(CheckpointError, match=rf"cannot hold {MODULE} \[8, 32\]: .* 128 inputs"):
        lone.read()


def test_a_linear_in_floating_point_is_left_to_the_others(tmp_path):
    assert Lone(tmp_path, Awq().config, {"weight": torch.zeros(8, 16)}, (8, 16)).tensors() == {}
