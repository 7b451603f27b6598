"""Updates that are computed, rounded to int8: how far from those that are not."""

from __future__ import annotations

import pytest
import torch
from support.peft_methods import CPU, LOW_RANK, Tune, deltas

from loraplex_adapters.loading import read
from loraplex_adapters.quantizing import as_served
from loraplex_kernels.lora import site_weights


@pytest.mark.parametrize("case", sorted(LOW_RANK))
def test_a_computed_update_is_rounded_by_under_two_percent(tune: Tune, case: str) -> None:
    tuned = tune(LOW_RANK[case]())
    exact = deltas(tuned.load(), tuned.base)
    rounded = read(tuned.source, torch.float32, CPU, tuned.base, int8=True)
    for placement in rounded.layout.placements:
        weights = site_weights(rounded.buffer, placement, torch.float32)
        a, b = as_served(weights)
        expected = exact[tuned.base.sites[placement.shape.site].name]
        error = weights.scale * b.double().T @ a.double() - expected
        assert 0 < error.norm() < 0.02 * expected.norm()
