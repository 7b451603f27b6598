from __future__ import annotations

import pytest
import torch
from torch import Tensor

from loraplex_adapters.dora import norms


def reference(weight: Tensor, a: Tensor, b: Tensor, scale: float) -> Tensor:
    whole = weight.double() + scale * b.double().t() @ a.double()
    return torch.linalg.norm(whole, dim=1).float()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("outputs", "inputs", "rank"),
    [(1, 1, 1), (7, 5, 3), (300, 70, 16), (33, 40_000, 2), (5, 3000, 200), (1000, 513, 64)],
)
def test_norms_are_those_of_the_whole_weight(dtype: torch.dtype, outputs: int, inputs: int, rank: int) -> None:
    torch.manual_seed(outputs)
    weight = torch.randn(outputs, inputs).to(dtype)
    a, b = torch.randn(rank, inputs).to(dtype), torch.randn(rank, outputs).to(dtype)
    found = norms(weight, a, b, 0.75)
    assert found.dtype is torch.float32
    torch.testing.assert_close(found, reference(weight, a, b, 0.75), rtol=2e-6, atol=0)


def test_a_weight_that_is_a_view_is_read_as_it_lies() -> None:
    """Linears that share one packed weight are slices of it."""
    packed = torch.randn(64, 96)
    a, b = torch.randn(4, 48), torch.randn(4, 32)
    for view in (packed[32:, 48:], packed[:48, :32].t()):
        kept = view.clone()
        torch.testing.assert_close(norms(view, a, b, 2.0), reference(view, a, b, 2.0), rtol=2e-6, atol=0)
        assert torch.equal(view, kept)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_norms_on_a_device_are_the_same() -> None:
    weight, a, b = torch.randn(300, 70), torch.randn(16, 70), torch.randn(16, 300)
    found = norms(weight.cuda(), a, b, 0.5)
    torch.testing.assert_close(found, reference(weight, a, b, 0.5), rtol=1e-4, atol=0)
