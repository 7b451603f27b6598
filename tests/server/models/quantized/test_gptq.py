"""GPTQ: which bits mean what."""

from __future__ import annotations

import pytest
import torch
from support.quantized_gptq import Gptq, meant, words

from loraplex_server.models.errors import CheckpointError, UnsupportedModelError

from .lone import MODULE, Lone

GENERATOR = torch.Generator().manual_seed(5)


def _weight(outputs, inputs):
    return torch.randn(outputs, inputs, generator=GENERATOR)


def _lone(tmp_path, how, shape=(16, 64), change=lambda tensors: None, **config):
    tensors, weight = how.pack(MODULE, _weight(*shape))
    tensors = dict(tensors)
    change(tensors)
    return Lone(tmp_path, how.config | config, tensors, shape), weight


def test_a_word_holds_eight_inputs_the_first_one_lowest(tmp_path):
    # 0x76543210 is codes 0 to 7; a zero point of 8 is 7 in the first layout.
    tensors = {
        "qweight": torch.full((1, 8), 0x76543210, dtype=torch.int32),
        "qzeros": torch.full((1, 1), 0x77777777, dtype=torch.int32),
        "scales": torch.full((1, 8), 0.5, dtype=torch.float16),
        "g_idx": torch.zeros(8, dtype=torch.int32),
    }
    form = Lone(tmp_path, Gptq(group=8).config, tensors, (8, 8)).read()
    assert torch.equal(form.codes, torch.arange(8, dtype=torch.uint8).expand(8, 8))
    assert form.zero is None
    assert torch.equal(form.dequantized(), (torch.arange(8) - 8.0).expand(8, 8) * 0.5)


def test_a_word_of_zero_points_holds_eight_outputs(tmp_path):
    tensors = {
        "qweight": torch.zeros(1, 8, dtype=torch.int32),
        "qzeros": torch.tensor([[0x76543210]], dtype=torch.int32),
        "scales": torch.ones(1, 8, dtype=torch.float16),
        "g_idx": torch.zeros(8, dtype=torch.int32),
    }
    for version, first in [("gptq", 1), ("gptq_v2", 0)]:
        form = Lone(tmp_path, Gptq(group=8, version=version).config, tensors, (8, 8)).read()
        assert form.zero[:, 0].tolist() == [first + output for output in range(8)]
        assert torch.equal(form.dequantized(), -(torch.arange(8.0) + first)[:, None].expand(8, 8))


def test_each_input_has_the_scale_of_the_group_that_g_idx_names(tmp_path):
    group_of = torch.tensor([1, 0, 0, 1, 1, 0, 1, 0])
    codes = torch.arange(8).expand(8, 8)
    scale = torch.tensor([[1.0, 100.0]], dtype=torch.float16).expand(8, 2)
    zero = torch.full((8, 2), 8)
    how = Gptq(group=4, act_order=True)
    form = Lone(tmp_path, how.config, how.tensors(codes, scale, zero, group_of), (8, 8)).read()
    expected = torch.tensor([(k - 8.0) * (100 if group_of[k] else 1) for k in range(8)])
    assert torch.equal(form.dequantized(), expected.expand(8, 8))
    assert form.order.tolist() == [1, 2, 5, 7, 0, 3, 4, 6]


@pytest.mark.parametrize("group", [-1, 32, 64, 128])
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("version", ["gptq", "gptq_v2"])
@pytest.mark.parametrize("act_order", [False, True])
@pytest.mark.parametrize("symmetric", [False, True])
def test_every_kind_is_read_to_the_bit(tmp_path, group, bits, version, act_order, symmetric):
    how = Gptq(bits, group, act_order, symmetric, version)
    lone, weight = _lone(tmp_path, how, (16, 256))
    form = lone.read()
    assert torch.equal(form.dequantized(), weight)
    assert (form.zero is None) == symmetric
    assert (form.order is not None) == (act_order and group != -1)


@pytest.mark.parametrize("act_order", [False, True])
def test_the_last_group_may_be_shorter(tmp_path, act_order):
    lone, weight = _lone(tmp_path, Gptq(group=32, act_order=act_order), (16, 112))
    form = lone.read()
    assert form.scale.shape == (16, 4)
    assert torch.equal(form.dequantized(), weight)


def test_a_zero_point_that_borrowed_from_its_neighbour_is_given_back(tmp_path):
    zero = torch.tensor([[0], [5], [0], [15], [1], [0], [3], [0]])
    how = Gptq(group=8, symmetric=False)
    tensors = how.tensors(torch.full((8, 8), 9), torch.ones(8, 1, dtype=torch.float16), zero, torch.zeros(8).long())
    assert torch.equal(Lone(tmp_path, how.config, tensors, (8, 8)).read().zero.long(), zero)


def test_zero_points_that_autogptq_may_have_destroyed_are_refused(tmp_path):
    zero = torch.tensor([[0], [5], [3], [15], [1], [2], [3], [4]])
    how = Gptq(group=8, symmetric=False)
    tensors = how.tensors(torch.full((8, 8), 9), torch.ones(8, 1, dtype=torch.float16), zero, torch.zeros(8).long())
    lone = Lone(tmp_path, how.config | {"meta": None}, tensors, (8, 8))
    with pytest.raises(CheckpointError, match=rf"GPTQ int4 group 8, {MODULE}: zero points of 0 .* save it as gptq_v2"):
        lone.read()


