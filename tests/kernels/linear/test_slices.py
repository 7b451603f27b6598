"""Some outputs of a weight, without the others being unpacked: what a site of a stacked linear is asked for."""

from __future__ import annotations

import pytest
import torch

from loraplex_kernels.linear import dequantized_part, make_weight, nibbles
from loraplex_kernels.linear.dense import DenseWeight
from loraplex_kernels.linear.float8 import Float8Weight
from loraplex_kernels.linear.format import SlicedWeight
from loraplex_kernels.linear.rounders import round_weight
from loraplex_kernels.linear.side_by_side import SideBySide
from loraplex_kernels.linear.stored import StoredWeight
from loraplex_kernels.site_group import SiteGroup
from loraplex_server.models.linear import Linear

CPU = torch.device("cpu")
OUTPUTS, INPUTS = 96, 128
PARTS = [(0, 1), (0, OUTPUTS), (31, 33), (64, OUTPUTS), (20, 80)]


def weights() -> dict[str, SlicedWeight]:
    torch.manual_seed(0)
    weight = torch.randn(OUTPUTS, INPUTS)
    stored = {
        name: StoredWeight(round_weight(weight, name), torch.float32, CPU) for name in ("int4-32", "nf4", "int8-weight")
    }
    return {
        **stored,
        "dense": DenseWeight(weight.bfloat16()),
        "float8": Float8Weight(round_weight(weight, "fp8"), torch.bfloat16, CPU),
        "side by side": SideBySide(
            [DenseWeight(weight[:30]), StoredWeight(round_weight(weight[30:], "int4"), torch.float32, CPU)]
        ),
    }


@pytest.mark.parametrize("name", weights())
def test_a_part_is_rows_of_the_whole(name: str) -> None:
    weight = weights()[name]
    assert isinstance(weight, SlicedWeight)
    whole = weight.dequantized()
    for first, last in PARTS:
        part = dequantized_part(weight, first, last)
        assert part.dtype == torch.float32
        assert torch.equal(part, whole[first:last])


def test_what_cannot_be_sliced_is_cut_after() -> None:
    weight = make_weight(torch.randn(OUTPUTS, INPUTS), "int4", torch.float32, CPU)
    assert torch.equal(dequantized_part(weight, 20, 80), weight.dequantized()[20:80])


def test_a_site_unpacks_its_own_rows_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    linear = Linear(weights()["nf4"], None, SiteGroup((4, 5, 6), (64, 16, 16)))
    whole = linear.weight.dequantized()
    unpacked: list[int] = []
    unpack = nibbles.unpack
    monkeypatch.setattr(
        nibbles, "unpack", lambda packed, inputs: unpacked.append(packed.shape[0]) or unpack(packed, inputs)
    )
    assert torch.equal(linear.site_weight(5), whole[64:80])
    assert unpacked == [16]