def test_a_zero_point_of_0_in_the_last_field_of_a_word_is_the_same_from_both_programs(tmp_path):
    zero = torch.tensor([[8], [5], [3], [15], [1], [2], [3], [0]])
    how = Gptq(group=8, symmetric=False)
    tensors = how.tensors(torch.full((8, 8), 9), torch.ones(8, 1, dtype=torch.float16), zero, torch.zeros(8).long())
    assert torch.equal(Lone(tmp_path, how.config | {"meta": None}, tensors, (8, 8)).read().zero.long(), zero)


def test_groups_of_other_sizes_are_refused(tmp_path):
    def crowd(tensors):
        tensors["g_idx"][:40] = 0

    lone, _ = _lone(tmp_path, Gptq(act_order=True), change=crowd)
    with pytest.raises(CheckpointError, match=rf"{MODULE}: g_idx makes groups of \d+ to \d+ inputs"):
        lone.read()


def test_an_empty_g_idx_without_act_order_means_groups_in_order(tmp_path):
    lone, weight = _lone(tmp_path, Gptq(), change=lambda tensors: tensors["g_idx"].zero_())
    assert torch.equal(lone.read().dequantized(), weight)


def test_g_idx_may_be_missing_without_act_order_alone(tmp_path):
    lone, weight = _lone(tmp_path, Gptq(), change=lambda tensors: tensors.pop("g_idx"))
    assert torch.equal(lone.read().dequantized(), weight)
    lone, _ = _lone(tmp_path, Gptq(act_order=True), change=lambda tensors: tensors.pop("g_idx"))
    with pytest.raises(CheckpointError, match=rf"lacks {MODULE}\.g_idx"):
        lone.read()


def test_a_bias_of_zeros_that_the_model_does_not_have_is_known_and_another_is_not(tmp_path):
    lone, _ = _lone(tmp_path, Gptq(), change=lambda tensors: tensors.update(bias=torch.zeros(16)))
    assert f"{MODULE}.bias" in lone.tensors()
    lone, _ = _lone(tmp_path, Gptq(), change=lambda tensors: tensors.update(bias=torch.ones(16)))
    assert f"{MODULE}.bias" not in lone.tensors()


def test_dynamic_rules_change_the_modules_that_they_match(tmp_path):
    dynamic = {r"-:.*\.k_proj": {}, r"+:.*\.q_proj": {"bits": 8, "group_size": 64}}
    tensors, weight = Gptq(8, 64).pack(MODULE, _weight(16, 128))
    lone = Lone(tmp_path, Gptq(4, 32).config | {"dynamic": dynamic}, tensors, (16, 128))
    form = lone.read()
    assert (form.bits, form.group) == (8, 64)
    assert torch.equal(form.dequantized(), weight)


def test_a_linear_in_floating_point_is_left_to_the_others(tmp_path):
    lone = Lone(tmp_path, Gptq().config, {"weight": _weight(16, 64)}, (16, 64))
    assert lone.tensors() == {}


def test_tensors_of_another_shape_or_dtype_are_named(tmp_path):
    lone, _ = _lone(tmp_path, Gptq(), change=lambda tensors: tensors.update(scales=torch.ones(3, 16).half()))
    with pytest.raises(CheckpointError, match=rf"{MODULE}\.scales as float16 \[3, 16\], not .* \[2, 16\]"):
        lone.read()
    lone, _ = _lone(tmp_path, Gptq(), change=lambda tensors: tensors.update(qweight=tensors["qweight"].long()))
    with pytest.raises(CheckpointError, match=rf"{MODULE}\.qweight as int64 \[8, 16\], not int32 \[8, 16\]"):
        lone.read()


def test_a_weight_that_fills_no_words_is_refused(tmp_path):
    lone, _ = _lone(tmp_path, Gptq())
    lone.shape = (12, 64)
    with pytest.raises(CheckpointError, match=rf"GPTQ int4 group 32 cannot hold {MODULE} \[12, 64\]: .* of 8"):
        lone.tensors()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bits": 3}, "GPTQ at 3 bits .* 4 or 8 bits"),
        ({"checkpoint_format": "marlin"}, "layout marlin .* save it with checkpoint_format gptq or gptq_v2"),
        ({"is_marlin_format": True}, "layout marlin"),
        ({"pack_dtype": "int64"}, "other words than int32"),
    ],
)
def test_what_is_not_served_is_refused_by_name(tmp_path, changes, message):
    lone, _ = _lone(tmp_path, Gptq(), **changes)
    with pytest.raises(UnsupportedModelError, match=message):
        lone.read()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bits": "four"}, "bits in .* must be a whole number, not 'four'"),
        ({"bits": None}, "bits in .* must be a whole number, not None"),
        ({"group_size": 0}, "group_size in .* must be -1 or above 0, not 0"),
        ({"desc_act": "yes"}, "desc_act in .* must be true or false, not 'yes'"),
        ({"dynamic": ["q_proj"]}, "dynamic in .* is not a JSON object"),
        ({"dynamic": {"+:(": {}}}, r"'\(' in .* is no regular expression"),
        ({"dynamic": {".*q_proj": 8}}, r"dynamic in .* has 8 for \.\*q_proj"),
    ],
)
def test_a_damaged_config_is_refused_with_the_field(tmp_path, changes, message):
    lone, _ = _lone(tmp_path, Gptq(), **changes)
    with pytest.raises(CheckpointError, match=message):
        lone.read()


def test_the_packer_of_the_tests_packs_what_it_means():
    codes = torch.randint(0, 16, (64, 16), generator=GENERATOR)
    packed = words(codes, 4)
    for row in range(64):
        assert torch.equal((packed[row // 8].long() >> (4 * (row % 8))) & 15, codes[row])
    assert torch.equal(
        meant(torch.tensor([[9]]), torch.tensor([[2.0]]), torch.tensor([[8]]), torch.tensor([0])), torch.tensor([[2.0]])
    )
